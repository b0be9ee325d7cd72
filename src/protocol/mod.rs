//! Pure rules: identifiers, commands, events, error classes and state machines.
//!
//! Nothing here performs IO, reads a clock, draws randomness or names a runtime:
//! time and random numbers are arguments, so every rule is tested without either.

pub mod chat;
pub mod command;
pub mod cursor;
pub mod event;
pub mod ids;
pub mod model;
pub mod outbox;
pub mod secret;
pub mod session_string;
