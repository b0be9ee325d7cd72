//! Endpoints that refuse, hang or are gone: what waits, what is tried again, and what is given up.

use super::fixture::*;
use crate::actors::WebhookSettings;
use crate::clock::now;
use crate::protocol::answers::refusal::Code;
use crate::protocol::tree::restart::Backoff;
use crate::protocol::webhooks::deliveries::RetryPolicy;

#[tokio::test]
async fn a_delivery_that_fails_holds_up_its_chat_and_no_other() {
    let receiver = Receiver::start(|one, _| {
        Reply::Status(if (one.chat(), one.number()) == (1, 2) { 500 } else { 200 })
    })
    .await;
    let (fixture, who) = (Fixture::set(quick()).await, user("one"));
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    for number in 1..=5 {
        fixture.say(&who, 1, number).await;
        fixture.say(&who, 2, number).await;
    }
    receiver.expect(2, 1..=5).await;
    let view = fixture.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    assert_eq!(view.last_error.as_deref(), Some("it answered 500"));
    assert!(!receiver.numbers(1).contains(&3), "it does not overtake");
    receiver.answer(OK);
    fixture.until(&who, &hook, |hook| hook.waiting == 0 && hook.last_error.is_none()).await;
    let mut numbers = receiver.numbers(1);
    numbers.dedup();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_called_no_more_until_it_is_enabled() {
    let gone = |one: &Received, _| Reply::Status(if one.hook == "b" { 410 } else { 200 });
    let receiver = Receiver::start(gone).await;
    let (fixture, who) = (Fixture::set(quick()).await, user("one"));
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    let witness = fixture.hook(&who, format!("{}/w", receiver.address)).await;
    fixture.say(&who, 1, 1).await;
    let view = fixture.until(&who, &hook, |hook| !hook.enabled).await;
    assert!(view.last_error.unwrap().contains("410"));
    assert_eq!(fixture.actions(&who).await[0], "webhook.disable");
    fixture.say(&who, 1, 2).await;
    let of = |hook: &'static str| {
        let receiver = receiver.clone();
        move || -> Vec<i64> {
            let seen = receiver.seen();
            seen.iter().filter(|one| one.hook == hook).map(Received::number).collect()
        }
    };
    eventually(|| (of("w")() == [1, 2]).then_some(()), of("w")).await;
    fixture.until(&who, &witness, |hook| hook.waiting == 0).await;
    receiver.answer(OK);
    let (api, id) = (fixture.root.services(), hook.id);
    let view = api.webhooks.update(&who, id, order(order_of(&receiver))).await.unwrap();
    assert!(view.enabled && view.secret.is_none());
    fixture.say(&who, 1, 3).await;
    // What came about while it was disabled is not for it.
    eventually(|| (of("b")() == [1, 1, 3]).then_some(()), of("b")).await;
    assert_eq!(fixture.actions(&who).await[0], "webhook.update");
}

#[tokio::test]
async fn what_is_given_up_is_listed_and_can_be_put_back_in_line() {
    let receiver = Receiver::start(|_, _| Reply::Status(400)).await;
    let settings = quick();
    let retry = RetryPolicy { give_up_after_ms: 60, ..settings.retry };
    let (fixture, who) = (Fixture::set(WebhookSettings { retry, ..settings }).await, user("one"));
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    fixture.say(&who, 1, 1).await;
    fixture.say(&who, 1, 2).await;
    fixture.until(&who, &hook, |hook| hook.dead == 2 && hook.waiting == 0).await;
    let (api, id) = (fixture.root.services(), hook.id);
    let first = api.webhooks.dead_deliveries(&who, id, page(1, None)).await.unwrap();
    let second = api.webhooks.dead_deliveries(&who, id, page(9, first.next_cursor)).await.unwrap();
    let dead: Vec<_> = first.items.iter().chain(&second.items).collect();
    assert_eq!((dead.len(), second.next_cursor), (2, None));
    assert!(dead[0].at >= dead[1].at, "the newest first");
    assert!(dead[1].reason.starts_with("it answered 400; given up after"), "{:?}", dead[1]);
    assert!(dead[1].delivery.attempts > 1);
    receiver.answer(OK);
    let before = receiver.seen().len();
    api.webhooks.redeliver(&who, id, dead[1].delivery.message_id).await.unwrap();
    fixture.until(&who, &hook, |hook| hook.dead == 1 && hook.waiting == 0).await;
    let again = eventually(|| receiver.seen().get(before).cloned(), || receiver.seen().len()).await;
    assert_eq!(again.id(), dead[1].delivery.message_id.to_string());
    let twice = api.webhooks.redeliver(&who, id, dead[1].delivery.message_id).await.unwrap_err();
    assert_eq!(twice.code, Code::NotFound);
    assert_eq!(fixture.actions(&who).await[0], "webhook.redeliver");
}

