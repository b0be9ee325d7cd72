//! What handlers take from a request: who asks, typed ids, fields. What cannot be taken is refused with
//! a problem document, and no message quotes what was sent.

use std::time::Duration;

use axum::body::{Body as Incoming, Bytes};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::{Map, Value};
use tokio::time::timeout;
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use super::admit::too_slow;
use super::claims::Grant;
use super::fields::{Fields, GIVEN_TWICE};
use super::parse;
use crate::edge::http::NOTHING_HERE;
use crate::edge::http::problem::problem;
use crate::edge::http::strict::wrapped;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::creation::CreationKey;
use crate::protocol::campaigns::respect::SuppressionId;
use crate::protocol::campaigns::target::TargetId;
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::telegram::chat::ChatRef;
use crate::protocol::users::owner::{AccountId, Caller, LoginId, Role, UserId, WebhookId};
use crate::protocol::values::json;
use crate::protocol::values::json::Read;
use crate::protocol::values::page::PageQuery;
use crate::protocol::values::secret;

/// Longest body, in bytes.
pub(super) const BODY_MAX: usize = 64 * 1024;
/// Longest body that lists people, in bytes.
pub(super) const LARGE_BODY_MAX: usize = 1024 * 1024;
/// Header by which a caller names a message.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Header of an answer that was given before.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Exists only once the door has let the request in.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let none = || Refusal::new(Code::Unauthorized, "there is no token");
        parts.extensions.get::<Self>().cloned().ok_or_else(none)
    }
}

impl<S: Sync> FromRequestParts<S> for Grant {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let none = || Refusal::new(Code::Unauthorized, "there is no token");
        parts.extensions.get::<Self>().cloned().ok_or_else(none)
    }
}

/// A caller who is an admin. For everybody else the address does not exist.
pub(super) struct Admin(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, state).await?;
        match caller.role {
            Role::Admin => Ok(Self(caller)),
            Role::User => Err(nothing_here()),
        }
    }
}

fn nothing_here() -> Refusal {
    Refusal::new(Code::NotFound, NOTHING_HERE)
}

/// One parameter of the path, percent-decoded.
async fn parameter(parts: &mut Parts, name: &str) -> Result<String, Refusal> {
    let parameters = RawPathParams::from_request_parts(parts, &());
    let parameters = parameters.await.map_err(|_| nothing_here())?;
    let found = parameters.iter().find(|(own, _)| *own == name);
    found.map(|(_, value)| value.to_owned()).ok_or_else(nothing_here)
}

/// Something that a path names by a UUID.
pub(super) trait Identity: From<Uuid> {
    /// The parameter's name.
    const PARAMETER: &'static str = "id";
    /// What it is called.
    const WHAT: &'static str;
}

macro_rules! identity {
    ($type:ident, $what:literal) => {
        impl From<Uuid> for $type {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
        impl Identity for $type {
            const WHAT: &'static str = $what;
        }
    };
}

identity!(AccountId, "account");
identity!(LoginId, "login");
identity!(WebhookId, "webhook");
identity!(TaskId, "task");
identity!(SuppressionId, "entry");

impl Identity for Uuid {
    const PARAMETER: &'static str = "delivery_id";
    const WHAT: &'static str = "delivery";
}

/// The id in the path. One that cannot be an id names nothing.
pub(super) struct Id<T>(pub(super) T);

impl<S: Sync, T: Identity> FromRequestParts<S> for Id<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let text = parameter(parts, T::PARAMETER).await?;
        let id = Uuid::parse_str(&text).map_err(|_| Refusal::not_found(T::WHAT))?;
        Ok(Self(id.into()))
    }
}

/// The target in the path.
pub(super) struct TargetParameter(pub(super) TargetId);

impl<S: Sync> FromRequestParts<S> for TargetParameter {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let text = parameter(parts, "target_id").await?;
        let id = text.parse().map_err(|_| Refusal::not_found("target"))?;
        Ok(Self(TargetId(id)))
    }
}

/// The chat in the path, in any spelling.
pub(super) struct ChatParameter(Option<ChatRef>);

impl ChatParameter {
    /// The chat, where one is looked for.
    pub(super) fn existing(self) -> Result<ChatRef, Refusal> {
        self.0.ok_or_else(|| Refusal::not_found("monitor"))
    }

    /// The chat, where something is made for it.
    pub(super) fn wanted(self) -> Result<ChatRef, Refusal> {
        let wrong = "is neither a marked id, a @username nor a t.me link (percent-encoded)";
        self.0.ok_or_else(|| Refusal::field("chat_id", wrong))
    }
}

impl<S: Sync> FromRequestParts<S> for ChatParameter {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let text = parameter(parts, "chat_id").await?;
        let number = text.parse().ok().filter(|number: &i64| number.to_string() == text);
        let spelling = number.map_or(Value::String(text), Value::from);
        Ok(Self(parse::chat(spelling).ok()))
    }
}

/// The user in the path, if the caller may see that one.
pub(super) struct VisibleUser(pub(super) UserId);

