//! The targets of one task: their statuses, all in memory, and those of their blocks that somebody works on. Says what
//! is to be written for each change; never writes, and never opens a block by itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::campaigns::block::{BLOCK_TARGETS, StatusPage, TargetBlock};
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::target::{Details, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::users::owner::UserId;
use crate::store::Op;

/// The targets of a task.
pub(super) struct TargetBook {
    user: UserId,
    task: TaskId,
    pages: Vec<StatusPage>,
    /// The next target's id.
    next: u32,
    /// Those that somebody works on or reads, and those of which a change is on its way to the disk: what is read
    /// meanwhile is older, and passed over.
    open: HashMap<u32, OpenBlock>,
    /// Blocks that were written since all of them began to be read.
    written: HashSet<u32>,
    /// Writes that were handed to the store.
    handed: u64,
    /// Those of them that are durable.
    durable: Arc<AtomicU64>,
}

#[derive(Default)]
struct OpenBlock {
    /// `None` until it was read.
    block: Option<TargetBlock>,
    /// How many work on it or read it.
    users: u32,
    /// The write with its newest change.
    written: u64,
}

/// A write on its way to the disk.
pub(super) struct Handed {
    number: u64,
    durable: Arc<AtomicU64>,
}

impl Handed {
    /// It is durable, and with it all that was handed over before.
    pub(super) fn came_through(self) {
        self.durable.fetch_max(self.number, Ordering::AcqRel);
    }
}

/// Somebody who is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTarget {
    /// Who they are.
    pub identifier: Identifier,
    /// What is known of them beside.
    pub details: Option<Details>,
}

impl TargetBook {
    /// The targets as `pages` tell, in the order of their numbers.
    pub(super) fn new(user: UserId, task: TaskId, pages: Vec<StatusPage>) -> Self {
        // Ids of deleted ones are not used again: an import names its targets by them.
        let next = pages.last().map_or(0, |page| page.end().0);
        let (open, written, durable) = (HashMap::new(), HashSet::new(), Arc::default());
        Self { user, task, pages, next, open, written, handed: 0, durable }
    }

