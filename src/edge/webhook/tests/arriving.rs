//! Events on their shared to an endpoint that takes them: signed, in order, once, and what becomes of the
//! outbox.

use super::fixture::*;
use crate::actors::WebhookOrder;
use crate::clock::now;
use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::webhooks::deliveries::sign;
use crate::store::Op;

#[tokio::test]
async fn every_event_arrives_signed_once_and_in_the_order_of_its_chat() {
    let receiver = Receiver::start(OK).await;
    let (fixture, who) = (Fixture::set(quick()).await, user("one"));
    let hook = fixture.hook(&who, format!("{}/a?token=7", receiver.address)).await;
    for number in 1..=20 {
        for chat in 1..=3 {
            fixture.say(&who, chat, number).await;
        }
        fixture.say(&user("two"), 9, number).await;
    }
    for chat in 1..=3 {
        receiver.expect(chat, 1..=20).await;
    }
    fixture.until(&who, &hook, |hook| hook.waiting == 0).await;
    assert_eq!(fixture.waiting(), []);
    assert_eq!(receiver.numbers(9), Vec::<i64>::new(), "that is somebody else's");
    let secret = hook.secret.unwrap();
    for received in receiver.seen() {
        let header = |name: &str| received.headers[name].as_str();
        let at: u64 = header("webhook-timestamp").parse().unwrap();
        assert!(now().0.abs_diff(at as i64 * 1_000) < 60_000);
        let expected = sign(&secret, received.id(), at, &received.body).unwrap();
        assert_eq!(header("webhook-signature"), expected);
        assert_eq!(header("content-type"), "application/json");
        assert!(header("user-agent").starts_with("telewarden/"));
        assert_eq!(received.json()["type"], "incoming_telegram_message");
        assert_eq!(received.json()["timestamp"], "2023-11-14T22:13:20Z");
    }
    assert!(
        fixture.look(&who, &fixture.hook(&who, order_of(&receiver)).await).await.secret.is_none()
    );
}

#[tokio::test]
async fn an_endpoint_gets_only_the_events_that_it_names() {
    let receiver = Receiver::start(OK).await;
    let (fixture, who) = (Fixture::set(quick()).await, user("one"));
    let api = fixture.root.services();
    let events = vec!["access_lost".to_owned()];
    let order = WebhookOrder { events, ..order(order_of(&receiver)) };
    api.webhooks.create(&who, order).await.unwrap();
    fixture.say(&who, 1, 1).await;
    let lost = OutboxEntry { kind: "access_lost".into(), ..event(&who, 1, 2) };
    let of_the_bridge = OutboxEntry { owner: None, ..lost.clone() };
    fixture.store.commit(vec![Op::Append(of_the_bridge), Op::Append(lost)]).await.unwrap();
    receiver.expect(1, [2]).await;
    assert_eq!(receiver.seen()[0].json()["type"], "access_lost");
}

#[tokio::test]
async fn what_was_delivered_and_not_noted_comes_again_under_the_same_id() {
    let receiver = Receiver::start(|_, _| Reply::Hang).await;
    let (folder, who) = (tempfile::tempdir().unwrap(), user("one"));
    let fixture = Fixture::open(&folder.path().join("state"), quick()).await;
    fixture.hook(&who, order_of(&receiver)).await;
    fixture.say(&who, 1, 1).await;
    receiver.expect(1, [1]).await;
    fixture.end().await;
    receiver.answer(OK);
    let fixture = Fixture::open(&folder.path().join("state"), quick()).await;
    receiver.expect(1, [1, 1]).await;
    let seen = receiver.seen();
    assert_eq!((seen[0].id(), &seen[0].body), (seen[1].id(), &seen[1].body));
    eventually(|| fixture.waiting().is_empty().then_some(()), || fixture.waiting()).await;
    fixture.end().await;
}

#[tokio::test]
async fn the_outbox_waits_for_the_broker_as_long_as_somebody_reads_for_it() {
    let receiver = Receiver::start(OK).await;
    let (mut fixture, who) = (Fixture::set(quick()).await, user("one"));
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    fixture.say(&who, 1, 1).await;
    receiver.expect(1, [1]).await;
    fixture.until(&who, &hook, |hook| hook.waiting == 0).await;
    assert_eq!(fixture.store.stats().outbox_depth, 1);
    let entries = fixture.outbox.as_mut().unwrap().next(9).await;
    assert_eq!(entries.len(), 1);
}
