//! A campaign, which the wire calls a task: what is kept of it, and which order leads from which status to which.
//! Plain data and transitions; what it sends and to whom is elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::caps::{Caps, OwnCaps};
use super::schedule::{Due, Schedule};
use super::settings::{SettingError, Settings};
use super::target::Step;
use super::text::{Template, TemplateError};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::UnixMillis;

/// Longest title, characters.
pub const TITLE_CHARS_MAX: usize = 200;
/// Longest description and audience basis, characters.
pub const PROSE_CHARS_MAX: usize = 2_000;
/// Most accounts of a task.
pub const ACCOUNTS_MAX: usize = 1_000;

/// A task's id (a UUID of version 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub Uuid);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// Invites people to a group or channel.
    InviteToGroup,
    /// Writes to people.
    SendMessages,
}

impl TaskType {
    /// What it comes to for each person.
    pub fn goal(self) -> Step {
        match self {
            Self::InviteToGroup => Step::Invite,
            Self::SendMessages => Step::Send,
        }
    }
}

/// Who goes first. Highest first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Gets accounts first.
    High,
    /// As usual.
    #[default]
    Normal,
    /// Takes what is left, and a tenth of the accounts' time at least.
    Low,
}

impl Priority {
    /// By its name, or by 1, 2, 3.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "high" | "1" => Some(Self::High),
            "normal" | "2" => Some(Self::Normal),
            "low" | "3" => Some(Self::Low),
            _ => None,
        }
    }
}

/// Where a task stands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Is being made.
    #[default]
    Draft,
    /// Starts at a time.
    Scheduled,
    /// Works.
    Running,
    /// Does nothing until it is resumed.
    Paused,
    /// Nobody is pending, in flight or uncertain.
    Completed,
    /// Was given up by a person.
    Cancelled,
    /// Cannot go on.
    Failed,
}

/// All statuses.
pub const TASK_STATUSES: [TaskStatus; 7] = [
    TaskStatus::Draft,
    TaskStatus::Scheduled,
    TaskStatus::Running,
    TaskStatus::Paused,
    TaskStatus::Completed,
    TaskStatus::Cancelled,
    TaskStatus::Failed,
];

impl TaskStatus {
    /// As it is stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// Why a task is paused, as `paused_because` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// A person wanted it.
    Asked,
    /// It came due far too late.
    TooLate,
    /// Three accounts were limited (`PEER_FLOOD`).
    PeerFlood,
    /// Most calls failed, and so did the probes.
    MassErrors,
    /// The group is full, or takes no more additions.
    GroupFull,
    /// The text is longer than a message.
    TextTooLong,
    /// No account may act in the group any more, or none is left.
    NoAccountLeft,
    /// Uncertain targets are left whose account is gone: a person decides.
    Unsettled,
    /// No time is left in which everybody may be contacted.
    NoContactTime,
}

/// Why a task was completed at once, as `completed_because` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompletionReason {
    /// Nobody is in its list.
    NoTargets,
    /// All of its list had come to an end before it was started or resumed.
    NobodyPending,
}

/// What happens to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// A person starts it, now.
    Start,
    /// A person has it start at its time.
    Schedule,
    /// Its time has come.
    Due {
        /// Milliseconds.
        late_ms: i64,
    },
    /// Its time was too long ago.
    TooLate,
    /// It stops before the next action.
    Pause(PauseReason),
    /// A person resumes it.
    Resume,
    /// A person gives it up.
    Cancel,
    /// Nobody is left to be contacted or settled.
    Done,
    /// It cannot go on.
    Fail,
    /// A person wants what failed for passing reasons tried again.
    Reopen,
}

/// What an order leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// To that status.
    To(TaskStatus),
    /// It is so already: the order is answered, and nothing changes.
    Already,
}

/// An order that a status does not allow (409).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {from:?} does not take the order {order:?}")]
pub struct NotNow {
    /// The status.
    pub from: TaskStatus,
    /// The order.
    pub order: Order,
}

