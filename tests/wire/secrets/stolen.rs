//! A store copied off the machine without its key opens nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::Question;
use super::house::House;
use crate::support::PATIENCE;

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
    let mut house = House::set(false).await;
    let alice = house.token("alice", "user");
    let person = house.person("alice_herself").await;
    let id = house.paste(&alice, &person).await;
    house.until_state(&alice, &id, "active").await;
    assert_eq!(house.stage.daemon.terminate().await.code(), Some(0));
    let state = house.stage.daemon.store();
    let aside = state.with_extension("aside");
    fs::rename(&state, &aside).unwrap();
    copy(&aside, &state, &["key", "jwt-secret"]);

    house.stage.daemon.launch();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = house.stage.daemon.ended() {
            break status;
        }
        assert!(Instant::now() < deadline, "it runs on: {}", house.stage.daemon.log());
        sleep(Duration::from_millis(50)).await;
    };
    assert!(!status.success());
    let log = house.stage.daemon.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("key"), "it says what is missing: {last}");
    assert!(!state.join("key").exists(), "no key is made over a store that needs another one");
    let (code, said) = house.stage.daemon.check();
    assert!(code != Some(0) && said.contains("key"), "{said}");

    // With its key it opens, and the account is there.
    for name in ["key", "jwt-secret"] {
        fs::copy(aside.join(name), state.join(name)).unwrap();
    }
    house.stage.daemon.spawn().await;
    let look = Question::new("GET", &format!("/accounts/{id}"));
    house.expect(look.by(&alice), 200).await;
    house.until_state(&alice, &id, "active").await;
}
