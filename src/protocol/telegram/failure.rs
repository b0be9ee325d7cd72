//! Error classes: what a failed call means and what follows from it. One table decides, so that
//! no other code compares error names.

use std::fmt;

use serde::Serialize;

use super::freeze::ONE_CHAT;

/// What a failed call to Telegram means. The class carries the decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Telegram asks to wait; the work goes back to its queue, unattempted.
    #[error("telegram asks to wait {seconds} s ({code})")]
    Wait {
        /// Error name without its number.
        code: String,
        /// How long, in seconds.
        seconds: u32,
        /// What has to wait.
        scope: WaitScope,
    },
    /// The account was reported for unwanted contact; it rests from everything it initiates.
    #[error("telegram limits this account (PEER_FLOOD)")]
    Limited,
    /// Telegram has frozen the account: calls of that kind are refused until its owner has appealed
    /// (<https://core.telegram.org/api/auth#frozen-accounts>).
    #[error(
        "telegram has frozen this account ({code}): it may read at most, until its owner appeals in \
         an official app"
    )]
    Frozen {
        /// Error name.
        code: String,
    },
    /// The session is over for good; it is never dialled again.
    #[error("telegram ended this session ({code})")]
    Dead {
        /// Error name.
        code: String,
    },
    /// The account was removed here: Telegram has nothing to do with it.
    #[error(
        "the account was removed from this daemon; connect it again, or have another account do it"
    )]
    Removed,
    /// This account cannot use that chat.
    #[error("the chat is out of this account's reach: {} ({code})", out_of_reach(code))]
    ChatLost {
        /// Error name.
        code: String,
    },
    /// That target refuses; no account retries it.
    #[error("the target cannot be reached: {} ({code})", out_of_bounds(code))]
    TargetRefused {
        /// Error name.
        code: String,
    },
    /// What was asked for is already so.
    #[error("already done ({code})")]
    AlreadyDone {
        /// Error name.
        code: String,
    },
    /// The account or file lives in another datacenter.
    #[error("the account belongs to datacenter {dc_id}")]
    Migrate {
        /// Where it lives.
        dc_id: i32,
    },
    /// Something came that cannot be read: it is of a newer layer than ours, or beyond the bounds
    /// within which anything is read. Asking for the same again brings the same.
    #[error("{detail}")]
    Unreadable {
        /// What came, free of anything that was said in it.
        detail: String,
    },
    /// Worth another try after a pause.
    #[error("{detail}")]
    Transient {
        /// What happened, free of secrets.
        detail: String,
    },
    /// A bug or bad input: reported, never retried.
    #[error("telegram rejects the call ({code})")]
    Rejected {
        /// Error name.
        code: String,
    },
}

/// The code of [`Failure::Removed`].
const REMOVED: &str = "ACCOUNT_REMOVED";

/// How Telegram says that it limits an account; also the code of a [`Failure::Wait`] for the rest that
/// the account keeps after it.
pub const PEER_FLOOD: &str = "PEER_FLOOD";

/// Ours for a name or number that leads to a group or channel where a person is wanted.
pub const NOT_A_PERSON: &str = "NOT_A_PERSON";
/// Ours for an answer without the person in it: nothing is known of them, and a later look may tell.
pub const EMPTY_ANSWER: &str = "EMPTY_ANSWER";

/// What a [`Failure::Wait`] covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitScope {
    /// The method class on that account.
    MethodClass,
    /// That chat (slow mode).
    Chat,
}

/// Names that end a session for good, with the reason that monitors report.
const DEAD: &[(&str, LostReason)] = &[
    ("AUTH_KEY_UNREGISTERED", LostReason::AuthKeyUnregistered),
    ("AUTH_KEY_INVALID", LostReason::AuthKeyUnregistered),
    ("AUTH_KEY_PERM_EMPTY", LostReason::AuthKeyUnregistered),
    ("AUTH_KEY_DUPLICATED", LostReason::AuthKeyDuplicated),
    ("SESSION_REVOKED", LostReason::SessionRevoked),
    ("SESSION_EXPIRED", LostReason::SessionExpired),
    ("USER_DEACTIVATED", LostReason::UserDeactivated),
    ("USER_DEACTIVATED_BAN", LostReason::UserDeactivated),
    ("PHONE_NUMBER_BANNED", LostReason::UserDeactivated),
    ("INPUT_USER_DEACTIVATED_SELF", LostReason::UserDeactivated),
];

