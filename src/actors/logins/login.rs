//! One login: takes its user through the steps, gives up at its deadline, and hands the account over
//! once Telegram knows it. How far it is lies sealed in the store before its user is told, so that a
//! restart of the daemon goes on where it was; a crash after Telegram's yes and before ours is settled by
//! asking Telegram who the key is. One step at a time; nothing of it holds up another login.

mod again;
mod leaving;
mod recovery;
mod resending;
mod steps;
mod telling;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use steps::Looks;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::actors::tree::actor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, named};

pub(in crate::actors) use steps::lease_of;

use super::registry::LoginView;
use crate::actors::accounts::fleet::{Changed, FleetMsg, OwnedMsg};
use crate::actors::logins::context::LoginsContext;
use crate::actors::tree::calling::broken;
use crate::actors::tree::erasing::Busy;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::accounts::record::Credentials;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::logins::delivery::CodeDelivery;
use crate::protocol::logins::record::{LoginRecord, LoginStage};
use crate::protocol::logins::steps::{
    CodeTicket, LoginFailure, LoginState, LoginToken, SignedIn, Step,
};
use crate::protocol::users::owner::{Caller, LoginId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};
use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey, SecretText};
use crate::store::Op;
use crate::telegram::{ConnectionLease, LoginConnection};

/// How long a login may take, milliseconds: about as long as Telegram's codes are good for.
const LOGIN_MAX_MS: i64 = 10 * 60 * 1_000;
/// How long connecting a bot or a session that is pasted may take, milliseconds. Its caller waits.
const PROMPT_MAX_MS: i64 = 25 * 1_000;

/// The actor.
pub(in crate::actors) struct Login;

/// How somebody logs in.
pub(in crate::actors) enum LoginMethod {
    /// By a code that Telegram sends.
    Sms(SecretText),
    /// By a picture that is scanned.
    Qr,
    /// By a bot's token.
    Bot(SecretText),
    /// By a session that was made elsewhere.
    Session { credentials: Credentials, api_id: Option<i32> },
    /// By whatever it was before the daemon was restarted.
    Interrupted(LoginRecord),
}

/// What a caller is told: where the login stands, and the account once there is one.
pub(in crate::actors) type LoginAnswer = Result<(LoginView, Option<OwnedAccount>), Refusal>;
pub(in crate::actors) type LoginReply = RpcReplyPort<LoginAnswer>;

/// What it is started with.
pub(in crate::actors) struct LoginArgs {
    pub(in crate::actors) context: Arc<LoginsContext>,
    pub(in crate::actors) fleet: ActorRef<FleetMsg>,
    pub(in crate::actors) id: LoginId,
    pub(in crate::actors) who: Caller,
    pub(in crate::actors) method: LoginMethod,
    /// Who waits for the first answer.
    pub(in crate::actors) reply: Option<LoginReply>,
    /// Says that something is under way for this user.
    pub(in crate::actors) busy: Busy,
}

/// Its messages.
pub(in crate::actors) enum LoginMsg {
    /// Begin.
    Begin(LoginMethod),
    /// Who asks for what comes next: its user, or an admin.
    By(Caller),
    /// Its user hands in the code.
    Code { code: SecretText, reply: LoginReply },
    /// Its user hands in the password.
    Password { password: SecretText, reply: LoginReply },
    /// Its user did not get the code.
    Resend { reply: LoginReply },
    /// Its user has forgotten the password.
    RequestRecovery { reply: LoginReply },
    /// Its user hands in the code that was mailed because of that.
    Recover { code: SecretText, reply: LoginReply },
    /// Its user gives it up.
    Abandon { reply: LoginReply },
    /// A step ended; the link comes back.
    Stepped { link: Option<Box<dyn LoginConnection>>, outcome: Result<Step, LoginFailure> },
    /// The fleet knows whose session it is that was brought.
    Known(Box<Finishing>),
    /// The pause before another try is over.
    Again,
    /// The session was ended at Telegram, or was not.
    Left(Result<(), LoginFailure>),
    /// The fleet has taken the account in, or not.
    Adopted(Box<Result<Changed, Refusal>>),
    /// The time is over.
    Deadline,
}

named!(
    LoginMsg: Begin, By, Code, Password, Resend, RequestRecovery, Recover, Abandon, Stepped, Known, Again,
    Left, Adopted, Deadline
);

impl LoginMsg {
    /// Answers whoever waits behind it.
    pub(in crate::actors) fn refuse(self, refusal: &Refusal) {
        if let Some(reply) = self.into_reply() {
            let _ = reply.send(Err(refusal.clone()));
        }
    }

