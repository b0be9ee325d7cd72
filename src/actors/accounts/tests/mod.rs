//! Accounts and the fleet on a Telegram in memory, in virtual time.

mod account;
mod crashes;
mod fleet;
mod people;
mod waits;
