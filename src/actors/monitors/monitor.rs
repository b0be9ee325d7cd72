//! One monitored chat: listens through one account at a time, fails over as its state machine
//! says, and publishes every message once and in order. The only owner of its record and cursor.

mod check;
pub(super) mod commands;
mod flow;
mod migrate;
mod open;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::opening::{Brake, Opening};
use super::rekeying::pool_at_start;
use crate::actors::accounts::account::{AccountMsg, Subscription};
use crate::actors::accounts::calls::Interest;
use crate::actors::accounts::delivery::Share;
use crate::actors::accounts::fleet::{CommandHold, FleetMsg};
use crate::actors::accounts::listener::ListenerMsg;
use crate::actors::monitors::context::MonitorsContext;
use crate::actors::tree::actor::{
    Actor, ActorProcessingErr, ActorRef, MessagingErr, RpcReplyPort, named,
};
use crate::actors::tree::status::MonitorView;
use crate::failpoint;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::bridge::event;
use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::bridge::reply_to::ReplyTo;
use crate::protocol::messages::message::Message;
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::failover::{Effect, Input, MonitorMachine, MonitorState};
use crate::protocol::monitors::record::{Exhausted, MonitorPhase, MonitorRecord};
use crate::protocol::telegram::chat::{ChatKey, ChatRef};
use crate::protocol::telegram::failure::LostReason;
use crate::protocol::telegram::failure::{Failure, Permanence};
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::{AuthKeyId, SessionId};
use crate::store::{CommitError, Op};
use crate::telegram::Outcome;

/// The actor.
pub(in crate::actors) struct Monitor;

/// What it is started with.
pub(in crate::actors) struct MonitorArgs {
    pub(in crate::actors) context: Arc<MonitorsContext>,
    pub(in crate::actors) fleet: ActorRef<FleetMsg>,
    pub(in crate::actors) key: ChatKey,
    /// As the store has it; for a chat that is new, with no sessions.
    pub(in crate::actors) record: MonitorRecord,
    pub(in crate::actors) cursor: Option<Cursor>,
}

/// What a command asks of a monitor.
pub(in crate::actors) struct Configure {
    /// Whose monitor; `None`: the bridge's.
    pub(in crate::actors) owner: Option<UserId>,
    pub(in crate::actors) chat: ChatRef,
    pub(in crate::actors) sessions: Vec<PoolMember>,
    pub(in crate::actors) reply_to: Option<ReplyTo>,
    /// What becomes durable together with it.
    pub(in crate::actors) also: Vec<Op>,
    /// Keeps sessions that the command brought until the record names them.
    pub(in crate::actors) hold: Option<Arc<CommandHold>>,
}

/// Its messages.
pub(in crate::actors) enum MonitorMsg {
    /// Come to life.
    Begin,
    /// What an account tells those who listen.
    Heard(ListenerMsg),
    /// A call of opening number `epoch` ended.
    Found { epoch: u64, outcome: Result<Outcome, Failure> },
    /// Try opening number `epoch` once more.
    OpenAgain { epoch: u64 },
    /// It is time to compare the chat with its history.
    CheckDue { epoch: u64 },
    /// That look at history ended.
    Checked { epoch: u64, outcome: Result<Outcome, Failure> },
    /// The pause before the next session is over.
    RetryDue { epoch: u64 },
    /// A command names the sessions.
    Configure { order: Configure, reply: RpcReplyPort<Result<(), CommitError>> },
    /// A command ends it.
    Stop { reply_to: Option<ReplyTo>, also: Vec<Op>, reply: RpcReplyPort<Result<(), CommitError>> },
}

named!(MonitorMsg: Begin, Heard, Found, OpenAgain, CheckDue, Checked, RetryDue, Configure, Stop);

impl From<ListenerMsg> for MonitorMsg {
    fn from(news: ListenerMsg) -> Self {
        Self::Heard(news)
    }
}

impl TryFrom<MonitorMsg> for ListenerMsg {
    type Error = ();

    fn try_from(message: MonitorMsg) -> Result<Self, ()> {
        match message {
            MonitorMsg::Heard(news) => Ok(news),
            _ => Err(()),
        }
    }
}

