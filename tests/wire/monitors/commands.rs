//! Commands: idempotent, answered, refused with reasons, never in each other's way.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;
use telewarden_simulator::{ChatKind, FaultKind, FaultSpec};

use crate::support::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_messages_and_lets_the_session_go() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    let stop = json!({ "command": "stop_monitoring_chat", "chat_id": chat.chat_id });
    let outcome = stage.backend.ask(&stop).await;
    assert_eq!(outcome["ok"], true);
    assert_eq!(outcome["result"]["was_monitored"], true);
    stage.say(&chat, 6..=10).await;
    stage.daemon.wait_for_accounts("active", 0).await;
    let outcome = stage.backend.ask(&stop).await;
    assert_eq!(outcome["result"]["was_monitored"], false, "stopping twice is harmless");
    assert_eq!(stage.backend.events().len(), 5);
    assert_eq!(stage.sim.account(alice.user_id).await.unwrap().connections_now, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_what_runs_already_changes_nothing() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    let start = json!({
        "command": "start_monitoring_chat",
        "chat_id": chat.chat_id,
        "primary_session": alice.data(),
        "backup_sessions_pool": [],
    });
    let first = stage.backend.ask(&start).await;
    assert_eq!((&first["ok"], &first["result"]["changed"]), (&json!(true), &json!(true)));
    stage.daemon.wait_for_monitors("active", 1).await;
    let second = stage.backend.ask(&start).await;
    assert_eq!((&second["ok"], &second["result"]["changed"]), (&json!(true), &json!(false)));
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    assert_eq!(stage.sim.account(alice.user_id).await.unwrap().connections_total, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_is_joined_by_invite_link_and_by_username() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let closed = stage.supergroup(&[]).await;
    let open = stage.chat(ChatKind::Supergroup, Some("open_room"), &[]).await;
    for (name, chat) in [(closed.invite_link.as_str(), &closed), ("@open_room", &open)] {
        let join = json!({ "command": "join_chat", "chat_id": name, "session": alice.data() });
        let outcome = stage.backend.ask(&join).await;
        assert_eq!(outcome["ok"], true, "{outcome}");
        assert_eq!(outcome["result"]["state"], "joined");
        assert_eq!(outcome["result"]["marked_chat_id"], chat.chat_id);
        let members = stage.sim.members(chat.chat_id).await.unwrap();
        assert!(members.iter().any(|member| member.user_id == alice.user_id));
        let again = stage.backend.ask(&join).await;
        assert_eq!(again["ok"], true, "joining twice is harmless: {again}");
    }
    let join =
        json!({ "command": "join_chat", "chat_id": "t.me/+nowhere", "session": alice.data() });
    let outcome = stage.backend.ask(&join).await;
    assert_eq!(outcome["ok"], false);
    assert_eq!(outcome["error"]["code"], "invite_hash_invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_wait_on_joining_is_waited_out_and_delays_nobody_else() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let closed = stage.supergroup(&[]).await;
    let chat = stage.supergroup(&[&alice, &bob]).await;
    let spec = FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("messages.importChatInvite".into()),
        error: Some("FLOOD_WAIT_4".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(spec).await.unwrap();
    let join =
        json!({ "command": "join_chat", "chat_id": closed.invite_link, "session": alice.data() });
    let (outcome, ()) = tokio::join!(stage.backend.ask(&join), async {
        stage.monitor(&chat, &alice, &[&bob]).await;
        stage.say(&chat, 1..=5).await;
        stage.expect_all(&chat).await;
    });
    assert_eq!(outcome["ok"], true, "{outcome}");
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitoring_ordered_right_after_a_join_waits_for_the_join() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.chat(ChatKind::Supergroup, Some("the_hall"), &[]).await;
    let spec = FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("channels.joinChannel".into()),
        error: Some("FLOOD_WAIT_4".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(spec).await.unwrap();
    let join = json!({ "command": "join_chat", "chat_id": "@the_hall", "session": alice.data() });
    let start = json!({
        "command": "start_monitoring_chat",
        "chat_id": "@the_hall",
        "primary_session": alice.data(),
    });
    stage.backend.command(&join).await;
    assert_eq!(stage.backend.ask(&start).await["ok"], true);
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.say(&chat, 1..=5).await;
    let told = stage
        .backend
        .wait_until("five messages", |events| {
            let texts = crate::support::texts_of(events, &json!("@the_hall"));
            (texts.len() == 5).then_some(texts)
        })
        .await;
    assert_eq!(told, ["1", "2", "3", "4", "5"]);
    assert_eq!(stage.backend.losses(), []);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kinds_of_bad_command_are_kept_with_their_reason_and_block_nothing() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    let mut bad_session = alice.data();
    bad_session["session_string"] = json!("1not-a-session-string");
    let huge = vec![b'x'; 1024 * 1024 + 1];
    let start = |session: serde_json::Value| {
        json!({ "command": "start_monitoring_chat", "chat_id": 5, "primary_session": session })
            .to_string()
            .into_bytes()
    };
    let mut twice = alice.data().to_string();
    twice.insert_str(1, r#""id":"other","#);
    let twice =
        format!(r#"{{"command":"start_monitoring_chat","chat_id":5,"primary_session":{twice}}}"#);
    let cases: [(&[u8], &str); 11] = [
        (b"{not json", "bad_json"),
        (br#"{"command": "stop_monitoring_chat", "chat_id": 5, "chat_id": 6}"#, "bad_json"),
        (twice.as_bytes(), "bad_json"),
        (br#"{"command": "dance"}"#, "unknown_command"),
        (br#"{"command": "stop_monitoring_chat"}"#, "missing_field"),
        (&start(bad_session), "bad_session_string"),
        (&huge, "too_large"),
        (br#"{"command": "stop_monitoring_chat", "chat_id": "t.me/"}"#, "bad_chat_id"),
        (br#"{"command": "stop_monitoring_chat", "chat_id": "t.me/addlist/X"}"#, "bad_chat_id"),
        (br#"{"command": "stop_monitoring_chat", "chat_id": "t.me/login/1"}"#, "bad_chat_id"),
        (br#"{"command": "stop_monitoring_chat", "chat_id": "t.me/+79991234567"}"#, "bad_chat_id"),
    ];
    for (body, code) in &cases {
        stage.backend.send(body, BasicProperties::default()).await;
        let (found, message, kept) = stage.backend.dead_letter().await;
        assert_eq!(found, *code, "{message}");
        assert_eq!(kept, *body, "the command is kept as it came");
        assert!(!message.contains("not-a-session-string"), "{message}");
    }
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    let log = stage.daemon.log();
    assert!(!log.contains(&alice.session_string) && !log.contains("not-a-session-string"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_may_be_named_by_property_or_by_symfonys_header() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let (one, two) = (stage.supergroup(&[&alice]).await, stage.supergroup(&[&alice]).await);
    let body = |chat_id: i64| {
        json!({ "chat_id": chat_id, "primary_session": alice.data(), "backup_sessions_pool": [] })
            .to_string()
            .into_bytes()
    };
    let named = BasicProperties::default().with_type("start_monitoring_chat".into());
    stage.backend.send(&body(one.chat_id), named).await;
    let mut headers = FieldTable::default();
    let class = r"App\Message\StartMonitoringChatCommand";
    headers.insert("type".into(), AMQPValue::LongString(class.into()));
    let by_class = BasicProperties::default().with_headers(headers);
    stage.backend.send(&body(two.chat_id), by_class).await;
    stage.daemon.wait_for_monitors("active", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_hangs_does_not_delay_commands_for_other_chats() {
    let stage = Stage::set().await;
    let (slow, quick) = (stage.listener("slow").await, stage.listener("quick").await);
    let (one, two) = (stage.supergroup(&[&slow]).await, stage.supergroup(&[&quick]).await);
    stage.fault(&slow, FaultKind::Mute).await;
    for _ in 0..20 {
        stage.backend.start(one.chat_id.into(), &slow, &[]).await;
    }
    stage.monitor(&two, &quick, &[]).await;
    stage.say(&two, 1..=5).await;
    stage.expect_all(&two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_with_a_frozen_account_is_answered() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    stage.chat(ChatKind::Supergroup, Some("open_room"), &[]).await;
    let closed = stage.supergroup(&[]).await;
    stage.sim.freeze(alice.user_id, true).await.unwrap();
    for name in ["@open_room", closed.invite_link.as_str()] {
        let join = json!({ "command": "join_chat", "chat_id": name, "session": alice.data() });
        let outcome = stage.backend.ask(&join).await;
        assert_eq!(outcome["ok"], false);
        assert_eq!(outcome["error"]["code"], "frozen_method_invalid");
        assert!(outcome["error"]["message"].as_str().unwrap().contains("appeal"), "{outcome}");
    }
    stage.expect_clean_books().await;
}

/// Also under another id, and by the next life of the daemon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_session_that_is_brought_once_more_is_known_and_its_joins_are_answered() {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let closed = stage.supergroup(&[]).await;
    let room = stage.supergroup(&[&alice]).await;
    stage.sim.freeze(alice.user_id, true).await.unwrap();
    let joins = async |stage: &Stage| {
        let books = stage.sim.account(alice.user_id).await.unwrap();
        books.methods.get("messages.importChatInvite").copied().unwrap_or(0)
    };
    for _ in 0..2 {
        for session in [alice.clone(), alice.alias("again")] {
            let join = json!({
                "command": "join_chat", "chat_id": closed.invite_link, "session": session.data(),
            });
            let outcome = stage.backend.ask(&join).await;
            assert_eq!(outcome["error"]["code"], "frozen_method_invalid", "{outcome}");
            assert!(outcome["error"]["message"].as_str().unwrap().contains("appeal"), "{outcome}");
            assert_eq!(joins(&stage).await, 1, "it is known");
        }
        stage.daemon.kill();
        stage.sim.client_killed().await;
        stage.daemon.spawn().await;
    }
    // It may read, and a monitor that takes it over listens; no wait is made up.
    stage.accept(room.chat_id.into(), &alice, &[]).await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.say(&room, 1..=5).await;
    stage.expect_all(&room).await;
    assert_eq!((joins(&stage).await, stage.backend.losses()), (1, vec![]));
    stage.expect_clean_books().await;
}
