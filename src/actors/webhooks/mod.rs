//! Webhooks: the second way out for events. A dispatcher reads the outbox with a place of its own and puts what
//! belongs to users in the queues of their endpoints; each endpoint is an actor that delivers its queue, so that
//! none holds up another, the outbox, or the broker. How an endpoint is called is behind a port (`port.rs`). Owns the queues;
//! never decides what an event says. Events of the outbox come in; signed requests go out, and what came of them to the
//! store.

mod attempt;
mod dispatcher;
pub(super) mod endpoint;
pub(super) mod port;
pub(super) mod registry;
pub(super) mod supervisor;
