//! The yardstick: the same libraries without the daemon. Sessions → JSON → pipelined confirmed
//! publishes, nothing stored, nothing supervised. What it does not do (durability, order across
//! restarts, gaps, failover) is what the daemon's extra cost buys. Must use nothing of the daemon
//! but its allocator settings and its reader of session strings.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io::{BufRead, Write};
use std::net::SocketAddrV4;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};
use grammers_client::sender::{ConnectionParams, NoRetries, SenderPool, SenderPoolHandle};
use grammers_client::session::updates::{MessageBoxes, UpdatesLike};
use grammers_client::tl::{Deserializable, Serializable, enums, functions, types};
use grammers_session::SessionData;
use grammers_session::storages::MemorySession;
use grammers_session::types::DcOption;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind, PublisherConfirm,
};
use serde::{Deserialize, Serialize};
use telewarden::protocol::telegram::session_string::SessionString;
use tokio::sync::{Semaphore, mpsc};

/// The same as the daemon's, in all four.
const UPDATES_CAPACITY: NonZeroUsize = NonZeroUsize::new(2048).expect("2048 is not zero");
const WINDOW: usize = 1024;
const BATCH: usize = 128;
const PERSISTENT: u8 = 2;
/// Sessions that connect at once when it starts: more than that overflow the server's queue of
/// connections, and wait for seconds.
const DIALS: usize = 256;
/// Pause before a lost connection is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// First line of the input.
#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) telegram: SocketAddrV4,
    pub(crate) amqp: String,
    pub(crate) exchange: String,
    pub(crate) queue: String,
}

/// An element of the second line of the input.
#[derive(Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) session_string: String,
}

/// What one message becomes: the fields that the daemon's events have for such messages.
#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    chat_id: i64,
    message_id: i32,
    date: String,
    text: &'a str,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    session_id: &'a str,
    marked_chat_id: i64,
    chat_title: Option<&'a str>,
    sender: Option<Sender<'a>>,
    is_outgoing: bool,
    is_service: bool,
    recovered: bool,
}

#[derive(Serialize)]
struct Sender<'a> {
    id: i64,
    first_name: Option<&'a str>,
    is_bot: bool,
}

/// A serialised event on its way.
struct Entry {
    message_id: String,
    body: Vec<u8>,
}

/// Messages received and not yet confirmed.
type Depth = Arc<AtomicU64>;

/// Reads settings and sessions from standard input and serves until it ends. Answers `up`,
/// `listening`, and then each line with the number of messages that are not confirmed.
pub(crate) fn run() -> Result<()> {
    telewarden::app::prepare_process();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut lines = std::io::stdin().lock().lines();
    let settings: Settings = serde_json::from_str(&lines.next().context("no settings")??)?;
    let depth = Depth::default();
    let (sender, receiver) = mpsc::channel(WINDOW);
    let channel = runtime.block_on(open_broker(&settings))?;
    runtime.spawn(publish(channel, settings.exchange.clone(), receiver, Arc::clone(&depth)));
    answer("up")?;
    let sessions: Vec<Session> = serde_json::from_str(&lines.next().context("no sessions")??)?;
    let dials = Arc::new(Semaphore::new(DIALS));
    let ready = sessions.into_iter().map(|session| {
        let (sender, depth) = (sender.clone(), Arc::clone(&depth));
        let (telegram, dials) = (settings.telegram, Arc::clone(&dials));
        runtime.spawn(async move {
            let _permit = dials.acquire_owned().await;
            start(telegram, session, sender, depth).await
        })
    });
    let ready: Vec<_> = ready.collect();
    for started in ready {
        runtime.block_on(started)??;
    }
    answer("listening")?;
    for line in lines {
        line?;
        answer(&depth.load(Ordering::Relaxed).to_string())?;
    }
    Ok(())
}

fn answer(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Connects, and declares what the daemon declares.
async fn open_broker(settings: &Settings) -> Result<Channel> {
    let connection = Connection::connect(&settings.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let (exchange, queue) = (settings.exchange.as_str(), settings.queue.as_str());
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let none = FieldTable::default;
    channel.exchange_declare(exchange.into(), ExchangeKind::Direct, options, none()).await?;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.into(), options, none()).await?;
    let bound = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), "event".into(), bound, none()).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    // The connection lives as long as the process.
    std::mem::forget(connection);
    Ok(channel)
}

/// Connects one session and has its messages handed over from then on.
async fn start(
    telegram: SocketAddrV4,
    session: Session,
    events: mpsc::Sender<Entry>,
    depth: Depth,
) -> Result<()> {
    let (handle, dc_id, updates) = connect(telegram, &session.session_string)?;
    let mut boxes = MessageBoxes::new();
    boxes.set_state(ask_state(&handle, dc_id).await?);
    tokio::spawn(follow(handle, dc_id, updates, boxes, session.id, events, depth));
    Ok(())
}

/// The library's pool for one session; it dials with the first call.
pub(crate) fn connect(
    telegram: SocketAddrV4,
    session_string: &str,
) -> Result<(SenderPoolHandle, i32, mpsc::Receiver<UpdatesLike>)> {
    let parsed = SessionString::parse(session_string)?;
    let mut data = SessionData { home_dc: parsed.dc_id, ..SessionData::default() };
    let ipv6 = std::net::SocketAddrV6::new(telegram.ip().to_ipv6_mapped(), telegram.port(), 0, 0);
    let auth_key = Some(*parsed.auth_key.expose());
    data.dc_options = HashMap::from([(
        parsed.dc_id,
        DcOption { id: parsed.dc_id, ipv4: telegram, ipv6, auth_key },
    )]);
    let params = ConnectionParams {
        device_model: "bare pipe".into(),
        system_version: "1".into(),
        app_version: "1".into(),
        system_lang_code: "en".into(),
        lang_code: "en".into(),
        use_ipv6: false,
        retry_policy: Box::new(NoRetries),
        updates_channel_capacity: UPDATES_CAPACITY,
        __non_exhaustive: (),
    };
    let pool = SenderPool::with_configuration(Arc::new(MemorySession::from(data)), 1, params);
    tokio::spawn(pool.runner.run());
    Ok((pool.handle.thin, parsed.dc_id, pool.updates))
}

