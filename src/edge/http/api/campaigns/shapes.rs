//! What the API gives of campaigns, as JSON (the contract's shapes). Plain data.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::edge::http::api::shapes::Time;

/// A campaign.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Task {
    /// Its id.
    pub id: Uuid,
    /// Whose it is; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where it stands: `draft`, `scheduled`, `running`, `paused`, `completed`, `cancelled`, `failed`.
    pub status: String,
    /// Why it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<String>,
    /// The messenger.
    pub platform: String,
    /// `invite_to_group` or `send_messages`.
    pub task_type: String,
    /// For people.
    pub title: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `high`, `normal` or `low`.
    pub priority: String,
    /// Where people are invited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_group_id: Option<i64>,
    /// What people are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_template: Option<String>,
    /// Counts the changes of the text.
    pub text_version: u32,
    /// By whom.
    pub account_ids: Vec<Uuid>,
    /// How these people agreed.
    pub audience_basis: String,
    /// Whether that was confirmed for these people: a duplicate's is not.
    pub is_basis_confirmed: bool,
    /// How it works.
    pub settings: Value,
    /// When it starts by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Time>,
    /// The IANA time zone in which that is a wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How late it started, seconds, when that was worth saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_seconds: Option<i64>,
    /// When it was made.
    pub created_at: Time,
    /// When it started first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Why it was completed at once: `no_targets` (nobody is in its list) or `nobody_pending` (all of them have come to
    /// an end before).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_because: Option<String>,
    /// What holds it, if it runs and nothing is done for it just now: `pause` (between two actions of an account),
    /// `hour_cap`, `day_cap`, `quiet_hours`, `calendar`, `flood_wait`, `account_limited`, `account_away`,
    /// `account_gone`, `account_busy`, `own_work`, `phone_lookups`, `no_account`, `breaker`, `parallel`, `settling` (all
    /// that is left is uncertain) or `later`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "day_cap")]
    pub held_by: Option<String>,
    /// Until when, if time alone ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Time>,
    /// Why nothing is done although it runs: it crashed too often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a campaign is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Progress {
    /// All targets.
    pub total: u64,
    /// Those for whom nothing follows.
    pub done: u64,
    /// Invited, requested or sent.
    pub succeeded: u64,
    /// Refused.
    pub refused: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped.
    pub skipped: u64,
    /// Pending, in flight or uncertain.
    pub pending: u64,
}

/// How a campaign stands.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct TaskStatus {
    /// Where it stands.
    pub status: String,
    /// How far it is.
    pub progress: Progress,
    /// How long it still takes, seconds, while it runs. Absent, too, where it would not end as things are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate_seconds: Option<u64>,
    /// Why it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<String>,
    /// Why it was completed at once: `no_targets` or `nobody_pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_because: Option<String>,
    /// What holds it, if it runs and nothing is done for it just now: as of the campaign.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "day_cap")]
    pub held_by: Option<String>,
    /// Until when, if time alone ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Time>,
    /// Why nothing is done although it runs: it crashed too often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How many targets have which status.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct TargetStatistics {
    /// All.
    pub total: u64,
    /// By status.
    pub by_status: Value,
}

/// Somebody whom a campaign is for.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct TargetView {
    /// Its place in the campaign.
    pub id: u32,
    /// Who it is: `@name`, `+7…` or an id.
    pub identifier: String,
    /// `pending`, `in_flight`, `invited`, `requested`, `sent`, `refused`, `failed`, `skipped` or `uncertain`.
    pub status: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Another one whenever it was changed, for `If-Match`.
    pub version: String,
    /// Calls that were tried.
    pub attempts: u16,
    /// The account that tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<Uuid>,
    /// Telegram's id of the person, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// The message that reached them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<i32>,
    /// Version of the text that they were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_version: Option<u32>,
    /// First name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// Public name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// The IANA time zone they are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whatever else came with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// What came of adding people.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct AddedTargets {
    /// Those who are in the list now and were not before.
    pub accepted: u64,
    /// Those who were in it.
    pub duplicates: u64,
    /// Those who are not in it, and why.
    pub rejected: Vec<RejectedTarget>,
}

/// Somebody who was not added.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct RejectedTarget {
    /// Which one, from 1; of a file the line.
    pub line: u64,
    /// As it was given.
    pub value: String,
    /// Why.
    pub reason: String,
}

/// An attempt to reach somebody.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct AttemptView {
    /// Which attempt of the campaign, from 0.
    pub number: u64,
    /// Whom.
    pub target_id: u32,
    /// By which account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<Uuid>,
    /// What was tried: `resolve`, `look_up_phone`, `add_contact`, `invite`, `send`, `send_link`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// When.
    pub at: Time,
    /// How long the answer took, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u32>,
    /// What the target became.
    pub status: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Telegram's name for what it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Version of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_version: Option<u32>,
}

/// A text as one person would get it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct PreviewView {
    /// For whom.
    pub target_id: u32,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whether there is a link in it: the smaller cap holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_link: Option<bool>,
    /// Why there is no text, and the person would be skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An account that campaigns may use.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct AccountView {
    /// Which one.
    pub account_id: Uuid,
    /// `active`, `cooldown`, `limited` or `blocked`.
    pub status: String,
    /// What is left of each budget within 24 hours.
    pub left: Value,
    /// What holds it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Until when, if time alone ends that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Time>,
}

/// For how many something was done.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Done {
    /// How many.
    pub done: u64,
}
