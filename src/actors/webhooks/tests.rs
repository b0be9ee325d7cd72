//! Webhooks as a whole: a tree with no Telegram on a store, events put into its outbox, and a receiver on
//! loopback whose answers each test writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::WebhookSettings;
use crate::actors::Root;
use crate::actors::context::{Context, now};
use crate::edge::http::api::{AuditQuery, PageQuery, Service, Webhook, WebhookOrder};
use crate::protocol::outbox::{OutboxEntry, Route};
use crate::protocol::owner::{Caller, UserId, WebhookId};
use crate::protocol::refusal::Code;
use crate::protocol::restart::Backoff;
use crate::protocol::webhook::{Delivery, RetryPolicy, sign};
use crate::store::{Op, Outbox, Store, StoreOptions};

const PATIENCE: Duration = Duration::from_secs(30);

/// What a receiver was sent.
#[derive(Clone, Debug)]
struct Received {
    hook: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    fn chat(&self) -> i64 {
        self.json()["data"]["chat_id"].as_i64().unwrap()
    }

    fn number(&self) -> i64 {
        self.json()["data"]["message_id"].as_i64().unwrap()
    }
}

/// How a receiver answers: by what it was sent, and how often it was sent that before.
type Rule = Box<dyn Fn(&Received, usize) -> Reply + Send>;

#[derive(Clone)]
enum Reply {
    Status(u16),
    With(u16, &'static str, &'static str),
    Hang,
}

#[derive(Clone)]
struct Receiver {
    address: String,
    seen: Arc<Mutex<Vec<Received>>>,
    rule: Arc<Mutex<Rule>>,
}

impl Receiver {
    async fn start(rule: impl Fn(&Received, usize) -> Reply + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let rule: Rule = Box::new(rule);
        let receiver = Self { address, seen: Arc::default(), rule: Arc::new(Mutex::new(rule)) };
        let router = Router::new().route("/{hook}", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    fn answer(&self, rule: impl Fn(&Received, usize) -> Reply + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    fn seen(&self) -> Vec<Received> {
        self.seen.lock().unwrap().clone()
    }

    /// Numbers of a chat's messages, in the order of their arrival.
    fn numbers(&self, chat: i64) -> Vec<i64> {
        let seen = self.seen();
        seen.iter().filter(|one| one.chat() == chat).map(Received::number).collect()
    }

    async fn expect(&self, chat: i64, numbers: impl IntoIterator<Item = i64>) {
        let numbers: Vec<i64> = numbers.into_iter().collect();
        eventually(|| (self.numbers(chat) == numbers).then_some(()), || self.numbers(chat)).await;
    }
}

async fn take(
    State(receiver): State<Receiver>,
    Path(hook): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()));
    let received = Received { hook, headers: headers.collect(), body: body.to_vec() };
    let reply = {
        let mut seen = receiver.seen.lock().unwrap();
        let is_same = |one: &&Received| (one.id(), &one.hook) == (received.id(), &received.hook);
        let before = seen.iter().filter(is_same).count();
        seen.push(received.clone());
        receiver.rule.lock().unwrap()(&received, before)
    };
    match reply {
        Reply::Status(code) => StatusCode::from_u16(code).unwrap().into_response(),
        Reply::With(code, name, value) => {
            (StatusCode::from_u16(code).unwrap(), [(name, value)]).into_response()
        }
        Reply::Hang => std::future::pending().await,
    }
}

async fn eventually<T, S: std::fmt::Debug>(
    look: impl Fn() -> Option<T>,
    state: impl Fn() -> S,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not come about: {:?}", state());
        sleep(Duration::from_millis(5)).await;
    }
}

fn quick() -> WebhookSettings {
    let backoff = Backoff { min_ms: 10, max_ms: 40 };
    let retry = RetryPolicy { backoff, give_up_after_ms: 3_600_000 };
    WebhookSettings { allow_private: true, retry, waiting_max: 1_000 }
}

fn user(name: &str) -> Caller {
    let user = UserId::new(name).unwrap();
    Caller { user, role: Default::default(), address: None }
}

