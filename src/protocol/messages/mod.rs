//! Messages: what one is, whom one is for, and what is kept of one that was sent.

pub mod message;
pub mod outgoing;
pub mod record;
pub mod target;