impl TaskStatus {
    /// What an order leads to.
    ///
    /// # Errors
    /// When the status does not allow it.
    pub fn follow(self, order: Order) -> Result<Transition, NotNow> {
        use TaskStatus as S;
        use Transition::{Already, To};
        let found = match (self, order) {
            (S::Draft | S::Scheduled, Order::Start) => To(S::Running),
            // A start or a resumption that comes twice is one.
            (S::Running, Order::Start | Order::Resume | Order::Due { .. }) => Already,
            (S::Draft | S::Paused, Order::Schedule) => To(S::Scheduled),
            (S::Scheduled, Order::Schedule) => Already,
            (S::Scheduled, Order::Due { .. }) => To(S::Running),
            (S::Scheduled, Order::TooLate) => To(S::Paused),
            (S::Scheduled | S::Running, Order::Pause(_)) => To(S::Paused),
            (S::Paused, Order::Pause(_) | Order::Due { .. } | Order::TooLate) => Already,
            (S::Paused, Order::Resume | Order::Start) => To(S::Running),
            (S::Draft | S::Scheduled | S::Running | S::Paused, Order::Cancel) => To(S::Cancelled),
            (S::Cancelled, Order::Cancel) => Already,
            (S::Running, Order::Done) => To(S::Completed),
            (S::Completed, Order::Done) => Already,
            (S::Scheduled | S::Running | S::Paused, Order::Fail) => To(S::Failed),
            (S::Failed, Order::Fail) => Already,
            (S::Completed, Order::Reopen) => To(S::Paused),
            (S::Paused | S::Draft, Order::Reopen) => Already,
            (
                S::Draft,
                Order::Due { .. }
                | Order::TooLate
                | Order::Pause(_)
                | Order::Resume
                | Order::Done
                | Order::Fail,
            )
            | (S::Scheduled, Order::Resume | Order::Done | Order::Reopen)
            | (S::Running, Order::Schedule | Order::TooLate | Order::Reopen)
            | (S::Paused, Order::Done)
            | (
                S::Completed,
                Order::Start
                | Order::Schedule
                | Order::Due { .. }
                | Order::TooLate
                | Order::Pause(_)
                | Order::Resume
                | Order::Cancel
                | Order::Fail,
            )
            | (
                S::Cancelled,
                Order::Start
                | Order::Schedule
                | Order::Due { .. }
                | Order::TooLate
                | Order::Pause(_)
                | Order::Resume
                | Order::Done
                | Order::Fail
                | Order::Reopen,
            )
            | (
                S::Failed,
                Order::Start
                | Order::Schedule
                | Order::Due { .. }
                | Order::TooLate
                | Order::Pause(_)
                | Order::Resume
                | Order::Cancel
                | Order::Done
                | Order::Reopen,
            ) => {
                return Err(NotNow { from: self, order });
            }
        };
        Ok(found)
    }

    /// Whether text, audience, group, accounts and settings may change.
    pub fn may_be_edited(self) -> bool {
        matches!(self, Self::Draft | Self::Paused)
    }

    /// Whether it may be deleted: nothing of it is about to happen.
    pub fn may_be_deleted(self) -> bool {
        !matches!(self, Self::Running | Self::Scheduled)
    }

    /// Whether nothing follows by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

/// A task, as the store keeps it. How its targets fare is counted beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Whose it is.
    pub user: UserId,
    /// The messenger; `telegram`.
    pub platform: String,
    /// What it does.
    pub task_type: TaskType,
    /// For people.
    pub title: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where people are invited to. An upgrade of a basic group is followed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group_id: Option<MarkedId>,
    /// What people are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_template: Option<String>,
    /// Counts the changes of the text, from 1. Each target keeps the one that it was sent.
    pub text_version: u32,
    /// Who goes first.
    pub priority: Priority,
    /// When it starts by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How it works.
    #[serde(default)]
    pub settings: Settings,
    /// Which of its caps an admin has set above the installation's. All others bind only as far as the installation's
    /// do not, also where those were lowered later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_caps: Option<OwnCaps>,
    /// By whom.
    pub account_ids: Vec<AccountId>,
    /// How these people agreed, or why they are expected to welcome it.
    pub audience_basis: String,
    /// Whether the basis is confirmed: a duplicate's is not.
    pub is_basis_confirmed: bool,
    /// Where it stands.
    pub status: TaskStatus,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<PauseReason>,
    /// How late it has started, milliseconds, when that was worth saying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<i64>,
    /// Counts changes of the record, for `ETag`.
    pub revision: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it started first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<UnixMillis>,
    /// When it came to its end, whichever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<UnixMillis>,
    /// Why it was completed at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_because: Option<CompletionReason>,
}

