//! Monitors: which chats are watched, and by which accounts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::bodies::{Paging, PutMonitor};
use super::extract::{Body, ChatParameter, Query, page};
use super::parse;
use super::shapes::{Monitor, Page};
use super::views;
use crate::actors::MonitorQuery;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::users::owner::Caller;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(monitors)).routes(routes!(
        monitor,
        put_monitor,
        delete_monitor
    ))
}

/// List monitors
#[utoipa::path(
    get,
    path = "/monitors",
    tag = "monitors",
    params(
        ("user" = Option<String>, Query, description = "Only those of this user, for admins"),
        Paging,
    ),
    responses((status = 200, description = "A page of them", body = Page<Monitor>)),
)]
async fn monitors(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Query(mut fields): Query,
) -> Result<Json<Page<Monitor>>, Refusal> {
    let user = fields.optional("user", parse::user);
    let query = MonitorQuery { user, page: page(&mut fields) };
    let query = fields.finish(Some(query))?;
    let monitors = api.services.monitors.list(&who, query).await?;
    Ok(Json(views::page(monitors, views::monitor)))
}

/// A monitor
#[utoipa::path(
    get,
    path = "/monitors/{chat_id}",
    tag = "monitors",
    params(("chat_id" = String, Path,
        description = "A marked id, a `@username` or a `t.me` link, percent-encoded")),
    responses((status = 200, description = "The monitor", body = Monitor)),
)]
async fn monitor(
    State(api): State<Arc<Shared>>,
    who: Caller,
    chat: ChatParameter,
) -> Result<Json<Monitor>, Refusal> {
    let monitor = api.services.monitors.get(&who, chat.existing()?).await?;
    Ok(Json(views::monitor(monitor)))
}

/// Monitor a chat
///
/// Makes the monitor, or changes the accounts of the one that is there.
#[utoipa::path(
    put,
    path = "/monitors/{chat_id}",
    tag = "monitors",
    params(("chat_id" = String, Path,
        description = "A marked id, a `@username` or a `t.me` link, percent-encoded")),
    request_body = PutMonitor,
    responses(
        (status = 200, description = "It was changed", body = Monitor),
        (status = 201, description = "It was made", body = Monitor),
    ),
    extensions(("x-codes" = json!(["CONFLICT", "TG_SESSION_EXPIRED"]))),
)]
async fn put_monitor(
    State(api): State<Arc<Shared>>,
    who: Caller,
    chat: ChatParameter,
    Body(mut fields): Body,
) -> Result<(StatusCode, Json<Monitor>), Refusal> {
    let accounts = fields.required("accounts", parse::account_ids);
    let accounts = fields.finish(accounts)?;
    let (monitor, is_new) = api.services.monitors.put(&who, chat.wanted()?, accounts).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(views::monitor(monitor))))
}

/// Stop monitoring a chat
#[utoipa::path(
    delete,
    path = "/monitors/{chat_id}",
    tag = "monitors",
    params(("chat_id" = String, Path,
        description = "A marked id, a `@username` or a `t.me` link, percent-encoded")),
    responses((status = 204, description = "It is stopped")),
)]
async fn delete_monitor(
    State(api): State<Arc<Shared>>,
    who: Caller,
    chat: ChatParameter,
) -> Result<StatusCode, Refusal> {
    api.services.monitors.delete(&who, chat.existing()?).await?;
    Ok(StatusCode::NO_CONTENT)
}
