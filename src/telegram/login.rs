//! A connection that is not logged in yet: raw steps of a login, each with a deadline. Follows the
//! account to its datacenter; never sleeps, never tries again, never creates an account. Which step
//! comes when, and for how long a login stays open, is its caller's affair.

mod gate;
mod password;
mod qr;
mod recovery;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use grammers_client::session::updates::UpdatesLike;
use grammers_client::tl::enums::auth::{Authorization, CodeType, SentCode, SentCodeType};
use grammers_client::tl::{RemoteCall, enums, functions, types};
use tokio::sync::mpsc;

pub use gate::{DialGate, DialRight, DialRightFor};

use super::key_exchange::{ServerKey, exchange, random};
use super::lease::ConnectionLease;
use super::link::{Connection, DialOptions, KEY_UNKNOWN, Link, RawCaller, Unheard, me_of, wire};
use super::port::KeepKey;
use super::vault::Vault;
use crate::protocol::accounts::record::Credentials;
use crate::protocol::logins::delivery::CodeVia;
use crate::protocol::logins::steps::{
    CodeSent, CodeTicket, LoginFailure, SignedIn, Step, mask_phone,
};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::SecretText;

/// How long an answer to a step may take, making a key included where the library makes it.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// Datacenters one step may be sent on to. Telegram sends to the right one at once.
const HOPS_MAX: usize = 2;
/// Longest phone number, code or token that is worth a call, bytes.
const INPUT_MAX: usize = 128;

/// What every login needs.
#[derive(Clone, Debug)]
pub struct LoginOptions {
    /// Servers, application id, metrics and clocks.
    pub dial: DialOptions,
    /// The secret that belongs to the application id.
    pub api_hash: SecretText,
    /// The public key of servers of one's own; without it only Telegram's make fresh keys.
    pub server_key: Option<Arc<ServerKey>>,
    /// Says when a datacenter may be dialled.
    pub gate: DialGate,
}

impl LoginOptions {
    /// The same, dialling only when `gate` allows it.
    #[must_use]
    pub fn behind(mut self, gate: DialGate) -> Self {
        self.gate = gate;
        self
    }

    /// The same for another application, of which the hash is not needed.
    #[must_use]
    pub fn with_api_id(mut self, api_id: i32) -> Self {
        self.dial.api_id = api_id;
        self
    }
}

/// See the module. Dropping it closes the sockets some time later; [`LoginLink::close`] tells when.
pub(super) struct LoginLink {
    options: LoginOptions,
    dc_id: i32,
    caller: RawCaller,
    updates: mpsc::Receiver<UpdatesLike>,
    vault: Arc<Vault>,
    connection: Connection,
    lease: ConnectionLease,
    keep_key: Option<KeepKey>,
    /// Whether the next call needs no dial, as far as is known: the library dials without a word.
    is_connected: bool,
}

impl LoginLink {
    /// Begins with a fresh key at datacenter `dc_id`. With servers of one's own the key is made
    /// here and now; with Telegram's by the first step.
    ///
    /// # Errors
    /// [`LoginFailure::NoKey`] when no key can be made; [`LoginFailure::Other`] when nobody answers.
    pub(super) async fn open(options: &LoginOptions, dc_id: i32) -> Result<Self, LoginFailure> {
        let servers = &options.dial.servers;
        let vault = if servers.are_own() {
            let credentials = fresh_key(options, dc_id).await?;
            Vault::new(servers, &credentials)
        } else {
            Vault::fresh(servers, dc_id)
        };
        Self::connect(options, dc_id, vault, ConnectionLease::new()).await
    }

    /// Goes on with a key: a login that was interrupted, or a session that somebody brings.
    /// `lease` is that key's, shared with whoever else may connect it.
    ///
    /// # Errors
    /// [`LoginFailure::Other`] when the key's previous connection does not close in time;
    /// [`LoginFailure::NoDatacenter`] when nothing is known of the key's datacenter.
    pub(super) async fn resume(
        options: &LoginOptions,
        credentials: &Credentials,
        lease: ConnectionLease,
    ) -> Result<Self, LoginFailure> {
        options.dial.servers.check(credentials.dc_id)?;
        let vault = Vault::new(&options.dial.servers, credentials);
        Self::connect(options, credentials.dc_id, vault, lease).await
    }

    async fn connect(
        options: &LoginOptions,
        dc_id: i32,
        vault: Vault,
        lease: ConnectionLease,
    ) -> Result<Self, LoginFailure> {
        let held = lease.hold().await?;
        let vault = Arc::new(vault);
        let (caller, updates, connection) = wire(&options.dial, dc_id, Arc::clone(&vault), held)?;
        let options = options.clone();
        Ok(Self {
            options,
            dc_id,
            caller,
            updates,
            vault,
            connection,
            lease,
            keep_key: None,
            is_connected: false,
        })
    }

