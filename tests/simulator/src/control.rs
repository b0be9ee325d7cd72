//! The control API over HTTP: JSON in, JSON out, everything done by `api` and `load`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::TcpListener;

use crate::faults::FaultSpec;
use crate::load::{LoadRun, LoadSpec};
use crate::server::Server;
use crate::shapes::{
    ApiError, ChatKind, ChatRules, MemberRights, NewAccount, NewChat, NewPassword,
};
use crate::shapes_campaigns::{NewContact, NewLink};
use crate::simulator::unhurried;
use crate::world::limits::Limits;
use crate::world::users::Privacy;

type Shared = State<Arc<Server>>;
type Reply<T> = Result<Json<T>, ApiError>;
/// The answer of calls that only do something: an empty object, which every client can read.
type Done = Result<Json<serde_json::Value>, ApiError>;

fn done(outcome: Result<(), ApiError>) -> Done {
    outcome.map(|()| Json(json!({})))
}

/// A JSON body, whatever its content type says; none at all is an empty object.
struct Input<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let invalid = |error: &dyn std::fmt::Display| ApiError::Invalid(error.to_string());
        let body = Bytes::from_request(request, state).await.map_err(|error| invalid(&error))?;
        let body = if body.is_empty() { b"{}".as_slice() } else { &body };
        serde_json::from_slice(body).map(Self).map_err(|error| invalid(&error))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

/// Serves the control API until it is dropped.
pub(crate) async fn serve(server: Arc<Server>, listener: TcpListener) {
    // The future of axum's server never ends by itself.
    let _ = axum::serve(listener, router(server)).await;
}

fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/accounts", post(add_account))
        .route("/accounts/{user_id}", get(account))
        .route("/accounts/{user_id}/inbox", get(inbox).post(post_private))
        .route("/accounts/{user_id}/sessions", post(add_session))
        .route("/accounts/{user_id}/code", get(login_code))
        .route("/accounts/{user_id}/mail", get(mailed_code))
        .route("/accounts/{user_id}/recovery_email", post(set_recovery_email))
        .route("/accounts/{user_id}/scan_qr", post(scan_qr))
        .route("/accounts/{user_id}/bot_token", post(renew_token))
        .route("/accounts/{user_id}/privacy", post(set_privacy))
        .route("/accounts/{user_id}/freeze", post(freeze))
        .route("/accounts/{user_id}/contacts", get(contacts).post(add_contact))
        .route("/accounts/{user_id}/contacts/{contact}", delete(remove_contact))
        .route("/accounts/{user_id}/delete", post(delete_account))
        .route("/accounts/{user_id}/join", post(join))
        .route("/books/contacted", get(contacted))
        .route("/accounts/{user_id}/password", post(set_password))
        .route("/phones/{phone}/code", get(phone_code))
        .route("/sessions", post(add_stranger))
        .route("/limits", post(set_limits))
        .route("/accounts/{user_id}/disconnect", post(disconnect))
        .route("/accounts/{user_id}/revoke", post(revoke))
        .route("/killed", post(client_killed))
        .route("/chats", post(add_chat))
        .route("/chats/{chat_id}/members", get(members).post(add_member))
        .route("/chats/{chat_id}/members/{user_id}", delete(remove_member))
        .route("/chats/{chat_id}/members/{user_id}/rights", post(set_rights))
        .route("/chats/{chat_id}/members/{user_id}/leave", post(leave))
        .route("/chats/{chat_id}/requests/{user_id}", post(answer_request))
        .route("/chats/{chat_id}/links", get(links).post(add_link))
        .route("/chats/{chat_id}/rules", post(set_rules))
        .route("/chats/{chat_id}/ban", post(ban))
        .route("/chats/{chat_id}/upgrade", post(upgrade))
        .route("/chats/{chat_id}/messages", get(messages).post(post_message))
        .route("/chats/{chat_id}/unreadable", post(post_unreadable))
        .route("/faults", post(add_fault).delete(lift_faults))
        .route("/load", post(load))
        .route("/load/run", post(run_load))
        .route("/load/disconnect", post(disconnect_load))
        .route("/stats", get(stats))
        .with_state(server)
}

#[derive(Deserialize)]
struct Who {
    user_id: i64,
}

#[derive(Deserialize)]
struct Text {
    from: i64,
    text: String,
}

/// A chat to make and what is allowed in it, side by side.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatBody {
    kind: ChatKind,
    title: String,
    username: Option<String>,
    #[serde(default)]
    members: Vec<i64>,
    #[serde(default)]
    admins: Vec<i64>,
    slowmode_seconds: Option<u32>,
    members_may_post: Option<bool>,
    members_may_invite: Option<bool>,
    creator: Option<i64>,
}

/// What a QR code shows.
#[derive(Deserialize)]
struct Seen {
    url: String,
}

