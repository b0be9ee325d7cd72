//! Many campaigns at once, over HTTP: the same for some of them, and how all of a user's stand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::bodies::PriorityForm;
use super::parse::{self, name_of};
use crate::actors::{TaskAction, TaskOutcome, Wanted};
use crate::edge::http::api::Shared;
use crate::edge::http::api::extract::Body;
use crate::edge::http::api::fields::{Fields, Wrong};
use crate::edge::http::api::parse::one_of;
use crate::protocol::answers::campaign::{CampaignsHealth, HeldTask};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::task::{Priority, TaskId, TaskStatus};
use crate::protocol::users::owner::Caller;

/// Tasks that one request may name.
const TASKS_AT_ONCE_MAX: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(bulk_tasks)).routes(routes!(campaigns_health))
}

/// What is to be done with some campaigns.
#[derive(ToSchema)]
#[schema(examples(json!({"action": "set_priority", "priority": "high",
    "task_ids": ["0192d3c4-0000-7000-8000-000000000005"]})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
struct BulkTasks {
    /// `delete`, `pause`, `resume`, `cancel` or `set_priority`.
    #[schema(pattern = "^(delete|pause|resume|cancel|set_priority)$")]
    action: String,
    /// Up to 100; one that comes twice counts once.
    #[schema(min_items = 1, max_items = 100)]
    task_ids: Vec<Uuid>,
    /// For `set_priority`: `high`, `normal`, `low`, or 1, 2, 3.
    priority: Option<PriorityForm>,
}

/// What came of it for one campaign.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct BulkTaskResult {
    /// The campaign.
    id: Uuid,
    /// Whether it was done.
    ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<BulkTaskError>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct BulkTaskError {
    /// The code that a problem document would have.
    code: &'static str,
    /// In words.
    detail: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct BulkTasksDone {
    /// For how many it was done.
    done: u64,
    /// For each, in the order of the request.
    results: Vec<BulkTaskResult>,
}

/// A campaign that does nothing until somebody does something.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct HeldTaskView {
    /// Which one.
    task_id: Uuid,
    /// Its title.
    title: String,
    /// Where it stands.
    status: String,
    /// Why it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_because: Option<String>,
    /// Why nothing is done although it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What holds accounts.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct HeldAccounts {
    /// What.
    held: String,
    /// How many.
    accounts: u64,
}

/// How all campaigns of a user stand.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct CampaignsHealthView {
    /// How many campaigns have which status.
    tasks: Value,
    /// How many run.
    running: u64,
    /// How many may run at once.
    running_max: u32,
    /// Those that do nothing until somebody does something, the newest first; up to 100.
    held: Vec<HeldTaskView>,
    /// How many others of these there are.
    held_left_out: u64,
    /// How many accounts are `active`, `cooldown`, `limited` and `blocked`.
    accounts: Value,
    /// What holds accounts now.
    accounts_held: Vec<HeldAccounts>,
    /// What is left of each budget within 24 hours, of all accounts that are active or cool down.
    left: Value,
}

/// Do the same with some campaigns
///
/// Each by itself: one that refuses stops no other.
#[utoipa::path(
    post,
    path = "/tasks/bulk",
    tag = "campaigns",
    request_body = BulkTasks,
    responses((status = 200, description = "What came of it for each", body = BulkTasksDone)),
)]
async fn bulk_tasks(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Body(mut fields): Body,
) -> Result<Json<BulkTasksDone>, Refusal> {
    let action = action(&mut fields);
    let ids = fields.required("task_ids", task_ids);
    let (action, ids) = fields.finish(action.zip(ids))?;
    let outcomes = api.services.campaigns.bulk(&who, action, ids).await;
    let done = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count() as u64;
    Ok(Json(BulkTasksDone { done, results: outcomes.into_iter().map(result).collect() }))
}

/// How campaigns stand
///
/// All of the caller's: how many are where, what holds them, and what their accounts may still do.
#[utoipa::path(
    get,
    path = "/health",
    tag = "campaigns",
    responses((status = 200, description = "How they stand", body = CampaignsHealthView)),
)]
async fn campaigns_health(
    State(api): State<Arc<Shared>>,
    who: Caller,
) -> Result<Json<CampaignsHealthView>, Refusal> {
    api.services.campaigns.health(&who).await.map(health).map(Json)
}

fn action(fields: &mut Fields) -> Option<TaskAction> {
    let priority = fields.optional("priority", parse::priority);
    let actions = [
        ("delete", TaskAction::Delete),
        ("pause", TaskAction::Order(Wanted::Pause)),
        ("resume", TaskAction::Order(Wanted::Resume)),
        ("cancel", TaskAction::Order(Wanted::Cancel)),
        ("set_priority", TaskAction::SetPriority(priority.unwrap_or(Priority::Normal))),
    ];
    let action = fields.required("action", |value| one_of(value, &actions));
    let sets_priority = matches!(action, Some(TaskAction::SetPriority(_)));
    match (priority, action) {
        (None, Some(_)) if sets_priority => {
            fields.wrong("priority", "is needed to set it: high, normal or low (or 1, 2, 3)");
        }
        (Some(_), Some(_)) if !sets_priority => {
            fields.wrong("priority", "goes with set_priority only");
        }
        _ => {}
    }
    action
}

/// Each once, in their order.
fn task_ids(value: Value) -> Result<Vec<TaskId>, Wrong> {
    let Value::Array(items) = value else { return Err("must be a list of task ids".to_owned()) };
    if items.is_empty() || items.len() > TASKS_AT_ONCE_MAX {
        return Err(format!("must hold 1 to {TASKS_AT_ONCE_MAX} task ids"));
    }
    let mut ids = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let id = item.as_str().and_then(|text| Uuid::parse_str(text).ok()).map(TaskId);
        let id = id.ok_or_else(|| format!("must hold UUIDs; number {} is none", at + 1))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn result((id, outcome): TaskOutcome) -> BulkTaskResult {
    let error = outcome
        .err()
        .map(|refusal| BulkTaskError { code: refusal.code.name(), detail: refusal.detail });
    BulkTaskResult { id: id.0, ok: error.is_none(), error }
}

fn health(health: CampaignsHealth) -> CampaignsHealthView {
    let running = health.tasks.iter().find(|(status, _)| *status == TaskStatus::Running);
    let held = |held: HeldTask| HeldTaskView {
        task_id: held.task.0,
        title: held.title,
        status: name_of(held.status),
        paused_because: held.because.map(name_of),
        error: held.error,
    };
    let why = |(held, accounts): (&str, u64)| HeldAccounts { held: held.to_owned(), accounts };
    CampaignsHealthView {
        running: running.map_or(0, |(_, count)| *count),
        tasks: by_name(health.tasks),
        running_max: health.running_max,
        held: health.held.into_iter().map(held).collect(),
        held_left_out: health.held_left_out,
        accounts: by_name(health.accounts),
        accounts_held: health.accounts_held.into_iter().map(why).collect(),
        left: by_name(health.left),
    }
}

fn by_name<T: Serialize>(counts: Vec<(T, u64)>) -> Value {
    let named = counts.into_iter().map(|(what, count)| (name_of(what), json!(count)));
    Value::Object(named.collect::<Map<String, Value>>())
}
