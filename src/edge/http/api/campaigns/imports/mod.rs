//! Imports over HTTP: people of a file or of the parsing service are added to a campaign, a file is checked without that,
//! and what an import has made is undone. Owns these routes, the file while it is read, and how long an answer waits for
//! the end; how files are read is in `edge/import`, how lists are fetched in `edge/parsing`, and who may be added is the
//! core's to say.
//!
//! A file comes in as a body in parts, is spooled to the disk (`upload.rs`), read from there and handed over in pieces
//! (`running.rs`); what came of it goes out in the contract's shapes (`shapes.rs`), and is kept for whoever did not get
//! the answer (`outcomes.rs`). A file of people who are never to be contacted goes the same way (`suppressing.rs`).

mod outcomes;
mod running;
mod shapes;
mod suppressing;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(in crate::edge::http::api) use self::outcomes::Outcomes;
use self::running::{Outcome, Source, import_file, import_list, unfetched};
use self::shapes::{
    CheckFile, ImportFile, ImportList, ImportView, ImportedPeople, UndoneView, imported,
};
pub(super) use self::suppressing::suppress_file;
pub use self::upload::UploadRoom;
use self::upload::{Upload, receive};
use super::parse;
use crate::actors::ImportOrder;
use crate::clock::instant;
use crate::edge::http::api::Shared;
use crate::edge::http::api::bodies::Paging;
use crate::edge::http::api::extract::{Body, Id, Identity, Query, page};
use crate::edge::http::api::fields::Wrong;
use crate::edge::http::api::shapes::Page;
use crate::edge::http::api::views::page as page_of;
use crate::edge::import::Limits;
use crate::edge::parsing::ParsingClient;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::import::{ImportId, ImportRecord, ImportSource};
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::users::owner::Caller;
use crate::tasks;

/// How long an answer waits for the end of an import: less than a request may take. The import goes on.
const ANSWER_MAX: Duration = Duration::from_secs(26);
/// Bytes of a file that may be imported: the contract's 10 MB.
pub const IMPORT_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Longest name of a task of the parsing service, bytes.
const PARSING_ID_MAX: usize = 128;

/// What imports need.
#[derive(Clone)]
pub struct ImportOptions {
    /// The folder in whose file system files lie, without a name, while they are read.
    pub spool: PathBuf,
    /// Bytes of a file, at most; see [`IMPORT_BYTES_MAX`].
    pub file_bytes_max: u64,
    /// The parsing service, if there is one.
    pub parsing: Option<ParsingClient>,
    /// The room for files that are being sent.
    pub room: UploadRoom,
}

impl ImportOptions {
    /// Removes what the life before has left in the folder. Blocks for a look at it.
    pub(in crate::edge::http::api) fn sweep(&self) {
        upload::sweep(&self.spool);
    }
}

impl From<Uuid> for ImportId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl Identity for ImportId {
    const PARAMETER: &'static str = "import_id";
    const WHAT: &'static str = "import";
}

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(import_from_file))
        .routes(routes!(import_from_parsing))
        .routes(routes!(check_file, check_file_by_get))
        .routes(routes!(imports))
        .routes(routes!(one_import, undo_import))
}

/// Import people from a file
///
/// CSV, XLSX or JSON, whatever program wrote it: columns are recognised by their headers, English or Russian, or by what
/// is in them. Each person is added once, so that the same file may be sent again. A file that cannot be read to its end
/// adds nobody. An import that takes long is answered with 202, and goes on.
#[utoipa::path(
    post,
    path = "/import/file",
    tag = "campaigns",
    request_body(content = ImportFile, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "What came of it", body = ImportedPeople),
        (status = 202, description = "It goes on; see the campaign's imports", body = ImportView),
    ),
    extensions(("x-codes" = json!(["CONFLICT", "NOT_FOUND"]))),
)]
async fn import_from_file(
    State(api): State<Arc<Shared>>,
    who: Caller,
    request: Request,
) -> Result<Response, Response> {
    let until = instant() + ANSWER_MAX;
    let refused = |refusal: Refusal| refusal.into_response();
    let permit = api.services.imports.admit(&who).map_err(refused)?;
    let Upload { task, file, name } = received(&api, request).await?;
    let order = ImportOrder { task, source: ImportSource::File, is_trial: false };
    let import = api.services.imports.begin(&who, order).await.map_err(refused)?;
    let record = import.record.clone();
    let source = source(&api, file, name);
    let work = import_file(Arc::clone(&api), who, import, source, permit);
    Ok(answered(api, work, record, until).await)
}

