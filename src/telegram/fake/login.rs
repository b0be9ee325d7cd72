//! Logins of the fake: whoever has a phone number in its world gets [`CODE`], whoever has a password has
//! [`PASSWORD`], bots are named by their token, and pictures are scanned by [`FakeTelegram::scan`].

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use super::connecting::Socket;
use super::world::{Account, CODE, EMAIL_PATTERN, PASSWORD, RECOVERY_CODE, credentials, me};
use super::{FakeTelegram, Method, SILENCE, Then, silence};
use crate::protocol::accounts::record::{Credentials, Me};
use crate::protocol::logins::delivery::CodeVia;
use crate::protocol::logins::steps::{
    CodeSent, CodeTicket, LoginFailure, LoginToken, SignedIn, Step,
};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::SecretText;
use crate::telegram::lease::ConnectionLease;
use crate::telegram::port::{KeepKey, LoginConnection, LoginSetup};

/// How long after an SMS a call may be asked for, seconds.
const RESEND_SECONDS: u32 = 60;
/// How long a picture is good for, milliseconds.
const TOKEN_MS: i64 = 30_000;
/// The first of the keys that are made for logins.
const FIRST_KEY: u8 = 100;

impl FakeTelegram {
    pub(super) async fn open_login(
        &self,
        setup: LoginSetup,
    ) -> Result<Box<dyn LoginConnection>, LoginFailure> {
        let right = setup.gate.begin(2, None).await?;
        let then = self.asked(None, "login.open", None).await;
        right.ended(true);
        match then {
            Then::World => {}
            Then::Refuse(failure) => return Err(failure),
            Then::Silence => return Err(silence().into()),
            then => panic!("a login cannot begin with {then:?}"),
        }
        let fresh = self.fresh_key(2);
        Ok(Box::new(FakeLogin::connect(self, fresh, ConnectionLease::new()).await?))
    }

    pub(super) async fn reopen_login(
        &self,
        setup: LoginSetup,
        credentials: Credentials,
        lease: ConnectionLease,
    ) -> Result<Box<dyn LoginConnection>, LoginFailure> {
        let login = FakeLogin::connect(self, credentials, lease).await?;
        let key = login.credentials.account;
        let right = setup.gate.begin(login.credentials.dc_id, Some(key)).await?;
        let then = self.asked(Some(key), "login.resume", None).await;
        right.ended(true);
        match then {
            Then::World => Ok(Box::new(login)),
            Then::Refuse(failure) => Err(failure),
            Then::Silence => Err(silence().into()),
            then => panic!("a login cannot go on with {then:?}"),
        }
    }

    fn fresh_key(&self, dc_id: i32) -> Credentials {
        let mut state = self.state();
        let number = FIRST_KEY + state.keys_made;
        state.keys_made += 1;
        Credentials { dc_id, ..credentials(number) }
    }
}

struct FakeLogin {
    telegram: FakeTelegram,
    credentials: Credentials,
    lease: ConnectionLease,
    socket: Option<Socket>,
    keep: Option<KeepKey>,
}

impl FakeLogin {
    async fn connect(
        telegram: &FakeTelegram,
        credentials: Credentials,
        lease: ConnectionLease,
    ) -> Result<Self, LoginFailure> {
        let held = lease.hold().await?;
        let (socket, _) = Socket::open(telegram, credentials.account, held);
        let (telegram, socket) = (telegram.clone(), Some(socket));
        Ok(Self { telegram, credentials, lease, socket, keep: None })
    }

    fn key(&self) -> AuthKeyId {
        self.credentials.account
    }

    /// Asks, and does with `world` what the world does.
    async fn step(
        &mut self,
        method: Method,
        world: impl FnOnce(&mut Self) -> Result<Step, LoginFailure> + Send,
    ) -> Result<Step, LoginFailure> {
        match self.telegram.asked(Some(self.key()), method, None).await {
            Then::World => world(self),
            Then::Lead(step) => Ok(step),
            Then::Refuse(failure) => Err(failure),
            Then::Fail(failure) => Err(LoginFailure::Other(failure)),
            Then::Silence => Err(silence().into()),
            Then::DoneUnheard => {
                let _ = world(self);
                sleep(SILENCE).await;
                Err(silence().into())
            }
            Then::MoveTo(dc_id) => {
                self.move_to(dc_id).await?;
                world(self)
            }
            then => panic!("a step cannot end with {then:?}"),
        }
    }