/// Whether an account is frozen.
#[derive(Deserialize)]
struct Freeze {
    frozen: bool,
}

/// Where a code goes if a password is forgotten.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mailbox {
    email: Option<String>,
}

/// An invite link to use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkUse {
    invite_link: String,
}

/// Whether somebody who asked for it is let in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Consent {
    approved: bool,
}

/// Which datacenter, if not the usual one.
#[derive(Deserialize)]
struct Whereabouts {
    dc: Option<i32>,
}

/// The body of a revocation, which may be left out.
#[derive(Default, Deserialize)]
struct Revocation {
    error: Option<String>,
}

async fn add_account(State(server): Shared, Input(new): Input<NewAccount>) -> Response {
    unhurried(&server, |server| server.add_account(new)).await.map(Json).into_response()
}

async fn account(State(server): Shared, Path(user_id): Path<i64>) -> Response {
    server.account(user_id).map(Json).into_response()
}

async fn inbox(State(server): Shared, Path(user_id): Path<i64>) -> Response {
    server.inbox(user_id).map(Json).into_response()
}

async fn post_private(
    State(server): Shared,
    Path(user_id): Path<i64>,
    Input(text): Input<Text>,
) -> Reply<serde_json::Value> {
    let message_id = server.post_private(user_id, text.from, &text.text)?;
    Ok(Json(json!({ "message_id": message_id })))
}

async fn add_session(State(server): Shared, Path(user_id): Path<i64>) -> Reply<serde_json::Value> {
    let session_string = server.add_session(user_id)?;
    Ok(Json(json!({ "session_string": session_string })))
}

async fn set_password(
    State(server): Shared,
    Path(user_id): Path<i64>,
    Input(new): Input<NewPassword>,
) -> Done {
    done(unhurried(&server, move |server| server.set_password(user_id, new)).await)
}

async fn scan_qr(
    State(server): Shared,
    Path(user_id): Path<i64>,
    Input(seen): Input<Seen>,
) -> Done {
    done(server.scan_qr(user_id, &seen.url))
}

async fn renew_token(State(server): Shared, Path(user_id): Path<i64>) -> Reply<serde_json::Value> {
    Ok(Json(json!({ "bot_token": server.renew_token(user_id)? })))
}

async fn add_stranger(
    State(server): Shared,
    Input(at): Input<Whereabouts>,
) -> Reply<serde_json::Value> {
    Ok(Json(json!({ "session_string": server.add_stranger(at.dc)? })))
}

async fn login_code(State(server): Shared, Path(user_id): Path<i64>) -> Reply<serde_json::Value> {
    Ok(Json(json!({ "code": server.login_code(user_id)? })))
}

async fn set_recovery_email(
    State(server): Shared,
    Path(user_id): Path<i64>,
    Input(mailbox): Input<Mailbox>,
) -> Done {
    done(server.set_recovery_email(user_id, mailbox.email))
}

async fn mailed_code(State(server): Shared, Path(user_id): Path<i64>) -> Response {
    server.mailed_code(user_id).map(Json).into_response()
}

async fn phone_code(State(server): Shared, Path(phone): Path<String>) -> Reply<serde_json::Value> {
    Ok(Json(json!({ "code": server.phone_code(&phone)? })))
}

async fn set_limits(State(server): Shared, Input(limits): Input<Limits>) -> Done {
    server.set_limits(limits);
    done(Ok(()))
}

async fn disconnect(State(server): Shared, Path(user_id): Path<i64>) -> Done {
    done(server.disconnect(user_id))
}

async fn revoke(
    State(server): Shared,
    Path(user_id): Path<i64>,
    Input(revocation): Input<Revocation>,
) -> Done {
    done(server.revoke(user_id, revocation.error))
}

async fn client_killed(State(server): Shared) -> Done {
    server.client_killed();
    done(Ok(()))
}

async fn add_chat(State(server): Shared, Input(body): Input<ChatBody>) -> Response {
    let ChatBody { kind, title, username, members, admins, .. } = body;
    let rules = ChatRules {
        slowmode_seconds: body.slowmode_seconds,
        members_may_post: body.members_may_post,
        members_may_invite: body.members_may_invite,
        creator: body.creator,
    };
    let new = NewChat { kind, title, username, members, admins };
    server.add_chat(new, &rules).map(Json).into_response()
}

async fn set_rules(
    State(server): Shared,
    Path(chat_id): Path<i64>,
    Input(rules): Input<ChatRules>,
) -> Done {
    done(server.set_rules(chat_id, &rules))
}

async fn set_rights(
    State(server): Shared,
    Path((chat_id, user_id)): Path<(i64, i64)>,
    Input(rights): Input<MemberRights>,
) -> Done {
    done(server.set_rights(chat_id, user_id, rights))
}

