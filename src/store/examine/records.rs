//! Looking at everything that a store holds: more than opening does, every seal and every event of the
//! outbox.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::protocol::accounts::record::{AccountRecord, SessionRecord};
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::bridge::job::JobRecord;
use crate::protocol::campaigns::account::ActorRecord;
use crate::protocol::campaigns::attempt::AttemptRecord;
use crate::protocol::campaigns::block::{StatusPage, TargetBlock};
use crate::protocol::campaigns::caps::UseCount;
use crate::protocol::campaigns::creation::CreationRecord;
use crate::protocol::campaigns::import::ImportRecord;
use crate::protocol::campaigns::respect::{Refusal, Suppression};
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::task::Task;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::updates::UpdateState;
use crate::protocol::tree::restart::RestartRecord;

use super::scratch_copy::{CACHE_BYTES, ScratchCopy, naming_the_original, without_panic_output};
use crate::store::contract::{
    CampaignClock, ContactedRecord, InstallationKey, Row, SharedRow, StoreError, StoreOptions,
};
use crate::store::engines::Engine;
use crate::store::engines::disk::{self, DiskEngine};
use crate::store::format::encoding::{self, CursorRecord};
use crate::store::format::layout::{self, SEALED_KINDS, kind, record_name};
use crate::store::journal::segment;
use crate::store::keys::{Keys, RootKey};
use crate::store::opening::{
    Recovered, WitnessedPosition, directory, identity, preflight, recover, was_used,
};

/// What examining a store found, when it found no fault.
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

/// Looks at the store that `Store::open` would open: at a copy of its database in the folder
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
        Ok(found) if found.permissions().mode() & 0o077 != 0 && !directory::is_ours(path)? => {
            return Err(StoreError::Foreign { path: path.clone() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Examined::New),
        Err(error) => return Err(StoreError::file("create", path)(error)),
    }
    let Some(taken) = CopiedStore::of(options)? else { return Ok(Examined::New) };
    if let Some(why) = identity::look(path)? {
        return Err(StoreError::Copy { path: path.clone(), why });
    }
    let copy = match taken.copy {
        Ok(copy) => copy,
        Err(why) => return Ok(Examined::Closed(why)),
    };
    let (used, key, seen) = (taken.used, taken.key, taken.seen);
    let found = without_panic_output(|| {
        disk::guarded(&disk::directory(path), || {
            let engine = DiskEngine::open(&copy.path, CACHE_BYTES)?;
            if !was_used(&engine)? {
                return Ok(None);
            }
            let recovered = recover(Arc::new(engine), key, &Clock::system(), Some(seen))?;
            read_everything(&recovered).map(Some)
        })
    });
    match found.map_err(|error| naming_the_original(error, path))? {
        Some((waiting, accounts)) => Ok(Examined::Whole { waiting, accounts }),
        None if used => Err(StoreError::Emptied { path: path.clone() }),
        None => Ok(Examined::New),
    }
}

/// What was taken of a store under its lock.
struct CopiedStore<'a> {
    key: RootKey,
    used: bool,
    seen: WitnessedPosition<'a>,
    /// The copy, or why there is none.
    copy: Result<ScratchCopy, String>,
}

impl<'a> CopiedStore<'a> {
    /// Holds the store's lock only while it copies; a daemon that starts later may go on at once.
    /// `None` when there is no database yet.
    fn of(options: &'a StoreOptions) -> Result<Option<Self>, StoreError> {
        let path = &options.path;
        let _lock = directory::lock_if_exists(path)?;
        let (key, used) = preflight::check(options)?;
        let database = disk::directory(path);
        if !disk::holds_database(&database) {
            return Ok(None);
        }
        let seen = WitnessedPosition::by_witness(path);
        Ok(Some(Self { key, used, seen, copy: ScratchCopy::of(&database) }))
    }
}

/// Reads every record and every event that was not acknowledged; returns how many those are, and how many
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
    campaigns(engine)?;
    sealed(engine, &recovered.keys)?;
    Ok((outbox(recovered)?, accounts))
}

