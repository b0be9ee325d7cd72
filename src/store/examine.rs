//! Looking at a store without changing a byte of it, for `telewarden check`. Owns the copy that is
//! opened in its place, because sled writes wherever it opens; must never write into the store.
//!
//! It reads more than opening does: every seal and every event of the outbox.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::protocol::model::{
    AccountRecord, JobRecord, MonitorRecord, PeerRecord, RestartRecord, SessionRecord, UpdateState,
};

use super::door;
use super::engine::Engine;
use super::error::StoreError;
use super::keep::{copy_files, size_of_files};
use super::keys::{self, KeySource, MasterKey};
use super::layout::{self, kind};
use super::op::StoreOptions;
use super::record_name;
use super::records::{self, CursorRecord};
use super::recover::{self, Key, Recovered};
use super::segment;
use super::sled_engine::{self, SledEngine};

/// Larger databases are not copied for a look: the copy may lie in memory.
const COPY_BYTES_MAX: u64 = 2 << 30;
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
    },
    /// Its database was not looked into, and why.
    Closed(String),
}

/// Looks at the store that [`super::Store::open`] would open.
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
    let key = KeySource::of(options);
    // Kept until the look is over, so that no daemon writes meanwhile.
    let _lock = door::lock_if_made(path)?;
    let used = door::read_marker(path)?;
    let database = sled_engine::directory(path);
    sled_engine::refuse_what_is_in_the_way(&database)?;
    if !database.join("db").exists() {
        return if used {
            Err(StoreError::Emptied { path: path.clone() })
        } else {
            Ok(Examined::New)
        };
    }
    let copy = match Copy::of(&database) {
        Ok(copy) => copy,
        Err(why) => return Ok(Examined::Closed(why)),
    };
    let engine = copy.open(&database)?;
    if !recover::was_used(&engine)? {
        return if used {
            Err(StoreError::Emptied { path: path.clone() })
        } else {
            Ok(Examined::New)
        };
    }
    let recovered = recover::recover(Arc::new(engine), Key::File(key), Some(path))?;
    let waiting = read_everything(&recovered)?;
    Ok(Examined::Whole { waiting })
}

/// A copy of a database, private like the original and gone with this value.
struct Copy {
    path: PathBuf,
}

impl Copy {
    /// The copy, or why there is none.
    fn of(database: &Path) -> Result<Self, String> {
        let size = size_of_files(database).map_err(|error| error.to_string())?;
        if size > COPY_BYTES_MAX {
            return Err(format!("it has {} MiB, too many to be copied for a look", size >> 20));
        }
        let unique = keys::random().map_err(|error| error.to_string())?;
        let name = format!("telewarden-check-{:016x}", u64::from_be_bytes(unique));
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        let copy = made.map(|()| Self { path: path.clone() });
        let copied = copy.and_then(|copy| copy_files(database, &copy.path).map(|()| copy));
        copied.map_err(|error| format!("it could not be copied to {}: {error}", path.display()))
    }

    /// Opens it; errors speak of the original.
    fn open(&self, original: &Path) -> Result<SledEngine, StoreError> {
        // What sled says when it panics is part of the error; here nobody needs it twice.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let opened = SledEngine::open(&self.path, CACHE_BYTES);
        std::panic::set_hook(hook);
        opened.map_err(|error| match error {
            StoreError::Unreadable { detail, .. } => {
                StoreError::Unreadable { path: original.into(), detail }
            }
            other => other,
        })
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // sled's threads end a little later than its database, and write a last file meanwhile.
        for _ in 0..20 {
            if !fs::remove_dir_all(&self.path)
                .is_err_and(|error| error.kind() != ErrorKind::NotFound)
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Reads every record and every event that was not released; answers how many those are.
fn read_everything(recovered: &Recovered) -> Result<u64, StoreError> {
    let engine = &*recovered.engine;
    json::<SessionRecord>(engine, kind::SESSION)?;
    json::<AccountRecord>(engine, kind::ACCOUNT)?;
    json::<MonitorRecord>(engine, kind::MONITOR)?;
    json::<JobRecord>(engine, kind::JOB)?;
    json::<RestartRecord>(engine, kind::RESTART)?;
    compact::<CursorRecord>(engine, kind::CURSOR, "cursor")?;
    compact::<UpdateState>(engine, kind::UPDATE_STATE, "update state")?;
    compact::<PeerRecord>(engine, kind::PEER, "peer")?;
    credentials(engine, &recovered.master)?;
    outbox(recovered)
}

/// Visits all records of one kind.
fn each(
    engine: &dyn Engine,
    kind: u8,
    look: impl Fn(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (from, to) = layout::all(kind);
    let mut outcome = Ok(());
    engine.scan(&from, &to, &mut |key, value| {
        outcome = look(key, value);
        outcome.is_ok()
    })?;
    outcome
}

fn json<T: DeserializeOwned>(engine: &dyn Engine, kind: u8) -> Result<(), StoreError> {
    each(engine, kind, |_, value| records::from_json::<T>(record_name(kind), value).map(drop))
}

fn compact<T: DeserializeOwned>(
    engine: &dyn Engine,
    kind: u8,
    name: &'static str,
) -> Result<(), StoreError> {
    each(engine, kind, |_, value| records::from_compact::<T>(name, value).map(drop))
}

fn credentials(engine: &dyn Engine, master: &MasterKey) -> Result<(), StoreError> {
    let broken = |_| StoreError::Damaged { record: "credentials", detail: "its seal is broken" };
    each(engine, kind::CREDENTIALS, |key, sealed| {
        let account = layout::account_of(key)?;
        let plain = master.open(key, sealed).map_err(broken)?;
        records::credentials_from_plain(account, &plain).map(drop)
    })
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
