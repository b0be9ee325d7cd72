//! Rotations: everything stays readable whatever crashes when, and old keys are gone in the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::protocol::accounts::record::Credentials;
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::AuthKey;

use super::super::open::{KEY_CHECK_TEXT, stored};
use super::super::seal::*;
use super::super::*;
use crate::store::Store;
use crate::store::contract::CommitError;
use crate::store::contract::{RotateError, StoreError};
use crate::store::engines::MemoryDisk;
use crate::store::engines::{Engine, WriteBatch, collect};
use crate::store::format::encoding;
use crate::store::format::layout::{self, SEALED_KINDS, kind};
use crate::store::integrity::ChecksummedEngine;
use crate::store::tests::{account, event, expect_sealed_rows, hurried, number_of, sealed_rows};
use crate::store::{Op, Outbox};

pub(super) fn root(number: u8) -> RootKey {
    RootKey::Given(Box::new(MasterKey::new(&[number; 32])))
}

pub(super) fn credentials(id: u64, content: u8) -> Credentials {
    Credentials { account: AuthKeyId(id), dc_id: 2, auth_key: AuthKey::new([content; 256]) }
}

pub(super) fn put(id: u64, content: u8) -> Vec<Op> {
    vec![Op::PutAccount(account(id)), Op::PutCredentials(credentials(id, content))]
}

pub(super) fn start(disk: &MemoryDisk, key: RootKey) -> (Store, Outbox) {
    Store::start(Arc::new(disk.clone()), key, hurried()).unwrap()
}

/// A store with credentials and an event that was not acknowledged.
pub(super) async fn filled(disk: &MemoryDisk, accounts: u64) {
    let (store, outbox) = start(disk, root(1));
    for id in 0..accounts {
        store.commit(put(id, 7)).await.unwrap();
    }
    store.commit([sealed_rows(), vec![Op::Append(event(77, 9))]].concat()).await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
}

pub(super) async fn expect_readable(store: &Store, outbox: &mut Outbox, accounts: u64) {
    for id in 0..accounts {
        let read = store.credentials(AuthKeyId(id)).unwrap();
        assert_eq!(read, Some(credentials(id, 7)), "account {id}");
    }
    expect_sealed_rows(store);
    let entries = outbox.next(1).await;
    assert_eq!(number_of(&entries[0].1), 77);
}

/// Nothing on disk is sealed under anything but the one generation that is left.
pub(super) fn expect_one_generation(disk: &MemoryDisk) {
    let generations = stored(disk).unwrap();
    assert_eq!(generations.len(), 1);
    assert_eq!(disk.get(layout::KEY_CHECK).unwrap(), None);
    for (kind, name) in SEALED_KINDS {
        let (from, to) = layout::all(*kind);
        let records = collect(disk, &from, &to, usize::MAX).unwrap();
        assert!(!records.is_empty(), "no {name}");
        for (_, sealed) in records {
            assert_eq!(*Parts::of(&sealed).unwrap().id, generations[0].id, "{name}");
        }
    }
}

