//! Campaigns over HTTP: tasks, whom they are for, how they fare. Owns these routes and their forms; what is allowed is
//! the core's to say.

mod bodies;
mod imports;
mod overall;
mod parse;
mod reports;
mod shapes;
mod suppression;
mod views;

pub(super) use reports::ReportRoom;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::bodies::{
    AddTargets, AttemptFilter, BulkTargets, NewTargetForm, PreviewOf, PutTarget, PutTask,
    TargetFilter, TaskFilter, TestTask,
};
use self::shapes::{
    AccountView, AddedTargets, AttemptView, Done, PreviewView, RejectedTarget, TargetStatistics,
    TargetView, Task, TaskStatus,
};
use super::Shared;
use super::bodies::Paging;
use super::extract::{Body, Id, LargeBody, Query, TargetParameter, creation_key, page, replayed};
use super::fields::Fields;
use super::parse::words;
use super::shapes::Page;
use super::views::page as page_of;
use crate::actors::{
    ArchivedCampaign, BulkAction, CampaignQuery, Edit, NewTarget, TargetEdit, TargetQuery, Wanted,
};
use crate::protocol::answers::campaign::CampaignInfo;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::respect::Suppression;
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::users::owner::Caller;

pub(super) use imports::Outcomes;
pub use imports::{IMPORT_BYTES_MAX, ImportOptions, UploadRoom};

/// People that one request may add.
const ADDED_AT_ONCE_MAX: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    let routes = OpenApiRouter::new()
        .routes(routes!(tasks, create_task))
        .routes(routes!(task, edit_task, delete_task))
        .routes(routes!(duplicate_task))
        .routes(routes!(start_task))
        .routes(routes!(pause_task))
        .routes(routes!(resume_task))
        .routes(routes!(cancel_task))
        .routes(routes!(task_status))
        .routes(routes!(task_logs))
        .routes(routes!(preview))
        .routes(routes!(test_task))
        .routes(routes!(targets, add_target))
        .routes(routes!(add_targets))
        .routes(routes!(bulk_targets))
        .routes(routes!(target_statistics))
        .routes(routes!(edit_target, delete_target))
        .routes(routes!(campaign_accounts))
        .merge(imports::routes())
        .merge(overall::routes())
        .merge(reports::routes())
        .merge(suppression::routes());
    OpenApiRouter::new().nest("/invite", routes)
}

/// A campaign with whom it is for, as the archive of a user has it.
pub(super) fn archived(campaign: ArchivedCampaign) -> Value {
    let ArchivedCampaign { info, targets, targets_left_out } = campaign;
    json!({
        "progress": views::progress(&info.statistics),
        "task": views::task(info),
        "targets": targets.into_iter().map(views::target).collect::<Vec<_>>(),
        "targets_left_out": targets_left_out,
    })
}

/// Somebody who is never contacted, the same.
pub(super) fn suppressed(entry: Suppression) -> Value {
    json!(suppression::view(entry))
}

/// The version of a task as an entity tag (RFC 9110 section 8.8.3).
fn tag_of(info: &CampaignInfo) -> HeaderValue {
    let tag = format!("\"{}\"", info.task.revision);
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"0\""))
}

fn shown(status: StatusCode, info: CampaignInfo) -> Response {
    let tag = tag_of(&info);
    (status, [(header::ETAG, tag)], Json(views::task(info))).into_response()
}

/// The version that a change of a task is meant for.
fn revision(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let wrong = "is no ETag of this task; send the one that it was read with";
    matched(headers, |tag| tag.parse().ok(), wrong)
}

/// The version that a change of a target is meant for.
fn target_version(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let wrong = "is no version of this target; send the one that it was read with";
    matched(headers, |tag| u64::from_str_radix(tag, 16).ok(), wrong)
}

fn matched(
    headers: &HeaderMap,
    read: impl FnOnce(&str) -> Option<u64>,
    wrong: &str,
) -> Result<Option<u64>, Refusal> {
    let Some(given) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = given.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let bare = text.trim_start_matches("W/").trim_matches('"');
    read(bare).map(Some).ok_or_else(|| Refusal::field("If-Match", wrong))
}

/// List campaigns
#[utoipa::path(
    get,
    path = "/tasks",
    tag = "campaigns",
    params(TaskFilter, Paging),
    responses((status = 200, description = "A page of them, the newest first unless they are sorted otherwise", body = Page<Task>)),
)]
async fn tasks(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Query(mut fields): Query,
) -> Result<Json<Page<Task>>, Refusal> {
    let status = fields.optional("status", parse::task_status);
    let priority = fields.optional("priority", parse::priority);
    let text = fields.optional("q", words);
    let sort = fields.optional("sort", parse::sort).unwrap_or_default();
    let page = page(&mut fields);
    let query = CampaignQuery { user: None, status, priority, text, sort, page };
    let query = fields.finish(Some(query))?;
    let found = api.services.campaigns.list(&who, query).await?;
    Ok(Json(page_of(found, views::task)))
}

