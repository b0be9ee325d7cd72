//! A campaign that begins to run, in this life or again: reads whom it is for, finds out which accounts know them and
//! may act in the group, and then has the allocator choose.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{CampaignMsg, CampaignState};
use crate::actors::campaigns::allocator::{AllocatorMsg, Entry};
use crate::actors::campaigns::context::CampaignsContext;
use crate::actors::campaigns::platform::{Deputy, Group, Told};
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::schedule::Due;
use crate::protocol::campaigns::target::{Reason, Step, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Blocked, Order, PauseReason, TaskId, TaskStatus, TaskType};
use crate::protocol::campaigns::waiting::{Reach, WaitingTarget, next_step};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::{AccountId, Scope, UserId};
use crate::store::{Op, Reader, StoreError};

/// Blocks that are read at a time, so that nobody waits for long behind them.
const BLOCKS_AT_ONCE: u32 = 64;
/// How long such a piece may take.
const READ_MAX: Duration = Duration::from_secs(30);
/// The longest timer: schedules are looked at again after it, since clocks are set.
const DUE_LOOK_MAX_MS: i64 = 60_000;
/// How often one that is due looks whether it may run, while as many run as may.
const ROOM_LOOK: Duration = Duration::from_secs(5);
/// Pause before what could not be read is read again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What was read of a campaign that begins to run, piece by piece.
pub(in crate::actors) enum Loaded {
    /// What the accounts may do in the group.
    Rights(Vec<(AccountId, Told<Group>)>),
    /// Some of its people.
    Piece {
        blocks: Vec<TargetBlock>,
        /// Which accounts can name whom of them.
        known: HashMap<i64, Vec<AccountId>>,
        /// Told when the next piece may come.
        taken: oneshot::Sender<()>,
    },
    /// That was all.
    Whole,
    /// It could not be read.
    Failed(StoreError),
}

/// Whom a campaign is for, and by whom.
struct Reading {
    context: Arc<CampaignsContext>,
    user: UserId,
    task: TaskId,
    blocks: u32,
    accounts: Vec<AccountId>,
    /// Where people are invited to.
    group: Option<MarkedId>,
}

impl CampaignState {
    /// It lives: goes on with what the store says.
    pub(super) async fn begin(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
    ) -> Result<(), ActorProcessingErr> {
        // Whatever was on its way in an earlier life is settled; so is the breaker's probe.
        let steady = self.steady();
        self.run.breaker.forget_probe(steady);
        match self.task.status {
            TaskStatus::Running => self.open(myself),
            TaskStatus::Scheduled => self.due(myself).await?,
            TaskStatus::Cancelled => self.settle_what_is_left(myself).await?,
            _ => {}
        }
        Ok(())
    }

    /// It was given up, and an earlier life may have left something on its way.
    async fn settle_what_is_left(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let left: Vec<TargetId> =
            self.book.with_status(&[TargetStatus::InFlight], None).map(|(id, _)| id).collect();
        for id in left {
            let number = TargetBlock::of(id);
            self.hold(number).await.map_err(|refusal| refusal.to_string())?;
            let reason = Some(Reason::NoAnswer);
            let mut ops = self.become_status(id, TargetStatus::Uncertain, reason);
            self.book.release(number);
            ops.push(Op::put_row(&self.run));
            self.submit(ops).await?;
        }
        if self.is_to_settle() {
            self.settle_soon(myself);
        }
        Ok(())
    }

