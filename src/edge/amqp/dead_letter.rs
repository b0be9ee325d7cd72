//! What becomes of a delivery that was not understood: its body and properties go to the
//! dead-letter queue with the reason in headers, and whoever waits for a reply is told. Must never
//! report success before the broker has confirmed, nor put anything secret into a header, nor send
//! a letter that no frame has room for, nor a reply before the delivery is acknowledged: the broker
//! may end the connection over it, and the letter must not come once more for that.

use std::cmp::Reverse;

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, ConnectionStatus, SKIPPED_HEADERS};

use super::link::{LinkError, within};
use super::wire::{room_for_properties, size_of_header, size_of_properties};
use crate::chance;
use crate::protocol::bridge::command::CommandError;
use crate::protocol::bridge::event::failed_reply_body;
use crate::protocol::bridge::reply_to;
use crate::protocol::values::printable::Printable;

/// Header with the stable code of the reason.
const ERROR_CODE: &str = "x-error-code";
/// Header with the reason in words.
const ERROR_MESSAGE: &str = "x-error-message";
/// Longest text of the reason, bytes: with all properties at their longest it still fits the
/// smallest frame that AMQP allows (4096 bytes).
const ERROR_MESSAGE_MAX: usize = 1024;
/// Written to disk by the broker before it is confirmed.
const PERSISTENT: u8 = 2;

/// Where dead letters go.
pub(super) struct DeadEnd {
    pub(super) channel: Channel,
    pub(super) queue: ShortString,
    /// The largest frame that the broker takes.
    pub(super) frame_max: u32,
}

/// A delivery that was not understood.
pub(super) struct DeadLetter {
    pub(super) body: Vec<u8>,
    pub(super) properties: BasicProperties,
    pub(super) error: CommandError,
}

impl DeadLetter {
    /// Puts it aside; then the delivery may be acknowledged, and after that the reply sent, if anybody
    /// waits for one. One at a time on a channel: a return is told apart by its place.
    pub(super) async fn put_aside(
        self,
        to: &DeadEnd,
        line: &ConnectionStatus,
    ) -> Result<Option<LateReply>, LinkError> {
        let Self { body, properties, error } = self;
        let (code, message) = (error.code(), told(&error));
        let DeadEnd { channel, queue, frame_max } = to;
        let message_id = properties.message_id().as_ref().filter(|id| id.is_utf8());
        let message_id = message_id.map(ShortString::as_str);
        tracing::warn!(
            code,
            error = message,
            message_id,
            "a command is put aside in the dead-letter queue"
        );
        let is_usable = |name: &str| !name.is_empty() && reply_to::is_usable(name);
        let reply_to = properties.reply_to().clone().filter(|name| is_usable(name.as_str()));
        let correlation_id = properties.correlation_id().clone();
        let explained = explain(properties, code, &message, *frame_max);
        send(channel, line, queue, true, &body, explained).await?;
        Ok(reply_to.map(|queue| LateReply {
            queue,
            body: failed_reply_body(code, &message),
            properties: reply_properties(correlation_id),
        }))
    }
}

/// What whoever sent a command that was not understood is told, as well as it goes.
pub(super) struct LateReply {
    queue: ShortString,
    body: Vec<u8>,
    properties: BasicProperties,
}

impl LateReply {
    /// Sends it. On the channel of the letters, and one at a time with them.
    pub(super) async fn send(self, over: &DeadEnd, line: &ConnectionStatus) {
        let Self { queue, body, properties } = self;
        if let Err(error) = send(&over.channel, line, &queue, false, &body, properties).await {
            tracing::warn!(%error, "the reply to a command that was not understood is lost");
        }
    }
}

/// The reason in words, as it stands in headers, replies and logs: printable, since it may quote others,
/// and cut where it is longer than a header of ours may be.
fn told(error: &CommandError) -> String {
    let mut text = Printable(error).to_string();
    text.truncate(text.floor_char_boundary(ERROR_MESSAGE_MAX));
    text
}

