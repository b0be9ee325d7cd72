//! What can be checked of a store before its database is touched. Owns the order of these checks; writes nothing.

use super::directory;
use crate::store::contract::{StoreError, StoreOptions};
use crate::store::engines::disk;
use crate::store::keys::RootKey;

/// Refuses the format of a newer program, a key that cannot be used, things in the way, a database that is
/// gone. Returns the root key, and whether the store was in use before.
pub(in crate::store) fn check(options: &StoreOptions) -> Result<(RootKey, bool), StoreError> {
    let used = directory::read_marker(&options.path)?;
    let key = RootKey::read_first(&options.path, &options.key, &options.previous_keys, used)?;
    let database = disk::directory(&options.path);
    disk::refuse_if_aside(&database)?;
    disk::refuse_what_is_in_the_way(&database)?;
    if used && !disk::holds_database(&database) {
        return Err(StoreError::Emptied { path: options.path.clone() });
    }
    Ok((key, used))
}
