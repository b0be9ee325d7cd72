//! All monitors by their chat: hands each command to the monitor it concerns, starts those that
//! the store knows, and restarts one that crashes without its siblings noticing.
//!
//! The orders for one chat become durable in the order in which they came, and a chat has one actor at a
//! time: whatever is asked of it while its record is being read or deleted, or its actor is ending, waits
//! until that is through. So a chat runs if, and only if, its record says so.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::actors::tree::actor::{
    Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, named,
    spawn_child,
};
use crate::tasks;

use super::monitor::{Configure, Monitor, MonitorArgs, MonitorMsg};
use crate::actors::accounts::fleet::replying;
use crate::actors::accounts::fleet::{FleetMsg, Hold, Holder};
use crate::actors::monitors::context::MonitorsContext;
use crate::actors::tree::children::{Children, End, Ended};
use crate::actors::tree::status::MonitorView;
use crate::protocol::bridge::event::CommandOutcome;
use crate::protocol::bridge::reply_to::ReplyTo;
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::failover::MonitorState;
use crate::protocol::monitors::record::{MonitorPhase, MonitorRecord};
use crate::protocol::telegram::chat::{ChatKey, ChatRef};
use crate::protocol::telegram::server_time::Moment;
use crate::protocol::tree::restart::ChildKind;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;
use crate::store::{CommitError, Op, StoreError};

/// Monitors started at a time, so that ten thousand of them keep neither a command nor the heartbeat
/// waiting: each costs a read and an actor, some 50 µs.
const BEGIN_AT_ONCE: usize = 200;

/// How long monitors may take to hand over what they have been given. It is in memory and goes to
/// the disk, so this is long.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The actor.
pub(in crate::actors) struct Monitors;

/// What it is started with.
pub(in crate::actors) struct MonitorsArgs {
    pub(in crate::actors) context: Arc<MonitorsContext>,
    pub(in crate::actors) fleet: ActorRef<FleetMsg>,
    /// As the store has them.
    pub(in crate::actors) records: Vec<(MonitorRecord, Option<Cursor>)>,
}

/// An order to stop monitoring a chat.
#[derive(Clone)]
pub(in crate::actors) struct Stop {
    /// Whose monitor; `None`: the bridge's.
    pub(in crate::actors) owner: Option<UserId>,
    pub(in crate::actors) chat: ChatRef,
    pub(in crate::actors) reply_to: Option<ReplyTo>,
    /// What becomes durable together with it.
    pub(in crate::actors) also: Vec<Op>,
}

/// Its messages.
pub(in crate::actors) enum MonitorsMsg {
    /// Start some more of what the store knows.
    Begin,
    /// A command names the sessions of a chat.
    Configure { order: Configure, reply: RpcReplyPort<Result<(), CommitError>> },
    /// A command ends the monitoring of a chat.
    Stop { order: Stop, reply: RpcReplyPort<Result<(), CommitError>> },
    /// What the store has of a chat that is to be started.
    Read { key: ChatKey, outcome: Box<Result<Stored, StoreError>> },
    /// The record of a chat without an actor was to be deleted.
    Deleted { key: ChatKey, outcome: Result<(), CommitError> },
    /// The pause before a monitor's restart is over.
    RestartDue { key: ChatKey },
    /// The heartbeat passes.
    Pulse(RpcReplyPort<()>),
}

named!(MonitorsMsg: Begin, Configure, Stop, Read, Deleted, RestartDue, Pulse);

/// A chat's record and its cursor.
type Stored = (Option<MonitorRecord>, Option<Cursor>);

type Answer = RpcReplyPort<Result<(), CommitError>>;

/// What a command asks of a chat.
enum Order {
    Configure(Configure, Answer),
    Stop(Stop, Answer),
}

impl Order {
    fn key(&self) -> ChatKey {
        match self {
            Self::Configure(order, _) => ChatKey::of(order.owner.as_ref(), &order.chat),
            Self::Stop(order, _) => ChatKey::of(order.owner.as_ref(), &order.chat),
        }
    }

