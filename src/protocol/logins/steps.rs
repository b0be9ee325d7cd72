//! Logging in: what a step leads to, why one fails, and how a phone number is shown. Plain data and
//! pure sorting; who calls Telegram is elsewhere.

use super::delivery::{CodeDelivery, CodeVia, NextDelivery};
use crate::protocol::accounts::record::Me;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::secret::SecretText;

/// Where a login stands, as its user sees it (`docs/http-api.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoginState {
    /// Telegram sent a code.
    CodeSent,
    /// A picture waits to be scanned.
    WaitingScan,
    /// The password is needed.
    PasswordRequired,
    /// Done.
    Active,
    /// It cannot go on.
    Failed,
    /// Its time is over.
    Expired,
}

impl LoginState {
    /// Whether nothing follows any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Active | Self::Failed | Self::Expired)
    }
}

/// What a step of a login led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Telegram sent a code, to be given with the ticket.
    CodeSent(CodeSent),
    /// The account has a two-factor password, which has to be checked next.
    PasswordNeeded {
        /// What its owner wrote down to remember it by.
        hint: Option<String>,
    },
    /// The password is still awaited, and a code to recover it is in the account's mail.
    RecoverySent {
        /// What Telegram shows of the address, such as `j***n@example.org`.
        email_pattern: String,
    },
    /// A token to be shown as a QR code until it expires or is scanned.
    Token(LoginToken),
    /// The login is complete.
    SignedIn(SignedIn),
}

/// A code that is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeSent {
    /// What Telegram wants to see again together with the code.
    pub ticket: CodeTicket,
    /// How it is delivered.
    pub via: CodeVia,
    /// Its number of characters, where it is known.
    pub length: Option<u32>,
    /// How it goes out when it is asked for once more; `None`: Telegram offers nothing.
    pub next: Option<CodeVia>,
    /// After how many seconds that may be asked for; `None`: Telegram names no wait.
    pub resend_after: Option<u32>,
}

impl CodeSent {
    /// What is kept and told of it, sent at `now`.
    pub fn delivery(&self, now: UnixMillis) -> CodeDelivery {
        let after_seconds = self.resend_after.unwrap_or(0);
        let at = now.plus_ms(i64::from(after_seconds) * 1_000);
        let next = self.next.map(|via| NextDelivery { via, after_seconds, at });
        CodeDelivery { via: self.via, length: self.length, next }
    }
}

/// What belongs to a code; with it and the key a login goes on after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeTicket {
    /// The phone number, in international form.
    pub phone: SecretText,
    /// Telegram's name for this code.
    pub phone_code_hash: SecretText,
    /// Whether the code is sent to the account's login address.
    pub by_email: bool,
}

impl From<CodeTicket> for CodeSent {
    /// A code that was sent before, of which nothing else is known any more.
    fn from(ticket: CodeTicket) -> Self {
        Self { ticket, via: CodeVia::Other, length: None, next: None, resend_after: None }
    }
}

/// A token that a logged-in phone scans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginToken {
    /// `tg://login?token=…`: whoever makes a phone accept it gives away that phone's account.
    pub url: SecretText,
    /// When it expires, Unix seconds of the server.
    pub expires_at: i64,
}

/// Who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The account.
    pub me: Me,
    /// Its phone number with most digits hidden; bots have none.
    pub phone_masked: Option<String>,
}

