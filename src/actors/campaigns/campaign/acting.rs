//! One action up to its call: look whether the person may be contacted, take caps, target and person in the commit of
//! the intent, and have it called once that is durable.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::calling::Calling;
use super::group::Heeded;
use super::outcome::Answered;
use super::{Acting, CampaignMsg, CampaignState};
use crate::actors::accounts::budgets::Taking;
use crate::actors::campaigns::allocator::AllocatorMsg;
use crate::actors::campaigns::context::{CampaignsContext, Contacting};
use crate::actors::campaigns::platform::{DayLimit, Deputy, Group, Reserved, Told};
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};
use crate::actors::tree::calling::broken;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::answers::refusal;
use crate::protocol::campaigns::answers::{AccountVerdict, Answer};
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::choose::Action;
pub(super) use crate::protocol::campaigns::fitness::known_as;
use crate::protocol::campaigns::fitness::{Rules, Seen, Verdict};
use crate::protocol::campaigns::respect::{Contacted, Refusal, SuppressionKey};
use crate::protocol::campaigns::target::{Intent, Reason, Step, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Order, PauseReason, TaskStatus};
use crate::protocol::campaigns::text::Rendered;
use crate::protocol::campaigns::waiting::WaitingTarget;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::Scope;
use crate::store::{CommitError, ContactedRecord, Op, Reader, StoreError};
use crate::tasks;

/// How long somebody waits whom another campaign is contacting just now, or of whom nothing can be read, milliseconds.
pub(super) const LATER_MS: i64 = 30_000;
/// The same of somebody who opts out just now.
const OPTING_OUT_MS: i64 = 200;
/// The same where a cap that was free when it was chosen is not any more, at least.
const HELD_MS: i64 = 1_000;

/// What is known of somebody before they are contacted.
pub(in crate::actors) struct Prepared {
    action: Action,
    /// Their block, if it was not open.
    block: Option<TargetBlock>,
    found: Result<Looked, Unfit>,
}

/// What was looked up.
struct Looked {
    by: Deputy,
    keys: Vec<SuppressionKey>,
    /// What was true of refusals when they were looked for.
    mark: u64,
    refusals: Vec<Refusal>,
    contacted: Option<Contacted>,
    contacting: Option<Contacting>,
    reserved: Reserved,
    /// What the account was told of the group, where it had not been asked before.
    rights: Option<Told<Group>>,
}

/// Why nothing was looked up.
enum Unfit {
    /// The account is not there any more.
    NoAccount,
    /// There is no such target (any more).
    NoTarget,
    /// Another campaign is contacting them.
    Taken,
    /// The account has sent what it may in a day.
    DayLimit(DayLimit),
    /// The group could not be looked at.
    Unasked(Answer),
    Unreadable(StoreError),
}

impl CampaignState {
    /// The allocator has chosen.
    pub(super) fn act(&mut self, myself: &ActorRef<CampaignMsg>, action: Action) {
        // Chosen before the allocator heard that it does not run any more. Whoever is acted for waits afterwards.
        if !self.is_running() || self.acting.contains_key(&action.target) {
            return;
        }
        let number = TargetBlock::of(action.target);
        let known = self.book.hold(number).then(|| self.book.target(action.target).cloned());
        let account =
            self.context.directory.get(&Scope::Only(self.task.user.clone()), action.account);
        let (context, run) = (Arc::clone(&self.context), self.number);
        let by = account.map(|account| Deputy { account, task: self.task.id });
        let unseen = self.unseen_group(action);
        let (user, task, myself) = (self.task.user.clone(), self.task.id, myself.clone());
        let work = tasks::owned(async move {
            let mut block = None;
            let target = match known {
                Some(known) => Ok(known),
                None => {
                    let read =
                        move |store: &Reader| store.row::<TargetBlock>(&user, (task, number));
                    context.store.read(read).await.map(|read| {
                        let target =
                            read.as_ref().and_then(|block| block.get(action.target).cloned());
                        block = read;
                        target
                    })
                }
            };
            let found = match (target, by) {
                (Err(error), _) => Err(Unfit::Unreadable(error)),
                (_, None) => Err(Unfit::NoAccount),
                (Ok(None), _) => Err(Unfit::NoTarget),
                (Ok(Some(target)), Some(by)) => look(&context, by, action, &target, unseen).await,
            };
            let prepared = Box::new(Prepared { action, block, found });
            let _ = myself.cast(CampaignMsg::Prepared { run, prepared });
        });
        let acting = Acting { contacting: None, _work: work };
        self.acting.insert(action.target, acting);
    }

    pub(super) fn is_running(&self) -> bool {
        self.task.status == TaskStatus::Running && !self.is_stopping
    }

