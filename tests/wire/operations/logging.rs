//! The log as its reader sees it, whatever others wrote.

use serde_json::json;
use telewarden_simulator::FaultSpec;

use crate::support::{Broker, DaemonOptions, Listener, Stage, eventually};

/// A name with a line of its own, marks that turn text around, and what cannot be seen.
const NAME: &str = "alice\u{2028}2026-11-29T00:00:00Z INFO all is well\u{202e}\u{200b}\u{feff}";
/// An error that commands the terminal of whoever reads of it.
const ERROR: &str = "STRANGE\n\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{9b}31m_REFUSED";

/// Lets strangers say what they like, and answers the log when it told of both.
async fn log_of_strangers(format: &str) -> String {
    let environment = vec![("TELEWARDEN__LOG__FORMAT".into(), format.into())];
    let options = DaemonOptions { environment, ..DaemonOptions::default() };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let alice = stage.listener("alice").await;
    let alice = Listener { id: NAME.into(), ..alice };
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    let spec = FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("channels.joinChannel".into()),
        error: Some(ERROR.into()),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(spec).await.unwrap();
    let open = stage.chat(telewarden_simulator::ChatKind::Supergroup, Some("the_hall"), &[]).await;
    assert!(open.chat_id != chat.chat_id);
    let join = json!({ "command": "join_chat", "chat_id": "@the_hall", "session": alice.data() });
    stage.backend.command(&join).await;
    eventually("the log tells of both", async || {
        let log = stage.daemon.log();
        (log.contains("STRANGE") && log.contains("all is well")).then_some(log)
    })
    .await
}

/// What the rule of `protocol/values/printable.rs` lets through.
fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~') || character.escape_debug().len() == 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_wrote_stays_on_its_line_of_the_text_log() {
    let log = log_of_strangers("text").await;
    for line in log.lines() {
        assert!(line.chars().all(is_printable), "{line:?}");
        let is_whole = line.starts_with("20") && line.contains(" telewarden");
        assert!(is_whole, "a line that nobody of ours wrote: {line:?}");
    }
    assert!(log.contains("alice\\u{2028}2026"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_wrote_is_printable_in_the_json_log_and_means_the_same() {
    let log = log_of_strangers("json").await;
    assert!(log.chars().all(|c| c == '\n' || is_printable(c)), "{log}");
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let texts: Vec<String> = lines.map(|line| line.to_string()).collect();
    assert!(texts.iter().any(|text| text.contains(NAME)), "{log}");
}
