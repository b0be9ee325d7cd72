//! What all readers give: one line of a table, or one element of JSON, as cells that know their column.

use std::ops::Range;

use super::problem::FileProblem;
use super::summary::Summary;

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// A number, as the file spells it.
    Number,
    /// True or false.
    Flag,
    /// Something that is no value.
    Flawed(Flaw),
}

/// Why something that was read is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A formula that no program has computed yet.
    Formula,
    /// `#N/A` and its like.
    ErrorCell,
    /// A text that the workbook does not have.
    MissingText,
    /// A list or an object within a person.
    Nested,
    /// Longer than a row may be.
    TooLong,
    /// An element that is neither an object nor a text nor a number.
    NotAPerson,
    /// A key that is there twice and names two people.
    RepeatedKey,
    /// A line of JSON that is not well-formed.
    BrokenLine(&'static str),
}

impl Flaw {
    /// For the person who sent the file.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Formula => {
                "the cell is a formula without a value; open the file in a spreadsheet program and save it"
            }
            Self::ErrorCell => "the cell shows an error",
            Self::MissingText => "the cell's text is missing from the workbook",
            Self::Nested => "a list or an object stands where a value was expected",
            Self::TooLong => "the line is too long",
            Self::NotAPerson => "it is neither an object nor a text nor a number",
            Self::RepeatedKey => "a key is there twice with different values",
            Self::BrokenLine(reason) => reason,
        }
    }
}

/// A cell, its text in the record that holds it.
#[derive(Clone, Debug)]
struct Place {
    column: u32,
    text: Range<usize>,
    kind: Kind,
}

/// A cell of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'r> {
    pub(super) text: &'r str,
    pub(super) kind: Kind,
}

/// One line or element. Made once and filled again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Physical line in the file, or row in the sheet, on which it begins; counted from one.
    pub(super) line: u64,
    /// Number of the element within JSON's list; zero elsewhere.
    pub(super) element: u64,
    /// What is wrong with the whole of it.
    pub(super) flaw: Option<Flaw>,
    text: String,
    places: Vec<Place>,
}

impl Record {
    pub(super) fn clear(&mut self, line: u64) {
        self.line = line;
        self.element = 0;
        self.flaw = None;
        self.text.clear();
        self.places.clear();
    }

    /// Appends a cell.
    pub(super) fn push(&mut self, column: u32, kind: Kind, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.places.push(Place { column, text: start..self.text.len(), kind });
    }

    /// Appends a cell whose text is written by `write`.
    pub(super) fn push_with<E>(
        &mut self,
        column: u32,
        write: impl FnOnce(&mut String) -> Result<Kind, E>,
    ) -> Result<(), E> {
        let start = self.text.len();
        let kind = write(&mut self.text)?;
        self.places.push(Place { column, text: start..self.text.len(), kind });
        Ok(())
    }

    /// Takes back what was pushed since there were `count` cells.
    pub(super) fn truncate(&mut self, count: usize) {
        if let Some(first) = self.places.get(count) {
            self.text.truncate(first.text.start);
            self.places.truncate(count);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes of all texts.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// All cells with the columns they stand in, in the file's order.
    pub(super) fn cells(&self) -> impl Iterator<Item = (u32, Cell<'_>)> {
        self.places.iter().map(|place| {
            (place.column, Cell { text: &self.text[place.text.clone()], kind: place.kind })
        })
    }

    /// The text in a column.
    pub(super) fn text(&self, column: u32) -> Option<&str> {
        self.cells().find(|(known, _)| *known == column).map(|(_, cell)| cell.text)
    }

    /// Whether nothing is in it. An element of JSON was written by somebody, and is never blank.
    pub(super) fn is_blank(&self) -> bool {
        let is_empty =
            |cell: Cell| cell.text.trim().is_empty() && !matches!(cell.kind, Kind::Flawed(_));
        self.element == 0 && self.flaw.is_none() && self.cells().all(|(_, cell)| is_empty(cell))
    }
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A record was read.
    Record,
    /// A table begins: a sheet, or the only one.
    Table {
        /// The sheet's name.
        sheet: Option<Box<str>>,
        /// Whether there are other sheets, so that a line alone says too little.
        is_one_of_many: bool,
    },
    /// Nothing more.
    End,
}

/// A reader of one format.
pub(super) trait Records: Send {
    /// Reads on, into `record` if it is one. What is worth telling goes into the summary.
    fn step(&mut self, record: &mut Record, summary: &mut Summary) -> Result<Step, FileProblem>;

    /// The keys that columns stand for, where each value has one; `None` for tables.
    fn keys(&self) -> Option<&[Box<str>]> {
        None
    }
}
