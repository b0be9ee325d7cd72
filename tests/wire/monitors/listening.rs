//! Chats are listened to: live, after gaps, under several names, over one connection an account.

use serde_json::{Value, json};
use telewarden_simulator::{Chat, ChatKind, FaultKind, FaultSpec};

use crate::support::{Broker, DaemonOptions, Listener, Stage, eventually, texts_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_live_messages_arrive_in_order_once_each() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=100).await;
    stage.expect_all(&chat).await;
    let events = stage.backend.events();
    assert_eq!(events.len(), 100, "nothing was delivered twice");
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_says_everything_the_contract_promises() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    let id = stage.sim.post(chat.chat_id, stage.author, "hello").await.unwrap();
    stage.expect_all(&chat).await;
    let event = stage.backend.events().remove(0);
    assert_eq!(event.body["event"], "incoming_telegram_message");
    assert_eq!(event.body["chat_id"], chat.chat_id);
    assert_eq!(event.body["message_id"], id);
    assert_eq!(event.body["text"], "hello");
    let date = event.body["date"].as_str().unwrap();
    assert!(date.ends_with('Z') && date.len() == 20, "{date} is ISO 8601 in UTC");
    let metadata = &event.body["metadata"];
    assert_eq!(metadata["session_id"], "alice");
    assert_eq!(metadata["marked_chat_id"], chat.chat_id);
    assert_eq!(metadata["chat_title"], "A room");
    assert_eq!(metadata["sender"]["id"], stage.author);
    assert_eq!(metadata["recovered"], false);
    assert!(metadata.as_object().unwrap().values().all(|value| !value.is_null()));
    let properties = &event.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.clone().unwrap().to_string();
    assert_eq!(text(properties.content_type()), "application/json");
    assert_eq!(text(properties.kind()), "incoming_telegram_message");
    assert_eq!(text(properties.app_id()), "telewarden");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert!(properties.timestamp().is_some() && !event.message_id.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_right_after_the_command_is_not_missed() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.backend.start(chat.chat_id.into(), &alice, &[]).await;
    stage.say(&chat, 1..=20).await;
    stage.expect_all(&chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_while_the_account_was_cut_off_is_recovered() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=10).await;
    stage.fault(&alice, FaultKind::RefuseConnections).await;
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.say(&chat, 11..=180).await;
    stage.sim.lift_faults().await;
    stage.expect_all(&chat).await;
    assert!(stage.backend.losses().is_empty(), "a short network loss is no access loss");
    let events = stage.backend.events();
    assert!(events.iter().any(|event| event.body["metadata"]["recovered"] == true));
}

