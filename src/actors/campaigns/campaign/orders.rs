//! What people want of a campaign, and what follows by itself: orders, edits, its end. A change is durable before it is
//! answered, and pausing takes effect before the next action.

use std::sync::Arc;
use std::time::Duration;

use super::{CampaignMsg, CampaignState};
use crate::actors::campaigns::allocator::AllocatorMsg;
use crate::actors::campaigns::supervisor::CampaignsMsg;
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef, RpcReplyPort};
use crate::actors::tree::calling::broken;
use crate::failpoint;
use crate::protocol::answers::refusal::{Code, FieldError, Refusal};
use crate::protocol::audit::log::{AuditEvent, Details};
use crate::protocol::campaigns::run;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::TargetStatus;
use crate::protocol::campaigns::task::{
    Blocked, NotNow, Order, PauseReason, RequestError, Task, TaskRequest, TaskStatus, Transition,
};
use crate::protocol::feed::event::FeedEvent;
use crate::protocol::users::owner::{Caller, Role};
use crate::store::{Op, StoreError};

/// What a person wants of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It starts, at its time if that has not come.
    Start,
    /// It stops before the next action.
    Pause,
    /// It goes on.
    Resume,
    /// It is given up; what is in flight is settled.
    Cancel,
}

impl Wanted {
    fn action(self) -> &'static str {
        match self {
            Self::Start => "campaign.start",
            Self::Pause => "campaign.pause",
            Self::Resume => "campaign.resume",
            Self::Cancel => "campaign.cancel",
        }
    }
}

/// What a campaign is to be.
#[derive(Clone, Debug)]
pub struct Edit {
    /// All of it.
    pub request: TaskRequest,
    /// Only if it is at this revision.
    pub revision: Option<u64>,
    /// Whether the person confirms that the audience basis holds.
    pub confirms_basis: bool,
}

impl CampaignState {
    /// A person's order. Answers the task as it is then.
    pub(super) async fn wanted(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        wanted: Wanted,
        who: &Caller,
    ) -> Result<Task, Refusal> {
        let order = match wanted {
            Wanted::Start | Wanted::Resume if self.is_for_later() => Order::Schedule,
            Wanted::Start => Order::Start,
            Wanted::Pause => Order::Pause(PauseReason::Asked),
            Wanted::Resume => Order::Resume,
            Wanted::Cancel => Order::Cancel,
        };
        // One at a time of a user begins to run, so that no more do than may; a pause waits for nobody.
        let (user, context) = (self.task.user.clone(), Arc::clone(&self.context));
        let _turn = match order {
            Order::Start | Order::Schedule | Order::Resume => {
                let turn = context.user_locks.take(&user).await;
                let blocked = self.blocked_by(order == Order::Schedule).await;
                let blocked = blocked.map_err(|error| broken(&error))?;
                if let Some((_, refusal)) = blocked {
                    return Err(refusal);
                }
                Some(turn)
            }
            _ => None,
        };
        let audit = match wanted {
            Wanted::Start | Wanted::Resume => self.audit_basis(who, wanted.action(), &self.task),
            Wanted::Pause | Wanted::Cancel => self.audit(who, wanted.action()),
        };
        match self.try_follow(myself, order, vec![audit]).await {
            Ok(_) => Ok(self.task.clone()),
            Err(Unfollowed::NotNow(not_now)) => Err(not_allowed(not_now)),
            Err(Unfollowed::Store(refusal)) => Err(refusal),
        }
    }

    fn is_for_later(&self) -> bool {
        self.task.is_for_later(self.context.settings.max_late_ms, self.context.now())
    }

