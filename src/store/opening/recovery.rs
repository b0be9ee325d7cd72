//! From what is on disk to what a running store needs. Owns the checks of format and completeness and the
//! reading of what the last run left in the segments; writes nothing before all checks have passed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::failpoint;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::values::ids::AuthKeyId;

use crate::store::contract::StoreError;
use crate::store::engines::{Engine, WriteBatch, collect};
use crate::store::format::FORMAT;
use crate::store::format::encoding::{self, CursorRecord};
use crate::store::format::layout::{self, kind};
use crate::store::integrity::{ChecksummedEngine, DurablePosition, Witness};
use crate::store::journal::segment::{self, Head};
use crate::store::journal::{IndexedMonitor, KnownRecords, MonitorIndex, Overlay};
use crate::store::keys::{self, Keyring, Keys, Opened, RootKey};
use crate::store::records::audit_log;

/// What the last run left.
pub(in crate::store) struct Recovered {
    pub(in crate::store) engine: Arc<ChecksummedEngine>,
    pub(in crate::store) keys: Keys,
    pub(in crate::store) keyring: Keyring,
    pub(in crate::store) known: KnownRecords,
    pub(in crate::store) overlay: Overlay,
    pub(in crate::store) monitor_index: MonitorIndex,
    /// The number of the next event.
    pub(in crate::store) next_seq: u64,
    /// Everything up to here has left the outbox.
    pub(in crate::store) acknowledged: u64,
    /// Everything up to here was taken over by the second reader, if there ever was one.
    pub(in crate::store) spooled: Option<u64>,
    /// Cursors moved before this have records of their own.
    pub(in crate::store) mark: u64,
}

/// What the witness of a store said, and the directory of the store.
pub(in crate::store) struct WitnessedPosition<'a> {
    path: &'a Path,
    position: DurablePosition,
}

impl<'a> WitnessedPosition<'a> {
    /// Reads the witness of the store in `path`.
    pub(in crate::store) fn by_witness(path: &'a Path) -> Self {
        Self { path, position: Witness::read(path) }
    }
}

/// Checks the store and reads what start-up needs. The work does not grow with the outbox: it
/// reads the segments since the last checkpoint, a few seconds of them, and the records once.
/// `seen` is what the store's witness said no later than when the database was closed.
pub(in crate::store) fn recover(
    engine: Arc<dyn Engine>,
    key: RootKey,
    clock: &Clock,
    seen: Option<WitnessedPosition<'_>>,
) -> Result<Recovered, StoreError> {
    let format = check_format(&*engine)?;
    // Before the key: what says that it is the wrong one is then known to be whole.
    let checksummed =
        Arc::new(ChecksummedEngine::open(engine, format.is_none_or(|format| format < 2))?);
    let engine = &*checksummed;
    let Opened { keys, mut batch } = keys::open(engine, key, format, clock.now())?;
    let keyring = open_keyring(engine, &keys, &mut batch)?;
    if format != Some(FORMAT) {
        batch.put(layout::FORMAT.to_vec(), FORMAT.to_be_bytes().to_vec());
    }
    let (acknowledged, next_seq) = outbox_span(engine)?;
    let mark = number(engine, layout::CHECKPOINT, "checkpoint")?;
    let spooled = match engine.get(layout::SPOOLED)? {
        Some(bytes) => Some(encoding::from_compact("spooled", &bytes)?),
        None => None,
    };
    if mark > next_seq {
        return Err(StoreError::Damaged { record: "outbox", detail: "its end is missing" });
    }
    let reached = DurablePosition { batches: engine.count(), next_seq };
    if let Some(seen) = seen.filter(|seen| !reached.reaches(seen.position)) {
        return Err(StoreError::Behind { path: seen.path.into() });
    }
    let (mut known, overlay) = (read_known(engine)?, read_segments(engine, mark)?);
    let monitor_index = monitor_index(engine)?;
    known.written = written(engine)?;
    failpoint::reach("store.open.before");
    engine.apply(batch)?;
    engine.sync()?;
    failpoint::reach("store.open.after");
    Ok(Recovered {
        engine: checksummed,
        keys,
        keyring,
        known,
        overlay,
        monitor_index,
        next_seq,
        acknowledged,
        spooled,
        mark,
    })
}

