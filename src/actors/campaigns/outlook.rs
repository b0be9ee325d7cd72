//! What is ahead of a task: how many are left, by which accounts they are done, and when that will end. The estimate of a
//! running task and of the dry run are the same forecast ([`outlook`]); they differ only in how well who is left is
//! known. Reads in bounded pieces, sends nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::context::CampaignsContext;
use crate::actors::tree::calling::broken;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::account::CampaignAccount;
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::forecast::{Forecast, Question, forecast};
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::target::{Step, Target, TargetStatus};
use crate::protocol::campaigns::task::{Priority, Task, TaskId, TaskStatus};
use crate::protocol::campaigns::text::Template;
use crate::protocol::campaigns::zone::Zone;
use crate::protocol::users::owner::{AccountId, Scope};
use crate::store::{Reader, StoreError};

/// Blocks of which an estimate looks at the people.
const ESTIMATE_BLOCKS_MAX: usize = 64;
/// Pages of statuses that are read at a time.
const PAGES_AT_ONCE: u32 = 64;
/// How long reading may take.
pub(super) const READ_MAX: Duration = Duration::from_secs(10);
/// Accounts that a forecast goes through one by one; of more, some stand for all.
const FORECAST_ACCOUNTS_MAX: usize = 128;
/// Of ten actions a low task gets one while others want the account.
const OTHERS_PER_LOW: u64 = 9;

/// Who is left to be contacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::actors) struct Ahead {
    /// All of them.
    pub(in crate::actors) ready: u64,
    /// Those whose name has to be resolved first.
    pub(in crate::actors) names: u64,
    /// Those whose phone number has to be looked up first.
    pub(in crate::actors) phones: u64,
    /// Those in zones of their own, by the names of these.
    pub(in crate::actors) zones: BTreeMap<Box<str>, u64>,
}

impl Ahead {
    /// One more. `is_known`: some account can name them.
    pub(super) fn count(&mut self, target: &Target, is_known: bool) {
        self.ready += 1;
        if let Some(zone) = target.zone() {
            *self.zones.entry(zone.into()).or_default() += 1;
        }
        match target.identifier {
            _ if is_known => {}
            Identifier::Phone(_) => self.phones += 1,
            _ => self.names += 1,
        }
    }

    /// The same for `all` people, of whom these are some.
    pub(super) fn carried_over(&self, looked_at: u64, all: u64) -> Self {
        let over = |part: u64| carried_over(part, looked_at, all);
        Self {
            ready: over(self.ready),
            names: over(self.names),
            phones: over(self.phones),
            zones: self.zones.iter().map(|(zone, count)| (zone.clone(), over(*count))).collect(),
        }
    }

    /// How those who are not known are looked up, mostly.
    fn lookups(&self) -> (Step, u64) {
        let step = if self.phones > self.names { Step::LookUpPhone } else { Step::Resolve };
        (step, self.names + self.phones)
    }
}

/// A part of some, for all.
pub(super) fn carried_over(part: u64, looked_at: u64, all: u64) -> u64 {
    let over = u128::from(part) * u128::from(all) / u128::from(looked_at.max(1));
    u64::try_from(over).unwrap_or(u64::MAX)
}

/// When a task ends, and by whom.
pub(in crate::actors) struct Outlook {
    pub(in crate::actors) forecast: Forecast,
    /// How its accounts stand.
    pub(in crate::actors) accounts: BTreeMap<AccountId, CampaignAccount>,
}

/// Blocks in which somebody has one of the statuses, as `of` tells, in their order.
pub(super) fn blocks_with(
    store: &Reader,
    task: &Task,
    of: impl Fn(TargetStatus) -> bool,
) -> Result<(u64, Vec<u32>), StoreError> {
    let (mut count, mut blocks, mut from) = (0, Vec::new(), 0);
    loop {
        let pages = store.status_pages(&task.user, task.id, from..from + PAGES_AT_ONCE)?;
        if pages.is_empty() {
            return Ok((count, blocks));
        }
        for (id, _) in pages.iter().flat_map(|page| page.statuses(None)).filter(|(_, at)| of(*at)) {
            count += 1;
            let number = TargetBlock::of(id);
            if blocks.last() != Some(&number) {
                blocks.push(number);
            }
        }
        from += PAGES_AT_ONCE;
    }
}

