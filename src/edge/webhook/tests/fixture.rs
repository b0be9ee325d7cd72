//! What the tests of webhooks stand on: a tree with no Telegram on a store, events put into its outbox, and
//! a receiver on loopback whose answers each test writes.

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

use crate::actors::{AuditQuery, Ports, Root, WebhookInfo, WebhookOrder, WebhookSettings};
use crate::edge::webhook::{Guard, WebhookClient};
use crate::protocol::bridge::outbox::{OutboxEntry, Route};
use crate::protocol::tree::restart::Backoff;
use crate::protocol::users::owner::{Caller, UserId};
use crate::protocol::values::page::PageQuery;
use crate::protocol::webhooks::deliveries::{Delivery, RetryPolicy};
use crate::store::{Op, Outbox, Store, StoreOptions};

const PATIENCE: Duration = Duration::from_secs(30);

/// What a receiver was sent.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) hook: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Received {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(super) fn chat(&self) -> i64 {
        self.json()["data"]["chat_id"].as_i64().unwrap()
    }

    pub(super) fn number(&self) -> i64 {
        self.json()["data"]["message_id"].as_i64().unwrap()
    }
}

/// How a receiver answers: by what it was sent, and how often it was sent that before.
type Rule = Box<dyn Fn(&Received, usize) -> Reply + Send>;

#[derive(Clone)]
pub(super) enum Reply {
    Status(u16),
    With(u16, &'static str, &'static str),
    Hang,
}

#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) address: String,
    seen: Arc<Mutex<Vec<Received>>>,
    rule: Arc<Mutex<Rule>>,
}

impl Receiver {
    pub(super) async fn start(rule: impl Fn(&Received, usize) -> Reply + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let rule: Rule = Box::new(rule);
        let receiver = Self { address, seen: Arc::default(), rule: Arc::new(Mutex::new(rule)) };
        let router = Router::new().route("/{hook}", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(super) fn answer(&self, rule: impl Fn(&Received, usize) -> Reply + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    pub(super) fn seen(&self) -> Vec<Received> {
        self.seen.lock().unwrap().clone()
    }

    /// Numbers of a chat's messages, in the order of their arrival.
    pub(super) fn numbers(&self, chat: i64) -> Vec<i64> {
        let seen = self.seen();
        seen.iter().filter(|one| one.chat() == chat).map(Received::number).collect()
    }

    pub(super) async fn expect(&self, chat: i64, numbers: impl IntoIterator<Item = i64>) {
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

pub(super) async fn eventually<T, S: std::fmt::Debug>(
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

pub(super) fn quick() -> WebhookSettings {
    let backoff = Backoff { min_ms: 10, max_ms: 40 };
    let retry = RetryPolicy { backoff, give_up_after_ms: 3_600_000 };
    WebhookSettings { retry, waiting_max: 1_000, connections: 64 }
}

pub(super) fn user(name: &str) -> Caller {
    let user = UserId::new(name).unwrap();
    Caller { user, role: Default::default(), address: None }
}

/// A tree on a store.
pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) root: Root,
    pub(super) outbox: Option<Outbox>,
}

impl Fixture {
    pub(super) async fn set(settings: WebhookSettings) -> Self {
        Self::guarded(Guard::new(true), settings).await
    }

    /// One whose endpoints are called only as far as `guard` lets them.
    pub(super) async fn guarded(guard: Guard, settings: WebhookSettings) -> Self {
        let (store, outbox) = Store::in_memory().unwrap();
        Self::on(store, outbox, guard, settings).await
    }

    pub(super) async fn open(path: &std::path::Path, settings: WebhookSettings) -> Self {
        let (store, outbox) = Store::open(StoreOptions::new(path)).unwrap();
        Self::on(store, outbox, Guard::new(true), settings).await
    }

    async fn on(store: Store, outbox: Outbox, guard: Guard, settings: WebhookSettings) -> Self {
        let endpoints = Arc::new(WebhookClient::new(guard).unwrap());
        let ports = Ports { endpoints, ..Ports::closed() };
        let root = Root::calling(&store, store.load().unwrap(), settings, ports).await;
        Self { store, root, outbox: Some(outbox) }
    }

    pub(super) async fn end(self) {
        self.root.stop(Instant::now() + PATIENCE).await;
        drop(self.outbox);
        self.store.close().await.unwrap();
    }

    pub(super) async fn hook(&self, who: &Caller, url: String) -> WebhookInfo {
        self.root.services().webhooks.create(who, order(url)).await.unwrap()
    }

    pub(super) async fn look(&self, who: &Caller, hook: &WebhookInfo) -> WebhookInfo {
        self.root.services().webhooks.get(who, hook.id).await.unwrap()
    }

    /// Waits until the endpoint is as `is_so` says.
    pub(super) async fn until(
        &self,
        who: &Caller,
        hook: &WebhookInfo,
        is_so: impl Fn(&WebhookInfo) -> bool,
    ) -> WebhookInfo {
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

    pub(super) async fn say(&self, who: &Caller, chat: i64, number: i64) {
        self.store.commit(vec![Op::Append(event(who, chat, number))]).await.unwrap();
    }

    pub(super) fn waiting(&self) -> Vec<Delivery> {
        self.store.all_rows().unwrap()
    }

    pub(super) async fn actions(&self, who: &Caller) -> Vec<String> {
        let page = self.root.services().audit.list(who, AuditQuery::default()).await.unwrap();
        page.items.into_iter().map(|entry| entry.link.action).collect()
    }
}

pub(super) fn order(url: String) -> WebhookOrder {
    WebhookOrder { url, events: Vec::new(), enabled: true }
}

pub(super) fn event(who: &Caller, chat: i64, number: i64) -> OutboxEntry {
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

pub(super) const OK: fn(&Received, usize) -> Reply = |_, _| Reply::Status(204);

pub(super) fn order_of(receiver: &Receiver) -> String {
    format!("{}/b", receiver.address)
}

pub(super) fn page(limit: usize, cursor: Option<String>) -> PageQuery {
    PageQuery { cursor, limit }
}
