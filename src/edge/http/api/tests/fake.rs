//! A service in memory whose rows are keyed by their owner.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::super::*;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::telegram::chat::ChatRef;
use crate::protocol::users::owner::{AccountId, Caller, LoginId, UserId, WebhookId};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::secret::SecretText;

/// The account that belongs to `alice`; examples of bodies name it, too.
pub(super) const ACCOUNT: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0001);
pub(super) const LOGIN: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0002);
pub(super) const WEBHOOK: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0003);
pub(super) const DELIVERY: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0004);
/// The chat that `alice` monitors.
pub(super) const CHAT: &str = "@some_channel";

const T: Time = Time(UnixMillis(1_795_230_245_678));

pub(super) struct Fake {
    owner: UserId,
    pub(super) sent: AtomicUsize,
    /// Messages to `@hold` that came.
    pub(super) held: AtomicUsize,
    pub(super) last: Mutex<Option<Outgoing>>,
    pub(super) addresses: Mutex<Vec<Option<std::net::IpAddr>>>,
    /// Lets go of one message to `@hold`.
    pub(super) release: Notify,
    pub(super) followers: Mutex<Vec<(mpsc::Sender<Change>, Option<String>)>>,
}

impl Fake {
    pub(super) fn new() -> Self {
        Self {
            owner: UserId::new("alice").unwrap(),
            sent: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            last: Mutex::default(),
            addresses: Mutex::default(),
            release: Notify::new(),
            followers: Mutex::default(),
        }
    }

    fn row<T>(&self, who: &Caller, is_it: bool, what: &str, row: T) -> Result<T, Refusal> {
        let is_seen = is_it && who.scope().covers(&self.owner);
        is_seen.then_some(row).ok_or_else(|| Refusal::not_found(what))
    }

    fn own_account(&self, who: &Caller, id: AccountId) -> Result<Account, Refusal> {
        self.row(who, id.0 == ACCOUNT, "account", account())
    }

    fn page<T: utoipa::ToSchema>(&self, who: &Caller, row: T) -> Page<T> {
        let is_seen = who.scope().covers(&self.owner);
        Page { items: is_seen.then_some(row).into_iter().collect(), next_cursor: None }
    }
}

fn account() -> Account {
    Account {
        id: ACCOUNT,
        owner: None,
        platform: "telegram",
        kind: Kind::User,
        telegram_id: 42,
        phone_masked: Some("+7999•••••12".to_owned()),
        username: None,
        first_name: Some("Alice".to_owned()),
        state: State::Error,
        error: Some(Trouble {
            code: "TG_SESSION_EXPIRED".to_owned(),
            detail: "x".to_owned(),
            since: T,
        }),
        previous_session: None,
        created_at: T,
        updated_at: T,
    }
}

fn status() -> AccountStatus {
    AccountStatus {
        account: account(),
        since: T,
        cooldowns: vec![CooldownView { scope: "send".to_owned(), until: T }],
        caps: vec![Cap { action: "send".to_owned(), used: 1, limit: 2, resets_at: T }],
        queue_length: 0,
        reconnects: 3,
        next: "connect it again".to_owned(),
    }
}

fn login(state: LoginState) -> Login {
    let qr = Qr { url: "tg://login?token=x".to_owned(), svg: "<svg/>".to_owned(), expires_at: T };
    Login {
        login_id: LOGIN,
        state,
        expires_at: T,
        account: (state == LoginState::Active).then(account),
        hint: None,
        qr: (state == LoginState::WaitingScan).then_some(qr),
        error: None,
    }
}

fn chat() -> Chat {
    let rights = Rights { is_member: true, is_admin: false, can_post: true, can_invite: false };
    let (title, username) = (Some("Some".to_owned()), None);
    Chat {
        id: -1001,
        chat_id: -1001,
        title,
        kind: "channel".to_owned(),
        username,
        is_member: rights.is_member,
        is_admin: rights.is_admin,
        can_post: rights.can_post,
        can_invite: rights.can_invite,
        rights,
        checked_at: T,
    }
}

fn monitor() -> Monitor {
    Monitor {
        chat_id: CHAT.into(),
        owner: None,
        migrated_from_chat_id: None,
        marked_chat_id: Some(-1_001),
        title: None,
        state: "active".to_owned(),
        since: Some(T),
        sessions: vec!["x".to_owned()],
        session: None,
        error: None,
        started_at: T,
    }
}

