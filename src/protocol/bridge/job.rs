//! Jobs: what a command asks to be done once at Telegram. Plain data, and how a job is told apart.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::NAMESPACE;
use super::reply_to::ReplyTo;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::telegram::chat::ChatRef;
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};

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

impl JobWork {
    /// The session that does it.
    pub fn member(&self) -> PoolMember {
        let Self::Join { session, account, .. } = self;
        PoolMember { session: session.clone(), account: *account }
    }
}

/// The id of a job that a command asks for: the same when the command is delivered again.
pub fn job_id(chat: &ChatRef, session: &SessionId, reply: Option<&ReplyTo>) -> Uuid {
    let (queue, correlation) =
        reply.map_or(("", None), |reply| (reply.queue.as_str(), reply.correlation_id.as_deref()));
    let name = format!("job|{}|{session}|{queue}|{}", chat.key(), correlation.unwrap_or_default());
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}
