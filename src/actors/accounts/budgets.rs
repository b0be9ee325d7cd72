//! Budgets at work: what each account has done of what campaigns may do, over rolling hours and days, and the clock that
//! these are counted by. One count for a person at Telegram, whoever acts: campaigns take from it before they act, and
//! an account's own users count into it. What is taken is returned as writes, which belong into the commit of the
//! intent; the rules are `protocol/campaigns/{caps,account}.rs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::actors::tree::context::Context;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::account::{ActorRecord, CampaignAccount, Holding, budget_of};
use crate::protocol::campaigns::answers::AccountVerdict;
use crate::protocol::campaigns::caps::{Budget, CapClock, Caps, Usage};
use crate::protocol::campaigns::target::Step;
use crate::protocol::telegram::server_time::SteadyMillis;
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;
use crate::store::{CampaignClock, Op, Reader, RowId, StoreError};

/// The budgets of all accounts that somebody has asked for since the daemon started.
pub(in crate::actors) struct Budgets(Mutex<Known>);

struct Known {
    accounts: BTreeMap<AccountId, CampaignAccount>,
    /// Which account stands for a person at Telegram. There is one at the most.
    people: HashMap<i64, AccountId>,
    clock: CapClock,
    /// When `clock` was moved last, by the clock that nobody sets.
    moved_at: SteadyMillis,
}

/// What a step takes.
#[derive(Clone, Copy, Debug)]
pub(in crate::actors) struct Taking<'a> {
    /// By which account.
    pub(in crate::actors) account: AccountId,
    /// What is about to be done.
    pub(in crate::actors) step: Step,
    /// Whether the text has a link.
    pub(in crate::actors) has_link: bool,
    /// The caps that hold.
    pub(in crate::actors) caps: &'a Caps,
    /// How long the account rests after it, milliseconds.
    pub(in crate::actors) pause_ms: i64,
}

/// Something that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) struct Taken {
    account: AccountId,
    budget: Budget,
    /// When, on the steady timeline.
    pub(in crate::actors) at: UnixMillis,
}

