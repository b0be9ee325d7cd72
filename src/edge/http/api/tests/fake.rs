//! The services in memory: what there is belongs to one user. Each fake is as small as its service.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::super::*;
use super::campaigns::Campaigns;
use super::imports::Imports;
use super::reports::Reports;
use super::suppression::SuppressionLists;
use crate::actors::{
    AccountQuery, AccountService, AccountStatus, AccountWhy, AdministrationService, AuditQuery,
    AuditService, ChangeService, ConnectedAccount, DailyLimitUse, DetailedHealth, Erased,
    HealthQuery, KeyStatus, LoginService, MessageService, MonitorQuery, MonitorService,
    PastedSession, Services, SessionBrought, StoreFigures, TroubledPage, UserDataService,
    WebhookInfo, WebhookOrder, WebhookService, WriteArchive,
};
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::explanation::{Timer, Why};
use crate::protocol::accounts::owned::AttachedChat;
use crate::protocol::answers::account::{AccountInfo, AccountTrouble};
use crate::protocol::answers::login::LoginInfo;
use crate::protocol::answers::monitor::MonitorInfo;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::{ChainLink, Details, Entry, Persons};
use crate::protocol::feed::event::FeedEntry;
use crate::protocol::logins::delivery::{CodeDelivery, CodeVia, NextDelivery};
use crate::protocol::logins::steps::LoginState;
use crate::protocol::messages::outgoing::Outgoing;
use crate::protocol::messages::record::SentMessage;
use crate::protocol::monitors::failover::MonitorState;
use crate::protocol::telegram::chat::{ChatRef, ChatSpelling, MarkedId};
use crate::protocol::telegram::pacing::{FloodWait, FloodWaitScope, MethodClass};
use crate::protocol::tree::member::{LastMessage, MemberSnapshot, MemberState};
use crate::protocol::tree::restart::ChildKind;
use crate::protocol::users::owner::{AccountId, Caller, LoginId, UserId, WebhookId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::{SessionId, UnixMillis};
use crate::protocol::values::page::{Page, PageQuery};
use crate::protocol::values::secret::SecretText;
use crate::protocol::webhooks::deliveries::{DeadRecord, Delivery, Line};

/// The account that belongs to `alice`; examples of bodies name it, too.
pub(super) const ACCOUNT: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0001);
pub(super) const LOGIN: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0002);
pub(super) const WEBHOOK: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0003);
pub(super) const DELIVERY: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0004);
pub(super) const TASK: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0005);
pub(super) const ENTRY: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0007);
pub(super) const IMPORT: Uuid = Uuid::from_u128(0x0192_d3c4_0000_7000_8000_0000_0000_0006);
/// The chat that `alice` monitors.
pub(super) const CHAT: &str = "@some_channel";

pub(super) const T: UnixMillis = UnixMillis(1_795_230_245_678);

pub(super) fn owner() -> UserId {
    UserId::new("alice").unwrap()
}

/// What the fakes were asked, and how they are told to answer.
pub(super) struct Fake {
    pub(super) sent: AtomicUsize,
    /// Messages to `@hold` that came.
    pub(super) held: AtomicUsize,
    pub(super) last: Mutex<Option<Outgoing>>,
    pub(super) addresses: Mutex<Vec<Option<IpAddr>>>,
    /// Lets go of one message to `@hold`.
    pub(super) release: Notify,
    pub(super) followers: Mutex<Vec<(mpsc::Sender<FeedEntry>, Option<String>)>>,
    pub(super) imports: Arc<Imports>,
}

impl Fake {
    pub(super) fn new() -> Self {
        Self {
            sent: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            last: Mutex::default(),
            addresses: Mutex::default(),
            release: Notify::new(),
            followers: Mutex::default(),
            imports: Arc::default(),
        }
    }

    /// The fakes of all services.
    pub(super) fn services(self: &Arc<Self>) -> Services {
        Services {
            accounts: Arc::new(Accounts),
            logins: Arc::new(Logins(Arc::clone(self))),
            messages: Arc::new(Messages(Arc::clone(self))),
            campaigns: Arc::new(Campaigns),
            suppression: Arc::new(SuppressionLists),
            imports: self.imports.clone(),
            reports: Arc::new(Reports),
            monitors: Arc::new(Monitors),
            webhooks: Arc::new(Webhooks),
            audit: Arc::new(Audit),
            user_data: Arc::new(UserData),
            administration: Arc::new(Administration),
            changes: Arc::new(Changes(Arc::clone(self))),
        }
    }
}

pub(super) fn row<T>(who: &Caller, is_it: bool, what: &str, row: T) -> Result<T, Refusal> {
    let is_seen = is_it && who.scope().covers(&owner());
    is_seen.then_some(row).ok_or_else(|| Refusal::not_found(what))
}

