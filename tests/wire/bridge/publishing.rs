//! What leaves: each event once and in order, whatever the broker does meanwhile.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use telewarden::edge::amqp::{LinkSnapshot, LinkState};
use telewarden::protocol::bridge::outbox::{OutboxEntry, Route};
use telewarden::protocol::values::secret::SecretText;
use tokio::time::sleep;
use uuid::Uuid;

use super::proxy::Proxy;
use super::support::{
    Admin, Broker, Outbox, Running, event, eventually, id_of, options, shared_url, status_where,
    takes_nothing,
};

#[tokio::test]
async fn events_arrive_in_order_with_all_their_properties() {
    let options = options(&shared_url());
    let outbox = Outbox::default();
    let expected = outbox.add_events(3000);
    let link = Running::publisher(&options, &outbox);
    outbox.wait_until_released(3000).await;

    let admin = Admin::of(&shared_url()).await;
    let first = admin.wait_for_one(&options.event_queue).await.delivery;
    let properties = &first.properties;
    assert_eq!(first.exchange.as_str(), options.exchange);
    assert_eq!(first.routing_key.as_str(), "event");
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().unwrap().to_string();
    assert_eq!(text(properties.content_type()), "application/json");
    assert_eq!(text(properties.kind()), "incoming_telegram_message");
    assert_eq!(text(properties.app_id()), "telewarden");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(*properties.timestamp(), Some(1_700_000_000));
    assert_eq!(*properties.correlation_id(), None);
    let header = |name: &str| {
        let headers = properties.headers().as_ref().unwrap();
        headers.inner().get(name).unwrap().as_long_string().unwrap().to_string()
    };
    assert_eq!(header("type"), "incoming_telegram_message");
    assert_eq!(header("Content-Type"), "application/json");
    assert_eq!(first.data, event(0).body);

    let (rest, all) = admin.distinct(&options.event_queue, 2999).await;
    assert_eq!((id_of(properties), rest.as_slice(), all), (expected[0], &expected[1..], 2999));
    let status = link.stopped().await;
    assert_eq!((status.published, status.confirmed), (3000, 3000));
    assert_eq!((status.state, status.unroutable), (LinkState::Stopped, 0));
}

#[tokio::test]
async fn replies_go_to_the_queue_that_the_command_named() {
    let options = options(&shared_url());
    let admin = Admin::of(&shared_url()).await;
    let queue = format!("reply-{}", options.exchange);
    admin.queue(&queue, false, FieldTable::default()).await;
    let outbox = Outbox::default();
    for correlation_id in [Some("order 66".to_owned()), None] {
        let route = Route::Reply { queue: queue.clone(), correlation_id };
        outbox.add(OutboxEntry { route, kind: "command_reply".into(), ..event(0) });
    }
    // Nobody waits for this one any more: it must not hold up the next.
    let route = Route::Reply { queue: "nobody-is-here".into(), correlation_id: None };
    outbox.add(OutboxEntry { route, ..event(1) });
    outbox.add_events(1);
    let link = Running::publisher(&options, &outbox);
    outbox.wait_until_released(4).await;

    let first = admin.wait_for_one(&queue).await.delivery.properties;
    assert_eq!(first.correlation_id().as_ref().unwrap().as_str(), "order 66");
    assert_eq!(first.kind().as_ref().unwrap().as_str(), "command_reply");
    assert_eq!(*first.headers(), None);
    let second = admin.wait_for_one(&queue).await.delivery.properties;
    assert_eq!(*second.correlation_id(), None);
    assert_eq!(link.stopped().await.unroutable, 0);
    admin.delete_queue(&queue).await;
}

/// The name of a direct reply-to that RabbitMQ 3.10 ends the connection over, although it is well
/// formed: the node has a name of its own, as brokers before 3.10 write it.
pub(crate) const FATAL_REPLY_TO: &str =
    "amq.rabbitmq.reply-to.g1h2AAtyYWJiaXRAaG9zdAAAAAEAAAAAAAAAAQ==.gz3qH9YxTqWqN2r8bM8mHg==";

