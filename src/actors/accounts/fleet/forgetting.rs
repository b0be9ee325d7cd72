//! Sessions that commands brought are forgotten in the commit that ends their last use: the record of a
//! monitor that changes or goes, or of a join that is over. With a session goes what is kept of its account
//! (credentials, record, update state, peers), unless another session or a user's account has the same key.
//! What Telegram makes its person wait for outlives it. The session itself stays as it is at Telegram: it
//! is the backend's.
//!
//! The fleet is the one place where this is decided, and hands in what follows from it in that order, so
//! that a command which brings a session at the same time finds it there, or writes it anew behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::member::{Member, Released};
use super::owned::waits_of;
use super::uses::Holder;
use super::{FleetMsg, FleetState};
use crate::actors::tree::actor::{ActorRef, MessagingErr};
use crate::actors::tree::context::Context;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::bridge::event::{self, CommandOutcome};
use crate::protocol::bridge::reply_to::ReplyTo;
use crate::protocol::telegram::pacing::{FloodWaitScope, MethodClass};
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};
use crate::store::{CommitError, Op, Store};

/// Sessions, or accounts, that are forgotten in one commit where nobody waits for it: an account may have
/// some thousand records, and a start after years without this finds many.
const FORGOTTEN_AT_ONCE: usize = 32;

/// Sessions of a command that is under way; they are not forgotten as long as this lives.
pub(in crate::actors) struct CommandHold {
    fleet: ActorRef<FleetMsg>,
    sessions: Vec<PoolMember>,
}

impl CommandHold {
    pub(super) fn new(fleet: ActorRef<FleetMsg>, sessions: Vec<PoolMember>) -> Self {
        Self { fleet, sessions }
    }
}

impl Drop for CommandHold {
    fn drop(&mut self) {
        let sessions = std::mem::take(&mut self.sessions);
        let _ = self.fleet.cast(FleetMsg::CommandHoldOver { sessions });
    }
}

/// Makes the reply to a command, from the ids of the sessions that are forgotten with it.
pub(in crate::actors) type MakeReply = Box<dyn FnOnce(&[SessionId]) -> Op + Send>;

/// A commit that changes which sessions somebody uses.
pub(in crate::actors) struct Hold {
    pub(in crate::actors) holder: Holder,
    /// What it uses from then on.
    pub(in crate::actors) sessions: Vec<PoolMember>,
    pub(in crate::actors) ops: Vec<Op>,
    pub(in crate::actors) reply: Option<MakeReply>,
    /// Runs on the writer's thread once it is durable or refused.
    pub(in crate::actors) done: Box<dyn FnOnce(Result<(), CommitError>) + Send>,
}

impl Hold {
    /// Hands it in. A fleet that has stopped forgets nothing; the next start of the daemon does.
    pub(in crate::actors) async fn hand_in(self, fleet: &ActorRef<FleetMsg>, store: &Store) {
        let sent = fleet.cast(FleetMsg::Hold(Box::new(self)));
        let Err(MessagingErr::SendErr(FleetMsg::Hold(hold))) = sent else { return };
        let Self { mut ops, reply, done, .. } = *hold;
        ops.extend(reply.map(|make| make(&[])));
        let _ = store.submit(ops, done).await;
    }

    /// Hands in what `holder` uses from then on together with `ops`, and waits until it is durable.
    pub(in crate::actors) async fn commit(
        fleet: &ActorRef<FleetMsg>,
        store: &Store,
        (holder, sessions): (Holder, Vec<PoolMember>),
        ops: Vec<Op>,
        reply: Option<MakeReply>,
    ) -> Result<(), CommitError> {
        let (tell, durable) = oneshot::channel();
        let done = Box::new(move |outcome| drop(tell.send(outcome)));
        Self { holder, sessions, ops, reply, done }.hand_in(fleet, store).await;
        durable.await.unwrap_or(Err(CommitError::Closed))
    }
}

impl FleetState {
    pub(super) async fn hold(&mut self, myself: &ActorRef<FleetMsg>, hold: Hold) {
        let Hold { holder, sessions, mut ops, reply, done } = hold;
        let unused = self.uses.hold(holder, sessions);
        let (forgotten, accounts) = self.forget_sessions(myself, unused, &mut ops);
        ops.extend(reply.map(|make| make(&forgotten)));
        let fleet = myself.clone();
        let told = move |outcome: Result<(), CommitError>| {
            if outcome.is_ok() && !accounts.is_empty() {
                let _ = fleet.cast(FleetMsg::Forgotten { accounts });
            }
            done(outcome);
        };
        // On an error `done` is dropped, which tells the one who waits.
        let _ = self.context.store.submit(ops, told).await;
    }

    /// Forgets those of these sessions that nobody uses, in a commit of their own.
    pub(super) async fn forget_unused(
        &mut self,
        myself: &ActorRef<FleetMsg>,
        mut sessions: Vec<PoolMember>,
    ) {
        sessions.iter().for_each(|session| drop(self.held_back.remove(&name_of(session))));
        sessions.retain(|session| self.uses.is_unused(session));
        let rest = sessions.split_off(sessions.len().min(FORGOTTEN_AT_ONCE));
        let mut ops = Vec::new();
        let (_, accounts) = self.forget_sessions(myself, sessions, &mut ops);
        let next = (!rest.is_empty()).then_some(FleetMsg::ForgetUnused { sessions: rest });
        self.let_go(myself, ops, accounts, next).await;
    }

