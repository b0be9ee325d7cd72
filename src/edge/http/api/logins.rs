//! Connecting accounts: by code, picture, bot token or session, and the steps of a login.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answer::Wiped;
use super::bodies::{
    ConnectBot, ConnectQr, ConnectSession, ConnectSms, LoginCode, LoginPassword, RecoveryCode,
};
use super::extract::{Body, Id};
use super::parse;
use super::shapes::{Account, Login};
use super::views;
use crate::actors::{PastedSession, SessionBrought};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::users::owner::{Caller, LoginId};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(connect_sms))
        .routes(routes!(connect_qr))
        .routes(routes!(connect_bot))
        .routes(routes!(connect_session))
        .routes(routes!(login, abandon_login))
        .routes(routes!(login_code))
        .routes(routes!(resend_code))
        .routes(routes!(login_password))
        .routes(routes!(request_recovery))
        .routes(routes!(recovery_code))
}

/// Begin a login by phone number
///
/// Telegram sends a code; hand it in at `/logins/{id}/code`. `code` in the answer says how it was sent, and
/// how and when `/logins/{id}/resend` has it sent once more.
#[utoipa::path(
    post,
    path = "/accounts/telegram/connect/sms",
    tag = "connect",
    request_body = ConnectSms,
    responses((status = 202, description = "The login has begun", body = Login)),
    extensions(("x-codes" = json!(["TG_PHONE_INVALID", "TG_API_429", "TG_UNAVAILABLE", "CONFLICT"]))),
)]
async fn connect_sms(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Body(mut fields): Body,
) -> Result<Wiped<Login>, Refusal> {
    let phone = fields.required("phone", parse::phone);
    let phone = fields.finish(phone)?;
    let login = api.services.logins.by_sms(&who, phone).await?;
    Ok(Wiped(StatusCode::ACCEPTED, views::login(login)?))
}

/// Begin a login by QR code
///
/// Show the picture; it is renewed before it expires, so ask `/logins/{id}` for the current one.
#[utoipa::path(
    post,
    path = "/accounts/telegram/connect/qr",
    tag = "connect",
    request_body = ConnectQr,
    responses((status = 202, description = "The login has begun", body = Login)),
    extensions(("x-codes" = json!(["TG_API_429", "TG_UNAVAILABLE", "CONFLICT"]))),
)]
async fn connect_qr(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Body(fields): Body,
) -> Result<Wiped<Login>, Refusal> {
    fields.finish(Some(()))?;
    let login = api.services.logins.by_qr(&who).await?;
    Ok(Wiped(StatusCode::ACCEPTED, views::login(login)?))
}

/// Connect a bot
#[utoipa::path(
    post,
    path = "/accounts/telegram/connect/bot",
    tag = "connect",
    request_body = ConnectBot,
    responses((status = 201, description = "The account", body = Account)),
    extensions((
        "x-codes" = json!(["TG_BOT_TOKEN_INVALID", "TG_API_429", "TG_UNAVAILABLE", "CONFLICT"])
    )),
)]
async fn connect_bot(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Body(mut fields): Body,
) -> Result<(StatusCode, Json<Account>), Refusal> {
    let token = fields.required("token", parse::bot_token);
    let token = fields.finish(token)?;
    let connected = api.services.logins.by_token(&who, token).await?;
    Ok((StatusCode::CREATED, Json(views::connected(connected))))
}

/// Connect a session that was made elsewhere
///
/// An account that is connected already gets this session; `previous_session` says what becomes of the
/// one that it had.
#[utoipa::path(
    post,
    path = "/accounts/telegram/connect/session",
    tag = "connect",
    request_body = ConnectSession,
    responses(
        (status = 201, description = "The account", body = Account),
        (
            status = 202,
            description = "The session's two-factor password was never given: hand it in at \
                           `/logins/{id}/password`",
            body = Login,
        ),
    ),
    extensions((
        "x-codes" = json!(["TG_SESSION_EXPIRED", "TG_API_429", "TG_UNAVAILABLE", "CONFLICT"])
    )),
)]
async fn connect_session(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Body(mut fields): Body,
) -> Result<Response, Refusal> {
    let session_string = fields.required("session_string", parse::session_string);
    let api_id = fields.optional("api_id", parse::api_id);
    fields.optional("api_hash", parse::api_hash);
    let session = session_string.map(|session_string| PastedSession { session_string, api_id });
    let session = fields.finish(session)?;
    Ok(match api.services.logins.by_session(&who, session).await? {
        SessionBrought::Whole(connected) => {
            (StatusCode::CREATED, Json(views::connected(connected))).into_response()
        }
        SessionBrought::Open(login) => {
            Wiped(StatusCode::ACCEPTED, views::login(login)?).into_response()
        }
    })
}

/// Where a login stands
///
/// For a QR login with the current picture.
#[utoipa::path(
    get,
    path = "/logins/{id}",
    tag = "connect",
    params(("id" = Uuid, Path, description = "The login")),
    responses((status = 200, description = "Where it stands", body = Login)),
)]
async fn login(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<LoginId>,
) -> Result<Wiped<Login>, Refusal> {
    let login = api.services.logins.get(&who, id).await?;
    Ok(Wiped(StatusCode::OK, views::login(login)?))
}

