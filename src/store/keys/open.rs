//! From the root and what is stored to keys that work. Owns the checks of the root before anything is read,
//! the first generation, the taking over of stores without generations, and the change to another root;
//! writes nothing: what belongs on disk goes with the batch that opens the store.

use std::path::{Path, PathBuf};

use crate::protocol::values::ids::UnixMillis;

use super::generation::{Fresh, Generation};
use super::key_file::KeyFile;
use super::key_set::{KeySet, Keys};
use super::root::Root;
use super::seal::{KeyId, MasterKey, Parts, Seal};
use crate::store::contract::{KeyOrigin, StoreError};
use crate::store::engines::{Engine, WriteBatch, collect};
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind};

/// Formats from here on keep generations.
const GENERATIONS_SINCE: u32 = 3;
/// What a root sealed before there were generations, to be recognised by.
pub(super) const KEY_CHECK_TEXT: &[u8] = b"telewarden";

/// Where the root comes from.
pub(in crate::store) enum RootKey {
    /// It is given, for stores in memory.
    Given(Box<MasterKey>),
    /// From where the options say.
    Origin(Box<Origin>),
}

/// What the options say of the root, and what is there.
pub(in crate::store) struct Origin {
    store: PathBuf,
    found: Found,
    /// The store's own key file, when that is where the root is from.
    own: Option<KeyFile>,
    previous: Vec<KeyOrigin>,
}

/// The root, or the file that does not exist.
enum Found {
    Root(Root),
    Missing(KeyFile),
}

impl RootKey {
    /// Reads the root before anything else is touched. `used` tells that the store was in use.
    pub(in crate::store) fn read_first(
        store: &Path,
        origin: &KeyOrigin,
        previous: &[KeyOrigin],
        used: bool,
    ) -> Result<Self, StoreError> {
        let is_own = matches!(origin, KeyOrigin::Own);
        let source = match origin {
            KeyOrigin::Own => Some(KeyFile::own(store)),
            KeyOrigin::File { path, .. } => Some(KeyFile::configured(path)),
            KeyOrigin::Text { .. } | KeyOrigin::Remote(_) => None,
        };
        let found = match source {
            None => Found::Root(origin.read_now(store)?),
            Some(source) => match source.read_first(used)? {
                Some(key) => {
                    let name = if is_own { source.name() } else { origin.to_string() };
                    Found::Root(Root::Local { key: Box::new(key), name })
                }
                None => Found::Missing(source),
            },
        };
        let own = is_own.then(|| KeyFile::own(store));
        let origin = Origin { store: store.into(), found, own, previous: previous.to_vec() };
        Ok(Self::Origin(Box::new(origin)))
    }
}

/// Roots to try.
struct Roots {
    store: PathBuf,
    /// The one that is configured.
    root: Root,
    /// The one that was to follow it.
    next: Option<Root>,
    previous: Vec<KeyOrigin>,
    /// The store's own key file, when that is where the root is from.
    own: Option<KeyFile>,
}

impl Roots {
    /// `fresh` tells that nothing was sealed yet, so a missing key may be made.
    fn of(key: RootKey, fresh: bool) -> Result<Self, StoreError> {
        let origin = match key {
            RootKey::Given(key) => {
                let root = Root::Local { key, name: "memory".into() };
                return Ok(Self {
                    store: PathBuf::new(),
                    root,
                    next: None,
                    previous: vec![],
                    own: None,
                });
            }
            RootKey::Origin(origin) => *origin,
        };
        let Origin { store, found, own, previous } = origin;
        let root = match found {
            Found::Root(root) => root,
            Found::Missing(source) => {
                Root::Local { key: Box::new(source.load(fresh)?), name: source.name() }
            }
        };
        let next = own.as_ref().and_then(|own| {
            own.read_next().map(|key| Root::Local { key: Box::new(key), name: own.name() })
        });
        Ok(Self { store, root, next, previous, own })
    }

    /// The root of that id among those that came before.
    fn earlier(&self, id: KeyId) -> Result<Option<Root>, StoreError> {
        for origin in &self.previous {
            let root = origin.read_now(&self.store)?;
            if root.id() == id {
                return Ok(Some(root));
            }
        }
        Ok(None)
    }

    fn wrong(&self) -> StoreError {
        StoreError::WrongKey { origin: self.root.name() }
    }
}

/// Keys that work, and what belongs on disk before they are used.
pub(in crate::store) struct Opened {
    pub(in crate::store) keys: Keys,
    pub(in crate::store) batch: WriteBatch,
}

