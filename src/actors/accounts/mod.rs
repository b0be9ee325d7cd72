//! Accounts: the only ones that speak to Telegram. The fleet knows them all and is the one place that decides who
//! may connect a key; each account keeps its connection, runs the calls that others ask of it, and hands what its
//! updates bring to those who listen. Calls and listeners come in; outcomes, messages and losses go out.
//! Never decides what a message means.

pub(super) mod account;
pub(super) mod asking;
pub(super) mod budgets;
pub(super) mod calls;
pub(super) mod context;
pub(super) mod daily_limits;
pub(super) mod delivery;
pub(super) mod dial_limiter;
pub(super) mod directory;
pub(super) mod fleet;
pub(super) mod flood_waits;
pub(super) mod joins;
pub(super) mod joins_under_way;
mod link;
pub(super) mod listener;
#[cfg(test)]
mod tests;
mod watchdog;
