//! What is told about a file beside its rows: how it was read, what was recognised, what was left out.

use std::collections::BTreeMap;
use std::fmt;

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table as text.
    Csv,
    /// A workbook.
    Xlsx,
    /// One JSON document.
    Json,
    /// One JSON value a line.
    JsonLines,
}

/// Something that the person who sent the file should know, although the file could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The name says something else than the content.
    OtherThanItsName(Format),
    /// No header was found, and these columns were recognised by what is in them.
    ColumnsGuessed(Vec<String>),
    /// Lines above the header.
    AboveHeader(u64),
    /// Some bytes are not in the encoding of the others.
    DamagedText,
    /// Lines whose quotes do not match, read as they stand.
    StrayQuotes(u64),
    /// Columns or keys beyond the limit.
    ColumnsLeftOut(u64),
    /// Values that were cut.
    ValuesCut(u64),
    /// Values that did not fit into `data`, or were lists or objects.
    ValuesLeftOut(u64),
    /// Rows whose identifier was not usable, but another column's was.
    OtherIdentifierUsed(u64),
    /// Phones and usernames beside a usable identifier that are none.
    DetailsUnusable(u64),
    /// Ranges of merged cells: only the first cell of each has the value.
    MergedCells(u64),
    /// Rows that are hidden in the sheet, and were left out as their reader does not see them.
    HiddenRows(u64),
    /// Columns that are hidden in the sheet, and were read.
    HiddenColumns(u64),
    /// A sheet that is hidden, and was left out.
    HiddenSheet(String),
    /// A sheet in which no column names people, left out.
    SheetWithoutPeople(String),
    /// Sheets beyond the limit.
    SheetsLeftOut(u64),
    /// Formulas without a value.
    FormulasWithoutValue(u64),
    /// Cells that show an error.
    ErrorCells(u64),
    /// Files within the workbook that are archives themselves, and were not opened.
    Embedded(u64),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherThanItsName(format) => {
                write!(f, "by its content the file is {format}, whatever its name says")
            }
            Self::ColumnsGuessed(names) => {
                write!(f, "recognised by what is in them, not by a header: {}", names.join(", "))
            }
            Self::AboveHeader(count) => {
                write!(f, "lines above the header that were left out: {count}")
            }
            Self::DamagedText => f.write_str("some bytes are no text and were replaced"),
            Self::StrayQuotes(count) => {
                write!(f, "lines with a quote that is not closed, read as they stand: {count}")
            }
            Self::ColumnsLeftOut(count) => {
                write!(f, "values in columns beyond the limit, left out: {count}")
            }
            Self::ValuesCut(count) => write!(f, "values that were too long and were cut: {count}"),
            Self::ValuesLeftOut(count) => {
                write!(
                    f,
                    "values left out because they did not fit or were lists or objects: {count}"
                )
            }
            Self::OtherIdentifierUsed(count) => {
                write!(f, "rows taken by another column because the first was not usable: {count}")
            }
            Self::DetailsUnusable(count) => {
                write!(
                    f,
                    "phones and usernames beside the identifier that are none, left out: {count}"
                )
            }
            Self::MergedCells(count) => {
                write!(
                    f,
                    "ranges of merged cells, of which only the first cell has the value: {count}"
                )
            }
            Self::HiddenRows(count) => write!(f, "hidden rows that were left out: {count}"),
            Self::HiddenColumns(count) => write!(f, "hidden columns that were read: {count}"),
            Self::HiddenSheet(name) => write!(f, "the hidden sheet {name:?} was left out"),
            Self::SheetWithoutPeople(name) => {
                write!(f, "no column of the sheet {name:?} names people; it was left out")
            }
            Self::SheetsLeftOut(count) => write!(f, "sheets beyond the limit, left out: {count}"),
            Self::FormulasWithoutValue(count) => write!(f, "formulas without a value: {count}"),
            Self::ErrorCells(count) => write!(f, "cells that show an error: {count}"),
            Self::Embedded(count) => {
                write!(f, "archives within the workbook that were not opened: {count}")
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "CSV",
            Self::Xlsx => "XLSX",
            Self::Json => "JSON",
            Self::JsonLines => "JSON, a value a line",
        })
    }
}

/// Numbers of things that are told only as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) above_header: u64,
    pub(super) stray_quotes: u64,
    pub(super) columns_left_out: u64,
    pub(super) values_cut: u64,
    pub(super) values_left_out: u64,
    pub(super) other_identifier: u64,
    pub(super) details_unusable: u64,
    pub(super) merged: u64,
    pub(super) hidden_rows: u64,
    pub(super) hidden_columns: u64,
    pub(super) sheets_left_out: u64,
    pub(super) formulas: u64,
    pub(super) errors: u64,
    pub(super) embedded: u64,
}

/// How a file was read. Complete when its last row is.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What it turned out to be.
    pub format: Format,
    /// Name of the encoding of a text, as the Encoding Standard has it.
    pub encoding: Option<&'static str>,
    /// What separates the columns of a text; `None` where there is only one.
    pub delimiter: Option<char>,
    /// Recognised columns: our name, and the header or key as it was found. The answer's `columns`.
    pub columns: BTreeMap<&'static str, String>,
    /// Columns that are kept in `data`, by their headers.
    pub data_columns: Vec<String>,
    /// Sheets that were read.
    pub sheets: Vec<String>,
    /// Rows that are not blank.
    pub rows: u64,
    /// Of these, rows that name a person.
    pub accepted: u64,
    /// Of these, rows that do not: told one by one up to the limit, all counted.
    pub rejected: u64,
    pub(super) tally: Tally,
    pub(super) named: Vec<Note>,
}

impl Summary {
    /// Names in a list of unlimited length end here.
    const NAMED_MAX: usize = 100;

    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            encoding: None,
            delimiter: None,
            columns: BTreeMap::new(),
            data_columns: Vec::new(),
            sheets: Vec::new(),
            rows: 0,
            accepted: 0,
            rejected: 0,
            tally: Tally::default(),
            named: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        if self.named.len() < Self::NAMED_MAX && !self.named.contains(&note) {
            self.named.push(note);
        }
    }

    /// What the person should know: first what has a name, then what is only counted.
    pub fn notes(&self) -> Vec<Note> {
        let tally = &self.tally;
        let counted = [
            (tally.above_header, Note::AboveHeader as fn(u64) -> Note),
            (tally.stray_quotes, Note::StrayQuotes),
            (tally.columns_left_out, Note::ColumnsLeftOut),
            (tally.values_cut, Note::ValuesCut),
            (tally.values_left_out, Note::ValuesLeftOut),
            (tally.other_identifier, Note::OtherIdentifierUsed),
            (tally.details_unusable, Note::DetailsUnusable),
            (tally.merged, Note::MergedCells),
            (tally.hidden_rows, Note::HiddenRows),
            (tally.hidden_columns, Note::HiddenColumns),
            (tally.sheets_left_out, Note::SheetsLeftOut),
            (tally.formulas, Note::FormulasWithoutValue),
            (tally.errors, Note::ErrorCells),
            (tally.embedded, Note::Embedded),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0);
        let counted = counted.map(|(count, note)| note(count));
        self.named.iter().cloned().chain(counted).collect()
    }
}
