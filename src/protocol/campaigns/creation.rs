//! What was made under an idempotency key: a repetition within a day makes nothing and is told of the same. Plain data.

use serde::{Deserialize, Serialize};

use super::respect::SuppressionId;
use super::target::TargetId;
use super::task::TaskId;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::UnixMillis;

/// How long it is known what was made under an idempotency key, milliseconds (24 h).
pub const CREATIONS_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// The key under which somebody asks for something to be made, and what they ask for.
#[derive(Clone, PartialEq, Eq)]
pub struct CreationKey {
    /// As the caller drew it.
    pub key: String,
    /// Of all that was asked for.
    pub body: Fingerprint,
}

/// Keys are not for logs.
impl std::fmt::Debug for CreationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreationKey").finish_non_exhaustive()
    }
}

impl CreationKey {
    /// The record of it, as long as nothing is made. `what` tells apart what one key may be used for: the same key
    /// for something else is another.
    pub fn record(&self, user: &UserId, what: &str, created_at: UnixMillis) -> CreationRecord {
        let key = self.key.as_bytes();
        CreationRecord {
            user: user.clone(),
            key: Fingerprint::of([user.as_str().as_bytes(), what.as_bytes(), key]),
            // It covers the key, too, so that nobody who has a copy of the store can try requests against it.
            request: Fingerprint::of([key, &self.body.0]),
            made: None,
            is_whole: false,
            created_at,
        }
    }
}

/// What is kept of something that was made under an idempotency key: neither the key nor what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreationRecord {
    /// Whose it is.
    pub user: UserId,
    /// Names the idempotency key.
    pub key: Fingerprint,
    /// Tells whether a repetition asks for the same.
    pub request: Fingerprint,
    /// What was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// Whether it is whole: what is made in pieces is gone on with by a repetition.
    pub is_whole: bool,
    /// When it was asked for.
    pub created_at: UnixMillis,
}

impl CreationRecord {
    /// The record of it, once it is whole.
    #[must_use]
    pub fn whole(self, made: Made) -> Self {
        Self { made: Some(made), is_whole: true, ..self }
    }
}

/// Something that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// A task.
    Task(TaskId),
    /// People were added to a task.
    Targets {
        /// Those who were not in the list.
        accepted: u64,
        /// Those who were.
        duplicates: u64,
        /// Those for whom there was no room.
        beyond: u64,
        /// The first of those who were accepted; the others follow it.
        first: Option<TargetId>,
    },
    /// An entry of a list of who is never contacted.
    Suppression {
        /// Which one.
        id: SuppressionId,
        /// Whether it was not there before.
        is_new: bool,
    },
    /// Entries of such a list.
    Suppressions {
        /// Those who were not on the list.
        accepted: u64,
        /// Those who were.
        duplicates: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_users_uses_keys_and_requests_apart_and_keeps_none_of_them() {
        let (ann, bob) = (UserId::new("ann").unwrap(), UserId::new("bob").unwrap());
        let key = |key: &str, body: &str| CreationKey {
            key: key.to_owned(),
            body: Fingerprint::of([body.as_bytes()]),
        };
        let record = |key: CreationKey, user: &UserId, what| key.record(user, what, UnixMillis(1));
        let one = record(key("k3y", "b0dy"), &ann, "task");
        assert_eq!(one, record(key("k3y", "b0dy"), &ann, "task"));
        for other in [
            record(key("k3y", "b0dy"), &bob, "task"),
            record(key("k3y", "b0dy"), &ann, "targets"),
            record(key("other", "b0dy"), &ann, "task"),
        ] {
            assert_ne!(other.key, one.key);
        }
        let changed = record(key("k3y", "other"), &ann, "task");
        assert_eq!((changed.key, changed.request != one.request), (one.key, true));
        let json = serde_json::to_string(&one).unwrap();
        assert!(!json.contains("k3y") && !format!("{:?}", key("k3y", "b0dy")).contains("k3y"));
    }
}