    /// Hands in what forgets `accounts`, and comes back to `next` once that is durable.
    async fn let_go(
        &self,
        myself: &ActorRef<FleetMsg>,
        ops: Vec<Op>,
        accounts: Vec<AuthKeyId>,
        next: Option<FleetMsg>,
    ) {
        if ops.is_empty() {
            next.into_iter().for_each(|next| drop(myself.cast(next)));
            return;
        }
        let fleet = myself.clone();
        let told = move |outcome: Result<(), CommitError>| {
            if outcome.is_ok() {
                let _ = fleet.cast(FleetMsg::Forgotten { accounts });
                next.into_iter().for_each(|next| drop(fleet.cast(next)));
            }
        };
        let _ = self.context.store.submit(ops, told).await;
    }

    /// Takes sessions out of what is remembered, and adds the writes that belong to it. Answers their ids,
    /// and the accounts that go with them.
    fn forget_sessions(
        &mut self,
        myself: &ActorRef<FleetMsg>,
        unused: Vec<PoolMember>,
        ops: &mut Vec<Op>,
    ) -> (Vec<SessionId>, Vec<AuthKeyId>) {
        let (mut forgotten, mut accounts) = (Vec::new(), Vec::new());
        for session in unused {
            let PoolMember { session: id, account } = session.clone();
            let member = self.members.get(&account);
            if let Some(until) = member.and_then(|member| self.must_remember(member)) {
                self.look_again(myself, session, until);
                continue;
            }
            self.uses.forget(&session);
            // The id may have come again with another key since.
            if self.sessions.get(&id) == Some(&account) {
                self.sessions.remove(&id);
                ops.push(Op::DeleteSession(id.clone()));
            }
            if let Some(member) = self.members.get_mut(&account) {
                member.names.retain(|name| *name != id.0);
                self.context.status.named(account, &member.names);
            }
            if !self.uses.has_account(account) && !self.is_owned(account) {
                ops.extend(self.wipe_account(account));
                accounts.push(account);
            }
            tracing::info!(session = %id, "a session that nothing uses any more is forgotten");
            forgotten.push(id);
        }
        (forgotten, accounts)
    }

    /// However often somebody stops using a session that has to be remembered: one timer waits for it.
    fn look_again(&mut self, myself: &ActorRef<FleetMsg>, session: PoolMember, until: UnixMillis) {
        let left = u64::try_from(until.0 - self.context.now().0).unwrap_or(0);
        let name = name_of(&session);
        let sessions = vec![session];
        let again = move || FleetMsg::ForgetUnused { sessions };
        let timer = myself.send_after(Duration::from_millis(left.saturating_add(1)), again);
        // An earlier one goes.
        self.held_back.insert(name, AbortOnDropHandle::new(timer));
    }

    fn wipe_account(&mut self, account: AuthKeyId) -> Vec<Op> {
        self.leaving.insert(account);
        let me = self.members.get(&account).and_then(|member| member.latest.get().me);
        let waits = me.and_then(|me| waits_of(&self.context, me.user_id));
        [Op::DeleteAccount(account)].into_iter().chain(waits).collect()
    }

    /// Whether a user has an account with this key, or is about to have one.
    fn is_owned(&self, key: AuthKeyId) -> bool {
        self.adopting.contains(&key) || self.context.directory.of_key(key).is_some()
    }

    /// Until when a session has to be remembered because of a wait that only it would remember: where it
    /// is not known whose it is, and a wait for connecting, which comes before that is known.
    fn must_remember(&self, member: &Member) -> Option<UnixMillis> {
        let (record, at) = (member.latest.get(), self.context.now());
        let waits = match &record.me {
            Some(me) => {
                let mut waits = self.context.flood_waits.of(me.user_id, at);
                waits.retain(|wait| wait.scope == FloodWaitScope::Class(MethodClass::Auth));
                waits
            }
            None => record.flood_waits,
        };
        // A freeze is nobody else's to remember, either.
        let look_at = record.frozen.map(|frozen| frozen.look_at);
        let until = waits.into_iter().map(|wait| wait.until).chain(look_at);
        until.filter(|until| *until > at).max()
    }

    /// The store has forgotten these accounts: they are disconnected. One that came again meanwhile stays.
    pub(super) async fn forgotten(&mut self, accounts: Vec<AuthKeyId>) {
        for account in accounts {
            if self.leaving.contains(&account) && !self.is_owned(account) {
                self.release(account, Released::Removed).await;
            }
        }
    }

    /// Accounts of which nothing says that they are needed: a crash came between their last use and their
    /// end.
    pub(super) fn orphans(&self) -> Vec<AuthKeyId> {
        let is_needed = |key: AuthKeyId| self.uses.has_account(key) || self.is_owned(key);
        let orphans = self.members.iter().filter(|(key, member)| {
            !is_needed(**key)
                && !self.leaving.contains(*key)
                && self.must_remember(member).is_none()
        });
        orphans.map(|(key, _)| *key).collect()
    }

    pub(super) async fn forget_orphans(&mut self, myself: &ActorRef<FleetMsg>) {
        let mut accounts = self.orphans();
        let is_more = accounts.len() > FORGOTTEN_AT_ONCE;
        accounts.truncate(FORGOTTEN_AT_ONCE);
        let ops = accounts.iter().flat_map(|account| self.wipe_account(*account)).collect();
        self.let_go(myself, ops, accounts, is_more.then_some(FleetMsg::ForgetOrphans)).await;
    }
}

fn name_of(session: &PoolMember) -> (SessionId, AuthKeyId) {
    (session.session.clone(), session.account)
}

/// The reply to a command, once it is known what is forgotten with it.
pub(in crate::actors) fn replying(
    context: &Arc<Context>,
    to: ReplyTo,
    outcome: CommandOutcome,
) -> MakeReply {
    let context = Arc::clone(context);
    Box::new(move |forgotten| {
        let (id, at) = (context.new_id(), context.now());
        Op::Append(event::reply_forgetting(&to, &outcome, forgotten, id, at))
    })
}
