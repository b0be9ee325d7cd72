//! Rows that belong to users. The owner is part of every row's name: who asks for a row names its owner,
//! and finds no other's. Owns the tables and the ids of rows, whose bytes sort as the rows are listed.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount};
use crate::protocol::logins::record::{LoginFloodWait, LoginRecord};
use crate::protocol::messages::record::{SENDS_KEPT_MS, SendRecord};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::{AccountId, LoginId, UserId, WebhookId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::webhooks::deliveries::{
    DEAD_KEPT_MS, DeadRecord, Delivery, Line, WebhookRecord,
};

/// A table of rows that belong to users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Accounts that users connected.
    OwnedAccount,
    /// Chats that are attached to accounts.
    AttachedChat,
    /// Messages that were sent under an idempotency key.
    Send,
    /// Logins under way. Sealed.
    Login,
    /// What Telegram made logins wait for. Sealed, because of whom it names.
    LoginFloodWait,
    /// Webhooks. Sealed, because of their secrets.
    Webhook,
    /// Events that wait for a webhook's endpoint. Sealed, because of the text in them.
    Delivery,
    /// Deliveries that were given up. Sealed, because of the text in them.
    DeadDelivery,
    /// Tasks of campaigns. Sealed, because of their texts.
    Task,
    /// How tasks fare: counts and paces, no names.
    TaskRun,
    /// Targets of tasks, some to a block. Sealed, because of the names and phone numbers in them.
    TargetBlock,
    /// The statuses of targets, a letter each.
    StatusPage,
    /// Attempts to reach targets, by their numbers: no names, no texts.
    Attempt,
    /// A user's own list of who is never contacted. Sealed, because of whom it names.
    Suppression,
    /// What campaigns made under an idempotency key: fingerprints and ids.
    Creation,
    /// Imports into tasks: counts and numbers of targets, no names.
    Import,
}

impl Table {
    /// All of them.
    pub(in crate::store) const ALL: [Self; 16] = [
        Self::OwnedAccount,
        Self::AttachedChat,
        Self::Send,
        Self::Login,
        Self::LoginFloodWait,
        Self::Webhook,
        Self::Delivery,
        Self::DeadDelivery,
        Self::Task,
        Self::TaskRun,
        Self::TargetBlock,
        Self::StatusPage,
        Self::Attempt,
        Self::Suppression,
        Self::Creation,
        Self::Import,
    ];

    /// What its rows are called in errors.
    pub(in crate::store) fn name(self) -> &'static str {
        match self {
            Self::OwnedAccount => "owned account",
            Self::AttachedChat => "chat",
            Self::Send => "send",
            Self::Login => "login",
            Self::LoginFloodWait => "login wait",
            Self::Webhook => "webhook",
            Self::Delivery => "delivery",
            Self::DeadDelivery => "dead delivery",
            Self::Task => "task",
            Self::TaskRun => "task run",
            Self::TargetBlock => "target block",
            Self::StatusPage => "status page",
            Self::Attempt => "attempt",
            Self::Suppression => "suppression",
            Self::Creation => "creation",
            Self::Import => "import",
        }
    }

    /// Whether its rows are sealed.
    pub(in crate::store) fn is_sealed(self) -> bool {
        match self {
            Self::OwnedAccount
            | Self::AttachedChat
            | Self::Send
            | Self::TaskRun
            | Self::StatusPage
            | Self::Attempt
            | Self::Creation
            | Self::Import => false,
            Self::Login
            | Self::LoginFloodWait
            | Self::Webhook
            | Self::Delivery
            | Self::DeadDelivery
            | Self::Task
            | Self::TargetBlock
            | Self::Suppression => true,
        }
    }
}

/// A number as bytes that sort as numbers do: negative ones before positive ones.
pub(in crate::store) fn ordered(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

/// The number that [`ordered`] made these bytes of.
pub(in crate::store) fn from_ordered(bytes: [u8; 8]) -> i64 {
    i64::from_be_bytes(bytes) ^ i64::MIN
}

/// The part of a row's key after its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowId(pub(in crate::store) Vec<u8>);

impl From<AccountId> for RowId {
    fn from(id: AccountId) -> Self {
        Self(id.0.as_bytes().to_vec())
    }
}

impl From<LoginId> for RowId {
    fn from(id: LoginId) -> Self {
        Self(id.0.as_bytes().to_vec())
    }
}

impl From<WebhookId> for RowId {
    fn from(id: WebhookId) -> Self {
        Self(id.0.as_bytes().to_vec())
    }
}

impl From<(AccountId, MarkedId)> for RowId {
    fn from((account, chat): (AccountId, MarkedId)) -> Self {
        let mut id = Self::from(account);
        id.0.extend_from_slice(&ordered(chat.0));
        id
    }
}

impl From<(AccountId, Fingerprint)> for RowId {
    fn from((account, key): (AccountId, Fingerprint)) -> Self {
        let mut id = Self::from(account);
        id.0.extend_from_slice(&key.0);
        id
    }
}

/// Names a delivery without reading it: its place in the outbox and its chat are part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryId {
    /// The endpoint.
    pub webhook: WebhookId,
    /// Its place in the outbox.
    pub seq: u64,
    /// Its chat.
    pub line: Line,
}

impl From<DeliveryId> for RowId {
    fn from(DeliveryId { webhook, seq, line }: DeliveryId) -> Self {
        let mut id = Self::from(webhook);
        id.0.extend_from_slice(&seq.to_be_bytes());
        id.0.extend_from_slice(&line.0.to_be_bytes());
        id
    }
}

