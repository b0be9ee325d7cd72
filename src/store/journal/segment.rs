//! Segments: what one group adds to the outbox, in one or more records that hold several entries
//! each, together with the cursors that moved with them. Owns their encoding; never writes. Head and
//! cursors are open, so that a backlog is counted, trimmed and recovered without opening seals; the
//! entries, which hold message texts, are sealed.
//!
//! A group that fits one segment is one record, which the engine on disk writes for half of what a batch costs.

use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::protocol::bridge::outbox::{OutboxEntry, Route};
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;

use crate::store::contract::StoreError;
use crate::store::engines::{Engine, Pair, WriteBatch};
use crate::store::format::layout::{self, kind};
use crate::store::keys::Keyring;

/// A segment is closed once its entries and cursors reach this many bytes. With one more entry of
/// usual size it still fits what the engine on disk stores in one piece (6 KiB).
const CLOSE_AT: usize = 5 * 1024;
/// Version, epoch, time, acknowledged, number of entries, number of cursors, length of the cursors.
const HEAD_LEN_V1: usize = 1 + 4 + 8 + 8 + 4 + 4 + 4;
/// The same, and the bytes of all segments before it.
const HEAD_LEN: usize = HEAD_LEN_V1 + 8;
/// Segments of up to this many bytes are read at once when a reader is behind what is in memory.
const FETCH_BYTES: usize = 256 * 1024;
const RECORD: &str = "outbox";
/// The version that is written. Version 1 knew neither `said_at` nor the bytes before it, version 2 no
/// owners.
const VERSION: u8 = 3;

/// An entry with its sequence number.
pub(in crate::store) type Numbered = (u64, Arc<OutboxEntry>);

/// The open head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Head {
    version: u8,
    /// Data key it is sealed with.
    epoch: u32,
    /// When it was committed.
    pub(in crate::store) at: UnixMillis,
    /// Everything up to here had left the outbox by then.
    pub(in crate::store) acknowledged: u64,
    /// How many entries it holds.
    count: u32,
    /// How many cursors it holds.
    cursors: u32,
    /// In how many bytes.
    cursors_len: u32,
    /// Bytes of all segments that were written before it, as far as they were counted.
    pub(in crate::store) before: u64,
}

/// Bytes that serialise in one piece, not one by one.
struct Blob<'a>(&'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = &'de [u8];
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Borrowed).map(Blob)
    }
}

#[derive(Serialize, Deserialize)]
enum StoredRoute<'a> {
    Event,
    Reply { queue: &'a str, correlation_id: Option<&'a str> },
}

/// The stored form of an [`OutboxEntry`], so that the domain type may change without the disk.
#[derive(Serialize, Deserialize)]
struct StoredEntry<'a> {
    #[serde(borrow)]
    route: StoredRoute<'a>,
    kind: &'a str,
    message_id: [u8; 16],
    timestamp: u64,
    said_at: Option<i64>,
    owner: Option<&'a str>,
    #[serde(borrow)]
    body: Blob<'a>,
}

/// The same as version 2 had it.
#[derive(Deserialize)]
struct StoredEntryV2<'a> {
    #[serde(borrow)]
    route: StoredRoute<'a>,
    kind: &'a str,
    message_id: [u8; 16],
    timestamp: u64,
    said_at: Option<i64>,
    #[serde(borrow)]
    body: Blob<'a>,
}

/// The same as version 1 had it.
#[derive(Deserialize)]
struct StoredEntryV1<'a> {
    #[serde(borrow)]
    route: StoredRoute<'a>,
    kind: &'a str,
    message_id: [u8; 16],
    timestamp: u64,
    #[serde(borrow)]
    body: Blob<'a>,
}

impl<'a> From<StoredEntryV1<'a>> for StoredEntry<'a> {
    fn from(old: StoredEntryV1<'a>) -> Self {
        let StoredEntryV1 { route, kind, message_id, timestamp, body } = old;
        Self { route, kind, message_id, timestamp, said_at: None, owner: None, body }
    }
}

