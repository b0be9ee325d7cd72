//! The exchange and the queues: declared on every connection, so that what somebody deleted comes
//! back. What exists with other properties is used as it stands, unless commands and events would
//! be mixed. Must never delete anything.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind, Queue};

use super::AmqpOptions;
use super::link::{LinkError, answer, within};
use super::publisher::REST_AFTER_RETURN;

/// Routing key of events.
pub(super) const EVENT_KEY: &str = "event";
/// Routing key of commands.
const COMMAND_KEY: &str = "command";

/// What would bring commands to the backend's consumer, or events to ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mixed {
    /// The exchange does not route by its keys.
    #[error(
        "the exchange `{exchange}` exists and is of the type {kind}, which does not keep commands and \
         events apart: commands with session strings would reach the event queue, and events \
         the command queue; nothing is taken or published. Delete the exchange, and it is declared \
         again with the type direct; let the backend declare it so, too (fanout is the default of \
         Symfony Messenger: set `exchange.type` to direct in its transports); or name another one \
         in bridge.exchange"
    )]
    Exchange {
        /// Its name.
        exchange: String,
        /// Its type.
        kind: String,
    },
    /// An event came out of the command queue.
    #[error(
        "events come back in the command queue `{queue}`: besides `command` it is bound to the \
         exchange `{exchange}` with the routing key `event` or a pattern that covers it; nothing is \
         published while that is so. Remove that binding, for example in the broker's management page; \
         once no event has come back for {} seconds, publishing goes on",
        REST_AFTER_RETURN.as_secs()
    )]
    Queue {
        /// The command queue.
        queue: String,
        /// The exchange.
        exchange: String,
    },
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is not there and would be made.
    pub missing: Vec<String>,
    /// What is there with other properties than ours, and would be used.
    pub mismatched: Vec<String>,
}

/// Looks at everything without making any of it. What is there is declared as the daemon would,
/// which changes nothing.
pub(super) async fn look(
    connection: &Connection,
    options: &AmqpOptions,
) -> Result<Found, LinkError> {
    let exchange = short("the exchange's name", &options.exchange)?;
    let mut found = Found::default();
    match exists(attempt_exchange(connection, &exchange, ExchangeKind::Direct, true).await?)? {
        false => found.missing.push(format!("exchange `{exchange}`")),
        true if !declare_exchange(connection, &exchange).await? => {
            found.mismatched.push(format!("exchange `{exchange}`"));
        }
        true => {}
    }
    for name in [&options.command_queue, &options.event_queue, &options.dead_queue()] {
        let queue = short("a queue's name", name)?;
        match exists(attempt_queue(connection, &queue, true).await?.map(drop))? {
            false => found.missing.push(format!("queue `{queue}`")),
            true if !declare_queue(connection, &queue).await? => {
                found.mismatched.push(format!("queue `{queue}`"));
            }
            true => {}
        }
    }
    Ok(found)
}

/// Whether what was asked for is there.
fn exists(asked: lapin::Result<()>) -> Result<bool, LinkError> {
    match asked {
        Ok(()) => Ok(true),
        Err(error) if refusal(&error, AMQPSoftError::NOTFOUND).is_some() => Ok(false),
        // It is there, and somebody else's alone (`exclusive`): declaring it says so in words.
        Err(error) => Err(error.into()),
    }
}

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
    let attempt = async |kind| attempt_exchange(connection, name, kind, false).await;
    let wanted = attempt(ExchangeKind::Direct).await?;
    let Some(refusal) = precondition_failed(&wanted) else { return Ok(wanted.map(|()| true)?) };
    if !keeps_apart(&refusal) {
        // In a topic exchange the plain words `command` and `event` keep the two apart. The other
        // types do not look at them, or not at them alone.
        let topic = attempt(ExchangeKind::Topic).await?;
        if precondition_failed(&topic).is_some_and(|refusal| !keeps_apart(&refusal)) {
            let (exchange, kind) = (name.to_string(), type_in(&refusal).to_owned());
            return Err(Mixed::Exchange { exchange, kind }.into());
        }
    }
    let there = attempt_exchange(connection, name, ExchangeKind::Direct, true).await?;
    Ok(there.map(|()| false)?)
}

async fn attempt_exchange(
    connection: &Connection,
    name: &ShortString,
    kind: ExchangeKind,
    passive: bool,
) -> Result<lapin::Result<()>, LinkError> {
    let options = ExchangeDeclareOptions { durable: true, passive, ..Default::default() };
    let (name, arguments) = (name.clone(), FieldTable::default());
    let channel = open(connection).await?;
    let declared = channel.exchange_declare(name, kind, options, arguments);
    answer("declaring the exchange", connection.status(), declared).await
}

