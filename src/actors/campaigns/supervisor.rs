//! All campaigns: starts the actor of a task when it runs, is scheduled, or somebody wants something of it, and starts
//! one again that crashes without its siblings noticing. Owns the allocators, one a user.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::allocator::{Allocator, AllocatorArgs, AllocatorMsg};
use super::campaign::{Campaign, CampaignArgs, CampaignMsg};
use super::context::CampaignsContext;
use super::recount::with_tally;
use crate::actors::tree::actor::{
    Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, named,
    spawn_child,
};
use crate::actors::tree::children::{Children, End, Ended};
use crate::protocol::campaigns::block::StatusPage;
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::task::{Task, TaskId};
use crate::protocol::tree::restart::ChildKind;
use crate::protocol::users::owner::UserId;
use crate::store::{Reader, StoreError};
use crate::tasks;

/// How long reading a campaign may take: one of an older program may have to be counted anew.
const READ_MAX: Duration = Duration::from_secs(30);
/// Campaigns started at a time, so that many of them keep neither an order nor the heartbeat waiting.
const BEGIN_AT_ONCE: usize = 50;

/// The actor.
pub(in crate::actors) struct Campaigns;

/// What it is started with.
pub(in crate::actors) struct CampaignsArgs {
    pub(in crate::actors) context: Arc<CampaignsContext>,
    /// The tasks that run or are scheduled.
    pub(in crate::actors) under_way: Vec<(UserId, TaskId)>,
}

/// Its messages.
pub(in crate::actors) enum CampaignsMsg {
    /// Start some more of what is under way.
    Begin,
    /// Somebody wants something of a task.
    Tell { user: UserId, task: TaskId, message: Box<CampaignMsg> },
    /// What the store has of a task.
    Read { task: TaskId, outcome: Box<Result<Option<Stored>, StoreError>> },
    /// A task was deleted.
    Deleted { task: TaskId },
    /// The pause before a campaign's restart is over.
    RestartDue { task: TaskId },
    /// The same of a user's allocator.
    AllocatorDue { user: UserId },
    /// A user is being erased, and may begin nothing any more: told when none of their campaigns lives.
    Forget { user: UserId, reply: RpcReplyPort<()> },
    /// The daemon stops: told when nothing is under way any more.
    Stop(RpcReplyPort<()>),
    /// The heartbeat passes.
    Pulse(RpcReplyPort<()>),
}

named!(CampaignsMsg: Begin, Tell, Read, Deleted, RestartDue, AllocatorDue, Forget, Stop, Pulse);

/// What the store has of a task.
pub(in crate::actors) struct Stored {
    task: Task,
    run: TaskRun,
    pages: Vec<StatusPage>,
}

enum Presence {
    Running(ActorRef<CampaignMsg>),
    /// It is being read; what is wanted of it meanwhile waits.
    Reading {
        user: UserId,
        messages: VecDeque<CampaignMsg>,
    },
    /// Crashed, to be started again after a pause; the same.
    Recovering {
        user: UserId,
        messages: VecDeque<CampaignMsg>,
    },
    /// Crashed too often; whoever wants something of it has it tried again.
    Parked,
}

/// Its state.
pub(in crate::actors) struct CampaignsState {
    context: Arc<CampaignsContext>,
    unstarted: VecDeque<(UserId, TaskId)>,
    /// The daemon stops: no campaign is started any more.
    is_stopping: bool,
    present: HashMap<TaskId, Presence>,
    owners: HashMap<TaskId, UserId>,
    campaigns: Children<TaskId>,
    allocators: HashMap<UserId, ActorRef<AllocatorMsg>>,
    allocator_children: Children<UserId>,
}

