//! What the health endpoint says, put together from the status, the store and the links. Waits
//! for nobody.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use serde::Serialize;

use super::systemd::Vitals;
use crate::actors::{AccountView, BacklogGate, Context, Directory, Status, watched_thread};
use crate::clock::Clock;
use crate::clock::instant;
use crate::edge::amqp::{BridgeStatus, LinkSnapshot, LinkState};
use crate::edge::http::{
    AccountsHealth, DependencyHealth, DependencyState, HealthReport, HealthSource, HealthStatus,
    MonitorsHealth, OutboxHealth, RestartNote, TimerNote, TroubledAccount, TroubledMonitor,
};
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::explanation::{Timer, Why};
use crate::protocol::bridge::backlog::Backlog;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::tree::table;
use crate::protocol::values::ids::UnixMillis;
use crate::store::{Store, StoreStats};

/// Troubled accounts and monitors that are listed.
const LISTED_MAX: usize = 20;

const STARTING: u8 = 0;
const RUNNING: u8 = 1;
const STOPPING: u8 = 2;

/// How often the store is asked how it fares. It is asked on a thread of its own, because it may
/// be stuck on a disk that hangs, and health must answer all the same.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Without an answer, or with one commit under way, for longer than this something is wrong.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What the store said last, and when.
struct Sample {
    at: Instant,
    stats: StoreStats,
    /// Since when submissions wait while no commit comes to its end.
    stuck_since: Option<Instant>,
}

impl Sample {
    fn of(store: &Store) -> Self {
        Self { at: instant(), stats: store.blocking().stats(), stuck_since: None }
    }

    /// The one after `before`; it remembers since when nothing moves.
    fn after(before: &Self, fresh: Self) -> Self {
        let is_stuck = fresh.stats.waiting > 0 && fresh.stats.commits == before.stats.commits;
        let stuck_since = is_stuck.then(|| before.stuck_since.unwrap_or(before.at));
        Self { stuck_since, ..fresh }
    }

    fn trouble(&self) -> Option<String> {
        let silent = self.at.elapsed();
        let stuck = self.stuck_since.map(|since| since.elapsed()).unwrap_or_default();
        let longest = silent.max(stuck);
        (longest > STUCK_AFTER)
            .then(|| format!("the disk has not answered for {} s", longest.as_secs()))
    }
}

/// Keeps the sample fresh for as long as anybody looks at it.
fn keep_sampling(context: &Arc<Context>, latest: &Arc<Mutex<Sample>>) {
    let (latest, store) = (Arc::downgrade(latest), context.store.clone());
    let sample = move || {
        while let Some(shared) = latest.upgrade() {
            // Asked before the lock is taken: this is what may hang.
            let fresh = Sample::of(&store);
            let mut sample = lock(&shared);
            *sample = Sample::after(&sample, fresh);
            drop(sample);
            drop(shared);
            std::thread::sleep(SAMPLE_EVERY);
        }
    };
    if let Err(error) = watched_thread(context, &table::HEALTH, sample) {
        // The sample grows old, and health says so.
        tracing::error!(%error, "the store is not looked after: its thread could not be started");
    }
}

fn lock(sample: &Mutex<Sample>) -> MutexGuard<'_, Sample> {
    sample.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`HealthSource`].
pub struct DaemonHealth {
    status: Arc<Status>,
    directory: Arc<Directory>,
    sample: Arc<Mutex<Sample>>,
    bridge: Option<BridgeStatus>,
    backlog: Arc<BacklogGate>,
    clock: Clock,
    born_at: UnixMillis,
    stage: AtomicU8,
}

