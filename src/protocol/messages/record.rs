//! What is kept of messages that were sent. Plain data.

use serde::{Deserialize, Serialize};

use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::UnixMillis;

/// How long the outcome of a send is known under its idempotency key, milliseconds (24 h).
pub const SENDS_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is kept of a send under its idempotency key. The key itself is not kept, nor the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRecord {
    /// Whose it is.
    pub user: UserId,
    /// The account that sends.
    pub account: AccountId,
    /// Names the idempotency key.
    pub key: Fingerprint,
    /// Tells whether a repetition asks for the same. It covers the idempotency key, too, so that
    /// nobody who has a copy of the store can try texts against it.
    pub request: Fingerprint,
    /// What Telegram recognises a repetition by.
    pub random_id: i64,
    /// What Telegram answered; until then the send may or may not have happened.
    pub sent: Option<SentMessage>,
    /// It is certain that the tries so far sent nothing.
    #[serde(default)]
    pub is_unsent: bool,
    /// Telegram took it, and does not tell which of the chat's messages it is.
    #[serde(default)]
    pub is_nameless: bool,
    /// When it was asked for.
    pub created_at: UnixMillis,
}

/// A message that Telegram took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMessage {
    /// Its id in the chat.
    pub message_id: i32,
    /// Unix seconds.
    pub date: i64,
}
