//! What the handles of a store, the readers of its outbox and its writer share. Owns the end of a store that
//! failed: everyone who waits gets its cause.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::metrics::Metrics;
use super::monitor_index::MonitorIndex;
use super::overlay::Overlay;
use super::queue::Queue;
use super::recent_entries::RecentEntries;
use crate::clock::Clock;
use crate::store::contract::CommitError;
use crate::store::engines::Engine;
use crate::store::integrity::ChecksummedEngine;
use crate::store::keys::{Keyring, Keys, RotationHost};

/// What the handles, the reader of the outbox and the writer share.
pub(in crate::store) struct Shared {
    pub(in crate::store) clock: Clock,
    pub(in crate::store) engine: Arc<ChecksummedEngine>,
    /// The store's directory; stores in memory have none.
    pub(in crate::store) path: Option<Arc<Path>>,
    pub(in crate::store) keys: Keys,
    pub(in crate::store) keyring: Keyring,
    pub(in crate::store) queue: Queue,
    pub(in crate::store) recent: RecentEntries,
    /// For the second reader, who may never come.
    pub(in crate::store) spool_recent: RecentEntries,
    /// What the second reader has taken over, as the disk has it; everything as long as there is none.
    pub(in crate::store) spooled: AtomicU64,
    /// Nobody reads for the broker: what the second reader has taken over leaves the outbox.
    pub(in crate::store) is_abandoned: AtomicBool,
    pub(in crate::store) overlay: RwLock<Overlay>,
    pub(in crate::store) monitor_index: RwLock<MonitorIndex>,
    pub(in crate::store) metrics: Metrics,
    pub(in crate::store) failed: watch::Sender<Option<CommitError>>,
    /// Held as long as anyone may touch the store.
    pub(in crate::store) _directory: Option<LockedDirectory>,
}

/// The directory of a store, and the lock on it.
pub(in crate::store) struct LockedDirectory {
    pub(in crate::store) path: Arc<Path>,
    #[expect(dead_code, reason = "it is held, and goes when the store does")]
    pub(in crate::store) lock: File,
}

impl Shared {
    pub(in crate::store) fn overlay(&self) -> RwLockReadGuard<'_, Overlay> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::store) fn overlay_mut(&self) -> RwLockWriteGuard<'_, Overlay> {
        self.overlay.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::store) fn monitor_index(&self) -> RwLockReadGuard<'_, MonitorIndex> {
        self.monitor_index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::store) fn monitor_index_mut(&self) -> RwLockWriteGuard<'_, MonitorIndex> {
        self.monitor_index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The second reader of the outbox has taken over everything up to `through`, and that is durable.
    pub(in crate::store) fn spooled_up_to(&self, through: u64) {
        self.spooled.store(through, Ordering::Release);
        if self.is_abandoned.load(Ordering::Acquire) {
            self.queue.acknowledge(through);
        }
    }

    /// Stops the store because of a panic.
    pub(in crate::store) fn panicked(&self, cause: &str) -> CommitError {
        self.stop(CommitError::panicked(cause))
    }

    /// Stops the store: everything waiting and everything later is refused with `error`.
    pub(in crate::store) fn stop(&self, error: CommitError) -> CommitError {
        let error = error.at(self.path.as_ref());
        tracing::error!(%error, "the store stopped");
        for submission in self.queue.stop(error.clone()) {
            submission.completion.notify(Err(error.clone()));
        }
        self.failed.send_replace(Some(error.clone()));
        error
    }
}

impl RotationHost for Shared {
    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn wake_writer(&self) {
        self.queue.wake();
    }

    fn ended(&self) -> CommitError {
        self.failed.borrow().clone().unwrap_or(CommitError::Closed)
    }
}
