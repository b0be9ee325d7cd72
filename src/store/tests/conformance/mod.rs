//! The conformance suite: what every engine must let the store do. Each test runs on every engine.
//!
//! To run all of it on a third engine, say one on PostgreSQL:
//! 1. implement [`Engine`]: its documentation is the contract, of which the order of durability is
//!    the part that engines get wrong;
//! 2. implement [`EngineUnderTest`] for what outlives the engines opened on it (a folder, a schema of its
//!    own);
//! 3. add its line to [`on_every_engine`].
//!
//! Nothing else in here knows which engine it runs on. `crash` and `damage` beside this folder are about the
//! files of the engine on disk alone.

mod audit_log;
mod campaigns;
mod commits;
mod outbox;
mod records;
mod rows;

use std::future::Future;

use super::*;

/// What an engine keeps its data on, from one opening of a store to the next.
trait EngineUnderTest {
    /// The bare engine, opened anew.
    fn engine(&self) -> Arc<dyn Engine>;

    /// A store on it, opened as the daemon does.
    fn open(&self) -> (Store, Outbox) {
        self.open_with(Pacing::default())
    }

    /// A store on the bare engine.
    fn open_with(&self, pacing: Pacing) -> (Store, Outbox) {
        let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
        Store::start(self.engine(), key, pacing).unwrap()
    }

    /// Expects that the engine left nothing that it must not.
    fn expect_clean(&self) {}
}

/// One of the engines.
type UnderTest = Arc<dyn EngineUnderTest>;

/// Runs `test` on every engine, each of them new.
async fn on_every_engine<F: Future<Output = ()>>(test: impl Fn(UnderTest) -> F) {
    test(Arc::new(MemoryDisk::default())).await;
    test(Arc::new(OnDisk(tempfile::tempdir().unwrap()))).await;
}

impl EngineUnderTest for MemoryDisk {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.clone())
    }
}

/// The engine on disk, in a folder of its own.
struct OnDisk(tempfile::TempDir);

impl OnDisk {
    fn state(&self) -> std::path::PathBuf {
        self.0.path().join("state")
    }
}

impl EngineUnderTest for OnDisk {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(DiskEngine::open(self.0.path(), 8 << 20).unwrap())
    }

    /// With its folder, lock, key file, marker and witness.
    fn open(&self) -> (Store, Outbox) {
        Store::open(StoreOptions::new(self.state())).unwrap()
    }

    fn expect_clean(&self) {
        assert_eq!(disk::stray_files(&self.state()), 0);
    }
}

/// Reads `count` entries.
async fn take(outbox: &mut Outbox, count: usize) -> Vec<(u64, u64)> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = tokio::time::timeout(PATIENCE, outbox.next(count - taken.len())).await;
        taken.extend(next.expect("entries come").iter().map(|(seq, e)| (*seq, number_of(e))));
    }
    taken
}

fn appends(numbers: std::ops::Range<u64>) -> Vec<Op> {
    numbers.map(|number| Op::Append(event(number, 40))).collect()
}

fn put_cursor(number: i64, last_id: i32) -> Op {
    Op::PutCursor { chat: chat(number).key(), cursor: cursor(last_id) }
}

async fn eventually(holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("it becomes true");
}
