//! What would bring commands to the backend and events to us: refused, told, and bounded.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeleteOptions, QueueBindOptions};
use lapin::types::FieldTable;
use telewarden::edge::amqp::{AmqpOptions, LinkSnapshot, LinkState};

use super::support::{
    Admin, Outbox, Running, Sink, eventually, options, shared_url, status_where, takes_nothing,
};

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

/// Whether publishing has ended because events come back.
fn is_returned(status: &LinkSnapshot, options: &AmqpOptions) -> bool {
    let says = |word: &str| status.detail.as_ref().is_some_and(|it| it.contains(word));
    status.state == LinkState::Down && says("Remove that binding") && says(&options.command_queue)
}

#[tokio::test]
async fn events_that_came_back_and_cannot_be_put_aside_do_not_end_publishing_for_ever() {
    let options = options(&shared_url());
    let admin = Admin::of(&shared_url()).await;
    admin.queue(&options.dead_queue(), true, takes_nothing()).await;
    let (outbox, sink) = (Outbox::default(), Sink::default());
    let (publisher, consumer) = Running::bridge(&options, &outbox, &sink);
    publisher.wait_until_up().await;
    consumer.wait_until_up().await;
    bind(&admin, &options, &options.command_queue, "event").await;
    outbox.add_events(1);
    let is_told = |status: &LinkSnapshot| is_returned(status, &options);
    status_where(&publisher.status, "refused in words", is_told).await;
    unbind(&admin, &options).await;
    let expected = outbox.add_events(20);
    outbox.wait_until_released(21).await;
    let (arrived, _) = admin.distinct(&options.event_queue, 21).await;
    assert_eq!(arrived[1..], expected);
    // The one that came back still cannot be put aside, and is still there.
    assert_eq!(consumer.status.snapshot().dead_lettered, 0);
    publisher.stopped().await;
    consumer.stopped().await;
    assert_eq!(admin.depth(&options.command_queue).await, 1);
}

async fn unbind(admin: &Admin, options: &AmqpOptions) {
    let (queue, exchange) = (options.command_queue.as_str(), options.exchange.as_str());
    let arguments = FieldTable::default();
    let unbound =
        admin.channel.queue_unbind(queue.into(), exchange.into(), "event".into(), arguments);
    unbound.await.unwrap();
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
    // There is always more to publish, until it ends.
    let mut expected = Vec::new();
    let is_told = |status: &LinkSnapshot| is_returned(status, &options);
    eventually("refused in words", async || {
        expected.extend(outbox.add_events(100));
        is_told(&publisher.status.snapshot()).then_some(())
    })
    .await;
    let until_told = expected.len() as u64;
    expected.extend(outbox.add_events(5000));
    // What was published lies in the event queue, which nobody reads, and all of that came back.
    let put_aside = eventually("they are put aside", async || {
        let after = consumer.status.snapshot().dead_lettered;
        (after == u64::from(admin.depth(&options.event_queue).await)).then_some(after)
    })
    .await;
    // None of the 5000, but for those by which it is tried whether they still come back.
    assert!((1..=until_told + 3).contains(&put_aside), "{put_aside} of {until_told}");
    let letter = admin.wait_for_one(&options.dead_queue()).await.delivery;
    let headers = letter.properties.headers().clone().unwrap();
    let code = headers.inner().get("x-error-code").unwrap().as_long_string().unwrap();
    assert_eq!(code.to_string(), "misrouted");
    // Commands are taken meanwhile.
    admin.stop_chat(&options, 3).await;
    assert_eq!(sink.wait_for(1).await, ["3"]);

    unbind(&admin, &options).await;
    outbox.wait_until_released(expected.len()).await;
    let (arrived, _) = admin.distinct(&options.event_queue, expected.len()).await;
    assert!(arrived == expected, "each once and in order");
    publisher.wait_until_up().await;
    publisher.stopped().await;
    // Each attempt meanwhile was one event.
    let later = consumer.stopped().await.dead_lettered - put_aside;
    assert!(later <= 3, "{later} more came back");
}
