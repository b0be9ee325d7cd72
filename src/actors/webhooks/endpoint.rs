//! One endpoint: delivers what is in its queue. Within a chat one after the other, so that the order
//! is kept; chats beside each other, so that one that fails holds up no other. What waits is on the
//! disk; in memory are only the places (about 60 bytes each) and what is under way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::task::AbortOnDropHandle;

use super::attempt::{self, Came};
use super::registry::Hook;
use super::supervisor::Shared;
use crate::actors::tree::actor::{Actor, ActorProcessingErr, ActorRef, named};
use crate::actors::tree::metrics::{Depth, HookOutcome};
use crate::protocol::users::owner::{UserId, WebhookId};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::webhooks::deliveries::{Delivery, Line};
use crate::store::{DeadId, DeliveryId, Op, Reader};

/// Chats that are delivered at once.
const CHATS_AT_ONCE: usize = 8;
/// Failures in a row after which only one attempt at a time is made until one succeeds: an endpoint that
/// is down must not take the room of the others.
const FAILURES_MAX: u32 = 8;
/// Deliveries given up at once when too many wait.
const OVERFLOW_STEP: usize = 256;
/// Deliveries that were given up, kept for one endpoint; beyond it the oldest go.
const DEAD_MAX: usize = 10_000;
/// How many more there may be before anybody tidies up.
const DEAD_SLACK: usize = 500;
/// Longest sleep, so that a clock that was set back is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The actor.
pub(super) struct Endpoint;

/// What it is started with.
pub(super) struct EndpointArgs {
    pub(super) shared: Arc<Shared>,
    pub(super) hook: Arc<Hook>,
}

/// Its messages.
pub(in crate::actors) enum EndpointMsg {
    /// Find what is in the queue.
    Load,
    /// These were put into the queue.
    Arrived(Vec<DeliveryId>),
    /// The endpoint was changed.
    Changed,
    /// The endpoint was deleted.
    Dropped,
    /// Some pause is over.
    Due,
    /// An attempt ended.
    Ended {
        /// Which one.
        id: DeliveryId,
        /// How; or why its outcome could not be noted.
        came: Result<Came, String>,
    },
}

named!(EndpointMsg: Load, Arrived, Changed, Dropped, Due, Ended);

/// Its state.
pub(super) struct EndpointState {
    shared: Arc<Shared>,
    hook: Arc<Hook>,
    user: UserId,
    id: WebhookId,
    is_loaded: bool,
    /// Everything that waits, in the order of the outbox.
    all: BTreeMap<u64, Line>,
    /// The same by chat.
    lines: HashMap<Line, BTreeSet<u64>>,
    /// Chats that may be tried.
    ready: VecDeque<Line>,
    /// Chats that pause.
    pauses: BTreeSet<(UnixMillis, Line)>,
    /// Chats whose pause was cut short.
    hurried: HashSet<Line>,
    under_way: HashMap<Line, AbortOnDropHandle<()>>,
    rest_until: Option<UnixMillis>,
    failures: u32,
    dead: usize,
    alarm: Option<(UnixMillis, AbortHandle)>,
    depth: Depth,
}

impl Actor for Endpoint {
    type Msg = EndpointMsg;
    type State = EndpointState;
    type Arguments = EndpointArgs;

    async fn pre_start(
        &self,
        _myself: ActorRef<EndpointMsg>,
        args: EndpointArgs,
    ) -> Result<EndpointState, ActorProcessingErr> {
        let EndpointArgs { shared, hook } = args;
        let (record, depth) = (hook.record(), shared.context.metrics.hook_backlog());
        Ok(EndpointState {
            shared,
            hook,
            user: record.user.clone(),
            id: record.id,
            is_loaded: false,
            all: BTreeMap::new(),
            lines: HashMap::new(),
            ready: VecDeque::new(),
            pauses: BTreeSet::new(),
            hurried: HashSet::new(),
            under_way: HashMap::new(),
            rest_until: None,
            failures: 0,
            dead: 0,
            alarm: None,
            depth,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<EndpointMsg>,
        message: EndpointMsg,
        state: &mut EndpointState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            EndpointMsg::Load => state.load().await?,
            EndpointMsg::Arrived(ids) => state.arrived(ids).await?,
            EndpointMsg::Changed => state.changed(),
            EndpointMsg::Due => state.alarm = None,
            EndpointMsg::Ended { id, came } => state.ended(id, came?).await?,
            EndpointMsg::Dropped => {
                myself.stop(None);
                return Ok(());
            }
        }
        state.go_on(&myself).await
    }
}

impl EndpointState {
    async fn load(&mut self) -> Result<(), ActorProcessingErr> {
        let (user, id) = (self.user.clone(), self.id);
        let look = move |store: &Reader| {
            Ok((store.delivery_ids(&user, id)?, store.dead_ids(&user, id)?.len()))
        };
        let (ids, dead) = self.shared.context.store.read(look).await?;
        (self.dead, self.is_loaded) = (dead, true);
        self.arrived(ids).await
    }

