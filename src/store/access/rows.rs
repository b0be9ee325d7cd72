//! Reading rows: those of users, always by their owner, and those that belong to nobody. Owns no rows; their
//! tables are in the contract.

use serde::de::DeserializeOwned;

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::users::owner::{UserId, WebhookId};

use super::reader::Reader;
use crate::store::contract::{
    DeadId, DeliveryId, Row, RowId, SharedRow, SharedTable, StoreError, Table,
};
use crate::store::engines::Engine;
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind};

/// What rows of a table are called in errors, and whether they are sealed.
#[derive(Clone, Copy)]
pub(super) struct Form {
    name: &'static str,
    is_sealed: bool,
}

impl From<Table> for Form {
    fn from(table: Table) -> Self {
        Self { name: table.name(), is_sealed: table.is_sealed() }
    }
}

impl From<SharedTable> for Form {
    fn from(table: SharedTable) -> Self {
        Self { name: table.name(), is_sealed: table.is_sealed() }
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
        self.one_row(R::TABLE.into(), &layout::row(kind::of(R::TABLE), owner, &id.into().0))
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
        let (mut from, to) = layout::rows(kind::of(R::TABLE), owner, &prefix);
        if let Some(after) = after {
            from = layout::row(kind::of(R::TABLE), owner, &after.0);
            from.push(0);
        }
        self.scan_rows(R::TABLE.into(), &from, &to, limit)
    }

    /// One row that belongs to no user.
    ///
    /// # Errors
    /// When the disk fails, or the row cannot be read.
    pub fn shared_row<R: SharedRow>(&self, id: impl Into<RowId>) -> Result<Option<R>, StoreError> {
        let key = layout::shared(kind::of_shared(R::TABLE), &id.into().0);
        self.one_row(R::TABLE.into(), &key)
    }

    /// Up to `limit` rows that belong to no user and whose ids begin with `prefix`, in the order of their ids,
    /// after the id `after`.
    ///
    /// # Errors
    /// When the disk fails, or a row cannot be read.
    pub fn shared_rows<R: SharedRow>(
        &self,
        prefix: Option<RowId>,
        after: Option<RowId>,
        limit: usize,
    ) -> Result<Vec<R>, StoreError> {
        let prefix = prefix.map_or_else(Vec::new, |prefix| prefix.0);
        let (mut from, to) = layout::shared_rows(kind::of_shared(R::TABLE), &prefix);
        if let Some(after) = after {
            from = layout::shared(kind::of_shared(R::TABLE), &after.0);
            from.push(0);
        }
        self.scan_rows(R::TABLE.into(), &from, &to, limit)
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
        self.row_ids(Table::Delivery, owner, webhook, DeliveryId::of)
    }

    /// What was given up for an endpoint, the newest first.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn dead_ids(&self, owner: &UserId, webhook: WebhookId) -> Result<Vec<DeadId>, StoreError> {
        self.row_ids(Table::DeadDelivery, owner, webhook, DeadId::of)
    }

    /// The ids of an endpoint's rows, without opening any.
    fn row_ids<T>(
        &self,
        table: Table,
        owner: &UserId,
        webhook: WebhookId,
        read: impl Fn(&RowId) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let (from, to) = layout::rows(kind::of(table), owner, &RowId::from(webhook).0);
        let head = layout::row(kind::of(table), owner, b"").len();
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
        let (from, to) = layout::all(kind::of(R::TABLE));
        self.scan_rows(R::TABLE.into(), &from, &to, usize::MAX)
    }

    /// The row at `key`.
    pub(super) fn one_row<T: DeserializeOwned>(
        &self,
        Form { name, is_sealed }: Form,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        let engine = &*self.shared.engine;
        if is_sealed {
            let plain = self.shared.keys.read(engine, name, key)?;
            return plain.map(|plain| encoding::from_json(name, &plain)).transpose();
        }
        engine.get(key)?.map(|value| encoding::from_json(name, &value)).transpose()
    }

    /// Up to `limit` rows of the keys `from..to`.
    pub(super) fn scan_rows<T: DeserializeOwned>(
        &self,
        Form { name, is_sealed }: Form,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        if !is_sealed {
            return self.range(from, to, limit, |value| encoding::from_json(name, value));
        }
        let mut rows = Vec::new();
        self.shared.keys.read_each(&*self.shared.engine, name, (from, to), |_, plain| {
            if rows.len() < limit {
                rows.push(encoding::from_json(name, &plain)?);
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
        stored.map(|bytes| encoding::from_json("day count", &bytes)).transpose()
    }

    /// What people have to wait for whose accounts went.
    ///
    /// # Errors
    /// When the disk fails, or a record cannot be read.
    pub fn person_waits(&self) -> Result<Vec<PersonFloodWaits>, StoreError> {
        let (from, to) = layout::all(kind::PERSON_WAITS);
        self.range(&from, &to, usize::MAX, |value| encoding::from_json("person waits", value))
    }
}
