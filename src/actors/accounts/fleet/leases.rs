//! Leases of keys that no account has yet: a login makes a key, or brings one along, and holds its lease until the
//! account takes the key over. Owns which lease is whose, so that nobody dials a key beside its login.

use std::collections::HashMap;

use crate::protocol::values::ids::AuthKeyId;
use crate::telegram::{ConnectionLease, WeakLease};

/// The leases that logins have.
#[derive(Debug, Default)]
pub(super) struct Leases(HashMap<AuthKeyId, WeakLease>);

impl Leases {
    /// Remembers that somebody has this lease, for as long as that one keeps it.
    pub(super) fn lend(&mut self, key: AuthKeyId, lease: &ConnectionLease) {
        self.0.retain(|_, lease| !lease.is_over());
        self.0.insert(key, lease.downgrade());
    }

    /// The lease of a key: the one that a login has, if there is one. It is not remembered any more.
    pub(super) fn take(&mut self, key: AuthKeyId) -> ConnectionLease {
        let lent = self.0.remove(&key).and_then(|lease| lease.upgrade());
        lent.unwrap_or_default()
    }
}