impl DaemonHealth {
    /// Of a daemon that is starting.
    pub fn new(
        status: Arc<Status>,
        directory: Arc<Directory>,
        store: &Store,
        bridge: Option<BridgeStatus>,
        backlog: Arc<BacklogGate>,
        clock: Clock,
    ) -> Self {
        let sample = Sample::of(store);
        // Before anybody connects, since it may be full from an earlier life.
        backlog.note(sample.stats.outbox_bytes);
        let sample = Arc::new(Mutex::new(sample));
        let (born_at, stage) = (clock.now(), AtomicU8::new(STARTING));
        Self { status, directory, sample, bridge, backlog, clock, born_at, stage }
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// The budget for what waits for the broker, bytes.
    pub(super) fn backlog_max_bytes(&self) -> u64 {
        self.backlog.max_bytes()
    }

    /// What the store said last.
    pub(super) fn store_stats(&self) -> StoreStats {
        lock(&self.sample).stats.clone()
    }

    /// Looks after the store from now on.
    pub(super) fn watch(&self, context: &Arc<Context>) {
        keep_sampling(context, &self.sample);
    }

    /// The tree runs.
    pub fn started(&self) {
        self.stage.store(RUNNING, Ordering::Relaxed);
    }

    /// The daemon was told to stop.
    pub fn stopping(&self) {
        self.stage.store(STOPPING, Ordering::Relaxed);
    }

    fn dependencies(&self, stats: &StoreStats, trouble: Option<String>) -> Vec<DependencyHealth> {
        let mut dependencies = vec![self.store_health(stats, trouble)];
        if let Some(bridge) = &self.bridge {
            dependencies.push(link_health("amqp_publisher", &bridge.publisher.snapshot()));
            dependencies.push(link_health("amqp_consumer", &bridge.consumer.snapshot()));
        }
        dependencies
    }

    fn store_health(&self, stats: &StoreStats, trouble: Option<String>) -> DependencyHealth {
        let (state, detail) = match (&stats.failed, trouble) {
            (Some(failed), _) => (DependencyState::Down, Some(failed.clone())),
            (None, Some(trouble)) => (DependencyState::Degraded, Some(trouble)),
            (None, None) => (DependencyState::Up, None),
        };
        DependencyHealth { name: "store".into(), state, since: self.born_at, detail }
    }

    fn overall(&self, dependencies: &[DependencyHealth], is_troubled: bool) -> HealthStatus {
        let is_running = self.stage.load(Ordering::Relaxed) == RUNNING;
        let store_down = dependencies
            .iter()
            .any(|part| part.name == "store" && part.state == DependencyState::Down);
        if !is_running || store_down {
            return HealthStatus::Unavailable;
        }
        let all_up = dependencies.iter().all(|part| part.state == DependencyState::Up);
        if all_up && !is_troubled { HealthStatus::Ok } else { HealthStatus::Degraded }
    }
}

impl HealthSource for DaemonHealth {
    fn report(&self) -> HealthReport {
        let (stats, trouble) = {
            let sample = lock(&self.sample);
            (sample.stats.clone(), sample.trouble())
        };
        let accounts = accounts(&self.status, &self.directory, self.now());
        let (monitors, is_any_monitor_in_trouble) = monitors(&self.status);
        let dependencies = self.dependencies(&stats, trouble);
        let is_troubled = self.status.is_any_account_in_trouble()
            || is_any_monitor_in_trouble
            || self.backlog.state() != Backlog::Roomy;
        let uptime = (self.clock.now().0 - self.born_at.0) / 1000;
        HealthReport {
            status: self.overall(&dependencies, is_troubled),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: u64::try_from(uptime).unwrap_or(0),
            accounts,
            monitors,
            outbox: outbox(&stats, &self.backlog, self.now()),
            dependencies,
            restarts: restarts(&self.status),
        }
    }
}

impl Vitals for Arc<DaemonHealth> {
    fn sessions(&self) -> (usize, usize) {
        use AccountState::{Active, CoolingDown, Limited};
        let states = self.status.account_states();
        let connected = [Active, CoolingDown, Limited];
        let active = connected.iter().filter_map(|state| states.get(state)).sum();
        (active, states.values().sum())
    }

    fn disk_trouble(&self) -> Option<String> {
        lock(&self.sample).trouble()
    }
}

fn outbox(stats: &StoreStats, backlog: &BacklogGate, now: UnixMillis) -> OutboxHealth {
    let age = stats.outbox_oldest_at.map(|oldest| (now.0 - oldest.0) / 1000);
    OutboxHealth {
        depth: stats.outbox_depth,
        bytes: stats.outbox_bytes,
        max_bytes: backlog.max_bytes(),
        state: backlog.state(),
        oldest_age_seconds: age.map(|age| u64::try_from(age).unwrap_or(0)),
    }
}

/// The name that serde gives to a state, as every other document writes it.
pub(super) fn named<T: Serialize + Debug>(state: T) -> String {
    match serde_json::to_value(&state) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{state:?}"),
    }
}

