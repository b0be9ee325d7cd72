//! How campaigns fare and would fare: the dry run, the estimate of a running one, counts by account and outcome, and what
//! a report is made of. Reads only; nothing here changes a campaign or sends anything.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::{Shared, broken, owner_for};
use crate::actors::campaigns::context::CampaignsContext;
use crate::actors::campaigns::dry_run::{dry_run, name_of};
use crate::actors::campaigns::outlook::{left_of, outlook};
use crate::actors::campaigns::platform::Deputy;
use crate::actors::campaigns::recount::with_tally;
use crate::clock::instant;
use crate::protocol::answers::campaign_report::{CampaignCounts, DryRun, ReportHead, ReportPiece};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::links::{LinkUses, SentLink};
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::task::{Task, TaskId, TaskStatus};
use crate::protocol::users::owner::{Caller, Scope};
use crate::store::Reader;

/// Blocks of a piece of a report: 1,024 targets.
const PIECE_BLOCKS: u32 = 64;
/// How long reading may take: one of an older program may have to be counted anew.
const READ_MAX: Duration = Duration::from_secs(20);
/// Dry runs at once.
const DRY_RUNS_MAX: usize = 2;
/// Estimates that are made at once.
const ESTIMATES_MAX: usize = 2;
/// How long an estimate is told again instead of made anew.
const ESTIMATE_KEPT: Duration = Duration::from_secs(10);
/// How long uses of links are told again instead of asked for.
const LINK_USES_KEPT: Duration = Duration::from_secs(60);
/// Tasks of which something is kept.
const KEPT_MAX: usize = 1_024;
/// How long an account may take to tell who came by its link.
const ASK_MAX: Duration = Duration::from_secs(5);
/// Accounts that are asked at once.
const ASKED_AT_ONCE: usize = 8;

/// How campaigns fare and would fare.
#[async_trait]
pub trait ReportService: Send + Sync + 'static {
    /// What would become of a campaign that is not over. Nothing is sent.
    async fn dry_run(&self, who: &Caller, id: TaskId) -> Result<DryRun, Refusal>;
    /// How many seconds a running campaign still takes; `None`: it does not run, or would not end as things are.
    async fn estimate(&self, who: &Caller, id: TaskId) -> Result<Option<u64>, Refusal>;
    /// What a report begins with: the task and its counts.
    async fn head(&self, who: &Caller, id: TaskId) -> Result<ReportHead, Refusal>;
    /// Some targets for a report, from the place that the piece before has told; from 0 at first.
    async fn piece(&self, who: &Caller, id: TaskId, from: u32) -> Result<ReportPiece, Refusal>;
    /// Who came by the invite links that a campaign has sent, as far as its accounts are told. Asks the messenger, once
    /// a minute at the most.
    async fn link_uses(&self, who: &Caller, id: TaskId) -> Result<Option<LinkUses>, Refusal>;
}

/// An estimate that was made.
#[derive(Clone, Copy)]
struct Estimate {
    at: Instant,
    ends_in_ms: Option<i64>,
}

/// What was found out of tasks, to be told again for a while.
struct Kept<T> {
    by_task: Mutex<HashMap<TaskId, (Instant, T)>>,
    for_time: Duration,
}

impl<T: Clone> Kept<T> {
    fn new(for_time: Duration) -> Self {
        Self { by_task: Mutex::default(), for_time }
    }

    fn by_task(&self) -> MutexGuard<'_, HashMap<TaskId, (Instant, T)>> {
        self.by_task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is young enough.
    fn get(&self, task: TaskId) -> Option<T> {
        let known = self.by_task().get(&task).cloned();
        known.filter(|(at, _)| at.elapsed() < self.for_time).map(|(_, known)| known)
    }

    /// Keeps it, unless too many are kept already.
    fn put(&self, task: TaskId, found: T) {
        let mut kept = self.by_task();
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, (at, _)| at.elapsed() < self.for_time);
        }
        if kept.len() < KEPT_MAX {
            kept.insert(task, (instant(), found));
        }
    }
}

/// The service on a tree.
pub(super) struct Reports {
    shared: Shared,
    context: Arc<CampaignsContext>,
    dry_runs: Semaphore,
    making: Semaphore,
    estimates: Kept<Estimate>,
    link_uses: Kept<Option<LinkUses>>,
}

impl Reports {
    pub(super) fn new(shared: Shared, context: Arc<CampaignsContext>) -> Self {
        Self {
            shared,
            context,
            dry_runs: Semaphore::new(DRY_RUNS_MAX),
            making: Semaphore::new(ESTIMATES_MAX),
            estimates: Kept::new(ESTIMATE_KEPT),
            link_uses: Kept::new(LINK_USES_KEPT),
        }
    }

    /// A task, if it exists for the one who asks.
    async fn task(&self, who: &Caller, id: TaskId) -> Result<Task, Refusal> {
        let scope = who.scope();
        let read = move |store: &Reader| {
            let owner = match scope {
                Scope::Only(user) => Some(user),
                Scope::Everybody => store.task_owner(id)?,
            };
            owner.map_or(Ok(None), |owner| store.row::<Task>(&owner, id))
        };
        self.shared.reading(read).await?.ok_or_else(|| Refusal::not_found("task"))
    }

    /// The same with how it fares, its counts whole.
    async fn find(&self, who: &Caller, id: TaskId) -> Result<(Task, TaskRun), Refusal> {
        let task = self.task(who, id).await?;
        let of = task.clone();
        let read = move |store: &Reader| {
            let run = store.row::<TaskRun>(&of.user, of.id)?;
            with_tally(store, run.unwrap_or_else(|| TaskRun::new(&of)))
        };
        let run = self.context.store.read_within(READ_MAX, read).await;
        Ok((task, run.map_err(|error| broken(&error))?))
    }

