//! A store copied off the machine without its key opens nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use telewarden::protocol::users::owner::Role;
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, Question};

fn copy(from: &Path, to: &Path, except: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(&name), except);
        } else if !except.contains(&name.as_str()) {
            fs::copy(entry.path(), to.join(&name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_its_key_opens_nothing_and_is_left_as_it_is() {
    let (mut harness, _backend) = super::open().await;
    let alice = harness.token("alice", Role::User);
    let person = harness.named("alice_herself").await;
    let id = harness.connect(&harness.holder(&alice), &person).await;
    assert_eq!(harness.daemon.terminate().await.code(), Some(0));
    let state = harness.daemon.store();
    let aside = state.with_extension("aside");
    fs::rename(&state, &aside).unwrap();
    copy(&aside, &state, &["key", "jwt-secret"]);

    harness.daemon.launch();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = harness.daemon.ended() {
            break status;
        }
        assert!(Instant::now() < deadline, "it runs on: {}", harness.daemon.log());
        sleep(Duration::from_millis(50)).await;
    };
    assert!(!status.success());
    let log = harness.daemon.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("key"), "it says what is missing: {last}");
    assert!(!state.join("key").exists(), "no key is made over a store that needs another one");
    let (code, said) = harness.daemon.check();
    assert!(code != Some(0) && said.contains("key"), "{said}");

    // With its key it opens, once it is said that the other one never runs again, and the account is there.
    for name in ["key", "jwt-secret"] {
        fs::copy(aside.join(name), state.join(name)).unwrap();
    }
    harness.daemon.launch_moved();
    harness.daemon.wait_until_ready().await;
    let look = Question::new("GET", &format!("/accounts/{id}"));
    harness.expect(look.by(&alice), 200).await;
    harness.until_state(&harness.holder(&alice), &id, "active").await;
}
