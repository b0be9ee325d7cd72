//! What is Telegram's own: how chats and links are written, its session strings, its table of failures, its flood
//! waits and classes of methods, its numbered updates, its clock, its freezes. Another messenger would have a
//! room like this one beside it. Text and codes of Telegram come in; classes, deadlines and positions go out.
//! Never names the library.

pub mod acknowledged;
pub mod chat;
pub mod failure;
pub mod freeze;
mod links;
pub mod pacing;
pub mod server_time;
pub mod session_string;
pub mod updates;