/// Why a step of a login failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    /// Not a phone number.
    #[error(
        "telegram does not take this for a phone number; send it in international form, with + and \
         the country code"
    )]
    PhoneInvalid,
    /// Banned.
    #[error("telegram has banned this phone number; only telegram's support can lift that")]
    PhoneBanned,
    /// There is no account.
    #[error(
        "no telegram account has this phone number; create one in an official app first, telewarden \
         never does"
    )]
    NotRegistered,
    /// The code is wrong.
    #[error("the code is wrong; send the newest one that telegram delivered")]
    CodeInvalid,
    /// Telegram offers no further way to send the code.
    #[error(
        "telegram has no further way to send this code; hand in the one that was sent, or begin the \
         login anew later"
    )]
    NoOtherWay,
    /// The code is too old, or was used, or another one was asked for since.
    #[error("the code has expired; begin the login anew to be sent another one")]
    CodeExpired,
    /// The account has a password and nobody gave it.
    #[error("the account has a two-factor password, which was not given yet; send it next")]
    PasswordNeeded,
    /// The password is wrong.
    #[error("the two-factor password is wrong; try again, upper and lower case matter")]
    PasswordInvalid,
    /// Nothing can be mailed because the password is forgotten.
    #[error(
        "the account has no recovery e-mail address, so a forgotten password cannot be recovered here; \
         hand in the password, or reset it in an official app where the account is logged in"
    )]
    NoRecoveryMail,
    /// The code that was mailed is too old, or was used, or another one was asked for since.
    #[error(
        "the recovery code has expired, or wrong ones have used it up; ask for another one, or hand in \
         the password"
    )]
    RecoveryExpired,
    /// The password was taken away since it was asked for.
    #[error("the account has no two-factor password any more; begin the login anew")]
    PasswordGone,
    /// The bot token is wrong or was revoked.
    #[error(
        "telegram does not know this bot token; copy it from @BotFather again, it may have been revoked"
    )]
    TokenInvalid,
    /// The token of a QR code is too old.
    #[error("the QR code has expired before it was scanned; show the newest one")]
    QrExpired,
    /// The application id and hash.
    #[error(
        "telegram does not accept the application id ({code}); check telegram.api_id and the api hash \
         with https://my.telegram.org"
    )]
    ApplicationInvalid {
        /// Telegram's error name.
        code: String,
    },
    /// Telegram names a wait.
    #[error("telegram asks to wait {seconds} s before another attempt ({code})")]
    Wait {
        /// Telegram's error name without its number.
        code: String,
        /// How long, seconds.
        seconds: u32,
    },
    /// Telegram names no wait.
    #[error(
        "telegram takes no further attempts for this number today ({code}); try again tomorrow"
    )]
    TooManyAttempts {
        /// Telegram's error name.
        code: String,
    },
    /// The key is of no use (any more).
    #[error("telegram does not know this session ({code}); it was ended or never logged in")]
    SessionEnded {
        /// Telegram's error name.
        code: String,
    },
    /// Telegram wants an e-mail address to be set up first.
    #[error(
        "telegram wants this account to set up a login e-mail address first; log in once with an \
         official app"
    )]
    EmailNeeded,
    /// Telegram wants to be paid for sending the code.
    #[error(
        "telegram wants to be paid for sending this code; log in with an official app, or by QR"
    )]
    PaymentNeeded,
    /// The datacenter that a session names is none.
    #[error("{}", no_datacenter(*.dc_id, *.is_own))]
    NoDatacenter {
        /// Its number.
        dc_id: i32,
        /// Whether the datacenters are of a table of one's own.
        is_own: bool,
    },
    /// No key could be made with a server of one's own.
    #[error("no authorization key could be made: {detail}")]
    NoKey {
        /// A name like Telegram's.
        code: String,
        /// What happened and what to do.
        detail: String,
    },
    /// Everything else.
    #[error(transparent)]
    Other(#[from] Failure),
}

fn no_datacenter(dc_id: i32, is_own: bool) -> String {
    let why = match is_own {
        true => "telegram.servers does not name it; add it there, or check what was sent",
        false => {
            "telegram has 1 to 5; a session string that names another one was not copied whole"
        }
    };
    format!("there is no datacenter {dc_id}: {why}")
}

/// Error names that only logins meet, and what they mean there.
const NAMES: &[(&str, LoginFailure)] = &[
    ("PHONE_NUMBER_INVALID", LoginFailure::PhoneInvalid),
    ("PHONE_NUMBER_APP_SIGNUP_FORBIDDEN", LoginFailure::NotRegistered),
    ("PHONE_NUMBER_UNOCCUPIED", LoginFailure::NotRegistered),
    ("PHONE_NUMBER_BANNED", LoginFailure::PhoneBanned),
    ("PHONE_CODE_INVALID", LoginFailure::CodeInvalid),
    ("PHONE_CODE_EMPTY", LoginFailure::CodeInvalid),
    ("EMAIL_VERIFICATION_EXPIRED", LoginFailure::CodeExpired),
    ("EMAIL_TOKEN_INVALID", LoginFailure::CodeInvalid),
    ("CODE_INVALID", LoginFailure::CodeInvalid),
    ("CODE_EMPTY", LoginFailure::CodeInvalid),
    ("PASSWORD_RECOVERY_NA", LoginFailure::NoRecoveryMail),
    ("PASSWORD_RECOVERY_EXPIRED", LoginFailure::RecoveryExpired),
    ("PASSWORD_EMPTY", LoginFailure::PasswordGone),
    ("PHONE_CODE_EXPIRED", LoginFailure::CodeExpired),
    ("PHONE_CODE_HASH_EMPTY", LoginFailure::CodeExpired),
    ("PHONE_CODE_HASH_INVALID", LoginFailure::CodeExpired),
    ("SESSION_PASSWORD_NEEDED", LoginFailure::PasswordNeeded),
    ("PASSWORD_HASH_INVALID", LoginFailure::PasswordInvalid),
    ("ACCESS_TOKEN_INVALID", LoginFailure::TokenInvalid),
    ("ACCESS_TOKEN_EXPIRED", LoginFailure::TokenInvalid),
    ("AUTH_TOKEN_EXPIRED", LoginFailure::QrExpired),
    ("AUTH_TOKEN_INVALID", LoginFailure::QrExpired),
    ("AUTH_TOKEN_ALREADY_ACCEPTED", LoginFailure::QrExpired),
];

