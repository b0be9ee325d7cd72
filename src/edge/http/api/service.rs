//! What the API asks of the daemon. The edge parses and authorises; whoever implements this does the
//! rest. Every call names who asks: rows of others do not exist for them.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::shapes::{
    Account, AccountStatus, AuditEntry, Chat, DeadDelivery, Erased, KeyStatus, Kind, Login,
    Monitor, Page, Sent, State, Time, Webhook, WhyView,
};
pub use crate::actors::Change;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::telegram::chat::ChatRef;
use crate::protocol::users::owner::{AccountId, Caller, LoginId, UserId, WebhookId};
pub use crate::protocol::values::page::PageQuery;
use crate::protocol::values::secret::SecretText;

/// A phone number in international form, e.g. `+79991234567`. No revealing `Debug`.
pub type Phone = SecretText;

/// A session that was pasted.
#[derive(Clone, Debug)]
pub struct PastedSession {
    /// Telethon's or Pyrogram's form.
    pub session_string: SecretText,
    /// The application it was made for.
    pub api_id: Option<i32>,
}

/// Which accounts, and which page of them.
#[derive(Clone, Debug, Default)]
pub struct AccountQuery {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of this kind.
    pub kind: Option<Kind>,
    /// Only those whose username, first name or telegram id holds this text.
    pub text: Option<String>,
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Where the page begins.
    pub page: PageQuery,
}

/// Which monitors, and which page of them.
#[derive(Clone, Debug, Default)]
pub struct MonitorQuery {
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Where the page begins.
    pub page: PageQuery,
}

/// How a message's text is marked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseMode {
    /// Markdown.
    Markdown,
    /// Telegram's HTML.
    Html,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// To whom: a chat, a user, or `me`, as the caller spelled it.
    pub to: String,
    /// The text.
    pub text: SecretText,
    /// How it is marked up; plain when absent.
    pub parse_mode: Option<ParseMode>,
    /// The message it answers.
    pub reply_to: Option<i32>,
    /// Whether it arrives without a sound.
    pub silent: bool,
    /// How long the caller waits at the most.
    pub timeout: Duration,
    /// The caller's name for this very message.
    pub idempotency_key: Option<String>,
}

/// Which audit entries.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only those at this moment or later.
    pub since: Option<Time>,
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Only those of this action.
    pub action: Option<String>,
    /// Which page.
    pub page: PageQuery,
}

/// Which page of what is in trouble.
#[derive(Clone, Debug)]
pub struct HealthQuery {
    /// Rows of a page, of accounts and of monitors.
    pub limit: usize,
    /// Where the page of accounts begins.
    pub accounts_cursor: Option<String>,
    /// Where the page of monitors begins.
    pub monitors_cursor: Option<String>,
}

/// A webhook to be made or changed.
#[derive(Clone, Debug)]
pub struct WebhookOrder {
    /// Where it is called.
    pub url: String,
    /// Which events it gets; empty: all.
    pub events: Vec<String>,
    /// Whether it is called at all.
    pub enabled: bool,
}

/// What came of a session that was brought.
#[derive(Clone, Debug)]
pub enum Connected {
    /// The account is connected.
    Whole(Account),
    /// Its password was never given; the login waits for it.
    Open(Login),
}

