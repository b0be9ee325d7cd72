//! The root: starts the tree in order, stops it in the opposite one, and gives up the process
//! when a part ends without which going on would be a lie.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::bridge::{Bridge, BridgeArgs, BridgeMsg, BridgeStatus};
use super::context::Context;
use super::fleet::{Fleet, FleetArgs};
use super::jobs::{Jobs, JobsArgs};
use super::monitors::{Monitors, MonitorsArgs};
use super::orders::Orders;
use crate::edge::amqp::AmqpOptions;
use crate::store::{Outbox, Snapshot};

/// Why the tree cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// A part of the tree could not be started.
    #[error("{part} could not be started: {cause}")]
    Start {
        /// Which one.
        part: &'static str,
        /// Why.
        cause: String,
    },
    /// A part of the tree ended that must not.
    #[error("{part} ended: {cause}")]
    Ended {
        /// Which one.
        part: String,
        /// Why.
        cause: String,
    },
}

/// What the bridge needs, where there is one.
pub struct BridgeParts {
    /// Where the broker is, and the names there.
    pub options: AmqpOptions,
    /// The outbox.
    pub outbox: Outbox,
    /// Where its links say how they fare.
    pub status: BridgeStatus,
}

/// A running tree.
pub struct Root {
    supervisor: ActorRef<Named>,
    fleet: ActorCell,
    monitors: ActorCell,
    jobs: ActorCell,
    bridge: Option<ActorRef<BridgeMsg>>,
    orders: Orders,
    ended: watch::Receiver<Option<RootError>>,
}

impl Root {
    /// Starts the tree on what the store knows.
    pub async fn start(
        context: Arc<Context>,
        snapshot: Snapshot,
        bridge: Option<BridgeParts>,
        drain: Duration,
    ) -> Result<Self, RootError> {
        let (tell, ended) = watch::channel(None);
        let spawned = Actor::spawn(None, Supervisor, tell).await;
        let (supervisor, _) = spawned.map_err(failed("root"))?;
        let Snapshot { sessions, accounts, monitors, jobs, restarts } = snapshot;
        restarts.into_iter().for_each(|record| context.board.restart(record));
        let args = FleetArgs { context: Arc::clone(&context), accounts, sessions };
        let fleet = spawn(&supervisor, "fleet", Fleet, args).await?;
        let records = monitors.into_iter().map(|(record, _)| record).collect();
        let args = MonitorsArgs { context: Arc::clone(&context), fleet: fleet.clone(), records };
        let monitors = spawn(&supervisor, "monitors", Monitors, args).await?;
        let args = JobsArgs { context: Arc::clone(&context), fleet: fleet.clone(), jobs };
        let jobs = spawn(&supervisor, "jobs", Jobs, args).await?;
        let orders = Orders::new(fleet.clone(), monitors.clone(), jobs.clone());
        let bridge = match bridge {
            None => None,
            Some(BridgeParts { options, outbox, status }) => {
                let orders = orders.clone();
                let args = BridgeArgs { context, options, outbox, orders, links: status, drain };
                Some(spawn(&supervisor, "bridge", Bridge, args).await?)
            }
        };
        let (fleet, monitors, jobs) = (fleet.get_cell(), monitors.get_cell(), jobs.get_cell());
        Ok(Self { supervisor, fleet, monitors, jobs, bridge, orders, ended })
    }

    /// The door for commands that do not come over the bridge.
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Waits until a part ends that must not, and tells why.
    pub async fn ended(&self) -> RootError {
        let mut ended = self.ended.clone();
        let seen = ended.wait_for(Option::is_some).await;
        seen.ok().and_then(|seen| seen.clone()).unwrap_or_else(|| RootError::Ended {
            part: "root".into(),
            cause: "its actor is gone".into(),
        })
    }

    /// Stops the tree from the leaves up before `deadline`: commands first, then sessions, then
    /// what listens to them, then what the broker still takes.
    pub async fn stop(self, deadline: Instant) {
        let Self { supervisor, fleet, monitors, jobs, bridge, .. } = self;
        if let Some(bridge) = &bridge {
            // Half of the time at the most: what follows needs some, too.
            let half = Instant::now() + deadline.duration_since(Instant::now()) / 2;
            let asked = bridge.call(BridgeMsg::StopConsuming, None);
            let _ = timeout_at(half, asked).await;
        }
        for part in [fleet, jobs, monitors] {
            let _ = timeout_at(deadline, part.drain_and_wait(None)).await;
        }
        if let Some(bridge) = &bridge {
            let asked = bridge.call(BridgeMsg::StopPublishing, None);
            let _ = timeout_at(deadline, asked).await;
        }
        let _ = timeout_at(deadline, supervisor.stop_and_wait(None, None)).await;
    }
}

/// Starts a part of the tree under the root.
async fn spawn<A: Actor>(
    supervisor: &ActorRef<Named>,
    part: &'static str,
    actor: A,
    args: A::Arguments,
) -> Result<ActorRef<A::Msg>, RootError> {
    let spawned = Actor::spawn_linked(None, actor, args, supervisor.get_cell()).await;
    let (child, _) = spawned.map_err(failed(part))?;
    let _ = supervisor.cast(Named { child: child.get_id(), part });
    Ok(child)
}

fn failed(part: &'static str) -> impl Fn(ractor::SpawnErr) -> RootError {
    move |error| RootError::Start { part, cause: error.to_string() }
}

/// The actor above all others. Its children restart theirs; should one of them end itself, the
/// process is to end, for systemd to start it again.
struct Supervisor;

/// What a child is called. Names are kept here and not in the library's registry, which is one
/// for the whole process.
struct Named {
    child: ActorId,
    part: &'static str,
}

struct SupervisorState {
    parts: HashMap<ActorId, &'static str>,
    tell: watch::Sender<Option<RootError>>,
}

impl Actor for Supervisor {
    type Msg = Named;
    type State = SupervisorState;
    type Arguments = watch::Sender<Option<RootError>>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Named>,
        tell: watch::Sender<Option<RootError>>,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        Ok(SupervisorState { parts: HashMap::new(), tell })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Named>,
        named: Named,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.parts.insert(named.child, named.part);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Named>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let (child, cause) = match event {
            SupervisionEvent::ActorFailed(child, error) => (child, error.to_string()),
            SupervisionEvent::ActorTerminated(child, _, reason) => {
                (child, reason.unwrap_or_else(|| "stopped".into()))
            }
            _ => return Ok(()),
        };
        let part = state.parts.get(&child.get_id()).copied().unwrap_or("a part of the tree");
        state.tell.send_replace(Some(RootError::Ended { part: part.into(), cause }));
        Ok(())
    }
}