/// What somebody wants a task to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskRequest {
    /// What it does; required.
    pub task_type: Option<TaskType>,
    /// For people.
    pub title: String,
    /// For people.
    pub description: Option<String>,
    /// Where people are invited to.
    pub target_group_id: Option<MarkedId>,
    /// What people are written.
    pub message_template: Option<String>,
    /// Who goes first.
    pub priority: Priority,
    /// When it starts by itself.
    pub schedule: Option<Schedule>,
    /// How it works.
    pub settings: Settings,
    /// By whom.
    pub account_ids: Vec<AccountId>,
    /// How these people agreed.
    pub audience_basis: String,
}

/// What is wrong with a request, each with the field that it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No type, or one that is changed later.
    #[error("task_type is invite_to_group or send_messages, and stays what it is")]
    Type,
    /// No title, or far too much.
    #[error("title has 1 to {TITLE_CHARS_MAX} characters")]
    Title,
    /// Too much.
    #[error("description has at most {PROSE_CHARS_MAX} characters")]
    Description,
    /// Nobody said why these people would welcome it.
    #[error(
        "audience_basis is required: how these people agreed, in 1 to {PROSE_CHARS_MAX} characters"
    )]
    Basis,
    /// An invitation to nowhere, or to a person.
    #[error("target_group_id is required for invitations, and names a group or channel")]
    Group,
    /// A message without a text.
    #[error("message_template is required for messages")]
    NoTemplate,
    /// The text is wrong.
    #[error("message_template: {0}")]
    Template(#[from] TemplateError),
    /// Too many, or one twice.
    #[error("account_ids holds at most {ACCOUNTS_MAX}, each once")]
    Accounts,
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The status does not allow it (409).
    #[error("text, audience, group, accounts and settings change in draft and paused tasks only")]
    NotEditable,
}

impl RequestError {
    /// The field that it is about.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Type => "task_type",
            Self::Title => "title",
            Self::Description => "description",
            Self::Basis => "audience_basis",
            Self::Group => "target_group_id",
            Self::NoTemplate | Self::Template(_) => "message_template",
            Self::Accounts => "account_ids",
            Self::Setting(_) => "settings",
            Self::NotEditable => "status",
        }
    }
}

impl TaskRequest {
    /// Holds it against all rules.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(&self, caps: &Caps, is_admin: bool) -> Result<(), Vec<RequestError>> {
        let within = |text: &str, most| !text.trim().is_empty() && text.chars().count() <= most;
        let mut wrong = Vec::new();
        let mut hold = |is_fit: bool, error| {
            if !is_fit {
                wrong.push(error)
            }
        };
        hold(self.task_type.is_some(), RequestError::Type);
        hold(within(&self.title, TITLE_CHARS_MAX), RequestError::Title);
        let description = self.description.as_deref().unwrap_or_default();
        hold(description.chars().count() <= PROSE_CHARS_MAX, RequestError::Description);
        hold(within(&self.audience_basis, PROSE_CHARS_MAX), RequestError::Basis);
        let is_invitation = self.task_type == Some(TaskType::InviteToGroup);
        let is_group = self.target_group_id.is_some_and(|id| id.0 < 0);
        hold(is_group || (!is_invitation && self.target_group_id.is_none()), RequestError::Group);
        let needs_text = self.task_type == Some(TaskType::SendMessages);
        hold(!needs_text || self.message_template.is_some(), RequestError::NoTemplate);
        let mut accounts = self.account_ids.clone();
        accounts.sort_unstable();
        accounts.dedup();
        let is_each_once = accounts.len() == self.account_ids.len();
        hold(is_each_once && accounts.len() <= ACCOUNTS_MAX, RequestError::Accounts);
        if let Some(Err(error)) =
            self.message_template.as_deref().map(|text| Template::parse(text, None))
        {
            wrong.push(error.into());
        }
        wrong.extend(
            self.settings.check(caps, is_admin).err().into_iter().flatten().map(RequestError::from),
        );
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

impl Task {
    /// A draft.
    ///
    /// # Errors
    /// Everything that is wrong with the request.
    pub fn new(
        (id, user): (TaskId, UserId),
        request: TaskRequest,
        (caps, is_admin): (&Caps, bool),
        now: UnixMillis,
    ) -> Result<Self, Vec<RequestError>> {
        request.check(caps, is_admin)?;
        let task_type = request.task_type.ok_or_else(|| vec![RequestError::Type])?;
        let raised_caps = request.settings.caps.and_then(|own| own.above(caps));
        Ok(Self {
            id,
            user,
            platform: "telegram".to_owned(),
            task_type,
            title: request.title,
            description: request.description,
            target_group_id: request.target_group_id,
            message_template: request.message_template,
            text_version: 1,
            priority: request.priority,
            schedule: request.schedule,
            settings: request.settings,
            raised_caps,
            account_ids: request.account_ids,
            audience_basis: request.audience_basis,
            is_basis_confirmed: true,
            status: TaskStatus::Draft,
            paused_because: None,
            late_ms: None,
            revision: 1,
            created_at: now,
            started_at: None,
            completed_at: None,
            completed_because: None,
        })
    }

