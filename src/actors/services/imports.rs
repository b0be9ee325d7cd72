//! Imports: people are added to a task in pieces, as they are read; what an import has made can be undone as long as
//! nobody was contacted. Owns how many imports there are at once; never reads a file, and never touches who refuses
//! what.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use super::Shared;
use super::campaigns::Campaigns;
use crate::actors::campaigns::book::NewTarget;
use crate::actors::campaigns::campaign::{BulkAction, CampaignMsg, fingerprint};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::block::{BLOCK_TARGETS, StatusPage};
use crate::protocol::campaigns::fitness::all_names;
use crate::protocol::campaigns::identity::{Country, Identifier};
use crate::protocol::campaigns::import::{ImportId, ImportRecord, ImportSource};
use crate::protocol::campaigns::respect::ListTag;
use crate::protocol::campaigns::target::{TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Task, TaskId};
use crate::protocol::users::owner::{Caller, UserId};
use crate::protocol::values::page::{Page, PageQuery};
use crate::store::{Op, Reader, RowId};

/// Imports at once, each with a file on the disk and a thread that reads it.
const AT_ONCE_MAX: usize = 8;
/// Seconds until a refused import may be tried again.
const TRY_AGAIN: u64 = 5;
/// Blocks of targets that are read at a time.
const BLOCKS_AT_ONCE: u32 = 256;
/// Targets that an undoing removes in one commit.
const UNDONE_AT_ONCE: usize = 500;
/// Imports of one task that are kept. One that adds nobody is not.
const IMPORTS_MAX: usize = 1_000;

/// Somebody of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedPerson {
    /// As the task has them.
    pub target: NewTarget,
    /// Telegram's id, where the list has it beside another name: they may refuse under that one.
    pub user_id: Option<i64>,
}

impl ImportedPerson {
    /// Every name that the list has of them. Phone numbers without a country code are read as of `country`.
    pub fn names(&self, country: Option<Country>) -> Vec<Identifier> {
        let id = self.user_id.map(Identifier::Id);
        let certain = [self.target.identifier.clone()].into_iter().chain(id);
        all_names(certain, self.target.details.as_ref(), country)
    }
}

/// What is to be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportOrder {
    /// Into which task. A trial may do without: then nobody is in the list before.
    pub task: Option<TaskId>,
    /// From where.
    pub source: ImportSource,
    /// Whether nothing is added, and it is only told what would be.
    pub is_trial: bool,
}

/// An import under way. Its counts are what came of it so far.
#[derive(Debug)]
pub struct Import {
    /// As it is kept, if it is.
    pub record: ImportRecord,
    /// The task, as it was when the import began; a trial may have none.
    task: Option<Box<Task>>,
    /// Who is in the list and what room it has, of a trial.
    trial: Option<Trial>,
}

/// What would be in a list.
#[derive(Debug)]
struct Trial {
    listed: HashSet<u128>,
    room: u64,
}

impl Import {
    /// Whether nothing is added.
    pub fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// A trial for a list in which nobody is.
    #[cfg(test)]
    pub(crate) fn trial_for_tests(record: ImportRecord) -> Self {
        let trial = Trial { listed: HashSet::new(), room: u64::MAX };
        Self { record, task: None, trial: Some(trial) }
    }

    /// One that adds.
    #[cfg(test)]
    pub(crate) fn for_tests(record: ImportRecord) -> Self {
        Self { record, task: None, trial: None }
    }
}

/// What an undoing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// Targets that were removed.
    pub removed: u64,
    /// Targets of the import that stay, because something was done about them already.
    pub kept: u64,
}

