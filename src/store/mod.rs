//! The store: what the daemon remembers, and the outbox. The only code that names sled, and the only
//! code that knows how records lie on disk; it decides nothing.
//!
//! # Promises
//! - A commit is atomic, and durable (`fdatasync`) before [`Store::commit`] returns or the callback
//!   of [`Store::submit`] runs. Commits become durable in the order in which they were submitted.
//! - An event is in the outbox until it is released and, where somebody reads for webhooks, taken over
//!   by that reader, whose place moves in the commit that keeps what was made of the event. A cursor never claims a message whose event is
//!   neither in the outbox nor released; an update state is never durable before events that were
//!   submitted earlier. Sequence numbers are never used twice.
//! - After a failure of the disk nothing more is written: see [`Store::failed`].
//! - What a newer program wrote, or another key sealed, is refused, and none of its records changes.
//! - A torn tail heals; a database with holes, or one that ends before what the witness saw, is
//!   refused with its path and advice. Its files are then as they were found, or the error says
//!   where they lie as they were found, or that no copy could be made of them (`keep`).
//!
//! # How
//! Submissions wait in a bounded queue (`queue`); the writer thread (`writer`) takes them in
//! groups (`group`) and writes each group as one batch with one sync. Events and the cursors that
//! moved with them are packed into segments (`segment`), so that neither costs a write of its own:
//! the outbox is the journal of the cursors. `checkpoint` later gives cursors and update states
//! their own records (`hot` holds them until then) and trims the outbox. `recover` lays what the
//! segments say over the records at start-up.
//! `recall` reads records, `reader` does so for whoever must not wait for the disk, `roster` knows which monitors there are, `erase` erases users piece by piece.
//! `audit` keeps a tally of the records with every batch, and a witness of how far the store had
//! come beside the database, because sled passes over damage that looks like a torn tail. `examine`
//! looks at a store without changing it, for `telewarden check` and `telewarden audit verify`.
//! Below lies an ordered map with atomic batches (`engine`), on sled or in memory.
//!
//! # What is sealed
//! Sealed (AES-256-GCM, `keys`, which also tells how keys are renewed): credentials, logins under way,
//! webhooks with their deliveries, and the entries of the outbox with their message texts. In clear: users
//! and their accounts with masked phone numbers, which accounts, sessions and monitors there are, their
//! names and faults, attached chats, what was sent under an idempotency key (numbers and fingerprints),
//! daily counts, who is being erased, the audit log with user ids and addresses, the restart ledger, cursors (with 64-bit
//! fingerprints of the newest second's messages in private chats and basic groups), update states, and
//! peers, whose access hashes are worth nothing without the authorization key. A copy of the store without
//! the key opens no session and shows no text.

mod audit;
mod checkpoint;
mod door;
mod engine;
mod erase;
mod error;
mod examine;
#[cfg(test)]
pub(crate) mod gated;
mod group;
mod hot;
mod keep;
mod keys;
mod layout;
mod memory_engine;
mod metrics;
mod op;
mod outbox;
mod queue;
mod reader;
mod recall;
mod records;
mod recover;
mod roster;
mod rows;
mod segment;
mod sled_engine;
#[cfg(test)]
mod tests;
mod trail;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};

use crate::protocol::telegram::updates::UpdateStateDelta;
use crate::protocol::values::ids::AuthKeyId;

use audit::{Audited, Progress, Witness};
use checkpoint::Checkpoint;
use engine::Engine;
use hot::Hot;
use keep::Kept;
use keys::Key;
use keys::MasterKey;
#[cfg(test)]
use keys::Seal;
use keys::{Keyring, Keys, Rotation};
use layout::kind;
use memory_engine::MemoryDisk;
use metrics::Metrics;
use outbox::Ring;
use queue::{Done, Queue};
use reader::Readers;
use recover::{Recovered, Seen};
use roster::Roster;
use segment::Head;
use sled_engine::SledEngine;
use writer::{Pace, Writer, panic_text};

pub use erase::names_user;
pub use error::{CommitError, DiskTrouble, EngineError, Files, StoreError};
pub use examine::{Examined, TrailExamined, examine, examine_trail};
pub use keys::{KeyOrigin, KeyStatus, RemoteRoot, RootError, RotateError, Rotated};
pub use op::{CACHE_BYTES_DEFAULT, Op, RESTARTS_KEPT, Snapshot, StoreOptions, StoreStats};
pub use outbox::{Outbox, Spooler};
pub use reader::Reader;
pub use rows::{DeadId, DeliveryId, RawRow, Row, RowId, Table};
pub use trail::{TrailMark, TrailPage, TrailQuery, TrailReport};

