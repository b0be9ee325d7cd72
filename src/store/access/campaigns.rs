//! Reading and removing records of campaigns. Each read is bounded by what it is asked for, and opens nothing that
//! it does not answer. Owns the scans; which rows there are is in the contract, what they mean in
//! `protocol/campaigns`.

use std::ops::Range;

use crate::protocol::campaigns::attempt::AttemptRecord;
use crate::protocol::campaigns::block::{StatusPage, TargetBlock};
use crate::protocol::campaigns::caps::UseCount;
use crate::protocol::campaigns::respect::{
    List, Refusal, Suppression, SuppressionId, SuppressionKey,
};
use crate::protocol::campaigns::task::{Task, TaskId, TaskStatus};
use crate::protocol::users::owner::{Scope, UserId};

use super::reader::Reader;
use super::store::Store;
use crate::store::contract::{
    AttemptId, AttemptPage, AttemptQuery, InstallationKey, Op, REMOVED_MARK, Row, RowId,
    SharedTable, StoreError, Table, status_of_mark,
};
use crate::store::engines::Engine;
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind, record_name};

/// Attempts that one page passes over at the most.
const ATTEMPTS_LOOKED_AT_MAX: usize = if cfg!(test) { 50 } else { 10_000 };

impl Reader {
    /// Which tasks of `owner` there are and where they stand, by id, the oldest first. Opens none.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn task_statuses(&self, owner: &UserId) -> Result<Vec<(TaskId, TaskStatus)>, StoreError> {
        let marked = self.marked_tasks(&layout::rows(kind::TASK_MARK, owner, &[]))?;
        let known = |(_, task, mark)| Some((task, status_of_mark(mark)?));
        Ok(marked.into_iter().filter_map(known).collect())
    }

    /// The tasks of everybody that stand at one of `statuses`, by owner, then by id. Opens no others.
    ///
    /// # Errors
    /// When the disk fails, or a task cannot be read.
    pub fn tasks_in(&self, statuses: &[TaskStatus]) -> Result<Vec<Task>, StoreError> {
        let mut tasks = Vec::new();
        for (owner, task, mark) in self.marked_tasks(&layout::all(kind::TASK_MARK))? {
            if status_of_mark(mark).is_some_and(|status| statuses.contains(&status)) {
                let task = self.row::<Task>(&owner, task)?;
                // It may have gone on since its mark was read.
                tasks.extend(task.filter(|task| statuses.contains(&task.status)));
            }
        }
        Ok(tasks)
    }

    /// Which tasks there are within `scope`, whose they are and where they stand. Opens none.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn tasks_of(&self, scope: &Scope) -> Result<Vec<(UserId, TaskId, TaskStatus)>, StoreError> {
        let range = match scope {
            Scope::Only(owner) => layout::rows(kind::TASK_MARK, owner, &[]),
            Scope::Everybody => layout::all(kind::TASK_MARK),
        };
        let known = |(owner, task, mark)| Some((owner, task, status_of_mark(mark)?));
        Ok(self.marked_tasks(&range)?.into_iter().filter_map(known).collect())
    }

    /// Whose a task is, for admins, who name it without its owner.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn task_owner(&self, id: TaskId) -> Result<Option<UserId>, StoreError> {
        let all = self.tasks_of(&Scope::Everybody)?;
        Ok(all.into_iter().find(|(_, task, _)| *task == id).map(|(owner, ..)| owner))
    }

    /// Tasks with their owners and marks.
    fn marked_tasks(
        &self,
        (from, to): &(Vec<u8>, Vec<u8>),
    ) -> Result<Vec<(UserId, TaskId, u8)>, StoreError> {
        let record = record_name(kind::TASK_MARK);
        let (mut marked, mut outcome) = (Vec::new(), Ok(()));
        self.shared.engine.scan(from, to, &mut |key, value| {
            let damaged = StoreError::Damaged { record, detail: "its key is cut short" };
            let named = layout::owner_and_id(key)
                .and_then(|(owner, id)| Some((owner, TaskId(uuid::Uuid::from_slice(&id.0).ok()?))));
            outcome = named.ok_or(damaged).and_then(|(owner, task)| {
                marked.push((owner, task, encoding::from_compact(record, value)?));
                Ok(())
            });
            outcome.is_ok()
        })?;
        outcome.map(|()| marked)
    }

    /// The blocks of a task whose numbers are in `numbers`, in their order; there may be holes.
    ///
    /// # Errors
    /// When the disk fails, or a block cannot be read.
    pub fn target_blocks(
        &self,
        owner: &UserId,
        task: TaskId,
        numbers: Range<u32>,
    ) -> Result<Vec<TargetBlock>, StoreError> {
        self.numbered(owner, task, numbers)
    }

    /// The same for pages of statuses.
    ///
    /// # Errors
    /// When the disk fails, or a page cannot be read.
    pub fn status_pages(
        &self,
        owner: &UserId,
        task: TaskId,
        numbers: Range<u32>,
    ) -> Result<Vec<StatusPage>, StoreError> {
        self.numbered(owner, task, numbers)
    }

    fn numbered<R: Row>(
        &self,
        owner: &UserId,
        task: TaskId,
        numbers: Range<u32>,
    ) -> Result<Vec<R>, StoreError> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let key = |number| layout::row(kind::of(R::TABLE), owner, &RowId::from((task, number)).0);
        self.scan_rows(R::TABLE.into(), &key(numbers.start), &key(numbers.end), usize::MAX)
    }

    /// Attempts of a task, the newest first.
    ///
    /// # Errors
    /// When the disk fails, or an attempt cannot be read.
    pub fn attempts(
        &self,
        owner: &UserId,
        query: &AttemptQuery,
    ) -> Result<AttemptPage, StoreError> {
        let (mut from, to) = layout::rows(kind::ATTEMPT, owner, &RowId::from(query.task).0);
        if let Some(before) = query.before {
            let Some(number) = before.checked_sub(1) else { return Ok(AttemptPage::default()) };
            let first = RowId::from(AttemptId { task: query.task, number });
            from = layout::row(kind::ATTEMPT, owner, &first.0);
        }
        let (mut page, mut outcome) = (AttemptPage::default(), Ok(()));
        let (mut looked, mut last) = (0, None);
        self.shared.engine.scan(&from, &to, &mut |_, value| {
            if looked == ATTEMPTS_LOOKED_AT_MAX || page.attempts.len() >= query.limit.max(1) {
                page.next = last;
                return false;
            }
            looked += 1;
            let read = encoding::from_json::<AttemptRecord>(Table::Attempt.name(), value);
            outcome = read.map(|attempt| {
                last = Some(attempt.number);
                page.attempts.extend(Some(attempt).filter(|attempt| query.matches(attempt)));
            });
            outcome.is_ok()
        })?;
        outcome.map(|()| page)
    }

    /// An entry of a list.
    ///
    /// # Errors
    /// When the disk fails, or the entry cannot be read.
    pub fn suppression(
        &self,
        list: &List,
        id: SuppressionId,
    ) -> Result<Option<Suppression>, StoreError> {
        let id = RowId::from(id).0;
        match list {
            List::User(owner) => {
                self.one_row(Table::Suppression.into(), &layout::row(kind::SUPPRESSION, owner, &id))
            }
            List::Installation => {
                let key = layout::shared(kind::INSTALLATION_SUPPRESSION, &id);
                self.one_row(SharedTable::InstallationSuppression.into(), &key)
            }
        }
    }

    /// Up to `limit` entries of a list, the newest first, after the entry `after`.
    ///
    /// # Errors
    /// When the disk fails, or an entry cannot be read.
    pub fn suppressions(
        &self,
        list: &List,
        after: Option<SuppressionId>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError> {
        let (form, (start, to)) = match list {
            List::User(owner) => {
                (Table::Suppression.into(), layout::rows(kind::SUPPRESSION, owner, &[]))
            }
            List::Installation => {
                let all = layout::all(kind::INSTALLATION_SUPPRESSION);
                (SharedTable::InstallationSuppression.into(), all)
            }
        };
        let from = match after {
            None => start,
            Some(after) => [&start[..], &RowId::from(after).0, &[0]].concat(),
        };
        self.scan_rows(form, &from, &to, limit)
    }

    /// All refusals under a key, on whosever list.
    ///
    /// # Errors
    /// When the disk fails, or a refusal cannot be read: then nothing is known, and nobody may be contacted.
    pub fn refusals(&self, key: SuppressionKey) -> Result<Vec<Refusal>, StoreError> {
        self.shared_rows(Some(key.into()), None, usize::MAX)
    }

    /// What a person or bot at Telegram has done lately, by budget and minute: about two days of minutes each at
    /// the most.
    ///
    /// # Errors
    /// When the disk fails, or a count cannot be read.
    pub fn use_counts(&self, telegram_id: i64) -> Result<Vec<UseCount>, StoreError> {
        self.shared_rows(Some(RowId::of_person(telegram_id)), None, usize::MAX)
    }

    /// The installation's key, once it was drawn.
    ///
    /// # Errors
    /// When the disk fails, or the key cannot be read: a new one would find no refusal again.
    pub fn installation_key(&self) -> Result<Option<InstallationKey>, StoreError> {
        self.shared_row(RowId::ONLY)
    }

    /// Tasks that are deleted while something that belongs to them is left.
    fn removed_tasks(&self) -> Result<Vec<(UserId, TaskId)>, StoreError> {
        let marked = self.marked_tasks(&layout::all(kind::TASK_MARK))?;
        let removed = marked.into_iter().filter(|(_, _, mark)| *mark == REMOVED_MARK);
        Ok(removed.map(|(owner, task, _)| (owner, task)).collect())
    }
}