/// Declares a queue; false if one exists with other properties.
async fn declare_queue(connection: &Connection, name: &ShortString) -> Result<bool, LinkError> {
    let wanted = attempt_queue(connection, name, false).await?;
    if precondition_failed(&wanted).is_some() {
        return Ok(attempt_queue(connection, name, true).await?.map(|_| false)?);
    }
    Ok(wanted.map(|_| true)?)
}

async fn attempt_queue(
    connection: &Connection,
    name: &ShortString,
    passive: bool,
) -> Result<lapin::Result<Queue>, LinkError> {
    let options = QueueDeclareOptions { durable: true, passive, ..Default::default() };
    let channel = open(connection).await?;
    let declared = channel.queue_declare(name.clone(), options, FieldTable::default());
    answer("declaring a queue", connection.status(), declared).await
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

/// What the broker says if it refused a declaration because something else is there.
fn precondition_failed<T>(declared: &lapin::Result<T>) -> Option<String> {
    declared.as_ref().err().and_then(|error| refusal(error, AMQPSoftError::PRECONDITIONFAILED))
}

/// What the broker says if it refused for that reason.
fn refusal(error: &lapin::Error, reason: AMQPSoftError) -> Option<String> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    (*error.kind() == AMQPErrorKind::Soft(reason)).then(|| error.get_message().to_string())
}

/// The type of exchanges that hold messages back and then route them as the type in their argument
/// `x-delayed-type` does (the plugin `rabbitmq_delayed_message_exchange`).
const DELAYED: &str = "x-delayed-message";

/// Whether a refusal shows that the exchange keeps commands and events apart: that it has the type
/// asked for and differs in something else, or is a delayed one. RabbitMQ compares the type before
/// anything else, and says (`rabbit_misc:assert_field_equivalence`): "PRECONDITION_FAILED -
/// inequivalent arg 'type' for exchange 'x' in vhost '/': received 'direct' but current is 'fanout'".
/// In other words of another broker the difference may be the type, so they show nothing.
///
/// Which type a delayed exchange routes by cannot be asked for over AMQP: the plugin does not compare
/// its argument. `direct` is what its own documents use; should it be `fanout`, events come back.
fn keeps_apart(refusal: &str) -> bool {
    // The first one: names stand behind it as they are.
    match refusal.split_once("inequivalent arg '") {
        Some((_, rest)) => !rest.starts_with("type'") || type_in(refusal) == DELAYED,
        None => false,
    }
}

/// The type that the exchange has, unless long names had the broker cut it off.
fn type_in(refusal: &str) -> &str {
    let kind =
        refusal.rsplit_once("but current is '").and_then(|(_, kind)| kind.strip_suffix('\''));
    kind.unwrap_or("another one than direct")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': \
                        received 'direct' but current is 'fanout'";

    #[test]
    fn a_type_is_told_from_other_differences_and_by_its_name() {
        assert!(!keeps_apart(SAID));
        assert_eq!(type_in(SAID), "fanout");
        let hostile = SAID.replace("'x'", "'but current is 'direct''");
        assert_eq!((keeps_apart(&hostile), type_in(&hostile)), (false, "fanout"));
        let hostile = SAID.replace("'x'", "'but current is 'x-delayed-message''");
        assert!(!keeps_apart(&hostile));
        let durable =
            SAID.replace("'type'", "'durable'").replace("'x'", "'inequivalent arg 'type''");
        assert!(keeps_apart(&durable));
        // The broker cuts at 255 bytes.
        let cut = &SAID[..SAID.len() - 12];
        assert!(!keeps_apart(cut));
        assert_eq!(type_in(cut), "another one than direct");
    }

    #[test]
    fn a_delayed_exchange_keeps_apart_and_the_other_types_do_not() {
        for (kind, expected) in [
            ("x-delayed-message", true),
            ("headers", false),
            ("x-consistent-hash", false),
            ("x-random", false),
            ("x-recent-history", false),
            ("delayed", false),
        ] {
            assert_eq!(keeps_apart(&SAID.replace("fanout", kind)), expected, "{kind}");
        }
    }

    #[test]
    fn words_that_are_not_rabbitmqs_show_nothing() {
        for words in [
            "",
            "PRECONDITION_FAILED",
            "PRECONDITION_FAILED - Existing exchange 'x' declared with other arguments",
            "PRECONDITION_FAILED - exchange type mismatch: fanout",
            "PRECONDITION_FAILED - inequivalent arg",
        ] {
            assert!(!keeps_apart(words), "{words}");
        }
    }
}