/// Names that mean one chat is out of one account's reach.
const CHAT_LOST: &[(&str, LostReason)] = &[
    ("CHANNEL_PRIVATE", LostReason::ChatPrivate),
    ("CHANNEL_INVALID", LostReason::ChatNotFound),
    ("CHANNEL_PUBLIC_GROUP_NA", LostReason::ChatPrivate),
    ("CHAT_FORBIDDEN", LostReason::Kicked),
    ("CHAT_ID_INVALID", LostReason::ChatNotFound),
    ("CHAT_INVALID", LostReason::ChatNotFound),
    ("USER_BANNED_IN_CHANNEL", LostReason::BannedInChat),
    ("CHAT_ADMIN_REQUIRED", LostReason::ChatPrivate),
    ("CHAT_WRITE_FORBIDDEN", LostReason::ChatPrivate),
    ("CHAT_SEND_PLAIN_FORBIDDEN", LostReason::ChatPrivate),
    ("CHAT_GUEST_SEND_FORBIDDEN", LostReason::NotAMember),
    ("CHAT_RESTRICTED", LostReason::ChatPrivate),
    ("TOPIC_CLOSED", LostReason::ChatPrivate),
    ("TOPIC_DELETED", LostReason::ChatNotFound),
    ("PEER_ID_INVALID", LostReason::ChatNotFound),
    ("USER_NOT_PARTICIPANT", LostReason::NotAMember),
    ("INVITE_HASH_EXPIRED", LostReason::ChatNotFound),
    ("INVITE_HASH_INVALID", LostReason::ChatNotFound),
    ("INVITE_HASH_EMPTY", LostReason::ChatNotFound),
    ("CHANNELS_TOO_MUCH", LostReason::NotAMember),
];

/// Names that are permanent for the target of a call. The first two also answer who looks for a
/// chat by its username.
const TARGET_REFUSED: &[&str] = &[
    "USERNAME_NOT_OCCUPIED",
    "USERNAME_INVALID",
    "USER_PRIVACY_RESTRICTED",
    "USER_NOT_MUTUAL_CONTACT",
    "USER_CHANNELS_TOO_MUCH",
    "USER_KICKED",
    "USER_BOT",
    "USER_BLOCKED",
    "USER_IS_BLOCKED",
    "INPUT_USER_DEACTIVATED",
    "USER_ID_INVALID",
    "PHONE_NOT_OCCUPIED",
    "BOTS_TOO_MUCH",
    "USERS_TOO_MUCH",
    "ALLOW_PAYMENT_REQUIRED",
    "USER_RESTRICTED",
    "YOU_BLOCKED_USER",
    "PRIVACY_PREMIUM_REQUIRED",
    "USER_IS_BOT",
    "USER_INVALID",
    "PEER_ID_NOT_SUPPORTED",
    "BOT_GROUPS_BLOCKED",
    "CHAT_MEMBER_ADD_FAILED",
    "CONTACT_ID_INVALID",
    "PARTICIPANT_ID_INVALID",
    NOT_A_PERSON,
    EMPTY_ANSWER,
];

const ALREADY_DONE: &[&str] =
    &["USER_ALREADY_PARTICIPANT", "RANDOM_ID_DUPLICATE", "INVITE_REQUEST_SENT"];

const WAITS: &[(&str, WaitScope)] = &[
    ("FLOOD_WAIT", WaitScope::MethodClass),
    ("FLOOD_PREMIUM_WAIT", WaitScope::MethodClass),
    ("TAKEOUT_INIT_DELAY", WaitScope::MethodClass),
    ("FLOOD_TEST_PHONE_WAIT", WaitScope::MethodClass),
    ("SLOWMODE_WAIT", WaitScope::Chat),
];

