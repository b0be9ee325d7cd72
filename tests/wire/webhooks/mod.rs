//! Users' events on their way to webhooks, while the daemon dies at every point of that way: each comes
//! under its own id, and in the order of its chat.

use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use telewarden::protocol::bridge::outbox::{OutboxEntry, Route};
use telewarden::protocol::users::owner::{UserId, WebhookId};
use telewarden::protocol::values::ids::UnixMillis;
use telewarden::protocol::webhooks::deliveries::{
    Delivery, SECRET_LEN, WebhookRecord, secret_of, sign,
};
use telewarden::store::{Op, Store, StoreOptions};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::support::{Broker, DaemonOptions, PATIENCE, Stage};

/// The points of the table that are tested here.
pub(crate) const TESTED: [&str; 4] = [
    "webhook.spool.before",
    "webhook.spool.after",
    "webhook.delivered.before",
    "webhook.delivered.after",
];

const CHATS: i64 = 3;
const EVENTS: i64 = 20;
const SECRET: [u8; SECRET_LEN] = [7; SECRET_LEN];

/// Chat and number of everything that arrived, in order.
type Arrived = Arc<Mutex<Vec<(i64, i64)>>>;

async fn take(State(arrived): State<Arrived>, headers: HeaderMap, body: String) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let at = header("webhook-timestamp").parse().unwrap();
    let signature = sign(&secret_of(&SECRET), &header("webhook-id"), at, body.as_bytes());
    assert_eq!(signature, Some(header("webhook-signature")));
    let body: Value = serde_json::from_str(&body).unwrap();
    let [chat, number] = ["chat_id", "message_id"].map(|key| body["data"][key].as_i64().unwrap());
    assert_eq!(header("webhook-id"), id_of(chat, number).to_string());
    arrived.lock().unwrap().push((chat, number));
    StatusCode::NO_CONTENT
}

fn id_of(chat: i64, number: i64) -> Uuid {
    Uuid::from_u64_pair(chat.cast_unsigned(), number.cast_unsigned())
}

async fn receiver() -> (String, Arrived) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let arrived = Arrived::default();
    let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&arrived));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, arrived)
}

fn event(user: &UserId, chat: i64, number: i64) -> Op {
    let kind = "incoming_telegram_message";
    let body = json!({"event": kind, "chat_id": chat, "message_id": number, "text": "words"});
    Op::Append(OutboxEntry {
        route: Route::Event,
        kind: kind.into(),
        message_id: id_of(chat, number),
        timestamp: 1_700_000_000,
        said_at: None,
        owner: Some(user.clone()),
        body: serde_json::to_vec(&body).unwrap(),
    })
}

/// A store in which a webhook and events of its user wait for a daemon.
async fn fill(path: std::path::PathBuf, url: String) {
    let user = UserId::new("somebody").unwrap();
    let record = WebhookRecord {
        id: WebhookId(Uuid::now_v7()),
        user: user.clone(),
        url,
        events: Vec::new(),
        enabled: true,
        gone_at: None,
        secret: secret_of(&SECRET),
        created_at: UnixMillis(1),
    };
    let (store, outbox) = Store::open(StoreOptions::new(path)).unwrap();
    let mut ops = vec![Op::put_row(&record)];
    for number in 1..=EVENTS {
        ops.extend((1..=CHATS).map(|chat| event(&user, chat, number)));
    }
    store.commit(ops).await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
}

async fn dies_at(point: &str, nth: u64) {
    assert!(TESTED.contains(&point));
    let extra_config = "[webhooks]\nallow_private = true\nretry_first = \"1s\"".into();
    let options = DaemonOptions { fail_points: true, extra_config, ..DaemonOptions::default() };
    let mut stage = Stage::prepare(Broker::shared(), options).await;
    stage.backend.declare().await;
    let (url, arrived) = receiver().await;
    fill(stage.daemon.store(), url).await;
    stage.daemon.launch_to_die_at(point, nth);
    let deadline = Instant::now() + PATIENCE;
    let death = loop {
        if let Some(death) = stage.daemon.ended() {
            break death;
        }
        assert!(Instant::now() < deadline, "{point} is not reached: {}", stage.daemon.log());
        sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(death.signal(), Some(9), "{}", stage.daemon.log());
    stage.daemon.launch();
    let deadline = Instant::now() + PATIENCE;
    for chat in 1..=CHATS {
        while numbers(&arrived, chat) != (1..=EVENTS).collect::<Vec<_>>() {
            let log = || stage.daemon.log();
            assert!(Instant::now() < deadline, "{:?}: {}", numbers(&arrived, chat), log());
            sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    assert_eq!(stage.daemon.terminate().await.code(), Some(0), "{}", stage.daemon.log());
    let all = arrived.lock().unwrap().len();
    // Each of the chats may have been under way when it died.
    assert!(all <= (CHATS * EVENTS + CHATS) as usize, "{all} deliveries");
    let (store, _outbox) = Store::open(StoreOptions::new(stage.daemon.store())).unwrap();
    assert_eq!(store.blocking().all_rows::<Delivery>().unwrap(), []);
    store.close().await.unwrap();
}

/// The numbers of a chat in the order of their arrival, without what came twice in a row.
fn numbers(arrived: &Arrived, chat: i64) -> Vec<i64> {
    let arrived = arrived.lock().unwrap();
    let of_chat = arrived.iter().filter(|(other, _)| *other == chat);
    let mut numbers: Vec<i64> = of_chat.map(|(_, number)| *number).collect();
    numbers.dedup();
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_events_are_put_in_line() {
    dies_at("webhook.spool.before", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_events_are_put_in_line() {
    dies_at("webhook.spool.after", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_a_delivery_is_noted() {
    dies_at("webhook.delivered.before", 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_delivery_is_noted() {
    dies_at("webhook.delivered.after", 7).await;
}