/// Make a campaign
///
/// It is a draft: nothing is sent before it is started.
#[utoipa::path(
    post,
    path = "/tasks",
    tag = "campaigns",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name for it: a repetition within 24 hours makes nothing"),
    ),
    request_body = PutTask,
    responses((status = 201, description = "It was made", body = Task,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn create_task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    headers: HeaderMap,
    LargeBody(mut fields): LargeBody,
) -> Result<Response, Refusal> {
    let key = creation_key(&headers, &mut fields);
    let request = parse::task_request(&mut fields);
    let request = fields.finish(request)?;
    let (made, is_replayed) = api.services.campaigns.create(&who, request, key).await?;
    Ok(replayed(is_replayed, shown(StatusCode::CREATED, made)))
}

/// A campaign
#[utoipa::path(
    get,
    path = "/tasks/{id}",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 200, description = "The campaign, with its version in `ETag`", body = Task,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
)]
async fn task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<Response, Refusal> {
    Ok(shown(StatusCode::OK, api.services.campaigns.get(&who, id).await?))
}

/// Change a campaign
///
/// Text, group, accounts and settings change in drafts and paused campaigns only. With `If-Match` it changes only if
/// nobody else has changed it meanwhile. Sending the `audience_basis` once more confirms it for a duplicate.
#[utoipa::path(
    put,
    path = "/tasks/{id}",
    tag = "campaigns",
    params(
        ("id" = Uuid, Path, description = "The campaign"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that it was read with"),
    ),
    request_body = PutTask,
    responses((status = 200, description = "It was changed", body = Task,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    extensions(("x-codes" = json!(["CONFLICT", "PRECONDITION_FAILED"]))),
)]
async fn edit_task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    headers: HeaderMap,
    LargeBody(mut fields): LargeBody,
) -> Result<Response, Refusal> {
    let request = parse::task_request(&mut fields);
    let request = fields.finish(request)?;
    let edit = Edit { request, revision: revision(&headers)?, confirms_basis: true };
    Ok(shown(StatusCode::OK, api.services.campaigns.edit(&who, id, edit).await?))
}

/// Delete a campaign
///
/// With its targets and its log. What people have refused stays.
#[utoipa::path(
    delete,
    path = "/tasks/{id}",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn delete_task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<StatusCode, Refusal> {
    api.services.campaigns.delete(&who, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Copy a campaign
///
/// A draft for the same people, as if nothing had been done. Its `audience_basis` has to be confirmed.
#[utoipa::path(
    post,
    path = "/tasks/{id}/duplicate",
    tag = "campaigns",
    params(
        ("id" = Uuid, Path, description = "The campaign"),
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name for it: a repetition within 24 hours makes nothing"),
    ),
    responses((status = 201, description = "The copy", body = Task,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn duplicate_task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mut fields = Fields::new(Map::new());
    let key = creation_key(&headers, &mut fields);
    let key = fields.finish(Some(key))?;
    let (copy, is_replayed) = api.services.campaigns.duplicate(&who, id, key).await?;
    Ok(replayed(is_replayed, shown(StatusCode::CREATED, copy)))
}

/// Start a campaign
///
/// At its time, if that has not come. A start that comes twice is one.
#[utoipa::path(
    post,
    path = "/tasks/{id}/start",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 200, description = "It runs, or waits for its time", body = Task,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn start_task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<Response, Refusal> {
    Ok(shown(StatusCode::OK, api.services.campaigns.order(&who, id, Wanted::Start).await?))
}

/// Pause a campaign
///
/// Before the next action.
#[utoipa::path(
    post,
    path = "/tasks/{id}/pause",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 200, description = "It begins nothing more", body = Task,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn pause_task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<Response, Refusal> {
    Ok(shown(StatusCode::OK, api.services.campaigns.order(&who, id, Wanted::Pause).await?))
}

/// Go on with a campaign
#[utoipa::path(
    post,
    path = "/tasks/{id}/resume",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 200, description = "It runs", body = Task,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn resume_task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<Response, Refusal> {
    Ok(shown(StatusCode::OK, api.services.campaigns.order(&who, id, Wanted::Resume).await?))
}

/// Give a campaign up
///
/// Nothing more is begun; what is in flight is settled.
#[utoipa::path(
    post,
    path = "/tasks/{id}/cancel",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 200, description = "It is over", body = Task,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn cancel_task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<Response, Refusal> {
    Ok(shown(StatusCode::OK, api.services.campaigns.order(&who, id, Wanted::Cancel).await?))
}

/// How a campaign stands
#[utoipa::path(
    get,
    path = "/tasks/{id}/status",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 200, description = "How far it is", body = TaskStatus)),
)]
async fn task_status(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<Json<TaskStatus>, Refusal> {
    let info = api.services.campaigns.get(&who, id).await?;
    let estimate = api.services.reports.estimate(&who, id).await?;
    Ok(Json(views::task_status(info, estimate)))
}

/// List what was tried
///
/// The newest first; kept for 30 days.
#[utoipa::path(
    get,
    path = "/tasks/{id}/logs",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign"), AttemptFilter, Paging),
    responses((status = 200, description = "A page of attempts", body = Page<AttemptView>)),
)]
async fn task_logs(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    Query(mut fields): Query,
) -> Result<Json<Page<AttemptView>>, Refusal> {
    let target = fields.optional("target_id", parse::target_id);
    let account = fields.optional("account_id", parse::account_id);
    let page = page(&mut fields);
    let page = fields.finish(Some(page))?;
    let found = api.services.campaigns.attempts(&who, id, target, account, page).await?;
    Ok(Json(page_of(found, views::attempt)))
}

