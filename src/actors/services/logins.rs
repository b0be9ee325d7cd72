//! Connecting accounts: begun, looked at, gone on with, given up.

use std::time::Duration;

use super::{Api, views};
use crate::actors::logins::login::{LoginMsg, LoginReply, Way};
use crate::actors::logins::registrar::LoginsMsg;
use crate::actors::logins::registry::LoginView;
use crate::actors::tree::calling::call;
use crate::edge::http::api::{Account, Connected, Login, PastedSession, Phone};
use crate::protocol::accounts::owned::{OwnedAccount, PreviousSession};
use crate::protocol::accounts::record::Credentials;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::logins::steps::{LoginFailure, LoginState};
use crate::protocol::telegram::session_string::SessionString;
use crate::protocol::users::owner::{Caller, LoginId, UserId};
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::SecretText;

/// How long a step may take: a key is made, Telegram is asked, and sometimes another datacenter.
const STEP_MAX: Duration = Duration::from_secs(28);

impl Api {
    pub(super) async fn begin_sms(&self, who: &Caller, phone: Phone) -> Result<Login, Refusal> {
        self.can_connect()?;
        let (view, _) = self.begin(who, Way::Sms(phone)).await?;
        views::login(view.0, view.1, None)
    }

    pub(super) async fn begin_qr(&self, who: &Caller) -> Result<Login, Refusal> {
        self.can_connect()?;
        let (view, _) = self.begin(who, Way::Qr).await?;
        views::login(view.0, view.1, None)
    }

    pub(super) async fn bring_bot(
        &self,
        who: &Caller,
        token: SecretText,
    ) -> Result<Account, Refusal> {
        self.can_connect()?;
        let ((_, view), account) = self.begin(who, Way::Bot(token)).await?;
        self.connected(account, view.previous)
    }

    pub(super) async fn bring_session(
        &self,
        who: &Caller,
        session: PastedSession,
    ) -> Result<Connected, Refusal> {
        let parsed = SessionString::parse(session.session_string.expose())
            .map_err(|error| Refusal::field("session_string", error.to_string()))?;
        let api_id = session.api_id.or(parsed.api_id);
        if api_id.is_none() {
            self.can_connect()?;
        }
        self.check_datacenter(parsed.dc_id)?;
        let account = AuthKeyId::of(&parsed.auth_key);
        let credentials = Credentials { account, dc_id: parsed.dc_id, auth_key: parsed.auth_key };
        let ((id, view), account) = self.begin(who, Way::Session { credentials, api_id }).await?;
        if account.is_none() && view.state == LoginState::PasswordRequired {
            return views::login(id, view, None).map(Connected::Open);
        }
        self.connected(account, view.previous).map(Connected::Whole)
    }

    /// A session names where it lives; Telegram is not asked for what is nowhere.
    fn check_datacenter(&self, dc_id: i32) -> Result<(), Refusal> {
        let servers = &self.context.settings.servers;
        if servers.knows(dc_id) {
            return Ok(());
        }
        let error = LoginFailure::NoDatacenter { dc_id, is_own: servers.are_own() };
        Err(Refusal::field("session_string", error.to_string()))
    }

    /// Telegram takes no login without an application.
    fn can_connect(&self) -> Result<(), Refusal> {
        if self.context.settings.api_id > 0 {
            return Ok(());
        }
        let detail = "the daemon has no application id: its operator has to set telegram.api_id and \
                      telegram.api_hash (from https://my.telegram.org) and restart it";
        Err(Refusal::new(Code::TelegramUnavailable, detail))
    }

    fn connected(
        &self,
        account: Option<OwnedAccount>,
        previous: Option<PreviousSession>,
    ) -> Result<Account, Refusal> {
        let missing = || Refusal::new(Code::Internal, "the account was not connected");
        let account = account.map(|account| self.account_view(&account)).ok_or_else(missing)?;
        Ok(Account { previous_session: previous.map(views::previous), ..account })
    }

    async fn begin(
        &self,
        who: &Caller,
        way: Way,
    ) -> Result<((LoginId, LoginView), Option<OwnedAccount>), Refusal> {
        let (id, who) = (LoginId(uuid::Uuid::now_v7()), who.clone());
        let begin = |reply| LoginsMsg::Begin { id, who, way, reply };
        let (view, account) =
            call(&self.logins, begin, STEP_MAX).await.map_err(|why| self.unanswered(why))??;
        Ok(((id, view), account))
    }

    /// Whose login it is, if it exists for the one who asks.
    fn find_login(&self, who: &Caller, id: LoginId) -> Result<(UserId, LoginView), Refusal> {
        let found = self.context.login_registry.get(&who.scope(), id);
        found.ok_or_else(|| Refusal::not_found("login"))
    }

    pub(super) fn look_at_login(&self, who: &Caller, id: LoginId) -> Result<Login, Refusal> {
        let (_, view) = self.find_login(who, id)?;
        let account = view.account.and_then(|id| self.find(who, id).ok());
        let account = account.map(|account| self.account_view(&account));
        views::login(id, view, account)
    }

    pub(super) async fn hand_in_code(
        &self,
        who: &Caller,
        id: LoginId,
        code: SecretText,
    ) -> Result<Login, Refusal> {
        self.tell_login(who, id, |reply| LoginMsg::Code { code, reply }).await
    }

    pub(super) async fn hand_in_password(
        &self,
        who: &Caller,
        id: LoginId,
        password: SecretText,
    ) -> Result<Login, Refusal> {
        self.tell_login(who, id, |reply| LoginMsg::Password { password, reply }).await
    }

    pub(super) async fn give_up_login(&self, who: &Caller, id: LoginId) -> Result<(), Refusal> {
        let (user, view) = self.find_login(who, id)?;
        if view.state.is_over() {
            self.context.login_registry.remove(&user, id);
            return Ok(());
        }
        self.tell_login(who, id, |reply| LoginMsg::Abandon { reply }).await.map(drop)
    }

    async fn tell_login(
        &self,
        who: &Caller,
        id: LoginId,
        message: impl FnOnce(LoginReply) -> LoginMsg,
    ) -> Result<Login, Refusal> {
        let (user, view) = self.find_login(who, id)?;
        if view.state.is_over() {
            let detail = "this login is over; begin another one";
            return Err(Refusal::new(Code::Conflict, detail));
        }
        let by = who.clone();
        let tell = |reply| LoginsMsg::Tell { by, user, id, message: message(reply) };
        let (view, account) =
            call(&self.logins, tell, STEP_MAX).await.map_err(|why| self.unanswered(why))??;
        views::login(id, view, account.map(|account| self.account_view(&account)))
    }
}
