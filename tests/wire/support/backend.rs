//! The backend at the other end of the broker: sends commands, collects events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Broker, Listener, PATIENCE};

const POLL: Duration = Duration::from_millis(20);

/// What came out of the event queue.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) message_id: String,
    pub(crate) body: Value,
    pub(crate) properties: BasicProperties,
    /// When it came.
    pub(crate) at: Instant,
}

/// Names at the broker, a test's own.
pub(crate) struct Names {
    pub(crate) exchange: String,
    pub(crate) commands: String,
    pub(crate) events: String,
}

/// The backend.
pub(crate) struct Backend {
    pub(crate) broker: Broker,
    pub(crate) names: Names,
    events: Arc<Mutex<Vec<Event>>>,
    _collector: AbortOnDropHandle<()>,
}

impl Backend {
    /// Connects and begins to collect events; the queue is there before any daemon is.
    pub(crate) async fn connect(broker: Broker) -> Self {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let names = Names {
            exchange: format!("test_{unique}"),
            commands: format!("test_{unique}_commands"),
            events: format!("test_{unique}_events"),
        };
        let events = Arc::default();
        let collect = collect(broker.clone(), names.events.clone(), Arc::clone(&events));
        let _collector = AbortOnDropHandle::new(tokio::spawn(collect));
        Self { broker, names, events, _collector }
    }

    /// Declares what the daemon would, so that commands wait for it in their queue.
    pub(crate) async fn declare(&self) {
        let (_connection, channel) = open(&self.broker.url).await;
        let Names { exchange, commands, events } = &self.names;
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let arguments = FieldTable::default;
        channel
            .exchange_declare(exchange.as_str().into(), ExchangeKind::Direct, options, arguments())
            .await
            .expect("the exchange is declared");
        for (queue, key) in [(commands, "command"), (events, "event")] {
            let options = QueueDeclareOptions { durable: true, ..Default::default() };
            let name = || queue.as_str().into();
            let declared = channel.queue_declare(name(), options, arguments()).await;
            declared.expect("the queue is declared");
            let (exchange, options) = (exchange.as_str().into(), QueueBindOptions::default());
            let bound = channel.queue_bind(name(), exchange, key.into(), options, arguments());
            bound.await.expect("the queue is bound");
        }
    }

    /// Looks at what was collected so far, repeated deliveries included.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        look(&self.events.lock().expect("the list"))
    }

    /// What was collected so far, repeated deliveries included.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().expect("the list").clone()
    }

    /// Waits until the events hold something.
    pub(crate) async fn wait_until<T>(
        &self,
        what: &str,
        wanted: impl Fn(&[Event]) -> Option<T>,
    ) -> T {
        if let Some(found) = self.look_for(wanted).await {
            return found;
        }
        let events = self.events();
        let bodies: Vec<&Value> = events.iter().rev().take(12).map(|event| &event.body).collect();
        panic!("waited in vain for: {what}\nthe newest of {} events: {bodies:#?}", events.len());
    }

    /// The same, for who has words of its own when it waits in vain.
    pub(crate) async fn look_for<T>(&self, wanted: impl Fn(&[Event]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = self.read(&wanted) {
                return Some(found);
            }
            sleep(POLL).await;
        }
        None
    }

    /// Waits for an `access_lost`.
    pub(crate) async fn wait_for_loss(&self, session: &Listener, reason: &str) {
        let what = format!("access_lost of {} because of {reason}", session.id);
        self.wait_until(&what, |events| {
            events
                .iter()
                .any(|event| {
                    event.kind == "access_lost"
                        && event.body["session_id"] == session.id
                        && event.body["reason"] == reason
                })
                .then_some(())
        })
        .await;
    }

    /// All `access_lost` so far, as (session, reason).
    pub(crate) fn losses(&self) -> Vec<(String, String)> {
        let events = self.events();
        let losses = events.iter().filter(|event| event.kind == "access_lost");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        losses.map(|e| (text(&e.body["session_id"]), text(&e.body["reason"]))).collect()
    }

    /// `start_monitoring_chat`.
    pub(crate) async fn start(&self, chat_id: Value, primary: &Listener, backups: &[&Listener]) {
        let pool: Vec<Value> = backups.iter().map(|backup| backup.data()).collect();
        self.command(&json!({
            "command": "start_monitoring_chat",
            "chat_id": chat_id,
            "primary_session": primary.data(),
            "backup_sessions_pool": pool,
        }))
        .await;
    }

    /// `switch_monitoring_source`.
    pub(crate) async fn switch(&self, chat_id: Value, primary: &Listener, backups: &[&Listener]) {
        let pool: Vec<Value> = backups.iter().map(|backup| backup.data()).collect();
        self.command(&json!({
            "command": "switch_monitoring_source",
            "chat_id": chat_id,
            "new_primary_session": primary.data(),
            "backup_sessions_pool": pool,
        }))
        .await;
    }

    /// Sends a command.
    pub(crate) async fn command(&self, command: &Value) {
        let body = serde_json::to_vec(command).expect("a command is JSON");
        self.send(&body, BasicProperties::default()).await;
    }

    /// Sends a command whose outcome comes among the events, found by [`Self::outcome`].
    pub(crate) async fn order(&self, command: &Value, correlation: &str) {
        let body = serde_json::to_vec(command).expect("a command is JSON");
        let properties = BasicProperties::default()
            .with_reply_to(self.names.events.as_str().into())
            .with_correlation_id(correlation.into());
        self.send(&body, properties).await;
    }

    /// The first outcome of what was sent with [`Self::order`].
    pub(crate) fn outcome(&self, correlation: &str) -> Option<Value> {
        self.read(|events| {
            let mut replies = events.iter().filter(|event| event.kind == "command_reply");
            let ours = replies.find(|event| {
                let id = event.properties.correlation_id();
                id.as_ref().is_some_and(|id| id.as_str() == correlation)
            });
            ours.map(|event| event.body.clone())
        })
    }

    /// Sends a body as it is; once more when the broker goes away over it.
    pub(crate) async fn send(&self, body: &[u8], properties: BasicProperties) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sending = timeout(Duration::from_secs(10), self.try_send(body, properties.clone()));
            let error = match sending.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            assert!(Instant::now() < deadline, "the command does not leave: {error}");
            sleep(POLL).await;
        }
    }

    async fn try_send(&self, body: &[u8], properties: BasicProperties) -> lapin::Result<()> {
        let (_connection, channel) = open(&self.broker.url).await;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = channel
            .basic_publish(
                self.names.exchange.as_str().into(),
                "command".into(),
                options,
                body,
                properties.with_delivery_mode(2),
            )
            .await?;
        let confirm = confirm.await?;
        assert!(confirm.take_message().is_none(), "the command queue is bound");
        Ok(())
    }

    /// Sends a command and waits for its outcome.
    pub(crate) async fn ask(&self, command: &Value) -> Value {
        let (_connection, channel) = open(&self.broker.url).await;
        let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = format!("{}_answers_{}", self.names.exchange, uuid::Uuid::new_v4().simple());
        channel
            .queue_declare(queue.as_str().into(), options, FieldTable::default())
            .await
            .expect("a queue for the answer");
        let body = serde_json::to_vec(command).expect("a command is JSON");
        let correlation = uuid::Uuid::new_v4().to_string();
        let properties = BasicProperties::default()
            .with_reply_to(queue.as_str().into())
            .with_correlation_id(correlation.as_str().into());
        self.send(&body, properties).await;
        let (properties, answer) = take(&channel, &queue).await;
        let echoed = properties.correlation_id().as_ref().map(|id| id.as_str().to_owned());
        assert_eq!(echoed, Some(correlation));
        serde_json::from_slice(&answer).expect("an outcome is JSON")
    }

    /// Takes the next dead letter: its error code, its error message, its body.
    pub(crate) async fn dead_letter(&self) -> (String, String, Vec<u8>) {
        let (_connection, channel) = open(&self.broker.url).await;
        let (properties, body) = take(&channel, &format!("{}.dead", self.names.commands)).await;
        let headers = properties.headers().clone().expect("a dead letter has headers");
        let text = |name: &str| match headers.inner().get(name) {
            Some(AMQPValue::LongString(text)) => text_of(text),
            other => panic!("header {name} is {other:?}"),
        };
        (text("x-error-code"), text("x-error-message"), body)
    }
}

