//! The bridge's port: what the tree asks of the links to a message broker, and what it offers them. Whoever speaks
//! the broker's protocol fills it, from outside; nothing here names one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::actors::monitors::commands::Commands;
use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::values::ids::UnixMillis;
use crate::store::Outbox;

/// Tells what time it is at Telegram.
pub type TelegramsClock = Box<dyn Fn() -> UnixMillis + Send + Sync>;

/// The two links to a broker. Each reconnects by itself, and ends only once it was told to stop: then it has
/// `drain` for what it has in hand. A link may be run again after it crashed, never twice at once.
pub trait BrokerLinks: Send + Sync + 'static {
    /// Has the age of messages measured by `clock`. Called once, before either link runs.
    fn date_by(&self, clock: TelegramsClock);

    /// Runs the link that publishes what waits in the outbox, in order.
    fn publish(
        &self,
        outbox: LentOutbox,
        stop: CancellationToken,
        drain: Duration,
    ) -> BoxFuture<'static, ()>;

    /// Runs the link that takes commands and hands them to the tree.
    fn consume(
        &self,
        commands: Commands,
        stop: CancellationToken,
        drain: Duration,
    ) -> BoxFuture<'static, ()>;
}

/// What waits to be published, in order.
pub trait OutboxSource: Send {
    /// Waits until at least one entry is there, then yields up to `max` in the order of their
    /// sequence numbers, which may have holes. Must be cancel-safe.
    fn next(&mut self, max: usize) -> impl Future<Output = Vec<(u64, Arc<OutboxEntry>)>> + Send;

    /// The next [`next`](Self::next) starts at `to` again.
    fn rewind(&mut self, to: u64);

    /// Everything up to and including `through` may be forgotten.
    fn release(&mut self, through: u64);
}

/// The outbox, lent to the link that reads it; it comes back even when the link crashes.
pub struct LentOutbox(pub(super) OwnedMutexGuard<Outbox>);

impl OutboxSource for LentOutbox {
    async fn next(&mut self, max: usize) -> Vec<(u64, Arc<OutboxEntry>)> {
        self.0.next(max).await
    }

    fn rewind(&mut self, to: u64) {
        self.0.rewind(to);
    }

    fn release(&mut self, through: u64) {
        self.0.acknowledge(through);
    }
}
