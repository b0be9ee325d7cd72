//! What is done again: finding out how things stand after a restart of the daemon, or after a step that
//! Telegram did not answer. A code or password is never handed in twice: Telegram counts guesses, and
//! tells by who the key is whether it took one. Gives up only at the login's deadline.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::tree::actor::ActorRef;

use super::leaving::unread;
use super::steps::lease_of;
use super::{Finishing, LoginActor, LoginMsg, Stage, credentials_of};
use crate::actors::accounts::fleet::{Changed, FleetMsg, OwnedMsg};
use crate::failpoint;
use crate::protocol::accounts::record::Credentials;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::logins::record::{LoginRecord, LoginStage};
use crate::protocol::logins::steps::{CodeTicket, LoginFailure, SignedIn, Step};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::tree::restart::Backoff;
use crate::protocol::users::owner::Scope;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::secret::SecretText;
use crate::store::{Op, Reader, Store, StoreError};
use crate::telegram::{KeepKey, LoginConnection};

/// Pauses between looks.
const LOOK_BACKOFF: Backoff = Backoff { min_ms: 500, max_ms: 30_000 };
/// Pauses between tries at ending a session: nobody waits for it, and Telegram may be away for days.
const LEAVE_BACKOFF: Backoff = Backoff { min_ms: 500, max_ms: 30 * 60 * 1_000 };
/// Refusals in a row after which a picture is given up.
const QR_FAILURES_MAX: u32 = 10;

impl LoginActor {
    /// Goes on after a restart. Telegram may have said yes before the daemon ended.
    pub(super) async fn take_up(&mut self, myself: &ActorRef<LoginMsg>, record: &LoginRecord) {
        self.not_before = record.not_before.unwrap_or(UnixMillis(0));
        if record.is_leaving {
            return self.go_on_leaving(myself).await;
        }
        self.stage = match &record.stage {
            LoginStage::CodeSent { phone, code_hash, by_email, delivery } => Stage::CodeSent {
                ticket: CodeTicket {
                    phone: SecretText::new(phone.clone()),
                    phone_code_hash: SecretText::new(code_hash.clone()),
                    by_email: *by_email,
                },
                delivery: *delivery,
            },
            LoginStage::PasswordRequired { hint, email_pattern } => {
                Stage::PasswordRequired { hint: hint.clone(), email_pattern: email_pattern.clone() }
            }
            LoginStage::WaitingScan | LoginStage::Done { .. } => Stage::Beginning,
        };
        (self.is_resuming, self.may_be_in) = (true, true);
        self.api_id = record.api_id;
        self.show(self.state());
        if !self.waits_first(myself) {
            self.go_on(myself).await;
        }
    }

    /// The pause before another try is over.
    pub(super) async fn again(&mut self, myself: &ActorRef<LoginMsg>) {
        match self.stage {
            Stage::Finishing(_) => self.hand_over(myself, None),
            Stage::Leaving => match self.left_with {
                Some(outcome) => self.forget_session(myself, outcome).await,
                None => self.log_out(myself).await,
            },
            _ => self.go_on(myself).await,
        }
    }

    /// What the store has of it: a step may have moved it to another key. An error says nothing of what
    /// there is.
    pub(super) async fn read(&self) -> Result<Option<LoginRecord>, StoreError> {
        let (user, id) = (self.who.user.clone(), self.id);
        let read = move |store: &Reader| store.row::<LoginRecord>(&user, id);
        let kept = self.context.store.read(read).await;
        kept.inspect_err(|error| tracing::error!(%error, "a login cannot be read"))
    }

    /// Asks who the key is, and what comes next.
    async fn go_on(&mut self, myself: &ActorRef<LoginMsg>) {
        let kept = match self.read().await {
            Ok(kept) => kept,
            Err(error) => {
                let (link, outcome) = (self.link.take(), Err(unread(&error)));
                let _ = myself.cast(LoginMsg::Stepped { link, outcome });
                return;
            }
        };
        // An earlier actor of this login ended before it heard that the account was taken in.
        if let Some(LoginRecord { stage: LoginStage::Done { account }, .. }) = &kept
            && let Some(account) =
                self.context.directory.get(&Scope::Only(self.who.user.clone()), *account)
        {
            return self.succeed(myself, Changed { account, previous: None });
        }
        let credentials = kept.as_ref().and_then(credentials_of);
        let (Some(record), Some(credentials)) = (kept, credentials) else {
            let detail = "what was kept of the login is gone; begin it anew".to_owned();
            let failure = LoginFailure::NoKey { code: "LOGIN_LOST".into(), detail };
            let _ = myself.cast(LoginMsg::Stepped { link: None, outcome: Err(failure) });
            return;
        };
        let again = match &self.stage {
            Stage::CodeSent { ticket, .. } => Some(Interrupted::Code(ticket.clone())),
            Stage::PasswordRequired { hint, .. } => Some(Interrupted::Password(hint.clone())),
            _ => None,
        };
        let (telegram, setup) = (Arc::clone(&self.context.telegram), self.setup());
        let (fleet, link, keeper) = (self.fleet.clone(), self.link.take(), self.keeper(record));
        self.step(myself, async move {
            let mut link = match link {
                Some(link) => link,
                None => {
                    // The fleet's, so that this waits for a connection that an earlier actor left.
                    let (lease, _) = lease_of(&fleet, credentials.account).await;
                    telegram.resume_login(setup, &credentials, lease).await?
                }
            };
            link.keep_keys_by(keeper);
            let outcome = match (link.who().await, again) {
                (Ok(signed_in), _) => Ok(Step::SignedIn(signed_in)),
                (Err(failure), _) if is_silence(&failure) => Err(failure),
                (Err(LoginFailure::SessionEnded { .. } | LoginFailure::PasswordNeeded), again) => {
                    match again {
                        Some(again) => again.step(&mut *link).await,
                        None => link.export_token().await,
                    }
                }
                (Err(_), None) => link.export_token().await,
                (Err(failure), Some(_)) => Err(failure),
            };
            Ok((link, outcome))
        });
    }

