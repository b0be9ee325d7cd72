//! Campaigns: what they are, whom they are for, how they fare. Whatever changes one goes through its actor; what is
//! listed is read from the store, in bounded pieces.
//!
//! | file | subject |
//! |---|---|
//! | `tasks.rs` | making, listing and sorting tasks, the same for many of them |
//! | `targets.rs` | whom they are for |
//! | `texts.rs` | what they are written: previews and trials |
//! | `accounts.rs` | which accounts may be used, and how all campaigns of a user stand |

mod accounts;
mod targets;
mod tasks;
#[cfg(test)]
mod tests;
mod texts;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub use self::tasks::{TaskAction, TaskOrder, TaskOutcome, TaskSort};
use super::creations::Creations;
use super::{Shared, Unanswered, owner_for};
use crate::actors::campaigns::book::NewTarget;
use crate::actors::campaigns::campaign::{BulkAction, CampaignMsg, Edit, TargetEdit, Wanted};
use crate::actors::campaigns::context::CampaignsContext;
use crate::actors::campaigns::supervisor::CampaignsMsg;
use crate::actors::tree::actor::{ActorRef, CallResult, RpcReplyPort};
use crate::protocol::answers::campaign::{
    Added, AddedTarget, CampaignAccountInfo, CampaignInfo, CampaignsHealth, Preview,
};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::attempt::AttemptRecord;
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::creation::CreationKey;
use crate::protocol::campaigns::identity::Country;
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::target::{Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Priority, Task, TaskId, TaskRequest, TaskStatus};
use crate::protocol::users::owner::{AccountId, Caller, Role, Scope, UserId};
use crate::protocol::values::page::{Page, PageQuery};
use crate::store::{AttemptQuery, Reader};

/// How long a change may take: it waits for the disk, and may read a long list first.
const CHANGE_MAX: Duration = Duration::from_secs(60);
/// How long the campaigns of a user may take to end: a call under way is given up.
const FORGET_MAX: Duration = Duration::from_secs(30);

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
    /// In which order.
    pub sort: TaskSort,
    /// Which page.
    pub page: PageQuery,
}

/// Which targets of a campaign are listed.
#[derive(Clone, Debug, Default)]
pub struct TargetQuery {
    /// Only those that have this status.
    pub status: Option<TargetStatus>,
    /// Only those whose identifier or names hold this.
    pub text: Option<String>,
    /// Which page.
    pub page: PageQuery,
}

/// Campaigns.
#[async_trait]
pub trait CampaignService: Send + Sync + 'static {
    /// Makes a draft. The flag tells that it was made before under the same idempotency key.
    async fn create(
        &self,
        who: &Caller,
        request: TaskRequest,
        key: Option<CreationKey>,
    ) -> Result<(CampaignInfo, bool), Refusal>;
    /// The caller's campaigns, the newest first unless they are sorted otherwise; admins see those of everybody. A page
    /// may hold fewer than were asked for and go on: filters look at a thousand at a time.
    async fn list(&self, who: &Caller, query: CampaignQuery)
    -> Result<Page<CampaignInfo>, Refusal>;
    /// One campaign.
    async fn get(&self, who: &Caller, id: TaskId) -> Result<CampaignInfo, Refusal>;
    /// Changes what it is.
    async fn edit(&self, who: &Caller, id: TaskId, edit: Edit) -> Result<CampaignInfo, Refusal>;
    /// Deletes it with its targets and its log. No refusal goes with it.
    async fn delete(&self, who: &Caller, id: TaskId) -> Result<(), Refusal>;
    /// A draft of the same for the same people, as if nothing had been done. The flag is that of `create`.
    async fn duplicate(
        &self,
        who: &Caller,
        id: TaskId,
        key: Option<CreationKey>,
    ) -> Result<(CampaignInfo, bool), Refusal>;
    /// Does the same with each of them. One that refuses stops no other.
    async fn bulk(&self, who: &Caller, action: TaskAction, ids: Vec<TaskId>) -> Vec<TaskOutcome>;
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
    ) -> Result<Added, Refusal> {
        self.add_targets_under(who, id, people, None).await.map(|(added, _)| added)
    }
    /// The same, perhaps under an idempotency key. The flag is that of `create`.
    async fn add_targets_under(
        &self,
        who: &Caller,
        id: TaskId,
        people: Vec<NewTarget>,
        key: Option<CreationKey>,
    ) -> Result<(Added, bool), Refusal>;
    /// Adds one person, or finds them in the list.
    async fn add_target(
        &self,
        who: &Caller,
        id: TaskId,
        person: NewTarget,
        key: Option<CreationKey>,
    ) -> Result<AddedTarget, Refusal>;
    /// Whom it is for. A page may hold fewer than were asked for and go on: looking for a text ends after some
    /// thousand.
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
    /// How all campaigns of the caller stand, and what holds them.
    async fn health(&self, who: &Caller) -> Result<CampaignsHealth, Refusal>;
}

/// The service on a tree.
#[derive(Clone)]
pub(super) struct Campaigns {
    shared: Shared,
    pub(super) context: Arc<CampaignsContext>,
    campaigns: ActorRef<CampaignsMsg>,
    creations: Creations,
}