const APPLICATION: &[&str] = &["API_ID_INVALID", "API_ID_PUBLISHED_FLOOD"];

/// All ways to send a code have been used.
const NO_OTHER_WAY: &str = "SEND_CODE_UNAVAILABLE";

const TOO_MANY: &[&str] =
    &["PHONE_NUMBER_FLOOD", "PHONE_PASSWORD_FLOOD", NO_OTHER_WAY, "SMS_CODE_CREATE_FAILED"];

/// Names that mean that the same step, done again, may succeed.
const AGAIN: &[&str] = &["SRP_ID_INVALID", "SRP_PASSWORD_CHANGED", "AUTH_RESTART"];

impl LoginFailure {
    /// Sorts what a call of a login answered.
    pub fn sort(failure: Failure) -> Self {
        let code = match &failure {
            Failure::Wait { code, seconds, .. } => {
                return Self::Wait { code: code.clone(), seconds: *seconds };
            }
            Failure::Dead { code } | Failure::Rejected { code } => code,
            _ => return Self::Other(failure),
        };
        if let Some((_, known)) = NAMES.iter().find(|(name, _)| name == code) {
            return known.clone();
        }
        let owned = code.clone();
        match &failure {
            _ if APPLICATION.contains(&code.as_str()) => Self::ApplicationInvalid { code: owned },
            _ if TOO_MANY.contains(&code.as_str()) => Self::TooManyAttempts { code: owned },
            _ if AGAIN.contains(&code.as_str()) => Self::Other(Failure::transient(format!(
                "telegram asks to send this again ({owned})"
            ))),
            Failure::Dead { .. } => Self::SessionEnded { code: owned },
            _ => Self::Other(failure),
        }
    }

    /// The same of a code that was asked for once more: there Telegram says that nothing is left by a name
    /// that elsewhere tells of a limit (<https://core.telegram.org/method/auth.resendCode>).
    #[must_use]
    pub fn of_resend(self) -> Self {
        match self {
            Self::TooManyAttempts { code } if code == NO_OTHER_WAY => Self::NoOtherWay,
            failure => failure,
        }
    }

    /// The stable code for logs and answers: Telegram's name, or one like it.
    pub fn code(&self) -> &str {
        match self {
            Self::PhoneInvalid => "PHONE_NUMBER_INVALID",
            Self::PhoneBanned => "PHONE_NUMBER_BANNED",
            Self::NotRegistered => "PHONE_NUMBER_UNOCCUPIED",
            Self::CodeInvalid => "PHONE_CODE_INVALID",
            Self::CodeExpired => "PHONE_CODE_EXPIRED",
            Self::NoOtherWay => NO_OTHER_WAY,
            Self::NoRecoveryMail => "PASSWORD_RECOVERY_NA",
            Self::RecoveryExpired => "PASSWORD_RECOVERY_EXPIRED",
            Self::PasswordGone => "PASSWORD_EMPTY",
            Self::PasswordNeeded => "SESSION_PASSWORD_NEEDED",
            Self::PasswordInvalid => "PASSWORD_HASH_INVALID",
            Self::TokenInvalid => "ACCESS_TOKEN_INVALID",
            Self::QrExpired => "AUTH_TOKEN_EXPIRED",
            Self::EmailNeeded => "EMAIL_SETUP_REQUIRED",
            Self::PaymentNeeded => "PAYMENT_REQUIRED",
            Self::NoDatacenter { .. } => "DC_UNKNOWN",
            Self::ApplicationInvalid { code }
            | Self::Wait { code, .. }
            | Self::TooManyAttempts { code }
            | Self::NoKey { code, .. }
            | Self::SessionEnded { code } => code,
            Self::Other(failure) => failure.code(),
        }
    }

