//! Accounts that belong to users: taken in, held, let go on, connected anew, and given up. The fleet is
//! the one place where this is decided, so that two who ask at once cannot both be right. What changes is
//! durable, with its line in the audit log, before the directory says so and before anybody is told.

use std::collections::VecDeque;

use crate::actors::tree::actor::{ActorProcessingErr, ActorRef, RpcReplyPort};

use super::member::{Member, Presence, Released};
use super::{FleetMsg, FleetState};
use crate::actors::accounts::account::{AccountMsg, FOLLOWED_WITHIN};
use crate::actors::accounts::context::AccountsContext;
use crate::actors::tree::calling::broken;
use crate::actors::tree::changes::Subject;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::accounts::connection::Standing;
use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount, PreviousSession};
use crate::protocol::accounts::record::{AccountRecord, Credentials, Me};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::feed::event::FeedEvent;
use crate::protocol::logins::record::{LoginRecord, LoginStage};
use crate::protocol::telegram::freeze::Frozen;
use crate::protocol::telegram::pacing::FloodWait;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::users::owner::{AccountId, LoginId, Scope, UserId};
use crate::protocol::values::ids::AuthKeyId;
use crate::store::{CommitError, Op, Reader, StoreError};
use crate::telegram::ConnectionLease;

/// Accounts that are started between two other messages.
const STARTED_AT_ONCE: usize = 64;

/// An account that has just logged in.
pub(in crate::actors) struct Adoption {
    pub(in crate::actors) user: UserId,
    pub(in crate::actors) credentials: Credentials,
    pub(in crate::actors) api_id: Option<i32>,
    pub(in crate::actors) me: Me,
    pub(in crate::actors) phone_masked: Option<String>,
    /// Whether the key was made by the login.
    pub(in crate::actors) is_made_here: bool,
    /// The lease of its key, which the login's connection held.
    pub(in crate::actors) lease: ConnectionLease,
    /// The line in the audit log; its target is filled in.
    pub(in crate::actors) audit_event: AuditEvent,
    /// What becomes durable together with it, once it has an id.
    pub(in crate::actors) also: Also,
    /// The session that the account had when its store was asked, if it had another one.
    pub(in crate::actors) former: Option<FormerSession>,
}

/// The session of an account that logs in anew, as the store has it.
pub(in crate::actors) struct FormerSession {
    key: AuthKeyId,
    credentials: Option<Credentials>,
}

impl FormerSession {
    /// Reads it, beside the fleet, which waits for no disk.
    ///
    /// # Errors
    /// When it cannot be read now: without it nobody could end that session any more.
    pub(in crate::actors) async fn read(
        context: &AccountsContext,
        telegram_id: i64,
        newest: AuthKeyId,
    ) -> Result<Option<Self>, StoreError> {
        let known = context.directory.of_person(telegram_id);
        let Some(key) = known.map(|known| known.key).filter(|key| *key != newest) else {
            return Ok(None);
        };
        let credentials = context.store.read(move |store| store.credentials(key)).await?;
        Ok(Some(Self { key, credentials }))
    }
}

pub(in crate::actors) type Also = Box<dyn FnOnce(AccountId) -> Vec<Op> + Send>;

/// What may be asked about accounts of users.
pub(in crate::actors) enum OwnedMsg {
    /// Start the next ones of those that are to be connected.
    StartWaiting { waiting: VecDeque<AuthKeyId> },
    /// The lease of a key, for a login that brings the key along; and who it is, if that is known and
    /// the session is not over.
    Lease { key: AuthKeyId, reply: RpcReplyPort<(ConnectionLease, Option<Me>)> },
    /// A login made this key; whoever connects it has to take this lease.
    Lent { key: AuthKeyId, lease: ConnectionLease },
    /// Take an account in.
    Adopt { adoption: Box<Adoption>, reply: Answer },
    /// Change something about an account.
    Change { user: UserId, id: AccountId, wanted: Wanted, audit_event: AuditEvent, reply: Answer },
    /// What was asked for is durable, or is not.
    Kept { outcome: Result<(), CommitError>, change: Box<Change>, reply: Answer },
}

/// What its user wants of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Wanted {
    /// Hold it.
    Held,
    /// Let it go on.
    Resumed,
    /// Connect it anew.
    Redialled,
    /// Give it up: stop it and wipe its session.
    Gone,
}

