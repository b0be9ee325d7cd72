//! Import: from the bytes of a file that a person has to the core's rows.
//!
//! Owns how CSV, XLSX and JSON are read, whatever program wrote them: encodings, delimiters, headers in English and
//! Russian, numbers as spreadsheets spell them, archives and their bombs. Never does HTTP, waits, keeps rows, decides who
//! may be contacted, or trusts a size that a file declares. Who an identifier means is the core's to say
//! ([`Identifier`](crate::protocol::campaigns::identity::Identifier)); who is there already is the store's.
//!
//! A spooled file comes in ([`open`]), rows and rejected lines go out one by one or in pieces ([`Rows`]), then how the
//! file was read ([`Summary`]). Memory does not grow with the file, except for a workbook's table of texts, which has a
//! bound of its own.
//!
//! | file | owns |
//! |---|---|
//! | `limits.rs` | every bound |
//! | `sniff.rs` | what kind of file it is, by its content |
//! | `encoding.rs` | from bytes to text |
//! | `csv.rs`, `json.rs` with `lexer.rs` and `shape.rs`, `xlsx/` | from a file to records |
//! | `record.rs` | a record: cells that know their column |
//! | `meaning.rs`, `columns.rs` | what a header says, and which columns a table has |
//! | `row.rs` | from a record to a person, or why not |
//! | `summary.rs`, `problem.rs` | what is told: about a file that was read, and about one that was not |

mod columns;
mod csv;
mod encoding;
mod json;
mod lexer;
mod limits;
mod meaning;
mod problem;
mod record;
mod row;
mod shape;
mod sniff;
mod summary;
mod xlsx;

#[cfg(test)]
pub(in crate::edge) mod tests;

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};

pub use limits::Limits;
pub use problem::{FileProblem, Foreign};
pub use row::{Rejected, Row};
pub use summary::{Format, Note, Summary};

use self::columns::{Column, Columns, layout, place_name};
use self::meaning::Meaning;
use self::record::{Record, Records, Step};
use self::row::{Outcome, Reading};
use self::sniff::Found;
use crate::protocol::campaigns::identity::Country;

/// First rows of a table, from which its columns are recognised.
const SAMPLE_ROWS: usize = 50;

/// What is known of a file beside its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'o> {
    /// Its name, for a note when it says something else than the content.
    pub name_hint: Option<&'o str>,
    /// Where phone numbers without a country code are from.
    pub country: Option<Country>,
    /// Whether people are taken whatever stands where their time zone would: nobody is contacted by it.
    pub ignores_zones: bool,
    /// The bounds.
    pub limits: Limits,
}

/// What a file gives, one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A person.
    Row(Box<Row>),
    /// A line that names nobody.
    Rejected(Rejected),
}

/// A piece of a file, to be stored at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// People.
    pub rows: Vec<Row>,
    /// Lines that name nobody, met between them.
    pub rejected: Vec<Rejected>,
}

/// Recognises a file and opens it. The rows are then read from the returned value.
///
/// # Errors
/// When it is no file that is read here, or is refused as a whole; see [`FileProblem`].
pub fn open<'r, R: Read + Seek + Send + 'r>(
    mut reader: R,
    options: Options<'_>,
) -> Result<Rows<'r>, FileProblem> {
    let limits = options.limits;
    if reader.seek(SeekFrom::End(0))? > limits.file_bytes {
        return Err(FileProblem::TooLarge { limit: limits.file_bytes });
    }
    let found = sniff::sniff(&mut reader)?;
    let mut summary = Summary::new(match found {
        Found::Zip => Format::Xlsx,
        Found::Json => Format::Json,
        Found::Csv => Format::Csv,
    });
    let records: Box<dyn Records + 'r> = match found {
        Found::Zip => Box::new(xlsx::Workbook::open(reader, limits, &mut summary)?),
        Found::Json => {
            let encoding = encoding::Encoding::detect(&mut reader)?;
            Box::new(json::Json::open(reader, encoding, limits, &mut summary)?)
        }
        Found::Csv => {
            let encoding = encoding::Encoding::detect(&mut reader)?;
            Box::new(csv::Csv::new(reader, encoding, limits, &mut summary)?)
        }
    };
    if options.name_hint.and_then(format_of_name).is_some_and(|named| named != summary.format) {
        summary.note(Note::OtherThanItsName(summary.format));
    }
    Ok(Rows::new(records, &options, summary))
}

