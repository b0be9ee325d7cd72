//! The engine on sled 0.34: the only file that names sled. Owns the database directory, its sync
//! and the splitting of large values; never knows what a record means.
//!
//! What sled 0.34 leaves to its user, and what is done about it:
//! - As published, `flush` waits for `sync_file_range`, which neither writes metadata nor empties the
//!   disk's cache. The copy in `vendor/sled` waits for `fdatasync`, so [`Engine::sync`] is a flush.
//! - A tree page above 128 KiB (a quarter of a log segment) goes to a separate file that is never
//!   synced. A leaf holds at most 17 records, 20 just after a merge, so no stored value is larger
//!   than [`PART_MAX`]: 20 × (6144 + key) < 131 052. Larger values are split.
//! - After a write failed it writes nothing any more (its own `global_error`). Not so after it found
//!   damage or panicked in the middle of a batch: its clock may then write half of that, and the checksum
//!   (`integrity`) refuses what comes of it.
//! - It panics on a damaged file; whoever reads catches that ([`guarded`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::clock::instant;
use crate::store::contract::{DiskTrouble, EngineError, StoreError, is_out_of_files, panic_text};
use crate::store::engines::engine::{Engine, Pair, WriteBatch};

/// Largest value sled gets to see, in bytes; see the module's documentation.
const PART_MAX: usize = 6 * 1024;
/// Every stored value starts with the number of its further parts.
const HEAD: usize = 2;
/// Keys of further parts; above every key of the store's own.
const PART_PREFIX: u8 = 0xff;
/// How often sled's own thread writes out, collects garbage and syncs.
const FLUSH_EVERY_MS: u64 = 200;

/// How long to wait for a database that was closed just now.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A sled database.
pub(in crate::store) struct SledEngine {
    db: sled::Db,
    /// The database file, which tells its size.
    file: File,
    /// Keys with further parts, and how many. Held for reading while parts are read, so that a
    /// value is never put together from two versions of it.
    split: RwLock<BTreeMap<Vec<u8>, u16>>,
}

impl From<sled::Error> for EngineError {
    fn from(error: sled::Error) -> Self {
        match error {
            // A file that ends too early, or holds what sled did not write.
            sled::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
                ) =>
            {
                Self::Damaged(plain(&error))
            }
            sled::Error::Io(error) => Self::of_disk(&error),
            error @ (sled::Error::Corruption { .. } | sled::Error::ReportableBug(_)) => {
                Self::Damaged(in_short(&error))
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

impl EngineError {
    fn of_disk(error: &io::Error) -> Self {
        match DiskTrouble::of(error) {
            Some(trouble) => Self::Disk { trouble, cause: plain(error) },
            None => Self::Failed(plain(error)),
        }
    }
}

/// The words of the operating system. sled hands its errors on as text of its own, which has them
/// in quotes.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let quoted = text.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"'));
    quoted.map_or_else(|| text.clone(), |(words, _)| words.to_owned())
}

impl SledEngine {
    /// Opens or creates the database in `path`. `cache_bytes` bounds sled's page cache.
    pub(in crate::store) fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let opened = guarded(path, || {
            let db = open_patiently(path, cache_bytes).map_err(|error| not_opened(path, error))?;
            let split = split_keys(&db).map_err(|error| not_opened(path, error))?;
            Ok((db, split))
        });
        let (db, split) = opened?;
        let db_file = path.join("db");
        let file = File::open(&db_file).map_err(StoreError::file("open", &db_file))?;
        sync_directory(path)?;
        Ok(Self { db, file, split: RwLock::new(split) })
    }

    /// Applies a batch of one small write without sled's batch, which costs a second write to the
    /// log and wakes all of sled's threads once more. `false` when it is not such a batch.
    fn apply_alone(&self, batch: &WriteBatch) -> Result<bool, EngineError> {
        let split = self.split.read().unwrap_or_else(PoisonError::into_inner);
        if touches_split(batch, &split) {
            return Ok(false);
        }
        for (key, write) in &batch.writes {
            match write {
                Some(value) => self.db.insert(key, stored_form(value, 0))?,
                None => self.db.remove(key)?,
            };
        }
        Ok(true)
    }

    /// Lets sled's page cache notice that it has grown. It looks at its bound once per 64 accesses
    /// to one of its 256 shards; reading through large values would load half a gigabyte of pages
    /// before that. Sixteen records a page, five accesses each, are more than 64.
    fn wake_cache(&self, key: &[u8], read: usize) -> Result<(), EngineError> {
        if read > PART_MAX / 4 {
            for _ in 0..4 {
                self.db.get(key)?;
            }
        }
        Ok(())
    }

    fn whole(&self, key: &[u8], stored: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        match parts_of(stored)? {
            0 => Ok(Some(stored[HEAD..].to_vec())),
            _ => self.joined(key),
        }
    }

    /// Reads a split value anew, with the parts held still. `None` when it was just deleted.
    fn joined(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let _still = self.split.read().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = self.db.get(key)? else {
            return Ok(None);
        };
        let parts = parts_of(&first)?;
        let mut value = first[HEAD..].to_vec();
        for part in 0..parts {
            let more = self.db.get(part_key(key, part))?;
            let more =
                more.ok_or_else(|| EngineError::Damaged("a part of a value is missing".into()))?;
            value.extend_from_slice(&more);
        }
        Ok(Some(value))
    }
}

/// Runs what reads the database in `path`; damage that sled finds, also by panicking, names it.
pub(in crate::store) fn guarded<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(outcome) => outcome.map_err(|error| error.in_database(path)),
        Err(panic) => {
            Err(StoreError::Unreadable { path: path.into(), detail: panic_text(&*panic) })
        }
    }
}

