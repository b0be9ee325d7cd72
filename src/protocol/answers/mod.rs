//! What is answered: accounts, logins and monitors as those are told of them who may see them, refusals, and what is
//! kept of a request that takes long. Owns what may be told; never a wire's form of it. The only room here that
//! knows all the others' failures; of the others only the feed knows it.

pub mod account;
pub mod campaign;
pub mod campaign_report;
pub mod erasure;
pub mod login;
pub mod monitor;
pub mod refusal;
pub mod suppression;
