//! What is kept of sessions and their accounts. Plain data.

use serde::{Deserialize, Serialize};

use crate::protocol::telegram::freeze::Frozen;
use crate::protocol::telegram::pacing::FloodWait;
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};
use crate::protocol::values::secret::AuthKey;

/// A session id of the backend and the account it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The backend's id.
    pub id: SessionId,
    /// The authorization key it came with.
    pub account: AuthKeyId,
    /// The application id it was made for; the configured one serves when absent.
    pub api_id: Option<i32>,
}

/// The secret half of an account. The store seals it before it touches the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Identity of `auth_key`.
    pub account: AuthKeyId,
    /// Home datacenter.
    pub dc_id: i32,
    /// The authorization key.
    pub auth_key: AuthKey,
}

/// The open half of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Identity of its authorization key.
    pub id: AuthKeyId,
    /// Who Telegram says it is, once it was asked.
    pub me: Option<Me>,
    /// Set when Telegram ended the session for good: it is never dialled again.
    pub fault: Option<DeadSession>,
    /// Waits that Telegram imposed, surviving restarts.
    #[serde(rename = "cooldowns")]
    pub flood_waits: Vec<FloodWait>,
    /// Set while Telegram has frozen the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    /// When it was first seen.
    pub created_at: UnixMillis,
}

/// An account's own identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// Telegram user id.
    pub user_id: i64,
    /// Whether it is a bot.
    pub is_bot: bool,
    /// Public name, without `@`.
    pub username: Option<String>,
    /// First name.
    pub first_name: Option<String>,
}

/// Why an account is unusable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadSession {
    /// Telegram's error name, e.g. `AUTH_KEY_UNREGISTERED`.
    pub code: String,
    /// When it was told.
    pub since: UnixMillis,
}

/// One session of a monitor's pool and how it fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolMember {
    /// The backend's id, under which events name it.
    pub session: SessionId,
    /// Its account.
    pub account: AuthKeyId,
}
