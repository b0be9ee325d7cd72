//! Tasks: making and copying them, listing and sorting, the same for many of them. A list looks at a bounded number of
//! tasks and says where to go on; sorting by what only the tasks themselves tell is for users with few of them.

use super::{CampaignQuery, Campaigns, no_cursor};
use crate::actors::campaigns::book::NewTarget;
use crate::actors::campaigns::campaign::{
    CampaignMsg, Edit, Wanted, ignore_recontact_action, refused,
};
use crate::actors::services::creations::gone;
use crate::actors::services::scope_of;
use crate::protocol::answers::campaign::CampaignInfo;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::Details;
use crate::protocol::campaigns::creation::{CreationKey, Made};
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::task::{Priority, Task, TaskId, TaskRequest, TaskStatus};
use crate::protocol::users::owner::{Caller, Role, Scope, UserId};
use crate::protocol::values::page::Page;
use crate::store::{Op, Reader, StoreError};

/// Tasks of one user.
const TASKS_MAX: usize = 10_000;
/// Targets that a duplicate takes over at a time.
const COPIED_AT_ONCE: u32 = 32;
/// Tasks that are opened for one page.
const OPENED_MAX: usize = if cfg!(test) { 6 } else { 1_000 };
/// Characters of a title that count when titles are sorted.
const TITLE_SORTED_CHARS: usize = 40;
/// How often a change of a priority is tried that somebody else's edit came before.
const PRIORITY_TRIES: u32 = 3;

/// By what tasks are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskOrder {
    /// When they were made.
    #[default]
    Created,
    /// Where they stand, in the order of their lives.
    Status,
    /// Who goes first, the most urgent first.
    Priority,
    /// Their titles, without regard to case.
    Title,
    /// When they start by themselves; those that do not are last.
    Scheduled,
}

/// In which order tasks are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskSort {
    /// By what.
    pub by: TaskOrder,
    /// From the greatest to the least.
    pub is_descending: bool,
}

/// The newest first.
impl Default for TaskSort {
    fn default() -> Self {
        Self { by: TaskOrder::Created, is_descending: true }
    }
}

/// What is to be done with some tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskAction {
    /// They are deleted.
    Delete,
    /// They are paused, resumed or cancelled.
    Order(Wanted),
    /// They are to be as urgent.
    SetPriority(Priority),
}

/// What came of it for one of them.
pub type TaskOutcome = (TaskId, Result<(), Refusal>);

/// Where a task is in an order: what it is sorted by, and what tells it from its equals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    key: Vec<u8>,
    id: TaskId,
}

impl Campaigns {
    /// Makes a draft.
    pub(super) async fn make(
        &self,
        who: &Caller,
        request: TaskRequest,
        key: Option<CreationKey>,
    ) -> Result<(CampaignInfo, bool), Refusal> {
        let _busy = self.context.erasing.enter(&who.user)?;
        let creation = self.creations.begin(&who.user, "task", key).await?;
        if let Some(Made::Task(id)) = creation.made() {
            return Ok((self.made_before(who, id).await?, true));
        }
        let _turn = self.context.user_locks.take(&who.user).await;
        self.has_room(&who.user).await?;
        self.check_accounts(&who.user, &request.account_ids)?;
        let names = (TaskId(self.context.new_id()), who.user.clone());
        let rules = (&self.context.settings.caps, who.role == Role::Admin);
        let task = Task::new(names, request, rules, self.context.now());
        let task = task.map_err(|errors| refused(&errors))?;
        let noted = creation.ends(Made::Task(task.id));
        self.keep_new(who, &task, "campaign.create", noted).await?;
        let run = TaskRun::new(&task);
        Ok((self.info(who, task, &run), false))
    }

    /// What an idempotency key has made.
    async fn made_before(&self, who: &Caller, id: TaskId) -> Result<CampaignInfo, Refusal> {
        match self.find(who, id).await {
            Ok((task, run)) => Ok(self.info(who, task, &run)),
            Err(refusal) if refusal.code == Code::NotFound => Err(gone("a task")),
            Err(refusal) => Err(refusal),
        }
    }

