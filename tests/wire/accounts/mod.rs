//! Accounts at a Telegram whose books are the truth: their lives, their connections, their sessions, and links that
//! live without getting on.

pub(crate) mod connections;
mod failpoints;
mod life;
mod records;
mod sessions;
mod zombies;

pub(crate) use failpoints::DEATHS_TESTED;
