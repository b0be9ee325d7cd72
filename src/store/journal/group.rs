//! From operations to one atomic batch. Owns the meaning of every [`Op`] on disk; reads records only
//! to skip superfluous writes, and never writes itself.
//!
//! Cursors that move together with events ride in the group's segments instead of records of their
//! own; [`super::checkpoint`] writes those later. Every record of a cursor carries the sequence number
//! up to which it is current, its stamp, and a deleted monitor leaves a tombstone with one, so that
//! segments that are read again after a crash never bring back what is older.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::accounts::record::{AccountRecord, Credentials};
use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::updates::UpdateStateDelta;
use crate::protocol::tree::restart::RestartRecord;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};

use super::monitor_index::{IndexedMonitor, MonitorIndex};
use super::overlay::Overlay;
use super::segment::{self, Content};
use crate::store::contract::{
    AuditLogPosition, Op, RESTARTS_KEPT, RowId, RowWrite, SharedWrite, StoreError, Table,
};
use crate::store::engines::{Engine, WriteBatch};
use crate::store::format::encoding::{self, CursorRecord};
use crate::store::format::layout::{self, kind};
use crate::store::keys::{Keyring, Keys, Seal};
use crate::store::records::{audit_log, campaigns, erasure, expiry};

/// What the writer knows of the records without reading them. At 10,000 accounts and as many
/// monitors about 1 MiB.
#[derive(Default)]
pub(in crate::store) struct KnownRecords {
    /// Chats with a monitor.
    pub(in crate::store) monitors: HashSet<ChatKey>,
    /// Accounts with a record.
    pub(in crate::store) accounts: HashSet<AuthKeyId>,
    /// Keys of the restart ledger, the oldest first.
    pub(in crate::store) ledger: VecDeque<Vec<u8>>,
    /// Tells apart ledger lines of one millisecond.
    pub(in crate::store) ledger_number: u32,
    /// Chats with a tombstone and its newest stamp: a chat that was stopped twice has one record.
    pub(in crate::store) tombstones: HashMap<ChatKey, u64>,
    /// Bytes of all segments written so far.
    pub(in crate::store) written: u64,
    /// The newest entry of the audit log.
    pub(in crate::store) audit_head: AuditLogPosition,
}

/// What a group does to the update state of one account.
#[derive(Default)]
struct StateEffect {
    /// The record was replaced or deleted: earlier moves are void.
    replaced: bool,
    /// Moves after that.
    delta: UpdateStateDelta,
}

/// Operations being gathered.
pub(in crate::store) struct Group {
    batch: WriteBatch,
    first: u64,
    entries: Vec<Arc<OutboxEntry>>,
    /// `None` when the monitor was deleted.
    cursors: BTreeMap<ChatKey, Option<Cursor>>,
    states: BTreeMap<AuthKeyId, StateEffect>,
    /// `None` when it was deleted.
    monitors: BTreeMap<ChatKey, Option<IndexedMonitor>>,
    spooled: Option<u64>,
}

/// A group that is ready to be written.
pub(in crate::store) struct Ready {
    /// What to write.
    pub(in crate::store) batch: WriteBatch,
    /// What follows once it is durable.
    pub(in crate::store) effects: Effects,
}

/// What a durable group means for memory.
pub(in crate::store) struct Effects {
    first: u64,
    entries: Vec<Arc<OutboxEntry>>,
    cursors: BTreeMap<ChatKey, Option<Cursor>>,
    states: BTreeMap<AuthKeyId, StateEffect>,
    monitors: BTreeMap<ChatKey, Option<IndexedMonitor>>,
    /// How far the second reader of the outbox is then.
    pub(in crate::store) spooled: Option<u64>,
}

/// What a group reads.
pub(in crate::store) struct Context<'a> {
    pub(in crate::store) engine: &'a dyn Engine,
    pub(in crate::store) keys: &'a Keys,
    pub(in crate::store) known: &'a mut KnownRecords,
}