pub(super) fn own_account(who: &Caller, id: AccountId) -> Result<AccountInfo, Refusal> {
    row(who, id.0 == ACCOUNT, "account", account())
}

fn page<T>(who: &Caller, row: T) -> Page<T> {
    let is_seen = who.scope().covers(&owner());
    Page { items: is_seen.then_some(row).into_iter().collect(), next_cursor: None }
}

fn account() -> AccountInfo {
    AccountInfo {
        id: AccountId(ACCOUNT),
        owner: None,
        is_bot: false,
        telegram_id: 42,
        phone_masked: Some("+7999•••••12".to_owned()),
        username: None,
        first_name: Some("Alice".to_owned()),
        state: AccountState::Error,
        trouble: Some(AccountTrouble {
            code: Code::SessionExpired,
            detail: "x".to_owned(),
            since: T,
        }),
        created_at: T,
        updated_at: T,
    }
}

fn connected() -> ConnectedAccount {
    ConnectedAccount { account: account(), previous_session: None }
}

fn status() -> AccountStatus {
    let scope = FloodWaitScope::Class(MethodClass::Send);
    AccountStatus {
        account: account(),
        since: T,
        flood_waits: vec![FloodWait { scope, until: T }],
        daily_limits: vec![DailyLimitUse { action: "send", used: 1, limit: 2, resets_at: T }],
        queue_length: 0,
        reconnects: 3,
        next: "connect it again",
    }
}

fn login(state: LoginState) -> LoginInfo {
    let link = SecretText::new("tg://login?token=x".to_owned());
    let next = NextDelivery { via: CodeVia::Sms, after_seconds: 60, at: T };
    let code = CodeDelivery { via: CodeVia::App, length: Some(5), next: Some(next) };
    LoginInfo {
        id: LoginId(LOGIN),
        state,
        expires_at: T,
        account: (state == LoginState::Active).then(account),
        previous_session: None,
        code: (state == LoginState::CodeSent).then_some(code),
        hint: None,
        email_pattern: (state == LoginState::PasswordRequired)
            .then(|| "j***n@example.org".to_owned()),
        link: (state == LoginState::WaitingScan).then_some((link, T)),
        error: None,
    }
}

fn chat() -> AttachedChat {
    AttachedChat {
        user: owner(),
        account: AccountId(ACCOUNT),
        chat: MarkedId(-1001),
        title: Some("Some".to_owned()),
        kind: "channel".to_owned(),
        username: None,
        is_member: true,
        is_admin: false,
        can_post: true,
        can_invite: false,
        checked_at: T,
    }
}

fn monitor() -> MonitorInfo {
    MonitorInfo {
        chat: ChatSpelling::Text(CHAT.to_owned()),
        owner: None,
        marked_id: Some(MarkedId(-1_001)),
        migrated_from: None,
        title: None,
        state: MonitorState::Active,
        since: Some(T),
        sessions: vec![SessionId("x".to_owned())],
        session: None,
        error: None,
        started_at: T,
    }
}