/// What the daemon does for the API.
///
/// Every method may refuse: with `NOT_FOUND` for what does not exist in the caller's scope, with
/// `INTERNAL` when the store fails, and with what its own words say.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Has Telegram send a code to `phone`.
    async fn connect_sms(&self, who: &Caller, phone: Phone) -> Result<Login, Refusal>;
    /// Begins a login by QR code.
    async fn connect_qr(&self, who: &Caller) -> Result<Login, Refusal>;
    /// Connects a bot.
    async fn connect_bot(&self, who: &Caller, token: SecretText) -> Result<Account, Refusal>;
    /// Connects a session that was made elsewhere.
    async fn connect_session(
        &self,
        who: &Caller,
        session: PastedSession,
    ) -> Result<Connected, Refusal>;
    /// Where a login stands.
    async fn login(&self, who: &Caller, id: LoginId) -> Result<Login, Refusal>;
    /// Hands in the code.
    async fn login_code(
        &self,
        who: &Caller,
        id: LoginId,
        code: SecretText,
    ) -> Result<Login, Refusal>;
    /// Hands in the password.
    async fn login_password(
        &self,
        who: &Caller,
        id: LoginId,
        password: SecretText,
    ) -> Result<Login, Refusal>;
    /// Gives a login up.
    async fn abandon_login(&self, who: &Caller, id: LoginId) -> Result<(), Refusal>;

    /// The caller's accounts.
    async fn accounts(&self, who: &Caller, query: AccountQuery) -> Result<Page<Account>, Refusal>;
    /// One account.
    async fn account(&self, who: &Caller, id: AccountId) -> Result<Account, Refusal>;
    /// How it fares.
    async fn account_status(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal>;
    /// Why it is as it is.
    async fn why(&self, who: &Caller, id: AccountId) -> Result<WhyView, Refusal>;
    /// Holds it.
    async fn pause(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal>;
    /// Lets it go on.
    async fn resume(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal>;
    /// Connects it anew.
    async fn reconnect(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal>;
    /// Stops it and wipes its session; with `logout` Telegram is told to forget the session, too.
    async fn remove(&self, who: &Caller, id: AccountId, logout: bool) -> Result<(), Refusal>;

    /// Sends a message. The flag tells that it had been sent before under the same idempotency key.
    async fn send(
        &self,
        who: &Caller,
        id: AccountId,
        message: Outgoing,
    ) -> Result<(Sent, bool), Refusal>;

    /// The chats attached to an account.
    async fn chats(
        &self,
        who: &Caller,
        id: AccountId,
        page: PageQuery,
    ) -> Result<Page<Chat>, Refusal>;
    /// Attaches a chat: looks up what it is and what the account may do there.
    async fn attach_chat(
        &self,
        who: &Caller,
        id: AccountId,
        chat: ChatRef,
    ) -> Result<Chat, Refusal>;

    /// The caller's monitors.
    async fn monitors(&self, who: &Caller, query: MonitorQuery) -> Result<Page<Monitor>, Refusal>;
    /// One monitor.
    async fn monitor(&self, who: &Caller, chat: ChatRef) -> Result<Monitor, Refusal>;
    /// Has a chat monitored by these accounts, the first as the primary one. The flag tells that
    /// the monitor is new.
    async fn put_monitor(
        &self,
        who: &Caller,
        chat: ChatRef,
        accounts: Vec<AccountId>,
    ) -> Result<(Monitor, bool), Refusal>;
    /// Stops monitoring a chat.
    async fn delete_monitor(&self, who: &Caller, chat: ChatRef) -> Result<(), Refusal>;

    /// The audit log, the newest entries first.
    async fn audit(&self, who: &Caller, query: AuditQuery) -> Result<Page<AuditEntry>, Refusal>;
    /// Wipes everything of a user.
    async fn erase(&self, who: &Caller, user: UserId) -> Result<Erased, Refusal>;
    /// Everything of a user, as one JSON document without secrets.
    async fn export(&self, who: &Caller, user: UserId) -> Result<Vec<u8>, Refusal>;

    /// What changes from now on, or since the change `after`. The channel is bounded; a follower that
    /// is too slow finds it closed and resumes.
    fn follow(
        &self,
        who: &Caller,
        after: Option<String>,
    ) -> Result<mpsc::Receiver<Change>, Refusal>;

    /// The caller's webhooks.
    async fn webhooks(&self, who: &Caller, page: PageQuery) -> Result<Page<Webhook>, Refusal>;
    /// One webhook.
    async fn webhook(&self, who: &Caller, id: WebhookId) -> Result<Webhook, Refusal>;
    /// Makes one; the answer is the only one that shows its secret.
    async fn create_webhook(&self, who: &Caller, order: WebhookOrder) -> Result<Webhook, Refusal>;
    /// Changes one.
    async fn update_webhook(
        &self,
        who: &Caller,
        id: WebhookId,
        order: WebhookOrder,
    ) -> Result<Webhook, Refusal>;
    /// Deletes one and what waits for it.
    async fn delete_webhook(&self, who: &Caller, id: WebhookId) -> Result<(), Refusal>;
    /// What was given up.
    async fn dead_deliveries(
        &self,
        who: &Caller,
        id: WebhookId,
        page: PageQuery,
    ) -> Result<Page<DeadDelivery>, Refusal>;
    /// Puts one that was given up back in line.
    async fn redeliver(&self, who: &Caller, id: WebhookId, delivery: Uuid) -> Result<(), Refusal>;

    /// How the keys fare. For admins.
    async fn key_status(&self, who: &Caller) -> Result<KeyStatus, Refusal>;
    /// Makes a new key and wraps everything with it. For admins.
    async fn rotate_keys(&self, who: &Caller) -> Result<KeyStatus, Refusal>;
    /// The health of everything, in detail. For admins.
    async fn detailed_health(
        &self,
        who: &Caller,
        query: HealthQuery,
    ) -> Result<serde_json::Value, Refusal>;
}
