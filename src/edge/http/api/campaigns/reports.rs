//! How campaigns fare and would fare, over HTTP: the dry run, the counts, the report in its forms. Owns these routes and
//! their forms, and how a large answer is handed over; how files look is `edge/report`'s to say.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::parse::name_of;
use super::shapes::{Progress, TargetView, Task};
use super::views;
use crate::actors::Services;
use crate::edge::http::api::Shared;
use crate::edge::http::api::extract::{Id, Query};
use crate::edge::http::api::shapes::Time;
use crate::edge::report::{
    CsvReport, Delimiter, PageReport, ReportFormat, WorkbookError, WorkbookReport,
};
use crate::protocol::answers::campaign::CampaignInfo;
use crate::protocol::answers::campaign_report as core;
use crate::protocol::answers::campaign_report::{ReportHead, ReportPiece};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::tally::{DayCounts, Days};
use crate::protocol::campaigns::target::{Reason, STATUSES, Statistics, Target, TargetStatus};
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::users::owner::{AccountId, Caller, UserId};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::time::rfc3339_ms;
use crate::tasks;

/// Reports that are being made or taken at once, in all and of one user.
const REPORTS_MAX: usize = 8;
const REPORTS_OF_ONE_MAX: usize = 2;
/// How long one may be made before its answer begins.
const MAKING_MAX: Duration = Duration::from_secs(25);
/// How long one may take to be read to its end.
const TAKING_MAX: Duration = Duration::from_secs(15 * 60);
/// Pieces between who makes a report and who takes it.
const PIECES_WAITING_MAX: usize = 2;
/// Bytes that are read of a file at a time.
const FILE_PIECE: usize = 64 * 1024;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(dry_run))
        .routes(routes!(task_stats))
        .routes(routes!(report))
}

/// The room for reports.
#[derive(Clone, Debug, Default)]
pub(in crate::edge::http::api) struct ReportRoom(Arc<Mutex<HashMap<UserId, usize>>>);

/// A place in it.
struct Place {
    room: ReportRoom,
    user: UserId,
}

impl ReportRoom {
    fn enter(&self, user: &UserId) -> Result<Place, Refusal> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (places.values().sum::<usize>(), places.get(user).copied().unwrap_or(0));
        if all >= REPORTS_MAX || own >= REPORTS_OF_ONE_MAX {
            let detail = if own >= REPORTS_OF_ONE_MAX {
                format!(
                    "{REPORTS_OF_ONE_MAX} of your reports are being made already; take them first"
                )
            } else {
                format!("{REPORTS_MAX} reports are being made already; ask again")
            };
            return Err(Refusal::new(Code::Overloaded, detail).after(10));
        }
        places.insert(user.clone(), own + 1);
        Ok(Place { room: self.clone(), user: user.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = places.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                places.remove(&self.user);
            }
        }
    }
}

/// What would become of a campaign.
#[derive(Serialize, ToSchema)]
struct DryRun {
    /// Whom it would contact.
    targets: DryRunTargets,
    /// By whom.
    accounts: Vec<DryRunAccount>,
    /// Who comes first, as things are now.
    first: Vec<DryRunPerson>,
    /// What keeps the accounts from doing more, most first.
    binding: Vec<Binding>,
    /// How long it would take, seconds, from now or from when it starts by itself. Absent: it would not end as things
    /// are.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate_seconds: Option<u64>,
    /// When it starts by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<Time>,
    /// What somebody should know before they start it.
    problems: Vec<DryRunProblem>,
}

/// Whom a campaign would contact. `ready`, all that are `skipped` and `done` add up to the total, but for who is in
/// flight or uncertain.
#[derive(Serialize, ToSchema)]
struct DryRunTargets {
    /// All.
    total: u64,
    /// Those for whom nothing follows any more.
    done: u64,
    /// Those who would be contacted.
    ready: u64,
    /// Those who would not be, by reason.
    skipped: BTreeMap<String, u64>,
    /// How many were looked at, where that was not all: the counts are carried over to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    looked_at: Option<u64>,
}

/// What an account would do.
#[derive(Serialize, ToSchema)]
struct DryRunAccount {
    /// Which one.
    account_id: Uuid,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// `active`, `cooldown`, `limited` or `blocked`.
    status: String,
    /// How many it would contact.
    would_contact: u64,
    /// How many more it may within 24 hours.
    left_today: u32,
    /// Whether it may invite to the group; absent where nobody has to, or where it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    may_invite: Option<bool>,
}