    /// Who waits behind it.
    fn into_reply(self) -> Option<LoginReply> {
        match self {
            Self::Code { reply, .. }
            | Self::Password { reply, .. }
            | Self::Resend { reply }
            | Self::RequestRecovery { reply }
            | Self::Recover { reply, .. }
            | Self::Abandon { reply } => Some(reply),
            _ => None,
        }
    }
}

/// Where it stands.
enum Stage {
    /// Nothing came back yet.
    Beginning,
    CodeSent {
        ticket: CodeTicket,
        /// Unknown of a login that an earlier version began.
        delivery: Option<CodeDelivery>,
    },
    WaitingScan(LoginToken),
    PasswordRequired {
        hint: Option<String>,
        /// A code to recover it was mailed there.
        email_pattern: Option<String>,
    },
    /// The fleet takes the account in.
    Finishing(Box<Finishing>),
    /// It is over, and its session has to be ended at Telegram yet.
    Leaving,
}

/// Who has logged in, and with what, until the fleet has them.
pub(in crate::actors) struct Finishing {
    signed_in: SignedIn,
    credentials: Credentials,
    lease: ConnectionLease,
}

/// Its state.
pub(in crate::actors) struct LoginActor {
    context: Arc<LoginsContext>,
    fleet: ActorRef<FleetMsg>,
    id: LoginId,
    who: Caller,
    stage: Stage,
    /// The application that a pasted session was made for.
    api_id: Option<i32>,
    /// Whether its key was made here: then nobody else misses the session if it comes to nothing.
    is_fresh: bool,
    created_at: UnixMillis,
    expires_at: UnixMillis,
    /// The same on a clock that nobody sets.
    deadline: Instant,
    /// Here between two steps.
    link: Option<Box<dyn LoginConnection>>,
    /// The step under way.
    task: Option<AbortOnDropHandle<()>>,
    /// Who waits for its outcome.
    reply: Option<LoginReply>,
    /// Who asked last, and who asked for the step under way.
    asking: Caller,
    by: Caller,
    /// What the caller was doing, for the audit log.
    doing: &'static str,
    /// Gone once nothing is left but to end its session.
    busy: Option<Busy>,
    /// Telegram asked to wait until then.
    not_before: UnixMillis,
    /// Whom a wait belongs to that it is told.
    subject: Option<Fingerprint>,
    /// How often its picture was asked for.
    looks: Arc<Looks>,
    /// Failures in a row of what is tried again.
    failures: u32,
    /// Whether Telegram may have let it in without our having heard of it.
    may_be_in: bool,
    /// Whether its user was told of its id.
    is_known: bool,
    /// Whether it is not known how things stand: after a restart of the daemon, or because Telegram did
    /// not answer.
    is_resuming: bool,
    /// What the caller is told if a step that Telegram did not answer turns out to have led nowhere.
    unheard: Option<Refusal>,
    /// What its user handed in meanwhile.
    held: Option<LoginMsg>,
    /// How ending its session ended, once nothing but the note of it is left.
    left_with: Option<&'static str>,
}

