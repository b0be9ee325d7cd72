//! What becomes of a delivery that was not understood: its body and properties go to the
//! dead-letter queue with the reason in headers, and whoever waits for a reply is told. Must never
//! report success before the broker has confirmed, nor put anything secret into a header.

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, ConnectionStatus};
use uuid::Uuid;

use super::link::{LinkError, within};
use crate::protocol::command::CommandError;
use crate::protocol::event::failed_reply_body;

/// Header with the stable code of the reason.
const ERROR_CODE: &str = "x-error-code";
/// Header with the reason in words.
const ERROR_MESSAGE: &str = "x-error-message";
/// Written to disk by the broker before it is confirmed.
const PERSISTENT: u8 = 2;

/// A delivery that was not understood.
pub(super) struct DeadLetter {
    pub(super) body: Vec<u8>,
    pub(super) properties: BasicProperties,
    pub(super) error: CommandError,
}

impl DeadLetter {
    /// Puts it aside. One at a time on a channel: a return is told apart by its place.
    pub(super) async fn put_aside(
        self,
        channel: &Channel,
        line: &ConnectionStatus,
        queue: &ShortString,
    ) -> Result<(), LinkError> {
        let Self { body, properties, error } = self;
        let (code, message) = (error.code(), error.to_string());
        let message_id = properties.message_id().as_ref().map(ShortString::as_str);
        tracing::warn!(
            code,
            error = message,
            message_id,
            "a command is put aside in the dead-letter queue"
        );
        let reply_to = properties.reply_to().clone().filter(|name| !name.as_str().is_empty());
        let correlation_id = properties.correlation_id().clone();
        let explained = explain(properties, code, &message);
        send(channel, line, queue, true, &body, explained).await?;
        if let Some(reply_to) = reply_to {
            let body = failed_reply_body(code, &message);
            let properties = reply_properties(correlation_id);
            if let Err(error) = send(channel, line, &reply_to, false, &body, properties).await {
                tracing::warn!(%error, "the reply to a command that was not understood is lost");
            }
        }
        Ok(())
    }
}

/// The sender's own properties with the reason added. The headers `CC` and `BCC` would make the
/// broker route copies (<https://www.rabbitmq.com/docs/sender-selected>), so they are left out.
fn explain(properties: BasicProperties, code: &str, message: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        if !matches!(name.as_str(), "CC" | "BCC") {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers.insert(ERROR_CODE.into(), AMQPValue::LongString(code.into()));
    headers.insert(ERROR_MESSAGE.into(), AMQPValue::LongString(message.into()));
    trusted(properties).with_headers(headers).with_delivery_mode(PERSISTENT)
}

/// All properties but those that the broker would refuse from us or act upon: `user_id` must be
/// the publisher's own (<https://www.rabbitmq.com/docs/validated-user-id>), and an `expiration`
/// would let the letter vanish.
fn trusted(from: BasicProperties) -> BasicProperties {
    type Set = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&Option<ShortString>, Set); 7] = [
        (from.content_type(), BasicProperties::with_content_type),
        (from.content_encoding(), BasicProperties::with_content_encoding),
        (from.correlation_id(), BasicProperties::with_correlation_id),
        (from.reply_to(), BasicProperties::with_reply_to),
        (from.message_id(), BasicProperties::with_message_id),
        (from.kind(), BasicProperties::with_type),
        (from.app_id(), BasicProperties::with_app_id),
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
        .with_message_id(Uuid::now_v7().to_string().into());
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