/// The text as one person would get it
#[utoipa::path(
    get,
    path = "/tasks/{id}/preview",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign"), PreviewOf),
    responses((status = 200, description = "The text, or why there is none", body = PreviewView)),
)]
async fn preview(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    Query(mut fields): Query,
) -> Result<Json<PreviewView>, Refusal> {
    let target = fields.required("target_id", parse::target_id);
    let target = fields.finish(target)?;
    api.services.campaigns.preview(&who, id, target).await.map(views::preview).map(Json)
}

/// Try a text
///
/// Sends it to the account's own saved messages.
#[utoipa::path(
    post,
    path = "/tasks/{id}/test",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    request_body = TestTask,
    responses((status = 204, description = "It was sent")),
    extensions(("x-codes" = json!(["CONFLICT", "TG_UNAVAILABLE"]))),
)]
async fn test_task(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    Body(mut fields): Body,
) -> Result<StatusCode, Refusal> {
    let account = fields.required("account_id", parse::account_id);
    let target = fields.required("target_id", parse::target_id);
    let (account, target) = fields.finish(account.zip(target))?;
    api.services.campaigns.test(&who, id, account, target).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List whom a campaign is for
#[utoipa::path(
    get,
    path = "/tasks/{id}/targets",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign"), TargetFilter, Paging),
    responses((status = 200, description = "A page of them", body = Page<TargetView>)),
)]
async fn targets(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    Query(mut fields): Query,
) -> Result<Json<Page<TargetView>>, Refusal> {
    let status = fields.optional("status", parse::target_status);
    let text = fields.optional("q", words);
    let page = page(&mut fields);
    let query = fields.finish(Some(TargetQuery { status, text, page }))?;
    let found = api.services.campaigns.targets(&who, id, query).await?;
    Ok(Json(page_of(found, views::target)))
}

/// Add somebody
///
/// Who is in the list already is answered as they are there.
#[utoipa::path(
    post,
    path = "/tasks/{id}/targets",
    tag = "campaigns",
    params(
        ("id" = Uuid, Path, description = "The campaign"),
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name for it: a repetition within 24 hours makes nothing"),
    ),
    request_body = NewTargetForm,
    responses(
        (status = 201, description = "The target", body = TargetView),
        (status = 200, description = "The target that was there", body = TargetView),
    ),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn add_target(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    headers: HeaderMap,
    Body(mut fields): Body,
) -> Result<Response, Refusal> {
    let key = creation_key(&headers, &mut fields);
    let person = parse::one_target(&mut fields, api.services.campaigns.country());
    let person = fields.finish(person)?;
    let added = api.services.campaigns.add_target(&who, id, person, key).await?;
    let status = if added.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let answer = (status, Json(views::target(added.target))).into_response();
    Ok(replayed(added.is_replayed, answer))
}

/// Add people
///
/// Each once: who is in the list already counts as a duplicate.
#[utoipa::path(
    post,
    path = "/tasks/{id}/targets/bulk",
    tag = "campaigns",
    params(
        ("id" = Uuid, Path, description = "The campaign"),
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name for it: a repetition within 24 hours makes nothing"),
    ),
    request_body = AddTargets,
    responses((status = 200, description = "What came of it", body = AddedTargets)),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn add_targets(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    headers: HeaderMap,
    LargeBody(mut fields): LargeBody,
) -> Result<Response, Refusal> {
    let key = creation_key(&headers, &mut fields);
    let given = fields.required("targets", |value| match value {
        Value::Array(items) if (1..=ADDED_AT_ONCE_MAX).contains(&items.len()) => Ok(items),
        _ => Err(format!("must be a list of 1 to {ADDED_AT_ONCE_MAX} people")),
    });
    let given = fields.finish(given)?;
    let country = api.services.campaigns.country();
    let (mut people, mut rejected): (Vec<NewTarget>, Vec<RejectedTarget>) =
        (Vec::new(), Vec::new());
    let count = given.len() as u64;
    for (at, value) in given.into_iter().enumerate() {
        match parse::new_target(value, country) {
            Ok(person) => people.push(person),
            Err((value, reason)) => {
                rejected.push(RejectedTarget { line: at as u64 + 1, value, reason });
            }
        }
    }
    let added = api.services.campaigns.add_targets_under(&who, id, people, key).await?;
    let (added, is_replayed) = added;
    Ok(replayed(is_replayed, Json(views::added(added, rejected, count)).into_response()))
}