impl Actor for Login {
    type Msg = LoginMsg;
    type State = LoginActor;
    type Arguments = LoginArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<LoginMsg>,
        args: LoginArgs,
    ) -> Result<LoginActor, ActorProcessingErr> {
        let LoginArgs { context, fleet, id, who, method, reply, busy } = args;
        let (created_at, expires_at) = span(&method, context.now());
        let is_fresh = match &method {
            LoginMethod::Session { .. } => false,
            LoginMethod::Interrupted(record) => !record.is_brought,
            LoginMethod::Sms(_) | LoginMethod::Qr | LoginMethod::Bot(_) => true,
        };
        let is_known = !matches!(method, LoginMethod::Session { .. } | LoginMethod::Bot(_));
        let left = u64::try_from(expires_at.0 - context.now().0).unwrap_or(0);
        myself.send_after(Duration::from_millis(left), || LoginMsg::Deadline);
        myself.cast(LoginMsg::Begin(method))?;
        Ok(LoginActor {
            context,
            fleet,
            id,
            asking: who.clone(),
            by: who.clone(),
            who,
            stage: Stage::Beginning,
            api_id: None,
            is_fresh,
            created_at,
            expires_at,
            deadline: instant() + Duration::from_millis(left),
            link: None,
            task: None,
            reply,
            doing: "login.begin",
            failures: 0,
            may_be_in: false,
            is_known,
            is_resuming: false,
            unheard: None,
            held: None,
            left_with: None,
            not_before: UnixMillis(0),
            subject: None,
            looks: Arc::default(),
            busy: Some(busy),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<LoginMsg>,
        message: LoginMsg,
        state: &mut LoginActor,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LoginMsg::Begin(method) => state.begin(&myself, method).await,
            LoginMsg::By(caller) => state.asking = caller,
            LoginMsg::Code { code, reply } => state.code(&myself, code, reply),
            LoginMsg::Password { password, reply } => state.password(&myself, password, reply),
            LoginMsg::Resend { reply } => state.resend(&myself, reply),
            LoginMsg::RequestRecovery { reply } => state.request_recovery(&myself, reply),
            LoginMsg::Recover { code, reply } => state.recover(&myself, code, reply).await,
            LoginMsg::Abandon { reply } => state.abandon(&myself, reply).await,
            LoginMsg::Stepped { link, outcome } => state.stepped(&myself, link, outcome).await,
            LoginMsg::Known(known) => {
                // From here on what is refused may be done: the fleet is asked until it is known.
                state.stage = Stage::Finishing(known);
                state.hand_over(&myself, None);
            }
            LoginMsg::Again => state.again(&myself).await,
            LoginMsg::Left(outcome) => state.left(&myself, outcome).await,
            LoginMsg::Adopted(outcome) => state.adopted(&myself, *outcome).await,
            LoginMsg::Deadline => state.deadline(&myself).await,
        }
        Ok(())
    }
}

/// When a login began, and when it is given up.
fn span(method: &LoginMethod, now: UnixMillis) -> (UnixMillis, UnixMillis) {
    match method {
        LoginMethod::Sms(_) | LoginMethod::Qr => (now, now.plus_ms(LOGIN_MAX_MS)),
        LoginMethod::Bot(_) | LoginMethod::Session { .. } => (now, now.plus_ms(PROMPT_MAX_MS)),
        LoginMethod::Interrupted(record) if record.is_leaving => {
            (record.created_at, leaving::left_by(record.created_at, now))
        }
        LoginMethod::Interrupted(record) => (record.created_at, record.expires_at),
    }
}

impl LoginActor {
    /// A step came to its end.
    async fn stepped(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        link: Option<Box<dyn LoginConnection>>,
        outcome: Result<Step, LoginFailure>,
    ) {
        failpoint::stumble("login", &self.who.user);
        if matches!(self.stage, Stage::Leaving) {
            // It ended as the login was given up; whatever it led to is being ended.
            return;
        }
        self.task = None;
        self.link = link;
        let outcome = match outcome {
            Err(failure) if self.is_worth_another_look(&failure) => {
                return self.look_again(myself, failure).await;
            }
            outcome => outcome,
        };
        self.failures = 0;
        self.may_be_in &= match &outcome {
            Err(failure) => {
                again::is_silence(failure) || (self.is_resuming && !again::tells(failure))
            }
            Ok(_) => false,
        };
        let was_look = self.is_resuming;
        self.resumed(myself, &outcome);
        let unheard = self.unheard.take();
        if was_look && matches!(&outcome, Ok(step) if self.is_where_it_was(step)) {
            self.show(self.state());
            if let Some(refusal) = unheard {
                self.answer_refusal(refusal).await;
            }
            return;
        }
        match outcome {
            Ok(Step::CodeSent(sent)) => {
                let delivery = Some(sent.delivery(self.context.now()));
                self.stage = Stage::CodeSent { ticket: sent.ticket, delivery };
                self.settle_in(myself, self.doing).await;
            }
            Ok(Step::Token(token)) => {
                let is_first = !matches!(self.stage, Stage::WaitingScan(_));
                self.stage = Stage::WaitingScan(token);
                if is_first {
                    self.settle_in(myself, "login.begin").await;
                } else {
                    self.show(LoginState::WaitingScan);
                }
                self.wait_for_scan(myself);
            }
            Ok(Step::PasswordNeeded { hint }) => {
                self.stage = Stage::PasswordRequired { hint, email_pattern: None };
                let action = if self.is_known { "login.code" } else { "login.begin" };
                self.become_known(myself);
                self.settle_in(myself, action).await;
            }
            Ok(Step::RecoverySent { email_pattern }) => {
                if let Stage::PasswordRequired { email_pattern: shown, .. } = &mut self.stage {
                    *shown = Some(email_pattern);
                }
                self.settle_in(myself, recovery::REQUEST).await;
            }
            Ok(Step::SignedIn(signed_in)) => {
                self.note_recovery().await;
                self.signed_in(myself, signed_in).await;
            }
            Err(failure) => self.failed_step(myself, failure).await,
        }
    }

