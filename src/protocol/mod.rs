//! Pure rules, a room a subject: values in, decisions out.
//!
//! Nothing here performs IO, reads a clock, draws randomness or names a runtime: time and random numbers
//! are arguments, so every rule is tested without either.

pub mod accounts;
pub mod answers;
pub mod audit;
pub mod bridge;
pub mod campaigns;
pub mod feed;
pub mod keys;
pub mod logins;
pub mod messages;
pub mod monitors;
pub mod telegram;
pub mod tree;
pub mod users;
pub mod values;
pub mod webhooks;
