//! How the targets of a task lie in the store: some to a block, so that a long list is read and written in few pieces,
//! and beside them one letter a target that tells its status, so that those of one status are found without opening
//! all. Plain data and arithmetic.

use serde::{Deserialize, Serialize};

use super::target::{STATUSES, Target, TargetId, TargetStatus};
use super::task::TaskId;
use crate::protocol::users::owner::UserId;

/// Targets of a block.
pub const BLOCK_TARGETS: u32 = 16;
/// Statuses of a page.
pub const PAGE_TARGETS: u32 = 1_024;

/// Some targets of a task that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetBlock {
    /// Whose they are.
    pub user: UserId,
    /// The task.
    pub task: TaskId,
    /// Which block of it, from 0.
    pub number: u32,
    /// The targets, by their ids. One that was deleted leaves a hole.
    pub targets: Vec<Target>,
}

impl TargetBlock {
    /// The block in which a target lies.
    pub fn of(id: TargetId) -> u32 {
        id.0 / BLOCK_TARGETS
    }

    /// A target of it.
    pub fn get(&self, id: TargetId) -> Option<&Target> {
        self.targets.iter().find(|target| target.id == id)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: TargetId) -> Option<&mut Target> {
        self.targets.iter_mut().find(|target| target.id == id)
    }

    /// Takes a target out. Answers it.
    pub fn remove(&mut self, id: TargetId) -> Option<Target> {
        let at = self.targets.iter().position(|target| target.id == id)?;
        Some(self.targets.remove(at))
    }

    /// Whether no other target has room in it.
    pub fn is_full(&self) -> bool {
        let last = self.targets.last().map(|target| target.id.0);
        last.is_some_and(|last| last % BLOCK_TARGETS == BLOCK_TARGETS - 1)
    }
}

/// The letter of a target that was deleted.
const NOBODY: u8 = b'-';

/// The statuses of some targets of a task that follow each other, a letter each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPage {
    /// Whose they are.
    pub user: UserId,
    /// The task.
    pub task: TaskId,
    /// Which page of it, from 0.
    pub number: u32,
    /// The letters, in the order of the targets' ids.
    letters: String,
}

impl StatusPage {
    /// A page without targets.
    pub fn empty(user: UserId, task: TaskId, number: u32) -> Self {
        Self { user, task, number, letters: String::new() }
    }

    /// The page on which a target's status stands.
    pub fn of(id: TargetId) -> u32 {
        id.0 / PAGE_TARGETS
    }

    /// A target's status; `None` where there is none (any more).
    pub fn get(&self, id: TargetId) -> Option<TargetStatus> {
        let letter = *self.letters.as_bytes().get(place(id))?;
        status_of(letter)
    }

    /// Notes a target's status; `None`: it was deleted.
    pub fn set(&mut self, id: TargetId, status: Option<TargetStatus>) {
        let mut letters = std::mem::take(&mut self.letters).into_bytes();
        let place = place(id);
        if letters.len() <= place {
            letters.resize(place + 1, NOBODY);
        }
        letters[place] = status.map_or(NOBODY, letter_of);
        // Letters are ASCII.
        self.letters = String::from_utf8(letters).unwrap_or_default();
    }

    /// The id behind the last that was ever on it. Those of deleted targets are not used again.
    pub fn end(&self) -> TargetId {
        let count = u32::try_from(self.letters.len()).unwrap_or(PAGE_TARGETS);
        TargetId(self.number * PAGE_TARGETS + count)
    }

    /// Targets of the page and their statuses, after `after` where it is given.
    pub fn statuses(
        &self,
        after: Option<TargetId>,
    ) -> impl Iterator<Item = (TargetId, TargetStatus)> + '_ {
        let first = self.number * PAGE_TARGETS;
        let skipped = after.map_or(0, |after| (after.0 + 1).saturating_sub(first));
        let letters = self.letters.bytes().enumerate().skip(skipped as usize);
        letters.filter_map(move |(place, letter)| {
            let place = u32::try_from(place).ok()?;
            Some((TargetId(first + place), status_of(letter)?))
        })
    }
}

fn place(id: TargetId) -> usize {
    (id.0 % PAGE_TARGETS) as usize
}

fn letter_of(status: TargetStatus) -> u8 {
    b'a' + status as u8
}

fn status_of(letter: u8) -> Option<TargetStatus> {
    STATUSES.into_iter().find(|status| letter_of(*status) == letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    use super::*;
    use crate::protocol::campaigns::identity::Identifier;

    fn names() -> (UserId, TaskId) {
        (UserId::new("ann").unwrap(), TaskId(Uuid::from_u128(1)))
    }

    #[test]
    fn letters_are_those_of_the_stored_format() {
        let letters: Vec<u8> = STATUSES.into_iter().map(letter_of).collect();
        assert_eq!(letters, b"abcdefghi");
        assert_eq!(status_of(b'a'), Some(TargetStatus::Pending));
        assert_eq!(status_of(NOBODY), None);
    }

    #[test]
    fn a_block_is_full_with_its_last_place_and_keeps_its_holes() {
        let (user, task) = names();
        let target = |id| Target::new(TargetId(id), Identifier::Id(i64::from(id) + 1), None);
        let targets = (16..32).map(target).collect();
        let mut block = TargetBlock { user, task, number: TargetBlock::of(TargetId(16)), targets };
        assert!(block.is_full());
        assert_eq!(block.remove(TargetId(20)).unwrap().id, TargetId(20));
        assert_eq!((block.get(TargetId(20)), block.targets.len()), (None, 15));
        assert!(block.is_full() && block.get_mut(TargetId(21)).is_some());
        let json = serde_json::to_string(&block).unwrap();
        assert_eq!(serde_json::from_str::<TargetBlock>(&json).unwrap(), block);
    }

    proptest! {
        #[test]
        fn a_page_tells_what_was_noted_last(
            notes in prop::collection::vec((0..PAGE_TARGETS, prop::option::of(0..STATUSES.len())), 0..200),
            after in prop::option::of(0..PAGE_TARGETS),
        ) {
            let (user, task) = names();
            let first = 3 * PAGE_TARGETS;
            let mut page = StatusPage::empty(user, task, 3);
            let mut known = BTreeMap::new();
            for (place, status) in notes {
                let (id, status) = (TargetId(first + place), status.map(|at| STATUSES[at]));
                page.set(id, status);
                known.insert(id, status);
            }
            let after = after.map(|place| TargetId(first + place));
            let expected: Vec<_> = known
                .iter()
                .filter(|(id, _)| after.is_none_or(|after| **id > after))
                .filter_map(|(id, status)| Some((*id, (*status)?)))
                .collect();
            prop_assert_eq!(page.statuses(after).collect::<Vec<_>>(), expected);
            let end = known.keys().next_back().map_or(first, |last| last.0 + 1);
            prop_assert_eq!(page.end(), TargetId(end));
            for (id, status) in known {
                prop_assert_eq!(page.get(id), status);
            }
            let json = serde_json::to_string(&page).unwrap();
            prop_assert_eq!(serde_json::from_str::<StatusPage>(&json).unwrap(), page);
        }
    }
}