const TRANSIENT: &[&str] = &[
    "RPC_CALL_FAIL",
    "RPC_MCGET_FAIL",
    "PERSISTENT_TIMESTAMP_OUTDATED",
    "TIMEOUT",
    "TIMEDOUT",
    "INTERDC_CALL_ERROR",
    "INTERDC_CALL_RICH_ERROR",
    "WORKER_BUSY_TOO_LONG_RETRY",
    "MSG_WAIT_FAILED",
    "AUTH_RESTART",
];

/// How all names begin by which Telegram refuses what a frozen account asks for.
const FROZEN: &str = "FROZEN_";

/// The code of what cannot be read.
const UNREADABLE: &str = "UNREADABLE";

impl Failure {
    /// Sorts `rpc_error(code, name)` into its class. `value` is the number that was part of the
    /// name (`FLOOD_WAIT_31` → `FLOOD_WAIT`, 31), as grammers splits it.
    pub fn from_rpc(code: i32, name: &str, value: Option<u32>) -> Self {
        let owned = || name.to_owned();
        // What has no number names no time: it is no wait.
        if let (Some((_, scope)), Some(seconds)) =
            (WAITS.iter().find(|(known, _)| *known == name), value)
        {
            return Self::Wait { code: owned(), seconds, scope: *scope };
        }
        // With 420, 400 or 406, as Telegram likes.
        if is_frozen(name) {
            return Self::Frozen { code: owned() };
        }
        if name == PEER_FLOOD {
            return Self::Limited;
        }
        if DEAD.iter().any(|(known, _)| *known == name) {
            return Self::Dead { code: owned() };
        }
        if CHAT_LOST.iter().any(|(known, _)| *known == name) {
            return Self::ChatLost { code: owned() };
        }
        if TARGET_REFUSED.contains(&name) {
            return Self::TargetRefused { code: owned() };
        }
        if ALREADY_DONE.contains(&name) {
            return Self::AlreadyDone { code: owned() };
        }
        if let (Some(dc), true) = (value, name.ends_with("_MIGRATE")) {
            return Self::Migrate { dc_id: i32::try_from(dc).unwrap_or(i32::MAX) };
        }
        if TRANSIENT.iter().any(|known| name.eq_ignore_ascii_case(known)) || code.abs() >= 500 {
            return Self::Transient { detail: format!("telegram answers {code} {name}") };
        }
        // A 420 that is new to us still asks for patience, if it says for how long.
        if let (420, Some(seconds)) = (code, value) {
            return Self::Wait { code: owned(), seconds, scope: WaitScope::MethodClass };
        }
        // So does a 401 that is new to us say that the session is not usable; the two exceptions
        // speak of a login in progress.
        if code == 401 && !matches!(name, "SESSION_PASSWORD_NEEDED" | "PASSWORD_HASH_INVALID") {
            return Self::Dead { code: owned() };
        }
        Self::Rejected { code: owned() }
    }

    /// A failure worth another try.
    pub fn transient(detail: impl Into<String>) -> Self {
        Self::Transient { detail: detail.into() }
    }

    /// Something that cannot be read.
    pub fn unreadable(detail: impl Into<String>) -> Self {
        Self::Unreadable { detail: detail.into() }
    }

    /// The stable code for logs, answers and the `error` of an account.
    pub fn code(&self) -> &str {
        match self {
            Self::Wait { code, .. }
            | Self::Frozen { code }
            | Self::Dead { code }
            | Self::ChatLost { code }
            | Self::TargetRefused { code }
            | Self::AlreadyDone { code }
            | Self::Rejected { code } => code,
            Self::Limited => PEER_FLOOD,
            Self::Removed => REMOVED,
            Self::Migrate { .. } => "MIGRATE",
            Self::Unreadable { .. } => UNREADABLE,
            Self::Transient { .. } => "CONNECTION_FAILED",
        }
    }

