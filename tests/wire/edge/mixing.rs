//! What would bring commands to the backend and events to us: refused, told, and bounded.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeleteOptions, QueueBindOptions};
use lapin::types::FieldTable;
use telewarden::edge::amqp::{AmqpOptions, LinkSnapshot, LinkState};
use tokio::time::{Duration, sleep};

use super::support::{Admin, Outbox, Running, Sink, eventually, options, shared_url, status_where};

async fn bind(admin: &Admin, options: &AmqpOptions, queue: &str, key: &str) {
    let (exchange, bind) = (options.exchange.as_str().into(), QueueBindOptions::default());
    let bound =
        admin.channel.queue_bind(queue.into(), exchange, key.into(), bind, FieldTable::default());
    bound.await.unwrap();
}

#[tokio::test]
async fn an_exchange_that_would_mix_commands_and_events_is_refused_until_it_is_gone() {
    for (kind, name) in [(ExchangeKind::Fanout, "fanout"), (ExchangeKind::Headers, "headers")] {
        let options = options(&shared_url());
        let admin = Admin::of(&shared_url()).await;
        admin.exchange(&options.exchange, kind).await;
        // As Symfony Messenger leaves it.
        for (queue, key) in [(&options.command_queue, "command"), (&options.event_queue, "event")] {
            admin.queue(queue, true, FieldTable::default()).await;
            bind(&admin, &options, queue, key).await;
        }
        admin.stop_chat(&options, 5).await;
        let strays = admin.depth(&options.event_queue).await;
        let (outbox, sink) = (Outbox::default(), Sink::default());
        let expected = outbox.add_events(10);
        let (publisher, consumer) = Running::bridge(&options, &outbox, &sink);
        for link in [&publisher, &consumer] {
            let is_told = |status: &LinkSnapshot| {
                let says = |word: &str| status.detail.as_ref().is_some_and(|it| it.contains(word));
                status.state == LinkState::Down
                    && says(&format!("of the type {name},"))
                    && says(&options.exchange)
                    && says("Delete the exchange")
                    && says("exchange.type")
            };
            status_where(&link.status, "refused in words", is_told).await;
        }
        assert_eq!((outbox.released(), sink.chats().len()), (0, 0));
        assert_eq!(admin.depth(&options.event_queue).await, strays, "nothing is published");

        let delete = ExchangeDeleteOptions::default();
        admin.channel.exchange_delete(options.exchange.as_str().into(), delete).await.unwrap();
        outbox.wait_until_released(10).await;
        assert_eq!(sink.wait_for(1).await, ["5"]);
        for _ in 0..strays {
            admin.wait_for_one(&options.event_queue).await;
        }
        assert_eq!(admin.distinct(&options.event_queue, 10).await, (expected, 10));
        publisher.wait_until_up().await;
        assert_eq!(publisher.stopped().await.mismatched, [""; 0]);
        assert_eq!(consumer.stopped().await.dead_lettered, 0);
    }
}

#[tokio::test]
async fn a_refusal_that_the_broker_cuts_off_in_a_letter_is_understood() {
    let mut options = options(&shared_url());
    // The broker's words are cut at 252 bytes, here between the two of a letter.
    for start in ["x", "xx"] {
        options.exchange = format!("{start}{}", "ä".repeat(126));
        let admin = Admin::of(&shared_url()).await;
        admin.exchange(&options.exchange, ExchangeKind::Fanout).await;
        let link = Running::consumer(&options, &Sink::default());
        let is_told = |status: &LinkSnapshot| {
            let detail = status.detail.as_deref().unwrap_or_default();
            detail.contains("of the type another one than direct")
        };
        status_where(&link.status, "refused in words", is_told).await;
        link.stopped().await;
        let delete = ExchangeDeleteOptions::default();
        admin.channel.exchange_delete(options.exchange.as_str().into(), delete).await.unwrap();
    }
}

#[tokio::test]
async fn events_that_come_back_as_commands_end_publishing_until_the_binding_is_gone() {
    let options = options(&shared_url());
    let (outbox, sink) = (Outbox::default(), Sink::default());
    let (publisher, consumer) = Running::bridge(&options, &outbox, &sink);
    publisher.wait_until_up().await;
    consumer.wait_until_up().await;
    let admin = Admin::of(&shared_url()).await;
    bind(&admin, &options, &options.command_queue, "event").await;
    let expected = outbox.add_events(5000);
    let is_told = |status: &LinkSnapshot| {
        let says = |word: &str| status.detail.as_ref().is_some_and(|it| it.contains(word));
        status.state == LinkState::Down
            && says("Remove that binding")
            && says(&options.command_queue)
    };
    status_where(&publisher.status, "refused in words", is_told).await;
    let put_aside = eventually("they are put aside", async || {
        let before = consumer.status.snapshot().dead_lettered;
        sleep(Duration::from_millis(500)).await;
        let after = consumer.status.snapshot().dead_lettered;
        (before == after && admin.depth(&options.command_queue).await == 0).then_some(after)
    })
    .await;
    assert!((1..4000).contains(&put_aside), "{put_aside} dead letters");
    let letter = admin.wait_for_one(&options.dead_queue()).await.delivery;
    let headers = letter.properties.headers().clone().unwrap();
    let code = headers.inner().get("x-error-code").unwrap().as_long_string().unwrap();
    assert_eq!(code.to_string(), "misrouted");
    // Commands are taken meanwhile.
    admin.stop_chat(&options, 3).await;
    assert_eq!(sink.wait_for(1).await, ["3"]);

    let unbound = admin.channel.queue_unbind(
        options.command_queue.as_str().into(),
        options.exchange.as_str().into(),
        "event".into(),
        FieldTable::default(),
    );
    unbound.await.unwrap();
    outbox.wait_until_released(5000).await;
    let (arrived, _) = admin.distinct(&options.event_queue, 5000).await;
    assert!(arrived == expected, "each once and in order");
    publisher.wait_until_up().await;
    publisher.stopped().await;
    // Each attempt meanwhile was one event.
    let later = consumer.stopped().await.dead_lettered - put_aside;
    assert!(later <= 3, "{later} more came back");
}