impl Group {
    /// A group whose first event gets the number `first`.
    pub(in crate::store) fn new(first: u64) -> Self {
        Self {
            batch: WriteBatch::default(),
            first,
            entries: Vec::new(),
            cursors: BTreeMap::new(),
            states: BTreeMap::new(),
            monitors: BTreeMap::new(),
            spooled: None,
        }
    }

    /// Adds an operation.
    pub(in crate::store) fn add(
        &mut self,
        op: Op,
        context: &mut Context<'_>,
    ) -> Result<(), StoreError> {
        match op {
            Op::Append(entry) => self.entries.push(Arc::new(entry)),
            Op::PutCursor { chat, cursor } => self.put_cursor(chat, cursor, context),
            Op::MoveUpdateState { account, delta } => self.move_state(account, delta, context),
            Op::SetUpdateState { account, state } => {
                if is_known(account, "update state", context) {
                    let key = layout::account(kind::UPDATE_STATE, account);
                    self.batch.put(key, encoding::to_compact(&state));
                    self.replace_state(account);
                }
            }
            Op::PutPeers { account, peers } => self.put_peers(account, &peers, context)?,
            Op::PutSession(record) => {
                self.batch.put(layout::session(&record.id), encoding::to_json(&record));
            }
            Op::DeleteSession(id) => self.batch.delete(layout::session(&id)),
            Op::PutAccount(record) => self.put_account(&record, context),
            Op::UpdateAccount(record) => {
                if is_known(record.id, "record", context) {
                    self.put_account(&record, context);
                }
            }
            Op::DeleteAccount(account) => self.delete_account(account, context)?,
            Op::PutCredentials(credentials) => self.put_credentials(&credentials, context)?,
            Op::PutMonitor(record) => self.put_monitor(&record, context),
            Op::DeleteMonitor(chat) => self.delete_monitor(chat, context),
            Op::PutJob(job) => self.batch.put(layout::job(job.id), encoding::to_json(&job)),
            Op::DeleteJob(id) => self.batch.delete(layout::job(id)),
            Op::PutRestart(record) => self.put_restart(&record, context.known),
            Op::PutRow(row) => self.put_row(row, context)?,
            Op::DeleteRow { table, owner, id } => {
                for kind in kinds_of(table) {
                    self.batch.delete(layout::row(kind, &owner, &id.0));
                }
            }
            Op::DeleteRows { table, owner, prefix } => {
                for kind in kinds_of(table) {
                    let (from, to) = layout::rows(kind, &owner, &prefix.0);
                    self.delete_range(from, to, context)?;
                }
            }
            Op::DeleteTask { owner, task } => {
                campaigns::delete_task(&mut self.batch, context.engine, &owner, task)?;
            }
            Op::PutShared(row) => self.put_shared(row, context)?,
            Op::DeleteShared { table, id } => {
                self.batch.delete(layout::shared(kind::of_shared(table), &id.0));
            }
            Op::PutRefusal { list, refusal } => {
                campaigns::put_refusal(&mut self.batch, context.engine, &list, &refusal)?;
            }
            Op::LiftRefusal { list, refusal } => {
                campaigns::lift_refusal(&mut self.batch, context.engine, &list, &refusal)?;
            }
            Op::DeleteExpiryNote(note) => self.batch.delete(note.0),
            Op::Spool(through) => self.spool(through, context)?,
            Op::EraseRows(owner) => erasure::delete_rows(&mut self.batch, context.engine, &owner)?,
            Op::ForgetRestarts(user) => self.delete_restarts(&user, context)?,
            Op::BeginErasure(erasure) => {
                let key = layout::row(kind::ERASURE, &erasure.user, &[]);
                self.batch.put(key, encoding::to_json(&erasure));
            }
            Op::EndErasure(user) => self.batch.delete(layout::row(kind::ERASURE, &user, &[])),
            Op::Expire(at) => expiry::expire(&mut self.batch, context.engine, at)?,
            Op::Audit(audit_event) => {
                audit_log::append(&mut self.batch, &mut context.known.audit_head, audit_event)?;
            }
            Op::Pseudonymise { user, pseudonym } => {
                audit_log::pseudonymise(&mut self.batch, context.engine, &user, &pseudonym)?;
            }
            Op::TrimAuditLog(at) => {
                audit_log::trim(&mut self.batch, context.engine, context.known.audit_head, at)?;
            }
            Op::PutDayCount(count) => self.put_day_count(count, context)?,
            Op::PutPersonWaits(person) => {
                let key = layout::person_waits(person.telegram_id);
                if let Some(until) = person.over_at() {
                    self.batch.put(layout::expiry(until, &key), Vec::new());
                }
                self.batch.put(key, encoding::to_json(&person));
            }
            Op::DeletePersonWaits(id) => self.batch.delete(layout::person_waits(id)),
        }
        Ok(())
    }

