//! Webhooks as their users see them over the API: made, listed, refused, deleted.

use uuid::Uuid;

use super::fixture::*;
use crate::actors::WebhookOrder;
use crate::edge::webhook::Guard;
use crate::protocol::answers::refusal::Code;
use crate::protocol::users::owner::{Caller, Role};

#[tokio::test]
async fn webhooks_of_others_do_not_exist_and_deleted_ones_leave_nothing() {
    let receiver = Receiver::start(|_, _| Reply::Status(500)).await;
    let (fixture, who) = (Fixture::set(quick()).await, user("one"));
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    let (api, id, other) = (fixture.root.services(), hook.id, user("two"));
    let codes = [
        api.webhooks.get(&other, id).await.unwrap_err().code,
        api.webhooks.update(&other, id, order(order_of(&receiver))).await.unwrap_err().code,
        api.webhooks.delete(&other, id).await.unwrap_err().code,
        api.webhooks.dead_deliveries(&other, id, page(9, None)).await.unwrap_err().code,
        api.webhooks.redeliver(&other, id, Uuid::nil()).await.unwrap_err().code,
    ];
    assert_eq!(codes, [Code::NotFound; 5]);
    assert_eq!(api.webhooks.list(&other, page(9, None)).await.unwrap().items, []);
    let admin = Caller { role: Role::Admin, ..user("boss") };
    assert_eq!(api.webhooks.list(&admin, page(9, None)).await.unwrap().items.len(), 1);
    fixture.say(&who, 1, 1).await;
    fixture.until(&who, &hook, |hook| hook.waiting == 1 && hook.last_error.is_some()).await;
    api.webhooks.delete(&who, id).await.unwrap();
    assert_eq!(api.webhooks.get(&who, id).await.unwrap_err().code, Code::NotFound);
    fixture.say(&who, 1, 2).await;
    let mark = fixture.hook(&who, format!("{}/c", receiver.address)).await;
    receiver.answer(OK);
    fixture.say(&who, 1, 3).await;
    eventually(
        || receiver.seen().iter().any(|one| one.hook == "c" && one.number() == 3).then_some(()),
        || receiver.seen().len(),
    )
    .await;
    fixture.until(&who, &mark, |hook| hook.waiting == 0).await;
    assert_eq!(fixture.waiting(), []);
    let all = ["webhook.create", "webhook.delete", "webhook.create"];
    assert_eq!(fixture.actions(&who).await, all);
}

#[tokio::test]
async fn pages_of_webhooks_follow_one_another_and_there_is_an_end() {
    let (fixture, who) = (Fixture::set(quick()).await, user("one"));
    let mut made = Vec::new();
    for number in 0..20 {
        made.push(fixture.hook(&who, format!("https://example.org/{number}")).await.id);
    }
    let api = fixture.root.services();
    let refused =
        api.webhooks.create(&who, order("https://example.org/".into())).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let part = api.webhooks.list(&who, page(7, cursor)).await.unwrap();
        seen.extend(part.items.iter().map(|hook| hook.id));
        cursor = part.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn addresses_inside_and_unknown_events_are_refused() {
    let (fixture, who) = (Fixture::guarded(Guard::new(false), quick()).await, user("one"));
    let api = fixture.root.services();
    for url in ["http://example.org/", "https://127.0.0.1/", "https://0x7f.1/", "https://[::1]/"] {
        let refused = api.webhooks.create(&who, order(url.into())).await.unwrap_err();
        assert_eq!((refused.code, refused.errors[0].field.as_str()), (Code::Validation, "url"));
    }
    let events = vec!["nonsense".to_owned()];
    let order = WebhookOrder { events, ..order("https://example.org/".into()) };
    let refused = api.webhooks.create(&who, order).await.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].field.as_str()), (Code::Validation, "events"));
    // Names are looked at when they are resolved: nothing is connected to.
    let hook = fixture.hook(&who, "https://localhost:9/".into()).await;
    fixture.say(&who, 1, 1).await;
    let view = fixture.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    assert!(view.last_error.unwrap().contains("is no public address"));
}

#[tokio::test]
async fn a_users_end_is_the_end_of_the_users_webhooks() {
    let receiver = Receiver::start(|_, _| Reply::Status(500)).await;
    let (fixture, who) = (Fixture::set(quick()).await, user("one"));
    let hook = fixture.hook(&who, order_of(&receiver)).await;
    fixture.say(&who, 1, 1).await;
    fixture.until(&who, &hook, |hook| hook.waiting == 1 && hook.last_error.is_some()).await;
    fixture.root.services().user_data.erase(&who, who.user.clone()).await.unwrap();
    assert_eq!(fixture.root.services().webhooks.list(&who, page(9, None)).await.unwrap().items, []);
    assert_eq!(fixture.waiting(), []);
    fixture.say(&who, 1, 2).await;
    fixture.end().await;
}