/// Its state.
pub(in crate::actors) struct MonitorActor {
    context: Arc<MonitorsContext>,
    fleet: ActorRef<FleetMsg>,
    key: ChatKey,
    record: MonitorRecord,
    cursor: Option<Cursor>,
    machine: MonitorMachine,
    source: Option<ActorRef<AccountMsg>>,
    opening: Opening,
    /// Number of the newest opening or pause; older answers and timers are recognised by it.
    epoch: u64,
    /// Ends with the epoch, and with it what was asked for in it.
    interest: Interest,
    opening_failures: u32,
    /// Slows down openings that follow each other closely.
    brake: Brake,
    /// Accounts that Telegram makes wait for long, and until when.
    waits: HashMap<AuthKeyId, Instant>,
    held: Vec<Message>,
    held_shares: Vec<Share>,
    overflowed: bool,
    /// Whether the chat is being opened because a live message left out ids.
    leaping: bool,
    /// Whether a live message came since the chat was opened: the link knows where the chat stands
    /// and sees for itself when something is left out.
    anchored: bool,
    /// Until then messages that leave out ids are taken as they come.
    leaps_until: Option<Instant>,
    /// Up to which id the comparison under way can tell what exists.
    check_to: i32,
    /// Whether Telegram's time was asked for on account of the comparison that comes next.
    has_asked_time: bool,
    /// The timer of the next comparison with history.
    check_timer: Option<AbortOnDropHandle<Result<(), MessagingErr<MonitorMsg>>>>,
    /// Comparisons in a row that failed.
    checks_failed: u32,
    /// Whether history was read once more because what is kept does not follow what it had.
    looked_twice: bool,
    /// Whether the next watch may try a session once more that Telegram had ended.
    retry: bool,
    last_error: Option<String>,
    /// The session that listened last.
    listening: Option<SessionId>,
    /// Whether it was told that access is lost since the chat was last open.
    is_missed: bool,
}

impl Actor for Monitor {
    type Msg = MonitorMsg;
    type State = MonitorActor;
    type Arguments = MonitorArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<MonitorMsg>,
        args: MonitorArgs,
    ) -> Result<MonitorActor, ActorProcessingErr> {
        myself.cast(MonitorMsg::Begin)?;
        Ok(MonitorActor::new(args))
    }

    async fn handle(
        &self,
        myself: ActorRef<MonitorMsg>,
        message: MonitorMsg,
        state: &mut MonitorActor,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MonitorMsg::Begin => state.step(&myself, Input::Begin).await,
            MonitorMsg::Heard(news) => state.heard(&myself, news).await,
            MonitorMsg::Found { epoch, outcome } if epoch == state.epoch => {
                state.found(&myself, outcome).await
            }
            MonitorMsg::OpenAgain { epoch } if epoch == state.epoch => {
                state.opening.release();
                state.advance(&myself).await
            }
            MonitorMsg::RetryDue { epoch } if epoch == state.epoch => {
                state.step(&myself, Input::RetryDue).await
            }
            MonitorMsg::CheckDue { epoch } if epoch == state.epoch => {
                state.check(&myself, None);
                Ok(())
            }
            MonitorMsg::Checked { epoch, outcome } if epoch == state.epoch => {
                state.checked(&myself, outcome).await
            }
            MonitorMsg::Found { .. }
            | MonitorMsg::OpenAgain { .. }
            | MonitorMsg::CheckDue { .. }
            | MonitorMsg::Checked { .. }
            | MonitorMsg::RetryDue { .. } => Ok(()),
            MonitorMsg::Configure { order, reply } => state.configure(&myself, order, reply).await,
            MonitorMsg::Stop { reply_to, also, reply } => {
                state.stop(&myself, reply_to, also, reply).await
            }
        }
    }
}

impl MonitorActor {
    async fn heard(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        news: ListenerMsg,
    ) -> Result<(), ActorProcessingErr> {
        match news {
            ListenerMsg::SourceUp { account, actor, is_bot } => {
                self.source_up(myself, account, actor, is_bot).await
            }
            ListenerMsg::SourceLost { account, failure } => {
                self.source_lost(myself, account, failure).await
            }
            ListenerMsg::Deliver(delivery) => self.deliver(myself, delivery).await,
            ListenerMsg::Reopen { account, hint } => self.reopen(myself, account, hint).await,
        }
    }

    fn new(args: MonitorArgs) -> Self {
        let MonitorArgs { context, fleet, key, record, cursor } = args;
        let policy = context.settings.failover;
        let exhausted = record.exhausted.clone();
        Self {
            machine: MonitorMachine::new(policy, pool_at_start(&context, &record), record.phase),
            context,
            fleet,
            key,
            record,
            cursor,
            source: None,
            opening: Opening::default(),
            epoch: 0,
            interest: Interest::default(),
            opening_failures: 0,
            brake: Brake::default(),
            waits: HashMap::new(),
            held: Vec::new(),
            held_shares: Vec::new(),
            overflowed: false,
            leaping: false,
            anchored: false,
            leaps_until: None,
            check_to: 0,
            has_asked_time: false,
            check_timer: None,
            checks_failed: 0,
            looked_twice: false,
            retry: false,
            last_error: exhausted.and_then(|exhausted| exhausted.because),
            listening: None,
            is_missed: false,
        }
    }

    /// Feeds the machine and performs what it says.
    async fn step(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        input: Input,
    ) -> Result<(), ActorProcessingErr> {
        let is_gap = input == Input::Reopen;
        if self.feed(myself, input).await? {
            self.opening.again();
            self.opening.is_gap = is_gap;
            self.looked_twice = false;
            self.turn_epoch();
            if !(is_gap && self.keeps_pause(myself)) {
                self.advance(myself).await?;
            }
        }
        Ok(())
    }

