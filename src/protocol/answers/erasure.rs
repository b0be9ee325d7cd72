//! What is kept of the erasing of a user until it is through, so that a crash does not end it half-way.
//! Plain data.

use serde::{Deserialize, Serialize};

use crate::protocol::audit::log::AuditEvent;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;

/// A user who is being erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// The user.
    pub user: UserId,
    /// What takes the user's place in the audit log.
    pub pseudonym: UserId,
    /// The admin who asked for it; `None`: the users themselves, who are not named.
    pub asked_by: Option<UserId>,
    /// From where the admin did.
    pub address: Option<String>,
    /// When it began.
    pub at: UnixMillis,
}

impl Erasure {
    /// The line that tells of it in the audit log, which names nobody who is erased.
    pub fn audit_event(&self) -> AuditEvent {
        AuditEvent {
            at: self.at,
            actor: self.asked_by.clone().unwrap_or_else(|| self.pseudonym.clone()),
            owner: self.pseudonym.clone(),
            action: "user.erase".to_owned(),
            target: Some(self.pseudonym.to_string()),
            address: self.address.clone(),
            outcome: "ok".to_owned(),
            details: None,
        }
    }
}