impl Store {
    /// The installation's key. When there is none yet, it is `drawn`: random bytes, durable before they are
    /// answered.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn installation_key_or(
        &self,
        drawn: [u8; 32],
    ) -> Result<InstallationKey, StoreError> {
        if let Some(known) = self.read(Reader::installation_key).await? {
            return Ok(known);
        }
        self.commit(vec![Op::put_shared(&InstallationKey::new(drawn))]).await?;
        let missing = StoreError::Damaged {
            record: SharedTable::InstallationKey.name(),
            detail: "it was written and is not there",
        };
        self.read(Reader::installation_key).await?.ok_or(missing)
    }

    /// Deletes a task with its targets and attempts, piece by piece, so that no commit of others waits for long.
    /// The task itself goes first, in one commit with the operations `with`; whatever crashes then, the rest
    /// follows, at the latest with the next start. Refusals stay.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_task(
        &self,
        owner: &UserId,
        task: TaskId,
        with: Vec<Op>,
    ) -> Result<(), StoreError> {
        let delete = || Op::DeleteTask { owner: owner.clone(), task };
        self.commit([vec![delete()], with].concat()).await?;
        let at = layout::row(kind::TASK_MARK, owner, &RowId::from(task).0);
        loop {
            let at = at.clone();
            if self.read(move |store| Ok(store.shared.engine.get(&at)?)).await?.is_none() {
                return Ok(());
            }
            self.commit(vec![delete()]).await?;
        }
    }

    /// Goes on with every removal of a task that a crash came into.
    pub(super) async fn finish_task_removals(&self) -> Result<(), StoreError> {
        for (owner, task) in self.read(Reader::removed_tasks).await? {
            self.delete_task(&owner, task, Vec::new()).await?;
        }
        Ok(())
    }
}