    /// What keeps it from running, also in words. Asked while the user's turn is held.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn blocked_by(
        &self,
        is_for_later: bool,
    ) -> Result<Option<(Blocked, Refusal)>, StoreError> {
        let running = self.context.campaigns_running(&self.task.user).await?;
        let blocked = self.task.blocked_by(running, self.context.settings.running_max as usize);
        // What waits for its time has its turn then.
        let blocked = blocked.filter(|why| !is_for_later || *why != Blocked::TooManyRunning);
        let blocked = match blocked {
            Some(blocked) => blocked,
            None if self.context.has_no_contact_time(&self.settings).await => {
                Blocked::NoContactTime
            }
            None => return Ok(None),
        };
        let detail = match blocked {
            Blocked::BasisNotConfirmed => {
                "the task is a duplicate, and its audience_basis was given for other people: send it once more with PUT, \
                 as it is or better"
                    .to_owned()
            }
            Blocked::NoAccounts => {
                "the task has no accounts that could act: set account_ids".to_owned()
            }
            Blocked::TooManyRunning => format!(
                "{running} tasks of this user are running, as many as may (campaign.max_running_per_user): pause one, \
                 or wait until one is done"
            ),
            Blocked::NoContactTime => {
                "settings.quiet_hours, settings.calendar and settings.zones leave no time in which people may be \
                 contacted: change them"
                    .to_owned()
            }
        };
        Ok(Some((blocked, Refusal::new(Code::Conflict, detail))))
    }

    /// Pauses it where `settings` leave no time for contacts, unless they have changed meanwhile.
    pub(super) async fn no_contact_time(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        settings: &Arc<Settings>,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_running() || !Arc::ptr_eq(settings, &self.settings) {
            return Ok(());
        }
        self.follow(myself, Order::Pause(PauseReason::NoContactTime), Vec::new()).await
    }

    /// An order that follows by itself. One that does not fit any more is passed over.
    pub(super) async fn follow(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        order: Order,
        also: Vec<Op>,
    ) -> Result<(), ActorProcessingErr> {
        match Box::pin(self.try_follow(myself, order, also)).await {
            Ok(_) | Err(Unfollowed::NotNow(_)) => Ok(()),
            Err(Unfollowed::Store(refusal)) => Err(refusal.to_string().into()),
        }
    }

    async fn try_follow(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        order: Order,
        mut ops: Vec<Op>,
    ) -> Result<(), Unfollowed> {
        let (wall, steady) = (self.context.now(), self.steady());
        let (mut task, mut fares) = (self.task.clone(), self.run.clone());
        let transition = run::order((&mut task, &mut fares), order, wall, steady);
        let Transition::To(next) = transition.map_err(Unfollowed::NotNow)? else { return Ok(()) };
        ops.extend([Op::update_row(&task), Op::put_row(&fares)]);
        failpoint::reach("campaign.order.before");
        self.commit(ops).await.map_err(Unfollowed::Store)?;
        failpoint::reach("campaign.order.after");
        let because = task.paused_because;
        tracing::info!(campaign = %task.id, from = ?self.task.status, to = ?next, ?because, "a campaign goes on to another status");
        (self.task, self.run) = (task, fares);
        self.count_status(next);
        self.show();
        match next {
            TaskStatus::Running => {
                self.open(myself);
                if self.run.statistics.unfinished() == 0 {
                    // Nobody is there for whom anything could be done.
                    Box::pin(self.follow_done(myself)).await?;
                }
            }
            TaskStatus::Scheduled => {
                self.number += 1;
                let due = CampaignMsg::Due { epoch: self.number };
                let _ = myself.cast(due);
            }
            _ => {
                self.leave();
                if next == TaskStatus::Cancelled && self.is_to_settle() {
                    self.settle_soon(myself);
                }
            }
        }
        Ok(())
    }

    fn count_status(&self, status: TaskStatus) {
        let metrics = &self.context.metrics.campaigns;
        metrics.became(status.name());
        if let (TaskStatus::Completed, Some(since)) = (status, self.task.started_at) {
            let took = self.context.now().0.saturating_sub(since.0).max(0);
            metrics.took(Duration::from_millis(took.unsigned_abs()));
        }
    }

    async fn follow_done(&mut self, myself: &ActorRef<CampaignMsg>) -> Result<(), Unfollowed> {
        self.try_follow(myself, Order::Done, Vec::new()).await
    }

    /// The daemon stops.
    pub(super) fn stop(&mut self, reply: RpcReplyPort<()>) {
        self.leave();
        self.is_stopping = true;
        self.stopping = Some(reply);
    }

    /// It does not run any more: what was chosen is not begun.
    pub(super) fn leave(&mut self) {
        self.number += 1;
        self.beside.clear();
        self.to_enter.clear();
        self.is_entered = false;
        let _ = self.allocator.cast(AllocatorMsg::Leave { task: self.task.id });
    }

    /// Completes it when nobody is pending, in flight or uncertain, and has a person look when only such are left as
    /// nobody can settle.
    pub(super) async fn end_if_done(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
    ) -> Result<(), ActorProcessingErr> {
        if self.task.status != TaskStatus::Running {
            return Ok(());
        }
        let statistics = &self.run.statistics;
        if statistics.unfinished() == 0 {
            return self.follow(myself, Order::Done, Vec::new()).await;
        }
        let left =
            statistics.count(TargetStatus::Pending) + statistics.count(TargetStatus::InFlight);
        if left == 0 && self.is_entered && self.is_beyond_settling() {
            return self.follow(myself, Order::Pause(PauseReason::Unsettled), Vec::new()).await;
        }
        if self.is_entered && !self.is_to_settle() && self.is_stranded() {
            return self.follow(myself, Order::Pause(PauseReason::NoAccountLeft), Vec::new()).await;
        }
        Ok(())
    }

    /// Whether it may become `task`: what was tried for somebody, with an outcome that is not known, was tried with the
    /// text and in the group of now, and is settled by them.
    fn may_mean_another(&self, task: &Task) -> Result<(), Refusal> {
        let is_same = task.target_group_id == self.task.target_group_id
            && task.message_template == self.task.message_template
            && task.settings.opt_out_line == self.task.settings.opt_out_line;
        let open = [TargetStatus::InFlight, TargetStatus::Uncertain];
        let open: u64 = open.into_iter().map(|status| self.run.statistics.count(status)).sum();
        if is_same || open == 0 {
            return Ok(());
        }
        let detail = format!(
            "what became of {open} people is not known yet, and is found out with the text and the group of now: resume the task until that is settled, or give these targets up (bulk-action `give_up`), and then change it"
        );
        Err(Refusal::new(Code::Conflict, detail))
    }

    /// Changes what it is.
    pub(super) async fn edit(
        &mut self,
        _myself: &ActorRef<CampaignMsg>,
        edit: Edit,
        who: &Caller,
    ) -> Result<Task, Refusal> {
        self.is_at(edit.revision)?;
        let is_admin = who.role == Role::Admin;
        let mut task = self.task.clone();
        let edited = task.edit(edit.request, (&self.context.settings.caps, is_admin));
        edited.map_err(|errors| refused(&errors))?;
        self.may_mean_another(&task)?;
        if edit.confirms_basis && !task.is_basis_confirmed {
            task.confirm_basis();
        }
        let mut run = self.run.clone();
        run.edited(&self.task, &task);
        let raises = task.raised_caps.is_some() && task.raised_caps != self.task.raised_caps;
        let raised = raises.then(|| self.audit(who, "campaign.caps.raise"));
        let audit = self.audit_basis(who, "campaign.edit", &task);
        let mut ops = vec![Op::update_row(&task), Op::put_row(&run), audit];
        if task.is_basis_confirmed && !self.task.is_basis_confirmed {
            ops.push(self.audit_basis(who, "campaign.basis.confirm", &task));
        }
        let (before, after) = (self.task.settings.ignore_recontact, task.settings.ignore_recontact);
        ops.extend(raised);
        if before != after {
            ops.push(self.audit(who, ignore_recontact_action(after)));
        }
        self.commit(ops).await?;
        (self.task, self.run) = (task, run);
        self.read_task();
        self.show();
        if self.is_entered {
            let (task, standing) = (self.task.id, Box::new(self.standing()));
            let _ = self.allocator.cast(AllocatorMsg::Stands { task, standing });
        }
        Ok(self.task.clone())
    }

    /// Deletes it with all its targets and its log. No refusal goes with it.
    pub(super) async fn delete(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        who: &Caller,
    ) -> Result<(), Refusal> {
        if !self.task.status.may_be_deleted() || !self.acting.is_empty() {
            let detail = "the task is running or scheduled; pause or cancel it first, and wait until what is in \
                          flight is settled";
            return Err(Refusal::new(Code::Conflict, detail));
        }
        let (user, task) = (&self.task.user, self.task.id);
        let with = vec![self.audit(who, "campaign.delete")];
        let deleted = self.context.store.delete_task(user, task, with).await;
        deleted.map_err(|error| broken(&error))?;
        self.context.status.campaign_gone(user, task);
        self.context.changes.tell(user, FeedEvent::CampaignRemoved(task));
        let _ = self.supervisor.cast(CampaignsMsg::Deleted { task });
        myself.stop(None);
        Ok(())
    }

    /// Whether it is at the revision that somebody has seen.
    pub(super) fn is_at(&self, revision: Option<u64>) -> Result<(), Refusal> {
        if revision.is_none_or(|revision| revision == self.task.revision) {
            return Ok(());
        }
        let detail =
            "the task has changed since you read it (If-Match): read it again, and then change it";
        Err(Refusal::new(Code::PreconditionFailed, detail))
    }

    pub(super) fn audit(&self, who: &Caller, action: &str) -> Op {
        Op::Audit(self.audit_event(who, action))
    }

    /// With how the people of the task agreed.
    fn audit_basis(&self, who: &Caller, action: &str, task: &Task) -> Op {
        Op::Audit(self.audit_event(who, action).with(Details::new(&task.audience_basis)))
    }

    fn audit_event(&self, who: &Caller, action: &str) -> AuditEvent {
        let event = AuditEvent::by(who, &self.task.user, action, self.context.now());
        event.on(self.task.id)
    }
}

