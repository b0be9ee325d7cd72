//! Refusals of the API: a stable code for programs, words for people, and when to try again. One table
//! says what each code means (`docs/errors.md`: what helps); another turns Telegram's failures into codes.

use serde::Serialize;

use crate::protocol::logins::steps::LoginFailure;
use crate::protocol::telegram::failure::{Failure, PEER_FLOOD, WaitScope};

/// Stable codes of refusals (`docs/errors.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Code {
    /// Telegram ended the account's session.
    #[serde(rename = "TG_SESSION_EXPIRED")]
    SessionExpired,
    /// Telegram asks to wait.
    #[serde(rename = "TG_API_429")]
    TelegramWait,
    /// The login needs the account's password.
    #[serde(rename = "TG_2FA_REQUIRED")]
    PasswordRequired,
    /// The login code is wrong or too old.
    #[serde(rename = "TG_CODE_INVALID")]
    CodeInvalid,
    /// The password is wrong.
    #[serde(rename = "TG_PASSWORD_INVALID")]
    PasswordInvalid,
    /// The phone number cannot be used.
    #[serde(rename = "TG_PHONE_INVALID")]
    PhoneInvalid,
    /// The bot token is not one, or was revoked.
    #[serde(rename = "TG_BOT_TOKEN_INVALID")]
    BotTokenInvalid,
    /// The chat is out of the account's reach.
    #[serde(rename = "TG_CHAT_FORBIDDEN")]
    ChatForbidden,
    /// The person or bot at the other end refuses.
    #[serde(rename = "TG_TARGET_REFUSED")]
    TargetRefused,
    /// Telegram cannot be reached, or did not answer.
    #[serde(rename = "TG_UNAVAILABLE")]
    TelegramUnavailable,
    /// The request is not understood.
    #[serde(rename = "VALIDATION")]
    Validation,
    /// There is no valid token.
    #[serde(rename = "UNAUTHORIZED")]
    Unauthorized,
    /// The token does not allow this.
    #[serde(rename = "FORBIDDEN")]
    Forbidden,
    /// There is no such thing, or it belongs to somebody else.
    #[serde(rename = "NOT_FOUND")]
    NotFound,
    /// It contradicts what is there.
    #[serde(rename = "CONFLICT")]
    Conflict,
    /// It has changed since it was read.
    #[serde(rename = "PRECONDITION_FAILED")]
    PreconditionFailed,
    /// A limit of this daemon.
    #[serde(rename = "RATE_LIMITED")]
    RateLimited,
    /// Too much waits already.
    #[serde(rename = "OVERLOADED")]
    Overloaded,
    /// A fault of ours.
    #[serde(rename = "INTERNAL")]
    Internal,
}

