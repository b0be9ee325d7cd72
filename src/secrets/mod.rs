//! Where secrets come from: the choice of the key that wraps all others, and secrets that lie in
//! Vault. Owns the talking to Vault; never keeps a secret longer than it is needed, never logs one,
//! and never decides what a secret is used for.

mod choose;
#[cfg(test)]
pub(crate) mod freed;
mod resolve;
mod variable;
pub mod vault;

pub use choose::{Chosen, choose};
pub use resolve::resolve;
pub use variable::{hidden_key_variable, hide_key_variable};
