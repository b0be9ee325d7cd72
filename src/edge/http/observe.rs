//! What happens around every request: its id, its span, its numbers, and headers that every answer
//! has. Never looks at query strings, bodies or other headers than it needs.

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use super::metrics::HttpMetrics;
use super::origin::{REQUEST_ID, request_id, trace_id};
use super::problem::Reason;
use super::serve::Peer;

use crate::clock::instant;

/// What pages may load and who may frame them: nothing and nobody, unless a page says otherwise.
const CONTENT_SECURITY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

pub(super) async fn observe(
    State(metrics): State<HttpMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let is_last = peer.is_some_and(|ConnectInfo(peer)| peer.is_reserved);
    let began = instant();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let id = request_id(request.headers());
    let span = span(&request, route, &id);
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, took) = (response.status(), began.elapsed());
    metrics.answered(&method, route, status, took);
    span.in_scope(|| {
        let code = status.as_u16();
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if status.is_server_error() && !says_not_ready(route, status) {
            let reason = response.extensions().get::<Reason>();
            tracing::warn!(
                "http.response.status_code" = code,
                "event.duration" = nanos,
                error_code = reason.map(|reason| reason.code),
                error = reason.map(|reason| reason.detail.as_str()),
                "a request failed"
            );
        } else {
            tracing::debug!(
                "http.response.status_code" = code,
                "event.duration" = nanos,
                "answered"
            );
        }
    });
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if is_last {
        // The next who wants to know gets it; see `serve.rs`.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    harden(headers);
    response
}

/// Whether that is the answer to a question about health, and no failure to answer it.
fn says_not_ready(route: Option<&str>, status: StatusCode) -> bool {
    let asks = route.is_some_and(|route| route == "/health" || route.starts_with("/health/"));
    asks && status == StatusCode::SERVICE_UNAVAILABLE
}

fn span(request: &Request, route: Option<&str>, id: &HeaderValue) -> Span {
    let span = tracing::info_span!(
        "request",
        "http.request.method" = %request.method(),
        "http.route" = route.unwrap_or("other"),
        "http.request.id" = id.to_str().unwrap_or_default(),
        "trace.id" = Empty,
        "user.id" = Empty,
    );
    if let Some(trace) = trace_id(request.headers()) {
        span.record("trace.id", display(trace));
    }
    span
}

/// Answers describe a moment and are data: nobody keeps them, guesses their type or frames them. What
/// a page has said for itself stays.
fn harden(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