    /// Puts them into the queue; those that are there already stay where they are.
    async fn arrived(&mut self, ids: Vec<DeliveryId>) -> Result<(), ActorProcessingErr> {
        for DeliveryId { seq, line, .. } in ids {
            let of_line = self.lines.entry(line).or_default();
            if of_line.is_empty() && !self.under_way.contains_key(&line) {
                self.ready.push_back(line);
            }
            of_line.insert(seq);
            self.all.insert(seq, line);
        }
        while self.all.len() > self.shared.settings.waiting_max {
            if !self.give_up_the_oldest().await? {
                break;
            }
        }
        Ok(())
    }

    /// The endpoint was changed: what pauses is tried at once, since that may have helped.
    fn changed(&mut self) {
        (self.rest_until, self.failures) = (None, 0);
        if self.hook.record().gone_at.is_some() {
            return;
        }
        let pauses = std::mem::take(&mut self.pauses);
        self.ready.extend(pauses.iter().map(|(_, line)| *line));
        self.hurried.extend(self.ready.iter().copied());
    }

    async fn ended(&mut self, id: DeliveryId, came: Came) -> Result<(), ActorProcessingErr> {
        self.under_way.remove(&id.line);
        match came {
            Came::Off { is_delivered } => {
                self.failures = if is_delivered { 0 } else { self.failures.saturating_add(1) };
                self.forget(id.seq);
                self.step_up(id.line);
                if !is_delivered {
                    self.died(1).await?;
                }
            }
            Came::Again { at, rest_until } => {
                self.failures = self.failures.saturating_add(1);
                self.rest_until = self.rest_until.max(rest_until);
                self.pauses.insert((at, id.line));
            }
            Came::Nothing => self.step_up(id.line),
        }
        Ok(())
    }

    fn forget(&mut self, seq: u64) {
        if let Some(line) = self.all.remove(&seq)
            && let Some(of_line) = self.lines.get_mut(&line)
        {
            of_line.remove(&seq);
        }
    }

    /// The next one of this chat may be tried.
    fn step_up(&mut self, line: Line) {
        if self.lines.get(&line).is_some_and(|of_line| !of_line.is_empty()) {
            self.ready.push_back(line);
        } else {
            self.lines.remove(&line);
        }
    }

    /// Begins what may be begun, and sees to it that it comes back for the rest.
    async fn go_on(&mut self, myself: &ActorRef<EndpointMsg>) -> Result<(), ActorProcessingErr> {
        self.hook.set_waiting(self.all.len());
        self.depth.set(self.all.len());
        let now = self.shared.context.now();
        while let Some((at, line)) = self.pauses.first().copied().filter(|(at, _)| *at <= now) {
            self.pauses.remove(&(at, line));
            self.ready.push_back(line);
        }
        self.rest_until = self.rest_until.filter(|until| *until > now);
        let may_begin = self.is_loaded
            && self.hook.record().enabled
            && self.rest_until.is_none()
            && !self.shared.stop.is_cancelled();
        while may_begin && self.under_way.len() < self.room() {
            let Some(line) = self.ready.pop_front() else { break };
            self.begin(myself, line, now).await?;
        }
        if may_begin || self.rest_until.is_some() {
            self.set_alarm(myself);
        }
        Ok(())
    }

    fn room(&self) -> usize {
        if self.failures >= FAILURES_MAX { 1 } else { CHATS_AT_ONCE }
    }

    async fn begin(
        &mut self,
        myself: &ActorRef<EndpointMsg>,
        line: Line,
        now: UnixMillis,
    ) -> Result<(), ActorProcessingErr> {
        let first = self.lines.get(&line).and_then(|of_line| of_line.first().copied());
        let Some(seq) = first.filter(|_| !self.under_way.contains_key(&line)) else {
            return Ok(());
        };
        let id = DeliveryId { webhook: self.id, seq, line };
        let user = self.user.clone();
        let read = move |store: &Reader| store.row::<Delivery>(&user, id);
        let Some(delivery) = self.shared.context.store.read(read).await? else {
            // It was told of twice, and delivered in between.
            self.forget(seq);
            self.step_up(line);
            return Ok(());
        };
        let is_hurried = self.hurried.remove(&line);
        if delivery.next_at > now && !is_hurried {
            if self.hook.last_error().is_none() {
                self.hook.set_last_error(delivery.error.clone());
            }
            self.pauses.insert((delivery.next_at, line));
            return Ok(());
        }
        let attempt = attempt::run(Arc::clone(&self.shared), Arc::clone(&self.hook), delivery);
        let myself = myself.clone();
        let task = self.shared.attempts.spawn(async move {
            let came = attempt.await.map_err(|error| error.to_string());
            let _ = myself.cast(EndpointMsg::Ended { id, came });
        });
        self.under_way.insert(line, AbortOnDropHandle::new(task));
        Ok(())
    }