impl Campaigns {
    pub(super) fn new(
        shared: Shared,
        context: Arc<CampaignsContext>,
        campaigns: ActorRef<CampaignsMsg>,
        creations: Creations,
    ) -> Self {
        Self { shared, context, campaigns, creations }
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

    /// Ends all campaigns of a user who is being erased.
    pub(super) async fn forget(&self, user: &UserId) -> Result<(), Refusal> {
        let user = user.clone();
        let forget = |reply| CampaignsMsg::Forget { user, reply };
        match self.campaigns.call(forget, Some(FORGET_MAX)).await {
            Ok(CallResult::Success(())) => Ok(()),
            _ => Err(self.shared.unanswered(Unanswered::Late)),
        }
    }

    /// A campaign as its user sees it.
    pub(super) fn own_info(&self, task: Task, run: &TaskRun) -> CampaignInfo {
        let who = Caller { user: task.user.clone(), role: Role::User, address: None };
        self.info(&who, task, run)
    }

    fn info(&self, who: &Caller, mut task: Task, run: &TaskRun) -> CampaignInfo {
        task.settings.caps = task.shown_caps(&self.context.settings.caps);
        let view = self.context.status.campaign_view(&task.user, task.id);
        let statistics = view.as_ref().map_or(run.statistics, |view| view.statistics);
        let owner = owner_for(who, Some(&task.user));
        let (held, error) = view.map_or((None, None), |view| (view.held, view.error));
        let held = held.filter(|_| task.status == TaskStatus::Running);
        CampaignInfo { task, owner, statistics, held, error }
    }

    /// Has the campaign do something.
    pub(super) async fn tell<T: Send + 'static>(
        &self,
        user: &UserId,
        task: TaskId,
        message: impl FnOnce(RpcReplyPort<Result<T, Refusal>>) -> CampaignMsg,
    ) -> Result<T, Refusal> {
        let _busy = self.context.erasing.enter(user)?;
        let (reply, answer) = oneshot::channel();
        let message = Box::new(message(reply.into()));
        let tell = CampaignsMsg::Tell { user: user.clone(), task, message };
        if self.campaigns.cast(tell).is_err() {
            return Err(self.shared.unanswered(Unanswered::Gone));
        }
        match timeout(CHANGE_MAX, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.shared.unanswered(Unanswered::Dropped)),
            Err(_) => Err(self.shared.unanswered(Unanswered::Late)),
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

    async fn block(&self, task: &Task, number: u32) -> Result<Option<TargetBlock>, Refusal> {
        let (user, id) = (task.user.clone(), task.id);
        self.shared.reading(move |store| store.row::<TargetBlock>(&user, (id, number))).await
    }
}

#[async_trait]
impl CampaignService for Campaigns {
    async fn create(
        &self,
        who: &Caller,
        request: TaskRequest,
        key: Option<CreationKey>,
    ) -> Result<(CampaignInfo, bool), Refusal> {
        self.make(who, request, key).await
    }

    async fn list(
        &self,
        who: &Caller,
        query: CampaignQuery,
    ) -> Result<Page<CampaignInfo>, Refusal> {
        self.page_of_tasks(who, query).await
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

    async fn duplicate(
        &self,
        who: &Caller,
        id: TaskId,
        key: Option<CreationKey>,
    ) -> Result<(CampaignInfo, bool), Refusal> {
        self.copy(who, id, key).await
    }

    async fn bulk(&self, who: &Caller, action: TaskAction, ids: Vec<TaskId>) -> Vec<TaskOutcome> {
        self.each(who, action, ids).await
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

    async fn add_targets_under(
        &self,
        who: &Caller,
        id: TaskId,
        people: Vec<NewTarget>,
        key: Option<CreationKey>,
    ) -> Result<(Added, bool), Refusal> {
        self.add(who, id, people, ("targets", key)).await
    }

    async fn add_target(
        &self,
        who: &Caller,
        id: TaskId,
        person: NewTarget,
        key: Option<CreationKey>,
    ) -> Result<AddedTarget, Refusal> {
        self.add_one(who, id, person, key).await
    }

    async fn targets(
        &self,
        who: &Caller,
        id: TaskId,
        query: TargetQuery,
    ) -> Result<Page<Target>, Refusal> {
        self.page_of_targets(who, id, query).await
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
        let before = cursor::<u64>(&page)?;
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
        self.preview_for(who, id, target).await
    }

    async fn test(
        &self,
        who: &Caller,
        id: TaskId,
        account: AccountId,
        target: TargetId,
    ) -> Result<(), Refusal> {
        self.send_trial(who, id, account, target).await
    }

    fn country(&self) -> Option<Country> {
        self.context.settings.country
    }

    async fn accounts(&self, who: &Caller) -> Result<Vec<CampaignAccountInfo>, Refusal> {
        self.accounts_of(&who.user).await
    }

    async fn health(&self, who: &Caller) -> Result<CampaignsHealth, Refusal> {
        self.health_of(&who.user).await
    }
}

/// Where a page begins.
fn cursor<T: std::str::FromStr>(page: &PageQuery) -> Result<Option<T>, Refusal> {
    let read = page.cursor.as_deref().map(str::parse).transpose();
    read.map_err(|_| no_cursor())
}

fn no_cursor() -> Refusal {
    Refusal::field("cursor", "it is none that a page gave")
}
