//! Rotations as the rest of the daemon asks for them. Owns their order; the writer does the work
//! (`rotation`), and a root that is far away is asked on a thread of its own.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::generation::Fresh;
use super::ring::Request;
use super::root::Root;
use super::source::KeySource;
use super::{MasterKey, Parts, SEALED_KINDS, open, random_key};
use crate::clock::now;
use crate::protocol::values::ids::UnixMillis;
use crate::store::engine::{Engine, Pair};
use crate::store::error::{CommitError, StoreError};
use crate::store::{Reader, Shared, Store, layout};

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The number of the new generation; they are counted from 1.
    pub generation: u32,
    /// What tells it from others: 8 hexadecimal digits, no secret.
    pub id: String,
    /// Records wrapped anew.
    pub records: u64,
}

/// What there is to say about the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Where the root comes from, in words, e.g. `the key file /etc/telewarden/key`.
    pub provider: String,
    /// The number of the newest generation; they are counted from 1.
    pub generation: u32,
    /// What tells it from others: 8 hexadecimal digits, no secret.
    pub id: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When a rotation was last complete; `None` before the first.
    pub last_rotation: Option<UnixMillis>,
    /// Records that are sealed under an older key; 0 unless a rotation is under way.
    pub pending: u64,
}

/// Why a rotation was not made, or not finished.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// Nothing was changed.
    #[error("rotate the keys: {0}; nothing was changed, and everything stays readable")]
    Unchanged(StoreError),
    /// It is under way, and the next start finishes it.
    #[error(
        "finish the rotation of the keys: {0}; everything stays readable, and the next start \
             goes on with it"
    )]
    Unfinished(StoreError),
    /// The root is not the daemon's to replace.
    #[error(
        "replace the root key, because it comes from {origin}: make a new key there, let \
         secrets.previous_key_file name a file with the old one, and start again"
    )]
    NotOurs {
        /// Where it comes from.
        origin: String,
    },
}

impl Store {
    /// Makes a new generation of keys and wraps everything for it; returns once nothing that an
    /// older one wraps is left, and those are gone. Everything stays readable all the time; commits
    /// go on. One rotation runs at a time; another one waits for it. Dropping the future does not
    /// undo what has begun.
    ///
    /// # Errors
    /// When the root or the disk fails, or the store is closed.
    pub async fn rotate_key(&self) -> Result<Rotated, RotateError> {
        let keys = &self.shared.master;
        let _turn = keys.turn.lock().await;
        self.shared.settled().await.map_err(RotateError::Unchanged)?;
        self.new_generation().await
    }

    /// Replaces the root in the store's own key file by a new one, as after somebody may have read
    /// it, and makes a new generation. A copy of the old file opens nothing that is stored later.
    ///
    /// # Errors
    /// As [`Store::rotate_key`]; and when the root comes from elsewhere.
    pub async fn rotate_root(&self) -> Result<Rotated, RotateError> {
        let shared = &self.shared;
        let _turn = shared.master.turn.lock().await;
        let Some(own) = shared.master.own.clone() else {
            return Err(RotateError::NotOurs { origin: shared.master.root().name() });
        };
        shared.settled().await.map_err(RotateError::Unchanged)?;
        let (prepared, at) = (Arc::clone(shared), now());
        let prepared = aside(move || prepare_root(&prepared, &own, at)).await;
        let (fresh, with, root) = prepared.map_err(RotateError::Unchanged)?;
        shared.adopt(fresh, with, Some(root)).await.map_err(RotateError::Unfinished)?;
        let settling = Arc::clone(shared);
        aside(move || settling.master.settle_file()).await.map_err(RotateError::Unfinished)?;
        self.finished().await
    }

    /// When the newest generation of keys was made. Reads nothing from disk, and waits for nobody who does.
    pub fn key_created_at(&self) -> UnixMillis {
        self.shared.master.progress.borrow().created_at
    }