    fn set_alarm(&mut self, myself: &ActorRef<EndpointMsg>) {
        let pause = self.pauses.first().map(|(at, _)| *at);
        let Some(at) = self.rest_until.or(pause) else { return };
        match &self.alarm {
            Some((set, _)) if *set <= at => return,
            Some((_, alarm)) => alarm.abort(),
            None => {}
        }
        let after = u64::try_from(at.0.saturating_sub(self.shared.context.now().0)).unwrap_or(0);
        let after = Duration::from_millis(after.saturating_add(1)).min(SLEEP_MAX);
        let alarm = myself.send_after(after, || EndpointMsg::Due).abort_handle();
        self.alarm = Some((at, alarm));
    }

    /// Gives up the oldest that are not under way, since more wait than may; `false` when there are none.
    async fn give_up_the_oldest(&mut self) -> Result<bool, ActorProcessingErr> {
        let max = self.shared.settings.waiting_max;
        // Some more than needed, so that not every new one costs a commit.
        let count = (self.all.len() - max + max / 50).min(OVERFLOW_STEP);
        let is_under_way = |seq: u64, line: &Line| {
            let first = self.lines.get(line).and_then(|of_line| of_line.first());
            self.under_way.contains_key(line) && first == Some(&seq)
        };
        let oldest = self.all.iter().filter(|(seq, line)| !is_under_way(**seq, line));
        let oldest: Vec<(u64, Line)> = oldest.take(count).map(|(s, l)| (*s, *l)).collect();
        let reason = format!("more than {max} deliveries waited for this endpoint");
        let mut ops = Vec::new();
        for (id, delivery) in self.deliveries(&oldest).await? {
            ops.push(Op::delete_row::<Delivery>(&self.user, id));
            ops.push(Op::put_row(&delivery.given_up(reason.clone(), self.shared.context.now())));
        }
        let died = ops.len() / 2;
        attempt::write(&self.shared, &self.hook, ops).await?;
        oldest.iter().for_each(|(seq, _)| self.forget(*seq));
        tracing::warn!(webhook = %self.id, died, "too many deliveries wait; the oldest are given up");
        self.hook.set_last_error(Some(format!("{reason}; the oldest were given up")));
        (0..died).for_each(|_| self.shared.context.metrics.hooked(HookOutcome::Overflowed));
        self.died(died).await?;
        Ok(!oldest.is_empty())
    }

    /// Those of these deliveries that still wait.
    async fn deliveries(
        &self,
        places: &[(u64, Line)],
    ) -> Result<Vec<(DeliveryId, Delivery)>, ActorProcessingErr> {
        let (user, webhook) = (self.user.clone(), self.id);
        let ids = places.iter().map(|&(seq, line)| DeliveryId { webhook, seq, line });
        let ids: Vec<DeliveryId> = ids.collect();
        let read = move |store: &Reader| {
            let mut found = Vec::new();
            for id in ids {
                found.extend(store.row::<Delivery>(&user, id)?.map(|delivery| (id, delivery)));
            }
            Ok(found)
        };
        Ok(self.shared.context.store.read(read).await?)
    }

    /// More were given up: beyond their bound the oldest go for good.
    async fn died(&mut self, more: usize) -> Result<(), ActorProcessingErr> {
        self.dead += more;
        if self.dead <= DEAD_MAX + DEAD_SLACK {
            return Ok(());
        }
        let (user, id) = (self.user.clone(), self.id);
        let look = move |store: &Reader| store.dead_ids(&user, id);
        let dead: Vec<DeadId> = self.shared.context.store.read(look).await?;
        let excess = dead.get(DEAD_MAX..).unwrap_or_default();
        let forget = |id: &DeadId| {
            Op::delete_row::<crate::protocol::webhooks::deliveries::DeadRecord>(&self.user, *id)
        };
        let ops: Vec<Op> = excess.iter().map(forget).collect();
        attempt::write(&self.shared, &self.hook, ops).await?;
        excess.iter().for_each(|_| self.shared.context.metrics.hooked(HookOutcome::Discarded));
        self.dead = dead.len().min(DEAD_MAX);
        Ok(())
    }
}
