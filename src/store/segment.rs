//! Segments of the outbox: several entries in one sealed record. Owns their encoding; never does
//! IO. The head (version, data key, time, count) is open, so that a backlog is counted and trimmed
//! without opening seals; the entries, which hold message texts, are sealed.

use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::protocol::ids::UnixMillis;
use crate::protocol::outbox::{OutboxEntry, Route};

use super::engine::Batch;
use super::error::StoreError;
use super::keys::Keyring;
use super::layout::{self, kind};
use super::records::strip_version;

/// A segment is closed once its entries reach this many bytes. With one more entry of usual size
/// it still fits what the sled engine stores in one piece (6 KiB).
const CLOSE_AT: usize = 5 * 1024;
/// Version, epoch, time, count.
const HEAD_LEN: usize = 1 + 4 + 8 + 4;
const RECORD: &str = "outbox";

/// An entry with its sequence number.
pub(super) type Numbered = (u64, Arc<OutboxEntry>);

/// The open head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Data key it is sealed with.
    pub(super) epoch: u32,
    /// When it was committed.
    pub(super) at: UnixMillis,
    /// How many entries it holds.
    pub(super) count: u32,
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
    #[serde(borrow)]
    body: Blob<'a>,
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
            body: stored.body.0.to_vec(),
        }
    }
}

/// Adds the segments that hold `entries`, numbered from `first`, to `batch`.
pub(super) fn write(
    batch: &mut Batch,
    keyring: &Keyring,
    first: u64,
    at: UnixMillis,
    entries: &[Arc<OutboxEntry>],
) -> Result<(), StoreError> {
    let mut first = first;
    let mut rest = entries;
    while !rest.is_empty() {
        let mut buffer = vec![0; HEAD_LEN];
        buffer.reserve(CLOSE_AT + 2 * 1024);
        let mut count = 0;
        while buffer.len() < CLOSE_AT && count < rest.len() {
            buffer = postcard::to_extend(&StoredEntry::from(&*rest[count]), buffer)
                .expect("plain data of known length, written to memory, always encodes");
            count += 1;
        }
        let count_u32 = u32::try_from(count).expect("a segment closes after 5 KiB");
        let head = Head { epoch: keyring.epoch(), at, count: count_u32 };
        buffer[..HEAD_LEN].copy_from_slice(&head.to_bytes());
        let key = layout::seq(kind::SEGMENT, first);
        let place = [&key[..], &buffer[..HEAD_LEN]].concat();
        keyring
            .seal_tail(first, &place, &mut buffer, HEAD_LEN)
            .map_err(|_| StoreError::Damaged { record: RECORD, detail: "it cannot be sealed" })?;
        batch.put(key, buffer);
        first += u64::from(count_u32);
        rest = &rest[count..];
    }
    Ok(())
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[0] = 1;
        bytes[1..5].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[5..13].copy_from_slice(&self.at.0.to_be_bytes());
        bytes[13..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// Reads the head of a segment.
    pub(super) fn read(segment: &[u8]) -> Result<Self, StoreError> {
        let cut = || StoreError::Damaged { record: RECORD, detail: "its head is cut short" };
        let rest = strip_version(RECORD, segment)?;
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (at, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (count, _) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        Ok(Self {
            epoch: u32::from_be_bytes(*epoch),
            at: UnixMillis(i64::from_be_bytes(*at)),
            count: u32::from_be_bytes(*count),
        })
    }
}

/// The sequence numbers of a segment: the first one, and the one after the last.
pub(super) fn span(key: &[u8], segment: &[u8]) -> Result<(u64, u64), StoreError> {
    let first = layout::seq_of(key)
        .ok_or(StoreError::Damaged { record: RECORD, detail: "its key is cut short" })?;
    Ok((first, first + u64::from(Head::read(segment)?.count)))
}

/// Opens a segment and adds its entries from sequence number `from` on to `out`.
pub(super) fn read(
    keyring: &Keyring,
    key: &[u8],
    segment: &[u8],
    from: u64,
    out: &mut Vec<Numbered>,
) -> Result<(), StoreError> {
    let damaged = |detail| StoreError::Damaged { record: RECORD, detail };
    let head = Head::read(segment)?;
    let (first, end) = span(key, segment)?;
    let (open, sealed) = segment.split_at(HEAD_LEN);
    let place = [key, open].concat();
    let plain = keyring
        .open(head.epoch, first, &place, sealed)
        .map_err(|_| damaged("its seal is broken"))?;
    let mut rest = &plain[..];
    for seq in first..end {
        let (stored, after) = postcard::take_from_bytes::<StoredEntry<'_>>(rest)
            .map_err(|_| damaged("its entries cannot be read"))?;
        rest = after;
        if seq >= from {
            out.push((seq, Arc::new(stored.into())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::{Engine, collect};
    use crate::store::keys::MasterKey;
    use crate::store::memory_engine::MemoryDisk;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Arc<OutboxEntry>> {
        let reply = ("[a-z]{1,9}", prop::option::of("[a-z]{0,9}"))
            .prop_map(|(queue, correlation_id)| Route::Reply { queue, correlation_id });
        let route = prop_oneof![Just(Route::Event), reply];
        let body = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..900),
            prop::collection::vec(any::<u8>(), 20_000..20_001),
        ];
        (route, "[a-z_]{0,30}", any::<u128>(), any::<u64>(), body).prop_map(
            |(route, kind, id, timestamp, body)| {
                let message_id = Uuid::from_u128(id);
                Arc::new(OutboxEntry { route, kind, message_id, timestamp, body })
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
        ) {
            let master = MasterKey::new(&[1; 32]);
            let (keyring, _) = Keyring::new(&master, 3, b"d").unwrap();
            let mut batch = Batch::default();
            write(&mut batch, &keyring, first, UnixMillis(9), &entries).unwrap();
            let disk = MemoryDisk::default();
            disk.apply(batch).unwrap();
            let (from, to) = layout::all(kind::SEGMENT);
            let mut read_back = Vec::new();
            let mut next = first;
            for (key, segment) in collect(&disk, &from, &to, usize::MAX).unwrap() {
                let (start, end) = span(&key, &segment).unwrap();
                prop_assert_eq!(start, next, "segments follow each other");
                next = end;
                read(&keyring, &key, &segment, first + skipped, &mut read_back).unwrap();
            }
            let expected: Vec<Numbered> =
                (first..).zip(entries).filter(|(seq, _)| *seq >= first + skipped).collect();
            prop_assert_eq!(read_back, expected);
        }
    }

    #[test]
    fn a_segment_moved_to_another_place_does_not_open() {
        let (keyring, _) = Keyring::new(&MasterKey::new(&[1; 32]), 3, b"d").unwrap();
        let mut batch = Batch::default();
        let entry = OutboxEntry {
            route: Route::Event,
            kind: "k".into(),
            message_id: Uuid::nil(),
            timestamp: 0,
            body: b"a private text".to_vec(),
        };
        write(&mut batch, &keyring, 5, UnixMillis(0), &[Arc::new(entry)]).unwrap();
        let (key, segment) = batch.writes.pop_first().unwrap();
        let segment = segment.unwrap();
        assert!(!segment.windows(7).any(|part| part == b"private"));
        let mut out = Vec::new();
        assert!(read(&keyring, &key, &segment, 0, &mut out).is_ok());
        let elsewhere = layout::seq(kind::SEGMENT, 6);
        assert!(read(&keyring, &elsewhere, &segment, 0, &mut out).is_err());
        assert_eq!(out.len(), 1);
    }
}
