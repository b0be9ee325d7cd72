//! The bridge's links to the broker, kept running.

pub(super) mod links;