impl Code {
    /// All of them, for the documents.
    pub const ALL: [Self; 19] = [
        Self::SessionExpired,
        Self::TelegramWait,
        Self::PasswordRequired,
        Self::CodeInvalid,
        Self::PasswordInvalid,
        Self::PhoneInvalid,
        Self::BotTokenInvalid,
        Self::ChatForbidden,
        Self::TargetRefused,
        Self::TelegramUnavailable,
        Self::Validation,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::RateLimited,
        Self::Overloaded,
        Self::Internal,
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::SessionExpired => "TG_SESSION_EXPIRED",
            Self::TelegramWait => "TG_API_429",
            Self::PasswordRequired => "TG_2FA_REQUIRED",
            Self::CodeInvalid => "TG_CODE_INVALID",
            Self::PasswordInvalid => "TG_PASSWORD_INVALID",
            Self::PhoneInvalid => "TG_PHONE_INVALID",
            Self::BotTokenInvalid => "TG_BOT_TOKEN_INVALID",
            Self::ChatForbidden => "TG_CHAT_FORBIDDEN",
            Self::TargetRefused => "TG_TARGET_REFUSED",
            Self::TelegramUnavailable => "TG_UNAVAILABLE",
            Self::Validation => "VALIDATION",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::RateLimited => "RATE_LIMITED",
            Self::Overloaded => "OVERLOADED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status it goes with, unless the place says otherwise.
    pub fn status(self) -> u16 {
        match self {
            Self::SessionExpired | Self::Conflict => 409,
            Self::TelegramWait | Self::RateLimited => 429,
            Self::PasswordRequired
            | Self::CodeInvalid
            | Self::PasswordInvalid
            | Self::PhoneInvalid
            | Self::BotTokenInvalid
            | Self::TargetRefused
            | Self::Validation => 422,
            Self::ChatForbidden | Self::Forbidden => 403,
            Self::TelegramUnavailable | Self::Overloaded => 503,
            Self::Unauthorized => 401,
            Self::NotFound => 404,
            Self::PreconditionFailed => 412,
            Self::Internal => 500,
        }
    }

    /// A few words on what it means.
    pub fn title(self) -> &'static str {
        match self {
            Self::SessionExpired => "Telegram ended this account's session",
            Self::TelegramWait => "Telegram asks to wait",
            Self::PasswordRequired => "The account's password is needed",
            Self::CodeInvalid => "The login code is not accepted",
            Self::PasswordInvalid => "The password is wrong",
            Self::PhoneInvalid => "The phone number cannot be used",
            Self::BotTokenInvalid => "The bot token is not accepted",
            Self::ChatForbidden => "The chat is out of this account's reach",
            Self::TargetRefused => "The target refuses, or is not there",
            Self::TelegramUnavailable => "Telegram cannot be reached",
            Self::Validation => "The request is not valid",
            Self::Unauthorized => "A valid token is needed",
            Self::Forbidden => "The token does not allow this",
            Self::NotFound => "There is no such thing",
            Self::Conflict => "It contradicts what is there",
            Self::PreconditionFailed => "It has changed since it was read",
            Self::RateLimited => "Too many requests",
            Self::Overloaded => "Too much waits already",
            Self::Internal => "Something failed inside",
        }
    }
}

/// One field of a request that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Its name, as in the request.
    pub field: String,
    /// What is wrong with it, and what is expected.
    pub message: String,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({})", code.name())]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what happened, why, what to do. Free of secrets.
    pub detail: String,
    /// When to try again, in seconds from now.
    pub retry_after: Option<u64>,
    /// The fields at fault, of a request that is not valid.
    pub errors: Vec<FieldError>,
    /// Whether the refusal itself is a line of the audit log.
    pub is_audited: bool,
}

impl Refusal {
    /// A refusal with its words.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
            errors: Vec::new(),
            is_audited: false,
        }
    }

    /// There is no such thing as `what` for the one who asks.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// One field is not valid.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        let (field, message) = (field.to_owned(), message.into());
        let detail = format!("{field}: {message}");
        let errors = vec![FieldError { field, message }];
        Self { errors, ..Self::new(Code::Validation, detail) }
    }

    /// The same, to be tried again after `seconds`.
    pub fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let detail = failure.to_string();
        match failure {
            Failure::Wait { code, seconds, .. } if code == PEER_FLOOD => {
                let detail = format!(
                    "telegram limits this account (PEER_FLOOD), so it rests from everything that it \
                     begins for another {seconds} s; have another account do it, or repeat it then"
                );
                Self::new(Code::TelegramWait, detail).after(u64::from(seconds.max(1)))
            }
            Failure::Wait { seconds, scope, .. } => {
                let what = match scope {
                    WaitScope::MethodClass => "calls of this kind of this account",
                    WaitScope::Chat => "messages of this account to this chat",
                };
                let detail = format!("telegram makes {what} wait for {seconds} s; repeat it then");
                Self::new(Code::TelegramWait, detail).after(u64::from(seconds.max(1)))
            }
            Failure::Limited => Self::new(
                Code::TelegramWait,
                "telegram limits this account (PEER_FLOOD), so it rests from everything that it \
                 begins; its status says until when",
            ),
            Failure::Frozen { code } => Self::new(
                Code::Conflict,
                format!(
                    "telegram has frozen this account ({code}) and refuses such calls; waiting does \
                     not help: its owner can appeal in an official app (Settings), and reconnect the \
                     account here when the freeze is lifted"
                ),
            ),
            Failure::Dead { code } => Self::new(
                Code::SessionExpired,
                format!("telegram ended this account's session ({code}); connect it again"),
            ),
            Failure::Removed => Self::new(Code::Conflict, detail),
            Failure::ChatLost { .. } => Self::new(Code::ChatForbidden, detail),
            Failure::TargetRefused { .. } => Self::new(Code::TargetRefused, detail),
            Failure::Migrate { .. } | Failure::Unreadable { .. } | Failure::Transient { .. } => {
                Self::new(Code::TelegramUnavailable, detail).after(5)
            }
            Failure::AlreadyDone { .. } => Self::new(Code::Conflict, detail),
            Failure::Rejected { .. } => Self::new(Code::Validation, detail),
        }
    }
}