#[tokio::test]
async fn a_rotation_leaves_one_new_generation_and_everything_readable() {
    let disk = MemoryDisk::default();
    filled(&disk, 300).await;
    let (store, mut outbox) = start(&disk, root(1));
    let before = store.key_status().unwrap();
    assert_eq!((before.generation, before.pending, before.last_rotation), (1, 0, None));
    let rotated = store.rotate_key().await.unwrap();
    assert_eq!(rotated.generation, 2);
    assert!(rotated.records >= 301, "300 credentials and the data keys: {rotated:?}");
    let after = store.key_status().unwrap();
    assert_eq!((after.generation, &after.id, after.pending), (2, &rotated.id, 0));
    assert_ne!(after.id, before.id);
    assert!(after.last_rotation.is_some());
    expect_one_generation(&disk);
    expect_readable(&store, &mut outbox, 300).await;
    store.close().await.unwrap();
    drop(outbox);
    let (store, mut outbox) = start(&disk, root(1));
    expect_readable(&store, &mut outbox, 300).await;
    assert_eq!(store.key_status().unwrap(), after);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_rotation_leaves_everything_readable_and_is_finished_later() {
    const ACCOUNTS: u64 = 200;
    let template = MemoryDisk::default();
    filled(&template, ACCOUNTS).await;
    let mut died = 0;
    for writes in 0.. {
        for kept in [0, 1, usize::MAX] {
            let disk = template.copy();
            let (store, outbox) = start(&disk, root(1));
            disk.fail_after(writes);
            let outcome = store.rotate_key().await;
            let _ = store.close().await;
            drop(outbox);
            disk.crash(kept);
            let (store, mut outbox) = start(&disk, root(1));
            expect_readable(&store, &mut outbox, ACCOUNTS).await;
            store.shared_settled().await;
            expect_one_generation(&disk);
            store.close().await.unwrap();
            if outcome.is_ok() {
                assert!(died > 5, "it died only {died} times");
                return;
            }
            died += 1;
        }
    }
}

#[tokio::test]
async fn commits_during_a_rotation_are_never_taken_back() {
    let disk = MemoryDisk::default();
    filled(&disk, 300).await;
    let (store, outbox) = start(&disk, root(1));
    let writing = async {
        for content in 10..60 {
            for id in [0, 150, 299] {
                store.commit(put(id, content)).await.unwrap();
                let read = store.credentials(AuthKeyId(id)).unwrap();
                assert_eq!(read, Some(credentials(id, content)));
            }
        }
    };
    let rotating = async {
        for _ in 0..5 {
            store.rotate_key().await.unwrap();
        }
    };
    tokio::join!(writing, rotating);
    for id in [0, 150, 299] {
        assert_eq!(store.credentials(AuthKeyId(id)).unwrap(), Some(credentials(id, 59)));
    }
    assert_eq!(store.key_status().unwrap().generation, 6);
    expect_one_generation(&disk);
    store.close().await.unwrap();
    drop(outbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_while_keys_retire_finds_every_record() {
    let disk = MemoryDisk::default();
    filled(&disk, 50).await;
    let (store, outbox) = start(&disk, root(1));
    let reader = store.clone();
    let end = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = Arc::clone(&end);
    let reading = tokio::task::spawn_blocking(move || {
        while !ended.load(std::sync::atomic::Ordering::Relaxed) {
            for id in 0..50 {
                assert_eq!(reader.credentials(AuthKeyId(id)).unwrap(), Some(credentials(id, 7)));
            }
        }
    });
    for _ in 0..40 {
        store.rotate_key().await.unwrap();
    }
    end.store(true, std::sync::atomic::Ordering::Relaxed);
    reading.await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
}

#[tokio::test]
async fn a_rotation_that_nobody_waits_for_any_more_does_not_confuse_the_next() {
    let disk = MemoryDisk::default();
    filled(&disk, 100).await;
    let (store, mut outbox) = start(&disk, root(1));
    for round in 0..20 {
        let patience = std::time::Duration::from_micros(50 * round);
        let _ = tokio::time::timeout(patience, store.rotate_key()).await;
        let outcome = store.rotate_key().await;
        assert!(
            matches!(outcome, Ok(_) | Err(RotateError::Unfinished(_))),
            "round {round}: {outcome:?}"
        );
    }
    store.rotate_key().await.unwrap();
    expect_readable(&store, &mut outbox, 100).await;
    expect_one_generation(&disk);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_generation_that_comes_too_late_is_turned_away_and_replaces_none() {
    let disk = MemoryDisk::default();
    filled(&disk, 3).await;
    let (store, mut outbox) = start(&disk, root(1));
    let keys = &store.shared.keys;
    let late =
        generation::Fresh::draw(&keys.root(), 2, crate::protocol::values::ids::UnixMillis(1));
    store.rotate_key().await.unwrap();
    let refused = rotation::adopt(&*store.shared, late.unwrap(), vec![], None).await.unwrap_err();
    assert!(refused.to_string().contains("another rotation came first"), "{refused}");
    store.rotate_key().await.unwrap();
    expect_readable(&store, &mut outbox, 3).await;
    assert_eq!(store.key_status().unwrap().generation, 3);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_rotation_of_a_closed_or_broken_store_says_so() {
    let disk = MemoryDisk::default();
    filled(&disk, 1).await;
    let (store, outbox) = start(&disk, root(1));
    store.clone().close().await.unwrap();
    let refused = store.rotate_key().await.unwrap_err();
    assert!(matches!(refused, RotateError::Unchanged(StoreError::Stopped(CommitError::Closed))));
    drop((store, outbox));
    let (store, outbox) = start(&disk, root(1));
    disk.fail_after(0);
    let failed = store.rotate_key().await.unwrap_err().to_string();
    assert!(failed.contains("no space left") && failed.contains("readable"), "{failed}");
    drop(outbox);
}

#[tokio::test]
async fn a_damaged_record_does_not_keep_the_others_under_old_keys() {
    let disk = MemoryDisk::default();
    filled(&disk, 3).await;
    let record_key = layout::account(kind::CREDENTIALS, AuthKeyId(1));
    let (store, outbox) = start(&disk, root(1));
    let mut batch = WriteBatch::default();
    let mut sealed = disk.get(&record_key).unwrap().unwrap();
    sealed[30] ^= 1;
    batch.put(record_key, sealed);
    store.shared.engine.apply(batch).unwrap();
    store.rotate_key().await.unwrap();
    assert_eq!(store.credentials(AuthKeyId(2)).unwrap(), Some(credentials(2, 7)));
    assert!(matches!(store.credentials(AuthKeyId(1)), Err(StoreError::Damaged { .. })));
    assert_eq!(stored(&disk).unwrap().len(), 1);
    store.close().await.unwrap();
    drop(outbox);
}

/// A store as a program of that `format` left it: the root seals records itself.
fn of_format(format: u32, accounts: u64) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let master = MasterKey::new(&[1; 32]);
    let mut batch = WriteBatch::default();
    batch.put(layout::FORMAT.to_vec(), format.to_be_bytes().to_vec());
    let check = master.seal(layout::KEY_CHECK, KEY_CHECK_TEXT).unwrap();
    batch.put(layout::KEY_CHECK.to_vec(), check);
    for id in 0..accounts {
        let record_key = layout::account(kind::CREDENTIALS, AuthKeyId(id));
        let plain = encoding::credentials_to_plain(&credentials(id, 7));
        batch.put(record_key.clone(), master.seal(&record_key, &plain).unwrap());
        batch.put(layout::account(kind::ACCOUNT, AuthKeyId(id)), encoding::to_json(&account(id)));
    }
    // Those programs had none, but it makes no difference to what is taken over.
    for op in sealed_rows() {
        let (key, json) = match op {
            Op::PutRow(row) => (layout::row(kind::of(row.table), &row.owner, &row.id.0), row.json),
            Op::PutShared(row) => (layout::shared(kind::of_shared(row.table), &row.id.0), row.json),
            _ => continue,
        };
        batch.put(key.clone(), master.seal(&key, &encoding::versioned(&json)).unwrap());
    }
    let record_key = layout::data_key(3);
    let (keyring, wrapped) = Keyring::new(&master, 3, &record_key).unwrap();
    batch.put(record_key, wrapped);
    let content = crate::store::journal::segment::Content {
        first: 1,
        at: crate::protocol::values::ids::UnixMillis(5),
        acknowledged: 0,
        before: 0,
        entries: &[Arc::new(event(77, 9))],
        cursors: &[],
    };
    crate::store::journal::segment::write(&mut batch, &keyring, &content).unwrap();
    let engine: Arc<dyn Engine> = match format {
        1 => Arc::new(disk.clone()),
        _ => Arc::new(ChecksummedEngine::open(Arc::new(disk.clone()), true).unwrap()),
    };
    engine.apply(batch).unwrap();
    engine.sync().unwrap();
    disk
}

#[tokio::test]
async fn stores_without_generations_are_taken_over_whatever_crashes_when() {
    for format in [1, 2] {
        for writes in 0.. {
            let disk = of_format(format, 150);
            disk.fail_after(writes);
            let opened = Store::start(Arc::new(disk.clone()), root(1), hurried());
            let mut is_through = false;
            if let Ok((store, outbox)) = opened {
                is_through = store.try_settled().await;
                let _ = store.close().await;
                drop(outbox);
            }
            disk.crash(1);
            let (store, mut outbox) = start(&disk, root(1));
            expect_readable(&store, &mut outbox, 150).await;
            store.shared_settled().await;
            expect_one_generation(&disk);
            assert_eq!(disk.get(layout::FORMAT).unwrap().unwrap(), [0, 0, 0, 4]);
            assert!(disk.get(layout::CHECKSUM).unwrap().is_some());
            store.close().await.unwrap();
            if is_through {
                assert!(writes > 4, "format {format}: it died at {writes} writes only");
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_is_still_under_an_old_key_is_counted() {
    let disk = of_format(2, 150);
    let old = MasterKey::new(&[1; 32]).id;
    assert_eq!(rotation::pending(&disk, &old).unwrap(), 0);
    assert_eq!(
        rotation::pending(&disk, &[0; 8]).unwrap(),
        161,
        "and a row of each sealed table, and a data key"
    );
    let (store, outbox) = start(&disk, root(1));
    store.shared_settled().await;
    let status = store.key_status().unwrap();
    assert_eq!((status.pending, status.generation), (0, 1));
    assert!(status.last_rotation.is_some());
    assert!(rotation::pending(&disk, &old).unwrap() >= 161);
    store.close().await.unwrap();
    drop(outbox);
}

#[test]
fn a_store_without_generations_still_knows_a_wrong_root() {
    let refused = Store::start(Arc::new(of_format(2, 1)), root(9), hurried()).err().unwrap();
    assert!(matches!(refused, StoreError::WrongKey { .. }), "{refused}");
    assert!(refused.to_string().contains("secrets.previous_key_file"), "{refused}");
}

#[test]
fn a_generation_that_lies_in_the_place_of_another_is_refused() {
    let disk = MemoryDisk::default();
    drop(start(&disk, root(1)));
    let (from, to) = layout::all(kind::GENERATION);
    let (record_key, record) = collect(&disk, &from, &to, 1).unwrap().remove(0);
    let generation = generation::Generation::from_bytes(&record).unwrap();
    let opener = root::Root::Local { key: Box::new(MasterKey::new(&[1; 32])), name: "it".into() };
    assert!(generation.open(&opener).is_ok());
    for at in [1, 5, 13, 21, 29, record.len() - 1] {
        let mut changed = record.clone();
        changed[at] ^= 1;
        let changed = generation::Generation::from_bytes(&changed).unwrap();
        let opened = changed.open(&opener);
        assert!(
            opened.is_err() || at == 21,
            "byte {at}; the root's id is checked by who looks it up"
        );
    }
    let mut batch = WriteBatch::default();
    batch.delete(record_key);
    batch.put(layout::generation(2), record);
    disk.apply(batch).unwrap();
    let refused = stored(&disk).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { record: "key generation", .. }));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, u8),
    Rotate,
    /// Dies at that write, with so many of the writes that were not synced kept.
    CrashAt(u64, usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..40_u64, any::<u8>()).prop_map(|(id, content)| Step::Put(id, content)),
        2 => Just(Step::Rotate),
        2 => (0..12_u64, 0..4_usize).prop_map(|(writes, kept)| Step::CrashAt(writes, kept)),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..25)
}

/// Runs steps on a medium, and judges after each opening.
async fn run(steps: Vec<Step>) {
    let disk = MemoryDisk::default();
    let mut model: BTreeMap<u64, u8> = BTreeMap::new();
    let (mut store, mut outbox) = start(&disk, root(1));
    for step in steps {
        match step {
            Step::Put(id, content) => {
                store.commit(put(id, content)).await.unwrap();
                model.insert(id, content);
            }
            Step::Rotate => drop(store.rotate_key().await.unwrap()),
            Step::CrashAt(writes, kept) => {
                disk.fail_after(writes);
                let _ = store.rotate_key().await;
                let _ = store.close().await;
                drop(outbox);
                disk.crash(kept);
                (store, outbox) = start(&disk, root(1));
            }
            Step::Reopen => {
                store.close().await.unwrap();
                drop(outbox);
                (store, outbox) = start(&disk, root(1));
            }
        }
        for (id, content) in &model {
            let read = store.credentials(AuthKeyId(*id)).unwrap();
            assert_eq!(read, Some(credentials(*id, *content)));
        }
    }
    store.shared_settled().await;
    assert_eq!(stored(&disk).unwrap().len(), 1);
    assert_eq!(store.key_status().unwrap().pending, 0);
    store.close().await.unwrap();
    drop(outbox);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_put_rotated_and_crashed_stays_readable(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

impl Store {
    pub(super) async fn try_settled(&self) -> bool {
        rotation::until_complete(&*self.shared).await.is_ok()
    }

    pub(super) async fn shared_settled(&self) {
        assert!(self.try_settled().await, "the store ended before the rotation was through");
    }
}