    async fn make_estimate(&self, task: &Task, run: &TaskRun) -> Result<Estimate, Refusal> {
        let ahead = left_of(&self.context, task).await.map_err(|error| broken(&error))?;
        let found = outlook(&self.context, (task, run), ahead, 0, Vec::new()).await?;
        let made = Estimate { at: instant(), ends_in_ms: found.forecast.ends_in_ms };
        self.estimates.put(task.id, made);
        Ok(made)
    }

    /// Asks the accounts of `run` who came by their links.
    async fn ask_for_uses(&self, task: &Task, run: &TaskRun) -> Option<LinkUses> {
        let group = task.target_group_id?;
        let scope = Scope::Only(task.user.clone());
        let ask = async |sent: &SentLink| {
            let account = self.context.directory.get(&scope, sent.account)?;
            let by = Deputy { account, task: task.id };
            if !self.context.platform.standing(&by.account).is_connected {
                return None;
            }
            let look = async {
                // The one that there is: no link is kept.
                let link = self.context.platform.invite_link(&by, group).await.found?;
                if !sent.is(&link) {
                    return None;
                }
                self.context.platform.link_uses(&by, group, &link).await.found
            };
            Some(LinkUses::since(timeout(ASK_MAX, look).await.ok()??, sent))
        };
        let answers = stream::iter(&run.links).map(ask).buffer_unordered(ASKED_AT_ONCE);
        let told: Vec<LinkUses> = answers.filter_map(ready).collect().await;
        told.into_iter().reduce(LinkUses::and)
    }
}

async fn room(places: &Semaphore) -> Result<SemaphorePermit<'_>, Refusal> {
    let closed = |_| Refusal::new(Code::Internal, "estimates are not made any more");
    places.acquire().await.map_err(closed)
}

#[async_trait]
impl ReportService for Reports {
    async fn dry_run(&self, who: &Caller, id: TaskId) -> Result<DryRun, Refusal> {
        let (task, run) = self.find(who, id).await?;
        if task.status.is_final() {
            let detail = "the task is over: nothing more would be done; see its report";
            return Err(Refusal::new(Code::Conflict, detail));
        }
        let _room = self.dry_runs.try_acquire().map_err(|_| {
            let detail = format!("{DRY_RUNS_MAX} dry runs are being made already; ask again");
            Refusal::new(Code::Overloaded, detail).after(5)
        })?;
        dry_run(&self.context, &task, &run).await
    }

    async fn estimate(&self, who: &Caller, id: TaskId) -> Result<Option<u64>, Refusal> {
        let task = self.task(who, id).await?;
        if task.status != TaskStatus::Running {
            return Ok(None);
        }
        let estimate = match self.estimates.get(id) {
            Some(known) => known,
            None => {
                let _room = room(&self.making).await?;
                // Somebody else may have made it meanwhile.
                match self.estimates.get(id) {
                    Some(known) => known,
                    None => {
                        let (task, run) = self.find(who, id).await?;
                        self.make_estimate(&task, &run).await?
                    }
                }
            }
        };
        let passed = i64::try_from(estimate.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        let left = estimate.ends_in_ms.map(|ends| ends.saturating_sub(passed).max(0));
        Ok(left.map(|left| left.unsigned_abs().div_ceil(1_000)))
    }

    async fn head(&self, who: &Caller, id: TaskId) -> Result<ReportHead, Refusal> {
        let (task, run) = self.find(who, id).await?;
        let owner = owner_for(who, Some(&task.user));
        let scope = Scope::Only(task.user.clone());
        let of_tally = run.tally.accounts().iter().map(|(account, _)| *account);
        let accounts = of_tally.chain(task.account_ids.iter().copied());
        let name = |id| Some((id, name_of(&self.context.directory.get(&scope, id)?)?));
        let names: BTreeMap<_, _> = accounts.filter_map(name).collect();
        let counts = CampaignCounts {
            statistics: run.statistics,
            tally: run.tally,
            attempts: run.attempts,
            last_attempt_at: run.last_attempt_at,
        };
        let made_at = self.context.now();
        Ok(ReportHead { task, owner, counts, names, link_uses: None, made_at })
    }

    async fn link_uses(&self, who: &Caller, id: TaskId) -> Result<Option<LinkUses>, Refusal> {
        let task = self.task(who, id).await?;
        if let Some(known) = self.link_uses.get(id) {
            return Ok(known);
        }
        let user = task.user.clone();
        let read = move |store: &Reader| store.row::<TaskRun>(&user, id);
        let Some(run) = self.shared.reading(read).await? else { return Ok(None) };
        if run.links.is_empty() {
            return Ok(None);
        }
        let _busy = self.context.erasing.enter(&task.user)?;
        let found = self.ask_for_uses(&task, &run).await;
        self.link_uses.put(id, found);
        Ok(found)
    }

    async fn piece(&self, who: &Caller, id: TaskId, from: u32) -> Result<ReportPiece, Refusal> {
        let task = self.task(who, id).await?;
        let to = from.saturating_add(PIECE_BLOCKS);
        let read = move |store: &Reader| store.target_blocks(&task.user, task.id, from..to);
        let blocks = self.context.store.read_within(READ_MAX, read).await;
        let blocks = blocks.map_err(|error| broken(&error))?;
        // Each block that was ever begun is there, so a gap is the end.
        let next = (blocks.len() == PIECE_BLOCKS as usize).then_some(to);
        let targets = blocks.into_iter().flat_map(|block| block.targets).collect();
        Ok(ReportPiece { targets, next })
    }
}
