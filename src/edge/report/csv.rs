//! A report's targets as a table of text (RFC 4180). No cell is a formula for a program that opens it.

use std::collections::BTreeMap;

use super::table::{COLUMNS, Cell, cells, printable};
use crate::protocol::answers::campaign_report::ReportHead;
use crate::protocol::campaigns::target::Target;
use crate::protocol::users::owner::AccountId;

/// What stands between two cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delimiter {
    /// As RFC 4180 has it.
    #[default]
    Comma,
    /// As Excel has it where a comma is the decimal sign.
    Semicolon,
}

impl Delimiter {
    fn sign(self) -> char {
        match self {
            Self::Comma => ',',
            Self::Semicolon => ';',
        }
    }
}

/// Makes the table, piece by piece.
#[derive(Clone, Debug)]
pub struct CsvReport {
    delimiter: Delimiter,
    has_bom: bool,
    names: BTreeMap<AccountId, String>,
}

impl CsvReport {
    /// For the accounts of `head`. `has_bom`: begins with the mark by which Excel knows UTF-8.
    pub fn new(head: &ReportHead, delimiter: Delimiter, has_bom: bool) -> Self {
        Self { delimiter, has_bom, names: head.names.clone() }
    }

    /// What it begins with.
    pub fn head(&self) -> Vec<u8> {
        let mut text = String::from(if self.has_bom { "\u{feff}" } else { "" });
        self.row(&mut text, COLUMNS.into_iter().map(|name| Cell::Text(name.into())));
        text.into_bytes()
    }

    /// Some targets.
    pub fn piece(&self, targets: &[Target]) -> Vec<u8> {
        let mut text = String::with_capacity(targets.len() * 128);
        for target in targets {
            self.row(&mut text, cells(target, &self.names));
        }
        text.into_bytes()
    }

    fn row<'a>(&self, out: &mut String, cells: impl IntoIterator<Item = Cell<'a>>) {
        for (at, cell) in cells.into_iter().enumerate() {
            if at > 0 {
                out.push(self.delimiter.sign());
            }
            match cell {
                Cell::Empty => {}
                Cell::Number(number) => out.push_str(&number.to_string()),
                Cell::Text(text) => quoted(out, &text),
            }
        }
        out.push_str("\r\n");
    }
}

/// What makes a formula of a cell for Excel, LibreOffice or Google Sheets when it stands first: signs and their full-width
/// forms, also behind blanks that a program passes over, and any control (OWASP, CSV injection).
fn is_formula(text: &str) -> bool {
    let is_passed_over = |letter: char| letter.is_whitespace() || letter == '\u{feff}';
    let first = text.trim_start_matches(is_passed_over);
    text.starts_with(char::is_control)
        || first.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

/// A text in quotes, with an apostrophe before what would be a formula. What is left out is left out first: what stands
/// behind it may be a formula.
fn quoted(out: &mut String, text: &str) {
    let kept: String = printable(text).collect();
    out.push('"');
    if text.starts_with(char::is_control) || is_formula(&kept) {
        out.push('\'');
    }
    for letter in kept.chars() {
        match letter {
            '"' => out.push_str("\"\""),
            letter => out.push(letter),
        }
    }
    out.push('"');
}