    /// Keeps the key that a step moves the login to, before it is used there.
    pub(super) fn keeper(&self, record: LoginRecord) -> KeepKey {
        let (store, fleet) = (self.context.store.clone(), self.fleet.clone());
        Arc::new(move |credentials, lease| {
            let key = credentials.account;
            let _ = fleet.cast(FleetMsg::Owned(OwnedMsg::Lent { key, lease }));
            Box::pin(keep(store.clone(), record.clone(), credentials))
        })
    }

    /// Whether a failure leaves open how things stand, or may pass by itself while nobody is told.
    pub(super) fn is_worth_another_look(&self, failure: &LoginFailure) -> bool {
        let is_wait = matches!(failure, LoginFailure::Wait { .. });
        match &self.stage {
            Stage::Beginning => self.is_resuming && (is_silence(failure) || is_wait),
            Stage::CodeSent { .. } | Stage::PasswordRequired { .. } => {
                is_silence(failure) || (self.is_resuming && is_wait)
            }
            Stage::WaitingScan(_) => {
                let may_pass = !failure.is_final() && self.failures < QR_FAILURES_MAX;
                is_silence(failure) || is_wait || may_pass
            }
            Stage::Finishing(_) | Stage::Leaving => false,
        }
    }

    /// Telegram did not say how things stand: asks after a pause. Whoever handed something in waits for
    /// the first look, and is told to try again when that does not tell either.
    pub(super) async fn look_again(&mut self, myself: &ActorRef<LoginMsg>, failure: LoginFailure) {
        let was_look = std::mem::replace(&mut self.is_resuming, true);
        self.try_later(myself, &failure).await;
        let refusal = Refusal::from(failure);
        if !was_look {
            self.unheard = self.reply.is_some().then_some(refusal);
            return;
        }
        let refusal = self.unheard.take().unwrap_or(refusal);
        if let Some(held) = self.held.take() {
            held.refuse(&refusal);
        }
        if self.reply.is_some() {
            self.answer_refusal(refusal).await;
        }
    }

    /// Has [`LoginMsg::Again`] come after a pause that grows, and that Telegram may have named.
    pub(super) async fn try_later(&mut self, myself: &ActorRef<LoginMsg>, failure: &LoginFailure) {
        self.failures = self.failures.saturating_add(1);
        let backoff = match self.stage {
            Stage::Leaving => LEAVE_BACKOFF,
            _ => LOOK_BACKOFF,
        };
        let mut pause = backoff.delay_ms(self.failures, self.context.jitter());
        if matches!(failure, LoginFailure::Wait { .. }) {
            // Should the store fail, the daemon ends before anything is tried again.
            let _ = self.keep_wait(failure).await;
            let left = u64::try_from(self.not_before.0 - self.context.now().0).unwrap_or(0);
            pause = pause.max(left);
        }
        myself.send_after(Duration::from_millis(pause), || LoginMsg::Again);
    }

    /// Whether a look found that the step before it led nowhere.
    pub(super) fn is_where_it_was(&self, step: &Step) -> bool {
        matches!(
            (&self.stage, step),
            (Stage::CodeSent { .. }, Step::CodeSent(_))
                | (Stage::PasswordRequired { .. }, Step::PasswordNeeded { .. })
        )
    }

    /// What was handed in waits until it is known how things stand.
    pub(super) fn hold(&mut self, message: LoginMsg) {
        if let Some(refusal) = self.must_wait() {
            return message.refuse(&refusal);
        }
        if self.reply.is_some() {
            let detail = "another step of this login is under way; wait for its answer";
            return message.refuse(&Refusal::new(Code::Conflict, detail));
        }
        if let Some(before) = self.held.replace(message) {
            before.refuse(&Refusal::new(Code::Conflict, "it was handed in once more meanwhile"));
        }
    }

