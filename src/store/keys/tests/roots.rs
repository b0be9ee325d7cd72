//! Roots: how another one takes the folder of one, and what a service that keeps one is needed for.

use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::SecretText;

use super::super::seal::*;
use super::super::*;
use super::rotating::{credentials, expect_one_generation, expect_readable, filled, put, start};
use crate::store::Store;
use crate::store::contract::{KeyOrigin, RemoteRoot, RootError, RotateError, StoreError};
use crate::store::engines::MemoryDisk;
use crate::store::tests::{event, hurried, sealed_rows};
use crate::store::{Op, StoreOptions};

/// A root that a service keeps, which may be out of order.
struct Service {
    key: MasterKey,
    trouble: Mutex<Option<&'static str>>,
    calls: Mutex<u32>,
}

impl Service {
    fn new(number: u8) -> Arc<Self> {
        let key = MasterKey::new(&[number; 32]);
        Arc::new(Self { key, trouble: Mutex::new(None), calls: Mutex::new(0) })
    }

    fn call(&self) -> Result<(), RootError> {
        *self.calls.lock().unwrap() += 1;
        let trouble = *self.trouble.lock().unwrap();
        trouble.map_or(Ok(()), |why| Err(RootError(why.into())))
    }
}

impl RemoteRoot for Service {
    fn name(&self) -> String {
        "the service".into()
    }

    fn identity(&self) -> String {
        format!("{:?}", self.key.id)
    }

    fn wrap(&self, plain: &[u8]) -> Result<Vec<u8>, RootError> {
        self.call()?;
        Ok(self.key.seal(b"", plain).unwrap())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, RootError> {
        self.call()?;
        self.key.open(b"", wrapped).map_err(|_| RootError("it is not of this key".into()))
    }
}

/// A store on disk.
struct StoreFolder(tempfile::TempDir);

impl StoreFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn options(&self, key: KeyOrigin, previous: &[KeyOrigin]) -> StoreOptions {
        let mut options = StoreOptions::new(self.0.path().join("state"));
        (options.key, options.previous_keys) = (key, previous.to_vec());
        options
    }

    async fn visit(&self, key: KeyOrigin, previous: &[KeyOrigin]) -> Result<(), StoreError> {
        let (store, mut outbox) = Store::open(self.options(key, previous))?;
        expect_readable(&store, &mut outbox, 3).await;
        store.shared_settled().await;
        assert_eq!(store.key_status().unwrap().pending, 0);
        store.close().await
    }

    async fn fill(&self, key: KeyOrigin) {
        let (store, outbox) = Store::open(self.options(key, &[])).unwrap();
        for id in 0..3 {
            store.commit(put(id, 7)).await.unwrap();
        }
        store.commit([sealed_rows(), vec![Op::Append(event(77, 9))]].concat()).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("state").join(name)
    }
}

fn text(number: u8) -> KeyOrigin {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode([number; 32]);
    KeyOrigin::Text { name: "the variable", text: SecretText::new(text) }
}

#[tokio::test]
async fn another_root_takes_over_when_the_previous_one_is_named() {
    let folder = StoreFolder::new();
    let service = Service::new(5);
    let remote = KeyOrigin::Remote(service.clone());
    folder.fill(KeyOrigin::Own).await;
    let refused = folder.visit(text(2), &[]).await.unwrap_err();
    assert!(matches!(refused, StoreError::WrongKey { .. }), "{refused}");
    folder.visit(text(2), &[text(9), KeyOrigin::Own]).await.unwrap();
    assert!(matches!(folder.visit(KeyOrigin::Own, &[]).await, Err(StoreError::WrongKey { .. })));
    folder.visit(text(2), &[]).await.unwrap();
    folder.visit(remote.clone(), &[text(2)]).await.unwrap();
    folder.visit(remote.clone(), &[]).await.unwrap();
    *service.trouble.lock().unwrap() = Some("it is sealed; unseal it");
    let refused = folder.visit(remote.clone(), &[]).await.unwrap_err().to_string();
    assert!(refused.contains("the service does not unlock the store: it is sealed"), "{refused}");
    *service.trouble.lock().unwrap() = None;
    folder.visit(text(3), &[remote]).await.unwrap();
    folder.visit(text(3), &[]).await.unwrap();
}

#[tokio::test]
async fn a_service_is_needed_at_the_start_and_for_rotations_only() {
    let folder = StoreFolder::new();
    let service = Service::new(5);
    let (store, outbox) =
        Store::open(folder.options(KeyOrigin::Remote(service.clone()), &[])).unwrap();
    let calls = *service.calls.lock().unwrap();
    *service.trouble.lock().unwrap() = Some("it does not answer");
    store.commit(put(1, 7)).await.unwrap();
    assert_eq!(store.credentials(AuthKeyId(1)).unwrap(), Some(credentials(1, 7)));
    assert_eq!(*service.calls.lock().unwrap(), calls);
    let refused = store.rotate_key().await.unwrap_err();
    assert!(matches!(&refused, RotateError::Unchanged(_)), "{refused}");
    assert!(refused.to_string().contains("it does not answer"), "{refused}");
    let not_ours = store.rotate_root().await.unwrap_err().to_string();
    assert!(not_ours.contains("the service") && not_ours.contains("previous_key_file"));
    *service.trouble.lock().unwrap() = None;
    assert_eq!(store.rotate_key().await.unwrap().generation, 2);
    assert_eq!(store.credentials(AuthKeyId(1)).unwrap(), Some(credentials(1, 7)));
    store.close().await.unwrap();
    drop(outbox);
}

