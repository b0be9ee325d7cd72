//! What every actor is handed, whatever its room: the store, the status, the numbers, and who is being erased.
//! Rooms add what their own actors share (`accounts/context.rs`, `logins/context.rs`, `monitors/context.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::backlog::BacklogGate;
use super::changes::Changes;
use super::erasing::Erasing;
use super::keyed_lock::KeyedLock;
use super::members::Members;
use super::metrics::Metrics;
use super::status::Status;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::protocol::values::ids::UnixMillis;
use crate::store::Store;
use crate::telegram::ServerClock;

/// What every actor is handed.
pub struct Context {
    /// The store.
    pub store: Store,
    /// What each actor last said of itself.
    pub status: Arc<Status>,
    /// What the tree counts.
    pub metrics: Arc<Metrics>,
    /// The gate in front of a full backlog.
    pub backlog: Arc<BacklogGate>,
    /// What time it is here.
    pub(in crate::actors) clock: Clock,
    /// Random numbers.
    pub(in crate::actors) chance: Chance,
    /// What is known of Telegram's clock.
    pub(in crate::actors) clocks: Arc<dyn ServerClock>,
    /// Whose data are being erased.
    pub(in crate::actors) erasing: Erasing,
    /// Who may add to, change or take away what a user has; see there.
    pub(in crate::actors) user_locks: KeyedLock,
    /// What changed, for those who follow.
    pub(in crate::actors) changes: Changes,
    /// Whether the tree is being stopped.
    stopping: AtomicBool,
}

impl Context {
    /// Puts the parts together.
    pub fn new(
        store: Store,
        status: Arc<Status>,
        metrics: Arc<Metrics>,
        backlog: Arc<BacklogGate>,
        clock: Clock,
        chance: Chance,
        clocks: Arc<dyn ServerClock>,
    ) -> Arc<Self> {
        let changes = Changes::new(chance.id(clock.now()));
        Arc::new(Self {
            store,
            status,
            metrics,
            backlog,
            clock,
            chance,
            clocks,
            erasing: Erasing::default(),
            user_locks: KeyedLock::default(),
            changes,
            stopping: AtomicBool::new(false),
        })
    }

    /// The tree is being stopped from here on: whoever is not there any more has not crashed.
    pub(in crate::actors) fn begin_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the tree is being stopped.
    pub(in crate::actors) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// What each member of the tree shows of itself.
    pub(in crate::actors) fn members(&self) -> &Members {
        &self.status.members
    }

    /// What time it is here.
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// A random number in 0..1 for jitter.
    pub fn jitter(&self) -> f64 {
        self.chance.jitter()
    }

    /// An id that nothing else has.
    pub(in crate::actors) fn new_id(&self) -> Uuid {
        self.chance.id(self.now())
    }

    /// What time it is at Telegram as well as it can be told, by our own clock as long as nobody has
    /// told us. What Telegram dates is compared with this.
    pub(in crate::actors) fn telegrams_now(&self) -> UnixMillis {
        self.clocks.telegrams_now_roughly().unwrap_or_else(|| self.now())
    }
}

#[cfg(test)]
impl Context {
    /// Around `store`, by the machine's clock.
    pub(crate) fn for_tests(store: Store) -> Arc<Self> {
        Self::for_tests_at(store, Clock::system())
    }

    /// Around `store`, by `clock`.
    pub(crate) fn for_tests_at(store: Store, clock: Clock) -> Arc<Self> {
        let clocks = Arc::new(crate::telegram::Clocks::new(clock.clone()));
        Self::told_by(store, clock, clocks)
    }

    /// The same, where `clocks` tell Telegram's time.
    pub(in crate::actors) fn told_by(
        store: Store,
        clock: Clock,
        clocks: Arc<dyn ServerClock>,
    ) -> Arc<Self> {
        let gate = Arc::new(BacklogGate::new(1 << 30));
        let status = Arc::new(Status::new(clock.clone()));
        Self::new(store, status, Arc::default(), gate, clock, Chance::system(), clocks)
    }
}
