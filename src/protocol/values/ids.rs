//! Identifiers that every layer shares.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::secret::AuthKey;

/// Identity of an authorization key: the low 64 bits of its SHA-1, as MTProto sends it in clear
/// at the head of every encrypted packet (<https://core.telegram.org/mtproto/description>).
///
/// The registry of connections is keyed by it: two session ids that carry the same key are one
/// account, because Telegram ends a session for good when its key is connected twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AuthKeyId(pub u64);

impl AuthKeyId {
    /// Derives the identity of `key`.
    pub fn of(key: &AuthKey) -> Self {
        let digest = Sha1::digest(key.expose());
        let mut low = [0u8; 8];
        low.copy_from_slice(&digest[12..20]);
        Self(u64::from_le_bytes(low))
    }
}

impl fmt::Display for AuthKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for AuthKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthKeyId({self})")
    }
}

/// The id under which the backend knows a session. Several may name one [`AuthKeyId`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub String);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}

/// Milliseconds since the Unix epoch, UTC. Always handed in, never read here.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Whole seconds, rounded down, as Telegram dates messages.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved by `ms` milliseconds.
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}
