//! The integrity checksum: one number over all records that must not go missing, renewed with every batch.
//! Owns its record; which keys are outside of it is said in the room's documentation.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::store::contract::{EngineError, StoreError};
use crate::store::engines::{Engine, Pair, WriteBatch};
use crate::store::format::layout::{self, kind};

const SUM_LEN: usize = 16;
const CHECKSUM_LEN: usize = 8 + SUM_LEN;
/// A count of batches and the sum over what they left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Checksum {
    count: u64,
    sum: [u8; SUM_LEN],
}

impl Checksum {
    /// Adds a record, or takes it away when it is in.
    fn toggle(&mut self, key: &[u8], value: &[u8]) {
        let length = (key.len() as u64).to_be_bytes();
        let digest = Sha256::new().chain_update(length).chain_update(key).chain_update(value);
        self.sum.iter_mut().zip(digest.finalize()).for_each(|(sum, byte)| *sum ^= byte);
    }

    fn to_bytes(self) -> Vec<u8> {
        [&self.count.to_be_bytes()[..], &self.sum].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = <[u8; CHECKSUM_LEN]>::try_from(bytes).ok()?;
        let (count, sum) = bytes.split_first_chunk::<8>()?;
        Some(Self { count: u64::from_be_bytes(*count), sum: sum.try_into().ok()? })
    }

    /// The checksum of what `engine` holds now.
    fn of(engine: &dyn Engine, count: u64) -> Result<Self, StoreError> {
        let mut checksum = Self { count, ..Self::default() };
        let bounds = [&[0][..], &[kind::SEGMENT], &[kind::SEGMENT + 1], &[kind::PEER]];
        let rest = [&[kind::PEER + 1][..], &[0xff]];
        for range in bounds.chunks(2).chain([&rest[..]]) {
            engine.scan(range[0], range[1], &mut |key, value| {
                if is_counted(key) {
                    checksum.toggle(key, value);
                }
                true
            })?;
        }
        Ok(checksum)
    }
}

fn is_counted(key: &[u8]) -> bool {
    !matches!(key.first(), Some(&(kind::SEGMENT | kind::PEER)))
        && key != layout::ACKNOWLEDGED
        && key != layout::CHECKSUM
}

/// An engine that maintains the checksum of what is written through it.
pub(in crate::store) struct ChecksummedEngine {
    engine: Arc<dyn Engine>,
    checksum: Mutex<Checksum>,
}

impl ChecksummedEngine {
    /// Takes over an engine whose records agree with their checksum, or have none yet because `begins`.
    pub(in crate::store) fn open(
        engine: Arc<dyn Engine>,
        begins: bool,
    ) -> Result<Self, StoreError> {
        const RECORD: &str = "tally";
        let stored = engine.get(layout::CHECKSUM)?;
        let stored = stored.map(|bytes| {
            let damaged = StoreError::Damaged { record: RECORD, detail: "its length is wrong" };
            Checksum::from_bytes(&bytes).ok_or(damaged)
        });
        let checksum = match stored.transpose()? {
            Some(stored) if stored == Checksum::of(&*engine, stored.count)? => stored,
            Some(_) => return Err(StoreError::Holes),
            None if begins => Checksum::of(&*engine, 0)?,
            None => return Err(StoreError::Damaged { record: RECORD, detail: "it is missing" }),
        };
        Ok(Self { engine, checksum: Mutex::new(checksum) })
    }

    /// How many batches there were.
    pub(in crate::store) fn count(&self) -> u64 {
        self.checksum.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

impl Engine for ChecksummedEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.engine.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError> {
        self.engine.scan(from, to, visit)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, EngineError> {
        self.engine.last(from, to)
    }

    fn apply(&self, mut batch: WriteBatch) -> Result<(), EngineError> {
        let mut checksum = self.checksum.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = *checksum;
        let mut is_changed = false;
        for (key, write) in batch.writes.iter().filter(|(key, _)| is_counted(key)) {
            is_changed = true;
            if let Some(before) = self.engine.get(key)? {
                next.toggle(key, &before);
            }
            if let Some(value) = write {
                next.toggle(key, value);
            }
        }
        if is_changed {
            next.count += 1;
            batch.put(layout::CHECKSUM.to_vec(), next.to_bytes());
        }
        self.engine.apply(batch)?;
        *checksum = next;
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.engine.sync()
    }

    fn disk_bytes(&self) -> u64 {
        self.engine.disk_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engines::MemoryDisk;

    fn put(engine: &dyn Engine, key: &[u8], value: &[u8]) {
        let mut batch = WriteBatch::default();
        batch.put(key.to_vec(), value.to_vec());
        engine.apply(batch).unwrap();
    }

    #[test]
    fn a_record_that_is_missing_or_older_is_noticed_whichever_it_is() {
        let disk = MemoryDisk::default();
        let checksummed = ChecksummedEngine::open(Arc::new(disk.clone()), true).unwrap();
        for (key, value) in [(&b"a1"[..], &b"x"[..]), (b"a1", b"y"), (b"m1", b"x"), (b"!c", b"1")] {
            put(&checksummed, key, value);
        }
        assert_eq!(checksummed.count(), 4);
        let again = ChecksummedEngine::open(Arc::new(disk.clone()), false);
        assert_eq!(again.unwrap().count(), 4);
        for (key, wrong) in [(&b"a1"[..], Some(&b"x"[..])), (b"m1", None), (b"t9", Some(b""))] {
            let right = disk.get(key).unwrap();
            let mut batch = WriteBatch::default();
            batch.writes.insert(key.to_vec(), wrong.map(<[u8]>::to_vec));
            disk.apply(batch).unwrap();
            let refused = ChecksummedEngine::open(Arc::new(disk.clone()), false).err();
            assert!(matches!(refused, Some(StoreError::Holes)), "{refused:?}");
            let mut batch = WriteBatch::default();
            batch.writes.insert(key.to_vec(), right);
            disk.apply(batch).unwrap();
        }
        assert!(ChecksummedEngine::open(Arc::new(disk), false).is_ok());
    }

    #[test]
    fn peers_segments_and_releases_cost_no_tally() {
        let disk = MemoryDisk::default();
        let checksummed = ChecksummedEngine::open(Arc::new(disk.clone()), true).unwrap();
        for key in [&b"p12345678"[..], b"o12345678", layout::ACKNOWLEDGED] {
            put(&checksummed, key, b"x");
        }
        assert_eq!(checksummed.count(), 0);
        assert_eq!(disk.get(layout::CHECKSUM).unwrap(), None);
    }
}
