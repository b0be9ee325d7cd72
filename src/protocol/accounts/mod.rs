//! Accounts: what is kept of them and whose they are, the state machine of their connection, their daily limits,
//! and the explanation of how they fare. Events of a connection come in; what the account's actor is to do goes
//! out.

pub mod connection;
pub mod daily_limits;
pub mod explanation;
pub mod owned;
pub mod record;
