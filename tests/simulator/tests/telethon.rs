//! An independent witness: Telethon, which shares nothing with this repository, uses the simulator.
//!
//! The interpreter comes from `TELEWARDEN_TEST_PYTHON` and must have `telethon` installed.

use std::process::Command;

use serde_json::json;
use telewarden_simulator::{ChatKind, NewAccount, NewChat, Options, Simulator};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unrelated_client_connects_sends_receives_and_exchanges_keys() {
    let python = std::env::var("TELEWARDEN_TEST_PYTHON").expect(
        "TELEWARDEN_TEST_PYTHON must name a Python interpreter that has Telethon: \
         run ./scripts/test, which prepares one",
    );
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let me = simulator.add_account(NewAccount::default()).await.unwrap();
    let username = Some("old_friend".to_owned());
    let friend = NewAccount { username, ..NewAccount::default() };
    let friend = simulator.add_account(friend).await.unwrap();
    let chat = simulator
        .add_chat(NewChat {
            kind: ChatKind::Supergroup,
            title: "Witnesses".to_owned(),
            username: None,
            members: vec![me.user_id, friend.user_id],
            admins: vec![],
        })
        .await
        .unwrap();
    let folder = std::env::temp_dir().join(format!("telewarden-witness-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let public_key = folder.join("key.pem");
    std::fs::write(&public_key, simulator.public_key_pem()).unwrap();
    let plan = folder.join("plan.json");
    let contents = json!({
        "host": simulator.listen_addr().ip().to_string(),
        "port": simulator.listen_addr().port(),
        "session_string": me.session_string,
        "friend_session_string": friend.session_string,
        "friend": "old_friend",
        "chat_id": chat.chat_id,
        "public_key": public_key,
    });
    std::fs::write(&plan, contents.to_string()).unwrap();

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/telethon_witness.py");
    let mut witness = Command::new(python);
    witness.arg(script).arg(&plan);
    let output = tokio::task::spawn_blocking(move || witness.output()).await.unwrap().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let stats = simulator.stats().await;
    assert!(output.status.success(), "the witness objects: {complaint}\n{stats:#?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "witnessed");

    assert!(stats.protocol_errors.is_empty(), "errors: {:?}", stats.protocol_errors);
    assert!(stats.unknown_methods.is_empty(), "unknown: {:?}", stats.unknown_methods);
    assert!(stats.violations.values().all(|count| *count == 0), "{:?}", stats.violations);
    assert_eq!(stats.handshakes, 1);
    let inbox = simulator.inbox(friend.user_id).await.unwrap();
    assert_eq!(inbox.len(), 3, "one private message for each transport");
}