/// Imports.
#[async_trait]
pub trait ImportService: Send + Sync + 'static {
    /// Room for one import of the caller. To be had before anything of it is taken in, and held until it is over.
    fn admit(&self, who: &Caller) -> Result<ImportPermit, Refusal>;
    /// Where phone numbers without a country code are from.
    fn country(&self) -> Option<Country>;
    /// Begins an import, if people may be added to the task now.
    async fn begin(&self, who: &Caller, order: ImportOrder) -> Result<Import, Refusal>;
    /// Adds people, each once, durably. The import's counts tell what came of it.
    async fn add(
        &self,
        who: &Caller,
        import: &mut Import,
        people: Vec<ImportedPerson>,
    ) -> Result<(), Refusal>;
    /// The import is over; so many of its lines named nobody.
    async fn finish(&self, who: &Caller, import: &mut Import, rejected: u64)
    -> Result<(), Refusal>;
    /// What was imported into a task, the newest first.
    async fn list(
        &self,
        who: &Caller,
        task: TaskId,
        page: PageQuery,
    ) -> Result<Page<ImportRecord>, Refusal>;
    /// What is durable of one of them, if something is.
    async fn find(
        &self,
        who: &Caller,
        task: TaskId,
        import: ImportId,
    ) -> Result<Option<ImportRecord>, Refusal>;
    /// Removes those of an import's people about whom nothing was done yet.
    async fn undo(&self, who: &Caller, task: TaskId, import: ImportId) -> Result<Undone, Refusal>;
}

/// How many imports there are at once: a few in all, and one of each user.
#[derive(Debug, Default)]
pub struct ImportGate(Mutex<HashSet<UserId>>);

/// Room for one import, as long as it lives.
#[derive(Debug)]
pub struct ImportPermit {
    gate: Arc<ImportGate>,
    user: UserId,
}

impl ImportGate {
    /// Room for an import of `user`.
    ///
    /// # Errors
    /// When one of the same user is under way, or too many are.
    pub fn enter(self: &Arc<Self>, user: &UserId) -> Result<ImportPermit, Refusal> {
        let mut users = self.users();
        if users.contains(user) {
            let detail = "an import of yours is under way; wait for its end";
            return Err(Refusal::new(Code::RateLimited, detail).after(TRY_AGAIN));
        }
        if users.len() >= AT_ONCE_MAX {
            let detail = format!("{AT_ONCE_MAX} imports are under way already; try again soon");
            return Err(Refusal::new(Code::Overloaded, detail).after(TRY_AGAIN));
        }
        users.insert(user.clone());
        Ok(ImportPermit { gate: Arc::clone(self), user: user.clone() })
    }

    fn is_busy(&self) -> bool {
        !self.users().is_empty()
    }

    /// Every change is whole before the lock is let go, so a poisoned one is as good as any.
    fn users(&self) -> MutexGuard<'_, HashSet<UserId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ImportPermit {
    fn drop(&mut self) {
        self.gate.users().remove(&self.user);
    }
}

/// The service on a tree.
#[derive(Clone)]
pub(super) struct Imports {
    shared: Shared,
    campaigns: Campaigns,
    gate: Arc<ImportGate>,
}

impl Imports {
    pub(super) fn new(shared: Shared, campaigns: Campaigns) -> Self {
        Self { shared, campaigns, gate: Arc::default() }
    }

    /// The list of a task as it is now, to try people against.
    async fn trial(&self, task: Option<&Task>) -> Result<Trial, Refusal> {
        let most = u64::from(self.campaigns.context.settings.targets_max);
        let mut listed = HashSet::new();
        let Some(task) = task else { return Ok(Trial { listed, room: most }) };
        let (user, id) = (task.user.clone(), task.id);
        let pages = move |store: &Reader| store.status_pages(&user, id, 0..u32::MAX);
        let pages = self.shared.reading(pages).await?;
        let (mut from, end) = (0, pages.last().map_or(0, |page| page.end().0));
        while from < end.div_ceil(BLOCK_TARGETS) {
            let (user, id, to) = (task.user.clone(), task.id, from + BLOCKS_AT_ONCE);
            let read = move |store: &Reader| {
                let blocks = store.target_blocks(&user, id, from..to)?;
                let targets = blocks.iter().flat_map(|block| &block.targets);
                Ok(targets.map(|target| fingerprint(&target.identifier)).collect::<Vec<_>>())
            };
            listed.extend(self.shared.reading(read).await?);
            from = to;
        }
        let room = most.saturating_sub(listed.len() as u64);
        Ok(Trial { listed, room })
    }

