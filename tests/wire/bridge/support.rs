//! What the tests of the AMQP edge stand on: a broker, an outbox and a sink in memory.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use telewarden::actors::{CommandSink, OutboxSource, Rejected};
use telewarden::clock::Clock;
use telewarden::edge::amqp::{AmqpOptions, LinkSnapshot, LinkStatus, consume, publish};
use telewarden::protocol::bridge::command::Order;
use telewarden::protocol::bridge::outbox::{OutboxEntry, Route};
use telewarden::protocol::values::secret::SecretText;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longest wait for anything that a test expects.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Sequence numbers have holes: this is the distance between two.
pub(crate) const STEP: u64 = 3;

/// The broker that `scripts/test` started for everybody.
pub(crate) fn shared_url() -> String {
    std::env::var("TELEWARDEN_TEST_AMQP").expect("no broker: run ./scripts/test")
}

/// Waits until `look` finds something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until a link's status is as wanted.
pub(crate) async fn status_where(
    status: &LinkStatus,
    what: &str,
    wanted: impl Fn(&LinkSnapshot) -> bool,
) -> LinkSnapshot {
    let waiting = eventually(what, async || Some(status.snapshot()).filter(&wanted));
    tokio::select! {
        biased;
        found = waiting => found,
        () = sleep(PATIENCE - Duration::from_secs(1)) => panic!("{what}: {:?}", status.snapshot()),
    }
}

/// Names that no other test uses.
pub(crate) fn options(url: &str) -> AmqpOptions {
    let unique = Uuid::new_v4().simple().to_string();
    AmqpOptions {
        url: SecretText::new(url.to_owned()),
        exchange: format!("x-{unique}"),
        command_queue: format!("c-{unique}"),
        event_queue: format!("e-{unique}"),
        prefetch: 16,
        event_types: Arc::default(),
    }
}

/// The test's own view of a broker.
pub(crate) struct Admin {
    pub(crate) channel: Channel,
    _connection: Connection,
}

impl Admin {
    pub(crate) async fn of(url: &str) -> Self {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(url, properties).await.expect("the broker answers");
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { channel, _connection: connection }
    }

    /// One message, if one is there; it is gone from the queue then.
    pub(crate) async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()
    }

    pub(crate) async fn wait_for_one(&self, queue: &str) -> BasicGetMessage {
        eventually("a message", async || self.get(queue).await).await
    }

    /// Takes messages until `count` different message ids have come; the ids in order of their
    /// first coming, and how many came in all.
    pub(crate) async fn distinct(&self, queue: &str, count: usize) -> (Vec<Uuid>, usize) {
        let (mut order, mut seen, mut all) = (Vec::new(), HashSet::new(), 0);
        while order.len() < count {
            let message = self.wait_for_one(queue).await;
            let id = id_of(&message.delivery.properties);
            all += 1;
            if seen.insert(id) {
                order.push(id);
            }
        }
        (order, all)
    }

    pub(crate) async fn depth(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let state = self.channel.queue_declare(queue.into(), passive, FieldTable::default());
        state.await.unwrap().message_count()
    }

    pub(crate) async fn queue(&self, name: &str, durable: bool, arguments: FieldTable) {
        let options = QueueDeclareOptions { durable, ..Default::default() };
        self.channel.queue_declare(name.into(), options, arguments).await.unwrap();
    }

    pub(crate) async fn exchange(&self, name: &str, kind: lapin::ExchangeKind) {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let arguments = FieldTable::default();
        self.channel.exchange_declare(name.into(), kind, options, arguments).await.unwrap();
    }

    pub(crate) async fn delete_queue(&self, name: &str) {
        self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Sends a command as the backend does, through the exchange.
    pub(crate) async fn command(
        &self,
        options: &AmqpOptions,
        body: &[u8],
        properties: BasicProperties,
    ) {
        let (exchange, key) = (options.exchange.as_str().into(), "command".into());
        let publish = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent = self.channel.basic_publish(exchange, key, publish, body, properties);
        let confirm = sent.await.unwrap().await.unwrap();
        assert_eq!(confirm, lapin::Confirmation::Ack(None), "the command was routed");
    }

    /// Asks for a chat to be stopped, the shortest of all commands.
    pub(crate) async fn stop_chat(&self, options: &AmqpOptions, chat: i64) {
        let body = format!(r#"{{"command":"stop_monitoring_chat","chat_id":{chat}}}"#);
        self.command(options, body.as_bytes(), BasicProperties::default()).await;
    }
}

/// The arguments of a queue that refuses every message (`basic.nack`).
pub(crate) fn takes_nothing() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments
}