/// Some of many, evenly spread.
pub(super) fn spread<T: Copy>(all: &[T], max: usize) -> Vec<T> {
    if all.len() <= max {
        return all.to_vec();
    }
    (0..max).map(|at| all[at * all.len() / max]).collect()
}

/// Who is left of a running task. Of many only some are looked at.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::actors) async fn left_of(
    context: &CampaignsContext,
    task: &Task,
) -> Result<Ahead, StoreError> {
    let task = task.clone();
    let waits = |status| matches!(status, TargetStatus::Pending | TargetStatus::InFlight);
    let read = move |store: &Reader| {
        let (left, blocks) = blocks_with(store, &task, waits)?;
        let (mut ahead, mut looked_at) = (Ahead::default(), 0);
        for number in spread(&blocks, ESTIMATE_BLOCKS_MAX) {
            let block = store.row::<TargetBlock>(&task.user, (task.id, number))?;
            let targets = block.iter().flat_map(|block| &block.targets);
            for target in targets.filter(|target| waits(target.status)) {
                looked_at += 1;
                // Whoever has resolved them knows them.
                ahead.count(target, target.person.is_some());
            }
        }
        Ok(ahead.carried_over(looked_at, left))
    };
    context.store.read_within(READ_MAX, read).await
}

/// The accounts of a task that are still there, with what is known of them.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn accounts_of(
    context: &CampaignsContext,
    task: &Task,
    run: &TaskRun,
) -> Result<Vec<OwnedAccount>, StoreError> {
    let scope = Scope::Only(task.user.clone());
    let own = run.accounts(task).filter_map(|id| context.directory.get(&scope, id));
    let own: Vec<OwnedAccount> = own.collect();
    for account in &own {
        context.budgets.load(context, account).await?;
    }
    Ok(own)
}

