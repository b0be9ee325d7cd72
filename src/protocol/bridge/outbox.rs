//! What waits in the outbox: one message for the broker, addressed and ready to publish.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::protocol::users::owner::UserId;

/// Where an [`OutboxEntry`] goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// The configured exchange with the routing key `event`.
    Event,
    /// The default exchange with the queue named by a command's `reply_to`.
    Reply {
        /// Queue name.
        queue: String,
        /// Echoed from the command, if it had one.
        correlation_id: Option<String>,
    },
}

/// One message on its way to the broker. Durable before anyone is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// Where it goes.
    pub route: Route,
    /// The AMQP property `type`, e.g. `incoming_telegram_message`.
    pub kind: String,
    /// The AMQP property `message_id`: the same for every redelivery of the same event.
    pub message_id: Uuid,
    /// The AMQP property `timestamp`, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// When Telegram dated what it tells of, in seconds since the Unix epoch; only of messages. For
    /// measuring how long they were on their way.
    pub said_at: Option<i64>,
    /// Whose monitor it comes from, for webhooks; `None` for the bridge's.
    pub owner: Option<UserId>,
    /// The JSON body.
    pub body: Vec<u8>,
}
