//! Campaigns: what they are, whom they are for, how they fare. Whatever changes one goes through its actor; what is
//! listed is read from the store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Shared, broken, owner_for, scope_of};
use crate::actors::campaigns::book::NewTarget;
use crate::actors::campaigns::campaign::{
    BulkAction, CampaignMsg, Edit, TargetEdit, Wanted, refused,
};
use crate::actors::campaigns::context::CampaignsContext;
use crate::actors::campaigns::platform::Deputy;
use crate::actors::campaigns::supervisor::CampaignsMsg;
use crate::actors::tree::actor::{ActorRef, RpcReplyPort};
use crate::protocol::answers::campaign::{
    Added, CampaignAccountInfo, CampaignInfo, Preview, PreviewText,
};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::account::{Hold, Holding};
use crate::protocol::campaigns::attempt::AttemptRecord;
use crate::protocol::campaigns::block::{StatusPage, TargetBlock};
use crate::protocol::campaigns::caps::BUDGETS;
use crate::protocol::campaigns::identity::Country;
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::target::{Step, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Priority, Task, TaskId, TaskRequest, TaskStatus};
use crate::protocol::campaigns::text::{Rendered, Template};
use crate::protocol::users::owner::{AccountId, Caller, Role, Scope, UserId};
use crate::protocol::values::page::{Page, PageQuery};
use crate::store::{AttemptQuery, Op, Reader};

/// How long a change may take: it waits for the disk, and may read a long list first.
const CHANGE_MAX: Duration = Duration::from_secs(60);
/// Pages of statuses that one page of targets passes over at the most.
const PAGES_MAX: u32 = 1_000;
/// Tasks of one user.
const TASKS_MAX: usize = 10_000;
/// Targets that a duplicate takes over at a time.
const COPIED_AT_ONCE: u32 = 32;

/// Which campaigns are listed.
#[derive(Clone, Debug, Default)]
pub struct CampaignQuery {
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Only those that stand there.
    pub status: Option<TaskStatus>,
    /// Only those that are as urgent.
    pub priority: Option<Priority>,
    /// Only those whose title holds this.
    pub text: Option<String>,
    /// Which page.
    pub page: PageQuery,
}

/// Which targets of a campaign are listed.
#[derive(Clone, Debug, Default)]
pub struct TargetQuery {
    /// Only those that have this status.
    pub status: Option<TargetStatus>,
    /// Which page.
    pub page: PageQuery,
}

/// Campaigns.
#[async_trait]
pub trait CampaignService: Send + Sync + 'static {
    /// Makes a draft.
    async fn create(&self, who: &Caller, request: TaskRequest) -> Result<CampaignInfo, Refusal>;
    /// The caller's campaigns, the newest first; admins see those of everybody.
    async fn list(&self, who: &Caller, query: CampaignQuery)
    -> Result<Page<CampaignInfo>, Refusal>;
    /// One campaign.
    async fn get(&self, who: &Caller, id: TaskId) -> Result<CampaignInfo, Refusal>;
    /// Changes what it is.
    async fn edit(&self, who: &Caller, id: TaskId, edit: Edit) -> Result<CampaignInfo, Refusal>;
    /// Deletes it with its targets and its log. No refusal goes with it.
    async fn delete(&self, who: &Caller, id: TaskId) -> Result<(), Refusal>;
    /// A draft of the same for the same people, as if nothing had been done.
    async fn duplicate(&self, who: &Caller, id: TaskId) -> Result<CampaignInfo, Refusal>;
    /// Starts, pauses, resumes or cancels it.
    async fn order(
        &self,
        who: &Caller,
        id: TaskId,
        wanted: Wanted,
    ) -> Result<CampaignInfo, Refusal>;
    /// Adds people, each once.
    async fn add_targets(
        &self,
        who: &Caller,
        id: TaskId,
        people: Vec<NewTarget>,
    ) -> Result<Added, Refusal>;
    /// Whom it is for.
    async fn targets(
        &self,
        who: &Caller,
        id: TaskId,
        query: TargetQuery,
    ) -> Result<Page<Target>, Refusal>;
    /// One of them.
    async fn target(&self, who: &Caller, id: TaskId, target: TargetId) -> Result<Target, Refusal>;
    /// Changes one that waits.
    async fn edit_target(
        &self,
        who: &Caller,
        id: TaskId,
        edit: TargetEdit,
    ) -> Result<Target, Refusal>;
    /// Does the same with some of them. Answers for how many it fitted.
    async fn bulk_targets(
        &self,
        who: &Caller,
        id: TaskId,
        action: BulkAction,
    ) -> Result<u64, Refusal>;
    /// Its attempts, the newest first.
    async fn attempts(
        &self,
        who: &Caller,
        id: TaskId,
        target: Option<TargetId>,
        account: Option<AccountId>,
        page: PageQuery,
    ) -> Result<Page<AttemptRecord>, Refusal>;
    /// The text as one of its people would get it.
    async fn preview(&self, who: &Caller, id: TaskId, target: TargetId)
    -> Result<Preview, Refusal>;
    /// Sends that text from one of its accounts to the account's own saved messages.
    async fn test(
        &self,
        who: &Caller,
        id: TaskId,
        account: AccountId,
        target: TargetId,
    ) -> Result<(), Refusal>;
    /// Where phone numbers without a country code are from.
    fn country(&self) -> Option<Country>;
    /// The caller's accounts as campaigns may use them.
    async fn accounts(&self, who: &Caller) -> Result<Vec<CampaignAccountInfo>, Refusal>;
}