/// A tree on a store.
struct Stage {
    store: Store,
    root: Root,
    outbox: Option<Outbox>,
}

impl Stage {
    async fn set(settings: WebhookSettings) -> Self {
        let (store, outbox) = Store::in_memory().unwrap();
        Self::on(store, outbox, settings).await
    }

    async fn open(path: &std::path::Path, settings: WebhookSettings) -> Self {
        let (store, outbox) = Store::open(StoreOptions::new(path)).unwrap();
        Self::on(store, outbox, settings).await
    }

    async fn on(store: Store, outbox: Outbox, settings: WebhookSettings) -> Self {
        let mut context = Context::for_tests(store.clone());
        Arc::get_mut(&mut context).unwrap().settings.webhooks = settings;
        let snapshot = store.load().unwrap();
        let root = Root::start(context, snapshot, None, Duration::from_millis(50)).await.unwrap();
        Self { store, root, outbox: Some(outbox) }
    }

    async fn end(self) {
        self.root.stop(Instant::now() + PATIENCE).await;
        drop(self.outbox);
        self.store.close().await.unwrap();
    }

    async fn hook(&self, who: &Caller, url: String) -> Webhook {
        self.root.api().create_webhook(who, order(url)).await.unwrap()
    }

    async fn look(&self, who: &Caller, hook: &Webhook) -> Webhook {
        self.root.api().webhook(who, WebhookId(hook.id)).await.unwrap()
    }

