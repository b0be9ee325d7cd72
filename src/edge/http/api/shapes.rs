//! What the API takes and gives, as JSON (`docs/http-api.md`). Plain data: names and forms are fixed
//! here and nowhere else; the OpenAPI document is generated from it.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroize;

use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::time::rfc3339_ms;

/// A moment, RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime, examples("2026-11-21T03:04:05.000Z"))]
pub(super) struct Time(pub UnixMillis);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339_ms(self.0))
    }
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Page<T: ToSchema> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A person's account.
    User,
    /// A bot.
    Bot,
}

/// Where an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Dialled for the first time.
    Connecting,
    /// Connected and answering.
    Active,
    /// Connected, while Telegram makes some of its calls wait.
    CoolingDown,
    /// Connected, while Telegram forbids what it begins.
    Limited,
    /// Held until it is resumed.
    Paused,
    /// Dialled again.
    Reconnecting,
    /// Unusable until somebody acts.
    Error,
}

/// Why an account is in trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Trouble {
    /// For programs.
    #[schema(examples("TG_SESSION_EXPIRED"))]
    pub code: String,
    /// For people.
    pub detail: String,
    /// Since when.
    pub since: Time,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Account {
    /// Its id: a UUID of version 7.
    pub id: Uuid,
    /// Whose it is; in answers to admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The platform.
    #[schema(examples("telegram"))]
    pub platform: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its id at Telegram.
    pub telegram_id: i64,
    /// Its phone number with most of its digits hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("+7999•••••12"))]
    pub phone_masked: Option<String>,
    /// Its public name, without `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its first name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Why it is in trouble, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Trouble>,
    /// What becomes of the session that it had before; only in the answer of a login that gave the
    /// account another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_session: Option<PreviousSession>,
    /// When it was connected first.
    pub created_at: Time,
    /// When what is known of it changed last.
    pub updated_at: Time,
}

/// What becomes of the session that an account had before it logged in anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PreviousSession {
    /// The daemon had made it, so Telegram is told to end it.
    Ended,
    /// It was brought from elsewhere, where it may be in use: it stays among the active sessions, until
    /// its person ends it in an official app.
    Kept,
}

/// Something that Telegram makes wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct CooldownView {
    /// What waits: `send`, `read`, `account`, `chat -100…`.
    pub scope: String,
    /// Until when.
    pub until: Time,
}

/// Use of a daily limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Cap {
    /// What is counted.
    #[schema(examples("send"))]
    pub action: String,
    /// How much of it was used today.
    pub used: u32,
    /// How much is allowed in a day.
    pub limit: u32,
    /// When it begins anew.
    pub resets_at: Time,
}

/// An account and how it fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AccountStatus {
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// Since when its state is what it is.
    pub since: Time,
    /// What Telegram makes wait.
    pub cooldowns: Vec<CooldownView>,
    /// Today's use of each limit.
    pub caps: Vec<Cap>,
    /// Requests that wait for it.
    pub queue_length: u32,
    /// Connections that ended and were made again since the daemon started.
    pub reconnects: u32,
    /// What happens next, in words.
    pub next: String,
}

/// Why an account is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct WhyView {
    /// What was seen, the latest last.
    pub evidence: Vec<String>,
    /// What ends by itself, and when.
    pub timers: Vec<TimerView>,
    /// What happens next, or what somebody has to do.
    pub next: String,
    /// What its actor shows of itself; absent while it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<MemberView>,
}

/// What a member of the tree shows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct MemberView {
    /// As the restart ledger calls it.
    pub name: String,
    /// `running`, `restarting` (after a pause), or `parked` (it crashed too often).
    pub state: &'static str,
    /// Since when it is so.
    pub since: Time,
    /// Messages that wait for it.
    pub mailbox: u64,
    /// The message that it handles, or handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<MessageView>,
    /// How often it was started again since the daemon started.
    pub restarts: u32,
}

/// A message that was handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct MessageView {
    /// The name of its kind.
    pub name: &'static str,
    /// When handling it began.
    pub at: Time,
    /// Whether it is being handled still.
    pub is_running: bool,
}

/// Something that ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct TimerView {
    /// What it is.
    pub what: String,
    /// When it ends.
    pub until: Time,
}

/// Where a login stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LoginState {
    /// Telegram sent a code.
    CodeSent,
    /// Somebody has to scan the picture.
    WaitingScan,
    /// The account's password is needed.
    PasswordRequired,
    /// Done.
    Active,
    /// It cannot go on.
    Failed,
    /// Its time is over.
    Expired,
}

/// How a login code is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CodeWay {
    /// A message of Telegram's in the person's other sessions.
    App,
    /// SMS.
    Sms,
    /// A call says it.
    Call,
    /// It is part of the number that calls.
    CallerNumber,
    /// E-mail.
    Email,
    /// The Fragment platform, for anonymous numbers.
    Fragment,
    /// Something newer than this daemon.
    Other,
}

