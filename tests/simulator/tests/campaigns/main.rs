//! Reaching people as campaigns do: address books, invitations, messages to strangers, links.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

mod contacts;
mod inviting;
mod limits;
mod links;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod writing;
