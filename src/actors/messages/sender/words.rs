//! What callers are told of messages that cannot be answered with an id. Names no message's text.

use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::messages::record::SentMessage;
use crate::protocol::telegram::chat::MarkedId;
use crate::store::CommitError;

/// Telegram took it, and the disk did not.
pub(super) fn unnoted(error: &CommitError, sent: Option<SentMessage>) -> Refusal {
    tracing::error!(%error, "a message was sent and could not be noted");
    let Some(sent) = sent else { return sent_before() };
    let id = sent.message_id;
    let why = error.disk_trouble().map_or(String::new(), |trouble| format!(": {}", trouble.what()));
    let detail = format!(
        "the message was sent (its id is {id}) but could not be noted{why}; repeat the request only with the \
         same Idempotency-Key, or it is sent twice"
    );
    Refusal::new(Code::Internal, detail)
}

/// This try did not come to it, but an earlier one under the same key may have.
pub(super) fn doubtful(refusal: Refusal) -> Refusal {
    let why = refusal.detail.strip_suffix("; nothing was sent").unwrap_or(&refusal.detail);
    let detail = format!(
        "{why}; this try sent nothing, but an earlier one may have: repeat the request only with the same \
         Idempotency-Key"
    );
    Refusal { detail, ..refusal }
}

/// The basic group has become a supergroup. It is not sent there instead: an earlier try under the same
/// key may have reached the group, and numbers of messages to be answered mean others there.
pub(super) fn moved(from: MarkedId, to: MarkedId) -> Refusal {
    let detail = format!(
        "telegram has made this basic group ({from}) the supergroup {to}; nothing was sent. Send it to {to} \
         from now on, under a new Idempotency-Key; messages have other numbers there, also for reply_to"
    );
    Refusal::new(Code::ChatForbidden, detail)
}

/// Its user holds the account.
pub(super) fn paused() -> Refusal {
    Refusal::new(Code::Conflict, "the account is paused; resume it first")
}

/// The key is taken.
pub(super) fn other_request() -> Refusal {
    let detail =
        "this Idempotency-Key was used for another message; use a new one for each message";
    Refusal::new(Code::Conflict, detail)
}

/// Telegram knows the message and does not name it.
pub(super) fn sent_before() -> Refusal {
    let detail = "this very message was sent before, but telegram does not tell which one of the \
                  chat's messages it is; it is not sent again";
    Refusal::new(Code::Conflict, detail)
}

/// As many messages are under way as there is room for.
pub(super) fn crowded() -> Refusal {
    let detail =
        "too many messages are being sent already; nothing was sent. Send it again in a moment";
    Refusal::new(Code::Overloaded, detail).after(5)
}

/// Nobody knows yet.
pub(super) fn unclear() -> Refusal {
    let detail = "the message is under way and telegram has not answered in time; repeat the request \
                  with the same Idempotency-Key to learn the outcome without sending twice";
    Refusal::new(Code::TelegramUnavailable, detail).after(5)
}
