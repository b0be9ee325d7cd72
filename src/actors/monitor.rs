//! One monitored chat: listens through one account at a time, fails over as its state machine
//! says, and publishes every message once and in order. The only owner of its record and cursor.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use uuid::Uuid;

use super::account::{AccountMsg, Interest};
use super::board::MonitorView;
use super::context::{Context, jitter, now};
use super::delivery::{Delivery, Share};
use super::errands::{Priority, Reply, Request, Wish};
use super::fleet::FleetMsg;
use super::opening::{Opening, Step};
use crate::protocol::chat::{ChatKey, ChatRef, ChatTarget, MarkedId};
use crate::protocol::cursor::{self, Cursor, fingerprint};
use crate::protocol::event::{self, LostReason, Message, MessageContext, MonitorChange, Outcome};
use crate::protocol::failure::{Failure, Permanence};
use crate::protocol::ids::{AuthKeyId, SessionId};
use crate::protocol::model::{MonitorPhase, MonitorRecord, PoolMember, ReplyTo};
use crate::protocol::monitor::{Effect, Input, MonitorMachine, MonitorState};
use crate::protocol::restart::Backoff;
use crate::store::{CommitError, Op};
use crate::telegram::{Errand, Finding, HistoryPage};

/// Live messages kept while the chat is being opened. History brings those beyond it.
const HELD_MAX: usize = 512;
/// The same where there is no history to bring them.
const HELD_BLIND_MAX: usize = 8192;
/// Batches of a bot that wait for durability meanwhile; each takes room in its account's window,
/// of which half stays free for its other chats.
const HELD_SHARES_MAX: usize = 16;
/// Failed tries of opening a chat over a live connection before the session is given up.
const OPENING_TRIES: u32 = 4;
/// Looks at a chat that is just being joined, while other sessions stand by: some three minutes.
const JOIN_TRIES: u32 = 10;
/// Pauses between them.
const OPENING_BACKOFF: Backoff = Backoff { min_ms: 1_000, max_ms: 30_000 };

/// The actor.
pub(super) struct Monitor;

/// What it is started with.
pub(super) struct MonitorArgs {
    pub(super) context: Arc<Context>,
    pub(super) fleet: ActorRef<FleetMsg>,
    pub(super) key: ChatKey,
    /// As the store has it; for a chat that is new, with no sessions.
    pub(super) record: MonitorRecord,
    pub(super) cursor: Option<Cursor>,
}

/// What a command asks of a monitor.
pub(super) struct Configure {
    pub(super) chat: ChatRef,
    pub(super) sessions: Vec<PoolMember>,
    pub(super) reply_to: Option<ReplyTo>,
}

/// Its messages.
pub(super) enum MonitorMsg {
    /// Come to life.
    Begin,
    /// An account is up, for the first time or again.
    SourceUp { account: AuthKeyId, actor: ActorRef<AccountMsg>, is_bot: bool },
    /// An account is lost.
    SourceLost { account: AuthKeyId, failure: Failure },
    /// New messages.
    Deliver(Delivery),
    /// Something may have been missed, or access lost.
    Reopen {
        account: AuthKeyId,
        /// How access was lost, if Telegram said so.
        hint: Option<Failure>,
    },
    /// An errand of opening number `epoch` ended.
    Found { epoch: u64, outcome: Result<Finding, Failure> },
    /// Try opening number `epoch` once more.
    OpenAgain { epoch: u64 },
    /// The pause before the next session is over.
    RetryDue { epoch: u64 },
    /// A command names the sessions.
    Configure { order: Configure, reply: RpcReplyPort<Result<(), CommitError>> },
    /// A command ends it.
    Stop { reply_to: Option<ReplyTo>, reply: RpcReplyPort<Result<(), CommitError>> },
}

