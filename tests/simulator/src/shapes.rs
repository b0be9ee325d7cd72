//! The shapes of the control API: what is asked for, and what is answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::entities::StoredEntity;

/// Why the control API refused something.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ApiError {
    /// No such account or chat.
    #[error("there is no {0}")]
    NotFound(String),
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    Invalid(String),
}

/// An account to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewAccount {
    /// With or without the plus; made up if absent.
    pub phone: Option<String>,
    /// Made up if absent.
    pub first_name: Option<String>,
    /// Without the at sign.
    pub username: Option<String>,
    /// Password of two-factor authentication.
    pub password: Option<String>,
    /// What the account is reminded of its password by.
    pub password_hint: Option<String>,
    /// Where a code goes if the password is forgotten.
    pub recovery_email: Option<String>,
    /// Whether it has Telegram Premium.
    pub premium: bool,
    /// A bot has a token instead of a phone.
    pub bot: bool,
    /// Whether the account comes with a usable session string.
    pub logged_in: bool,
    /// The datacenter it lives at; 2, if absent. It must have an address of its own.
    pub dc: Option<i32>,
}

impl Default for NewAccount {
    fn default() -> Self {
        Self {
            phone: None,
            first_name: None,
            username: None,
            password: None,
            password_hint: None,
            recovery_email: None,
            premium: false,
            bot: false,
            logged_in: true,
            dc: None,
        }
    }
}

/// A password of two-factor authentication; none at all switches it off.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewPassword {
    /// What must be known.
    pub password: Option<String>,
    /// What reminds of it.
    pub hint: Option<String>,
}

/// The last code that went to an account's recovery mail, used or not.
#[derive(Clone, Serialize, Deserialize)]
pub struct MailedCode {
    /// Where it went.
    pub email: String,
    /// Six digits.
    pub code: String,
}

/// An account that was made.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    /// Telegram's id.
    pub user_id: i64,
    /// Empty for bots.
    pub phone: String,
    /// In Telethon's form, with the listen address; absent for accounts that are not logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_string: Option<String>,
    /// What the application identifies itself with; the simulator accepts any.
    pub api_hash: String,
    /// Only bots have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bot_token: Option<String>,
}

/// Which kind of chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatKind {
    /// A group whose messages are numbered for everybody.
    Supergroup,
    /// Only admins write.
    Channel,
    /// A basic group, in which each member has copies of their own.
    Group,
}

/// A chat to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewChat {
    /// Which kind.
    pub kind: ChatKind,
    /// Its name.
    pub title: String,
    /// Makes it public.
    #[serde(default)]
    pub username: Option<String>,
    /// Joined at creation, without a message about it.
    #[serde(default)]
    pub members: Vec<i64>,
    /// Joined as admins at creation.
    #[serde(default)]
    pub admins: Vec<i64>,
}

/// What is allowed in a chat. What is absent stays as it is; at first everything is allowed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatRules {
    /// Seconds between two messages of one member, in a supergroup; 0 is off.
    pub slowmode_seconds: Option<u32>,
    /// Whether members who are no admins may write, in groups of both kinds.
    pub members_may_post: Option<bool>,
    /// Whether they may invite others.
    pub members_may_invite: Option<bool>,
    /// Who made the chat; joined if not inside. There is none unless it is said.
    pub creator: Option<i64>,
}

/// The rights of somebody in a chat: an admin's own, or what is left to a member. What is absent
/// stays as it is; at first everything is there.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemberRights {
    /// Whether they may write. Admins of groups may in any case.
    pub may_post: Option<bool>,
    /// Whether they may invite others.
    pub may_invite: Option<bool>,
    /// Makes them an admin, or an ordinary member.
    pub admin: Option<bool>,
}

/// A chat that was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chat {
    /// Marked: negative, channels and supergroups below -1000000000000.
    pub chat_id: i64,
    /// `https://t.me/+…`.
    pub invite_link: String,
}

/// A message as the server holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// In a basic group or private chat: the id of the copy that was asked for.
    pub message_id: i32,
    /// Who wrote it, also in channels that do not tell their readers.
    pub from: i64,
    /// What it says.
    pub text: String,
    /// Unix seconds.
    pub date: i32,
    /// Whether it came without a sound.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// The message replied to, in the numbering of `message_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<i32>,
    /// What is marked in the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<StoredEntity>,
}

/// Somebody in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMember {
    /// Who.
    pub user_id: i64,
    /// `creator`, `admin` or `member`.
    pub role: String,
}

/// What the server knows about an account's use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Telegram's id.
    pub user_id: i64,
    /// Empty for bots.
    pub phone: String,
    /// As given or made up.
    pub first_name: String,
    /// Without the at sign.
    pub username: Option<String>,
    /// Whether it is a bot.
    pub bot: bool,
    /// Whether two-factor authentication is on.
    pub has_password: bool,
    /// Whether it was answered `PEER_FLOOD`, which stands until limits are set anew.
    #[serde(default)]
    pub limited: bool,
    /// The datacenter it lives at.
    pub dc: i32,
    /// Auth keys that are logged in as it and not revoked.
    pub sessions: u64,
    /// TCP connections now.
    pub connections_now: u64,
    /// TCP connections ever.
    pub connections_total: u64,
    /// Calls by method.
    pub methods: BTreeMap<String, u64>,
}

/// What clients have to keep to themselves, so that a test can look for it where it must not be.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// Every authorization key, logged in or not.
    pub auth_keys: Vec<Vec<u8>>,
    /// Of each phone's newest login code: what belongs to it in `auth.signIn`.
    pub code_hashes: Vec<String>,
    /// Tokens of QR codes that are remembered.
    pub login_tokens: Vec<Vec<u8>>,
}
