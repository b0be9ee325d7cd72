//! The steps of a login that call Telegram. Each runs beside the actor, takes the link along, and brings
//! it back.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use ractor::rpc::CallResult;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{LoginActor, LoginMsg, LoginReply, Stage, Way, credentials_of};
use crate::actors::context::now;
use crate::actors::fleet::{Also, EstateMsg, FleetMsg, Newcomer};
use crate::failpoint;
use crate::protocol::estate::{LoginRecord, LoginStage, OwnedAccount};
use crate::protocol::failure::Failure;
use crate::protocol::ids::AuthKeyId;
use crate::protocol::login::{CodeTicket, LoginFailure, SignedIn, Step};
use crate::protocol::model::{Credentials, Me};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::secret::SecretText;
use crate::store::Op;
use crate::telegram::{LoginLink, LoginOptions};

/// A picture is renewed this long before it expires.
const RENEW_BEFORE_MS: i64 = 5_000;
/// Pause after a failure while waiting for a scan.
const QR_PAUSE: Duration = Duration::from_secs(2);
/// How long the fleet may take: it waits for the disk.
const FLEET_TIMEOUT: Duration = Duration::from_secs(20);

type Stepped = (Option<Box<LoginLink>>, Result<Step, LoginFailure>);

impl LoginActor {
    pub(super) fn begin(&mut self, myself: &ActorRef<LoginMsg>, way: Way) {
        let options = self.context.settings.login.clone();
        let dc_id = self.context.settings.servers.first_dc();
        match way {
            Way::Sms(phone) => self.step(myself, async move {
                let mut link = open(&options, dc_id).await?;
                let outcome = link.send_code(&phone).await;
                Ok((link, outcome))
            }),
            Way::Qr => self.step(myself, async move {
                let mut link = open(&options, dc_id).await?;
                let outcome = link.export_token().await;
                Ok((link, outcome))
            }),
            Way::Bot(token) => self.step(myself, async move {
                let mut link = open(&options, dc_id).await?;
                let outcome = link.bot_sign_in(&token).await;
                Ok((link, outcome))
            }),
            Way::Session { credentials, api_id } => {
                self.api_id = api_id;
                self.take_over(myself, options, credentials);
            }
            Way::Interrupted(record) => {
                self.is_resuming = true;
                self.go_on(myself, options, &record);
            }
        }
    }