    /// It is known whether they may be contacted.
    pub(super) async fn prepared(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        prepared: Prepared,
        run: u64,
    ) -> Result<(), ActorProcessingErr> {
        let Prepared { action, block, found } = prepared;
        block.into_iter().for_each(|block| self.book.read(block));
        let is_over = run != self.number || !self.is_running();
        let mut looked = match found {
            // Chosen in an earlier run: nothing is counted, and in a later run they wait again.
            _ if is_over => return self.put_back(action, 0),
            Ok(looked) => looked,
            Err(Unfit::NoTarget) => return self.drop_action(action, None),
            Err(Unfit::NoAccount) => {
                let left =
                    AllocatorMsg::AccountLeft { task: self.task.id, account: action.account };
                let _ = self.allocator.cast(left);
                return self.put_back(action, 0);
            }
            Err(Unfit::Taken) => return self.put_back(action, LATER_MS),
            Err(Unfit::DayLimit(DayLimit { seconds })) => {
                let verdict = AccountVerdict::SpentDay { seconds };
                let ops = self.context.budgets.answered(
                    &self.context,
                    action.account,
                    verdict,
                    action.step,
                );
                self.submit(ops).await?;
                return self.put_back(action, 0);
            }
            Err(Unfit::Unasked(Answer::Wait { seconds })) => {
                // The account has it noted already, for calls of that kind.
                return self.put_back(action, (i64::from(seconds) * 1_000).max(LATER_MS));
            }
            Err(Unfit::Unasked(answer)) => {
                tracing::warn!(campaign = %self.task.id, account = %action.account, ?answer, "an account does not take a step of its campaign");
                return self.put_back(action, LATER_MS);
            }
            Err(Unfit::Unreadable(error)) => {
                tracing::error!(campaign = %self.task.id, %error, "nothing can be read of somebody who is to be contacted; it is tried again");
                return self.put_back(action, LATER_MS);
            }
        };
        if let Some(told) = looked.rights.take() {
            let heeded = self.heed_rights(action.account, &told);
            if heeded != Heeded::Fine {
                drop(looked);
                self.put_back(action, 0)?;
                return self.go_where_the_group_is(myself, action.account, heeded).await;
            }
        }
        if !self.context.is_still_free(&looked.keys, looked.mark) {
            // Somebody opts out in this moment: it is looked again a moment later.
            drop(looked);
            return self.put_back(action, OPTING_OUT_MS);
        }
        let target = self.book.target(action.target);
        let is_uncertain = target.is_some_and(|it| it.status == TargetStatus::Uncertain);
        let is_too_late = target.is_some_and(|it| is_uncertain && !self.may_be_sent_again(it));
        match self.verdict(action, &looked) {
            // What may have reached them is not sent again to somebody who is not to be contacted any more, or so late
            // that it could come a second time: a person decides.
            Verdict::Go(_) if is_too_late => self.leave_to_a_person(myself, action).await,
            Verdict::Skip(..) if is_uncertain && action.step.reaches() => {
                self.leave_to_a_person(myself, action).await
            }
            Verdict::Skip(status, reason) => self.end_target(myself, action, status, reason).await,
            // The allocator finds the same, and passes them over until it is day where they are.
            Verdict::Later(_) => self.put_back(action, HELD_MS),
            Verdict::Gone => self.drop_action(action, None),
            Verdict::Go(text) => self.intend(myself, action, looked, text).await,
        }
    }

    /// Nobody but a person can say what becomes of an uncertain one.
    async fn leave_to_a_person(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        action: Action,
    ) -> Result<(), ActorProcessingErr> {
        self.beyond.insert(action.target);
        self.drop_action(action, None)?;
        self.end_if_done(myself).await
    }

    /// Whether they may be contacted, and what they are written.
    fn verdict(&self, action: Action, looked: &Looked) -> Verdict {
        let Some(target) = self.book.target(action.target) else { return Verdict::Gone };
        let days = self.context.settings.recontact_days;
        let rules = Rules {
            task: self.task.id,
            goal: self.task.task_type.goal(),
            group: self.task.target_group_id,
            former_group: self.run.former_group,
            list: self.context.list_of(&self.task.user),
            recontact_days: if self.settings.ignore_recontact { 0 } else { days },
            template: self.template.as_ref(),
            opt_out_line: self.settings.opt_out_line.as_deref(),
            settings: &self.settings,
            wall: self.context.now(),
            steady: self.steady(),
        };
        let known = target.person.and_then(|person| self.people.get(&person));
        let seen = Seen {
            refusals: &looked.refusals,
            contacted: looked.contacted.as_ref(),
            is_another: known.is_some_and(|owner| owner.target != target.id),
        };
        rules.verdict(target, action.step, &seen)
    }

