//! An import of people into a task, as the store keeps it: what came of it and which targets it made, so that it can be
//! undone. Plain data and arithmetic; who may be imported is decided elsewhere.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::target::TargetId;
use super::task::TaskId;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;

/// An import's id (a UUID of version 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImportId(pub Uuid);

/// Where people come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportSource {
    /// A file that was sent.
    File,
    /// The parsing service.
    Parsing,
}

/// Targets that follow each other. Targets' ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRange {
    /// The first of them.
    pub first: TargetId,
    /// How many.
    pub count: u32,
}

impl TargetRange {
    /// Whether it holds a target.
    pub fn holds(&self, id: TargetId) -> bool {
        id.0.checked_sub(self.first.0).is_some_and(|at| at < self.count)
    }
}

/// An import. Nobody's name is in it. One that added nobody is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// Its id.
    pub id: ImportId,
    /// Whose it is.
    pub user: UserId,
    /// The task.
    pub task: TaskId,
    /// Where the people come from.
    pub source: ImportSource,
    /// When it began.
    pub at: UnixMillis,
    /// When it came to its end; `None` while it goes on, and where it broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<UnixMillis>,
    /// When it was undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_at: Option<UnixMillis>,
    /// People who were added.
    pub accepted: u64,
    /// People who were in the list already.
    pub duplicates: u64,
    /// People for whom the task had no room.
    pub beyond: u64,
    /// Lines that name nobody.
    pub rejected: u64,
    /// People of it who refuse what the task does; they are skipped when it runs.
    pub suppressed: u64,
    /// The targets that it made.
    pub ranges: Vec<TargetRange>,
}

impl ImportRecord {
    /// One that begins now.
    pub fn new(
        (id, user, task): (ImportId, UserId, TaskId),
        source: ImportSource,
        at: UnixMillis,
    ) -> Self {
        Self {
            id,
            user,
            task,
            source,
            at,
            finished_at: None,
            undone_at: None,
            accepted: 0,
            duplicates: 0,
            beyond: 0,
            rejected: 0,
            suppressed: 0,
            ranges: Vec::new(),
        }
    }

    /// Notes targets that it made: `count` from `first` on.
    pub fn made(&mut self, first: TargetId, count: u32) {
        if count == 0 {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if last.first.0 + last.count == first.0 => last.count += count,
            _ => self.ranges.push(TargetRange { first, count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_one_range_and_what_others_added_between_is_in_none() {
        let names = (ImportId(Uuid::nil()), UserId::new("ann").unwrap(), TaskId(Uuid::nil()));
        let mut import = ImportRecord::new(names, ImportSource::File, UnixMillis(1));
        import.made(TargetId(3), 2);
        import.made(TargetId(5), 0);
        import.made(TargetId(5), 1);
        import.made(TargetId(9), 4);
        let range = |first, count| TargetRange { first: TargetId(first), count };
        assert_eq!(import.ranges, [range(3, 3), range(9, 4)]);
        let held: Vec<u32> = (0..20)
            .filter(|id| import.ranges.iter().any(|range| range.holds(TargetId(*id))))
            .collect();
        assert_eq!(held, [3, 4, 5, 9, 10, 11, 12]);
    }
}
