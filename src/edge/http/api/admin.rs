//! For admins: keys, and the health of everything. For others these addresses do not exist.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::bodies::DetailedHealth;
use super::extract::{Admin, Query};
use super::parse;
use super::shapes::KeyStatus;
use super::views;
use crate::actors::HealthQuery;
use crate::edge::http::printed::Printed;
use crate::protocol::answers::refusal::Refusal;

/// Rows of a page, unless somebody says otherwise.
const HEALTH_ROWS: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(key_status))
        .routes(routes!(rotate_keys))
        .routes(routes!(detailed_health))
}

/// How the keys fare that protect the store
#[utoipa::path(
    get,
    path = "/keys",
    tag = "admin",
    responses((status = 200, description = "How they fare", body = KeyStatus)),
    extensions(("x-role" = json!("admin"))),
)]
async fn key_status(
    State(api): State<Arc<Shared>>,
    Admin(who): Admin,
) -> Result<Json<KeyStatus>, Refusal> {
    api.services.administration.key_status(&who).await.map(views::key_status).map(Json)
}

/// Renew the key that protects the store
///
/// Makes a new one and wraps everything with it.
#[utoipa::path(
    post,
    path = "/keys/rotate",
    tag = "admin",
    responses((status = 200, description = "How they fare now", body = KeyStatus)),
    extensions(("x-role" = json!("admin")), ("x-codes" = json!(["CONFLICT"]))),
)]
async fn rotate_keys(
    State(api): State<Arc<Shared>>,
    Admin(who): Admin,
) -> Result<Json<KeyStatus>, Refusal> {
    api.services.administration.rotate_keys(&who).await.map(views::key_status).map(Json)
}

/// The health of everything, in detail
///
/// Accounts and monitors in trouble come in pages: `troubled_total` says how many there are, `next_cursor`
/// where the next page begins.
#[utoipa::path(
    get,
    path = "/health/detailed",
    tag = "admin",
    params(DetailedHealth),
    responses((status = 200, description = "How everything fares", body = Object)),
    extensions(("x-role" = json!("admin"))),
)]
async fn detailed_health(
    State(api): State<Arc<Shared>>,
    Admin(who): Admin,
    Query(mut fields): Query,
) -> Result<Printed<serde_json::Value>, Refusal> {
    let limit = fields.optional("limit", parse::limit).unwrap_or(HEALTH_ROWS);
    let accounts_cursor = fields.optional("accounts_cursor", parse::cursor);
    let monitors_cursor = fields.optional("monitors_cursor", parse::cursor);
    let query = fields.finish(Some(HealthQuery { limit, accounts_cursor, monitors_cursor }))?;
    api.services.administration.health(&who, query).await.map(views::health).map(Printed)
}
