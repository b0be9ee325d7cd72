//! A sheet: rows of cells as a stream (ECMA-376 part 1, section 18.3). A cell costs memory only where it is; what a
//! sheet declares of its size is not looked at.

use std::io::Read;

use quick_xml::events::BytesStart;

use super::super::limits::Limits;
use super::super::problem::FileProblem;
use super::super::record::{Flaw, Kind, Record};
use super::super::summary::Summary;
use super::styles::Styles;
use super::texts::Texts;
use super::xml::{Token, Xml, attributes, is_true};

/// Columns of a sheet: A to XFD.
const COLUMNS_MAX: u32 = 16_384;

/// What a cell says its value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Type {
    #[default]
    Number,
    Shared,
    Text,
    Flag,
    Error,
}

/// A cell while it is read.
#[derive(Debug, Default)]
struct Draft {
    column: u32,
    value_type: Type,
    style: usize,
    value: String,
    has_value: bool,
    has_formula: bool,
}

/// Reads one sheet.
pub(super) struct Sheet<R> {
    xml: Xml<R>,
    limits: Limits,
    row: u64,
    /// Column behind the last cell.
    next_column: u32,
    is_numbered: bool,
    is_hidden: bool,
    draft: Draft,
}

impl<R: Read> Sheet<R> {
    pub(super) fn new(xml: Xml<R>, limits: Limits) -> Self {
        Self {
            xml,
            limits,
            row: 0,
            next_column: 0,
            is_numbered: false,
            is_hidden: false,
            draft: Draft::default(),
        }
    }

    pub(super) fn into_inner(self) -> R {
        self.xml.into_inner()
    }

    /// Reads on to the next row that has anything in it; answers whether there is one.
    pub(super) fn row(
        &mut self,
        texts: &Texts,
        styles: &Styles,
        record: &mut Record,
        summary: &mut Summary,
    ) -> Result<bool, FileProblem> {
        loop {
            match self.xml.next()? {
                Token::Start(start) => match start.local_name().as_ref() {
                    "row" => {
                        self.row = self.row.saturating_add(1);
                        self.next_column = 0;
                        let begun = begin_row(self.row, &start);
                        (self.row, self.is_numbered, self.is_hidden) = begun;
                        record.clear(self.row);
                    }
                    "c" => {
                        let row = begin_cell(&mut self.draft, self.next_column, &start);
                        if let Some(row) = row.filter(|_| !self.is_numbered) {
                            self.row = row;
                            record.line = row;
                        }
                        self.cell(texts, styles, record, summary)?;
                    }
                    "col" => summary.tally.hidden_columns += hidden_columns(&start),
                    "mergeCell" => summary.tally.merged += 1,
                    _ => {}
                },
                Token::End(end) if end.local_name().as_ref() == "row" => {
                    let is_blank = record.is_blank();
                    if self.is_hidden && !is_blank {
                        summary.tally.hidden_rows += 1;
                    } else if !is_blank {
                        return Ok(true);
                    }
                }
                Token::Eof => return Ok(false),
                _ => {}
            }
        }
    }

    /// Reads the rest of a cell and puts it into the record.
    fn cell(
        &mut self,
        texts: &Texts,
        styles: &Styles,
        record: &mut Record,
        summary: &mut Summary,
    ) -> Result<(), FileProblem> {
        let (mut is_text, mut phonetic) = (false, 0_usize);
        loop {
            match self.xml.next()? {
                Token::Start(start) => match start.local_name().as_ref() {
                    "v" => {
                        self.draft.has_value = true;
                        is_text =
                            self.draft.value_type != Type::Text || self.draft.value.is_empty();
                    }
                    "t" => {
                        self.draft.has_value = true;
                        is_text = phonetic == 0;
                    }
                    "f" => self.draft.has_formula = true,
                    "rPh" => phonetic += 1,
                    _ => {}
                },
                Token::End(end) => match end.local_name().as_ref() {
                    "v" | "t" => is_text = false,
                    "rPh" => phonetic = phonetic.saturating_sub(1),
                    "c" => break,
                    _ => {}
                },
                Token::Text(text) if is_text && self.draft.value.len() <= self.limits.row_bytes => {
                    self.draft.value.push_str(&text);
                }
                Token::Eof => return Err(self.xml.broken("it ends in the middle")),
                _ => {}
            }
        }
        self.keep(texts, styles, record, summary)
    }

    /// Puts the cell that was read into the record, where it has a place in it.
    fn keep(
        &mut self,
        texts: &Texts,
        styles: &Styles,
        record: &mut Record,
        summary: &mut Summary,
    ) -> Result<(), FileProblem> {
        let column = self.draft.column;
        if column >= COLUMNS_MAX {
            return Err(self.xml.broken("a cell stands beyond the last column"));
        }
        if column < self.next_column {
            // Cells of a row are in order; a second one in the same place is none.
            summary.tally.values_left_out += 1;
            return Ok(());
        }
        self.next_column = column + 1;
        if record.bytes() + self.draft.value.len() > self.limits.row_bytes {
            record.flaw = Some(Flaw::TooLong);
            return Ok(());
        }
        place(&self.draft, texts, styles, record, summary);
        Ok(())
    }
}

