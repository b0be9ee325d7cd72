//! The tally: one number over all records that must not go missing, kept with every batch, so that
//! a database that passes over damage is caught. Owns the tally and the witness file beside the
//! database; never knows what a record means.
//!
//! sled checks what it reads, not what it fails to find: a damaged part of its log is taken for a
//! torn tail or for space that is free again, and records come back as they were earlier, or not
//! at all, without a word. Three things tell:
//! - the tally: a count of batches and a sum over all keys and values, renewed in the batch that
//!   changes them. A state that any batch left behind agrees with its tally, whatever a crash took;
//!   a state with a hole does not. Outside of it are the segments of the outbox, which prove
//!   themselves by their numbers and seals, what was released, which only makes events come again,
//!   and peers, a cache;
//! - the witness, a small file that says how far the store had come at some time in the last few
//!   seconds: a log that is cut before that has lost more than a crash can take;
//! - the numbers of the segments, which follow each other.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::engine::{Batch, Engine, Pair};
use super::error::{EngineError, StoreError};
use super::layout::{self, kind};

const SUM_LEN: usize = 16;
const TALLY_LEN: usize = 8 + SUM_LEN;
/// Count of batches, number of the next event, check sum.
const SLOT_LEN: usize = 8 + 8 + 8;
/// Far enough apart that no torn write reaches both.
const SLOT_STEP: u64 = 4096;

/// A count of batches and the sum over what they left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: [u8; SUM_LEN],
}

impl Tally {
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
        let bytes = <[u8; TALLY_LEN]>::try_from(bytes).ok()?;
        let (count, sum) = bytes.split_first_chunk::<8>()?;
        Some(Self { count: u64::from_be_bytes(*count), sum: sum.try_into().ok()? })
    }

    /// The tally of what `engine` holds now.
    fn of(engine: &dyn Engine, count: u64) -> Result<Self, StoreError> {
        let mut tally = Self { count, ..Self::default() };
        let bounds = [&[0][..], &[kind::SEGMENT], &[kind::SEGMENT + 1], &[kind::PEER]];
        let rest = [&[kind::PEER + 1][..], &[0xff]];
        for range in bounds.chunks(2).chain([&rest[..]]) {
            engine.scan(range[0], range[1], &mut |key, value| {
                if is_counted(key) {
                    tally.toggle(key, value);
                }
                true
            })?;
        }
        Ok(tally)
    }
}

fn is_counted(key: &[u8]) -> bool {
    !matches!(key.first(), Some(&(kind::SEGMENT | kind::PEER)))
        && key != layout::RELEASED
        && key != layout::TALLY
}

/// An engine that keeps the tally of what is written through it.
pub(super) struct Audited {
    engine: Arc<dyn Engine>,
    tally: Mutex<Tally>,
}

impl Audited {
    /// Takes over an engine whose records agree with their tally, or have none yet because `begins`.
    pub(super) fn open(engine: Arc<dyn Engine>, begins: bool) -> Result<Self, StoreError> {
        const RECORD: &str = "tally";
        let stored = engine.get(layout::TALLY)?;
        let stored = stored.map(|bytes| {
            let damaged = StoreError::Damaged { record: RECORD, detail: "its length is wrong" };
            Tally::from_bytes(&bytes).ok_or(damaged)
        });
        let tally = match stored.transpose()? {
            Some(stored) if stored == Tally::of(&*engine, stored.count)? => stored,
            Some(_) => return Err(StoreError::Holes),
            None if begins => Tally::of(&*engine, 0)?,
            None => return Err(StoreError::Damaged { record: RECORD, detail: "it is missing" }),
        };
        Ok(Self { engine, tally: Mutex::new(tally) })
    }

    /// How many batches there were.
    pub(super) fn count(&self) -> u64 {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

impl Engine for Audited {
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

    fn apply(&self, mut batch: Batch) -> Result<(), EngineError> {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = *tally;
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
            batch.put(layout::TALLY.to_vec(), next.to_bytes());
        }
        self.engine.apply(batch)?;
        *tally = next;
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.engine.sync()
    }

    fn disk_bytes(&self) -> u64 {
        self.engine.disk_bytes()
    }
}

/// How far a store has come. Neither number ever goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Batches that the tally counts.
    pub(super) count: u64,
    /// Number of the next event.
    pub(super) next_seq: u64,
}

impl Progress {
    /// Whether a store that was at `earlier` can be here now.
    pub(super) fn reaches(self, earlier: Self) -> bool {
        self.count >= earlier.count && self.next_seq >= earlier.next_seq
    }

    fn to_slot(self) -> [u8; SLOT_LEN] {
        let mut slot = [0; SLOT_LEN];
        slot[..8].copy_from_slice(&self.count.to_be_bytes());
        slot[8..16].copy_from_slice(&self.next_seq.to_be_bytes());
        let check = Sha256::digest(&slot[..16]);
        slot[16..].copy_from_slice(&check[..8]);
        slot
    }

    fn from_slot(slot: &[u8; SLOT_LEN]) -> Option<Self> {
        let (count, rest) = slot.split_first_chunk::<8>()?;
        let (next_seq, _) = rest.split_first_chunk::<8>()?;
        let read =
            Self { count: u64::from_be_bytes(*count), next_seq: u64::from_be_bytes(*next_seq) };
        (read.to_slot() == *slot).then_some(read)
    }
}

