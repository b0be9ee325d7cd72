//! A store for tests whose disk hangs when it is told to, as real ones do: reads and writes begin, and do
//! not come back before the gate is opened. It keeps what was durable when the power is cut.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::store::Outbox;
use crate::store::Store;
use crate::store::contract::EngineError;
use crate::store::engines::MemoryDisk;
use crate::store::engines::{Engine, Pair, WriteBatch};
use crate::store::journal::Pacing;
use crate::store::keys::{MasterKey, RootKey};

/// What opens and shuts the way to the disk.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    writes_hang: bool,
    reads_hang: bool,
    /// Reads that hang.
    hanging: usize,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hang_writes(&self, hang: bool) {
        self.lock().writes_hang = hang;
        self.0.1.notify_all();
    }

    pub(crate) fn hang_reads(&self, hang: bool) {
        self.lock().reads_hang = hang;
        self.0.1.notify_all();
    }

    /// How many reads hang.
    pub(crate) fn hanging_reads(&self) -> usize {
        self.lock().hanging
    }

    fn pass_write(&self) {
        let state = self.0.1.wait_while(self.lock(), |state| state.writes_hang);
        drop(state);
    }

    fn pass_read(&self) {
        // The writer reads, too, and is not to hang before its writes do.
        if std::thread::current().name() == Some("store-writer") {
            return;
        }
        let mut state = self.lock();
        state.hanging += 1;
        let waited = self.0.1.wait_while(state, |state| state.reads_hang);
        waited.unwrap_or_else(PoisonError::into_inner).hanging -= 1;
    }
}

/// The disk behind the gate.
#[derive(Clone, Default)]
pub(crate) struct GatedDisk {
    disk: MemoryDisk,
    gate: Gate,
}

impl GatedDisk {
    /// A store on it, and the gate.
    pub(crate) fn open(&self) -> (Store, Outbox, Gate) {
        let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
        let (store, outbox) =
            Store::start(Arc::new(self.clone()), key, Pacing::default()).expect("it is in memory");
        (store, outbox, self.gate.clone())
    }

    /// Another disk that holds what this one would after the power was cut.
    pub(crate) fn after_a_power_cut(&self) -> Self {
        let disk = self.disk.copy();
        disk.crash(0);
        Self { disk, gate: Gate::default() }
    }
}

impl Engine for GatedDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.gate.pass_read();
        self.disk.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError> {
        self.gate.pass_read();
        self.disk.scan(from, to, visit)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, EngineError> {
        self.gate.pass_read();
        self.disk.last(from, to)
    }

    fn apply(&self, batch: WriteBatch) -> Result<(), EngineError> {
        self.gate.pass_write();
        self.disk.apply(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.gate.pass_write();
        self.disk.sync()
    }

    fn disk_bytes(&self) -> u64 {
        self.disk.disk_bytes()
    }
}

/// How many records of each kind there are.
pub(crate) fn records_by_kind(store: &Store) -> std::collections::BTreeMap<char, usize> {
    let mut kinds = std::collections::BTreeMap::new();
    let count = &mut |key: &[u8], _: &[u8]| {
        *kinds.entry(char::from(key[0])).or_default() += 1;
        true
    };
    store.shared.engine.scan(b"A", &[0xff], count).expect("it is in memory");
    kinds
}