    /// A session that was brought turns out to be a login that somebody has to finish.
    fn become_known(&mut self, myself: &ActorRef<LoginMsg>) {
        if std::mem::replace(&mut self.is_known, true) {
            return;
        }
        let whole = Duration::from_millis(LOGIN_MAX_MS.unsigned_abs());
        self.expires_at = self.context.now().plus_ms(LOGIN_MAX_MS);
        self.deadline = instant() + whole;
        myself.send_after(whole, || LoginMsg::Deadline);
    }

    async fn failed_step(&mut self, myself: &ActorRef<LoginMsg>, failure: LoginFailure) {
        if let Err(error) = self.keep_wait(&failure).await {
            return self.fail(myself, broken(&error)).await;
        }
        match &self.stage {
            Stage::CodeSent { .. } | Stage::PasswordRequired { .. } if !failure.is_final() => {
                self.answer_refusal(failure.into()).await;
            }
            _ => self.fail(myself, failure.into()).await,
        }
    }

    /// A stage is reached at which the user has to do something: durable first, then told.
    async fn settle_in(&mut self, myself: &ActorRef<LoginMsg>, action: &'static str) {
        let Some(record) = self.record() else {
            let detail = "telegram gave no key to log in with; try again";
            return self.fail(myself, Refusal::new(Code::TelegramUnavailable, detail)).await;
        };
        let keeper = self.keeper(record.clone());
        if let Some(link) = &mut self.link {
            link.keep_keys_by(keeper);
            let (key, lease) = (link.credentials().map(|own| own.account), link.lease());
            // Whoever goes on with it after a crash waits until this connection is closed.
            key.into_iter().for_each(|key| self.share_lease(key, lease.clone()));
        }
        failpoint::reach("login.stage.before");
        let ops = vec![Op::put_row(&record), Op::Audit(self.audit_event(action, "ok"))];
        if let Err(error) = self.context.store.commit(ops).await {
            return self.fail(myself, broken(&error)).await;
        }
        failpoint::reach("login.stage.after");
        let view = self.show(self.state());
        self.answer(Ok((view, None)));
    }

    fn state(&self) -> LoginState {
        match &self.stage {
            Stage::WaitingScan(_) | Stage::Beginning => LoginState::WaitingScan,
            Stage::CodeSent { .. } => LoginState::CodeSent,
            Stage::PasswordRequired { .. } | Stage::Finishing(_) => LoginState::PasswordRequired,
            Stage::Leaving => LoginState::Failed,
        }
    }

    /// What a restart of the daemon goes on with.
    fn record(&self) -> Option<LoginRecord> {
        Some(self.record_of(&self.link.as_ref()?.credentials()?))
    }

