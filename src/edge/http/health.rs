//! Health: what the daemon says of itself, and the three addresses that say it.
//!
//! The answers must never depend on anything but [`HealthSource::report`], which waits for
//! nobody; so they come at once, whatever else is stuck.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::printed::Printed;
use crate::protocol::bridge::backlog::Backlog;
use crate::protocol::values::ids::UnixMillis;

/// Lists in an answer have at most this many members, whatever the source gives, so that ten
/// thousand accounts in trouble do not make a slow answer. The counts beside them are complete.
const LISTED_MAX: usize = 20;

/// Whoever knows how the daemon fares.
pub trait HealthSource: Send + Sync {
    /// How it fares now. Called on a runtime thread: reads counters or a snapshot, takes no
    /// lock that is held across work, and never waits.
    fn report(&self) -> HealthReport;
}

/// How the daemon fares. Holds no secret, no phone number, no message text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// The sum of it.
    pub status: HealthStatus,
    /// The daemon's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// The accounts.
    pub accounts: AccountsHealth,
    /// The chat monitors.
    pub monitors: MonitorsHealth,
    /// Events that wait for the broker.
    pub outbox: OutboxHealth,
    /// What the daemon needs, as far as it is switched on.
    pub dependencies: Vec<DependencyHealth>,
    /// The last restarts of actors, newest first.
    pub restarts: Vec<RestartNote>,
}

/// The sum of a [`HealthReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// All is well.
    Ok,
    /// It does its job, but something needs a look.
    Degraded,
    /// It cannot do its job.
    Unavailable,
}

/// Accounts by state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AccountsHealth {
    /// All of them.
    pub total: u64,
    /// State → how many.
    pub by_state: BTreeMap<String, u64>,
    /// How many are in trouble.
    pub troubled_total: u64,
    /// Those in trouble; the first [`LISTED_MAX`] are shown. `GET /api/v1/health/detailed` shows all.
    pub troubled: Vec<TroubledAccount>,
    /// Whether more are in trouble than are shown.
    pub truncated: bool,
}

/// An account in trouble.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TroubledAccount {
    /// Which: a user's account by its id in the API; one that only the bridge knows, by `sessions` and as
    /// 16 hexadecimal digits.
    pub account: String,
    /// The session ids by which commands and events call it.
    pub sessions: Vec<String>,
    /// Its state.
    pub state: String,
    /// The error's code, e.g. `AUTH_KEY_UNREGISTERED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when.
    #[serde(serialize_with = "rfc3339")]
    pub since: UnixMillis,
    /// What was seen, the latest last.
    pub evidence: Vec<String>,
    /// What ends by itself, and when.
    pub timers: Vec<TimerNote>,
    /// What happens next, or what somebody has to do.
    pub next: &'static str,
}

/// Something that ends by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimerNote {
    /// What it is.
    pub what: String,
    /// When it ends.
    #[serde(serialize_with = "rfc3339")]
    pub until: UnixMillis,
}

/// Chat monitors by state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MonitorsHealth {
    /// All of them.
    pub total: u64,
    /// State → how many.
    pub by_state: BTreeMap<String, u64>,
    /// How many are in trouble.
    pub troubled_total: u64,
    /// How many of these are users', who alone are told which.
    pub troubled_of_users: u64,
    /// The bridge's in trouble; the first [`LISTED_MAX`] are shown. `GET /api/v1/health/detailed` shows
    /// all.
    pub troubled: Vec<TroubledMonitor>,
    /// Whether more of the bridge's are in trouble than are shown.
    pub truncated: bool,
}

/// A chat monitor in trouble.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TroubledMonitor {
    /// The chat, as commands name it. (Never an invite link: whoever has that may join.)
    pub chat: String,
    /// Its state.
    pub state: String,
    /// Why, as a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when.
    #[serde(serialize_with = "rfc3339")]
    pub since: UnixMillis,
}

/// Events that wait for the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OutboxHealth {
    /// How many.
    pub depth: u64,
    /// About how many bytes of the store they take.
    pub bytes: u64,
    /// At how many no more updates are taken.
    pub max_bytes: u64,
    /// How full it is.
    pub state: Backlog,
    /// How long the oldest has waited; absent when none waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<u64>,
}

