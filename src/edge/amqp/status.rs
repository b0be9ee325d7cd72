//! What a link says of itself: state, counters, what was found amiss. Shared with the health page
//! and the metrics. Must never hold a secret.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::clock::Clock;
use crate::clock::instant;
use crate::protocol::values::ids::UnixMillis;

/// Upper bounds of the time between publishing and confirm, seconds. A broker that writes to disk
/// takes milliseconds, one under load up to some hundred.
const CONFIRM_BUCKETS: [f64; 11] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Upper bounds of an event's lag, seconds. Telegram dates by whole seconds, so below one nothing
/// can be told apart.
const LAG_BUCKETS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0];

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Never connected so far.
    Connecting,
    /// It works.
    Up,
    /// It does not, and tries again by itself.
    Down,
    /// The broker takes nothing for now (an alarm on its memory or disk).
    Blocked,
    /// It was told to stop and is done.
    Stopped,
}

/// One link at one instant.
#[derive(Clone, Debug)]
pub struct LinkSnapshot {
    /// Where it stands.
    pub state: LinkState,
    /// Since when.
    pub since: UnixMillis,
    /// Why it is down or blocked.
    pub detail: Option<String>,
    /// Exchanges and queues that exist with other properties than ours and are used as they are.
    pub mismatched: Vec<String>,
    /// Messages that the broker returned because no queue took them.
    pub unroutable: u64,
    /// Messages handed to the broker, repetitions included.
    pub published: u64,
    /// Messages that the broker confirmed, repetitions included.
    pub confirmed: u64,
    /// Messages that the broker refused.
    pub nacked: u64,
    /// Replies to commands that were given up, because no broker takes them as they are.
    pub replies_dropped: u64,
    /// Deliveries that were acknowledged after their effect was durable.
    pub consumed: u64,
    /// Deliveries that were put aside as not understood.
    pub dead_lettered: u64,
}

/// A handle to one link's status; clones share it.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    own: Arc<Shared>,
    returned: Arc<Returned>,
}

/// When an event last came out of the command queue: what one link sees and the other one minds.
#[derive(Debug, Default)]
struct Returned(Mutex<Option<Instant>>);

impl Returned {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Shared {
    phase: Mutex<Phase>,
    unroutable: AtomicU64,
    published: AtomicU64,
    confirmed: AtomicU64,
    nacked: AtomicU64,
    replies_dropped: AtomicU64,
    consumed: AtomicU64,
    dead_lettered: AtomicU64,
    confirm: Histogram,
    lag: Histogram,
    dated_by: OnceLock<TelegramsClock>,
    clock: Clock,
}

/// Tells what time it is at Telegram.
struct TelegramsClock(Box<dyn Fn() -> UnixMillis + Send + Sync>);

impl fmt::Debug for TelegramsClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramsClock").finish_non_exhaustive()
    }
}

impl Shared {
    fn new(clock: Clock) -> Self {
        Self {
            phase: Mutex::new(Phase {
                state: LinkState::Connecting,
                since: clock.now(),
                detail: None,
                mismatched: Vec::new(),
            }),
            unroutable: AtomicU64::new(0),
            published: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            nacked: AtomicU64::new(0),
            replies_dropped: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            confirm: Histogram::new(CONFIRM_BUCKETS),
            lag: Histogram::new(LAG_BUCKETS),
            dated_by: OnceLock::new(),
            clock,
        }
    }
}

#[derive(Debug)]
struct Phase {
    state: LinkState,
    since: UnixMillis,
    detail: Option<String>,
    mismatched: Vec<String>,
}

/// Which counter moves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    Unroutable,
    Published,
    Confirmed,
    Nacked,
    RepliesDropped,
    Consumed,
    DeadLettered,
}

impl LinkStatus {
    /// A link that has not been started.
    pub fn new(clock: Clock) -> Self {
        Self { own: Arc::new(Shared::new(clock)), returned: Arc::default() }
    }

    /// The other link of the same bridge, not started either.
    pub fn sibling(&self) -> Self {
        Self {
            own: Arc::new(Shared::new(self.own.clock.clone())),
            returned: Arc::clone(&self.returned),
        }
    }

    /// Takes note of an event that came out of the command queue.
    pub(super) fn event_returned(&self) {
        *self.returned.lock() = Some(instant());
    }

    /// How long ago the last one came.
    pub(super) fn since_event_returned(&self) -> Option<Duration> {
        self.returned.lock().map(|last| last.elapsed())
    }

    /// Has the age of messages measured by `clock`, which tells Telegram's time; without it by ours.
    pub fn date_by(&self, clock: Box<dyn Fn() -> UnixMillis + Send + Sync>) {
        let _ = self.own.dated_by.set(TelegramsClock(clock));
    }

    /// How it is now.
    pub fn snapshot(&self) -> LinkSnapshot {
        let phase = self.phase();
        let count = |which| self.counter(which).load(Ordering::Relaxed);
        LinkSnapshot {
            state: phase.state,
            since: phase.since,
            detail: phase.detail.clone(),
            mismatched: phase.mismatched.clone(),
            unroutable: count(Count::Unroutable),
            published: count(Count::Published),
            confirmed: count(Count::Confirmed),
            nacked: count(Count::Nacked),
            replies_dropped: count(Count::RepliesDropped),
            consumed: count(Count::Consumed),
            dead_lettered: count(Count::DeadLettered),
        }
    }

    pub(super) fn state(&self) -> LinkState {
        self.phase().state
    }

    pub(super) fn set(&self, state: LinkState, detail: Option<String>) {
        let mut phase = self.phase();
        if phase.state != state {
            phase.since = self.own.clock.now();
        }
        (phase.state, phase.detail) = (state, detail);
    }

    pub(super) fn set_mismatched(&self, mismatched: Vec<String>) {
        self.phase().mismatched = mismatched;
    }

    pub(super) fn add(&self, which: Count, amount: u64) {
        self.counter(which).fetch_add(amount, Ordering::Relaxed);
    }

    /// Notes how long a confirm took, and how old the message was by then if it is one.
    pub(super) fn confirmed(&self, took: Duration, said_at: Option<i64>) {
        self.own.confirm.observe(took.as_secs_f64());
        if let Some(said_at) = said_at {
            let now = match self.own.dated_by.get() {
                Some(telegram) => telegram.0(),
                None => self.own.clock.now(),
            };
            self.own.lag.observe((now.0 as f64 / 1_000.0 - said_at as f64).max(0.0));
        }
    }

    /// Registers the histograms of a link that publishes.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "telewarden_publish_confirm_seconds",
            "From handing an event to the broker until it confirmed it",
            self.own.confirm.clone(),
        );
        registry.register(
            "telewarden_event_lag_seconds",
            "From Telegram's date of a message (whole seconds) until the broker confirmed its event, by Telegram's clock",
            self.own.lag.clone(),
        );
    }

    fn counter(&self, which: Count) -> &AtomicU64 {
        match which {
            Count::Unroutable => &self.own.unroutable,
            Count::Published => &self.own.published,
            Count::Confirmed => &self.own.confirmed,
            Count::Nacked => &self.own.nacked,
            Count::RepliesDropped => &self.own.replies_dropped,
            Count::Consumed => &self.own.consumed,
            Count::DeadLettered => &self.own.dead_lettered,
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.own.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