/// Who would be contacted by which account.
#[derive(Serialize, ToSchema)]
struct DryRunPerson {
    /// Which target.
    target_id: u32,
    /// As they are named.
    identifier: String,
    /// By whom.
    account_id: Uuid,
}

/// What keeps accounts from doing more.
#[derive(Serialize, ToSchema)]
struct Binding {
    /// `day`, `hour` (caps), `pause`, `contact_time` (quiet hours and calendar), `wait` (Telegram's) or `lookups`.
    limit: String,
    /// Parts of a hundred of the accounts' time.
    percent: u32,
}

/// What is in the way of a campaign.
#[derive(Serialize, ToSchema)]
struct DryRunProblem {
    /// What it is.
    code: String,
    /// The same for people.
    detail: String,
    /// Which account has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<Uuid>,
}

/// How a campaign fares, in numbers. Each list of them adds up to the total.
#[derive(Serialize, ToSchema)]
struct TaskStats {
    /// Where it stands.
    status: String,
    /// Why it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_because: Option<String>,
    /// How far it is.
    progress: Progress,
    /// How long it still takes, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate_seconds: Option<u64>,
    #[serde(flatten)]
    counts: Counts,
}

/// Counts by status, outcome and account.
#[derive(Serialize, ToSchema)]
struct Counts {
    /// Targets by status.
    by_status: Value,
    /// Targets by status and reason.
    outcomes: Vec<OutcomeCount>,
    /// Targets by the account that tried last.
    accounts: Vec<AccountCount>,
    /// Targets that no account tried last, by status; statuses without any are left out.
    untried: Value,
    /// Answers of Telegram that were no success, by name: of attempts, not of targets.
    codes: BTreeMap<String, u64>,
    /// Attempts so far.
    attempts: u64,
    /// When the newest of them was.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt_at: Option<Time>,
    /// People who have asked to join and whom an admin has to let in.
    join_requests: u64,
    /// People who got the invite link as a message.
    links_sent: u64,
    /// Of a report: people who have joined by these links since the campaign sent them. Left out where the accounts are
    /// not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    links_joined: Option<u32>,
    /// Of a report: people who came by these links and wait for an admin.
    #[serde(skip_serializing_if = "Option::is_none")]
    links_waiting: Option<u32>,
}

/// How many came to an outcome.
#[derive(Serialize, ToSchema)]
struct OutcomeCount {
    /// The status.
    status: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How many.
    count: u64,
}

/// How those stand that an account tried last.
#[derive(Serialize, ToSchema)]
struct AccountCount {
    /// Which one.
    account_id: Uuid,
    /// What it is called, if it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// All.
    total: u64,
    /// By status; those without any are left out.
    by_status: Value,
}

/// A campaign's report.
#[derive(Serialize, ToSchema)]
struct Report {
    /// When it was put together.
    made_at: Time,
    /// The campaign, with its audience basis.
    task: Task,
    /// How far it is.
    progress: Progress,
    #[serde(flatten)]
    counts: Counts,
    /// Every target with its outcome.
    targets: Vec<TargetView>,
    /// What came of the attempts of each day.
    per_day: Vec<DayCount>,
}

/// What came of a day's attempts.
#[derive(Serialize, ToSchema)]
struct DayCount {
    /// The day, UTC.
    day: String,
    /// Invited, requested or sent.
    succeeded: u64,
    /// Refused.
    refused: u64,
    /// Failed.
    failed: u64,
    /// Tried, and skipped then.
    skipped: u64,
}

/// As what a report is wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
struct ReportForm {
    /// `json`, `csv`, `xlsx` or `html`; else what `Accept` asks for, else JSON.
    format: Option<String>,
    /// Of a CSV: `comma` or `semicolon`.
    delimiter: Option<String>,
    /// Of a CSV: `false` leaves out the mark by which Excel knows UTF-8.
    bom: Option<bool>,
}