    async fn has_room(&self, user: &UserId) -> Result<(), Refusal> {
        let user = user.clone();
        let there = self.shared.reading(move |store| store.task_statuses(&user)).await?.len();
        if there >= TASKS_MAX {
            let detail = format!("there are {TASKS_MAX} tasks already; delete some first");
            return Err(Refusal::new(Code::Conflict, detail));
        }
        Ok(())
    }

    async fn keep_new(
        &self,
        who: &Caller,
        task: &Task,
        action: &str,
        noted: Option<Op>,
    ) -> Result<(), Refusal> {
        let _busy = self.context.erasing.enter(&task.user)?;
        let audit =
            |action: &str| Op::Audit(self.shared.audit_event(who, &task.user, action, task.id));
        let made = self.shared.audit_event(who, &task.user, action, task.id);
        let made = Op::Audit(made.with(Details::new(&task.audience_basis)));
        let mut ops = vec![Op::put_row(task), Op::put_row(&TaskRun::new(task)), made];
        if task.settings.ignore_recontact {
            ops.push(audit(ignore_recontact_action(true)));
        }
        if task.raised_caps.is_some() {
            ops.push(audit("campaign.caps.raise"));
        }
        ops.extend(noted);
        self.shared.commit(ops).await
    }

    /// A draft of the same for the same people. One that a crash came into is gone on with under its key: whoever is in
    /// the list already is not added again.
    pub(super) async fn copy(
        &self,
        who: &Caller,
        id: TaskId,
        key: Option<CreationKey>,
    ) -> Result<(CampaignInfo, bool), Refusal> {
        let (task, _) = self.find(who, id).await?;
        let creation = self.creations.begin(&who.user, &format!("copy/{id}"), key).await?;
        if let Some(Made::Task(id)) = creation.made() {
            return Ok((self.made_before(who, id).await?, true));
        }
        let copy = match creation.begun() {
            Some(Made::Task(id)) => self.made_before(who, id).await?.task,
            _ => {
                let _turn = self.context.user_locks.take(&task.user).await;
                self.has_room(&task.user).await?;
                let mut copy = task.duplicate(TaskId(self.context.new_id()), self.context.now());
                if who.role != Role::Admin {
                    // What an admin has allowed for one task is not allowed for others.
                    let all = &self.context.settings.caps;
                    copy.settings.caps = copy.settings.caps.map(|own| own.lowered_to(all));
                    copy.raised_caps = None;
                }
                let noted = creation.begins(Made::Task(copy.id));
                self.keep_new(who, &copy, "campaign.duplicate", noted).await?;
                copy
            }
        };
        self.copy_people(who, &task, &copy).await?;
        if let Some(noted) = creation.ends(Made::Task(copy.id)) {
            self.shared.commit(vec![noted]).await?;
        }
        let (copy, run) = self.find(who, copy.id).await?;
        Ok((self.info(who, copy, &run), false))
    }

    async fn copy_people(&self, who: &Caller, task: &Task, copy: &Task) -> Result<(), Refusal> {
        let mut from = 0_u32;
        loop {
            let (user, id, to) = (task.user.clone(), task.id, from.saturating_add(COPIED_AT_ONCE));
            let read = move |store: &Reader| store.target_blocks(&user, id, from..to);
            let read = self.shared.reading(read).await?;
            if read.is_empty() {
                break;
            }
            let targets = read.into_iter().flat_map(|block| block.targets);
            let people = targets.map(|target| NewTarget {
                identifier: target.identifier,
                details: target.details.map(|details| *details),
            });
            let (people, who) = (people.collect(), who.clone());
            let message = |reply| CampaignMsg::Add { people, creation: None, who, reply };
            self.tell(&copy.user, copy.id, message).await?;
            from = to;
        }
        Ok(())
    }

