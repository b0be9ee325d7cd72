//! Questions to the audit log and their answers. Plain data; what an audit event means is in
//! `protocol/audit`.

use serde::{Deserialize, Serialize};

use crate::protocol::audit::log::{Entry, Hash, ORIGIN};
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;

/// Where the chain ends, or where what was trimmed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLogPosition {
    /// The entry's number; 0 before the first.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Default for AuditLogPosition {
    fn default() -> Self {
        Self { number: 0, hash: ORIGIN }
    }
}

/// Which entries to return.
#[derive(Clone, Debug, Default)]
pub struct AuditLogQuery {
    /// Only those about this user.
    pub user: Option<UserId>,
    /// Only those before this number.
    pub before: Option<u64>,
    /// Only those at this moment or later.
    pub since: Option<UnixMillis>,
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Only those of this action.
    pub action: Option<String>,
    /// As many at the most.
    pub limit: usize,
}

/// Some entries, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditLogPage {
    /// The entries, the newest first.
    pub entries: Vec<Entry>,
    /// The number before which the next page begins; `None` when there is no more.
    pub next: Option<u64>,
}

/// What verifying the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLogReport {
    /// Entries that were looked at.
    pub entries: u64,
    /// Of these, pseudonymised ones.
    pub pseudonymised: u64,
    /// What was trimmed before them.
    pub trimmed: AuditLogPosition,
    /// The newest entry.
    pub head: AuditLogPosition,
    /// What is wrong, the newest first; empty when the log is whole.
    pub faults: Vec<String>,
}