    /// It is known how things stand: what was handed in meanwhile was either heard of by Telegram
    /// before, or is handed in now.
    pub(super) fn resumed(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        outcome: &Result<Step, LoginFailure>,
    ) {
        self.is_resuming = false;
        let Some(held) = self.held.take() else { return };
        let is_answered = match (&held, outcome) {
            (_, Err(_)) => true,
            (LoginMsg::Code { .. }, Ok(Step::SignedIn(_) | Step::PasswordNeeded { .. })) => {
                !self.is_password_asked()
            }
            (
                LoginMsg::Password { .. }
                | LoginMsg::RequestRecovery { .. }
                | LoginMsg::Recover { .. },
                Ok(Step::SignedIn(_)),
            ) => true,
            _ => false,
        };
        if is_answered {
            self.reply = held.into_reply();
        } else {
            let _ = myself.cast(held);
        }
    }

    fn is_password_asked(&self) -> bool {
        matches!(self.stage, Stage::PasswordRequired { .. })
    }

    /// Telegram knows who it is: hand the account over, once the login's connection is closed.
    pub(super) async fn signed_in(&mut self, myself: &ActorRef<LoginMsg>, signed_in: SignedIn) {
        failpoint::reach("login.signed_in");
        let Some(link) = self.link.take() else { return };
        let Some(credentials) = link.credentials() else {
            let detail = "telegram logged in without giving a key; try again";
            return self.fail(myself, Refusal::new(Code::TelegramUnavailable, detail)).await;
        };
        let lease = link.lease();
        self.stage = Stage::Finishing(Box::new(Finishing { signed_in, credentials, lease }));
        self.hand_over(myself, Some(link));
    }

    /// The fleet did not take the account in. When it only cannot just now it is asked again: Telegram
    /// has said yes, and nobody has the key but this login. What is refused for good leaves no session
    /// behind that was made here.
    pub(super) async fn not_adopted(&mut self, myself: &ActorRef<LoginMsg>, refusal: Refusal) {
        let Stage::Finishing(finishing) = &self.stage else {
            return self.fail(myself, refusal).await;
        };
        let credentials = finishing.credentials.clone();
        let known = self.context.directory.of_person(finishing.signed_in.me.user_id);
        // Only the fleet's answer may have come too late.
        if let Some(account) = known
            && account.key == credentials.account
            && account.user == self.who.user
        {
            return self.succeed(myself, Changed { account, previous: None });
        }
        let is_for_good = refusal.code == Code::Conflict && refusal.retry_after.is_none();
        if !is_for_good && self.context.now() < self.expires_at {
            let failure = Failure::transient(refusal.detail).into();
            return self.try_later(myself, &failure).await;
        }
        self.may_be_in = self.is_fresh;
        self.fail(myself, refusal).await;
    }

    /// The key that Telegram may have let in.
    pub(super) async fn credentials_at_hand(&self) -> Result<Option<Credentials>, StoreError> {
        if let Stage::Finishing(finishing) = &self.stage {
            return Ok(Some(finishing.credentials.clone()));
        }
        let at_hand = self.link.as_ref().and_then(|link| link.credentials());
        match at_hand {
            Some(credentials) => Ok(Some(credentials)),
            None => Ok(self.read().await?.as_ref().and_then(credentials_of)),
        }
    }
}

/// Whether a failure tells that the key is not logged in.
pub(super) fn tells(failure: &LoginFailure) -> bool {
    matches!(failure, LoginFailure::SessionEnded { .. } | LoginFailure::PasswordNeeded)
}

/// Whether Telegram did not answer, or may not have.
pub(super) fn is_silence(failure: &LoginFailure) -> bool {
    use Failure::{Transient, Unreadable};
    matches!(failure, LoginFailure::Other(Transient { .. } | Unreadable { .. }))
}

async fn keep(
    store: Store,
    mut record: LoginRecord,
    credentials: Credentials,
) -> Result<(), Failure> {
    record.dc_id = credentials.dc_id;
    record.auth_key = credentials.auth_key.expose().to_vec();
    // It may have been told to wait since this was made.
    let (user, id) = (record.user.clone(), record.id);
    let known = store.read(move |store| store.row::<LoginRecord>(&user, id)).await;
    record.not_before = known.ok().flatten().and_then(|known| known.not_before);
    let kept = store.commit(vec![Op::put_row(&record)]).await;
    kept.map_err(|error| Failure::transient(format!("the login could not be kept: {error}")))
}

/// What an interrupted login waits for.
enum Interrupted {
    Code(CodeTicket),
    Password(Option<String>),
}

impl Interrupted {
    /// As if it had just come to this. Telegram may have taken the code before the daemon ended.
    async fn step(self, link: &mut dyn LoginConnection) -> Result<Step, LoginFailure> {
        match (self, link.awaited_password().await) {
            (_, Ok(step)) => Ok(step),
            (Self::Code(ticket), Err(LoginFailure::SessionEnded { .. })) => {
                Ok(Step::CodeSent(ticket.into()))
            }
            (Self::Password(hint), Err(LoginFailure::SessionEnded { .. })) => {
                Ok(Step::PasswordNeeded { hint })
            }
            (_, Err(failure)) => Err(failure),
        }
    }
}
