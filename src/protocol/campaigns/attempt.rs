//! The log of a task: every attempt to reach somebody, as it is kept for a while and told. Plain data.

use serde::{Deserialize, Serialize};

use super::target::{Reason, Step, TargetId, TargetStatus};
use super::task::TaskId;
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::UnixMillis;

/// How long an attempt is kept, milliseconds (30 days).
pub const ATTEMPTS_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// One attempt, and what came of it. Holds no text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Whose it is.
    pub user: UserId,
    /// The task.
    pub task: TaskId,
    /// Which attempt of the task, from 0.
    pub number: u64,
    /// Whom.
    pub target: TargetId,
    /// By which account; `None` where none was needed (a suppressed person, say).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// What was tried; `None` where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// When it began, on the wall clock.
    pub at: UnixMillis,
    /// How long the answer took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u32>,
    /// What the target became.
    pub status: TargetStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The messenger's name for what it answered, such as `USER_PRIVACY_RESTRICTED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Version of the task's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_version: Option<u32>,
}