/// Import people from the parsing service
///
/// The list of one of its tasks, page by page. It is fetched for the caller, whose id goes along as `X-User-Id`. Without
/// `parsing_task_id` the parsing service's task has the campaign's id. An import that takes long is answered with 202,
/// and goes on.
#[utoipa::path(
    post,
    path = "/import/parsing",
    tag = "campaigns",
    request_body = ImportList,
    responses(
        (status = 200, description = "What came of it", body = ImportedPeople),
        (status = 202, description = "It goes on; see the campaign's imports", body = ImportView),
    ),
    extensions(("x-codes" = json!(["CONFLICT", "NOT_FOUND"]))),
)]
async fn import_from_parsing(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Body(mut fields): Body,
) -> Result<Response, Refusal> {
    let until = instant() + ANSWER_MAX;
    let task = fields.required("task_id", task_id);
    let theirs = fields.optional("parsing_task_id", parsing_task_id);
    let task = fields.finish(task)?;
    let Some(parsing) = api.imports.parsing.clone() else {
        let detail = "no parsing service is configured here; set parsing.url";
        return Err(Refusal::new(Code::Conflict, detail));
    };
    let named_by = if theirs.is_some() { "parsing_task_id" } else { "task_id" };
    let theirs = theirs.unwrap_or_else(|| task.to_string());
    let permit = api.services.imports.admit(&who)?;
    let order = ImportOrder { task: Some(task), source: ImportSource::Parsing, is_trial: false };
    let import = api.services.imports.begin(&who, order).await?;
    let record = import.record.clone();
    let listing = parsing.listing(&theirs, &who.user, api.services.imports.country());
    let listing = listing.map_err(|problem| unfetched(problem, named_by))?;
    let work = import_list(Arc::clone(&api), who, import, (listing, named_by), permit);
    Ok(answered(api, work, record, until).await)
}

/// Check a file without importing it
///
/// Answers what an import of it would, and adds nobody.
#[utoipa::path(
    post,
    path = "/import/validate",
    tag = "campaigns",
    request_body(content = CheckFile, content_type = "multipart/form-data"),
    responses((status = 200, description = "What would come of it", body = ImportedPeople)),
    extensions(("x-codes" = json!(["NOT_FOUND"]))),
)]
async fn check_file(
    State(api): State<Arc<Shared>>,
    who: Caller,
    request: Request,
) -> Result<Json<ImportedPeople>, Response> {
    checked(api, who, request).await
}

/// Check a file without importing it, by GET
///
/// The same as by POST, for who can send a body with it.
#[utoipa::path(
    get,
    path = "/import/validate",
    tag = "campaigns",
    request_body(content = CheckFile, content_type = "multipart/form-data"),
    responses((status = 200, description = "What would come of it", body = ImportedPeople)),
    extensions(("x-codes" = json!(["NOT_FOUND"]))),
)]
async fn check_file_by_get(
    State(api): State<Arc<Shared>>,
    who: Caller,
    request: Request,
) -> Result<Json<ImportedPeople>, Response> {
    checked(api, who, request).await
}

/// List the imports of a campaign
///
/// Those that added somebody, the newest first.
#[utoipa::path(
    get,
    path = "/tasks/{id}/imports",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The campaign"), Paging),
    responses((status = 200, description = "A page of them", body = Page<ImportView>)),
)]
async fn imports(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    Query(mut fields): Query,
) -> Result<Json<Page<ImportView>>, Refusal> {
    let page = page(&mut fields);
    let page = fields.finish(Some(page))?;
    let found = api.services.imports.list(&who, id, page).await?;
    Ok(Json(page_of(found, shapes::import)))
}

/// Get an import
///
/// Whether it is over, and what its sender was not told: what came of it, each line that names nobody, or why it broke
/// off.
#[utoipa::path(
    get,
    path = "/tasks/{id}/imports/{import_id}",
    tag = "campaigns",
    params(
        ("id" = Uuid, Path, description = "The campaign"),
        ("import_id" = Uuid, Path, description = "The import"),
    ),
    responses((status = 200, description = "The import", body = ImportView)),
)]
async fn one_import(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    Id(import): Id<ImportId>,
) -> Result<Json<ImportView>, Refusal> {
    let stored = api.services.imports.find(&who, id, import).await?;
    let found = api.outcomes.look_up(id, import, stored);
    found.map(Json).ok_or_else(|| Refusal::not_found("import"))
}