    /// Whether the login is over: no further step with this key can succeed.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::PhoneBanned
                | Self::NotRegistered
                | Self::CodeExpired
                | Self::PasswordGone
                | Self::NoDatacenter { .. }
                | Self::SessionEnded { .. }
                | Self::Other(Failure::Dead { .. })
        )
    }
}

/// What is shown of a phone number: the beginning and two digits at the end, at least four hidden,
/// such as `+7999•••••12`.
pub fn mask_phone(phone: &str) -> String {
    const HIDDEN: char = '•';
    let digits: Vec<char> = phone.chars().filter(char::is_ascii_digit).collect();
    let count = digits.len();
    let (head, tail) = match count {
        0..6 => (0, 0),
        6..8 => (0, 2),
        _ => ((count - 6).min(4), 2),
    };
    let shown = |index: usize| index < head || index >= count - tail;
    let mask = |(index, digit): (usize, &char)| if shown(index) { *digit } else { HIDDEN };
    std::iter::once('+').chain(digits.iter().enumerate().map(mask)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(code: i32, name: &str, value: Option<u32>) -> LoginFailure {
        LoginFailure::sort(Failure::from_rpc(code, name, value))
    }

    #[test]
    fn every_login_error_is_in_its_place_and_keeps_its_code() {
        for (name, expected) in NAMES {
            assert_eq!(sorted(400, name, None), *expected, "{name}");
        }
        assert_eq!(sorted(401, "SESSION_PASSWORD_NEEDED", None), LoginFailure::PasswordNeeded);
        assert_eq!(sorted(406, "PHONE_PASSWORD_FLOOD", None).code(), "PHONE_PASSWORD_FLOOD");
        let wait = LoginFailure::Wait { code: "FLOOD_WAIT".into(), seconds: 31 };
        assert_eq!(sorted(420, "FLOOD_WAIT", Some(31)), wait);
        for name in ["AUTH_KEY_UNREGISTERED", "SESSION_REVOKED", "USER_DEACTIVATED"] {
            let ended = LoginFailure::SessionEnded { code: name.into() };
            assert!(ended.is_final());
            assert_eq!(sorted(401, name, None), ended, "{name}");
        }
        for name in APPLICATION {
            assert_eq!(sorted(400, name, None).code(), *name);
        }
        for name in AGAIN {
            let again = sorted(400, name, None);
            assert!(matches!(again, LoginFailure::Other(Failure::Transient { .. })), "{name}");
        }
        let unavailable = sorted(406, NO_OTHER_WAY, None);
        assert_eq!(unavailable.code(), NO_OTHER_WAY);
        assert!(matches!(unavailable, LoginFailure::TooManyAttempts { .. }));
        assert_eq!(unavailable.of_resend(), LoginFailure::NoOtherWay);
        let flood = sorted(406, "PHONE_PASSWORD_FLOOD", None);
        assert_eq!(flood.clone().of_resend(), flood);
        assert!(
            !LoginFailure::RecoveryExpired.is_final() && !LoginFailure::NoRecoveryMail.is_final()
        );
        let migrate = LoginFailure::Other(Failure::Migrate { dc_id: 4 });
        assert_eq!(sorted(303, "PHONE_MIGRATE", Some(4)), migrate);
        assert_eq!(sorted(400, "SOMETHING_NEW", None).code(), "SOMETHING_NEW");
    }

    #[test]
    fn most_of_a_phone_number_is_hidden() {
        for (phone, shown) in [
            ("+79991234512", "+7999•••••12"),
            ("79991234512", "+7999•••••12"),
            ("+1 (415) 555-0132", "+1415•••••32"),
            ("+99966123", "+99••••23"),
            ("+290 123 4", "+•••••34"),
            ("12345", "+•••••"),
            ("", "+"),
        ] {
            assert_eq!(mask_phone(phone), shown, "{phone}");
        }
    }

    proptest! {
        #[test]
        fn at_least_four_digits_are_hidden(phone in "\\+?[0-9 ]{0,20}") {
            let digits = phone.chars().filter(char::is_ascii_digit).count();
            let hidden = mask_phone(&phone).chars().filter(|c| *c == '•').count();
            prop_assert!(hidden >= digits.min(4), "{}", mask_phone(&phone));
        }
    }
}
