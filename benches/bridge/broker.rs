//! The broker as the backend sees it: names of one run's own, the length of its event queue, and
//! a consumer that takes stamps.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

/// The backend's connection for one run.
pub(crate) struct Broker {
    runtime: Arc<Runtime>,
    pub(crate) url: String,
    pub(crate) exchange: String,
    pub(crate) commands: String,
    pub(crate) events: String,
    channel: Channel,
    _connection: Connection,
}

impl Broker {
    /// Connects; the names are declared by the subject.
    pub(crate) fn connect(runtime: Arc<Runtime>, url: &str) -> Result<Self> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let (connection, channel) = open(&runtime, url)?;
        Ok(Self {
            runtime,
            url: url.to_owned(),
            exchange: format!("bench_{unique}"),
            commands: format!("bench_{unique}_commands"),
            events: format!("bench_{unique}_events"),
            channel,
            _connection: connection,
        })
    }

    /// Connects once more, after the broker was restarted.
    pub(crate) fn connect_again(&mut self) -> Result<()> {
        (self._connection, self.channel) = open(&self.runtime, &self.url)?;
        Ok(())
    }

    /// Sends commands and waits until the broker has them.
    pub(crate) fn command(&self, commands: &[Value]) -> Result<()> {
        self.runtime.block_on(async {
            let mut sent = Vec::with_capacity(commands.len());
            for command in commands {
                let (exchange, body) = (self.exchange.as_str(), serde_json::to_vec(command)?);
                let options = BasicPublishOptions { mandatory: true, ..Default::default() };
                let properties = BasicProperties::default().with_delivery_mode(2);
                let (exchange, key) = (exchange.into(), "command".into());
                let publish = self.channel.basic_publish(exchange, key, options, &body, properties);
                sent.push(publish.await?);
            }
            for confirm in sent {
                confirm.await?;
            }
            Ok(())
        })
    }

    /// Messages that wait in the event queue.
    pub(crate) fn queued(&self) -> Result<u64> {
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let queue = self.events.as_str().into();
        let declared = self.channel.queue_declare(queue, options, FieldTable::default());
        Ok(u64::from(self.runtime.block_on(declared)?.message_count()))
    }

    /// Empties the event queue.
    pub(crate) fn purge(&self) -> Result<()> {
        let purged =
            self.channel.queue_purge(self.events.as_str().into(), QueuePurgeOptions::default());
        self.runtime.block_on(purged)?;
        Ok(())
    }

    /// Takes everything from the event queue as long as the answer lives.
    pub(crate) fn listen(&self) -> Result<Listener> {
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumer = self.runtime.block_on(async {
            let connection =
                Connection::connect(&self.url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            let queue = self.events.as_str().into();
            let consumer =
                channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
            anyhow::Ok((connection, consumer))
        })?;
        let taken = Arc::<Mutex<Taken>>::default();
        let (connection, consumer) = consumer;
        let task = self.runtime.spawn(take(connection, consumer, Arc::clone(&taken)));
        Ok(Listener { taken, _task: AbortOnDropHandle::new(task) })
    }

    /// Removes what the subject declared.
    pub(crate) fn clean(&self) -> Result<()> {
        self.runtime.block_on(async {
            let dead = format!("{}.dead", self.commands);
            for queue in [&self.events, &self.commands, &dead] {
                let options = QueueDeleteOptions::default();
                self.channel.queue_delete(queue.as_str().into(), options).await?;
            }
            let options = ExchangeDeleteOptions::default();
            self.channel.exchange_delete(self.exchange.as_str().into(), options).await?;
            Ok(())
        })
    }
}

fn open(runtime: &Runtime, url: &str) -> Result<(Connection, Channel)> {
    runtime.block_on(async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok((connection, channel))
    })
}

/// What a [`Listener`] has taken.
#[derive(Default)]
pub(crate) struct Taken {
    /// From the simulator's stamp to now, each.
    pub(crate) latencies: Vec<Duration>,
    /// Of all bodies together.
    pub(crate) body_bytes: u64,
}

/// A consumer of the event queue.
pub(crate) struct Listener {
    taken: Arc<Mutex<Taken>>,
    _task: AbortOnDropHandle<()>,
}

impl Listener {
    /// How much it has taken since the last reset.
    pub(crate) fn count(&self) -> u64 {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).latencies.len() as u64
    }

    /// Hands over what it has taken and begins anew.
    pub(crate) fn reset(&self) -> Taken {
        std::mem::take(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn take(_connection: Connection, mut consumer: Consumer, taken: Arc<Mutex<Taken>>) {
    while let Some(Ok(delivery)) = consumer.next().await {
        let Ok(latency) = latency(&delivery.data) else { continue };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.latencies.push(latency);
        taken.body_bytes += delivery.data.len() as u64;
    }
}

/// The simulator's texts begin with the moment of sending in Unix nanoseconds.
fn latency(body: &[u8]) -> Result<Duration> {
    const BEFORE: &[u8] = b"\"text\":\"";
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let at = body.windows(BEFORE.len()).position(|part| part == BEFORE).context("no text")?;
    let stamp = body[at + BEFORE.len()..].split(|byte| *byte == b' ').next().context("no stamp")?;
    let sent = Duration::from_nanos(std::str::from_utf8(stamp)?.parse()?);
    Ok(now.saturating_sub(sent))
}