/// What the audit log calls it when somebody chooses whether people whom another task has reached lately are contacted
/// all the same.
pub(in crate::actors) fn ignore_recontact_action(is_on: bool) -> &'static str {
    if is_on { "campaign.ignore_recontact.on" } else { "campaign.ignore_recontact.off" }
}

/// Why an order was not followed.
pub(super) enum Unfollowed {
    NotNow(NotNow),
    Store(Refusal),
}

fn not_allowed(not_now: NotNow) -> Refusal {
    let NotNow { from, order } = not_now;
    let from = from.name();
    let detail = match order {
        Order::Start | Order::Resume | Order::Cancel => {
            format!("the task is {from}, which does not become anything else by this order")
        }
        Order::Schedule => format!("the task is {from}, and is not scheduled any more"),
        _ => format!("the task is {from}, which does not take this order"),
    };
    Refusal::new(Code::Conflict, detail)
}

/// What is wrong with a request, by field.
pub(in crate::actors) fn refused(errors: &[RequestError]) -> Refusal {
    if errors.contains(&RequestError::NotEditable) {
        return Refusal::new(Code::Conflict, RequestError::NotEditable.to_string());
    }
    let field = |error: &RequestError| {
        let (field, message) = (error.field().to_owned(), error.to_string());
        FieldError { field, message }
    };
    let errors: Vec<FieldError> = errors.iter().map(field).collect();
    let detail = errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ");
    Refusal { errors, ..Refusal::new(Code::Validation, detail) }
}