    /// What it would take to make it anew.
    pub fn request(&self) -> TaskRequest {
        TaskRequest {
            task_type: Some(self.task_type),
            title: self.title.clone(),
            description: self.description.clone(),
            target_group_id: self.target_group_id,
            message_template: self.message_template.clone(),
            priority: self.priority,
            schedule: self.schedule.clone(),
            settings: self.settings.clone(),
            account_ids: self.account_ids.clone(),
            audience_basis: self.audience_basis.clone(),
        }
    }

    /// Changes it. Title, description and priority may change at any time, all else in drafts and paused tasks. Caps
    /// that an admin has raised stay raised when somebody else changes other things, and those that the installation
    /// has overtaken are raised by nobody who sends them back as they are shown.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has changed then.
    pub fn edit(
        &mut self,
        mut request: TaskRequest,
        (caps, is_admin): (&Caps, bool),
    ) -> Result<(), Vec<RequestError>> {
        // Whoever sends the same moment back, written in another zone, changes nothing.
        let instant = |schedule: &Option<Schedule>| schedule.as_ref().map(Schedule::instant);
        if instant(&request.schedule) == instant(&self.schedule) {
            request.schedule = self.schedule.clone();
        }
        let is_as_before = !is_admin && request.settings.caps == self.settings.caps;
        let keeps_caps = is_as_before || request.settings.caps == self.shown_caps(caps);
        if keeps_caps {
            request.settings.caps = self.settings.caps;
        }
        let same = TaskRequest {
            title: request.title.clone(),
            description: request.description.clone(),
            priority: request.priority,
            ..self.request()
        };
        if (request != same || !keeps_caps) && !self.status.may_be_edited() {
            return Err(vec![RequestError::NotEditable]);
        }
        request.check(caps, is_admin || keeps_caps)?;
        if request.task_type != Some(self.task_type) {
            return Err(vec![RequestError::Type]);
        }
        if request.message_template != self.message_template {
            self.text_version += 1;
        }
        self.title = request.title;
        self.description = request.description;
        self.target_group_id = request.target_group_id;
        self.message_template = request.message_template;
        self.priority = request.priority;
        self.schedule = request.schedule;
        if !keeps_caps {
            self.raised_caps = request.settings.caps.and_then(|own| own.above(caps));
        }
        self.settings = request.settings;
        self.account_ids = request.account_ids;
        self.is_basis_confirmed |= request.audience_basis != self.audience_basis;
        self.audience_basis = request.audience_basis;
        self.revision += 1;
        Ok(())
    }

    /// The caps that hold for it, where `installation` are those of all: its own only lower them, except for what an
    /// admin has raised.
    pub fn caps(&self, installation: &Caps) -> Caps {
        self.shown_caps(installation).unwrap_or_default().over(installation)
    }

    /// Its own caps as far as they hold, as it is told of them.
    pub fn shown_caps(&self, installation: &Caps) -> Option<OwnCaps> {
        let most = self.raised_caps.unwrap_or_default().or_more(installation);
        self.settings.caps.map(|own| own.lowered_to(&most))
    }

    /// A person confirms that the audience basis holds for these people.
    pub fn confirm_basis(&mut self) {
        self.is_basis_confirmed = true;
        self.revision += 1;
    }

