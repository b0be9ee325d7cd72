//! Rows that belong to no user and outlive every user: what people at Telegram have done and refused, whoever asked
//! for it, and what the installation has once. Owns their tables and ids. Nothing in them names a user: where a
//! user's list has to be told apart, it is named by a tag that only the installation's key leads to.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::protocol::campaigns::account::ActorRecord;
use crate::protocol::campaigns::caps::{Budget, CapClock, UseCount};
use crate::protocol::campaigns::respect::{Contacted, Covers, ListTag, Refusal, SuppressionKey};
use crate::protocol::values::ids::UnixMillis;

use super::rows::{RowId, json_of, ordered};

/// A table of rows that belong to no user. Erasing a user leaves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedTable {
    /// How often a person or bot at Telegram did something, by the minute. Merged with what is there, in whatever order
    /// it is handed in.
    UseCount,
    /// What else campaigns know of a person or bot at Telegram that acts for them.
    Actor,
    /// When a person was last reached.
    Contacted,
    /// Who refuses what, under keys that name nobody.
    Refusal,
    /// The installation's list of who is never contacted. Sealed, because of whom it names.
    InstallationSuppression,
    /// The steady timeline of campaigns: one row, which never goes back, in whatever order it is handed in.
    CampaignClock,
    /// The installation's key: one row, which is written once; a later one is ignored. Sealed.
    InstallationKey,
}

impl SharedTable {
    /// All of them.
    #[cfg(test)]
    pub(in crate::store) const ALL: [Self; 7] = [
        Self::UseCount,
        Self::Actor,
        Self::Contacted,
        Self::Refusal,
        Self::InstallationSuppression,
        Self::CampaignClock,
        Self::InstallationKey,
    ];

    /// What its rows are called in errors.
    pub(in crate::store) fn name(self) -> &'static str {
        match self {
            Self::UseCount => "use count",
            Self::Actor => "campaign actor",
            Self::Contacted => "contacted person",
            Self::Refusal => "refusal",
            Self::InstallationSuppression => "installation suppression",
            Self::CampaignClock => "campaign clock",
            Self::InstallationKey => "installation key",
        }
    }

    /// Whether its rows are sealed.
    pub(in crate::store) fn is_sealed(self) -> bool {
        match self {
            Self::UseCount
            | Self::Actor
            | Self::Contacted
            | Self::Refusal
            | Self::CampaignClock => false,
            Self::InstallationSuppression | Self::InstallationKey => true,
        }
    }
}

/// A row that belongs to no user.
pub trait SharedRow: Serialize + DeserializeOwned {
    /// Its table.
    const TABLE: SharedTable;

    /// Its id.
    fn id(&self) -> RowId;

    /// When it expires, on the steady timeline of campaigns ([`CampaignClock`]): a clock of the machine that is set
    /// forward lets none of them go.
    fn expires_at(&self) -> Option<UnixMillis> {
        None
    }
}

impl RowId {
    /// The only row of its table.
    pub const ONLY: Self = Self(Vec::new());

    /// What is known of a person or bot at Telegram: the row of it, or what the ids of its rows begin with.
    pub fn of_person(telegram_id: i64) -> Self {
        Self(ordered(telegram_id).to_vec())
    }
}

/// The letter of a budget. Part of the stored format.
fn letter_of_budget(budget: Budget) -> u8 {
    match budget {
        Budget::Invite => b'i',
        Budget::Message => b'm',
        Budget::LinkMessage => b'l',
        Budget::Resolve => b'r',
        Budget::Contact => b'c',
    }
}

impl SharedRow for UseCount {
    const TABLE: SharedTable = SharedTable::UseCount;

    fn id(&self) -> RowId {
        let mut id = RowId::of_person(self.telegram_id);
        id.0.push(letter_of_budget(self.budget));
        id.0.extend_from_slice(&ordered(i64::from(self.minute)));
        id
    }

    fn expires_at(&self) -> Option<UnixMillis> {
        Some(self.over_at())
    }
}

impl SharedRow for ActorRecord {
    const TABLE: SharedTable = SharedTable::Actor;

    fn id(&self) -> RowId {
        RowId::of_person(self.telegram_id)
    }
}

/// When a person was last reached, by the tasks of one list's user or by those of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactedRecord {
    /// The person at Telegram.
    pub person: i64,
    /// By whose tasks.
    pub list: ListTag,
    /// When and by which.
    pub last: Contacted,
    /// Until when it is kept, on the steady timeline: as long as a recontact window may look at it.
    pub until: UnixMillis,
}

/// A person, reached by the tasks of one list's user.
impl From<(i64, ListTag)> for RowId {
    fn from((person, list): (i64, ListTag)) -> Self {
        let mut id = Self::of_person(person);
        id.0.extend_from_slice(&list.0);
        id
    }
}

impl SharedRow for ContactedRecord {
    const TABLE: SharedTable = SharedTable::Contacted;

