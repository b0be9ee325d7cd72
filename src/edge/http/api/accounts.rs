//! Using accounts: looking at them, holding and removing them, sending, chats.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::bodies::{AttachChat, Message, Paging};
use super::extract::{Body, Id, Query, idempotency_key, page, replayed};
use super::fields::Fields;
use super::parse;
use super::shapes::{
    Account, AccountStatus, Chat, Kind, Page, Sent, State as AccountState, WhyView,
};
use super::views;
use crate::actors::AccountQuery;
use crate::protocol::accounts::connection;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::messages::outgoing::{Outgoing, ParseMode};
use crate::protocol::users::owner::{AccountId, Caller};

/// How long a caller waits for a message to be sent who does not say.
const TIMEOUT_SECONDS: u32 = 10;

const STATES: &[(&str, connection::AccountState)] = &[
    ("connecting", connection::AccountState::Connecting),
    ("active", connection::AccountState::Active),
    ("cooling_down", connection::AccountState::CoolingDown),
    ("limited", connection::AccountState::Limited),
    ("paused", connection::AccountState::Paused),
    ("reconnecting", connection::AccountState::Reconnecting),
    ("error", connection::AccountState::Error),
];

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(accounts))
        .routes(routes!(account, remove_account))
        .routes(routes!(account_status))
        .routes(routes!(account_why))
        .routes(routes!(pause_account))
        .routes(routes!(resume_account))
        .routes(routes!(reconnect_account))
        .routes(routes!(send_message))
        .routes(routes!(chats, attach_chat))
}

/// List accounts
#[utoipa::path(
    get,
    path = "/accounts",
    tag = "accounts",
    params(
        ("platform" = Option<String>, Query, description = "Only those of this platform: `telegram`"),
        ("status" = Option<AccountState>, Query, description = "Only those in this state"),
        ("kind" = Option<Kind>, Query, description = "Only those of this kind"),
        ("q" = Option<String>, Query,
            description = "Only those whose username, first name or Telegram id holds this text"),
        ("user" = Option<String>, Query, description = "Only those of this user, for admins"),
        Paging,
    ),
    responses((status = 200, description = "A page of them", body = Page<Account>)),
)]
async fn accounts(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Query(mut fields): Query,
) -> Result<Json<Page<Account>>, Refusal> {
    let kinds = [("user", false), ("bot", true)];
    fields.optional("platform", |value| parse::one_of(value, &[("telegram", ())]));
    let query = AccountQuery {
        state: fields.optional("status", |value| parse::one_of(value, STATES)),
        is_bot: fields.optional("kind", |value| parse::one_of(value, &kinds)),
        text: fields.optional("q", parse::words),
        user: fields.optional("user", parse::user),
        page: page(&mut fields),
    };
    let query = fields.finish(Some(query))?;
    let accounts = api.services.accounts.list(&who, query).await?;
    Ok(Json(views::page(accounts, views::account)))
}

/// An account
#[utoipa::path(
    get,
    path = "/accounts/{id}",
    tag = "accounts",
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "The account", body = Account)),
)]
async fn account(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
) -> Result<Json<Account>, Refusal> {
    api.services.accounts.get(&who, id).await.map(views::account).map(Json)
}

/// How an account fares
///
/// State, cooldowns with their ends, today's use of each limit, queue, reconnects, what happens next.
#[utoipa::path(
    get,
    path = "/accounts/{id}/status",
    tag = "accounts",
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "How it fares", body = AccountStatus)),
)]
async fn account_status(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
) -> Result<Json<AccountStatus>, Refusal> {
    api.services.accounts.status(&who, id).await.map(views::account_status).map(Json)
}

/// Why an account is as it is
#[utoipa::path(
    get,
    path = "/accounts/{id}/why",
    tag = "accounts",
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "What was seen, and what follows", body = WhyView)),
)]
async fn account_why(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
) -> Result<Json<WhyView>, Refusal> {
    api.services.accounts.explain(&who, id).await.map(views::why).map(Json)
}

/// Hold an account
#[utoipa::path(
    post,
    path = "/accounts/{id}/pause",
    tag = "accounts",
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "How it fares now", body = AccountStatus)),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn pause_account(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
) -> Result<Json<AccountStatus>, Refusal> {
    api.services.accounts.pause(&who, id).await.map(views::account_status).map(Json)
}

/// Let an account go on
#[utoipa::path(
    post,
    path = "/accounts/{id}/resume",
    tag = "accounts",
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "How it fares now", body = AccountStatus)),
    extensions(("x-codes" = json!(["CONFLICT", "TG_SESSION_EXPIRED"]))),
)]
async fn resume_account(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
) -> Result<Json<AccountStatus>, Refusal> {
    api.services.accounts.resume(&who, id).await.map(views::account_status).map(Json)
}

/// Connect an account anew
#[utoipa::path(
    post,
    path = "/accounts/{id}/reconnect",
    tag = "accounts",
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "How it fares now", body = AccountStatus)),
    extensions(("x-codes" = json!(["CONFLICT", "TG_SESSION_EXPIRED"]))),
)]
async fn reconnect_account(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
) -> Result<Json<AccountStatus>, Refusal> {
    api.services.accounts.reconnect(&who, id).await.map(views::account_status).map(Json)
}