impl<'a> From<StoredEntryV2<'a>> for StoredEntry<'a> {
    fn from(old: StoredEntryV2<'a>) -> Self {
        let StoredEntryV2 { route, kind, message_id, timestamp, said_at, body } = old;
        Self { route, kind, message_id, timestamp, said_at, owner: None, body }
    }
}

impl<'a> From<&'a OutboxEntry> for StoredEntry<'a> {
    fn from(entry: &'a OutboxEntry) -> Self {
        let route = match &entry.route {
            Route::Event => StoredRoute::Event,
            Route::Reply { queue, correlation_id } => {
                StoredRoute::Reply { queue, correlation_id: correlation_id.as_deref() }
            }
        };
        Self {
            route,
            kind: &entry.kind,
            message_id: entry.message_id.into_bytes(),
            timestamp: entry.timestamp,
            said_at: entry.said_at,
            owner: entry.owner.as_ref().map(UserId::as_str),
            body: Blob(&entry.body),
        }
    }
}

impl From<StoredEntry<'_>> for OutboxEntry {
    fn from(stored: StoredEntry<'_>) -> Self {
        let route = match stored.route {
            StoredRoute::Event => Route::Event,
            StoredRoute::Reply { queue, correlation_id } => Route::Reply {
                queue: queue.to_owned(),
                correlation_id: correlation_id.map(str::to_owned),
            },
        };
        Self {
            route,
            kind: stored.kind.to_owned(),
            message_id: Uuid::from_bytes(stored.message_id),
            timestamp: stored.timestamp,
            said_at: stored.said_at,
            owner: stored.owner.and_then(|owner| UserId::new(owner).ok()),
            body: stored.body.0.to_vec(),
        }
    }
}

/// What a group adds to the outbox.
pub(in crate::store) struct Content<'a> {
    /// Number of the first entry.
    pub(in crate::store) first: u64,
    /// When the group is committed.
    pub(in crate::store) at: UnixMillis,
    /// Everything up to here has left the outbox.
    pub(in crate::store) acknowledged: u64,
    /// Bytes of all segments written so far.
    pub(in crate::store) before: u64,
    /// The entries.
    pub(in crate::store) entries: &'a [Arc<OutboxEntry>],
    /// The cursors that moved with them. None are stored without entries.
    pub(in crate::store) cursors: &'a [(&'a ChatKey, &'a Cursor)],
}

/// Appends the compact form of `value`.
fn append<T: Serialize>(buffer: Vec<u8>, value: &T) -> Vec<u8> {
    postcard::to_extend(value, buffer)
        .expect("plain data of known length, written to memory, always encodes")
}

/// Adds the segments that hold `content` to `batch`; returns the bytes of all segments then.
pub(in crate::store) fn write(
    batch: &mut WriteBatch,
    keyring: &Keyring,
    content: &Content<'_>,
) -> Result<u64, StoreError> {
    let (mut first, mut before) = (content.first, content.before);
    let (mut entries, mut cursors) = (content.entries, content.cursors);
    while !entries.is_empty() {
        let mut open = vec![0; HEAD_LEN];
        let mut body = Vec::with_capacity(CLOSE_AT + 1024);
        let (mut count, mut moved) = (0, 0);
        while open.len() + body.len() < CLOSE_AT && count < entries.len() {
            body = append(body, &StoredEntry::from(&*entries[count]));
            count += 1;
            if let Some(cursor) = cursors.get(moved) {
                open = append(open, cursor);
                moved += 1;
            }
        }
        if count == entries.len() {
            open = cursors[moved..].iter().fold(open, append);
            moved = cursors.len();
        }
        let head = Head {
            version: VERSION,
            epoch: keyring.epoch(),
            at: content.at,
            acknowledged: content.acknowledged,
            count: short(count)?,
            cursors: short(moved)?,
            cursors_len: short(open.len() - HEAD_LEN)?,
            before,
        };
        open[..HEAD_LEN].copy_from_slice(&head.to_bytes());
        let (key, segment) = seal(keyring, first, open, &body)?;
        before += segment.len() as u64;
        batch.put(key, segment);
        first += u64::from(head.count);
        (entries, cursors) = (&entries[count..], &cursors[moved..]);
    }
    Ok(before)
}

