//! Which monitors there are, whose, and which chat each stands for: an index in memory, in step with the
//! disk, so that nobody reads everybody's rows to find the own ones. The writer alone changes it, by what
//! is durable. Owns the order of lists of monitors (the bridge's first, then by owner, then by chat) and
//! never reads a record. About 200 bytes a monitor.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::{ChatKey, ChatRef, ChatSpelling, ChatTarget, MarkedId};
use crate::protocol::users::owner::Scope;

/// The owner (the bridge has none) and the chat's part of the key.
type IndexKey = (Option<String>, String);

/// What is known of a monitor without reading its record.
#[derive(Clone, Debug)]
pub(in crate::store) struct IndexedMonitor {
    spelling: ChatSpelling,
    marked_id: Option<MarkedId>,
    names: Vec<String>,
}

impl From<&MonitorRecord> for IndexedMonitor {
    fn from(record: &MonitorRecord) -> Self {
        let spelling = record.chat.spelling.clone();
        Self { spelling, marked_id: record.marked_id, names: record.names.clone() }
    }
}

impl IndexedMonitor {
    /// Whether a monitor of `chat` may be this one, although it goes by another key.
    fn is_of(&self, chat: &ChatRef) -> bool {
        match &chat.target {
            ChatTarget::Marked(id) => self.marked_id == Some(*id),
            ChatTarget::Username(name) => self.names.contains(name),
            ChatTarget::Invite(_) => false,
        }
    }
}

/// The list.
#[derive(Debug, Default)]
pub(in crate::store) struct MonitorIndex(BTreeMap<IndexKey, IndexedMonitor>);

impl MonitorIndex {
    /// Takes note of a monitor as it is on disk now; `None`: it is gone.
    pub(in crate::store) fn note(&mut self, key: &ChatKey, monitor: Option<IndexedMonitor>) {
        match monitor {
            Some(monitor) => drop(self.0.insert(index_key(key), monitor)),
            None => drop(self.0.remove(&index_key(key))),
        }
    }

    /// How many monitors there are in `scope`.
    pub(in crate::store) fn count(&self, scope: &Scope) -> usize {
        self.after(scope, None).count()
    }

    /// The keys of up to `limit` monitors in `scope` behind the key `after`.
    pub(in crate::store) fn keys(
        &self,
        scope: &Scope,
        after: Option<&ChatKey>,
        limit: usize,
    ) -> Vec<ChatKey> {
        self.after(scope, after).take(limit).map(|(key, _)| chat_key(key)).collect()
    }

    /// The monitor in `scope` that watches `chat`: the one that was made under this very name, or else
    /// one that was made under another.
    pub(in crate::store) fn find(&self, scope: &Scope, chat: &ChatRef) -> Option<ChatKey> {
        let name = chat.key().0;
        let exact = match scope {
            Scope::Only(user) => self.0.get_key_value(&(Some(user.to_string()), name)),
            Scope::Everybody => self.after(scope, None).find(|((_, known), _)| *known == name),
        };
        let found = exact.or_else(|| self.after(scope, None).find(|(_, it)| it.is_of(chat)));
        found.map(|(key, _)| chat_key(key))
    }

    /// The chat of a monitor, as it was asked for.
    pub(in crate::store) fn spelling(&self, key: &ChatKey) -> Option<ChatSpelling> {
        self.0.get(&index_key(key)).map(|monitor| monitor.spelling.clone())
    }

    /// The monitors in `scope` behind the key `after`.
    fn after(
        &self,
        scope: &Scope,
        after: Option<&ChatKey>,
    ) -> impl Iterator<Item = (&IndexKey, &IndexedMonitor)> {
        let first = match scope {
            Scope::Only(user) => (Some(user.to_string()), String::new()),
            Scope::Everybody => (None, String::new()),
        };
        let from = match after.map(index_key) {
            Some(after) if after >= first => Bound::Excluded(after),
            _ => Bound::Included(first),
        };
        let listed = self.0.range((from, Bound::Unbounded));
        listed.take_while(move |((owner, _), _)| match scope {
            Scope::Only(user) => owner.as_deref() == Some(user.as_str()),
            Scope::Everybody => true,
        })
    }
}

fn index_key(key: &ChatKey) -> IndexKey {
    let (chat, owner) = key.parts();
    (owner.map(str::to_owned), chat.to_owned())
}

fn chat_key((owner, chat): &IndexKey) -> ChatKey {
    match owner {
        None => ChatKey(chat.clone()),
        Some(owner) => ChatKey(format!("{chat} of {owner}")),
    }
}
