//! The handle that writes. Owns the opening of a store and its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::clock::instant;
use crate::protocol::telegram::updates::UpdateStateDelta;
use crate::protocol::values::ids::AuthKeyId;

use super::outbox::{Outbox, Spooler};
use super::read_pool::ReadPool;
use super::reader::Reader;
use crate::store::contract::{CommitError, Op, StoreError, StoreOptions};
use crate::store::engines::disk::{self, DiskEngine, SafetyCopy};
use crate::store::engines::{Engine, MemoryDisk};
use crate::store::integrity::{DurablePosition, Witness};
use crate::store::journal::{
    Checkpoint, Completion, LockedDirectory, Metrics, Pacing, Queue, RecentEntries, Shared, Writer,
};
use crate::store::keys::{MasterKey, RootKey, RotationWorker};
use crate::store::opening::{
    Recovered, WitnessedPosition, directory, identity, preflight, recover, was_used,
};

/// The writer's thread; it ends with the last handle.
struct WriterThread {
    shared: Arc<Shared>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

/// A handle on the store; clones are cheap and mean the same store.
#[derive(Clone)]
pub struct Store {
    pub(in crate::store) shared: Arc<Shared>,
    pub(in crate::store) reader: Reader,
    pub(in crate::store) readers: Arc<ReadPool>,
    thread: Arc<WriterThread>,
}

/// Tests may block for the disk.
#[cfg(test)]
impl std::ops::Deref for Store {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Store {
    /// Opens the store, making it on first start (directory 0700, key 0600), and starts its writer.
    /// Blocks for as long as the database takes to be copied and to open.
    ///
    /// # Errors
    /// Every reason that keeps the store from being used. After one that is damage, the error also
    /// says what became of the database's files.
    pub fn open(options: StoreOptions) -> Result<(Self, Outbox), StoreError> {
        let path = &options.path;
        directory::make_private(path)?;
        // Held until whatever opening changed was put back.
        let lock = directory::lock(path)?;
        let database = disk::directory(path);
        let (key, used) = preflight::check(&options)?;
        let confirmed = identity::confirm(path, options.has_moved)?;
        let copy = SafetyCopy::of(&database);
        let opened = disk::guarded(&database, || {
            let engine = DiskEngine::open(&database, options.cache_bytes)?;
            if used && !was_used(&engine)? {
                return Err(StoreError::Emptied { path: path.clone() });
            }
            let seen = WitnessedPosition::by_witness(path);
            recover(Arc::new(engine), key, &options.clock, Some(seen))
        });
        let recovered =
            match opened.and_then(|opened| directory::write_marker(path).map(|()| opened)) {
                Ok(recovered) => recovered,
                Err(error) => return Err(copy.restore_after(error)),
            };
        recovered.keys.finish_key_file()?;
        confirmed.note()?;
        copy.discard()?;
        let directory = LockedDirectory { path: path.as_path().into(), lock };
        Self::run(recovered, Some(directory), options.clock, Pacing::default())
    }

    /// A store that lives in memory, for tests and trials: the same code on another engine.
    pub fn in_memory() -> Result<(Self, Outbox), StoreError> {
        let key = RootKey::Given(Box::new(MasterKey::ephemeral()?));
        Self::start(Arc::new(MemoryDisk::default()), key, Pacing::default())
    }

    /// The same, dated by `clock`.
    #[cfg(test)]
    pub(crate) fn in_memory_at(clock: Clock) -> Result<(Self, Outbox), StoreError> {
        let key = RootKey::Given(Box::new(MasterKey::ephemeral()?));
        Self::start_at(Arc::new(MemoryDisk::default()), key, clock, Pacing::default())
    }

    /// A store on any engine, without a directory, dated by the machine's clock.
    pub(in crate::store) fn start(
        engine: Arc<dyn Engine>,
        key: RootKey,
        pacing: Pacing,
    ) -> Result<(Self, Outbox), StoreError> {
        Self::start_at(engine, key, Clock::system(), pacing)
    }

    fn start_at(
        engine: Arc<dyn Engine>,
        key: RootKey,
        clock: Clock,
        pacing: Pacing,
    ) -> Result<(Self, Outbox), StoreError> {
        let recovered = recover(engine, key, &clock, None)?;
        recovered.keys.finish_key_file()?;
        Self::run(recovered, None, clock, pacing)
    }

