//! Monitored chats: which session listens and what follows when it loses access (`failover`), which messages have
//! been published (`cursor`), and what is kept of both. Losses and messages come in; what the monitor's actor is
//! to do, and what is new, goes out.

pub mod cursor;
pub mod failover;
pub mod record;