    /// Its time may have come.
    pub(super) async fn due(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(schedule) = &self.task.schedule else { return Ok(()) };
        if self.task.status != TaskStatus::Scheduled {
            return Ok(());
        }
        let now = self.context.now();
        match schedule.due(self.context.settings.max_late_ms, now) {
            Due::At(at) => {
                let pause = at.0.saturating_sub(now.0).clamp(1, DUE_LOOK_MAX_MS);
                let epoch = self.number;
                let again = move || CampaignMsg::Due { epoch };
                myself.send_after(Duration::from_millis(pause.unsigned_abs()), again);
            }
            Due::Now { late_ms } => {
                let (user, context) = (self.task.user.clone(), Arc::clone(&self.context));
                let _turn = context.user_locks.take(&user).await;
                if let Some((blocked, why)) = self.blocked_by(false).await? {
                    if blocked == Blocked::NoContactTime {
                        let order = Order::Pause(PauseReason::NoContactTime);
                        return self.follow(myself, order, Vec::new()).await;
                    }
                    // It has its turn when another one is done, and says how late it is then.
                    let why = why.detail;
                    tracing::debug!(campaign = %self.task.id, why, "a campaign that is due has to wait");
                    let epoch = self.number;
                    myself.send_after(ROOM_LOOK, move || CampaignMsg::Due { epoch });
                    return Ok(());
                }
                self.follow(myself, Order::Due { late_ms }, Vec::new()).await?;
            }
            Due::TooLate { .. } => self.follow(myself, Order::TooLate, Vec::new()).await?,
        }
        Ok(())
    }

    /// Begins a run: reads first.
    pub(super) fn open(&mut self, myself: &ActorRef<CampaignMsg>) {
        self.number += 1;
        self.is_entered = false;
        self.beside.clear();
        let reading = Reading {
            context: Arc::clone(&self.context),
            user: self.task.user.clone(),
            task: self.task.id,
            blocks: self.book.blocks(),
            accounts: self.task.account_ids.clone(),
            group: self.task.target_group_id,
        };
        (self.known, self.people) = (HashMap::new(), HashMap::new());
        self.stranded.clear();
        self.unknown.clear();
        self.book.begin_reading();
        self.gone.clear();
        self.seen_group.clear();
        self.to_enter = Vec::new();
        let (myself, run) = (myself.clone(), self.number);
        self.run_beside(async move {
            let tell = |loaded| {
                let _ = myself.cast(CampaignMsg::Loaded { run, loaded: Box::new(loaded) });
            };
            match reading.load(&tell).await {
                Ok(()) => tell(Loaded::Whole),
                Err(error) => tell(Loaded::Failed(error)),
            }
        });
    }

    /// Something was read.
    pub(super) async fn loaded(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        loaded: Loaded,
    ) -> Result<(), ActorProcessingErr> {
        match loaded {
            Loaded::Rights(rights) => self.take_rights(myself, rights).await,
            Loaded::Piece { blocks, known, taken } => {
                self.known.extend(known);
                let waiting = self.sort(blocks).await?;
                self.to_enter.extend(waiting);
                let _ = taken.send(());
                Ok(())
            }
            Loaded::Whole => self.enter(myself).await,
            Loaded::Failed(error) => {
                tracing::error!(campaign = %self.task.id, %error, "the people of a campaign cannot be read; it is tried again");
                let run = self.number;
                myself.send_after(AGAIN_AFTER, move || CampaignMsg::Reopen { run });
                Ok(())
            }
        }
    }

    /// Everything is known: the allocator may choose.
    async fn enter(&mut self, myself: &ActorRef<CampaignMsg>) -> Result<(), ActorProcessingErr> {
        let waiting = std::mem::take(&mut self.to_enter);
        let entry = Entry {
            task: self.task.id,
            campaign: myself.clone(),
            standing: self.standing(),
            run: self.number,
            waiting,
        };
        self.is_entered = true;
        let _ = self.allocator.cast(AllocatorMsg::Enter(Box::new(entry)));
        self.settle_after(myself, Duration::ZERO);
        self.end_if_done(myself).await
    }

