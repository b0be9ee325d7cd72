//! For admins: keys, and the health of everything. For others these addresses do not exist.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::extract::Admin;
use super::shapes::KeyStatus;
use crate::protocol::refusal::Refusal;

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
    api.service.key_status(&who).await.map(Json)
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
    api.service.rotate_keys(&who).await.map(Json)
}

/// The health of everything, in detail
#[utoipa::path(
    get,
    path = "/health/detailed",
    tag = "admin",
    responses((status = 200, description = "How everything fares", body = Object)),
    extensions(("x-role" = json!("admin"))),
)]
async fn detailed_health(
    State(api): State<Arc<Shared>>,
    Admin(who): Admin,
) -> Result<Json<serde_json::Value>, Refusal> {
    api.service.detailed_health(&who).await.map(Json)
}
