//! Which monitors there are, whose, and which chat each stands for: a list in memory, in step with the
//! disk, so that nobody reads everybody's rows to find the own ones. The writer alone changes it, by what
//! is durable. Owns the order of lists of monitors (the bridge's first, then by owner, then by chat) and
//! never reads a record. About 200 bytes a monitor.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::{ChatKey, ChatRef, ChatSpelling, ChatTarget, MarkedId};
use crate::protocol::users::owner::{Scope, UserId};

use super::error::StoreError;
use super::{Reader, Store};

/// The owner (the bridge has none) and the chat's part of the key.
type Place = (Option<String>, String);

/// What is known of a monitor without reading its record.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    spelling: ChatSpelling,
    marked_id: Option<MarkedId>,
    names: Vec<String>,
}

impl From<&MonitorRecord> for Listed {
    fn from(record: &MonitorRecord) -> Self {
        let spelling = record.chat.spelling.clone();
        Self { spelling, marked_id: record.marked_id, names: record.names.clone() }
    }
}

impl Listed {
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
pub(super) struct Roster(BTreeMap<Place, Listed>);

impl Roster {
    /// Takes note of a monitor as it is on disk now; `None`: it is gone.
    pub(super) fn note(&mut self, key: &ChatKey, listed: Option<Listed>) {
        match listed {
            Some(listed) => drop(self.0.insert(place_of(key), listed)),
            None => drop(self.0.remove(&place_of(key))),
        }
    }

    /// What lies behind `after` in `scope`.
    fn behind(
        &self,
        scope: &Scope,
        after: Option<&ChatKey>,
    ) -> impl Iterator<Item = (&Place, &Listed)> {
        let first = match scope {
            Scope::Only(user) => (Some(user.to_string()), String::new()),
            Scope::Everybody => (None, String::new()),
        };
        let from = match after.map(place_of) {
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

fn place_of(key: &ChatKey) -> Place {
    let (chat, owner) = key.parts();
    (owner.map(str::to_owned), chat.to_owned())
}

fn key_at((owner, chat): &Place) -> ChatKey {
    match owner {
        None => ChatKey(chat.clone()),
        Some(owner) => ChatKey(format!("{chat} of {owner}")),
    }
}

impl Store {
    /// How many monitors a user has.
    pub fn monitor_count(&self, owner: &UserId) -> usize {
        self.shared.read_roster().behind(&Scope::Only(owner.clone()), None).count()
    }

    /// The keys of up to `limit` monitors in `scope` behind the key `after`, whether that one is there
    /// or not. Those of the bridge are in everybody's scope only.
    pub fn monitor_keys(
        &self,
        scope: &Scope,
        after: Option<&ChatKey>,
        limit: usize,
    ) -> Vec<ChatKey> {
        let roster = self.shared.read_roster();
        roster.behind(scope, after).take(limit).map(|(place, _)| key_at(place)).collect()
    }

    /// The monitor in `scope` that watches `chat`: the one that was made under this very name, or else
    /// one that was made under another.
    pub fn monitor_of(&self, scope: &Scope, chat: &ChatRef) -> Option<ChatKey> {
        let roster = self.shared.read_roster();
        let name = chat.key().0;
        let exact = match scope {
            Scope::Only(user) => roster.0.get_key_value(&(Some(user.to_string()), name)),
            Scope::Everybody => roster.behind(scope, None).find(|((_, known), _)| *known == name),
        };
        let found = exact.or_else(|| roster.behind(scope, None).find(|(_, it)| it.is_of(chat)));
        found.map(|(place, _)| key_at(place))
    }

    /// The chat of a monitor, as it was asked for.
    pub fn monitor_spelling(&self, key: &ChatKey) -> Option<ChatSpelling> {
        let roster = self.shared.read_roster();
        roster.0.get(&place_of(key)).map(|listed| listed.spelling.clone())
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