    /// Sorts those for whom something follows: what an earlier life left on its way is uncertain, what nobody can reach
    /// has failed, and all others wait for whoever may take them.
    async fn sort(
        &mut self,
        blocks: Vec<TargetBlock>,
    ) -> Result<Vec<WaitingTarget>, ActorProcessingErr> {
        let mut waiting = Vec::new();
        for block in blocks {
            let number = block.number;
            if self.book.was_written(number) {
                // What was read is older.
                self.hold(number).await.map_err(|refusal| refusal.to_string())?;
            } else {
                self.book.hold(number);
                self.book.read(block);
            }
            let ids: Vec<TargetId> = self.book.block(number).map(ids_of).unwrap_or_default();
            let mut ops = Vec::new();
            for id in ids {
                if self.acting.contains_key(&id) {
                    if let Some(target) = self.book.target(id).cloned() {
                        self.note_person(&target);
                    }
                    continue;
                }
                if self.book.status(id) == Some(TargetStatus::InFlight) {
                    ops.extend(self.become_status(
                        id,
                        TargetStatus::Uncertain,
                        Some(Reason::NoAnswer),
                    ));
                }
                let Some(target) = self.book.target(id).cloned() else { continue };
                self.note_person(&target);
                match self.queued(&target) {
                    Some(found) => waiting.push(found),
                    None if target.status == TargetStatus::Pending => {
                        let reason = Some(Reason::UnknownPeer);
                        ops.extend(self.become_status(id, TargetStatus::Failed, reason));
                    }
                    None => {}
                }
            }
            self.book.release(number);
            if !ops.is_empty() {
                // Of changes of one block only the last has to be written.
                ops.push(Op::put_row(&self.run));
                self.submit(ops).await?;
            }
        }
        Ok(waiting)
    }

    /// How a target waits, if somebody is to do something about it. Whom only accounts know that cannot act now waits
    /// for these. `None` of somebody pending: no account of the task can reach them.
    pub(super) fn queued(&mut self, target: &Target) -> Option<WaitingTarget> {
        self.stranded.remove(&target.id);
        let waiting = self.waiting_for(target);
        if waiting.is_some() || target.status != TargetStatus::Pending {
            return waiting;
        }
        let person = target.person?;
        let by = self.known.get(&person)?.iter().copied();
        let by: Box<[AccountId]> = by.filter(|id| self.task.account_ids.contains(id)).collect();
        if by.is_empty() {
            return None;
        }
        let step = self.next_step(target, true)?;
        let waiting = WaitingTarget::of(target, Reach::KnownBy(by), step);
        self.stranded.insert(target.id, person);
        waiting
    }

    /// Who may take a target, and for what; `None`: nobody can now, or nothing is to be done by an account.
    fn waiting_for(&self, target: &Target) -> Option<WaitingTarget> {
        if target.status == TargetStatus::Uncertain {
            let step = target.intent.as_deref().map(|intent| intent.step)?;
            // An invitation is settled by a look at the group, and not by another one; and what was tried too long
            // ago, or by an account that is gone, by a person.
            let account = target.held_by().filter(|_| step != Step::Invite)?;
            if !self.may_be_sent_again(target) {
                return None;
            }
            return WaitingTarget::of(target, Reach::Only(account), step);
        }
        let mut by = self.knowing(target);
        let is_known = !by.is_empty();
        let step = self.next_step(target, is_known)?;
        if self.is_contact_first(step) {
            // Whoever has them as a contact goes on with them.
            let has = |account: &AccountId| self.is_contact(target, *account);
            if by.iter().any(has) {
                by.retain(has);
            }
        }
        let reach = match self.looked_up_by(target) {
            _ if is_known => Reach::KnownBy(by.into()),
            Some(account) => Reach::Only(account),
            None => Reach::Anybody,
        };
        WaitingTarget::of(target, reach, step)
    }

    /// The account that was told to look somebody up later, as long as it may act: such a wait is never passed on, nor
    /// by a restart.
    fn looked_up_by(&self, target: &Target) -> Option<AccountId> {
        let account = target.looked_up_by()?;
        let is_there = self.run.accounts(&self.task).any(|own| own == account);
        (is_there && !self.gone.contains(&account)).then_some(account)
    }

