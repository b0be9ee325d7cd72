//! What users do over HTTP, at a Telegram whose books are the truth.

mod failpoints;
mod floors;
mod interrupted;
mod life;
mod logins;
mod records;
mod replaced;
mod sends;
mod watching;

pub(crate) use failpoints::DEATHS_TESTED;