    /// A draft of the same: nothing sent, no schedule, and its audience basis to be confirmed anew. Whom it is for is
    /// copied beside it, each as a new target. To contact those whom another task has reached lately is to be chosen
    /// anew, too.
    #[must_use]
    pub fn duplicate(&self, id: TaskId, now: UnixMillis) -> Self {
        Self {
            id,
            status: TaskStatus::Draft,
            schedule: None,
            settings: Settings { ignore_recontact: false, ..self.settings.clone() },
            is_basis_confirmed: false,
            paused_because: None,
            late_ms: None,
            text_version: 1,
            revision: 1,
            created_at: now,
            started_at: None,
            completed_at: None,
            completed_because: None,
            ..self.clone()
        }
    }

    /// Whether it is to start at a time that is still to come: it has never started.
    pub fn is_for_later(&self, max_late_ms: i64, now: UnixMillis) -> bool {
        let due = self.schedule.as_ref().map(|schedule| schedule.due(max_late_ms, now));
        let is_new =
            matches!(self.status, TaskStatus::Draft | TaskStatus::Scheduled | TaskStatus::Paused);
        is_new && self.started_at.is_none() && matches!(due, Some(Due::At(_)))
    }

    /// What keeps it from starting or being resumed, by name. `running` is how many tasks of its user run.
    pub fn blocked_by(&self, running: usize, running_max: usize) -> Option<Blocked> {
        let rules = [
            (!self.is_basis_confirmed, Blocked::BasisNotConfirmed),
            (self.account_ids.is_empty(), Blocked::NoAccounts),
            (self.status != TaskStatus::Running && running >= running_max, Blocked::TooManyRunning),
        ];
        rules.into_iter().find(|(holds, _)| *holds).map(|(_, blocked)| blocked)
    }

    /// Takes an order; see [`super::run::order`], which gives it. `wall` is shown to people.
    ///
    /// # Errors
    /// When the status does not allow it, or it is to start at a time and has none; nothing has changed then.
    pub fn order(&mut self, order: Order, wall: UnixMillis) -> Result<Transition, NotNow> {
        let transition = self.status.follow(order)?;
        if order == Order::Schedule && self.schedule.is_none() {
            return Err(NotNow { from: self.status, order });
        }
        let Transition::To(next) = transition else { return Ok(transition) };
        self.paused_because = match order {
            Order::Pause(reason) => Some(reason),
            Order::TooLate => Some(PauseReason::TooLate),
            Order::Reopen => Some(PauseReason::Asked),
            _ => None,
        };
        if let Order::Due { late_ms } = order {
            self.late_ms = Some(late_ms).filter(|late| *late > super::schedule::LATE_MS);
        }
        if next == TaskStatus::Running {
            self.started_at.get_or_insert(wall);
        }
        self.completed_at = next.is_final().then_some(wall);
        self.completed_because = None;
        self.status = next;
        self.revision += 1;
        Ok(transition)
    }
}

/// What keeps a task from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// A duplicate's audience basis.
    #[error("the audience basis of a duplicate is to be confirmed first")]
    BasisNotConfirmed,
    /// Nobody would do it.
    #[error("the task has no accounts")]
    NoAccounts,
    /// Too many at once.
    #[error("as many tasks are running as a user may have")]
    TooManyRunning,
    /// Nobody may be contacted at any time.
    #[error("quiet hours, calendar and zones leave no time to contact people")]
    NoContactTime,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::campaigns::caps::{Cap, OwnCap};
    use crate::protocol::campaigns::zone::Zone;

    fn request() -> TaskRequest {
        TaskRequest {
            task_type: Some(TaskType::SendMessages),
            title: "Meetup".into(),
            message_template: Some("Hi {first_name|friend}".into()),
            schedule: Some(Schedule { wall: Zone::utc().wall(UnixMillis(0)), zone: Zone::utc() }),
            account_ids: vec![AccountId(Uuid::from_u128(1))],
            audience_basis: "signed up on our site".into(),
            ..TaskRequest::default()
        }
    }

    fn task() -> Task {
        let names = (TaskId(Uuid::nil()), UserId::new("ann").unwrap());
        Task::new(names, request(), (&Caps::default(), false), UnixMillis(5)).unwrap()
    }

    fn order(task: &mut Task, order: Order) -> Result<Transition, NotNow> {
        task.order(order, UnixMillis(9))
    }