#[tokio::test]
async fn a_reply_that_the_broker_ends_the_connection_over_does_not_stop_what_follows() {
    let options = options(&shared_url());
    let admin = Admin::of(&shared_url()).await;
    let queue = format!("reply-{}", options.exchange);
    admin.queue(&queue, false, FieldTable::default()).await;
    let outbox = Outbox::default();
    let reply = |queue: &str| {
        let route = Route::Reply { queue: queue.into(), correlation_id: None };
        OutboxEntry { route, kind: "command_reply".into(), ..event(0) }
    };
    let mut expected = outbox.add_events(50);
    // One that is never published, one that is until it is given up, and two around it that arrive.
    outbox.add(reply("amq.rabbitmq.reply-to.x.y"));
    let before = outbox.add(reply(&queue));
    outbox.add(reply(FATAL_REPLY_TO));
    let after = outbox.add(reply(&queue));
    expected.extend(outbox.add_events(50));
    let link = Running::publisher(&options, &outbox);
    outbox.wait_until_released(104).await;

    let (arrived, _) = admin.distinct(&options.event_queue, 100).await;
    assert!(arrived == expected, "each event, in order");
    assert_eq!(admin.distinct(&queue, 2).await.0, [before, after]);
    link.wait_until_up().await;
    // The first connection's end does not say over which, so all come again; after that only the
    // one that three more end over.
    let status = link.stopped().await;
    assert!(status.published <= 104 + 53 + 2 + 52, "{status:?}");
    assert!(status.replies_dropped >= 2, "{status:?}");
    admin.delete_queue(&queue).await;
}

#[tokio::test]
async fn a_reply_to_a_queue_that_takes_nothing_does_not_stop_what_follows() {
    let options = options(&shared_url());
    let admin = Admin::of(&shared_url()).await;
    let queue = format!("reply-{}", options.exchange);
    admin.queue(&queue, false, takes_nothing()).await;
    let outbox = Outbox::default();
    let route = Route::Reply { queue: queue.clone(), correlation_id: None };
    outbox.add(OutboxEntry { route, kind: "command_reply".into(), ..event(0) });
    let expected = outbox.add_events(20);
    let link = Running::publisher(&options, &outbox);
    outbox.wait_until_released(21).await;
    assert_eq!(admin.distinct(&options.event_queue, 20).await.0, expected);
    assert_eq!(link.stopped().await.replies_dropped, 1);
    admin.delete_queue(&queue).await;
}

#[tokio::test]
async fn an_event_that_the_broker_does_not_take_is_never_given_up() {
    let options = options(&shared_url());
    let admin = Admin::of(&shared_url()).await;
    admin.queue(&options.event_queue, true, takes_nothing()).await;
    let outbox = Outbox::default();
    let expected = outbox.add_events(3);
    let link = Running::publisher(&options, &outbox);
    status_where(&link.status, "refused five times", |status| status.nacked >= 5).await;
    assert_eq!(outbox.released(), 0);
    admin.delete_queue(&options.event_queue).await;
    outbox.wait_until_released(3).await;
    assert_eq!(admin.distinct(&options.event_queue, 3).await.0, expected);
    assert_eq!(link.stopped().await.replies_dropped, 0);
}

#[tokio::test]
async fn a_broker_restart_in_mid_stream_loses_and_reorders_nothing() {
    let broker = Broker::start().await;
    let options = options(&broker.url);
    let outbox = Outbox::default();
    let mut expected = outbox.add_events(2000);
    let link = Running::publisher(&options, &outbox);
    outbox.wait_until_released(1).await;
    let feeder = {
        let outbox = outbox.clone();
        tokio::spawn(async move {
            let mut added = Vec::new();
            for number in 0..400 {
                added.push(outbox.add(event(number)));
                sleep(Duration::from_millis(20)).await;
            }
            added
        })
    };
    broker.restart().await;
    expected.extend(feeder.await.unwrap());
    outbox.wait_until_released(expected.len()).await;

    let admin = Admin::of(&broker.url).await;
    let (arrived, _) = admin.distinct(&options.event_queue, expected.len()).await;
    assert!(arrived == expected, "each once and in order");
    link.wait_until_up().await;
    link.stopped().await;
}

#[tokio::test]
async fn a_connection_that_breaks_again_and_again_loses_and_reorders_nothing() {
    let proxy = Proxy::before(&shared_url()).await;
    let options = options(&proxy.url);
    let outbox = Outbox::default();
    let expected = outbox.add_events(20_000);
    let link = Running::publisher(&options, &outbox);
    for part in 1..=4 {
        outbox.wait_until_released(part * 2500).await;
        proxy.cut();
    }
    outbox.wait_until_released(expected.len()).await;
    assert!(proxy.connections() >= 5, "it was cut four times");
    assert!(outbox.rewinds() >= 1, "at least once something was in flight");

    let admin = Admin::of(&shared_url()).await;
    let (arrived, all) = admin.distinct(&options.event_queue, expected.len()).await;
    assert!(arrived == expected, "each once and in order, after {all} deliveries");
    link.stopped().await;
}

