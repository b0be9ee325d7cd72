//! Looking at a store without changing a byte of it, for `telewarden check` and (`trail`) `telewarden
//! audit verify`. Owns the copy that is opened in its place, because sled writes wherever it opens; must never write into the store, nor
//! hold its lock for longer than copying takes.
//!
//! It reads more than opening does: every seal and every event of the outbox.

mod trail;

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::protocol::accounts::record::{AccountRecord, SessionRecord};
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::bridge::job::JobRecord;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::updates::UpdateState;
use crate::protocol::tree::restart::RestartRecord;

use super::door;
use super::engine::Engine;
use super::error::StoreError;
use super::keep::{ROOM_BYTES_MIN, copy_whole, free_bytes, size_of_files};
use super::keys::{self, Key, Keys, SEALED_KINDS};
use super::layout::{self, kind};
use super::look_first;
use super::op::StoreOptions;
use super::recall::record_name;
use super::records::{self, CursorRecord};
use super::recover::{self, Recovered, Seen};
use super::segment;
use super::sled_engine::{self, SledEngine};

pub use trail::{TrailExamined, examine_trail};

/// How the names of copies begin.
const NAME: &str = "telewarden-check-";
/// No look takes so long: a copy that is older was left behind.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// What the copy may keep in memory.
const CACHE_BYTES: u64 = 16 << 20;

/// What a look at a store found, when it found no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Examined {
    /// Nothing is there yet.
    New,
    /// Everything can be read.
    Whole {
        /// Events that wait in its outbox.
        waiting: u64,
        /// Accounts in it.
        accounts: u64,
    },
    /// Its database was not looked into, and why.
    Closed(String),
}

/// Looks at the store that [`super::Store::open`] would open: at a copy of its database in the folder
/// for temporary files (`TMPDIR`), which must have room for it and 64 MiB to spare. Copies there that
/// earlier looks left behind more than a day ago are deleted. The store is locked while it is copied.
///
/// # Errors
/// What opening it, or reading from it later, would say.
pub fn examine(options: &StoreOptions) -> Result<Examined, StoreError> {
    let path = &options.path;
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            let error = io::Error::from_raw_os_error(libc::EEXIST);
            return Err(StoreError::file("create", path)(error));
        }
        Ok(found) if found.permissions().mode() & 0o077 != 0 && !door::is_ours(path)? => {
            return Err(StoreError::Foreign { path: path.clone() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Examined::New),
        Err(error) => return Err(StoreError::file("create", path)(error)),
    }
    let Some(taken) = Taken::of(options)? else { return Ok(Examined::New) };
    let copy = match taken.copy {
        Ok(copy) => copy,
        Err(why) => return Ok(Examined::Closed(why)),
    };
    let (used, key, seen) = (taken.used, taken.key, taken.seen);
    let found = quietly(|| {
        sled_engine::guarded(&sled_engine::directory(path), || {
            let engine = SledEngine::open(&copy.path, CACHE_BYTES)?;
            if !recover::was_used(&engine)? {
                return Ok(None);
            }
            let recovered = recover::recover(Arc::new(engine), key, Some(seen))?;
            read_everything(&recovered).map(Some)
        })
    });
    match found.map_err(|error| of_the_original(error, path))? {
        Some((waiting, accounts)) => Ok(Examined::Whole { waiting, accounts }),
        None if used => Err(StoreError::Emptied { path: path.clone() }),
        None => Ok(Examined::New),
    }
}

/// What was taken of a store under its lock.
struct Taken<'a> {
    key: Key,
    used: bool,
    seen: Seen<'a>,
    /// The copy, or why there is none.
    copy: Result<Copy, String>,
}

impl<'a> Taken<'a> {
    /// Holds the store's lock only while it copies; a daemon that starts later may go on at once.
    /// `None` when there is no database yet.
    fn of(options: &'a StoreOptions) -> Result<Option<Self>, StoreError> {
        let path = &options.path;
        let _lock = door::lock_if_made(path)?;
        let (key, used) = look_first(options)?;
        let database = sled_engine::directory(path);
        if !database.join("db").exists() {
            return Ok(None);
        }
        let seen = Seen::by_witness(path);
        Ok(Some(Self { key, used, seen, copy: Copy::of(&database) }))
    }
}

/// Runs `look` without what sled says when it panics, which is part of the error: here nobody needs
/// it twice.
fn quietly<T>(look: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let seen = look();
    std::panic::set_hook(hook);
    seen
}

/// Errors speak of the original.
fn of_the_original(error: StoreError, path: &Path) -> StoreError {
    match error {
        StoreError::Unreadable { detail, .. } => {
            StoreError::Unreadable { path: sled_engine::directory(path), detail }
        }
        other => other,
    }
}

/// A copy of a database, private like the original and gone with this value.
struct Copy {
    path: PathBuf,
}