async fn set_privacy(
    State(server): Shared,
    Path(user_id): Path<i64>,
    Input(privacy): Input<Privacy>,
) -> Done {
    done(server.set_privacy(user_id, privacy))
}

async fn freeze(
    State(server): Shared,
    Path(user_id): Path<i64>,
    Input(freeze): Input<Freeze>,
) -> Done {
    done(server.freeze(user_id, freeze.frozen))
}

async fn contacts(State(server): Shared, Path(user_id): Path<i64>) -> Response {
    server.contacts(user_id).map(Json).into_response()
}

async fn add_contact(
    State(server): Shared,
    Path(user_id): Path<i64>,
    Input(new): Input<NewContact>,
) -> Done {
    done(server.add_contact(user_id, new))
}

async fn remove_contact(State(server): Shared, Path((user_id, contact)): Path<(i64, i64)>) -> Done {
    done(server.remove_contact(user_id, contact))
}

async fn delete_account(State(server): Shared, Path(user_id): Path<i64>) -> Done {
    done(server.delete_account(user_id))
}

async fn join(
    State(server): Shared,
    Path(user_id): Path<i64>,
    Input(link): Input<LinkUse>,
) -> Reply<serde_json::Value> {
    Ok(Json(json!({ "joined": server.join(user_id, &link.invite_link)? })))
}

async fn contacted(State(server): Shared) -> Response {
    Json(server.contacted()).into_response()
}

async fn leave(State(server): Shared, Path((chat_id, user_id)): Path<(i64, i64)>) -> Done {
    done(server.leave(chat_id, user_id))
}

async fn answer_request(
    State(server): Shared,
    Path((chat_id, user_id)): Path<(i64, i64)>,
    Input(consent): Input<Consent>,
) -> Done {
    done(server.answer_request(chat_id, user_id, consent.approved))
}

async fn links(State(server): Shared, Path(chat_id): Path<i64>) -> Response {
    server.links(chat_id).map(Json).into_response()
}

async fn add_link(
    State(server): Shared,
    Path(chat_id): Path<i64>,
    Input(new): Input<NewLink>,
) -> Response {
    server.add_link(chat_id, new).map(Json).into_response()
}

async fn members(State(server): Shared, Path(chat_id): Path<i64>) -> Response {
    server.members(chat_id).map(Json).into_response()
}

async fn add_member(
    State(server): Shared,
    Path(chat_id): Path<i64>,
    Input(who): Input<Who>,
) -> Done {
    done(server.add_member(chat_id, who.user_id))
}

async fn remove_member(State(server): Shared, Path((chat_id, user_id)): Path<(i64, i64)>) -> Done {
    done(server.remove_member(chat_id, user_id))
}

async fn upgrade(State(server): Shared, Path(chat_id): Path<i64>) -> Reply<serde_json::Value> {
    Ok(Json(json!({ "chat_id": server.upgrade(chat_id)? })))
}

async fn ban(State(server): Shared, Path(chat_id): Path<i64>, Input(who): Input<Who>) -> Done {
    done(server.ban(chat_id, who.user_id))
}

async fn messages(
    State(server): Shared,
    Path(chat_id): Path<i64>,
    RawQuery(query): RawQuery,
) -> Response {
    let viewer = query.as_deref().and_then(|query| query.strip_prefix("viewer=")?.parse().ok());
    server.messages(chat_id, viewer).map(Json).into_response()
}

async fn post_message(
    State(server): Shared,
    Path(chat_id): Path<i64>,
    Input(text): Input<Text>,
) -> Reply<serde_json::Value> {
    let message_id = server.post(chat_id, text.from, &text.text)?;
    Ok(Json(json!({ "message_id": message_id })))
}

async fn post_unreadable(
    State(server): Shared,
    Path(chat_id): Path<i64>,
    Input(who): Input<Who>,
) -> Reply<serde_json::Value> {
    let message_id = server.post_unreadable(chat_id, who.user_id)?;
    Ok(Json(json!({ "message_id": message_id })))
}

async fn add_fault(State(server): Shared, Input(spec): Input<FaultSpec>) -> Done {
    done(server.add_fault(spec))
}

async fn lift_faults(State(server): Shared) -> Done {
    server.lift_faults();
    done(Ok(()))
}

async fn load(State(server): Shared, Input(spec): Input<LoadSpec>) -> Response {
    server.load(&spec).map(Json).into_response()
}

async fn run_load(State(server): Shared, Input(run): Input<LoadRun>) -> Response {
    let started = done(server.run_load(&run));
    started.map(|body| (StatusCode::ACCEPTED, body)).into_response()
}

async fn disconnect_load(State(server): Shared) -> Response {
    Json(json!({ "closed": server.disconnect_load() })).into_response()
}

async fn stats(State(server): Shared) -> Response {
    Json(server.stats()).into_response()
}
