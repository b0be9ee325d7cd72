//! The forms of bodies and queries about campaigns, for the OpenAPI document. They are never made: requests are taken
//! apart by `parse.rs` beside.

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// A campaign.
#[derive(ToSchema)]
#[schema(examples(json!({
    "platform": "telegram", "task_type": "send_messages", "title": "Meetup in May",
    "message_template": "Hi {first_name|friend}, we meet on Friday.",
    "account_ids": ["0192d3c4-0000-7000-8000-000000000001"],
    "audience_basis": "They signed up for invitations on our site."
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct PutTask {
    /// The messenger.
    #[schema(pattern = "^telegram$", default = "telegram")]
    platform: Option<String>,
    /// What it does.
    task_type: TaskTypeName,
    /// For people.
    #[schema(min_length = 1, max_length = 200)]
    title: String,
    /// For people.
    #[schema(max_length = 2000)]
    description: Option<String>,
    /// Where people are invited to: a marked id.
    target_group_id: Option<i64>,
    /// What people are written. `{username}`, `{first_name}`, `{last_name}` and `{phone}` are filled in;
    /// `{first_name|friend}` has something for those of whom it is not known.
    #[schema(max_length = 20480)]
    message_template: Option<String>,
    /// Who goes first: `high`, `normal`, `low`, or 1, 2, 3.
    priority: Option<PriorityForm>,
    /// When it starts by itself: RFC 3339 with an offset, or wall time with `zone`.
    scheduled_at: Option<String>,
    /// The IANA time zone of `scheduled_at`.
    zone: Option<String>,
    /// How it works.
    #[schema(inline)]
    settings: Option<TaskSettings>,
    /// By whom, each once.
    #[schema(max_items = 1000)]
    account_ids: Option<Vec<Uuid>>,
    /// How these people agreed, or why they are expected to welcome it.
    #[schema(min_length = 1, max_length = 2000)]
    audience_basis: String,
}

/// What a campaign does.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "names a form")]
pub(super) enum TaskTypeName {
    InviteToGroup,
    SendMessages,
}

/// How a campaign works.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct TaskSettings {
    /// Seconds between two actions of one account, at least. It never shortens the installation's.
    #[schema(minimum = 1, maximum = 86400)]
    min_pause_seconds: Option<u32>,
    /// Whether people who have to be a contact first are added. The account's own number is never shared.
    add_contacts: Option<bool>,
    /// Whether who could not be invited gets the group's invite link once as a message.
    link_fallback: Option<bool>,
    /// When nobody is contacted: `{"from": "22:00", "to": "08:00", "zone": "Europe/Moscow"}`.
    #[schema(inline)]
    quiet_hours: Option<QuietHoursForm>,
    /// On which days people are contacted: `{"weekdays": [1, 2], "holidays": ["2026-12-31"]}`.
    #[schema(inline)]
    calendar: Option<CalendarForm>,
    /// Time zones that the people may be in, when it is not known who is where.
    #[schema(max_items = 24)]
    zones: Option<Vec<String>>,
    /// Whether people whom another campaign has reached lately are contacted all the same.
    ignore_recontact: Option<bool>,
    /// Caps of this campaign in the place of the installation's, which hold for what is left out. Only an admin may set
    /// higher ones than those.
    #[schema(inline)]
    caps: Option<CapsForm>,
    /// A line below the text that says how to opt out.
    #[schema(max_length = 200)]
    opt_out_line: Option<String>,
    /// What somebody who has opted out is answered, once.
    #[schema(max_length = 200)]
    opt_out_confirmation: Option<String>,
}

/// When nobody is contacted, each day; it may go over midnight.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct QuietHoursForm {
    /// The first quiet minute, such as `22:00`.
    #[schema(max_length = 16)]
    from: String,
    /// The first minute that is not, such as `08:00`; another than `from`.
    #[schema(max_length = 16)]
    to: String,
    /// The IANA time zone, for people whose own is not known.
    zone: Option<String>,
}

/// On which days people are contacted.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct CalendarForm {
    /// From 1 (Monday) to 7; all when absent or empty.
    #[schema(max_items = 7)]
    weekdays: Option<Vec<u32>>,
    /// Days without, such as `2026-12-31`.
    #[schema(max_items = 400)]
    holidays: Option<Vec<String>>,
}

/// The most that one account does for a campaign.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct CapsForm {
    /// Inviting.
    #[schema(inline)]
    invite: Option<CapForm>,
    /// Writing; what has a link counts here, too.
    #[schema(inline)]
    message: Option<CapForm>,
    /// Writing with a link.
    #[schema(inline)]
    link_message: Option<CapForm>,
    /// Resolving usernames.
    #[schema(inline)]
    resolve: Option<CapForm>,
    /// Looking phone numbers up and adding contacts.
    #[schema(inline)]
    contact: Option<CapForm>,
}

/// The most of one kind.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct CapForm {
    /// In any 24 hours.
    per_day: Option<u32>,
    /// In any hour.
    per_hour: Option<u32>,
}

/// Who goes first.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "names a form")]
pub(super) enum PriorityForm {
    /// `high`, `normal` or `low`.
    Name(String),
    /// 1, 2 or 3.
    Number(u32),
}

