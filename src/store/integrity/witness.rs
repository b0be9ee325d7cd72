//! The witness file: how far the store had come, noted beside the database every few seconds. Owns that file.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::store::contract::StoreError;

/// Count of batches, number of the next event, check sum.
const SLOT_LEN: usize = 8 + 8 + 8;
/// Far enough apart that no torn write reaches both.
const SLOT_STEP: u64 = 4096;

/// How far a store has come. Neither number ever goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct DurablePosition {
    /// Batches that the checksum counts.
    pub(in crate::store) batches: u64,
    /// Number of the next event.
    pub(in crate::store) next_seq: u64,
}

impl DurablePosition {
    /// Whether a store that was at `earlier` can be here now.
    pub(in crate::store) fn reaches(self, earlier: Self) -> bool {
        self.batches >= earlier.batches && self.next_seq >= earlier.next_seq
    }

    fn to_slot(self) -> [u8; SLOT_LEN] {
        let mut slot = [0; SLOT_LEN];
        slot[..8].copy_from_slice(&self.batches.to_be_bytes());
        slot[8..16].copy_from_slice(&self.next_seq.to_be_bytes());
        let check = Sha256::digest(&slot[..16]);
        slot[16..].copy_from_slice(&check[..8]);
        slot
    }

    fn from_slot(slot: &[u8; SLOT_LEN]) -> Option<Self> {
        let (batches, rest) = slot.split_first_chunk::<8>()?;
        let (next_seq, _) = rest.split_first_chunk::<8>()?;
        let read =
            Self { batches: u64::from_be_bytes(*batches), next_seq: u64::from_be_bytes(*next_seq) };
        (read.to_slot() == *slot).then_some(read)
    }
}

/// The witness file, of two slots that are written in turn: a torn write leaves the other one. It is open
/// for as long as the store is: a process without a descriptor left can still write it.
pub(in crate::store) struct Witness {
    path: PathBuf,
    /// `None`: what lies there is no file.
    file: Option<File>,
    noted: DurablePosition,
    slot: u64,
}

impl Witness {
    /// The witness file of the store in `store`.
    pub(in crate::store) fn file_of(store: &Path) -> PathBuf {
        store.join("witness")
    }

    /// What the witness says. One that is missing or unreadable says nothing: it proves damage,
    /// and the lack of it proves none.
    pub(in crate::store) fn read(path: &Path) -> DurablePosition {
        let Ok(file) = File::open(Self::file_of(path)) else {
            return DurablePosition::default();
        };
        let mut newest = DurablePosition::default();
        for at in [0, SLOT_STEP] {
            let mut slot = [0; SLOT_LEN];
            if file.read_exact_at(&mut slot, at).is_ok()
                && let Some(read) = DurablePosition::from_slot(&slot)
                && read.reaches(newest)
            {
                newest = read;
            }
        }
        newest
    }

    /// The witness of a store in `path`, made if there is none.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, StoreError> {
        let path = Self::file_of(path);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = match options.open(&path) {
            Ok(file) => Some(file),
            // What is not a file is in the way of a note, and of nothing else.
            Err(error) if error.kind() == ErrorKind::IsADirectory => None,
            Err(error) => return Err(StoreError::file("open", path)(error)),
        };
        Ok(Self { path, file, noted: DurablePosition::default(), slot: 0 })
    }

    /// What it says, as far as this value wrote it.
    pub(in crate::store) fn noted(&self) -> DurablePosition {
        self.noted
    }

    /// Notes what is durable by now, if it is news.
    pub(in crate::store) fn note(&mut self, position: DurablePosition) -> Result<(), StoreError> {
        if position == self.noted {
            return Ok(());
        }
        self.write(position).map_err(StoreError::file("write", &self.path))?;
        (self.noted, self.slot) = (position, SLOT_STEP - self.slot);
        Ok(())
    }

    fn write(&self, position: DurablePosition) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_all_at(&position.to_slot(), self.slot)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_witness_survives_a_torn_write_of_either_slot() {
        let folder = tempfile::tempdir().unwrap();
        let at = |number| DurablePosition { batches: number, next_seq: number };
        assert_eq!(Witness::read(folder.path()), DurablePosition::default());
        let mut witness = Witness::open(folder.path()).unwrap();
        for number in 1..=5 {
            witness.note(at(number)).unwrap();
            assert_eq!(Witness::read(folder.path()), at(number));
            let path = Witness::file_of(folder.path());
            let whole = std::fs::read(&path).unwrap();
            let mut torn = whole.clone();
            let slot = if number % 2 == 1 { 0 } else { 4096 };
            torn[slot + 3] ^= 0x55;
            std::fs::write(&path, torn).unwrap();
            assert_eq!(Witness::read(folder.path()), at(number - 1));
            std::fs::write(&path, whole).unwrap();
        }
    }
}
