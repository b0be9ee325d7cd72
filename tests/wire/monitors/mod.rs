//! Monitors of chats: listening, failing over, commands, chats that change, queues at their bounds.

mod bounds;
mod commands;
mod dates;
mod failover;
mod listening;
mod of_users;
pub(crate) mod upgrades;
