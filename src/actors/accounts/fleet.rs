//! The fleet: every account by its authorization key, and the one place that makes sure a key is
//! never connected twice. Accounts are started when a monitor or a job needs them; one that
//! crashes is started again for those who were interested, and its siblings never notice.

mod forgetting;
mod leases;
mod member;
mod owned;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;
mod uses;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::account::{Account, AccountArgs, AccountMsg, FOLLOWED_WITHIN, Subscription};
use super::calls::Request;
use crate::actors::accounts::context::AccountsContext;
use crate::actors::accounts::listener::ListenerMsg;
use crate::actors::tree::actor::{
    Actor, ActorId, ActorProcessingErr, ActorRef, MessagingErr, RpcReplyPort, SupervisionEvent,
    named, spawn_child,
};
use crate::actors::tree::children::{Children, End};
use crate::actors::tree::status::AccountView;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::accounts::record::{AccountRecord, Credentials, PoolMember, SessionRecord};
use crate::protocol::bridge::command::SessionData;
use crate::protocol::telegram::chat::{ChatKey, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::pacing::FloodWait;
use crate::protocol::tree::restart::ChildKind;
use crate::protocol::values::ids::{AuthKeyId, SessionId};
use crate::store::{CommitError, Op};
use crate::tasks;

pub(in crate::actors) use forgetting::{CommandHold, Hold, MakeReply, replying};
pub(in crate::actors) use member::Released;
pub(in crate::actors) use owned::{Adoption, Also, Changed, FormerSession, OwnedMsg, Wanted};
#[cfg(test)]
pub(in crate::actors) use stand_in::stand_in;
pub(in crate::actors) use uses::Holder;

use leases::Leases;
use member::{Member, Presence};
use uses::Uses;

/// How long accounts may take to hang up; those that take longer are ended with the process.
const STOP_MAX: Duration = Duration::from_secs(5);

/// How long a session that Telegram ended is told of, milliseconds (30 days).
const ENDED_SHOWN_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// The actor.
pub(in crate::actors) struct Fleet;

/// What it is started with.
pub(in crate::actors) struct FleetArgs {
    pub(in crate::actors) context: Arc<AccountsContext>,
    pub(in crate::actors) accounts: Vec<AccountRecord>,
    pub(in crate::actors) sessions: Vec<SessionRecord>,
    pub(in crate::actors) owned: Vec<OwnedAccount>,
    /// Which sessions the records of the bridge's monitors and joins name.
    pub(in crate::actors) held: Vec<(Holder, Vec<PoolMember>)>,
}

/// Its messages.
pub(in crate::actors) enum FleetMsg {
    /// Remember these sessions durably, at least for as long as the hold lives.
    Register { sessions: Vec<SessionData>, reply: RpcReplyPort<Result<CommandHold, CommitError>> },
    /// A command that brought these sessions is over.
    CommandHoldOver { sessions: Vec<PoolMember> },
    /// Make a change of who uses which session durable, and forget what nobody uses then.
    Hold(Box<Hold>),
    /// Forget those of these sessions that nobody uses.
    ForgetUnused { sessions: Vec<PoolMember> },
    /// Forget accounts of which nothing is left but their records.
    ForgetOrphans,
    /// The store has forgotten these accounts.
    Forgotten { accounts: Vec<AuthKeyId> },
    /// Tell how many members, sessions and uses there are.
    #[cfg(test)]
    Census(RpcReplyPort<(usize, usize, usize)>),
    /// A monitor wants an account.
    Watch { account: AuthKeyId, key: ChatKey, subscription: Subscription, retry: bool },
    /// A monitor wants it no more.
    Unwatch { account: AuthKeyId, key: ChatKey, monitor: ActorId },
    /// A monitor is gone and will not come back by itself: no account is wanted for its sake.
    Forget { key: ChatKey },
    /// A monitor learnt what its chat is.
    Follow { account: AuthKeyId, key: ChatKey, chat: MarkedId },
    /// Run a call on an account.
    Request { account: AuthKeyId, request: Request },
    /// An account has nobody left who needs it.
    Rests { account: AuthKeyId },
    /// The pause before an account's restart is over.
    RestartDue { account: AuthKeyId },
    /// Something about accounts that belong to users.
    Owned(OwnedMsg),
    /// The heartbeat passes.
    Pulse(RpcReplyPort<()>),
}

named!(FleetMsg: Register, CommandHoldOver, Hold, ForgetUnused, ForgetOrphans, Forgotten, #[cfg(test)] Census, Watch, Unwatch, Forget, Follow, Request, Rests, RestartDue, Owned, Pulse);

type Timer = AbortOnDropHandle<Result<(), MessagingErr<FleetMsg>>>;

/// Its state.
pub(in crate::actors) struct FleetState {
    context: Arc<AccountsContext>,
    members: HashMap<AuthKeyId, Member>,
    sessions: HashMap<SessionId, AuthKeyId>,
    /// Who uses which session that a command brought.
    uses: Uses,
    children: Children<AuthKeyId>,
    /// Leases of keys that logins have brought and no account has taken over yet.
    leases: Leases,
    /// The people at Telegram of whose accounts something is on its way to the disk.
    changing: HashSet<i64>,
    /// Keys whose wiping is on its way to the disk.
    leaving: HashSet<AuthKeyId>,
    /// Keys of accounts that are on their way to the disk.
    adopting: HashSet<AuthKeyId>,
    /// Keys whose accounts have logged in anew, and when they went, for as long as monitors may name them.
    replaced: HashMap<AuthKeyId, Instant>,
    /// Sessions that nobody uses and that are remembered for a while, with the timers that look again.
    held_back: HashMap<(SessionId, AuthKeyId), Timer>,
}

impl Actor for Fleet {
    type Msg = FleetMsg;
    type State = FleetState;
    type Arguments = FleetArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<FleetMsg>,
        args: FleetArgs,
    ) -> Result<FleetState, ActorProcessingErr> {
        let waiting = args.owned.iter().map(|account| account.key).collect();
        myself.cast(FleetMsg::Owned(OwnedMsg::StartWaiting { waiting }))?;
        owned::recall_waits(&args.context).await?;
        let state = FleetState::new(args);
        myself.cast(FleetMsg::ForgetUnused { sessions: state.uses.unused() })?;
        myself.cast(FleetMsg::ForgetOrphans)?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<FleetMsg>,
        message: FleetMsg,
        state: &mut FleetState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            FleetMsg::Register { sessions, reply } => {
                state.register(&myself, sessions, reply).await;
            }
            FleetMsg::CommandHoldOver { sessions } => {
                let unused = state.uses.release(sessions);
                state.forget_unused(&myself, unused).await;
            }
            FleetMsg::Hold(hold) => state.hold(&myself, *hold).await,
            FleetMsg::ForgetUnused { sessions } => state.forget_unused(&myself, sessions).await,
            FleetMsg::ForgetOrphans => state.forget_orphans(&myself).await,
            FleetMsg::Forgotten { accounts } => state.forgotten(accounts).await,
            #[cfg(test)]
            FleetMsg::Census(reply) => {
                let sizes = (state.members.len(), state.sessions.len(), state.uses.len());
                let _ = reply.send(sizes);
            }
            FleetMsg::Watch { account, key, subscription, retry } => {
                state.watch(&myself, account, key, subscription, retry).await
            }
            FleetMsg::Unwatch { account, key, monitor } => state.unwatch(account, &key, monitor),
            FleetMsg::Forget { key } => state.forget(&key),
            FleetMsg::Follow { account, key, chat } => state.follow(account, key, chat),
            FleetMsg::Request { account, request } => {
                state.request(&myself, account, request).await
            }
            FleetMsg::Rests { account } => state.rests(account),
            FleetMsg::RestartDue { account } => state.restart_due(&myself, account).await,
            FleetMsg::Owned(message) => state.owned_message(&myself, message).await,
            FleetMsg::Pulse(reply) => drop(reply.send(())),
        }
        Ok(())
    }

    /// Sessions are disconnected before the daemon goes on stopping.
    async fn post_stop(
        &self,
        myself: ActorRef<FleetMsg>,
        _state: &mut FleetState,
    ) -> Result<(), ActorProcessingErr> {
        myself.stop_children_and_wait(None, Some(STOP_MAX)).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<FleetMsg>,
        event: SupervisionEvent,
        state: &mut FleetState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(ended) = state.children.ended(event, &state.context).await {
            state.ended(&myself, ended.key, ended.end).await;
        }
        Ok(())
    }
}

