//! An independent witness: Telethon, which shares nothing with this repository, uses the simulator.
//!
//! The interpreter comes from `TELEWARDEN_TEST_PYTHON` and must have `telethon` installed.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

use std::path::Path;
use std::process::Command;

use serde_json::json;
use telewarden_simulator::{ChatKind, NewAccount, NewChat, Options, Privacy, Simulator};

/// Runs a script with a plan, to which the public key is added; fails unless all went well and no
/// counter of what must not happen rose.
async fn witness(simulator: &Simulator, script: &str, mut plan: serde_json::Value) {
    let python = std::env::var("TELEWARDEN_TEST_PYTHON").expect(
        "TELEWARDEN_TEST_PYTHON must name a Python interpreter that has Telethon: \
         run ./scripts/test, which prepares one",
    );
    let folder = std::env::temp_dir().join(format!("{script}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let public_key = folder.join("key.pem");
    std::fs::write(&public_key, simulator.public_key_pem()).unwrap();
    plan["public_key"] = json!(public_key);
    let plan_file = folder.join("plan.json");
    std::fs::write(&plan_file, plan.to_string()).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let mut witness = Command::new(python);
    witness.arg(script).arg(&plan_file);
    let output = tokio::task::spawn_blocking(move || witness.output()).await.unwrap().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let stats = simulator.stats().await;
    assert!(output.status.success(), "the witness objects: {complaint}\n{stats:#?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "witnessed");
    assert!(stats.protocol_errors.is_empty(), "errors: {:?}", stats.protocol_errors);
    assert!(stats.unknown_methods.is_empty(), "unknown: {:?}", stats.unknown_methods);
    assert!(stats.violations.values().all(|count| *count == 0), "{:?}", stats.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unrelated_client_connects_sends_receives_and_exchanges_keys() {
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
    let plan = json!({
        "host": simulator.listen_addr().ip().to_string(),
        "port": simulator.listen_addr().port(),
        "session_string": me.session_string,
        "friend_session_string": friend.session_string,
        "friend": "old_friend",
        "chat_id": chat.chat_id,
    });
    witness(&simulator, "telethon_witness.py", plan).await;
    assert_eq!(simulator.stats().await.handshakes, 1);
    let inbox = simulator.inbox(friend.user_id).await.unwrap();
    assert_eq!(inbox.len(), 3, "one private message for each transport");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unrelated_client_logs_in_by_code_password_scan_and_token() {
    let anywhere = Options::default().listen;
    let dcs = vec![(4, anywhere)];
    let options = Options { control: Some(anywhere), dcs, ..Options::default() };
    let simulator = Simulator::start(options).await.unwrap();
    let guarded = NewAccount {
        password: Some("open sesame".to_owned()),
        password_hint: Some("a cave".to_owned()),
        ..NewAccount::default()
    };
    let remote = NewAccount { dc: Some(4), ..NewAccount::default() };
    let bot = NewAccount { bot: true, logged_in: false, ..NewAccount::default() };
    let plain = simulator.add_account(NewAccount::default()).await.unwrap();
    let plan = json!({
        "host": simulator.listen_addr().ip().to_string(),
        "port": simulator.listen_addr().port(),
        "control": format!("http://{}", simulator.control_addr().unwrap()),
        "plain": plain,
        "guarded": simulator.add_account(guarded).await.unwrap(),
        "remote": simulator.add_account(remote).await.unwrap(),
        "bot": simulator.add_account(bot).await.unwrap(),
    });
    witness(&simulator, "telethon_login.py", plan).await;
    // The one that was issued and the one that came by a scan; the one by code was logged out.
    assert_eq!(simulator.account(plain.user_id).await.unwrap().sessions, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unrelated_client_runs_a_campaign_and_recovers_a_password() {
    let options = Options { control: Some(Options::default().listen), ..Options::default() };
    let simulator = Simulator::start(options).await.unwrap();
    let mut people = Vec::new();
    for _ in 0..5 {
        people.push(simulator.add_account(NewAccount::default()).await.unwrap());
    }
    let [me, friend, closed, premium, hidden] = &people[..] else { panic!("five accounts") };
    let set = async |user_id, privacy| simulator.set_privacy(user_id, privacy).await.unwrap();
    set(closed.user_id, Privacy { refuse_invites: true, ..Privacy::default() }).await;
    set(premium.user_id, Privacy { premium_required: true, ..Privacy::default() }).await;
    set(hidden.user_id, Privacy { hide_phone: true, ..Privacy::default() }).await;
    let chat = async |kind| {
        let (title, members, admins) = ("Campaign".to_owned(), vec![], vec![me.user_id]);
        let new = NewChat { kind, title, username: None, members, admins };
        simulator.add_chat(new).await.unwrap().chat_id
    };
    let guarded = NewAccount {
        password: Some("open sesame".to_owned()),
        recovery_email: Some("john@example.org".to_owned()),
        ..NewAccount::default()
    };
    let plan = json!({
        "host": simulator.listen_addr().ip().to_string(),
        "port": simulator.listen_addr().port(),
        "control": format!("http://{}", simulator.control_addr().unwrap()),
        "me": me,
        "friend": friend,
        "closed": closed,
        "premium": premium,
        "hidden": hidden,
        "guarded": simulator.add_account(guarded).await.unwrap(),
        "supergroup": chat(ChatKind::Supergroup).await,
        "group": chat(ChatKind::Group).await,
    });
    witness(&simulator, "telethon_campaign.py", plan).await;
}
