//! Tests over the wire: the release binary, a real RabbitMQ, real MTProto over TCP to the
//! simulator. Each test is a sentence; the simulator's books are the truth.
//!
//! `./scripts/test` starts the broker and says where it is.

#![allow(clippy::disallowed_methods, reason = "tests over the wire wait for real things")]
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it saw, and a failed step is its failure"
)]

mod support;

mod accounts;
mod bridge;
mod campaigns;
mod chaos;
mod http;
mod logins;
mod messages;
mod monitors;
mod operations;
mod secrets;
mod store;
mod tree;
mod webhooks;