pub(in crate::actors) type Answer = RpcReplyPort<Result<Changed, Refusal>>;

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors) struct Changed {
    /// The account as it is now.
    pub(in crate::actors) account: OwnedAccount,
    /// What becomes of the session that it had before, if it had another one.
    pub(in crate::actors) previous: Option<PreviousSession>,
}

/// What follows once it is durable.
pub(in crate::actors) enum Change {
    Adopted {
        account: OwnedAccount,
        record: Box<AccountRecord>,
        before: Option<Box<Before>>,
        lease: ConnectionLease,
    },
    Held(OwnedAccount),
    Redialled(OwnedAccount),
    Removed(OwnedAccount),
}

/// The session that an account had until now.
pub(in crate::actors) struct Before {
    key: AuthKeyId,
    fate: PreviousSession,
    /// The note that it is to be ended at Telegram.
    note: Option<LoginRecord>,
}

impl Change {
    fn account(&self) -> &OwnedAccount {
        match self {
            Self::Adopted { account, .. }
            | Self::Held(account)
            | Self::Redialled(account)
            | Self::Removed(account) => account,
        }
    }
}

impl FleetState {
    pub(super) async fn owned_message(&mut self, myself: &ActorRef<FleetMsg>, message: OwnedMsg) {
        match message {
            OwnedMsg::StartWaiting { waiting } => self.start_waiting(myself, waiting).await,
            OwnedMsg::Lease { key, reply } => {
                let _ = reply.send(self.lease_of(key));
            }
            OwnedMsg::Lent { key, lease } => self.leases.lend(key, &lease),
            OwnedMsg::Adopt { adoption, reply } => self.adopt(myself, *adoption, reply).await,
            OwnedMsg::Change { user, id, wanted, audit_event, reply } => {
                self.change(myself, &user, id, wanted, audit_event, reply).await;
            }
            OwnedMsg::Kept { outcome, change, reply } => {
                self.kept(myself, outcome, *change, reply).await;
            }
        }
    }

    /// What is asked for is done to the account as it is now, not as it was when somebody asked.
    async fn change(
        &mut self,
        myself: &ActorRef<FleetMsg>,
        user: &UserId,
        id: AccountId,
        wanted: Wanted,
        audit_event: AuditEvent,
        reply: Answer,
    ) {
        let Some(account) = self.context.directory.get(&Scope::Only(user.clone()), id) else {
            let _ = reply.send(Err(Refusal::not_found("account")));
            return;
        };
        if self.changing.contains(&account.telegram_id) {
            let detail = "another change of this account is on its way to the disk; ask again";
            let _ = reply.send(Err(Refusal::new(Code::Conflict, detail).after(1)));
            return;
        }
        let (mut ops, change) = match wanted {
            Wanted::Held | Wanted::Resumed => {
                let is_paused = wanted == Wanted::Held;
                let account = OwnedAccount { is_paused, updated_at: self.context.now(), ..account };
                (vec![Op::put_row(&account)], Change::Held(account))
            }
            Wanted::Redialled => (Vec::new(), Change::Redialled(account)),
            Wanted::Gone => {
                let mut ops = vec![Op::delete_row::<OwnedAccount>(user, id)];
                ops.push(Op::delete_rows::<AttachedChat>(user, id));
                ops.extend(self.wipe(account.key));
                ops.extend(waits_of(&self.context, account.telegram_id));
                (ops, Change::Removed(account))
            }
        };
        ops.push(Op::Audit(audit_event));
        self.keep(myself, ops, change, reply).await;
    }

    /// The write that forgets a session, unless a command of the bridge brought it, too. One that a
    /// command brings while this is on its way is written anew: see `register`.
    fn wipe(&mut self, key: AuthKeyId) -> Option<Op> {
        if self.is_session(key) {
            return None;
        }
        self.leaving.insert(key);
        Some(Op::DeleteAccount(key))
    }

