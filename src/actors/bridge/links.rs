//! The bridge: keeps the two links to the broker running. Each reconnects by itself; should one
//! crash all the same, it is started again after a pause, and the other goes on.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::actors::monitors::commands::Commands;
use crate::actors::tree::context::Context;
use crate::actors::tree::ledger;
use crate::edge::amqp;
use crate::edge::amqp::{AmqpOptions, LinkStatus, OutboxSource};
use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::tree::restart::{ChildKind, RestartHistory};
use crate::store::Outbox;

/// The actor.
pub(in crate::actors) struct Bridge;

/// What it is started with.
pub(in crate::actors) struct BridgeArgs {
    pub(in crate::actors) context: Arc<Context>,
    pub(in crate::actors) options: AmqpOptions,
    pub(in crate::actors) outbox: Outbox,
    pub(in crate::actors) orders: Commands,
    pub(in crate::actors) links: BridgeStatus,
    /// How long a link may take to finish what it has in hand.
    pub(in crate::actors) drain: Duration,
}

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
    pub fn new() -> Self {
        let publisher = LinkStatus::new();
        Self { consumer: publisher.sibling(), publisher }
    }
}

impl Default for BridgeStatus {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Side {
    Publisher,
    Consumer,
}

/// Its messages.
pub(in crate::actors) enum BridgeMsg {
    /// Start a link.
    Start(Side),
    /// A link ended.
    Ended { side: Side, panicked: bool },
    /// Take no more commands; answers when what was in hand is finished.
    StopConsuming(RpcReplyPort<()>),
    /// Publish what the broker still takes; answers when that is over.
    StopPublishing(RpcReplyPort<()>),
    /// The heartbeat passes.
    Pulse(RpcReplyPort<()>),
}

/// Its state.
pub(in crate::actors) struct BridgeState {
    context: Arc<Context>,
    options: AmqpOptions,
    outbox: Arc<Mutex<Outbox>>,
    orders: Commands,
    links: BridgeStatus,
    drain: Duration,
    publisher: LinkHandle,
    consumer: LinkHandle,
}

#[derive(Default)]
struct LinkHandle {
    task: Option<AbortOnDropHandle<()>>,
    stop: CancellationToken,
    crashes: RestartHistory,
    waiting: Option<RpcReplyPort<()>>,
}

impl Actor for Bridge {
    type Msg = BridgeMsg;
    type State = BridgeState;
    type Arguments = BridgeArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<BridgeMsg>,
        args: BridgeArgs,
    ) -> Result<BridgeState, ActorProcessingErr> {
        myself.cast(BridgeMsg::Start(Side::Publisher))?;
        myself.cast(BridgeMsg::Start(Side::Consumer))?;
        let BridgeArgs { context, options, outbox, orders, links, drain } = args;
        let clock = Arc::clone(&context);
        links.publisher.date_by(move || clock.telegrams_now());
        Ok(BridgeState {
            context,
            options,
            outbox: Arc::new(Mutex::new(outbox)),
            orders,
            links,
            drain,
            publisher: LinkHandle::default(),
            consumer: LinkHandle::default(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<BridgeMsg>,
        message: BridgeMsg,
        state: &mut BridgeState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            BridgeMsg::Start(side) => state.start(&myself, side).await,
            BridgeMsg::Ended { side, panicked } => state.ended(&myself, side, panicked).await,
            BridgeMsg::StopConsuming(reply) => state.stop(Side::Consumer, reply),
            BridgeMsg::StopPublishing(reply) => state.stop(Side::Publisher, reply),
            BridgeMsg::Pulse(reply) => drop(reply.send(())),
        }
        Ok(())
    }
}

impl BridgeState {
    fn link(&mut self, side: Side) -> &mut LinkHandle {
        match side {
            Side::Publisher => &mut self.publisher,
            Side::Consumer => &mut self.consumer,
        }
    }

    async fn start(&mut self, myself: &ActorRef<BridgeMsg>, side: Side) {
        let stop = self.link(side).stop.clone();
        let (options, drain) = (self.options.clone(), self.drain);
        let task = match side {
            Side::Publisher => {
                // After a crash what was not confirmed is published again.
                let mut outbox = Arc::clone(&self.outbox).lock_owned().await;
                outbox.rewind(0);
                let source = LentOutbox(outbox);
                let status = self.links.publisher.clone();
                tokio::spawn(amqp::publish(options, source, status, stop, drain))
            }
            Side::Consumer => {
                let (orders, status) = (self.orders.clone(), self.links.consumer.clone());
                tokio::spawn(amqp::consume(options, orders, status, stop, drain))
            }
        };
        let (task, target) = (AbortOnDropHandle::new(task), myself.clone());
        let watch = tokio::spawn(async move {
            let panicked = task.await.is_err_and(|error| error.is_panic());
            let _ = target.cast(BridgeMsg::Ended { side, panicked });
        });
        self.link(side).task = Some(AbortOnDropHandle::new(watch));
    }

    async fn ended(&mut self, myself: &ActorRef<BridgeMsg>, side: Side, panicked: bool) {
        let link = self.link(side);
        link.task = None;
        if let Some(waiting) = link.waiting.take() {
            let _ = waiting.send(());
            return;
        }
        if link.stop.is_cancelled() {
            return;
        }
        let mut crashes = std::mem::take(&mut link.crashes);
        let name = format!("{side:?}").to_ascii_lowercase();
        let cause = if panicked { "panic" } else { "ended unexpectedly" };
        let verdict =
            ledger::judge(&self.context, ChildKind::Bridge, &name, &mut crashes, cause).await;
        self.link(side).crashes = crashes;
        let pause = ledger::pause_of(verdict).unwrap_or_default();
        myself.send_after(pause, move || BridgeMsg::Start(side));
    }

    fn stop(&mut self, side: Side, reply: RpcReplyPort<()>) {
        let link = self.link(side);
        link.stop.cancel();
        if link.task.is_some() {
            link.waiting = Some(reply);
        } else {
            let _ = reply.send(());
        }
    }
}

/// The outbox, lent to the link that reads it; it comes back even when the link crashes.
struct LentOutbox(OwnedMutexGuard<Outbox>);

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