    /// Takes everything at once, durably, and then calls.
    async fn intend(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        action: Action,
        looked: Looked,
        text: Option<Rendered>,
    ) -> Result<(), ActorProcessingErr> {
        let Looked { by, contacting, reserved, keys, mark, contacted, .. } = looked;
        let caps = self.caps();
        let least = self.settings.pause_seconds(self.context.settings.min_pause_seconds);
        let taking = Taking {
            account: action.account,
            step: action.step,
            // As the allocator has chosen by; a link that came with somebody's name is found here alone.
            has_link: action.step == Step::SendLink
                || text.as_ref().is_some_and(|text| text.has_link || self.has_link()),
            caps: &caps,
            pause_ms: self.run.pace.pause_ms(least, self.context.jitter()),
        };
        let (taken, mut ops) = match self.context.budgets.take(&self.context, &taking) {
            Ok(taken) => taken,
            Err(held) => {
                let until = held.and_then(|held| held.until);
                let left = until.map_or(HELD_MS, |until| until.0.saturating_sub(self.steady().0));
                return self.put_back(action, left.max(HELD_MS));
            }
        };
        let (now, steady) = (self.context.now(), self.steady());
        let version = self.task.text_version;
        let random_id = self.context.chance.any();
        let begun = self.book.change(action.target, &mut self.run, |target| {
            let known =
                target.intent.as_deref().filter(|_| target.status == TargetStatus::Uncertain);
            let random_id = known.map_or(random_id, |intent| intent.random_id);
            // A repetition is as old as the first time: Telegram remembers a number for so long only.
            let at = known.map_or(steady, |intent| intent.at);
            let wall = known.map_or(Some(now), |intent| intent.wall);
            let (account, step) = (action.account, action.step);
            let intent = Intent { account, step, random_id, at, wall, is_repeat: false };
            target.begin(intent, version).map(|()| target.clone())
        });
        let (target, changes) = match begun {
            Ok(begun) => begun,
            Err(_) => {
                let back = self.context.budgets.give_back(taken);
                self.submit(back).await?;
                return self.drop_action(action, None);
            }
        };
        self.note_person(&target);
        if action.is_probe {
            self.run.breaker.probe();
        }
        ops.extend(changes);
        ops.push(Op::put_row(&self.run));
        if let Some(person) = target.person.filter(|_| action.step.reaches()) {
            let contacted = Contacted { task: self.task.id, at: taken.at };
            ops.push(self.context.contacted(person, &self.task.user, contacted));
        }
        let (counted, give_back) = reserved.spend();
        ops.extend(counted);
        let (Some(intent), group) = (target.intent.clone(), self.task.target_group_id) else {
            return Ok(());
        };
        failpoint::reach("campaign.intent.before");
        let durable = self.submit(ops).await?;
        let (context, myself) = (Arc::clone(&self.context), myself.clone());
        let is_first_link = !self.run.has_sent_link_of(action.account);
        let intent = *intent;
        let calling = Calling { context, by, action, target, intent, text, group, is_first_link };
        let work = tasks::owned(async move {
            // Where it does not become durable the store has failed, and everything ends.
            let Ok(()) = durable.await else { return };
            failpoint::reach("campaign.intent.after");
            let began = instant();
            // Whoever opted out before this was durable is not contacted: it is looked again.
            let told = if calling.context.is_still_free(&keys, mark) {
                calling.call().await
            } else {
                Told::not_done(Answer::NotBegun, "OPTS_OUT")
            };
            let took = began.elapsed();
            let before = (!intent.is_repeat).then_some(contacted);
            let answered = Answered { action, told, taken, give_back, before, began: now, took };
            let _ = myself.cast(CampaignMsg::Answered(Box::new(answered)));
        });
        self.acting.insert(action.target, Acting { contacting, _work: work });
        Ok(())
    }

    /// Nothing is done about a target now; it waits again, for `later_ms` at least.
    fn put_back(&mut self, action: Action, later_ms: i64) -> Result<(), ActorProcessingErr> {
        let target = self.book.target(action.target).cloned();
        let waiting = target.and_then(|target| self.queued(&target));
        let not_before = (later_ms > 0).then(|| self.steady().plus_ms(later_ms));
        let waiting = waiting.map(|waiting| WaitingTarget { not_before, ..waiting });
        self.drop_action(action, waiting)
    }

    /// An action is over without having been done.
    pub(super) fn drop_action(
        &mut self,
        action: Action,
        waiting: Option<WaitingTarget>,
    ) -> Result<(), ActorProcessingErr> {
        self.acting.remove(&action.target);
        self.book.release(TargetBlock::of(action.target));
        if let Some(over) = self.over(action.target, waiting) {
            let _ = self.allocator.cast(over);
        }
        Ok(())
    }