    /// A page of tasks.
    pub(super) async fn page_of_tasks(
        &self,
        who: &Caller,
        query: CampaignQuery,
    ) -> Result<Page<CampaignInfo>, Refusal> {
        let Some(scope) = scope_of(who, query.user.clone()) else { return Ok(Page::default()) };
        let after = query.page.cursor.as_deref().map(Place::read).transpose()?;
        let found = self.shared.reading(move |store| tasks(store, &scope, &query, after)).await?;
        let (found, next) = found.map_err(|count| {
            let detail = format!(
                "there are {count} tasks to be sorted, and by this at most {OPENED_MAX} are: sort by created_at or \
                 status, or narrow it with status"
            );
            Refusal::field("sort", detail)
        })?;
        let items = found.into_iter().map(|(task, run)| self.info(who, task, &run)).collect();
        Ok(Page { items, next_cursor: next.map(|place| place.cursor()) })
    }

    /// Does the same with each of some tasks.
    pub(super) async fn each(
        &self,
        who: &Caller,
        action: TaskAction,
        ids: Vec<TaskId>,
    ) -> Vec<TaskOutcome> {
        let mut outcomes = Vec::with_capacity(ids.len());
        for id in ids {
            let outcome = self.one_of_many(who, action, id).await;
            outcomes.push((id, outcome));
        }
        outcomes
    }

    async fn one_of_many(
        &self,
        who: &Caller,
        action: TaskAction,
        id: TaskId,
    ) -> Result<(), Refusal> {
        let (task, _) = self.find(who, id).await?;
        let who_asks = who.clone();
        match action {
            TaskAction::Delete => {
                let message = |reply| CampaignMsg::Delete { who: who_asks, reply };
                self.tell(&task.user, id, message).await
            }
            TaskAction::Order(wanted) => {
                let message = |reply| CampaignMsg::Order { wanted, who: who_asks, reply };
                self.tell(&task.user, id, message).await.map(drop)
            }
            TaskAction::SetPriority(priority) => self.set_priority(who, task, priority).await,
        }
    }

    /// Changes nothing else: what somebody else edits meanwhile stays.
    async fn set_priority(
        &self,
        who: &Caller,
        mut task: Task,
        priority: Priority,
    ) -> Result<(), Refusal> {
        for _ in 1..PRIORITY_TRIES {
            match self.edit_priority(who, &task, priority).await {
                Err(refusal) if refusal.code == Code::PreconditionFailed => {
                    (task, _) = self.find(who, task.id).await?;
                }
                outcome => return outcome,
            }
        }
        self.edit_priority(who, &task, priority).await
    }

    async fn edit_priority(
        &self,
        who: &Caller,
        task: &Task,
        priority: Priority,
    ) -> Result<(), Refusal> {
        if task.priority == priority {
            return Ok(());
        }
        let mut request = TaskRequest { priority, ..task.request() };
        request.settings.caps = task.shown_caps(&self.context.settings.caps);
        let edit = Box::new(Edit { request, revision: Some(task.revision), confirms_basis: false });
        let who = who.clone();
        let message = |reply| CampaignMsg::Edit { edit, who, reply };
        self.tell(&task.user, task.id, message).await.map(drop)
    }
}

type TasksFound = (Vec<(Task, TaskRun)>, Option<Place>);