    /// Has `ops` written, and comes back to `change` when they are durable. Until then nothing else of
    /// this account is changed, so that everybody decides on what is durable.
    async fn keep(
        &mut self,
        myself: &ActorRef<FleetMsg>,
        ops: Vec<Op>,
        change: Change,
        reply: Answer,
    ) {
        failpoint::reach("owned.keep.before");
        let person = change.account().telegram_id;
        self.changing.insert(person);
        let fleet = myself.clone();
        let submitted = self.context.store.submit(ops, move |outcome| {
            let kept = OwnedMsg::Kept { outcome, change: Box::new(change), reply };
            let _ = fleet.cast(FleetMsg::Owned(kept));
        });
        // On an error the reply is dropped, which tells the one who waits.
        if submitted.await.is_err() {
            self.changing.remove(&person);
        }
        failpoint::reach("owned.keep.after");
    }

    /// Whether a command of the bridge brought this key, too.
    fn is_session(&self, key: AuthKeyId) -> bool {
        self.uses.has_account(key)
    }

    async fn start_waiting(
        &mut self,
        myself: &ActorRef<FleetMsg>,
        mut waiting: VecDeque<AuthKeyId>,
    ) {
        for _ in 0..STARTED_AT_ONCE {
            let Some(key) = waiting.pop_front() else { return };
            if self.members.get(&key).is_some_and(Member::is_resting_needlessly) {
                self.start(myself, key, false).await;
            }
        }
        let _ = myself.cast(FleetMsg::Owned(OwnedMsg::StartWaiting { waiting }));
    }

    fn lease_of(&mut self, key: AuthKeyId) -> (ConnectionLease, Option<Me>) {
        if let Some(member) = self.members.get(&key) {
            let AccountRecord { me, fault, .. } = member.latest.get();
            let me = me.filter(|_| fault.is_none() && member.released.is_none());
            return (member.lease.clone(), me);
        }
        let lease = self.leases.take(key);
        self.leases.lend(key, &lease);
        (lease, None)
    }