#[tokio::test]
async fn a_restart_does_not_begin_the_attempts_anew() {
    let receiver =
        Receiver::start(|one, _| Reply::Status(if one.chat() == 1 { 500 } else { 200 })).await;
    let settings = quick();
    let backoff = Backoff { min_ms: 3_600_000, max_ms: 3_600_000 };
    let retry = RetryPolicy { backoff, give_up_after_ms: 86_400_000 };
    let settings = WebhookSettings { retry, ..settings };
    let (folder, who) = (tempfile::tempdir().unwrap(), user("one"));
    let fixture = Fixture::open(&folder.path().join("state"), settings).await;
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    fixture.say(&who, 1, 1).await;
    fixture.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    fixture.end().await;
    let fixture = Fixture::open(&folder.path().join("state"), settings).await;
    fixture.say(&who, 1, 2).await;
    fixture.say(&who, 2, 1).await;
    receiver.expect(2, [1]).await;
    fixture.until(&who, &hook, |hook| hook.waiting == 2).await;
    assert_eq!(receiver.numbers(1), [1], "it waits on");
    let waiting = fixture.waiting();
    assert_eq!(waiting.iter().map(|one| one.attempts).collect::<Vec<_>>(), [1, 0]);
    assert!(waiting[0].next_at.0 > now().0 + 1_000_000);
    // A change of the endpoint may have mended it.
    receiver.answer(OK);
    let id = hook.id;
    fixture.root.services().webhooks.update(&who, id, order(order_of(&receiver))).await.unwrap();
    receiver.expect(1, [1, 1, 2]).await;
    fixture.end().await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_neither_others_nor_the_outbox() {
    let receiver =
        Receiver::start(|one, _| if one.hook == "slow" { Reply::Hang } else { Reply::Status(200) })
            .await;
    let (mut fixture, who) = (Fixture::set(quick()).await, user("one"));
    fixture.outbox.take().unwrap().abandon();
    let slow = fixture.hook(&who, format!("{}/slow", receiver.address)).await;
    let fast = fixture.hook(&who, format!("{}/fast", receiver.address)).await;
    for number in 1..=50 {
        fixture.say(&who, number % 10, number).await;
    }
    fixture.until(&who, &fast, |hook| hook.waiting == 0).await;
    let arrived = || receiver.seen().iter().filter(|one| one.hook == "fast").count();
    eventually(|| (arrived() == 50).then_some(()), arrived).await;
    assert_eq!(fixture.look(&who, &slow).await.waiting, 50);
    let depth = || fixture.store.stats().outbox_depth;
    eventually(|| (depth() == 0).then_some(()), depth).await;
}

#[tokio::test]
async fn too_many_that_wait_become_dead_letters_the_oldest_first() {
    let receiver = Receiver::start(|_, _| Reply::Status(500)).await;
    let settings = quick();
    let backoff = Backoff { min_ms: 3_600_000, max_ms: 3_600_000 };
    let retry = RetryPolicy { backoff, ..settings.retry };
    let settings = WebhookSettings { retry, waiting_max: 10, ..settings };
    let (fixture, who) = (Fixture::set(settings).await, user("one"));
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    for number in 1..=30 {
        fixture.say(&who, 1, number).await;
    }
    let view = fixture.until(&who, &hook, |hook| hook.dead + hook.waiting == 30).await;
    let view =
        fixture.until(&who, &hook, |hook| hook.waiting <= 10 && hook.dead >= view.dead).await;
    assert_eq!(view.waiting, 10);
    assert!(view.last_error.is_some());
    let api = fixture.root.services();
    let dead = api.webhooks.dead_deliveries(&who, hook.id, page(99, None)).await.unwrap().items;
    assert!(dead.iter().all(|one| one.reason.contains("more than 10 deliveries")), "{dead:?}");
    // The one that was under way may have stayed; of the others the newest wait.
    let waiting: Vec<u64> = fixture.waiting().iter().map(|one| one.seq).collect();
    assert!(waiting.ends_with(&(22..=30).collect::<Vec<_>>()), "{waiting:?}");
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_pause_is_left_alone() {
    let receiver = Receiver::start(|_, _| Reply::With(429, "retry-after", "3600")).await;
    let (fixture, who) = (Fixture::set(quick()).await, user("one"));
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    fixture.say(&who, 1, 1).await;
    fixture.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    fixture.say(&who, 2, 1).await;
    fixture.until(&who, &hook, |hook| hook.waiting == 2).await;
    let waiting = fixture.waiting();
    assert!(waiting[0].next_at.0 > now().0 + 3_000_000);
    assert_eq!(receiver.seen().len(), 1, "no other chat is tried either");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let receiver = Receiver::start(|one, _| match one.hook.as_str() {
        "b" => Reply::With(307, "location", "/elsewhere"),
        _ => Reply::Status(200),
    })
    .await;
    let (fixture, who) = (Fixture::set(quick()).await, user("one"));
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    fixture.say(&who, 1, 1).await;
    let view = fixture.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    assert!(view.last_error.unwrap().contains("redirects are not followed"));
    assert!(receiver.seen().iter().all(|one| one.hook == "b"));
}