/// Where the account's own sequence stands.
pub(crate) async fn ask_state(
    handle: &SenderPoolHandle,
    dc_id: i32,
) -> Result<types::updates::State> {
    let request = functions::updates::GetState {}.to_bytes();
    let answer = handle.raw_invoke_in_dc(dc_id, request).await?;
    let enums::updates::State::State(state) = enums::updates::State::from_bytes(&answer)?;
    Ok(state)
}

async fn follow(
    handle: SenderPoolHandle,
    dc_id: i32,
    mut updates: mpsc::Receiver<UpdatesLike>,
    mut boxes: MessageBoxes,
    id: String,
    events: mpsc::Sender<Entry>,
    depth: Depth,
) {
    while let Some(packet) = updates.recv().await {
        if matches!(packet, UpdatesLike::ConnectionClosed) {
            while ask_state(&handle, dc_id).await.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            continue;
        }
        // A gap loses messages here; the harness counts them and says so.
        let Ok((updates, users, chats)) = boxes.process_updates(packet) else { continue };
        for (update, _) in updates {
            let enums::Update::NewChannelMessage(update) = update else { continue };
            let enums::Message::Message(message) = update.message else { continue };
            let Some(entry) = translate(&message, &users, &chats, &id) else { continue };
            depth.fetch_add(1, Ordering::Relaxed);
            if events.send(entry).await.is_err() {
                return;
            }
        }
    }
}

fn translate(
    message: &types::Message,
    users: &[enums::User],
    chats: &[enums::Chat],
    session_id: &str,
) -> Option<Entry> {
    let enums::Peer::Channel(peer) = &message.peer_id else { return None };
    let marked = -1_000_000_000_000 - peer.channel_id;
    let title = chats.iter().find_map(|chat| match chat {
        enums::Chat::Channel(chat) if chat.id == peer.channel_id => Some(chat.title.as_str()),
        _ => None,
    });
    let sender = users.iter().find_map(|user| match (user, &message.from_id) {
        (enums::User::User(user), Some(enums::Peer::User(from))) if user.id == from.user_id => {
            let first_name = user.first_name.as_deref();
            Some(Sender { id: user.id, first_name, is_bot: user.bot })
        }
        _ => None,
    });
    let event = Event {
        event: "incoming_telegram_message",
        chat_id: marked,
        message_id: message.id,
        date: jiff::Timestamp::from_second(i64::from(message.date)).ok()?.to_string(),
        text: &message.message,
        metadata: Metadata {
            session_id,
            marked_chat_id: marked,
            chat_title: title,
            sender,
            is_outgoing: message.out,
            is_service: false,
            recovered: false,
        },
    };
    let message_id = uuid::Uuid::from_u64_pair(marked as u64, message.id as u64).to_string();
    Some(Entry { message_id, body: serde_json::to_vec(&event).ok()? })
}

/// Publishes in order, with up to [`WINDOW`] unconfirmed, many at a time: one at a time costs a
/// tenth more CPU.
async fn publish(
    channel: Channel,
    exchange: String,
    mut events: mpsc::Receiver<Entry>,
    depth: Depth,
) -> Result<()> {
    let mut in_flight: VecDeque<Pin<Box<PublisherConfirm>>> = VecDeque::with_capacity(WINDOW);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let room = WINDOW - in_flight.len();
        tokio::select! {
            biased;
            settled = settle(&mut in_flight), if !in_flight.is_empty() => {
                depth.fetch_sub(settled?, Ordering::Relaxed);
            }
            count = events.recv_many(&mut batch, room.min(BATCH)), if room > 0 => {
                if count == 0 {
                    return Ok(());
                }
                for entry in batch.drain(..) {
                    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
                    let (name, key) = (exchange.as_str().into(), "event".into());
                    let properties = properties(&entry);
                    let sent = channel.basic_publish(name, key, options, &entry.body, properties);
                    in_flight.push_back(Box::pin(sent.await?));
                }
            }
        }
    }
}

fn properties(entry: &Entry) -> BasicProperties {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(now.map_or(0, |now| now.as_secs()))
        .with_app_id("telewarden".into())
        .with_message_id(entry.message_id.as_str().into())
        .with_type("incoming_telegram_message".into())
}

/// Waits for the oldest confirm and takes all that are there already; their number.
async fn settle(in_flight: &mut VecDeque<Pin<Box<PublisherConfirm>>>) -> Result<u64> {
    poll_fn(|context| {
        let mut settled = 0;
        while let Some(oldest) = in_flight.front_mut() {
            match oldest.as_mut().poll(context) {
                Poll::Ready(Ok(confirmation)) if confirmation.is_ack() => settled += 1,
                Poll::Ready(other) => return Poll::Ready(Err(anyhow::anyhow!("{other:?}"))),
                Poll::Pending if settled == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
            in_flight.pop_front();
        }
        Poll::Ready(Ok(settled))
    })
    .await
}