    /// How a monitor that met this failure while opening or watching its chat reports it, and
    /// whether the session is of no more use for that chat. `None`: no access was lost.
    pub fn access_lost(&self) -> Option<(LostReason, Permanence)> {
        match self {
            // The account, not the session or the network, is what Telegram restricts. It may come
            // back; but a chat that it is not in it cannot join.
            Self::Frozen { code } if code == ONE_CHAT => {
                Some((LostReason::NotAMember, Permanence::Chat))
            }
            Self::Frozen { .. } => Some((LostReason::UserDeactivated, Permanence::Transient)),
            Self::Dead { code } => Some((dead_reason(code), Permanence::Account)),
            // Who owns the account withdrew the session. The backend's list of reasons has no other.
            Self::Removed => Some((LostReason::SessionRevoked, Permanence::Account)),
            Self::ChatLost { code } => Some((chat_reason(code), Permanence::Chat)),
            Self::TargetRefused { .. } | Self::Rejected { .. } => {
                Some((LostReason::ChatNotFound, Permanence::Chat))
            }
            Self::Migrate { .. } | Self::Unreadable { .. } | Self::Transient { .. } => {
                Some((LostReason::ConnectionFailed, Permanence::Transient))
            }
            Self::Wait { .. } | Self::Limited | Self::AlreadyDone { .. } => None,
        }
    }
}

/// How lasting a loss of access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permanence {
    /// The session may work again: it goes to the back of the pool.
    Transient,
    /// The session is of no use for this chat: it leaves the pool.
    Chat,
    /// The account is gone: every session id that stands for it leaves the pool.
    Account,
}

/// Whether this name means that a session is over for good.
pub fn is_dead(code: &str) -> bool {
    lookup(DEAD, code).is_some()
}

/// Whether this name means that Telegram has frozen the account.
pub fn is_frozen(code: &str) -> bool {
    code.starts_with(FROZEN)
}

/// Whether this name means that Telegram asks to wait.
pub fn is_wait(code: &str) -> bool {
    WAITS.iter().any(|(name, _)| *name == code)
}

/// The reason that monitors report for an account's error code.
pub fn dead_reason(code: &str) -> LostReason {
    lookup(DEAD, code).unwrap_or(LostReason::AuthKeyUnregistered)
}

fn chat_reason(code: &str) -> LostReason {
    lookup(CHAT_LOST, code).unwrap_or(LostReason::ChatNotFound)
}

fn lookup(table: &[(&str, LostReason)], code: &str) -> Option<LostReason> {
    table.iter().find(|(known, _)| *known == code).map(|(_, reason)| *reason)
}

/// Why a session no longer sees a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LostReason {
    /// The key is unknown to Telegram.
    AuthKeyUnregistered,
    /// The key was connected twice.
    AuthKeyDuplicated,
    /// The session was ended by its owner.
    SessionRevoked,
    /// The session ran out.
    SessionExpired,
    /// The user was deleted or banned.
    UserDeactivated,
    /// The account is banned in the chat.
    BannedInChat,
    /// The chat is not open to the account.
    ChatPrivate,
    /// There is no such chat for the account.
    ChatNotFound,
    /// The account is not in the chat.
    NotAMember,
    /// The account was removed from the chat.
    Kicked,
    /// Telegram cannot be reached with the session.
    ConnectionFailed,
    /// No session is left.
    NoBackupLeft,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As it is written in the event.
        self.serialize(f)
    }
}

/// What is said of a chat or a target whose error's name is new to us.
const UNEXPLAINED: &str = "telegram's name for it says why";

