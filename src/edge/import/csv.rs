//! Tables as text. The delimiter is found out, quotes and line ends of all kinds are taken, and every row knows the
//! physical line on which it begins.
//!
//! `csv-core` takes the fields apart. What is done around it is what it does not know: where a row ends within a
//! bounded window, so that one quote that is never closed costs one line and not the rest of the file; which line
//! that is, with blank ones and lines within quotes counted; and line ends of old Macs.

use std::io::Read;

use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};

use super::columns::explicit;
use super::encoding::{Encoding, Text};
use super::limits::Limits;
use super::meaning::Meaning;
use super::problem::FileProblem;
use super::record::{Flaw, Kind, Record, Records, Step};
use super::summary::{Note, Summary};

/// What may separate columns, the likelier first. Tables of one column are read with a character that no text has.
const DELIMITERS: [u8; 4] = [b';', b'\t', b',', b'|'];
const NO_DELIMITER: u8 = 0x1f;
/// Fields of a row that are taken apart; more are no table.
const FIELDS_MAX: usize = 2_048;

/// Where a row ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Behind so many bytes, the line end included.
    Whole { bytes: usize, fields: usize, lines: usize, is_stray: bool },
    /// Not within what is there.
    Open,
}

/// Reads tables as text.
pub(super) struct Csv<R> {
    text: Text<R>,
    limits: Limits,
    /// Decoded text with `\n` for every line end; rows begin at `at`.
    window: Vec<u8>,
    at: usize,
    line: u64,
    ended_with_cr: bool,
    is_done: bool,
    has_begun: bool,
    delimiter: u8,
    /// Takes rows apart by their quotes, and rows whose quotes match nothing.
    with_quotes: csv_core::Reader,
    without_quotes: csv_core::Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: Read> Csv<R> {
    pub(super) fn new(
        reader: R,
        encoding: Encoding,
        limits: Limits,
        summary: &mut Summary,
    ) -> Result<Self, FileProblem> {
        let mut csv = Self {
            text: Text::new(reader, encoding)?,
            limits,
            window: Vec::new(),
            at: 0,
            line: 1,
            ended_with_cr: false,
            is_done: false,
            has_begun: false,
            delimiter: NO_DELIMITER,
            with_quotes: fields_reader(NO_DELIMITER, true),
            without_quotes: fields_reader(NO_DELIMITER, false),
            fields: Vec::new(),
            ends: vec![0; FIELDS_MAX],
        };
        while csv.window.len() < limits.row_bytes && csv.fill()? {}
        csv.find_delimiter();
        csv.with_quotes = fields_reader(csv.delimiter, true);
        csv.without_quotes = fields_reader(csv.delimiter, false);
        summary.delimiter = (csv.delimiter != NO_DELIMITER).then(|| char::from(csv.delimiter));
        summary.encoding = Some(encoding.name());
        if encoding.is_damaged {
            summary.note(Note::DamagedText);
        }
        Ok(csv)
    }

    /// Decodes more text into the window, and answers whether there was any.
    fn fill(&mut self) -> Result<bool, FileProblem> {
        if self.is_done {
            return Ok(false);
        }
        self.window.drain(..self.at);
        self.at = 0;
        let before = self.window.len();
        self.is_done = !self.text.append_to(&mut self.window)?;
        self.unify_line_ends(before);
        if self.is_done && self.window.last().is_some_and(|last| *last != b'\n') {
            self.window.push(b'\n');
        }
        Ok(self.window.len() > before)
    }

    /// `\r\n` and `\r` become `\n`, also where they lie across two pieces.
    fn unify_line_ends(&mut self, from: usize) {
        let new = &self.window[from..];
        if !self.ended_with_cr && !new.contains(&b'\r') {
            return;
        }
        let mut written = from;
        for read in from..self.window.len() {
            let byte = self.window[read];
            let is_second = byte == b'\n' && self.ended_with_cr;
            self.ended_with_cr = byte == b'\r';
            if !is_second {
                self.window[written] = if byte == b'\r' { b'\n' } else { byte };
                written += 1;
            }
        }
        self.window.truncate(written);
    }

    /// A first line `sep=;`, as Excel has it, or what makes the first rows the most even.
    fn find_delimiter(&mut self) {
        let first = self.window.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] = *first
            && delimiter.is_ascii()
            && !matches!(delimiter, b'"' | b'\n')
        {
            self.at = first.len() + 1;
            self.line += 1;
            self.delimiter = delimiter;
            return;
        }
        let sample = &self.window[..self.window.len().min(self.limits.row_bytes)];
        let scored = DELIMITERS.iter().map(|delimiter| (score(sample, *delimiter), *delimiter));
        // Of equals the likelier one, which comes first.
        let best =
            scored.rev().max_by_key(|(score, _)| *score).filter(|(score, _)| score.is_table());
        self.delimiter = best.map_or(NO_DELIMITER, |(_, delimiter)| delimiter);
    }