/// What a task looks forward to. `ahead` are its own people; `delay_ms` passes before it starts; accounts that are
/// `idle` take no part.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::actors) async fn outlook(
    context: &Arc<CampaignsContext>,
    (task, run): (&Task, &TaskRun),
    ahead: Ahead,
    delay_ms: i64,
    idle: Vec<AccountId>,
) -> Result<Outlook, Refusal> {
    let own = accounts_of(context, task, run).await.map_err(|error| broken(&error))?;
    let before = work_before(context, task, ahead.ready).await.map_err(|error| broken(&error))?;
    let standings: Vec<_> =
        own.iter().map(|account| (account.id, context.platform.standing(account))).collect();
    let (accounts, steady) = context.budgets.with(context, |known, now| {
        let as_it_stands = |(id, standing): (AccountId, super::platform::AccountStanding)| {
            let mut account = known.get(&id)?.clone();
            account.is_gone = standing.is_gone;
            account.is_connected = standing.is_connected;
            account.is_busy = false;
            for (scope, left_ms) in standing.waits {
                account.waits.impose(scope, now.plus_ms(left_ms), now);
            }
            Some((id, account))
        };
        let accounts: BTreeMap<AccountId, CampaignAccount> =
            standings.into_iter().filter_map(as_it_stands).collect();
        (accounts, now)
    });
    let caps = task.caps(&context.settings.caps);
    let min_pause_seconds = task.settings.pause_seconds(context.settings.min_pause_seconds);
    let line = task.settings.opt_out_line.as_deref();
    let has_link = template_of(task).is_some_and(|template| template.has_link_with(line));
    let (goal, pace, trouble) = (task.task_type.goal(), run.pace, run.trouble);
    let settings = task.settings.clone();
    let wall = context.now().plus_ms(delay_ms);
    let counted = move || {
        let utc = Zone::utc();
        let times = settings.contact_times(None, &utc);
        let own = ahead.zones.iter();
        let zones: Vec<(Zone, u64)> =
            own.filter_map(|(name, count)| Some((Zone::named(name).ok()?, *count))).collect();
        let usable: Vec<&CampaignAccount> =
            accounts.values().filter(|own| !own.is_gone && !idle.contains(&own.id)).collect();
        let some = spread(&usable, FORECAST_ACCOUNTS_MAX);
        let part = |work: u64| carried_over(work, usable.len() as u64, some.len() as u64);
        let (step, lookups) = ahead.lookups();
        let all = ahead.ready.saturating_add(before);
        // Work for others before it is taken to be where its own people are.
        let there = |count: u64| part(carried_over(count, ahead.ready, all));
        let elsewhere: Vec<_> = zones
            .iter()
            .map(|(zone, count)| (settings.contact_times(Some(zone), &utc), there(*count)))
            .collect();
        let question = Question {
            ready: if usable.len() > some.len() { part(all).max(1) } else { all },
            lookups: (step, part(lookups)),
            step: goal,
            has_link,
            accounts: &some,
            share_percent: 100,
            caps: &caps,
            pace: &pace,
            trouble: &trouble,
            min_pause_seconds,
            times: &times,
            elsewhere: &elsewhere,
            wall,
            steady: steady.plus_ms(delay_ms),
        };
        let mut found = forecast(&question);
        if usable.len() > some.len() {
            let each = ahead.ready / usable.len() as u64;
            found.by_account = usable.iter().map(|account| (account.id, each)).collect();
        } else {
            // What was done for others beside is not this task's.
            found
                .by_account
                .values_mut()
                .for_each(|done| *done = carried_over(*done, all, ahead.ready));
        }
        Outlook { forecast: found, accounts }
    };
    // Weeks of many accounts are some milliseconds.
    let found = tokio::task::spawn_blocking(counted).await;
    found.map_err(|error| broken(&error))
}

/// The text of a task; it was parsed when the task was made.
pub(super) fn template_of(task: &Task) -> Option<Template> {
    task.message_template.as_deref().and_then(|text| Template::parse(text, None).ok())
}

/// How many of other tasks are contacted by the same accounts before the last of a task's own `ready` people: all of
/// more urgent tasks, of equal ones as many as its own, since they take turns, and of less urgent ones what low
/// priority is owed.
async fn work_before(
    context: &CampaignsContext,
    task: &Task,
    ready: u64,
) -> Result<u64, StoreError> {
    let (user, own) = (task.user.clone(), task.id);
    let read = move |store: &Reader| {
        let mut others = Vec::new();
        for (id, status) in store.task_statuses(&user)? {
            if status == TaskStatus::Running && id != own {
                others.extend(store.row::<Task>(&user, id)?);
            }
        }
        Ok(others)
    };
    let others = context.store.read_within(READ_MAX, read).await?;
    let waiting = |id: TaskId| {
        let view = context.status.campaign_view(&task.user, id);
        view.map_or(0, |view| view.statistics.count(TargetStatus::Pending))
    };
    let (mut before, mut low) = (0_u64, 0_u64);
    let same_step = others.iter().filter(|other| other.task_type == task.task_type);
    for other in same_step {
        let shared =
            other.account_ids.iter().filter(|account| task.account_ids.contains(account)).count();
        let on_shared =
            carried_over(shared as u64, other.account_ids.len() as u64, waiting(other.id));
        match other.priority.cmp(&task.priority) {
            std::cmp::Ordering::Less => before = before.saturating_add(on_shared),
            std::cmp::Ordering::Equal => before = before.saturating_add(on_shared.min(ready)),
            std::cmp::Ordering::Greater if other.priority == Priority::Low => low += on_shared,
            std::cmp::Ordering::Greater => {}
        }
    }
    Ok(before.saturating_add(low.min(ready / OTHERS_PER_LOW)))
}