#[cfg(test)]
impl FleetArgs {
    /// Of a fleet that knows no account yet.
    pub(in crate::actors) fn empty(context: &Arc<AccountsContext>) -> Self {
        let (accounts, sessions, owned, held) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { context: Arc::clone(context), accounts, sessions, owned, held }
    }
}

impl FleetState {
    fn new(args: FleetArgs) -> Self {
        let FleetArgs { context, accounts, sessions, owned, held } = args;
        let mut uses = Uses::default();
        let mut members: HashMap<AuthKeyId, Member> = HashMap::with_capacity(accounts.len());
        for record in accounts {
            if let Some(fault) = &record.fault
                && fault.since.plus_ms(ENDED_SHOWN_MS) > context.now()
            {
                context.status.account(record.id, AccountView::ended(fault));
            }
            if let Some(me) = &record.me {
                for FloodWait { scope, until } in record.flood_waits.clone() {
                    context.flood_waits.impose(me.user_id, scope, until, context.now());
                }
            }
            members.insert(record.id, Member::new(record));
        }
        for session in &sessions {
            if let Some(member) = members.get_mut(&session.account) {
                member.api_id = session.api_id.or(member.api_id);
                member.names.push(session.id.to_string());
            }
            uses.know(&PoolMember { session: session.id.clone(), account: session.account });
        }
        for (holder, sessions) in held {
            uses.hold(holder, sessions);
        }
        for account in owned {
            if let Some(member) = members.get_mut(&account.key) {
                member.own(&account);
            }
            context.directory.put(account);
        }
        for (id, member) in &members {
            context.status.named(*id, &member.names);
        }
        let sessions = sessions.into_iter().map(|session| (session.id, session.account)).collect();
        let directory = Arc::clone(&context.directory);
        let children =
            Children::new(ChildKind::Account, move |key: &AuthKeyId| directory.name_of(*key));
        Self {
            context,
            members,
            sessions,
            uses,
            children,
            leases: Leases::default(),
            changing: HashSet::new(),
            leaving: HashSet::new(),
            adopting: HashSet::new(),
            replaced: HashMap::new(),
            held_back: HashMap::new(),
        }
    }