fn by_state<T: Serialize + Debug + Copy>(states: &BTreeMap<T, usize>) -> BTreeMap<String, u64> {
    states.iter().map(|(state, count)| (named(*state), *count as u64)).collect()
}

fn accounts(status: &Status, directory: &Directory, now: UnixMillis) -> AccountsHealth {
    let (states, troubled) = (status.account_states(), status.troubled_accounts(None, LISTED_MAX));
    let shown =
        |(key, view)| troubled_account(directory.name_of(key), status.names(key), view, now);
    AccountsHealth {
        total: states.values().sum::<usize>() as u64,
        by_state: by_state(&states),
        troubled_total: troubled.total as u64,
        troubled: troubled.listed.into_iter().map(shown).collect(),
        truncated: troubled.is_cut,
    }
}

fn troubled_account(
    account: String,
    sessions: Vec<String>,
    view: AccountView,
    now: UnixMillis,
) -> TroubledAccount {
    let Why { evidence, timers, next } = view.why(now);
    let timers = timers.into_iter().map(|Timer { what, until }| TimerNote { what, until });
    TroubledAccount {
        account,
        sessions,
        state: named(view.state),
        error: view.error.map(|(code, _)| code),
        since: view.since,
        evidence,
        timers: timers.collect(),
        next,
    }
}

/// The monitors, and whether any is in trouble: that counts although it is not named here.
fn monitors(status: &Status) -> (MonitorsHealth, bool) {
    let states = status.monitor_states();
    // Users' monitors are told of only to them: everybody may ask for health.
    let is_bridges = |key: &ChatKey| key.parts().1.is_none();
    let shown = status.troubled_monitors(None, LISTED_MAX, is_bridges);
    let total = status.troubled_monitors(None, 0, |_| true).total;
    let health = MonitorsHealth {
        total: states.values().sum::<usize>() as u64,
        by_state: by_state(&states),
        troubled_total: total as u64,
        troubled_of_users: total.saturating_sub(shown.total) as u64,
        truncated: shown.is_cut,
        troubled: shown
            .listed
            .into_iter()
            .map(|(key, view)| TroubledMonitor {
                chat: key.0,
                state: named(view.state),
                error: view.error,
                since: view.since,
            })
            .collect(),
    };
    (health, total > 0)
}

fn restarts(status: &Status) -> Vec<RestartNote> {
    let newest_first = status.restarts().into_iter().rev();
    newest_first
        .map(|record| RestartNote {
            actor: without_names(record.actor),
            at: record.at,
            cause: record.cause,
            attempt: record.attempt,
            next_at: record.next_at,
            is_parked: record.next_at.is_none(),
        })
        .collect()
}

/// The name of an actor as everybody may read it. Only kinds of which it is known that their names tell of nobody are
/// shown with them; of others, and of what is a user's, the kind alone is.
fn without_names(actor: String) -> String {
    let kind = actor.split('/').next().unwrap_or_default();
    let tells_nobody =
        matches!(kind, "account" | "bridge" | "helper" | "link" | "monitor" | "part");
    match tells_nobody && !actor.contains(" of ") {
        true => actor,
        false => format!("{kind} of a user"),
    }
}

fn link_health(name: &str, link: &LinkSnapshot) -> DependencyHealth {
    let state = match link.state {
        LinkState::Connecting => DependencyState::Starting,
        LinkState::Up if link.mismatched.is_empty() => DependencyState::Up,
        LinkState::Up | LinkState::Blocked => DependencyState::Degraded,
        LinkState::Down | LinkState::Stopped => DependencyState::Down,
    };
    let mismatch = (!link.mismatched.is_empty())
        .then(|| format!("used as found, declared otherwise: {}", link.mismatched.join(", ")));
    let unroutable = (link.unroutable > 0).then(|| {
        format!(
            "{} events came back as unroutable so far; each is kept until it gets through",
            link.unroutable
        )
    });
    let parts: Vec<String> =
        [link.detail.clone(), mismatch, unroutable].into_iter().flatten().collect();
    DependencyHealth {
        name: name.into(),
        state,
        since: link.since,
        detail: (!parts.is_empty()).then(|| parts.join("; ")),
    }
}
