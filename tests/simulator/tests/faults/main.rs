//! Faults on demand, and the violations they provoke in clients that do not behave.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

mod asked;
mod clocks;
mod connections;
#[path = "../support/mod.rs"]
mod support;
mod updates;
mod waits;