/// Whether the records agree with their checksum and reach as far as `seen`: the part of [`recover`] that
/// needs no key and writes nothing.
pub(in crate::store) fn is_whole(
    engine: Arc<dyn Engine>,
    seen: WitnessedPosition<'_>,
) -> Result<(), StoreError> {
    let format = check_format(&*engine)?;
    let engine = ChecksummedEngine::open(engine, format.is_none_or(|format| format < 2))?;
    let (_, next_seq) = outbox_span(&engine)?;
    match (DurablePosition { batches: engine.count(), next_seq }).reaches(seen.position) {
        true => Ok(()),
        false => Err(StoreError::Behind { path: seen.path.into() }),
    }
}

/// Whether anything was ever written to the store.
pub(in crate::store) fn was_used(engine: &dyn Engine) -> Result<bool, StoreError> {
    Ok(engine.get(layout::FORMAT)?.is_some())
}

/// The store's format, `None` when it is new; refuses one that a newer program wrote.
fn check_format(engine: &dyn Engine) -> Result<Option<u32>, StoreError> {
    let Some(found) = engine.get(layout::FORMAT)? else {
        let empty = engine.last(&[0], &[0xff])?.is_none();
        let damaged = StoreError::Damaged { record: "format", detail: "it is missing" };
        return if empty { Ok(None) } else { Err(damaged) };
    };
    let found = <[u8; 4]>::try_from(&found[..]).map(u32::from_be_bytes);
    match found {
        Ok(found) if found > FORMAT => Err(StoreError::NewerFormat { found, known: FORMAT }),
        Ok(found @ 1..) => Ok(Some(found)),
        _ => Err(StoreError::Damaged { record: "format", detail: "it is not a number" }),
    }
}

/// Draws this opening's data key and reads those that segments in the outbox still need. Adds
/// the writes that belong to it to `batch`.
fn open_keyring(
    engine: &dyn Engine,
    keys: &Keys,
    batch: &mut WriteBatch,
) -> Result<Keyring, StoreError> {
    const RECORD: &str = "data key";
    let broken = |_| StoreError::Damaged { record: RECORD, detail: "its seal is broken" };
    let (from, to) = layout::all(kind::DATA_KEY);
    let epoch_of = |key: &[u8]| {
        let cut = StoreError::Damaged { record: RECORD, detail: "its key is cut short" };
        key.get(1..).and_then(|rest| rest.try_into().ok()).map(u32::from_be_bytes).ok_or(cut)
    };
    let newest = engine.last(&from, &to)?.map_or(Ok(0), |(key, _)| epoch_of(&key))?;
    let epoch = newest + 1;
    let place = layout::data_key(epoch);
    let (mut keyring, wrapped) = Keyring::new(keys, epoch, &place)?;
    batch.put(place, wrapped);
    let needed = oldest_epoch(engine)?.unwrap_or(epoch);
    for (key, wrapped) in collect(engine, &from, &to, usize::MAX)? {
        match epoch_of(&key)? {
            old if old < needed => batch.delete(key),
            old => keyring.add(keys, old, &key, &wrapped).map_err(broken)?,
        }
    }
    Ok(keyring)
}

/// The data key of the oldest segment; younger segments have the same or younger ones.
fn oldest_epoch(engine: &dyn Engine) -> Result<Option<u32>, StoreError> {
    let (from, to) = layout::all(kind::SEGMENT);
    let oldest = collect(engine, &from, &to, 1)?;
    let head = oldest.first().map(|(_, segment)| Head::read(segment)).transpose()?;
    Ok(head.map(|head| head.epoch()))
}

fn number(engine: &dyn Engine, key: &[u8], record: &'static str) -> Result<u64, StoreError> {
    let stored = engine.get(key)?;
    Ok(stored.map(|bytes| encoding::from_compact(record, &bytes)).transpose()?.unwrap_or(0))
}

/// What has left the outbox, and the number of the next event. Both only grow: what was acknowledged is
/// noted in the head of the next segment or, when none follows soon, in a record of its own; so when
/// the last segment is trimmed, it is the record that says so.
fn outbox_span(engine: &dyn Engine) -> Result<(u64, u64), StoreError> {
    let noted = number(engine, layout::ACKNOWLEDGED, "released")?;
    let (from, to) = layout::all(kind::SEGMENT);
    let Some((key, segment)) = engine.last(&from, &to)? else {
        return Ok((noted, noted + 1));
    };
    let acknowledged = noted.max(Head::read(&segment)?.acknowledged);
    let (_, end) = segment::span(&key, &segment)?;
    Ok((acknowledged, end))
}

