//! The exchange and the queues: declared on every connection, so that what somebody deleted comes
//! back. What exists with other properties is used as it stands. Must never delete anything.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::AmqpOptions;
use super::link::{LinkError, answer, within};

/// Routing key of events.
pub(super) const EVENT_KEY: &str = "event";
/// Routing key of commands.
const COMMAND_KEY: &str = "command";

/// Declares everything; returns what exists with other properties.
pub(super) async fn declare(
    connection: &Connection,
    options: &AmqpOptions,
) -> Result<Vec<String>, LinkError> {
    let exchange = short("the exchange's name", &options.exchange)?;
    let commands = short("the command queue's name", &options.command_queue)?;
    let events = short("the event queue's name", &options.event_queue)?;
    let dead = short("the dead-letter queue's name", &options.dead_queue())?;
    let mut mismatched = Vec::new();
    if !declare_exchange(connection, &exchange).await? {
        mismatched.push(format!("exchange `{exchange}`"));
    }
    for queue in [&commands, &events, &dead] {
        if !declare_queue(connection, queue).await? {
            mismatched.push(format!("queue `{queue}`"));
        }
    }
    bind(connection, &exchange, commands, COMMAND_KEY).await?;
    bind(connection, &exchange, events, EVENT_KEY).await?;
    Ok(mismatched)
}

/// An AMQP short string; lapin's own conversion panics when it is too long.
pub(super) fn short(name: &'static str, text: &str) -> Result<ShortString, LinkError> {
    ShortString::try_new(text).map_err(|_| LinkError::NameTooLong { name })
}

/// Declares the exchange; false if one exists with other properties.
async fn declare_exchange(connection: &Connection, name: &ShortString) -> Result<bool, LinkError> {
    let attempt = async |passive| {
        let options = ExchangeDeclareOptions { durable: true, passive, ..Default::default() };
        let (name, arguments) = (name.clone(), FieldTable::default());
        let channel = open(connection).await?;
        let declared = channel.exchange_declare(name, ExchangeKind::Direct, options, arguments);
        answer("declaring the exchange", connection.status(), declared).await
    };
    let wanted = attempt(false).await?;
    if is_precondition_failed(&wanted) {
        return Ok(attempt(true).await?.map(|()| false)?);
    }
    Ok(wanted.map(|()| true)?)
}

/// Declares a queue; false if one exists with other properties.
async fn declare_queue(connection: &Connection, name: &ShortString) -> Result<bool, LinkError> {
    let attempt = async |passive| {
        let options = QueueDeclareOptions { durable: true, passive, ..Default::default() };
        let channel = open(connection).await?;
        let declared = channel.queue_declare(name.clone(), options, FieldTable::default());
        answer("declaring a queue", connection.status(), declared).await
    };
    let wanted = attempt(false).await?;
    if is_precondition_failed(&wanted) {
        return Ok(attempt(true).await?.map(|_| false)?);
    }
    Ok(wanted.map(|_| true)?)
}

async fn bind(
    connection: &Connection,
    exchange: &ShortString,
    queue: ShortString,
    key: &str,
) -> Result<(), LinkError> {
    let channel = open(connection).await?;
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    let bound = channel.queue_bind(queue, exchange.clone(), key.into(), options, arguments);
    within("binding a queue", connection.status(), bound).await
}

/// A channel for one declaration, since a refusal closes the channel. Dropping closes it.
async fn open(connection: &Connection) -> Result<Channel, LinkError> {
    within("opening a channel", connection.status(), connection.create_channel()).await
}

fn is_precondition_failed<T>(declared: &lapin::Result<T>) -> bool {
    let Err(error) = declared else { return false };
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)
}
