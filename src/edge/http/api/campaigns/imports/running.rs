//! An import under way: a file or a list is read beside, and its people are added in pieces, each durable before the next
//! is read. Owns what is told of it at the end; who may be added is the core's to say.

use std::fs::File;
use std::io::{BufReader, Seek as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::Instant;

use super::super::Shared;
use crate::actors::{Import, ImportPermit, ImportedPerson, NewTarget};
use crate::clock::instant;
use crate::edge::import::{FileProblem, Limits, Options, Rejected, Row, Summary, open};
use crate::edge::parsing::{Listing, ParsingProblem};
use crate::protocol::answers::refusal::{Code, FieldError, Refusal};
use crate::protocol::campaigns::identity::Country;
use crate::protocol::campaigns::import::ImportRecord;
use crate::protocol::campaigns::target::Details;
use crate::protocol::users::owner::Caller;

/// People of a piece: what one commit adds. A commit costs the same for few and for many.
pub(super) const PIECE: usize = 2_000;
/// Pieces between the reader and the campaign.
pub(super) const PIECES_WAITING: usize = 2;
/// Rejected lines that are told one by one.
pub(super) const REJECTED_TOLD_MAX: usize = 1_000;
/// Lines of one list of the parsing service, at most.
const LISTED_MAX: u64 = 1_100_000;
/// How long a list may take to be fetched.
const LISTING_MAX: Duration = Duration::from_secs(600);

/// What came of an import.
#[derive(Clone)]
pub(super) struct Outcome {
    /// The counts.
    pub(super) record: ImportRecord,
    /// Whether nothing was added, as it was a trial.
    pub(super) is_trial: bool,
    /// Lines that name nobody, the first of them.
    pub(super) rejected: Vec<Rejected>,
    /// How a file was read.
    pub(super) summary: Option<Summary>,
    /// What else is to be known.
    pub(super) notes: Vec<String>,
}

/// A file to be imported.
pub(super) struct Source {
    pub(super) file: File,
    pub(super) name: Option<String>,
    pub(super) country: Option<Country>,
    /// Nobody is contacted by it.
    pub(super) ignores_zones: bool,
    pub(super) limits: Limits,
}

/// Adds the people of a file. One that cannot be read to its end adds nobody.
///
/// # Errors
/// What is wrong with the file; or what the core says, and how many were added before.
pub(super) async fn import_file(
    api: Arc<Shared>,
    who: Caller,
    mut import: Import,
    source: Source,
    _permit: ImportPermit,
) -> Result<Outcome, Refusal> {
    let (pieces, mut read) = mpsc::channel(PIECES_WAITING);
    let is_trial = import.is_trial();
    let reading = spawn_blocking(move || {
        if !is_trial {
            source.read(|_| true)?;
        }
        source.read(|people| pieces.blocking_send(people).is_ok())
    });
    while let Some(people) = read.recv().await {
        let people = people.into_iter().map(person).collect();
        let added = api.services.imports.add(&who, &mut import, people).await;
        added.map_err(|refusal| partly(refusal, &import))?;
    }
    let (summary, rejected) = what_was_read(reading.await)?;
    let finished = api.services.imports.finish(&who, &mut import, summary.rejected).await;
    finished.map_err(|refusal| partly(refusal, &import))?;
    let (summary, notes) = (Some(summary), Vec::new());
    Ok(Outcome { record: import.record, is_trial, rejected, summary, notes })
}

/// What came of reading a file.
///
/// # Errors
/// What is wrong with it.
pub(super) fn what_was_read(
    read: Result<Result<(Summary, Vec<Rejected>), FileProblem>, JoinError>,
) -> Result<(Summary, Vec<Rejected>), Refusal> {
    let read = read.map_err(|_| {
        let detail = "the file could not be read; this is a bug, and the log says where";
        Refusal::new(Code::Internal, detail)
    })?;
    read.map_err(|problem| refused(&problem))
}

impl Source {
    /// Reads the file from its beginning, and hands over its people in pieces until `hand_over` says that it is enough.
    pub(super) fn read(
        &self,
        mut hand_over: impl FnMut(Vec<Row>) -> bool,
    ) -> Result<(Summary, Vec<Rejected>), FileProblem> {
        let mut file = &self.file;
        file.rewind()?;
        let name_hint = self.name.as_deref();
        let options = Options {
            name_hint,
            country: self.country,
            ignores_zones: self.ignores_zones,
            limits: self.limits,
        };
        let mut rows = open(BufReader::new(file), options)?;
        let mut rejected = Vec::new();
        loop {
            let piece = rows.piece(PIECE)?;
            if piece.rows.is_empty() && piece.rejected.is_empty() {
                break;
            }
            rejected.extend(piece.rejected);
            if !piece.rows.is_empty() && !hand_over(piece.rows) {
                break;
            }
        }
        Ok((rows.summary().clone(), rejected))
    }
}

/// Adds the people of a list, as its pages come. With it comes the field of the request that names it.
///
/// # Errors
/// Why it cannot be fetched any further, or what the core says; and how many were added before.
pub(super) async fn import_list(
    api: Arc<Shared>,
    who: Caller,
    mut import: Import,
    (listing, named_by): (Listing, &'static str),
    _permit: ImportPermit,
) -> Result<Outcome, Refusal> {
    let mut fetched = Fetched { named_by, ..Fetched::default() };
    let until = instant() + LISTING_MAX;
    let mut done = add_all(&api, &who, &mut import, listing, &mut fetched, until).await;
    if done.is_ok() {
        let rejected = fetched.rejected_count;
        done = api.services.imports.finish(&who, &mut import, rejected).await;
    }
    done.map_err(|refusal| partly(refusal, &import))?;
    let Fetched { rejected, notes, .. } = fetched;
    Ok(Outcome { record: import.record, is_trial: false, rejected, summary: None, notes })
}

/// What was met in a list beside people.
#[derive(Default)]
struct Fetched {
    /// The field of the request that names the list.
    named_by: &'static str,
    lines: u64,
    rejected: Vec<Rejected>,
    rejected_count: u64,
    notes: Vec<String>,
}

async fn add_all(
    api: &Shared,
    who: &Caller,
    import: &mut Import,
    mut listing: Listing,
    fetched: &mut Fetched,
    until: Instant,
) -> Result<(), Refusal> {
    let named_by = fetched.named_by;
    let unfetched = |problem| unfetched(problem, named_by);
    while let Some(mut page) = listing.next().await.map_err(unfetched)? {
        fetched.rejected_count += page.rejected_count;
        fetched.lines += page.rejected_count + page.people.len() as u64;
        let room = REJECTED_TOLD_MAX - fetched.rejected.len();
        fetched.rejected.extend(page.rejected.drain(..).take(room));
        let mut people = page.people.into_iter().map(person).peekable();
        while people.peek().is_some() {
            let piece = people.by_ref().take(PIECE).collect();
            api.services.imports.add(who, import, piece).await?;
        }
        if import.record.beyond > 0 {
            let note =
                "the task is full: the rest of the list was not fetched (campaign.max_targets)";
            fetched.notes.push(note.to_owned());
            return Ok(());
        }
        if fetched.lines > LISTED_MAX {
            return Err(unfetched(ParsingProblem::Endless("it has too many people")));
        }
        if instant() > until {
            return Err(unfetched(ParsingProblem::Endless("it takes too long")));
        }
    }
    Ok(())
}

pub(super) fn person(row: Row) -> ImportedPerson {
    let Row { identifier, user_id, details, .. } = row;
    let details = (details != Details::default()).then_some(details);
    ImportedPerson { target: NewTarget { identifier, details }, user_id }
}

/// The same, with what was done before it.
fn partly(refusal: Refusal, import: &Import) -> Refusal {
    let record = &import.record;
    if record.accepted == 0 || import.is_trial() {
        return refusal;
    }
    let Refusal { detail, .. } = &refusal;
    let detail = format!(
        "{detail}; {} people were added before it broke off (import {}): send it again, and nobody is added twice",
        record.accepted, record.id.0
    );
    Refusal { detail, ..refusal }
}

/// What is wrong with a file as a whole. Headers are told to who sent it, and not to the log.
fn refused(problem: &FileProblem) -> Refusal {
    let quiet = match problem {
        FileProblem::Io(error) => {
            tracing::warn!(kind = %error.kind(), "a spooled file could not be read");
            let detail = "the file could not be read to its end";
            return Refusal::new(Code::Internal, detail);
        }
        FileProblem::NoPeople { .. } => "no column names people".to_owned(),
        FileProblem::BrokenWorkbook { .. } => "the workbook is damaged".to_owned(),
        other => other.to_string(),
    };
    let errors = vec![FieldError { field: "file".to_owned(), message: problem.to_string() }];
    Refusal { errors, ..Refusal::new(Code::Validation, format!("file: {quiet}")) }
}

/// Why a list is not fetched. `named_by` is the field of the request that names it.
pub(super) fn unfetched(problem: ParsingProblem, named_by: &str) -> Refusal {
    let detail = problem.to_string();
    match problem {
        ParsingProblem::NoSuchTask => Refusal::field(named_by, detail),
        ParsingProblem::Unavailable { retry_after, .. } => {
            Refusal::new(Code::Overloaded, detail).after(retry_after)
        }
        ParsingProblem::Refused(_)
        | ParsingProblem::Unnameable
        | ParsingProblem::Unreadable(_)
        | ParsingProblem::Endless(_)
        | ParsingProblem::OtherHost => Refusal::new(Code::Conflict, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_not_there_is_told_under_the_field_that_names_it() {
        for field in ["task_id", "parsing_task_id"] {
            let refusal = unfetched(ParsingProblem::NoSuchTask, field);
            assert_eq!((refusal.code, refusal.errors[0].field.as_str()), (Code::Validation, field));
        }
        let away = ParsingProblem::Unavailable { why: "x".to_owned(), retry_after: 40 };
        let refusal = unfetched(away, "task_id");
        assert_eq!((refusal.code, refusal.retry_after), (Code::Overloaded, Some(40)));
        let refusal = unfetched(ParsingProblem::Unnameable, "task_id");
        assert_eq!((refusal.code, refusal.errors.len()), (Code::Conflict, 0));
    }
}
