//! The API for users (`/api/v1`): parses, authorises, hands over to the core's services (`actors/services/`), and
//! shows what they answer in the API's shapes. Owns these shapes and the limits of users; never decides what is asked of it.

mod accounts;
mod admin;
mod admit;
mod answer;
mod bodies;
mod campaigns;
mod changes;
mod claims;
mod codes;
mod document;
mod event_ids;
mod extract;
mod fields;
mod in_hand;
mod limits;
mod logins;
mod monitors;
mod multipart;
mod packed;
mod pages;
mod parse;
mod records;
mod secret;
mod shapes;
mod streams;
mod token;
mod views;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use admit::{Door, admit, reserve};
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use limits::Limits;
use streams::Streams;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use super::metrics::HttpMetrics;
use crate::actors::Services;
use crate::clock::Clock;
use crate::protocol::values::network::Network;

pub use campaigns::{IMPORT_BYTES_MAX, ImportOptions, UploadRoom};
pub use claims::{Grant, TokenError};
pub use limits::{ChangeLimit, RequestLimits};
pub use secret::{TokenSecret, TokenSecretError};
pub use streams::STREAMS_MAX;
pub use token::Tokens;

/// Where the API lies.
const PREFIX: &str = "/api/v1";

/// Requests in hand at once, unless somebody says otherwise. With bodies of 64 KiB they take 32 MiB at
/// the most; those few that bring a list or a campaign may have 1 MiB each.
pub const IN_HAND_MAX: usize = 512;

/// How long a browser may remember what it is allowed across origins.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);

/// What the API needs.
pub struct ApiOptions {
    /// Who does what is asked.
    pub services: Services,
    /// Where requests are done: the daemon's runtime, not the one that serves health.
    pub runtime: Handle,
    /// What signs tokens.
    pub secret: TokenSecret,
    /// What tokens are held against.
    pub clock: Clock,
    /// Requests a minute.
    pub limits: RequestLimits,
    /// Requests in hand at once, a quarter of them of one user at the most; see [`IN_HAND_MAX`].
    pub in_hand_max: usize,
    /// Event streams at once; see [`STREAMS_MAX`].
    pub streams_max: usize,
    /// Origins that browsers may call from.
    pub cors_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// What imports need.
    pub imports: ImportOptions,
    /// What is counted.
    pub metrics: HttpMetrics,
    /// Ends the event streams.
    pub stop: CancellationToken,
}

/// What handlers share.
struct Shared {
    services: Services,
    streams: Arc<Streams>,
    clock: Clock,
    imports: ImportOptions,
    /// What came of imports that nobody has been told yet.
    outcomes: campaigns::Outcomes,
    /// Reports that are being made.
    reports: campaigns::ReportRoom,
}

/// The API and its documents.
pub(super) fn router(options: ApiOptions) -> Router {
    let (tokens, limits) =
        (Tokens::new(&options.secret, options.clock.clone()), Limits::new(options.limits));
    let (trusted, in_hand_max) = (options.trusted_proxies, options.in_hand_max);
    let door = Door::new(tokens, limits, trusted, options.runtime, in_hand_max);
    let streams = Streams::new(options.streams_max, options.metrics, options.stop);
    options.imports.sweep();
    let shared = Shared {
        services: options.services,
        streams,
        clock: options.clock,
        imports: options.imports,
        outcomes: campaigns::Outcomes::default(),
        reports: campaigns::ReportRoom::default(),
    };
    let shared = Arc::new(shared);
    let (routes, _) = routes().split_for_parts();
    let routes = routes
        .method_not_allowed_fallback(super::method_not_allowed)
        .layer(from_fn_with_state(Arc::new(door), admit))
        .with_state(shared);
    let routes = match options.cors_origins.as_slice() {
        [] => routes,
        origins => routes.layer(cors(origins)),
    };
    routes.merge(pages::router(&openapi())).layer(from_fn(reserve))
}

/// The OpenAPI document of everything that is routed.
pub fn openapi() -> serde_json::Value {
    document::complete(super::open_document(), routes().into_openapi())
}

fn routes() -> OpenApiRouter<Arc<Shared>> {
    let routes = OpenApiRouter::new()
        .merge(logins::routes())
        .merge(accounts::routes())
        .merge(monitors::routes())
        .merge(records::routes())
        .merge(streams::routes())
        .merge(webhooks::routes())
        .merge(campaigns::routes())
        .merge(admin::routes());
    OpenApiRouter::new().nest(PREFIX, routes)
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let names = |names: &[&'static str]| -> Vec<HeaderName> {
        names.iter().map(|name| HeaderName::from_static(name)).collect()
    };
    let mut allowed = names(&["idempotency-key", "last-event-id", "x-request-id", "traceparent"]);
    allowed.extend([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH]);
    let mut exposed = names(&[
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "idempotency-replayed",
        "x-request-id",
    ]);
    exposed.extend([header::RETRY_AFTER, header::ETAG, header::CONTENT_DISPOSITION]);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(allowed)
        .expose_headers(exposed)
        .max_age(CORS_MAX_AGE)
}

#[cfg(test)]
mod tests;
