//! Connecting accounts: begun, looked at, gone on with, given up.

use std::time::Duration;

use async_trait::async_trait;

use super::Shared;
use super::accounts::info;
use crate::actors::logins::login::{LoginMethod, LoginMsg, LoginReply};
use crate::actors::logins::registrar::LoginsMsg;
use crate::actors::logins::registry::LoginView;
use crate::actors::tree::actor::ActorRef;
use crate::actors::tree::calling::call;
use crate::protocol::accounts::owned::{OwnedAccount, PreviousSession};
use crate::protocol::accounts::record::Credentials;
use crate::protocol::answers::account::AccountInfo;
use crate::protocol::answers::login::LoginInfo;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::logins::steps::LoginState;
use crate::protocol::telegram::session_string::SessionString;
use crate::protocol::users::owner::{Caller, LoginId, UserId};
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::SecretText;

/// How long a step may take: a key is made, Telegram is asked, and sometimes another datacenter.
const STEP_MAX: Duration = Duration::from_secs(28);

/// A session that was pasted.
#[derive(Clone, Debug)]
pub struct PastedSession {
    /// Telethon's or Pyrogram's form.
    pub session_string: SecretText,
    /// The application it was made for.
    pub api_id: Option<i32>,
}

/// An account that was connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedAccount {
    /// The account.
    pub account: AccountInfo,
    /// What becomes of the session that it had before, if it had one.
    pub previous_session: Option<PreviousSession>,
}

/// What came of a session that was brought.
#[derive(Clone, Debug)]
pub enum SessionBrought {
    /// The account is connected.
    Whole(ConnectedAccount),
    /// Its password was never given; the login waits for it.
    Open(LoginInfo),
}

/// Logins: one is one attempt to connect an account.
#[async_trait]
pub trait LoginService: Send + Sync + 'static {
    /// Has Telegram send a code to a phone, by its number in international form, e.g. `+79991234567`.
    async fn by_sms(&self, who: &Caller, phone: SecretText) -> Result<LoginInfo, Refusal>;
    /// Begins a login by QR code.
    async fn by_qr(&self, who: &Caller) -> Result<LoginInfo, Refusal>;
    /// Connects a bot.
    async fn by_token(&self, who: &Caller, token: SecretText) -> Result<ConnectedAccount, Refusal>;
    /// Connects a session that was made elsewhere.
    async fn by_session(
        &self,
        who: &Caller,
        session: PastedSession,
    ) -> Result<SessionBrought, Refusal>;
    /// Where a login stands.
    async fn get(&self, who: &Caller, id: LoginId) -> Result<LoginInfo, Refusal>;
    /// Hands in the code.
    async fn code(&self, who: &Caller, id: LoginId, code: SecretText)
    -> Result<LoginInfo, Refusal>;
    /// Hands in the password.
    async fn password(
        &self,
        who: &Caller,
        id: LoginId,
        password: SecretText,
    ) -> Result<LoginInfo, Refusal>;
    /// Has the code sent once more, in the way that Telegram offers next.
    async fn resend(&self, who: &Caller, id: LoginId) -> Result<LoginInfo, Refusal>;
    /// Has a code mailed because the password is forgotten.
    async fn request_recovery(&self, who: &Caller, id: LoginId) -> Result<LoginInfo, Refusal>;
    /// Hands in that code, which takes the password away at Telegram.
    async fn recover(
        &self,
        who: &Caller,
        id: LoginId,
        code: SecretText,
    ) -> Result<LoginInfo, Refusal>;
    /// Gives a login up.
    async fn abandon(&self, who: &Caller, id: LoginId) -> Result<(), Refusal>;
}

/// The service on a tree.
#[derive(Clone)]
pub(super) struct Logins {
    shared: Shared,
    logins: ActorRef<LoginsMsg>,
}

#[async_trait]
impl LoginService for Logins {
    async fn by_sms(&self, who: &Caller, phone: SecretText) -> Result<LoginInfo, Refusal> {
        self.can_connect()?;
        let ((id, view), _) = self.begin(who, LoginMethod::Sms(phone)).await?;
        Ok(told(id, view, None))
    }

    async fn by_qr(&self, who: &Caller) -> Result<LoginInfo, Refusal> {
        self.can_connect()?;
        let ((id, view), _) = self.begin(who, LoginMethod::Qr).await?;
        Ok(told(id, view, None))
    }

    async fn by_token(&self, who: &Caller, token: SecretText) -> Result<ConnectedAccount, Refusal> {
        self.can_connect()?;
        let ((_, view), account) = self.begin(who, LoginMethod::Bot(token)).await?;
        self.connected(account, view.previous)
    }

    async fn by_session(
        &self,
        who: &Caller,
        session: PastedSession,
    ) -> Result<SessionBrought, Refusal> {
        let parsed = SessionString::parse(session.session_string.expose())
            .map_err(|error| Refusal::field("session_string", error.to_string()))?;
        let api_id = session.api_id.or(parsed.api_id);
        if api_id.is_none() {
            self.can_connect()?;
        }
        self.check_datacenter(parsed.dc_id)?;
        let account = AuthKeyId::of(&parsed.auth_key);
        let credentials = Credentials { account, dc_id: parsed.dc_id, auth_key: parsed.auth_key };
        let ((id, view), account) =
            self.begin(who, LoginMethod::Session { credentials, api_id }).await?;
        if account.is_none() && view.state == LoginState::PasswordRequired {
            return Ok(SessionBrought::Open(told(id, view, None)));
        }
        self.connected(account, view.previous).map(SessionBrought::Whole)
    }