/// What a name promises, where it promises something.
fn format_of_name(name: &str) -> Option<Format> {
    let (_, extension) = name.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "csv" | "tsv" => Some(Format::Csv),
        "xlsx" | "xlsm" => Some(Format::Xlsx),
        "json" => Some(Format::Json),
        _ => None,
    }
}

/// The rows of a file. An error ends them; what came before stands.
pub struct Rows<'r> {
    records: Box<dyn Records + 'r>,
    country: Option<Country>,
    ignores_zones: bool,
    limits: Limits,
    summary: Summary,
    record: Record,
    /// First rows of the table, read to recognise its columns.
    sample: VecDeque<Record>,
    /// What ended the sample.
    pending: Option<Step>,
    columns: Columns,
    /// Headers of tables that name nobody.
    headers: Vec<String>,
    /// The sheet, where its name has to be told with a line.
    sheet: Option<Box<str>>,
    is_left_out: bool,
    has_people: bool,
    is_done: bool,
}

impl<'r> Rows<'r> {
    fn new(records: Box<dyn Records + 'r>, options: &Options<'_>, summary: Summary) -> Self {
        let Options { country, ignores_zones, limits, .. } = *options;
        Self {
            records,
            country,
            ignores_zones,
            limits,
            summary,
            record: Record::default(),
            sample: VecDeque::new(),
            pending: None,
            columns: Columns::default(),
            headers: Vec::new(),
            sheet: None,
            is_left_out: false,
            has_people: false,
            is_done: false,
        }
    }

    /// How the file was read so far; complete when the last row was.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The next rows, at most `most`; an empty piece is the end.
    ///
    /// # Errors
    /// When the file cannot be read any further. What was read of this piece before is lost with it, so that a piece
    /// is stored whole or not at all.
    pub fn piece(&mut self, most: usize) -> Result<Piece, FileProblem> {
        let mut piece = Piece::default();
        while piece.rows.len() + piece.rejected.len() < most {
            match self.next() {
                None => break,
                Some(Err(problem)) => return Err(problem),
                Some(Ok(Item::Row(row))) => piece.rows.push(*row),
                Some(Ok(Item::Rejected(rejected))) => piece.rejected.push(rejected),
            }
        }
        Ok(piece)
    }

    fn step(&mut self) -> Result<Step, FileProblem> {
        if let Some(record) = self.sample.pop_front() {
            self.record = record;
            return Ok(Step::Record);
        }
        match self.pending.take() {
            Some(step) => Ok(step),
            None => self.records.step(&mut self.record, &mut self.summary),
        }
    }

    /// Recognises the columns of a table that begins.
    fn begin(&mut self, sheet: Option<Box<str>>, is_one_of_many: bool) -> Result<(), FileProblem> {
        self.sheet = sheet.filter(|_| is_one_of_many);
        self.columns = Columns::default();
        self.is_left_out = false;
        if self.records.keys().is_some() {
            return Ok(());
        }
        while self.sample.len() < SAMPLE_ROWS && self.pending.is_none() {
            let mut record = Record::default();
            match self.records.step(&mut record, &mut self.summary)? {
                Step::Record if record.is_blank() => {}
                Step::Record => self.sample.push_back(record),
                end => self.pending = Some(end),
            }
        }
        if self.sample.is_empty() {
            return Ok(());
        }
        let found = layout(self.sample.make_contiguous(), self.limits.columns);
        self.columns = found.columns;
        self.sample.drain(..found.skipped);
        if found.has_header {
            self.summary.tally.above_header += (found.skipped - 1) as u64;
        }
        if !self.columns.name_people() {
            self.leave_out();
            return Ok(());
        }
        self.has_people = true;
        if !found.guessed.is_empty() {
            let names = found.guessed.into_iter().map(String::from).collect();
            self.summary.note(Note::ColumnsGuessed(names));
        }
        for column in self.columns.iter() {
            tell(&mut self.summary, column, self.limits.columns);
        }
        Ok(())
    }