/// Opens the keys of a store of that `format`, `None` when it is new.
pub(in crate::store) fn open(
    engine: &dyn Engine,
    key: RootKey,
    format: Option<u32>,
    now: UnixMillis,
) -> Result<Opened, StoreError> {
    let roots = Roots::of(key, format.is_none())?;
    match format {
        None => begin(roots, vec![], now),
        Some(format) => {
            let legacy = legacy_root(engine, &roots)?;
            if format < GENERATIONS_SINCE {
                let missing = StoreError::Damaged { record: "key check", detail: "it is missing" };
                let legacy = legacy.ok_or(missing)?;
                return begin(roots, vec![legacy], now);
            }
            go_on(engine, roots, legacy, now)
        }
    }
}

/// The key that sealed records before there were generations, as long as some may be left.
fn legacy_root(engine: &dyn Engine, roots: &Roots) -> Result<Option<MasterKey>, StoreError> {
    const PLACE: &[u8] = layout::KEY_CHECK;
    let Some(check) = engine.get(PLACE)? else { return Ok(None) };
    let id = Parts::of(&check).map(|parts| *parts.id);
    let id =
        id.map_err(|_| StoreError::Damaged { record: "key check", detail: "it is cut short" })?;
    let key = match &roots.root {
        Root::Local { key, .. } if key.id == id => Some(key.copy()),
        _ => roots.earlier(id)?.and_then(Root::into_key),
    };
    let key = key.ok_or_else(|| roots.wrong())?;
    match key.open(PLACE, &check) {
        Ok(text) if text.as_slice() == KEY_CHECK_TEXT => Ok(Some(key)),
        _ => Err(roots.wrong()),
    }
}

/// The first generation.
fn begin(roots: Roots, older: Vec<MasterKey>, now: UnixMillis) -> Result<Opened, StoreError> {
    let Fresh { generation, key } = Fresh::draw(&roots.root, 1, now)?;
    let mut batch = WriteBatch::default();
    batch.put(generation.record_key(), generation.to_bytes());
    let key_set = KeySet { newest: key, generation, older };
    let keys = Keys::new(key_set, roots.root, roots.own, None);
    Ok(Opened { keys, batch })
}

/// The generations of a store that has some.
fn go_on(
    engine: &dyn Engine,
    roots: Roots,
    legacy: Option<MasterKey>,
    now: UnixMillis,
) -> Result<Opened, StoreError> {
    let stored = stored(engine)?;
    let (Some(newest), rest) = (stored.last().cloned(), stored.len().saturating_sub(1)) else {
        return Err(StoreError::Damaged { record: "key generation", detail: "it is missing" });
    };
    if stored.iter().any(|one| one.root != newest.root) {
        return Err(StoreError::Damaged {
            record: "key generation",
            detail: "two roots wrap them",
        });
    }
    let followed = roots.next.as_ref().is_some_and(|next| next.id() == newest.root);
    let earlier = match (newest.root == roots.root.id(), followed) {
        (true, _) | (_, true) => None,
        _ => Some(roots.earlier(newest.root)?.ok_or_else(|| roots.wrong())?),
    };
    let (root, next) = match roots.next {
        Some(next) if followed => (next, true),
        _ => (roots.root, false),
    };
    let opener = earlier.as_ref().unwrap_or(&root);
    let mut older = Vec::from_iter(legacy);
    for generation in &stored[..rest] {
        older.push(generation.open(opener)?);
    }
    let key = newest.open(opener)?;
    let mut batch = WriteBatch::default();
    let key_set = match &earlier {
        None => KeySet { newest: key, generation: newest, older },
        Some(earlier) => {
            tracing::warn!(
                "the keys in the store are wrapped by {} from now on, no longer by {}; that one \
                 stays needed until the log says that nothing is sealed under old keys any more",
                root.name(),
                earlier.name()
            );
            for generation in &stored {
                batch.put(generation.record_key(), generation.moved(earlier, &root)?.to_bytes());
            }
            older.push(key);
            let Fresh { generation, key } = Fresh::draw(&root, newest.number + 1, now)?;
            batch.put(generation.record_key(), generation.to_bytes());
            KeySet { newest: key, generation, older }
        }
    };
    let rotated = engine.get(layout::ROTATED)?;
    let rotated = rotated.map(|bytes| encoding::from_compact("rotation", &bytes));
    let keys = Keys::new(key_set, root, roots.own, rotated.transpose()?.map(UnixMillis));
    keys.set_followed(next);
    Ok(Opened { keys, batch })
}

/// All generations, the oldest first.
pub(super) fn stored(engine: &dyn Engine) -> Result<Vec<Generation>, StoreError> {
    let (from, to) = layout::all(kind::GENERATION);
    let wrong = StoreError::Damaged { record: "key generation", detail: "it lies elsewhere" };
    let mut found = Vec::new();
    for (key, value) in collect(engine, &from, &to, usize::MAX)? {
        let generation = Generation::from_bytes(&value)?;
        if generation.record_key() != key {
            return Err(wrong);
        }
        found.push(generation);
    }
    Ok(found)
}
