//! Who would be contacted first and by whom, as things are: the choices of a running campaign made in thought, with the
//! same function, until some people were reached. Bounded work. Pure.

use std::collections::BTreeMap;

use super::account::CampaignAccount;
use super::caps::{Caps, DAY_MS};
use super::choose::{Choice, RunningTask, Turns, choose};
use super::pace::Allowance;
use super::target::{Step, TargetId};
use super::task::{Priority, TaskId};
use super::waiting::{Reach, Waiting, WaitingTarget};
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;

/// Choices for one person who is reached, at the most: looked up, made a contact, reached, and pauses between.
const CHOICES_PER_PERSON: usize = 16;

/// A task as it would run.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsal<'a> {
    /// The task.
    pub task: TaskId,
    /// What it comes to for each person.
    pub goal: Step,
    /// Its accounts.
    pub accounts: &'a [AccountId],
    /// The caps that hold for it.
    pub caps: &'a Caps,
    /// Whether its text has a link.
    pub has_link: bool,
    /// The pause after an action, milliseconds.
    pub pause_ms: i64,
    /// Now, on the steady timeline.
    pub steady: UnixMillis,
}

impl Rehearsal<'_> {
    /// The first `wanted` people of those who wait, each with the account that would reach them; fewer where no more
    /// would be within a day.
    pub fn first(
        &self,
        waiting: Vec<WaitingTarget>,
        mut accounts: BTreeMap<AccountId, CampaignAccount>,
        wanted: usize,
    ) -> Vec<(TargetId, AccountId)> {
        let (mut now, mut turns, mut queue) = (self.steady, Turns::default(), Waiting::default());
        waiting.into_iter().for_each(|target| queue.put(target, now));
        let mut found = Vec::new();
        for _ in 0..wanted.saturating_mul(CHOICES_PER_PERSON) {
            if found.len() >= wanted || now.0.saturating_sub(self.steady.0) > DAY_MS {
                break;
            }
            queue.release(now);
            let running = [self.running(&queue)];
            match choose(&running, &accounts, &turns, now) {
                Choice::Act(action) => {
                    turns.took(&action, &running);
                    queue.remove(action.target);
                    let Some(account) = accounts.get_mut(&action.account) else { break };
                    let (step, caps) = (action.step, (self.caps, self.pause_ms));
                    if account.take(step, self.has_link, caps, now).is_err() {
                        break;
                    }
                    account.is_busy = false;
                    if step.reaches() {
                        found.push((action.target, action.account));
                        continue;
                    }
                    let reach = Reach::KnownBy([action.account].into());
                    let (id, step, not_before, zone) = (action.target, self.goal, None, None);
                    queue.put(WaitingTarget { id, reach, step, not_before, zone }, now);
                }
                Choice::Nothing { until: Some(until), .. } if until > now => now = until,
                Choice::Nothing { .. } => break,
            }
        }
        found
    }

    fn running<'a>(&'a self, waiting: &'a Waiting) -> RunningTask<'a> {
        RunningTask {
            id: self.task,
            priority: Priority::Normal,
            waiting,
            goal: self.goal,
            accounts: self.accounts,
            caps: self.caps,
            has_link: self.has_link,
            in_flight: 0,
            parallel: u32::MAX,
            allowance: Allowance::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::protocol::campaigns::caps::Usage;

    #[test]
    fn people_are_reached_by_whoever_knows_them_or_looked_them_up_and_work_is_shared() {
        let ids: Vec<_> = (1..=2).map(|id| AccountId(Uuid::from_u128(id))).collect();
        let account = |id: &AccountId| {
            (*id, CampaignAccount::fresh(*id, Usage::none(1, UnixMillis(i64::MIN / 2))))
        };
        let accounts: BTreeMap<_, _> = ids.iter().map(account).collect();
        let caps = Caps::default();
        let rehearsal = Rehearsal {
            task: TaskId(Uuid::from_u128(1)),
            goal: Step::Send,
            accounts: &ids,
            caps: &caps,
            has_link: false,
            pause_ms: 15_000,
            steady: UnixMillis(0),
        };
        let waits = |id, reach, step| WaitingTarget {
            id: TargetId(id),
            reach,
            step,
            not_before: None,
            zone: None,
        };
        let mut waiting = vec![waits(0, Reach::KnownBy([ids[1]].into()), Step::Send)];
        waiting.extend((1..8).map(|id| waits(id, Reach::Anybody, Step::Resolve)));
        let first = rehearsal.first(waiting.clone(), accounts.clone(), 6);
        assert_eq!(first.len(), 6);
        assert_eq!(first[0], (TargetId(0), ids[1]));
        assert!(ids.iter().all(|id| first.iter().any(|(_, by)| by == id)), "{first:?}");
        let people: std::collections::BTreeSet<_> = first.iter().map(|(id, _)| *id).collect();
        assert_eq!(people.len(), 6, "each once");
        let away = accounts
            .into_iter()
            .map(|(id, account)| (id, CampaignAccount { is_connected: false, ..account }));
        assert_eq!(rehearsal.first(waiting, away.collect(), 6), []);
    }
}
