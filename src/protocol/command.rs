//! Commands of the AMQP bridge: from the bytes of a delivery to a [`Command`], or a reason.

use super::chat::ChatRef;
use super::ids::{AuthKeyId, SessionId};
use super::model::ReplyTo;
use super::secret::AuthKey;

/// Largest command body that is read, in bytes.
pub const COMMAND_BODY_MAX: usize = 1024 * 1024;

/// A session as a command carries it. Its `api_hash` is checked for presence and then dropped:
/// an imported session never needs it, and what is not needed is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionData {
    /// The backend's id.
    pub id: SessionId,
    /// The application id the session was made for, if the command names one.
    pub api_id: Option<i32>,
    /// Identity of `auth_key`.
    pub account: AuthKeyId,
    /// Home datacenter.
    pub dc_id: i32,
    /// The authorization key.
    pub auth_key: AuthKey,
}

/// What the backend asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `start_monitoring_chat`: the primary session first.
    StartMonitoring {
        /// The chat.
        chat: ChatRef,
        /// Primary and backups, in order, without repeated ids.
        sessions: Vec<SessionData>,
    },
    /// `stop_monitoring_chat`.
    StopMonitoring {
        /// The chat.
        chat: ChatRef,
    },
    /// `join_chat`.
    JoinChat {
        /// The chat; here it may be an invite link.
        chat: ChatRef,
        /// The session that joins.
        session: SessionData,
    },
    /// `switch_monitoring_source`.
    SwitchSource {
        /// The chat.
        chat: ChatRef,
        /// New primary and backups, in order, without repeated ids.
        sessions: Vec<SessionData>,
    },
}

/// A command and where its outcome goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub command: Command,
    /// `reply_to` and `correlation_id`, if any.
    pub reply: Option<ReplyTo>,
}
