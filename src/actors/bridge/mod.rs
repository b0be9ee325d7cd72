//! The bridge's links to the broker, kept running. Owns when each link runs, is started again and stops, and the
//! port that a link fills (`port.rs`); never how a broker is spoken to. Events come in from the outbox and
//! leave through the publisher; commands come in through the consumer and leave for `Commands`.

pub(super) mod links;
pub(super) mod port;