/// Try a campaign without sending anything
///
/// Who would be contacted by which account, who would be skipped and why, what binds, what the accounts may do in the
/// group, and when it would end. Decided as a running campaign does, for drafts, scheduled, paused and running ones.
#[utoipa::path(
    post,
    path = "/tasks/{id}/dry-run",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 200, description = "What would become of it", body = DryRun)),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn dry_run(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<Json<DryRun>, Refusal> {
    Ok(Json(dry_run_of(api.services.reports.dry_run(&who, id).await?)))
}

/// How a campaign fares in numbers
///
/// By status, by outcome and by account.
#[utoipa::path(
    get,
    path = "/tasks/{id}/stats",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign")),
    responses((status = 200, description = "The counts, which add up", body = TaskStats)),
)]
async fn task_stats(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
) -> Result<Json<TaskStats>, Refusal> {
    let head = api.services.reports.head(&who, id).await?;
    let estimate_seconds = api.services.reports.estimate(&who, id).await?;
    Ok(Json(TaskStats {
        status: name_of(head.task.status),
        paused_because: head.task.paused_because.map(name_of),
        progress: views::progress(&head.counts.statistics),
        estimate_seconds,
        counts: counts_of(&head),
    }))
}

/// The report of a campaign
///
/// The campaign with its audience basis, its counts, and every target with its outcome: as JSON, as a table (CSV; cells
/// that would be formulas get an apostrophe), as a workbook (XLSX), or as a page to print (HTML, without a script).
#[utoipa::path(
    get,
    path = "/tasks/{id}/report",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign"), ReportForm),
    responses((status = 200, description = "The report", content(
        (Report = "application/json"),
        (String = "text/csv"),
        (String = "text/html"),
        (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ), headers(("Content-Disposition" = String, description = "What the file is called")))),
)]
async fn report(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    headers: HeaderMap,
    Query(mut fields): Query,
) -> Result<Response, Refusal> {
    let format = fields.optional("format", |value| {
        let name = value.as_str().unwrap_or_default();
        ReportFormat::named(name).ok_or_else(|| "must be json, csv, xlsx or html".to_owned())
    });
    let delimiter = fields.optional("delimiter", |value| match value.as_str() {
        Some("comma" | ",") => Ok(Delimiter::Comma),
        Some("semicolon" | ";") => Ok(Delimiter::Semicolon),
        _ => Err("must be comma or semicolon".to_owned()),
    });
    let has_bom = fields.optional("bom", |value| match value.as_str() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err("must be true or false".to_owned()),
    });
    let (format, delimiter, has_bom) = fields.finish(Some((format, delimiter, has_bom)))?;
    let accepted = || {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        accept.map_or(ReportFormat::Json, ReportFormat::accepted)
    };
    let format = format.unwrap_or_else(accepted);
    let mut head = api.services.reports.head(&who, id).await?;
    let place = api.reports.enter(&who.user)?;
    head.link_uses = api.services.reports.link_uses(&who, id).await?;
    let name = format.file_name(&head);
    let making = Making { services: api.services.clone(), who, id, place };
    let body = match format {
        ReportFormat::Json => making.stream(JsonReport::new(&head)),
        ReportFormat::Csv => {
            let delimiter = delimiter.unwrap_or_default();
            making.stream(CsvReport::new(&head, delimiter, has_bom.unwrap_or(true)))
        }
        ReportFormat::Html => within(making.page(head)).await?,
        ReportFormat::Xlsx => within(making.workbook(head, api.imports.spool.clone())).await?,
    };
    Ok(named(format, &name, body))
}

/// A report as an answer: named, and harmless in a browser, whoever opens it there.
fn named(format: ReportFormat, name: &str, body: Body) -> Response {
    let shown = if format == ReportFormat::Html { "inline" } else { "attachment" };
    let disposition = format!("{shown}; filename=\"{name}\"");
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    let policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// What makes text of targets, piece by piece.
trait Written: Send + 'static {
    fn begin(&mut self) -> Vec<u8>;
    fn piece(&mut self, targets: Vec<Target>) -> Vec<u8>;
    fn end(&mut self) -> Vec<u8>;
}

impl Written for CsvReport {
    fn begin(&mut self) -> Vec<u8> {
        self.head()
    }

    fn piece(&mut self, targets: Vec<Target>) -> Vec<u8> {
        CsvReport::piece(self, &targets)
    }

