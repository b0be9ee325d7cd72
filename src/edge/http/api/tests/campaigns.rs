//! Campaigns in memory: one task of one user, with one target.

use async_trait::async_trait;

use super::fake::{ACCOUNT, T, TASK, own_account, owner, row};
use crate::actors::{
    BulkAction, CampaignQuery, CampaignService, Edit, NewTarget, TargetEdit, TargetQuery, Wanted,
};
use crate::protocol::answers::campaign::{
    Added, CampaignAccountInfo, CampaignInfo, Preview, PreviewText,
};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::account::AccountStatus;
use crate::protocol::campaigns::attempt::AttemptRecord;
use crate::protocol::campaigns::caps::{BUDGETS, Caps};
use crate::protocol::campaigns::identity::{Country, Identifier};
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::{Statistics, Step, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Priority, Task, TaskId, TaskRequest, TaskType};
use crate::protocol::users::owner::{AccountId, Caller, Role};
use crate::protocol::values::page::{Page, PageQuery};

/// The target that the task has.
const TARGET: TargetId = TargetId(0);

/// One task of one user.
pub(super) struct Campaigns;

fn info(who: &Caller) -> CampaignInfo {
    let request = TaskRequest {
        task_type: Some(TaskType::SendMessages),
        title: "Meetup in May".to_owned(),
        description: Some("A description".to_owned()),
        target_group_id: None,
        message_template: Some("Hi {first_name|friend}".to_owned()),
        priority: Priority::Normal,
        schedule: None,
        settings: Settings { min_pause_seconds: Some(30), ..Settings::default() },
        account_ids: vec![AccountId(ACCOUNT)],
        audience_basis: "They signed up".to_owned(),
    };
    let task = Task::new((TaskId(TASK), owner()), request, (&Caps::default(), false), T).unwrap();
    let mut statistics = Statistics::default();
    statistics.add(TargetStatus::Pending);
    let owner = (who.role == Role::Admin).then(owner);
    CampaignInfo { task, owner, statistics, error: None }
}

fn target() -> Target {
    Target::new(TARGET, Identifier::Id(7), None)
}

fn one<T>(who: &Caller, id: TaskId, answer: T) -> Result<T, Refusal> {
    row(who, id.0 == TASK, "task", answer)
}

fn page<T>(who: &Caller, item: T) -> Page<T> {
    let items = one(who, TaskId(TASK), item).into_iter().collect();
    Page { items, next_cursor: None }
}

#[async_trait]
impl CampaignService for Campaigns {
    async fn create(&self, who: &Caller, request: TaskRequest) -> Result<CampaignInfo, Refusal> {
        let names = (TaskId(TASK), who.user.clone());
        let task = Task::new(names, request, (&Caps::default(), who.role == Role::Admin), T);
        Ok(CampaignInfo { task: task.expect("the example is a good one"), ..info(who) })
    }

    async fn list(
        &self,
        who: &Caller,
        _query: CampaignQuery,
    ) -> Result<Page<CampaignInfo>, Refusal> {
        Ok(page(who, info(who)))
    }

    async fn get(&self, who: &Caller, id: TaskId) -> Result<CampaignInfo, Refusal> {
        one(who, id, info(who))
    }

    async fn edit(&self, who: &Caller, id: TaskId, _edit: Edit) -> Result<CampaignInfo, Refusal> {
        one(who, id, info(who))
    }

    async fn delete(&self, who: &Caller, id: TaskId) -> Result<(), Refusal> {
        one(who, id, ())
    }

    async fn duplicate(&self, who: &Caller, id: TaskId) -> Result<CampaignInfo, Refusal> {
        one(who, id, info(who))
    }

    async fn order(
        &self,
        who: &Caller,
        id: TaskId,
        _wanted: Wanted,
    ) -> Result<CampaignInfo, Refusal> {
        one(who, id, info(who))
    }

    async fn add_targets(
        &self,
        who: &Caller,
        id: TaskId,
        people: Vec<NewTarget>,
    ) -> Result<Added, Refusal> {
        one(who, id, Added { accepted: people.len() as u64, ..Added::default() })
    }

    async fn targets(
        &self,
        who: &Caller,
        id: TaskId,
        _query: TargetQuery,
    ) -> Result<Page<Target>, Refusal> {
        one(who, id, page(who, target()))
    }

    async fn target(&self, who: &Caller, id: TaskId, wanted: TargetId) -> Result<Target, Refusal> {
        one(who, id, ())?;
        row(who, wanted == TARGET, "target", target())
    }

    async fn edit_target(
        &self,
        who: &Caller,
        id: TaskId,
        edit: TargetEdit,
    ) -> Result<Target, Refusal> {
        self.target(who, id, edit.id).await
    }

    async fn bulk_targets(
        &self,
        who: &Caller,
        id: TaskId,
        _action: BulkAction,
    ) -> Result<u64, Refusal> {
        one(who, id, 1)
    }

    async fn attempts(
        &self,
        who: &Caller,
        id: TaskId,
        _target: Option<TargetId>,
        _account: Option<AccountId>,
        _page: PageQuery,
    ) -> Result<Page<AttemptRecord>, Refusal> {
        let attempt = AttemptRecord {
            user: owner(),
            task: TaskId(TASK),
            number: 0,
            target: TARGET,
            account: Some(AccountId(ACCOUNT)),
            step: Some(Step::Send),
            at: T,
            took_ms: Some(120),
            status: TargetStatus::Sent,
            reason: None,
            code: None,
            text_version: Some(1),
        };
        one(who, id, page(who, attempt))
    }

    async fn preview(
        &self,
        who: &Caller,
        id: TaskId,
        target: TargetId,
    ) -> Result<Preview, Refusal> {
        let text = PreviewText { source: "Hi friend".to_owned(), has_link: false };
        one(who, id, Preview { target, text: Ok(text) })
    }

    async fn test(
        &self,
        who: &Caller,
        id: TaskId,
        account: AccountId,
        _target: TargetId,
    ) -> Result<(), Refusal> {
        one(who, id, ())?;
        own_account(who, account).map(drop)
    }

    fn country(&self) -> Option<Country> {
        None
    }

    async fn accounts(&self, who: &Caller) -> Result<Vec<CampaignAccountInfo>, Refusal> {
        let account = CampaignAccountInfo {
            account: AccountId(ACCOUNT),
            status: AccountStatus::Active,
            left: BUDGETS.into_iter().map(|budget| (budget, 5)).collect(),
            held: Some(("it is not connected", Some(T))),
        };
        Ok(page(who, account).items)
    }
}
