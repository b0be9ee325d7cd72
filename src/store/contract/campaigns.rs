//! Rows of campaigns that belong to users: tasks, what belongs to them, and attempts by number. Owns their ids and
//! the marks that tell a task's status without opening it.

use crate::protocol::campaigns::attempt::{ATTEMPTS_KEPT_MS, AttemptRecord};
use crate::protocol::campaigns::block::{StatusPage, TargetBlock};
use crate::protocol::campaigns::creation::{CREATIONS_KEPT_MS, CreationRecord};
use crate::protocol::campaigns::import::{ImportId, ImportRecord};
use crate::protocol::campaigns::respect::SuppressionId;
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::target::TargetId;
use crate::protocol::campaigns::task::{TASK_STATUSES, Task, TaskId, TaskStatus};
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::UnixMillis;

use super::rows::{Row, RowId, Table};

/// The mark of a task that is deleted while records that belong to it are left.
pub(in crate::store) const REMOVED_MARK: u8 = b'-';

/// The mark of a task that has this status. Part of the stored format.
fn mark_of_status(status: TaskStatus) -> u8 {
    match status {
        TaskStatus::Draft => b'd',
        TaskStatus::Scheduled => b's',
        TaskStatus::Running => b'r',
        TaskStatus::Paused => b'p',
        TaskStatus::Completed => b'c',
        TaskStatus::Cancelled => b'x',
        TaskStatus::Failed => b'f',
    }
}

/// The status that a mark tells.
pub(in crate::store) fn status_of_mark(mark: u8) -> Option<TaskStatus> {
    TASK_STATUSES.into_iter().find(|status| mark_of_status(*status) == mark)
}

impl From<TaskId> for RowId {
    fn from(id: TaskId) -> Self {
        Self(id.0.as_bytes().to_vec())
    }
}

/// A block or page of a task, by its number.
impl From<(TaskId, u32)> for RowId {
    fn from((task, number): (TaskId, u32)) -> Self {
        let mut id = Self::from(task);
        id.0.extend_from_slice(&number.to_be_bytes());
        id
    }
}

/// Names an attempt. The newest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptId {
    /// The task.
    pub task: TaskId,
    /// Which attempt of it, from 0.
    pub number: u64,
}

impl From<AttemptId> for RowId {
    fn from(AttemptId { task, number }: AttemptId) -> Self {
        let mut id = Self::from(task);
        id.0.extend_from_slice(&(!number).to_be_bytes());
        id
    }
}

/// An import into a task. The newest comes first: its id is a UUID of version 7, which begins with the time.
impl From<(TaskId, ImportId)> for RowId {
    fn from((task, import): (TaskId, ImportId)) -> Self {
        let mut id = Self::from(task);
        id.0.extend(import.0.as_bytes().map(|byte| !byte));
        id
    }
}

/// The newest entry comes first: its id is a UUID of version 7, which begins with the time.
impl From<SuppressionId> for RowId {
    fn from(id: SuppressionId) -> Self {
        Self(id.0.as_bytes().map(|byte| !byte).to_vec())
    }
}

impl Row for Task {
    const TABLE: Table = Table::Task;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.id.into()
    }

    fn mark(&self) -> Option<u8> {
        Some(mark_of_status(self.status))
    }
}

impl Row for TaskRun {
    const TABLE: Table = Table::TaskRun;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.task.into()
    }

    fn parent(&self) -> Option<(Table, RowId)> {
        Some((Table::Task, self.task.into()))
    }
}

impl Row for TargetBlock {
    const TABLE: Table = Table::TargetBlock;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        (self.task, self.number).into()
    }

    fn parent(&self) -> Option<(Table, RowId)> {
        Some((Table::Task, self.task.into()))
    }
}

impl Row for StatusPage {
    const TABLE: Table = Table::StatusPage;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        (self.task, self.number).into()
    }

    fn parent(&self) -> Option<(Table, RowId)> {
        Some((Table::Task, self.task.into()))
    }
}

impl Row for AttemptRecord {
    const TABLE: Table = Table::Attempt;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        AttemptId { task: self.task, number: self.number }.into()
    }

    fn expires_at(&self) -> Option<UnixMillis> {
        Some(self.at.plus_ms(ATTEMPTS_KEPT_MS))
    }

    fn parent(&self) -> Option<(Table, RowId)> {
        Some((Table::Task, self.task.into()))
    }
}

/// What was made under an idempotency key, by the key's fingerprint.
impl From<Fingerprint> for RowId {
    fn from(key: Fingerprint) -> Self {
        Self(key.0.to_vec())
    }
}

impl Row for CreationRecord {
    const TABLE: Table = Table::Creation;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        self.key.into()
    }

    fn expires_at(&self) -> Option<UnixMillis> {
        Some(self.created_at.plus_ms(CREATIONS_KEPT_MS))
    }
}

impl Row for ImportRecord {
    const TABLE: Table = Table::Import;

    fn owner(&self) -> &UserId {
        &self.user
    }

    fn id(&self) -> RowId {
        (self.task, self.id).into()
    }

    fn parent(&self) -> Option<(Table, RowId)> {
        Some((Table::Task, self.task.into()))
    }
}

/// Which attempts are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptQuery {
    /// Of which task.
    pub task: TaskId,
    /// Only older ones than this number.
    pub before: Option<u64>,
    /// Only those for this target.
    pub target: Option<TargetId>,
    /// Only those by this account.
    pub account: Option<AccountId>,
    /// How many at the most; at least one.
    pub limit: usize,
}

impl AttemptQuery {
    /// Whether an attempt is asked for.
    pub(in crate::store) fn matches(&self, attempt: &AttemptRecord) -> bool {
        self.target.is_none_or(|target| attempt.target == target)
            && self.account.is_none_or(|account| attempt.account == Some(account))
    }
}

/// Attempts, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptPage {
    /// The attempts.
    pub attempts: Vec<AttemptRecord>,
    /// Where to go on ([`AttemptQuery::before`]), if there are older ones. A page may have fewer than were asked
    /// for, or none, and go on all the same: looking ends after some thousand.
    pub next: Option<u64>,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn marks_of_tasks_are_those_of_the_stored_format() {
        let marks: Vec<u8> = TASK_STATUSES.into_iter().map(mark_of_status).collect();
        assert_eq!(marks, b"dsrpcxf");
        let read: Vec<_> = marks.into_iter().filter_map(status_of_mark).collect();
        assert_eq!(read, TASK_STATUSES);
        assert_eq!(status_of_mark(REMOVED_MARK), None);
    }

    #[test]
    fn blocks_sort_by_number_and_the_newest_attempts_and_entries_first() {
        let task = TaskId(Uuid::from_u128(1));
        assert!([0, 1, 255, 256, u32::MAX].map(|number| RowId::from((task, number)).0).is_sorted());
        let attempt = |number| RowId::from(AttemptId { task, number }).0;
        assert!([u64::MAX, 256, 255, 1, 0].map(attempt).is_sorted());
        let entry = |id| RowId::from(SuppressionId(Uuid::from_u128(id))).0;
        assert!([u128::MAX, 256, 255, 0].map(entry).is_sorted());
        assert_eq!(attempt(1)[..16], RowId::from(task).0);
    }
}