/// Bytes of all segments written so far, as the newest one tells.
fn written(engine: &dyn Engine) -> Result<u64, StoreError> {
    let (from, to) = layout::all(kind::SEGMENT);
    let Some((_, segment)) = engine.last(&from, &to)? else { return Ok(0) };
    Ok(Head::read(&segment)?.before + segment.len() as u64)
}

/// The text after a key's kind.
fn chat_of(key: &[u8]) -> Result<ChatKey, StoreError> {
    let damaged = |_| StoreError::Damaged { record: "chat", detail: "its key is not text" };
    std::str::from_utf8(&key[1..]).map(|text| ChatKey(text.to_owned())).map_err(damaged)
}

fn read_known(engine: &dyn Engine) -> Result<KnownRecords, StoreError> {
    let mut known = KnownRecords::default();
    for key in keys_of(engine, kind::MONITOR)? {
        known.monitors.insert(chat_of(&key)?);
    }
    for key in keys_of(engine, kind::ACCOUNT)? {
        known.accounts.extend(layout::seq_of(&key).map(AuthKeyId));
    }
    known.ledger = keys_of(engine, kind::RESTART)?.into();
    known.ledger_number = u32::try_from(known.ledger.len()).unwrap_or(0);
    let (from, to) = layout::all(kind::TOMBSTONE);
    for (key, stamp) in collect(engine, &from, &to, usize::MAX)? {
        let stamp = encoding::from_compact("tombstone", &stamp)?;
        known.tombstones.insert(chat_of(&key)?, stamp);
    }
    known.audit_head = audit_log::head(engine)?;
    Ok(known)
}

/// Which monitors there are. One that cannot be read is left out here: loading it fails.
fn monitor_index(engine: &dyn Engine) -> Result<MonitorIndex, StoreError> {
    let (from, to) = layout::all(kind::MONITOR);
    let mut monitor_index = MonitorIndex::default();
    engine.scan(&from, &to, &mut |_, bytes| {
        if let Ok(record) = encoding::from_json::<MonitorRecord>("monitor", bytes) {
            monitor_index.note(&record.key(), Some(IndexedMonitor::from(&record)));
        }
        true
    })?;
    Ok(monitor_index)
}

fn keys_of(engine: &dyn Engine, kind: u8) -> Result<Vec<Vec<u8>>, StoreError> {
    let (from, to) = layout::all(kind);
    let mut keys = Vec::new();
    engine.scan(&from, &to, &mut |key, _| {
        keys.push(key.to_vec());
        true
    })?;
    Ok(keys)
}

/// Lays the cursors of the segments over their records, as far as they are newer.
fn read_segments(engine: &dyn Engine, mark: u64) -> Result<Overlay, StoreError> {
    let mut moved = Vec::new();
    let (_, to) = layout::all(kind::SEGMENT);
    let mut outcome = Ok(());
    // A checkpoint falls between two segments, and none from there on is trimmed.
    let mut next = Some(mark.max(1));
    engine.scan(&layout::seq(kind::SEGMENT, mark), &to, &mut |key, segment| {
        let read = segment::follows(&mut next, key, segment)
            .and_then(|span| segment::cursors(segment).map(|cursors| (span, cursors)));
        outcome = read.map(|read| moved.push(read));
        outcome.is_ok()
    })?;
    outcome?;
    let mut overlay = Overlay::default();
    let mut floors: HashMap<ChatKey, u64> = HashMap::new();
    for ((first, end), cursors) in moved {
        for (chat, cursor) in cursors {
            let floor = match floors.get(&chat) {
                Some(floor) => *floor,
                None => *floors.entry(chat.clone()).or_insert(stamp_of(engine, &chat)?),
            };
            if first >= floor {
                overlay.put_cursor(chat, cursor, end);
            }
        }
    }
    Ok(overlay)
}

/// The stamp of a chat's cursor record or tombstone: segments that start below it are older.
fn stamp_of(engine: &dyn Engine, chat: &ChatKey) -> Result<u64, StoreError> {
    let cursor = engine.get(&layout::chat(kind::CURSOR, chat))?;
    let cursor = cursor.map(|bytes| encoding::from_compact::<CursorRecord>("cursor", &bytes));
    let cursor = cursor.transpose()?.map_or(0, |record| record.stamp);
    let tombstone = number(engine, &layout::chat(kind::TOMBSTONE, chat), "tombstone")?;
    Ok(cursor.max(tombstone))
}
