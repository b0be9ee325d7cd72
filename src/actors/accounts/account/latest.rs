//! An account's record as it was handed to the store last, shared by the account's actor, which alone
//! changes it while it runs, and the fleet, which starts the next life of the actor with it. So nobody reads
//! the disk to learn what was just written there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::accounts::record::AccountRecord;
use crate::protocol::telegram::pacing::MethodClass;
use crate::protocol::values::ids::UnixMillis;

/// See the module's words.
#[derive(Clone)]
pub(in crate::actors) struct LatestRecord(Arc<Mutex<AccountRecord>>);

impl LatestRecord {
    pub(in crate::actors) fn new(record: AccountRecord) -> Self {
        Self(Arc::new(Mutex::new(record)))
    }

    fn lock(&self) -> MutexGuard<'_, AccountRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::actors) fn get(&self) -> AccountRecord {
        self.lock().clone()
    }

    /// How long a freeze keeps calls of `class` from being made yet; zero when there is none.
    pub(in crate::actors) fn frozen_for(&self, class: MethodClass, now: UnixMillis) -> Duration {
        let record = self.lock();
        Duration::from_millis(record.frozen.as_ref().map_or(0, |frozen| frozen.left(class, now)))
    }

    pub(in crate::actors) fn set(&self, record: AccountRecord) {
        *self.lock() = record;
    }
}