    /// Remembers sessions that a command brought. Two ids for one key are one account.
    async fn register(
        &mut self,
        myself: &ActorRef<FleetMsg>,
        sessions: Vec<SessionData>,
        reply: RpcReplyPort<Result<CommandHold, CommitError>>,
    ) {
        let held: Vec<PoolMember> = sessions.iter().map(SessionData::member).collect();
        self.uses.hold_for_command(&held);
        let hold = CommandHold::new(myself.clone(), held);
        let mut ops = Vec::new();
        for session in sessions {
            let SessionData { id, api_id, account, dc_id, auth_key } = session;
            let known = self.members.get(&account).map(|member| member.latest.get());
            let record = AccountRecord {
                id: account,
                me: None,
                fault: None,
                frozen: known.and_then(|known| known.frozen),
                flood_waits: Vec::new(),
                created_at: self.context.now(),
            };
            let is_new = !self.members.contains_key(&account);
            let lease = is_new.then(|| self.leases.take(account));
            let member = self.members.entry(account).or_insert_with(|| Member::new(record.clone()));
            member.lease = lease.unwrap_or_else(|| member.lease.clone());
            // The store forgets, or has forgotten, one that was needed no more a moment ago.
            let is_wiped = member.released.take().is_some() | self.leaving.remove(&account);
            if is_new || is_wiped {
                member.latest.set(record.clone());
                ops.push(Op::PutAccount(record));
                ops.push(Op::PutCredentials(Credentials { account, dc_id, auth_key }));
            }
            let known = self.sessions.get(&id) == Some(&account) && member.api_id == api_id;
            if !known {
                member.api_id = api_id.or(member.api_id);
                member.name(&id);
                self.context.status.named(account, &member.names);
                ops.push(Op::PutSession(SessionRecord { id: id.clone(), account, api_id }));
                self.sessions.insert(id, account);
            }
        }
        if ops.is_empty() {
            let _ = reply.send(Ok(hold));
            return;
        }
        let (told, done) = tokio::sync::oneshot::channel();
        let submitted = self.context.store.submit(ops, move |outcome| drop(told.send(outcome)));
        if let Err(error) = submitted.await {
            let _ = reply.send(Err(error));
            return;
        }
        tasks::brief(async move {
            if let Ok(outcome) = done.await {
                let _ = reply.send(outcome.map(|()| hold));
            }
        });
    }

