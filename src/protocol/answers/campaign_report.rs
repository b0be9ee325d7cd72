//! What is told of how a campaign fares and would fare: counts, the dry run, what a report begins with. Plain data.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::protocol::campaigns::account::AccountStatus;
use crate::protocol::campaigns::forecast::Limit;
use crate::protocol::campaigns::links::LinkUses;
use crate::protocol::campaigns::tally::Tally;
use crate::protocol::campaigns::target::{Reason, Statistics, Target, TargetId};
use crate::protocol::campaigns::task::Task;
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::UnixMillis;

/// How a campaign fares, in numbers of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignCounts {
    /// How many targets have which status.
    pub statistics: Statistics,
    /// The same by outcome and by account.
    pub tally: Tally,
    /// Attempts so far.
    pub attempts: u64,
    /// When the newest of them was.
    pub last_attempt_at: Option<UnixMillis>,
}

/// What a report begins with; its targets come in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportHead {
    /// The task.
    pub task: Task,
    /// Whose it is, where somebody is told who sees more than their own.
    pub owner: Option<UserId>,
    /// The numbers.
    pub counts: CampaignCounts,
    /// What its accounts are called, as far as they are still there.
    pub names: BTreeMap<AccountId, String>,
    /// Who came by the invite links that it has sent, where that was asked for and is known.
    pub link_uses: Option<LinkUses>,
    /// When it was put together.
    pub made_at: UnixMillis,
}

/// Some targets of a report, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportPiece {
    /// The targets.
    pub targets: Vec<Target>,
    /// Where the next piece begins; `None`: that was all.
    pub next: Option<u32>,
}

/// What would become of a campaign. Nothing was sent for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun {
    /// How many targets have which status now.
    pub statistics: Statistics,
    /// Who would be contacted.
    pub ready: u64,
    /// Who would not be, and why.
    pub skipped: BTreeMap<Reason, u64>,
    /// By whom.
    pub accounts: Vec<DryRunAccount>,
    /// Who comes first, as things are.
    pub first: Vec<DryRunPerson>,
    /// What binds, most first, in parts of a hundred of the accounts' time.
    pub binding: Vec<(Limit, u32)>,
    /// How long it would take from its start, milliseconds; `None`: it would not end, as things are.
    pub takes_ms: Option<i64>,
    /// When it starts by itself, if that is to come.
    pub starts_at: Option<UnixMillis>,
    /// What somebody should know before they start it.
    pub problems: Vec<Problem>,
    /// How many of the waiting targets were looked at, where it was not all: the counts are carried over to all.
    pub looked_at: Option<u64>,
}

/// What an account would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRunAccount {
    /// Which one.
    pub account: AccountId,
    /// What it is called.
    pub name: Option<String>,
    /// How it stands.
    pub status: AccountStatus,
    /// How many it would contact.
    pub would_contact: u64,
    /// How many more it may within 24 hours, as things are.
    pub left_today: u32,
    /// Whether it may invite to the group; `None`: nobody has to, or it is not known.
    pub may_invite: Option<bool>,
}

/// Who would be contacted by which account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRunPerson {
    /// Who.
    pub target: TargetId,
    /// As they are named.
    pub identifier: String,
    /// By whom.
    pub account: AccountId,
}

/// What is in the way of a campaign, or may come to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub code: ProblemCode,
    /// The same for people.
    pub detail: String,
    /// Which account has it.
    pub account: Option<AccountId>,
}

/// What may be in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// No account could act.
    NoAccounts,
    /// An account of the task does not exist any more.
    AccountMissing,
    /// An account's session is over or frozen.
    AccountGone,
    /// An account is not connected.
    AccountAway,
    /// An account may not invite to the group.
    NoRights,
    /// An account could not be asked about the group.
    NotAsked,
    /// The group is full, or takes no more additions.
    GroupFull,
    /// The group has moved.
    GroupMoved,
    /// Nobody would be contacted.
    NobodyReady,
    /// The audience basis is to be confirmed.
    BasisNotConfirmed,
    /// As many tasks run as may.
    TooManyRunning,
    /// Its time has passed for long.
    TooLate,
    /// Quiet hours, calendar and zones leave no time to contact people.
    NoContactTime,
    /// It would not end.
    NeverEnds,
    /// Some are known by name only: who they are shows when they are looked up.
    NotLookedUp,
    /// Some have no value yet that the text needs.
    MissingValues,
    /// The text is too long for some: the first of them pauses the task.
    TextTooLong,
    /// Not all targets were looked at.
    Sample,
}