    /// Starts the writer of a store that was recovered.
    fn run(
        recovered: Recovered,
        directory: Option<LockedDirectory>,
        clock: Clock,
        pacing: Pacing,
    ) -> Result<(Self, Outbox), StoreError> {
        let Recovered { engine, keys, keyring, known, overlay, monitor_index, .. } = recovered;
        let Recovered { next_seq, acknowledged, spooled, mark, .. } = recovered;
        let synced = DurablePosition { batches: engine.count(), next_seq };
        let witness =
            directory.as_ref().map(|directory| Witness::open(&directory.path)).transpose()?;
        let shared = Arc::new(Shared {
            clock,
            engine,
            path: directory.as_ref().map(|directory| Arc::clone(&directory.path)),
            keys,
            keyring,
            queue: Queue::new(acknowledged),
            recent: RecentEntries::new(next_seq),
            spool_recent: RecentEntries::closed(next_seq),
            spooled: AtomicU64::new(spooled.unwrap_or(u64::MAX)),
            is_abandoned: AtomicBool::new(false),
            overlay: RwLock::new(overlay),
            monitor_index: RwLock::new(monitor_index),
            metrics: Metrics::from(known.written),
            failed: watch::Sender::new(None),
            _directory: directory,
        });
        let checkpoint = Checkpoint::new(mark, pacing.checkpoint_every);
        let rotation = RotationWorker::new(&shared.keys);
        let writer = Writer {
            shared: Arc::clone(&shared),
            known,
            next_seq,
            acknowledged,
            checkpoint,
            rotation,
            pacing,
            witness,
            synced,
            note_at: instant() + pacing.checkpoint_every,
        };
        let running = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(StoreError::file("start the writer of", "the store"))?;
        let running = Mutex::new(Some(running));
        let thread = Arc::new(WriterThread { shared: Arc::clone(&shared), running });
        let outbox = Outbox::new(Arc::clone(&shared), acknowledged + 1);
        let (reader, readers) = (Reader { shared: Arc::clone(&shared) }, Arc::default());
        Ok((Self { shared, reader, readers, thread }, outbox))
    }

    /// Writes `ops` as one, and returns once they are durable.
    ///
    /// Cancelling it does not undo it: what was handed in becomes durable all the same.
    pub async fn commit(&self, ops: Vec<Op>) -> Result<(), CommitError> {
        let (sender, durable) = oneshot::channel();
        self.shared.queue.push(ops, Completion::Task(sender)).await?;
        let ended = |_| CommitError::failed("its writer ended");
        durable.await.map_err(ended).and_then(|outcome| outcome)
    }

    /// Hands in `ops` to be written as one, waiting only for room in the queue. `done` runs on the
    /// writer's thread once they are durable or refused: it must not block. One task's submissions
    /// become durable in order. On an error here `done` is dropped without being called.
    pub async fn submit(
        &self,
        ops: Vec<Op>,
        done: impl FnOnce(Result<(), CommitError>) + Send + 'static,
    ) -> Result<(), CommitError> {
        self.shared.queue.push(ops, Completion::Call(Box::new(done))).await
    }

    /// Moves an account's update state, which becomes durable with the next checkpoint, a few
    /// seconds later. The caller vouches that everything the move covers is durable already, as it is when the callback of
    /// [`Store::submit`] runs. A move of an account that has no record, or none any more, is dropped.
    pub fn note_update_state(&self, account: AuthKeyId, delta: UpdateStateDelta) {
        let mut overlay = self.shared.overlay_mut();
        let was_idle = overlay.len() == 0;
        overlay.move_state(account, delta);
        drop(overlay);
        if was_idle {
            self.shared.queue.nudge();
        }
    }

    /// Registers what the store measures.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Why the store takes nothing any more, if it failed.
    pub fn failure(&self) -> Option<CommitError> {
        self.shared.failed.borrow().clone()
    }

    /// Waits until the store fails, and tells why. The owner of the process should
    /// wait for this and end it.
    pub async fn failed(&self) -> CommitError {
        let mut failed = self.shared.failed.subscribe();
        let seen = failed.wait_for(Option::is_some).await.ok().and_then(|seen| seen.clone());
        seen.unwrap_or(CommitError::Closed)
    }

    /// Makes everything submitted durable, gives everything its own record, and ends the writer.
    /// The store stays locked until the last handle and the [`Outbox`] are dropped.
    pub async fn close(self) -> Result<(), StoreError> {
        self.shared.queue.close();
        let running = self.thread.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            let joined = tokio::task::spawn_blocking(move || running.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                self.shared.panicked("its writer panicked");
            }
        }
        let failed = self.shared.failed.borrow().clone();
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Store {
    /// The reader for webhooks; the first one ever begins with what has not left the outbox. From then
    /// on entries stay until it has taken them over, also while nobody reads. There must be only one.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn spooler(&self) -> Result<Spooler, CommitError> {
        let shared = Arc::clone(&self.shared);
        if shared.spooled.load(Ordering::Acquire) == u64::MAX {
            self.commit(vec![Op::Spool(shared.queue.acknowledged())]).await?;
        }
        Ok(Spooler::new(shared))
    }
}
