//! From operations to one atomic batch. Owns the meaning of every [`Op`] on disk; reads records only
//! to skip needless writes, and never writes itself.
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
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::telegram::updates::UpdateStateDelta;
use crate::protocol::tree::restart::RestartRecord;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};

use super::engine::{Batch, Engine, collect};
use super::erase;
use super::error::StoreError;
use super::hot::Hot;
use super::keys::{Keyring, Keys, Seal};
use super::layout::{self, kind};
use super::op::{Op, RESTARTS_KEPT};
use super::records::{self, CursorRecord};
use super::roster::{Listed, Roster};
use super::rows::RawRow;
use super::segment::{self, Content};
use super::trail::{self, TrailMark};

/// Rows that one [`Op::Expire`] forgets at the most: some milliseconds of the writer's time.
const EXPIRE_MAX: usize = 4_096;

/// What the writer knows of the records without reading them. At 10,000 accounts and as many
/// monitors about 1 MiB.
#[derive(Default)]
pub(super) struct Known {
    /// Chats with a monitor.
    pub(super) monitors: HashSet<ChatKey>,
    /// Accounts with a record.
    pub(super) accounts: HashSet<AuthKeyId>,
    /// Keys of the restart ledger, the oldest first.
    pub(super) ledger: VecDeque<Vec<u8>>,
    /// Tells apart ledger lines of one millisecond.
    pub(super) ledger_number: u32,
    /// Chats with a tombstone and its newest stamp: a chat that was stopped twice has one record.
    pub(super) tombstones: HashMap<ChatKey, u64>,
    /// Bytes of all segments written so far.
    pub(super) written: u64,
    /// The newest entry of the audit log.
    pub(super) trail: TrailMark,
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
pub(super) struct Group {
    batch: Batch,
    first: u64,
    entries: Vec<Arc<OutboxEntry>>,
    /// `None` when the monitor was deleted.
    cursors: BTreeMap<ChatKey, Option<Cursor>>,
    states: BTreeMap<AuthKeyId, StateEffect>,
    /// `None` when it was deleted.
    monitors: BTreeMap<ChatKey, Option<Listed>>,
    spooled: Option<u64>,
}

/// A group that is ready to be written.
pub(super) struct Ready {
    /// What to write.
    pub(super) batch: Batch,
    /// What follows once it is durable.
    pub(super) effects: Effects,
}

/// What a durable group means for memory.
pub(super) struct Effects {
    first: u64,
    entries: Vec<Arc<OutboxEntry>>,
    cursors: BTreeMap<ChatKey, Option<Cursor>>,
    states: BTreeMap<AuthKeyId, StateEffect>,
    monitors: BTreeMap<ChatKey, Option<Listed>>,
    /// How far the second reader of the outbox is then.
    pub(super) spooled: Option<u64>,
}

/// What a group reads.
pub(super) struct Context<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) master: &'a Keys,
    pub(super) known: &'a mut Known,
}

