//! `telewarden`: a session supervisor daemon for Telegram accounts and bots.
//!
//! Layers import one way only: `protocol` ← `store`, `secrets`, `telegram` ← `actors` ← `edge`, `cli` ← `app` ← `main`.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests wait for real things"))]

pub mod actors;
pub mod app;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod edge;
pub mod exposure;
pub mod failpoint;
pub mod logging;
pub mod protocol;
pub mod secrets;
pub mod store;
pub mod tasks;
pub mod telegram;