/// The sender's own properties with the reason added. The headers `CC` and `BCC` would make the
/// broker route copies (<https://www.rabbitmq.com/docs/sender-selected>), so they are left out, and
/// so are the largest headers, one after the other, while a frame has no room for all.
fn explain(
    properties: BasicProperties,
    code: &str,
    message: &str,
    frame_max: u32,
) -> BasicProperties {
    let ours = ["CC", "BCC", ERROR_CODE, ERROR_MESSAGE, SKIPPED_HEADERS];
    let is_kept = |name: &ShortString| !ours.contains(&name.as_str());
    let headers = properties.headers().iter().flat_map(FieldTable::inner);
    let mut foreign: Vec<_> = headers.filter(|(name, _)| is_kept(name)).collect();
    foreign.sort_by_key(|(name, value)| Reverse(size_of_header(name, value)));
    let kept = trusted(&properties).with_delivery_mode(PERSISTENT);
    let with_ours = size_of_properties(&kept.clone().with_headers(reason(code, message)));
    let room = room_for_properties(frame_max).saturating_sub(with_ours);
    let (left_out, note) = leave_out(&foreign, room, frame_max);
    let mut headers = reason(code, &format!("{message}{note}"));
    for (name, value) in &foreign[left_out..] {
        headers.insert((*name).clone(), (*value).clone());
    }
    kept.with_headers(headers)
}

/// How many of the headers, which begin with the largest, have to go for the others to fit into
/// `room` bytes together with a note that says so; and that note.
fn leave_out(
    headers: &[(&ShortString, &AMQPValue)],
    room: usize,
    frame_max: u32,
) -> (usize, String) {
    let sizes: Vec<_> = headers.iter().map(|(name, value)| size_of_header(name, value)).collect();
    let all = sizes.iter().sum::<usize>();
    if all <= room {
        return (0, String::new());
    }
    let mut bytes = 0;
    for (index, size) in sizes.iter().enumerate() {
        let left_out = index + 1;
        bytes += size;
        let note = format!(
            "; {left_out} of its headers, {bytes} bytes in all, are left out here, since a frame of \
             the broker's ({frame_max} bytes) has no room for them beside the reason"
        );
        if all - bytes + note.len() <= room {
            return (left_out, note);
        }
    }
    // Only a frame smaller than AMQP allows gets here.
    (headers.len(), String::new())
}

fn reason(code: &str, message: &str) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(ERROR_CODE.into(), AMQPValue::LongString(code.into()));
    headers.insert(ERROR_MESSAGE.into(), AMQPValue::LongString(message.into()));
    headers
}

/// All properties but those that the broker would refuse from us or act upon: `user_id` must be
/// the publisher's own (<https://www.rabbitmq.com/docs/validated-user-id>), and an `expiration`
/// would let the letter vanish.
fn trusted(from: &BasicProperties) -> BasicProperties {
    type Set = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&Option<ShortString>, Set); 8] = [
        (from.content_type(), BasicProperties::with_content_type),
        (from.content_encoding(), BasicProperties::with_content_encoding),
        (from.correlation_id(), BasicProperties::with_correlation_id),
        (from.reply_to(), BasicProperties::with_reply_to),
        (from.message_id(), BasicProperties::with_message_id),
        (from.kind(), BasicProperties::with_type),
        (from.app_id(), BasicProperties::with_app_id),
        (from.cluster_id(), BasicProperties::with_cluster_id),
    ];
    let mut kept = BasicProperties::default();
    for (value, set) in texts {
        if let Some(value) = value {
            kept = set(kept, value.clone());
        }
    }
    if let Some(priority) = from.priority() {
        kept = kept.with_priority(*priority);
    }
    if let Some(timestamp) = from.timestamp() {
        kept = kept.with_timestamp(*timestamp);
    }
    kept
}

fn reply_properties(correlation_id: Option<ShortString>) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_type("command_reply".into())
        .with_app_id("telewarden".into())
        .with_message_id(chance::id().to_string().into());
    match correlation_id {
        Some(id) => properties.with_correlation_id(id),
        None => properties,
    }
}

/// Publishes to a queue and waits for the confirm.
async fn send(
    channel: &Channel,
    line: &ConnectionStatus,
    queue: &ShortString,
    mandatory: bool,
    body: &[u8],
    properties: BasicProperties,
) -> Result<(), LinkError> {
    let options = BasicPublishOptions { mandatory, ..Default::default() };
    let confirmed = async {
        let exchange = ShortString::default();
        let sent = channel.basic_publish(exchange, queue.clone(), options, body, properties);
        sent.await?.await
    };
    match within("confirming a dead letter", line, confirmed).await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Nack(None) | Confirmation::NotRequested => Err(LinkError::Nacked),
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            Err(LinkError::Unroutable {
                message_id: "of a dead letter".into(),
                reply: returned.reply_text.to_string(),
            })
        }
    }
}