    /// Has the key of every datacenter that it moves to kept before it is used there.
    pub(super) fn keep_keys_by(&mut self, keep: KeepKey) {
        self.keep_key = Some(keep);
    }

    /// The key and where it belongs, for the store; `None` before the first answer of Telegram's
    /// servers. Another one after a step that moved the login to another datacenter.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        self.vault.credentials()
    }

    /// The lease of the key, for whoever takes the account over.
    pub(super) fn lease(&self) -> ConnectionLease {
        self.lease.clone()
    }

    /// Closes the sockets; when this returns the key may be connected by others.
    pub(super) async fn close(self) {
        self.connection.close().await;
    }

    /// Has Telegram send a code to `phone`.
    ///
    /// # Errors
    /// See [`LoginFailure`].
    pub(super) async fn send_code(&mut self, phone: &SecretText) -> Result<Step, LoginFailure> {
        check_input(phone, LoginFailure::PhoneInvalid)?;
        let request = functions::auth::SendCode {
            phone_number: phone.expose().to_owned(),
            api_id: self.options.dial.api_id,
            api_hash: self.options.api_hash.expose().to_owned(),
            settings: code_settings(),
        };
        let sent = self.call_following(&request).await?;
        sent_code(phone, sent)
    }

    /// Has Telegram send the code in the next way it offers. Leads to [`Step::CodeSent`].
    ///
    /// # Errors
    /// [`LoginFailure::NoOtherWay`] when all were used; see the others there.
    pub(super) async fn resend_code(&mut self, ticket: &CodeTicket) -> Result<Step, LoginFailure> {
        let request = functions::auth::ResendCode {
            phone_number: ticket.phone.expose().to_owned(),
            phone_code_hash: ticket.phone_code_hash.expose().to_owned(),
            reason: None,
        };
        let sent = self.call(&request).await.map_err(LoginFailure::of_resend)?;
        sent_code(&ticket.phone, sent)
    }

    /// Gives the code. Leads to [`Step::SignedIn`] or [`Step::PasswordNeeded`].
    ///
    /// # Errors
    /// See [`LoginFailure`].
    pub(super) async fn sign_in(
        &mut self,
        ticket: &CodeTicket,
        code: &SecretText,
    ) -> Result<Step, LoginFailure> {
        check_input(code, LoginFailure::CodeInvalid)?;
        let code = code.expose().to_owned();
        let (phone_code, email_verification) = if ticket.by_email {
            (None, Some(types::EmailVerificationCode { code }.into()))
        } else {
            (Some(code), None)
        };
        let request = functions::auth::SignIn {
            phone_number: ticket.phone.expose().to_owned(),
            phone_code_hash: ticket.phone_code_hash.expose().to_owned(),
            phone_code,
            email_verification,
        };
        let answer = self.call_following(&request).await;
        self.signed_in_or_password(answer).await
    }

    /// Checks the two-factor password.
    ///
    /// # Errors
    /// [`LoginFailure::PasswordInvalid`]; see the others there.
    pub(super) async fn check_password(
        &mut self,
        password: &SecretText,
    ) -> Result<Step, LoginFailure> {
        let enums::account::Password::Password(asked) =
            self.call(&functions::account::GetPassword {}).await?;
        let password = password.clone();
        let proof = move || password::prove(asked, &password, &random());
        let proof = tokio::task::spawn_blocking(proof).await;
        let proof =
            proof.map_err(|_| Failure::transient("the password could not be processed"))??;
        let request = functions::auth::CheckPassword { password: proof };
        signed_in(self.call(&request).await?)
    }

    /// Asks whether Telegram waits for a password on this key, which it tells only then.
    ///
    /// # Errors
    /// [`LoginFailure::SessionEnded`] when it does not; see the others there.
    pub(super) async fn awaited_password(&mut self) -> Result<Step, LoginFailure> {
        let enums::account::Password::Password(asked) =
            self.call(&functions::account::GetPassword {}).await?;
        Ok(Step::PasswordNeeded { hint: asked.hint.filter(|hint| !hint.is_empty()) })
    }

    /// Logs a bot in by its token.
    ///
    /// # Errors
    /// [`LoginFailure::TokenInvalid`]; see the others there.
    pub(super) async fn bot_sign_in(&mut self, token: &SecretText) -> Result<Step, LoginFailure> {
        check_input(token, LoginFailure::TokenInvalid)?;
        let request = functions::auth::ImportBotAuthorization {
            flags: 0,
            api_id: self.options.dial.api_id,
            api_hash: self.options.api_hash.expose().to_owned(),
            bot_auth_token: token.expose().to_owned(),
        };
        signed_in(self.call_following(&request).await?)
    }

    /// Asks who is logged in.
    ///
    /// # Errors
    /// [`LoginFailure::SessionEnded`] when nobody is; see the others there.
    pub(super) async fn who(&mut self) -> Result<SignedIn, LoginFailure> {
        let request = functions::users::GetUsers { id: vec![enums::InputUser::UserSelf] };
        let users = self.call(&request).await?;
        users.into_iter().next().map_or_else(nameless, signed_in_as)
    }

    /// Ends the session at Telegram; its key is of no use afterwards. That it was of none before is
    /// a success, too.
    ///
    /// # Errors
    /// See [`LoginFailure`].
    pub(super) async fn log_out(&mut self) -> Result<(), LoginFailure> {
        match self.call(&functions::auth::LogOut {}).await {
            Ok(_) | Err(LoginFailure::SessionEnded { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn call<R: RemoteCall>(&mut self, request: &R) -> Result<R::Return, LoginFailure> {
        let key = self.vault.credentials().map(|known| known.account);
        self.notice_end();
        let right = match self.is_connected {
            true => None,
            false => Some(self.options.gate.begin(self.dc_id, key).await?),
        };
        let answer = self.caller.call_keenly(request, STEP_TIMEOUT).await;
        let is_answered = match &answer {
            Ok(_) | Err(Unheard::KeyUnknown) => true,
            Err(Unheard::Silence(_)) => false,
            Err(Unheard::Failed(failure)) => !matches!(failure, Failure::Transient { .. }),
        };
        // After silence the connection may be there all the same; its end is told, should it come.
        self.is_connected =
            is_answered || (self.is_connected && matches!(answer, Err(Unheard::Silence(_))));
        right.into_iter().for_each(|right| right.ended(is_answered));
        match answer {
            Ok(answer) => Ok(answer),
            Err(Unheard::KeyUnknown) => {
                self.is_connected = false;
                if key.is_some() {
                    return Err(LoginFailure::SessionEnded { code: KEY_UNKNOWN.into() });
                }
                let detail = "the server did not agree on an authorization key";
                Err(Failure::transient(detail).into())
            }
            Err(Unheard::Silence(silence)) => {
                Err(Link::explain_silence(&self.options.dial, self.dc_id, silence).await.into())
            }
            Err(Unheard::Failed(failure)) => Err(LoginFailure::sort(failure)),
        }
    }

    /// Takes note of a connection that ended while nobody looked. What else came is told by the call
    /// that follows, too.
    fn notice_end(&mut self) {
        while let Ok(news) = self.updates.try_recv() {
            self.is_connected &= !matches!(news, UpdatesLike::ConnectionClosed);
        }
    }

    /// The same; where Telegram names another datacenter, the login moves there with a fresh key.
    async fn call_following<R: RemoteCall>(
        &mut self,
        request: &R,
    ) -> Result<R::Return, LoginFailure> {
        for _ in 0..HOPS_MAX {
            match self.call(request).await {
                Err(LoginFailure::Other(Failure::Migrate { dc_id })) if dc_id != self.dc_id => {
                    self.move_to(dc_id).await?;
                }
                outcome => return outcome,
            }
        }
        self.call(request).await
    }

    async fn move_to(&mut self, dc_id: i32) -> Result<(), LoginFailure> {
        let mut link = Self::open(&self.options, dc_id).await?;
        if let Some(keep) = &self.keep_key {
            keep(link.key_at_hand().await?, link.lease()).await?;
        }
        link.keep_key = self.keep_key.take();
        std::mem::replace(self, link).close().await;
        Ok(())
    }

    /// The key, which Telegram's servers make with the first call: one that changes nothing.
    async fn key_at_hand(&mut self) -> Result<Credentials, LoginFailure> {
        if self.vault.credentials().is_none() {
            self.call(&functions::help::GetNearestDc {}).await?;
        }
        let missing = || Failure::transient("the server did not agree on an authorization key");
        Ok(self.vault.credentials().ok_or_else(missing)?)
    }

    /// What an answer to a code or token means when a password may be asked for.
    async fn signed_in_or_password(
        &mut self,
        answer: Result<Authorization, LoginFailure>,
    ) -> Result<Step, LoginFailure> {
        match answer {
            Err(LoginFailure::PasswordNeeded) => self.awaited_password().await,
            answer => signed_in(answer?),
        }
    }
}

async fn fresh_key(options: &LoginOptions, dc_id: i32) -> Result<Credentials, LoginFailure> {
    let address = options.dial.servers.check(dc_id)?;
    let Some(key) = &options.server_key else {
        let detail = "these servers are not telegram's, so their public key is needed; set \
                      telegram.server_public_key_file";
        let (code, detail) = ("SERVER_KEY_MISSING".into(), detail.into());
        return Err(LoginFailure::NoKey { code, detail });
    };
    // A connection of its own, closed before the one that follows it.
    let _socket = options.dial.sockets.take()?;
    let right = options.gate.begin(dc_id, None).await?;
    let made =
        exchange(address, dc_id, key, options.dial.clocks.here()).await.map_err(
            |error| match error.classify() {
                failure @ Failure::Transient { .. } => failure.into(),
                failure => {
                    LoginFailure::NoKey { code: failure.code().into(), detail: error.to_string() }
                }
            },
        );
    right.ended(!matches!(made, Err(LoginFailure::Other(_))));
    let auth_key = made?.auth_key;
    Ok(Credentials { account: AuthKeyId::of(&auth_key), dc_id, auth_key })
}

fn check_input(text: &SecretText, otherwise: LoginFailure) -> Result<(), LoginFailure> {
    let is_fit = !text.expose().is_empty() && text.expose().len() <= INPUT_MAX;
    is_fit.then_some(()).ok_or(otherwise)
}

/// None of the ways that need a phone with an official app.
fn code_settings() -> enums::CodeSettings {
    types::CodeSettings {
        allow_flashcall: false,
        current_number: false,
        allow_app_hash: false,
        allow_missed_call: false,
        allow_firebase: false,
        unknown_number: false,
        logout_tokens: None,
        token: None,
        app_sandbox: None,
    }
    .into()
}

fn sent_code(phone: &SecretText, sent: SentCode) -> Result<Step, LoginFailure> {
    let sent = match sent {
        SentCode::Code(sent) => sent,
        SentCode::Success(success) => return signed_in(success.authorization),
        SentCode::PaymentRequired(_) => return Err(LoginFailure::PaymentNeeded),
    };
    let (via, length) = match sent.r#type {
        SentCodeType::App(kind) => (CodeVia::App, Some(kind.length)),
        SentCodeType::Sms(kind) => (CodeVia::Sms, Some(kind.length)),
        SentCodeType::FirebaseSms(kind) => (CodeVia::Sms, Some(kind.length)),
        SentCodeType::SmsWord(_) | SentCodeType::SmsPhrase(_) => (CodeVia::Sms, None),
        SentCodeType::Call(kind) => (CodeVia::Call, Some(kind.length)),
        SentCodeType::FlashCall(_) => (CodeVia::CallerNumber, None),
        SentCodeType::MissedCall(kind) => (CodeVia::CallerNumber, Some(kind.length)),
        SentCodeType::EmailCode(kind) => (CodeVia::Email, Some(kind.length)),
        SentCodeType::FragmentSms(kind) => (CodeVia::Fragment, Some(kind.length)),
        SentCodeType::SetUpEmailRequired(_) => return Err(LoginFailure::EmailNeeded),
    };
    let ticket = CodeTicket {
        phone: phone.clone(),
        phone_code_hash: SecretText::new(sent.phone_code_hash),
        by_email: via == CodeVia::Email,
    };
    let length = length.and_then(|length| u32::try_from(length).ok());
    let next = sent.next_type.map(next_via);
    let resend_after = sent.timeout.and_then(|seconds| u32::try_from(seconds).ok());
    Ok(Step::CodeSent(CodeSent { ticket, via, length, next, resend_after }))
}

fn next_via(kind: CodeType) -> CodeVia {
    match kind {
        CodeType::Sms => CodeVia::Sms,
        CodeType::Call => CodeVia::Call,
        CodeType::FlashCall | CodeType::MissedCall => CodeVia::CallerNumber,
        CodeType::FragmentSms => CodeVia::Fragment,
    }
}

fn signed_in(answer: Authorization) -> Result<Step, LoginFailure> {
    match answer {
        Authorization::Authorization(answer) => signed_in_as(answer.user).map(Step::SignedIn),
        Authorization::SignUpRequired(_) => Err(LoginFailure::NotRegistered),
    }
}

fn signed_in_as(user: enums::User) -> Result<SignedIn, LoginFailure> {
    match user {
        enums::User::User(user) => {
            let phone_masked = user.phone.as_deref().map(mask_phone);
            Ok(SignedIn { me: me_of(user), phone_masked })
        }
        enums::User::Empty(_) => nameless(),
    }
}

fn nameless() -> Result<SignedIn, LoginFailure> {
    Err(Failure::transient("the server does not say who we are").into())
}