pub(crate) fn id_of(properties: &BasicProperties) -> Uuid {
    let id = properties.message_id().as_ref().expect("every message has an id");
    Uuid::parse_str(id.as_str()).expect("the id is a UUID")
}

/// An outbox in memory.
#[derive(Clone, Default)]
pub(crate) struct Outbox {
    state: Arc<Mutex<OutboxState>>,
    added: Arc<Notify>,
}

#[derive(Default)]
struct OutboxState {
    entries: Vec<Arc<OutboxEntry>>,
    next: usize,
    released: usize,
    rewinds: usize,
}

impl Outbox {
    pub(crate) fn add(&self, entry: OutboxEntry) -> Uuid {
        let id = entry.message_id;
        self.state.lock().unwrap().entries.push(Arc::new(entry));
        self.added.notify_one();
        id
    }

    pub(crate) fn add_events(&self, count: usize) -> Vec<Uuid> {
        (0..count).map(|number| self.add(event(number))).collect()
    }

    pub(crate) fn released(&self) -> usize {
        self.state.lock().unwrap().released
    }

    pub(crate) fn rewinds(&self) -> usize {
        self.state.lock().unwrap().rewinds
    }

    pub(crate) async fn wait_until_released(&self, count: usize) {
        eventually("all is released", async || (self.released() >= count).then_some(())).await;
    }
}

impl OutboxSource for Outbox {
    async fn next(&mut self, max: usize) -> Vec<(u64, Arc<OutboxEntry>)> {
        loop {
            let added = self.added.notified();
            {
                let mut state = self.state.lock().unwrap();
                let first = state.next;
                let end = state.entries.len().min(first + max);
                if end > first {
                    state.next = end;
                    let numbered = (first..end)
                        .map(|index| (index as u64 * STEP, Arc::clone(&state.entries[index])));
                    return numbered.collect();
                }
            }
            added.await;
        }
    }

    fn rewind(&mut self, to: u64) {
        let mut state = self.state.lock().unwrap();
        assert_eq!(to % STEP, 0, "rewound to an entry that never was");
        state.next = usize::try_from(to / STEP).unwrap();
        assert!(state.next >= state.released, "rewound to what was released");
        state.rewinds += 1;
    }

    fn release(&mut self, through: u64) {
        let mut state = self.state.lock().unwrap();
        assert_eq!(through % STEP, 0, "released an entry that never was");
        let released = usize::try_from(through / STEP).unwrap() + 1;
        assert!(released >= state.released, "released backwards");
        assert!(released <= state.next, "released what was not published");
        state.released = released;
    }
}

