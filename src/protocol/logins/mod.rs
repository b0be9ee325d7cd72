//! Logins: what a step leads to, why one fails, how a code goes out, and what is kept of a login under way.

pub mod delivery;
pub mod record;
pub mod steps;
