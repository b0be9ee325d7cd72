//! Rotations as they are asked for. Owns the order of their steps; the writer does the work
//! (`rotation_worker`), and a root that is far away is asked on a thread of its own.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::protocol::values::ids::UnixMillis;

use super::generation::Fresh;
use super::key_file::KeyFile;
use super::key_set::{Keys, Request};
use super::open;
use super::root::Root;
use super::seal::{KeyId, MasterKey, Parts, random_key};
use crate::store::contract::{CommitError, KeyStatus, RotateError, Rotated, StoreError};
use crate::store::engines::{Engine, Pair};
use crate::store::format::layout::{self, SEALED_KINDS};

/// What a rotation needs of the running store.
pub(in crate::store) trait RotationHost: Send + Sync + 'static {
    /// Its keys.
    fn keys(&self) -> &Keys;

    /// Where the generations are read.
    fn engine(&self) -> &dyn Engine;

    /// What new keys are dated by.
    fn clock(&self) -> &Clock;

    /// Has the writer look for work of its own at once.
    fn wake_writer(&self);

    /// Why the writer ended.
    fn ended(&self) -> CommitError;
}

/// Makes a new generation of keys and wraps everything for it; returns once nothing that an older one wraps
/// is left. One rotation runs at a time.
pub(in crate::store) async fn rotate(
    host: &Arc<impl RotationHost>,
) -> Result<Rotated, RotateError> {
    let keys = host.keys();
    let _guard = keys.one_at_a_time.lock().await;
    until_complete(&**host).await.map_err(RotateError::Unchanged)?;
    let (root, number, at) =
        (keys.root(), keys.key_set().generation.number + 1, host.clock().now());
    let fresh = on_own_thread(move || Fresh::draw(&root, number, at)).await;
    let fresh = fresh.map_err(RotateError::Unchanged)?;
    adopt(&**host, fresh, vec![], None).await.map_err(RotateError::Unfinished)?;
    finished(&**host).await
}

/// Replaces the root in the store's own key file by a new one, and makes a new generation.
pub(in crate::store) async fn replace_root(
    host: &Arc<impl RotationHost>,
) -> Result<Rotated, RotateError> {
    let keys = host.keys();
    let _guard = keys.one_at_a_time.lock().await;
    let Some(own) = keys.own.clone() else {
        return Err(RotateError::NotOurs { origin: keys.root().name() });
    };
    until_complete(&**host).await.map_err(RotateError::Unchanged)?;
    // The threads hold the store, and with it the lock on its directory, for as long as they write there.
    let (preparing, at) = (Arc::clone(host), host.clock().now());
    let prepared = on_own_thread(move || prepare_root(&*preparing, &own, at)).await;
    let (fresh, with, root) = prepared.map_err(RotateError::Unchanged)?;
    adopt(&**host, fresh, with, Some(root)).await.map_err(RotateError::Unfinished)?;
    let finishing = Arc::clone(host);
    let moved = on_own_thread(move || finishing.keys().finish_key_file()).await;
    moved.map_err(RotateError::Unfinished)?;
    finished(&**host).await
}

/// What there is to say about the keys. Reads all sealed records while a rotation is under way.
pub(in crate::store) fn status(keys: &Keys, engine: &dyn Engine) -> Result<KeyStatus, StoreError> {
    let state = *keys.state.borrow();
    let (generation, id, created_at) = {
        let key_set = keys.key_set();
        (key_set.generation.number, key_set.newest.id, key_set.generation.created_at)
    };
    let pending = if state.is_complete { 0 } else { pending(engine, &id)? };
    Ok(KeyStatus {
        provider: keys.root().name(),
        generation,
        id: short(&id),
        created_at,
        last_rotation: state.rotated_at,
        pending,
    })
}

/// Has the writer use a new generation, and waits until that is durable.
pub(super) async fn adopt(
    host: &impl RotationHost,
    fresh: Fresh,
    with: Vec<Pair>,
    root: Option<Root>,
) -> Result<(), StoreError> {
    let (done, durable) = oneshot::channel();
    if !host.keys().request(Request { fresh, with, root, done }) {
        return Err(CommitError::Closed.into());
    }
    host.wake_writer();
    match durable.await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(host.ended().into()),
    }
}

/// Waits until no rotation is under way.
pub(super) async fn until_complete(host: &impl RotationHost) -> Result<(), StoreError> {
    let mut state = host.keys().state.subscribe();
    let done = state.wait_for(|state| state.is_complete || state.is_closed).await;
    let is_complete = done.is_ok_and(|state| state.is_complete && !state.is_closed);
    if is_complete { Ok(()) } else { Err(host.ended().into()) }
}

async fn finished(host: &impl RotationHost) -> Result<Rotated, RotateError> {
    until_complete(host).await.map_err(RotateError::Unfinished)?;
    let keys = host.keys();
    let records = keys.state.borrow().rewrapped;
    let key_set = keys.key_set();
    Ok(Rotated { generation: key_set.generation.number, id: short(&key_set.newest.id), records })
}

type Prepared = (Fresh, Vec<Pair>, Root);

/// A new root in a file beside the old one's, a generation under it, and the generations there are,
/// wrapped by it.
fn prepare_root(
    host: &impl RotationHost,
    own: &KeyFile,
    at: UnixMillis,
) -> Result<Prepared, StoreError> {
    let keys = host.keys();
    // What an earlier attempt left there may be the root by now.
    keys.finish_key_file()?;
    let old = keys.root();
    let raw = random_key()?;
    own.write_next(&raw)?;
    let root = Root::Local { key: Box::new(MasterKey::new(&raw)), name: own.name() };
    let number = keys.key_set().generation.number + 1;
    let fresh = Fresh::draw(&root, number, at)?;
    let mut with = Vec::new();
    for generation in open::stored(host.engine())? {
        with.push((generation.record_key(), generation.moved(&old, &root)?.to_bytes()));
    }
    Ok((fresh, with, root))
}

/// Runs what may block for long.
async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = |_| StoreError::from(CommitError::failed("its thread panicked"));
    tokio::task::spawn_blocking(work).await.map_err(ended).and_then(|outcome| outcome)
}

/// How many records an older key than `newest` wraps.
pub(super) fn pending(engine: &dyn Engine, newest: &KeyId) -> Result<u64, StoreError> {
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

fn short(id: &KeyId) -> String {
    id[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
