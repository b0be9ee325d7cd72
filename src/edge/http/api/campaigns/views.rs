//! From what the core tells of campaigns to the API's shapes. Pure.

use serde_json::{Map, Value, json};

use super::parse::name_of;
use super::shapes::{
    AccountView, AddedTargets, AttemptView, PreviewView, Progress, RejectedTarget,
    TargetStatistics, TargetView, Task, TaskStatus,
};
use crate::edge::http::api::shapes::Time;
use crate::protocol::answers::campaign::{
    Added, CampaignAccountInfo, CampaignInfo, Preview, PreviewText,
};
use crate::protocol::campaigns::attempt::AttemptRecord;
use crate::protocol::campaigns::choose::TaskHold;
use crate::protocol::campaigns::target::{STATUSES, Statistics, Target};

pub(super) fn task(info: CampaignInfo) -> Task {
    let CampaignInfo { task, owner, held, error, .. } = info;
    let (held_by, held_until) = held_of(held);
    let scheduled_at = task.schedule.as_ref().map(|schedule| Time(schedule.instant()));
    let zone = task.schedule.as_ref().map(|schedule| schedule.zone.name().to_owned());
    Task {
        id: task.id.0,
        owner: owner.map(|owner| owner.to_string()),
        status: name_of(task.status),
        paused_because: task.paused_because.map(name_of),
        platform: task.platform,
        task_type: name_of(task.task_type),
        title: task.title,
        description: task.description,
        priority: name_of(task.priority),
        target_group_id: task.target_group_id.map(|group| group.0),
        message_template: task.message_template,
        text_version: task.text_version,
        account_ids: task.account_ids.into_iter().map(|account| account.0).collect(),
        audience_basis: task.audience_basis,
        is_basis_confirmed: task.is_basis_confirmed,
        settings: serde_json::to_value(&task.settings).unwrap_or_default(),
        scheduled_at,
        zone,
        late_seconds: task.late_ms.map(|late| late / 1_000),
        created_at: Time(task.created_at),
        started_at: task.started_at.map(Time),
        completed_at: task.completed_at.map(Time),
        completed_because: task.completed_because.map(name_of),
        held_by,
        held_until,
        error,
    }
}

/// What holds a task, by name, and until when.
fn held_of(held: Option<TaskHold>) -> (Option<String>, Option<Time>) {
    let name = held.map(|held| held.by.name().to_owned());
    (name, held.and_then(|held| held.until).map(Time))
}

pub(super) fn progress(statistics: &Statistics) -> Progress {
    let counted = statistics.progress();
    Progress {
        total: counted.total,
        done: counted.done,
        succeeded: counted.succeeded,
        refused: counted.refused,
        failed: counted.failed,
        skipped: counted.skipped,
        pending: counted.pending,
    }
}

pub(super) fn task_status(info: CampaignInfo, estimate_seconds: Option<u64>) -> TaskStatus {
    let (held_by, held_until) = held_of(info.held);
    TaskStatus {
        status: name_of(info.task.status),
        progress: progress(&info.statistics),
        estimate_seconds,
        paused_because: info.task.paused_because.map(name_of),
        completed_because: info.task.completed_because.map(name_of),
        held_by,
        held_until,
        error: info.error,
    }
}

pub(super) fn statistics(statistics: &Statistics) -> TargetStatistics {
    let by_status: Map<String, Value> = STATUSES
        .into_iter()
        .map(|status| (name_of(status), json!(statistics.count(status))))
        .collect();
    TargetStatistics { total: statistics.total(), by_status: Value::Object(by_status) }
}

pub(super) fn target(target: Target) -> TargetView {
    let version = format!("{:016x}", target.version());
    let account_id = target.tried().map(|intent| intent.account.0);
    let details = target.details.map(|details| *details).unwrap_or_default();
    let text = |text: Option<Box<str>>| text.map(String::from);
    TargetView {
        id: target.id.0,
        identifier: target.identifier.to_string(),
        status: name_of(target.status),
        reason: target.reason.map(name_of),
        attempts: target.attempts,
        account_id,
        version,
        user_id: target.person,
        message_id: target.message_id,
        text_version: target.text_version,
        first_name: text(details.first_name),
        last_name: text(details.last_name),
        username: text(details.username),
        phone: text(details.phone),
        zone: text(details.zone),
        data: details.data.and_then(|data| serde_json::from_str(&data).ok()),
    }
}

pub(super) fn added(
    added: Added,
    mut rejected: Vec<RejectedTarget>,
    beyond_at: u64,
) -> AddedTargets {
    if added.beyond > 0 {
        rejected.push(RejectedTarget {
            line: beyond_at,
            value: String::new(),
            reason: format!(
                "the task has no room for the last {} of them (campaign.max_targets)",
                added.beyond
            ),
        });
    }
    AddedTargets { accepted: added.accepted, duplicates: added.duplicates, rejected }
}

pub(super) fn attempt(attempt: AttemptRecord) -> AttemptView {
    AttemptView {
        number: attempt.number,
        target_id: attempt.target.0,
        account_id: attempt.account.map(|account| account.0),
        step: attempt.step.map(name_of),
        at: Time(attempt.at),
        took_ms: attempt.took_ms,
        status: name_of(attempt.status),
        reason: attempt.reason.map(name_of),
        code: attempt.code,
        text_version: attempt.text_version,
    }
}

pub(super) fn preview(preview: Preview) -> PreviewView {
    let target_id = preview.target.0;
    match preview.text {
        Ok(PreviewText { source, has_link }) => {
            PreviewView { target_id, text: Some(source), has_link: Some(has_link), problem: None }
        }
        Err(problem) => {
            PreviewView { target_id, text: None, has_link: None, problem: Some(problem) }
        }
    }
}

pub(super) fn account(info: CampaignAccountInfo) -> AccountView {
    let left: Map<String, Value> =
        info.left.into_iter().map(|(budget, left)| (name_of(budget), json!(left))).collect();
    let (held, until) = info.held.unzip();
    AccountView {
        account_id: info.account.0,
        status: name_of(info.status),
        left: Value::Object(left),
        held: held.map(str::to_owned),
        held_until: until.flatten().map(Time),
    }
}