/// Why a chat is out of reach, in plain words with the cure where there is one.
fn out_of_reach(code: &str) -> &'static str {
    match code {
        "CHANNEL_PRIVATE" | "CHANNEL_PUBLIC_GROUP_NA" | "USER_NOT_PARTICIPANT" => {
            "the account is not in it, or no longer; have it join"
        }
        "CHAT_GUEST_SEND_FORBIDDEN" => "only members may write there; have the account join",
        "CHAT_FORBIDDEN" | "USER_BANNED_IN_CHANNEL" => {
            "the account was removed or banned there; its admins can let it in again"
        }
        "CHANNEL_INVALID" | "CHAT_ID_INVALID" | "CHAT_INVALID" | "PEER_ID_INVALID" => {
            "the account knows no such chat or person; name it by username or link, or let the \
             account meet it first"
        }
        "CHAT_ADMIN_REQUIRED" => "only admins may do this there; have the account made one",
        "CHAT_WRITE_FORBIDDEN" | "CHAT_SEND_PLAIN_FORBIDDEN" | "CHAT_RESTRICTED" => {
            "the account may not write there; its admins decide that"
        }
        "TOPIC_CLOSED" => "this topic is closed; its admins can open it",
        "TOPIC_DELETED" => "this topic was deleted",
        "INVITE_HASH_EXPIRED" | "INVITE_HASH_INVALID" | "INVITE_HASH_EMPTY" => {
            "the invite link is not valid; ask for a new one"
        }
        "CHANNELS_TOO_MUCH" => {
            "the account is in as many groups and channels as telegram allows; have it leave some"
        }
        _ => UNEXPLAINED,
    }
}

