//! Monitored chats: each an actor that listens through one account at a time, fails over, and publishes every message
//! once and in order. Commands and deliveries come in; commits of events with the moved cursor go out. Never
//! speaks to Telegram but through an account.

pub(super) mod commands;
pub(super) mod context;
pub(super) mod monitor;
mod opening;
pub(super) mod rekeying;
pub(super) mod supervisor;
#[cfg(test)]
mod tests;