    fn put_account(&mut self, record: &AccountRecord, context: &mut Context<'_>) {
        if context.known.accounts.insert(record.id) {
            // Nothing of an account that had the same key before, and went, is the new one's.
            self.batch.delete(layout::account(kind::UPDATE_STATE, record.id));
            self.replace_state(record.id);
        }
        let key = layout::account(kind::ACCOUNT, record.id);
        self.batch.put(key, encoding::to_json(record));
    }

    fn put_credentials(
        &mut self,
        credentials: &Credentials,
        context: &Context<'_>,
    ) -> Result<(), StoreError> {
        let key = layout::account(kind::CREDENTIALS, credentials.account);
        let plain = encoding::credentials_to_plain(credentials);
        let sealed = context.keys.seal(&key, &plain)?;
        self.batch.put(key, sealed);
        Ok(())
    }

    fn put_cursor(&mut self, chat: ChatKey, cursor: Cursor, context: &Context<'_>) {
        if context.known.monitors.contains(&chat) {
            self.cursors.insert(chat, Some(cursor));
        } else {
            tracing::debug!(%chat, "ignored the cursor of a chat that has no monitor");
        }
    }

    fn put_monitor(&mut self, record: &MonitorRecord, context: &mut Context<'_>) {
        let chat = record.key();
        self.batch.put(layout::chat(kind::MONITOR, &chat), encoding::to_json(record));
        self.monitors.insert(chat.clone(), Some(IndexedMonitor::from(record)));
        context.known.monitors.insert(chat);
    }

    fn delete_monitor(&mut self, chat: ChatKey, context: &mut Context<'_>) {
        context.known.monitors.remove(&chat);
        self.batch.delete(layout::chat(kind::MONITOR, &chat));
        self.batch.delete(layout::chat(kind::CURSOR, &chat));
        self.monitors.insert(chat.clone(), None);
        self.cursors.insert(chat, None);
    }

    fn move_state(&mut self, account: AuthKeyId, delta: UpdateStateDelta, context: &Context<'_>) {
        if is_known(account, "update state", context) {
            self.states.entry(account).or_default().delta.merge(delta);
        }
    }

    fn replace_state(&mut self, account: AuthKeyId) {
        let replaced = StateEffect { replaced: true, delta: UpdateStateDelta::default() };
        self.states.insert(account, replaced);
    }

    fn delete_account(
        &mut self,
        account: AuthKeyId,
        context: &mut Context<'_>,
    ) -> Result<(), StoreError> {
        context.known.accounts.remove(&account);
        self.replace_state(account);
        for kind in [kind::ACCOUNT, kind::CREDENTIALS, kind::UPDATE_STATE] {
            self.batch.delete(layout::account(kind, account));
        }
        let (from, to) = layout::peers(account);
        self.delete_range(from, to, context)
    }

    /// Deletes what is in `from..to` on disk, and what this group was to write there.
    fn delete_range(
        &mut self,
        from: Vec<u8>,
        to: Vec<u8>,
        context: &Context<'_>,
    ) -> Result<(), StoreError> {
        let written = self.batch.writes.range(from.clone()..to.clone());
        let mut keys: Vec<Vec<u8>> = written.map(|(key, _)| key.clone()).collect();
        context.engine.scan(&from, &to, &mut |key, _| {
            keys.push(key.to_vec());
            true
        })?;
        keys.into_iter().for_each(|key| self.batch.delete(key));
        Ok(())
    }

