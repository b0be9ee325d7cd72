//! The logins: each is an actor of its own with a deadline, so that none holds up another. Starts them,
//! finds them for their users, and goes on with those that a restart of the daemon interrupted.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::actors::tree::actor::{
    Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, named,
    spawn_child,
};
use crate::actors::tree::erasing::Busy;
use crate::actors::tree::members::MemberStats;
use crate::tasks;

use super::login::{Login, LoginArgs, LoginMethod, LoginMsg, LoginReply};
use super::registry::LoginView;
use crate::actors::accounts::fleet::FleetMsg;
use crate::actors::logins::context::LoginsContext;
use crate::actors::tree::ledger;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::logins::record::{LoginRecord, LoginStage};
use crate::protocol::logins::steps::LoginState;
use crate::protocol::tree::restart::{Backoff, ChildKind, RestartHistory};
use crate::protocol::users::owner::{AccountId, Caller, LoginId, UserId};
use crate::store::{Op, StoreError};

/// Logins of one user at once.
const PER_USER_MAX: usize = 20;
/// Logins at once. Each holds a connection, about 60 KiB.
const LOGINS_MAX: usize = 1_000;
/// How long what a login ended with is kept for a restart of the daemon: as long as it may take.
const DONE_TOLD: Duration = Duration::from_secs(10 * 60);
/// Pauses between reads of a record that the disk does not give.
const READ_AGAIN: Backoff = Backoff { min_ms: 500, max_ms: 30_000 };

/// The actor.
pub(in crate::actors) struct Logins;

/// What it is started with.
pub(in crate::actors) struct LoginsArgs {
    pub(in crate::actors) context: Arc<LoginsContext>,
    pub(in crate::actors) fleet: ActorRef<FleetMsg>,
    /// Those that were under way when the daemon ended.
    pub(in crate::actors) interrupted: Vec<LoginRecord>,
}

/// Its messages.
pub(in crate::actors) enum LoginsMsg {
    /// Go on with what was interrupted.
    Resume(Vec<LoginRecord>),
    /// Begin a login.
    Begin { id: LoginId, who: Caller, method: LoginMethod, reply: LoginReply },
    /// Something for a login that is under way.
    Tell { by: Caller, user: UserId, id: LoginId, message: LoginMsg },
    /// A login that succeeded need not be told of any longer.
    Forget { user: UserId, id: LoginId },
    /// The pause before the restart of a login that crashed, or before its record is read again, is over.
    RestartDue { name: (UserId, LoginId), failures: u32 },
    /// What the store has of a login that crashed.
    Read {
        name: (UserId, LoginId),
        /// Reads in a row that failed.
        failures: u32,
        outcome: Box<Result<Option<LoginRecord>, StoreError>>,
    },
    /// The record of a login that crashed too often was read, or could not be. Its user is not erased meanwhile.
    GivenUp {
        name: (UserId, LoginId),
        outcome: Box<Result<Option<LoginRecord>, StoreError>>,
        busy: Busy,
    },
    /// The heartbeat passes.
    Pulse(RpcReplyPort<()>),
}

named!(LoginsMsg: Resume, Begin, Tell, Forget, RestartDue, Read, GivenUp, Pulse);

/// Its state.
pub(in crate::actors) struct LoginsState {
    context: Arc<LoginsContext>,
    fleet: ActorRef<FleetMsg>,
    open: HashMap<(UserId, LoginId), ActorRef<LoginMsg>>,
    names: HashMap<ActorId, (UserId, LoginId)>,
    histories: HashMap<(UserId, LoginId), RestartHistory>,
    /// What each login shows of itself, from its first start to its end.
    members: HashMap<(UserId, LoginId), Arc<MemberStats>>,
}

impl Actor for Logins {
    type Msg = LoginsMsg;
    type State = LoginsState;
    type Arguments = LoginsArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<LoginsMsg>,
        args: LoginsArgs,
    ) -> Result<LoginsState, ActorProcessingErr> {
        let LoginsArgs { context, fleet, interrupted } = args;
        myself.cast(LoginsMsg::Resume(interrupted))?;
        let registrar = myself.clone();
        let end_session = move |note| drop(registrar.cast(LoginsMsg::Resume(vec![note])));
        let _ = context.end_session.set(Box::new(end_session));
        let (open, names, histories) = (HashMap::new(), HashMap::new(), HashMap::new());
        let members = HashMap::new();
        Ok(LoginsState { context, fleet, open, names, histories, members })
    }

    async fn handle(
        &self,
        myself: ActorRef<LoginsMsg>,
        message: LoginsMsg,
        state: &mut LoginsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LoginsMsg::Resume(records) => state.resume(&myself, records).await,
            LoginsMsg::Begin { id, who, method, reply } => {
                state.begin(&myself, id, who, method, reply).await;
            }
            LoginsMsg::Tell { by, user, id, message } => state.tell(by, user, id, message),
            LoginsMsg::Forget { user, id } => state.forget(&user, id).await,
            LoginsMsg::RestartDue { name, failures } => state.look_up(&myself, name, failures),
            LoginsMsg::Read { name, failures, outcome } => {
                state.read(&myself, name, failures, *outcome).await;
            }
            LoginsMsg::GivenUp { name, outcome, busy } => {
                state.given_up(&myself, name, *outcome).await;
                drop(busy);
            }
            LoginsMsg::Pulse(reply) => drop(reply.send(())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<LoginsMsg>,
        event: SupervisionEvent,
        state: &mut LoginsState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(child, ..) => {
                state.ended(&myself, child.get_id(), None).await;
            }
            SupervisionEvent::ActorFailed(child, error) => {
                let cause = ledger::cut(&error.to_string());
                state.ended(&myself, child.get_id(), Some(cause)).await;
            }
            _ => {}
        }
        Ok(())
    }
}