/// Its state.
pub(super) struct MonitorActor {
    context: Arc<Context>,
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
    wish: Wish,
    opening_failures: u32,
    held: Vec<Message>,
    held_shares: Vec<Share>,
    overflowed: bool,
    /// Whether the next watch may try a session once more that Telegram had ended.
    forgive: bool,
    last_error: Option<String>,
    /// The session that listened last.
    listening: Option<SessionId>,
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
            MonitorMsg::SourceUp { account, actor, is_bot } => {
                state.source_up(&myself, account, actor, is_bot).await
            }
            MonitorMsg::SourceLost { account, failure } => {
                state.source_lost(&myself, account, failure).await
            }
            MonitorMsg::Deliver(delivery) => state.deliver(&myself, delivery).await,
            MonitorMsg::Reopen { account, hint } => state.reopen(&myself, account, hint).await,
            MonitorMsg::Found { epoch, outcome } if epoch == state.epoch => {
                state.found(&myself, outcome).await
            }
            MonitorMsg::OpenAgain { epoch } if epoch == state.epoch => state.advance(&myself).await,
            MonitorMsg::RetryDue { epoch } if epoch == state.epoch => {
                state.step(&myself, Input::RetryDue).await
            }
            MonitorMsg::Found { .. }
            | MonitorMsg::OpenAgain { .. }
            | MonitorMsg::RetryDue { .. } => Ok(()),
            MonitorMsg::Configure { order, reply } => state.configure(&myself, order, reply).await,
            MonitorMsg::Stop { reply_to, reply } => state.stop(&myself, reply_to, reply).await,
        }
    }
}

impl MonitorActor {
    fn new(args: MonitorArgs) -> Self {
        let MonitorArgs { context, fleet, key, record, cursor } = args;
        let policy = context.settings.failover;
        Self {
            machine: MonitorMachine::new(policy, record.pool.clone(), record.phase),
            context,
            fleet,
            key,
            record,
            cursor,
            source: None,
            opening: Opening::default(),
            epoch: 0,
            wish: Wish::default(),
            opening_failures: 0,
            held: Vec::new(),
            held_shares: Vec::new(),
            overflowed: false,
            forgive: false,
            last_error: None,
            listening: None,
        }
    }

    /// Feeds the machine and performs what it says.
    async fn step(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        input: Input,
    ) -> Result<(), ActorProcessingErr> {
        if self.feed(myself, input).await? {
            self.opening.again();
            self.turn_epoch();
            self.advance(myself).await?;
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
            self.context.store.submit(ops, |_| {}).await?;
        }
        self.show();
        Ok(open)
    }

    fn watch(&mut self, myself: &ActorRef<MonitorMsg>, member: &PoolMember) {
        let interest = Interest { monitor: myself.clone(), chat: self.record.marked_id };
        let forgive = std::mem::take(&mut self.forgive);
        let (account, key) = (member.account, self.key.clone());
        let _ = self.fleet.cast(FleetMsg::Watch { account, key, interest, forgive });
    }

    fn unwatch(&mut self, myself: &ActorRef<MonitorMsg>, member: &PoolMember) {
        let (account, key, monitor) = (member.account, self.key.clone(), myself.get_id());
        let _ = self.fleet.cast(FleetMsg::Unwatch { account, key, monitor });
        self.turn_epoch();
        self.source = None;
        self.opening = Opening::default();
        self.forget_held();
    }

    fn announce(&mut self, session: &SessionId, reason: LostReason) -> Op {
        tracing::warn!(chat = %self.key, session = %session, ?reason, "access to a monitored chat is lost");
        Op::Append(event::access_lost(&self.record.chat, session, reason, now()))
    }

    /// Adds the record to `ops` when the machine changed what a restart must know.
    fn remember(&mut self, ops: &mut Vec<Op>) {
        if self.machine.state() == MonitorState::Stopped || self.record.ordered.is_empty() {
            return;
        }
        let phase = self.machine.phase();
        if self.record.phase != phase || self.record.pool != self.machine.pool() {
            self.record.phase = phase;
            self.record.pool = self.machine.pool().to_vec();
            ops.push(Op::PutMonitor(self.record.clone()));
        }
    }