impl Group {
    /// A group whose first event gets the number `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            batch: Batch::default(),
            first,
            entries: Vec::new(),
            cursors: BTreeMap::new(),
            states: BTreeMap::new(),
            monitors: BTreeMap::new(),
            spooled: None,
        }
    }

    /// Adds an operation.
    pub(super) fn add(&mut self, op: Op, context: &mut Context<'_>) -> Result<(), StoreError> {
        match op {
            Op::Append(entry) => self.entries.push(Arc::new(entry)),
            Op::PutCursor { chat, cursor } => self.put_cursor(chat, cursor, context),
            Op::MoveUpdateState { account, delta } => self.move_state(account, delta, context),
            Op::SetUpdateState { account, state } => {
                if is_known(account, "update state", context) {
                    let key = layout::account(kind::UPDATE_STATE, account);
                    self.batch.put(key, records::to_compact(&state));
                    self.replace_state(account);
                }
            }
            Op::PutPeers { account, peers } => self.put_peers(account, &peers, context)?,
            Op::PutSession(record) => {
                self.batch.put(layout::session(&record.id), records::to_json(&record));
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
            Op::PutJob(job) => self.batch.put(layout::job(job.id), records::to_json(&job)),
            Op::DeleteJob(id) => self.batch.delete(layout::job(id)),
            Op::PutRestart(record) => self.put_restart(&record, context.known),
            Op::PutRow(row) => self.put_row(row, context)?,
            Op::DeleteRow(key) => self.batch.delete(key),
            Op::DeleteRows { from, to } => self.delete_range(from, to, context)?,
            Op::Spool(through) => self.spool(through, context)?,
            Op::EraseRows(owner) => erase::forget_rows(&mut self.batch, context.engine, &owner)?,
            Op::ForgetRestarts(user) => self.forget_restarts(&user, context)?,
            Op::BeginErasure(erasure) => {
                let key = layout::row(kind::ERASURE, &erasure.user, &[]);
                self.batch.put(key, records::to_json(&erasure));
            }
            Op::EndErasure(user) => self.batch.delete(layout::row(kind::ERASURE, &user, &[])),
            Op::Expire(at) => self.expire(at, context)?,
            Op::Audit(audit_event) => {
                trail::append(&mut self.batch, &mut context.known.trail, audit_event)?;
            }
            Op::Pseudonymise { user, pseudonym } => {
                trail::forget(&mut self.batch, context.engine, &user, &pseudonym)?;
            }
            Op::TrimTrail(at) => {
                trail::trim(&mut self.batch, context.engine, context.known.trail, at)?;
            }
            Op::PutDayCount(count) => self.put_day_count(count, context)?,
            Op::PutPersonWaits(person) => {
                let key = layout::person_waits(person.telegram_id);
                if let Some(until) = person.over_at() {
                    self.batch.put(layout::expiry(until, &key), Vec::new());
                }
                self.batch.put(key, records::to_json(&person));
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
        self.batch.put(key, records::to_json(record));
    }

    fn put_credentials(
        &mut self,
        credentials: &Credentials,
        context: &Context<'_>,
    ) -> Result<(), StoreError> {
        let key = layout::account(kind::CREDENTIALS, credentials.account);
        let plain = records::credentials_to_plain(credentials);
        let sealed = context.master.seal(&key, &plain)?;
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
        self.batch.put(layout::chat(kind::MONITOR, &chat), records::to_json(record));
        self.monitors.insert(chat.clone(), Some(Listed::from(record)));
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
            count.merge(&records::from_json("day count", &known)?);
        }
        self.batch.put(layout::expiry(count.over_at(), &key), Vec::new());
        self.batch.put(key, records::to_json(&count));
        Ok(())
    }

    fn put_row(&mut self, row: RawRow, context: &Context<'_>) -> Result<(), StoreError> {
        let RawRow { key, value, is_sealed, expires_at, parent } = row;
        if let Some(parent) = parent
            && self.batch.get(context.engine, &parent)?.is_none()
        {
            tracing::debug!("ignored a row of something that is gone");
            return Ok(());
        }
        if let Some(at) = expires_at {
            self.batch.put(layout::expiry(at, &key), Vec::new());
        }
        let value = match is_sealed {
            true => context.master.seal(&key, &value)?,
            false => value.to_vec(),
        };
        self.batch.put(key, value);
        Ok(())
    }

    fn spool(&mut self, through: u64, context: &Context<'_>) -> Result<(), StoreError> {
        let known = self.batch.get(context.engine, layout::SPOOLED)?;
        let known = known.map(|bytes| records::from_compact::<u64>("spooled", &bytes));
        let through = known.transpose()?.unwrap_or(0).max(through);
        self.batch.put(layout::SPOOLED.to_vec(), records::to_number(through));
        self.spooled = Some(through);
        Ok(())
    }

    fn forget_restarts(
        &mut self,
        user: &UserId,
        context: &mut Context<'_>,
    ) -> Result<(), StoreError> {
        let gone = erase::forget_restarts(&mut self.batch, context.engine, user)?;
        context.known.ledger.retain(|key| !gone.contains(key));
        Ok(())
    }

    fn expire(&mut self, at: UnixMillis, context: &Context<'_>) -> Result<(), StoreError> {
        let (from, _) = layout::all(kind::EXPIRY);
        let due = collect(context.engine, &from, &layout::expiry_hour(at), EXPIRE_MAX)?;
        for (note, _) in due {
            if let Some(row) = layout::expiring_row(&note)
                && !self.is_renewed(row, at, context)?
            {
                self.batch.delete(row.to_vec());
            }
            self.batch.delete(note);
        }
        Ok(())
    }

    /// Whether a row that was to go by now was written anew since: daily counts and people's waits are.
    fn is_renewed(
        &self,
        row: &[u8],
        at: UnixMillis,
        context: &Context<'_>,
    ) -> Result<bool, StoreError> {
        let over_at = match row.first() {
            Some(&kind::DAY_COUNT) => {
                let known = self.batch.get(context.engine, row)?;
                let count = known.map(|bytes| records::from_json::<DayCount>("day count", &bytes));
                count.transpose()?.map(|count| count.over_at())
            }
            Some(&kind::PERSON_WAITS) => {
                let known = self.batch.get(context.engine, row)?;
                let person = known
                    .map(|bytes| records::from_json::<PersonFloodWaits>("person waits", &bytes));
                person.transpose()?.and_then(|person| person.over_at())
            }
            _ => None,
        };
        Ok(over_at.is_some_and(|over_at| over_at > at))
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
            let record = records::to_compact(peer);
            if self.batch.get(context.engine, &key)?.as_ref() != Some(&record) {
                self.batch.put(key, record);
            }
        }
        Ok(())
    }

    fn put_restart(&mut self, record: &RestartRecord, known: &mut Known) {
        let key = layout::restart(record.at, known.ledger_number);
        known.ledger_number = known.ledger_number.wrapping_add(1);
        self.batch.put(key.clone(), records::to_json(record));
        known.ledger.push_back(key);
        if known.ledger.len() > RESTARTS_KEPT
            && let Some(oldest) = known.ledger.pop_front()
        {
            self.batch.delete(oldest);
        }
    }

    /// Completes the batch. `at` dates the events; `released` rides along with them.
    pub(super) fn finish(
        mut self,
        keyring: &Keyring,
        at: UnixMillis,
        released: u64,
        known: &mut Known,
    ) -> Result<Ready, StoreError> {
        let end = self.first + self.entries.len() as u64;
        let mut riding = Vec::new();
        for (chat, cursor) in &self.cursors {
            match cursor {
                Some(cursor) if end > self.first => riding.push((chat, cursor)),
                Some(cursor) => {
                    let record = CursorRecord { stamp: end, cursor: cursor.clone() };
                    let key = layout::chat(kind::CURSOR, chat);
                    self.batch.put(key, records::to_compact(&record));
                }
                None => {
                    let key = layout::chat(kind::TOMBSTONE, chat);
                    self.batch.put(key, records::to_number(end));
                    known.tombstones.insert(chat.clone(), end);
                }
            }
        }
        let content = Content {
            first: self.first,
            at,
            released,
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

/// Whether an account has a record. What else is written of one lives and dies with it: whoever still
/// writes when the account is gone leaves nothing behind.
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
    pub(super) fn before(&self, hot: &mut Hot) {
        for (account, effect) in &self.states {
            if effect.replaced {
                hot.drop_state(*account);
            }
        }
    }

    /// Whether [`Effects::before`] changes anything.
    pub(super) fn replaces_states(&self) -> bool {
        self.states.values().any(|effect| effect.replaced)
    }

    /// The number of the event after the last.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Whether there are events, with which the releases ride.
    pub(super) fn has_events(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Once the batch is durable. Returns the events and the number of the first one.
    pub(super) fn after(self, hot: &mut Hot, roster: &mut Roster) -> (u64, Vec<Arc<OutboxEntry>>) {
        for (key, listed) in self.monitors {
            roster.note(&key, listed);
        }
        let end = self.first + self.entries.len() as u64;
        for (chat, cursor) in self.cursors {
            match cursor {
                Some(cursor) if end > self.first => hot.put_cursor(chat, cursor, end),
                _ => hot.drop_cursor(&chat),
            }
        }
        for (account, effect) in self.states {
            if !effect.delta.is_empty() {
                hot.move_state(account, effect.delta);
            }
        }
        (self.first, self.entries)
    }
}
