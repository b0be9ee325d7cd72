//! `GET /metrics`: what is counted, in the OpenMetrics text format
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Needs no authorisation: there are no
//! secrets in it, and no label names an account, a chat or a person.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::problem::problem;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whoever counts.
pub trait MetricsSource: Send + Sync {
    /// Everything that is counted, as text. Waits for nobody.
    ///
    /// # Errors
    /// When a number cannot be written.
    fn text(&self) -> Result<String, std::fmt::Error>;
}

pub(super) async fn metrics(State(source): State<Arc<dyn MetricsSource>>) -> Response {
    match source.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL",
            "the metrics cannot be written; this is a bug",
        ),
    }
}