#[tokio::test]
async fn no_more_is_in_flight_than_the_window_allows() {
    /// As in `src/edge/amqp/publisher.rs`.
    const WINDOW: u32 = 1024;
    let proxy = Proxy::before(&shared_url()).await;
    let options = options(&proxy.url);
    let outbox = Outbox::default();
    let link = Running::publisher(&options, &outbox);
    // With the first one through, nothing but confirms is waited for.
    outbox.add_events(1);
    outbox.wait_until_released(1).await;
    let admin = Admin::of(&shared_url()).await;
    admin.wait_for_one(&options.event_queue).await;
    proxy.set_heard(false);
    let expected = outbox.add_events(5000);
    let full = async || (admin.depth(&options.event_queue).await == WINDOW).then_some(());
    eventually("the window is full", full).await;
    for _ in 0..20 {
        assert_eq!(admin.depth(&options.event_queue).await, WINDOW, "nothing more is sent");
    }
    assert_eq!(outbox.released(), 1, "nothing that is not confirmed is forgotten");
    proxy.set_heard(true);
    outbox.wait_until_released(5001).await;
    let (arrived, all) = admin.distinct(&options.event_queue, 5000).await;
    assert!(arrived == expected && all == 5000, "each once and in order, {all} deliveries");
    link.stopped().await;
}

#[tokio::test]
async fn an_idle_connection_that_the_broker_closes_is_noticed_and_replaced() {
    let broker = Broker::start().await;
    let outbox = Outbox::default();
    let options = options(&broker.url);
    let link = Running::publisher(&options, &outbox);
    link.wait_until_up().await;
    let before = link.status.snapshot().since;
    broker.ctl(&["close_all_connections", "for a test"]).await;
    let again = |status: &LinkSnapshot| status.state == LinkState::Up && status.since > before;
    status_where(&link.status, "up again", again).await;
    outbox.add_events(1);
    outbox.wait_until_released(1).await;
    link.stopped().await;
}

#[tokio::test]
async fn events_without_a_queue_are_kept_and_reported() {
    let options = options(&shared_url());
    let outbox = Outbox::default();
    let mut expected = outbox.add_events(500);
    let link = Running::publisher(&options, &outbox);
    outbox.wait_until_released(500).await;
    let admin = Admin::of(&shared_url()).await;
    let (first, _) = admin.distinct(&options.event_queue, 500).await;
    assert!(first == expected);

    admin.delete_queue(&options.event_queue).await;
    let later = outbox.add_events(3000);
    outbox.wait_until_released(3500).await;
    let (arrived, _) = admin.distinct(&options.event_queue, 3000).await;
    assert!(arrived == later, "each once and in order");
    expected.extend(later);
    let status = link.stopped().await;
    assert!(status.unroutable >= 1, "{status:?}");
    assert!(outbox.rewinds() >= 1);
}

#[tokio::test]
async fn a_queue_that_vanishes_under_full_load_costs_no_event() {
    let options = options(&shared_url());
    let outbox = Outbox::default();
    let expected = outbox.add_events(20_000);
    let link = Running::publisher(&options, &outbox);
    let admin = Admin::of(&shared_url()).await;
    outbox.wait_until_released(2000).await;
    // What is in the queue goes with it; from then on nothing may be missing.
    let unbind = admin.channel.queue_unbind(
        options.event_queue.as_str().into(),
        options.exchange.as_str().into(),
        "event".into(),
        FieldTable::default(),
    );
    unbind.await.unwrap();
    outbox.wait_until_released(expected.len()).await;
    let (arrived, _) = admin.distinct(&options.event_queue, expected.len()).await;
    assert!(arrived == expected, "each once and in order");
    assert!(link.stopped().await.unroutable >= 1);
}

