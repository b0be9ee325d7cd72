//! Messages: what one is, whom one is for, and what is kept of one that was sent. Owns these values and their bounds;
//! never how Telegram spells them, nor how a caller's request does. They come in from an edge or from Telegram, and go out
//! to the other.

pub mod message;
pub mod outgoing;
pub mod record;
pub mod target;
