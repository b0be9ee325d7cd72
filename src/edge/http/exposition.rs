//! `GET /metrics`: what is counted, in the OpenMetrics text format
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Needs no authorisation: there are no
//! secrets in it, and no label names an account, a chat or a person.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::problem;
use crate::protocol::answers::refusal::Code;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whoever counts.
pub trait MetricsSource: Send + Sync {
    /// Everything that is counted, as text. Waits for nobody.
    ///
    /// # Errors
    /// When a number cannot be written.
    fn text(&self) -> Result<String, std::fmt::Error>;
}

pub(super) fn routes() -> OpenApiRouter<Arc<dyn MetricsSource>> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "OpenMetrics", body = String, content_type = OPENMETRICS)),
)]
async fn metrics(State(source): State<Arc<dyn MetricsSource>>) -> Response {
    match source.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "the metrics cannot be written; this is a bug",
        ),
    }
}
