//! What can be asked of the keys, and what a rotation answers. Plain data.

use crate::protocol::values::ids::UnixMillis;

use super::error::StoreError;

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The number of the new generation; they are counted from 1.
    pub generation: u32,
    /// What tells it from others: 8 hexadecimal digits, no secret.
    pub id: String,
    /// Records wrapped anew.
    pub records: u64,
}

/// What there is to say about the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Where the root comes from, in words, e.g. `the key file /etc/telewarden/key`.
    pub provider: String,
    /// The number of the newest generation; they are counted from 1.
    pub generation: u32,
    /// What tells it from others: 8 hexadecimal digits, no secret.
    pub id: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When a rotation was last complete; `None` before the first.
    pub last_rotation: Option<UnixMillis>,
    /// Records that are sealed under an older key; 0 unless a rotation is under way.
    pub pending: u64,
}

/// Why a rotation was not made, or not finished.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// Nothing was changed.
    #[error("rotate the keys: {0}; nothing was changed, and everything stays readable")]
    Unchanged(StoreError),
    /// It is under way, and the next start finishes it.
    #[error(
        "finish the rotation of the keys: {0}; everything stays readable, and the next start \
             goes on with it"
    )]
    Unfinished(StoreError),
    /// The root is not the daemon's to replace.
    #[error(
        "replace the root key, because it comes from {origin}: make a new key there, let \
         secrets.previous_key_file name a file with the old one, and start again"
    )]
    NotOurs {
        /// Where it comes from.
        origin: String,
    },
}