/// A text header, as either kind of AMQP string.
pub(super) fn text_header<'a>(headers: &'a FieldTable, name: &str) -> Option<&'a str> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::made;
    use super::*;

    const MESSAGE: &str = "the body is not a JSON object in UTF-8 (line 1, column 1)";

    fn message(letter: &BasicProperties) -> String {
        text_header(letter.headers().as_ref().unwrap(), ERROR_MESSAGE).unwrap().to_owned()
    }

    /// A command whose one header has `bytes` bytes.
    fn command(bytes: usize) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert("x-trace".into(), AMQPValue::LongString(vec![b'x'; bytes].into()));
        BasicProperties::default().with_headers(headers).with_message_id("theirs".into())
    }

    #[test]
    fn a_letter_takes_a_frame_to_its_last_byte_and_not_one_more() {
        let (frame_max, mut kept, mut dropped) = (8192, 0, 0);
        let room = room_for_properties(frame_max);
        for bytes in 7_500..8_300 {
            let letter = explain(command(bytes), "bad_json", MESSAGE, frame_max);
            let is_kept = letter.headers().as_ref().unwrap().contains_key("x-trace");
            let whole = command(bytes).with_delivery_mode(PERSISTENT);
            let wanted = size_of_properties(&whole)
                + reason("bad_json", MESSAGE)
                    .inner()
                    .iter()
                    .map(|(name, value)| size_of_header(name, value))
                    .sum::<usize>();
            assert_eq!(is_kept, wanted <= room, "{bytes}");
            assert!(size_of_properties(&letter) <= room, "{bytes}");
            assert_eq!(letter.message_id().as_ref().unwrap().as_str(), "theirs");
            if is_kept {
                kept += 1;
                assert_eq!(message(&letter), MESSAGE);
            } else {
                dropped += 1;
                let said = format!("1 of its headers, {} bytes in all", bytes + 8 + 5);
                assert!(message(&letter).contains(&said), "{}", message(&letter));
            }
        }
        assert!(kept > 0 && dropped > 0);
    }

    #[test]
    fn with_everything_at_its_longest_the_smallest_frame_has_room() {
        let long = || ShortString::from("x".repeat(255));
        let properties = command(4_000)
            .with_content_type(long())
            .with_content_encoding(long())
            .with_correlation_id(long())
            .with_reply_to(long())
            .with_message_id(long())
            .with_type(long())
            .with_app_id(long())
            .with_cluster_id(long())
            .with_priority(1)
            .with_timestamp(1);
        let reason = told(&CommandError::Failed("é".repeat(2_000)));
        let letter = explain(properties, "bad_session_string", &reason, 4096);
        assert!(size_of_properties(&letter) <= room_for_properties(4096));
        assert!(message(&letter).contains("left out"));
    }

    #[test]
    fn a_reason_is_printable_and_bounded_whatever_it_quotes() {
        let quoted = "a\r\nX-Forged: 1\u{1b}[2J\u{202e}b".to_owned();
        let reason = told(&CommandError::Failed(quoted));
        assert!(reason.ends_with("a\\r\\nX-Forged: 1\\u{1b}[2J\\u{202e}b"), "{reason}");
        assert_eq!(told(&CommandError::BadProperties("\n".repeat(5_000))).len(), ERROR_MESSAGE_MAX);
    }

    #[test]
    fn the_largest_headers_go_first() {
        let mut headers = FieldTable::default();
        for (name, bytes) in [("a", 3_000), ("b", 10), ("c", 2_000), ("d", 900)] {
            headers.insert(name.into(), AMQPValue::LongString(vec![b'x'; bytes].into()));
        }
        let properties = BasicProperties::default().with_headers(headers);
        let letter = explain(properties, "bad_json", MESSAGE, 4096);
        let kept = letter.headers().clone().unwrap();
        let names: Vec<_> = kept.inner().keys().map(ShortString::as_str).collect();
        assert_eq!(names, ["b", "c", "d", ERROR_CODE, ERROR_MESSAGE]);
    }

    proptest! {
        #[test]
        fn a_letter_always_fits_and_says_what_is_missing(
            headers in made::headers(),
            frame_max in 4096..8192_u32,
        ) {
            let count = headers.inner().len();
            let properties = BasicProperties::default().with_headers(headers.clone());
            let letter = explain(properties, "bad_json", MESSAGE, frame_max);
            prop_assert!(size_of_properties(&letter) <= room_for_properties(frame_max));
            let kept = letter.headers().clone().unwrap();
            let missing = count + 2 - kept.inner().len();
            let said = format!("{missing} of its headers");
            prop_assert_eq!(message(&letter).contains(&said), missing > 0);
            for (name, value) in headers.inner() {
                // By their text, in which NaN is NaN.
                let found = kept.inner().get(name).map(|found| format!("{found:?}"));
                let is_unchanged = found.is_none_or(|found| found == format!("{value:?}"));
                prop_assert!(is_unchanged, "{} changed", name);
            }
        }
    }
}
