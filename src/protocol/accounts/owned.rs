//! What belongs to users of the API: their accounts, and the chats attached to these. Plain data.

use serde::{Deserialize, Serialize};

use super::connection::Standing;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};

/// A user's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedAccount {
    /// Its id, which stays when it logs in anew.
    pub id: AccountId,
    /// Whose it is.
    pub user: UserId,
    /// The authorization key it is connected with now.
    pub key: AuthKeyId,
    /// The application its session was made for; the configured one serves when absent.
    pub api_id: Option<i32>,
    /// Whether it is a bot.
    pub is_bot: bool,
    /// Its id at Telegram.
    pub telegram_id: i64,
    /// Its phone number with most of its digits hidden.
    pub phone_masked: Option<String>,
    /// Its public name, without `@`.
    pub username: Option<String>,
    /// Its first name.
    pub first_name: Option<String>,
    /// Whether its user holds it.
    pub is_paused: bool,
    /// Whether its session was made here, by a login; one that was brought from elsewhere may be used
    /// there, too. What is not known counts as brought.
    #[serde(default)]
    pub is_made_here: bool,
    /// When it was connected first.
    pub created_at: UnixMillis,
    /// When what is kept of it changed last.
    pub updated_at: UnixMillis,
}

impl OwnedAccount {
    /// Whether it is to be connected.
    pub fn standing(&self) -> Standing {
        if self.is_paused { Standing::Held } else { Standing::Kept }
    }
}

/// What becomes of the session that an account had before it logged in anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreviousSession {
    /// It was made here, and is ended at Telegram.
    Ended,
    /// It was brought from elsewhere, and stays.
    Kept,
}

/// A chat that was attached to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedChat {
    /// Whose it is.
    pub user: UserId,
    /// The account.
    pub account: AccountId,
    /// The chat.
    pub chat: MarkedId,
    /// Its title.
    pub title: Option<String>,
    /// `group`, `supergroup` or `channel`.
    pub kind: String,
    /// Its public name, without `@`.
    pub username: Option<String>,
    /// Whether the account is in it.
    pub is_member: bool,
    /// Whether the account is an admin of it.
    pub is_admin: bool,
    /// Whether the account may write there.
    pub can_post: bool,
    /// Whether the account may invite there.
    pub can_invite: bool,
    /// When this was looked up.
    pub checked_at: UnixMillis,
}
