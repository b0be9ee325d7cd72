//! The two links of one bridge as the tree runs them: where the broker is, and what they say of themselves.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{AmqpOptions, LinkStatus, consume, publish};
use crate::actors::{BrokerLinks, Commands, LentOutbox, TelegramsClock};
use crate::clock::Clock;

/// What both links say of themselves.
#[derive(Clone)]
pub struct BridgeStatus {
    /// The link that publishes.
    pub publisher: LinkStatus,
    /// The link that consumes.
    pub consumer: LinkStatus,
}

impl BridgeStatus {
    /// Two links that have not been started.
    pub fn new(clock: &Clock) -> Self {
        let publisher = LinkStatus::new(clock.clone());
        Self { consumer: publisher.sibling(), publisher }
    }
}

/// The links to one AMQP broker.
pub struct AmqpLinks {
    options: AmqpOptions,
    status: BridgeStatus,
}

impl AmqpLinks {
    /// Links to the broker of `options`, which say in `status` how they fare.
    pub fn new(options: AmqpOptions, status: BridgeStatus) -> Self {
        Self { options, status }
    }
}

impl BrokerLinks for AmqpLinks {
    fn date_by(&self, clock: TelegramsClock) {
        self.status.publisher.date_by(clock);
    }

    fn publish(
        &self,
        outbox: LentOutbox,
        stop: CancellationToken,
        drain: Duration,
    ) -> BoxFuture<'static, ()> {
        let (options, status) = (self.options.clone(), self.status.publisher.clone());
        publish(options, outbox, status, stop, drain).boxed()
    }

    fn consume(
        &self,
        commands: Commands,
        stop: CancellationToken,
        drain: Duration,
    ) -> BoxFuture<'static, ()> {
        let (options, status) = (self.options.clone(), self.status.consumer.clone());
        consume(options, commands, status, stop, drain).boxed()
    }
}