    /// A session that was made elsewhere: whoever it is, Telegram or the fleet knows.
    fn take_over(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        options: LoginOptions,
        credentials: Credentials,
    ) {
        let options = match self.api_id {
            Some(api_id) => options.with_api_id(api_id),
            None => options,
        };
        let (fleet, target) = (self.fleet.clone(), myself.clone());
        let newcomer = self.newcomer();
        self.task = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let (slot, me) = slot_of(&fleet, credentials.account).await;
            if let Some(me) = me {
                // It is connected already, by a command of the bridge; or it was this user's before.
                let newcomer = newcomer(me, None, credentials, slot);
                let outcome = adopt(&fleet, newcomer).await;
                let _ = target.cast(LoginMsg::Adopted(Box::new(outcome)));
                return;
            }
            let (link, outcome) = match LoginLink::resume(&options, &credentials, slot).await {
                Ok(mut link) => {
                    let outcome = link.who().await.map(Step::SignedIn);
                    (Some(Box::new(link)), outcome)
                }
                Err(failure) => (None, Err(failure)),
            };
            let _ = target.cast(LoginMsg::Stepped { link, outcome });
        })));
    }

    /// Goes on after a restart. Telegram may have said yes before the daemon ended.
    fn go_on(&mut self, myself: &ActorRef<LoginMsg>, options: LoginOptions, record: &LoginRecord) {
        let Some(credentials) = credentials_of(record) else {
            let failure = Failure::transient("the login cannot be gone on with").into();
            let _ = myself.cast(LoginMsg::Stepped { link: None, outcome: Err(failure) });
            return;
        };
        self.stage = match &record.stage {
            LoginStage::CodeSent { phone, code_hash, by_email } => Stage::CodeSent(CodeTicket {
                phone: SecretText::new(phone.clone()),
                phone_code_hash: SecretText::new(code_hash.clone()),
                by_email: *by_email,
            }),
            LoginStage::PasswordRequired { hint } => Stage::PasswordRequired { hint: hint.clone() },
            LoginStage::WaitingScan | LoginStage::Done { .. } => Stage::Beginning,
        };
        let is_scan = matches!(self.stage, Stage::Beginning);
        let again = match &self.stage {
            Stage::CodeSent(ticket) => Some(Interrupted::Code(ticket.clone())),
            Stage::PasswordRequired { hint } => Some(Interrupted::Password(hint.clone())),
            _ => None,
        };
        self.show(self.state());
        let slot = Arc::new(Semaphore::new(1));
        self.step(myself, async move {
            let mut link = Box::new(LoginLink::resume(&options, &credentials, slot).await?);
            let outcome = match link.who().await {
                Ok(signed_in) => Ok(Step::SignedIn(signed_in)),
                Err(LoginFailure::SessionEnded { .. } | LoginFailure::PasswordNeeded) => {
                    match again {
                        Some(again) => again.step(&link).await,
                        None => link.export_token().await,
                    }
                }
                Err(_) if is_scan => link.export_token().await,
                Err(failure) => Err(failure),
            };
            Ok((link, outcome))
        });
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
            Stage::CodeSent(ticket) => ticket.clone(),
            Stage::PasswordRequired { .. } => {
                let detail = "the code was right; the account's two-factor password comes next";
                let _ = reply.send(Err(Refusal::new(Code::PasswordRequired, detail)));
                return;
            }
            _ => return refuse(reply, "no code is asked for at this point of the login"),
        };
        let Some(mut link) = self.take_link(reply, "login.code") else { return };
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
            return refuse(reply, "no password is asked for at this point of the login");
        }
        let Some(mut link) = self.take_link(reply, "login.password") else { return };
        self.step(myself, async move {
            let outcome = link.check_password(&password).await;
            Ok((link, outcome))
        });
    }

    /// What was handed in waits until it is known how things stand.
    fn hold(&mut self, message: LoginMsg) {
        if let Some(before) = self.held.replace(message) {
            before.refuse(&Refusal::new(Code::Conflict, "it was handed in once more meanwhile"));
        }
    }

    /// After a restart it is known how things stand: what was handed in meanwhile was either heard
    /// of by Telegram before, or is handed in now.
    pub(super) fn resumed(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        outcome: &Result<Step, LoginFailure>,
    ) {
        self.is_resuming = false;
        let Some(held) = self.held.take() else { return };
        match (held, outcome) {
            (LoginMsg::Code { reply, .. }, Ok(Step::SignedIn(_) | Step::PasswordNeeded { .. }))
            | (LoginMsg::Password { reply, .. }, Ok(Step::SignedIn(_)))
            | (LoginMsg::Code { reply, .. } | LoginMsg::Password { reply, .. }, Err(_)) => {
                self.reply = Some(reply);
            }
            (held, _) => drop(myself.cast(held)),
        }
    }

    /// What is kept of it in place of its key once the account has that. Bots and sessions that are
    /// brought leave nothing: whoever brought them knows of no login.
    fn done(&self) -> Also {
        let (user, id, is_known) = (self.who.user.clone(), self.id, self.is_known);
        let (created_at, expires_at) = (self.created_at, self.expires_at);
        Box::new(move |account| {
            let stage = LoginStage::Done { account };
            let auth_key = Vec::new();
            let record =
                LoginRecord { id, user, dc_id: 0, auth_key, stage, created_at, expires_at };
            is_known.then(|| Op::put_row(&record)).into_iter().collect()
        })
    }

    /// The link, unless a step is under way with it; then whoever asks is told so.
    fn take_link(&mut self, reply: LoginReply, doing: &'static str) -> Option<Box<LoginLink>> {
        let left = self.not_before.0 - now().0;
        if left > 0 {
            let seconds = u64::try_from(left).unwrap_or(0).div_ceil(1_000);
            let detail = format!("telegram asks to wait {seconds} s before another attempt");
            let refusal = Refusal::new(Code::TelegramWait, detail).after(seconds);
            let _ = reply.send(Err(refusal));
            return None;
        }
        let Some(link) = self.link.take() else {
            refuse(reply, "another step of this login is under way; wait for its answer");
            return None;
        };
        self.reply = Some(reply);
        self.doing = doing;
        self.by = self.asking.clone();
        Some(link)
    }

    pub(super) fn wait_for_scan(&mut self, myself: &ActorRef<LoginMsg>) {
        let Stage::WaitingScan(token) = &self.stage else { return };
        let left = token.expires_at.saturating_mul(1_000) - now().0 - RENEW_BEFORE_MS;
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let asked = u64::try_from(self.not_before.0 - now().0).unwrap_or(0);
        let pause = if self.failures > 0 { QR_PAUSE } else { Duration::ZERO };
        let pause = pause.max(Duration::from_millis(asked));
        let Some(mut link) = self.link.take() else { return };
        self.step(myself, async move {
            sleep(pause).await;
            // Whatever comes of it, asking for the token tells how things stand.
            let _ = link.wait_for_scan(left).await;
            let outcome = link.export_token().await;
            Ok((link, outcome))
        });
    }

    /// Runs a step beside the actor.
    fn step(
        &mut self,
        myself: &ActorRef<LoginMsg>,
        step: impl Future<Output = Result<(Box<LoginLink>, Result<Step, LoginFailure>), LoginFailure>>
        + Send
        + 'static,
    ) {
        let target = myself.clone();
        self.task = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let inner = AbortOnDropHandle::new(tokio::spawn(step)).await;
            let (link, outcome): Stepped = match inner {
                Ok(Ok((link, outcome))) => (Some(link), outcome),
                Ok(Err(failure)) => (None, Err(failure)),
                Err(_) => {
                    let failure = Failure::transient("the telegram library failed (panic)");
                    (None, Err(failure.into()))
                }
            };
            let _ = target.cast(LoginMsg::Stepped { link, outcome });
        })));
    }

    /// Telegram knows who it is: hand the account over, once the login's connection is closed.
    pub(super) async fn signed_in(&mut self, myself: &ActorRef<LoginMsg>, signed_in: SignedIn) {
        failpoint::reach("login.signed_in");
        let Some(mut link) = self.link.take() else { return };
        let SignedIn { me, phone_masked } = signed_in;
        let known = self.context.directory.of_person(me.user_id);
        let (fleet, target) = (self.fleet.clone(), myself.clone());
        if known.is_some_and(|known| known.user != self.who.user) {
            self.is_fresh.then(|| {
                tokio::spawn(async move {
                    let _ = link.log_out().await;
                })
            });
            let detail = "this telegram account is connected by somebody else; who owns it has to \
                          remove it there first";
            self.fail(myself, Refusal::new(Code::Conflict, detail)).await;
            return;
        }
        let Some(credentials) = link.credentials() else {
            let detail = "telegram logged in without giving a key; try again";
            self.fail(myself, Refusal::new(Code::TelegramUnavailable, detail)).await;
            return;
        };
        self.stage = Stage::Finishing;
        let newcomer = self.newcomer()(me, phone_masked, credentials, link.slots());
        // Not to be given up any more: what is durable is told in any case.
        tokio::spawn(async move {
            link.close().await;
            let outcome = adopt(&fleet, newcomer).await;
            let _ = target.cast(LoginMsg::Adopted(Box::new(outcome)));
        });
    }

    /// Makes the account that has logged in, once it is known who it is.
    fn newcomer(
        &self,
    ) -> impl FnOnce(Me, Option<String>, Credentials, Arc<Semaphore>) -> Newcomer + Send + use<>
    {
        let (user, api_id) = (self.who.user.clone(), self.api_id);
        let deed = self.deed("account.connect", "ok");
        let also = self.done();
        move |me, phone_masked, credentials, slot| Newcomer {
            user,
            credentials,
            api_id,
            me,
            phone_masked,
            slot,
            deed,
            also,
        }
    }
}