/// Refused at once each time, so that all attempts would be over within two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_seconds_without_a_connection_are_no_access_loss_in_any_chat() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chats = [stage.supergroup(&[&alice]).await, stage.supergroup(&[&alice]).await];
    for chat in &chats {
        stage.backend.start(chat.chat_id.into(), &alice, &[]).await;
    }
    stage.daemon.wait_for_monitors("active", 2).await;
    stage.fault(&alice, FaultKind::RefuseConnections).await;
    stage.sim.disconnect(alice.user_id).await.unwrap();
    // The time is what is tested.
    tokio::time::sleep(std::time::Duration::from_millis(3_500)).await;
    stage.say(&chats[0], 1..=5).await;
    stage.sim.lift_faults().await;
    stage.expect_all(&chats[0]).await;
    assert_eq!(stage.backend.losses(), []);
    assert!(!stage.daemon.log().contains("access to a monitored chat is lost"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_says_it_is_not_ready_yet_has_failed_no_request() {
    let mut stage = Stage::prepare(Broker::shared(), DaemonOptions::default()).await;
    // Nobody listens there.
    stage.daemon.set_variable("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:1/%2f");
    stage.daemon.launch();
    eventually("it says so", async || {
        let answer = stage.daemon.get("/health/ready").await;
        matches!(answer, Ok((503, _))).then_some(())
    })
    .await;
    let lines = eventually("the answer is in the log", async || {
        let lines = stage.daemon.log_lines();
        let is_answer = |line: &Value| line["http.response.status_code"] == 503;
        lines.iter().any(is_answer).then_some(lines)
    })
    .await;
    assert!(lines.iter().all(|line| line["message"] != "a request failed"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_return_of_the_same_session_is_logged_once() {
    let options = DaemonOptions { max_reconnect_attempts: 1, ..DaemonOptions::default() };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    let lines = |message: &str| {
        let log = stage.daemon.log_lines();
        log.iter().filter(|line| line["message"] == message).count()
    };
    let (began, again) = (
        "the chat is being listened to",
        "the chat is being listened to again by the same session",
    );
    // A look at a chat that nobody missed is no return.
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    stage.daemon.wait_for_accounts("active", 1).await;
    assert_eq!((lines(began), lines(again)), (1, 0));
    for round in 1..=2 {
        stage.fault(&alice, FaultKind::RefuseConnections).await;
        stage.sim.disconnect(alice.user_id).await.unwrap();
        eventually("the loss is logged", async || {
            (lines("access to a monitored chat is lost") == round).then_some(())
        })
        .await;
        stage.sim.lift_faults().await;
        eventually("and the return", async || (lines(again) == round).then_some(())).await;
    }
    stage.say(&chat, 6..=10).await;
    stage.expect_all(&chat).await;
    let lost = lines("access to a monitored chat is lost");
    assert_eq!((lines(began), lost, lines(again)), (1, 2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swallowed_doubled_and_reordered_updates_change_nothing() {
    for kind in [FaultKind::SwallowUpdates, FaultKind::DuplicateUpdates, FaultKind::ReorderUpdates]
    {
        let stage = Stage::set().await;
        let alice = stage.listener("alice").await;
        let chat = stage.supergroup(&[&alice]).await;
        stage.monitor(&chat, &alice, &[]).await;
        stage.say(&chat, 1..=5).await;
        let spec = FaultSpec {
            user_id: Some(alice.user_id),
            kind: Some(kind),
            times: Some(7),
            ..FaultSpec::default()
        };
        stage.sim.add_fault(spec).await.unwrap();
        stage.say(&chat, 6..=30).await;
        stage.expect_all(&chat).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_long_differences_are_filled_from_history() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let room = stage.supergroup(&[&alice]).await;
    let group = stage.chat(ChatKind::Group, None, &[&alice]).await;
    stage.backend.start(room.chat_id.into(), &alice, &[]).await;
    stage.backend.start(group.chat_id.into(), &alice, &[]).await;
    stage.daemon.wait_for_monitors("active", 2).await;
    for kind in [FaultKind::ChannelDifferenceTooLong, FaultKind::DifferenceTooLong] {
        stage.fault(&alice, kind).await;
    }
    stage.fault(&alice, FaultKind::SwallowUpdates).await;
    stage.say(&room, 1..=40).await;
    stage.say(&group, 1..=40).await;
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.expect_texts(&room, &numbers(1..=40)).await;
    stage.expect_texts(&group, &numbers(1..=40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_larger_than_the_librarys_queue_loses_nothing() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=6000).await;
    stage.expect_all(&chat).await;
}

/// After a reconnect the library takes the first update of a channel without asking what was before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_wider_than_the_cursors_window_is_filled_before_what_came_after_it() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    reconnect(&stage, &alice).await;
    stage.fault(&alice, FaultKind::SwallowUpdates).await;
    stage.say(&chat, 4..=303).await;
    stage.sim.lift_faults().await;
    stage.say(&chat, 304..=305).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn basic_groups_channels_and_private_chats_are_listened_to() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let group = stage.chat(ChatKind::Group, None, &[&alice]).await;
    let channel = stage.chat(ChatKind::Channel, None, &[&alice]).await;
    stage.sim.post_private(alice.user_id, stage.author, "before").await.unwrap();
    stage.backend.start(group.chat_id.into(), &alice, &[]).await;
    stage.backend.start(channel.chat_id.into(), &alice, &[]).await;
    stage.backend.start(stage.author.into(), &alice, &[]).await;
    stage.daemon.wait_for_monitors("active", 3).await;
    stage.say(&group, 1..=10).await;
    stage.say(&channel, 1..=10).await;
    for number in 1..=10 {
        let text = number.to_string();
        stage.sim.post_private(alice.user_id, stage.author, &text).await.unwrap();
    }
    stage.expect_texts(&group, &numbers(1..=10)).await;
    stage.expect_texts(&channel, &numbers(1..=10)).await;
    let private = Value::from(stage.author);
    let told = stage
        .backend
        .wait_until("ten private messages", |events| {
            let texts = texts_of(events, &private);
            texts.contains(&"10".to_owned()).then_some(texts)
        })
        .await;
    // The message of the second before may be told too: one too many is better than one too few.
    let told: Vec<_> = told.into_iter().filter(|text| text != "before").collect();
    assert_eq!(told, numbers(1..=10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_may_be_named_by_username_or_link_and_events_echo_the_name() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.chat(ChatKind::Supergroup, Some("the_room"), &[&alice]).await;
    for name in ["@The_Room", "https://t.me/the_room"] {
        let start = json!({
            "command": "start_monitoring_chat",
            "chat_id": name,
            "primary_session": alice.data(),
        });
        assert_eq!(stage.backend.ask(&start).await["ok"], true);
        stage.daemon.wait_for_monitors("active", 1).await;
        stage.sim.post(chat.chat_id, stage.author, name).await.unwrap();
        let event = stage
            .backend
            .wait_until(name, |events| {
                events.iter().find(|event| event.body["text"] == name).cloned()
            })
            .await;
        assert_eq!(event.body["chat_id"], name);
        assert_eq!(event.body["metadata"]["marked_chat_id"], chat.chat_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_monitors_on_one_session_make_one_connection() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let mut chats = Vec::new();
    for _ in 0..5 {
        let chat = stage.supergroup(&[&alice]).await;
        stage.backend.start(chat.chat_id.into(), &alice, &[]).await;
        chats.push(chat);
    }
    stage.daemon.wait_for_monitors("active", 5).await;
    for chat in &chats {
        stage.say(chat, 1..=3).await;
        stage.expect_all(chat).await;
    }
    let books = stage.sim.account(alice.user_id).await.unwrap();
    assert_eq!((books.connections_now, books.connections_total), (1, 1));
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ids_for_one_auth_key_make_one_connection() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let alias = alice.alias("alias");
    let (one, two) = (stage.supergroup(&[&alice]).await, stage.supergroup(&[&alice]).await);
    stage.backend.start(one.chat_id.into(), &alice, &[]).await;
    stage.backend.start(two.chat_id.into(), &alias, &[]).await;
    stage.daemon.wait_for_monitors("active", 2).await;
    stage.say(&one, 1..=3).await;
    stage.say(&two, 1..=3).await;
    stage.expect_all(&one).await;
    stage.expect_all(&two).await;
    let books = stage.sim.account(alice.user_id).await.unwrap();
    assert_eq!((books.connections_now, books.connections_total), (1, 1));
    let sessions: std::collections::BTreeSet<_> = stage
        .backend
        .events()
        .iter()
        .map(|event| event.body["metadata"]["session_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(sessions.into_iter().collect::<Vec<_>>(), ["alias", "alice"]);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_is_listened_through_and_misses_nothing_over_a_reconnect() {
    let stage = Stage::set().await;
    let bot = stage.bot("bot").await;
    let chat = stage.supergroup(&[&bot]).await;
    stage.monitor(&chat, &bot, &[]).await;
    stage.say(&chat, 1..=10).await;
    stage.expect_all(&chat).await;
    stage.fault(&bot, FaultKind::RefuseConnections).await;
    stage.sim.disconnect(bot.user_id).await.unwrap();
    stage.say(&chat, 11..=30).await;
    stage.sim.lift_faults().await;
    stage.expect_all(&chat).await;
}

/// Over a new connection the first update of a channel comes without anything to be measured by.
async fn reconnect(stage: &Stage, listener: &Listener) {
    let reads = async || {
        let books = stage.sim.account(listener.user_id).await.unwrap();
        books.methods.get("messages.getHistory").copied().unwrap_or(0)
    };
    let before = reads().await;
    stage.sim.disconnect(listener.user_id).await.unwrap();
    eventually("history is read over the new connection", async || {
        (reads().await > before).then_some(())
    })
    .await;
    stage.daemon.wait_for_monitors("active", 1).await;
}

/// A chat in which ids are left out without any message behind them, so that for a minute nobody
/// asks when some are, and in which message 6 does not come live.
async fn with_a_hole_at_6(extra_config: &str) -> (Stage, Chat) {
    let extra_config = extra_config.to_owned();
    let options = DaemonOptions { extra_config, ..DaemonOptions::default() };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    reconnect(&stage, &alice).await;
    stage.lose_updates(&alice, 1).await;
    stage.say(&chat, 4..=4).await;
    stage.sim.delete(chat.chat_id, 4..=4).await.unwrap();
    stage.say(&chat, 5..=5).await;
    stage.expect_all(&chat).await;
    reconnect(&stage, &alice).await;
    stage.lose_updates(&alice, 1).await;
    stage.say(&chat, 6..=7).await;
    (stage, chat)
}

/// Every message of the chat is told once; what came late may stand behind what came in time.
async fn expect_all_in_any_order(stage: &Stage, chat: &Chat) {
    let truth = stage.sim.messages(chat.chat_id).await.unwrap();
    let chat_id = Value::from(chat.chat_id);
    let mut told = stage
        .backend
        .wait_until("every message is told", |events| {
            let texts = texts_of(events, &chat_id);
            (texts.len() >= truth.len()).then_some(texts)
        })
        .await;
    let mut truth: Vec<_> = truth.into_iter().map(|message| message.text).collect();
    truth.sort();
    told.sort();
    assert_eq!(told, truth);
}

/// The comparison finds the message while it may still be on its way, and goes on to the next page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_more_than_a_page_deep_is_found_by_comparing() {
    let (stage, chat) = with_a_hole_at_6("\n[monitoring]\ncheck_every = \"2s\"\n").await;
    stage.say(&chat, 8..=120).await;
    expect_all_in_any_order(&stage, &chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_is_looked_into_before_the_cursor_forgets_it() {
    let (stage, chat) = with_a_hole_at_6("").await;
    stage.say(&chat, 8..=200).await;
    expect_all_in_any_order(&stage, &chat).await;
    stage.expect_clean_books().await;
}

/// What a comparison did not find is not looked for by the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_is_looked_for_once() {
    let (stage, chat) = with_a_hole_at_6("\n[monitoring]\ncheck_every = \"2s\"\n").await;
    stage.sim.delete(chat.chat_id, 6..=6).await.unwrap();
    stage.say(&chat, 8..=120).await;
    stage.expect_all(&chat).await;
    let checks = async || {
        let text = stage.daemon.metrics().await;
        let name = r#"telewarden_chat_checks_total{result="whole"} "#;
        let number = text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        number.unwrap_or(0)
    };
    let reads = async || {
        let stats = stage.sim.stats().await;
        stats.methods.get("messages.getHistory").copied().unwrap_or(0)
    };
    let before = checks().await;
    eventually("all of it was compared", async || (checks().await > before).then_some(())).await;
    let (compared, read) = (checks().await, reads().await);
    eventually("it is compared three times more", async || {
        (checks().await >= compared + 3).then_some(())
    })
    .await;
    // One more may be under way.
    let (compared, read) = (checks().await - compared, reads().await - read);
    assert!(read <= compared + 1, "{read} pages for {compared} comparisons");
}

/// What lies behind a hole of which a bot sees nothing but the other side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_looks_behind_more_missing_ids_than_it_may_ask_for_at_once() {
    let stage = Stage::set().await;
    let bot = stage.bot("bot").await;
    let chat = stage.supergroup(&[&bot]).await;
    stage.monitor(&chat, &bot, &[]).await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    stage.fault(&bot, FaultKind::SwallowUpdates).await;
    stage.say(&chat, 4..=340).await;
    stage.sim.delete(chat.chat_id, 4..=303).await.unwrap();
    stage.sim.lift_faults().await;
    // Of what was missed it brings the newest messages only.
    stage.fault(&bot, FaultKind::ChannelDifferenceTooLong).await;
    stage.say(&chat, 341..=342).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_has_to_wait_for_long_hands_the_chat_on() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    for (listener, seconds) in [(&alice, 300), (&bob, 5)] {
        let spec = FaultSpec {
            user_id: Some(listener.user_id),
            method: Some("messages.getHistory".into()),
            error: Some(format!("FLOOD_WAIT_{seconds}")),
            times: Some(1),
            ..FaultSpec::default()
        };
        stage.sim.add_fault(spec).await.unwrap();
    }
    stage.backend.start(chat.chat_id.into(), &alice, &[&bob]).await;
    stage.say(&chat, 1..=10).await;
    stage.expect_all(&chat).await;
    let events = stage.backend.events();
    assert!(events.iter().any(|event| event.body["metadata"]["session_id"] == "bob"));
    stage.backend.wait_for_loss(&alice, "connection_failed").await;
    let losses = stage.backend.losses();
    assert!(
        losses.iter().all(|(session, _)| session == "alice"),
        "a short wait is kept: {losses:?}"
    );
    assert!(stage.daemon.log().contains("another one takes over"));
    stage.expect_clean_books().await;
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
