//! What is remembered of sessions, chats and people, and for how long: over stops, restarts and kills.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use telewarden::protocol::accounts::daily_limits::DayCount;
use telewarden::store::{Op, Snapshot, Store, StoreOptions};
use telewarden_simulator::{Account, ChatKind, FaultSpec};

use crate::support::{Broker, Client, Daemon, DaemonOptions, Harness, Listener, Stage, eventually};

/// What a daemon that has ended remembers.
async fn left_by(daemon: &Daemon) -> Snapshot {
    let (store, outbox) = Store::open(StoreOptions::new(daemon.store())).unwrap();
    let snapshot = store.blocking().load().unwrap();
    store.close().await.unwrap();
    drop(outbox);
    snapshot
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_nothing_uses_any_more_is_forgotten_here_and_lives_on_at_telegram() {
    let mut stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let (one, two) = (stage.supergroup(&[&alice, &bob]).await, stage.supergroup(&[&alice]).await);
    stage.backend.start(one.chat_id.into(), &alice, &[&bob]).await;
    stage.backend.start(two.chat_id.into(), &alice, &[]).await;
    stage.daemon.wait_for_monitors("active", 2).await;
    let stop = |chat_id: i64| json!({ "command": "stop_monitoring_chat", "chat_id": chat_id });
    let told = stage.backend.ask(&stop(one.chat_id)).await;
    assert_eq!(told["result"]["forgotten_sessions"], json!(["bob"]), "alice is used: {told}");
    stage.say(&two, 1..=3).await;
    stage.expect_all(&two).await;
    let switch = json!({
        "command": "switch_monitoring_source",
        "chat_id": two.chat_id,
        "new_primary_session": alice.alias("alice-again").data(),
    });
    let told = stage.backend.ask(&switch).await;
    assert_eq!(told["result"]["forgotten_sessions"], json!(["alice"]), "{told}");
    let told = stage.backend.ask(&stop(two.chat_id)).await;
    assert_eq!(told["result"]["forgotten_sessions"], json!(["alice-again"]), "{told}");
    let told = stage.backend.ask(&stop(two.chat_id)).await;
    assert_eq!(told["result"].get("forgotten_sessions"), None, "{told}");
    eventually("it is disconnected", async || {
        let books = stage.sim.account(alice.user_id).await.unwrap();
        (books.connections_now == 0).then_some(())
    })
    .await;
    stage.daemon.terminate().await;
    let left = left_by(&stage.daemon).await;
    assert_eq!((left.sessions.len(), left.accounts.len()), (0, 0), "{left:?}");
    // The session is the backend's, and as good as before.
    stage.daemon.spawn().await;
    stage.backend.start(two.chat_id.into(), &alice, &[]).await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.say(&two, 4..=6).await;
    stage.expect_all(&two).await;
    assert_eq!(stage.backend.losses(), []);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_only_joined_is_forgotten_with_the_join() {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let closed = stage.supergroup(&[]).await;
    let join = json!({
        "command": "join_chat", "chat_id": closed.invite_link, "session": alice.data(),
    });
    let told = stage.backend.ask(&join).await;
    assert_eq!((&told["ok"], &told["result"]["state"]), (&json!(true), &json!("joined")));
    assert_eq!(told["result"]["forgotten_sessions"], json!(["alice"]), "{told}");
    stage.daemon.terminate().await;
    let left = left_by(&stage.daemon).await;
    assert_eq!((left.sessions.len(), left.accounts.len()), (0, 0), "{left:?}");
    stage.expect_clean_books().await;
}

/// The chats that are monitored, as an admin sees them.
async fn monitored(admin: &Client) -> Vec<Value> {
    let page = admin.get("/monitors").await.expect(200);
    let items = page["items"].as_array().expect("a list").iter();
    items.map(|monitor| monitor["chat_id"].clone()).collect()
}

/// Somebody who is in a chat, the command that has it monitored, and where an admin sees that.
async fn a_chat_of_the_bridge(harness: &Harness) -> (Account, Value, String) {
    let person = harness.person().await;
    let chat = harness.chat(ChatKind::Supergroup, None, &[&person]).await;
    let start = json!({
        "command": "start_monitoring_chat",
        "chat_id": chat.chat_id,
        "primary_session": Listener::new("alice", &person).data(),
    });
    (person, start, format!("/monitors/{}", chat.chat_id))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admins_delete_and_the_bridges_start_leave_what_a_restart_finds() {
    let (mut harness, backend) = Harness::open_with_backend().await;
    let admin = harness.admin();
    let (_, start, path) = a_chat_of_the_bridge(&harness).await;
    for round in 0..12 {
        assert_eq!(backend.ask(&start).await["ok"], true);
        let delete = async { admin.delete(&path).await.status };
        let again = async {
            tokio::time::sleep(Duration::from_millis(round)).await;
            backend.ask(&start).await
        };
        let (deleted, started) = tokio::join!(delete, again);
        assert_eq!((deleted, &started["ok"]), (204, &json!(true)));
        let running = monitored(&admin).await;
        harness.kill().await;
        harness.daemon.spawn().await;
        assert_eq!(monitored(&admin).await, running, "round {round}: what ran is what was kept");
    }
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_chat_keeps_its_reason_and_since_when_over_a_restart() {
    let (mut harness, backend) = Harness::open_with_backend().await;
    let admin = harness.admin();
    let (person, start, path) = a_chat_of_the_bridge(&harness).await;
    assert_eq!(backend.ask(&start).await["ok"], true);
    let until = async |state: &str| {
        eventually("the monitor is so far", async || {
            let monitor = admin.get(&path).await.expect(200);
            (monitor["state"] == state).then_some(monitor)
        })
        .await
    };
    until("active").await;
    harness.sim.revoke(person.user_id, None).await.unwrap();
    harness.sim.disconnect(person.user_id).await.unwrap();
    let before = until("exhausted").await;
    assert!(before["error"].is_string() && before["since"].is_string(), "{before:#}");
    for _ in 0..2 {
        harness.kill().await;
        harness.daemon.spawn().await;
        let after = until("exhausted").await;
        assert_eq!((&after["error"], &after["since"]), (&before["error"], &before["since"]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_was_told_outlives_a_kill_in_that_moment() {
    let mut harness = Harness::open().await;
    let (user, account, friend) =
        (harness.user("ann"), harness.person().await, harness.named("the_friend").await);
    let id = harness.connect(&user, &account).await;
    let spec = FaultSpec {
        user_id: Some(account.user_id),
        method: Some("messages.sendMessage".into()),
        error: Some("FLOOD_WAIT_600".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    harness.sim.add_fault(spec).await.unwrap();
    let brief = json!({ "to": "@the_friend", "text": "patience", "timeout": 1 });
    let path = format!("/accounts/{id}/messages");
    user.post(&path, brief.clone()).await.expect_problem(429, "TG_API_429");
    harness.kill().await;
    harness.daemon.spawn().await;
    harness.until_state(&user, &id, "cooling_down").await;
    user.post(&path, brief).await.expect_problem(429, "TG_API_429");
    assert_eq!(harness.inbox(&friend).await.len(), 0);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_shows_the_count_that_is_in_force_after_the_clock_went_back() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.daemon.terminate().await;
    // As if it had been tomorrow until now.
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let tomorrow = i64::try_from(since.as_secs() / 86_400).unwrap() + 1;
    let used = BTreeMap::from([("send".to_owned(), 37)]);
    let count = DayCount { telegram_id: account.user_id, day: tomorrow, used };
    let (store, outbox) = Store::open(StoreOptions::new(harness.daemon.store())).unwrap();
    store.commit(vec![Op::PutDayCount(count)]).await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
    harness.daemon.spawn().await;
    let status = user.get(&format!("/accounts/{id}/status")).await.expect(200);
    assert_eq!(status["caps"][0]["used"], 37, "{status:#}");
    let resets = telewarden::protocol::values::time::iso8601((tomorrow + 1) * 86_400);
    let told = status["caps"][0]["resets_at"].as_str().unwrap();
    assert_eq!(told.get(..19), resets.get(..19), "when that day is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_that_keeps_panicking_is_told_of_and_everything_else_goes_on() {
    for helper in ["caretaker", "herald", "rekeying", "backlog", "key-timer", "health"] {
        let options = DaemonOptions { fail_points: true, ..DaemonOptions::default() };
        let mut stage = Stage::prepare(Broker::shared(), options).await;
        stage.daemon.set_variable("TELEWARDEN_STUMBLE", &format!("helper/{helper}"));
        stage.daemon.spawn().await;
        let alice = stage.listener("alice").await;
        let chat = stage.supergroup(&[&alice]).await;
        stage.monitor(&chat, &alice, &[]).await;
        let actor = format!("helper/{helper}");
        let attempts = eventually("the ledger tells of two ends", async || {
            let (_, health) = stage.daemon.get("/health").await.unwrap();
            let restarts = health["restarts"].as_array()?.clone();
            let ours = restarts.iter().filter(|restart| restart["actor"] == actor);
            (ours.count() >= 2).then_some(restarts)
        })
        .await;
        assert!(attempts.iter().all(|restart| restart["is_parked"] != true), "{attempts:?}");
        stage.say(&chat, 1..=5).await;
        stage.expect_all(&chat).await;
        stage.expect_clean_books().await;
    }
}