fn short(number: usize) -> Result<u32, StoreError> {
    let large = |_| StoreError::Damaged { record: RECORD, detail: "it is larger than 4 GiB" };
    u32::try_from(number).map_err(large)
}

/// Puts a segment together. Its open part is bound to its sealed one.
fn seal(keyring: &Keyring, first: u64, open: Vec<u8>, body: &[u8]) -> Result<Pair, StoreError> {
    let key = layout::seq(kind::SEGMENT, first);
    let aad = [&key[..], &open[..]].concat();
    let (mut segment, open_len) = (open, aad.len() - key.len());
    segment.reserve_exact(body.len() + 16);
    segment.extend_from_slice(body);
    keyring
        .seal_tail(first, &aad, &mut segment, open_len)
        .map_err(|_| StoreError::Damaged { record: RECORD, detail: "it cannot be sealed" })?;
    Ok((key, segment))
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[0] = self.version;
        bytes[1..5].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[5..13].copy_from_slice(&self.at.0.to_be_bytes());
        bytes[13..21].copy_from_slice(&self.acknowledged.to_be_bytes());
        bytes[21..25].copy_from_slice(&self.count.to_be_bytes());
        bytes[25..29].copy_from_slice(&self.cursors.to_be_bytes());
        bytes[29..33].copy_from_slice(&self.cursors_len.to_be_bytes());
        bytes[33..].copy_from_slice(&self.before.to_be_bytes());
        bytes
    }

    /// Reads the head of a segment.
    pub(in crate::store) fn read(segment: &[u8]) -> Result<Self, StoreError> {
        let cut = || StoreError::Damaged { record: RECORD, detail: "its head is cut short" };
        let (&version, rest) = segment.split_first().ok_or_else(cut)?;
        match version {
            1..=VERSION => {}
            0 => return Err(StoreError::Damaged { record: RECORD, detail: "it has no version" }),
            found => return Err(StoreError::NewerRecord { record: RECORD, found }),
        }
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (at, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (acknowledged, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (cursors, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (cursors_len, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let before = match version {
            1 => [0; 8],
            _ => *rest.first_chunk::<8>().ok_or_else(cut)?,
        };
        Ok(Self {
            version,
            epoch: u32::from_be_bytes(*epoch),
            at: UnixMillis(i64::from_be_bytes(*at)),
            acknowledged: u64::from_be_bytes(*acknowledged),
            count: u32::from_be_bytes(*count),
            cursors: u32::from_be_bytes(*cursors),
            cursors_len: u32::from_be_bytes(*cursors_len),
            before: u64::from_be_bytes(before),
        })
    }

    /// Number of the data key it is sealed with.
    pub(in crate::store) fn epoch(&self) -> u32 {
        self.epoch
    }

    fn len(&self) -> usize {
        if self.version == 1 { HEAD_LEN_V1 } else { HEAD_LEN }
    }

    /// Bytes before the sealed part.
    fn open_len(&self) -> usize {
        self.len() + self.cursors_len as usize
    }
}

/// The cursors that moved with a segment's group and are stored in this one.
pub(in crate::store) fn cursors(segment: &[u8]) -> Result<Vec<(ChatKey, Cursor)>, StoreError> {
    let damaged = || StoreError::Damaged { record: RECORD, detail: "its cursors cannot be read" };
    let head = Head::read(segment)?;
    let mut rest = segment.get(head.len()..head.open_len()).ok_or_else(damaged)?;
    let mut cursors = Vec::new();
    for _ in 0..head.cursors {
        let (cursor, after) = postcard::take_from_bytes(rest).map_err(|_| damaged())?;
        cursors.push(cursor);
        rest = after;
    }
    Ok(cursors)
}

/// The sequence numbers of a segment: the first one, and the one after the last.
pub(in crate::store) fn span(key: &[u8], segment: &[u8]) -> Result<(u64, u64), StoreError> {
    let first = layout::seq_of(key)
        .ok_or(StoreError::Damaged { record: RECORD, detail: "its key is cut short" })?;
    Ok((first, first + u64::from(Head::read(segment)?.count)))
}

/// The span of a segment that must follow the one before, which ended at `next`.
pub(in crate::store) fn follows(
    next: &mut Option<u64>,
    key: &[u8],
    segment: &[u8],
) -> Result<(u64, u64), StoreError> {
    let (first, end) = span(key, segment)?;
    if next.replace(end).is_some_and(|expected| expected != first) {
        return Err(StoreError::Damaged { record: RECORD, detail: "a segment is missing" });
    }
    Ok((first, end))
}

/// Opens a segment and adds its entries from sequence number `from` on to `out`.
pub(in crate::store) fn read(
    keyring: &Keyring,
    key: &[u8],
    segment: &[u8],
    from: u64,
    out: &mut Vec<Numbered>,
) -> Result<(), StoreError> {
    let damaged = |detail| StoreError::Damaged { record: RECORD, detail };
    let head = Head::read(segment)?;
    let (first, end) = span(key, segment)?;
    let cut = || damaged("it is cut short");
    let (open, sealed) = segment.split_at_checked(head.open_len()).ok_or_else(cut)?;
    let aad = [key, open].concat();
    let plain =
        keyring.open(head.epoch, first, &aad, sealed).map_err(|_| damaged("its seal is broken"))?;
    let mut rest = &plain[..];
    for seq in first..end {
        let (stored, after) =
            take_entry(head.version, rest).map_err(|_| damaged("its entries cannot be read"))?;
        rest = after;
        if seq >= from {
            out.push((seq, Arc::new(stored.into())));
        }
    }
    Ok(())
}

/// Reads entries from `from` on, below `to`, up to about [`FETCH_BYTES`].
pub(in crate::store) fn fetch(
    engine: &dyn Engine,
    keyring: &Keyring,
    from: u64,
    to: u64,
) -> Result<Vec<Numbered>, StoreError> {
    let (start, _) = layout::all(kind::SEGMENT);
    let before_end = layout::seq(kind::SEGMENT, to);
    let after_from = layout::seq(kind::SEGMENT, from + 1);
    let first = engine.last(&start, &after_from)?.map_or(after_from, |(key, _)| key);
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut outcome = Ok(());
    let mut next = None;
    engine.scan(&first, &before_end, &mut |key, segment| {
        bytes += segment.len();
        outcome = follows(&mut next, key, segment)
            .and_then(|_| read(keyring, key, segment, from, &mut entries));
        outcome.is_ok() && bytes < FETCH_BYTES
    })?;
    outcome?;
    if entries.first().map(|(seq, _)| *seq) != Some(from) {
        return Err(StoreError::Damaged { record: "outbox", detail: "a segment is missing" });
    }
    Ok(entries)
}

fn take_entry(version: u8, bytes: &[u8]) -> postcard::Result<(StoredEntry<'_>, &[u8])> {
    match version {
        1 => {
            let (old, rest) = postcard::take_from_bytes::<StoredEntryV1<'_>>(bytes)?;
            Ok((old.into(), rest))
        }
        2 => {
            let (old, rest) = postcard::take_from_bytes::<StoredEntryV2<'_>>(bytes)?;
            Ok((old.into(), rest))
        }
        _ => postcard::take_from_bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::engines::MemoryDisk;
    use crate::store::engines::collect;
    use crate::store::keys::MasterKey;

    fn entry() -> impl Strategy<Value = Arc<OutboxEntry>> {
        let reply = ("[a-z]{1,9}", prop::option::of("[a-z]{0,9}"))
            .prop_map(|(queue, correlation_id)| Route::Reply { queue, correlation_id });
        let route = prop_oneof![Just(Route::Event), reply];
        let body = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..900),
            prop::collection::vec(any::<u8>(), 20_000..20_001),
        ];
        let times = (any::<u64>(), any::<Option<i64>>(), prop::option::of("[a-z]{1,9}"));
        (route, "[a-z_]{0,30}", any::<u128>(), times, body).prop_map(
            |(route, kind, id, (timestamp, said_at, owner), body)| {
                let message_id = Uuid::from_u128(id);
                let owner = owner.map(|owner| UserId::new(owner).unwrap());
                Arc::new(OutboxEntry { route, kind, message_id, timestamp, said_at, owner, body })
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn entries_survive_their_segments_in_order(
            entries in prop::collection::vec(entry(), 1..60),
            first in 1..u64::MAX / 2,
            skipped in 0..60_u64,
            cursors in 0..300,
        ) {
            let master = MasterKey::new(&[1; 32]);
            let (keyring, _) = Keyring::new(&master, 3, b"d").unwrap();
            let mut batch = WriteBatch::default();
            let chats: Vec<(ChatKey, Cursor)> = (0..cursors)
                .map(|id| (ChatKey(id.to_string()), Cursor::starting_after(id, 0, None)))
                .collect();
            let moved: Vec<_> = chats.iter().map(|(chat, cursor)| (chat, cursor)).collect();
            let (entries_ref, at) = (&entries[..], UnixMillis(9));
            let content =
                Content { first, at, acknowledged: 7, before: 100, entries: entries_ref, cursors: &moved };
            let total = write(&mut batch, &keyring, &content).unwrap();
            let disk = MemoryDisk::default();
            disk.apply(batch).unwrap();
            let (from, to) = layout::all(kind::SEGMENT);
            let (mut read_back, mut cursors_back) = (Vec::new(), Vec::new());
            let mut next = first;
            let mut before = 100;
            for (key, segment) in collect(&disk, &from, &to, usize::MAX).unwrap() {
                let (start, end) = span(&key, &segment).unwrap();
                prop_assert_eq!(start, next, "segments follow each other");
                next = end;
                let head = Head::read(&segment).unwrap();
                prop_assert_eq!((head.acknowledged, head.before), (7, before));
                before += segment.len() as u64;
                cursors_back.extend(self::cursors(&segment).unwrap());
                read(&keyring, &key, &segment, first + skipped, &mut read_back).unwrap();
            }
            let expected: Vec<Numbered> =
                (first..).zip(entries).filter(|(seq, _)| *seq >= first + skipped).collect();
            prop_assert_eq!(read_back, expected);
            prop_assert_eq!(total, before);
            prop_assert_eq!(cursors_back, chats);
        }
    }

    #[test]
    fn a_segment_moved_to_another_place_does_not_open() {
        let (keyring, _) = Keyring::new(&MasterKey::new(&[1; 32]), 3, b"d").unwrap();
        let mut batch = WriteBatch::default();
        let entry = OutboxEntry {
            route: Route::Event,
            kind: "k".into(),
            message_id: Uuid::nil(),
            timestamp: 0,
            said_at: None,
            owner: None,
            body: b"a private text".to_vec(),
        };
        let entries = [Arc::new(entry)];
        let content = Content {
            first: 5,
            at: UnixMillis(0),
            acknowledged: 0,
            before: 0,
            entries: &entries,
            cursors: &[],
        };
        write(&mut batch, &keyring, &content).unwrap();
        let (key, segment) = batch.writes.pop_first().unwrap();
        let segment = segment.unwrap();
        assert!(!segment.windows(7).any(|part| part == b"private"));
        let mut out = Vec::new();
        assert!(read(&keyring, &key, &segment, 0, &mut out).is_ok());
        let elsewhere = layout::seq(kind::SEGMENT, 6);
        assert!(read(&keyring, &elsewhere, &segment, 0, &mut out).is_err());
        let mut touched = segment.clone();
        touched[20] ^= 1;
        assert!(read(&keyring, &key, &touched, 0, &mut out).is_err(), "the head is bound too");
        assert_eq!(out.len(), 1);
    }
}