impl From<LoginFailure> for Refusal {
    fn from(failure: LoginFailure) -> Self {
        let detail = failure.to_string();
        match failure {
            LoginFailure::PhoneInvalid
            | LoginFailure::PhoneBanned
            | LoginFailure::NotRegistered
            | LoginFailure::PaymentNeeded
            | LoginFailure::EmailNeeded => Self::new(Code::PhoneInvalid, detail),
            LoginFailure::CodeInvalid
            | LoginFailure::CodeExpired
            | LoginFailure::RecoveryExpired
            | LoginFailure::QrExpired => Self::new(Code::CodeInvalid, detail),
            LoginFailure::NoOtherWay
            | LoginFailure::NoRecoveryMail
            | LoginFailure::PasswordGone => Self::new(Code::Conflict, detail),
            LoginFailure::PasswordNeeded => Self::new(Code::PasswordRequired, detail),
            LoginFailure::PasswordInvalid => Self::new(Code::PasswordInvalid, detail),
            LoginFailure::TokenInvalid => Self::new(Code::BotTokenInvalid, detail),
            LoginFailure::Wait { seconds, .. } => {
                Self::new(Code::TelegramWait, detail).after(u64::from(seconds.max(1)))
            }
            LoginFailure::TooManyAttempts { .. } => {
                Self::new(Code::TelegramWait, detail).after(24 * 60 * 60)
            }
            LoginFailure::SessionEnded { .. } => Self::new(Code::SessionExpired, detail),
            LoginFailure::Other(failure) => failure.into(),
            // What is left is ours to mend: the application id, the servers' key.
            _ => Self::new(Code::Internal, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_they_are_named() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
            assert!((400..=503).contains(&code.status()), "{}", code.name());
        }
    }

    #[test]
    fn the_document_names_a_cause_and_a_cure_for_every_code_once() {
        let document = include_str!("../../../docs/errors.md");
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        let rows: Vec<Vec<&str>> =
            rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
        let expected: Vec<_> = Code::ALL.iter().map(|code| format!("`{}`", code.name())).collect();
        let found: Vec<_> = rows.iter().map(|row| row[0].to_owned()).collect();
        assert_eq!(found, expected);
        for (row, code) in rows.iter().zip(Code::ALL) {
            assert_eq!(row.len(), 4, "{}", code.name());
            assert_eq!(row[1], code.status().to_string(), "{}", code.name());
            assert!(row[2].len() > 10 && row[3].len() > 10, "{}", code.name());
        }
    }

    #[test]
    fn a_freeze_is_no_wait_and_says_what_its_owner_can_do() {
        let refusal = Refusal::from(Failure::Frozen { code: "FROZEN_METHOD_INVALID".into() });
        assert_eq!((refusal.code, refusal.retry_after), (Code::Conflict, None));
        assert!(refusal.detail.contains("appeal"), "{refusal}");
    }

    #[test]
    fn the_rest_after_peer_flood_is_told_as_such() {
        let (code, scope) = (PEER_FLOOD.to_owned(), WaitScope::MethodClass);
        let refusal = Refusal::from(Failure::Wait { code, seconds: 3_600, scope });
        assert_eq!((refusal.code, refusal.retry_after), (Code::TelegramWait, Some(3_600)));
        assert!(refusal.detail.contains("limits this account (PEER_FLOOD)"), "{refusal}");
    }

    #[test]
    fn a_wait_tells_when_to_try_again() {
        let scope = WaitScope::MethodClass;
        let wait = Failure::Wait { code: "FLOOD_WAIT".into(), seconds: 30, scope };
        let refusal = Refusal::from(wait);
        assert_eq!((refusal.code, refusal.retry_after), (Code::TelegramWait, Some(30)));
    }
}
