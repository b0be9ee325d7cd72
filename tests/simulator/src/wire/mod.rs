//! The bytes on the wire: framing, encryption, key exchange, message envelopes.
//!
//! Everything here is pure: it never touches a socket, a clock or the state of the simulated world,
//! and shares no code with the daemon, so that a misreading of the protocol cannot hide in both.

pub(crate) mod crypto;
pub(crate) mod envelope;
pub(crate) mod handshake;
pub(crate) mod rsa;
pub(crate) mod srp;
pub(crate) mod transport;
