//! The keys at work: the newest generation, which seals, and the older ones, which only open. Owns
//! them and what is asked of the writer about them; the writer alone changes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{oneshot, watch};

use crate::protocol::values::ids::UnixMillis;

use super::generation::{Fresh, Generation};
use super::key_file::KeyFile;
use super::root::Root;
use super::seal::{BrokenSeal, Bytes, KeyId, MasterKey, Parts, Seal};
use crate::store::contract::{CommitError, StoreError};
use crate::store::engines::{Engine, Pair};

/// The newest generation, and what came before it and is still needed.
pub(super) struct KeySet {
    pub(super) newest: MasterKey,
    pub(super) generation: Generation,
    pub(super) older: Vec<MasterKey>,
}

impl KeySet {
    fn of_id(&self, id: &KeyId) -> Option<&MasterKey> {
        [&self.newest].into_iter().chain(&self.older).find(|key| key.id == *id)
    }
}

/// A new generation that the writer is to make durable and to use from then on.
pub(super) struct Request {
    pub(super) fresh: Fresh,
    /// Records that go with it: older generations, wrapped by another root.
    pub(super) with: Vec<Pair>,
    /// The root that wraps all of them, where it is another one than before; its key waits beside
    /// the store's own key file.
    pub(super) root: Option<Root>,
    /// Completed once it is durable.
    pub(super) done: oneshot::Sender<Result<(), CommitError>>,
}

#[derive(Default)]
struct Inbox {
    request: Option<Request>,
    is_closed: bool,
}

/// How far rotations have come.
#[derive(Clone, Copy, Debug)]
pub(super) struct RotationState {
    /// Nothing is sealed under an older key, and none is left on disk.
    pub(super) is_complete: bool,
    /// Records wrapped anew for the newest generation by this process.
    pub(super) rewrapped: u64,
    /// When the newest generation was made.
    pub(super) created_at: UnixMillis,
    /// When a rotation was last through.
    pub(super) rotated_at: Option<UnixMillis>,
    /// Nothing changes any more.
    pub(super) is_closed: bool,
}

