//! Logging in, as a grammers client does it that has a key but is nobody yet.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

mod codes;
mod datacenters;
mod passwords;
mod recovery;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
