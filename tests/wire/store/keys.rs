//! The keys of the store as an operator meets them: where the first one comes from, how another one
//! takes its place, and that they rotate under a daemon at work that is killed again and again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use telewarden::store::{KeyOrigin, Store, StoreOptions};
use tokio::time::sleep;

use crate::support::{Broker, DaemonOptions, Stage, eventually};

/// 32 bytes in base64.
const FIRST: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// The same with other bytes.
const SECOND: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

fn variable(name: &str, value: impl AsRef<Path>) -> (String, String) {
    (name.into(), value.as_ref().display().to_string())
}

fn write(path: &Path, key: &str) {
    fs::write(path, key).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_from_a_variable_is_hidden_and_a_credential_takes_its_place() {
    let environment = vec![variable("TELEWARDEN_KEY", FIRST)];
    let options = DaemonOptions { environment, ..DaemonOptions::default() };
    let mut stage = Stage::set_with(Broker::shared(), options).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    match fs::read(format!("/proc/{}/environ", stage.daemon.pid())) {
        Ok(shown) => {
            let shown = String::from_utf8_lossy(&shown);
            assert!(!shown.contains(FIRST), "the system shows the key: {shown}");
        }
        // What is not dumpable shows it to root only (proc(5)).
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
    let (code, said) = stage.daemon.check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("wrapped by the variable TELEWARDEN_KEY, which works"), "{said}");
    assert!(!stage.daemon.store().join("key").exists(), "no key of its own was made");
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));

    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("telewarden-key"), SECOND);
    let old = stage.daemon.home().join("old-key");
    write(&old, FIRST);
    stage.daemon.set_variable("CREDENTIALS_DIRECTORY", &folder.path().display().to_string());
    let (code, said) = stage.daemon.check();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the systemd credential telewarden-key"), "{said}");
    assert!(said.contains("secrets.previous_key_file"), "{said}");
    assert!(said.contains("TELEWARDEN_KEY is configured, too, and not used"), "{said}");
    let previous = old.display().to_string();
    stage.daemon.set_variable("TELEWARDEN__SECRETS__PREVIOUS_KEY_FILE", &previous);
    let (code, said) = stage.daemon.check();
    assert_eq!(code, Some(0), "{said}");
    stage.daemon.spawn().await;
    eventually("the old key is needless", async || {
        stage.daemon.log().contains("nothing is sealed under old keys any more").then_some(())
    })
    .await;
    stage.say(&chat, 4..=6).await;
    stage.expect_all(&chat).await;
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));

    fs::remove_file(&old).unwrap();
    stage.daemon.clear_variables();
    stage.daemon.set_variable("CREDENTIALS_DIRECTORY", &folder.path().display().to_string());
    stage.daemon.spawn().await;
    stage.say(&chat, 7..=9).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
    let log = stage.daemon.log();
    assert!(!log.contains(FIRST) && !log.contains(SECOND));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_every_second_under_a_daemon_that_is_killed_and_nothing_is_lost() {
    let extra_config = "[secrets]\nrotate_every = \"1s\"".to_owned();
    let options = DaemonOptions { extra_config, ..DaemonOptions::default() };
    let mut stage = Stage::set_with(Broker::shared(), options).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    let mut number = 0;
    for round in 0..5 {
        for _ in 0..20 {
            number += 1;
            stage.say(&chat, number..=number).await;
            sleep(Duration::from_millis(50 + 10 * round)).await;
        }
        stage.daemon.kill();
        stage.daemon.spawn().await;
        stage.daemon.wait_for_monitors("active", 1).await;
    }
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
    let rotations = stage.daemon.log().matches("the keys in the store were renewed").count();
    assert!(rotations >= 3, "only {rotations} rotations were completed");
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));

    let mut options = StoreOptions::new(stage.daemon.store());
    options.key = KeyOrigin::Own;
    let (store, _outbox) = Store::open(options).unwrap();
    let snapshot = store.blocking().load().unwrap();
    assert!(store.blocking().credentials(snapshot.accounts[0].id).unwrap().is_some());
    let status = store.blocking().key_status().unwrap();
    assert!(status.generation as usize > rotations, "{status:?}");
    assert!(status.provider.starts_with("the key file "), "{status:?}");
    store.close().await.unwrap();
}
