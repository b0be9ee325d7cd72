//! Damaged files: a torn tail heals, everything else is told with path and advice, and the daemon
//! deletes nothing.

use std::fs;
use std::io::Write;
use std::path::Path;

use rand::Rng;
use serde_json::json;

use crate::support::{Listener, Stage, eventually};
use telewarden_simulator::Chat;

use super::{at_rest, end, expect_refusal, files, talk, works_again};

/// How many bytes sled writes in one piece of its log.
const PIECE: usize = 512 * 1024;

/// A folder is put back as it was.
fn restore(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// A daemon at rest with a backlog that no broker has taken yet, in a store of several pieces.
async fn with_a_backlog() -> (Stage, Listener, Chat) {
    let (mut stage, alice, chat) = at_rest().await;
    let url = stage.backend.broker.url.clone();
    let unreachable = "amqp://127.0.0.1:9/";
    stage.daemon.reconfigure(|config| config.replace(&url, unreachable));
    stage.daemon.launch();
    stage.daemon.wait_for_monitors("active", 1).await;
    let long = "x".repeat(3_000);
    for number in 0..400 {
        let text = format!("{} {number} {long}", super::TEXT);
        stage.sim.post(chat.chat_id, stage.author, &text).await.unwrap();
    }
    eventually("all is in the outbox", async || {
        let (_, health) = stage.daemon.get("/health").await.ok()?;
        (health["outbox"]["depth"].as_u64()? >= 400).then_some(())
    })
    .await;
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    stage.daemon.reconfigure(|config| config.replace(unreachable, &url));
    (stage, alice, chat)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_the_database_is_told_with_its_place_and_the_backup_brings_all_back() {
    let (mut stage, alice, chat) = with_a_backlog().await;
    let store = stage.daemon.store();
    let (sled, db) = (store.join("sled"), store.join("sled/db"));
    let backup = stage.daemon.home().join("backup");
    copy(&sled, &backup);
    let whole = fs::read(&db).unwrap();
    assert!(whole.len() > 3 * PIECE, "there are pieces to lose: {}", whole.len());
    let path = store.display().to_string();
    let middle = whole.len() / 2;
    let garbled = |from: usize, len: usize| {
        let mut bytes = whole.clone();
        rand::rng().fill(&mut bytes[from..from + len]);
        bytes
    };
    let cases = [
        ("nothing", Vec::new()),
        ("its first half", whole[..middle].to_vec()),
        ("its first piece and some", whole[..PIECE + 7_777].to_vec()),
        ("garbage all over", garbled(0, whole.len())),
        ("garbage in its middle", garbled(PIECE, whole.len() - 2 * PIECE)),
        ("every other piece", {
            let mut bytes = whole.clone();
            bytes.chunks_mut(PIECE).step_by(2).for_each(|piece| piece.fill(0));
            bytes
        }),
    ];
    for (what, bytes) in cases {
        println!("the file holds {what}");
        fs::write(&db, &bytes).unwrap();
        expect_refusal(&mut stage, &alice, &[&path, "backup"]).await;
        assert!(bytes == fs::read(&db).unwrap(), "what could be saved of it was changed");
        restore(&backup, &sled);
    }
    fs::remove_file(&db).unwrap();
    let before = files(&store);
    expect_refusal(&mut stage, &alice, &[&path, "holds nothing", "backup"]).await;
    assert!(before == files(&store), "nothing is made in its place");
    fs::remove_dir_all(&sled).unwrap();
    expect_refusal(&mut stage, &alice, &[&path, "holds nothing", "backup"]).await;
    assert!(!sled.exists(), "nothing is made in its place");
    copy(&backup, &sled);
    works_again(&mut stage, &chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_database_is_not_taken_for_the_store() {
    let (mut stage, alice, chat) = at_rest().await;
    let store = stage.daemon.store();
    let (sled, old, new) =
        (store.join("sled"), stage.daemon.home().join("old"), stage.daemon.home().join("new"));
    copy(&sled, &old);
    stage.daemon.spawn().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    talk(&stage, &chat, 21..=60).await;
    stage.expect_all(&chat).await;
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    fs::rename(&sled, &new).unwrap();
    copy(&old, &sled);
    let path = store.display().to_string();
    expect_refusal(&mut stage, &alice, &[&path, "older copy", "delete", "witness"]).await;
    fs::remove_dir_all(&sled).unwrap();
    fs::rename(&new, &sled).unwrap();
    works_again(&mut stage, &chat).await;
    // On purpose it is possible, and the chats' history mends what the older copy does not know.
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    restore(&old, &sled);
    fs::remove_file(store.join("witness")).unwrap();
    works_again(&mut stage, &chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_torn_by_a_crash_heals_without_a_word_from_anybody() {
    let (mut stage, alice, chat) = at_rest().await;
    let stop = json!({ "command": "stop_monitoring_chat", "chat_id": chat.chat_id });
    let start = json!({
        "command": "start_monitoring_chat",
        "chat_id": chat.chat_id,
        "primary_session": alice.data(),
        "backup_sessions_pool": [],
    });
    let other = stage.supergroup(&[&alice]).await;
    let mut start_other = start.clone();
    start_other["chat_id"] = json!(other.chat_id);
    for round in 0..4_u32 {
        stage.daemon.spawn().await;
        stage.daemon.wait_for_monitors("active", if round == 0 { 1 } else { 2 }).await;
        if round == 0 {
            assert_eq!(stage.backend.ask(&start_other).await["ok"], true);
        }
        talk(&stage, &chat, 100 * (round + 1)..=100 * (round + 1) + 30).await;
        stage.say(&other, 10 * round + 1..=10 * round + 9).await;
        stage.daemon.kill();
        let mut torn = vec![0; rand::random_range(1..5_000)];
        rand::rng().fill(&mut torn[..]);
        let db = stage.daemon.store().join("sled/db");
        fs::File::options().append(true).open(db).unwrap().write_all(&torn).unwrap();
        let before = files(&stage.daemon.store());
        let (status, said) = stage.daemon.check();
        assert_eq!(status, Some(0), "{said}");
        assert!(before == files(&stage.daemon.store()), "check changed the store");
    }
    stage.daemon.spawn().await;
    stage.expect_all(&chat).await;
    stage.expect_all(&other).await;
    assert_eq!(stage.backend.ask(&stop).await["result"]["was_monitored"], true);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_cannot_be_read_keeps_nobody_out() {
    let (mut stage, _alice, chat) = at_rest().await;
    let witness = stage.daemon.store().join("witness");
    for bytes in [&b""[..], &[0xff; 9_000]] {
        fs::write(&witness, bytes).unwrap();
        assert_eq!(stage.daemon.check().0, Some(0));
    }
    works_again(&mut stage, &chat).await;
    let logged = stage.daemon.log().len();
    stage.daemon.ask_to_stop();
    assert_eq!(end(&mut stage, logged).await.0, Some(0));
}
