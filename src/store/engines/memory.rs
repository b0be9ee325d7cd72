//! The engine in memory: for tests, demos and simulated crashes. Owns its two maps (what is visible
//! and what would survive a power cut); never touches a disk.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::{Engine, Pair, WriteBatch};
use crate::store::contract::EngineError;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A medium in memory. It outlives the engines opened on it, as a disk outlives a process.
#[derive(Clone, Default)]
pub(in crate::store) struct MemoryDisk(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    visible: Map,
    durable: Map,
    unsynced: Vec<WriteBatch>,
    /// Writes (batches and syncs) until the medium fails; `None` never.
    fails_after: Option<u64>,
}

fn apply_to(map: &mut Map, batch: &WriteBatch) {
    for (key, write) in &batch.writes {
        match write {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
    }
}

impl MemoryDisk {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every write after the next `writes` ones fail, as a full disk does.
    #[cfg(test)]
    pub(in crate::store) fn fail_after(&self, writes: u64) {
        self.lock().fails_after = Some(writes);
    }

    /// A medium of its own that holds the same.
    #[cfg(test)]
    pub(in crate::store) fn copy(&self) -> Self {
        let disk = self.lock();
        let (visible, durable) = (disk.visible.clone(), disk.durable.clone());
        Self(Arc::new(Mutex::new(Disk { visible, durable, ..Disk::default() })))
    }

    /// Cuts the power: of the batches that were not synced, only the first `kept` survive. Heals
    /// a failing medium.
    #[cfg(test)]
    pub(in crate::store) fn crash(&self, kept: usize) {
        let mut disk = self.lock();
        let unsynced = std::mem::take(&mut disk.unsynced);
        for batch in unsynced.iter().take(kept) {
            apply_to(&mut disk.durable, batch);
        }
        disk.visible = disk.durable.clone();
        disk.fails_after = None;
    }
}

impl Disk {
    fn count_write(&mut self) -> Result<(), EngineError> {
        match &mut self.fails_after {
            Some(0) => Err(EngineError::Failed("no space left on device (simulated)".into())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Engine for MemoryDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.lock().visible.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError> {
        let disk = self.lock();
        let range = (Bound::Included(from), Bound::Excluded(to));
        for (key, value) in disk.visible.range::<[u8], _>(range) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, EngineError> {
        let disk = self.lock();
        let range = (Bound::Included(from), Bound::Excluded(to));
        let last = disk.visible.range::<[u8], _>(range).next_back();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn apply(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let mut disk = self.lock();
        disk.count_write()?;
        apply_to(&mut disk.visible, &batch);
        disk.unsynced.push(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let mut disk = self.lock();
        disk.count_write()?;
        let unsynced = std::mem::take(&mut disk.unsynced);
        for batch in &unsynced {
            apply_to(&mut disk.durable, batch);
        }
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        let disk = self.lock();
        disk.durable.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}
