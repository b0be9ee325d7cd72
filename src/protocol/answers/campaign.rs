//! A campaign as those are told of it who may see it. Plain data.

use crate::protocol::campaigns::account::AccountStatus;
use crate::protocol::campaigns::caps::Budget;
use crate::protocol::campaigns::choose::TaskHold;
use crate::protocol::campaigns::target::{Statistics, Target, TargetId};
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
    /// What holds it, if it runs and nothing is done for it.
    pub held: Option<TaskHold>,
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
    /// The first of those who were accepted; the others follow it.
    pub first: Option<TargetId>,
}

/// What came of adding one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedTarget {
    /// They, as they are now.
    pub target: Target,
    /// Whether they were not in the list before.
    pub is_new: bool,
    /// Whether they were added before under the same idempotency key.
    pub is_replayed: bool,
}

/// How all campaigns of a user stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CampaignsHealth {
    /// How many tasks have which status.
    pub tasks: Vec<(TaskStatus, u64)>,
    /// How many may run at once.
    pub running_max: u32,
    /// Tasks that do nothing until somebody does something, the newest first; not all, where they are many.
    pub held: Vec<HeldTask>,
    /// How many others there are.
    pub held_left_out: u64,
    /// How many accounts have which status.
    pub accounts: Vec<(AccountStatus, u64)>,
    /// What holds accounts now, in words, and how many.
    pub accounts_held: Vec<(&'static str, u64)>,
    /// What is left of each budget in the next 24 hours, of all accounts that may work.
    pub left: Vec<(Budget, u64)>,
}

/// A task that does nothing until somebody does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldTask {
    /// Which one.
    pub task: TaskId,
    /// Its title.
    pub title: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// Why it is paused, if it is.
    pub because: Option<PauseReason>,
    /// Why its actor does not run, where it crashed too often.
    pub error: Option<String>,
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