    /// Two who count at once may hand in their counts in the wrong order.
    fn put_day_count(
        &mut self,
        mut count: DayCount,
        context: &Context<'_>,
    ) -> Result<(), StoreError> {
        let key = layout::day_count(count.telegram_id);
        if let Some(known) = self.batch.get(context.engine, &key)? {
            count.merge(&encoding::from_json("day count", &known)?);
        }
        self.batch.put(layout::expiry(count.over_at(), &key), Vec::new());
        self.batch.put(key, encoding::to_json(&count));
        Ok(())
    }

    fn put_row(&mut self, row: RowWrite, context: &Context<'_>) -> Result<(), StoreError> {
        let RowWrite { table, owner, id, json, expires_at, parent, mark } = row;
        let row_key = |table, id: &RowId| layout::row(kind::of(table), &owner, &id.0);
        if let Some((parent, id)) = parent
            && self.batch.get(context.engine, &row_key(parent, &id))?.is_none()
        {
            tracing::debug!("ignored a row of something that is gone");
            return Ok(());
        }
        let key = row_key(table, &id);
        if let Some(at) = expires_at {
            self.batch.put(layout::expiry(at, &key), Vec::new());
        }
        if let (Some(mark), Some(kind)) = (mark, kind::of_marks(table)) {
            self.batch.put(layout::row(kind, &owner, &id.0), encoding::to_compact(&mark));
        }
        self.put_fields(key, &json, table.is_sealed(), context)
    }

    fn put_shared(&mut self, row: SharedWrite, context: &Context<'_>) -> Result<(), StoreError> {
        let SharedWrite { table, id, json, expires_at } = row;
        let key = layout::shared(kind::of_shared(table), &id.0);
        if campaigns::is_void(&self.batch, context.engine, table, &key, &json)? {
            return Ok(());
        }
        let merged = campaigns::merged(&self.batch, context.engine, (table, &key), &json)?;
        let json = merged.map_or(json, |row| row.json);
        if let Some(at) = expires_at {
            self.batch.put(layout::steady_expiry(at, &key), Vec::new());
        }
        self.put_fields(key, &json, table.is_sealed(), context)
    }

    /// Writes the fields of a row, sealed where they are to be.
    fn put_fields(
        &mut self,
        key: Vec<u8>,
        json: &[u8],
        is_sealed: bool,
        context: &Context<'_>,
    ) -> Result<(), StoreError> {
        let record = encoding::versioned(json);
        let value = match is_sealed {
            true => context.keys.seal(&key, &record)?,
            false => record.to_vec(),
        };
        self.batch.put(key, value);
        Ok(())
    }

    fn spool(&mut self, through: u64, context: &Context<'_>) -> Result<(), StoreError> {
        let known = self.batch.get(context.engine, layout::SPOOLED)?;
        let known = known.map(|bytes| encoding::from_compact::<u64>("spooled", &bytes));
        let through = known.transpose()?.unwrap_or(0).max(through);
        self.batch.put(layout::SPOOLED.to_vec(), encoding::to_number(through));
        self.spooled = Some(through);
        Ok(())
    }

    fn delete_restarts(
        &mut self,
        user: &UserId,
        context: &mut Context<'_>,
    ) -> Result<(), StoreError> {
        let gone = erasure::delete_restarts(&mut self.batch, context.engine, user)?;
        context.known.ledger.retain(|key| !gone.contains(key));
        Ok(())
    }

    fn put_peers(
        &mut self,
        account: AuthKeyId,
        peers: &[PeerRecord],
        context: &Context<'_>,
    ) -> Result<(), StoreError> {
        if !is_known(account, "peers", context) {
            return Ok(());
        }
        for peer in peers {
            let key = layout::peer(account, peer.id);
            let record = encoding::to_compact(peer);
            if self.batch.get(context.engine, &key)?.as_ref() != Some(&record) {
                self.batch.put(key, record);
            }
        }
        Ok(())
    }

