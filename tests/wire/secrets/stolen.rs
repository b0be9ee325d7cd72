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
    let (mut house, _backend) = super::open().await;
    let alice = house.token("alice", Role::User);
    let person = house.named("alice_herself").await;
    let id = house.connect(&house.holder(&alice), &person).await;
    assert_eq!(house.daemon.terminate().await.code(), Some(0));
    let state = house.daemon.store();
    let aside = state.with_extension("aside");
    fs::rename(&state, &aside).unwrap();
    copy(&aside, &state, &["key", "jwt-secret"]);

    house.daemon.launch();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = house.daemon.ended() {
            break status;
        }
        assert!(Instant::now() < deadline, "it runs on: {}", house.daemon.log());
        sleep(Duration::from_millis(50)).await;
    };
    assert!(!status.success());
    let log = house.daemon.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("key"), "it says what is missing: {last}");
    assert!(!state.join("key").exists(), "no key is made over a store that needs another one");
    let (code, said) = house.daemon.check();
    assert!(code != Some(0) && said.contains("key"), "{said}");

    // With its key it opens, and the account is there.
    for name in ["key", "jwt-secret"] {
        fs::copy(aside.join(name), state.join(name)).unwrap();
    }
    house.daemon.spawn().await;
    let look = Question::new("GET", &format!("/accounts/{id}"));
    house.expect(look.by(&alice), 200).await;
    house.until_state(&house.holder(&alice), &id, "active").await;
}