    async fn watch(
        &mut self,
        myself: &ActorRef<FleetMsg>,
        account: AuthKeyId,
        key: ChatKey,
        subscription: Subscription,
        retry: bool,
    ) {
        let is_gone = !self.may_watch(account, &key);
        let Some(member) = self.members.get_mut(&account).filter(|_| !is_gone) else {
            return subscription.lose(account, self.why_gone(account));
        };
        member.subscriptions.insert(key.clone(), subscription.clone());
        if retry && matches!(member.presence, Presence::Parked) {
            member.presence = Presence::Resting;
            self.children.reset_restarts(&account);
        }
        match &member.presence {
            Presence::Running(actor) => {
                if retry {
                    let _ = actor.cast(AccountMsg::Retry);
                }
                let _ = actor.cast(AccountMsg::Watch { key, subscription });
            }
            Presence::Resting => self.start(myself, account, retry).await,
            Presence::Recovering => member.retry |= retry,
            Presence::Parked => {
                let failure = Failure::transient("the account keeps crashing and is parked");
                let _ = subscription.monitor.cast(ListenerMsg::SourceLost { account, failure });
            }
        }
    }

    /// Whether the monitor `key` may listen through an account. A user's may as long as the account is the
    /// user's: a key that a command of the bridge brought, too, stays when its user gives the account up.
    fn may_watch(&self, account: AuthKeyId, key: &ChatKey) -> bool {
        let (_, Some(owner)) = key.parts() else { return true };
        let owned = self.context.directory.of_key(account);
        owned.is_some_and(|owned| owned.user.as_str() == owner)
    }

    /// Why there is no such account. Whoever asks for a key that was replaced a moment ago is about to be
    /// given the new one.
    fn why_gone(&self, account: AuthKeyId) -> Released {
        let at = self.replaced.get(&account);
        let is_fresh = at.is_some_and(|at| at.elapsed() < FOLLOWED_WITHIN);
        if is_fresh { Released::Replaced } else { Released::Removed }
    }

    fn unwatch(&mut self, account: AuthKeyId, key: &ChatKey, monitor: ActorId) {
        if let Some(member) = self.members.get_mut(&account) {
            member.unwatch(key, monitor);
        }
    }

    fn forget(&mut self, key: &ChatKey) {
        for member in self.members.values_mut() {
            if let Some(subscription) = member.subscriptions.get(key) {
                member.unwatch(key, subscription.monitor.get_id());
            }
        }
    }

    fn follow(&mut self, account: AuthKeyId, key: ChatKey, chat: MarkedId) {
        let Some(member) = self.members.get_mut(&account) else { return };
        if let Some(subscription) = member.subscriptions.get_mut(&key) {
            subscription.chat = Some(chat);
        }
        if let Presence::Running(actor) = &member.presence {
            let _ = actor.cast(AccountMsg::Follow { key, chat });
        }
    }

