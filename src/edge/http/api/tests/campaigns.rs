//! Campaigns in memory: one task of one user, with one target.

use async_trait::async_trait;
use serde_json::json;

use super::fake::{ACCOUNT, T, TASK, own_account, owner, row};
use super::suppression::is_known;
use super::*;
use crate::actors::{
    BulkAction, CampaignQuery, CampaignService, Edit, NewTarget, TargetEdit, TargetQuery,
    TaskAction, TaskOutcome, Wanted,
};
use crate::protocol::answers::campaign::{
    Added, AddedTarget, CampaignAccountInfo, CampaignInfo, CampaignsHealth, HeldTask, Preview,
    PreviewText,
};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::account::{AccountStatus, Hold};
use crate::protocol::campaigns::attempt::AttemptRecord;
use crate::protocol::campaigns::caps::{BUDGETS, Bound, Budget, Caps};
use crate::protocol::campaigns::choose::{Binding, TaskHold};
use crate::protocol::campaigns::creation::CreationKey;
use crate::protocol::campaigns::identity::{Country, Identifier};
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::{Statistics, Step, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{
    PauseReason, Priority, TASK_STATUSES, Task, TaskId, TaskRequest, TaskStatus, TaskType,
};
use crate::protocol::users::owner::{AccountId, Caller};
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
    let by = Binding::Account(Hold::Cap(Bound::Day(Budget::Message)));
    let held = Some(TaskHold { by, until: Some(T) });
    CampaignInfo { task, owner, statistics, held, error: None }
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
    async fn create(
        &self,
        who: &Caller,
        request: TaskRequest,
        key: Option<CreationKey>,
    ) -> Result<(CampaignInfo, bool), Refusal> {
        let names = (TaskId(TASK), who.user.clone());
        let task = Task::new(names, request, (&Caps::default(), who.role == Role::Admin), T);
        let task = task.expect("the example is a good one");
        Ok((CampaignInfo { task, ..info(who) }, is_known(&key)))
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

    async fn duplicate(
        &self,
        who: &Caller,
        id: TaskId,
        key: Option<CreationKey>,
    ) -> Result<(CampaignInfo, bool), Refusal> {
        one(who, id, (info(who), is_known(&key)))
    }

    async fn bulk(&self, who: &Caller, action: TaskAction, ids: Vec<TaskId>) -> Vec<TaskOutcome> {
        assert_ne!(action, TaskAction::Order(Wanted::Start), "there is no such action");
        ids.into_iter().map(|id| (id, one(who, id, ()))).collect()
    }

    async fn order(
        &self,
        who: &Caller,
        id: TaskId,
        _wanted: Wanted,
    ) -> Result<CampaignInfo, Refusal> {
        one(who, id, info(who))
    }

    async fn add_targets_under(
        &self,
        who: &Caller,
        id: TaskId,
        people: Vec<NewTarget>,
        key: Option<CreationKey>,
    ) -> Result<(Added, bool), Refusal> {
        let added = Added { accepted: people.len() as u64, ..Added::default() };
        one(who, id, (added, is_known(&key)))
    }

    async fn add_target(
        &self,
        who: &Caller,
        id: TaskId,
        person: NewTarget,
        key: Option<CreationKey>,
    ) -> Result<AddedTarget, Refusal> {
        let is_new = person.identifier != target().identifier;
        let target = Target::new(TARGET, person.identifier, person.details);
        one(who, id, AddedTarget { target, is_new, is_replayed: is_known(&key) })
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
    async fn health(&self, who: &Caller) -> Result<CampaignsHealth, Refusal> {
        let held = HeldTask {
            task: TaskId(TASK),
            title: "Meetup in May".to_owned(),
            status: TaskStatus::Paused,
            because: Some(PauseReason::PeerFlood),
            error: None,
        };
        Ok(CampaignsHealth {
            tasks: TASK_STATUSES.map(|status| (status, 1)).to_vec(),
            running_max: 10,
            held: page(who, held).items,
            held_left_out: 0,
            accounts: vec![(AccountStatus::Active, 1)],
            accounts_held: vec![("it is not connected", 1)],
            left: BUDGETS.map(|budget| (budget, 5)).to_vec(),
        })
    }
}

#[tokio::test]
async fn many_tasks_are_answered_each_by_itself_and_what_is_anothers_does_not_exist() {
    let server = Server::start().await;
    let bulk = |who: &str, body: Value| {
        server.ask(Request::to("POST", "/api/v1/invite/tasks/bulk").by(who).json(&body))
    };
    let nobodys = uuid::Uuid::from_u128(9);
    let pause = json!({"action": "pause", "task_ids": [TASK, nobodys, TASK]});
    let told = bulk(&alice(), pause.clone()).await.json();
    assert_eq!((&told["done"], told["results"].as_array().unwrap().len()), (&json!(1), 2));
    assert_eq!(
        (&told["results"][0]["ok"], &told["results"][1]["ok"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(told["results"][1]["error"]["code"], "NOT_FOUND");
    let told = bulk(&token("bob", Role::User), pause).await.json();
    assert_eq!(
        (&told["done"], &told["results"][0]["error"]["code"]),
        (&json!(0), &json!("NOT_FOUND"))
    );
    for (body, field) in [
        (json!({"action": "start", "task_ids": [TASK]}), "action"),
        (json!({"action": "set_priority", "task_ids": [TASK]}), "priority"),
        (json!({"action": "delete", "task_ids": [TASK], "priority": "low"}), "priority"),
        (json!({"action": "delete", "task_ids": []}), "task_ids"),
        (json!({"action": "delete", "task_ids": ["x"]}), "task_ids"),
        (json!({"action": "delete", "task_ids": vec![TASK; 101]}), "task_ids"),
    ] {
        let answer = bulk(&alice(), body).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"));
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }
}

#[tokio::test]
async fn whatever_makes_something_takes_an_idempotency_key_and_says_when_it_was_made_before() {
    let server = Server::start().await;
    let mut asked = 0;
    for (method, path, operation) in operations() {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let is_keyed = parameters.iter().any(|one| one["name"] == "Idempotency-Key");
        if !is_keyed || !path.contains("/invite/") {
            continue;
        }
        asked += 1;
        let ask = |key: &str| {
            let request = example(&method, &path, &operation).by(&alice());
            server.ask(request.header("Idempotency-Key", key))
        };
        let (first, again) = (ask("first").await, ask("again").await);
        assert_eq!(first.header("idempotency-replayed"), None, "{path}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{path}");
        assert_eq!((first.status, first.body), (again.status, again.body), "{path}");
        assert_eq!(ask("a b").await.refusal(), refusal(422, "VALIDATION"), "{path}");
    }
    assert_eq!(asked, 6);
}

#[tokio::test]
async fn the_time_zone_of_a_person_is_checked_whatever_its_field_is_called() {
    let server = Server::start().await;
    let add =
        |path: &str, body: Value| server.ask(Request::to("POST", path).by(&alice()).json(&body));
    let one = "/api/v1/invite/tasks/{id}/targets";
    for field in ["zone", "timezone", "time_zone", "tz"] {
        let made = add(one, json!({"identifier": "@durov", field: "europe/berlin"})).await;
        assert_eq!((made.status, &made.json()["zone"]), (201, &json!("Europe/Berlin")), "{field}");
        let wrong = add(one, json!({"identifier": "@durov", field: "Mars/Olympus"})).await;
        assert_eq!(wrong.refusal(), refusal(422, "VALIDATION"));
        assert_eq!(wrong.json()["errors"][0]["field"], field);
    }
    let some = json!({"targets": [
        {"identifier": "@durov", "tz": "Asia/Tokyo"},
        {"identifier": "@pavel", "tz": "+03:00"},
    ]});
    let told = add("/api/v1/invite/tasks/{id}/targets/bulk", some).await.json();
    let rejected = told["rejected"].as_array().unwrap();
    assert_eq!((rejected.len(), &rejected[0]["value"]), (1, &json!("@pavel")), "{told}");
    assert!(rejected[0]["reason"].as_str().unwrap().contains("time zone"), "{told}");
}

#[tokio::test]
async fn what_holds_a_campaign_is_told_with_it_and_with_its_status() {
    let server = Server::start().await;
    for path in ["/api/v1/invite/tasks/{id}", "/api/v1/invite/tasks/{id}/status"] {
        let told = server.ask(Request::to("GET", path).by(&alice())).await.json();
        assert_eq!(told["held_by"], "day_cap", "{path}");
        assert!(told["held_until"].as_str().is_some_and(|at| at.ends_with('Z')), "{path}: {told}");
    }
}

#[tokio::test]
async fn one_target_is_made_or_found_and_orders_that_there_are_not_are_refused() {
    let server = Server::start().await;
    let add = |body: Value| {
        let path = "/api/v1/invite/tasks/{id}/targets";
        server.ask(Request::to("POST", path).by(&alice()).json(&body))
    };
    let made = add(json!({"identifier": "@Durov", "first_name": "Pavel"})).await;
    assert_eq!((made.status, &made.json()["first_name"]), (201, &json!("Pavel")));
    assert_eq!(add(json!({"identifier": 7})).await.status, 200);
    for query in ["sort=title", "sort=-scheduled_at", "q=may&sort=status"] {
        let list = Request::to("GET", "/api/v1/invite/tasks").by(&alice()).query(query);
        assert_eq!(server.ask(list).await.status, 200, "{query}");
    }
    for query in ["sort=name", "sort=--title", "sort=-", "q=%00"] {
        let list = Request::to("GET", "/api/v1/invite/tasks").by(&alice()).query(query);
        assert_eq!(server.ask(list).await.refusal(), refusal(422, "VALIDATION"), "{query}");
    }
}

#[tokio::test]
async fn a_campaign_with_all_that_it_may_have_fits_into_one_body() {
    let server = Server::start().await;
    let accounts: Vec<_> = (0..1_000_u128).map(uuid::Uuid::from_u128).collect();
    // Some programs write letters so that six bytes stand for each.
    let prose = "\\u0430".repeat(2_000);
    let text = "x".repeat(4_000);
    let body = format!(
        "{{\"task_type\": \"send_messages\", \"title\": \"May\", \"description\": \"{prose}\", \
         \"message_template\": \"{text}\", \"account_ids\": {}, \"audience_basis\": \"{prose}\"}}",
        json!(accounts)
    );
    assert!(body.len() > 64 * 1024, "{}", body.len());
    for (method, path, status) in
        [("POST", "/api/v1/invite/tasks", 201), ("PUT", "/api/v1/invite/tasks/{id}", 200)]
    {
        let request = Request::to(method, path).by(&alice());
        let request = request.header("Content-Type", "application/json").body(&body);
        let answer = server.ask(request).await;
        assert_eq!(answer.status, status, "{method}: {answer:?}");
    }
}

#[tokio::test]
async fn settings_are_refused_by_the_name_of_what_is_wrong_within_them() {
    let server = Server::start().await;
    for (settings, field) in [
        (json!({"calendar": {"weekday": [6, 7]}}), "settings.calendar.weekday"),
        (
            json!({"quiet_hours": {"from": "22:00", "to": "08:00", "tz": 1}}),
            "settings.quiet_hours.tz",
        ),
        (json!({"caps": {"invites": 1}}), "settings.caps.invites"),
    ] {
        let body = json!({"task_type": "send_messages", "title": "May", "message_template": "Hi",
            "audience_basis": "they asked", "settings": settings});
        let request = Request::to("POST", "/api/v1/invite/tasks").by(&alice()).json(&body);
        let answer = server.ask(request).await;
        assert_eq!(answer.refusal(), refusal(422, "VALIDATION"));
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }
}