impl DeliveryId {
    pub(in crate::store) fn of(id: &RowId) -> Option<Self> {
        let (webhook, rest) = id.0.split_first_chunk::<16>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let line = Line(u64::from_be_bytes(rest.try_into().ok()?));
        let webhook = WebhookId(Uuid::from_bytes(*webhook));
        Some(Self { webhook, seq: u64::from_be_bytes(*seq), line })
    }
}

/// Names a delivery that was given up. The newest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadId {
    /// The endpoint.
    pub webhook: WebhookId,
    /// When it was given up.
    pub at: UnixMillis,
    /// The event's id.
    pub message_id: Uuid,
}

impl From<DeadId> for RowId {
    fn from(DeadId { webhook, at, message_id }: DeadId) -> Self {
        let mut id = Self::from(webhook);
        id.0.extend_from_slice(&ordered(!at.0));
        id.0.extend_from_slice(message_id.as_bytes());
        id
    }
}

impl DeadId {
    pub(in crate::store) fn of(id: &RowId) -> Option<Self> {
        let (webhook, rest) = id.0.split_first_chunk::<16>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let message_id = Uuid::from_bytes(rest.try_into().ok()?);
        let at = UnixMillis(!from_ordered(*at));
        Some(Self { webhook: WebhookId(Uuid::from_bytes(*webhook)), at, message_id })
    }
}

/// A row that belongs to a user.
pub trait Row: Serialize + DeserializeOwned {
    /// Its table.
    const TABLE: Table;

    /// Whose it is.
    fn owner(&self) -> &UserId;

    /// Its id among those of its owner.
    fn id(&self) -> RowId;

    /// When it expires.
    fn expires_at(&self) -> Option<UnixMillis> {
        None
    }

    /// The row of the same owner that it belongs to, and without which it is ignored: what is written
    /// behind the removal of that one leaves nothing.
    fn parent(&self) -> Option<(Table, RowId)> {
        None
    }

    /// A byte that is kept in clear beside the row and goes with it, so that rows are told apart without being
    /// opened. Of tasks it is their status.
    fn mark(&self) -> Option<u8> {
        None
    }
}

impl Row for OwnedAccount {
    const TABLE: Table = Table::OwnedAccount;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.id.into()
    }
}

impl Row for AttachedChat {
    const TABLE: Table = Table::AttachedChat;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        (self.account, self.chat).into()
    }

    fn parent(&self) -> Option<(Table, RowId)> {
        Some((Table::OwnedAccount, self.account.into()))
    }
}

impl Row for SendRecord {
    const TABLE: Table = Table::Send;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        (self.account, self.key).into()
    }

    fn expires_at(&self) -> Option<UnixMillis> {
        Some(self.created_at.plus_ms(SENDS_KEPT_MS))
    }
}

impl Row for LoginRecord {
    const TABLE: Table = Table::Login;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.id.into()
    }
}

impl Row for LoginFloodWait {
    const TABLE: Table = Table::LoginFloodWait;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.id.into()
    }

    fn expires_at(&self) -> Option<UnixMillis> {
        Some(self.until)
    }
}

impl Row for WebhookRecord {
    const TABLE: Table = Table::Webhook;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.id.into()
    }
}

impl Row for Delivery {
    const TABLE: Table = Table::Delivery;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        DeliveryId { webhook: self.webhook, seq: self.seq, line: self.line }.into()
    }
}

impl Row for DeadRecord {
    const TABLE: Table = Table::DeadDelivery;

    fn owner(&self) -> &UserId {
        &self.delivery.user
    }

    fn id(&self) -> RowId {
        let Delivery { webhook, message_id, .. } = self.delivery;
        DeadId { webhook, at: self.at, message_id }.into()
    }

    fn expires_at(&self) -> Option<UnixMillis> {
        Some(self.at.plus_ms(DEAD_KEPT_MS))
    }
}

/// A row that is to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct RowWrite {
    pub(in crate::store) table: Table,
    pub(in crate::store) owner: UserId,
    pub(in crate::store) id: RowId,
    /// Its fields.
    pub(in crate::store) json: Zeroizing<Vec<u8>>,
    pub(in crate::store) expires_at: Option<UnixMillis>,
    /// Without this row of the same owner it is not kept.
    pub(in crate::store) parent: Option<(Table, RowId)>,
    /// What is kept in clear beside it.
    pub(in crate::store) mark: Option<u8>,
}

impl RowWrite {
    pub(in crate::store) fn of<R: Row>(row: &R) -> Self {
        Self {
            table: R::TABLE,
            owner: row.owner().clone(),
            id: row.id(),
            json: json_of(row),
            expires_at: row.expires_at(),
            parent: row.parent(),
            mark: row.mark(),
        }
    }
}

/// The fields of a row. Wiped on drop, for what is to be sealed.
pub(in crate::store) fn json_of<T: Serialize>(row: &T) -> Zeroizing<Vec<u8>> {
    let json = serde_json::to_vec(row)
        .expect("plain data with text keys, written to memory, always encodes");
    Zeroizing::new(json)
}

impl fmt::Debug for RowWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowWrite").field("table", &self.table).finish_non_exhaustive()
    }
}

/// Names the note that a row expires, as the store found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiryNote(pub(in crate::store) Vec<u8>);
