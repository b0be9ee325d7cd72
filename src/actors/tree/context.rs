//! What every actor is handed, whatever its room: the store, the status, the numbers, and who is being erased.
//! Rooms add what their own actors share (`accounts/context.rs`, `logins/context.rs`, `monitors/context.rs`).

use std::sync::Arc;

use super::backlog::BacklogGate;
use super::changes::Changes;
use super::erasing::Erasing;
use super::keyed_lock::KeyedLock;
use super::metrics::Metrics;
use super::status::Status;
use crate::protocol::values::ids::UnixMillis;
use crate::store::Store;
use crate::telegram::ServerClock;

pub(in crate::actors) use crate::clock::now;

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
    /// What is known of Telegram's clock.
    pub(in crate::actors) clocks: Arc<dyn ServerClock>,
    /// Whose data are being erased.
    pub(in crate::actors) erasing: Erasing,
    /// Who may add to, change or take away what a user has; see there.
    pub(in crate::actors) user_locks: KeyedLock,
    /// What changed, for those who follow.
    pub(in crate::actors) changes: Changes,
}

impl Context {
    /// Puts the parts together.
    pub fn new(
        store: Store,
        status: Arc<Status>,
        metrics: Arc<Metrics>,
        backlog: Arc<BacklogGate>,
        clocks: Arc<dyn ServerClock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            status,
            metrics,
            backlog,
            clocks,
            erasing: Erasing::default(),
            user_locks: KeyedLock::default(),
            changes: Changes::default(),
        })
    }

    /// What time it is at Telegram as well as it can be told, by our own clock as long as nobody has
    /// told us. What Telegram dates is compared with this.
    pub(in crate::actors) fn telegrams_now(&self) -> UnixMillis {
        self.clocks.telegrams_now_roughly().unwrap_or_else(now)
    }
}

#[cfg(test)]
impl Context {
    /// Around `store`.
    pub(crate) fn for_tests(store: Store) -> Arc<Self> {
        Self::told_by(store, Arc::new(crate::telegram::Clocks::default()))
    }

    /// The same, where `clocks` tell Telegram's time.
    pub(in crate::actors) fn told_by(store: Store, clocks: Arc<dyn ServerClock>) -> Arc<Self> {
        let gate = Arc::new(BacklogGate::new(1 << 30));
        Self::new(store, Arc::default(), Arc::default(), gate, clocks)
    }
}

/// A random number in 0..1 for jitter.
pub(in crate::actors) fn jitter() -> f64 {
    rand::random()
}