fn text_of(text: &LongString) -> String {
    String::from_utf8_lossy(text.as_bytes()).into_owned()
}

/// A connection and a channel in confirm mode; the broker may be coming back just now.
async fn open(url: &str) -> (Connection, Channel) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_open(url).await {
            Ok(opened) => return opened,
            Err(error) => assert!(Instant::now() < deadline, "the broker is not there: {error}"),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn try_open(url: &str) -> Result<(Connection, Channel), String> {
    let opening = async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok::<_, lapin::Error>((connection, channel))
    };
    let opened = timeout(Duration::from_secs(10), opening).await;
    opened.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Takes one message from a queue, waiting for it.
async fn take(channel: &Channel, queue: &str) -> (BasicProperties, Vec<u8>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let options = BasicGetOptions { no_ack: true };
        let got = channel.basic_get(queue.into(), options).await.expect("the queue is there");
        if let Some(message) = got {
            return (message.delivery.properties, message.delivery.data);
        }
        assert!(Instant::now() < deadline, "nothing came into {queue}");
        sleep(POLL).await;
    }
}

/// Collects events for as long as it is not dropped, whatever happens to the broker.
/// Collects events for as long as the test runs, over one connection after the other.
async fn collect(broker: Broker, queue: String, events: Arc<Mutex<Vec<Event>>>) {
    loop {
        // The broker may be away for as long as a test likes.
        let Ok((connection, channel)) = try_open(&broker.url).await else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        // lapin may forget whoever waits for something when the connection breaks.
        let status = connection.status().clone();
        let breaks = async {
            while status.connected() {
                sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            _ = consume(&channel, &queue, &events) => {}
            () = breaks => {}
        }
    }
}

async fn consume(channel: &Channel, queue: &str, events: &Mutex<Vec<Event>>) -> lapin::Result<()> {
    let declare = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), declare, FieldTable::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
    let mut consumer = consumer.await?;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        let event = read(&delivery.properties, &delivery.data);
        events.lock().expect("the list").push(event);
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

fn read(properties: &BasicProperties, body: &[u8]) -> Event {
    let text = |value: &Option<lapin::types::ShortString>| {
        value.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default()
    };
    Event {
        kind: text(properties.kind()),
        message_id: text(properties.message_id()),
        body: serde_json::from_slice(body).expect("an event is JSON"),
        properties: properties.clone(),
        at: Instant::now(),
    }
}