/// The service on a tree.
#[derive(Clone)]
pub(super) struct Campaigns {
    shared: Shared,
    pub(super) context: Arc<CampaignsContext>,
    campaigns: ActorRef<CampaignsMsg>,
}

impl Campaigns {
    pub(super) fn new(
        shared: Shared,
        context: Arc<CampaignsContext>,
        campaigns: ActorRef<CampaignsMsg>,
    ) -> Self {
        Self { shared, context, campaigns }
    }

    /// A task and how it fares, if it exists for the one who asks.
    pub(super) async fn find(&self, who: &Caller, id: TaskId) -> Result<(Task, TaskRun), Refusal> {
        let scope = who.scope();
        let read = move |store: &Reader| {
            let owner = match scope {
                Scope::Only(user) => Some(user),
                Scope::Everybody => store.task_owner(id)?,
            };
            let Some(owner) = owner else { return Ok(None) };
            let Some(task) = store.row::<Task>(&owner, id)? else { return Ok(None) };
            let run = store.row::<TaskRun>(&owner, id)?;
            let run = run.unwrap_or_else(|| TaskRun::new(&task));
            Ok(Some((task, run)))
        };
        self.shared.reading(read).await?.ok_or_else(|| Refusal::not_found("task"))
    }

    fn info(&self, who: &Caller, task: Task, run: &TaskRun) -> CampaignInfo {
        let view = self.context.status.campaign_view(&task.user, task.id);
        let statistics = view.as_ref().map_or(run.statistics, |view| view.statistics);
        let owner = owner_for(who, Some(&task.user));
        CampaignInfo { task, owner, statistics, error: view.and_then(|view| view.error) }
    }

    /// Has the campaign do something.
    pub(super) async fn tell<T: Send + 'static>(
        &self,
        user: &UserId,
        task: TaskId,
        message: impl FnOnce(RpcReplyPort<Result<T, Refusal>>) -> CampaignMsg,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let message = Box::new(message(reply.into()));
        let tell = CampaignsMsg::Tell { user: user.clone(), task, message };
        if self.campaigns.cast(tell).is_err() {
            return Err(self.shared.unanswered(super::Unanswered::Gone));
        }
        match timeout(CHANGE_MAX, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.shared.unanswered(super::Unanswered::Dropped)),
            Err(_) => Err(self.shared.unanswered(super::Unanswered::Late)),
        }
    }

    /// Accounts that a task names have to be its user's.
    fn check_accounts(&self, user: &UserId, accounts: &[AccountId]) -> Result<(), Refusal> {
        let scope = Scope::Only(user.clone());
        for (at, id) in accounts.iter().enumerate() {
            let Some(account) = self.context.directory.get(&scope, *id) else {
                let text = format!("number {} is no account of yours", at + 1);
                return Err(Refusal::field("account_ids", text));
            };
            if account.is_bot {
                let text =
                    format!("number {} is a bot, which cannot write to people first", at + 1);
                return Err(Refusal::field("account_ids", text));
            }
        }
        Ok(())
    }

    async fn keep_new(&self, who: &Caller, task: &Task, action: &str) -> Result<(), Refusal> {
        let audit = self.shared.audit_event(who, &task.user, action, task.id);
        let ops = vec![Op::put_row(task), Op::put_row(&TaskRun::new(task)), Op::Audit(audit)];
        self.shared.commit(ops).await
    }

    async fn block(&self, task: &Task, number: u32) -> Result<Option<TargetBlock>, Refusal> {
        let (user, id) = (task.user.clone(), task.id);
        self.shared.reading(move |store| store.row::<TargetBlock>(&user, (id, number))).await
    }

    async fn text_of(&self, task: &Task, target: &Target) -> Result<Rendered, String> {
        let Some(text) = &task.message_template else {
            return Err("the task writes to nobody: it invites".to_owned());
        };
        let template = Template::parse(text, None).map_err(|error| error.to_string())?;
        let shown = target.identifier.to_string();
        let rendered =
            template.render(&target.values(&shown)).map_err(|error| error.to_string())?;
        match &task.settings.opt_out_line {
            Some(line) => rendered.with_line(line).map_err(|error| error.to_string()),
            None => Ok(rendered),
        }
    }
}

