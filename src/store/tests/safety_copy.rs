//! What becomes of a database that is refused, and of starts that a crash came into: whatever lies
//! there, nothing of it that could be needed is lost, and the store says where it is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::damage::copy;
use super::*;
use crate::store::contract::DatabaseFiles;

/// A store at rest with one account in it.
struct StoreFolder {
    folder: tempfile::TempDir,
}

impl StoreFolder {
    async fn filled() -> Self {
        let folder = Self { folder: tempfile::tempdir().unwrap() };
        let (store, outbox) = Store::open(folder.options()).unwrap();
        let ops = vec![Op::PutAccount(account(1)), Op::Append(event(0, 5_000))];
        store.commit(ops).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
        folder.wait_for_sled();
        folder
    }

    fn options(&self) -> StoreOptions {
        StoreOptions::new(self.folder.path().join("state"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.options().path.join(name)
    }

    /// sled's threads outlive it for a moment.
    fn wait_for_sled(&self) {
        let file = fs::File::open(self.at("sled/db")).unwrap();
        file.lock().unwrap();
    }

    fn refusal(&self) -> StoreError {
        Store::open(self.options()).err().expect("the store opened")
    }

    /// Why it is refused as damaged, and what became of its files.
    fn damage(&self) -> (StoreError, DatabaseFiles) {
        match self.refusal() {
            StoreError::Refused { refusal, files } => (*refusal, files),
            other => panic!("it is refused for another reason: {other}"),
        }
    }

    fn garble(&self, name: &str) {
        let folder = self.at(name);
        let mut bytes = fs::read(&folder).unwrap();
        bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x5a);
        fs::write(folder, bytes).unwrap();
    }

    async fn expect_open(&self) {
        let (store, outbox) = Store::open(self.options()).unwrap();
        assert_eq!(store.load().unwrap().accounts, [account(1)]);
        store.close().await.unwrap();
        drop(outbox);
        self.expect_no_copies();
    }

    fn expect_no_copies(&self) {
        for name in ["sled.copying", "sled.before", "sled.done", "sled/changed"] {
            assert!(!self.at(name).exists(), "{name} is left");
        }
    }
}

/// Mode, owner and bytes of everything in a folder.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)> {
    let (mut found, mut waiting) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = waiting.pop() {
        let about = fs::metadata(&folder).unwrap();
        let mut bytes = Vec::new();
        if about.is_dir() {
            waiting.extend(fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            bytes = fs::read(&folder).unwrap();
        }
        found.insert(folder, (about.mode(), about.uid(), about.gid(), bytes));
    }
    found
}

#[tokio::test]
async fn a_damaged_database_is_put_back_with_its_modes_and_every_byte() {
    let folder = StoreFolder::filled().await;
    fs::set_permissions(folder.at("sled"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(folder.at("sled/db"), fs::Permissions::from_mode(0o640)).unwrap();
    let whole = fs::read(folder.at("sled/db")).unwrap();
    let cuts = [0, 1, whole.len() / 3, whole.len() / 2].map(|len| whole[..len].to_vec());
    for bytes in cuts {
        fs::write(folder.at("sled/db"), bytes).unwrap();
        let before = everything(&folder.options().path);
        let (refusal, files) = folder.damage();
        assert!(matches!(files, DatabaseFiles::AsFound), "{refusal}: {files}");
        assert!(before == everything(&folder.options().path), "{refusal}");
    }
    fs::write(folder.at("sled/db"), whole).unwrap();
    folder.expect_open().await;
}

#[tokio::test]
async fn a_database_that_is_fine_is_never_exchanged_whatever_else_is_refused() {
    let folder = StoreFolder::filled().await;
    let inode = fs::metadata(folder.at("sled")).unwrap().ino();
    let key = fs::read(folder.at("key")).unwrap();
    let before = everything(&folder.options().path);
    fs::remove_file(folder.at("key")).unwrap();
    assert!(matches!(folder.refusal(), StoreError::KeyMissing { .. }));
    fs::write(folder.at("key"), &key).unwrap();
    fs::set_permissions(folder.at("key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(folder.refusal(), StoreError::KeyExposed { .. }));
    fs::set_permissions(folder.at("key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(before == everything(&folder.options().path), "the database was not even opened");
    fs::write(folder.at("key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    assert!(matches!(folder.refusal(), StoreError::WrongKey { .. }));
    folder.expect_no_copies();
    assert_eq!(fs::metadata(folder.at("sled")).unwrap().ino(), inode);
    fs::write(folder.at("key"), &key).unwrap();
    folder.expect_open().await;
}

#[tokio::test]
async fn the_copy_of_a_start_that_was_killed_stays_until_the_store_has_opened() {
    let folder = StoreFolder::filled().await;
    copy(&folder.at("sled"), &folder.at("sled.before"));
    let kept = everything(&folder.at("sled.before"));
    let right = fs::read(folder.at("key")).unwrap();
    fs::write(folder.at("key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    assert!(matches!(folder.refusal(), StoreError::WrongKey { .. }));
    assert!(kept == everything(&folder.at("sled.before")));
    fs::write(folder.at("key"), right).unwrap();
    let whole = fs::read(folder.at("sled/db")).unwrap();
    folder.garble("sled/db");
    let (refusal, files) = folder.damage();
    let told =
        matches!(&files, DatabaseFiles::Earlier { copy } if *copy == folder.at("sled.before"));
    assert!(told, "{refusal}: {files}");
    assert!(kept == everything(&folder.at("sled.before")));
    folder.wait_for_sled();
    fs::write(folder.at("sled/db"), whole).unwrap();
    folder.expect_open().await;
}

#[tokio::test]
async fn no_new_database_is_made_where_a_copy_waits_to_be_moved_back() {
    let folder = StoreFolder::filled().await;
    fs::rename(folder.at("sled"), folder.at("sled.before")).unwrap();
    for marker in [true, false] {
        if !marker {
            fs::remove_file(folder.at("format")).unwrap();
        }
        let before = everything(&folder.options().path);
        let refusal = folder.refusal().to_string();
        let expected = format!("move that to {}", folder.at("sled").display());
        assert!(refusal.contains(&expected), "{refusal}");
        let looked = examine(&folder.options()).err().map(|error| error.to_string());
        assert_eq!(looked, Some(refusal));
        assert!(before == everything(&folder.options().path));
    }
    fs::rename(folder.at("sled.before"), folder.at("sled")).unwrap();
    folder.expect_open().await;
}

#[tokio::test]
async fn a_put_back_that_a_crash_came_into_is_brought_to_its_end() {
    for exchanged in [false, true] {
        let folder = StoreFolder::filled().await;
        let (changed, found) = match exchanged {
            false => ("sled", "sled.before"),
            true => ("sled.before", "sled"),
        };
        copy(&folder.at("sled"), &folder.at("sled.before"));
        folder.garble(&format!("{changed}/db"));
        fs::write(folder.at(changed).join("changed"), "").unwrap();
        let kept = fs::read(folder.at(found).join("db")).unwrap();
        // Even when it is refused again.
        let right = fs::read(folder.at("key")).unwrap();
        fs::write(folder.at("key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
        assert!(matches!(folder.refusal(), StoreError::WrongKey { .. }));
        assert!(fs::read(folder.at("sled/db")).unwrap().starts_with(&kept[..1_000]));
        fs::write(folder.at("key"), right).unwrap();
        folder.expect_open().await;
    }
}

#[tokio::test]
async fn a_copy_that_was_not_finished_and_one_on_its_way_out_are_taken_away() {
    let folder = StoreFolder::filled().await;
    for name in ["sled.copying", "sled.done"] {
        fs::create_dir(folder.at(name)).unwrap();
        fs::write(folder.at(name).join("db"), "half").unwrap();
    }
    folder.expect_open().await;
}

#[tokio::test]
async fn without_a_copy_the_refusal_does_not_claim_that_nothing_was_changed() {
    let folder = StoreFolder::filled().await;
    // Counted with the database, and takes no room.
    let large = fs::File::create(folder.at("sled/large")).unwrap();
    large.set_len(300 << 20).unwrap();
    folder.garble("sled/db");
    let (refusal, files) = folder.damage();
    assert!(matches!(files, DatabaseFiles::NoCopy { .. }), "{refusal}: {files}");
    let told = StoreError::Refused { refusal: Box::new(refusal), files }.to_string();
    assert!(told.contains("opening it may have changed its files"), "{told}");
    assert!(told.contains("300 MiB"), "{told}");
    folder.expect_no_copies();
}

#[tokio::test]
async fn a_look_leaves_the_store_to_a_daemon_that_starts_and_is_not_misled_by_it() {
    let folder = StoreFolder::filled().await;
    for round in 0..3 {
        let looks = std::thread::spawn({
            let options = folder.options();
            move || (0..10).map(|_| examine(&options)).collect::<Vec<_>>()
        });
        let mut number = round * 1_000;
        while !looks.is_finished() {
            let Ok((store, outbox)) = Store::open(folder.options()) else { continue };
            number += 1;
            store.commit(vec![Op::Append(event(number, 50))]).await.unwrap();
            store.close().await.unwrap();
            drop(outbox);
        }
        for looked in looks.join().unwrap() {
            let is_sound =
                matches!(looked, Ok(Examined::Whole { .. }) | Err(StoreError::Busy { .. }));
            assert!(is_sound, "{looked:?}");
        }
    }
}

#[tokio::test]
async fn the_witness_is_noted_though_there_is_nothing_to_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (store, _outbox) = Store::open(StoreOptions::new(&path)).unwrap();
    store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
    let done = DurablePosition { batches: store.shared.engine.count(), next_seq: 1 };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while Witness::read(&path) != done {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", Witness::read(&path));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_first_segment_that_is_missing_is_noticed_before_and_after_a_checkpoint() {
    for checkpoint in [false, true] {
        let disk = MemoryDisk::default();
        let start = |disk: &MemoryDisk| {
            let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
            Store::start(Arc::new(disk.clone()), key, Pacing::default())
        };
        let mut opened = start(&disk).unwrap();
        if checkpoint {
            opened.0.commit(vec![Op::Append(event(1, 9))]).await.unwrap();
            opened.0.close().await.unwrap();
            opened = start(&disk).unwrap();
        }
        let (store, _outbox) = opened;
        for number in 2..5 {
            store.commit(vec![Op::Append(event(number, 9))]).await.unwrap();
        }
        // As a crash leaves it: no checkpoint comes after these.
        let pairs = collect(&disk, &[0], &[0xff], usize::MAX).unwrap();
        let first = layout::seq(kind::SEGMENT, if checkpoint { 2 } else { 1 });
        for missing in [false, true] {
            let mut batch = WriteBatch::default();
            for (key, value) in &pairs {
                if !(missing && *key == first) {
                    batch.put(key.clone(), value.clone());
                }
            }
            assert_eq!(batch.len(), pairs.len() - usize::from(missing));
            let copy = MemoryDisk::default();
            copy.apply(batch).unwrap();
            let found = start(&copy).err();
            let is_right = match &found {
                Some(StoreError::Damaged { record: "outbox", .. }) => missing,
                found => found.is_none() && !missing,
            };
            assert!(is_right, "checkpoint {checkpoint}, missing {missing}: {found:?}");
        }
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_put_back_is_told_and_nothing_is_deleted() {
    let folder = StoreFolder::filled().await;
    let database = folder.at("sled");
    let found = fs::read(folder.at("sled/db")).unwrap();
    let copy = SafetyCopy::of(&database);
    folder.garble("sled/db");
    let changed = everything(&database);
    // Whoever still has it open keeps it from being moved.
    let open = fs::File::open(folder.at("sled/db")).unwrap();
    open.lock().unwrap();
    let refusal = copy.restore_after(StoreError::Holes);
    let StoreError::Refused { files: DatabaseFiles::Aside { copy, why }, .. } = &refusal else {
        panic!("it was put back: {refusal}");
    };
    assert!(why.contains("in use"), "{why}");
    assert!(refusal.to_string().contains(&copy.display().to_string()), "{refusal}");
    assert!(fs::read(copy.join("db")).unwrap() == found);
    assert!(changed == everything(&database), "half of it was done");
    drop(open);
    // As the text says: what lies there is moved back by hand.
    fs::remove_dir_all(&database).unwrap();
    fs::rename(copy, &database).unwrap();
    folder.expect_open().await;
}
