//! Key files: made, read, refused.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::super::key_file::KeyFile;
use super::super::seal::*;
use crate::store::contract::{KeyOrigin, StoreError};

fn source(dir: &tempfile::TempDir) -> KeyFile {
    KeyFile::own(dir.path())
}

#[test]
fn a_new_key_is_private_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let made = source(&dir).load(true).unwrap();
    let mode = fs::metadata(dir.path().join("key")).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let sealed = made.seal(b"place", b"secret").unwrap();
    assert!(source(&dir).load(false).unwrap().open(b"place", &sealed).is_ok());
}

#[test]
fn a_missing_key_is_made_only_for_an_empty_store_and_the_default_place() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(source(&dir).load(false), Err(StoreError::KeyMissing { .. })));
    let configured = KeyFile { configured: true, ..source(&dir) };
    assert!(matches!(configured.load(true), Err(StoreError::KeyNotMade { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    source(&dir).load(true).unwrap();
    let path = dir.path().join("key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = source(&dir).load(false);
    assert!(matches!(refused, Err(StoreError::KeyExposed { mode: 0o640, .. })));
}

#[test]
fn a_file_or_a_text_that_holds_no_key_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    for text in ["", "hello", "AAAA", &"A".repeat(200)] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(source(&dir).load(false), Err(StoreError::KeyMalformed { .. })));
        let text = crate::protocol::values::secret::SecretText::new(text.to_owned());
        let refused = KeyOrigin::Text { name: "the variable", text }.check().unwrap_err();
        assert!(refused.to_string().starts_with("the variable does not hold a key"), "{refused}");
    }
}
