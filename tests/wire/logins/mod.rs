//! Connecting accounts: by code and password, QR, bot token and session; codes that are sent once more and passwords
//! that were forgotten; what interrupts it, and what it leaves.

pub(crate) mod connecting;
mod floors;
mod interrupted;
pub(crate) mod recovery;
mod replaced;