    #[test]
    fn everything_that_is_wrong_with_a_request_is_told_at_once() {
        let caps = Caps::default();
        let wrong = TaskRequest {
            title: " ".into(),
            audience_basis: String::new(),
            message_template: None,
            account_ids: vec![AccountId(Uuid::nil()); 2],
            ..request()
        };
        use RequestError as E;
        assert_eq!(
            wrong.check(&caps, false),
            Err(vec![E::Title, E::Basis, E::NoTemplate, E::Accounts])
        );
        let invitation = TaskRequest {
            task_type: Some(TaskType::InviteToGroup),
            message_template: None,
            ..request()
        };
        assert_eq!(invitation.check(&caps, false), Err(vec![E::Group]));
        let to_group = TaskRequest { target_group_id: Some(MarkedId(-5)), ..invitation };
        assert_eq!(to_group.check(&caps, false), Ok(()));
        let unknown = TaskRequest { message_template: Some("{nick}".into()), ..request() };
        assert!(matches!(
            unknown.check(&caps, false).unwrap_err()[..],
            [E::Template(TemplateError::Unknown { .. })]
        ));
        assert_eq!(
            (Priority::parse("1"), Priority::parse("Low"), Priority::parse("4")),
            (Some(Priority::High), Some(Priority::Low), None)
        );
    }

    #[test]
    fn text_and_audience_change_in_draft_and_paused_only() {
        let caps = Caps::default();
        let mut task = task();
        let other = TaskRequest { message_template: Some("Hello".into()), ..request() };
        task.edit(other.clone(), (&caps, false)).unwrap();
        assert_eq!((task.text_version, task.revision), (2, 2));
        order(&mut task, Order::Start).unwrap();
        assert_eq!(task.edit(request(), (&caps, false)), Err(vec![RequestError::NotEditable]));
        let title = TaskRequest { title: "Other".into(), priority: Priority::High, ..other };
        assert_eq!(task.edit(title, (&caps, false)), Ok(()));
        order(&mut task, Order::Pause(PauseReason::Asked)).unwrap();
        assert_eq!(task.edit(request(), (&caps, false)), Ok(()));
        assert_eq!(task.text_version, 3);
    }

    fn with_caps(per_day: u32) -> TaskRequest {
        let invite = Some(OwnCap { per_day: Some(per_day), per_hour: None });
        let caps = Some(OwnCaps { invite, ..OwnCaps::default() });
        TaskRequest { settings: Settings { caps, ..Settings::default() }, ..request() }
    }

    fn installation(invites_a_day: u32) -> Caps {
        let invite = Cap { per_day: invites_a_day, per_hour: 5 };
        Caps { invite, ..Caps::default() }
    }

    fn made(caps: &Caps, request: TaskRequest, is_admin: bool) -> Task {
        let names = (TaskId(Uuid::nil()), UserId::new("ann").unwrap());
        Task::new(names, request, (caps, is_admin), UnixMillis(5)).unwrap()
    }

    #[test]
    fn caps_that_the_installation_lowers_bind_tasks_with_caps_of_their_own() {
        let (wide, narrow) = (installation(50), installation(10));
        for is_admin in [false, true] {
            let mut task = made(&wide, with_caps(50), is_admin);
            assert_eq!(task.caps(&wide).invite.per_day, 50);
            assert_eq!(task.caps(&narrow).invite.per_day, 10, "admin: {is_admin}");
            assert_eq!(task.shown_caps(&narrow), with_caps(10).settings.caps);
            // Sent back as it is stored or as it is shown: nothing is raised, and nothing frozen at today's.
            task.edit(with_caps(50), (&narrow, false)).unwrap();
            task.edit(with_caps(10), (&narrow, is_admin)).unwrap();
            assert_eq!(task.caps(&narrow).invite.per_day, 10);
            assert_eq!(task.caps(&wide).invite.per_day, 50);
            // An admin who sends more than is shown raises it, in a task that may be edited.
            order(&mut task, Order::Start).unwrap();
            let raised = task.edit(with_caps(50), (&narrow, true));
            assert_eq!(raised, Err(vec![RequestError::NotEditable]));
            assert_eq!(task.edit(with_caps(10), (&narrow, true)), Ok(()));
            order(&mut task, Order::Pause(PauseReason::Asked)).unwrap();
            task.edit(with_caps(50), (&narrow, true)).unwrap();
            assert_eq!(task.caps(&narrow).invite.per_day, 50);
        }
    }