impl Copy {
    /// The copy, or why there is none.
    fn of(database: &Path) -> Result<Self, String> {
        let folder = std::env::temp_dir();
        sweep(&folder);
        let size = size_of_files(database).map_err(|error| error.to_string())?;
        // Opening writes a little, and others need that folder too.
        if free_bytes(&folder).is_none_or(|free| free < size + ROOM_BYTES_MIN) {
            let (size, folder) = (size >> 20, folder.display());
            return Err(format!(
                "there is no room in {folder} for a copy of its {size} MiB and some to spare; set \
                 TMPDIR to a folder with more"
            ));
        }
        let unique = keys::random().map_err(|error| error.to_string())?;
        let copy = Self { path: folder.join(format!("{NAME}{:016x}", u64::from_be_bytes(unique))) };
        match copy_whole(database, &copy.path) {
            Ok(_) => Ok(copy),
            Err(error) => {
                Err(format!("it could not be copied to {}: {error}", copy.path.display()))
            }
        }
    }
}

/// Takes away what earlier looks left that were killed: folders of this user's, older than a day.
fn sweep(folder: &Path) {
    // SAFETY: `geteuid` has no preconditions and cannot fail.
    let own = unsafe { libc::geteuid() };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(found) = entry.metadata() else { continue };
        let age = found.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
        let is_ours = entry.file_name().to_string_lossy().starts_with(NAME)
            && found.is_dir()
            && found.uid() == own;
        if is_ours && age > LEFT_AFTER {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // sled's threads end a little later than its database, and write a last file meanwhile.
        for _ in 0..20 {
            match fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                _ => break,
            }
        }
    }
}

/// Reads every record and every event that was not released; answers how many those are, and how many
/// accounts.
fn read_everything(recovered: &Recovered) -> Result<(u64, u64), StoreError> {
    let engine = &*recovered.engine;
    json::<SessionRecord>(engine, kind::SESSION)?;
    let accounts = json::<AccountRecord>(engine, kind::ACCOUNT)?;
    json::<MonitorRecord>(engine, kind::MONITOR)?;
    json::<JobRecord>(engine, kind::JOB)?;
    json::<RestartRecord>(engine, kind::RESTART)?;
    json::<Erasure>(engine, kind::ERASURE)?;
    compact::<CursorRecord>(engine, kind::CURSOR, "cursor")?;
    compact::<UpdateState>(engine, kind::UPDATE_STATE, "update state")?;
    compact::<PeerRecord>(engine, kind::PEER, "peer")?;
    sealed(engine, &recovered.master)?;
    Ok((outbox(recovered)?, accounts))
}

/// Visits all records of one kind; answers how many there are.
fn each(
    engine: &dyn Engine,
    kind: u8,
    look: impl Fn(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let (from, to) = layout::all(kind);
    let (mut outcome, mut count) = (Ok(()), 0);
    engine.scan(&from, &to, &mut |key, value| {
        outcome = look(key, value);
        count += 1;
        outcome.is_ok()
    })?;
    outcome.map(|()| count)
}

fn json<T: DeserializeOwned>(engine: &dyn Engine, kind: u8) -> Result<u64, StoreError> {
    each(engine, kind, |_, value| records::from_json::<T>(record_name(kind), value).map(drop))
}

fn compact<T: DeserializeOwned>(
    engine: &dyn Engine,
    kind: u8,
    name: &'static str,
) -> Result<u64, StoreError> {
    each(engine, kind, |_, value| records::from_compact::<T>(name, value).map(drop))
}

/// Opens everything that is sealed; what is in it is looked at where its form is known.
fn sealed(engine: &dyn Engine, keys: &Keys) -> Result<(), StoreError> {
    for (kind, record) in SEALED_KINDS {
        let (from, to) = layout::all(*kind);
        keys.read_each(engine, record, (&from, &to), |key, plain| match *kind {
            kind::CREDENTIALS => {
                records::credentials_from_plain(layout::account_of(key)?, &plain).map(|_| true)
            }
            _ => Ok(true),
        })?;
    }
    Ok(())
}

fn outbox(recovered: &Recovered) -> Result<u64, StoreError> {
    let Recovered { engine, keyring, next_seq, released, .. } = recovered;
    let missing = StoreError::Damaged { record: "outbox", detail: "a segment is missing" };
    let mut next = *released + 1;
    while next < *next_seq {
        let entries = segment::fetch(&**engine, keyring, next, *next_seq)?;
        let Some((last, _)) = entries.last() else { return Err(missing) };
        next = last + 1;
    }
    Ok(*next_seq - 1 - *released)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn only_old_copies_of_earlier_looks_are_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("db"), "x").unwrap();
            fs::File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let left = make("telewarden-check-1", LEFT_AFTER * 2);
        let stay = [
            make("telewarden-check-2", LEFT_AFTER / 2),
            make("somebody-elses", LEFT_AFTER * 2),
            make("telewarden", LEFT_AFTER * 2),
        ];
        let link = folder.path().join("telewarden-check-3");
        std::os::unix::fs::symlink(&stay[1], &link).unwrap();
        sweep(folder.path());
        assert!(!left.exists());
        assert!(stay.iter().all(|path| path.join("db").exists()));
        assert!(link.is_symlink());
    }
}
