//! Commands on their way into the tree: sessions first, then what is to be done with them. Each
//! step is durable before the next, and the whole is harmless to repeat.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::monitor::Configure;
use super::supervisor::{MonitorsMsg, Stop};
use crate::actors::accounts::fleet::{CommandHold, FleetMsg};
use crate::actors::accounts::joins::JobsMsg;
use crate::actors::tree::actor::{ActorRef, Message, RpcReplyPort};
use crate::actors::tree::calling::{Unanswered, call};
use crate::clock::Clock;
use crate::failpoint;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::bridge::command::{Command, Order, SessionData};
use crate::protocol::bridge::job;
use crate::protocol::bridge::job::{JobRecord, JobWork};
use crate::protocol::bridge::reply_to::ReplyTo;
use crate::protocol::telegram::chat::ChatRef;
use crate::protocol::users::owner::UserId;
use crate::store::{CommitError, Op};

/// How long a step may take: it waits for the disk and for nothing else.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// A command over which its monitor crashes is tried this often before it is put aside.
const TRIES: u32 = 3;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Where commands go.
pub trait CommandSink: Clone + Send + Sync + 'static {
    /// Resolves when the order's effect is durable. Its reply, if any, is the sink's business.
    fn submit(&self, order: Order) -> impl Future<Output = Result<(), Rejected>> + Send;
}

/// Why a sink did not take an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The store is in trouble, or the daemon is stopping: the order has to come again.
    #[error("the store does not take commands now; they wait in the queue")]
    Unavailable,
    /// This order fails whenever it is tried: it is put aside, so that it delays nobody.
    #[error("{0}")]
    Refused(String),
}

/// The door through which commands enter the tree.
#[derive(Clone)]
pub struct Commands {
    fleet: ActorRef<FleetMsg>,
    monitors: ActorRef<MonitorsMsg>,
    jobs: ActorRef<JobsMsg>,
    clock: Clock,
}

impl CommandSink for Commands {
    async fn submit(&self, order: Order) -> Result<(), Rejected> {
        let Order { command, reply } = order;
        match command {
            Command::StartMonitoring { chat, sessions }
            | Command::SwitchSource { chat, sessions } => {
                self.configure(chat, sessions, reply).await
            }
            Command::StopMonitoring { chat } => self.stop(chat, reply).await,
            Command::JoinChat { chat, session } => self.join(chat, session, reply).await,
        }
    }
}

impl Commands {
    pub(in crate::actors) fn new(
        fleet: ActorRef<FleetMsg>,
        monitors: ActorRef<MonitorsMsg>,
        jobs: ActorRef<JobsMsg>,
        clock: Clock,
    ) -> Self {
        Self { fleet, monitors, jobs, clock }
    }

    async fn configure(
        &self,
        chat: ChatRef,
        sessions: Vec<SessionData>,
        reply_to: Option<ReplyTo>,
    ) -> Result<(), Rejected> {
        let pool: Vec<PoolMember> = sessions.iter().map(SessionData::member).collect();
        let hold = Some(Arc::new(self.register(sessions).await?));
        self.put(|| Configure {
            owner: None,
            chat: chat.clone(),
            sessions: pool.clone(),
            reply_to: reply_to.clone(),
            also: Vec::new(),
            hold: hold.clone(),
        })
        .await
    }

    /// Has `pool` monitor a chat for `owner`, or for the bridge. `also` becomes durable together with
    /// it.
    pub(in crate::actors) async fn watch(
        &self,
        owner: Option<UserId>,
        chat: ChatRef,
        pool: Vec<PoolMember>,
        reply_to: Option<ReplyTo>,
        also: Vec<Op>,
    ) -> Result<(), Rejected> {
        self.put(|| Configure {
            owner: owner.clone(),
            chat: chat.clone(),
            sessions: pool.clone(),
            reply_to: reply_to.clone(),
            also: also.clone(),
            hold: None,
        })
        .await
    }

    async fn put(&self, order: impl Fn() -> Configure) -> Result<(), Rejected> {
        for _ in 0..TRIES {
            let order = order();
            match durably(&self.monitors, |reply| MonitorsMsg::Configure { order, reply }).await {
                Err(Undone::Dropped) => sleep(PAUSE).await,
                Err(Undone::Unavailable) => return Err(Rejected::Unavailable),
                Ok(()) => return Ok(()),
            }
        }
        Err(crashing())
    }

    async fn stop(&self, chat: ChatRef, reply_to: Option<ReplyTo>) -> Result<(), Rejected> {
        self.unwatch(Stop { owner: None, chat, reply_to, also: Vec::new() }).await
    }

    /// Stops a monitor.
    pub(in crate::actors) async fn unwatch(&self, order: Stop) -> Result<(), Rejected> {
        for _ in 0..TRIES {
            let order = order.clone();
            match durably(&self.monitors, |reply| MonitorsMsg::Stop { order, reply }).await {
                Err(Undone::Dropped) => sleep(PAUSE).await,
                Err(Undone::Unavailable) => return Err(Rejected::Unavailable),
                Ok(()) => return Ok(()),
            }
        }
        Err(crashing())
    }

    async fn join(
        &self,
        chat: ChatRef,
        session: SessionData,
        reply: Option<ReplyTo>,
    ) -> Result<(), Rejected> {
        let PoolMember { session: id, account } = session.member();
        let hold = self.register(vec![session]).await?;
        let job = job::job_id(&chat, &id, reply.as_ref());
        let work = JobWork::Join { chat, session: id, account };
        let job = JobRecord { id: job, work, reply, created_at: self.clock.now() };
        durably(&self.jobs, |reply| JobsMsg::Add { job, hold, reply }).await.map_err(Rejected::from)
    }

    /// Has the fleet remember sessions, at least for as long as the hold lives.
    async fn register(&self, sessions: Vec<SessionData>) -> Result<CommandHold, Rejected> {
        failpoint::reach("session.register.before");
        let asked = durably(&self.fleet, |reply| FleetMsg::Register { sessions, reply }).await;
        failpoint::reach("session.register.after");
        asked.map_err(Rejected::from)
    }
}

fn crashing() -> Rejected {
    let why = "the monitor of this chat fails whenever it is started; the log says why. Send the \
               command again once that is mended";
    Rejected::Refused(why.into())
}

/// Why nobody said that something is durable.
enum Undone {
    /// The store is in trouble, the answer took too long, or the daemon is stopping.
    Unavailable,
    /// The actor crashed over it.
    Dropped,
}

impl From<Undone> for Rejected {
    fn from(_: Undone) -> Self {
        Self::Unavailable
    }
}

/// Has an actor make something durable. No answer in time means: not done, as far as we know, so
/// the command stays with the broker.
async fn durably<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    message: impl FnOnce(RpcReplyPort<Result<T, CommitError>>) -> M,
) -> Result<T, Undone> {
    match call(actor, message, STEP_TIMEOUT).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            tracing::error!(%error, "a command could not be stored");
            Err(Undone::Unavailable)
        }
        Err(Unanswered::Dropped) => Err(Undone::Dropped),
        Err(Unanswered::Late | Unanswered::Gone) => Err(Undone::Unavailable),
    }
}
