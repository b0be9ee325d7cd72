//! Reports of campaigns as files that people open: a table with commas, a workbook, a page to print.
//!
//! Owns how they look and what keeps them harmless when they are opened: no cell is a formula, no text is markup, no page
//! runs a script. Never reads the store, decides who may see what, does HTTP, or holds all targets at once. What a report
//! begins with ([`ReportHead`]) and its targets come in piece by piece, bytes go out.
//!
//! | file | owns |
//! |---|---|
//! | `table.rs` | which columns there are, and the cells of a target |
//! | `csv.rs` | a table with commas or semicolons |
//! | `workbook.rs` | an XLSX file, on the disk while it grows |
//! | `page.rs`, `chart.rs` | a page of HTML, and its pictures |
//! | `words.rs` | what statuses and reasons are called for people |
//!
//! [`ReportHead`]: crate::protocol::answers::campaign_report::ReportHead

mod chart;
mod csv;
mod page;
mod table;
#[cfg(test)]
mod tests;
mod words;
mod workbook;

pub use csv::{CsvReport, Delimiter};
pub use page::{PAGE_TARGETS_MAX, PageReport};
pub use workbook::{ROWS_MAX, WorkbookError, WorkbookReport};

use crate::protocol::answers::campaign_report::ReportHead;
use crate::protocol::values::time::rfc3339_ms;

/// As what a report is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// For programs.
    Json,
    /// A table of the targets.
    Csv,
    /// A workbook.
    Xlsx,
    /// A page to print.
    Html,
}

impl ReportFormat {
    /// All of them; the first is given where nobody says which.
    pub const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::Xlsx, Self::Html];

    /// Its name, and the end of a file's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::Html => "html",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Html => "text/html; charset=utf-8",
        }
    }

    /// What an `Accept` header asks for most (RFC 9110 section 12.5.1); of equals the more exact, then the first of
    /// [`Self::ALL`]. JSON where it names nothing that there is.
    pub fn accepted(header: &str) -> Self {
        let mut best: Option<(f32, u8, Self)> = None;
        for range in header.split(',').take(32) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            let weight = weight.unwrap_or(1.0);
            for format in Self::ALL {
                let bare = format.media_type().split(';').next().unwrap_or_default();
                let main = bare.split('/').next().unwrap_or_default();
                let exactness = match name.as_str() {
                    name if name == bare => 2,
                    name if name.strip_suffix("/*") == Some(main) => 1,
                    "*/*" => 0,
                    _ => continue,
                };
                let is_better =
                    best.is_none_or(|(known, exact, _)| (weight, exactness) > (known, exact));
                if weight > 0.0 && is_better {
                    best = Some((weight, exactness, format));
                }
            }
        }
        best.map_or(Self::Json, |(_, _, format)| format)
    }

    /// What a file of a report is called: letters, digits and hyphens of ASCII alone, whatever the title is.
    pub fn file_name(self, head: &ReportHead) -> String {
        let mut name = String::from("campaign");
        let words = head.task.title.split(|letter: char| !letter.is_ascii_alphanumeric());
        for word in words.filter(|word| !word.is_empty()) {
            if name.len() + word.len() >= FILE_NAME_MAX {
                break;
            }
            name.push('-');
            name.push_str(&word.to_ascii_lowercase());
        }
        let id = head.task.id.0.simple().to_string();
        let day = rfc3339_ms(head.made_at).chars().take(10).collect::<String>();
        format!("{name}-{}-{day}.{}", &id[id.len() - 8..], self.name())
    }
}

/// Longest part of a file's name that is made of the title.
const FILE_NAME_MAX: usize = 60;