    fn end(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// A report as JSON: an object whose targets come piece by piece.
struct JsonReport {
    head: Vec<u8>,
    days: Days,
    is_first: bool,
}

impl JsonReport {
    fn new(head: &ReportHead) -> Self {
        let info = CampaignInfo {
            task: head.task.clone(),
            owner: head.owner.clone(),
            statistics: head.counts.statistics,
            held: None,
            error: None,
        };
        let mut whole = json!({
            "made_at": Time(head.made_at),
            "task": views::task(info),
            "progress": views::progress(&head.counts.statistics),
        });
        let counts = serde_json::to_value(counts_of(head)).unwrap_or_default();
        if let (Value::Object(whole), Value::Object(counts)) = (&mut whole, counts) {
            whole.extend(counts);
        }
        let mut head = whole.to_string().into_bytes();
        // The object goes on.
        head.pop();
        head.extend_from_slice(b",\"targets\":[");
        Self { head, days: Days::default(), is_first: true }
    }
}

impl Written for JsonReport {
    fn begin(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }

    fn piece(&mut self, targets: Vec<Target>) -> Vec<u8> {
        let mut out = Vec::with_capacity(targets.len() * 256);
        for target in targets {
            self.days.note(&target);
            if !std::mem::take(&mut self.is_first) {
                out.push(b',');
            }
            // A vector takes whatever is written to it.
            let _ = serde_json::to_writer(&mut out, &views::target(target));
        }
        out
    }

    fn end(&mut self) -> Vec<u8> {
        let days = serde_json::to_string(&days_of(&self.days)).unwrap_or_default();
        format!("],\"per_day\":{days}}}").into_bytes()
    }
}

/// A report that is being made.
struct Making {
    services: Services,
    who: Caller,
    id: TaskId,
    place: Place,
}

impl Making {
    async fn next(&self, from: u32) -> Result<ReportPiece, Refusal> {
        self.services.reports.piece(&self.who, self.id, from).await
    }

    /// The page for people.
    async fn page(self, head: ReportHead) -> Result<Body, Refusal> {
        let (mut page, mut from) = (PageReport::new(head), Some(0));
        while let Some(at) = from {
            let ReportPiece { targets, next } = self.next(at).await?;
            page.piece(&targets);
            from = next;
        }
        Ok(Body::from(page.finish()))
    }

    /// The workbook. It is made on a thread that may wait for the disk, and its targets come to it piece by piece. The
    /// place is that thread's: it is taken for as long as there is work, also when nobody waits for it any more.
    async fn workbook(self, head: ReportHead, folder: PathBuf) -> Result<Body, Refusal> {
        let Self { services, who, id, place } = self;
        let (pieces, taken) = mpsc::channel::<Vec<Target>>(PIECES_WAITING_MAX);
        let over = CancellationToken::new();
        // Let go before `pieces` is: what ends because nobody waits is no whole workbook.
        let _over = over.clone().drop_guard();
        let made = spawn_blocking(move || made_of(head, &folder, taken, &over, place));
        let mut from = Some(0);
        while let Some(at) = from {
            let ReportPiece { targets, next } = services.reports.piece(&who, id, at).await?;
            if pieces.send(targets).await.is_err() {
                // It has ended before its time, and says why.
                break;
            }
            from = next;
        }
        drop(pieces);
        let (file, place) =
            made.await.map_err(|error| broken(&error))?.map_err(|error| broken(&error))?;
        let (tell, told) = mpsc::channel(PIECES_WAITING_MAX);
        tasks::brief(async move {
            let _place = place;
            let _ = timeout(TAKING_MAX, hand_over(file, tell)).await;
        });
        Ok(streamed(told))
    }

    /// The report as it comes. Whoever takes it too slowly is cut off, and so is one that cannot be read to its end.
    fn stream(self, mut report: impl Written) -> Body {
        let (tell, told) = mpsc::channel(PIECES_WAITING_MAX);
        tasks::brief(async move {
            let all = timeout(TAKING_MAX, self.write(&mut report, &tell)).await;
            if !matches!(all, Ok(Ok(()))) {
                let cut = io::Error::from(io::ErrorKind::TimedOut);
                let _ = timeout(MAKING_MAX, tell.send(Err(cut))).await;
            }
        });
        streamed(told)
    }

    async fn write(
        &self,
        report: &mut impl Written,
        tell: &Sender<io::Result<Bytes>>,
    ) -> Result<(), Refusal> {
        let gone = |_| Refusal::new(Code::Overloaded, "nobody takes it any more");
        tell.send(Ok(report.begin().into())).await.map_err(gone)?;
        let mut from = Some(0);
        while let Some(at) = from {
            let ReportPiece { targets, next } = self.next(at).await?;
            let bytes = report.piece(targets);
            if !bytes.is_empty() {
                tell.send(Ok(bytes.into())).await.map_err(gone)?;
            }
            from = next;
        }
        tell.send(Ok(report.end().into())).await.map_err(gone)
    }
}

/// Makes a workbook of the pieces that come, and gives it up when it is `over`. The place goes with it.
///
/// # Errors
/// When the disk does not take it, or nobody waits for it.
fn made_of(
    head: ReportHead,
    folder: &Path,
    mut pieces: Receiver<Vec<Target>>,
    over: &CancellationToken,
    place: Place,
) -> Result<(File, Place), WorkbookError> {
    let mut book = WorkbookReport::new(head, folder)?;
    while let Some(targets) = pieces.blocking_recv() {
        if over.is_cancelled() {
            break;
        }
        book.piece(&targets)?;
    }
    let (file, _) = book.finish(&|| !over.is_cancelled())?;
    Ok((file, place))
}

/// What is made in the time that an answer has.
async fn within(make: impl Future<Output = Result<Body, Refusal>>) -> Result<Body, Refusal> {
    timeout(MAKING_MAX, make).await.unwrap_or_else(|_| {
        let detail =
            "the report takes longer than an answer may: take it as csv or json, which come as they are made";
        Err(Refusal::new(Code::Overloaded, detail).after(60))
    })
}

fn broken(error: &impl std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "a report cannot be made");
    let detail =
        "the report cannot be made now: the disk does not take its file, or has no room for it";
    Refusal::new(Code::Overloaded, detail).after(60)
}

fn streamed(pieces: Receiver<io::Result<Bytes>>) -> Body {
    Body::from_stream(stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    }))
}

