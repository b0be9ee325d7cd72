//! A copy of a store never runs beside its original: Telegram ends every session that is used twice, for good.

use std::path::PathBuf;
use std::process::Command;

use super::{end, talk};
use crate::support::Stage;

/// A copy of the running store as an operator makes one, and the flags by which it is started.
fn copy(stage: &Stage, name: &str) -> (PathBuf, Vec<String>) {
    let folder = stage.daemon.home().join(name);
    let copied = Command::new("cp").arg("-a").args([&stage.daemon.store(), &folder]).status();
    assert!(copied.expect("cp runs").success());
    let state = folder.to_str().expect("a path in UTF-8").to_owned();
    let flags = ["--state", &state, "--listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
    (folder, flags)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_running_store_dials_nobody_and_ends_no_session() {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    talk(&stage, &chat, 1..=10).await;
    stage.expect_all(&chat).await;
    let dials = stage.sim.stats().await.connections_total;
    let (folder, flags) = copy(&stage, "copy");
    let words: Vec<&str> = flags.iter().map(String::as_str).collect();
    for command in ["run", "check"] {
        let (status, said) = stage.daemon.command(&[&[command], &words[..]].concat());
        assert_eq!(status, Some(1), "{command}: {said}");
        for expected in [&*folder.display().to_string(), "are a copy", "telewarden run --moved"] {
            assert!(said.contains(expected), "{command} does not say {expected:?}: {said}");
        }
    }
    assert_eq!(stage.sim.stats().await.connections_total, dials, "nobody was dialled");
    // The original has noticed nothing.
    talk(&stage, &chat, 11..=20).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
    // It is the original's turn to be in the wrong place.
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    let (before, store) = (stage.daemon.log().len(), stage.daemon.store());
    std::fs::rename(&store, stage.daemon.home().join("elsewhere")).unwrap();
    std::fs::rename(&folder, &store).unwrap();
    stage.daemon.launch();
    let (status, said) = end(&mut stage, before).await;
    assert_eq!(status, Some(1));
    assert!(said.contains("are a copy"), "{said}");
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(stage.daemon.home().join("elsewhere"), &store).unwrap();
    stage.daemon.spawn().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    talk(&stage, &chat, 21..=25).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_moved_runs_once_its_operator_says_so() {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    talk(&stage, &chat, 1..=5).await;
    stage.expect_all(&chat).await;
    assert_eq!(stage.daemon.terminate().await.code(), Some(0));
    let (old, new) = (stage.daemon.store(), stage.daemon.home().join("new-place"));
    std::fs::rename(&old, &new).unwrap();
    stage.daemon.reconfigure(|config| {
        config.replace(&old.display().to_string(), &new.display().to_string())
    });
    let before = stage.daemon.log().len();
    stage.daemon.launch();
    let (status, said) = end(&mut stage, before).await;
    assert_eq!(status, Some(1));
    assert!(said.contains("under another path"), "{said}");
    // Once, and not again from then on.
    stage.daemon.launch_moved();
    stage.daemon.wait_until_ready().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    talk(&stage, &chat, 6..=10).await;
    stage.expect_all(&chat).await;
    stage.daemon.kill();
    stage.daemon.spawn().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    assert_eq!(stage.daemon.log().matches("it is said that it moved").count(), 1);
    talk(&stage, &chat, 11..=15).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}