fn webhook(secret: Option<&str>) -> Webhook {
    Webhook {
        id: WEBHOOK,
        url: "https://example.org".to_owned(),
        events: Vec::new(),
        enabled: true,
        secret: secret.map(str::to_owned),
        waiting: 0,
        dead: 1,
        last_error: None,
        created_at: T,
    }
}

fn keys() -> KeyStatus {
    let (provider, generation) = ("file".to_owned(), "1".to_owned());
    KeyStatus { provider, generation, created_at: Some(T), pending: 0 }
}

#[async_trait]
impl Service for Fake {
    async fn connect_sms(&self, who: &Caller, _: Phone) -> Result<Login, Refusal> {
        self.addresses.lock().unwrap().push(who.address);
        Ok(login(LoginState::CodeSent))
    }

    async fn connect_qr(&self, _: &Caller) -> Result<Login, Refusal> {
        Ok(login(LoginState::WaitingScan))
    }

    async fn connect_bot(&self, _: &Caller, _: SecretText) -> Result<Account, Refusal> {
        Ok(account())
    }

    async fn connect_session(&self, _: &Caller, _: PastedSession) -> Result<Connected, Refusal> {
        Ok(Connected::Whole(account()))
    }

    async fn login(&self, who: &Caller, id: LoginId) -> Result<Login, Refusal> {
        self.row(who, id.0 == LOGIN, "login", login(LoginState::WaitingScan))
    }

    async fn login_code(
        &self,
        who: &Caller,
        id: LoginId,
        code: SecretText,
    ) -> Result<Login, Refusal> {
        let done = self.row(who, id.0 == LOGIN, "login", login(LoginState::PasswordRequired))?;
        match code.expose() {
            "99999" => Err(Refusal::new(Code::CodeInvalid, "the code is wrong")),
            _ => Ok(done),
        }
    }

    async fn login_password(
        &self,
        who: &Caller,
        id: LoginId,
        _: SecretText,
    ) -> Result<Login, Refusal> {
        self.row(who, id.0 == LOGIN, "login", login(LoginState::Active))
    }

    async fn abandon_login(&self, who: &Caller, id: LoginId) -> Result<(), Refusal> {
        self.row(who, id.0 == LOGIN, "login", ())
    }

    async fn accounts(&self, who: &Caller, _: AccountQuery) -> Result<Page<Account>, Refusal> {
        Ok(self.page(who, account()))
    }

    async fn account(&self, who: &Caller, id: AccountId) -> Result<Account, Refusal> {
        self.own_account(who, id)
    }

    async fn account_status(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.own_account(who, id).map(|_| status())
    }

    async fn why(&self, who: &Caller, id: AccountId) -> Result<WhyView, Refusal> {
        let timers = vec![TimerView { what: "a pause".to_owned(), until: T }];
        let why = WhyView { evidence: vec!["seen".to_owned()], timers, next: "it ends".to_owned() };
        self.own_account(who, id).map(|_| why)
    }

    async fn pause(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.account_status(who, id).await
    }

    async fn resume(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.account_status(who, id).await
    }

    async fn reconnect(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.account_status(who, id).await
    }

    async fn remove(&self, who: &Caller, id: AccountId, _: bool) -> Result<(), Refusal> {
        self.own_account(who, id).map(drop)
    }

    async fn send(
        &self,
        who: &Caller,
        id: AccountId,
        message: Outgoing,
    ) -> Result<(Sent, bool), Refusal> {
        self.own_account(who, id)?;
        match message.to.as_str() {
            "@hold" => {
                self.held.fetch_add(1, Ordering::SeqCst);
                self.release.notified().await;
            }
            "@panic" => panic!("on purpose"),
            "@wait" => {
                let refusal = Refusal::new(Code::TelegramWait, "wait").after(30);
                return Err(Refusal { is_audited: true, ..refusal });
            }
            "@full" => return Err(Refusal::new(Code::Overloaded, "full").after(1)),
            _ => {}
        }
        let is_replayed = message.idempotency_key.as_deref() == Some("again");
        *self.last.lock().unwrap() = Some(message);
        self.sent.fetch_add(1, Ordering::SeqCst);
        Ok((Sent { message_id: 7, date: T }, is_replayed))
    }