/// Something the daemon needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DependencyHealth {
    /// Its name, e.g. `store`, `rabbitmq`.
    pub name: String,
    /// Its state.
    pub state: DependencyState,
    /// Since when it has this state.
    #[serde(serialize_with = "rfc3339")]
    pub since: UnixMillis,
    /// More, in words for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// State of a [`DependencyHealth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyState {
    /// Not reached yet.
    Starting,
    /// Works.
    Up,
    /// Works, but not as it should.
    Degraded,
    /// Does not work.
    Down,
}

/// One restart of an actor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RestartNote {
    /// The actor.
    pub actor: String,
    /// When it ended.
    #[serde(serialize_with = "rfc3339")]
    pub at: UnixMillis,
    /// Why.
    pub cause: String,
    /// How often it ended within its policy's window, this time included.
    pub attempt: u32,
    /// When it is started again; absent when it was given up.
    #[serde(serialize_with = "maybe_rfc3339", skip_serializing_if = "Option::is_none")]
    pub next_at: Option<UnixMillis>,
    /// Whether it was given up.
    pub is_parked: bool,
}

impl HealthReport {
    /// Whether everything that the daemon needs works.
    pub fn is_ready(&self) -> bool {
        self.status != HealthStatus::Unavailable
            && self.dependencies.iter().all(|dependency| match dependency.state {
                DependencyState::Up | DependencyState::Degraded => true,
                DependencyState::Starting | DependencyState::Down => false,
            })
    }

    fn bounded(mut self) -> Self {
        let Self { accounts, monitors, .. } = &mut self;
        accounts.truncated |= accounts.troubled.len() > LISTED_MAX;
        accounts.troubled.truncate(LISTED_MAX);
        monitors.truncated |= monitors.troubled.len() > LISTED_MAX;
        monitors.troubled.truncate(LISTED_MAX);
        self.restarts.truncate(LISTED_MAX);
        self
    }
}

/// What `/health/live` answers.
#[derive(Serialize)]
struct Live {
    status: HealthStatus,
}

/// What `/health/ready` answers.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    status: HealthStatus,
    dependencies: Vec<DependencyHealth>,
}

pub(super) fn routes() -> OpenApiRouter<Arc<dyn HealthSource>> {
    OpenApiRouter::new().routes(routes!(summary)).routes(routes!(live)).routes(routes!(ready))
}

/// How the daemon fares
#[utoipa::path(
    get,
    path = "/health",
    tag = "operations",
    responses(
        (status = 200, description = "It can do its job", body = Object),
        (status = 503, description = "It cannot", body = Object),
    ),
)]
async fn summary(State(source): State<Arc<dyn HealthSource>>) -> Response {
    let report = source.report().bounded();
    let is_able = report.status != HealthStatus::Unavailable;
    (status_code(is_able), Printed(report)).into_response()
}

/// That the process answers
///
/// A restart would not help against anything that the other two report, so this asks nobody.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "operations",
    responses((status = 200, description = "It does", body = Object)),
)]
async fn live() -> Response {
    Printed(Live { status: HealthStatus::Ok }).into_response()
}

/// Whether everything works that the daemon needs
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operations",
    responses(
        (status = 200, description = "All of it does", body = Object),
        (status = 503, description = "Something does not", body = Object),
    ),
)]
async fn ready(State(source): State<Arc<dyn HealthSource>>) -> Response {
    let report = source.report();
    let ready = report.is_ready();
    let answer = Ready { ready, status: report.status, dependencies: report.dependencies };
    (status_code(ready), Printed(answer)).into_response()
}

fn status_code(is_well: bool) -> StatusCode {
    if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Times in answers are RFC 3339 in UTC. One that no calendar holds is written as the epoch.
fn maybe_rfc3339<S: Serializer>(at: &Option<UnixMillis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}

fn rfc3339<S: Serializer>(at: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
    let timestamp = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
    serializer.collect_str(&timestamp)
}