    /// How many of these refuse what the task does.
    async fn refusing(
        &self,
        task: Option<&Task>,
        user: &UserId,
        people: Vec<ImportedPerson>,
    ) -> Result<u64, Refusal> {
        let context = Arc::clone(&self.campaigns.context);
        let mine = context.list_of(user);
        let aim = task.map(|task| (task.task_type.goal(), task.target_group_id));
        // What so many are known by is computed where it is read, too: beside the runtime.
        let read = move |store: &Reader| {
            let mut refusing = 0;
            for person in &people {
                let mut found = Vec::new();
                for key in context.keys_of(&person.names(context.settings.country)) {
                    found.extend(store.refusals(key)?);
                }
                let is_refused = found.iter().any(|refusal| match aim {
                    Some((goal, group)) => refusal.forbids(mine, goal, group),
                    None => refusal.list == mine || refusal.list == ListTag::INSTALLATION,
                });
                refusing += u64::from(is_refused);
            }
            Ok(refusing)
        };
        self.shared.reading(read).await
    }

    async fn record(&self, task: &Task, import: ImportId) -> Result<Option<ImportRecord>, Refusal> {
        let (user, id) = (task.user.clone(), task.id);
        self.shared.reading(move |store| store.row::<ImportRecord>(&user, (id, import))).await
    }
}

#[async_trait]
impl ImportService for Imports {
    fn admit(&self, who: &Caller) -> Result<ImportPermit, Refusal> {
        self.gate.enter(&who.user)
    }

    fn country(&self) -> Option<Country> {
        self.campaigns.context.settings.country
    }

    async fn begin(&self, who: &Caller, order: ImportOrder) -> Result<Import, Refusal> {
        let ImportOrder { task, source, is_trial } = order;
        let task = match task {
            Some(id) => Some(self.campaigns.find(who, id).await?.0),
            None if is_trial => None,
            None => return Err(Refusal::field("task_id", "is missing")),
        };
        let context = &self.campaigns.context;
        if let Some(task) = task.as_ref().filter(|_| !is_trial) {
            if !task.status.may_be_edited() {
                let detail =
                    "whom a task is for changes in draft and paused tasks only: pause it first";
                return Err(Refusal::new(Code::Conflict, detail));
            }
            let (user, id) = (task.user.clone(), task.id);
            let read = move |store: &Reader| {
                store.rows::<ImportRecord>(&user, Some(id.into()), None, IMPORTS_MAX)
            };
            if self.shared.reading(read).await?.len() >= IMPORTS_MAX {
                let detail = format!("{IMPORTS_MAX} imports went into this task already");
                return Err(Refusal::new(Code::Conflict, detail));
            }
        }
        let owner = task.as_ref().map_or(&who.user, |task| &task.user).clone();
        let id = task.as_ref().map_or(TaskId(Uuid::nil()), |task| task.id);
        let names = (ImportId(context.new_id()), owner, id);
        let record = ImportRecord::new(names, source, context.now());
        let trial = if is_trial { Some(self.trial(task.as_ref()).await?) } else { None };
        Ok(Import { record, task: task.map(Box::new), trial })
    }

    async fn add(
        &self,
        who: &Caller,
        import: &mut Import,
        people: Vec<ImportedPerson>,
    ) -> Result<(), Refusal> {
        let Import { record, task, trial } = import;
        let _busy = self.campaigns.context.erasing.enter(&record.user)?;
        let refusing = self.refusing(task.as_deref(), &record.user, people.clone());
        if let Some(trial) = trial {
            record.suppressed += refusing.await?;
            people.iter().for_each(|person| trial.count(record, &person.target.identifier));
            return Ok(());
        }
        let people = people.into_iter().map(|person| person.target).collect();
        let (import, who) = (Box::new(record.clone()), who.clone());
        let message = |reply| CampaignMsg::Import { people, import, who, reply };
        // At the same time: who refuses is only counted here, and is in the commit of the next piece or of the end.
        let adding = self.campaigns.tell(&record.user, record.task, message);
        let (added, refusing) = tokio::join!(adding, refusing);
        let (added, noted) = added?;
        *record = noted;
        record.suppressed += refusing?;
        record.duplicates += added.duplicates;
        record.beyond += added.beyond;
        Ok(())
    }