/// Hands a file over, piece by piece, read by threads that may wait for the disk.
async fn hand_over(mut file: File, tell: Sender<io::Result<Bytes>>) {
    loop {
        let read = spawn_blocking(move || {
            let mut piece = Vec::with_capacity(FILE_PIECE);
            let read = file.by_ref().take(FILE_PIECE as u64).read_to_end(&mut piece);
            (file, read.map(|_| piece))
        });
        let Ok((rest, piece)) = read.await else { return };
        file = rest;
        let is_last = piece.as_ref().map_or(true, Vec::is_empty);
        let is_over = matches!(&piece, Ok(piece) if piece.is_empty());
        if is_over || tell.send(piece.map(Bytes::from)).await.is_err() || is_last {
            return;
        }
    }
}

/// Counts by status, without those that are zero.
fn some_statuses(statistics: &Statistics) -> Value {
    let counts = STATUSES.into_iter().map(|status| (status, statistics.count(status)));
    let some = counts.filter(|(_, count)| *count > 0);
    Value::Object(
        some.map(|(status, count)| (name_of(status), json!(count))).collect::<Map<_, _>>(),
    )
}

fn counts_of(head: &ReportHead) -> Counts {
    let core::CampaignCounts { statistics, tally, attempts, last_attempt_at } = &head.counts;
    let outcome = |(status, reason, count): &(TargetStatus, Option<Reason>, u64)| OutcomeCount {
        status: name_of(*status),
        reason: reason.map(name_of),
        count: *count,
    };
    let account = |(id, counts): &(AccountId, Statistics)| AccountCount {
        account_id: id.0,
        name: head.names.get(id).cloned(),
        total: counts.total(),
        by_status: some_statuses(counts),
    };
    Counts {
        by_status: views::statistics(statistics).by_status,
        outcomes: tally.outcomes().iter().map(outcome).collect(),
        accounts: tally.accounts().iter().map(account).collect(),
        untried: some_statuses(&tally.untried()),
        codes: tally.codes().map(|(code, count)| (code.to_owned(), count)).collect(),
        attempts: *attempts,
        last_attempt_at: last_attempt_at.map(Time),
        join_requests: statistics.count(TargetStatus::Requested),
        links_sent: tally.with_reason(Reason::LinkSent),
        links_joined: head.link_uses.map(|uses| uses.joined),
        links_waiting: head.link_uses.map(|uses| uses.waiting),
    }
}