    /// Reads the row that begins at `at`.
    fn row(&mut self, record: &mut Record, summary: &mut Summary) -> Result<bool, FileProblem> {
        loop {
            if self.at == self.window.len() && !self.fill()? {
                return Ok(false);
            }
            let rest = &self.window[self.at..];
            if rest.first().is_none_or(|byte| *byte == b'\n') {
                self.at += rest.len().min(1);
                self.line += rest.len().min(1) as u64;
                continue;
            }
            let (held, found) = (rest.len(), extent(rest, self.delimiter));
            match found {
                Extent::Whole { bytes, lines, is_stray: false, .. }
                    if bytes <= self.limits.row_bytes =>
                {
                    self.take(record, bytes, true);
                    self.line += lines as u64;
                    return Ok(true);
                }
                Extent::Open if held <= self.limits.row_bytes && self.fill()? => {}
                _ => {
                    self.first_line(record, summary)?;
                    return Ok(true);
                }
            }
        }
    }

    /// Takes the first physical line as it stands: its quotes match nothing.
    fn first_line(
        &mut self,
        record: &mut Record,
        summary: &mut Summary,
    ) -> Result<(), FileProblem> {
        let rest = &self.window[self.at..];
        let line_end = rest.iter().position(|byte| *byte == b'\n');
        match line_end {
            Some(end) if end < self.limits.row_bytes => {
                summary.tally.stray_quotes += 1;
                self.take(record, end + 1, false);
            }
            _ => {
                record.clear(self.line);
                record.flaw = Some(Flaw::TooLong);
                let start = &rest[..rest.len().min(self.limits.rejected_chars * 4)];
                record.push(0, Kind::Text, &String::from_utf8_lossy(start));
                self.skip_line()?;
            }
        }
        self.line += 1;
        Ok(())
    }

