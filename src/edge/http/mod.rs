//! The HTTP edge: routes, the server, and how refusals look. Handlers parse, ask, and map
//! errors; they must never decide business rules or wait for another task.

pub mod api;
mod health;
mod metrics;
mod problem;
mod serve;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::get;

pub use health::{
    AccountsHealth, DependencyHealth, DependencyState, HealthReport, HealthSource, HealthStatus,
    MonitorsHealth, OutboxHealth, RestartNote, TimerNote, TroubledAccount, TroubledMonitor,
};
pub use metrics::MetricsSource;
pub use serve::{serve, spawn};

/// The routes that need no authorisation and hold no secrets.
pub fn router(health: Arc<dyn HealthSource>, metrics: Arc<dyn MetricsSource>) -> Router {
    let metrics = Router::new().route("/metrics", get(metrics::metrics)).with_state(metrics);
    Router::new()
        .route("/health", get(health::summary))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .with_state(health)
        .merge(metrics)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::map_response(harden))
}

async fn not_found() -> Response {
    problem::problem(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this address")
}

async fn method_not_allowed(method: Method) -> Response {
    let detail = format!("this address does not take {method}");
    problem::problem(StatusCode::METHOD_NOT_ALLOWED, "VALIDATION", &detail)
}

/// Answers describe a moment and are data: nobody keeps them, nobody guesses their type.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
