//! Logins: each an actor with a connection and a deadline of its own, which hands the account over to the fleet once
//! Telegram knows it. Owns what was begun until it is an account or over; never a session that was made elsewhere, and
//! never an account. Steps of users come in; views and, at the end, an account go out.

pub(super) mod context;
pub(super) mod flood_waits;
pub(super) mod login;
pub(super) mod registrar;
pub(super) mod registry;
#[cfg(test)]
mod tests;