    async fn move_to(&mut self, dc_id: i32) -> Result<(), LoginFailure> {
        let fresh = self.telegram.fresh_key(dc_id);
        let mut login = Self::connect(&self.telegram, fresh, ConnectionLease::new()).await?;
        if let Some(keep) = self.keep.take() {
            keep(login.credentials.clone(), login.lease.clone()).await?;
            login.keep = Some(keep);
        }
        let mut before = std::mem::replace(self, login);
        if let Some(socket) = before.socket.take() {
            socket.close().await;
        }
        Ok(())
    }

    fn let_in(&self, me: Me) -> Step {
        let mut state = self.telegram.state();
        state.half_in.remove(&self.key());
        state.people.insert(self.key(), me.clone());
        Step::SignedIn(SignedIn { me, phone_masked: None })
    }

    fn goes_by(&self, ticket: CodeTicket, via: CodeVia) -> Step {
        self.telegram.state().went_by.insert(self.key(), via);
        let resend_after = (via == CodeVia::Sms).then_some(RESEND_SECONDS);
        Step::CodeSent(CodeSent { ticket, via, length: Some(5), next: after(via), resend_after })
    }

    fn half_in(&self, account: Account) -> Step {
        self.telegram.state().half_in.insert(self.key(), account);
        Step::PasswordNeeded { hint: Some("a horse".into()) }
    }

    fn account(&self, phone: &SecretText) -> Result<Account, LoginFailure> {
        let known = self.telegram.state().accounts.get(phone.expose()).cloned();
        known.ok_or(LoginFailure::NotRegistered)
    }

    fn awaited(&self) -> Option<Account> {
        self.telegram.state().half_in.get(&self.key()).cloned()
    }
}

/// What comes when a code that went by `via` is asked for once more.
fn after(via: CodeVia) -> Option<CodeVia> {
    match via {
        CodeVia::App => Some(CodeVia::Sms),
        CodeVia::Sms => Some(CodeVia::Call),
        _ => None,
    }
}

fn ended() -> LoginFailure {
    LoginFailure::SessionEnded { code: "AUTH_KEY_UNREGISTERED".into() }
}

#[async_trait]
impl LoginConnection for FakeLogin {
    fn keep_keys_by(&mut self, keep: KeepKey) {
        self.keep = Some(keep);
    }

    fn credentials(&self) -> Option<Credentials> {
        Some(self.credentials.clone())
    }

    fn lease(&self) -> ConnectionLease {
        self.lease.clone()
    }

    async fn close(mut self: Box<Self>) {
        if let Some(socket) = self.socket.take() {
            socket.close().await;
        }
    }

    async fn send_code(&mut self, phone: &SecretText) -> Result<Step, LoginFailure> {
        self.step("login.send_code", |login| {
            login.account(phone)?;
            let phone_code_hash = SecretText::new("hash".into());
            let ticket = CodeTicket { phone: phone.clone(), phone_code_hash, by_email: false };
            Ok(login.goes_by(ticket, CodeVia::App))
        })
        .await
    }

    async fn resend_code(&mut self, ticket: &CodeTicket) -> Result<Step, LoginFailure> {
        self.step("login.resend_code", |login| {
            let before = login.telegram.state().went_by.get(&login.key()).copied();
            match before.and_then(after) {
                Some(via) => Ok(login.goes_by(ticket.clone(), via)),
                None => Err(LoginFailure::NoOtherWay),
            }
        })
        .await
    }

    async fn sign_in(
        &mut self,
        ticket: &CodeTicket,
        code: &SecretText,
    ) -> Result<Step, LoginFailure> {
        self.step("login.sign_in", |login| {
            let account = login.account(&ticket.phone)?;
            match (code.expose() == CODE, account.has_password) {
                (false, _) => Err(LoginFailure::CodeInvalid),
                (true, false) => Ok(login.let_in(account.me)),
                (true, true) => Ok(login.half_in(account)),
            }
        })
        .await
    }