#[tokio::test]
async fn a_leaked_key_file_is_replaced_and_opens_nothing_any_more() {
    let folder = StoreFolder::new();
    folder.fill(KeyOrigin::Own).await;
    let leaked = std::fs::read(folder.file("key")).unwrap();
    let (store, mut outbox) = Store::open(folder.options(KeyOrigin::Own, &[])).unwrap();
    for generation in [2, 3] {
        assert_eq!(store.rotate_root().await.unwrap().generation, generation);
        assert!(!folder.file("key.next").exists());
    }
    expect_readable(&store, &mut outbox, 3).await;
    store.close().await.unwrap();
    drop(outbox);
    assert_ne!(std::fs::read(folder.file("key")).unwrap(), leaked);
    folder.visit(KeyOrigin::Own, &[]).await.unwrap();
    std::fs::write(folder.file("key"), leaked).unwrap();
    let refused = folder.visit(KeyOrigin::Own, &[]).await.unwrap_err();
    assert!(matches!(refused, StoreError::WrongKey { .. }), "{refused}");
}

#[tokio::test]
async fn a_crash_while_the_key_file_is_replaced_leaves_a_store_that_opens() {
    let folder = StoreFolder::new();
    folder.fill(KeyOrigin::Own).await;
    let old = std::fs::read(folder.file("key")).unwrap();
    let (store, outbox) = Store::open(folder.options(KeyOrigin::Own, &[])).unwrap();
    store.rotate_root().await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
    let new = std::fs::read(folder.file("key")).unwrap();
    // The generations were wrapped by the new key, and the file was not put in its folder.
    std::fs::rename(folder.file("key"), folder.file("key.next")).unwrap();
    write_private(&folder.file("key"), &old);
    folder.visit(KeyOrigin::Own, &[]).await.unwrap();
    assert_eq!(std::fs::read(folder.file("key")).unwrap(), new);
    assert!(!folder.file("key.next").exists());
    // The next key was written, and nothing was wrapped by it; or only half of it was written.
    for left in [&old[..], &old[..20], b""] {
        write_private(&folder.file("key.next"), left);
        folder.visit(KeyOrigin::Own, &[]).await.unwrap();
        assert_eq!(std::fs::read(folder.file("key")).unwrap(), new);
        assert!(!folder.file("key.next").exists());
    }
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_change_of_roots_leaves_a_store_that_opens() {
    let template = MemoryDisk::default();
    let folder = tempfile::tempdir().unwrap();
    let own = || RootKey::read_first(folder.path(), &KeyOrigin::Own, &[], false).unwrap();
    let (store, outbox) = start(&template, own());
    for id in 0..150 {
        store.commit(put(id, 7)).await.unwrap();
    }
    store.commit([sealed_rows(), vec![Op::Append(event(77, 9))]].concat()).await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
    let key = std::fs::read(folder.path().join("key")).unwrap();
    for writes in 0.. {
        let disk = template.copy();
        write_private(&folder.path().join("key"), &key);
        let (store, outbox) = start(&disk, own());
        disk.fail_after(writes);
        let outcome = store.rotate_root().await;
        let _ = store.close().await;
        drop(outbox);
        disk.crash((writes % 2) as usize);
        let (store, mut outbox) = start(&disk, own());
        expect_readable(&store, &mut outbox, 150).await;
        store.shared_settled().await;
        expect_one_generation(&disk);
        assert!(!folder.path().join("key.next").exists());
        store.close().await.unwrap();
        if outcome.is_ok() {
            assert!(writes > 4, "it died at {writes} writes only");
            return;
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_write_while_another_root_takes_over_leaves_a_store_that_opens() {
    let template = MemoryDisk::default();
    filled(&template, 150).await;
    let other = |previous: &[KeyOrigin]| {
        RootKey::read_first(std::path::Path::new("nowhere"), &text(2), previous, true).unwrap()
    };
    for writes in 0.. {
        let disk = template.copy();
        disk.fail_after(writes);
        let opened = Store::start(Arc::new(disk.clone()), other(&[text(1)]), hurried());
        let mut is_through = false;
        if let Ok((store, outbox)) = opened {
            is_through = store.try_settled().await;
            let _ = store.close().await;
            drop(outbox);
        }
        disk.crash((writes % 2) as usize);
        let (store, mut outbox) = start(&disk, other(&[text(1)]));
        expect_readable(&store, &mut outbox, 150).await;
        store.shared_settled().await;
        expect_one_generation(&disk);
        store.close().await.unwrap();
        drop(outbox);
        let (store, mut outbox) = start(&disk, other(&[]));
        expect_readable(&store, &mut outbox, 150).await;
        store.close().await.unwrap();
        if is_through {
            assert!(writes > 4, "it died at {writes} writes only");
            return;
        }
    }
}

fn write_private(path: &std::path::Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
