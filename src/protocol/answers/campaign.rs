//! A campaign as those are told of it who may see it. Plain data.

use crate::protocol::campaigns::account::AccountStatus;
use crate::protocol::campaigns::caps::Budget;
use crate::protocol::campaigns::target::{Statistics, TargetId};
use crate::protocol::campaigns::task::{PauseReason, Priority, Task, TaskId, TaskStatus};
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::UnixMillis;

/// What is told of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignInfo {
    /// The task.
    pub task: Task,
    /// Whose it is, where somebody is told who sees more than their own.
    pub owner: Option<UserId>,
    /// How many targets have which status.
    pub statistics: Statistics,
    /// Why its actor does not run, where it crashed too often.
    pub error: Option<String>,
}

/// What is told of a campaign that fares otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CampaignChange {
    /// Which one.
    pub task: TaskId,
    /// Where it stands.
    pub status: TaskStatus,
    /// Who goes first.
    pub priority: Priority,
    /// How many targets have which status.
    pub statistics: Statistics,
    /// Why it is paused, if it is.
    pub paused_because: Option<PauseReason>,
    /// Why its actor does not run, where it crashed too often.
    pub error: Option<String>,
}

/// An account in the eyes of campaigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignAccountInfo {
    /// Which one.
    pub account: AccountId,
    /// How it stands.
    pub status: AccountStatus,
    /// What is left of each budget in the next 24 hours.
    pub left: Vec<(Budget, u32)>,
    /// What holds it, in words, and until when, if time alone ends that.
    pub held: Option<(&'static str, Option<UnixMillis>)>,
}

/// What came of adding people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Those who are in the list now and were not before.
    pub accepted: u64,
    /// Those who were in it.
    pub duplicates: u64,
    /// Those for whom the task has no room any more.
    pub beyond: u64,
}

/// What somebody would be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// For whom.
    pub target: TargetId,
    /// The text with its markup, or why there is none.
    pub text: Result<PreviewText, String>,
}

/// A text as one person would get it.
#[derive(Clone, PartialEq, Eq)]
pub struct PreviewText {
    /// With its markup.
    pub source: String,
    /// Whether there is a link in it: the smaller cap holds.
    pub has_link: bool,
}

/// Texts to people are not for logs.
impl std::fmt::Debug for PreviewText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreviewText").field("has_link", &self.has_link).finish_non_exhaustive()
    }
}
