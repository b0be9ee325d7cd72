//! How a task fares: what changes with each action. Kept beside the task, so that no action writes its text again,
//! and written in the commit of what it counts.

use serde::{Deserialize, Serialize};

use super::links::SentLink;
use super::pace::{Breaker, TaskPace, Trouble};
use super::tally::Tally;
use super::target::Statistics;
use super::task::{CompletionReason, NotNow, Order, Task, TaskId, TaskStatus, Transition};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::UnixMillis;

/// How a task fares, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRun {
    /// Which task.
    pub task: TaskId,
    /// Whose it is.
    pub user: UserId,
    /// How many targets have which status.
    pub statistics: Statistics,
    /// What became of them, by outcome and account.
    #[serde(default, skip_serializing_if = "Tally::is_empty")]
    pub tally: Tally,
    /// How fast it goes.
    pub pace: TaskPace,
    /// What slowed it down of late.
    #[serde(default, skip_serializing_if = "Trouble::is_empty")]
    pub trouble: Trouble,
    /// Whether it goes at all.
    pub breaker: Breaker,
    /// `PEER_FLOOD`s since it was started or resumed.
    pub peer_floods: u8,
    /// Accounts that may not act in its group, since it was started or resumed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out: Vec<AccountId>,
    /// Nobody was left when it was started or resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub began_with_nobody: bool,
    /// What its group was before it moved, as far as an account was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_group: Option<MarkedId>,
    /// The invite links that it has sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<SentLink>,
    /// Attempts so far: the number of the next line of its log.
    pub attempts: u64,
    /// When the newest of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt_at: Option<UnixMillis>,
}

impl TaskRun {
    /// Nothing was done yet.
    pub fn new(task: &Task) -> Self {
        Self {
            task: task.id,
            user: task.user.clone(),
            statistics: Statistics::default(),
            tally: Tally::default(),
            pace: TaskPace::new(parallel_max(task)),
            trouble: Trouble::default(),
            breaker: Breaker::default(),
            peer_floods: 0,
            out: Vec::new(),
            began_with_nobody: false,
            former_group: None,
            links: Vec::new(),
            attempts: 0,
            last_attempt_at: None,
        }
    }

    /// The task starts or is resumed: a person has decided, and what was counted against it begins anew. `steady` is
    /// on the timeline of caps.
    fn begin(&mut self, steady: UnixMillis) {
        self.peer_floods = 0;
        self.out.clear();
        self.began_with_nobody = self.statistics.unfinished() == 0;
        self.breaker.resume(steady);
    }

    /// The task was edited from `before`: it may have other accounts now, and another group.
    pub fn edited(&mut self, before: &Task, task: &Task) {
        self.pace.resize(parallel_max(task));
        if before.target_group_id != task.target_group_id {
            self.former_group = None;
            self.links.clear();
        }
    }

    /// A link was sent. The first time that an account sends its own counts.
    pub fn note_link(&mut self, sent: SentLink) {
        if !self.has_sent_link_of(sent.account) {
            self.links.push(sent);
        }
    }

    /// Whether the link of an account was sent before.
    pub fn has_sent_link_of(&self, account: AccountId) -> bool {
        self.links.iter().any(|known| known.account == account)
    }

    /// Its accounts, without those that are out of it.
    pub fn accounts<'a>(&'a self, task: &'a Task) -> impl Iterator<Item = AccountId> + 'a {
        task.account_ids.iter().copied().filter(|account| !self.out.contains(account))
    }
}

/// Gives a task an order, and what follows it for how the task fares. `wall` is shown to people, `steady` is on the
/// timeline of caps.
///
/// # Errors
/// As [`Task::order`]; nothing has changed then.
pub fn order(
    (task, run): (&mut Task, &mut TaskRun),
    order: Order,
    wall: UnixMillis,
    steady: UnixMillis,
) -> Result<Transition, NotNow> {
    let transition = task.order(order, wall)?;
    match transition {
        Transition::To(TaskStatus::Running) => run.begin(steady),
        Transition::To(TaskStatus::Completed) if run.began_with_nobody => {
            let is_empty = run.statistics.total() == 0;
            let because = if is_empty {
                CompletionReason::NoTargets
            } else {
                CompletionReason::NobodyPending
            };
            task.completed_because = Some(because);
        }
        Transition::To(_) | Transition::Already => {}
    }
    Ok(transition)
}

fn parallel_max(task: &Task) -> u32 {
    u32::try_from(task.account_ids.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::protocol::campaigns::caps::Caps;
    use crate::protocol::campaigns::target::TargetStatus;
    use crate::protocol::campaigns::task::{TaskRequest, TaskType};

    #[test]
    fn a_task_that_had_nobody_left_when_it_began_says_so_when_it_completes() {
        let request = TaskRequest {
            task_type: Some(TaskType::SendMessages),
            title: "Meetup".into(),
            message_template: Some("Hi".into()),
            audience_basis: "signed up".into(),
            ..TaskRequest::default()
        };
        let (at, user) = (UnixMillis(5), UserId::new("ann").unwrap());
        let names = (TaskId(Uuid::nil()), user);
        let draft = Task::new(names, request, (&Caps::default(), false), at).unwrap();
        let completed = |listed: &[TargetStatus], ends: &[(TargetStatus, TargetStatus)]| {
            let (mut task, mut run) = (draft.clone(), TaskRun::new(&draft));
            listed.iter().for_each(|status| run.statistics.add(*status));
            order((&mut task, &mut run), Order::Start, at, at).unwrap();
            ends.iter().for_each(|(from, to)| run.statistics.moved(*from, *to));
            order((&mut task, &mut run), Order::Done, at, at).unwrap();
            let json = serde_json::to_string(&(&task, &run)).unwrap();
            assert_eq!(
                serde_json::from_str::<(Task, TaskRun)>(&json).unwrap(),
                (task.clone(), run)
            );
            task.completed_because
        };
        let (pending, sent) = (TargetStatus::Pending, TargetStatus::Sent);
        assert_eq!(completed(&[], &[]), Some(CompletionReason::NoTargets));
        assert_eq!(completed(&[sent], &[]), Some(CompletionReason::NobodyPending));
        assert_eq!(completed(&[sent, pending], &[(pending, sent)]), None);
    }
}