fn webhook(secret: Option<&str>) -> WebhookInfo {
    WebhookInfo {
        id: WebhookId(WEBHOOK),
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

fn dead() -> DeadRecord {
    let delivery = Delivery {
        user: owner(),
        webhook: WebhookId(WEBHOOK),
        seq: 1,
        line: Line(1),
        message_id: DELIVERY,
        kind: "account.changed".to_owned(),
        timestamp: 0,
        body: "{}".to_owned(),
        queued_at: T,
        attempts: 9,
        next_at: T,
        error: None,
    };
    DeadRecord { delivery, reason: "500".to_owned(), at: T }
}

fn keys() -> KeyStatus {
    let (provider, generation) = ("file".to_owned(), "1".to_owned());
    KeyStatus { provider, generation, created_at: T, pending: 0 }
}

struct Accounts;

#[async_trait]
impl AccountService for Accounts {
    async fn list(&self, who: &Caller, _: AccountQuery) -> Result<Page<AccountInfo>, Refusal> {
        Ok(page(who, account()))
    }

    async fn get(&self, who: &Caller, id: AccountId) -> Result<AccountInfo, Refusal> {
        own_account(who, id)
    }

    async fn status(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        own_account(who, id).map(|_| status())
    }

    async fn explain(&self, who: &Caller, id: AccountId) -> Result<AccountWhy, Refusal> {
        let timers = vec![Timer { what: "a pause".to_owned(), until: T }];
        let why = Why { evidence: vec!["seen".to_owned()], timers, next: "it ends" };
        let actor = Some(observed("account/one"));
        own_account(who, id).map(|_| AccountWhy { why, actor })
    }

    async fn pause(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.status(who, id).await
    }

    async fn resume(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.status(who, id).await
    }

    async fn reconnect(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.status(who, id).await
    }

    async fn remove(&self, who: &Caller, id: AccountId, _: bool) -> Result<(), Refusal> {
        own_account(who, id).map(drop)
    }

    async fn chats(
        &self,
        who: &Caller,
        id: AccountId,
        _: PageQuery,
    ) -> Result<Page<AttachedChat>, Refusal> {
        own_account(who, id).map(|_| page(who, chat()))
    }

    async fn attach_chat(
        &self,
        who: &Caller,
        id: AccountId,
        _: ChatRef,
    ) -> Result<AttachedChat, Refusal> {
        own_account(who, id).map(|_| chat())
    }
}

struct Logins(Arc<Fake>);

#[async_trait]
impl LoginService for Logins {
    async fn by_sms(&self, who: &Caller, _: SecretText) -> Result<LoginInfo, Refusal> {
        self.0.addresses.lock().unwrap().push(who.address);
        Ok(login(LoginState::CodeSent))
    }

    async fn by_qr(&self, _: &Caller) -> Result<LoginInfo, Refusal> {
        Ok(login(LoginState::WaitingScan))
    }

    async fn by_token(&self, _: &Caller, _: SecretText) -> Result<ConnectedAccount, Refusal> {
        Ok(connected())
    }

    async fn by_session(&self, _: &Caller, _: PastedSession) -> Result<SessionBrought, Refusal> {
        Ok(SessionBrought::Whole(connected()))
    }

    async fn get(&self, who: &Caller, id: LoginId) -> Result<LoginInfo, Refusal> {
        row(who, id.0 == LOGIN, "login", login(LoginState::WaitingScan))
    }

    async fn code(
        &self,
        who: &Caller,
        id: LoginId,
        code: SecretText,
    ) -> Result<LoginInfo, Refusal> {
        let done = row(who, id.0 == LOGIN, "login", login(LoginState::PasswordRequired))?;
        match code.expose() {
            "99999" => Err(Refusal::new(Code::CodeInvalid, "the code is wrong")),
            _ => Ok(done),
        }
    }

    async fn password(
        &self,
        who: &Caller,
        id: LoginId,
        _: SecretText,
    ) -> Result<LoginInfo, Refusal> {
        row(who, id.0 == LOGIN, "login", login(LoginState::Active))
    }

    async fn resend(&self, who: &Caller, id: LoginId) -> Result<LoginInfo, Refusal> {
        row(who, id.0 == LOGIN, "login", login(LoginState::CodeSent))
    }

    async fn request_recovery(&self, who: &Caller, id: LoginId) -> Result<LoginInfo, Refusal> {
        row(who, id.0 == LOGIN, "login", login(LoginState::PasswordRequired))
    }

    async fn recover(
        &self,
        who: &Caller,
        id: LoginId,
        _: SecretText,
    ) -> Result<LoginInfo, Refusal> {
        row(who, id.0 == LOGIN, "login", login(LoginState::Active))
    }

    async fn abandon(&self, who: &Caller, id: LoginId) -> Result<(), Refusal> {
        row(who, id.0 == LOGIN, "login", ())
    }
}

struct Messages(Arc<Fake>);

#[async_trait]
impl MessageService for Messages {
    async fn send(
        &self,
        who: &Caller,
        id: AccountId,
        message: Outgoing,
    ) -> Result<(SentMessage, bool), Refusal> {
        own_account(who, id)?;
        match message.to.as_str() {
            "@hold" => {
                self.0.held.fetch_add(1, Ordering::SeqCst);
                self.0.release.notified().await;
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
        *self.0.last.lock().unwrap() = Some(message);
        self.0.sent.fetch_add(1, Ordering::SeqCst);
        Ok((SentMessage { message_id: 7, date: T.0 / 1_000 }, is_replayed))
    }
}

struct Monitors;

#[async_trait]
impl MonitorService for Monitors {
    async fn list(&self, who: &Caller, _: MonitorQuery) -> Result<Page<MonitorInfo>, Refusal> {
        Ok(page(who, monitor()))
    }

    async fn get(&self, who: &Caller, chat: ChatRef) -> Result<MonitorInfo, Refusal> {
        row(who, chat.key().0 == CHAT, "monitor", monitor())
    }

    async fn put(
        &self,
        who: &Caller,
        chat: ChatRef,
        accounts: Vec<AccountId>,
    ) -> Result<(MonitorInfo, bool), Refusal> {
        for id in accounts {
            own_account(who, id)?;
        }
        Ok((monitor(), chat.key().0 != CHAT))
    }

    async fn delete(&self, who: &Caller, chat: ChatRef) -> Result<(), Refusal> {
        self.get(who, chat).await.map(drop)
    }
}

struct Webhooks;

#[async_trait]
impl WebhookService for Webhooks {
    async fn list(&self, who: &Caller, _: PageQuery) -> Result<Page<WebhookInfo>, Refusal> {
        Ok(page(who, webhook(None)))
    }

    async fn get(&self, who: &Caller, id: WebhookId) -> Result<WebhookInfo, Refusal> {
        row(who, id.0 == WEBHOOK, "webhook", webhook(None))
    }

    async fn create(&self, _: &Caller, _: WebhookOrder) -> Result<WebhookInfo, Refusal> {
        Ok(webhook(Some("whsec_x")))
    }

    async fn update(
        &self,
        who: &Caller,
        id: WebhookId,
        _: WebhookOrder,
    ) -> Result<WebhookInfo, Refusal> {
        self.get(who, id).await
    }

    async fn delete(&self, who: &Caller, id: WebhookId) -> Result<(), Refusal> {
        self.get(who, id).await.map(drop)
    }

    async fn dead_deliveries(
        &self,
        who: &Caller,
        id: WebhookId,
        _: PageQuery,
    ) -> Result<Page<DeadRecord>, Refusal> {
        self.get(who, id).await?;
        Ok(page(who, dead()))
    }

    async fn redeliver(&self, who: &Caller, id: WebhookId, delivery: Uuid) -> Result<(), Refusal> {
        self.get(who, id).await?;
        row(who, delivery == DELIVERY, "delivery", ())
    }
}

struct Audit;

#[async_trait]
impl AuditService for Audit {
    async fn list(&self, who: &Caller, _: AuditQuery) -> Result<Page<Entry>, Refusal> {
        let link = ChainLink {
            number: 1,
            at: T,
            action: "message.send".to_owned(),
            outcome: "ok".to_owned(),
            persons: Fingerprint([0; 32]),
            hash: [0; 32],
        };
        let persons = Persons {
            actor: "alice".to_owned(),
            owner: "alice".to_owned(),
            target: None,
            address: None,
            details: Some(Details::new("they asked for it")),
            salt: None,
        };
        Ok(page(who, Entry { link, persons }))
    }
}

struct UserData;

#[async_trait]
impl UserDataService for UserData {
    async fn erase(&self, who: &Caller, user: UserId) -> Result<Erased, Refusal> {
        let erased = Erased { accounts: 1, monitors: 1, audit_entries: 1 };
        row(who, user == owner(), "user", erased)
    }

    async fn export(
        &self,
        who: &Caller,
        user: UserId,
        _: WriteArchive,
    ) -> Result<Vec<u8>, Refusal> {
        row(who, user == owner(), "user", b"{}".to_vec())
    }
}

struct Administration;

#[async_trait]
impl AdministrationService for Administration {
    async fn key_status(&self, _: &Caller) -> Result<KeyStatus, Refusal> {
        Ok(keys())
    }

    async fn rotate_keys(&self, _: &Caller) -> Result<KeyStatus, Refusal> {
        Ok(keys())
    }

    async fn health(&self, _: &Caller, _: HealthQuery) -> Result<DetailedHealth, Refusal> {
        let commit_p99 = Duration::from_millis(3);
        let store = StoreFigures { outbox_depth: 0, waiting: 0, disk_bytes: 1, commit_p99 };
        Ok(DetailedHealth {
            accounts: none_troubled(),
            monitors: none_troubled(),
            tree: vec![observed("part/fleet")],
            store,
            audit_newest: 1,
            audit_hash: [0; 32],
        })
    }
}

fn observed(name: &str) -> MemberSnapshot {
    MemberSnapshot {
        name: name.to_owned(),
        kind: ChildKind::Part,
        state: MemberState::Running,
        since: T,
        mailbox: 2,
        last_message: Some(LastMessage { name: "Pulse", at: T, is_running: false }),
        restarts: 0,
    }
}

fn none_troubled<S: Ord, T>() -> TroubledPage<S, T> {
    TroubledPage { by_state: Default::default(), total: 0, listed: Vec::new(), next_cursor: None }
}

struct Changes(Arc<Fake>);

impl ChangeService for Changes {
    fn follow(&self, _: &Caller, after: Option<String>) -> mpsc::Receiver<FeedEntry> {
        let (sender, receiver) = mpsc::channel(4);
        self.0.followers.lock().unwrap().push((sender, after));
        receiver
    }
}