/// Hand in the code of a login
///
/// Answers `active` with the account, or `password_required`. A wrong code leaves the login usable
/// until it expires.
#[utoipa::path(
    post,
    path = "/logins/{id}/code",
    tag = "connect",
    params(("id" = Uuid, Path, description = "The login")),
    request_body = LoginCode,
    responses((status = 200, description = "Where the login stands now", body = Login)),
    extensions(("x-codes" = json!([
        "TG_CODE_INVALID", "TG_2FA_REQUIRED", "TG_API_429", "TG_UNAVAILABLE", "CONFLICT"
    ]))),
)]
async fn login_code(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<LoginId>,
    Body(mut fields): Body,
) -> Result<Wiped<Login>, Refusal> {
    let code = fields.required("code", parse::code);
    let code = fields.finish(code)?;
    let login = api.services.logins.code(&who, id, code).await?;
    Ok(Wiped(StatusCode::OK, views::login(login)?))
}

/// Have the code of a login sent once more
///
/// Telegram sends it in the way that it offers next (`code.next` of the login), from `code.next_at` on: 409
/// with `retry_after` before that, 409 without it when nothing is left. Takes no body. The answer's `code`
/// says how it was sent this time, and what comes next.
#[utoipa::path(
    post,
    path = "/logins/{id}/resend",
    tag = "connect",
    params(("id" = Uuid, Path, description = "The login")),
    responses((
        status = 200,
        description = "It was sent",
        body = Login,
        example = json!({
            "login_id": "01a1fe8e-9cd7-727b-bab1-92fb58a9c21a", "state": "code_sent",
            "expires_at": "2026-11-21T14:52:01.560Z",
            "code": {
                "via": "sms", "length": 5, "next": "call", "next_after_seconds": 60,
                "next_at": "2026-11-21T14:43:05.000Z",
            },
        }),
    )),
    extensions(("x-codes" = json!([
        "TG_CODE_INVALID", "TG_PHONE_INVALID", "TG_API_429", "TG_UNAVAILABLE", "CONFLICT"
    ]))),
)]
async fn resend_code(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<LoginId>,
) -> Result<Wiped<Login>, Refusal> {
    let login = api.services.logins.resend(&who, id).await?;
    Ok(Wiped(StatusCode::OK, views::login(login)?))
}

/// Hand in the password of a login
///
/// It is used once, and neither stored nor logged.
#[utoipa::path(
    post,
    path = "/logins/{id}/password",
    tag = "connect",
    params(("id" = Uuid, Path, description = "The login")),
    request_body = LoginPassword,
    responses((status = 200, description = "Where the login stands now", body = Login)),
    extensions(("x-codes" = json!([
        "TG_PASSWORD_INVALID", "TG_API_429", "TG_UNAVAILABLE", "CONFLICT"
    ]))),
)]
async fn login_password(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<LoginId>,
    Body(mut fields): Body,
) -> Result<Wiped<Login>, Refusal> {
    let password = fields.required("password", parse::password);
    let password = fields.finish(password)?;
    let login = api.services.logins.password(&who, id, password).await?;
    Ok(Wiped(StatusCode::OK, views::login(login)?))
}

/// Ask for a code by mail because the password is forgotten
///
/// Telegram sends it to the account's recovery address, of which `email_pattern` shows a part; 409 when the
/// account has none. Hand it in at `/logins/{id}/recovery/code`: **that takes the two-factor password away
/// at Telegram.** Asking changes nothing yet, and the password may still be handed in. Takes no body.
#[utoipa::path(
    post,
    path = "/logins/{id}/recovery",
    tag = "connect",
    params(("id" = Uuid, Path, description = "The login")),
    responses((
        status = 200,
        description = "A code is on its way. Handing it in removes the account's two-factor password at \
                       Telegram",
        body = Login,
        example = json!({
            "login_id": "01a1fe8e-9cd7-727b-bab1-92fb58a9c21a", "state": "password_required",
            "expires_at": "2026-11-21T14:52:01.560Z", "hint": "what the staple said",
            "email_pattern": "a***n@example.org",
        }),
    )),
    extensions(("x-codes" = json!(["TG_API_429", "TG_UNAVAILABLE", "CONFLICT"]))),
)]
async fn request_recovery(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<LoginId>,
) -> Result<Wiped<Login>, Refusal> {
    let login = api.services.logins.request_recovery(&who, id).await?;
    Ok(Wiped(StatusCode::OK, views::login(login)?))
}

/// Hand in the code from the recovery mail, which removes the password
///
/// **The account has no two-factor password afterwards**, on all its devices: its owner sets another one in
/// an official app. The login goes on as with the right password and answers `active` with the account. A
/// wrong code leaves it usable; one that is too old, or that wrong ones have used up, needs another mail.
#[utoipa::path(
    post,
    path = "/logins/{id}/recovery/code",
    tag = "connect",
    params(("id" = Uuid, Path, description = "The login")),
    request_body = RecoveryCode,
    responses((
        status = 200,
        description = "The login has succeeded, and the account's two-factor password is removed at \
                       Telegram",
        body = Login,
    )),
    extensions(("x-codes" = json!([
        "TG_CODE_INVALID", "TG_API_429", "TG_UNAVAILABLE", "CONFLICT"
    ]))),
)]
async fn recovery_code(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<LoginId>,
    Body(mut fields): Body,
) -> Result<Wiped<Login>, Refusal> {
    let code = fields.required("code", parse::code);
    let code = fields.finish(code)?;
    let login = api.services.logins.recover(&who, id, code).await?;
    Ok(Wiped(StatusCode::OK, views::login(login)?))
}

/// Abandon a login
#[utoipa::path(
    delete,
    path = "/logins/{id}",
    tag = "connect",
    params(("id" = Uuid, Path, description = "The login")),
    responses((status = 204, description = "It is abandoned")),
)]
async fn abandon_login(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<LoginId>,
) -> Result<StatusCode, Refusal> {
    api.services.logins.abandon(&who, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
