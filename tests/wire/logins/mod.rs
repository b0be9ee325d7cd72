//! Connecting accounts: by code and password, QR, bot token and session; what interrupts it, and what it leaves.

pub(crate) mod connecting;
mod floors;
mod interrupted;
mod replaced;