    /// Feeds the machine; answers whether the chat is to be opened. What it reports and what it
    /// remembers of its pool become durable together.
    async fn feed(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        input: Input,
    ) -> Result<bool, ActorProcessingErr> {
        let effects = self.machine.step(input);
        let mut ops = Vec::new();
        let mut open = false;
        for effect in effects {
            match effect {
                Effect::Watch(member) => self.watch(myself, &member),
                Effect::Unwatch(member) => self.unwatch(myself, &member),
                Effect::Open => open = true,
                Effect::Announce { session, reason } => ops.push(self.announce(&session, reason)),
                Effect::RetryAfter { ms } => {
                    self.turn_epoch();
                    let epoch = self.epoch;
                    let due = move || MonitorMsg::RetryDue { epoch };
                    myself.send_after(Duration::from_millis(ms), due);
                }
            }
        }
        self.remember(&mut ops);
        if !ops.is_empty() {
            failpoint::reach("monitor.failover.before");
            self.context.store.submit(ops, |_| {}).await?;
            failpoint::reach("monitor.failover.after");
        }
        self.show();
        Ok(open)
    }

    fn watch(&mut self, myself: &ActorRef<MonitorMsg>, member: &PoolMember) {
        let subscription =
            Subscription { monitor: myself.get_derived(), chat: self.record.marked_id };
        let retry = std::mem::take(&mut self.retry);
        let (account, key) = (member.account, self.key.clone());
        let _ = self.fleet.cast(FleetMsg::Watch { account, key, subscription, retry });
    }

    fn unwatch(&mut self, myself: &ActorRef<MonitorMsg>, member: &PoolMember) {
        let (account, key, monitor) = (member.account, self.key.clone(), myself.get_id());
        let _ = self.fleet.cast(FleetMsg::Unwatch { account, key, monitor });
        self.turn_epoch();
        self.source = None;
        self.opening = Opening::default();
        self.forget_held();
    }

    /// Puts an event of this monitor into the outbox.
    fn append(&self, event: OutboxEntry) -> Op {
        Op::Append(OutboxEntry { owner: self.record.owner.clone(), ..event })
    }

    fn announce(&mut self, session: &SessionId, reason: LostReason) -> Op {
        let because = self.last_error.as_deref();
        tracing::warn!(chat = %self.key, session = %session, %reason, because, "access to a monitored chat is lost");
        self.is_missed = true;
        self.append(event::access_lost(&self.record.chat, session, reason, self.context.now()))
    }

    /// Adds the record to `ops` when the machine changed what a restart must know.
    fn remember(&mut self, ops: &mut Vec<Op>) {
        if self.machine.state() == MonitorState::Stopped || self.record.ordered.is_empty() {
            return;
        }
        let phase = self.machine.phase();
        if self.record.phase != phase || self.record.pool != self.machine.pool() {
            if phase == MonitorPhase::Running {
                self.record.exhausted = None;
            } else if self.record.phase != phase {
                let because = self.last_error.clone();
                self.record.exhausted = Some(Exhausted { since: self.context.now(), because });
            }
            self.record.phase = phase;
            self.record.pool = self.machine.pool().to_vec();
            ops.push(Op::PutMonitor(self.record.clone()));
        }
    }

    /// Whatever was asked for or set before is of no interest any more.
    fn turn_epoch(&mut self) {
        self.epoch += 1;
        self.anchored = false;
        self.interest = Interest::default();
    }

    fn is_current(&self, account: AuthKeyId) -> bool {
        self.machine.current().is_some_and(|member| member.account == account)
    }

    async fn source_up(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        account: AuthKeyId,
        actor: ActorRef<AccountMsg>,
        is_bot: bool,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(account) {
            return Ok(());
        }
        self.source = Some(actor);
        self.opening.move_to(account, is_bot);
        self.opening_failures = 0;
        self.step(myself, Input::SourceUp).await
    }

    async fn source_lost(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        account: AuthKeyId,
        failure: Failure,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(account) {
            return Ok(());
        }
        self.give_up(myself, &failure).await
    }

    /// The session in use is of no more use, for now or for good.
    async fn give_up(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        failure: &Failure,
    ) -> Result<(), ActorProcessingErr> {
        let failure = self.opening.explain(failure);
        self.last_error = Some(failure.to_string());
        let transient = (LostReason::ConnectionFailed, Permanence::Transient);
        let (reason, permanence) = failure.access_lost().unwrap_or(transient);
        self.step(myself, Input::SourceLost { reason, permanence }).await
    }

    fn show(&self) {
        if self.record.ordered.is_empty() || self.machine.state() == MonitorState::Stopped {
            return;
        }
        // One that was exhausted in an earlier life has been so since then.
        let exhausted = self.record.exhausted.as_ref().map(|exhausted| exhausted.since);
        let is_exhausted = self.machine.state() == MonitorState::Exhausted;
        let view = MonitorView {
            state: self.machine.state(),
            since: exhausted.filter(|_| is_exhausted).unwrap_or_else(|| self.context.now()),
            session: self.machine.current().map(|member| member.session.clone()),
            account: self.machine.current().map(|member| member.account),
            error: self.last_error.clone(),
        };
        self.context.status.monitor(&self.key, view);
    }
}
