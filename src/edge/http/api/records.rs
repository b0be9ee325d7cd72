//! The audit log, and everything of a user: to take along, or to erase.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::bodies::Paging;
use super::extract::{Query, VisibleUser, page};
use super::parse;
use super::shapes::{AuditEntry, Erased, Page};
use super::views;
use crate::actors::AuditQuery;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::users::owner::Caller;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(audit))
        .routes(routes!(erase_user))
        .routes(routes!(export_user))
}

/// Read the audit log
///
/// Who connected, sent, changed what, when, from where; the newest first.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "records",
    params(
        ("since" = Option<String>, Query, format = DateTime,
            description = "Only those at this moment or later (RFC 3339)"),
        ("actor" = Option<String>, Query, description = "Only those of this actor"),
        ("action" = Option<String>, Query, description = "Only those of this action"),
        Paging,
    ),
    responses((status = 200, description = "A page of it", body = Page<AuditEntry>)),
)]
async fn audit(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Query(mut fields): Query,
) -> Result<Json<Page<AuditEntry>>, Refusal> {
    let query = AuditQuery {
        since: fields.optional("since", parse::moment),
        actor: fields.optional("actor", parse::words),
        action: fields.optional("action", parse::words),
        page: page(&mut fields),
    };
    let query = fields.finish(Some(query))?;
    let entries = api.services.audit.list(&who, query).await?;
    Ok(Json(views::page(entries, views::audit_entry)))
}

/// Erase everything of a user
///
/// Sessions, monitors and records; audit entries are pseudonymised. For the user, or an admin.
#[utoipa::path(
    delete,
    path = "/users/{user_id}/data",
    tag = "records",
    params(("user_id" = String, Path, description = "The user")),
    responses((status = 200, description = "What was erased", body = Erased)),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn erase_user(
    State(api): State<Arc<Shared>>,
    who: Caller,
    VisibleUser(user): VisibleUser,
) -> Result<Json<Erased>, Refusal> {
    let erased = api.services.user_data.erase(&who, user.clone()).await?;
    api.outcomes.erase(&user);
    Ok(Json(views::erased(erased)))
}

/// Export everything of a user
///
/// One JSON document without secrets. For the user, or an admin.
#[utoipa::path(
    get,
    path = "/users/{user_id}/export",
    tag = "records",
    params(("user_id" = String, Path, description = "The user")),
    responses((status = 200, description = "The document", body = Object,
        headers(("Content-Disposition" = String, description = "What the file is called")))),
)]
async fn export_user(
    State(api): State<Arc<Shared>>,
    who: Caller,
    VisibleUser(user): VisibleUser,
) -> Result<Response, Refusal> {
    let document = api.services.user_data.export(&who, user, Box::new(views::archive)).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"telewarden-export.json\""),
    ];
    Ok((headers, document).into_response())
}