impl<S: Sync> FromRequestParts<S> for VisibleUser {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let user = UserId::new(parameter(parts, "user_id").await?).ok();
        let user = user.filter(|user| caller.is_or_may_see(user));
        user.map(Self).ok_or_else(|| Refusal::not_found("user"))
    }
}

/// The fields of a JSON body. An empty body has none.
pub(super) struct Body(pub(super) Fields);

impl<S: Sync> FromRequest<S> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        read(request, BODY_MAX).await.map(Self)
    }
}

/// The fields of a JSON body that lists people.
pub(super) struct LargeBody(pub(super) Fields);

impl<S: Sync> FromRequest<S> for LargeBody {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        read(request, LARGE_BODY_MAX).await.map(Self)
    }
}

/// The fields of a body of at most so many bytes.
async fn read(request: Request, max: usize) -> Result<Fields, Response> {
    if let Some(refusal) = wrapped(request.headers()) {
        return Err(refusal);
    }
    let is_json = is_json(request.headers());
    let length = content_length(request.headers(), max);
    let body = timeout(BODY_TIME_MAX, gather(request.into_body(), length, max));
    let bytes = match body.await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let detail = format!("the body has more than {max} bytes, or broke off");
            return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, Code::Validation, &detail));
        }
        Err(_) => return Err(too_slow()),
    };
    if bytes.is_empty() {
        return Ok(Fields::new(Map::new()));
    }
    if !is_json {
        let detail = "send the body as JSON, with Content-Type: application/json";
        return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Validation, detail));
    }
    match json::read(&bytes) {
        Ok(Read { value: Value::Object(map), twice }) => {
            let mut fields = Fields::new(map);
            twice.iter().for_each(|name| fields.wrong(name, GIVEN_TWICE));
            Ok(fields)
        }
        Ok(Read { value: other, .. }) => {
            json::wipe(other);
            let refusal = Refusal::new(Code::Validation, "the body must be a JSON object");
            Err(refusal.into_response())
        }
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let detail = format!("the body is not JSON: see line {line}, column {column}");
            Err(problem(StatusCode::BAD_REQUEST, Code::Validation, &detail))
        }
    }
}

/// The bytes of a body; `None` when it is too long or breaks off. Bodies hold passwords and sessions, so
/// all of ours is wiped. (What hyper reads them into, and what `serde_json` lets go of a body that is no
/// JSON, is outside our reach.)
async fn gather(body: Incoming, length: usize, max: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = body.into_data_stream();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    while let Some(part) = parts.next().await {
        let part = part.ok()?;
        let is_fit = bytes.len() + part.len() <= max;
        if is_fit {
            secret::append(&mut bytes, &part);
        }
        wipe(part);
        if !is_fit {
            return None;
        }
    }
    Some(bytes)
}

fn wipe(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.zeroize();
    }
}

/// How long the body says it is, as far as that is believed.
fn content_length(headers: &HeaderMap, max: usize) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse::<usize>().ok()).map_or(0, |length| length.min(max))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// The fields of the query.
pub(super) struct Query(pub(super) Fields);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        type Pairs = axum::extract::Query<Vec<(String, String)>>;
        let pairs = Pairs::try_from_uri(&parts.uri).map_err(|_| {
            Refusal::new(Code::Validation, "the query cannot be read; it must be percent-encoded")
        })?;
        let mut given = Map::new();
        let mut twice = Vec::new();
        // An empty value is as good as none.
        for (name, value) in pairs.0.into_iter().filter(|(_, value)| !value.is_empty()) {
            if let Some(before) = given.insert(name.clone(), Value::String(value)) {
                json::wipe(before);
                twice.push(name);
            }
        }
        let mut fields = Fields::new(given);
        for name in twice {
            fields.twice(&name);
        }
        Ok(Self(fields))
    }
}

/// The page that a query asks for.
pub(super) fn page(fields: &mut Fields) -> PageQuery {
    let default = PageQuery::default();
    let cursor = fields.optional("cursor", parse::cursor);
    let limit = fields.optional("limit", parse::limit);
    PageQuery { cursor, limit: limit.unwrap_or(default.limit) }
}

/// The idempotency key of a request, if it has one.
pub(super) fn idempotency_key(headers: &HeaderMap, fields: &mut Fields) -> Option<String> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = keys.next().map(|key| parse::idempotency_key(key.as_bytes())).transpose();
    let key = key.unwrap_or_else(|wrong| {
        fields.wrong("Idempotency-Key", wrong);
        None
    });
    if keys.next().is_some() {
        fields.wrong("Idempotency-Key", GIVEN_TWICE);
    }
    key
}

/// The same for whatever makes something, with what is asked for: to be taken before any field is.
pub(super) fn creation_key(headers: &HeaderMap, fields: &mut Fields) -> Option<CreationKey> {
    let body = fields.fingerprint();
    idempotency_key(headers, fields).map(|key| CreationKey { key, body })
}

/// An answer that perhaps was given before under the same idempotency key.
pub(super) fn replayed(is_replayed: bool, mut answer: Response) -> Response {
    if is_replayed {
        answer.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    answer
}