    /// The id that the next target gets.
    pub(super) fn next(&self) -> TargetId {
        TargetId(self.next)
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> u32 {
        self.next.div_ceil(BLOCK_TARGETS)
    }

    /// A target's status.
    pub(super) fn status(&self, id: TargetId) -> Option<TargetStatus> {
        self.pages.get(StatusPage::of(id) as usize)?.get(id)
    }

    /// The targets that have one of these statuses, after `after`.
    pub(super) fn with_status<'a>(
        &'a self,
        statuses: &'a [TargetStatus],
        after: Option<TargetId>,
    ) -> impl Iterator<Item = (TargetId, TargetStatus)> + 'a {
        let first = after.map_or(0, StatusPage::of) as usize;
        let pages = self.pages.iter().skip(first);
        let all = pages.flat_map(move |page| page.statuses(after));
        all.filter(|(_, status)| statuses.contains(status))
    }

    /// The block `number`, if somebody works on it.
    pub(super) fn block(&self, number: u32) -> Option<&TargetBlock> {
        self.open.get(&number).and_then(|open| open.block.as_ref())
    }

    /// A target whose block is open.
    pub(super) fn target(&self, id: TargetId) -> Option<&Target> {
        self.block(TargetBlock::of(id))?.get(id)
    }

    /// Somebody works on a block from here on. `false`: it has to be read first, which is told by
    /// [`TargetBook::read`].
    pub(super) fn hold(&mut self, number: u32) -> bool {
        let open = self.open.entry(number).or_default();
        open.users += 1;
        open.block.is_some()
    }

    /// What was read of a block that is held. What is known of it already is newer.
    pub(super) fn read(&mut self, read: TargetBlock) {
        if let Some(open) = self.open.get_mut(&read.number) {
            open.block.get_or_insert(read);
        }
    }

    /// All blocks are read from here on: which of them are written meanwhile is noted.
    pub(super) fn begin_reading(&mut self) {
        self.written.clear();
    }

    /// Whether a block was written since, so that what was read of it may be older.
    pub(super) fn was_written(&self, number: u32) -> bool {
        self.written.contains(&number)
    }

    /// Somebody's work on a block is over. It stays open as long as a change of it is on its way to the disk.
    pub(super) fn release(&mut self, number: u32) {
        if let Some(open) = self.open.get_mut(&number) {
            open.users = open.users.saturating_sub(1);
        }
        let durable = self.durable.load(Ordering::Acquire);
        self.open.retain(|_, open| open.users > 0 || open.written > durable);
    }

    /// What was changed is handed to the store now.
    pub(super) fn hand_over(&mut self) -> Handed {
        self.handed += 1;
        Handed { number: self.handed, durable: Arc::clone(&self.durable) }
    }

    /// Changes a target whose block is held. Answers what is to be written, without how the task fares, whose counts
    /// are changed in `run`.
    ///
    /// # Errors
    /// As `change` does; nothing has changed then. `None` inside: there is no such target.
    pub(super) fn change<T, E>(
        &mut self,
        id: TargetId,
        run: &mut TaskRun,
        change: impl FnOnce(&mut Target) -> Result<T, E>,
    ) -> Result<(T, Vec<Op>), Option<E>> {
        let open = self.open.get_mut(&TargetBlock::of(id)).ok_or(None)?;
        let block = open.block.as_mut().ok_or(None)?;
        let target = block.get_mut(id).ok_or(None)?;
        let mut changed = target.clone();
        let done = change(&mut changed).map_err(Some)?;
        let (before, after) = (target.status, changed.status);
        run.tally.uncount(target);
        run.tally.count(&changed);
        *target = changed;
        open.written = self.handed + 1;
        self.written.insert(TargetBlock::of(id));
        let mut ops = vec![Op::put_row(block)];
        if before != after {
            run.statistics.moved(before, after);
            ops.push(self.note(id, Some(after)));
        }
        Ok((done, ops))
    }

    /// Adds people, in the order given. The last block has to be held, if it is not full. Answers what is to be
    /// written.
    pub(super) fn add(&mut self, people: Vec<NewTarget>, run: &mut TaskRun) -> Vec<Op> {
        let mut blocks: Vec<u32> = Vec::new();
        let mut pages: Vec<u32> = Vec::new();
        for NewTarget { identifier, details } in people {
            let id = TargetId(self.next);
            self.next += 1;
            let number = TargetBlock::of(id);
            let (user, task) = (self.user.clone(), self.task);
            let empty = || TargetBlock { user, task, number, targets: Vec::new() };
            let open = self.open.entry(number).or_default();
            open.written = self.handed + 1;
            self.written.insert(number);
            let block = open.block.get_or_insert_with(empty);
            let target = Target::new(id, identifier, details);
            run.tally.count(&target);
            block.targets.push(target);
            run.statistics.add(TargetStatus::Pending);
            self.page_of(id).set(id, Some(TargetStatus::Pending));
            if blocks.last() != Some(&number) {
                blocks.push(number);
            }
            if pages.last() != Some(&StatusPage::of(id)) {
                pages.push(StatusPage::of(id));
            }
        }
        let written = blocks.iter().filter_map(|number| self.block(*number));
        let mut ops: Vec<Op> = written.map(Op::put_row).collect();
        ops.extend(pages.iter().filter_map(|page| self.pages.get(*page as usize)).map(Op::put_row));
        ops
    }

    /// Takes a target out whose block is held. Answers it, and what is to be written.
    pub(super) fn remove(&mut self, id: TargetId, run: &mut TaskRun) -> Option<(Target, Vec<Op>)> {
        let open = self.open.get_mut(&TargetBlock::of(id))?;
        let block = open.block.as_mut()?;
        let target = block.remove(id)?;
        open.written = self.handed + 1;
        self.written.insert(TargetBlock::of(id));
        let block = Op::put_row(block);
        run.statistics.remove(target.status);
        run.tally.uncount(&target);
        let page = self.note(id, None);
        Some((target, vec![block, page]))
    }

    fn note(&mut self, id: TargetId, status: Option<TargetStatus>) -> Op {
        let page = self.page_of(id);
        page.set(id, status);
        Op::put_row(page)
    }

    /// The page of a target, which is made if there is none yet.
    fn page_of(&mut self, id: TargetId) -> &mut StatusPage {
        let number = StatusPage::of(id);
        while self.pages.len() <= number as usize {
            let next = u32::try_from(self.pages.len()).unwrap_or(u32::MAX);
            self.pages.push(StatusPage::empty(self.user.clone(), self.task, next));
        }
        &mut self.pages[number as usize]
    }
}
