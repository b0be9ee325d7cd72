//! The door of the API: who asks, whether there is room and budget, and on which runtime the request
//! is done. Runs on the thread of the HTTP edge, which health shares: must never wait for anything but
//! the request's own end.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::field::display;
use tracing::{Instrument, Span};

use super::claims::{Grant, TokenError};
use super::in_hand::InHand;
use super::limits::{Budget, Class, Limits};
use super::token::Tokens;
use crate::edge::http::origin::caller_address;
use crate::edge::http::problem::{Audited, problem};
use crate::edge::http::serve::Peer;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::users::owner::{Caller, UserId};
use crate::protocol::values::network::Network;

/// How long a request may take. Less than the connection may be silent, more than the longest send.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(28);

/// Beginning of the subprotocol by which a browser's WebSocket hands in its token.
pub(super) const BEARER_PROTOCOL: &str = "bearer.";

/// Everything that is needed at the door.
pub(super) struct Door {
    tokens: Tokens,
    limits: Limits,
    trusted: Vec<Network>,
    runtime: Handle,
    in_hand: Arc<InHand>,
}

impl Door {
    pub(super) fn new(
        tokens: Tokens,
        limits: Limits,
        trusted: Vec<Network>,
        runtime: Handle,
        in_hand_max: usize,
    ) -> Self {
        let in_hand = Arc::new(InHand::new(in_hand_max));
        Self { tokens, limits, trusted, runtime, in_hand }
    }

    fn address(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0.address.ip());
        caller_address(peer, request.headers(), &self.trusted)
    }

    /// Does the request on the daemon's runtime. It goes on when the caller hangs up, so that nothing
    /// is done by half.
    async fn perform(&self, user: &UserId, request: Request, next: Next) -> Response {
        let place = match self.in_hand.take(user) {
            Ok(place) => place,
            Err(refusal) => return refusal.into_response(),
        };
        let work = async move {
            let response = next.run(request).await;
            drop(place);
            response
        };
        let task = self.runtime.spawn(work.instrument(Span::current()));
        match timeout(ANSWER_MAX, task).await {
            Ok(Ok(response)) => response,
            // Its runtime ends with the daemon.
            Ok(Err(error)) if error.is_cancelled() => {
                let detail =
                    "the daemon is stopping; look whether it was done before you repeat it";
                Refusal::new(Code::Overloaded, detail).after(5).into_response()
            }
            Ok(Err(_)) => {
                let detail = "the request failed inside; this is a bug, and the log says where";
                Refusal::new(Code::Internal, detail).into_response()
            }
            Err(_) => {
                let detail = "there was no answer in time, but the request goes on; look whether it \
                              was done before you repeat it (or repeat it with its Idempotency-Key)";
                Refusal::new(Code::Overloaded, detail).after(5).into_response()
            }
        }
    }
}

/// Keeps the last connections for health and metrics; see `serve.rs`.
pub(super) async fn reserve(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    match peer {
        Some(ConnectInfo(peer)) if peer.is_reserved => crowded(),
        _ => next.run(request).await,
    }
}

/// Lets a request in, or says why not.
pub(super) async fn admit(
    State(door): State<Arc<Door>>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = door.address(&request);
    let grant = match token(request.headers()).and_then(|token| door.tokens.check(&token)) {
        Ok(grant) => grant,
        Err(error) => {
            return match door.limits.unauthorized(address) {
                Ok(budget) => told(budget, unauthorized(error)),
                Err((budget, refusal)) => told(budget, refusal.into_response()),
            };
        }
    };
    Span::current().record("user.id", display(&grant.user));
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let class = Class::of(request.method(), route);
    match door.limits.take(&grant.user, class) {
        Ok(budget) => {
            let (user, role) = (grant.user.clone(), grant.role);
            let caller = Caller { user: user.clone(), role, address: Some(address) };
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert::<Grant>(grant);
            let response = door.perform(&user, request, next).await;
            if class == Class::Send && response.extensions().get::<Audited>().is_some() {
                door.limits.send_refused(&user);
            }
            told(budget, response)
        }
        Err((budget, refusal)) => told(budget, refusal.into_response()),
    }
}

fn told(budget: Budget, mut response: Response) -> Response {
    budget.write(response.headers_mut());
    response
}

/// The token, from `Authorization`, or from the subprotocols of a WebSocket, since browsers set no
/// headers there.
fn token(headers: &HeaderMap) -> Result<String, TokenError> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().map_err(|_| TokenError::Malformed)?;
        let (scheme, token) = text.split_once(' ').ok_or(TokenError::Missing)?;
        return match scheme.eq_ignore_ascii_case("bearer") {
            true => Ok(token.trim().to_owned()),
            false => Err(TokenError::Missing),
        };
    }
    let is_socket = headers
        .get(header::UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    let mut tokens = offered.filter_map(|one| one.trim().strip_prefix(BEARER_PROTOCOL));
    tokens.next().filter(|_| is_socket).map(str::to_owned).ok_or(TokenError::Missing)
}

fn unauthorized(error: TokenError) -> Response {
    let mut response = Refusal::new(Code::Unauthorized, error.to_string()).into_response();
    // RFC 6750 section 3: without a token no error is named.
    let challenge = match error {
        TokenError::Missing => "Bearer",
        _ => "Bearer error=\"invalid_token\"",
    };
    let challenge = HeaderValue::from_static(challenge);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// On the connections that are kept for health.
fn crowded() -> Response {
    let refusal = Refusal::new(Code::Overloaded, "too many connections are open; try again soon");
    refusal.after(2).into_response()
}

/// What a request's body took too long for.
pub(super) fn too_slow() -> Response {
    let detail = "the body did not come in time; send it without pauses";
    problem(StatusCode::REQUEST_TIMEOUT, Code::Validation, detail)
}
