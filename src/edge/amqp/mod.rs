//! The AMQP bridge.
