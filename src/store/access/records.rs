//! Reading records by their keys, with what the overlays know better.
//! Reads wait for nobody and block for the disk; never writes.

use serde::de::DeserializeOwned;

use crate::protocol::accounts::record::{AccountRecord, Credentials};
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::chat::{ChatKey, MarkedId};
use crate::protocol::telegram::updates::UpdateState;
use crate::protocol::values::ids::AuthKeyId;

use super::reader::Reader;
use crate::store::contract::{Snapshot, StoreError};
use crate::store::engines::Engine;
use crate::store::format::encoding::{self, CursorRecord};
use crate::store::format::layout::{self, kind, record_name};
use crate::store::records::update_states;

impl Reader {
    /// Everything start-up needs. Blocks while it reads.
    pub fn load(&self) -> Result<Snapshot, StoreError> {
        let mut monitors = Vec::new();
        for monitor in self.all_json::<MonitorRecord>(kind::MONITOR)? {
            let cursor = self.cursor(&monitor.key())?;
            monitors.push((monitor, cursor));
        }
        Ok(Snapshot {
            sessions: self.all_json(kind::SESSION)?,
            accounts: self.all_json(kind::ACCOUNT)?,
            owned: self.all_rows()?,
            logins: self.all_rows()?,
            login_waits: self.all_rows()?,
            monitors,
            jobs: self.all_json(kind::JOB)?,
            restarts: self.all_json(kind::RESTART)?,
        })
    }

    pub(in crate::store) fn all_json<T: DeserializeOwned>(
        &self,
        kind: u8,
    ) -> Result<Vec<T>, StoreError> {
        let (from, to) = layout::all(kind);
        self.range(&from, &to, usize::MAX, |value| encoding::from_json(record_name(kind), value))
    }

    /// Decodes up to `limit` records of a range.
    pub(in crate::store) fn range<T>(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        decode: impl Fn(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut records = Vec::new();
        let mut outcome = Ok(());
        self.shared.engine.scan(from, to, &mut |_, value| {
            if records.len() < limit {
                match decode(value) {
                    Ok(record) => records.push(record),
                    Err(error) => outcome = Err(error),
                }
            }
            outcome.is_ok() && records.len() < limit
        })?;
        outcome.map(|()| records)
    }

    /// An account's open half.
    pub fn account(&self, account: AuthKeyId) -> Result<Option<AccountRecord>, StoreError> {
        self.one_json(kind::ACCOUNT, &layout::account(kind::ACCOUNT, account))
    }

    /// A monitor.
    pub fn monitor(&self, chat: &ChatKey) -> Result<Option<MonitorRecord>, StoreError> {
        self.one_json(kind::MONITOR, &layout::chat(kind::MONITOR, chat))
    }

    fn one_json<T: DeserializeOwned>(&self, kind: u8, key: &[u8]) -> Result<Option<T>, StoreError> {
        let stored = self.shared.engine.get(key)?;
        stored.map(|bytes| encoding::from_json(record_name(kind), &bytes)).transpose()
    }

    /// An account's credentials, unsealed for this call only.
    pub fn credentials(&self, account: AuthKeyId) -> Result<Option<Credentials>, StoreError> {
        let key = layout::account(kind::CREDENTIALS, account);
        let plain = self.shared.keys.read(&*self.shared.engine, "credentials", &key)?;
        plain.map(|plain| encoding::credentials_from_plain(account, &plain)).transpose()
    }

    /// An account's update state, including moves that have no record yet.
    pub fn update_state(&self, account: AuthKeyId) -> Result<Option<UpdateState>, StoreError> {
        // Nobody may wait for the disk with the overlays in hand. What a checkpoint writes in between is
        // moved back a little, which only makes Telegram repeat what the cursors recognise.
        let moved = self.shared.overlay().state(account).cloned();
        let stored = update_states::stored(&*self.shared.engine, account)?;
        let Some(delta) = moved else { return Ok(stored) };
        let mut state = stored.unwrap_or_default();
        state.apply(&delta);
        Ok(Some(state))
    }

    /// A monitor's cursor.
    pub fn cursor(&self, chat: &ChatKey) -> Result<Option<Cursor>, StoreError> {
        if let Some(record) = self.shared.overlay().cursor(chat) {
            return Ok(Some(record.cursor.clone()));
        }
        let stored = self.shared.engine.get(&layout::chat(kind::CURSOR, chat))?;
        let record = stored.map(|bytes| encoding::from_compact::<CursorRecord>("cursor", &bytes));
        Ok(record.transpose()?.map(|record| record.cursor))
    }

    /// Up to `limit` peers of an account, by id.
    pub fn peers(&self, account: AuthKeyId, limit: usize) -> Result<Vec<PeerRecord>, StoreError> {
        let (from, to) = layout::peers(account);
        self.range(&from, &to, limit, |value| encoding::from_compact("peer", value))
    }

    /// One peer of an account.
    pub fn peer(&self, account: AuthKeyId, id: MarkedId) -> Result<Option<PeerRecord>, StoreError> {
        let stored = self.shared.engine.get(&layout::peer(account, id))?;
        stored.map(|bytes| encoding::from_compact("peer", &bytes)).transpose()
    }
}
