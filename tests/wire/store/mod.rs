//! The store under stress: full disks, damage, wrong keys, other programs. The daemon says what
//! happened and what to do, `telewarden check` says the same and changes nothing, and once the cause
//! is gone by hand, nothing that was promised is missing.

mod copies;
mod damage;
mod disk;
mod door;
mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::time::{Instant, sleep};

use crate::support::{Listener, PATIENCE, Stage};
use telewarden_simulator::Chat;

/// Any failure of the daemon, and any fault that `check` finds: see `telewarden::cli`.
const FAILURE: Option<i32> = Some(1);
/// Written in front of every message, to be looked for where no message text may be.
const TEXT: &str = "private words";

/// A stage with a chat that is monitored, a store with something in it, and a daemon at rest.
async fn at_rest() -> (Stage, Listener, Chat) {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    talk(&stage, &chat, 1..=20).await;
    stage.expect_all(&chat).await;
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    (stage, alice, chat)
}

/// Writes messages that can be told from all other text.
async fn talk(stage: &Stage, chat: &Chat, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        let text = format!("{TEXT} {number}");
        stage.sim.post(chat.chat_id, stage.author, &text).await.expect("a message is posted");
    }
}

/// Starts the daemon again and looks whether anything is missing or doubled.
async fn works_again(stage: &mut Stage, chat: &Chat) {
    talk(stage, chat, 901..=905).await;
    stage.daemon.spawn().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    talk(stage, chat, 906..=910).await;
    stage.expect_all(chat).await;
    stage.expect_clean_books().await;
}

/// Waits until the daemon ends by itself; answers its status and what it logged since `before`.
async fn end(stage: &mut Stage, before: usize) -> (Option<i32>, String) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = stage.daemon.ended() {
            return (status.code(), stage.daemon.log()[before..].to_owned());
        }
        assert!(Instant::now() < deadline, "it does not end: {}", stage.daemon.log());
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// `check` and the daemon both refuse this store with these words; neither tells a secret. Afterwards
/// a store that has a database is as it was, to every byte, mode and owner.
async fn expect_refusal(stage: &mut Stage, alice: &Listener, words: &[&str]) {
    let before = refused(stage, alice, words).await;
    if before.keys().any(|place| place.ends_with("sled/db")) {
        expect_same(&before, &files(&stage.daemon.store()));
    }
}

/// The same for what only the database can tell, which is therefore opened and is fine: sled writes
/// down where it is, and all else is as it was.
async fn expect_refusal_by_database(stage: &mut Stage, alice: &Listener, words: &[&str]) {
    let mut before = refused(stage, alice, words).await;
    let mut after = files(&stage.daemon.store());
    for files in [&mut before, &mut after] {
        files.retain(|place, _| !place.to_string_lossy().contains("/sled/snap."));
        files.iter_mut().filter(|(place, _)| place.ends_with("sled/db")).for_each(|(_, file)| {
            file.3.clear();
        });
    }
    expect_same(&before, &after);
}

/// Has `check` and the daemon refuse the store; answers what it was before the daemon came.
async fn refused(stage: &mut Stage, alice: &Listener, words: &[&str]) -> Files {
    let before = files(&stage.daemon.store());
    let (status, said) = stage.daemon.check();
    assert_eq!(status, FAILURE, "{said}");
    expect_words("check", &said, words);
    assert!(before == files(&stage.daemon.store()), "check changed the store");
    let secrets = secrets(stage, alice);
    let logged = stage.daemon.log().len();
    stage.daemon.launch();
    let (status, told) = end(stage, logged).await;
    assert_eq!(status, FAILURE, "{told}");
    expect_words("the daemon", &told, words);
    for secret in secrets {
        assert!(!said.contains(&secret) && !told.contains(&secret), "a secret is told");
    }
    before
}

fn expect_words(who: &str, said: &str, words: &[&str]) {
    let line = |line: &&str| words.iter().all(|word| line.contains(word));
    let found = said.lines().find(line);
    println!("{who}: {}", found.unwrap_or_else(|| panic!("{who} does not say {words:?}: {said}")));
}

/// What nobody may read in a log.
fn secrets(stage: &Stage, alice: &Listener) -> Vec<String> {
    let key = fs::read_to_string(stage.daemon.store().join("key")).unwrap_or_default();
    let known = [TEXT.to_owned(), alice.session_string.clone(), "0123456789abcdef".to_owned()];
    known.into_iter().chain([key.trim().to_owned()]).filter(|text| !text.is_empty()).collect()
}

/// What a refusal may not change.
fn expect_same(before: &Files, after: &Files) {
    let names = before.keys().chain(after.keys());
    let changed: BTreeSet<_> = names.filter(|name| before.get(*name) != after.get(*name)).collect();
    assert!(changed.is_empty(), "the daemon changed the store: {changed:?}");
}

/// Mode, owner, group and bytes by path.
type Files = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

/// Every file below `path` with its mode, owner and bytes, every folder with its mode and owner.
fn files(path: &Path) -> Files {
    let mut found = BTreeMap::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(place) = waiting.pop() {
        let about = if place == path { fs::metadata(&place) } else { fs::symlink_metadata(&place) };
        let Ok(about) = about else { continue };
        let mut bytes = Vec::new();
        if about.is_dir() {
            waiting.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            bytes = fs::read(&place).unwrap();
        }
        found.insert(place, (about.mode(), about.uid(), about.gid(), bytes));
    }
    found
}
