//! Pure rules: identifiers, commands, events, error classes and state machines.
//!
//! Nothing here performs IO, reads a clock, draws randomness or names a runtime:
//! time and random numbers are arguments, so every rule is tested without either.

pub mod account;
pub mod backlog;
pub mod caps;
pub mod chat;
pub mod command;
pub mod cursor;
pub mod erasure;
pub mod estate;
pub mod event;
pub mod failure;
pub mod frozen;
pub mod ids;
pub mod json;
mod link;
pub mod login;
pub mod model;
pub mod monitor;
pub mod network;
pub mod outbox;
pub mod owner;
pub mod pace;
pub mod pacing;
pub mod printable;
pub mod progress;
pub mod refusal;
pub mod reply_to;
pub mod request;
pub mod restart;
pub mod rotation;
pub mod secret;
pub mod server_time;
pub mod session_string;
pub mod target;
pub mod time;
pub mod trail;
pub mod watchdog;
pub mod webhook;
pub mod why;
