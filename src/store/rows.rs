//! Rows that belong to users. The owner is part of every row's key: who asks for a row names its owner,
//! and finds no other's. Owns the tables and their keys; decides nothing.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount};
use crate::protocol::logins::record::{LoginFloodWait, LoginRecord};
use crate::protocol::messages::record::{SENDS_KEPT_MS, SendRecord};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::users::owner::{AccountId, LoginId, UserId, WebhookId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::webhooks::deliveries::{
    DEAD_KEPT_MS, DeadRecord, Delivery, Line, WebhookRecord,
};

use super::engine::Engine;
use super::error::StoreError;
use super::layout::{self, kind};
use super::{Op, Reader, records};

/// A table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub(super) kind: u8,
    pub(super) name: &'static str,
    /// Whether its rows are sealed.
    pub(super) is_sealed: bool,
}

impl Table {
    const fn open(kind: u8, name: &'static str) -> Self {
        Self { kind, name, is_sealed: false }
    }

    const fn sealed(kind: u8, name: &'static str) -> Self {
        Self { kind, name, is_sealed: true }
    }
}

/// All tables whose rows belong to users.
pub(super) const TABLES: [Table; 8] = [
    OwnedAccount::TABLE,
    AttachedChat::TABLE,
    SendRecord::TABLE,
    LoginRecord::TABLE,
    LoginFloodWait::TABLE,
    WebhookRecord::TABLE,
    Delivery::TABLE,
    DeadRecord::TABLE,
];

/// The part of a row's key after its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowId(Vec<u8>);

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
        id.0.extend_from_slice(&layout::ordered(chat.0));
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
    fn of(id: &RowId) -> Option<Self> {
        let (webhook, rest) = id.0.split_first_chunk::<16>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let line = Line(u64::from_be_bytes(rest.try_into().ok()?));
        let webhook = WebhookId(Uuid::from_bytes(*webhook));
        Some(Self { webhook, seq: u64::from_be_bytes(*seq), line })
    }
}

/// Names a delivery that was given up. The newest lies first.
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
        id.0.extend_from_slice(&layout::ordered(!at.0));
        id.0.extend_from_slice(message_id.as_bytes());
        id
    }
}

impl DeadId {
    fn of(id: &RowId) -> Option<Self> {
        let (webhook, rest) = id.0.split_first_chunk::<16>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let message_id = Uuid::from_bytes(rest.try_into().ok()?);
        let at = UnixMillis(!layout::from_ordered(*at));
        Some(Self { webhook: WebhookId(Uuid::from_bytes(*webhook)), at, message_id })
    }
}

/// A row that belongs to a user.
pub trait Row: Serialize + DeserializeOwned {
    /// Where it lies.
    const TABLE: Table;

    /// Whose it is.
    fn owner(&self) -> &UserId;

    /// Its id among those of its owner.
    fn id(&self) -> RowId;

    /// When it goes by itself.
    fn expires_at(&self) -> Option<UnixMillis> {
        None
    }

    /// The key of the row that it belongs to, and without which it is ignored: what is written behind the
    /// removal of that one leaves nothing.
    fn parent(&self) -> Option<Vec<u8>> {
        None
    }
}

impl Row for OwnedAccount {
    const TABLE: Table = Table::open(kind::OWNED_ACCOUNT, "owned account");

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.id.into()
    }
}

impl Row for AttachedChat {
    const TABLE: Table = Table::open(kind::CHAT, "chat");

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        (self.account, self.chat).into()
    }

    fn parent(&self) -> Option<Vec<u8>> {
        let account = RowId::from(self.account);
        Some(layout::row(OwnedAccount::TABLE.kind, &self.user, &account.0))
    }
}

impl Row for SendRecord {
    const TABLE: Table = Table::open(kind::SEND, "send");

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
    const TABLE: Table = Table::sealed(kind::LOGIN, "login");

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.id.into()
    }
}

impl Row for LoginFloodWait {
    const TABLE: Table = Table::sealed(kind::LOGIN_WAIT, "login wait");

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
    const TABLE: Table = Table::sealed(kind::WEBHOOK, "webhook");

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.id.into()
    }
}

impl Row for Delivery {
    const TABLE: Table = Table::sealed(kind::DELIVERY, "delivery");

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        DeliveryId { webhook: self.webhook, seq: self.seq, line: self.line }.into()
    }
}

impl Row for DeadRecord {
    const TABLE: Table = Table::sealed(kind::DEAD_DELIVERY, "dead delivery");

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

/// A row on its way to the disk.
#[derive(Clone, PartialEq, Eq)]
pub struct RawRow {
    pub(super) key: Vec<u8>,
    pub(super) value: Zeroizing<Vec<u8>>,
    pub(super) is_sealed: bool,
    pub(super) expires_at: Option<UnixMillis>,
    /// Without the row at this key it is not kept.
    pub(super) parent: Option<Vec<u8>>,
}

impl fmt::Debug for RawRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRow").field("kind", &self.key.first()).finish_non_exhaustive()
    }
}