    fn id(&self) -> RowId {
        (self.person, self.list).into()
    }

    fn expires_at(&self) -> Option<UnixMillis> {
        Some(self.until)
    }
}

/// The letter of what a refusal covers. Part of the stored format.
fn letter_of_covers(covers: Covers) -> u8 {
    match covers {
        Covers::Everything => b'e',
        Covers::Messages => b'm',
        Covers::Invitations => b'i',
        Covers::ThisGroup => b'g',
    }
}

/// What the ids of all refusals of one identifier begin with.
impl From<SuppressionKey> for RowId {
    fn from(key: SuppressionKey) -> Self {
        Self(key.0.to_vec())
    }
}

impl SharedRow for Refusal {
    const TABLE: SharedTable = SharedTable::Refusal;

    fn id(&self) -> RowId {
        let mut id = RowId::from(self.key);
        id.0.extend_from_slice(&self.list.0);
        id.0.push(letter_of_covers(self.covers));
        if let Some(group) = self.group {
            id.0.extend_from_slice(&ordered(group.0));
        }
        id
    }
}

/// Where the steady timeline of campaigns has come to, for the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignClock {
    /// What time it was on it.
    pub clock: CapClock,
}

impl SharedRow for CampaignClock {
    const TABLE: SharedTable = SharedTable::CampaignClock;

    fn id(&self) -> RowId {
        RowId::ONLY
    }
}

/// The key under which refusals and lists are named: 32 random bytes, drawn once for the installation. Without it
/// no refusal is found again, and with it phone numbers can be guessed from refusals. Never printed, wiped on drop.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationKey {
    key: [u8; 32],
}

impl InstallationKey {
    /// Takes over random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The bytes, to name refusals and lists by.
    pub fn expose(&self) -> &[u8; 32] {
        &self.key
    }
}

impl fmt::Debug for InstallationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstallationKey([redacted])")
    }
}

impl Drop for InstallationKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl SharedRow for InstallationKey {
    const TABLE: SharedTable = SharedTable::InstallationKey;

    fn id(&self) -> RowId {
        RowId::ONLY
    }
}

/// A row of nobody's that is to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedWrite {
    pub(in crate::store) table: SharedTable,
    pub(in crate::store) id: RowId,
    /// Its fields.
    pub(in crate::store) json: Zeroizing<Vec<u8>>,
    pub(in crate::store) expires_at: Option<UnixMillis>,
}

impl SharedWrite {
    pub(in crate::store) fn of<R: SharedRow>(row: &R) -> Self {
        Self { table: R::TABLE, id: row.id(), json: json_of(row), expires_at: row.expires_at() }
    }
}

impl fmt::Debug for SharedWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedWrite").field("table", &self.table).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::campaigns::caps::BUDGETS;
    use crate::protocol::campaigns::respect::Source;
    use crate::protocol::telegram::chat::MarkedId;

    #[test]
    fn letters_in_ids_are_those_of_the_stored_format() {
        assert_eq!(BUDGETS.map(letter_of_budget), *b"imlrc");
        let covers = [Covers::Everything, Covers::Messages, Covers::Invitations, Covers::ThisGroup];
        assert_eq!(covers.map(letter_of_covers), *b"emig");
    }

    #[test]
    fn ids_sort_by_person_then_by_budget_and_minute() {
        let count = |telegram_id, minute| {
            UseCount { telegram_id, budget: Budget::Invite, minute, used: 1, given_back: 0 }.id().0
        };
        let sorted = [count(-1, 0), count(1, -5), count(1, 0), count(1, 256), count(2, -9)];
        assert!(sorted.is_sorted());
        let mut expected = vec![0x80, 0, 0, 0, 0, 0, 0, 1, b'i'];
        expected.extend([0x80, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(count(1, 256), expected);
        assert!(count(1, 0).starts_with(&RowId::of_person(1).0));
    }

    #[test]
    fn each_thing_that_somebody_refuses_on_a_list_is_a_row_of_its_own() {
        let everything = Refusal {
            key: SuppressionKey([1; 32]),
            list: ListTag([2; 16]),
            covers: Covers::Everything,
            group: None,
            source: Source::Manual,
            is_doubtful: false,
            since: UnixMillis(3),
            entry: None,
        };
        let group = |id| Some(MarkedId(id));
        let one = Refusal { covers: Covers::ThisGroup, group: group(-5), ..everything };
        let other = Refusal { group: group(-6), ..one };
        assert_eq!(everything.id().0, [&[1; 32][..], &[2; 16], b"e"].concat());
        assert_eq!(one.id().0.len(), 32 + 16 + 1 + 8);
        assert!(one.id() != other.id() && one.id().0.starts_with(&RowId::from(one.key).0));
    }

    #[test]
    fn the_installations_key_is_not_printed() {
        let row = InstallationKey::new([77; 32]);
        assert!(!format!("{row:?} {:?}", SharedWrite::of(&row)).contains("77"));
    }
}