    fn skip_line(&mut self) -> Result<(), FileProblem> {
        loop {
            let end = self.window[self.at..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                self.at += end + 1;
                return Ok(());
            }
            self.at = self.window.len();
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Takes so many bytes apart into fields.
    fn take(&mut self, record: &mut Record, bytes: usize, has_quotes: bool) {
        let row = &self.window[self.at..self.at + bytes];
        self.at += bytes;
        self.fields.resize(self.fields.len().max(bytes), 0);
        let reader = if has_quotes { &mut self.with_quotes } else { &mut self.without_quotes };
        reader.reset();
        record.clear(self.line);
        let (result, _, _, count) = reader.read_record(row, &mut self.fields, &mut self.ends);
        if result != ReadRecordResult::Record {
            record.flaw = Some(Flaw::TooLong);
        }
        let mut start = 0;
        for (column, end) in (0..).zip(&self.ends[..count]) {
            // The text is UTF-8, and separated at ASCII characters.
            let text = std::str::from_utf8(&self.fields[start..*end]).unwrap_or_default();
            // Quotes that match nothing still stand around something.
            let text = if has_quotes { text } else { text.trim().trim_matches('"') };
            record.push(column, Kind::Text, text);
            start = *end;
        }
    }
}

impl<R: Read + Send> Records for Csv<R> {
    fn step(&mut self, record: &mut Record, summary: &mut Summary) -> Result<Step, FileProblem> {
        if !self.has_begun {
            self.has_begun = true;
            return Ok(Step::Table { sheet: None, is_one_of_many: false });
        }
        Ok(if self.row(record, summary)? { Step::Record } else { Step::End })
    }
}

fn fields_reader(delimiter: u8, has_quotes: bool) -> csv_core::Reader {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter).terminator(Terminator::Any(b'\n')).quoting(has_quotes).build()
}

/// Finds the end of a row (RFC 4180, and what people make of it: anything may follow a closing quote).
fn extent(text: &[u8], delimiter: u8) -> Extent {
    let (mut at, mut fields, mut lines) = (0, 1, 1);
    let mut has_junk = false;
    loop {
        if text.get(at) == Some(&b'"') {
            let Some(behind) = quoted(&text[at + 1..]) else { return Extent::Open };
            let inner = &text[at + 1..at + 1 + behind];
            lines += inner.iter().filter(|byte| **byte == b'\n').count();
            at += 1 + behind;
            let is_padding = |byte: &u8| *byte == b' ';
            let next = text[at..].iter().find(|byte| !is_padding(byte));
            has_junk |= next.is_some_and(|byte| *byte != delimiter && *byte != b'\n');
        }
        let rest = &text[at..];
        let Some(end) = rest.iter().position(|byte| *byte == delimiter || *byte == b'\n') else {
            return Extent::Open;
        };
        at += end + 1;
        if rest[end] == b'\n' {
            // A quoted field that goes on over lines and does not end like one was never meant as one.
            return Extent::Whole { bytes: at, fields, lines, is_stray: has_junk && lines > 1 };
        }
        fields += 1;
    }
}

/// Bytes up to and with the closing quote.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += text[at..].iter().position(|byte| *byte == b'"')? + 1;
        if text.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

/// How well a delimiter fits: known headers and people that it gives, rows of the same number of fields in percent,
/// fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    headers: usize,
    people: usize,
    even_percent: usize,
    fields: usize,
}

impl Score {
    fn is_table(self) -> bool {
        self.fields > 1 && (self.headers > 0 || self.even_percent >= 60)
    }
}

fn score(sample: &[u8], delimiter: u8) -> Score {
    const ROWS_MAX: usize = 100;
    const HEADERS_WITHIN: usize = 5;
    let mut counts: Vec<usize> = Vec::new();
    let (mut at, mut headers, mut people) = (0, 0, 0);
    while counts.len() < ROWS_MAX {
        let Extent::Whole { bytes, fields, .. } = extent(&sample[at..], delimiter) else { break };
        let row = &sample[at..at + bytes];
        at += bytes;
        if row.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if fields > 1 {
            let row = String::from_utf8_lossy(row);
            let cells = row.split(char::from(delimiter)).map(|cell| cell.trim().trim_matches('"'));
            let known = cells.clone().filter(|cell| Meaning::of(cell) != Meaning::Data).count();
            headers = headers.max(if counts.len() < HEADERS_WITHIN { known } else { 0 });
            people += cells.filter(|cell| explicit(cell).is_some()).count();
        }
        counts.push(fields);
    }
    let often = |fields: usize| counts.iter().filter(|known| **known == fields).count();
    let usual =
        counts.iter().copied().filter(|fields| *fields > 1).max_by_key(|fields| often(*fields));
    let Some(fields) = usual else {
        return Score { headers: 0, people: 0, even_percent: 0, fields: 1 };
    };
    Score { headers, people, even_percent: often(fields) * 100 / counts.len(), fields }
}
