//! What came of an action: what follows for the person, the account and the task, all in one commit; then the allocator
//! hears of it.

use std::time::Duration;

use super::acting::known_as;
use super::calling::Found;
use super::{CampaignMsg, CampaignState};
use crate::actors::accounts::budgets::Taken;
use crate::actors::campaigns::allocator::AllocatorMsg;
use crate::actors::campaigns::context::{Refused, Refusing};
use crate::actors::campaigns::platform::{GiveBack, Person, Told};
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};
use crate::failpoint;
use crate::protocol::campaigns::answers::{
    AccountVerdict, Answer, Attempt, Judgement, PassOn, TargetVerdict, apply_to_run,
    apply_to_target, judge, may_get_link,
};
use crate::protocol::campaigns::attempt::AttemptRecord;
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::choose::Action;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::respect::{Contacted, Covers, Source};
use crate::protocol::campaigns::settle::unclear_pause_ms;
use crate::protocol::campaigns::target::{
    Details, Reason, Step, Target, TargetError, TargetStatus,
};
use crate::protocol::campaigns::task::Order;
use crate::protocol::campaigns::waiting::{Reach, WaitingTarget, next_step};
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;
use crate::store::Op;
use crate::tasks;

/// Waits that are shorter are kept by the account that was told of them: looking somebody up once more is dear.
const PASSED_ON_AFTER_SECONDS: u32 = 60;

/// What came of an action.
pub(in crate::actors) struct Answered {
    pub(super) action: Action,
    pub(super) told: Told<Found>,
    /// What was taken for it.
    pub(super) taken: Taken,
    pub(super) give_back: GiveBack,
    /// Which contact with the person was the last before this, unless an earlier try of this may have reached them.
    pub(super) before: Option<Option<Contacted>>,
    pub(super) began: UnixMillis,
    pub(super) took: Duration,
}

impl CampaignState {
    /// What came of an action: for the person, the account and the task.
    pub(super) async fn answered(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        answered: Answered,
    ) -> Result<(), ActorProcessingErr> {
        failpoint::stumble("campaign.answered", &self.task.id);
        let Answered { action, told, taken, give_back, before, began, took } = answered;
        let Some(target) = self.book.target(action.target).cloned() else {
            return self.drop_action(action, None);
        };
        let Told { mut answer, code, found } = told;
        if let Some(Found::Person(person)) = &found {
            answer = recognise(person);
        }
        let attempt = self.attempt_of(&target, action, answer);
        let judgement = judge(answer, &attempt);
        let mut ops = Vec::new();
        let change = |target: &mut Target| {
            match &found {
                Some(Found::Person(person)) if answer == Answer::Accepted => learn(target, person)?,
                Some(Found::Message(id) | Found::Link(id, _)) => target.message_id = Some(*id),
                _ => {}
            }
            apply_to_target(&judgement, target)
        };
        let changed = self.book.change(action.target, &mut self.run, change);
        match changed {
            Ok(((), changes)) => {
                ops.extend(changes);
                self.book.status(action.target).into_iter().for_each(|it| self.count_processed(it));
            }
            Err(Some(error)) => {
                // It was pinned to somebody else: the name has changed hands.
                tracing::info!(campaign = %self.task.id, %error, "a target does not take an outcome");
                let skipped = TargetStatus::Skipped;
                ops.extend(self.become_status(
                    action.target,
                    skipped,
                    Some(Reason::IdentityChanged),
                ));
            }
            Err(None) => {}
        }
        if let (Answer::Accepted, Some(Found::Person(person))) = (answer, &found) {
            let known = self.known.entry(person.id).or_default();
            if !known.contains(&action.account) {
                known.push(action.account);
            }
            if person.is_contact || action.step == Step::AddContact {
                self.contacts.insert((person.id, action.account));
            }
        }
        if let Some(Found::Link(_, Some(sent))) = &found {
            self.run.note_link(*sent);
        }
        if answer == Answer::NotBegun {
            ops.extend(self.context.budgets.give_back(taken));
            give_back();
        }
        if self.book.target(action.target).is_some_and(|target| !target.may_have_been_contacted()) {
            ops.extend(before.and_then(|before| self.not_contacted(action, &target, before)));
        }
        ops.extend(self.context.budgets.answered(
            &self.context,
            action.account,
            judgement.account,
            action.step,
        ));
        let (left, order) = self.apply(action, &judgement);
        let after = self.book.target(action.target).cloned();
        if let Some(after) = &after {
            self.note_person(after);
            ops.push(self.attempt_row(action, after, code, began, took));
        }
        let refused = judgement.remember.zip(after.as_ref());
        let refusing =
            refused.map(|((covers, source), after)| self.refuse(covers, source, after, &mut ops));
        ops.push(Op::put_row(&self.run));
        failpoint::reach("campaign.outcome.before");
        let durable = self.submit(ops).await?;
        let waiting = match &after {
            Some(after) => self.waits_again(after, action, &judgement),
            None => None,
        };
        let allocator = self.allocator.clone();
        let over = self.over(action.target, waiting);
        let contacting = self.acting.remove(&action.target).and_then(|acting| acting.contacting);
        self.book.release(TargetBlock::of(action.target));
        let (gone, task) = (left.then_some(action.account), self.task.id);
        tasks::brief(async move {
            let is_durable = durable.await.is_ok();
            failpoint::reach("campaign.outcome.after");
            drop((refusing, contacting));
            if is_durable {
                if let Some(over) = over {
                    let _ = allocator.cast(over);
                }
                if let Some(account) = gone {
                    let _ = allocator.cast(AllocatorMsg::AccountLeft { task, account });
                }
            }
        });
        let unsettled = after.is_some_and(|after| after.status == TargetStatus::Uncertain);
        if unsettled {
            self.settle_soon(myself);
        }
        self.show();
        if let Some(Found::Moved(group)) = found {
            let told = Told::done(group);
            let heeded = self.heed_rights(action.account, &told);
            // What it was told too late is told again when the campaign runs next.
            if self.is_running() {
                self.go_where_the_group_is(myself, action.account, heeded).await?;
            }
        }
        if let Some(order) = order {
            self.follow(myself, order, Vec::new()).await?;
        }
        self.end_if_done(myself).await
    }

