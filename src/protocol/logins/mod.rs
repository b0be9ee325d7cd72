//! Logins: what a step leads to, why one fails, how a code goes out, and what is kept of a login under way. Owns these
//! rules and records; never a connection, and never a code or password longer than a step. Telegram's answers come in;
//! stages, failures in words for people, and records go out.

pub mod delivery;
pub mod record;
pub mod steps;