impl Budgets {
    /// Goes on where the store left the clock; with the wall clock where it never had one.
    pub(in crate::actors) fn new(stored: Option<CapClock>, context: &Context) -> Self {
        let clock = stored.unwrap_or_else(|| CapClock::at(context.now()));
        let moved_at = context.clock.steady();
        Self(Mutex::new(Known {
            accounts: BTreeMap::new(),
            people: HashMap::new(),
            clock,
            moved_at,
        }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time it is on the steady timeline.
    pub(in crate::actors) fn now(&self, context: &Context) -> UnixMillis {
        self.known().now(context)
    }

    /// Sees to it that the budgets of `account` are known.
    ///
    /// # Errors
    /// When the store cannot be read: then nothing may be done.
    pub(in crate::actors) async fn load(
        &self,
        context: &Context,
        account: &OwnedAccount,
    ) -> Result<(), StoreError> {
        let (id, person) = (account.id, account.telegram_id);
        if self.known().people.get(&person) == Some(&id) {
            return Ok(());
        }
        let read = move |store: &Reader| {
            let record: Option<ActorRecord> = store.shared_row(RowId::of_person(person))?;
            Ok((record, store.use_counts(person)?))
        };
        let (record, counts) = context.store.read(read).await?;
        let mut known = self.known();
        let now = known.now(context);
        let before = known.people.insert(person, id);
        if before == Some(id) {
            // Somebody else was faster, and may have taken something by now.
            return Ok(());
        }
        let before = before.and_then(|before| known.accounts.remove(&before));
        let found = match (before, record) {
            // It was connected anew: what was done under its former id counts.
            (Some(before), _) => CampaignAccount { id, is_gone: false, ..before },
            (None, Some(record)) => CampaignAccount::restored(id, record, counts),
            (None, None) => {
                let age = context.now().0.saturating_sub(account.created_at.0).max(0);
                let mut usage = Usage::none(person, now.plus_ms(-age));
                usage.restore(counts);
                CampaignAccount::fresh(id, usage)
            }
        };
        known.accounts.insert(id, found);
        Ok(())
    }

    /// Looks at all accounts at one moment of the steady timeline, or changes what is known of how they stand.
    pub(in crate::actors) fn with<T>(
        &self,
        context: &Context,
        with: impl FnOnce(&mut BTreeMap<AccountId, CampaignAccount>, UnixMillis) -> T,
    ) -> T {
        let mut known = self.known();
        let now = known.now(context);
        with(&mut known.accounts, now)
    }

    /// Takes what a step costs. The writes that are returned have to be durable before the step.
    ///
    /// # Errors
    /// What holds the account; nothing is taken then.
    pub(in crate::actors) fn take(
        &self,
        context: &Context,
        taking: &Taking<'_>,
    ) -> Result<(Taken, Vec<Op>), Option<Holding>> {
        let mut known = self.known();
        let at = known.now(context);
        let clock = known.clock;
        let account = known.accounts.get_mut(&taking.account).ok_or(None)?;
        let Taking { step, has_link, caps, pause_ms, .. } = *taking;
        // Whoever takes has it in hand already, until whoever chose it hears that the action is over.
        account.is_busy = false;
        let took = account.take(step, has_link, (caps, pause_ms), at);
        account.is_busy = true;
        took.map_err(Some)?;
        let budget = budget_of(step, has_link);
        let taken = Taken { account: taking.account, budget, at };
        Ok((taken, writes(account, Some((budget, at)), clock)))
    }

    /// Gives back what was taken for something that certainly never left this process. Answers what is to be written.
    pub(in crate::actors) fn give_back(&self, taken: Taken) -> Vec<Op> {
        let mut known = self.known();
        let clock = known.clock;
        let Some(account) = known.accounts.get_mut(&taken.account) else { return Vec::new() };
        account.usage.give_back(taken.budget, taken.at);
        writes(account, Some((taken.budget, taken.at)), clock)
    }

    /// Takes note of what an answer means for an account. Whether it is free is said by whoever chose it, once the
    /// outcome is durable. Answers what is to be written.
    pub(in crate::actors) fn answered(
        &self,
        context: &Context,
        account: AccountId,
        verdict: AccountVerdict,
        step: Step,
    ) -> Vec<Op> {
        let mut known = self.known();
        let (now, clock) = (known.now(context), known.clock);
        let Some(account) = known.accounts.get_mut(&account) else { return Vec::new() };
        let (before, is_busy) = (account.record(), account.is_busy);
        account.apply(verdict, step, now);
        account.is_busy = is_busy;
        if account.record() == before { Vec::new() } else { writes(account, None, clock) }
    }

    /// An account's own user has it write to somebody: it counts, and can be given back. Answers what is to be written
    /// in the same commit, too; `None` for an account that is gone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::actors) async fn note_message(
        &self,
        context: &Context,
        account: &OwnedAccount,
    ) -> Result<Option<(Taken, Vec<Op>)>, StoreError> {
        self.load(context, account).await?;
        let mut known = self.known();
        let at = known.now(context);
        let Some(account) = known.accounts.get_mut(&account.id) else { return Ok(None) };
        let budget = Budget::Message;
        account.usage.note(budget, at);
        let counts = account.usage.counts(budget, at).iter().map(Op::put_shared).collect();
        Ok(Some((Taken { account: account.id, budget, at }, counts)))
    }
}

impl Known {
    /// Moves the clock to now: as far as the clock went that nobody sets, and over a time in which the daemon was
    /// down as far as Telegram says.
    fn now(&mut self, context: &Context) -> UnixMillis {
        let steady = context.clock.steady();
        let passed = steady.0.saturating_sub(self.moved_at.0);
        self.moved_at = steady;
        self.clock.advance(u64::try_from(passed).unwrap_or(0));
        if let Some(telegram) = context.clocks.telegrams_now() {
            self.clock.confirm(telegram);
        }
        self.clock.now()
    }
}

/// What is kept of an account's budgets: the counts of what changed, the rest of it where it changes, and the clock.
fn writes(
    account: &CampaignAccount,
    spent: Option<(Budget, UnixMillis)>,
    clock: CapClock,
) -> Vec<Op> {
    let counts = spent.map(|(budget, at)| account.usage.counts(budget, at)).unwrap_or_default();
    let mut ops: Vec<Op> = counts.iter().map(Op::put_shared).collect();
    ops.push(Op::put_shared(&account.record()));
    ops.push(Op::put_shared(&CampaignClock { clock }));
    ops
}
