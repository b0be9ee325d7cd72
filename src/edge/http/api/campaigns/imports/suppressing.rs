//! A file of people who are never to be contacted: each is put on the list under every name that the file has of them.
//! Owns how long the answer waits; how files are read is in `edge/import`, and the lists are the core's.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use super::super::shapes::RejectedTarget;
use super::super::suppression::ImportedSuppressions;
use super::running::{PIECE, PIECES_WAITING, REJECTED_TOLD_MAX, Source, person, what_was_read};
use super::upload::Upload;
use super::{ANSWER_MAX, received, source};
use crate::actors::{ImportPermit, SuppressionList};
use crate::clock::instant;
use crate::edge::http::api::Shared;
use crate::edge::import::{Rejected, Row};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::users::owner::Caller;
use crate::tasks;

/// What came of it so far.
type Progress = Arc<Mutex<ImportedSuppressions>>;

/// Puts the people of a file on a list. One that cannot be read to its end changes nothing.
///
/// # Errors
/// A problem document.
pub(in crate::edge::http::api::campaigns) async fn suppress_file(
    api: Arc<Shared>,
    who: Caller,
    list: SuppressionList,
    request: Request,
) -> Result<Response, Response> {
    let until = instant() + ANSWER_MAX;
    let permit = api.services.imports.admit(&who).map_err(IntoResponse::into_response)?;
    let Upload { task, file, name } = received(&api, request).await?;
    if task.is_some() {
        let refusal = Refusal::field("task_id", "has no place here: the list is for all campaigns");
        return Err(refusal.into_response());
    }
    let source = Source { ignores_zones: true, ..source(&api, file, name) };
    let progress = Progress::default();
    let work = suppress(api, who, list, source, Arc::clone(&progress), permit);
    let told = match timeout_at(until, tasks::brief(work)).await {
        Ok(Ok(Ok(()))) => StatusCode::OK,
        Ok(Ok(Err(refusal))) => return Err(refusal.into_response()),
        Ok(Err(_)) => {
            let detail = "the import failed inside; this is a bug, and the log says where";
            return Err(Refusal::new(Code::Internal, detail).into_response());
        }
        // It goes on. Sent once more, the file is told as a whole.
        Err(_) => StatusCode::ACCEPTED,
    };
    let so_far = progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((told, Json(so_far)).into_response())
}

async fn suppress(
    api: Arc<Shared>,
    who: Caller,
    list: SuppressionList,
    source: Source,
    progress: Progress,
    _permit: ImportPermit,
) -> Result<(), Refusal> {
    let (pieces, mut read) = mpsc::channel::<Vec<Row>>(PIECES_WAITING);
    let country = source.country;
    let reading = spawn_blocking(move || {
        source.read(|_| true)?;
        source.read(|people| pieces.blocking_send(people).is_ok())
    });
    let note = |change: &dyn Fn(&mut ImportedSuppressions)| {
        change(&mut progress.lock().unwrap_or_else(PoisonError::into_inner));
    };
    while let Some(people) = read.recv().await {
        let names: Vec<Identifier> =
            people.into_iter().flat_map(|row| person(row).names(country)).collect();
        for names in names.chunks(PIECE) {
            let done = api.services.suppression.import(&who, list, names.to_vec(), None).await?;
            note(&|so_far| {
                so_far.accepted += done.accepted;
                so_far.duplicates += done.duplicates;
            });
        }
    }
    let (summary, rejected) = what_was_read(reading.await)?;
    let told = rejected.into_iter().take(REJECTED_TOLD_MAX);
    let told = told.map(|Rejected { line, value, reason }| RejectedTarget { line, value, reason });
    let told: Vec<RejectedTarget> = told.collect();
    note(&|so_far| {
        so_far.rejected_left_out = summary.rejected.saturating_sub(told.len() as u64);
        so_far.rejected.clone_from(&told);
    });
    Ok(())
}