/// How the newest code of a login went out, and what comes when it is asked for once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(examples(json!({
    "via": "sms", "length": 5, "next": "call", "next_after_seconds": 60,
    "next_at": "2026-11-21T03:05:05.000Z"
})))]
pub(super) struct CodeSent {
    /// How it went out.
    pub via: CodeWay,
    /// Its number of characters, where Telegram tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples(5))]
    pub length: Option<u32>,
    /// How it goes out when `/resend` asks for it; absent when Telegram offers nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<CodeWay>,
    /// Seconds that Telegram makes whoever asks wait after this code; 0: it may be asked for at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples(60))]
    pub next_after_seconds: Option<u32>,
    /// When they are over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Time>,
}

/// A picture to scan with a Telegram app that is logged in. Whoever has it may have somebody scan it,
/// and so has that account: no revealing `Debug`, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Qr {
    /// What it says: a `tg://login` link.
    pub url: String,
    /// The picture itself, an SVG document.
    pub svg: String,
    /// Until when it can be scanned; a new one is made before.
    pub expires_at: Time,
}

impl fmt::Debug for Qr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qr").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Drop for Qr {
    fn drop(&mut self) {
        self.url.zeroize();
        self.svg.zeroize();
    }
}

/// A login and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Login {
    /// Its id.
    pub login_id: Uuid,
    /// Where it stands.
    pub state: LoginState,
    /// When it is given up.
    pub expires_at: Time,
    /// The account, once it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// How the code went out, while one is awaited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeSent>,
    /// The hint that belongs to the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What Telegram shows of the address to which a code for a forgotten password went, once that was
    /// asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("j***n@example.org"))]
    pub email_pattern: Option<String>,
    /// The picture, while it waits to be scanned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qr: Option<Qr>,
    /// Why it cannot go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LoginError>,
}

/// Why a login cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct LoginError {
    /// For programs.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// A message that Telegram took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Sent {
    /// Its id in the chat.
    pub message_id: i32,
    /// When it was sent.
    pub date: Time,
}

/// A chat that was attached to an account, and what the account may do there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Chat {
    /// Its marked id: `-100…` a channel or supergroup, `-…` a basic group.
    pub id: i64,
    /// The same, under the name that monitors and events use.
    pub chat_id: i64,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is: `group`, `supergroup` or `channel`.
    pub kind: String,
    /// Its public name, without `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Whether the account is in the chat.
    pub is_member: bool,
    /// Whether it is an admin.
    pub is_admin: bool,
    /// Whether it may write.
    pub can_post: bool,
    /// Whether it may invite.
    pub can_invite: bool,
    /// The same four, together.
    pub rights: Rights,
    /// When this was looked up.
    pub checked_at: Time,
}

/// What an account may do in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Rights {
    /// Whether it is in the chat.
    pub is_member: bool,
    /// Whether it is an admin.
    pub is_admin: bool,
    /// Whether it may write.
    pub can_post: bool,
    /// Whether it may invite.
    pub can_invite: bool,
}

/// A monitored chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Monitor {
    /// The chat, as it was asked for.
    pub chat_id: serde_json::Value,
    /// Whose it is, in answers to admins only; those of the bridge have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its marked id, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marked_chat_id: Option<i64>,
    /// The marked id of the basic group that it was when it was asked for, if Telegram has made a
    /// supergroup of it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrated_from_chat_id: Option<i64>,
    /// Its title, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it stands.
    pub state: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The sessions or accounts that may listen, in their order; the first is the primary one.
    pub sessions: Vec<String>,
    /// The one that listens now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The last trouble, until it works again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was asked for.
    pub started_at: Time,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AuditEntry {
    /// Its number in the log.
    pub number: u64,
    /// When.
    pub at: Time,
    /// Who: a user id, or a pseudonym after the user's data were erased.
    pub actor: String,
    /// What was done.
    #[schema(examples("message.send"))]
    pub action: String,
    /// To what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How it ended: `ok`, or the code of the refusal; `begun` for a message before Telegram is called.
    pub outcome: String,
    /// What was written about it: of a campaign that is made, changed or started its `audience_basis`, up to 500
    /// characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// The hash that links it to the entry before, hexadecimal SHA-256.
    pub hash: String,
}

/// A webhook endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Webhook {
    /// Its id.
    pub id: Uuid,
    /// Where it is called.
    pub url: String,
    /// Which events it gets; empty: all.
    pub events: Vec<String>,
    /// Whether it is called at all.
    pub enabled: bool,
    /// The signing secret (`whsec_…`); only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Deliveries that wait.
    pub waiting: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// The last failure, until a delivery succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: Time,
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct DeadDelivery {
    /// The event's id, the same as in the header `webhook-id`.
    pub id: Uuid,
    /// The event's type.
    pub event: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: String,
    /// When it was given up.
    pub at: Time,
}

/// How the keys that protect the store fare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct KeyStatus {
    /// Where the root key comes from.
    pub provider: String,
    /// The generation that seals now.
    pub generation: String,
    /// When it was made.
    pub created_at: Option<Time>,
    /// Records that are still under an older one.
    pub pending: u64,
}

/// What became of a user's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Erased {
    /// Accounts whose sessions were wiped.
    pub accounts: u64,
    /// Monitors that were stopped.
    pub monitors: u64,
    /// Audit entries that were pseudonymised.
    pub audit_entries: u64,
}
