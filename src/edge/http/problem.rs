//! Refusals as problem documents (RFC 9457) with a stable `code`.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::protocol::answers::refusal::{Code, Refusal};

/// What a problem document's bytes are called.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was not done (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    /// Where the code is explained.
    #[serde(rename = "type")]
    #[schema(value_type = String, examples("/docs/errors#NOT_FOUND"))]
    kind: String,
    /// What the code means, in a few words.
    title: &'a str,
    /// The answer's status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// For programs.
    code: &'a str,
    /// For people: what happened, why, what to do.
    detail: &'a str,
    /// When to try again, in seconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The fields at fault, of a request that is not valid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<ProblemField<'a>>,
}

/// One field that is not valid.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemField<'a> {
    /// Its name, as in the request.
    field: &'a str,
    /// What is wrong with it, and what is expected.
    message: &'a str,
}

/// A refusal under the status that goes with its code.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.code.status());
    refused_as(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), refusal)
}

/// A refusal under another status.
pub(super) fn refused_as(status: StatusCode, refusal: &Refusal) -> Response {
    let errors = refusal.errors.iter();
    let errors = errors.map(|one| ProblemField { field: &one.field, message: &one.message });
    let problem = Problem {
        kind: format!("/docs/errors#{}", refusal.code.name()),
        title: refusal.code.title(),
        status: status.as_u16(),
        code: refusal.code.name(),
        detail: &refusal.detail,
        retry_after: refusal.retry_after,
        errors: errors.collect(),
    };
    // Texts and numbers alone always make a document.
    let document = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Body::from(document));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if let Some(seconds) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let (code, detail) = (refusal.code.name(), refusal.detail.clone());
    response.extensions_mut().insert(Reason { code, detail });
    response
}

/// Goes with a refusal, for the log: why the request was not done.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    /// The stable code.
    pub(super) code: &'static str,
    /// What the caller was told.
    pub(super) detail: String,
}

/// A refusal without a code of its own status, from its words.
pub(super) fn problem(status: StatusCode, code: Code, detail: &str) -> Response {
    refused_as(status, &Refusal::new(code, detail))
}

/// Goes with an answer to a request whose refusal is a line of the audit log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Audited;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = refused(&self);
        if self.is_audited {
            response.extensions_mut().insert(Audited);
        }
        response
    }
}