/// Undo an import
///
/// Its people who wait are taken out of the list again, while the campaign is a draft or paused. Whoever something was
/// done about stays, and so does who was in the list before.
#[utoipa::path(
    delete,
    path = "/tasks/{id}/imports/{import_id}",
    tag = "campaigns",
    params(
        ("id" = Uuid, Path, description = "The campaign"),
        ("import_id" = Uuid, Path, description = "The import"),
    ),
    responses((status = 200, description = "What was undone", body = UndoneView)),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn undo_import(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<TaskId>,
    Id(import): Id<ImportId>,
) -> Result<Json<UndoneView>, Refusal> {
    api.services.imports.undo(&who, id, import).await.map(shapes::undone).map(Json)
}

async fn received(api: &Shared, request: Request) -> Result<Upload, Response> {
    let _place = api.imports.room.enter().map_err(IntoResponse::into_response)?;
    receive(request, &api.imports.spool, api.imports.file_bytes_max).await
}

fn source(api: &Shared, file: std::fs::File, name: Option<String>) -> Source {
    let limits = Limits::for_files_of(api.imports.file_bytes_max);
    Source { file, name, country: api.services.imports.country(), ignores_zones: false, limits }
}

async fn checked(
    api: Arc<Shared>,
    who: Caller,
    request: Request,
) -> Result<Json<ImportedPeople>, Response> {
    let refused = |refusal: Refusal| refusal.into_response();
    let permit = api.services.imports.admit(&who).map_err(refused)?;
    let Upload { task, file, name } = received(&api, request).await?;
    let order = ImportOrder { task, source: ImportSource::File, is_trial: true };
    let import = api.services.imports.begin(&who, order).await.map_err(refused)?;
    let source = source(&api, file, name);
    let outcome = import_file(api, who, import, source, permit).await.map_err(refused)?;
    Ok(Json(imported(outcome)))
}

/// Waits for the end of an import as long as an answer may take; it goes on in any case.
async fn answered(
    api: Arc<Shared>,
    work: impl Future<Output = Result<Outcome, Refusal>> + Send + 'static,
    record: ImportRecord,
    until: Instant,
) -> Response {
    let id = record.id;
    api.outcomes.begin(&record);
    let kept = Arc::clone(&api);
    let told = async move {
        let outcome = work.await;
        kept.outcomes.end(id, &outcome);
        if let Err(refusal) = &outcome {
            // Perhaps nobody waits for the answer any more.
            tracing::info!(import = %id.0, code = refusal.code.name(), "an import broke off");
        }
        outcome
    };
    let answer = timeout_at(until, tasks::brief(told)).await;
    match answer {
        Ok(Ok(Ok(outcome))) => Json(imported(outcome)).into_response(),
        Ok(Ok(Err(refusal))) => refusal.into_response(),
        Ok(Err(_)) => {
            let detail = "the import failed inside; this is a bug, and the log says where";
            Refusal::new(Code::Internal, detail).into_response()
        }
        Err(_) => (StatusCode::ACCEPTED, Json(shapes::import(record))).into_response(),
    }
}

fn task_id(value: Value) -> Result<TaskId, Wrong> {
    let id = value.as_str().and_then(|text| Uuid::parse_str(text).ok()).map(TaskId);
    id.ok_or_else(|| "must be the UUID of a task".to_owned())
}

/// A name that is a part of a path, and no way out of it.
fn parsing_task_id(value: Value) -> Result<String, Wrong> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        value => parse::text(value)?,
    };
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let is_name = text.bytes().any(|byte| byte.is_ascii_alphanumeric());
    let is_short = text.len() <= PARSING_ID_MAX;
    let is_one = is_short && is_name && text.bytes().all(is_fit);
    let wrong = || {
        format!(
            "must be 1 to {PARSING_ID_MAX} letters, digits, hyphens, underscores, dots or colons"
        )
    };
    is_one.then_some(text).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_of_a_list_is_no_way_to_another_address() {
        for (given, is_taken) in [
            (json!("77"), true),
            (json!(77), true),
            (json!("0192d3c4-0000-7000-8000-000000000005"), true),
            (json!("a.b:c_d"), true),
            (json!(""), false),
            (json!(".."), false),
            (json!("."), false),
            (json!("a/../b"), false),
            (json!("a?b"), false),
            (json!("a%2fb"), false),
            (json!("ä"), false),
            (json!("x".repeat(129)), false),
            (json!(["77"]), false),
            (json!(true), false),
        ] {
            assert_eq!(parsing_task_id(given.clone()).is_ok(), is_taken, "{given}");
        }
    }
}