/// What an interrupted login waits for.
enum Interrupted {
    Code(CodeTicket),
    Password(Option<String>),
}

impl Interrupted {
    /// As if it had just come to this. Telegram may have taken the code before the daemon ended.
    async fn step(self, link: &LoginLink) -> Result<Step, LoginFailure> {
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

async fn open(options: &LoginOptions, dc_id: i32) -> Result<Box<LoginLink>, LoginFailure> {
    LoginLink::open(options, dc_id).await.map(Box::new)
}

fn refuse(reply: LoginReply, detail: &str) {
    let _ = reply.send(Err(Refusal::new(Code::Conflict, detail)));
}

/// The slot of a key, and who it is, as far as the fleet knows.
pub(in crate::actors) async fn slot_of(
    fleet: &ActorRef<FleetMsg>,
    key: AuthKeyId,
) -> (Arc<Semaphore>, Option<Me>) {
    let ask = |reply| FleetMsg::Estate(EstateMsg::Slot { key, reply });
    match fleet.call(ask, Some(FLEET_TIMEOUT)).await {
        Ok(CallResult::Success(answer)) => answer,
        // Nobody gets this slot, so nothing is dialled and the login fails with its reason.
        _ => (Arc::new(Semaphore::new(0)), None),
    }
}

async fn adopt(fleet: &ActorRef<FleetMsg>, newcomer: Newcomer) -> Result<OwnedAccount, Refusal> {
    failpoint::reach("account.adopt.before");
    let newcomer = Box::new(newcomer);
    let ask = |reply| FleetMsg::Estate(EstateMsg::Adopt { newcomer, reply });
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