#[async_trait]
impl CampaignService for Campaigns {
    async fn create(&self, who: &Caller, request: TaskRequest) -> Result<CampaignInfo, Refusal> {
        let _busy = self.context.erasing.enter(&who.user)?;
        let _turn = self.context.user_locks.take(&who.user).await;
        let user = who.user.clone();
        let there = self.shared.reading(move |store| store.task_statuses(&user)).await?.len();
        if there >= TASKS_MAX {
            let detail = format!("there are {TASKS_MAX} tasks already; delete some first");
            return Err(Refusal::new(Code::Conflict, detail));
        }
        self.check_accounts(&who.user, &request.account_ids)?;
        let names = (TaskId(self.context.new_id()), who.user.clone());
        let rules = (&self.context.settings.caps, who.role == Role::Admin);
        let task = Task::new(names, request, rules, self.context.now());
        let task = task.map_err(|errors| refused(&errors))?;
        self.keep_new(who, &task, "campaign.create").await?;
        let run = TaskRun::new(&task);
        Ok(self.info(who, task, &run))
    }

    async fn list(
        &self,
        who: &Caller,
        query: CampaignQuery,
    ) -> Result<Page<CampaignInfo>, Refusal> {
        let CampaignQuery { user, status, priority, text, page } = query;
        let Some(scope) = scope_of(who, user) else { return Ok(Page::default()) };
        let bad = |_| Refusal::field("cursor", "it is none that a page gave");
        let before = page.cursor.as_deref().map(str::parse::<uuid::Uuid>).transpose();
        let before = before.map_err(bad)?.map(TaskId);
        let limit = page.limit;
        let text = text.map(|text| text.trim().to_lowercase());
        let read = move |store: &Reader| {
            let mut found = Vec::new();
            let mut marked = store.tasks_of(&scope)?;
            // Ids begin with the time they were made.
            marked.sort_by_key(|(_, id, _)| std::cmp::Reverse(*id));
            let wanted = marked.into_iter().filter(|(_, id, at)| {
                before.is_none_or(|before| *id < before)
                    && status.is_none_or(|status| status == *at)
            });
            for (owner, id, _) in wanted {
                let Some(task) = store.row::<Task>(&owner, id)? else { continue };
                let is_urgent = priority.is_none_or(|priority| priority == task.priority);
                let is_named =
                    text.as_ref().is_none_or(|text| task.title.to_lowercase().contains(text));
                if is_urgent && is_named {
                    let run = store.row::<TaskRun>(&owner, id)?;
                    let run = run.unwrap_or_else(|| TaskRun::new(&task));
                    found.push((task, run));
                }
                if found.len() > limit {
                    break;
                }
            }
            Ok(found)
        };
        let mut found = self.shared.reading(read).await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| has_more).map(|(task, _)| task.id.to_string());
        let items = found.into_iter().map(|(task, run)| self.info(who, task, &run)).collect();
        Ok(Page { items, next_cursor })
    }

    async fn get(&self, who: &Caller, id: TaskId) -> Result<CampaignInfo, Refusal> {
        let (task, run) = self.find(who, id).await?;
        Ok(self.info(who, task, &run))
    }

    async fn edit(&self, who: &Caller, id: TaskId, edit: Edit) -> Result<CampaignInfo, Refusal> {
        let (task, run) = self.find(who, id).await?;
        self.check_accounts(&task.user, &edit.request.account_ids)?;
        let (edit, who_asks) = (Box::new(edit), who.clone());
        let message = |reply| CampaignMsg::Edit { edit, who: who_asks, reply };
        let task = self.tell(&task.user, id, message).await?;
        Ok(self.info(who, task, &run))
    }

    async fn delete(&self, who: &Caller, id: TaskId) -> Result<(), Refusal> {
        let (task, _) = self.find(who, id).await?;
        let who = who.clone();
        self.tell(&task.user, id, |reply| CampaignMsg::Delete { who, reply }).await
    }

    async fn duplicate(&self, who: &Caller, id: TaskId) -> Result<CampaignInfo, Refusal> {
        let (task, run) = self.find(who, id).await?;
        let copy = task.duplicate(TaskId(self.context.new_id()), self.context.now());
        self.keep_new(who, &copy, "campaign.duplicate").await?;
        let mut from = 0;
        let blocks = u32::try_from(run.statistics.total()).unwrap_or(u32::MAX);
        while from <= blocks {
            let (user, to) = (task.user.clone(), from.saturating_add(COPIED_AT_ONCE));
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
            let message = |reply| CampaignMsg::Add { people, who, reply };
            self.tell(&copy.user, copy.id, message).await?;
            from = to;
        }
        self.get(who, copy.id).await
    }

    async fn order(
        &self,
        who: &Caller,
        id: TaskId,
        wanted: Wanted,
    ) -> Result<CampaignInfo, Refusal> {
        let (task, run) = self.find(who, id).await?;
        let who_asks = who.clone();
        let message = |reply| CampaignMsg::Order { wanted, who: who_asks, reply };
        let task = self.tell(&task.user, id, message).await?;
        Ok(self.info(who, task, &run))
    }

    async fn add_targets(
        &self,
        who: &Caller,
        id: TaskId,
        people: Vec<NewTarget>,
    ) -> Result<Added, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let who = who.clone();
        self.tell(&task.user, id, |reply| CampaignMsg::Add { people, who, reply }).await
    }

    async fn targets(
        &self,
        who: &Caller,
        id: TaskId,
        query: TargetQuery,
    ) -> Result<Page<Target>, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let TargetQuery { status, page } = query;
        let bad = |_| Refusal::field("cursor", "it is none that a page gave");
        let after = page.cursor.as_deref().map(str::parse::<u32>).transpose().map_err(bad)?;
        let (after, limit) = (after.map(TargetId), page.limit);
        let read = move |store: &Reader| {
            let ids = ids_with(store, &task, status, after, limit + 1)?;
            let mut found: Vec<Target> = Vec::new();
            let mut block: Option<TargetBlock> = None;
            for id in ids {
                let number = TargetBlock::of(id);
                if block.as_ref().is_none_or(|block| block.number != number) {
                    block = store.row::<TargetBlock>(&task.user, (task.id, number))?;
                }
                found.extend(block.as_ref().and_then(|block| block.get(id).cloned()));
            }
            Ok(found)
        };
        let mut items = self.shared.reading(read).await?;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| has_more).map(|last| last.id.0.to_string());
        Ok(Page { items, next_cursor })
    }

    async fn target(&self, who: &Caller, id: TaskId, target: TargetId) -> Result<Target, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let block = self.block(&task, TargetBlock::of(target)).await?;
        let found = block.and_then(|block| block.get(target).cloned());
        found.ok_or_else(|| Refusal::not_found("target"))
    }

    async fn edit_target(
        &self,
        who: &Caller,
        id: TaskId,
        edit: TargetEdit,
    ) -> Result<Target, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let (edit, who) = (Box::new(edit), who.clone());
        self.tell(&task.user, id, |reply| CampaignMsg::EditTarget { edit, who, reply }).await
    }

    async fn bulk_targets(
        &self,
        who: &Caller,
        id: TaskId,
        action: BulkAction,
    ) -> Result<u64, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let who = who.clone();
        self.tell(&task.user, id, |reply| CampaignMsg::Bulk { action, who, reply }).await
    }

    async fn attempts(
        &self,
        who: &Caller,
        id: TaskId,
        target: Option<TargetId>,
        account: Option<AccountId>,
        page: PageQuery,
    ) -> Result<Page<AttemptRecord>, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let bad = |_| Refusal::field("cursor", "it is none that a page gave");
        let before = page.cursor.as_deref().map(str::parse::<u64>).transpose().map_err(bad)?;
        let query = AttemptQuery { task: id, before, target, account, limit: page.limit };
        let read = move |store: &Reader| store.attempts(&task.user, &query);
        let found = self.shared.reading(read).await?;
        let next_cursor = found.next.map(|next| next.to_string());
        Ok(Page { items: found.attempts, next_cursor })
    }

    async fn preview(
        &self,
        who: &Caller,
        id: TaskId,
        target: TargetId,
    ) -> Result<Preview, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let found = self.target(who, id, target).await?;
        let text = self.text_of(&task, &found).await;
        let text = text.map(|Rendered { source, has_link, .. }| PreviewText { source, has_link });
        Ok(Preview { target, text })
    }

    async fn test(
        &self,
        who: &Caller,
        id: TaskId,
        account: AccountId,
        target: TargetId,
    ) -> Result<(), Refusal> {
        let (task, _) = self.find(who, id).await?;
        let found = self.target(who, id, target).await?;
        let text = self.text_of(&task, &found).await;
        let text = text.map_err(|why| Refusal::new(Code::Conflict, why))?;
        let scope = Scope::Only(task.user.clone());
        let account = self.context.directory.get(&scope, account);
        let account = account.ok_or_else(|| Refusal::not_found("account"))?;
        let by = Deputy { account, task: id };
        let random_id = self.context.chance.any();
        let told = self.context.platform.send_to_self(&by, &text, random_id).await;
        match told.code {
            None => Ok(()),
            Some(code) => {
                let detail =
                    format!("the text was not sent to the account's own messages ({code})");
                Err(Refusal::new(Code::TelegramUnavailable, detail).after(5))
            }
        }
    }

    fn country(&self) -> Option<Country> {
        self.context.settings.country
    }

    async fn accounts(&self, who: &Caller) -> Result<Vec<CampaignAccountInfo>, Refusal> {
        let own = Scope::Only(who.user.clone());
        let all = self.context.directory.list(&own, None, usize::MAX, |account| !account.is_bot);
        for account in &all {
            let loaded = self.context.budgets.load(&self.context, account).await;
            loaded.map_err(|error| broken(&error))?;
        }
        let caps = self.context.settings.caps;
        let infos = self.context.budgets.with(&self.context, |accounts, now| {
            let info = |id: &AccountId| {
                let account = accounts.get(id)?;
                let held = account.check(Step::Send, false, &caps, now).err();
                let left = |budget| (budget, account.usage.left(budget, &caps, now));
                Some(CampaignAccountInfo {
                    account: *id,
                    status: account.status(Step::Send, false, now),
                    left: BUDGETS.into_iter().map(left).collect(),
                    held: held.map(|Holding { hold, until }| (words_of(hold), until)),
                })
            };
            all.iter().filter_map(|account| info(&account.id)).collect()
        });
        Ok(infos)
    }
}

