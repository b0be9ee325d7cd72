//! What users do over HTTP, at a Telegram whose books are the truth.

mod failpoints;
mod logins;
mod sends;

pub(crate) use failpoints::DEATHS_TESTED;