/// What the handles, the reader of the outbox and the writer share.
struct Shared {
    engine: Arc<Audited>,
    /// The store's directory; stores in memory have none.
    place: Option<Arc<Path>>,
    master: Keys,
    keyring: Keyring,
    queue: Queue,
    ring: Ring,
    /// For the second reader, who may never come.
    spool_ring: Ring,
    /// What the second reader has taken over, as the disk has it; everything as long as there is none.
    spooled: AtomicU64,
    /// Nobody reads for the broker: what the second reader has taken over leaves the outbox.
    is_abandoned: AtomicBool,
    hot: RwLock<Hot>,
    roster: RwLock<Roster>,
    metrics: Metrics,
    failed: watch::Sender<Option<CommitError>>,
    /// Held as long as anyone may touch the store.
    _home: Option<Home>,
}

/// The directory of a store, and the lock on it.
struct Home {
    path: Arc<Path>,
    #[expect(dead_code, reason = "it is held, and goes when the store does")]
    lock: File,
}

impl Shared {
    fn read_hot(&self) -> RwLockReadGuard<'_, Hot> {
        self.hot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_hot(&self) -> RwLockWriteGuard<'_, Hot> {
        self.hot.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_roster(&self) -> RwLockReadGuard<'_, Roster> {
        self.roster.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_roster(&self) -> RwLockWriteGuard<'_, Roster> {
        self.roster.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's thread; told to end when the last handle goes.
struct Thread {
    shared: Arc<Shared>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

/// A handle on the store; clones are cheap and mean the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    reader: Reader,
    readers: Arc<Readers>,
    thread: Arc<Thread>,
}

/// Tests read where they stand.
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
        door::make_private(path)?;
        // Held until whatever opening changed was put back.
        let lock = door::lock(path)?;
        let database = sled_engine::directory(path);
        let (key, used) = look_first(&options)?;
        let kept = Kept::of(&database);
        let opened = sled_engine::guarded(&database, || {
            let engine = SledEngine::open(&database, options.cache_bytes)?;
            if used && !recover::was_used(&engine)? {
                return Err(StoreError::Emptied { path: path.clone() });
            }
            let seen = Seen::by_witness(path);
            recover::recover(Arc::new(engine), key, Some(seen))
        });
        let recovered = match opened.and_then(|opened| door::write_marker(path).map(|()| opened)) {
            Ok(recovered) => recovered,
            Err(error) => return Err(kept.after(error)),
        };
        recovered.master.settle_file()?;
        kept.let_go()?;
        let home = Home { path: path.as_path().into(), lock };
        Self::run(recovered, Some(home), Pace::default())
    }

    /// A store that lives in memory, for tests and trials: the same code on another engine.
    pub fn in_memory() -> Result<(Self, Outbox), StoreError> {
        let key = Key::Given(Box::new(MasterKey::ephemeral()?));
        Self::start(Arc::new(MemoryDisk::default()), key, Pace::default())
    }

    /// A store on any engine, without a directory.
    fn start(engine: Arc<dyn Engine>, key: Key, pace: Pace) -> Result<(Self, Outbox), StoreError> {
        let recovered = recover::recover(engine, key, None)?;
        recovered.master.settle_file()?;
        Self::run(recovered, None, pace)
    }

    /// Starts the writer of a store that was recovered.
    fn run(
        recovered: Recovered,
        home: Option<Home>,
        pace: Pace,
    ) -> Result<(Self, Outbox), StoreError> {
        let Recovered { engine, master, keyring, known, hot, roster, .. } = recovered;
        let Recovered { next_seq, released, spooled, mark, .. } = recovered;
        let synced = Progress { count: engine.count(), next_seq };
        let witness = home.as_ref().map(|home| Witness::open(&home.path)).transpose()?;
        let shared = Arc::new(Shared {
            engine,
            place: home.as_ref().map(|home| Arc::clone(&home.path)),
            master,
            keyring,
            queue: Queue::new(released),
            ring: Ring::new(next_seq),
            spool_ring: Ring::closed(next_seq),
            spooled: AtomicU64::new(spooled.unwrap_or(u64::MAX)),
            is_abandoned: AtomicBool::new(false),
            hot: RwLock::new(hot),
            roster: RwLock::new(roster),
            metrics: Metrics::from(known.written),
            failed: watch::Sender::new(None),
            _home: home,
        });
        let checkpoint = Checkpoint::new(mark, pace.checkpoint_every);
        let rotation = Rotation::new(&shared.master);
        let writer = Writer {
            shared: Arc::clone(&shared),
            known,
            next_seq,
            released,
            checkpoint,
            rotation,
            pace,
            witness,
            synced,
            note_at: Instant::now() + pace.checkpoint_every,
        };
        let running = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(StoreError::file("start the writer of", "the store"))?;
        let running = Mutex::new(Some(running));
        let thread = Arc::new(Thread { shared: Arc::clone(&shared), running });
        let outbox = Outbox::new(Arc::clone(&shared), released + 1);
        let (reader, readers) = (Reader { shared: Arc::clone(&shared) }, Arc::default());
        Ok((Self { shared, reader, readers, thread }, outbox))
    }

    /// Writes `ops` as one, and returns once they are durable.
    ///
    /// Cancelling it does not undo it: what was handed in becomes durable all the same.
    pub async fn commit(&self, ops: Vec<Op>) -> Result<(), CommitError> {
        let (sender, durable) = oneshot::channel();
        self.shared.queue.push(ops, Done::Task(sender)).await?;
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
        self.shared.queue.push(ops, Done::Call(Box::new(done))).await
    }

    /// Moves an account's update state, which becomes durable with the next checkpoint, a few
    /// seconds later. The caller vouches that everything the move covers is durable already, as it is when the callback of
    /// [`Store::submit`] runs. A move of an account that has no record, or none any more, is dropped.
    pub fn note_update_state(&self, account: AuthKeyId, delta: UpdateStateDelta) {
        let mut hot = self.shared.write_hot();
        let was_idle = hot.len() == 0;
        hot.move_state(account, delta);
        drop(hot);
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

    /// Waits until the store fails, and tells why. Whoever is responsible for the process should
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

impl Reader {
    /// What the store tells of itself. Reads one record and the size of one file.
    pub fn stats(&self) -> StoreStats {
        let shared = &self.shared;
        let released = shared.queue.released();
        let latencies = shared.metrics.latencies();
        let (appended, commits) = shared.metrics.counts();
        let outbox_depth = (shared.ring.end() - 1).saturating_sub(released);
        let oldest = (outbox_depth > 0).then(|| self.oldest(released)).flatten();
        StoreStats {
            outbox_depth,
            outbox_bytes: self.outbox_bytes(),
            outbox_oldest_at: oldest.map(|head| head.at),
            appended,
            commits,
            waiting: shared.queue.waiting(),
            latency_last: latencies.last,
            latency_p50: latencies.p50,
            latency_p99: latencies.p99,
            pending: shared.read_hot().len(),
            disk_bytes: shared.engine.disk_bytes(),
            failed: shared.failed.borrow().as_ref().map(ToString::to_string),
        }
    }

    /// About how many bytes of the outbox are kept for whoever reads it yet: what webhooks have not taken
    /// over stays, too. Reads one record.
    pub fn outbox_bytes(&self) -> u64 {
        let shared = &self.shared;
        let kept = shared.queue.released().min(shared.spooled.load(Ordering::Acquire));
        let first = (shared.ring.end() - 1 > kept).then(|| self.oldest(kept)).flatten();
        first.map_or(0, |head| shared.metrics.written().saturating_sub(head.before))
    }

    /// The segment that holds the first entry after `released`.
    fn oldest(&self, released: u64) -> Option<Head> {
        let (from, _) = layout::all(kind::SEGMENT);
        let to = layout::seq(kind::SEGMENT, released + 2);
        let (_, segment) = self.shared.engine.last(&from, &to).ok().flatten()?;
        Head::read(&segment).ok()
    }
}

/// What can be told of a store before its database is touched: the format of a newer program, a key
/// that cannot be used, things in the way, a database that is gone. Answers the key, and whether the
/// store was in use before.
fn look_first(options: &StoreOptions) -> Result<(Key, bool), StoreError> {
    let used = door::read_marker(&options.path)?;
    let key = Key::read_first(&options.path, &options.key, &options.previous_keys, used)?;
    let database = sled_engine::directory(&options.path);
    keep::refuse_if_aside(&database)?;
    sled_engine::refuse_what_is_in_the_way(&database)?;
    if used && !database.join("db").exists() {
        return Err(StoreError::Emptied { path: options.path.clone() });
    }
    Ok((key, used))
}
