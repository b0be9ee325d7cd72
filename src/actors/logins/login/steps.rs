//! The steps of a login that call Telegram. Each runs beside the actor, takes the link along, and brings
//! it back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use super::{Finishing, LoginActor, LoginMethod, LoginMsg, LoginReply, Stage};
use crate::actors::accounts::fleet::{Adoption, Also, Changed, FleetMsg, FormerSession, OwnedMsg};
use crate::actors::logins::context::LoginsContext;
use crate::actors::logins::flood_waits::subject_of;
use crate::actors::tree::actor::ActorRef;
use crate::actors::tree::actor::CallResult;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::accounts::record::{Credentials, Me};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::logins::record::{LoginRecord, LoginStage};
use crate::protocol::logins::steps::{LoginFailure, SignedIn, Step};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::tree::pace::{Pace, PacePolicy};
use crate::protocol::tree::restart::Backoff;
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::SecretText;
use crate::store::{Op, Reader, Store};
use crate::tasks;
use crate::telegram::{ConnectionLease, LoginConnection, LoginSetup};

/// A picture is renewed this long before it expires.
const RENEW_BEFORE_MS: i64 = 5_000;
/// The longest that a picture is shown: Telegram's live for 30 s
/// (<https://core.telegram.org/api/qr-login>), whatever this machine's clock makes of when they expire.
const SHOWN_MAX_MS: i64 = 25_000;
/// How often a picture is renewed although nobody scanned it, and how often Telegram is asked what came
/// of it because it was scanned, or the connection ended. Each by itself: renewing does not make whoever
/// scans it wait.
pub(super) const QR_PACE: PacePolicy =
    PacePolicy { free: 1, floor: Backoff { min_ms: 1_000, max_ms: 25_000 }, calm_ms: 20_000 };
/// How long the fleet may take: it waits for the disk.
const FLEET_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a picture was asked for of late.
pub(super) struct Looks {
    began: Instant,
    renewals: Mutex<Pace>,
    answers: Mutex<Pace>,
}

impl Default for Looks {
    fn default() -> Self {
        let pace = || Mutex::new(Pace::new(QR_PACE));
        Self { began: instant(), renewals: pace(), answers: pace() }
    }
}

impl Looks {
    /// For how long a picture is shown that has just come and is to be renewed in `left` ms.
    fn shown_for(&self, left: u64) -> Duration {
        let now = self.now();
        lock(&self.answers).begin(now);
        let mut renewals = lock(&self.renewals);
        renewals.begin(now);
        let due = now.saturating_add(left);
        Duration::from_millis(left.saturating_add(renewals.pause_ms(due)))
    }

