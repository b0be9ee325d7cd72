//! The bridge: keeps the two links to the broker running, whoever provides them. Each reconnects by itself; should one
//! crash all the same, it is started again after a pause, and the other goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::port::{BrokerLinks, LentOutbox};
use crate::actors::monitors::commands::Commands;
use crate::actors::tree::actor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, named};
use crate::actors::tree::context::Context;
use crate::actors::tree::ledger;
use crate::protocol::tree::restart::{ChildKind, RestartHistory};
use crate::protocol::tree::table::{self, TableRow};
use crate::store::Outbox;
use crate::tasks;

/// The actor.
pub(in crate::actors) struct Bridge;

/// What it is started with.
pub(in crate::actors) struct BridgeArgs {
    pub(in crate::actors) context: Arc<Context>,
    pub(in crate::actors) links: Arc<dyn BrokerLinks>,
    pub(in crate::actors) outbox: Outbox,
    pub(in crate::actors) commands: Commands,
    /// How long a link may take to finish what it has in hand.
    pub(in crate::actors) drain: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Side {
    Publisher,
    Consumer,
}

impl Side {
    fn row(self) -> &'static TableRow {
        match self {
            Self::Publisher => &table::PUBLISHER,
            Self::Consumer => &table::CONSUMER,
        }
    }
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

named!(BridgeMsg: Start, Ended, StopConsuming, StopPublishing, Pulse);

/// Its state.
pub(in crate::actors) struct BridgeState {
    context: Arc<Context>,
    links: Arc<dyn BrokerLinks>,
    outbox: Arc<Mutex<Outbox>>,
    commands: Commands,
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
        let BridgeArgs { context, links, outbox, commands, drain } = args;
        let clock = Arc::clone(&context);
        links.date_by(Box::new(move || clock.telegrams_now()));
        Ok(BridgeState {
            context,
            links,
            outbox: Arc::new(Mutex::new(outbox)),
            commands,
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
        self.context.members().runs(side.row());
        let stop = self.link(side).stop.clone();
        let drain = self.drain;
        let task = match side {
            Side::Publisher => {
                // After a crash what was not confirmed is published again.
                let mut outbox = Arc::clone(&self.outbox).lock_owned().await;
                outbox.rewind(0);
                tasks::owned(self.links.publish(LentOutbox(outbox), stop, drain))
            }
            Side::Consumer => tasks::owned(self.links.consume(self.commands.clone(), stop, drain)),
        };
        let target = myself.clone();
        let watch = tasks::owned(async move {
            let panicked = task.await.is_err_and(|error| error.is_panic());
            let _ = target.cast(BridgeMsg::Ended { side, panicked });
        });
        self.link(side).task = Some(watch);
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
        self.context.members().of_row(side.row()).failed(false);
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
