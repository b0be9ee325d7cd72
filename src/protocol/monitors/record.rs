//! What is kept of a monitored chat. Plain data.

use serde::{Deserialize, Serialize};

use crate::protocol::accounts::record::PoolMember;
use crate::protocol::telegram::chat::{ChatKey, ChatRef, MarkedId};
use crate::protocol::telegram::server_time::SteadyMillis;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;

/// Where a monitor stands, as far as a restart must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorPhase {
    /// It should be listening.
    Running,
    /// No session is left; it waits for a new command.
    Exhausted,
}

/// A chat that should be monitored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorRecord {
    /// Whose it is; `None` for those that commands of the bridge asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// The chat, as the newest command named it.
    pub chat: ChatRef,
    /// The sessions in the order of the newest command, the primary first.
    pub ordered: Vec<PoolMember>,
    /// The sessions still usable, in the order in which they are tried; the first one is in use.
    pub pool: Vec<PoolMember>,
    /// Where it stands.
    pub phase: MonitorPhase,
    /// When the chat was first asked for, by our clock.
    pub started_at: UnixMillis,
    /// The same by the clock that nobody sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_steady: Option<SteadyMillis>,
    /// The same by Telegram's clock, once it is known: messages since then are owed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed_from: Option<UnixMillis>,
    /// The chat's marked id, once it was resolved.
    pub marked_id: Option<MarkedId>,
    /// The basic group that the chat was when it was asked for, if Telegram has made a supergroup
    /// of it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrated_from: Option<MarkedId>,
    /// The public names under which the chat was found when it was opened last, lower case, without `@`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The chat's title, once it was seen.
    pub title: Option<String>,
    /// Where the channel's updates stood when a bot opened it first; until something was published
    /// this is all that tells what it missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_pts: Option<i32>,
    /// Since when no session is left, and why; `None` in records from before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhausted: Option<Exhausted>,
}

/// How a monitor came to have no session left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    /// When the last session was lost.
    pub since: UnixMillis,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

impl MonitorRecord {
    /// What the monitor is known by.
    pub fn key(&self) -> ChatKey {
        ChatKey::of(self.owner.as_ref(), &self.chat)
    }
}