fn not_opened(path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) if is_outside(&error) => {
            StoreError::file("open the database in", path)(error)
        }
        other => StoreError::Unreadable { path: path.into(), detail: in_short(&other) },
    }
}

/// What sled says, without what it leaves empty.
fn in_short(error: &sled::Error) -> String {
    error.to_string().replace(" at file offset None", "").replace(" backtrace ()", "")
}

/// Whether the cause lies around the database, not in it: then no backup helps.
fn is_outside(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    is_out_of_files(error)
        || matches!(
            error.kind(),
            Kind::StorageFull
                | Kind::QuotaExceeded
                | Kind::FileTooLarge
                | Kind::PermissionDenied
                | Kind::ReadOnlyFilesystem
                | Kind::IsADirectory
                | Kind::NotADirectory
                | Kind::AlreadyExists
        )
}

/// Opens the database file as sled would, if there is one: sled's own error names no file.
pub(in crate::store) fn refuse_what_is_in_the_way(path: &Path) -> Result<(), StoreError> {
    let file = path.join("db");
    match File::options().read(true).write(true).open(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::file("open", file)(error))
        }
        _ => Ok(()),
    }
}

/// Opens the database. sled's threads keep its lock for a moment after it was dropped; nobody else
/// can have it, because the store has a lock of its own.
fn open_patiently(path: &Path, cache_bytes: u64) -> Result<sled::Db, sled::Error> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    let patience = instant() + LOCK_PATIENCE;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && instant() < patience =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

fn parts_of(stored: &[u8]) -> Result<u16, EngineError> {
    match stored.first_chunk::<HEAD>() {
        Some(head) => Ok(u16::from_be_bytes(*head)),
        None => Err(EngineError::Damaged("a value is shorter than its head".into())),
    }
}

fn part_key(key: &[u8], part: u16) -> Vec<u8> {
    let mut full = Vec::with_capacity(key.len() + 3);
    full.push(PART_PREFIX);
    full.extend_from_slice(key);
    full.extend_from_slice(&part.to_be_bytes());
    full
}

fn split_keys(db: &sled::Db) -> Result<BTreeMap<Vec<u8>, u16>, sled::Error> {
    let mut split: BTreeMap<Vec<u8>, u16> = BTreeMap::new();
    for pair in db.range([PART_PREFIX]..) {
        let (key, _) = pair?;
        if let Some((key, _part)) = key[1..].split_last_chunk::<2>() {
            *split.entry(key.to_vec()).or_default() += 1;
        }
    }
    Ok(split)
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StoreError::file("sync", path))
}

