//! All monitors by their chat: hands each command to the monitor it concerns, starts those that
//! the store knows, and restarts one that crashes without its siblings noticing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use uuid::Uuid;

use super::board::MonitorView;
use super::context::{Context, now};
use super::fleet::FleetMsg;
use super::monitor::{Configure, Monitor, MonitorArgs, MonitorMsg};
use super::supervision::{End, Ended, Nursery};
use crate::clock;
use crate::protocol::chat::{ChatKey, ChatRef};
use crate::protocol::event::{self, Outcome};
use crate::protocol::ids::UnixMillis;
use crate::protocol::model::{MonitorPhase, MonitorRecord, ReplyTo};
use crate::protocol::monitor::MonitorState;
use crate::protocol::owner::UserId;
use crate::protocol::restart::ChildKind;
use crate::protocol::server_time::Moment;
use crate::store::{CommitError, Op, StoreError};

/// Monitors started at a time, so that ten thousand of them keep neither a command nor the heartbeat
/// waiting: each costs a read and an actor, some 50 µs.
const BEGIN_AT_ONCE: usize = 200;

/// How long monitors may take to hand over what they have been given. It is in memory and goes to
/// the disk, so this is long.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The actor.
pub(super) struct Monitors;

/// What it is started with.
pub(super) struct MonitorsArgs {
    pub(super) context: Arc<Context>,
    pub(super) fleet: ActorRef<FleetMsg>,
    pub(super) records: Vec<MonitorRecord>,
}

/// An order to stop monitoring a chat.
#[derive(Clone)]
pub(super) struct Stop {
    /// Whose monitor; `None`: the bridge's.
    pub(super) owner: Option<UserId>,
    pub(super) chat: ChatRef,
    pub(super) reply_to: Option<ReplyTo>,
    /// What becomes durable together with it.
    pub(super) also: Vec<Op>,
}

/// Its messages.
pub(super) enum MonitorsMsg {
    /// Start some more of what the store knows.
    Begin,
    /// A command names the sessions of a chat.
    Configure { order: Configure, reply: RpcReplyPort<Result<(), CommitError>> },
    /// A command ends the monitoring of a chat.
    Stop { order: Stop, reply: RpcReplyPort<Result<(), CommitError>> },
    /// The pause before a monitor's restart is over.
    RestartDue { key: ChatKey },
    /// The heartbeat passes.
    Pulse(RpcReplyPort<()>),
}

enum Presence {
    Running(ActorRef<MonitorMsg>),
    /// Crashed, to be started again after a pause.
    Recovering,
    /// Crashed too often.
    Parked,
}

/// Its state.
pub(super) struct MonitorsState {
    context: Arc<Context>,
    fleet: ActorRef<FleetMsg>,
    /// What the store knows and nobody has started yet.
    unstarted: BTreeMap<ChatKey, MonitorRecord>,
    present: HashMap<ChatKey, Presence>,
    nursery: Nursery<ChatKey>,
}

impl Actor for Monitors {
    type Msg = MonitorsMsg;
    type State = MonitorsState;
    type Arguments = MonitorsArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<MonitorsMsg>,
        args: MonitorsArgs,
    ) -> Result<MonitorsState, ActorProcessingErr> {
        let MonitorsArgs { context, fleet, records } = args;
        myself.cast(MonitorsMsg::Begin)?;
        let unstarted = records.into_iter().map(|record| (record.key(), record)).collect();
        let nursery = Nursery::new(ChildKind::Monitor);
        Ok(MonitorsState { context, fleet, unstarted, present: HashMap::new(), nursery })
    }

    async fn handle(
        &self,
        myself: ActorRef<MonitorsMsg>,
        message: MonitorsMsg,
        state: &mut MonitorsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MonitorsMsg::Begin => state.begin(&myself).await,
            MonitorsMsg::Configure { order, reply } => {
                state.configure(&myself, order, reply).await?;
            }
            MonitorsMsg::Stop { order, reply } => state.stop(&myself, order, reply).await,
            MonitorsMsg::RestartDue { key } => state.restart_due(&myself, &key).await?,
            MonitorsMsg::Pulse(reply) => drop(reply.send(())),
        }
        Ok(())
    }

    /// Before the monitors are told to end, each hands to the store what it has been given.
    async fn post_stop(
        &self,
        myself: ActorRef<MonitorsMsg>,
        _state: &mut MonitorsState,
    ) -> Result<(), ActorProcessingErr> {
        myself.drain_children_and_wait(Some(DRAIN_MAX)).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<MonitorsMsg>,
        event: SupervisionEvent,
        state: &mut MonitorsState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(ended) = state.nursery.ended(event, &state.context).await {
            state.ended(&myself, ended);
        }
        Ok(())
    }
}

impl MonitorsState {
    async fn begin(&mut self, myself: &ActorRef<MonitorsMsg>) {
        for _ in 0..BEGIN_AT_ONCE {
            let Some((_, record)) = self.unstarted.pop_first() else { return };
            self.start(myself, record).await;
        }
        let _ = myself.cast(MonitorsMsg::Begin);
    }