/// What campaigns keep in clear.
fn campaigns(engine: &dyn Engine) -> Result<(), StoreError> {
    compact::<u8>(engine, kind::TASK_MARK, record_name(kind::TASK_MARK))?;
    rows::<TaskRun>(engine)?;
    rows::<StatusPage>(engine)?;
    rows::<AttemptRecord>(engine)?;
    rows::<CreationRecord>(engine)?;
    rows::<ImportRecord>(engine)?;
    shared_rows::<UseCount>(engine)?;
    shared_rows::<ActorRecord>(engine)?;
    shared_rows::<ContactedRecord>(engine)?;
    shared_rows::<Refusal>(engine)?;
    shared_rows::<CampaignClock>(engine)
}

/// Visits all records of one kind; returns how many there are.
fn each(
    engine: &dyn Engine,
    kind: u8,
    visit: impl Fn(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let (from, to) = layout::all(kind);
    let (mut outcome, mut count) = (Ok(()), 0);
    engine.scan(&from, &to, &mut |key, value| {
        outcome = visit(key, value);
        count += 1;
        outcome.is_ok()
    })?;
    outcome.map(|()| count)
}

fn json<T: DeserializeOwned>(engine: &dyn Engine, kind: u8) -> Result<u64, StoreError> {
    each(engine, kind, |_, value| encoding::from_json::<T>(record_name(kind), value).map(drop))
}

fn rows<R: Row>(engine: &dyn Engine) -> Result<(), StoreError> {
    let name = R::TABLE.name();
    each(engine, kind::of(R::TABLE), |_, value| encoding::from_json::<R>(name, value).map(drop))
        .map(drop)
}

fn shared_rows<R: SharedRow>(engine: &dyn Engine) -> Result<(), StoreError> {
    let (kind, name) = (kind::of_shared(R::TABLE), R::TABLE.name());
    each(engine, kind, |_, value| encoding::from_json::<R>(name, value).map(drop)).map(drop)
}

fn compact<T: DeserializeOwned>(
    engine: &dyn Engine,
    kind: u8,
    name: &'static str,
) -> Result<u64, StoreError> {
    each(engine, kind, |_, value| encoding::from_compact::<T>(name, value).map(drop))
}

/// Opens everything that is sealed; what is in it is looked at where its form is known.
fn sealed(engine: &dyn Engine, keys: &Keys) -> Result<(), StoreError> {
    for (kind, record) in SEALED_KINDS {
        let (from, to) = layout::all(*kind);
        keys.read_each(engine, record, (&from, &to), |key, plain| match *kind {
            kind::CREDENTIALS => {
                encoding::credentials_from_plain(layout::account_of(key)?, &plain).map(|_| true)
            }
            kind::TASK => encoding::from_json::<Task>(record, &plain).map(|_| true),
            kind::TARGET_BLOCK => encoding::from_json::<TargetBlock>(record, &plain).map(|_| true),
            kind::SUPPRESSION | kind::INSTALLATION_SUPPRESSION => {
                encoding::from_json::<Suppression>(record, &plain).map(|_| true)
            }
            kind::INSTALLATION_KEY => {
                encoding::from_json::<InstallationKey>(record, &plain).map(|_| true)
            }
            _ => Ok(true),
        })?;
    }
    Ok(())
}

fn outbox(recovered: &Recovered) -> Result<u64, StoreError> {
    let Recovered { engine, keyring, next_seq, acknowledged, .. } = recovered;
    let missing = StoreError::Damaged { record: "outbox", detail: "a segment is missing" };
    let mut next = *acknowledged + 1;
    while next < *next_seq {
        let entries = segment::fetch(&**engine, keyring, next, *next_seq)?;
        let Some((last, _)) = entries.last() else { return Err(missing) };
        next = last + 1;
    }
    Ok(*next_seq - 1 - *acknowledged)
}