/// The witness file, of two slots that are written in turn: a torn write leaves the other one. It is open
/// for as long as the store is: a process without a descriptor left goes on noting.
pub(super) struct Witness {
    path: PathBuf,
    /// `None`: what lies there is no file.
    file: Option<File>,
    noted: Progress,
    slot: u64,
}

impl Witness {
    /// Where the witness of a store in `path` lies.
    pub(super) fn place(path: &Path) -> PathBuf {
        path.join("witness")
    }

    /// What the witness says. One that is missing or unreadable says nothing: it proves damage,
    /// and the lack of it proves none.
    pub(super) fn read(path: &Path) -> Progress {
        let Ok(file) = File::open(Self::place(path)) else {
            return Progress::default();
        };
        let mut newest = Progress::default();
        for at in [0, SLOT_STEP] {
            let mut slot = [0; SLOT_LEN];
            if file.read_exact_at(&mut slot, at).is_ok()
                && let Some(read) = Progress::from_slot(&slot)
                && read.reaches(newest)
            {
                newest = read;
            }
        }
        newest
    }

    /// The witness of a store in `path`, made if there is none.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let path = Self::place(path);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = match options.open(&path) {
            Ok(file) => Some(file),
            // What is not a file is in the way of a note, and of nothing else.
            Err(error) if error.kind() == ErrorKind::IsADirectory => None,
            Err(error) => return Err(StoreError::file("open", path)(error)),
        };
        Ok(Self { path, file, noted: Progress::default(), slot: 0 })
    }

    /// What it says, as far as this value wrote it.
    pub(super) fn noted(&self) -> Progress {
        self.noted
    }

    /// Notes what is durable by now, if it is news.
    pub(super) fn note(&mut self, progress: Progress) -> Result<(), StoreError> {
        if progress == self.noted {
            return Ok(());
        }
        self.write(progress).map_err(StoreError::file("write", &self.path))?;
        (self.noted, self.slot) = (progress, SLOT_STEP - self.slot);
        Ok(())
    }

    fn write(&self, progress: Progress) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_all_at(&progress.to_slot(), self.slot)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory_engine::MemoryDisk;

    fn put(engine: &dyn Engine, key: &[u8], value: &[u8]) {
        let mut batch = Batch::default();
        batch.put(key.to_vec(), value.to_vec());
        engine.apply(batch).unwrap();
    }

    #[test]
    fn a_record_that_is_missing_or_older_is_noticed_whichever_it_is() {
        let disk = MemoryDisk::default();
        let audited = Audited::open(Arc::new(disk.clone()), true).unwrap();
        for (key, value) in [(&b"a1"[..], &b"x"[..]), (b"a1", b"y"), (b"m1", b"x"), (b"!c", b"1")] {
            put(&audited, key, value);
        }
        assert_eq!(audited.count(), 4);
        let again = Audited::open(Arc::new(disk.clone()), false);
        assert_eq!(again.unwrap().count(), 4);
        for (key, wrong) in [(&b"a1"[..], Some(&b"x"[..])), (b"m1", None), (b"t9", Some(b""))] {
            let right = disk.get(key).unwrap();
            let mut batch = Batch::default();
            batch.writes.insert(key.to_vec(), wrong.map(<[u8]>::to_vec));
            disk.apply(batch).unwrap();
            let refused = Audited::open(Arc::new(disk.clone()), false).err();
            assert!(matches!(refused, Some(StoreError::Holes)), "{refused:?}");
            let mut batch = Batch::default();
            batch.writes.insert(key.to_vec(), right);
            disk.apply(batch).unwrap();
        }
        assert!(Audited::open(Arc::new(disk), false).is_ok());
    }

    #[test]
    fn peers_segments_and_releases_cost_no_tally() {
        let disk = MemoryDisk::default();
        let audited = Audited::open(Arc::new(disk.clone()), true).unwrap();
        for key in [&b"p12345678"[..], b"o12345678", layout::RELEASED] {
            put(&audited, key, b"x");
        }
        assert_eq!(audited.count(), 0);
        assert_eq!(disk.get(layout::TALLY).unwrap(), None);
    }

    #[test]
    fn the_witness_survives_a_torn_write_of_either_slot() {
        let folder = tempfile::tempdir().unwrap();
        let at = |number| Progress { count: number, next_seq: number };
        assert_eq!(Witness::read(folder.path()), Progress::default());
        let mut witness = Witness::open(folder.path()).unwrap();
        for number in 1..=5 {
            witness.note(at(number)).unwrap();
            assert_eq!(Witness::read(folder.path()), at(number));
            let place = Witness::place(folder.path());
            let whole = std::fs::read(&place).unwrap();
            let mut torn = whole.clone();
            let slot = if number % 2 == 1 { 0 } else { 4096 };
            torn[slot + 3] ^= 0x55;
            std::fs::write(&place, torn).unwrap();
            assert_eq!(Witness::read(folder.path()), at(number - 1));
            std::fs::write(&place, whole).unwrap();
        }
    }
}