    async fn check_password(&mut self, password: &SecretText) -> Result<Step, LoginFailure> {
        self.step("login.check_password", |login| {
            let account = login.awaited().ok_or_else(ended)?;
            let is_right = password.expose() == PASSWORD;
            if is_right { Ok(login.let_in(account.me)) } else { Err(LoginFailure::PasswordInvalid) }
        })
        .await
    }

    async fn request_recovery(&mut self) -> Result<Step, LoginFailure> {
        self.step("login.request_recovery", |login| {
            if !login.awaited().ok_or_else(ended)?.has_recovery {
                return Err(LoginFailure::NoRecoveryMail);
            }
            login.telegram.state().recovering.insert(login.key());
            Ok(Step::RecoverySent { email_pattern: EMAIL_PATTERN.into() })
        })
        .await
    }

    async fn recover_password(&mut self, code: &SecretText) -> Result<Step, LoginFailure> {
        self.step("login.recover_password", |login| {
            let account = login.awaited().ok_or_else(ended)?;
            if !login.telegram.state().recovering.contains(&login.key()) {
                return Err(LoginFailure::RecoveryExpired);
            }
            if code.expose() != RECOVERY_CODE {
                return Err(LoginFailure::CodeInvalid);
            }
            let mut state = login.telegram.state();
            let own = state.accounts.values_mut().filter(|known| known.me == account.me);
            own.for_each(|known| known.has_password = false);
            drop(state);
            Ok(login.let_in(account.me))
        })
        .await
    }

    async fn awaited_password(&mut self) -> Result<Step, LoginFailure> {
        self.step("login.awaited_password", |login| {
            login.awaited().map(|account| login.half_in(account)).ok_or_else(ended)
        })
        .await
    }

    async fn bot_sign_in(&mut self, token: &SecretText) -> Result<Step, LoginFailure> {
        self.step("login.bot_sign_in", |login| {
            let id = token.expose().split(':').next().and_then(|id| id.parse().ok());
            Ok(login.let_in(me(id.ok_or(LoginFailure::TokenInvalid)?, true)))
        })
        .await
    }

    async fn export_token(&mut self) -> Result<Step, LoginFailure> {
        self.step("login.export_token", |login| {
            let scanned = login.telegram.state().scanned.remove(&login.key());
            if let Some(me) = scanned {
                return Ok(login.let_in(me));
            }
            let url = SecretText::new(format!("tg://login?token={}", login.telegram.book().len()));
            let expires_at = login.telegram.0.clock.now().plus_ms(TOKEN_MS).seconds();
            Ok(Step::Token(LoginToken { url, expires_at }))
        })
        .await
    }

    async fn wait_for_scan(&mut self, limit: Duration) -> Result<bool, LoginFailure> {
        let told = self.telegram.0.scan.notified();
        if self.telegram.state().scanned.contains_key(&self.key()) {
            return Ok(true);
        }
        Ok(timeout(limit, told).await.is_ok())
    }

    async fn who(&mut self) -> Result<SignedIn, LoginFailure> {
        let step = self.step("login.who", |login| {
            if login.awaited().is_some() {
                return Err(LoginFailure::PasswordNeeded);
            }
            let me = login.telegram.state().people.get(&login.key()).cloned().ok_or_else(ended)?;
            Ok(Step::SignedIn(SignedIn { me, phone_masked: None }))
        });
        match step.await? {
            Step::SignedIn(signed_in) => Ok(signed_in),
            step => panic!("nobody is {step:?}"),
        }
    }

    async fn log_out(&mut self) -> Result<(), LoginFailure> {
        let step = self.step("login.log_out", |login| {
            login.telegram.state().people.remove(&login.key());
            Err(LoginFailure::Other(Failure::transient("logged out")))
        });
        match step.await {
            Err(LoginFailure::Other(Failure::Transient { detail })) if detail == "logged out" => {
                Ok(())
            }
            Err(failure) => Err(failure),
            Ok(step) => panic!("logging out does not lead to {step:?}"),
        }
    }
}