    async fn get(&self, who: &Caller, id: LoginId) -> Result<LoginInfo, Refusal> {
        let (_, view) = self.find(who, id)?;
        let account = view.account.and_then(|id| self.shared.account(who, id).ok());
        Ok(self.told_with(id, view, account))
    }

    async fn code(
        &self,
        who: &Caller,
        id: LoginId,
        code: SecretText,
    ) -> Result<LoginInfo, Refusal> {
        self.tell(who, id, |reply| LoginMsg::Code { code, reply }).await
    }

    async fn password(
        &self,
        who: &Caller,
        id: LoginId,
        password: SecretText,
    ) -> Result<LoginInfo, Refusal> {
        self.tell(who, id, |reply| LoginMsg::Password { password, reply }).await
    }

    async fn resend(&self, who: &Caller, id: LoginId) -> Result<LoginInfo, Refusal> {
        self.tell(who, id, |reply| LoginMsg::Resend { reply }).await
    }

    async fn request_recovery(&self, who: &Caller, id: LoginId) -> Result<LoginInfo, Refusal> {
        self.tell(who, id, |reply| LoginMsg::RequestRecovery { reply }).await
    }

    async fn recover(
        &self,
        who: &Caller,
        id: LoginId,
        code: SecretText,
    ) -> Result<LoginInfo, Refusal> {
        self.tell(who, id, |reply| LoginMsg::Recover { code, reply }).await
    }

    async fn abandon(&self, who: &Caller, id: LoginId) -> Result<(), Refusal> {
        let (user, view) = self.find(who, id)?;
        if view.state.is_over() {
            self.shared.context.login_registry.remove(&user, id);
            return Ok(());
        }
        self.tell(who, id, |reply| LoginMsg::Abandon { reply }).await.map(drop)
    }
}

impl Logins {
    pub(super) fn new(shared: Shared, logins: ActorRef<LoginsMsg>) -> Self {
        Self { shared, logins }
    }

    /// A session names where it lives; Telegram is not asked for what is nowhere.
    fn check_datacenter(&self, dc_id: i32) -> Result<(), Refusal> {
        let known = self.shared.context.telegram.check_datacenter(dc_id);
        known.map_err(|error| Refusal::field("session_string", error.to_string()))
    }

    /// Telegram takes no login without an application.
    fn can_connect(&self) -> Result<(), Refusal> {
        if self.shared.context.settings.api_id > 0 {
            return Ok(());
        }
        let detail = "the daemon has no application id: its operator has to set telegram.api_id and \
                      telegram.api_hash (from https://my.telegram.org) and restart it";
        Err(Refusal::new(Code::TelegramUnavailable, detail))
    }

    fn connected(
        &self,
        account: Option<OwnedAccount>,
        previous_session: Option<PreviousSession>,
    ) -> Result<ConnectedAccount, Refusal> {
        let missing = || Refusal::new(Code::Internal, "the account was not connected");
        let account = self.account(&account.ok_or_else(missing)?);
        Ok(ConnectedAccount { account, previous_session })
    }

    fn account(&self, account: &OwnedAccount) -> AccountInfo {
        info(account, self.shared.context.status.view(account.key).as_ref())
    }

    fn told_with(&self, id: LoginId, view: LoginView, account: Option<OwnedAccount>) -> LoginInfo {
        told(id, view, account.map(|account| self.account(&account)))
    }

    async fn begin(
        &self,
        who: &Caller,
        method: LoginMethod,
    ) -> Result<((LoginId, LoginView), Option<OwnedAccount>), Refusal> {
        let (id, who) = (LoginId(self.shared.context.new_id()), who.clone());
        let begin = |reply| LoginsMsg::Begin { id, who, method, reply };
        let begun = call(&self.logins, begin, STEP_MAX).await;
        let (view, account) = begun.map_err(|why| self.shared.unanswered(why))??;
        Ok(((id, view), account))
    }

    /// Whose login it is, if it exists for the one who asks.
    fn find(&self, who: &Caller, id: LoginId) -> Result<(UserId, LoginView), Refusal> {
        let found = self.shared.context.login_registry.get(&who.scope(), id);
        found.ok_or_else(|| Refusal::not_found("login"))
    }

    async fn tell(
        &self,
        who: &Caller,
        id: LoginId,
        message: impl FnOnce(LoginReply) -> LoginMsg,
    ) -> Result<LoginInfo, Refusal> {
        let (user, view) = self.find(who, id)?;
        if view.state.is_over() {
            let detail = "this login is over; begin another one";
            return Err(Refusal::new(Code::Conflict, detail));
        }
        let by = who.clone();
        let tell = |reply| LoginsMsg::Tell { by, user, id, message: message(reply) };
        let answered = call(&self.logins, tell, STEP_MAX).await;
        let (view, account) = answered.map_err(|why| self.shared.unanswered(why))??;
        Ok(self.told_with(id, view, account))
    }
}

/// A login as its user is told of it; `account` once it is connected.
pub(in crate::actors) fn told(
    id: LoginId,
    view: LoginView,
    account: Option<AccountInfo>,
) -> LoginInfo {
    let LoginView {
        state,
        expires_at,
        code,
        email_pattern,
        hint,
        token,
        error,
        previous,
        account: _,
    } = view;
    LoginInfo {
        id,
        state,
        expires_at,
        // It is the account's: without one there is nothing to tell.
        previous_session: previous.filter(|_| account.is_some()),
        account,
        code,
        hint,
        email_pattern,
        link: token,
        error,
    }
}