/// What the handles of the store and its writer share of the keys.
pub(in crate::store) struct Keys {
    key_set: RwLock<KeySet>,
    root: Mutex<Arc<Root>>,
    /// The store's own key file, when that is where the root is from.
    pub(super) own: Option<KeyFile>,
    /// Whether the root is the key that was to follow, which is not in its place yet.
    followed: Mutex<bool>,
    inbox: Mutex<Inbox>,
    pub(super) state: watch::Sender<RotationState>,
    /// Held during a rotation, of which one runs at a time.
    pub(super) one_at_a_time: tokio::sync::Mutex<()>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keys {
    pub(super) fn new(
        key_set: KeySet,
        root: Root,
        own: Option<KeyFile>,
        rotated_at: Option<UnixMillis>,
    ) -> Self {
        let (is_complete, created_at) = (key_set.older.is_empty(), key_set.generation.created_at);
        let state =
            RotationState { is_complete, rewrapped: 0, created_at, rotated_at, is_closed: false };
        Self {
            key_set: RwLock::new(key_set),
            root: Mutex::new(Arc::new(root)),
            own,
            followed: Mutex::new(false),
            inbox: Mutex::default(),
            state: watch::Sender::new(state),
            one_at_a_time: tokio::sync::Mutex::default(),
        }
    }

    /// When the newest generation was made.
    pub(in crate::store) fn created_at(&self) -> UnixMillis {
        self.state.borrow().created_at
    }

    pub(super) fn set_followed(&self, followed: bool) {
        *held(&self.followed) = followed;
    }

    pub(super) fn key_set(&self) -> RwLockReadGuard<'_, KeySet> {
        self.key_set.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn key_set_mut(&self) -> RwLockWriteGuard<'_, KeySet> {
        self.key_set.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn root(&self) -> Arc<Root> {
        Arc::clone(&held(&self.root))
    }

    /// From now on the root is the key that waits beside the store's own key file.
    pub(super) fn follow(&self, root: Root) {
        *held(&self.root) = Arc::new(root);
        self.set_followed(true);
    }

    /// Puts the store's own key file in order once the store has opened: the key that was to follow
    /// is put in its place if it wraps the generations, else it goes.
    pub(in crate::store) fn finish_key_file(&self) -> Result<(), StoreError> {
        let Some(own) = &self.own else { return Ok(()) };
        let mut followed = held(&self.followed);
        if *followed {
            own.take_next()?
        } else {
            own.drop_next()?
        }
        *followed = false;
        Ok(())
    }

    /// The sealed record at `record_key`, opened. Unlike a read and an opening apart from each other, it
    /// cannot come between the end of a rotation and find its key gone.
    pub(in crate::store) fn read(
        &self,
        engine: &dyn Engine,
        record: &'static str,
        record_key: &[u8],
    ) -> Result<Option<Bytes>, StoreError> {
        let key_set = self.key_set();
        let Some(sealed) = engine.get(record_key)? else { return Ok(None) };
        let broken = |_| StoreError::Damaged { record, detail: "its seal is broken" };
        key_set.open(record_key, &sealed).map(Some).map_err(broken)
    }

    /// Opens the sealed records of `from..to` in their order, until `visit` answers `false` or fails; it
    /// must not use the engine. As safe against the end of a rotation as [`Keys::read`].
    pub(in crate::store) fn read_each(
        &self,
        engine: &dyn Engine,
        record: &'static str,
        (from, to): (&[u8], &[u8]),
        mut visit: impl FnMut(&[u8], Bytes) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let key_set = self.key_set();
        let mut outcome = Ok(true);
        engine.scan(from, to, &mut |record_key, sealed| {
            let broken = |_| StoreError::Damaged { record, detail: "its seal is broken" };
            let opened = key_set.open(record_key, sealed).map_err(broken);
            outcome = opened.and_then(|plain| visit(record_key, plain));
            matches!(outcome, Ok(true))
        })?;
        outcome.map(drop)
    }

    /// Has the writer use a new generation. Answers `false` when there is no writer any more.
    pub(super) fn request(&self, request: Request) -> bool {
        let mut inbox = held(&self.inbox);
        let is_open = !inbox.is_closed;
        inbox.request = Some(request).filter(|_| is_open);
        is_open
    }

    pub(super) fn take_request(&self) -> Option<Request> {
        held(&self.inbox).request.take()
    }

    pub(super) fn has_request(&self) -> bool {
        held(&self.inbox).request.is_some()
    }

    /// The writer ends: everyone who waits for it is woken.
    pub(in crate::store) fn close(&self) {
        let mut inbox = held(&self.inbox);
        (inbox.request, inbox.is_closed) = (None, true);
        drop(inbox);
        self.state.send_modify(|state| state.is_closed = true);
    }
}

impl Seal for KeySet {
    fn seal(&self, record_key: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.newest.seal(record_key, plain)
    }

    fn open(&self, record_key: &[u8], sealed: &[u8]) -> Result<Bytes, BrokenSeal> {
        let id = Parts::of(sealed)?.id;
        self.of_id(id).ok_or(BrokenSeal)?.open(record_key, sealed)
    }
}

impl Seal for Keys {
    fn seal(&self, record_key: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.key_set().seal(record_key, plain)
    }

    fn open(&self, record_key: &[u8], sealed: &[u8]) -> Result<Bytes, BrokenSeal> {
        self.key_set().open(record_key, sealed)
    }
}

impl KeySet {
    /// A record that an older key wraps, wrapped by the newest one; `None` when it is already, or
    /// when nothing here opens it.
    pub(super) fn renew(&self, record_key: &[u8], sealed: &[u8]) -> Result<Renewed, StoreError> {
        let Ok(parts) = Parts::of(sealed) else { return Ok(Renewed::Broken) };
        if *parts.id == self.newest.id {
            return Ok(Renewed::UpToDate);
        }
        let Some(old) = self.of_id(parts.id) else { return Ok(Renewed::Broken) };
        let renewed = self.newest.rewrap(old, record_key, sealed)?;
        Ok(renewed.map_or(Renewed::Broken, Renewed::Anew))
    }
}

/// What became of a sealed record.
pub(super) enum Renewed {
    /// The newest generation wraps it.
    UpToDate,
    /// This is to replace it.
    Anew(Vec<u8>),
    /// No key opens it, so none is kept for it.
    Broken,
}