    /// No column of this table names people.
    fn leave_out(&mut self) {
        const NAMES_MAX: usize = 10;
        self.is_left_out = true;
        let room = NAMES_MAX.saturating_sub(self.headers.len());
        let names = self.columns.iter().map(|column| column.name.to_string());
        self.headers.extend(names.take(room));
        if let Some(sheet) = &self.sheet {
            self.summary.note(Note::SheetWithoutPeople(sheet.to_string()));
        }
    }

    /// Names the columns that the record has and the header had not.
    fn extend_columns(&mut self) {
        let keys = self.records.keys();
        for (index, _) in self.record.cells() {
            if self.columns.get(index).is_some() {
                continue;
            }
            let key = keys.and_then(|keys| keys.get(index as usize));
            let (name, meaning) = match key {
                // Plain values have no key.
                Some(key) if key.is_empty() => (key.clone(), Meaning::Identifier),
                Some(key) => (key.clone(), Meaning::of(key)),
                None => (place_name(index), Meaning::Data),
            };
            let column = Column { index, meaning, name };
            self.has_people |= meaning.names_people();
            if self.columns.add(column.clone(), self.limits.columns) {
                tell(&mut self.summary, &column, self.limits.columns);
            } else {
                self.summary.tally.columns_left_out += 1;
            }
        }
    }

    fn outcome(&mut self) -> Result<Option<Item>, FileProblem> {
        self.summary.rows += 1;
        if self.summary.rows > self.limits.rows {
            return Err(FileProblem::TooManyRows { limit: self.limits.rows });
        }
        self.extend_columns();
        let mut reading = Reading {
            columns: &self.columns,
            limits: &self.limits,
            country: self.country,
            ignores_zones: self.ignores_zones,
            summary: &mut self.summary,
        };
        let line = self.record.line;
        Ok(match reading.person(&self.record) {
            Outcome::Person(mut row) => {
                row.line = line;
                self.summary.accepted += 1;
                Some(Item::Row(row))
            }
            Outcome::Rejected { value, reason } => {
                self.summary.rejected += 1;
                let is_told = self.summary.rejected <= self.limits.rejected;
                is_told
                    .then(|| Item::Rejected(Rejected { line, value, reason: self.located(reason) }))
            }
        })
    }

    /// Adds to a reason where the line is, when its number alone does not say it.
    fn located(&self, reason: String) -> String {
        match (&self.sheet, self.record.element, self.summary.format) {
            (Some(sheet), ..) => format!("{reason} (sheet {sheet:?})"),
            (None, element, Format::Json) if element > 0 => format!("{reason} (element {element})"),
            _ => reason,
        }
    }

    fn read_on(&mut self) -> Result<Option<Item>, FileProblem> {
        loop {
            match self.step()? {
                Step::End => return self.end(),
                Step::Table { sheet, is_one_of_many } => self.begin(sheet, is_one_of_many)?,
                Step::Record if self.is_left_out || self.record.is_blank() => {}
                Step::Record => {
                    if let Some(item) = self.outcome()? {
                        return Ok(Some(item));
                    }
                }
            }
        }
    }

    fn end(&mut self) -> Result<Option<Item>, FileProblem> {
        let is_wanting = self.summary.rows > 0 || !self.headers.is_empty() || self.is_left_out;
        if self.has_people || !is_wanting {
            return Ok(None);
        }
        let keys = self.columns.iter().map(|column| column.name.to_string());
        let found =
            if self.headers.is_empty() { keys.take(10).collect() } else { self.headers.clone() };
        Err(FileProblem::NoPeople { found })
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Item, FileProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let item = self.read_on().transpose();
        self.is_done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Tells of a column.
fn tell(summary: &mut Summary, column: &Column, most: usize) {
    // Plain values of JSON have no header.
    if column.name.is_empty() {
        return;
    }
    let is_told = summary.columns.contains_key(column.meaning.name());
    if column.meaning == Meaning::Data || is_told {
        if summary.data_columns.len() < most
            && !summary.data_columns.iter().any(|known| **known == *column.name)
        {
            summary.data_columns.push(column.name.to_string());
        }
    } else {
        summary.columns.insert(column.meaning.name(), column.name.to_string());
    }
}
