//! Webhooks as a whole: what arrives, what fails, and what their users may do with them.

mod arriving;
mod failing;
mod fixture;
mod managing;