#[tokio::test]
async fn a_queue_that_exists_with_other_arguments_is_used_and_reported() {
    let options = options(&shared_url());
    let admin = Admin::of(&shared_url()).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(10_000));
    admin.queue(&options.event_queue, true, arguments).await;
    admin.exchange(&options.exchange, lapin::ExchangeKind::Topic).await;
    let outbox = Outbox::default();
    let expected = outbox.add_events(10);
    let link = Running::publisher(&options, &outbox);
    outbox.wait_until_released(10).await;
    let (arrived, _) = admin.distinct(&options.event_queue, 10).await;
    assert_eq!(arrived, expected);
    let status = link.stopped().await;
    let named = |name: &str| {
        format!(
            "{name} `{}`",
            if name == "queue" { &options.event_queue } else { &options.exchange }
        )
    };
    assert_eq!(status.mismatched, [named("exchange"), named("queue")]);
}

#[tokio::test]
async fn a_wrong_password_is_told_without_the_secret() {
    let url = shared_url().replace(":guest@", ":open-sesame@");
    let mut options = options(&url);
    let outbox = Outbox::default();
    outbox.add_events(1);
    let link = Running::publisher(&options, &outbox);
    let down = |status: &LinkSnapshot| status.state == LinkState::Down;
    let status = status_where(&link.status, "down", down).await;
    let detail = status.detail.expect("it says why");
    assert!(detail.contains("ACCESS_REFUSED"), "{detail}");
    assert!(!detail.contains("open-sesame"), "{detail}");
    link.stopped().await;

    options.url = SecretText::new("amqp://guest:open-sesame@127.0.0.1:not-a-port/".into());
    let link = Running::publisher(&options, &outbox);
    let detail = status_where(&link.status, "down", down).await.detail.unwrap();
    assert!(detail.contains("amqp(s)://") && !detail.contains("open-sesame"), "{detail}");
    assert!(!format!("{options:?}").contains("open-sesame"));
    assert_eq!(outbox.released(), 0);
    link.stopped().await;
}

#[tokio::test]
async fn a_tls_address_where_nobody_speaks_tls_is_an_error_like_any_other() {
    let options = options(&shared_url().replace("amqp://", "amqps://"));
    let link = Running::publisher(&options, &Outbox::default());
    let down = |status: &LinkSnapshot| status.state == LinkState::Down;
    status_where(&link.status, "down", down).await;
    link.stopped().await;
}

#[tokio::test]
async fn a_broker_under_alarm_is_reported_and_waited_for() {
    let broker = Broker::start().await;
    let options = options(&broker.url);
    let outbox = Outbox::default();
    let link = Running::publisher(&options, &outbox);
    link.wait_until_up().await;
    broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]).await;
    outbox.add_events(100);
    let blocked = |status: &LinkSnapshot| status.state == LinkState::Blocked;
    let status = status_where(&link.status, "blocked", blocked).await;
    assert!(status.detail.is_some());
    assert_eq!(outbox.released(), 0);
    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
    outbox.wait_until_released(100).await;
    link.wait_until_up().await;
    link.stopped().await;
}

#[tokio::test]
async fn a_stopping_link_first_publishes_what_is_there() {
    let options = options(&shared_url());
    let outbox = Outbox::default();
    let expected = outbox.add_events(5000);
    let link = Running::publisher(&options, &outbox);
    link.wait_until_up().await;
    let status = link.stopped().await;
    assert_eq!((status.state, outbox.released()), (LinkState::Stopped, 5000));
    let admin = Admin::of(&shared_url()).await;
    let (arrived, all) = admin.distinct(&options.event_queue, 5000).await;
    assert!(arrived == expected && all == 5000, "each exactly once");
}

#[tokio::test]
async fn a_link_stops_soon_when_the_broker_is_away() {
    let options = options("amqp://guest:guest@127.0.0.1:1/%2f");
    let outbox = Outbox::default();
    outbox.add_events(10);
    let link = Running::publisher(&options, &outbox);
    let down = |status: &LinkSnapshot| status.state == LinkState::Down;
    status_where(&link.status, "down", down).await;
    let asked = std::time::Instant::now();
    link.stopped().await;
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(outbox.released(), 0);
}

#[tokio::test]
async fn entries_added_one_by_one_are_released_one_by_one() {
    let options = options(&shared_url());
    let outbox = Outbox::default();
    let link = Running::publisher(&options, &outbox);
    for number in 1..=20 {
        let id: Uuid = outbox.add(event(number));
        eventually("it is released", async || (outbox.released() == number).then_some(id)).await;
    }
    assert_eq!(link.stopped().await.published, 20);
}