    async fn adopt(&mut self, myself: &ActorRef<FleetMsg>, adoption: Adoption, reply: Answer) {
        // A login that waited no longer asks again, or ends the session: taken in now, it would go.
        if reply.is_closed() {
            return;
        }
        let Adoption {
            user,
            credentials,
            api_id,
            me,
            phone_masked,
            is_made_here,
            lease,
            mut audit_event,
            also,
            former,
        } = adoption;
        let known = self.context.directory.of_person(me.user_id);
        if let Err(refusal) = self.may_adopt(&user, &me, known.as_ref()) {
            let _ = reply.send(Err(refusal));
            return;
        }
        let (key, at) = (credentials.account, self.context.now());
        let before = match known.as_ref().filter(|known| known.key != key) {
            Some(known) => self.before(known, former).map(Some),
            None => Ok(None),
        };
        let before = match before {
            Ok(before) => before,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        let account = OwnedAccount {
            id: known.as_ref().map_or_else(|| AccountId(self.context.new_id()), |known| known.id),
            user,
            key,
            api_id,
            is_bot: me.is_bot,
            telegram_id: me.user_id,
            phone_masked: phone_masked.or_else(|| known.as_ref()?.phone_masked.clone()),
            username: me.username.clone(),
            first_name: me.first_name.clone(),
            is_paused: false,
            // Brought once more, the session is still the one that was made here.
            is_made_here: is_made_here
                || known.as_ref().is_some_and(|known| known.key == key && known.is_made_here),
            created_at: known.as_ref().map_or(at, |known| known.created_at),
            updated_at: at,
        };
        let flood_waits = self.context.flood_waits.of(me.user_id, at);
        let record = AccountRecord {
            id: key,
            me: Some(me),
            fault: None,
            flood_waits,
            // It is the account that is frozen, whatever session it logs in with.
            frozen: self.freeze_of(key).or_else(|| self.freeze_of(known.as_ref()?.key)),
            created_at: at,
        };
        audit_event.target = Some(account.id.to_string());
        let mut ops = vec![Op::PutAccount(record.clone()), Op::PutCredentials(credentials)];
        ops.extend([Op::put_row(&account), Op::Audit(audit_event)]);
        if let Some(before) = &before {
            ops.extend(self.wipe(before.key));
            ops.extend(before.note.as_ref().map(Op::put_row));
        }
        ops.extend(also(account.id));
        // Its user may just have given the very same session up: its actor's end wipes nothing then.
        if let Some(member) = self.members.get_mut(&key) {
            member.released = None;
        }
        self.leaving.remove(&key);
        self.adopting.insert(key);
        let (record, before) = (Box::new(record), before.map(Box::new));
        self.keep(myself, ops, Change::Adopted { account, record, before, lease }, reply).await;
    }

    fn freeze_of(&self, key: AuthKeyId) -> Option<Frozen> {
        self.members.get(&key)?.latest.get().frozen
    }

    /// What is to become of the session that an account had: one that was made here would be left
    /// behind at Telegram for ever. That it is to be ended is durable together with its successor, and a
    /// login of its own does it, over restarts, once the account has hung up.
    fn before(
        &self,
        known: &OwnedAccount,
        former: Option<FormerSession>,
    ) -> Result<Before, Refusal> {
        let key = known.key;
        let kept = Before { key, fate: PreviousSession::Kept, note: None };
        if !known.is_made_here || self.is_session(key) {
            return Ok(kept);
        }
        let is_dead = |member: &Member| member.latest.get().fault.is_some();
        if self.members.get(&key).is_some_and(is_dead) {
            return Ok(Before { fate: PreviousSession::Ended, ..kept });
        }
        let Some(former) = former.filter(|former| former.key == key) else {
            let detail = "the account was given another session meanwhile; ask again";
            return Err(Refusal::new(Code::Conflict, detail).after(1));
        };
        Ok(match former.credentials {
            Some(credentials) => {
                let note = Some(note_to_end(&self.context, known, &credentials));
                Before { fate: PreviousSession::Ended, note, ..kept }
            }
            None => kept,
        })
    }

    fn may_adopt(
        &self,
        user: &UserId,
        me: &Me,
        known: Option<&OwnedAccount>,
    ) -> Result<(), Refusal> {
        if known.is_some_and(|known| known.user != *user) {
            let detail = "this telegram account is connected by somebody else; who owns it has to \
                          remove it there first";
            return Err(Refusal::new(Code::Conflict, detail));
        }
        if self.changing.contains(&me.user_id) {
            let detail =
                "another change of this telegram account is on its way to the disk; ask again";
            return Err(Refusal::new(Code::Conflict, detail).after(1));
        }
        Ok(())
    }

    async fn kept(
        &mut self,
        myself: &ActorRef<FleetMsg>,
        outcome: Result<(), CommitError>,
        change: Change,
        reply: Answer,
    ) {
        self.changing.remove(&change.account().telegram_id);
        if let Change::Adopted { account, .. } = &change {
            self.adopting.remove(&account.key);
        }
        if let Err(error) = outcome {
            let _ = reply.send(Err(broken(&error)));
            return;
        }
        let mut previous = None;
        let account = match change {
            Change::Adopted { account, record, before, lease } => {
                self.context.directory.put(account.clone());
                self.take_in(myself, &account, *record, lease).await;
                if let Some(before) = before {
                    previous = Some(before.fate);
                    self.context.rekeyed.note(account.user.clone());
                    self.release(before.key, Released::Replaced).await;
                    self.end_at_telegram(before.note);
                }
                account
            }
            Change::Held(account) => {
                self.context.directory.put(account.clone());
                self.context.status.changed(Subject::Account(account.key));
                self.stand(myself, account.key, account.standing()).await;
                account
            }
            Change::Redialled(account) => {
                self.redial(myself, account.key).await;
                account
            }
            Change::Removed(account) => {
                self.context.directory.remove(&account.user, account.id);
                self.context.changes.tell(&account.user, FeedEvent::AccountRemoved(account.id));
                self.release(account.key, Released::Removed).await;
                account
            }
        };
        let _ = reply.send(Ok(Changed { account, previous }));
    }

    /// Has a login end a session that nobody uses any more. Should there be none just now, the next life
    /// of the daemon finds the note.
    fn end_at_telegram(&self, note: Option<LoginRecord>) {
        if let (Some(note), Some(end_session)) = (note, self.context.end_session.get()) {
            end_session(note);
        }
    }

    /// An account's session is in the store: connect it.
    async fn take_in(
        &mut self,
        myself: &ActorRef<FleetMsg>,
        account: &OwnedAccount,
        record: AccountRecord,
        lease: ConnectionLease,
    ) {
        let key = account.key;
        self.leases.take(key);
        let member = self
            .members
            .entry(key)
            .or_insert_with(|| Member { lease, ..Member::new(record.clone()) });
        if !matches!(member.presence, Presence::Running(_)) {
            member.latest.set(record);
        }
        member.own(account);
        self.context.status.named(key, &member.names);
        if matches!(member.presence, Presence::Running(_)) {
            // A command of the bridge brought the same session.
            self.children.follow_name(&key, &self.context);
            self.stand(myself, key, Standing::Kept).await;
            self.redial_dead(key);
        } else {
            self.children.reset_restarts(&key);
            self.start(myself, key, true).await;
        }
    }

    /// Tries a session once more that Telegram had ended, since it has just proved to be alive.
    fn redial_dead(&self, key: AuthKeyId) {
        if let Some(Presence::Running(actor)) = self.members.get(&key).map(|known| &known.presence)
        {
            let _ = actor.cast(AccountMsg::Retry);
            let _ = actor.cast(AccountMsg::Stand(Standing::Kept));
        }
    }

    async fn stand(&mut self, myself: &ActorRef<FleetMsg>, key: AuthKeyId, standing: Standing) {
        let Some(member) = self.members.get_mut(&key) else { return };
        member.standing = standing;
        match &member.presence {
            Presence::Running(actor) => drop(actor.cast(AccountMsg::Stand(standing))),
            Presence::Resting => self.start(myself, key, false).await,
            Presence::Recovering => {}
            Presence::Parked => {
                member.presence = Presence::Resting;
                self.children.reset_restarts(&key);
                self.start(myself, key, false).await;
            }
        }
    }

    async fn redial(&mut self, myself: &ActorRef<FleetMsg>, key: AuthKeyId) {
        let Some(member) = self.members.get_mut(&key) else { return };
        match &member.presence {
            Presence::Running(actor) => drop(actor.cast(AccountMsg::Redial)),
            Presence::Resting | Presence::Recovering | Presence::Parked => {
                member.presence = Presence::Resting;
                self.children.reset_restarts(&key);
                self.start(myself, key, true).await;
            }
        }
    }

    /// A key belongs to no user any more. What a command of the bridge brought stays for the bridge.
    pub(super) async fn release(&mut self, key: AuthKeyId, why: Released) {
        self.leaving.remove(&key);
        let shared = self.is_session(key);
        self.note_gone(key, why);
        let Some(member) = self.members.get_mut(&key) else { return };
        member.standing = Standing::OnDemand;
        member.released = (!shared).then_some(why);
        if shared {
            member.lose_users(key, why);
        }
        match (&member.presence, shared) {
            (Presence::Running(actor), true) => {
                let _ = actor.cast(AccountMsg::Stand(Standing::OnDemand));
                self.children.follow_name(&key, &self.context);
            }
            (Presence::Running(actor), false) => actor.stop(None),
            (_, true) => {}
            (_, false) => self.forget_member(key).await,
        }
    }

    /// Remembers, for those that ask for the key yet, whether its account has another one now.
    fn note_gone(&mut self, key: AuthKeyId, why: Released) {
        self.replaced.retain(|_, at| at.elapsed() < FOLLOWED_WITHIN);
        if why == Released::Replaced {
            self.replaced.insert(key, instant());
        }
    }

    /// What a released account still noted on its way out goes, too.
    pub(super) async fn forget_member(&mut self, key: AuthKeyId) {
        let Some(member) = self.members.remove(&key) else { return };
        self.children.forget(&key, &self.context);
        // Its sockets may still be closing: whoever brings the key again waits for them.
        self.leases.lend(key, &member.lease);
        self.context.status.account_rests(key);
        let why = member.released.unwrap_or(Released::Removed);
        self.note_gone(key, why);
        for subscription in member.subscriptions.into_values() {
            subscription.lose(key, why);
        }
        let mut ops = vec![Op::DeleteAccount(key)];
        // It may have been told to wait on its way out.
        let me = member.latest.get().me;
        ops.extend(me.and_then(|me| waits_of(&self.context, me.user_id)));
        // Before anything else is handled, so that nothing that is written later is wiped.
        let _ = self.context.store.submit(ops, |_| {}).await;
    }
}

/// A login that has nothing left to do but to end the session that an account had.
fn note_to_end(
    context: &AccountsContext,
    known: &OwnedAccount,
    credentials: &Credentials,
) -> LoginRecord {
    let at = context.now();
    LoginRecord {
        id: LoginId(context.new_id()),
        user: known.user.clone(),
        dc_id: credentials.dc_id,
        auth_key: credentials.auth_key.expose().to_vec(),
        stage: LoginStage::WaitingScan,
        is_leaving: true,
        is_brought: false,
        api_id: None,
        not_before: None,
        subject: None,
        created_at: at,
        expires_at: at,
    }
}

/// The write that keeps what a person has to wait for.
pub(super) fn waits_of(context: &AccountsContext, telegram_id: i64) -> Option<Op> {
    let waits = context.flood_waits.of(telegram_id, context.now());
    let person = PersonFloodWaits { telegram_id, waits };
    (!person.waits.is_empty()).then_some(Op::PutPersonWaits(person))
}

/// Has the waits of people hold whose accounts went in an earlier life of the daemon, and forgets those
/// that are over.
pub(super) async fn recall_waits(context: &AccountsContext) -> Result<(), ActorProcessingErr> {
    let (at, mut over) = (context.now(), Vec::new());
    let known = context.store.read(Reader::person_waits).await?;
    for PersonFloodWaits { telegram_id, waits } in known {
        let (holding, _): (Vec<_>, Vec<_>) = waits.into_iter().partition(|wait| wait.until > at);
        if holding.is_empty() {
            over.push(Op::DeletePersonWaits(telegram_id));
        }
        for FloodWait { scope, until } in holding {
            context.flood_waits.impose(telegram_id, scope, until, at);
        }
    }
    if !over.is_empty() {
        context.store.submit(over, |_| {}).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use std::time::Duration;

    use crate::actors::tree::actor::spawn_alone;

    use super::*;
    use crate::actors::accounts::directory::tests::owned;
    use crate::actors::accounts::fleet::{Fleet, FleetArgs};
    use crate::actors::logins::login::lease_of;
    use crate::actors::tree::calling::call;
    use crate::clock::now;
    use crate::protocol::bridge::command::SessionData;
    use crate::protocol::telegram::pacing::{FloodWaitScope, MethodClass};
    use crate::protocol::values::ids::{SessionId, UnixMillis};
    use crate::protocol::values::secret::AuthKey;
    use crate::store::Store;
    use crate::store::gated::GatedDisk;

    async fn fleet(context: &Arc<AccountsContext>) -> ActorRef<FleetMsg> {
        fleet_with(context, None).await
    }

    async fn fleet_with(
        context: &Arc<AccountsContext>,
        owned: Option<OwnedAccount>,
    ) -> ActorRef<FleetMsg> {
        let record = |owned: &OwnedAccount| AccountRecord {
            id: owned.key,
            me: None,
            fault: None,
            frozen: None,
            flood_waits: Vec::new(),
            created_at: now(),
        };
        let accounts = owned.iter().map(record).collect();
        let owned = owned.into_iter().collect();
        let args = FleetArgs { accounts, owned, ..FleetArgs::empty(context) };
        spawn_alone(Fleet, args).await
    }

    #[tokio::test]
    async fn whoever_brings_the_key_of_a_removed_account_waits_for_its_sockets() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let account = OwnedAccount { is_paused: true, ..owned("ann", 7) };
        let fleet = fleet_with(&AccountsContext::for_tests(store), Some(account.clone())).await;
        let (lease, _) = lease_of(&fleet, account.key).await;
        let closing = lease.try_hold().unwrap();
        let audit_event = AuditEvent::own(&account.user, "account.remove", now());
        let (user, id, wanted) = (account.user.clone(), account.id, Wanted::Gone);
        let gone =
            |reply| FleetMsg::Owned(OwnedMsg::Change { user, id, wanted, audit_event, reply });
        call(&fleet, gone, Duration::from_secs(20)).await.unwrap().unwrap();
        let (again, _) = lease_of(&fleet, account.key).await;
        assert!(again.try_hold().is_none(), "its connection is still being closed");
        drop(closing);
        assert!(again.try_hold().is_some());
        fleet.stop(None);
    }

    #[tokio::test]
    async fn an_account_whose_login_waits_no_longer_is_not_taken_in() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = AccountsContext::for_tests(store);
        let fleet = fleet(&context).await;
        for is_awaited in [false, true] {
            let user = UserId::new("ann").unwrap();
            let auth_key = AuthKey::new([7; 256]);
            let adoption = Adoption {
                credentials: Credentials { account: AuthKeyId::of(&auth_key), dc_id: 2, auth_key },
                api_id: None,
                me: Me { user_id: 5, is_bot: false, username: None, first_name: None },
                phone_masked: None,
                is_made_here: true,
                lease: ConnectionLease::new(),
                audit_event: AuditEvent::own(&user, "account.connect", now()),
                also: Box::new(|_| Vec::new()),
                former: None,
                user,
            };
            let (reply, waits) = tokio::sync::oneshot::channel();
            let waits = is_awaited.then_some(waits);
            let (adoption, reply) = (Box::new(adoption), RpcReplyPort::from(reply));
            fleet.cast(FleetMsg::Owned(OwnedMsg::Adopt { adoption, reply })).unwrap();
            if let Some(waits) = waits {
                waits.await.unwrap().unwrap();
            }
            call(&fleet, FleetMsg::Pulse, Duration::from_secs(20)).await.unwrap();
            context.store.commit(Vec::new()).await.unwrap();
            let stored = context.store.load().unwrap().owned;
            assert_eq!(stored.len(), usize::from(is_awaited));
        }
        fleet.stop(None);
    }