/// Who somebody is.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "names a form")]
pub(super) enum IdentifierForm {
    /// A user id.
    Id(i64),
    /// A `@username`, a user id, or a phone number with `+`.
    Text(String),
}

/// People to be added.
#[derive(ToSchema)]
#[schema(examples(json!({"targets": [{"identifier": "@durov", "first_name": "Pavel"}, {"identifier": "+79991234567"}]})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct AddTargets {
    /// Up to 1000.
    #[schema(min_items = 1, max_items = 1000, inline)]
    targets: Vec<NewTargetForm>,
}

/// Somebody.
#[derive(ToSchema)]
#[schema(examples(json!({"identifier": "@durov", "first_name": "Pavel"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct NewTargetForm {
    /// A `@username`, a user id, or a phone number with `+`.
    identifier: IdentifierForm,
    /// First name.
    #[schema(max_length = 256)]
    first_name: Option<String>,
    /// Last name.
    #[schema(max_length = 256)]
    last_name: Option<String>,
    /// Public name.
    #[schema(max_length = 256)]
    username: Option<String>,
    /// Phone number.
    #[schema(max_length = 256)]
    phone: Option<String>,
    /// The IANA time zone they are in, in which quiet hours and calendar hold for them.
    #[schema(max_length = 256, example = "Europe/Berlin")]
    zone: Option<String>,
    /// The same as `zone`.
    #[schema(max_length = 256)]
    timezone: Option<String>,
    /// The same as `zone`.
    #[schema(max_length = 256)]
    time_zone: Option<String>,
    /// The same as `zone`.
    #[schema(max_length = 256)]
    tz: Option<String>,
    /// Whatever else is kept with them: at most 4 KiB.
    data: Option<Value>,
}

/// What one target is to be.
#[derive(ToSchema)]
#[schema(examples(json!({"first_name": "Pavel"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct PutTarget {
    /// Who it is; as before when absent.
    identifier: Option<IdentifierForm>,
    /// First name.
    #[schema(max_length = 256)]
    first_name: Option<String>,
    /// Last name.
    #[schema(max_length = 256)]
    last_name: Option<String>,
    /// Public name.
    #[schema(max_length = 256)]
    username: Option<String>,
    /// Phone number.
    #[schema(max_length = 256)]
    phone: Option<String>,
    /// The IANA time zone they are in, in which quiet hours and calendar hold for them.
    #[schema(max_length = 256, example = "Europe/Berlin")]
    zone: Option<String>,
    /// The same as `zone`.
    #[schema(max_length = 256)]
    timezone: Option<String>,
    /// The same as `zone`.
    #[schema(max_length = 256)]
    time_zone: Option<String>,
    /// The same as `zone`.
    #[schema(max_length = 256)]
    tz: Option<String>,
    /// Whatever else is kept with them.
    data: Option<Value>,
}

/// What is to be done with some targets.
#[derive(ToSchema)]
#[schema(examples(json!({"action": "retry", "target_ids": [3, 5]})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct BulkTargets {
    /// What.
    action: BulkActionName,
    /// Up to 1000.
    #[schema(min_items = 1, max_items = 1000)]
    target_ids: Vec<u32>,
}

/// What is to be done with some targets.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "names a form")]
pub(super) enum BulkActionName {
    /// They are removed, if nothing was tried.
    Remove,
    /// They are left out.
    Skip,
    /// What failed for reasons that pass is tried again; never a refusal.
    Retry,
    /// What nobody can settle counts as failed.
    GiveUp,
}

/// Who sends the trial, and whose text.
#[derive(ToSchema)]
#[schema(examples(json!({"account_id": "0192d3c4-0000-7000-8000-000000000001", "target_id": 0})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct TestTask {
    /// It sends the text to its own saved messages.
    account_id: Uuid,
    /// As this target would get it.
    target_id: u32,
}

/// Which campaigns.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct TaskFilter {
    /// Only those that stand there: `draft`, `scheduled`, `running`, `paused`, `completed`, `cancelled` or `failed`.
    status: Option<String>,
    /// Only those that are as urgent: `high`, `normal` or `low`, or 1, 2, 3.
    priority: Option<String>,
    /// Only those whose title holds this. With this or `priority` a page may hold fewer and go on.
    #[param(max_length = 256)]
    q: Option<String>,
    /// `created_at`, `status`, `priority`, `title` or `scheduled_at`, backwards with `-` before it; `-created_at` when
    /// it is absent. By the last three at most 1000 are sorted: narrow them with `status`.
    sort: Option<String>,
}

/// Which targets.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct TargetFilter {
    /// Only those that have this status: `pending`, `in_flight`, `invited`, `requested`, `sent`,
    /// `refused`, `failed`, `skipped` or `uncertain`.
    status: Option<String>,
    /// Only those whose identifier or one of whose names holds this. A page may hold fewer and go on: it looks at 5000
    /// targets.
    #[param(max_length = 256)]
    q: Option<String>,
}

/// Which attempts.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct AttemptFilter {
    /// Only those for this target.
    target_id: Option<u32>,
    /// Only those by this account.
    account_id: Option<Uuid>,
}

/// Whose text.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct PreviewOf {
    /// The target.
    target_id: u32,
}