    fn record_of(&self, credentials: &Credentials) -> LoginRecord {
        let stage = match &self.stage {
            Stage::CodeSent { ticket, delivery } => LoginStage::CodeSent {
                phone: ticket.phone.expose().to_owned(),
                code_hash: ticket.phone_code_hash.expose().to_owned(),
                by_email: ticket.by_email,
                delivery: *delivery,
            },
            Stage::PasswordRequired { hint, email_pattern } => LoginStage::PasswordRequired {
                hint: hint.clone(),
                email_pattern: email_pattern.clone(),
            },
            Stage::WaitingScan(_) | Stage::Beginning | Stage::Finishing(_) | Stage::Leaving => {
                LoginStage::WaitingScan
            }
        };
        LoginRecord {
            id: self.id,
            user: self.who.user.clone(),
            dc_id: credentials.dc_id,
            auth_key: credentials.auth_key.expose().to_vec(),
            stage,
            is_leaving: false,
            is_brought: !self.is_fresh,
            api_id: self.api_id,
            not_before: self.own_wait(),
            subject: self.subject,
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }

    async fn adopted(&mut self, myself: &ActorRef<LoginMsg>, outcome: Result<Changed, Refusal>) {
        match outcome {
            Ok(changed) => self.succeed(myself, changed),
            Err(refusal) => self.not_adopted(myself, refusal).await,
        }
    }

    fn succeed(&mut self, myself: &ActorRef<LoginMsg>, changed: Changed) {
        let Changed { account, previous } = changed;
        let view = self.view(LoginState::Active);
        let view = LoginView { account: Some(account.id), previous, ..view };
        self.tell(view.clone());
        self.answer(Ok((view, Some(account))));
        myself.stop(None);
    }

    /// It cannot go on.
    async fn fail(&mut self, myself: &ActorRef<LoginMsg>, refusal: Refusal) {
        let error = (refusal.code.name().to_owned(), refusal.detail.clone());
        self.end(myself, LoginView { error: Some(error), ..self.view(LoginState::Failed) }).await;
        self.answer_refusal(refusal).await;
    }

    async fn deadline(&mut self, myself: &ActorRef<LoginMsg>) {
        match self.stage {
            // The store has it, or is asked once more: the fleet's answer tells.
            Stage::Finishing(_) => return,
            Stage::Leaving => return self.leave_be(myself).await,
            // It was given more time since.
            _ if instant() + Duration::from_secs(1) < self.deadline => return,
            _ => {}
        }
        self.end(myself, self.view(LoginState::Expired)).await;
        let detail = "the login took too long and was given up; begin another one";
        self.answer_refusal(Refusal::new(Code::TelegramUnavailable, detail)).await;
    }

    async fn abandon(&mut self, myself: &ActorRef<LoginMsg>, reply: LoginReply) {
        if matches!(self.stage, Stage::Finishing(_)) {
            let detail = "the login has just succeeded; remove the account instead";
            let _ = reply.send(Err(Refusal::new(Code::Conflict, detail)));
            return;
        }
        let view = self.view(LoginState::Expired);
        if matches!(self.stage, Stage::Leaving) {
            self.context.login_registry.remove(&self.who.user, self.id);
            let _ = reply.send(Ok((view, None)));
            return;
        }
        self.end(myself, view.clone()).await;
        self.context.login_registry.remove(&self.who.user, self.id);
        let detail = "the login was abandoned";
        self.answer(Err(Refusal::new(Code::Conflict, detail)));
        self.by = self.asking.clone();
        self.doing = "login.abandon";
        let told = vec![Op::Audit(self.audit_event(self.doing, "ok"))];
        let _ = self.context.store.commit(told).await;
        let _ = reply.send(Ok((view, None)));
    }

    /// Nothing of it is kept but what it last said; and its key, until Telegram has forgotten it, too,
    /// where that may have let it in.
    async fn end(&mut self, myself: &ActorRef<LoginMsg>, view: LoginView) {
        self.task = None;
        // Somebody may have scanned the picture just now.
        let may_be_in = self.may_be_in || matches!(self.stage, Stage::WaitingScan(_));
        // One that was brought is not ours to end.
        let may_be_in = may_be_in && self.is_fresh;
        if may_be_in {
            match self.credentials_at_hand().await {
                Ok(Some(credentials)) => return self.leave(myself, credentials, view).await,
                Ok(None) => {}
                // The store has a key, or has none: it is asked once more, and nothing of it goes before.
                Err(_) => return self.begin_leaving(myself, view).await,
            }
        }
        self.link = None;
        let forget = Op::delete_row::<LoginRecord>(&self.who.user, self.id);
        // Should the store fail, the daemon ends and the login's deadline does the same later.
        let _ = self.context.store.commit(vec![forget]).await;
        self.tell(view);
        self.refuse_held();
        myself.stop(None);
    }

    fn refuse_held(&mut self) {
        if let Some(held) = self.held.take() {
            held.refuse(&Refusal::new(Code::Conflict, "this login is over"));
        }
    }

    fn share_lease(&self, key: AuthKeyId, lease: ConnectionLease) {
        let _ = self.fleet.cast(FleetMsg::Owned(OwnedMsg::Lent { key, lease }));
    }

    /// A refused step is a line in the audit log, too, before anybody hears of it: somebody may be trying
    /// codes or passwords.
    async fn answer_refusal(&mut self, refusal: Refusal) {
        let audit_event = self.audit_event(self.doing, refusal.code.name());
        // A store in trouble ends the daemon; whoever waits is answered all the same.
        let _ = self.context.store.commit(vec![Op::Audit(audit_event)]).await;
        self.answer(Err(refusal));
    }

    fn audit_event(&self, action: &str, outcome: &str) -> AuditEvent {
        AuditEvent::by(&self.by, &self.who.user, action, self.context.now())
            .on(self.id)
            .ended(outcome)
    }
}

/// The key of an interrupted login; `None` when the record holds none.
fn credentials_of(record: &LoginRecord) -> Option<Credentials> {
    let key = <[u8; AUTH_KEY_LEN]>::try_from(&record.auth_key[..]).ok()?;
    let auth_key = AuthKey::new(key);
    Some(Credentials { account: AuthKeyId::of(&auth_key), dc_id: record.dc_id, auth_key })
}