    /// The accounts of the task that can name the person.
    pub(super) fn knowing(&self, target: &Target) -> Vec<AccountId> {
        let known = target.person.and_then(|person| self.known.get(&person));
        let may_act = |account: &&AccountId| {
            let is_out = self.run.out.contains(account) || self.gone.contains(account);
            self.task.account_ids.contains(account) && !is_out
        };
        known.map(|known| known.iter().filter(may_act).copied().collect()).unwrap_or_default()
    }

    /// The next step of a target for accounts that know the person, or not.
    fn next_step(&self, target: &Target, is_known: bool) -> Option<Step> {
        let step = next_step(target, self.task.task_type, is_known)?;
        let is_contact = || self.knowing(target).into_iter().any(|by| self.is_contact(target, by));
        Some(if self.is_contact_first(step) && !is_contact() { Step::AddContact } else { step })
    }

    /// Whether a person has to be a contact of the account that takes `step`.
    fn is_contact_first(&self, step: Step) -> bool {
        self.settings.add_contacts
            && self.task.task_type == TaskType::InviteToGroup
            && step == Step::Invite
    }

    fn is_contact(&self, target: &Target, account: AccountId) -> bool {
        target.person.is_some_and(|person| self.contacts.contains(&(person, account)))
    }

    /// The allocator was made anew: it is told all again.
    pub(super) fn reenter(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        allocator: ActorRef<AllocatorMsg>,
    ) {
        self.allocator = allocator;
        if self.task.status == TaskStatus::Running {
            self.open(myself);
        }
    }
}

fn ids_of(block: &TargetBlock) -> Vec<TargetId> {
    block.targets.iter().map(|target| target.id).collect()
}

impl Reading {
    /// Reads it, and tells it piece by piece.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn load(self, tell: &(impl Fn(Loaded) + Sync)) -> Result<(), StoreError> {
        // What is on its way to the disk is read, too.
        let _ = self.context.store.commit(Vec::new()).await;
        let scope = Scope::Only(self.user.clone());
        let accounts =
            self.accounts.iter().filter_map(|id| self.context.directory.get(&scope, *id));
        let accounts: Vec<OwnedAccount> = accounts.collect();
        if let Some(group) = self.group {
            let ask = accounts.iter().map(async |account| {
                let by = Deputy { account: account.clone(), task: self.task };
                (account.id, self.context.platform.group(&by, group).await)
            });
            tell(Loaded::Rights(join_all(ask).await));
        }
        let mut from = 0;
        while from < self.blocks {
            let (user, task, to) = (self.user.clone(), self.task, from + BLOCKS_AT_ONCE);
            let read = move |store: &Reader| store.target_blocks(&user, task, from..to);
            let blocks = self.context.store.read_within(READ_MAX, read).await?;
            let known = self.known(&accounts, &blocks).await?;
            let (taken, next) = oneshot::channel();
            tell(Loaded::Piece { blocks, known, taken });
            if next.await.is_err() {
                // The run is over.
                return Ok(());
            }
            from = to;
        }
        Ok(())
    }

    /// Which accounts can name whom of those in `blocks`.
    async fn known(
        &self,
        accounts: &[OwnedAccount],
        blocks: &[TargetBlock],
    ) -> Result<HashMap<i64, Vec<AccountId>>, StoreError> {
        let targets = blocks.iter().flat_map(|block| &block.targets);
        let people: Vec<i64> = targets.filter_map(|target| target.person).collect();
        let mut known: HashMap<i64, Vec<AccountId>> = HashMap::new();
        for account in accounts.iter().filter(|_| !people.is_empty()) {
            for person in self.context.platform.known(account, people.clone()).await? {
                known.entry(person).or_default().push(account.id);
            }
        }
        Ok(known)
    }
}
