//! What keeps the daemon out of its store: other keys, other programs, things in the way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Daemon, DaemonOptions};

use super::{
    FAILURE, at_rest, end, expect_refusal, expect_refusal_by_database, files, talk, works_again,
};

/// 32 bytes in base64, and not the store's own.
const OTHER_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_or_none_or_half_of_one_is_refused_and_the_right_one_opens_again() {
    let (mut stage, alice, chat) = at_rest().await;
    let key = stage.daemon.store().join("key");
    let right = fs::read(&key).unwrap();
    let path = key.display().to_string();
    fs::write(&key, OTHER_KEY).unwrap();
    let words = [&*path, "is not the one this store was sealed with", "put the right one back"];
    expect_refusal_by_database(&mut stage, &alice, &words).await;
    fs::write(&key, &right[..20]).unwrap();
    let words = [&*path, "does not hold a key", "openssl rand -base64 32"];
    expect_refusal(&mut stage, &alice, &words).await;
    fs::remove_file(&key).unwrap();
    expect_refusal(&mut stage, &alice, &[&path, "does not exist", "put the file back"]).await;
    assert!(!key.exists(), "no new key takes the place of the lost one");
    fs::create_dir(&key).unwrap();
    expect_refusal(&mut stage, &alice, &[&path, "folder", "move it out of the way"]).await;
    fs::remove_dir(&key).unwrap();
    fs::write(&key, &right).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    expect_refusal(&mut stage, &alice, &[&path, "can be read by others", "chmod 600"]).await;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    works_again(&mut stage, &chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_key_is_not_taken_for_the_one_the_store_was_made_with() {
    let (mut stage, alice, chat) = at_rest().await;
    let configured = stage.daemon.home().join("configured-key");
    let path = configured.display().to_string();
    stage.daemon.set_variable("TELEWARDEN__SECRETS__KEY_FILE", &path);
    let words = [&*path, "does not exist, but this store was sealed with a key"];
    expect_refusal(&mut stage, &alice, &words[..1]).await;
    fs::write(&configured, OTHER_KEY).unwrap();
    fs::set_permissions(&configured, fs::Permissions::from_mode(0o600)).unwrap();
    let words = [&*path, "is not the one this store was sealed with"];
    expect_refusal_by_database(&mut stage, &alice, &words).await;
    // The store's own key, moved to where it was configured.
    fs::rename(stage.daemon.store().join("key"), &configured).unwrap();
    works_again(&mut stage, &chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_newer_program_is_left_as_it_is() {
    let (mut stage, alice, chat) = at_rest().await;
    let marker = stage.daemon.store().join("format");
    let right = fs::read(&marker).unwrap();
    fs::write(&marker, "telewarden store, format 99\n").unwrap();
    let before = files(&stage.daemon.store());
    let words = ["format 99", "start the newer version again", "no record was changed"];
    expect_refusal(&mut stage, &alice, &words).await;
    assert!(before == files(&stage.daemon.store()), "something was changed all the same");
    fs::write(&marker, "who knows").unwrap();
    expect_refusal(&mut stage, &alice, &["format", "damaged", "backup"]).await;
    fs::write(&marker, right).unwrap();
    works_again(&mut stage, &chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_is_turned_away_and_the_first_never_notices() {
    let (mut stage, _alice, chat) = at_rest().await;
    stage.daemon.spawn().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    let shared = stage.daemon.store().display().to_string();
    let second = Daemon::prepare(&stage.sim, &stage.backend, DaemonOptions::default());
    let own = second.store().display().to_string();
    second.reconfigure(|config| config.replace(&own, &shared));
    let first = std::mem::replace(&mut stage.daemon, second);
    let (status, said) = stage.daemon.check();
    assert_eq!(status, Some(0), "it may be asked beside a daemon that runs: {said}");
    let words = [&*shared, "another telewarden runs on this store", "stop it first"];
    super::expect_words("check", &said, &words);
    stage.daemon.launch();
    let (status, told) = end(&mut stage, 0).await;
    assert_eq!(status, FAILURE, "{told}");
    super::expect_words("the second daemon", &told, &words);
    stage.daemon = first;
    talk(&stage, &chat, 21..=40).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    works_again(&mut stage, &chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_the_way_is_named_and_once_moved_away_all_is_there() {
    let (mut stage, alice, chat) = at_rest().await;
    let store = stage.daemon.store();
    let aside = stage.daemon.home().join("aside");
    // A file where the folder should be.
    fs::rename(&store, &aside).unwrap();
    fs::write(&store, "not a folder").unwrap();
    let path = store.display().to_string();
    expect_refusal(&mut stage, &alice, &[&path, "store.path must be a folder"]).await;
    fs::remove_file(&store).unwrap();
    fs::rename(&aside, &store).unwrap();
    // Folders where files should be.
    for name in ["sled/db", "lock", "format"] {
        let place = store.join(name);
        fs::rename(&place, &aside).unwrap();
        fs::create_dir(&place).unwrap();
        let path = place.display().to_string();
        expect_refusal(&mut stage, &alice, &[&path, "folder", "move it out of the way"]).await;
        fs::remove_dir(&place).unwrap();
        fs::rename(&aside, &place).unwrap();
    }
    works_again(&mut stage, &chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_files_in_the_folder_are_nobodys_business() {
    let (mut stage, _alice, chat) = at_rest().await;
    let store = stage.daemon.store();
    let foreign = [store.join("notes.txt"), store.join("sled/notes.txt"), store.join("blobs")];
    for place in &foreign {
        fs::write(place, "mine").unwrap();
    }
    let before = files(&store);
    let (status, said) = stage.daemon.check();
    assert_eq!(status, Some(0), "{said}");
    assert!(before == files(&store), "check changed the store");
    works_again(&mut stage, &chat).await;
    for place in &foreign {
        assert_eq!(fs::read_to_string(place).unwrap(), "mine");
    }
}
