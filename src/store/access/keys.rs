//! Rotations of the keys, as the daemon asks for them. The work is in the room `keys`.

use crate::protocol::values::ids::UnixMillis;

use super::reader::Reader;
use super::store::Store;
use crate::store::contract::{KeyStatus, RotateError, Rotated, StoreError};
use crate::store::keys;

impl Store {
    /// Makes a new generation of keys and wraps everything for it; returns once nothing that an
    /// older one wraps is left, and those are gone. Everything stays readable all the time; commits
    /// go on. One rotation runs at a time; another one waits for it. Dropping the future does not
    /// undo what has begun.
    ///
    /// # Errors
    /// When the root or the disk fails, or the store is closed.
    pub async fn rotate_key(&self) -> Result<Rotated, RotateError> {
        keys::rotate(&self.shared).await
    }

    /// Replaces the root in the store's own key file by a new one, as after somebody may have read
    /// it, and makes a new generation. A copy of the old file opens nothing that is stored later.
    ///
    /// # Errors
    /// As [`Store::rotate_key`]; and when the root comes from elsewhere.
    pub async fn rotate_root(&self) -> Result<Rotated, RotateError> {
        keys::replace_root(&self.shared).await
    }

    /// When the newest generation of keys was made. Reads nothing from disk, and waits for nobody who does.
    pub fn key_created_at(&self) -> UnixMillis {
        self.shared.keys.created_at()
    }
}

impl Reader {
    /// What there is to say about the keys. Reads all sealed records while a rotation is under way.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn key_status(&self) -> Result<KeyStatus, StoreError> {
        keys::status(&self.shared.keys, &*self.shared.engine)
    }
}
