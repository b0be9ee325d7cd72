//! Settling what is uncertain: a message is sent again by the account that has tried, with the same `random_id`, and
//! comes through the allocator like any other; an invitation is settled by a look at who is in the group.

use std::sync::Arc;
use std::time::Duration;

use super::{CampaignMsg, CampaignState};
use crate::actors::campaigns::allocator::AllocatorMsg;
use crate::actors::campaigns::context::CampaignsContext;
use crate::actors::campaigns::platform::Deputy;
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};
use crate::failpoint;
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::respect::{Covers, Source};
use crate::protocol::campaigns::settle::{
    AccountState, Membership, RANDOM_ID_KEPT_MS, Settling, age_ms, by_membership, may_be_repeated,
    settle, unclear_pause_ms,
};
use crate::protocol::campaigns::target::{Reason, Step, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{TaskId, TaskStatus};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::{AccountId, Scope};
use crate::store::{Op, Reader};

/// Looks at the uncertain ones that often.
const SETTLE_EVERY: Duration = Duration::from_secs(5);
/// How long it is asked who is in a group, milliseconds: after a day a person looks.
const MEMBERSHIP_ASKED_MS: i64 = RANDOM_ID_KEPT_MS;
/// Targets that are looked at in one go.
const AT_ONCE: usize = 8;
/// Targets for whom another way is looked for in one go, when an account has left.
const LEFT_AT_ONCE: usize = 256;

/// What the group says of somebody.
pub(in crate::actors) struct Settled {
    target: TargetId,
    /// Its block, if it could be read.
    block: Option<TargetBlock>,
    found: Found,
}

enum Found {
    /// It is not the time yet, or nobody can tell.
    Nothing,
    /// Nobody was reached by what was tried: they wait again.
    NotReached,
    Membership(Membership),
    /// Only a person can say: its account is gone, or it was too long ago.
    BeyondSettling,
}

impl CampaignState {
    /// Something is uncertain from here on.
    pub(super) fn settle_soon(&mut self, myself: &ActorRef<CampaignMsg>) {
        self.settle_after(myself, SETTLE_EVERY);
    }

    /// Has the uncertain ones looked at after a pause, unless that is about to be done.
    pub(super) fn settle_after(&mut self, myself: &ActorRef<CampaignMsg>, pause: Duration) {
        if self.is_settling != Some(self.number) {
            self.is_settling = Some(self.number);
            let run = self.number;
            myself.send_after(pause, move || CampaignMsg::Settle { run });
        }
    }

    /// Whether something is uncertain that is settled without a person.
    pub(super) fn is_to_settle(&self) -> bool {
        let mut uncertain = self.book.with_status(&[TargetStatus::Uncertain], None);
        uncertain.any(|(id, _)| !self.beyond.contains(&id))
    }

    /// Whether what a target was sent, if it was, may be sent once more.
    pub(super) fn may_be_sent_again(&self, target: &Target) -> bool {
        let intent = target.intent.as_deref().filter(|intent| intent.step.reaches());
        let (steady, wall) = (self.steady(), self.context.now());
        let may = |intent| may_be_repeated(age_ms(intent, steady, wall), target.attempts);
        intent.is_none_or(may)
    }

    /// Asks the group about the uncertain invitations whose time has come.
    pub(super) fn settle(&mut self, myself: &ActorRef<CampaignMsg>) {
        self.is_settling = None;
        if !matches!(self.task.status, TaskStatus::Running | TaskStatus::Cancelled) {
            return;
        }
        let is_cancelled = self.task.status == TaskStatus::Cancelled;
        let steady = self.steady();
        let is_later = |id: &TargetId| {
            self.unknown.get(id).is_some_and(|(_, not_before)| *not_before > steady)
        };
        let due = |after: Option<TargetId>| -> Vec<TargetId> {
            let uncertain = self.book.with_status(&[TargetStatus::Uncertain], after);
            let ids = uncertain.map(|(id, _)| id);
            let free = |id: &TargetId| !self.acting.contains_key(id) && !self.beyond.contains(id);
            ids.filter(|id| free(id) && !is_later(id)).take(AT_ONCE).collect()
        };
        // From where the last look ended, so that each has its turn.
        let mut uncertain = due(self.settled_to);
        if uncertain.is_empty() {
            uncertain = due(None);
        }
        self.settled_to = uncertain.last().copied();
        if uncertain.is_empty() {
            // Of those that a person has given up nothing is asked any more.
            let book = &self.book;
            self.unknown.retain(|id, _| book.status(*id) == Some(TargetStatus::Uncertain));
            let next = self.unknown.values().map(|(_, not_before)| *not_before).min();
            if let Some(next) = next {
                let left = next.0.saturating_sub(steady.0).max(0).unsigned_abs();
                self.settle_after(myself, Duration::from_millis(left).max(SETTLE_EVERY));
            }
            return;
        }
        self.is_settling = Some(self.number);
        let group = self.task.target_group_id;
        let (context, run) = (Arc::clone(&self.context), self.number);
        let accounts: Vec<AccountId> = self.run.accounts(&self.task).collect();
        let (user, task) = (self.task.user.clone(), self.task.id);
        let wall = self.context.now();
        let myself = myself.clone();
        // As they are known here; `None`: to be read.
        let mut known: Vec<(TargetId, Option<Target>)> = Vec::new();
        for id in uncertain {
            let is_open = self.book.hold(TargetBlock::of(id));
            known.push((id, self.book.target(id).filter(|_| is_open).cloned()));
        }
        self.run_beside(async move {
            let scope = Scope::Only(user.clone());
            for (id, known) in known {
                let (owner, number) = (user.clone(), TargetBlock::of(id));
                let read = move |store: &Reader| store.row::<TargetBlock>(&owner, (task, number));
                let block = match known {
                    Some(_) => None,
                    None => context.store.read(read).await.ok().flatten(),
                };
                let target = known.or_else(|| block.as_ref()?.get(id).cloned());
                let tell = |block, found| {
                    let settled = Box::new(Settled { target: id, block, found });
                    let _ = myself.cast(CampaignMsg::Settled { run, settled });
                };
                let intent = target.as_ref().and_then(|target| target.intent.clone());
                let (Some(target), Some(intent)) = (target, intent) else {
                    tell(block, Found::Nothing);
                    continue;
                };
                let age = age_ms(&intent, steady, wall);
                let is_out = !accounts.contains(&intent.account);
                let state = match state_of(&context, &scope, intent.account) {
                    // It acts for this task no more.
                    AccountState::Usable | AccountState::Away if is_out => AccountState::Gone,
                    state => state,
                };
                let is_invitation = intent.step == Step::Invite;
                let tried = (age, target.attempts);
                let found = match (settle(&intent, state, tried, steady), group) {
                    (Settling::Again, _) => Found::NotReached,
                    (Settling::AskPerson, _) => Found::BeyondSettling,
                    // Nothing is sent for a task that was given up, and nobody says for ever who is in a group.
                    _ if is_cancelled && !is_invitation => Found::BeyondSettling,
                    _ if is_invitation && age >= MEMBERSHIP_ASKED_MS => Found::BeyondSettling,
                    (Settling::AskMembership { not_before }, Some(group))
                        if not_before <= steady =>
                    {
                        let asking = Asking { context: &context, scope: &scope, task, group };
                        Found::Membership(asking.about(&accounts, &target).await)
                    }
                    _ => Found::Nothing,
                };
                tell(block, found);
            }
            tokio::time::sleep(SETTLE_EVERY).await;
            let _ = myself.cast(CampaignMsg::Settle { run });
        });
    }

    /// The group has said what became of an invitation.
    pub(super) async fn settled(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        settled: Settled,
    ) -> Result<(), ActorProcessingErr> {
        let Settled { target: id, block, found } = settled;
        block.into_iter().for_each(|block| self.book.read(block));
        let is_uncertain = self.book.status(id) == Some(TargetStatus::Uncertain);
        let attempts = self.book.target(id).map_or(0, |target| target.attempts);
        let found = match found {
            Found::Membership(Membership::Unknown) if is_uncertain => {
                let times = self.unknown.get(&id).map_or(0, |(times, _)| *times);
                let not_before = self.steady().plus_ms(unclear_pause_ms(times));
                self.unknown.insert(id, (times.saturating_add(1), not_before));
                None
            }
            Found::Membership(found) if is_uncertain && !self.acting.contains_key(&id) => {
                self.unknown.remove(&id);
                by_membership(found, attempts)
            }
            Found::BeyondSettling => {
                self.unknown.remove(&id);
                self.beyond.insert(id);
                None
            }
            Found::NotReached if is_uncertain && !self.acting.contains_key(&id) => {
                Some((TargetStatus::Pending, None))
            }
            Found::Membership(_) | Found::Nothing | Found::NotReached => None,
        };
        let mut ops = Vec::new();
        if let Some((status, reason)) = found {
            if status == TargetStatus::Failed {
                // The group has said that they were not reached, so they have failed for certain.
                ops.extend(self.become_status(id, TargetStatus::Pending, None));
            }
            ops.extend(self.become_status(id, status, reason));
        }
        let after = self.book.target(id).cloned();
        let refusing = after
            .as_ref()
            .filter(|after| !ops.is_empty() && after.reason == Some(Reason::OptedOutOfGroup))
            .map(|after| self.refuse(Covers::ThisGroup, Source::Privacy, after, &mut ops));
        self.book.release(TargetBlock::of(id));
        if ops.is_empty() {
            return self.end_if_done(myself).await;
        }
        ops.push(Op::put_row(&self.run));
        failpoint::reach("campaign.settle.before");
        let durable = self.submit(ops).await?;
        if durable.await.is_err() {
            return Ok(());
        }
        drop(refusing);
        failpoint::reach("campaign.settle.after");
        if let Some(waiting) = after.and_then(|after| self.queued(&after)) {
            let task = self.task.id;
            let wait = AllocatorMsg::Wait { task, waiting };
            let _ = self.allocator.cast(wait);
        }
        self.end_if_done(myself).await
    }

    /// Whether all that is left is beyond what anybody but a person can settle.
    pub(super) fn is_beyond_settling(&self) -> bool {
        let uncertain: Vec<TargetId> =
            self.book.with_status(&[TargetStatus::Uncertain], None).map(|(id, _)| id).collect();
        !uncertain.is_empty() && uncertain.iter().all(|id| self.beyond.contains(id))
    }

    /// An account is gone or out of the task, and with it the way to some: they are looked up anew by others where
    /// that is possible, else they wait for it; and what is uncertain by it waits for a person.
    pub(super) async fn account_left(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        account: AccountId,
        mut targets: Vec<TargetId>,
    ) -> Result<(), ActorProcessingErr> {
        // Whoever resumes it looks at all of them anew.
        if !self.is_running() {
            return Ok(());
        }
        self.gone.insert(account);
        let rest = targets.split_off(targets.len().min(LEFT_AT_ONCE));
        for id in targets {
            let number = TargetBlock::of(id);
            self.hold(number).await.map_err(|refusal| refusal.to_string())?;
            let waiting = self.book.target(id).cloned().and_then(|target| self.queued(&target));
            self.book.release(number);
            if let Some(waiting) = waiting {
                let task = self.task.id;
                let wait = AllocatorMsg::Wait { task, waiting };
                let _ = self.allocator.cast(wait);
            }
        }
        if !rest.is_empty() {
            // Others have their turn in between.
            let _ = myself.cast(CampaignMsg::AccountLeft { account, targets: rest });
            return Ok(());
        }
        self.pause_without_accounts(myself).await?;
        self.end_if_done(myself).await
    }
}

/// Asking who is in a group.
struct Asking<'a> {
    context: &'a Arc<CampaignsContext>,
    scope: &'a Scope,
    task: TaskId,
    group: MarkedId,
}

impl Asking<'_> {
    /// Asks one account after the other, until one can tell.
    async fn about(&self, accounts: &[AccountId], target: &Target) -> Membership {
        let Some(person) = target.person else { return Membership::Unknown };
        for id in accounts {
            let Some(account) = self.context.directory.get(self.scope, *id) else { continue };
            let by = Deputy { account, task: self.task };
            let told = self.context.platform.membership(&by, self.group, person).await;
            match told.found {
                None | Some(Membership::Unknown) => {}
                Some(found) => return found,
            }
        }
        Membership::Unknown
    }
}

/// How the account stands that has tried.
fn state_of(context: &CampaignsContext, scope: &Scope, account: AccountId) -> AccountState {
    let Some(account) = context.directory.get(scope, account) else { return AccountState::Gone };
    let standing = context.platform.standing(&account);
    match (standing.is_gone, standing.is_connected) {
        (true, _) => AccountState::Gone,
        (false, true) => AccountState::Usable,
        (false, false) => AccountState::Away,
    }
}