/// An event with a body that tells its number.
pub(crate) fn event(number: usize) -> OutboxEntry {
    OutboxEntry {
        route: Route::Event,
        kind: "incoming_telegram_message".into(),
        message_id: Uuid::new_v4(),
        timestamp: 1_700_000_000 + number as u64,
        said_at: None,
        owner: None,
        body: format!(r#"{{"event":"incoming_telegram_message","number":{number}}}"#).into_bytes(),
    }
}

/// A link under test; it is stopped when this is dropped.
pub(crate) struct Running {
    pub(crate) status: LinkStatus,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn publisher(options: &AmqpOptions, outbox: &Outbox) -> Self {
        Self::start(|status, stop| publish(options.clone(), outbox.clone(), status, stop, DRAIN))
    }

    pub(crate) fn consumer(options: &AmqpOptions, sink: &Sink) -> Self {
        Self::start(|status, stop| consume(options.clone(), sink.clone(), status, stop, DRAIN))
    }

    /// Both links of one bridge.
    pub(crate) fn bridge(options: &AmqpOptions, outbox: &Outbox, sink: &Sink) -> (Self, Self) {
        let status = LinkStatus::new(Clock::system());
        let sibling = status.sibling();
        let publisher = Self::start_as(status, |status, stop| {
            publish(options.clone(), outbox.clone(), status, stop, DRAIN)
        });
        let consumer = Self::start_as(sibling, |status, stop| {
            consume(options.clone(), sink.clone(), status, stop, DRAIN)
        });
        (publisher, consumer)
    }

    fn start<F>(link: impl FnOnce(LinkStatus, CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_as(LinkStatus::new(Clock::system()), link)
    }

    fn start_as<F>(
        status: LinkStatus,
        link: impl FnOnce(LinkStatus, CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(link(status.clone(), stop.clone()));
        Self { status, stop, task }
    }

    pub(crate) async fn wait_until_up(&self) {
        let up = |status: &LinkSnapshot| status.state == telewarden::edge::amqp::LinkState::Up;
        status_where(&self.status, "the link is up", up).await;
    }

    /// Asks it to stop without waiting.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stopped(mut self) -> LinkSnapshot {
        self.stop.cancel();
        let ended = timeout(DRAIN + Duration::from_secs(15), &mut self.task).await;
        ended.expect("the link stops in time").expect("the link does not panic");
        self.status.snapshot()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

/// How long a stopping link may take.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// Takes orders and tells which; can be shut as a whole or for one chat.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<SinkState>>);

#[derive(Default)]
struct SinkState {
    taken: Vec<Order>,
    refusals: usize,
    is_unavailable: bool,
    stuck: HashSet<String>,
}

impl Sink {
    /// The chats of the orders whose effect is durable, in order.
    pub(crate) fn chats(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        state.taken.iter().map(|order| order.command.chat().key().0).collect()
    }

    pub(crate) fn taken(&self) -> Vec<Order> {
        self.0.lock().unwrap().taken.clone()
    }

    pub(crate) fn refusals(&self) -> usize {
        self.0.lock().unwrap().refusals
    }

    pub(crate) fn set_unavailable(&self, is_unavailable: bool) {
        self.0.lock().unwrap().is_unavailable = is_unavailable;
    }

    pub(crate) fn hold(&self, chat: &str) {
        self.0.lock().unwrap().stuck.insert(chat.to_owned());
    }

    pub(crate) fn let_go(&self, chat: &str) {
        self.0.lock().unwrap().stuck.remove(chat);
    }

    pub(crate) async fn wait_for(&self, count: usize) -> Vec<String> {
        eventually("orders", async || Some(self.chats()).filter(|all| all.len() >= count)).await
    }
}

impl CommandSink for Sink {
    async fn submit(&self, order: Order) -> Result<(), Rejected> {
        let chat = order.command.chat().key().0;
        loop {
            {
                let mut state = self.0.lock().unwrap();
                if state.is_unavailable {
                    state.refusals += 1;
                    return Err(Rejected::Unavailable);
                }
                if !state.stuck.contains(&chat) {
                    state.taken.push(order);
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A broker of the test's own, for what would disturb others.
pub(crate) struct Broker {
    folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        // Says where it belongs when nobody prepared the machine.
        let _ = shared_url();
        let brokers = std::env::var_os("TELEWARDEN_TEST_BROKERS").map(std::path::PathBuf::from);
        let brokers = brokers.unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::TempDir::new_in(brokers).unwrap();
        script(folder.path(), "start", &[]).await;
        let url = std::fs::read_to_string(folder.path().join("url")).unwrap().trim().to_owned();
        Self { folder, url }
    }

    pub(crate) async fn restart(&self) {
        script(self.folder.path(), "restart", &[]).await;
    }

    pub(crate) async fn ctl(&self, arguments: &[&str]) {
        // It takes connections a moment before it takes orders.
        script(self.folder.path(), "ctl", &["await_startup"]).await;
        script(self.folder.path(), "ctl", arguments).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = command(self.folder.path(), "stop", &[]).status();
    }
}

fn command(folder: &Path, action: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/rabbitmq"));
    command.arg(action).arg(folder).args(arguments);
    command
}

async fn script(folder: &Path, action: &str, arguments: &[&str]) {
    let mut command = command(folder, action, arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "scripts/rabbitmq {action}: {output:?}");
}
