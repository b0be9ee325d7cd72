//! What the daemon remembers: sessions, accounts, monitors, jobs, restarts. Plain data that the
//! store keeps and the actors bring the world to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chat::{ChatKey, ChatRef, MarkedId};
use super::frozen::Frozen;
use super::ids::{AuthKeyId, SessionId, UnixMillis};
use super::owner::UserId;
use super::secret::AuthKey;

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
    pub fault: Option<Fault>,
    /// Waits that Telegram imposed, surviving restarts.
    pub cooldowns: Vec<Cooldown>,
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
pub struct Fault {
    /// Telegram's error name, e.g. `AUTH_KEY_UNREGISTERED`.
    pub code: String,
    /// When it was told.
    pub since: UnixMillis,
}

/// Method classes with rate limits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodClass {
    /// Sending messages.
    Send,
    /// Inviting users.
    Invite,
    /// Joining chats.
    Join,
    /// Resolving usernames.
    Resolve,
    /// Adding and importing contacts.
    Contacts,
    /// Reading history, members, dialogs.
    Read,
    /// Logging in.
    Auth,
    /// Asking for updates that were missed: a link by itself, without a rate of its own, and bots by
    /// errands, at the rate of reading.
    Updates,
}

impl MethodClass {
    /// Its name, as it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Invite => "invite",
            Self::Join => "join",
            Self::Resolve => "resolve",
            Self::Contacts => "contacts",
            Self::Read => "read",
            Self::Auth => "auth",
            Self::Updates => "updates",
        }
    }
}

/// What a cooldown covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CooldownScope {
    /// One method class of the account.
    Class(MethodClass),
    /// Sending into one chat (slow mode).
    Chat(MarkedId),
    /// Everything the account does on its own initiative (`PEER_FLOOD`).
    Account,
}

/// A wait that Telegram imposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    /// What it covers.
    pub scope: CooldownScope,
    /// When it ends.
    pub until: UnixMillis,
}

/// An account's position in Telegram's update sequences
/// (<https://core.telegram.org/api/updates>).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateState {
    /// Common box.
    pub pts: i32,
    /// Secondary box.
    pub qts: i32,
    /// Date of the state, Unix seconds.
    pub date: i32,
    /// Sequence of containers.
    pub seq: i32,
    /// Channel boxes: bare channel id → pts.
    pub channels: BTreeMap<i64, i32>,
}

/// How one batch of updates moves an [`UpdateState`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStateDelta {
    /// New `(pts, date, seq)`.
    pub common: Option<(i32, i32, i32)>,
    /// New `qts`.
    pub qts: Option<i32>,
    /// New channel pts.
    pub channels: Vec<(i64, i32)>,
    /// Channels that are no longer followed.
    pub dropped_channels: Vec<i64>,
}

impl UpdateState {
    /// Moves the state.
    pub fn apply(&mut self, delta: &UpdateStateDelta) {
        if let Some((pts, date, seq)) = delta.common {
            (self.pts, self.date, self.seq) = (pts, date, seq);
        }
        self.qts = delta.qts.unwrap_or(self.qts);
        self.channels.extend(delta.channels.iter().copied());
        for id in &delta.dropped_channels {
            self.channels.remove(id);
        }
    }
}

impl UpdateStateDelta {
    /// Whether it moves nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Appends a later move.
    pub fn merge(&mut self, later: Self) {
        self.common = later.common.or(self.common);
        self.qts = later.qts.or(self.qts);
        self.channels.retain(|(id, _)| !later.channels.iter().any(|(newer, _)| newer == id));
        self.dropped_channels.retain(|id| !later.channels.iter().any(|(newer, _)| newer == id));
        self.channels.retain(|(id, _)| !later.dropped_channels.contains(id));
        self.channels.extend(later.channels);
        self.dropped_channels.extend(later.dropped_channels);
    }
}

/// What is needed to name a peer to Telegram again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// The peer.
    pub id: MarkedId,
    /// Telegram's per-account proof that it was met (zero for basic groups).
    pub access_hash: i64,
    /// Set for bots.
    pub is_bot: bool,
    /// Set for broadcast channels (not supergroups).
    pub is_broadcast: bool,
}

/// One session of a monitor's pool and how it fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolMember {
    /// The backend's id, under which events name it.
    pub session: SessionId,
    /// Its account.
    pub account: AuthKeyId,
}

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
    /// When the chat was first asked for: messages since then are owed.
    pub started_at: UnixMillis,
    /// The chat's marked id, once it was resolved.
    pub marked_id: Option<MarkedId>,
    /// The public names under which the chat was found when it was opened last, lower case, without `@`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The chat's title, once it was seen.
    pub title: Option<String>,
    /// Where the channel's updates stood when a bot opened it first; until something was published
    /// this is all that tells what it missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_pts: Option<i32>,
}

impl MonitorRecord {
    /// What the monitor is known by.
    pub fn key(&self) -> ChatKey {
        ChatKey::of(self.owner.as_ref(), &self.chat)
    }
}

/// Something to be done once at Telegram, for which a command was already acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Identity: the same for every delivery of the command that asks for it.
    pub id: Uuid,
    /// What to do.
    pub work: JobWork,
    /// Where the outcome is sent.
    pub reply: Option<ReplyTo>,
    /// When the command came.
    pub created_at: UnixMillis,
}

/// Kinds of [`JobRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobWork {
    /// Join a chat.
    Join {
        /// The chat.
        chat: ChatRef,
        /// The backend's session id.
        session: SessionId,
        /// Its account.
        account: AuthKeyId,
    },
}

/// A command's `reply_to` and `correlation_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// Queue that takes the outcome.
    pub queue: String,
    /// Echoed back.
    pub correlation_id: Option<String>,
}

/// One line of the restart ledger: when an actor ended, why, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartRecord {
    /// The actor, e.g. `account/0123…`.
    pub actor: String,
    /// When it ended.
    pub at: UnixMillis,
    /// Why.
    pub cause: String,
    /// Restarts inside the policy's window, this one included.
    pub attempt: u32,
    /// When it is started again; `None` when it is parked.
    pub next_at: Option<UnixMillis>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delta() -> impl Strategy<Value = UpdateStateDelta> {
        let channels = prop::collection::btree_map(0..6i64, 1..100i32, 0..4);
        let dropped = prop::collection::vec(6..9i64, 0..2);
        (prop::option::of((1..9, 1..9, 1..9)), prop::option::of(1..9), channels, dropped).prop_map(
            |(common, qts, channels, dropped_channels)| UpdateStateDelta {
                common,
                qts,
                channels: channels.into_iter().collect(),
                dropped_channels,
            },
        )
    }

    proptest! {
        #[test]
        fn merging_moves_is_applying_them_in_turn(first in delta(), second in delta()) {
            let mut in_turn = UpdateState::default();
            in_turn.apply(&first);
            in_turn.apply(&second);
            let mut merged = first;
            merged.merge(second);
            let mut at_once = UpdateState::default();
            at_once.apply(&merged);
            prop_assert_eq!(at_once, in_turn);
        }
    }
}