fn days_of(days: &Days) -> Vec<DayCount> {
    let day = |(day, counts): (UnixMillis, DayCounts)| DayCount {
        day: rfc3339_ms(day).chars().take(10).collect(),
        succeeded: counts.succeeded,
        refused: counts.refused,
        failed: counts.failed,
        skipped: counts.skipped,
    };
    days.iter().map(day).collect()
}

fn dry_run_of(found: core::DryRun) -> DryRun {
    let account = |account: core::DryRunAccount| DryRunAccount {
        account_id: account.account.0,
        name: account.name,
        status: name_of(account.status),
        would_contact: account.would_contact,
        left_today: account.left_today,
        may_invite: account.may_invite,
    };
    let person = |person: core::DryRunPerson| DryRunPerson {
        target_id: person.target.0,
        identifier: person.identifier,
        account_id: person.account.0,
    };
    let problem = |problem: core::Problem| DryRunProblem {
        code: name_of(problem.code),
        detail: problem.detail,
        account_id: problem.account.map(|account| account.0),
    };
    let progress = found.statistics.progress();
    let skipped = found.skipped.into_iter().map(|(reason, count)| (name_of(reason), count));
    DryRun {
        targets: DryRunTargets {
            total: progress.total,
            done: progress.done,
            ready: found.ready,
            skipped: skipped.collect(),
            looked_at: found.looked_at,
        },
        accounts: found.accounts.into_iter().map(account).collect(),
        first: found.first.into_iter().map(person).collect(),
        binding: found
            .binding
            .into_iter()
            .map(|(limit, percent)| Binding { limit: name_of(limit), percent })
            .collect(),
        estimate_seconds: found.takes_ms.map(|takes| takes.max(0).unsigned_abs().div_ceil(1_000)),
        starts_at: found.starts_at.map(Time),
        problems: found.problems.into_iter().map(problem).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::answers::campaign_report::CampaignCounts;
    use crate::protocol::campaigns::caps::Caps;
    use crate::protocol::campaigns::identity::Identifier;
    use crate::protocol::campaigns::tally::Tally;
    use crate::protocol::campaigns::target::TargetId;
    use crate::protocol::campaigns::task;

    fn head(targets: &[Target]) -> ReportHead {
        let request = task::TaskRequest {
            task_type: Some(task::TaskType::SendMessages),
            title: "Meetup".to_owned(),
            message_template: Some("Hi".to_owned()),
            audience_basis: "they asked".to_owned(),
            account_ids: vec![AccountId(Uuid::from_u128(7))],
            ..task::TaskRequest::default()
        };
        let names = (TaskId(Uuid::from_u128(1)), UserId::new("ann").unwrap());
        let rules = (&Caps::default(), false);
        let task = task::Task::new(names, request, rules, UnixMillis(1_000)).unwrap();
        let counts = CampaignCounts {
            statistics: Statistics::of(targets),
            tally: Tally::of(targets),
            attempts: 0,
            last_attempt_at: None,
        };
        let made_at = UnixMillis(2_000);
        ReportHead { task, owner: None, counts, names: BTreeMap::new(), link_uses: None, made_at }
    }

    #[test]
    fn a_workbook_keeps_its_place_until_its_thread_ends_and_nobody_is_given_half_of_it() {
        let (room, ann) = (ReportRoom::default(), UserId::new("ann").unwrap());
        let folder = tempfile::tempdir().unwrap();
        let targets: Vec<Target> =
            (0..50).map(|id| Target::new(TargetId(id), Identifier::Id(7), None)).collect();
        for is_given_up in [false, true] {
            let over = CancellationToken::new();
            let (pieces, taken) = mpsc::channel(PIECES_WAITING_MAX);
            let place = room.enter(&ann).unwrap();
            let (head, path) = (head(&targets), folder.path().to_owned());
            let making = over.clone();
            let made = std::thread::spawn(move || made_of(head, &path, taken, &making, place));
            pieces.blocking_send(targets.clone()).unwrap();
            assert_eq!(room.0.lock().unwrap().len(), 1, "it is being made");
            if is_given_up {
                over.cancel();
            }
            drop(pieces);
            let made = made.join().unwrap();
            assert_eq!(made.is_err(), is_given_up);
            assert_eq!(room.0.lock().unwrap().is_empty(), is_given_up, "the place goes with it");
            drop(made);
            assert!(room.0.lock().unwrap().is_empty());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