/// Reads a row's attributes: its number, which is `next` if it has none, whether it has one, whether it is hidden.
fn begin_row(next: u64, start: &BytesStart<'_>) -> (u64, bool, bool) {
    let (mut row, mut is_numbered, mut is_hidden) = (next, false, false);
    for (name, value) in attributes(start) {
        match name {
            "r" => {
                row = value.trim().parse().ok().filter(|row| *row > 0).unwrap_or(next);
                is_numbered = true;
            }
            "hidden" => is_hidden = is_true(&value),
            _ => {}
        }
    }
    (row, is_numbered, is_hidden)
}

/// Reads a cell's attributes; answers the row that it names.
fn begin_cell(draft: &mut Draft, next_column: u32, start: &BytesStart<'_>) -> Option<u64> {
    draft.column = next_column;
    (draft.value_type, draft.style) = (Type::Number, 0);
    draft.value.clear();
    (draft.has_value, draft.has_formula) = (false, false);
    let mut row = None;
    for (name, value) in attributes(start) {
        match (name, &*value) {
            ("r", reference) => {
                if let Some((column, number)) = position(reference) {
                    draft.column = column;
                    row = number;
                }
            }
            ("s", style) => draft.style = style.parse().unwrap_or(0),
            ("t", "s") => draft.value_type = Type::Shared,
            ("t", "b") => draft.value_type = Type::Flag,
            ("t", "e") => draft.value_type = Type::Error,
            ("t", "str" | "inlineStr" | "is" | "d") => draft.value_type = Type::Text,
            _ => {}
        }
    }
    row
}

/// `XFD1048576`: column from zero, and the row. Beyond the last column it stays so, to be refused.
fn position(reference: &str) -> Option<(u32, Option<u64>)> {
    let letters = reference.bytes().take_while(u8::is_ascii_alphabetic).count();
    if letters == 0 {
        return None;
    }
    let column = reference.bytes().take(letters).fold(0_u32, |column, letter| {
        let digit = u32::from(letter.to_ascii_uppercase() - b'A') + 1;
        column.saturating_mul(26).saturating_add(digit)
    });
    let row = reference[letters..].parse().ok().filter(|row| *row > 0);
    Some((column - 1, row))
}

/// How many columns a `col` element hides.
fn hidden_columns(start: &BytesStart<'_>) -> u64 {
    let (mut from, mut to, mut is_hidden) = (1_u32, 0_u32, false);
    for (name, value) in attributes(start) {
        match name {
            "min" => from = value.parse().unwrap_or(1).max(1),
            "max" => to = value.parse().unwrap_or(0).min(COLUMNS_MAX),
            "hidden" => is_hidden = is_true(&value),
            _ => {}
        }
    }
    if is_hidden { u64::from(to.saturating_add(1).saturating_sub(from)) } else { 0 }
}

/// Puts what was read into the record.
fn place(
    draft: &Draft,
    texts: &Texts,
    styles: &Styles,
    record: &mut Record,
    summary: &mut Summary,
) {
    let value = draft.value.as_str();
    let is_computed = match draft.value_type {
        Type::Text => draft.has_value,
        _ => !value.trim().is_empty(),
    };
    if draft.has_formula && !is_computed {
        summary.tally.formulas += 1;
        record.push(draft.column, Kind::Flawed(Flaw::Formula), "");
        return;
    }
    if value.is_empty() {
        return;
    }
    match draft.value_type {
        Type::Shared => match value.trim().parse().ok().and_then(|number| texts.get(number)) {
            Some(text) => record.push(draft.column, Kind::Text, text),
            None => record.push(draft.column, Kind::Flawed(Flaw::MissingText), ""),
        },
        Type::Text => record.push(draft.column, Kind::Text, &plain(value)),
        Type::Flag => {
            let flag = if is_true(&value.trim().to_ascii_lowercase()) { "true" } else { "false" };
            record.push(draft.column, Kind::Flag, flag);
        }
        Type::Error => {
            summary.tally.errors += 1;
            record.push(draft.column, Kind::Flawed(Flaw::ErrorCell), value);
        }
        Type::Number => {
            if let Some(date) = styles.date(draft.style, value) {
                return record.push(draft.column, Kind::Text, &date);
            }
            let is_number = value.trim().parse::<f64>().is_ok();
            record.push(draft.column, if is_number { Kind::Number } else { Kind::Text }, value);
        }
    }
}

/// Characters that XML cannot hold are written as `_x000D_` (ECMA-376 part 1, section 22.9.2.19).
pub(super) fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("_x") {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("_x") {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 2..at + 6).filter(|_| rest.as_bytes().get(at + 6) == Some(&b'_'));
        let code = code.filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32) {
            Some(character) => {
                out.push(character);
                rest = &rest[at + 7..];
            }
            None => {
                out.push_str("_x");
                rest = &rest[at + 2..];
            }
        }
    }
    out.push_str(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_columns_from_zero_and_rows_from_one() {
        for (reference, found) in [
            ("A1", Some((0, Some(1)))),
            ("z9", Some((25, Some(9)))),
            ("AA10", Some((26, Some(10)))),
            ("XFD1048576", Some((16_383, Some(1_048_576)))),
            ("B", Some((1, None))),
            ("12", None),
            ("", None),
        ] {
            assert_eq!(position(reference), found, "{reference}");
        }
        assert!(position("ZZZZZZZZZZZZZZ1").unwrap().0 >= COLUMNS_MAX);
    }

    #[test]
    fn escaped_characters_are_meant() {
        assert_eq!(plain("a_x000D_b_x005F_x0041_"), "a\rb_x0041_");
        assert_eq!(plain("_xZZZZ_ _x12 _x"), "_xZZZZ_ _x12 _x");
    }
}