impl Op {
    /// Keeps a user's row.
    pub fn put_row<R: Row>(row: &R) -> Self {
        Self::PutRow(RawRow {
            key: layout::row(R::TABLE.kind, row.owner(), &row.id().0),
            value: Zeroizing::new(records::to_json(row)),
            is_sealed: R::TABLE.is_sealed,
            expires_at: row.expires_at(),
            parent: row.parent(),
        })
    }

    /// Forgets a user's row.
    pub fn delete_row<R: Row>(owner: &UserId, id: impl Into<RowId>) -> Self {
        Self::DeleteRow(layout::row(R::TABLE.kind, owner, &id.into().0))
    }

    /// Forgets all rows of a user whose ids begin with `prefix`.
    pub fn delete_rows<R: Row>(owner: &UserId, prefix: impl Into<RowId>) -> Self {
        let (from, to) = layout::rows(R::TABLE.kind, owner, &prefix.into().0);
        Self::DeleteRows { from, to }
    }
}

impl Reader {
    /// One row of `owner`.
    ///
    /// # Errors
    /// When the disk fails, or the row cannot be read.
    pub fn row<R: Row>(
        &self,
        owner: &UserId,
        id: impl Into<RowId>,
    ) -> Result<Option<R>, StoreError> {
        let key = layout::row(R::TABLE.kind, owner, &id.into().0);
        let (engine, name) = (&*self.shared.engine, R::TABLE.name);
        if R::TABLE.is_sealed {
            let plain = self.shared.master.read(engine, name, &key)?;
            return plain.map(|plain| records::from_json(name, &plain)).transpose();
        }
        engine.get(&key)?.map(|value| records::from_json(name, &value)).transpose()
    }

    /// Up to `limit` rows of `owner` whose ids begin with `prefix`, in the order of their ids, after
    /// the id `after`.
    ///
    /// # Errors
    /// When the disk fails, or a row cannot be read.
    pub fn rows<R: Row>(
        &self,
        owner: &UserId,
        prefix: Option<RowId>,
        after: Option<RowId>,
        limit: usize,
    ) -> Result<Vec<R>, StoreError> {
        let prefix = prefix.map_or_else(Vec::new, |prefix| prefix.0);
        let (mut from, to) = layout::rows(R::TABLE.kind, owner, &prefix);
        if let Some(after) = after {
            from = layout::row(R::TABLE.kind, owner, &after.0);
            from.push(0);
        }
        self.scan_rows(&from, &to, limit)
    }

    /// What waits for an endpoint, in the order of the outbox.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn delivery_ids(
        &self,
        owner: &UserId,
        webhook: WebhookId,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        self.row_ids(Delivery::TABLE, owner, webhook, DeliveryId::of)
    }

    /// What was given up for an endpoint, the newest first.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn dead_ids(&self, owner: &UserId, webhook: WebhookId) -> Result<Vec<DeadId>, StoreError> {
        self.row_ids(DeadRecord::TABLE, owner, webhook, DeadId::of)
    }

    /// The ids of an endpoint's rows, without opening any.
    fn row_ids<T>(
        &self,
        table: Table,
        owner: &UserId,
        webhook: WebhookId,
        read: impl Fn(&RowId) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let (from, to) = layout::rows(table.kind, owner, &RowId::from(webhook).0);
        let head = layout::row(table.kind, owner, b"").len();
        let mut ids = Vec::new();
        self.shared.engine.scan(&from, &to, &mut |key, _| {
            ids.extend(key.get(head..).and_then(|id| read(&RowId(id.to_vec()))));
            true
        })?;
        Ok(ids)
    }

    /// The rows of everybody, for start-up and admins: by owner, then by id.
    ///
    /// # Errors
    /// When the disk fails, or a row cannot be read.
    pub fn all_rows<R: Row>(&self) -> Result<Vec<R>, StoreError> {
        let (from, to) = layout::all(R::TABLE.kind);
        self.scan_rows(&from, &to, usize::MAX)
    }

    fn scan_rows<R: Row>(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<R>, StoreError> {
        let name = R::TABLE.name;
        if !R::TABLE.is_sealed {
            return self.range(from, to, limit, |value| records::from_json(name, value));
        }
        let mut rows = Vec::new();
        self.shared.master.read_each(&*self.shared.engine, name, (from, to), |_, plain| {
            if rows.len() < limit {
                rows.push(records::from_json(name, &plain)?);
            }
            Ok(rows.len() < limit)
        })?;
        Ok(rows)
    }

    /// What the person or bot `telegram_id` did on `day`, if anything.
    ///
    /// # Errors
    /// When the disk fails, or the record cannot be read.
    pub fn day_count(&self, telegram_id: i64) -> Result<Option<DayCount>, StoreError> {
        let stored = self.shared.engine.get(&layout::day_count(telegram_id))?;
        stored.map(|bytes| records::from_json("day count", &bytes)).transpose()
    }

    /// What people have to wait for whose accounts went.
    ///
    /// # Errors
    /// When the disk fails, or a record cannot be read.
    pub fn person_waits(&self) -> Result<Vec<PersonFloodWaits>, StoreError> {
        let (from, to) = layout::all(kind::PERSON_WAITS);
        self.range(&from, &to, usize::MAX, |value| records::from_json("person waits", value))
    }
}
