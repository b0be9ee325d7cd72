//! What opening refuses, and how the store ends when its disk does.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn options(&self) -> StoreOptions {
        StoreOptions::new(self.dir.path().join("state"))
    }

    fn refusal(&self) -> StoreError {
        match Store::open(self.options()) {
            Ok(_) => panic!("the store opened"),
            Err(error) => error,
        }
    }
}

async fn filled(fixture: &Fixture) {
    let (store, outbox) = Store::open(fixture.options()).unwrap();
    let secret = AuthKey::new(*b"0123456789abcdef".repeat(16).first_chunk().unwrap());
    let credentials = Credentials { account: AuthKeyId(1), dc_id: 2, auth_key: secret };
    let mut entry = event(1, 9);
    entry.body = b"a very private text".to_vec();
    let ops = vec![Op::PutAccount(account(1)), Op::PutCredentials(credentials), Op::Append(entry)];
    store.commit(ops).await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
}

#[tokio::test]
async fn a_second_opening_is_refused_with_advice() {
    let fixture = Fixture::new();
    let (store, outbox) = Store::open(fixture.options()).unwrap();
    let refusal = fixture.refusal();
    assert!(matches!(refusal, StoreError::Busy { .. }), "{refusal}");
    assert!(refusal.to_string().contains("another telewarden runs on this store"));
    store.close().await.unwrap();
    drop(outbox);
    assert!(Store::open(fixture.options()).is_ok());
}

#[tokio::test]
async fn the_store_is_private_and_its_files_tell_no_secret() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.options().path).unwrap();
    filled(&fixture).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = fixture.options().path;
    assert_eq!(mode(&path), 0o700, "an open directory is closed");
    assert_eq!(mode(&path.join("key")), 0o600);
    let mut files = vec![path.clone()];
    let mut seen = 0;
    while let Some(file) = files.pop() {
        if file.is_dir() {
            files.extend(std::fs::read_dir(&file).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&file).unwrap();
        for secret in [&b"0123456789abcdef"[..], b"private"] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{file:?}");
        }
        seen += bytes.len();
    }
    assert!(seen > 100, "there was something to look at");
}

#[tokio::test]
async fn another_key_or_none_is_refused_and_changes_nothing() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    let key = fixture.options().path.join("key");
    let right = std::fs::read(&key).unwrap();
    std::fs::write(&key, b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    let refusal = fixture.refusal();
    assert!(matches!(refusal, StoreError::WrongKey { .. }), "{refusal}");
    std::fs::remove_file(&key).unwrap();
    let refusal = fixture.refusal();
    assert!(matches!(refusal, StoreError::KeyMissing { .. }), "{refusal}");
    assert!(!key.exists(), "no new key takes the place of a lost one");
    std::fs::write(&key, right).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (store, mut outbox) = Store::open(fixture.options()).unwrap();
    assert!(store.credentials(AuthKeyId(1)).unwrap().is_some());
    assert_eq!(outbox.next(1).await[0].1.body, b"a very private text");
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_refused() {
    let disk = MemoryDisk::default();
    let mut batch = WriteBatch::default();
    batch.put(layout::FORMAT.to_vec(), 5_u32.to_be_bytes().to_vec());
    disk.apply(batch).unwrap();
    let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
    let refusal = Store::start(Arc::new(disk.clone()), key, Pacing::default()).err().unwrap();
    assert!(matches!(refusal, StoreError::NewerFormat { found: 5, known: 4 }));
    assert!(disk.last(&[0], b"!f").unwrap().is_none(), "nothing was written");
}

#[tokio::test]
async fn a_store_from_before_campaigns_is_taken_over_and_closed_to_older_programs() {
    let disk = MemoryDisk::default();
    let start = || {
        let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
        Store::start(Arc::new(disk.clone()), key, Pacing::default()).unwrap()
    };
    let (store, outbox) = start();
    store.commit(vec![Op::PutAccount(account(1)), Op::put_row(&login())]).await.unwrap();
    let mut batch = WriteBatch::default();
    batch.put(layout::FORMAT.to_vec(), 3_u32.to_be_bytes().to_vec());
    store.shared.engine.apply(batch).unwrap();
    store.close().await.unwrap();
    drop(outbox);
    let (store, _outbox) = start();
    assert_eq!(store.load().unwrap().accounts, [account(1)]);
    assert_eq!(store.load().unwrap().logins, [login()]);
    assert_eq!(disk.get(layout::FORMAT).unwrap().unwrap(), [0, 0, 0, 4]);
}

#[tokio::test]
async fn a_store_that_lost_its_tally_is_refused() {
    let disk = MemoryDisk::default();
    let start = || {
        let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
        Store::start(Arc::new(disk.clone()), key, Pacing::default())
    };
    let (store, outbox) = start().unwrap();
    store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
    let mut batch = WriteBatch::default();
    batch.delete(layout::CHECKSUM.to_vec());
    disk.apply(batch).unwrap();
    assert!(matches!(start().err(), Some(StoreError::Damaged { record: "tally", .. })));
}

#[tokio::test]
async fn a_damaged_database_is_told_with_its_path_and_advice() {
    for stride in [1, 97] {
        let fixture = Fixture::new();
        filled(&fixture).await;
        let db = fixture.options().path.join("sled").join("db");
        let mut bytes = std::fs::read(&db).unwrap();
        bytes.iter_mut().step_by(stride).for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&db, bytes).unwrap();
        let refusal = fixture.refusal();
        assert!(refusal.to_string().contains("state") && refusal.to_string().contains("backup"));
    }
}

#[tokio::test]
async fn a_marker_of_a_newer_program_keeps_the_database_shut() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    let path = fixture.options().path;
    std::fs::write(path.join("format"), "telewarden store, format 7\n").unwrap();
    std::fs::remove_dir_all(path.join("sled")).unwrap();
    assert!(matches!(fixture.refusal(), StoreError::NewerFormat { found: 7, .. }));
    assert!(!path.join("sled").exists());
}

#[tokio::test]
async fn a_full_disk_stops_the_store_with_its_cause_and_keeps_what_was_confirmed() {
    let disk = MemoryDisk::default();
    let start = || {
        let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
        Store::start(Arc::new(disk.clone()), key, Pacing::default()).unwrap()
    };
    let (store, outbox) = start();
    store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
    disk.fail_after(0);
    let refused = store.commit(vec![Op::PutAccount(account(2))]).await;
    assert!(
        matches!(&refused, Err(CommitError::Failed { cause, .. }) if cause.contains("no space"))
    );
    assert_eq!(store.commit(vec![]).await, refused);
    assert_eq!(Err(store.failed().await), refused);
    assert!(store.stats().failed.unwrap().contains("no space"));
    assert!(matches!(store.close().await, Err(StoreError::Stopped(_))));
    drop(outbox);
    disk.crash(0);
    let (store, _outbox) = start();
    assert_eq!(store.load().unwrap().accounts, [account(1)]);
}