    /// Whether nobody waits for it any more. Whoever did was told that it is not done, and asks again.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Configure(_, reply) | Self::Stop(_, reply) => reply.is_closed(),
        }
    }

    fn refuse(self, error: CommitError) {
        match self {
            Self::Configure(_, reply) | Self::Stop(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

enum Presence {
    Running(ActorRef<MonitorMsg>),
    /// Its record is being read or deleted, or its actor is stopping; what is asked for meanwhile waits.
    Busy {
        stopping: Option<ActorId>,
        orders: VecDeque<Order>,
    },
    /// Crashed, to be started again after a pause.
    Recovering,
    /// Crashed too often.
    Parked,
}

/// Its state.
pub(in crate::actors) struct MonitorsState {
    context: Arc<MonitorsContext>,
    fleet: ActorRef<FleetMsg>,
    /// What the store knows and nobody has started yet.
    unstarted: BTreeMap<ChatKey, (MonitorRecord, Option<Cursor>)>,
    present: HashMap<ChatKey, Presence>,
    children: Children<ChatKey>,
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
        let unstarted = records.into_iter().map(|stored| (stored.0.key(), stored)).collect();
        let children = Children::new(ChildKind::Monitor, ChatKey::to_string);
        Ok(MonitorsState { context, fleet, unstarted, present: HashMap::new(), children })
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
                state.take(&myself, Order::Configure(order, reply)).await;
            }
            MonitorsMsg::Stop { order, reply } => {
                state.take(&myself, Order::Stop(order, reply)).await;
            }
            MonitorsMsg::Read { key, outcome } => state.read(&myself, key, *outcome).await,
            MonitorsMsg::Deleted { key, outcome } => state.deleted(&myself, key, outcome).await,
            MonitorsMsg::RestartDue { key } => state.restart_due(&myself, key),
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
        if let Some(ended) = state.children.ended(event, &state.context).await {
            state.ended(&myself, ended).await;
        }
        Ok(())
    }
}

impl MonitorsState {
    async fn begin(&mut self, myself: &ActorRef<MonitorsMsg>) {
        for _ in 0..BEGIN_AT_ONCE {
            let Some((_, (record, cursor))) = self.unstarted.pop_first() else { return };
            self.start(myself, record, cursor).await;
        }
        let _ = myself.cast(MonitorsMsg::Begin);
    }

    async fn start(
        &mut self,
        myself: &ActorRef<MonitorsMsg>,
        record: MonitorRecord,
        cursor: Option<Cursor>,
    ) {
        let key = record.key();
        let args = MonitorArgs {
            context: Arc::clone(&self.context),
            fleet: self.fleet.clone(),
            key: key.clone(),
            cursor,
            record,
        };
        let member = self.children.member(&key, &self.context);
        match spawn_child(member, Monitor, args, myself.get_cell()).await {
            Ok(actor) => {
                self.children.started(&actor.get_cell(), key.clone());
                self.present.insert(key, Presence::Running(actor));
            }
            Err(error) => self.failed_to_start(myself, key, &error.to_string()).await,
        }
    }

    async fn failed_to_start(&mut self, myself: &ActorRef<MonitorsMsg>, key: ChatKey, cause: &str) {
        let end = self.children.failed_to_start(&key, cause, &self.context).await;
        self.after(myself, key, end);
    }

    /// Hands an order to the chat's actor, or has it wait for its turn.
    async fn take(&mut self, myself: &ActorRef<MonitorsMsg>, order: Order) {
        let key = order.key();
        if let Some((record, cursor)) = self.unstarted.remove(&key) {
            self.start(myself, record, cursor).await;
        }
        match (self.present.get_mut(&key), order) {
            (Some(Presence::Busy { orders, .. }), order) => {
                // Whoever gave up asks again: only what somebody waits for is kept.
                orders.retain(|order| !order.is_abandoned());
                orders.push_back(order);
            }
            (Some(Presence::Running(actor)), Order::Configure(order, reply)) => {
                let _ = actor.cast(MonitorMsg::Configure { order, reply });
            }
            (Some(Presence::Running(actor)), Order::Stop(order, reply)) => {
                let Stop { reply_to, also, .. } = order;
                let _ = actor.cast(MonitorMsg::Stop { reply_to, also, reply });
                let stopping = Some(actor.get_id());
                self.present.insert(key, Presence::Busy { stopping, orders: VecDeque::new() });
            }
            (_, Order::Stop(order, reply)) => self.delete(myself, key, order, reply),
            (_, order @ Order::Configure(..)) => {
                self.children.reset_restarts(&key);
                self.look_up(myself, key, VecDeque::from([order]));
            }
        }
    }

    /// What waited for a chat has its turn.
    async fn take_all(&mut self, myself: &ActorRef<MonitorsMsg>, orders: VecDeque<Order>) {
        for order in orders {
            if !order.is_abandoned() {
                self.take(myself, order).await;
            }
        }
    }

    /// Has the record of a chat read that is to be started. What an earlier actor of the chat has handed
    /// in is durable first, so that it is in there.
    fn look_up(&mut self, myself: &ActorRef<MonitorsMsg>, key: ChatKey, orders: VecDeque<Order>) {
        self.present.insert(key.clone(), Presence::Busy { stopping: None, orders });
        let (store, target) = (self.context.store.clone(), myself.clone());
        tasks::brief(async move {
            let of = key.clone();
            let outcome = match store.commit(Vec::new()).await {
                Ok(()) => store.read(move |s| Ok((s.monitor(&of)?, s.cursor(&of)?))).await,
                Err(error) => Err(error.into()),
            };
            let _ = target.cast(MonitorsMsg::Read { key, outcome: Box::new(outcome) });
        });
    }

    async fn read(
        &mut self,
        myself: &ActorRef<MonitorsMsg>,
        key: ChatKey,
        outcome: Result<Stored, StoreError>,
    ) {
        let Some(Presence::Busy { mut orders, .. }) = self.present.remove(&key) else { return };
        let (record, cursor) = match outcome {
            Ok(stored) => stored,
            Err(error) => {
                // Without its cursor it would begin anew and lose what was missed.
                let told = CommitError::unread(&error);
                orders.into_iter().for_each(|order| order.refuse(told.clone()));
                return self.failed_to_start(myself, key, &error.to_string()).await;
            }
        };
        orders.retain(|order| !order.is_abandoned());
        // A blank one has no record before it is configured, so its order goes to it in any case.
        let (first, record) = match (record, orders.front()) {
            (None, Some(Order::Configure(order, _))) => {
                let owed_from = self.context.clocks.telegrams_now();
                let record =
                    blank(&self.context, order.owner.clone(), order.chat.clone(), owed_from);
                (orders.pop_front(), Some(record))
            }
            (record, _) => (None, record),
        };
        if record.is_none() {
            self.children.forget(&key, &self.context);
        }
        if let Some(record) = record {
            self.start(myself, record, cursor).await;
            if !matches!(self.present.get(&key), Some(Presence::Running(_))) {
                // The replies are dropped, and the commands come again.
                return;
            }
        }
        if let Some(first) = first {
            self.take(myself, first).await;
        }
        self.take_all(myself, orders).await;
    }

    /// Deletes the record of a chat that has no actor.
    fn delete(&mut self, myself: &ActorRef<MonitorsMsg>, key: ChatKey, order: Stop, reply: Answer) {
        let Stop { owner, chat, reply_to, also } = order;
        let orders = VecDeque::new();
        let known = self.present.insert(key.clone(), Presence::Busy { stopping: None, orders });
        let mut ops = also;
        ops.push(Op::DeleteMonitor(key.clone()));
        let outcome = CommandOutcome::Stopped { chat, was_monitored: known.is_some() };
        let told = reply_to.map(|to| replying(&self.context.tree, to, outcome));
        let (store, fleet) = (self.context.store.clone(), self.fleet.clone());
        let target = myself.clone();
        tasks::brief(async move {
            let outcome = match owner {
                None => {
                    let uses = (Holder::Monitor(key.clone()), Vec::new());
                    Hold::commit(&fleet, &store, uses, ops, told).await
                }
                Some(_) => {
                    ops.extend(told.map(|make| make(&[])));
                    store.commit(ops).await
                }
            };
            // Before anybody hears of it and asks for the chat anew.
            let _ = target.cast(MonitorsMsg::Deleted { key, outcome: outcome.clone() });
            let _ = reply.send(outcome);
        });
    }

    async fn deleted(
        &mut self,
        myself: &ActorRef<MonitorsMsg>,
        key: ChatKey,
        outcome: Result<(), CommitError>,
    ) {
        let Some(Presence::Busy { orders, .. }) = self.present.remove(&key) else { return };
        match outcome {
            Ok(()) => {
                self.context.status.monitor_gone(&key);
                self.children.forget(&key, &self.context);
                let _ = self.fleet.cast(FleetMsg::Forget { key });
                self.take_all(myself, orders).await;
            }
            // The store writes nothing any more.
            Err(error) => {
                self.present.insert(key, Presence::Parked);
                orders.into_iter().for_each(|order| order.refuse(error.clone()));
            }
        }
    }

    fn restart_due(&mut self, myself: &ActorRef<MonitorsMsg>, key: ChatKey) {
        if matches!(self.present.get(&key), Some(Presence::Recovering)) {
            self.look_up(myself, key, VecDeque::new());
        }
    }

    async fn ended(&mut self, myself: &ActorRef<MonitorsMsg>, ended: Ended<ChatKey>) {
        let Ended { key, child, end } = ended;
        let waiting = match self.present.get_mut(&key) {
            Some(Presence::Running(actor)) if actor.get_id() == child => VecDeque::new(),
            Some(Presence::Busy { stopping, orders }) if *stopping == Some(child) => {
                std::mem::take(orders)
            }
            _ => return,
        };
        // Whatever became of the stop, the store knows.
        self.after(myself, key, end);
        self.take_all(myself, waiting).await;
    }

    fn after(&mut self, myself: &ActorRef<MonitorsMsg>, key: ChatKey, end: End) {
        if let End::Crashed { cause, .. } = &end {
            let view = MonitorView {
                state: MonitorState::Waiting,
                since: self.context.now(),
                session: None,
                account: None,
                error: Some(format!("its actor crashed: {cause}")),
            };
            self.context.status.monitor(&key, view);
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
fn blank(
    context: &MonitorsContext,
    owner: Option<UserId>,
    chat: ChatRef,
    owed_from: Option<UnixMillis>,
) -> MonitorRecord {
    let Moment { wall, steady } = context.clock.moment();
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
        exhausted: None,
    }
}