    async fn chats(
        &self,
        who: &Caller,
        id: AccountId,
        _: PageQuery,
    ) -> Result<Page<Chat>, Refusal> {
        self.own_account(who, id).map(|_| self.page(who, chat()))
    }

    async fn attach_chat(&self, who: &Caller, id: AccountId, _: ChatRef) -> Result<Chat, Refusal> {
        self.own_account(who, id).map(|_| chat())
    }

    async fn monitors(&self, who: &Caller, _: MonitorQuery) -> Result<Page<Monitor>, Refusal> {
        Ok(self.page(who, monitor()))
    }

    async fn monitor(&self, who: &Caller, chat: ChatRef) -> Result<Monitor, Refusal> {
        self.row(who, chat.key().0 == CHAT, "monitor", monitor())
    }

    async fn put_monitor(
        &self,
        who: &Caller,
        chat: ChatRef,
        accounts: Vec<AccountId>,
    ) -> Result<(Monitor, bool), Refusal> {
        for id in accounts {
            self.own_account(who, id)?;
        }
        Ok((monitor(), chat.key().0 != CHAT))
    }

    async fn delete_monitor(&self, who: &Caller, chat: ChatRef) -> Result<(), Refusal> {
        self.monitor(who, chat).await.map(drop)
    }

    async fn audit(&self, who: &Caller, _: AuditQuery) -> Result<Page<AuditEntry>, Refusal> {
        let entry = AuditEntry {
            number: 1,
            at: T,
            actor: "alice".to_owned(),
            action: "message.send".to_owned(),
            target: None,
            address: None,
            outcome: "ok".to_owned(),
            hash: "00".to_owned(),
        };
        Ok(self.page(who, entry))
    }

    async fn erase(&self, who: &Caller, user: UserId) -> Result<Erased, Refusal> {
        let erased = Erased { accounts: 1, monitors: 1, audit_entries: 1 };
        self.row(who, user == self.owner, "user", erased)
    }

    async fn export(&self, who: &Caller, user: UserId) -> Result<Vec<u8>, Refusal> {
        self.row(who, user == self.owner, "user", b"{}".to_vec())
    }

    fn follow(&self, _: &Caller, after: Option<String>) -> Result<mpsc::Receiver<Change>, Refusal> {
        let (sender, receiver) = mpsc::channel(4);
        self.followers.lock().unwrap().push((sender, after));
        Ok(receiver)
    }

    async fn webhooks(&self, who: &Caller, _: PageQuery) -> Result<Page<Webhook>, Refusal> {
        Ok(self.page(who, webhook(None)))
    }

    async fn webhook(&self, who: &Caller, id: WebhookId) -> Result<Webhook, Refusal> {
        self.row(who, id.0 == WEBHOOK, "webhook", webhook(None))
    }

    async fn create_webhook(&self, _: &Caller, _: WebhookOrder) -> Result<Webhook, Refusal> {
        Ok(webhook(Some("whsec_x")))
    }

    async fn update_webhook(
        &self,
        who: &Caller,
        id: WebhookId,
        _: WebhookOrder,
    ) -> Result<Webhook, Refusal> {
        self.webhook(who, id).await
    }

    async fn delete_webhook(&self, who: &Caller, id: WebhookId) -> Result<(), Refusal> {
        self.webhook(who, id).await.map(drop)
    }

    async fn dead_deliveries(
        &self,
        who: &Caller,
        id: WebhookId,
        _: PageQuery,
    ) -> Result<Page<DeadDelivery>, Refusal> {
        self.webhook(who, id).await?;
        let (event, error) = ("account.changed".to_owned(), "500".to_owned());
        Ok(self.page(who, DeadDelivery { id: DELIVERY, event, attempts: 9, error, at: T }))
    }

    async fn redeliver(&self, who: &Caller, id: WebhookId, delivery: Uuid) -> Result<(), Refusal> {
        self.webhook(who, id).await?;
        self.row(who, delivery == DELIVERY, "delivery", ())
    }

    async fn key_status(&self, _: &Caller) -> Result<KeyStatus, Refusal> {
        Ok(keys())
    }

    async fn rotate_keys(&self, _: &Caller) -> Result<KeyStatus, Refusal> {
        Ok(keys())
    }

    async fn detailed_health(
        &self,
        _: &Caller,
        _: HealthQuery,
    ) -> Result<serde_json::Value, Refusal> {
        Ok(json!({"status": "ok"}))
    }
}