    /// What is written where certainly nobody was reached: other tasks may contact them as before.
    fn not_contacted(
        &self,
        action: Action,
        target: &Target,
        before: Option<Contacted>,
    ) -> Option<Op> {
        let person = target.person.filter(|_| action.step.reaches())?;
        let user = &self.task.user;
        Some(match before {
            Some(before) => self.context.contacted(person, user, before),
            None => self.context.never_contacted(person, user),
        })
    }

    fn attempt_of(&self, target: &Target, action: Action, answer: Answer) -> Attempt {
        let known = self.knowing(target);
        let is_repeat = target.intent.as_deref().is_some_and(|intent| intent.is_repeat);
        // What people write is not kept, and the beginning of a chat can be deleted: that they were the ones who wrote
        // first is never certain.
        let wrote = false;
        Attempt {
            step: action.step,
            is_repeat,
            attempts: target.attempts,
            is_known_elsewhere: known.iter().any(|account| *account != action.account),
            can_be_looked_up: !matches!(target.identifier, Identifier::Id(_)),
            may_get_link: self.settings.link_fallback && may_get_link(answer, wrote, false),
        }
    }

    /// Applies a judgement to how the task fares. Answers whether the account leaves the task, and the order that
    /// follows.
    fn apply(&mut self, action: Action, judgement: &Judgement) -> (bool, Option<Order>) {
        let is_left = matches!(
            judgement.account,
            AccountVerdict::Blocked | AccountVerdict::OutOfTask | AccountVerdict::Limited
        );
        if judgement.account == AccountVerdict::OutOfTask && !self.run.out.contains(&action.account)
        {
            self.run.out.push(action.account);
        }
        if judgement.account == AccountVerdict::ForgetsPeer
            && let Some(person) = self.book.target(action.target).and_then(|target| target.person)
            && let Some(known) = self.known.get_mut(&person)
        {
            known.retain(|account| *account != action.account);
        }
        match judgement.account {
            AccountVerdict::Waits { .. } => self.context.metrics.campaigns.waited(),
            AccountVerdict::Blocked | AccountVerdict::Limited => {
                self.context.metrics.campaigns.account_blocked();
            }
            _ => {}
        }
        let any = self.is_any_account_left(is_left.then_some(action.account));
        let steady = self.steady();
        let order = apply_to_run(judgement, &mut self.run, any, steady);
        let leaves =
            matches!(judgement.account, AccountVerdict::Blocked | AccountVerdict::OutOfTask);
        (leaves, order)
    }