    #[test]
    fn caps_that_an_admin_has_raised_outlive_a_lowering_and_an_edit_and_no_others_do() {
        let (wide, narrow) = (installation(50), installation(10));
        let mut request = with_caps(60);
        request.settings.caps.as_mut().unwrap().message =
            Some(OwnCap { per_day: Some(40), per_hour: None });
        let mut task = made(&wide, request.clone(), true);
        let messages = Caps { message: Cap { per_day: 7, per_hour: 7 }, ..narrow };
        let held = task.caps(&messages);
        assert_eq!((held.invite.per_day, held.message.per_day), (60, 7), "only what was raised");
        let title = TaskRequest { title: "Other".into(), ..request };
        task.edit(title, (&narrow, false)).unwrap();
        assert_eq!(task.caps(&narrow).invite.per_day, 60);
        let json = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), task);
        task.edit(with_caps(9), (&narrow, false)).unwrap();
        assert_eq!((task.caps(&narrow).invite.per_day, task.raised_caps), (9, None));
        assert!(task.edit(with_caps(60), (&narrow, false)).is_err(), "it is raised no more");
    }

    #[test]
    fn a_duplicate_is_a_draft_whose_basis_is_to_be_confirmed() {
        let mut task = task();
        order(&mut task, Order::Start).unwrap();
        let mut copy = task.duplicate(TaskId(Uuid::from_u128(2)), UnixMillis(7));
        assert_eq!(
            (copy.status, copy.started_at, copy.schedule.clone()),
            (TaskStatus::Draft, None, None)
        );
        assert_eq!(copy.blocked_by(0, 10), Some(Blocked::BasisNotConfirmed));
        copy.confirm_basis();
        assert_eq!(
            (copy.blocked_by(9, 10), copy.blocked_by(10, 10)),
            (None, Some(Blocked::TooManyRunning))
        );
    }

    #[test]
    fn a_start_and_a_resumption_that_come_twice_are_one_and_say_how_late() {
        let mut task = task();
        order(&mut task, Order::Schedule).unwrap();
        assert_eq!(
            order(&mut task, Order::Due { late_ms: 90_000 }),
            Ok(Transition::To(TaskStatus::Running))
        );
        assert_eq!((task.late_ms, task.started_at), (Some(90_000), Some(UnixMillis(9))));
        assert_eq!(order(&mut task, Order::Start), Ok(Transition::Already));
        order(&mut task, Order::Pause(PauseReason::PeerFlood)).unwrap();
        assert_eq!(task.paused_because, Some(PauseReason::PeerFlood));
        assert_eq!(order(&mut task, Order::Resume), Ok(Transition::To(TaskStatus::Running)));
        assert_eq!(task.paused_because, None);
        let json = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), task);
    }

    fn orders() -> impl Strategy<Value = Order> {
        prop::sample::select(vec![
            Order::Start,
            Order::Schedule,
            Order::Due { late_ms: 0 },
            Order::TooLate,
            Order::Pause(PauseReason::Asked),
            Order::Resume,
            Order::Cancel,
            Order::Done,
            Order::Fail,
            Order::Reopen,
        ])
    }

    proptest! {
        #[test]
        fn no_sequence_of_orders_leaves_an_end_or_runs_unasked(steps in prop::collection::vec(orders(), 0..40)) {
            let mut task = task();
            for step in steps {
                let before = task.clone();
                match order(&mut task, step) {
                    Err(_) | Ok(Transition::Already) => prop_assert_eq!(&task, &before),
                    Ok(Transition::To(next)) => {
                        prop_assert_eq!(task.status, next);
                        prop_assert!(next != before.status && task.revision > before.revision);
                        prop_assert_eq!(task.paused_because.is_some(), next == TaskStatus::Paused && step != Order::Schedule);
                        prop_assert_eq!(task.completed_at.is_some(), next.is_final());
                        prop_assert!(!matches!(before.status, TaskStatus::Cancelled | TaskStatus::Failed));
                        if next == TaskStatus::Running {
                            let is_asked = matches!(step, Order::Start | Order::Resume | Order::Due { .. });
                            prop_assert!(is_asked);
                        }
                    }
                }
            }
        }
    }
}
