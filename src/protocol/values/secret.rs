//! Secrets in memory: never printed, wiped on drop.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

/// Length of an MTProto authorization key in bytes.
pub const AUTH_KEY_LEN: usize = 256;

/// Shortest secret that signs tokens, in bytes: as long as the hash (RFC 7518 section 3.2).
pub const TOKEN_SECRET_BYTES_MIN: usize = 32;

/// An MTProto authorization key. Whoever has it is the account, so it has no revealing `Debug`
/// and is wiped when dropped. (grammers copies keys without wiping; that is outside our reach.)
#[derive(Clone)]
pub struct AuthKey(Box<Zeroizing<[u8; AUTH_KEY_LEN]>>);

impl AuthKey {
    /// Takes over the key's bytes.
    pub fn new(bytes: [u8; AUTH_KEY_LEN]) -> Self {
        Self(Box::new(Zeroizing::new(bytes)))
    }

    /// The raw bytes, for the wire and for sealing only.
    pub fn expose(&self) -> &[u8; AUTH_KEY_LEN] {
        &self.0
    }
}

impl PartialEq for AuthKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for AuthKey {}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey([redacted])")
    }
}

/// A secret text such as an `api_hash`: no revealing `Debug`, wiped when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes over `text`.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the wire and for sealing only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Hash for SecretText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText([redacted])")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Writes `value` as JSON into a buffer that is wiped, and that never grows: what grows leaves copies
/// behind.
///
/// # Errors
/// When `value` cannot be JSON.
pub fn to_json(value: &impl Serialize) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value)?;
    let mut json = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *json, value)?;
    Ok(json)
}

/// Counts what is written, and keeps none of it.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends `part`; a buffer that is too small is wiped when a larger one takes its place.
pub fn append(buffer: &mut Zeroizing<Vec<u8>>, part: &[u8]) {
    let needed = buffer.len() + part.len();
    if needed > buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(buffer.capacity() * 2)));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(part);
}