    /// Whatever was asked for or set before is of no interest any more.
    fn turn_epoch(&mut self) {
        self.epoch += 1;
        self.wish = Wish::default();
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

    async fn reopen(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        account: AuthKeyId,
        hint: Option<Failure>,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(account) {
            return Ok(());
        }
        self.opening.hint = hint.or(self.opening.hint.take());
        if self.machine.state() == MonitorState::Opening {
            // What is under way goes on: news that come faster than a chat can be opened must not
            // keep it from ever being open.
            self.opening.once_more = true;
            return Ok(());
        }
        self.step(myself, Input::Reopen).await
    }

    /// Takes the next step of opening the chat.
    async fn advance(&mut self, myself: &ActorRef<MonitorMsg>) -> Result<(), ActorProcessingErr> {
        if self.machine.state() != MonitorState::Opening {
            return Ok(());
        }
        loop {
            match self.opening.step(&self.record, self.cursor.as_ref()) {
                Step::Run(errand) => {
                    self.run(myself, errand);
                    return Ok(());
                }
                Step::StartBlind => self.start_after(0).await?,
                Step::Done if self.opening.once_more => self.opening.again(),
                Step::Done if self.overflowed && !self.is_blind() => {
                    // More came live than could be kept; history has it.
                    self.overflowed = false;
                    self.held.clear();
                    self.opening.read_again();
                }
                Step::Done => return self.opened(myself).await,
            }
        }
    }

    fn run(&self, myself: &ActorRef<MonitorMsg>, errand: Errand) {
        let Some(source) = &self.source else { return };
        let (target, epoch) = (myself.clone(), self.epoch);
        let reply = Reply::new(move |outcome| {
            let _ = target.cast(MonitorMsg::Found { epoch, outcome });
        });
        let wish = Some(self.wish.token());
        let request = Request { errand, priority: Priority::Bridge, wish, reply };
        let _ = source.cast(AccountMsg::Request(request));
    }

    async fn found(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        outcome: Result<Finding, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        match outcome {
            Ok(finding) => {
                self.opening_failures = 0;
                self.take_finding(finding).await?;
                self.advance(myself).await
            }
            Err(failure) => self.failed(myself, failure).await,
        }
    }

    async fn take_finding(&mut self, finding: Finding) -> Result<(), ActorProcessingErr> {
        match finding {
            Finding::Resolved { peer, title } => {
                self.opening.peer = Some(peer);
                self.learn(Some(peer.id), title).await
            }
            Finding::Member { title } => {
                self.opening.inspected = true;
                self.learn(None, title).await
            }
            Finding::NewestBefore(id) => self.start_after(id).await,
            Finding::Position(pts) => {
                self.record.start_pts = Some(pts);
                self.start_after(0).await
            }
            Finding::History(page) => self.take_history(page).await,
            Finding::Joined { .. } => Ok(()),
        }
    }

    async fn failed(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        failure: Failure,
    ) -> Result<(), ActorProcessingErr> {
        if self.may_have_moved(&failure) {
            self.opening.look_up_anew(failure);
            return self.advance(myself).await;
        }
        let retry = matches!(failure, Failure::Transient { .. } | Failure::Migrate { .. });
        self.opening_failures += 1;
        if self.is_joining(&failure) || (retry && self.opening_failures < OPENING_TRIES) {
            self.last_error = Some(failure.to_string());
            let pause = OPENING_BACKOFF.delay_ms(self.opening_failures, jitter());
            let epoch = self.epoch;
            let again = move || MonitorMsg::OpenAgain { epoch };
            myself.send_after(Duration::from_millis(pause), again);
            self.show();
            return Ok(());
        }
        let failure = self.opening.first_failure.take().unwrap_or(failure);
        self.give_up(myself, &failure).await
    }

    /// Whether the session is out of the chat only until a join that was ordered has come through.
    /// With others in the pool it has some minutes for that.
    fn is_joining(&self, failure: &Failure) -> bool {
        let is_out = matches!(failure, Failure::ChatLost { .. } | Failure::Rejected { .. });
        let is_alone = self.machine.pool().len() == 1;
        let Some(member) = self.machine.current() else { return false };
        is_out
            && (is_alone || self.opening_failures < JOIN_TRIES)
            && self.context.joins.may_lead_to(member.account, &self.record.chat.target)
    }

    /// A chat is first looked for where it was last time. Should it not be there, its name may stand
    /// for another one by now.
    fn may_have_moved(&self, failure: &Failure) -> bool {
        let was_known = self.record.marked_id.is_some() && !self.opening.id_in_vain;
        let by_name = matches!(self.record.chat.target, ChatTarget::Username(_));
        let unexplained = self.opening.hint.is_none() && !self.opening.inspected;
        let is_gone = matches!(failure, Failure::ChatLost { .. } | Failure::Rejected { .. });
        was_known && is_gone && unexplained && (by_name || self.opening.peer.is_none())
    }

    /// Takes note of what the chat is, durably when that is news.
    async fn learn(
        &mut self,
        id: Option<MarkedId>,
        title: Option<String>,
    ) -> Result<(), ActorProcessingErr> {
        let id = id.or(self.record.marked_id);
        let title = title.or_else(|| self.record.title.clone());
        if let (Some(chat), Some(member)) = (id, self.machine.current()) {
            let (account, key) = (member.account, self.key.clone());
            // Straight to the account, ahead of the next errand: what comes live must find its way
            // here before history is read to its end. The fleet keeps it for the account's restart.
            if let Some(source) = &self.source {
                let _ = source.cast(AccountMsg::Follow { key: key.clone(), chat });
            }
            let _ = self.fleet.cast(FleetMsg::Follow { account, key, chat });
        }
        if id == self.record.marked_id && title == self.record.title {
            return Ok(());
        }
        let mut ops = Vec::new();
        if self.record.marked_id.is_some_and(|known| id != Some(known)) {
            tracing::warn!(chat = %self.key, "the name stands for another chat now; it is listened to from here on");
            // The cursor counts the old chat's messages, and goes together with it.
            ops.push(Op::DeleteMonitor(self.key.clone()));
            (self.cursor, self.record.start_pts) = (None, None);
            self.record.started_at = now();
            self.forget_held();
        }
        (self.record.marked_id, self.record.title) = (id, title);
        ops.push(Op::PutMonitor(self.record.clone()));
        self.context.store.submit(ops, |_| {}).await?;
        Ok(())
    }

    /// Makes the cursor: everything up to `id` counts as published.
    async fn start_after(&mut self, id: i32) -> Result<(), ActorProcessingErr> {
        let Some(peer) = self.opening.peer else { return Ok(()) };
        let cursor = match (self.opening.owner(peer), &self.cursor) {
            (Some(owner), Some(known)) => known.continued_by(owner, id),
            (owner, _) => Cursor::starting_after(id, self.record.started_at.seconds(), owner),
        };
        self.cursor = Some(cursor.clone());
        let cursor = Op::PutCursor { chat: self.key.clone(), cursor };
        let ops = vec![Op::PutMonitor(self.record.clone()), cursor];
        self.context.store.submit(ops, |_| {}).await?;
        Ok(())
    }

    async fn take_history(&mut self, page: HistoryPage) -> Result<(), ActorProcessingErr> {
        self.publish(page.messages, true, Vec::new()).await?;
        self.opening.read_to = page.newest_id.or(self.opening.read_to);
        self.opening.caught_up = !page.more;
        if self.opening.caught_up
            && let Some(cursor) = &mut self.cursor
        {
            cursor.settle();
        }
        Ok(())
    }

    async fn opened(&mut self, myself: &ActorRef<MonitorMsg>) -> Result<(), ActorProcessingErr> {
        let (held, shares) =
            (std::mem::take(&mut self.held), std::mem::take(&mut self.held_shares));
        self.publish(held, false, shares).await?;
        self.last_error = None;
        if std::mem::take(&mut self.overflowed) {
            tracing::warn!(chat = %self.key, "more was said while the chat was being opened than a bot can keep; the newest of it is missing");
        }
        let session = self.machine.current().map(|member| member.session.to_string());
        tracing::info!(chat = %self.key, session, "the chat is being listened to");
        self.announce_listening().await?;
        self.opening.was_open = true;
        (self.opening.hint, self.opening.first_failure) = (None, None);
        self.feed(myself, Input::Opened).await.map(drop)
    }

    /// Says which session listens, when that is news and wanted.
    async fn announce_listening(&mut self) -> Result<(), ActorProcessingErr> {
        let Some(session) = self.machine.current().map(|member| member.session.clone()) else {
            return Ok(());
        };
        let change = match &self.listening {
            Some(known) if *known == session => return Ok(()),
            Some(_) => MonitorChange::FailedOver,
            None => MonitorChange::Started,
        };
        if self.context.settings.extra_events {
            let entry = event::monitor_changed(&self.record.chat, &session, change, now());
            self.context.store.submit(vec![Op::Append(entry)], |_| {}).await?;
        }
        self.listening = Some(session);
        Ok(())
    }

    async fn deliver(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        delivery: Delivery,
    ) -> Result<(), ActorProcessingErr> {
        let Delivery { account, title, messages, share } = delivery;
        if !self.is_current(account) || self.machine.state() == MonitorState::Stopped {
            // Nobody wants it, or the session in use reads it from history.
            share.into_iter().for_each(Share::finish);
            return Ok(());
        }
        if title.is_some() && title != self.record.title {
            self.record.title = title;
        }
        match self.machine.state() {
            MonitorState::Active if self.is_leap(&messages) => {
                self.hold(messages, share);
                self.step(myself, Input::Reopen).await
            }
            MonitorState::Active => {
                self.publish(messages, false, share.into_iter().collect()).await
            }
            _ => {
                self.hold(messages, share);
                Ok(())
            }
        }
    }

    /// Whether a message lies so far ahead that the cursor could not tell any more what lies between.
    /// Everyone's ids of a channel follow each other; an account's own are spread over its chats.
    fn is_leap(&self, messages: &[Message]) -> bool {
        let is_countable = |cursor: &&Cursor| cursor.owner.is_none() && cursor.last_id > 0;
        let Some(cursor) = self.cursor.as_ref().filter(is_countable) else { return false };
        let mut last = i64::from(cursor.last_id);
        messages.iter().any(|message| {
            let step = i64::from(message.id) - last;
            last = last.max(i64::from(message.id));
            step > i64::from(cursor::WINDOW)
        })
    }

    /// Whether there is no history to ask for: outside channels a bot that has published nothing
    /// yet has only what comes.
    fn is_blind(&self) -> bool {
        let has_published = self.cursor.as_ref().is_some_and(|cursor| cursor.last_id > 0);
        self.opening.is_bot && !has_published && self.record.start_pts.is_none()
    }

    /// Keeps live messages until the chat is open. Whatever a crash would lose here is fetched
    /// again, so their shares are finished at once. Only of a bot that has published nothing yet
    /// a few wait for durability: it knows no id to ask from.
    fn hold(&mut self, messages: Vec<Message>, share: Option<Share>) {
        let room = if self.is_blind() { HELD_BLIND_MAX } else { HELD_MAX };
        if self.held.len() + messages.len() > room {
            self.overflowed = true;
        } else {
            self.held.extend(messages);
        }
        let has_published = self.cursor.as_ref().is_some_and(|cursor| cursor.last_id > 0);
        let may_wait = share.as_ref().is_some_and(Share::has_room_behind)
            && self.held_shares.len() < HELD_SHARES_MAX;
        if self.opening.is_bot && !has_published && may_wait {
            self.held_shares.extend(share);
            return;
        }
        share.into_iter().for_each(Share::finish);
    }

    fn forget_held(&mut self) {
        self.held.clear();
        self.overflowed = false;
        std::mem::take(&mut self.held_shares).into_iter().for_each(Share::finish);
    }

    /// Hands messages that have not been published before to the outbox, together with the cursor
    /// that says so.
    async fn publish(
        &mut self,
        messages: Vec<Message>,
        recovered: bool,
        shares: Vec<Share>,
    ) -> Result<(), ActorProcessingErr> {
        let mut ops = Vec::with_capacity(messages.len() + 1);
        if let (Some(cursor), Some(peer), Some(member)) =
            (&mut self.cursor, self.opening.peer, self.machine.current())
        {
            let at = now();
            for message in messages {
                let sender = message.sender.as_ref().map(|sender| sender.id);
                let print = fingerprint(sender, message.date, &message.text);
                if !cursor.accept(message.id, message.date, print) {
                    continue;
                }
                let context = MessageContext {
                    chat: &self.record.chat,
                    key: &self.key,
                    marked: peer.id,
                    title: self.record.title.as_deref(),
                    session: &member.session,
                    owner: cursor.owner,
                    recovered,
                };
                ops.push(Op::Append(event::incoming_message(&context, &message, at)));
            }
            if !ops.is_empty() {
                ops.push(Op::PutCursor { chat: self.key.clone(), cursor: cursor.clone() });
            }
        }
        if ops.is_empty() {
            shares.into_iter().for_each(Share::finish);
            return Ok(());
        }
        let done = move |outcome: Result<(), CommitError>| {
            if outcome.is_ok() {
                shares.into_iter().for_each(Share::finish);
            }
        };
        self.context.store.submit(ops, done).await?;
        Ok(())
    }

    async fn configure(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        order: Configure,
        reply: RpcReplyPort<Result<(), CommitError>>,
    ) -> Result<(), ActorProcessingErr> {
        let Configure { chat, sessions, reply_to } = order;
        let same = self.record.ordered == sessions && self.record.phase == MonitorPhase::Running;
        let mut ops = Vec::new();
        let mut record = self.record.clone();
        record.chat = chat;
        if !same {
            record.ordered.clone_from(&sessions);
            record.pool.clone_from(&sessions);
            record.phase = MonitorPhase::Running;
        }
        if record != self.record {
            ops.push(Op::PutMonitor(record.clone()));
        }
        if let Some(to) = reply_to {
            let outcome = Outcome::Monitoring { chat: record.chat.clone(), changed: !same };
            ops.push(Op::Append(event::reply(&to, &outcome, Uuid::now_v7(), now())));
        }
        let outcome = match ops.is_empty() {
            true => Ok(()),
            false => self.context.store.commit(ops).await,
        };
        let committed = outcome.is_ok();
        let _ = reply.send(outcome);
        if !committed {
            return Ok(());
        }
        self.record = record;
        if same {
            return Ok(());
        }
        self.forgive = true;
        self.last_error = None;
        self.step(myself, Input::Replace(sessions)).await
    }

    async fn stop(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        reply_to: Option<ReplyTo>,
        reply: RpcReplyPort<Result<(), CommitError>>,
    ) -> Result<(), ActorProcessingErr> {
        let mut ops = vec![Op::DeleteMonitor(self.key.clone())];
        if self.context.settings.extra_events
            && let Some(member) = self.machine.current()
        {
            let change = MonitorChange::Stopped;
            let chat = &self.record.chat;
            let entry = event::monitor_changed(chat, &member.session, change, now());
            ops.push(Op::Append(entry));
        }
        if let Some(to) = reply_to {
            let outcome = Outcome::Stopped { chat: self.record.chat.clone(), was_monitored: true };
            ops.push(Op::Append(event::reply(&to, &outcome, Uuid::now_v7(), now())));
        }
        let outcome = self.context.store.commit(ops).await;
        if outcome.is_ok() {
            // Before anybody hears of it and starts the chat anew.
            self.step(myself, Input::Stop).await?;
            self.context.board.monitor_gone(&self.key);
            myself.drain()?;
        }
        let _ = reply.send(outcome);
        Ok(())
    }

    fn show(&self) {
        if self.record.ordered.is_empty() || self.machine.state() == MonitorState::Stopped {
            return;
        }
        let view = MonitorView {
            state: self.machine.state(),
            since: now(),
            session: self.machine.current().map(|member| member.session.clone()),
            error: self.last_error.clone(),
        };
        self.context.board.monitor(&self.key, view);
    }
}