    async fn new_generation(&self) -> Result<Rotated, RotateError> {
        let keys = &self.shared.master;
        let (root, number, at) = (keys.root(), keys.ring().generation.number + 1, now());
        let fresh = aside(move || Fresh::draw(&root, number, at)).await;
        let fresh = fresh.map_err(RotateError::Unchanged)?;
        self.shared.adopt(fresh, vec![], None).await.map_err(RotateError::Unfinished)?;
        self.finished().await
    }

    async fn finished(&self) -> Result<Rotated, RotateError> {
        self.shared.settled().await.map_err(RotateError::Unfinished)?;
        let keys = &self.shared.master;
        let records = keys.progress.borrow().rewrapped;
        let ring = keys.ring();
        Ok(Rotated { generation: ring.generation.number, id: short(&ring.newest.id), records })
    }
}

impl Reader {
    /// What there is to say about the keys. Reads all sealed records while a rotation is under way.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn key_status(&self) -> Result<KeyStatus, StoreError> {
        let keys = &self.shared.master;
        let progress = *keys.progress.borrow();
        let (generation, id, created_at) = {
            let ring = keys.ring();
            (ring.generation.number, ring.newest.id, ring.generation.created_at)
        };
        let pending = if progress.is_settled { 0 } else { pending(&*self.shared.engine, &id)? };
        Ok(KeyStatus {
            provider: keys.root().name(),
            generation,
            id: short(&id),
            created_at,
            last_rotation: progress.rotated_at,
            pending,
        })
    }
}

impl Shared {
    /// Has the writer use a new generation, and waits until that is durable.
    pub(super) async fn adopt(
        &self,
        fresh: Fresh,
        with: Vec<Pair>,
        root: Option<Root>,
    ) -> Result<(), StoreError> {
        let (done, durable) = oneshot::channel();
        if !self.master.request(Request { fresh, with, root, done }) {
            return Err(CommitError::Closed.into());
        }
        self.queue.wake();
        match durable.await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(self.ended().into()),
        }
    }

    /// Waits until no rotation is under way.
    pub(super) async fn settled(&self) -> Result<(), StoreError> {
        let mut progress = self.master.progress.subscribe();
        let done = progress.wait_for(|progress| progress.is_settled || progress.is_closed).await;
        let is_settled = done.is_ok_and(|progress| progress.is_settled && !progress.is_closed);
        if is_settled { Ok(()) } else { Err(self.ended().into()) }
    }

    /// Why the writer ended.
    fn ended(&self) -> CommitError {
        self.failed.borrow().clone().unwrap_or(CommitError::Closed)
    }
}

type Prepared = (Fresh, Vec<Pair>, Root);

/// A new root in a file beside the old one's, a generation under it, and the generations there are,
/// wrapped by it.
fn prepare_root(shared: &Shared, own: &KeySource, at: UnixMillis) -> Result<Prepared, StoreError> {
    let keys = &shared.master;
    // What an earlier attempt left there may be the root by now.
    keys.settle_file()?;
    let old = keys.root();
    let raw = random_key()?;
    own.write_next(&raw)?;
    let root = Root::Local { key: Box::new(MasterKey::new(&raw)), name: own.name() };
    let number = keys.ring().generation.number + 1;
    let fresh = Fresh::draw(&root, number, at)?;
    let mut with = Vec::new();
    for generation in open::stored(&*shared.engine)? {
        with.push((generation.place(), generation.moved(&old, &root)?.to_bytes()));
    }
    Ok((fresh, with, root))
}

/// Runs what may block for long.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = |_| StoreError::from(CommitError::failed("its thread panicked"));
    tokio::task::spawn_blocking(work).await.map_err(ended).and_then(|outcome| outcome)
}

/// How many records an older key than `newest` wraps.
pub(super) fn pending(engine: &dyn Engine, newest: &super::KeyId) -> Result<u64, StoreError> {
    let mut count = 0;
    for (kind, _) in SEALED_KINDS {
        let (from, to) = layout::all(*kind);
        engine.scan(&from, &to, &mut |_, sealed| {
            count += u64::from(Parts::of(sealed).is_ok_and(|parts| parts.id != newest));
            true
        })?;
    }
    Ok(count)
}

fn short(id: &super::KeyId) -> String {
    id[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
