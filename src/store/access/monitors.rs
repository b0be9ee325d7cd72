//! Which monitors there are, as the daemon asks for it: from memory, but for their records.

use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::{ChatKey, ChatRef, ChatSpelling};
use crate::protocol::users::owner::{Scope, UserId};

use super::reader::Reader;
use super::store::Store;
use crate::store::contract::StoreError;

impl Store {
    /// How many monitors a user has.
    pub fn monitor_count(&self, owner: &UserId) -> usize {
        self.shared.monitor_index().count(&Scope::Only(owner.clone()))
    }

    /// The keys of up to `limit` monitors in `scope` behind the key `after`, whether that one is there
    /// or not. Those of the bridge are in everybody's scope only.
    pub fn monitor_keys(
        &self,
        scope: &Scope,
        after: Option<&ChatKey>,
        limit: usize,
    ) -> Vec<ChatKey> {
        self.shared.monitor_index().keys(scope, after, limit)
    }

    /// The monitor in `scope` that watches `chat`: the one that was made under this very name, or else
    /// one that was made under another.
    pub fn monitor_of(&self, scope: &Scope, chat: &ChatRef) -> Option<ChatKey> {
        self.shared.monitor_index().find(scope, chat)
    }

    /// The chat of a monitor, as it was asked for.
    pub fn monitor_spelling(&self, key: &ChatKey) -> Option<ChatSpelling> {
        self.shared.monitor_index().spelling(key)
    }
}

impl Reader {
    /// The monitors with these keys, without those that are gone. Reads a record for each.
    ///
    /// # Errors
    /// When the disk fails, or one of them cannot be read.
    pub fn monitors_at(&self, keys: &[ChatKey]) -> Result<Vec<MonitorRecord>, StoreError> {
        keys.iter().filter_map(|key| self.monitor(key).transpose()).collect()
    }
}