    /// What the allocator is told when an action is over. While the campaign opens anew there is nothing to tell it:
    /// who waits is kept for its entry, since whoever read them meanwhile passed over who was acted for.
    pub(super) fn over(
        &mut self,
        target: TargetId,
        waiting: Option<WaitingTarget>,
    ) -> Option<AllocatorMsg> {
        if !self.is_entered {
            self.to_enter.extend(waiting);
            return None;
        }
        let (task, standing) = (self.task.id, Box::new(self.standing()));
        Some(AllocatorMsg::Over { task, target, waiting, standing })
    }

    /// A target comes to its end without a call.
    async fn end_target(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        action: Action,
        status: TargetStatus,
        reason: Reason,
    ) -> Result<(), ActorProcessingErr> {
        let mut ops = self.become_status(action.target, status, Some(reason));
        if let Some(after) = self.book.target(action.target).cloned() {
            let now = self.context.now();
            ops.push(self.attempt_row(action, &after, None, now, Duration::ZERO));
        }
        ops.push(Op::put_row(&self.run));
        self.submit(ops).await?;
        self.drop_action(action, None)?;
        if reason == Reason::TextTooLong {
            let order = Order::Pause(PauseReason::TextTooLong);
            self.follow(myself, order, Vec::new()).await?;
        }
        self.end_if_done(myself).await
    }

    /// Gives a target another status. Answers what is to be written, without how the task fares. Its block has to be
    /// held.
    pub(super) fn become_status(
        &mut self,
        id: TargetId,
        status: TargetStatus,
        reason: Option<Reason>,
    ) -> Vec<Op> {
        let changed =
            self.book.change(id, &mut self.run, |target| target.become_status(status, reason));
        let Ok(((), ops)) = changed else { return Vec::new() };
        if let Some(after) = self.book.target(id).cloned() {
            self.note_person(&after);
            self.count_processed(after.status);
        }
        ops
    }

    /// Counts a target that came to its end.
    pub(super) fn count_processed(&self, status: TargetStatus) {
        if status.is_final() {
            self.context.metrics.campaigns.processed(status.name());
        }
    }

    /// Hands writes to the store. What is returned tells when they are durable.
    pub(super) async fn submit(
        &mut self,
        ops: Vec<Op>,
    ) -> Result<oneshot::Receiver<()>, ActorProcessingErr> {
        let (tell, durable) = oneshot::channel();
        let handed = self.book.hand_over();
        let told = move |outcome: Result<(), CommitError>| {
            if outcome.is_ok() {
                handed.came_through();
                let _ = tell.send(());
            }
        };
        self.context.store.submit(ops, told).await?;
        Ok(durable)
    }

    /// The same, and waits until they are durable.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn commit(&mut self, ops: Vec<Op>) -> Result<(), refusal::Refusal> {
        let handed = self.book.hand_over();
        self.context.store.commit(ops).await.map_err(|error| broken(&error))?;
        handed.came_through();
        Ok(())
    }
}

/// Looks up what must be known before somebody is contacted.
async fn look(
    context: &Arc<CampaignsContext>,
    by: Deputy,
    action: Action,
    target: &Target,
    unseen: Option<MarkedId>,
) -> Result<Looked, Unfit> {
    let person = target.person;
    let contacting = match person.filter(|_| action.step.reaches()) {
        Some(person) => Some(context.contact(person, by.task).ok_or(Unfit::Taken)?),
        None => None,
    };
    if action.step.reaches() {
        // How old an intent is depends on it, and what is still free today.
        context.platform.learn_time(&by).await;
    }
    let rights = match unseen {
        Some(group) => Some(context.platform.group(&by, group).await),
        None => None,
    };
    if let Some(Told { answer, found: None, .. }) = &rights
        && *answer != Answer::NoRights
    {
        return Err(Unfit::Unasked(*answer));
    }
    let keys = context.refusal_keys(target);
    let mark = context.refusals_mark();
    let (wanted, list) = (keys.clone(), context.recontact_list(&by.account.user));
    let read = move |store: &Reader| {
        let mut refusals = Vec::new();
        for key in &wanted {
            refusals.extend(store.refusals(*key)?);
        }
        let contacted: Option<ContactedRecord> = match person {
            Some(person) => store.shared_row((person, list))?,
            None => None,
        };
        Ok((refusals, contacted.map(|contacted| contacted.last)))
    };
    let (refusals, contacted) = context.store.read(read).await.map_err(Unfit::Unreadable)?;
    let reserved = context.platform.reserve(&by, action.step).await.map_err(Unfit::DayLimit)?;
    Ok(Looked { by, keys, mark, refusals, contacted, contacting, reserved, rights })
}