/// Remove an account
///
/// Stops it and wipes its session; with `logout=true` Telegram is told to forget the session, too.
#[utoipa::path(
    delete,
    path = "/accounts/{id}",
    tag = "accounts",
    params(
        ("id" = Uuid, Path, description = "The account"),
        ("logout" = Option<bool>, Query, description = "Also log out at Telegram"),
    ),
    responses((status = 204, description = "It is gone")),
    extensions(("x-codes" = json!(["TG_UNAVAILABLE"]))),
)]
async fn remove_account(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
    Query(mut fields): Query,
) -> Result<StatusCode, Refusal> {
    let logout = fields.optional("logout", parse::switch).unwrap_or(false);
    let logout = fields.finish(Some(logout))?;
    api.services.accounts.remove(&who, id, logout).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send a message
///
/// With `Idempotency-Key` a repetition within 24 hours sends nothing and gets the first answer, with
/// the header `Idempotency-Replayed: true`. When Telegram makes the account wait for longer than
/// `timeout`, the answer is 429 `TG_API_429` with `Retry-After`.
#[utoipa::path(
    post,
    path = "/accounts/{id}/messages",
    tag = "accounts",
    params(
        ("id" = Uuid, Path, description = "The account"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "The caller's name for this message: 1 to 255 visible ASCII characters"),
    ),
    request_body = Message,
    responses((status = 201, description = "Telegram has taken it", body = Sent)),
    extensions(("x-codes" = json!([
        "TG_API_429", "TG_SESSION_EXPIRED", "TG_CHAT_FORBIDDEN", "TG_TARGET_REFUSED",
        "TG_UNAVAILABLE", "CONFLICT"
    ]))),
)]
async fn send_message(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
    Body(fields): Body,
) -> Result<Response, Refusal> {
    let message = outgoing(&headers, fields)?;
    let (sent, is_replayed) = api.services.messages.send(&who, id, message).await?;
    let answer = (StatusCode::CREATED, Json(views::sent(sent))).into_response();
    Ok(replayed(is_replayed, answer))
}

fn outgoing(headers: &HeaderMap, mut fields: Fields) -> Result<Outgoing, Refusal> {
    let modes = [("markdown", ParseMode::Markdown), ("html", ParseMode::Html)];
    let text = fields.required("text", parse::message_text);
    let to = fields.required("to", parse::recipient);
    let parse_mode = fields.optional("parse_mode", |value| parse::one_of(value, &modes));
    if parse_mode.is_none()
        && let Some(Err(wrong)) = text.as_ref().map(parse::plain_text)
    {
        fields.wrong("text", wrong);
    }
    let reply_to = fields.optional("reply_to", parse::message_id);
    let silent = fields.optional("silent", parse::switch).unwrap_or(false);
    let seconds = fields.optional("timeout", parse::timeout_seconds).unwrap_or(TIMEOUT_SECONDS);
    let timeout = Duration::from_secs(seconds.into());
    let idempotency_key = idempotency_key(headers, &mut fields);
    let message = to.zip(text).map(|(to, text)| Outgoing {
        to,
        text,
        parse_mode,
        reply_to,
        silent,
        timeout,
        idempotency_key,
    });
    fields.finish(message)
}

/// List the chats of an account
#[utoipa::path(
    get,
    path = "/accounts/{id}/chats",
    tag = "accounts",
    params(("id" = Uuid, Path, description = "The account"), Paging),
    responses((status = 200, description = "A page of them", body = Page<Chat>)),
)]
async fn chats(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
    Query(mut fields): Query,
) -> Result<Json<Page<Chat>>, Refusal> {
    let page = page(&mut fields);
    let page = fields.finish(Some(page))?;
    let chats = api.services.accounts.chats(&who, id, page).await?;
    Ok(Json(views::page(chats, views::chat)))
}

/// Attach a chat to an account
///
/// Looks up what the chat is and what the account may do there.
#[utoipa::path(
    post,
    path = "/accounts/{id}/chats",
    tag = "accounts",
    params(("id" = Uuid, Path, description = "The account")),
    request_body = AttachChat,
    responses((status = 201, description = "The chat", body = Chat)),
    extensions(("x-codes" = json!([
        "TG_API_429", "TG_SESSION_EXPIRED", "TG_CHAT_FORBIDDEN", "TG_TARGET_REFUSED",
        "TG_UNAVAILABLE", "CONFLICT"
    ]))),
)]
async fn attach_chat(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<AccountId>,
    Body(mut fields): Body,
) -> Result<(StatusCode, Json<Chat>), Refusal> {
    let chat = fields.required("chat", parse::chat);
    let chat = fields.finish(chat)?;
    let chat = api.services.accounts.attach_chat(&who, id, chat).await?;
    Ok((StatusCode::CREATED, Json(views::chat(chat))))
}