/// Targets of a task, by their ids, which have a status if one is wanted.
fn ids_with(
    store: &Reader,
    task: &Task,
    status: Option<TargetStatus>,
    after: Option<TargetId>,
    limit: usize,
) -> Result<Vec<TargetId>, crate::store::StoreError> {
    let first = after.map_or(0, StatusPage::of);
    let mut found = Vec::new();
    for number in first..first.saturating_add(PAGES_MAX) {
        let pages = store.status_pages(&task.user, task.id, number..number + 1)?;
        let Some(page) = pages.first() else { break };
        let wanted =
            page.statuses(after).filter(|(_, at)| status.is_none_or(|status| status == *at));
        found.extend(wanted.map(|(id, _)| id).take(limit - found.len()));
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// What holds an account, in words.
fn words_of(hold: Hold) -> &'static str {
    match hold {
        Hold::Gone => "its session is over, frozen or removed",
        Hold::Disconnected => "it is not connected",
        Hold::OwnWork => "its own users want something of it",
        Hold::Busy => "it is acting",
        Hold::Limited => "telegram has limited it",
        Hold::FloodWait => "telegram has it wait",
        Hold::PhoneLookups => "it has met too many phone numbers that nobody has",
        Hold::Cap(_) => "a cap, or the pause between two actions",
    }
}