    async fn finish(
        &self,
        _who: &Caller,
        import: &mut Import,
        rejected: u64,
    ) -> Result<(), Refusal> {
        let (is_trial, record) = (import.is_trial(), &mut import.record);
        record.rejected = rejected;
        record.finished_at = Some(self.campaigns.context.now());
        if is_trial || record.accepted == 0 {
            return Ok(());
        }
        self.shared.commit(vec![Op::update_row(record)]).await
    }

    async fn list(
        &self,
        who: &Caller,
        task: TaskId,
        page: PageQuery,
    ) -> Result<Page<ImportRecord>, Refusal> {
        let (task, _) = self.campaigns.find(who, task).await?;
        let bad = |_| Refusal::field("cursor", "it is none that a page gave");
        let after = page.cursor.as_deref().map(str::parse::<Uuid>).transpose().map_err(bad)?;
        let after = after.map(|after| RowId::from((task.id, ImportId(after))));
        let limit = page.limit;
        let read = move |store: &Reader| {
            store.rows::<ImportRecord>(&task.user, Some(task.id.into()), after, limit + 1)
        };
        let mut items = self.shared.reading(read).await?;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| has_more).map(|last| last.id.0.to_string());
        Ok(Page { items, next_cursor })
    }

    async fn find(
        &self,
        who: &Caller,
        task: TaskId,
        import: ImportId,
    ) -> Result<Option<ImportRecord>, Refusal> {
        let (task, _) = self.campaigns.find(who, task).await?;
        self.record(&task, import).await
    }

    async fn undo(&self, who: &Caller, task: TaskId, import: ImportId) -> Result<Undone, Refusal> {
        let (task, _) = self.campaigns.find(who, task).await?;
        let missing = || Refusal::not_found("import");
        let record = self.record(&task, import).await?.ok_or_else(missing)?;
        // Somebody else may be importing into the same task: an admin.
        if record.finished_at.is_none() && self.gate.is_busy() {
            let detail = "the import is under way; undo it when it is over";
            return Err(Refusal::new(Code::Conflict, detail).after(TRY_AGAIN));
        }
        let mut undone = Undone::default();
        let mut pending = Vec::new();
        for range in &record.ranges {
            let (user, id) = (task.user.clone(), task.id);
            let last = TargetId(range.first.0.saturating_add(range.count - 1));
            let numbers = StatusPage::of(range.first)..StatusPage::of(last) + 1;
            let read = move |store: &Reader| store.status_pages(&user, id, numbers);
            let pages = self.shared.reading(read).await?;
            let own = pages.iter().flat_map(|page| page.statuses(None));
            for (id, status) in own.filter(|(id, _)| range.holds(*id)) {
                match status {
                    TargetStatus::Pending => pending.push(id),
                    _ => undone.kept += 1,
                }
            }
        }
        for ids in pending.chunks(UNDONE_AT_ONCE) {
            let (action, who) = (BulkAction::Remove(ids.to_vec()), who.clone());
            let message = |reply| CampaignMsg::Bulk { action, who, reply };
            let removed = self.campaigns.tell(&task.user, task.id, message).await?;
            undone.removed += removed;
            undone.kept += ids.len() as u64 - removed;
        }
        // Each piece that was removed has its own line of the audit log.
        let undone_at = record.undone_at.or_else(|| Some(self.campaigns.context.now()));
        let record = ImportRecord { undone_at, ..record };
        let audit = self.shared.audit_event(who, &task.user, "campaign.import.undo", task.id);
        self.shared.commit(vec![Op::update_row(&record), Op::Audit(audit)]).await?;
        Ok(undone)
    }
}

impl Trial {
    /// What would come of adding somebody.
    fn count(&mut self, record: &mut ImportRecord, identifier: &Identifier) {
        if self.listed.contains(&fingerprint(identifier)) {
            record.duplicates += 1;
        } else if self.room == 0 {
            record.beyond += 1;
        } else {
            self.room -= 1;
            self.listed.insert(fingerprint(identifier));
            record.accepted += 1;
        }
    }
}
