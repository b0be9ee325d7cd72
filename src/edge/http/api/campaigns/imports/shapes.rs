//! What the API takes and gives of imports. Plain data, and from the core's answers to it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::parse::name_of;
use super::super::shapes::RejectedTarget;
use super::running::Outcome;
use crate::actors::Undone;
use crate::edge::http::api::shapes::Time;
use crate::edge::import::Rejected;
use crate::protocol::campaigns::import::ImportRecord;

/// A file with people.
#[derive(ToSchema)]
#[schema(examples(json!({
    "task_id": "0192d3c4-0000-7000-8000-000000000005",
    "file": "username;first_name\r\n@durov;Pavel\r\nnot a name;\r\n"
})))]
#[expect(dead_code, reason = "names a form")]
pub(super) struct ImportFile {
    /// The campaign. It may come behind the file.
    task_id: Uuid,
    /// CSV, XLSX or JSON, at most 10 MB.
    #[schema(value_type = String, format = Binary)]
    file: String,
}

/// A file to be looked at.
#[derive(ToSchema)]
#[schema(examples(json!({"file": "username\r\n@durov\r\n"})))]
#[expect(dead_code, reason = "names a form")]
pub(super) struct CheckFile {
    /// The campaign whose list it is held against; without it nobody is in the list.
    task_id: Option<Uuid>,
    /// CSV, XLSX or JSON, at most 10 MB.
    #[schema(value_type = String, format = Binary)]
    file: String,
}

/// A list of the parsing service.
#[derive(ToSchema)]
#[schema(examples(json!({
    "task_id": "0192d3c4-0000-7000-8000-000000000005", "parsing_task_id": "77"
})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct ImportList {
    /// The campaign.
    task_id: Uuid,
    /// The task of the parsing service: letters, digits, `-`, `_`, `.` and `:`. The campaign's own id when absent.
    #[schema(max_length = 128)]
    parsing_task_id: Option<String>,
}

/// What came of an import.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct ImportedPeople {
    /// The import, to undo it; there is none when nobody was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import_id: Option<Uuid>,
    /// Those who are in the list now and were not before.
    pub accepted: u64,
    /// Those who were in it.
    pub duplicates: u64,
    /// Those of all of them who refuse what the campaign does: they are skipped when it runs.
    pub suppressed: u64,
    /// Lines that name nobody, and why; the first 1000.
    pub rejected: Vec<RejectedTarget>,
    /// Lines that name nobody and are not among these.
    pub rejected_left_out: u64,
    /// Columns that were recognised: our name, and the header or key in the file.
    pub columns: BTreeMap<String, String>,
    /// Columns that are kept in `data`.
    pub data_columns: Vec<String>,
    /// What the file is: `csv`, `xlsx`, `json` or `jsonl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Its encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// What separates its columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// Sheets that were read.
    pub sheets: Vec<String>,
    /// What else is to be known of it.
    pub notes: Vec<String>,
}

/// An import into a campaign.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct ImportView {
    /// Its id.
    pub id: Uuid,
    /// The campaign.
    pub task_id: Uuid,
    /// `file` or `parsing`.
    pub source: String,
    /// `finished`, `undone` or `unfinished`: it goes on, or broke off. Asked for alone it is told which, `running` or
    /// `broken_off`, as long as this process knows.
    pub status: String,
    /// When it began.
    pub created_at: Time,
    /// When it came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// When it was undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone_at: Option<Time>,
    /// People who were added.
    pub accepted: u64,
    /// People who were in the list.
    pub duplicates: u64,
    /// People for whom the campaign had no room.
    pub beyond: u64,
    /// People who refuse what the campaign does.
    pub suppressed: u64,
    /// Lines that name nobody.
    pub rejected: u64,
    /// What its sender was not told, because it took too long or the connection broke; kept until the daemon is
    /// restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<ImportedPeople>,
    /// Why it broke off; the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broke_off_because: Option<String>,
}

/// What an undoing did.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct UndoneView {
    /// People who are out of the list again.
    pub removed: u64,
    /// People of the import who stay, as something was done about them already.
    pub kept: u64,
}

/// The formats as they are named on the wire.
fn format_name(format: crate::edge::import::Format) -> &'static str {
    use crate::edge::import::Format;
    match format {
        Format::Csv => "csv",
        Format::Xlsx => "xlsx",
        Format::Json => "json",
        Format::JsonLines => "jsonl",
    }
}

pub(super) fn imported(outcome: Outcome) -> ImportedPeople {
    let Outcome { record, is_trial, rejected, summary, mut notes } = outcome;
    let is_kept = !is_trial && record.accepted > 0;
    let left_out = record.rejected.saturating_sub(rejected.len() as u64);
    let rows = summary.as_ref().map_or(0, |summary| summary.rows);
    let told = |Rejected { line, value, reason }| RejectedTarget { line, value, reason };
    let mut rejected: Vec<RejectedTarget> = rejected.into_iter().map(told).collect();
    if record.beyond > 0 {
        let reason = format!(
            "the task has no room for the last {} of them (campaign.max_targets)",
            record.beyond
        );
        rejected.push(RejectedTarget { line: rows, value: String::new(), reason });
    }
    notes.extend(summary.iter().flat_map(|summary| summary.notes()).map(|note| note.to_string()));
    let read = summary.as_ref();
    ImportedPeople {
        import_id: is_kept.then_some(record.id.0),
        accepted: record.accepted,
        duplicates: record.duplicates,
        suppressed: record.suppressed,
        rejected,
        rejected_left_out: left_out,
        columns: read.map_or_else(BTreeMap::new, |read| {
            let named = read.columns.iter();
            named.map(|(name, header)| ((*name).to_owned(), header.clone())).collect()
        }),
        data_columns: read.map_or_else(Vec::new, |read| read.data_columns.clone()),
        format: read.map(|read| format_name(read.format).to_owned()),
        encoding: read.and_then(|read| read.encoding).map(str::to_owned),
        delimiter: read.and_then(|read| read.delimiter).map(String::from),
        sheets: read.map_or_else(Vec::new, |read| read.sheets.clone()),
        notes,
    }
}

pub(super) fn import(record: ImportRecord) -> ImportView {
    let status = match record {
        ImportRecord { undone_at: Some(_), .. } => "undone",
        ImportRecord { finished_at: Some(_), .. } => "finished",
        _ => "unfinished",
    };
    ImportView {
        id: record.id.0,
        task_id: record.task.0,
        source: name_of(record.source),
        status: status.to_owned(),
        created_at: Time(record.at),
        finished_at: record.finished_at.map(Time),
        undone_at: record.undone_at.map(Time),
        accepted: record.accepted,
        duplicates: record.duplicates,
        beyond: record.beyond,
        suppressed: record.suppressed,
        rejected: record.rejected,
        result: None,
        broke_off_because: None,
    }
}

pub(super) fn undone(undone: Undone) -> UndoneView {
    UndoneView { removed: undone.removed, kept: undone.kept }
}
