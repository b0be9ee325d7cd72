//! The command line beside a daemon at work: keys over HTTP, the audit log in a copy of the store.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Daemon, Stage};

/// Runs a command that has to succeed, and answers what it said.
fn fine(daemon: &Daemon, words: &[&str]) -> String {
    let (code, said) = daemon.command(words);
    assert_eq!(code, Some(0), "{words:?}: {said}");
    said
}

fn head(said: &str) -> String {
    let line = said.lines().find_map(|line| line.strip_prefix("head"));
    line.expect("a head is told").trim().to_owned()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_renewed_and_the_audit_log_is_followed_beside_a_running_daemon() {
    let mut stage = Stage::set().await;
    let before = fine(&stage.daemon, &["keys", "status"]);
    assert!(before.contains("generation  1 ("), "{before}");
    let renewed = fine(&stage.daemon, &["keys", "rotate"]);
    assert!(renewed.contains("generation  2 (") && renewed.contains("were renewed"), "{renewed}");
    let followed = fine(&stage.daemon, &["audit", "verify"]);
    assert!(followed.contains("entries        1, 0 of them pseudonymised"), "{followed}");
    let first = head(&followed);
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));

    let (code, said) = stage.daemon.command(&["keys", "rotate"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nobody listens there; start it with telewarden run"), "{said}");
    let older = stage.daemon.home().join("older");
    copy(&stage.daemon.store(), &older);
    stage.daemon.spawn().await;
    let json = fine(&stage.daemon, &["keys", "rotate", "--json"]);
    assert!(json.contains("\"pending\":0"), "{json}");
    let second = head(&fine(&stage.daemon, &["audit", "verify", "--noted", &first]));
    assert!(second.starts_with("2:"), "{second}");
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));

    let older = older.display().to_string();
    let in_older = ["audit", "verify", "--state", &older, "--noted"];
    fine(&stage.daemon, &[&in_older[..], &[&first]].concat());
    let (code, said) = stage.daemon.command(&[&in_older[..], &[&second]].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("entry 2 was noted and is gone: the log ends with 1"), "{said}");
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_log_that_somebody_changed_on_the_disk_is_not_called_whole() {
    let mut stage = Stage::set().await;
    fine(&stage.daemon, &["keys", "rotate"]);
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    fine(&stage.daemon, &["audit", "verify"]);
    let database = stage.daemon.store().join("sled").join("db");
    let mut bytes = fs::read(&database).unwrap();
    let place = bytes.windows(11).position(|window| window == b"keys.rotate");
    let place = place.expect("the log lies in clear");
    bytes[place..place + 4].copy_from_slice(b"time");
    fs::write(&database, &bytes).unwrap();
    let (code, said) = stage.daemon.command(&["audit", "verify"]);
    assert!(matches!(code, Some(1 | 2)) && !said.contains("whole. Note"), "{code:?}: {said}");
    assert!(fs::read(&database).unwrap() == bytes, "looking changed the database");
}