    #[tokio::test]
    async fn whoever_goes_on_with_a_login_waits_for_the_connection_that_it_has() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let fleet = fleet(&AccountsContext::for_tests(store)).await;
        let (key, lease) = (AuthKeyId(7), ConnectionLease::new());
        let held = lease.hold().await.unwrap();
        fleet.cast(FleetMsg::Owned(OwnedMsg::Lent { key, lease })).unwrap();
        let (again, _) = lease_of(&fleet, key).await;
        assert!(again.try_hold().is_none(), "it is connected");
        drop(held);
        assert!(again.try_hold().is_some());
        assert!(lease_of(&fleet, key).await.0.is_same(&again), "and is never connected twice");
        fleet.stop(None);
    }

    #[tokio::test]
    async fn waits_of_people_without_an_account_hold_until_they_are_over_and_are_forgotten_then() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let scope = FloodWaitScope::Class(MethodClass::Send);
        let wait = |until| FloodWait { scope: scope.clone(), until };
        let later = now().plus_ms(60_000);
        let (long, over) = (vec![wait(later)], vec![wait(UnixMillis(1))]);
        let ops = [(1, long.clone()), (2, over)].map(|(telegram_id, waits)| {
            Op::PutPersonWaits(PersonFloodWaits { telegram_id, waits })
        });
        store.commit(ops.into()).await.unwrap();
        let context = AccountsContext::for_tests(store);
        recall_waits(&context).await.unwrap();
        assert_eq!(context.flood_waits.of(1, now()), long);
        assert_eq!(context.flood_waits.of(2, now()), []);
        context.store.commit(Vec::new()).await.unwrap();
        let kept = context.store.person_waits().unwrap();
        assert_eq!(kept, [PersonFloodWaits { telegram_id: 1, waits: long }]);
    }

    fn anew(user: &UserId, telegram_id: i64, former: Option<FormerSession>) -> Box<Adoption> {
        let auth_key = AuthKey::new([9; 256]);
        Box::new(Adoption {
            user: user.clone(),
            credentials: Credentials { account: AuthKeyId::of(&auth_key), dc_id: 2, auth_key },
            api_id: None,
            me: Me { user_id: telegram_id, is_bot: false, username: None, first_name: None },
            phone_masked: None,
            is_made_here: true,
            lease: ConnectionLease::new(),
            audit_event: AuditEvent::own(user, "account.connect", now()),
            also: Box::new(|_| Vec::new()),
            former,
        })
    }

    /// It is the person's account that is frozen, whatever session it is connected by.
    #[tokio::test]
    async fn an_account_that_is_connected_once_more_keeps_its_freeze_and_gets_no_wait() {
        let patience = Duration::from_secs(20);
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = AccountsContext::for_tests(store.clone());
        let account = OwnedAccount {
            key: AuthKeyId::of(&AuthKey::new([7; 256])),
            is_paused: true,
            ..owned("ann", 7)
        };
        let frozen = Frozen::refused(None, "FROZEN_METHOD_INVALID", MethodClass::Send, now());
        let record = AccountRecord {
            id: account.key,
            me: None,
            fault: None,
            frozen: Some(frozen.clone()),
            flood_waits: Vec::new(),
            created_at: now(),
        };
        let (accounts, owned) = (vec![record], vec![account.clone()]);
        let args = FleetArgs { accounts, owned, ..FleetArgs::empty(&context) };
        let fleet = spawn_alone(Fleet, args).await;
        // It may have been looked at meanwhile, without an answer.
        let is_known = |kept: &AccountRecord| {
            let look_at = kept.frozen.as_ref().map_or(frozen.look_at, |frozen| frozen.look_at);
            kept.frozen == Some(Frozen { look_at, ..frozen.clone() })
        };
        // The same session, another one, and that one once more.
        for number in [7, 9, 9] {
            let auth_key = AuthKey::new([number; 256]);
            let key = AuthKeyId::of(&auth_key);
            let credentials = Credentials { account: key, dc_id: 2, auth_key };
            let adoption = anew(&account.user, account.telegram_id, None);
            let adoption = Box::new(Adoption { credentials, is_made_here: false, ..*adoption });
            let adopt = |reply| FleetMsg::Owned(OwnedMsg::Adopt { adoption, reply });
            let changed = call(&fleet, adopt, patience).await.unwrap().unwrap();
            assert_eq!((changed.account.id, changed.account.key), (account.id, key));
            let kept = store.account(key).unwrap().expect("it is kept");
            assert!(is_known(&kept), "{kept:?}");
            assert_eq!(kept.flood_waits, []);
            assert_eq!(context.flood_waits.of(account.telegram_id, now()), []);
        }
        // A command that brings the session, too, changes nothing of it.
        let auth_key = AuthKey::new([9; 256]);
        let (id, account) = (SessionId("alice".into()), AuthKeyId::of(&auth_key));
        let sessions = vec![SessionData { id, api_id: None, account, dc_id: 2, auth_key }];
        let register = |reply| FleetMsg::Register { sessions, reply };
        let _hold = call(&fleet, register, patience).await.unwrap().unwrap();
        let kept = store.account(account).unwrap().expect("it is kept");
        assert!(is_known(&kept), "{kept:?}");
        fleet.stop(None);
    }

    #[tokio::test]
    async fn a_session_that_cannot_be_read_is_not_wiped_without_the_note_that_ends_it() {
        let patience = Duration::from_secs(20);
        let (store, _outbox, gate) = GatedDisk::default().open();
        let context = AccountsContext::for_tests(store.clone());
        let auth_key = AuthKey::new([7; 256]);
        let key = AuthKeyId::of(&auth_key);
        let account = OwnedAccount { key, is_paused: true, is_made_here: true, ..owned("ann", 7) };
        let credentials = Credentials { account: key, dc_id: 2, auth_key };
        store.commit(vec![Op::PutCredentials(credentials)]).await.unwrap();
        let fleet = fleet_with(&context, Some(account.clone())).await;
        call(&fleet, FleetMsg::Pulse, patience).await.unwrap();
        gate.hang_reads(true);
        let (person, newest) = (account.telegram_id, AuthKeyId::of(&AuthKey::new([9; 256])));
        let read = FormerSession::read(&context, person, newest).await;
        assert!(matches!(read, Err(StoreError::Unanswered { .. })));
        let adopt = |former| {
            let adoption = anew(&account.user, person, former);
            call(&fleet, |reply| FleetMsg::Owned(OwnedMsg::Adopt { adoption, reply }), patience)
        };
        let refusal = adopt(None).await.unwrap().unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after.is_some()), (Code::Conflict, true));
        gate.hang_reads(false);
        assert!(store.credentials(key).unwrap().is_some());
        let former = FormerSession::read(&context, person, newest).await.unwrap();
        let changed = adopt(former).await.unwrap().unwrap();
        assert_eq!(changed.previous, Some(PreviousSession::Ended));
        let notes = store.load().unwrap().logins;
        assert_eq!(notes.len(), 1, "it is to be ended");
        assert!(notes[0].is_leaving && notes[0].auth_key == [7; 256]);
        fleet.stop(None);
    }
}