    async fn start(&mut self, myself: &ActorRef<MonitorsMsg>, record: MonitorRecord) {
        let key = record.key();
        let cursor = match self.context.store.cursor(&key) {
            Ok(cursor) => cursor,
            Err(error) => {
                // Without its cursor it would begin anew and lose what was missed.
                let end = self.nursery.stillborn(&key, &error.to_string(), &self.context).await;
                self.after(myself, key, end);
                return;
            }
        };
        let args = MonitorArgs {
            context: Arc::clone(&self.context),
            fleet: self.fleet.clone(),
            key: key.clone(),
            cursor,
            record,
        };
        match Actor::spawn_linked(None, Monitor, args, myself.get_cell()).await {
            Ok((actor, _)) => {
                self.nursery.born(&actor.get_cell(), key.clone());
                self.present.insert(key, Presence::Running(actor));
            }
            Err(error) => {
                let cause = error.to_string();
                let end = self.nursery.stillborn(&key, &cause, &self.context).await;
                self.after(myself, key, end);
            }
        }
    }

    async fn configure(
        &mut self,
        myself: &ActorRef<MonitorsMsg>,
        order: Configure,
        reply: RpcReplyPort<Result<(), CommitError>>,
    ) -> Result<(), StoreError> {
        let key = ChatKey::of(order.owner.as_ref(), &order.chat);
        self.unstarted.remove(&key);
        if !matches!(self.present.get(&key), Some(Presence::Running(_))) {
            self.nursery.forgive(&key);
            let stored = self.context.store.monitor(&key)?;
            let owed_from = self.context.clocks.telegrams_now();
            let blank = || blank(order.owner.clone(), order.chat.clone(), owed_from);
            self.start(myself, stored.unwrap_or_else(blank)).await;
        }
        // Should it not run even now, the reply is dropped and the command comes again.
        if let Some(Presence::Running(actor)) = self.present.get(&key) {
            let _ = actor.cast(MonitorMsg::Configure { order, reply });
        }
        Ok(())
    }

    async fn stop(
        &mut self,
        myself: &ActorRef<MonitorsMsg>,
        order: Stop,
        reply: RpcReplyPort<Result<(), CommitError>>,
    ) {
        let Stop { owner, chat, reply_to, also } = order;
        let key = ChatKey::of(owner.as_ref(), &chat);
        if let Some(record) = self.unstarted.remove(&key) {
            self.start(myself, record).await;
        }
        let present = self.present.remove(&key);
        if let Some(Presence::Running(actor)) = present {
            // It is on its own from here on; a new command for the chat starts another one.
            let _ = actor.cast(MonitorMsg::Stop { reply_to, also, reply });
            return;
        }
        let mut ops = also;
        ops.push(Op::DeleteMonitor(key.clone()));
        if let Some(to) = reply_to {
            let outcome = Outcome::Stopped { chat: chat.clone(), was_monitored: present.is_some() };
            ops.push(Op::Append(event::reply(&to, &outcome, Uuid::now_v7(), now())));
        }
        let outcome = self.context.store.commit(ops).await;
        if outcome.is_ok() {
            self.context.board.monitor_gone(&key);
            let _ = self.fleet.cast(FleetMsg::Forget { key });
        }
        let _ = reply.send(outcome);
    }

    async fn restart_due(
        &mut self,
        myself: &ActorRef<MonitorsMsg>,
        key: &ChatKey,
    ) -> Result<(), StoreError> {
        if !matches!(self.present.get(key), Some(Presence::Recovering)) {
            return Ok(());
        }
        match self.context.store.monitor(key)? {
            Some(record) => self.start(myself, record).await,
            None => drop(self.present.remove(key)),
        }
        Ok(())
    }

    fn ended(&mut self, myself: &ActorRef<MonitorsMsg>, ended: Ended<ChatKey>) {
        let Ended { key, child, end } = ended;
        // One that was told to stop may end after its successor was started.
        let is_its = matches!(
            self.present.get(&key),
            Some(Presence::Running(actor)) if actor.get_id() == child
        );
        if is_its {
            self.after(myself, key, end);
        }
    }

    fn after(&mut self, myself: &ActorRef<MonitorsMsg>, key: ChatKey, end: End) {
        if let End::Crashed { cause, .. } = &end {
            let view = MonitorView {
                state: MonitorState::Waiting,
                since: now(),
                session: None,
                error: Some(format!("its actor crashed: {cause}")),
            };
            self.context.board.monitor(&key, view);
        }
        match end {
            End::Done => drop(self.present.remove(&key)),
            End::Crashed { again_after: Some(pause), .. } => {
                self.present.insert(key.clone(), Presence::Recovering);
                myself.send_after(pause, move || MonitorsMsg::RestartDue { key });
            }
            End::Crashed { again_after: None, .. } => {
                let _ = self.fleet.cast(FleetMsg::Forget { key: key.clone() });
                self.present.insert(key, Presence::Parked);
            }
        }
    }
}

/// The record of a chat that was never monitored: without sessions it does nothing until it is
/// configured.
fn blank(owner: Option<UserId>, chat: ChatRef, owed_from: Option<UnixMillis>) -> MonitorRecord {
    let Moment { wall, steady } = clock::moment();
    MonitorRecord {
        owner,
        chat,
        ordered: Vec::new(),
        pool: Vec::new(),
        phase: MonitorPhase::Exhausted,
        started_at: wall,
        started_steady: Some(steady),
        owed_from,
        marked_id: None,
        migrated_from: None,
        title: None,
        names: Vec::new(),
        start_pts: None,
    }
}
