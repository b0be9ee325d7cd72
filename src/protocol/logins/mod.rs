//! Logins: what a step leads to, why one fails, and what is kept of a login under way.

pub mod record;
pub mod steps;