impl LoginsState {
    async fn resume(&mut self, myself: &ActorRef<LoginsMsg>, records: Vec<LoginRecord>) {
        for record in records {
            let (user, id) = (record.user.clone(), record.id);
            if let LoginStage::Done { account } = record.stage {
                self.tell_of(myself, account, &record);
                continue;
            }
            let who = Caller { user: user.clone(), role: Default::default(), address: None };
            self.spawn(myself, id, who, LoginMethod::Interrupted(record), None).await;
        }
    }

    /// A login that succeeded in an earlier life of the daemon, of which its user may not have heard.
    fn tell_of(&self, myself: &ActorRef<LoginsMsg>, account: AccountId, record: &LoginRecord) {
        let (user, id, at) = (record.user.clone(), record.id, self.context.now());
        let view = LoginView::new(LoginState::Active, record.expires_at);
        let view = LoginView { account: Some(account), ..view };
        self.context.login_registry.put(&user, id, view, at);
        let left = u64::try_from(record.expires_at.0 - at.0).unwrap_or(0);
        myself.send_after(Duration::from_millis(left), move || LoginsMsg::Forget { user, id });
    }

    async fn forget(&self, user: &UserId, id: LoginId) {
        let forget = Op::delete_row::<LoginRecord>(user, id);
        let _ = self.context.store.submit(vec![forget], |_| {}).await;
    }

    async fn begin(
        &mut self,
        myself: &ActorRef<LoginsMsg>,
        id: LoginId,
        who: Caller,
        method: LoginMethod,
        reply: LoginReply,
    ) {
        if let Err(refusal) = self.has_room(&who.user) {
            let _ = reply.send(Err(refusal));
            return;
        }
        self.spawn(myself, id, who, method, Some(reply)).await;
    }

    fn has_room(&self, user: &UserId) -> Result<(), Refusal> {
        let is_own = |(owner, id): &&(UserId, LoginId)| {
            owner == user && !self.context.login_registry.is_leaving(*id)
        };
        let own = self.open.keys().filter(is_own).count();
        if own >= PER_USER_MAX {
            let detail = format!(
                "{PER_USER_MAX} logins of yours are open already; finish some, or abandon them"
            );
            return Err(Refusal::new(Code::RateLimited, detail).after(60));
        }
        if self.open.len() >= LOGINS_MAX {
            let detail = format!("{LOGINS_MAX} logins are open already; try again in a minute");
            return Err(Refusal::new(Code::Overloaded, detail).after(60));
        }
        Ok(())
    }

    async fn spawn(
        &mut self,
        myself: &ActorRef<LoginsMsg>,
        id: LoginId,
        who: Caller,
        method: LoginMethod,
        reply: Option<LoginReply>,
    ) {
        let user = who.user.clone();
        let busy = match self.context.erasing.enter(&user) {
            Ok(busy) => busy,
            Err(refusal) => {
                reply.into_iter().for_each(|reply| drop(reply.send(Err(refusal.clone()))));
                self.is_gone(&(user, id));
                return;
            }
        };
        let (context, fleet) = (Arc::clone(&self.context), self.fleet.clone());
        let args = LoginArgs { context, fleet, id, who, method, reply, busy };
        // One that cannot even be started drops its reply, which tells the one who waits.
        let new = || self.context.members().add(ChildKind::Login, &id.to_string());
        let member = Arc::clone(self.members.entry((user.clone(), id)).or_insert_with(new));
        match spawn_child(member, Login, args, myself.get_cell()).await {
            Ok(actor) => {
                self.names.insert(actor.get_id(), (user.clone(), id));
                self.open.insert((user, id), actor);
            }
            Err(_) => self.is_gone(&(user, id)),
        }
    }

    /// A login is not to be there any more.
    fn is_gone(&mut self, name: &(UserId, LoginId)) {
        if let Some(member) = self.members.remove(name) {
            self.context.members().remove(&member);
        }
    }