    /// A line of the log.
    pub(super) fn attempt_row(
        &mut self,
        action: Action,
        after: &Target,
        code: Option<String>,
        began: UnixMillis,
        took: Duration,
    ) -> Op {
        let number = self.run.attempts;
        self.run.attempts += 1;
        self.run.last_attempt_at = Some(began);
        code.iter().for_each(|code| self.run.tally.note_code(code));
        Op::put_row(&AttemptRecord {
            user: self.task.user.clone(),
            task: self.task.id,
            number,
            target: action.target,
            account: Some(action.account),
            step: Some(action.step),
            at: began,
            took_ms: u32::try_from(took.as_millis()).ok(),
            status: after.status,
            reason: after.reason,
            code,
            text_version: after.text_version,
        })
    }

    /// Writes down a refusal that outlives the task, under every name of the person.
    pub(super) fn refuse(
        &self,
        covers: Covers,
        source: Source,
        target: &Target,
        ops: &mut Vec<Op>,
    ) -> Refusing {
        let known = known_as(target);
        let group = self.task.target_group_id.filter(|_| covers == Covers::ThisGroup);
        let refused = Refused { covers, group, source, is_doubtful: false };
        let refusing = self.context.refusing(self.context.keys(&known));
        ops.extend(self.context.put_refusals(&self.task.user, &refused, &known));
        refusing
    }

    /// Who may take the target other than the account of `action`; `None`: nobody.
    fn passed_on(&self, after: &Target, action: Action) -> Option<WaitingTarget> {
        let is_other = |account: &AccountId| *account != action.account;
        let knowing: Vec<AccountId> = self.knowing(after).into_iter().filter(is_other).collect();
        if !knowing.is_empty() {
            return WaitingTarget::of(after, Reach::KnownBy(knowing.into()), action.step);
        }
        let step = next_step(after, self.task.task_type, false)?;
        let others = self.run.accounts(&self.task).filter(is_other);
        let others: Vec<AccountId> =
            others.filter(|account| !self.gone.contains(account)).collect();
        let by = (!others.is_empty()).then_some(others)?;
        WaitingTarget::of(after, Reach::KnownBy(by.into()), step)
    }

    /// Who may take the target next, if somebody is to.
    fn waits_again(
        &mut self,
        after: &Target,
        action: Action,
        judgement: &Judgement,
    ) -> Option<WaitingTarget> {
        let waiting = self.queued(after)?;
        match judgement.target {
            TargetVerdict::Pending(PassOn::SameAccount) => {
                WaitingTarget::of(after, Reach::Only(action.account), action.step)
            }
            // Whoever added a contact goes on with them.
            TargetVerdict::GoesOn if action.step == Step::AddContact => {
                let by = [action.account].into();
                WaitingTarget::of(after, Reach::KnownBy(by), waiting.step)
            }
            // Whom only this account knows another looks up, rather than have them wait for long.
            TargetVerdict::Pending(PassOn::Anybody) if waits_long(judgement.account) => {
                Some(self.passed_on(after, action).unwrap_or(waiting))
            }
            TargetVerdict::Uncertain => {
                // Most were looked up before.
                let pause = unclear_pause_ms(after.attempts.saturating_sub(2));
                let not_before = Some(self.steady().plus_ms(pause));
                Some(WaitingTarget { not_before, ..waiting })
            }
            _ => Some(waiting),
        }
    }
}

/// Whether an account has to wait for so long that its target is better passed on.
fn waits_long(verdict: AccountVerdict) -> bool {
    matches!(verdict, AccountVerdict::Waits { seconds } if seconds >= PASSED_ON_AFTER_SECONDS)
}

/// Whether whoever was found is somebody who can be contacted.
fn recognise(person: &Person) -> Answer {
    match (person.is_deleted, person.is_bot) {
        (true, _) => Answer::NoSuchPerson,
        (false, true) => Answer::Bot,
        (false, false) => Answer::Accepted,
    }
}

/// Takes note of who was found.
fn learn(target: &mut Target, person: &Person) -> Result<(), TargetError> {
    target.pin(person.id)?;
    target.note_names(person.names.iter().cloned());
    let mut details = target.details.take().map(|details| *details).unwrap_or_default();
    let fill = |slot: &mut Option<Box<str>>, found: &Option<String>| {
        if slot.is_none() {
            *slot = found.clone().map(String::into_boxed_str);
        }
    };
    fill(&mut details.username, &person.username);
    fill(&mut details.first_name, &person.first_name);
    fill(&mut details.last_name, &person.last_name);
    target.details = (details != Details::default()).then(|| Box::new(details));
    Ok(())
}