/// Do the same with some targets
#[utoipa::path(
    post,
    path = "/tasks/{id}/targets/bulk-action",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    request_body = BulkTargets,
    responses((status = 200, description = "For how many it fitted", body = Done)),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn bulk_targets(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    Body(mut fields): Body,
) -> Result<Json<Done>, Refusal> {
    let name = fields.required("action", |value| match value.as_str() {
        Some(name @ ("remove" | "skip" | "retry" | "give_up")) => Ok(name.to_owned()),
        _ => Err("must be remove, skip, retry or give_up".to_owned()),
    });
    let ids = fields.required("target_ids", parse::target_ids);
    let (name, ids) = fields.finish(name.zip(ids))?;
    let action = match name.as_str() {
        "remove" => BulkAction::Remove(ids),
        "skip" => BulkAction::Skip(ids),
        "retry" => BulkAction::Retry(ids),
        _ => BulkAction::GiveUp(ids),
    };
    let done = api.services.campaigns.bulk_targets(&who, id, action).await?;
    Ok(Json(Done { done }))
}

/// How many targets have which status
#[utoipa::path(
    get,
    path = "/tasks/{id}/targets/stats",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 200, description = "The counts, which add up", body = TargetStatistics)),
)]
async fn target_statistics(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<Json<TargetStatistics>, Refusal> {
    let info = api.services.campaigns.get(&who, id).await?;
    Ok(Json(views::statistics(&info.statistics)))
}

/// Change a target
///
/// One that waits, in a draft or paused campaign. With `If-Match` it changes only if nobody has changed it since.
#[utoipa::path(
    put,
    path = "/tasks/{id}/targets/{target_id}",
    tag = "campaigns",
    params(
        ("id" = Uuid, Path, description = "The campaign"),
        ("target_id" = u32, Path, description = "The target"),
        ("If-Match" = Option<String>, Header, description = "The `version` that it was read with"),
    ),
    request_body = PutTarget,
    responses((status = 200, description = "It was changed", body = TargetView)),
    extensions(("x-codes" = json!(["CONFLICT", "PRECONDITION_FAILED"]))),
)]
async fn edit_target(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    TargetParameter(target): TargetParameter,
    headers: HeaderMap,
    Body(mut fields): Body,
) -> Result<Json<TargetView>, Refusal> {
    let version = target_version(&headers)?;
    let edit = parse::target_edit(&mut fields, target, api.services.campaigns.country());
    let edit = fields.finish(Some(TargetEdit { version, ..edit }))?;
    api.services.campaigns.edit_target(&who, id, edit).await.map(views::target).map(Json)
}

/// Remove a target
///
/// One that was never tried, from a draft or paused campaign.
#[utoipa::path(
    delete,
    path = "/tasks/{id}/targets/{target_id}",
    tag = "campaigns",
    params(
        ("id" = Uuid, Path, description = "The campaign"),
        ("target_id" = u32, Path, description = "The target"),
    ),
    responses((status = 204, description = "It is gone")),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn delete_target(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    TargetParameter(target): TargetParameter,
) -> Result<StatusCode, Refusal> {
    api.services.campaigns.target(&who, id, target).await?;
    let action = BulkAction::Remove(vec![target]);
    if api.services.campaigns.bulk_targets(&who, id, action).await? == 0 {
        let detail = "the target was tried already, and stays in the report; skip it instead";
        return Err(Refusal::new(Code::Conflict, detail));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The accounts that campaigns may use
///
/// With what is left of their budgets within 24 hours.
#[utoipa::path(
    get,
    path = "/accounts",
    tag = "campaigns",
    responses((status = 200, description = "The caller's accounts, all of them", body = Page<AccountView>)),
)]
async fn campaign_accounts(
    State(api): State<Arc<Shared>>,
    who: Caller,
) -> Result<Json<Page<AccountView>>, Refusal> {
    let found = api.services.campaigns.accounts(&who).await?;
    let items = found.into_iter().map(views::account).collect();
    Ok(Json(Page { items, next_cursor: None }))
}