    fn tell(&self, by: Caller, user: UserId, id: LoginId, message: LoginMsg) {
        match self.open.get(&(user, id)) {
            Some(actor) => {
                let _ = actor.cast(LoginMsg::By(by));
                let _ = actor.cast(message);
            }
            None => message.refuse(&Refusal::new(Code::Conflict, "this login is over")),
        }
    }

    /// A login ended. One that crashed goes on from what the store knows of it, a few times.
    async fn ended(&mut self, myself: &ActorRef<LoginsMsg>, child: ActorId, crash: Option<String>) {
        let Some(name) = self.names.remove(&child) else { return };
        self.open.remove(&name);
        self.context.login_registry.left(name.1);
        let Some(cause) = crash else {
            self.histories.remove(&name);
            self.is_gone(&name);
            let (user, id) = name;
            myself.send_after(DONE_TOLD, move || LoginsMsg::Forget { user, id });
            return;
        };
        let history = self.histories.entry(name.clone()).or_default();
        let (kind, id) = (ChildKind::Login, name.1.to_string());
        let verdict = ledger::judge(&self.context, kind, &id, history, &cause).await;
        let Some(pause) = ledger::pause_of(verdict) else { return self.give_up(myself, name) };
        self.members.get(&name).inspect(|member| member.failed(false));
        myself.send_after(pause, move || LoginsMsg::RestartDue { name, failures: 0 });
    }

    /// Has the record of a login that crashed read beside this actor, so that a slow disk holds up no
    /// other login.
    fn look_up(&self, myself: &ActorRef<LoginsMsg>, name: (UserId, LoginId), failures: u32) {
        let (store, target) = (self.context.store.clone(), myself.clone());
        tasks::brief(async move {
            let (user, id) = name.clone();
            let outcome = store.read(move |store| store.row::<LoginRecord>(&user, id)).await;
            let _ = target.cast(LoginsMsg::Read { name, failures, outcome: Box::new(outcome) });
        });
    }

    /// A record that cannot be read now is not gone: what it names may be a session that has to be ended
    /// at Telegram yet.
    async fn read(
        &mut self,
        myself: &ActorRef<LoginsMsg>,
        name: (UserId, LoginId),
        failures: u32,
        outcome: Result<Option<LoginRecord>, StoreError>,
    ) {
        match outcome {
            Ok(Some(record)) => self.resume(myself, vec![record]).await,
            Ok(None) => {
                self.crashed(&name);
                self.forget(&name.0, name.1).await;
            }
            Err(error) => {
                tracing::error!(%error, login = %name.1, "a login that crashed cannot be read; it is tried again");
                let failures = failures.saturating_add(1);
                let pause =
                    Duration::from_millis(READ_AGAIN.delay_ms(failures, self.context.jitter()));
                myself.send_after(pause, move || LoginsMsg::RestartDue { name, failures });
            }
        }
    }

    /// It crashed too often. What the store has of it is read beside this actor.
    fn give_up(&mut self, myself: &ActorRef<LoginsMsg>, name: (UserId, LoginId)) {
        self.crashed(&name);
        // What is read is written back: not behind an erasure, which takes everything of the user itself.
        let Ok(busy) = self.context.erasing.enter(&name.0) else { return };
        let (store, target) = (self.context.store.clone(), myself.clone());
        tasks::brief(async move {
            let (user, id) = name.clone();
            let outcome = store.read(move |store| store.row::<LoginRecord>(&user, id)).await;
            let _ = target.cast(LoginsMsg::GivenUp { name, outcome: Box::new(outcome), busy });
        });
    }

    /// Telegram may have let it in, and nobody else has its key: a session that was made here is ended there,
    /// too. Should that crash again and again as well, it is left at that.
    async fn given_up(
        &mut self,
        myself: &ActorRef<LoginsMsg>,
        name: (UserId, LoginId),
        outcome: Result<Option<LoginRecord>, StoreError>,
    ) {
        let is_done = |record: &LoginRecord| matches!(record.stage, LoginStage::Done { .. });
        match outcome {
            Ok(Some(mut record))
                if !record.is_brought && !record.is_leaving && !is_done(&record) =>
            {
                (record.is_leaving, record.stage) = (true, LoginStage::WaitingScan);
                // Should the store fail, the daemon ends, and its next life goes on with the login.
                let _ = self.context.store.submit(vec![Op::put_row(&record)], |_| {}).await;
                self.resume(myself, vec![record]).await;
            }
            Ok(_) => self.forget(&name.0, name.1).await,
            // The next life of the daemon finds it.
            Err(error) => {
                tracing::error!(%error, login = %name.1, "a login that was given up cannot be read");
            }
        }
    }

    fn crashed(&mut self, name: &(UserId, LoginId)) {
        self.histories.remove(name);
        self.is_gone(name);
        self.context.login_registry.crashed(&name.0, name.1);
    }
}