    async fn request(&mut self, myself: &ActorRef<FleetMsg>, account: AuthKeyId, request: Request) {
        let resting = match self.members.get(&account).map(|member| &member.presence) {
            Some(Presence::Running(actor)) => {
                let _ = actor.cast(AccountMsg::Request(request));
                return;
            }
            Some(Presence::Resting) => true,
            Some(Presence::Recovering | Presence::Parked) | None => false,
        };
        if resting {
            self.start(myself, account, false).await;
        }
        match self.members.get(&account).map(|member| &member.presence) {
            Some(Presence::Running(actor)) => {
                let _ = actor.cast(AccountMsg::Request(request));
            }
            _ => request.reply.send(Err(Failure::transient("the account is not running"))),
        }
    }

    /// The account says that nobody needs it. Somebody may have asked meanwhile.
    fn rests(&mut self, account: AuthKeyId) {
        let Some(member) = self.members.get_mut(&account) else { return };
        if member.is_needed() {
            return;
        }
        if let Presence::Running(actor) = &member.presence {
            actor.stop(None);
        }
    }

    async fn restart_due(&mut self, myself: &ActorRef<FleetMsg>, account: AuthKeyId) {
        let Some(member) = self.members.get_mut(&account) else { return };
        if !matches!(member.presence, Presence::Recovering) {
            return;
        }
        member.presence = Presence::Resting;
        if member.is_needed() {
            self.start(myself, account, false).await;
        } else {
            self.children.hide(&account, &self.context);
        }
    }

    async fn ended(&mut self, myself: &ActorRef<FleetMsg>, account: AuthKeyId, end: End) {
        let Some(member) = self.members.get_mut(&account) else { return };
        if member.released.is_some() {
            self.forget_member(account).await;
            return;
        }
        if let End::Crashed { cause, again_after } = &end {
            let is_wanted = member.is_needed();
            let view = AccountView::crashed(cause, *again_after, is_wanted, self.context.now());
            self.context.status.account(account, view);
        }
        match end {
            End::Done => {
                member.presence = Presence::Resting;
                if member.is_needed() {
                    // Somebody asked while it was stopping.
                    member.presence = Presence::Recovering;
                    let _ = myself.cast(FleetMsg::RestartDue { account });
                }
            }
            End::Crashed { again_after: Some(pause), .. } => {
                member.presence = Presence::Recovering;
                myself.send_after(pause, move || FleetMsg::RestartDue { account });
            }
            End::Crashed { again_after: None, .. } => {
                member.presence = Presence::Parked;
                for subscription in member.subscriptions.values() {
                    let failure = Failure::transient("the account keeps crashing and is parked");
                    let _ = subscription.monitor.cast(ListenerMsg::SourceLost { account, failure });
                }
            }
        }
    }

    async fn start(&mut self, myself: &ActorRef<FleetMsg>, account: AuthKeyId, retry: bool) {
        let Some(member) = self.members.get_mut(&account) else { return };
        // What the account wrote in an earlier life: its identity, its fault, its flood waits.
        let mut record = member.latest.get();
        let retry = std::mem::take(&mut member.retry) || retry;
        if retry && record.fault.take().is_some() {
            member.latest.set(record.clone());
            let op = Op::UpdateAccount(record);
            // A store in trouble ends the daemon; nothing to add here.
            let _ = self.context.store.submit(vec![op], |_| {}).await;
        }
        let args = AccountArgs {
            context: Arc::clone(&self.context),
            fleet: myself.clone(),
            latest: member.latest.clone(),
            names: member.names.iter().chain(&member.owned_as).cloned().collect(),
            api_id: member.api_id.unwrap_or(self.context.settings.api_id),
            subscriptions: member.subscriptions.clone(),
            standing: member.standing,
            lease: member.lease.clone(),
        };
        let shown = self.children.member(&account, &self.context);
        match spawn_child(shown, Account, args, myself.get_cell()).await {
            Ok(actor) => {
                self.children.started(&actor.get_cell(), account);
                member.presence = Presence::Running(actor);
            }
            Err(error) => {
                let cause = error.to_string();
                let end = self.children.failed_to_start(&account, &cause, &self.context).await;
                Box::pin(self.ended(myself, account, end)).await;
            }
        }
    }
}
