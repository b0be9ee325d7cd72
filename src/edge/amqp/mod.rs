//! The AMQP bridge: two links to the broker, one that publishes the outbox and one that takes
//! commands. Each has a connection of its own (a publisher that the broker blocks would stop the
//! other's acknowledgements) and reconnects by itself for as long as it runs.
//!
//! This folder owns every use of lapin. It must never decide what an event or a command means, and of the
//! core it knows the port that it fills (`actors/bridge/port.rs`) and plain types of the protocol.
//!
//! What a message's sender wrote reaches us as it is: texts that are not UTF-8, tables nested as
//! deep as a frame allows, headers as large as one. Each is bounded where it is read
//! (`vendor/README.md`) and put aside here like anything else that is not understood.
//!
//! lapin prints the bodies of returned messages as warnings: its log target has to stay below.

mod address;
mod consumer;
mod dead_letter;
mod lanes;
mod link;
mod links;
mod look;
mod poison;
mod publisher;
mod room;
mod status;
mod topology;
mod window;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use consumer::consume;
pub use links::{AmqpLinks, BridgeStatus};
pub use look::{Look, look};
pub use publisher::publish;
pub use status::{LinkSnapshot, LinkState, LinkStatus};
pub use topology::Found;

use crate::protocol::values::secret::SecretText;

/// Where the broker is and what things are called there.
#[derive(Clone, Debug)]
pub struct AmqpOptions {
    /// `amqp://` or `amqps://`, with user and password. Never shown.
    pub url: SecretText,
    /// The direct exchange, at most 255 bytes.
    pub exchange: String,
    /// The queue that is consumed, at most 250 bytes: its dead letters go to `<name>.dead`.
    pub command_queue: String,
    /// The queue that takes the events, at most 255 bytes.
    pub event_queue: String,
    /// How many commands are in hand at once, at least 1.
    pub prefetch: u16,
    /// What the header `type` of each kind of event says.
    pub event_types: Arc<EventTypes>,
}

/// What the header `type` of an event says, by the event's name: its own name unless it says
/// otherwise here. At most 255 bytes each.
#[derive(Clone, Debug, Default)]
pub struct EventTypes(pub BTreeMap<String, String>);

impl EventTypes {
    fn of<'a>(&'a self, kind: &'a str) -> &'a str {
        self.0.get(kind).map_or(kind, String::as_str)
    }
}

impl AmqpOptions {
    /// The queue of commands that were not understood.
    pub fn dead_queue(&self) -> String {
        format!("{}.dead", self.command_queue)
    }
}