    /// How long it takes until Telegram may be asked what came of the picture.
    fn pause(&self) -> Duration {
        Duration::from_millis(lock(&self.answers).pause_ms(self.now()))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn lock(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A step that had a connection to go over, which comes back.
type Went = (Box<dyn LoginConnection>, Result<Step, LoginFailure>);
type Stepped = (Option<Box<dyn LoginConnection>>, Result<Step, LoginFailure>);

impl LoginActor {
    pub(super) async fn begin(&mut self, myself: &ActorRef<LoginMsg>, method: LoginMethod) {
        let (telegram, setup) = (Arc::clone(&self.context.telegram), self.setup());
        self.subject = subject_of(&method, &self.who.user);
        if !matches!(method, LoginMethod::Interrupted(_))
            && let Some(refusal) = self.must_wait()
        {
            return self.fail(myself, refusal).await;
        }
        match method {
            LoginMethod::Sms(phone) => self.step(myself, async move {
                let mut link = telegram.begin_login(setup).await?;
                let outcome = link.send_code(&phone).await;
                Ok((link, outcome))
            }),
            LoginMethod::Qr => self.step(myself, async move {
                let mut link = telegram.begin_login(setup).await?;
                let outcome = link.export_token().await;
                Ok((link, outcome))
            }),
            LoginMethod::Bot(token) => {
                self.may_be_in = true;
                self.step(myself, async move {
                    let mut link = telegram.begin_login(setup).await?;
                    let outcome = link.bot_sign_in(&token).await;
                    Ok((link, outcome))
                });
            }
            LoginMethod::Session { credentials, api_id } => {
                self.api_id = api_id;
                self.take_over(myself, credentials);
            }
            LoginMethod::Interrupted(record) => {
                self.take_up(myself, &record).await;
            }
        }
    }

    /// What its connection needs: the application that its key was made for.
    pub(super) fn setup(&self) -> LoginSetup {
        self.context.accounts.login_setup(self.api_id)
    }

    /// A session that was made elsewhere: whoever it is, Telegram or the fleet knows.
    fn take_over(&mut self, myself: &ActorRef<LoginMsg>, credentials: Credentials) {
        let (telegram, setup) = (Arc::clone(&self.context.telegram), self.setup());
        let (fleet, target) = (self.fleet.clone(), myself.clone());
        let store = self.context.store.clone();
        self.task = Some(tasks::owned(async move {
            let credentials = where_known(&store, credentials).await;
            let (lease, me) = lease_of(&fleet, credentials.account).await;
            if let Some(me) = me {
                // It is connected already, by a command of the bridge; or it was this user's before.
                let signed_in = SignedIn { me, phone_masked: None };
                let known = Finishing { signed_in, credentials, lease };
                let _ = target.cast(LoginMsg::Known(Box::new(known)));
                return;
            }
            let (link, outcome) = match telegram.resume_login(setup, &credentials, lease).await {
                Ok(mut link) => {
                    let outcome = match link.who().await {
                        // It was never given: the login is finished here.
                        Err(LoginFailure::PasswordNeeded) => link.awaited_password().await,
                        outcome => outcome.map(Step::SignedIn),
                    };
                    (Some(link), outcome)
                }
                Err(failure) => (None, Err(failure)),
            };
            let _ = target.cast(LoginMsg::Stepped { link, outcome });
        }));
    }

    pub(super) fn code(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        code: SecretText,
        reply: LoginReply,
    ) {
        if self.is_resuming {
            return self.hold(LoginMsg::Code { code, reply });
        }
        let ticket = match &self.stage {
            Stage::CodeSent { ticket, .. } => ticket.clone(),
            Stage::PasswordRequired { .. } => {
                let detail = "the code was right; the account's two-factor password comes next";
                let _ = reply.send(Err(Refusal::new(Code::PasswordRequired, detail)));
                return;
            }
            _ => {
                return refuse(
                    reply,
                    "no code is asked for at this point of the login; its state says what is",
                );
            }
        };
        let Some(mut link) = self.take_link(reply, "login.code", true) else { return };
        self.step(myself, async move {
            failpoint::reach("login.sign_in.before");
            let outcome = link.sign_in(&ticket, &code).await;
            failpoint::reach("login.sign_in.after");
            Ok((link, outcome))
        });
    }

    pub(super) fn password(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        password: SecretText,
        reply: LoginReply,
    ) {
        if self.is_resuming {
            return self.hold(LoginMsg::Password { password, reply });
        }
        if !matches!(self.stage, Stage::PasswordRequired { .. }) {
            return refuse(
                reply,
                "no password is asked for at this point of the login; its state says what is",
            );
        }
        let Some(mut link) = self.take_link(reply, "login.password", true) else { return };
        self.step(myself, async move {
            let outcome = link.check_password(&password).await;
            Ok((link, outcome))
        });
    }

    /// What is kept of it in place of its key once the account has that. Bots and sessions that are
    /// brought leave nothing: whoever brought them knows of no login.
    fn done(&self) -> Also {
        let (user, id, is_known) = (self.who.user.clone(), self.id, self.is_known);
        let (created_at, expires_at) = (self.created_at, self.expires_at);
        Box::new(move |account| {
            let stage = LoginStage::Done { account };
            let auth_key = Vec::new();
            let (dc_id, is_leaving, is_brought, api_id) = (0, false, false, None);
            let (not_before, subject) = (None, None);
            let record = LoginRecord {
                id,
                user,
                dc_id,
                auth_key,
                stage,
                is_leaving,
                is_brought,
                api_id,
                not_before,
                subject,
                created_at,
                expires_at,
            };
            is_known.then(|| Op::put_row(&record)).into_iter().collect()
        })
    }

    /// The link, unless a step is under way with it; then whoever asks is told so. `may_let_in`: whether
    /// the step can end with Telegram letting it in.
    pub(super) fn take_link(
        &mut self,
        reply: LoginReply,
        doing: &'static str,
        may_let_in: bool,
    ) -> Option<Box<dyn LoginConnection>> {
        if let Some(refusal) = self.must_wait() {
            let _ = reply.send(Err(refusal));
            return None;
        }
        let Some(link) = self.link.take() else {
            refuse(reply, "another step of this login is under way; wait for its answer");
            return None;
        };
        // From here on until Telegram answers.
        self.may_be_in |= may_let_in;
        self.reply = Some(reply);
        self.doing = doing;
        self.by = self.asking.clone();
        Some(link)
    }

    pub(super) fn wait_for_scan(&mut self, myself: &ActorRef<LoginMsg>) {
        let Stage::WaitingScan(token) = &self.stage else { return };
        let left = token.expires_at.saturating_mul(1_000)
            - self.context.telegrams_now().0
            - RENEW_BEFORE_MS;
        let left = u64::try_from(left.clamp(0, SHOWN_MAX_MS)).unwrap_or(0);
        let asked = u64::try_from(self.not_before.0 - self.context.now().0).unwrap_or(0);
        let pause = Duration::from_millis(asked);
        let Some(mut link) = self.link.take() else { return };
        let looks = Arc::clone(&self.looks);
        let shown = looks.shown_for(left);
        self.step(myself, async move {
            sleep(pause).await;
            // Whatever comes of it, asking for the token tells how things stand.
            if !matches!(link.wait_for_scan(shown).await, Ok(false)) {
                sleep(looks.pause()).await;
            }
            let outcome = link.export_token().await;
            Ok((link, outcome))
        });
    }

    /// Runs a step beside the actor.
    pub(super) fn step(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        step: impl Future<Output = Result<Went, LoginFailure>> + Send + 'static,
    ) {
        let target = myself.clone();
        self.task = Some(tasks::owned(async move {
            let inner = tasks::owned(step).await;
            let (link, outcome): Stepped = match inner {
                Ok(Ok((link, outcome))) => (Some(link), outcome),
                Ok(Err(failure)) => (None, Err(failure)),
                Err(_) => {
                    let failure = Failure::transient("the telegram library failed (panic)");
                    (None, Err(failure.into()))
                }
            };
            let _ = target.cast(LoginMsg::Stepped { link, outcome });
        }));
    }

    /// Has the fleet take in who has logged in.
    pub(super) fn hand_over(
        &self,
        myself: &ActorRef<LoginMsg>,
        link: Option<Box<dyn LoginConnection>>,
    ) {
        let Stage::Finishing(finishing) = &self.stage else { return };
        let SignedIn { me, phone_masked } = finishing.signed_in.clone();
        let (credentials, lease) = (finishing.credentials.clone(), finishing.lease.clone());
        let adoption = self.adoption()(me, phone_masked, credentials, lease);
        let (fleet, target) = (self.fleet.clone(), myself.clone());
        let context = Arc::clone(&self.context);
        // Not to be given up any more: what is durable is told in any case.
        tasks::brief(async move {
            if let Some(link) = link {
                link.close().await;
            }
            let outcome = adopt(&context, &fleet, adoption).await;
            let _ = target.cast(LoginMsg::Adopted(Box::new(outcome)));
        });
    }

    /// Makes the account that has logged in, once it is known who it is.
    fn adoption(
        &self,
    ) -> impl FnOnce(Me, Option<String>, Credentials, ConnectionLease) -> Adoption + Send + use<>
    {
        let (user, api_id) = (self.who.user.clone(), self.api_id);
        let is_made_here = self.is_fresh;
        let audit_event = self.audit_event("account.connect", "ok");
        let also = self.done();
        move |me, phone_masked, credentials, lease| Adoption {
            user,
            credentials,
            api_id,
            me,
            phone_masked,
            is_made_here,
            lease,
            audit_event,
            also,
            former: None,
        }
    }
}

pub(super) fn refuse(reply: LoginReply, detail: &str) {
    let _ = reply.send(Err(Refusal::new(Code::Conflict, detail)));
}

/// A key lives in one datacenter for ever: where it was connected once weighs more than what whoever
/// pastes it says.
async fn where_known(store: &Store, pasted: Credentials) -> Credentials {
    let account = pasted.account;
    let read = move |store: &Reader| Ok((store.account(account)?, store.credentials(account)?));
    let (record, known) = store.read(read).await.unwrap_or_default();
    let is_proven = record.is_some_and(|record| record.me.is_some());
    known.filter(|_| is_proven).unwrap_or(pasted)
}

/// The lease of a key, and who it is, as far as the fleet knows.
pub(in crate::actors) async fn lease_of(
    fleet: &ActorRef<FleetMsg>,
    key: AuthKeyId,
) -> (ConnectionLease, Option<Me>) {
    let ask = |reply| FleetMsg::Owned(OwnedMsg::Lease { key, reply });
    match fleet.call(ask, Some(FLEET_TIMEOUT)).await {
        Ok(CallResult::Success(answer)) => answer,
        // Nobody gets this lease, so nothing is dialled and the login fails with its reason.
        _ => (ConnectionLease::never(), None),
    }
}

async fn adopt(
    context: &LoginsContext,
    fleet: &ActorRef<FleetMsg>,
    mut adoption: Adoption,
) -> Result<Changed, Refusal> {
    failpoint::reach("account.adopt.before");
    let (person, key) = (adoption.me.user_id, adoption.credentials.account);
    adoption.former = FormerSession::read(context, person, key).await.map_err(|error| {
        tracing::error!(%error, user = %adoption.user, "the session that an account had cannot be read");
        let detail = "the session that the account had cannot be read just now; begin the login anew";
        Refusal::new(Code::Conflict, detail).after(5)
    })?;
    let adoption = Box::new(adoption);
    let ask = |reply| FleetMsg::Owned(OwnedMsg::Adopt { adoption, reply });
    let answer = fleet.call(ask, Some(FLEET_TIMEOUT)).await;
    failpoint::reach("account.adopt.after");
    match answer {
        Ok(CallResult::Success(outcome)) => outcome,
        _ => {
            let detail = "the account could not be taken in just now; begin the login anew";
            Err(Refusal::new(Code::Internal, detail).after(5))
        }
    }
}
