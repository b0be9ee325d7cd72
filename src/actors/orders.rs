//! Commands on their way into the tree: sessions first, then what is to be done with them. Each
//! step is durable before the next, and the whole is harmless to repeat.

use std::time::Duration;

use ractor::{ActorRef, RpcReplyPort};
use uuid::Uuid;

use super::context::now;
use super::fleet::FleetMsg;
use super::jobs::JobsMsg;
use super::monitor::Configure;
use super::monitors::MonitorsMsg;
use crate::edge::amqp::{CommandSink, Rejected};
use crate::protocol::chat::ChatRef;
use crate::protocol::command::{Command, Order, SessionData};
use crate::protocol::model::{JobRecord, JobWork, PoolMember, ReplyTo};
use crate::store::CommitError;

/// How long a step may take: it waits for the disk and for nothing else.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// The door through which commands enter the tree.
#[derive(Clone)]
pub struct Orders {
    fleet: ActorRef<FleetMsg>,
    monitors: ActorRef<MonitorsMsg>,
    jobs: ActorRef<JobsMsg>,
}

impl CommandSink for Orders {
    async fn submit(&self, order: Order) -> Result<(), Rejected> {
        let Order { command, reply } = order;
        match command {
            Command::StartMonitoring { chat, sessions }
            | Command::SwitchSource { chat, sessions } => {
                self.configure(chat, sessions, reply).await
            }
            Command::StopMonitoring { chat } => {
                ask(&self.monitors, |port| MonitorsMsg::Stop { chat, reply_to: reply, reply: port })
                    .await
            }
            Command::JoinChat { chat, session } => self.join(chat, session, reply).await,
        }
    }
}

impl Orders {
    pub(super) fn new(
        fleet: ActorRef<FleetMsg>,
        monitors: ActorRef<MonitorsMsg>,
        jobs: ActorRef<JobsMsg>,
    ) -> Self {
        Self { fleet, monitors, jobs }
    }

    async fn configure(
        &self,
        chat: ChatRef,
        sessions: Vec<SessionData>,
        reply_to: Option<ReplyTo>,
    ) -> Result<(), Rejected> {
        let pool = sessions.iter().map(member).collect();
        self.register(sessions).await?;
        let order = Configure { chat, sessions: pool, reply_to };
        ask(&self.monitors, |reply| MonitorsMsg::Configure { order, reply }).await
    }

    async fn join(
        &self,
        chat: ChatRef,
        session: SessionData,
        reply: Option<ReplyTo>,
    ) -> Result<(), Rejected> {
        let PoolMember { session: id, account } = member(&session);
        self.register(vec![session]).await?;
        let work = JobWork::Join { chat, session: id, account };
        let job = JobRecord { id: Uuid::now_v7(), work, reply, created_at: now() };
        ask(&self.jobs, |reply| JobsMsg::Add { job, reply }).await
    }

    async fn register(&self, sessions: Vec<SessionData>) -> Result<(), Rejected> {
        ask(&self.fleet, |reply| FleetMsg::Register { sessions, reply }).await
    }
}

fn member(session: &SessionData) -> PoolMember {
    PoolMember { session: session.id.clone(), account: session.account }
}

/// Asks an actor for something durable. No answer in time means: not done, as far as we know, so
/// the command stays with the broker.
async fn ask<M: ractor::Message>(
    actor: &ActorRef<M>,
    message: impl FnOnce(RpcReplyPort<Result<(), CommitError>>) -> M,
) -> Result<(), Rejected> {
    let answer = ractor::rpc::call(&actor.get_cell(), message, Some(STEP_TIMEOUT)).await;
    match answer {
        Ok(ractor::rpc::CallResult::Success(Ok(()))) => Ok(()),
        Ok(ractor::rpc::CallResult::Success(Err(error))) => {
            tracing::error!(%error, "a command could not be stored");
            Err(Rejected::Unavailable)
        }
        Ok(_) | Err(_) => Err(Rejected::Unavailable),
    }
}
