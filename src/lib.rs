//! `telewarden`: a session supervisor daemon for Telegram accounts and bots.
//!
//! Layers import one way only: `protocol` ← `store`, `secrets`, `telegram` ← `actors` ← `edge`, `cli` ← `app` ← `main`.

pub mod actors;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod edge;
pub mod failpoint;
pub mod logging;
pub mod protocol;
pub mod secrets;
pub mod store;
pub mod telegram;