impl Actor for Campaigns {
    type Msg = CampaignsMsg;
    type State = CampaignsState;
    type Arguments = CampaignsArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<CampaignsMsg>,
        args: CampaignsArgs,
    ) -> Result<CampaignsState, ActorProcessingErr> {
        let CampaignsArgs { context, under_way } = args;
        myself.cast(CampaignsMsg::Begin)?;
        Ok(CampaignsState {
            context,
            unstarted: under_way.into(),
            is_stopping: false,
            present: HashMap::new(),
            owners: HashMap::new(),
            campaigns: Children::new(ChildKind::Campaign, TaskId::to_string),
            allocators: HashMap::new(),
            allocator_children: Children::new(ChildKind::Allocator, UserId::to_string),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CampaignsMsg>,
        message: CampaignsMsg,
        state: &mut CampaignsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CampaignsMsg::Begin => state.begin(&myself),
            CampaignsMsg::Tell { user, task, message } => state.tell(&myself, user, task, *message),
            CampaignsMsg::Read { task, outcome } => state.read(&myself, task, *outcome).await,
            CampaignsMsg::Deleted { task } => drop(state.owners.remove(&task)),
            CampaignsMsg::RestartDue { task } => state.restart_due(&myself, task),
            CampaignsMsg::AllocatorDue { user } => state.renew_allocator(&myself, &user).await,
            CampaignsMsg::Forget { user, reply } => state.forget(&user, reply),
            CampaignsMsg::Stop(reply) => state.stop(reply),
            CampaignsMsg::Pulse(reply) => drop(reply.send(())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<CampaignsMsg>,
        event: SupervisionEvent,
        state: &mut CampaignsState,
    ) -> Result<(), ActorProcessingErr> {
        if state.is_allocator(&event) {
            if let Some(ended) = state.allocator_children.ended(event, &state.context).await {
                state.allocator_ended(&myself, ended);
            }
        } else if let Some(ended) = state.campaigns.ended(event, &state.context).await {
            state.ended(&myself, ended);
        }
        Ok(())
    }
}

impl CampaignsState {
    /// Has no campaign begin anything more, and tells when what was under way is noted.
    fn stop(&mut self, reply: RpcReplyPort<()>) {
        self.is_stopping = true;
        self.unstarted.clear();
        let living = self.present.values().filter_map(|presence| match presence {
            Presence::Running(actor) => Some(actor.clone()),
            _ => None,
        });
        let stopped: Vec<_> =
            living.map(|actor| async move { actor.call(CampaignMsg::Stop, None).await }).collect();
        tasks::brief(async move {
            futures_util::future::join_all(stopped).await;
            let _ = reply.send(());
        });
    }

    /// Ends all campaigns of a user, and the user's allocator. What is under way is given up: the user's rows go.
    fn forget(&mut self, user: &UserId, reply: RpcReplyPort<()>) {
        self.unstarted.retain(|(owner, _)| owner != user);
        let own = self.owners.iter().filter(|(_, owner)| *owner == user).map(|(task, _)| *task);
        let own: Vec<TaskId> = own.collect();
        let mut living = Vec::new();
        for task in own {
            if let Some(Presence::Running(actor)) = self.present.get(&task) {
                living.push(actor.get_cell());
            } else {
                // What is being read for it is dropped when it comes.
                self.present.remove(&task);
                self.owners.remove(&task);
            }
        }
        living.extend(self.allocators.remove(user).map(|allocator| allocator.get_cell()));
        tasks::brief(async move {
            let ended = living.iter().map(|actor| actor.stop_and_wait(None, None));
            futures_util::future::join_all(ended).await;
            let _ = reply.send(());
        });
    }

    fn begin(&mut self, myself: &ActorRef<CampaignsMsg>) {
        for _ in 0..BEGIN_AT_ONCE {
            let Some((user, task)) = self.unstarted.pop_front() else { return };
            if !self.present.contains_key(&task) {
                self.fetch(myself, user, task, VecDeque::new());
            }
        }
        let _ = myself.cast(CampaignsMsg::Begin);
    }

    /// Hands something to the campaign, which is started for it where it does not live.
    fn tell(
        &mut self,
        myself: &ActorRef<CampaignsMsg>,
        user: UserId,
        task: TaskId,
        message: CampaignMsg,
    ) {
        match self.present.get_mut(&task) {
            Some(Presence::Running(actor)) => {
                let Err(unsent) = actor.cast(message) else { return };
                // It has just ended; its end is on its way here.
                if let crate::actors::tree::actor::MessagingErr::SendErr(message) = unsent {
                    self.fetch(myself, user, task, VecDeque::from([message]));
                }
            }
            Some(Presence::Reading { messages, .. } | Presence::Recovering { messages, .. }) => {
                messages.push_back(message)
            }
            Some(Presence::Parked) => {
                self.campaigns.reset_restarts(&task);
                self.fetch(myself, user, task, VecDeque::from([message]));
            }
            None => self.fetch(myself, user, task, VecDeque::from([message])),
        }
    }

    /// Reads what the store has of a task.
    fn fetch(
        &mut self,
        myself: &ActorRef<CampaignsMsg>,
        user: UserId,
        task: TaskId,
        messages: VecDeque<CampaignMsg>,
    ) {
        self.owners.insert(task, user.clone());
        self.present.insert(task, Presence::Reading { user: user.clone(), messages });
        let (store, myself) = (self.context.store.clone(), myself.clone());
        tasks::brief(async move {
            // What an earlier life left on its way to the disk is read, too.
            let _ = store.commit(Vec::new()).await;
            let read = move |store: &Reader| Stored::read(store, &user, task);
            let outcome = Box::new(store.read_within(READ_MAX, read).await);
            let _ = myself.cast(CampaignsMsg::Read { task, outcome });
        });
    }

    async fn read(
        &mut self,
        myself: &ActorRef<CampaignsMsg>,
        task: TaskId,
        outcome: Result<Option<Stored>, StoreError>,
    ) {
        let Some(Presence::Reading { user, messages }) = self.present.remove(&task) else { return };
        if self.is_stopping {
            // Nothing begins any more; whoever waits hears so.
            return drop(self.owners.remove(&task));
        }
        let stored = match outcome {
            Ok(Some(stored)) => stored,
            // There is none (any more): whoever waits hears so, since the message that holds the reply goes.
            Ok(None) => return drop(self.owners.remove(&task)),
            Err(error) => {
                tracing::error!(campaign = %task, %error, "a campaign cannot be read");
                return self
                    .failed_to_start(myself, user, task, messages, &error.to_string())
                    .await;
            }
        };
        let allocator = match self.allocator(myself, &user).await {
            Ok(allocator) => allocator,
            Err(cause) => return self.failed_to_start(myself, user, task, messages, &cause).await,
        };
        let Stored { task: record, run, pages } = stored;
        let args = CampaignArgs {
            context: Arc::clone(&self.context),
            supervisor: myself.clone(),
            allocator,
            task: record,
            run,
            pages,
        };
        let member = self.campaigns.member(&task, &self.context);
        match spawn_child(member, Campaign, args, myself.get_cell()).await {
            Ok(actor) => {
                self.campaigns.started(&actor.get_cell(), task);
                messages.into_iter().for_each(|message| drop(actor.cast(message)));
                self.present.insert(task, Presence::Running(actor));
            }
            Err(error) => {
                self.failed_to_start(myself, user, task, messages, &error.to_string()).await;
            }
        }
    }

    async fn failed_to_start(
        &mut self,
        myself: &ActorRef<CampaignsMsg>,
        user: UserId,
        task: TaskId,
        messages: VecDeque<CampaignMsg>,
        cause: &str,
    ) {
        let end = self.campaigns.failed_to_start(&task, cause, &self.context).await;
        self.after(myself, user, task, messages, end);
    }

    fn ended(&mut self, myself: &ActorRef<CampaignsMsg>, ended: Ended<TaskId>) {
        let Ended { key: task, child, end } = ended;
        let Some(user) = self.owners.get(&task).cloned() else {
            self.present.remove(&task);
            return;
        };
        match self.present.get(&task) {
            Some(Presence::Running(actor)) if actor.get_id() == child => {}
            // Another has taken its place already.
            _ => return,
        }
        if let Some(allocator) = self.allocators.get(&user) {
            let _ = allocator.cast(AllocatorMsg::Leave { task });
        }
        self.after(myself, user, task, VecDeque::new(), end);
    }

    fn after(
        &mut self,
        myself: &ActorRef<CampaignsMsg>,
        user: UserId,
        task: TaskId,
        messages: VecDeque<CampaignMsg>,
        end: End,
    ) {
        match end {
            End::Done => {
                self.present.remove(&task);
                self.owners.remove(&task);
            }
            End::Crashed { again_after: Some(pause), .. } => {
                self.present.insert(task, Presence::Recovering { user, messages });
                myself.send_after(pause, move || CampaignsMsg::RestartDue { task });
            }
            End::Crashed { again_after: None, cause } => {
                self.context.status.campaign_parked(&user, task, &cause);
                self.present.insert(task, Presence::Parked);
            }
        }
    }

    fn restart_due(&mut self, myself: &ActorRef<CampaignsMsg>, task: TaskId) {
        if let Some(Presence::Recovering { user, messages }) = self.present.remove(&task) {
            self.fetch(myself, user, task, messages);
        }
    }

    /// The allocator of a user, which is started with the first of the user's campaigns.
    async fn allocator(
        &mut self,
        myself: &ActorRef<CampaignsMsg>,
        user: &UserId,
    ) -> Result<ActorRef<AllocatorMsg>, String> {
        if let Some(allocator) = self.allocators.get(user) {
            return Ok(allocator.clone());
        }
        let member = self.allocator_children.member(user, &self.context);
        let args = AllocatorArgs { context: Arc::clone(&self.context), user: user.clone() };
        let spawned = spawn_child(member, Allocator, args, myself.get_cell()).await;
        let allocator = spawned.map_err(|error| error.to_string())?;
        self.allocator_children.started(&allocator.get_cell(), user.clone());
        self.allocators.insert(user.clone(), allocator.clone());
        Ok(allocator)
    }

    fn is_allocator(&self, event: &SupervisionEvent) -> bool {
        let id: Option<ActorId> = match event {
            SupervisionEvent::ActorFailed(cell, _)
            | SupervisionEvent::ActorTerminated(cell, ..) => Some(cell.get_id()),
            _ => None,
        };
        id.is_some_and(|id| self.allocator_children.has(id))
    }

    fn allocator_ended(&mut self, myself: &ActorRef<CampaignsMsg>, ended: Ended<UserId>) {
        let Ended { key: user, child, end } = ended;
        if self.allocators.get(&user).is_some_and(|actor| actor.get_id() == child) {
            self.allocators.remove(&user);
        }
        // Whoever has no campaigns needs none.
        if !self.owners.values().any(|owner| *owner == user) {
            return;
        }
        let pause = match end {
            End::Crashed { again_after, .. } => again_after.unwrap_or(Duration::from_secs(30)),
            End::Done => Duration::ZERO,
        };
        myself.send_after(pause, move || CampaignsMsg::AllocatorDue { user });
    }

    /// Makes the allocator of a user anew, and has the user's campaigns tell it all again.
    async fn renew_allocator(&mut self, myself: &ActorRef<CampaignsMsg>, user: &UserId) {
        let Ok(allocator) = self.allocator(myself, user).await else {
            let user = user.clone();
            let due = move || CampaignsMsg::AllocatorDue { user };
            myself.send_after(Duration::from_secs(30), due);
            return;
        };
        let own = self.owners.iter().filter(|(_, owner)| *owner == user).map(|(task, _)| task);
        for task in own {
            if let Some(Presence::Running(actor)) = self.present.get(task) {
                let _ = actor.cast(CampaignMsg::Reenter { allocator: allocator.clone() });
            }
        }
    }
}

impl Stored {
    fn read(store: &Reader, user: &UserId, task: TaskId) -> Result<Option<Self>, StoreError> {
        let Some(record) = store.row::<Task>(user, task)? else { return Ok(None) };
        let run = store.row::<TaskRun>(user, task)?;
        let run = with_tally(store, run.unwrap_or_else(|| TaskRun::new(&record)))?;
        let pages = store.rows::<StatusPage>(user, Some(task.into()), None, usize::MAX)?;
        Ok(Some(Self { task: record, run, pages }))
    }
}
