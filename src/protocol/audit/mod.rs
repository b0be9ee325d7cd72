//! The audit log: its events, and the chain that shows whether one was changed or removed.

pub mod log;