/// The first part of a value behind the number of its further parts.
fn stored_form(first: &[u8], parts: u16) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEAD + first.len());
    stored.extend_from_slice(&parts.to_be_bytes());
    stored.extend_from_slice(first);
    stored
}

/// Adds the write of one key to `batch`, split if it is large.
fn write_key(
    batch: &mut sled::Batch,
    split: &mut BTreeMap<Vec<u8>, u16>,
    key: Vec<u8>,
    write: Option<Vec<u8>>,
) -> Result<(), EngineError> {
    let before = split.remove(&key).unwrap_or(0);
    let mut parts = 0_u16;
    if let Some(value) = &write {
        let rest = value.get(PART_MAX..).unwrap_or_default();
        for (number, part) in rest.chunks(PART_MAX).enumerate() {
            let number = u16::try_from(number)
                .ok()
                .filter(|number| *number < u16::MAX)
                .ok_or_else(|| EngineError::Failed("a record is larger than 384 MiB".into()))?;
            batch.insert(part_key(&key, number), part);
            parts = number + 1;
        }
    }
    for stale in parts..before {
        batch.remove(part_key(&key, stale));
    }
    if parts > 0 {
        split.insert(key.clone(), parts);
    }
    match write {
        Some(value) => {
            let first = &value[..value.len().min(PART_MAX)];
            batch.insert(key, stored_form(first, parts));
        }
        None => batch.remove(key),
    }
    Ok(())
}

/// Whether a batch may meet split values: then readers of parts are kept out while it is applied.
fn touches_split(batch: &WriteBatch, split: &BTreeMap<Vec<u8>, u16>) -> bool {
    batch.writes.iter().any(|(key, write)| {
        write.as_ref().is_some_and(|value| value.len() > PART_MAX)
            || (!split.is_empty() && split.contains_key(key))
    })
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        match self.db.get(key)? {
            Some(stored) => self.whole(key, &stored),
            None => Ok(None),
        }
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError> {
        for pair in self.db.range(from..to) {
            let (key, stored) = pair?;
            self.wake_cache(&key, stored.len())?;
            let more = match parts_of(&stored)? {
                0 => visit(&key, &stored[HEAD..]),
                _ => self.joined(&key)?.is_none_or(|value| visit(&key, &value)),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, EngineError> {
        match self.db.range(from..to).next_back().transpose()? {
            Some((key, stored)) => {
                Ok(self.whole(&key, &stored)?.map(|value| (key.to_vec(), value)))
            }
            None => Ok(None),
        }
    }

    fn apply(&self, batch: WriteBatch) -> Result<(), EngineError> {
        if batch.len() == 1 && self.apply_alone(&batch)? {
            return Ok(());
        }
        let mut writes = sled::Batch::default();
        let mut split = self.split.write().unwrap_or_else(PoisonError::into_inner);
        let held = touches_split(&batch, &split);
        for (key, write) in batch.writes {
            write_key(&mut writes, &mut split, key, write)?;
        }
        if held {
            return Ok(self.db.apply_batch(writes)?);
        }
        drop(split);
        Ok(self.db.apply_batch(writes)?)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.db.flush()?;
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        // Of the open file: sled would open its folder for this. Outside of it nothing lies (see above).
        self.file.metadata().map_or(0, |about| about.len())
    }
}

/// Where the database of a store in `path` lies.
pub(in crate::store) fn directory(path: &Path) -> PathBuf {
    path.join("sled")
}

/// Whether a folder holds a database.
pub(in crate::store) fn holds_database(folder: &Path) -> bool {
    folder.join("db").exists()
}

/// Files that sled wrote outside its log; there must be none (see the module's documentation).
#[cfg(test)]
pub(in crate::store) fn stray_files(path: &Path) -> usize {
    std::fs::read_dir(directory(path).join("blobs")).map(Iterator::count).unwrap_or(0)
}