/// A page of tasks and where the next begins, or how many there are to be sorted, if they are too many.
fn tasks(
    store: &Reader,
    scope: &Scope,
    query: &CampaignQuery,
    after: Option<Place>,
) -> Result<Result<TasksFound, usize>, StoreError> {
    let wanted = |status| query.status.is_none_or(|wanted| wanted == status);
    let mut marked = store.tasks_of(scope)?;
    marked.retain(|(_, _, status)| wanted(*status));
    let mut placed: Vec<(Place, UserId)> = Vec::new();
    if is_marked(query.sort.by) {
        let place =
            |(owner, id, status)| (Place { key: key_of_mark(query.sort, status), id }, owner);
        placed.extend(marked.into_iter().map(place));
    } else if marked.len() > OPENED_MAX {
        return Ok(Err(marked.len()));
    } else {
        // Their texts are not held: those of the page are opened once more.
        for (owner, id, _) in marked {
            let task = store.row::<Task>(&owner, id)?.filter(|task| is_wanted(query, task));
            placed.extend(task.map(|task| (Place { key: key_of(query.sort, &task), id }, owner)));
        }
    }
    placed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    if query.sort.is_descending {
        placed.reverse();
    }
    let is_after = |place: &Place| match (&after, query.sort.is_descending) {
        (None, _) => true,
        (Some(after), true) => place < after,
        (Some(after), false) => place > after,
    };
    let mut rest = placed.into_iter().filter(|(place, _)| is_after(place)).peekable();
    let (mut found, mut last) = (Vec::new(), None);
    for _ in 0..OPENED_MAX {
        if found.len() == query.page.limit {
            break;
        }
        let Some((place, owner)) = rest.next() else { break };
        let id = place.id;
        last = Some(place);
        let Some(task) = store.row::<Task>(&owner, id)? else { continue };
        if is_wanted(query, &task) {
            let run = store.row::<TaskRun>(&owner, id)?;
            let run = run.unwrap_or_else(|| TaskRun::new(&task));
            found.push((task, run));
        }
    }
    let next = last.filter(|_| rest.peek().is_some());
    Ok(Ok((found, next)))
}

fn is_wanted(query: &CampaignQuery, task: &Task) -> bool {
    let text = query.text.as_deref().map(|text| text.trim().to_lowercase());
    query.priority.is_none_or(|priority| priority == task.priority)
        && query.status.is_none_or(|status| status == task.status)
        && text.is_none_or(|text| task.title.to_lowercase().contains(&text))
}

/// Whether tasks need not be opened to be sorted by it.
fn is_marked(by: TaskOrder) -> bool {
    matches!(by, TaskOrder::Created | TaskOrder::Status)
}

fn key_of_mark(sort: TaskSort, status: TaskStatus) -> Vec<u8> {
    match sort.by {
        TaskOrder::Status => vec![status as u8],
        // Ids begin with the time they were made.
        _ => Vec::new(),
    }
}

/// What a task is sorted by.
fn key_of(sort: TaskSort, task: &Task) -> Vec<u8> {
    match sort.by {
        TaskOrder::Created | TaskOrder::Status => key_of_mark(sort, task.status),
        TaskOrder::Priority => vec![task.priority as u8],
        TaskOrder::Title => {
            let title = task.title.to_lowercase();
            title.trim().chars().take(TITLE_SORTED_CHARS).collect::<String>().into_bytes()
        }
        TaskOrder::Scheduled => match &task.schedule {
            Some(schedule) => {
                let instant = schedule.instant().0 ^ i64::MIN;
                [&[1][..], &instant.to_be_bytes()].concat()
            }
            // They are last in either order.
            None if sort.is_descending => vec![0],
            None => vec![2],
        },
    }
}

impl Place {
    /// As a cursor.
    fn cursor(&self) -> String {
        let hex = |byte: &u8| format!("{byte:02x}");
        match self.key.is_empty() {
            true => self.id.to_string(),
            false => format!("{}.{}", self.id, self.key.iter().map(hex).collect::<String>()),
        }
    }

    fn read(cursor: &str) -> Result<Self, Refusal> {
        let (id, key) = cursor.split_once('.').unwrap_or((cursor, ""));
        let id = TaskId(id.parse().map_err(|_| no_cursor())?);
        let pairs = key.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let key = pairs.map(byte).collect::<Option<Vec<u8>>>().ok_or_else(no_cursor)?;
        Ok(Self { key, id })
    }
}