/// Why a target cannot be reached, in plain words with the cure where there is one.
fn out_of_bounds(code: &str) -> &'static str {
    match code {
        "USERNAME_NOT_OCCUPIED" | "USERNAME_INVALID" => {
            "nobody has this name; look whether it is spelled right"
        }
        "PHONE_NOT_OCCUPIED" => "nobody can be found by this phone, or that person hides it",
        "USER_ID_INVALID"
        | "USER_INVALID"
        | "PEER_ID_NOT_SUPPORTED"
        | "CONTACT_ID_INVALID"
        | "PARTICIPANT_ID_INVALID" => {
            "the account knows nobody by this id; name the person by username, or let the account \
             meet them first"
        }
        "INPUT_USER_DEACTIVATED" => "that person's account was deleted",
        "USER_IS_BLOCKED" => "that person has blocked this account",
        "YOU_BLOCKED_USER" | "USER_BLOCKED" => "that person is blocked; unblock them first",
        "USER_PRIVACY_RESTRICTED" | "PRIVACY_PREMIUM_REQUIRED" | "ALLOW_PAYMENT_REQUIRED" => {
            "that person's privacy settings do not let this account"
        }
        "USER_RESTRICTED" => "telegram has restricted this account or that person",
        "USER_NOT_MUTUAL_CONTACT" => "only people who have each other as contacts may do this",
        "USER_CHANNELS_TOO_MUCH" => {
            "that person is in as many groups and channels as telegram allows"
        }
        "USER_KICKED" => "that person was removed there; its admins can let them in again",
        "USER_BOT" | "USER_IS_BOT" => "that is a bot, with which this cannot be done",
        "BOT_GROUPS_BLOCKED" => "that bot may not be added to groups; whoever owns it decides that",
        "CHAT_MEMBER_ADD_FAILED" => {
            "telegram could not add that person and does not say why; look whether they are in the chat"
        }
        NOT_A_PERSON => "that is a group or channel; name a person",
        EMPTY_ANSWER => "telegram says nothing of that person; look again later",
        "BOTS_TOO_MUCH" => "the chat has as many bots as telegram allows",
        "USERS_TOO_MUCH" => "the chat is full",
        _ => UNEXPLAINED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The class that each name of the specification belongs to, by the code it comes with.
    const NAMES: &[(&str, i32, &[&str])] = &[
        ("limited", 400, &["PEER_FLOOD"]),
        ("frozen", 420, &["FROZEN_METHOD_INVALID"]),
        ("frozen", 400, &["FROZEN_PARTICIPANT_MISSING"]),
        ("frozen", 406, &["FROZEN_METHOD_INVALID"]),
        // A 420 without a number is no wait (`ADDRESS_INVALID` is about a point on the map).
        ("ours", 420, &["ADDRESS_INVALID", "SOMETHING_NEW", "FLOOD_WAIT", "SLOWMODE_WAIT"]),
        (
            "dead",
            401,
            &[
                "AUTH_KEY_UNREGISTERED",
                "AUTH_KEY_DUPLICATED",
                "AUTH_KEY_INVALID",
                "SESSION_REVOKED",
                "SESSION_EXPIRED",
                "USER_DEACTIVATED",
                "USER_DEACTIVATED_BAN",
                "PHONE_NUMBER_BANNED",
            ],
        ),
        (
            "chat",
            400,
            &[
                "CHANNEL_PRIVATE",
                "CHANNEL_INVALID",
                "CHAT_FORBIDDEN",
                "USER_BANNED_IN_CHANNEL",
                "CHAT_ADMIN_REQUIRED",
                "CHAT_WRITE_FORBIDDEN",
                "PEER_ID_INVALID",
            ],
        ),
        (
            "target",
            403,
            &[
                "USER_PRIVACY_RESTRICTED",
                "USER_NOT_MUTUAL_CONTACT",
                "USER_CHANNELS_TOO_MUCH",
                "USER_KICKED",
                "USER_BOT",
                "USER_BLOCKED",
                "USER_IS_BLOCKED",
                "INPUT_USER_DEACTIVATED",
                "USERNAME_NOT_OCCUPIED",
                "USERNAME_INVALID",
                "USER_ID_INVALID",
                "PHONE_NOT_OCCUPIED",
                "BOTS_TOO_MUCH",
                "USERS_TOO_MUCH",
                "ALLOW_PAYMENT_REQUIRED",
            ],
        ),
        ("done", 400, &["USER_ALREADY_PARTICIPANT", "RANDOM_ID_DUPLICATE", "INVITE_REQUEST_SENT"]),
        ("chat", 403, &["CHAT_SEND_PLAIN_FORBIDDEN", "CHAT_GUEST_SEND_FORBIDDEN"]),
        ("chat", 400, &["CHAT_RESTRICTED", "TOPIC_CLOSED", "TOPIC_DELETED"]),
        ("target", 406, &["PRIVACY_PREMIUM_REQUIRED"]),
        ("target", 400, &["BOT_GROUPS_BLOCKED", "CHAT_MEMBER_ADD_FAILED", "CONTACT_ID_INVALID"]),
        ("target", 400, &["PARTICIPANT_ID_INVALID", NOT_A_PERSON, EMPTY_ANSWER]),
        ("ours", 400, &["MESSAGE_TOO_LONG", "CONTACT_NAME_EMPTY"]),
        ("target", 400, &["USER_IS_BOT", "YOU_BLOCKED_USER", "USER_RESTRICTED"]),
        ("transient", 400, &["RPC_CALL_FAIL", "Timedout", "PERSISTENT_TIMESTAMP_OUTDATED"]),
        ("transient", 500, &["AUTH_RESTART"]),
        ("done", 500, &["RANDOM_ID_DUPLICATE"]),
        ("transient", 500, &["ANYTHING_AT_ALL"]),
        ("transient", -503, &["Timeout"]),
        ("ours", 400, &["MESSAGE_EMPTY", "INPUT_METHOD_INVALID"]),
        // What a login makes of these is in `protocol/logins/steps.rs`.
        (
            "ours",
            400,
            &[
                "PHONE_NUMBER_INVALID",
                "PHONE_NUMBER_UNOCCUPIED",
                "PHONE_CODE_INVALID",
                "PHONE_CODE_EXPIRED",
                "PASSWORD_HASH_INVALID",
                "SRP_ID_INVALID",
                "ACCESS_TOKEN_INVALID",
                "ACCESS_TOKEN_EXPIRED",
                "AUTH_TOKEN_EXPIRED",
                "AUTH_TOKEN_INVALID",
                "API_ID_INVALID",
            ],
        ),
        ("ours", 401, &["SESSION_PASSWORD_NEEDED", "PASSWORD_HASH_INVALID"]),
        ("ours", 406, &["PHONE_NUMBER_FLOOD", "PHONE_PASSWORD_FLOOD"]),
    ];

    fn class(code: i32, name: &str, value: Option<u32>) -> &'static str {
        match Failure::from_rpc(code, name, value) {
            Failure::Wait { .. } => "wait",
            Failure::Limited => "limited",
            Failure::Frozen { .. } => "frozen",
            Failure::Removed => "removed",
            Failure::Dead { .. } => "dead",
            Failure::ChatLost { .. } => "chat",
            Failure::TargetRefused { .. } => "target",
            Failure::AlreadyDone { .. } => "done",
            Failure::Migrate { .. } => "migrate",
            Failure::Unreadable { .. } => "unreadable",
            Failure::Transient { .. } => "transient",
            Failure::Rejected { .. } => "ours",
        }
    }

    #[test]
    fn every_refusal_that_is_known_has_plain_words() {
        for (code, _) in CHAT_LOST {
            assert_ne!(out_of_reach(code), UNEXPLAINED, "{code}");
        }
        for code in TARGET_REFUSED {
            assert_ne!(out_of_bounds(code), UNEXPLAINED, "{code}");
        }
        let lost = Failure::from_rpc(400, "INVITE_HASH_EXPIRED", None).to_string();
        assert!(lost.contains("ask for a new one (INVITE_HASH_EXPIRED)"), "{lost}");
    }

    #[test]
    fn every_name_of_the_specification_is_in_its_class() {
        for (expected, code, names) in NAMES {
            for name in *names {
                assert_eq!(class(*code, name, None), *expected, "{name}");
            }
        }
        for name in ["FLOOD_WAIT", "FLOOD_PREMIUM_WAIT", "SLOWMODE_WAIT", "TAKEOUT_INIT_DELAY"] {
            assert_eq!(class(420, name, Some(7)), "wait", "{name}");
        }
        for name in ["PHONE_MIGRATE", "NETWORK_MIGRATE", "USER_MIGRATE", "FILE_MIGRATE"] {
            assert_eq!(class(303, name, Some(4)), "migrate", "{name}");
        }
    }

    #[test]
    fn slow_mode_holds_its_chat_and_every_other_wait_its_method_class() {
        for (name, expected) in WAITS {
            let Failure::Wait { scope, seconds, .. } = Failure::from_rpc(420, name, Some(7)) else {
                panic!("{name} is no wait");
            };
            assert_eq!((scope, seconds), (*expected, 7), "{name}");
            assert_eq!(scope == WaitScope::Chat, *name == "SLOWMODE_WAIT");
        }
    }

    #[test]
    fn an_unknown_wait_or_login_error_is_taken_seriously() {
        assert_eq!(class(420, "SOMETHING_NEW", Some(3)), "wait");
        assert_eq!(class(401, "SOMETHING_NEW", None), "dead");
        assert_eq!(class(401, "SESSION_PASSWORD_NEEDED", None), "ours");
    }

    #[test]
    fn a_removed_account_is_no_word_of_telegrams() {
        let removed = Failure::Removed;
        let lost = (LostReason::SessionRevoked, Permanence::Account);
        assert_eq!(removed.access_lost(), Some(lost));
        assert_eq!(removed.code(), "ACCOUNT_REMOVED");
        assert!(!removed.to_string().contains("telegram"), "{removed}");
        assert!(!is_dead(removed.code()) && !is_wait(removed.code()));
    }

    #[test]
    fn a_dead_account_tells_its_monitors_why() {
        for (code, reason) in DEAD {
            let failure = Failure::from_rpc(401, code, None);
            assert_eq!(failure.access_lost(), Some((*reason, Permanence::Account)), "{code}");
        }
    }
}
