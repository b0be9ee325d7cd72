//! The HTTP edge: routes, the server, and how refusals look. Handlers parse, ask, and map
//! errors; they must never decide business rules or wait for another task. Requests come in, bounded before they are read;
//! answers, streams and pages go out.

pub mod api;
mod connections;
mod exposition;
mod health;
mod metrics;
mod observe;
mod origin;
mod printed;
mod problem;
mod serve;
mod stream;
mod strict;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use utoipa::openapi::OpenApi;

use crate::protocol::answers::refusal::Code;

pub use api::{
    ApiOptions, ChangeLimit, IMPORT_BYTES_MAX, IN_HAND_MAX, ImportOptions, RequestLimits,
    STREAMS_MAX, TokenError, TokenSecret, TokenSecretError, Tokens, UploadRoom, openapi,
};
pub use exposition::MetricsSource;
pub use health::{
    AccountsHealth, DependencyHealth, DependencyState, HealthReport, HealthSource, HealthStatus,
    MonitorsHealth, OutboxHealth, RestartNote, TimerNote, TroubledAccount, TroubledMonitor,
};
pub use metrics::HttpMetrics;
pub use serve::{CONNECTIONS_MAX, Capacity, QUIET_MAX, serve, spawn};

/// The routes that need no authorisation and hold no secrets, and no others.
pub fn router(health: Arc<dyn HealthSource>, metrics: Arc<dyn MetricsSource>) -> Router {
    finish(open_routes(health, metrics), HttpMetrics::default())
}

/// These, and the API for users with its documents.
pub fn router_with_api(
    health: Arc<dyn HealthSource>,
    metrics: Arc<dyn MetricsSource>,
    api: ApiOptions,
) -> Router {
    let counted = api.metrics.clone();
    finish(open_routes(health, metrics).merge(api::router(api)), counted)
}

fn open_routes(health: Arc<dyn HealthSource>, metrics: Arc<dyn MetricsSource>) -> Router {
    let (health_routes, _) = health::routes().with_state::<()>(health).split_for_parts();
    let (metrics_routes, _) = exposition::routes().with_state::<()>(metrics).split_for_parts();
    health_routes.merge(metrics_routes)
}

/// What the document says of these.
fn open_document() -> OpenApi {
    let mut document = health::routes().into_openapi();
    document.merge(exposition::routes().into_openapi());
    document
}

fn finish(routes: Router, metrics: HttpMetrics) -> Router {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn(strict::one_host))
        .layer(axum::middleware::from_fn_with_state(metrics, observe::observe))
}

/// What is said of an address that is none.
const NOTHING_HERE: &str = "there is nothing at this address; /docs lists those that there are";

async fn not_found() -> Response {
    problem::problem(StatusCode::NOT_FOUND, Code::NotFound, NOTHING_HERE)
}

async fn method_not_allowed(method: Method) -> Response {
    let detail = format!(
        "this address does not take {method}; the answer's Allow header says what it takes, /docs says more"
    );
    problem::problem(StatusCode::METHOD_NOT_ALLOWED, Code::Validation, &detail)
}

#[cfg(test)]
mod tests;
