//! The control API over HTTP: JSON in, JSON out, everything done by `api` and `load`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::api::{ApiError, NewAccount, NewChat};
use crate::faults::FaultSpec;
use crate::load::{LoadRun, LoadSpec};
use crate::server::Server;

type Shared = State<Arc<Server>>;
type Reply<T> = Result<Json<T>, ApiError>;
/// The answer of calls that only do something.
type Done = Result<StatusCode, ApiError>;

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
        .route("/accounts/{user_id}/disconnect", post(disconnect))
        .route("/accounts/{user_id}/revoke", post(revoke))
        .route("/chats", post(add_chat))
        .route("/chats/{chat_id}/members", get(members).post(add_member))
        .route("/chats/{chat_id}/members/{user_id}", delete(remove_member))
        .route("/chats/{chat_id}/ban", post(ban))
        .route("/chats/{chat_id}/messages", get(messages).post(post_message))
        .route("/faults", post(add_fault).delete(lift_faults))
        .route("/load", post(load))
        .route("/load/run", post(run_load))
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

/// The body of a revocation, which may be left out.
#[derive(Default, Deserialize)]
struct Revocation {
    error: Option<String>,
}

async fn add_account(State(server): Shared, Json(new): Json<NewAccount>) -> Response {
    server.add_account(new).map(Json).into_response()
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
    Json(text): Json<Text>,
) -> Reply<serde_json::Value> {
    let message_id = server.post_private(user_id, text.from, &text.text)?;
    Ok(Json(json!({ "message_id": message_id })))
}

async fn add_session(State(server): Shared, Path(user_id): Path<i64>) -> Reply<serde_json::Value> {
    let session_string = server.add_session(user_id)?;
    Ok(Json(json!({ "session_string": session_string })))
}

async fn disconnect(State(server): Shared, Path(user_id): Path<i64>) -> Done {
    server.disconnect(user_id).map(|()| StatusCode::NO_CONTENT)
}

async fn revoke(State(server): Shared, Path(user_id): Path<i64>, body: Bytes) -> Done {
    let Revocation { error } = if body.is_empty() {
        Revocation::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| ApiError::Invalid(error.to_string()))?
    };
    server.revoke(user_id, error).map(|()| StatusCode::NO_CONTENT)
}

async fn add_chat(State(server): Shared, Json(new): Json<NewChat>) -> Response {
    server.add_chat(new).map(Json).into_response()
}

async fn members(State(server): Shared, Path(chat_id): Path<i64>) -> Response {
    server.members(chat_id).map(Json).into_response()
}

async fn add_member(State(server): Shared, Path(chat_id): Path<i64>, Json(who): Json<Who>) -> Done {
    server.add_member(chat_id, who.user_id).map(|()| StatusCode::NO_CONTENT)
}

async fn remove_member(State(server): Shared, Path((chat_id, user_id)): Path<(i64, i64)>) -> Done {
    server.remove_member(chat_id, user_id).map(|()| StatusCode::NO_CONTENT)
}

async fn ban(State(server): Shared, Path(chat_id): Path<i64>, Json(who): Json<Who>) -> Done {
    server.ban(chat_id, who.user_id).map(|()| StatusCode::NO_CONTENT)
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
    Json(text): Json<Text>,
) -> Reply<serde_json::Value> {
    let message_id = server.post(chat_id, text.from, &text.text)?;
    Ok(Json(json!({ "message_id": message_id })))
}

async fn add_fault(State(server): Shared, Json(spec): Json<FaultSpec>) -> Done {
    server.add_fault(spec).map(|()| StatusCode::NO_CONTENT)
}

async fn lift_faults(State(server): Shared) -> StatusCode {
    server.lift_faults();
    StatusCode::NO_CONTENT
}

async fn load(State(server): Shared, Json(spec): Json<LoadSpec>) -> Response {
    server.load(&spec).map(Json).into_response()
}

async fn run_load(State(server): Shared, Json(run): Json<LoadRun>) -> Done {
    server.run_load(&run).map(|()| StatusCode::ACCEPTED)
}

async fn stats(State(server): Shared) -> Response {
    Json(server.stats()).into_response()
}
