//! What comes in: no command lost, none acknowledged early, none waiting for another chat's.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use telewarden::edge::amqp::{LinkSnapshot, LinkState};
use telewarden::protocol::bridge::command::{COMMAND_BODY_MAX, Command};
use tokio::time::sleep;

use super::proxy::Proxy;
use super::support::{Admin, Broker, Running, Sink, eventually, options, shared_url, status_where};

#[tokio::test]
async fn commands_reach_the_sink_and_are_acknowledged_after_it_took_them() {
    let options = options(&shared_url());
    let sink = Sink::default();
    sink.hold("1");
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    let properties = BasicProperties::default()
        .with_reply_to("answers".into())
        .with_correlation_id("7".into())
        .with_type("stop_monitoring_chat".into());
    admin.command(&options, br#"{"chat_id": "1"}"#, properties).await;
    sink.let_go("1");
    sink.wait_for(1).await;
    let order = sink.taken().remove(0);
    assert!(matches!(order.command, Command::StopMonitoring { .. }));
    let reply = order.reply.unwrap();
    assert_eq!((reply.queue.as_str(), reply.correlation_id.as_deref()), ("answers", Some("7")));
    status_where(&link.status, "acknowledged", |status| status.consumed == 1).await;
    link.stopped().await;
    assert_eq!(admin.depth(&options.command_queue).await, 0);
}

#[tokio::test]
async fn a_class_name_in_a_header_names_the_command() {
    let options = options(&shared_url());
    let sink = Sink::default();
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    let mut headers = FieldTable::default();
    let class = r"App\Message\StopMonitoringChatCommand";
    headers.insert("type".into(), AMQPValue::LongString(class.into()));
    let properties = BasicProperties::default().with_headers(headers);
    admin.command(&options, br#"{"chat_id": 5}"#, properties).await;
    assert_eq!(sink.wait_for(1).await, ["5"]);
    link.stopped().await;
}

#[tokio::test]
async fn what_is_not_understood_is_put_aside_and_does_not_stop_the_next() {
    let options = options(&shared_url());
    let sink = Sink::default();
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    let answers = format!("answers-{}", options.exchange);
    admin.queue(&answers, false, FieldTable::default()).await;
    let mut headers = FieldTable::default();
    headers.insert("x-mine".into(), AMQPValue::LongString("kept".into()));
    let copies = vec![AMQPValue::LongString(answers.as_str().into())];
    headers.insert("CC".into(), AMQPValue::FieldArray(copies.into()));
    let asked = BasicProperties::default()
        .with_reply_to(answers.as_str().into())
        .with_correlation_id("42".into())
        .with_message_id("theirs".into())
        .with_expiration("600000".into())
        .with_headers(headers);
    let huge = vec![b' '; COMMAND_BODY_MAX + 1];
    admin.command(&options, b"not json at all", asked).await;
    admin.command(&options, br#"{"command":"fly"}"#, BasicProperties::default()).await;
    admin.command(&options, &huge, BasicProperties::default()).await;
    admin.stop_chat(&options, 9).await;

    assert_eq!(sink.wait_for(1).await, ["9"]);
    status_where(&link.status, "put aside", |status| status.dead_lettered == 3).await;
    let dead = options.dead_queue();
    let letter = admin.wait_for_one(&dead).await.delivery;
    assert_eq!(letter.data, b"not json at all");
    assert_eq!(letter.properties.message_id().as_ref().unwrap().as_str(), "theirs");
    assert_eq!(letter.properties.reply_to().as_ref().unwrap().as_str(), answers);
    assert_eq!(*letter.properties.expiration(), None, "a dead letter does not vanish");
    assert_eq!(header(&letter.properties, "x-mine"), "kept");
    assert_eq!(header(&letter.properties, "x-error-code"), "bad_json");
    assert!(!header(&letter.properties, "x-error-message").is_empty());
    assert!(!letter.properties.headers().as_ref().unwrap().contains_key("CC"));
    let letter = admin.wait_for_one(&dead).await.delivery;
    assert_eq!(header(&letter.properties, "x-error-code"), "unknown_command");
    let letter = admin.wait_for_one(&dead).await.delivery;
    assert_eq!(header(&letter.properties, "x-error-code"), "too_large");
    assert_eq!(letter.data, huge);

    let answer = admin.wait_for_one(&answers).await.delivery;
    assert_eq!(answer.properties.correlation_id().as_ref().unwrap().as_str(), "42");
    let body = String::from_utf8(answer.data).unwrap();
    assert!(body.contains(r#""ok":false"#) && body.contains("bad_json"), "{body}");
    let status = link.stopped().await;
    assert_eq!((status.consumed, status.dead_lettered), (1, 3));
    assert_eq!(admin.depth(&options.command_queue).await, 0);
    admin.delete_queue(&answers).await;
}

fn header(properties: &BasicProperties, name: &str) -> String {
    match properties.headers().as_ref().unwrap().inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("the header {name} is {other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_when_the_dead_letter_finds_no_queue() {
    let options = options(&shared_url());
    let link = Running::consumer(&options, &Sink::default());
    link.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    admin.delete_queue(&options.dead_queue()).await;
    admin.command(&options, b"?", BasicProperties::default()).await;
    // The next connection declares the queue again, and the letter comes again.
    status_where(&link.status, "put aside", |status| status.dead_lettered == 1).await;
    let letter = admin.wait_for_one(&options.dead_queue()).await;
    assert_eq!(letter.delivery.data, b"?");
    link.stopped().await;
}

#[tokio::test]
async fn commands_come_again_when_the_sink_was_unavailable() {
    let options = options(&shared_url());
    let sink = Sink::default();
    sink.set_unavailable(true);
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    for _ in 0..2 {
        for chat in 1..=3 {
            admin.stop_chat(&options, chat).await;
        }
    }
    eventually("refusals", async || (sink.refusals() >= 6).then_some(())).await;
    let detail = |status: &LinkSnapshot| {
        status.state == LinkState::Down
            && status.detail.as_ref().is_some_and(|text| text.contains("store"))
    };
    status_where(&link.status, "it says why", detail).await;
    sink.set_unavailable(false);
    let mut chats = sink.wait_for(6).await;
    chats.sort();
    assert_eq!(chats, ["1", "1", "2", "2", "3", "3"]);
    link.wait_until_up().await;
    link.stopped().await;
    assert_eq!(admin.depth(&options.command_queue).await, 0);
}

#[tokio::test]
async fn refusals_are_not_repeated_without_a_pause() {
    let options = options(&shared_url());
    let sink = Sink::default();
    sink.set_unavailable(true);
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    Admin::of(&shared_url()).await.stop_chat(&options, 1).await;
    eventually("a refusal", async || (sink.refusals() >= 1).then_some(())).await;
    sleep(Duration::from_secs(2)).await;
    // At least 0.1 s, 0.2 s, 0.4 s, 0.8 s, 1.6 s lie between them.
    assert!(sink.refusals() <= 6, "{} refusals in two seconds", sink.refusals());
    link.stopped().await;
}

#[tokio::test]
async fn a_stuck_chat_delays_its_own_commands_only_and_keeps_their_order() {
    let options = options(&shared_url());
    let sink = Sink::default();
    sink.hold("1");
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    let bodies = [
        r#"{"command":"stop_monitoring_chat","chat_id":1}"#,
        r#"{"command":"stop_monitoring_chat","chat_id":"1"}"#,
        r#"{"command":"stop_monitoring_chat","chat_id":2}"#,
        r#"{"command":"stop_monitoring_chat","chat_id":" 1"}"#,
        r#"{"command":"stop_monitoring_chat","chat_id":3}"#,
    ];
    for body in bodies {
        admin.command(&options, body.as_bytes(), BasicProperties::default()).await;
    }
    let mut chats = sink.wait_for(2).await;
    chats.sort();
    assert_eq!(chats, ["2", "3"]);
    sink.let_go("1");
    sink.wait_for(5).await;
    let spelled = |order: &telewarden::protocol::bridge::command::Order| {
        serde_json::to_string(&order.command.chat().spelling).unwrap()
    };
    let orders = sink.taken();
    let of_one: Vec<_> =
        orders.iter().filter(|o| o.command.chat().key().0 == "1").map(spelled).collect();
    assert_eq!(of_one, ["1", "\"1\"", "\" 1\""]);
    link.stopped().await;
}

#[tokio::test]
async fn no_more_is_in_hand_than_the_prefetch_allows() {
    let mut options = options(&shared_url());
    options.prefetch = 4;
    let sink = Sink::default();
    (1..=20).for_each(|chat: i64| sink.hold(&chat.to_string()));
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    for chat in 1..=20 {
        admin.stop_chat(&options, chat).await;
    }
    eventually("the rest waits in the queue", async || {
        (admin.depth(&options.command_queue).await == 16).then_some(())
    })
    .await;
    (1..=20).for_each(|chat: i64| sink.let_go(&chat.to_string()));
    sink.wait_for(20).await;
    link.stopped().await;
}

#[tokio::test]
async fn commands_survive_connections_that_break() {
    let proxy = Proxy::before(&shared_url()).await;
    let options = options(&proxy.url);
    let sink = Sink::default();
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    for chat in 1..=300 {
        admin.stop_chat(&options, chat).await;
        if chat % 100 == 50 {
            let before = proxy.connections();
            proxy.cut();
            let again = async || (proxy.connections() > before).then_some(());
            eventually("it connects again", again).await;
        }
    }
    eventually("every command", async || {
        let chats = sink.chats();
        (1..=300).all(|chat: i64| chats.contains(&chat.to_string())).then_some(())
    })
    .await;
    assert!(proxy.connections() >= 4);
    eventually("all are acknowledged", async || {
        (admin.depth(&options.command_queue).await == 0).then_some(())
    })
    .await;
    link.stopped().await;
}

#[tokio::test]
async fn commands_sent_while_the_broker_restarts_and_before_arrive() {
    let broker = Broker::start().await;
    let options = options(&broker.url);
    let sink = Sink::default();
    sink.hold("1");
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let body = br#"{"command":"stop_monitoring_chat","chat_id":1}"#;
    Admin::of(&broker.url).await.command(&options, body, persistent).await;
    broker.restart().await;
    link.wait_until_up().await;
    sink.let_go("1");
    sink.wait_for(1).await;
    status_where(&link.status, "acknowledged", |status| status.consumed >= 1).await;
    link.stopped().await;
}

#[tokio::test]
async fn a_command_queue_that_is_deleted_is_declared_again() {
    let options = options(&shared_url());
    let sink = Sink::default();
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let before = link.status.snapshot().since;
    let admin = Admin::of(&shared_url()).await;
    admin.delete_queue(&options.command_queue).await;
    let again = |status: &LinkSnapshot| status.state == LinkState::Up && status.since > before;
    status_where(&link.status, "up again", again).await;
    admin.stop_chat(&options, 4).await;
    assert_eq!(sink.wait_for(1).await, ["4"]);
    link.stopped().await;
}

#[tokio::test]
async fn a_stopping_link_finishes_what_is_in_hand_and_leaves_the_rest() {
    let mut options = options(&shared_url());
    options.prefetch = 2;
    let sink = Sink::default();
    sink.hold("1");
    sink.hold("2");
    let link = Running::consumer(&options, &sink);
    link.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    for chat in 1..=5 {
        admin.stop_chat(&options, chat).await;
    }
    eventually("two are in hand", async || {
        (admin.depth(&options.command_queue).await == 3).then_some(())
    })
    .await;
    link.ask_to_stop();
    sink.let_go("1");
    sink.wait_for(1).await;
    sink.let_go("2");
    let status = link.stopped().await;
    assert_eq!((status.state, status.consumed), (LinkState::Stopped, 2));
    let mut chats = sink.chats();
    chats.sort();
    assert_eq!(chats, ["1", "2"]);
    assert_eq!(admin.depth(&options.command_queue).await, 3);
}
