//! A monitor as those are told of it who may see it. Plain data.

use crate::protocol::monitors::failover::MonitorState;
use crate::protocol::telegram::chat::{ChatSpelling, MarkedId};
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::{SessionId, UnixMillis};

/// What is told of a monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorInfo {
    /// The chat, as it was asked for.
    pub chat: ChatSpelling,
    /// Whose it is, where somebody is told who sees more than their own; those of the bridge have no owner.
    pub owner: Option<UserId>,
    /// The chat's marked id, once it is known.
    pub marked_id: Option<MarkedId>,
    /// The marked id of the basic group that it was when it was asked for, if Telegram has made a supergroup of
    /// it since.
    pub migrated_from: Option<MarkedId>,
    /// The chat's title, once it is known.
    pub title: Option<String>,
    /// Where it stands.
    pub state: MonitorState,
    /// Since when, if that is known.
    pub since: Option<UnixMillis>,
    /// The sessions or accounts that may listen, in their order; the first is the primary one.
    pub sessions: Vec<SessionId>,
    /// The one that listens now.
    pub session: Option<SessionId>,
    /// The last trouble, until it works again.
    pub error: Option<String>,
    /// When it was asked for.
    pub started_at: UnixMillis,
}

/// What is told of a monitor that fares otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MonitorChange {
    /// The chat, as it was asked for.
    pub chat: ChatSpelling,
    /// Where it stands.
    pub state: MonitorState,
    /// Since when.
    pub since: UnixMillis,
    /// The session in use.
    pub session: Option<SessionId>,
    /// The last trouble, until it works again.
    pub error: Option<String>,
}