    fn put_restart(&mut self, record: &RestartRecord, known: &mut KnownRecords) {
        let key = layout::restart(record.at, known.ledger_number);
        known.ledger_number = known.ledger_number.wrapping_add(1);
        self.batch.put(key.clone(), encoding::to_json(record));
        known.ledger.push_back(key);
        if known.ledger.len() > RESTARTS_KEPT
            && let Some(oldest) = known.ledger.pop_front()
        {
            self.batch.delete(oldest);
        }
    }

    /// Completes the batch. `at` dates the events; `acknowledged` rides along with them.
    pub(in crate::store) fn finish(
        mut self,
        keyring: &Keyring,
        at: UnixMillis,
        acknowledged: u64,
        known: &mut KnownRecords,
    ) -> Result<Ready, StoreError> {
        let end = self.first + self.entries.len() as u64;
        let mut riding = Vec::new();
        for (chat, cursor) in &self.cursors {
            match cursor {
                Some(cursor) if end > self.first => riding.push((chat, cursor)),
                Some(cursor) => {
                    let record = CursorRecord { stamp: end, cursor: cursor.clone() };
                    let key = layout::chat(kind::CURSOR, chat);
                    self.batch.put(key, encoding::to_compact(&record));
                }
                None => {
                    let key = layout::chat(kind::TOMBSTONE, chat);
                    self.batch.put(key, encoding::to_number(end));
                    known.tombstones.insert(chat.clone(), end);
                }
            }
        }
        let content = Content {
            first: self.first,
            at,
            acknowledged,
            before: known.written,
            entries: &self.entries,
            cursors: &riding,
        };
        known.written = segment::write(&mut self.batch, keyring, &content)?;
        let Self { batch, first, entries, cursors, states, monitors, spooled } = self;
        let effects = Effects { first, entries, cursors, states, monitors, spooled };
        Ok(Ready { batch, effects })
    }
}

/// The kinds of record that a row of a table has.
fn kinds_of(table: Table) -> impl Iterator<Item = u8> {
    [kind::of(table)].into_iter().chain(kind::of_marks(table))
}

/// Whether an account has a record. Anything else that is written of an account exists only with it:
/// a late write leaves nothing behind.
fn is_known(account: AuthKeyId, what: &str, context: &Context<'_>) -> bool {
    let is_known = context.known.accounts.contains(&account);
    if !is_known {
        tracing::debug!(%account, what, "ignored something of an account without a record");
    }
    is_known
}

impl Effects {
    /// Before the batch is applied: moves that a replaced update state makes void go, so that
    /// nobody reads them on top of the new record.
    pub(in crate::store) fn apply_before_write(&self, overlay: &mut Overlay) {
        for (account, effect) in &self.states {
            if effect.replaced {
                overlay.drop_state(*account);
            }
        }
    }

    /// Whether [`Effects::apply_before_write`] changes anything.
    pub(in crate::store) fn replaces_states(&self) -> bool {
        self.states.values().any(|effect| effect.replaced)
    }

    /// The number of the event after the last.
    pub(in crate::store) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Whether there are events, with which the acknowledged offset is written.
    pub(in crate::store) fn has_events(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Once the batch is durable. Returns the events and the number of the first one.
    pub(in crate::store) fn apply_once_durable(
        self,
        overlay: &mut Overlay,
        monitor_index: &mut MonitorIndex,
    ) -> (u64, Vec<Arc<OutboxEntry>>) {
        for (key, listed) in self.monitors {
            monitor_index.note(&key, listed);
        }
        let end = self.first + self.entries.len() as u64;
        for (chat, cursor) in self.cursors {
            match cursor {
                Some(cursor) if end > self.first => overlay.put_cursor(chat, cursor, end),
                _ => overlay.drop_cursor(&chat),
            }
        }
        for (account, effect) in self.states {
            if !effect.delta.is_empty() {
                overlay.move_state(account, effect.delta);
            }
        }
        (self.first, self.entries)
    }
}