    /// Waits until the endpoint is as `is_so` says.
    async fn until(
        &self,
        who: &Caller,
        hook: &Webhook,
        is_so: impl Fn(&Webhook) -> bool,
    ) -> Webhook {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let view = self.look(who, hook).await;
            if is_so(&view) {
                return view;
            }
            assert!(Instant::now() < deadline, "it stays {view:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn say(&self, who: &Caller, chat: i64, number: i64) {
        self.store.commit(vec![Op::Append(event(who, chat, number))]).await.unwrap();
    }

    fn waiting(&self) -> Vec<Delivery> {
        self.store.all_rows().unwrap()
    }

    async fn actions(&self, who: &Caller) -> Vec<String> {
        let page = self.root.api().audit(who, AuditQuery::default()).await.unwrap();
        page.items.into_iter().map(|entry| entry.action).collect()
    }
}

fn order(url: String) -> WebhookOrder {
    WebhookOrder { url, events: Vec::new(), enabled: true }
}

fn event(who: &Caller, chat: i64, number: i64) -> OutboxEntry {
    let kind = "incoming_telegram_message";
    let text = format!("hush {number}");
    let body = json!({"event": kind, "chat_id": chat, "message_id": number, "text": text});
    OutboxEntry {
        route: Route::Event,
        kind: kind.into(),
        message_id: Uuid::from_u128(((chat as u128) << 64) | number as u128),
        timestamp: 1_700_000_000,
        said_at: None,
        owner: Some(who.user.clone()),
        body: serde_json::to_vec(&body).unwrap(),
    }
}

const OK: fn(&Received, usize) -> Reply = |_, _| Reply::Status(204);

#[tokio::test]
async fn every_event_arrives_signed_once_and_in_the_order_of_its_chat() {
    let receiver = Receiver::start(OK).await;
    let (stage, who) = (Stage::set(quick()).await, user("one"));
    let hook = stage.hook(&who, format!("{}/a?token=7", receiver.address)).await;
    for number in 1..=20 {
        for chat in 1..=3 {
            stage.say(&who, chat, number).await;
        }
        stage.say(&user("two"), 9, number).await;
    }
    for chat in 1..=3 {
        receiver.expect(chat, 1..=20).await;
    }
    stage.until(&who, &hook, |hook| hook.waiting == 0).await;
    assert_eq!(stage.waiting(), []);
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
    assert!(stage.look(&who, &stage.hook(&who, order_of(&receiver)).await).await.secret.is_none());
}

fn order_of(receiver: &Receiver) -> String {
    format!("{}/b", receiver.address)
}

#[tokio::test]
async fn a_delivery_that_fails_holds_up_its_chat_and_no_other() {
    let receiver = Receiver::start(|one, _| {
        Reply::Status(if (one.chat(), one.number()) == (1, 2) { 500 } else { 200 })
    })
    .await;
    let (stage, who) = (Stage::set(quick()).await, user("one"));
    let hook = stage.hook(&who, order_of(&receiver)).await;
    for number in 1..=5 {
        stage.say(&who, 1, number).await;
        stage.say(&who, 2, number).await;
    }
    receiver.expect(2, 1..=5).await;
    let view = stage.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    assert_eq!(view.last_error.as_deref(), Some("it answered 500"));
    assert!(!receiver.numbers(1).contains(&3), "it does not overtake");
    receiver.answer(OK);
    stage.until(&who, &hook, |hook| hook.waiting == 0 && hook.last_error.is_none()).await;
    let mut numbers = receiver.numbers(1);
    numbers.dedup();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_called_no_more_until_it_is_enabled() {
    let gone = |one: &Received, _| Reply::Status(if one.hook == "b" { 410 } else { 200 });
    let receiver = Receiver::start(gone).await;
    let (stage, who) = (Stage::set(quick()).await, user("one"));
    let hook = stage.hook(&who, order_of(&receiver)).await;
    let witness = stage.hook(&who, format!("{}/w", receiver.address)).await;
    stage.say(&who, 1, 1).await;
    let view = stage.until(&who, &hook, |hook| !hook.enabled).await;
    assert!(view.last_error.unwrap().contains("410"));
    assert_eq!(stage.actions(&who).await[0], "webhook.disable");
    stage.say(&who, 1, 2).await;
    let of = |hook: &'static str| {
        let receiver = receiver.clone();
        move || -> Vec<i64> {
            let seen = receiver.seen();
            seen.iter().filter(|one| one.hook == hook).map(Received::number).collect()
        }
    };
    eventually(|| (of("w")() == [1, 2]).then_some(()), of("w")).await;
    stage.until(&who, &witness, |hook| hook.waiting == 0).await;
    receiver.answer(OK);
    let (api, id) = (stage.root.api(), WebhookId(hook.id));
    let view = api.update_webhook(&who, id, order(order_of(&receiver))).await.unwrap();
    assert!(view.enabled && view.secret.is_none());
    stage.say(&who, 1, 3).await;
    // What came about while it was disabled is not for it.
    eventually(|| (of("b")() == [1, 1, 3]).then_some(()), of("b")).await;
    assert_eq!(stage.actions(&who).await[0], "webhook.update");
}

#[tokio::test]
async fn what_is_given_up_is_listed_and_can_be_put_back_in_line() {
    let receiver = Receiver::start(|_, _| Reply::Status(400)).await;
    let settings = quick();
    let retry = RetryPolicy { give_up_after_ms: 60, ..settings.retry };
    let (stage, who) = (Stage::set(WebhookSettings { retry, ..settings }).await, user("one"));
    let hook = stage.hook(&who, order_of(&receiver)).await;
    stage.say(&who, 1, 1).await;
    stage.say(&who, 1, 2).await;
    stage.until(&who, &hook, |hook| hook.dead == 2 && hook.waiting == 0).await;
    let (api, id) = (stage.root.api(), WebhookId(hook.id));
    let first = api.dead_deliveries(&who, id, page(1, None)).await.unwrap();
    let second = api.dead_deliveries(&who, id, page(9, first.next_cursor)).await.unwrap();
    let dead: Vec<_> = first.items.iter().chain(&second.items).collect();
    assert_eq!((dead.len(), second.next_cursor), (2, None));
    assert!(dead[0].at >= dead[1].at, "the newest first");
    assert!(dead[1].error.starts_with("it answered 400; given up after"), "{:?}", dead[1]);
    assert!(dead[1].attempts > 1);
    receiver.answer(OK);
    let before = receiver.seen().len();
    api.redeliver(&who, id, dead[1].id).await.unwrap();
    stage.until(&who, &hook, |hook| hook.dead == 1 && hook.waiting == 0).await;
    let again = eventually(|| receiver.seen().get(before).cloned(), || receiver.seen().len()).await;
    assert_eq!(again.id(), dead[1].id.to_string());
    let twice = api.redeliver(&who, id, dead[1].id).await.unwrap_err();
    assert_eq!(twice.code, Code::NotFound);
    assert_eq!(stage.actions(&who).await[0], "webhook.redeliver");
}

fn page(limit: usize, cursor: Option<String>) -> PageQuery {
    PageQuery { cursor, limit }
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
    let stage = Stage::open(&folder.path().join("state"), settings).await;
    let hook = stage.hook(&who, order_of(&receiver)).await;
    stage.say(&who, 1, 1).await;
    stage.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    stage.end().await;
    let stage = Stage::open(&folder.path().join("state"), settings).await;
    stage.say(&who, 1, 2).await;
    stage.say(&who, 2, 1).await;
    receiver.expect(2, [1]).await;
    stage.until(&who, &hook, |hook| hook.waiting == 2).await;
    assert_eq!(receiver.numbers(1), [1], "it waits on");
    let waiting = stage.waiting();
    assert_eq!(waiting.iter().map(|one| one.attempts).collect::<Vec<_>>(), [1, 0]);
    assert!(waiting[0].next_at.0 > now().0 + 1_000_000);
    // A change of the endpoint may have mended it.
    receiver.answer(OK);
    let id = WebhookId(hook.id);
    stage.root.api().update_webhook(&who, id, order(order_of(&receiver))).await.unwrap();
    receiver.expect(1, [1, 1, 2]).await;
    stage.end().await;
}

#[tokio::test]
async fn what_was_delivered_and_not_noted_comes_again_under_the_same_id() {
    let receiver = Receiver::start(|_, _| Reply::Hang).await;
    let (folder, who) = (tempfile::tempdir().unwrap(), user("one"));
    let stage = Stage::open(&folder.path().join("state"), quick()).await;
    stage.hook(&who, order_of(&receiver)).await;
    stage.say(&who, 1, 1).await;
    receiver.expect(1, [1]).await;
    stage.end().await;
    receiver.answer(OK);
    let stage = Stage::open(&folder.path().join("state"), quick()).await;
    receiver.expect(1, [1, 1]).await;
    let seen = receiver.seen();
    assert_eq!((seen[0].id(), &seen[0].body), (seen[1].id(), &seen[1].body));
    eventually(|| stage.waiting().is_empty().then_some(()), || stage.waiting()).await;
    stage.end().await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_neither_others_nor_the_outbox() {
    let receiver =
        Receiver::start(|one, _| if one.hook == "slow" { Reply::Hang } else { Reply::Status(200) })
            .await;
    let (mut stage, who) = (Stage::set(quick()).await, user("one"));
    stage.outbox.take().unwrap().abandon();
    let slow = stage.hook(&who, format!("{}/slow", receiver.address)).await;
    let fast = stage.hook(&who, format!("{}/fast", receiver.address)).await;
    for number in 1..=50 {
        stage.say(&who, number % 10, number).await;
    }
    stage.until(&who, &fast, |hook| hook.waiting == 0).await;
    let arrived = || receiver.seen().iter().filter(|one| one.hook == "fast").count();
    eventually(|| (arrived() == 50).then_some(()), arrived).await;
    assert_eq!(stage.look(&who, &slow).await.waiting, 50);
    let depth = || stage.store.stats().outbox_depth;
    eventually(|| (depth() == 0).then_some(()), depth).await;
}

#[tokio::test]
async fn the_outbox_waits_for_the_broker_as_long_as_somebody_reads_for_it() {
    let receiver = Receiver::start(OK).await;
    let (mut stage, who) = (Stage::set(quick()).await, user("one"));
    let hook = stage.hook(&who, order_of(&receiver)).await;
    stage.say(&who, 1, 1).await;
    receiver.expect(1, [1]).await;
    stage.until(&who, &hook, |hook| hook.waiting == 0).await;
    assert_eq!(stage.store.stats().outbox_depth, 1);
    let entries = stage.outbox.as_mut().unwrap().next(9).await;
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn too_many_that_wait_become_dead_letters_the_oldest_first() {
    let receiver = Receiver::start(|_, _| Reply::Status(500)).await;
    let settings = quick();
    let backoff = Backoff { min_ms: 3_600_000, max_ms: 3_600_000 };
    let retry = RetryPolicy { backoff, ..settings.retry };
    let settings = WebhookSettings { retry, waiting_max: 10, ..settings };
    let (stage, who) = (Stage::set(settings).await, user("one"));
    let hook = stage.hook(&who, order_of(&receiver)).await;
    for number in 1..=30 {
        stage.say(&who, 1, number).await;
    }
    let view = stage.until(&who, &hook, |hook| hook.dead + hook.waiting == 30).await;
    let view = stage.until(&who, &hook, |hook| hook.waiting <= 10 && hook.dead >= view.dead).await;
    assert_eq!(view.waiting, 10);
    assert!(view.last_error.is_some());
    let api = stage.root.api();
    let dead = api.dead_deliveries(&who, WebhookId(hook.id), page(99, None)).await.unwrap().items;
    assert!(dead.iter().all(|one| one.error.contains("more than 10 deliveries")), "{dead:?}");
    // The one that was under way may have stayed; of the others the newest wait.
    let waiting: Vec<u64> = stage.waiting().iter().map(|one| one.seq).collect();
    assert!(waiting.ends_with(&(22..=30).collect::<Vec<_>>()), "{waiting:?}");
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_pause_is_left_alone() {
    let receiver = Receiver::start(|_, _| Reply::With(429, "retry-after", "3600")).await;
    let (stage, who) = (Stage::set(quick()).await, user("one"));
    let hook = stage.hook(&who, order_of(&receiver)).await;
    stage.say(&who, 1, 1).await;
    stage.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    stage.say(&who, 2, 1).await;
    stage.until(&who, &hook, |hook| hook.waiting == 2).await;
    let waiting = stage.waiting();
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
    let (stage, who) = (Stage::set(quick()).await, user("one"));
    let hook = stage.hook(&who, order_of(&receiver)).await;
    stage.say(&who, 1, 1).await;
    let view = stage.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    assert!(view.last_error.unwrap().contains("redirects are not followed"));
    assert!(receiver.seen().iter().all(|one| one.hook == "b"));
}

#[tokio::test]
async fn webhooks_of_others_do_not_exist_and_deleted_ones_leave_nothing() {
    let receiver = Receiver::start(|_, _| Reply::Status(500)).await;
    let (stage, who) = (Stage::set(quick()).await, user("one"));
    let hook = stage.hook(&who, order_of(&receiver)).await;
    let (api, id, other) = (stage.root.api(), WebhookId(hook.id), user("two"));
    let codes = [
        api.webhook(&other, id).await.unwrap_err().code,
        api.update_webhook(&other, id, order(order_of(&receiver))).await.unwrap_err().code,
        api.delete_webhook(&other, id).await.unwrap_err().code,
        api.dead_deliveries(&other, id, page(9, None)).await.unwrap_err().code,
        api.redeliver(&other, id, Uuid::nil()).await.unwrap_err().code,
    ];
    assert_eq!(codes, [Code::NotFound; 5]);
    assert_eq!(api.webhooks(&other, page(9, None)).await.unwrap().items, []);
    let admin = Caller { role: crate::protocol::owner::Role::Admin, ..user("boss") };
    assert_eq!(api.webhooks(&admin, page(9, None)).await.unwrap().items.len(), 1);
    stage.say(&who, 1, 1).await;
    stage.until(&who, &hook, |hook| hook.waiting == 1 && hook.last_error.is_some()).await;
    api.delete_webhook(&who, id).await.unwrap();
    assert_eq!(api.webhook(&who, id).await.unwrap_err().code, Code::NotFound);
    stage.say(&who, 1, 2).await;
    let mark = stage.hook(&who, format!("{}/c", receiver.address)).await;
    receiver.answer(OK);
    stage.say(&who, 1, 3).await;
    eventually(
        || receiver.seen().iter().any(|one| one.hook == "c" && one.number() == 3).then_some(()),
        || receiver.seen().len(),
    )
    .await;
    stage.until(&who, &mark, |hook| hook.waiting == 0).await;
    assert_eq!(stage.waiting(), []);
    let all = ["webhook.create", "webhook.delete", "webhook.create"];
    assert_eq!(stage.actions(&who).await, all);
}

#[tokio::test]
async fn pages_of_webhooks_follow_one_another_and_there_is_an_end() {
    let (stage, who) = (Stage::set(quick()).await, user("one"));
    let mut made = Vec::new();
    for number in 0..20 {
        made.push(stage.hook(&who, format!("https://example.org/{number}")).await.id);
    }
    let api = stage.root.api();
    let refused = api.create_webhook(&who, order("https://example.org/".into())).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let part = api.webhooks(&who, page(7, cursor)).await.unwrap();
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
    let settings = WebhookSettings { allow_private: false, ..quick() };
    let (stage, who) = (Stage::set(settings).await, user("one"));
    let api = stage.root.api();
    for url in ["http://example.org/", "https://127.0.0.1/", "https://0x7f.1/", "https://[::1]/"] {
        let refused = api.create_webhook(&who, order(url.into())).await.unwrap_err();
        assert_eq!((refused.code, refused.errors[0].field.as_str()), (Code::Validation, "url"));
    }
    let events = vec!["nonsense".to_owned()];
    let order = WebhookOrder { events, ..order("https://example.org/".into()) };
    let refused = api.create_webhook(&who, order).await.unwrap_err();
    assert_eq!((refused.code, refused.errors[0].field.as_str()), (Code::Validation, "events"));
    // Names are looked at when they are resolved: nothing is connected to.
    let hook = stage.hook(&who, "https://localhost:9/".into()).await;
    stage.say(&who, 1, 1).await;
    let view = stage.until(&who, &hook, |hook| hook.last_error.is_some()).await;
    assert!(view.last_error.unwrap().contains("is no public address"));
}

#[tokio::test]
async fn an_endpoint_gets_only_the_events_that_it_names() {
    let receiver = Receiver::start(OK).await;
    let (stage, who) = (Stage::set(quick()).await, user("one"));
    let api = stage.root.api();
    let events = vec!["access_lost".to_owned()];
    let order = WebhookOrder { events, ..order(order_of(&receiver)) };
    api.create_webhook(&who, order).await.unwrap();
    stage.say(&who, 1, 1).await;
    let lost = OutboxEntry { kind: "access_lost".into(), ..event(&who, 1, 2) };
    let of_the_bridge = OutboxEntry { owner: None, ..lost.clone() };
    stage.store.commit(vec![Op::Append(of_the_bridge), Op::Append(lost)]).await.unwrap();
    receiver.expect(1, [2]).await;
    assert_eq!(receiver.seen()[0].json()["type"], "access_lost");
}

#[tokio::test]
async fn a_users_end_is_the_end_of_the_users_webhooks() {
    let receiver = Receiver::start(|_, _| Reply::Status(500)).await;
    let (stage, who) = (Stage::set(quick()).await, user("one"));
    let hook = stage.hook(&who, order_of(&receiver)).await;
    stage.say(&who, 1, 1).await;
    stage.until(&who, &hook, |hook| hook.waiting == 1 && hook.last_error.is_some()).await;
    stage.root.api().erase(&who, who.user.clone()).await.unwrap();
    assert_eq!(stage.root.api().webhooks(&who, page(9, None)).await.unwrap().items, []);
    assert_eq!(stage.waiting(), []);
    stage.say(&who, 1, 2).await;
    stage.end().await;
}
