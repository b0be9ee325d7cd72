//! Which formats of cells are dates, and what dates the numbers in such cells are (ECMA-376 part 1, sections 18.8.30
//! and 18.17.4.1). Nothing else of a workbook's styles is looked at.

use jiff::civil::{Date, date};
use jiff::{SignedDuration, Span};

/// Formats of cells that are looked at; Excel allows 65,490.
const FORMATS_MAX: usize = 65_536;
/// Formats of the workbook's own that are dates.
const OWN_MAX: usize = 4_096;
/// Bytes of a number format.
const CODE_BYTES: usize = 1_024;

/// The formats of a workbook's cells.
#[derive(Debug, Default)]
pub(super) struct Styles {
    /// Number formats of the workbook's own that are dates.
    own_dates: Vec<u32>,
    /// Whether a cell with the style of this number is a date.
    is_date: Vec<bool>,
    /// Whether days count from 1904, as old Macs had it.
    pub(super) is_1904: bool,
}

impl Styles {
    /// Adds a number format of the workbook's own.
    pub(super) fn define(&mut self, id: u32, code: &str) {
        if self.own_dates.len() < OWN_MAX && code.len() <= CODE_BYTES && shows_date(code) {
            self.own_dates.push(id);
        }
    }

    /// Adds the format of the next style.
    pub(super) fn push(&mut self, number_format: u32) {
        if self.is_date.len() < FORMATS_MAX {
            let is_builtin = matches!(number_format, 14..=22 | 27..=36 | 45..=47 | 50..=58);
            self.is_date.push(is_builtin || self.own_dates.contains(&number_format));
        }
    }

    /// The date and time of a cell, if its style says that it is one.
    pub(super) fn date(&self, style: usize, value: &str) -> Option<String> {
        if !self.is_date.get(style).copied().unwrap_or(false) {
            return None;
        }
        let serial: f64 = value.trim().parse().ok()?;
        moment(serial, self.is_1904)
    }
}

/// Whether a number format has parts of a date or a time outside of texts, conditions and colours.
fn shows_date(code: &str) -> bool {
    let mut letters = code.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => drop(letters.by_ref().find(|end| *end == '"')),
            '\\' | '_' | '*' => drop(letters.next()),
            '[' => {
                let inner: String = letters.by_ref().take_while(|end| *end != ']').collect();
                // Hours, minutes and seconds that do not wrap.
                if inner.chars().all(|c| matches!(c, 'h' | 'H' | 'm' | 'M' | 's' | 'S')) {
                    return true;
                }
            }
            ';' => return false,
            'd' | 'D' | 'm' | 'M' | 'y' | 'Y' | 'h' | 'H' | 's' | 'S' => return true,
            _ => {}
        }
    }
    false
}

/// A number of days as a date: `2023-03-15`, with a time where there is one, or a time alone.
fn moment(serial: f64, is_1904: bool) -> Option<String> {
    // Up to the end of the year 9999.
    if !(0.0..2_958_466.0).contains(&serial) {
        return None;
    }
    let seconds = (serial * 86_400.0).round() as i64;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = (rest > 0).then(|| clock(rest));
    if days == 0 && !is_1904 {
        return Some(clock.unwrap_or_else(|| "00:00:00".to_owned()));
    }
    let first: Date = match (is_1904, days) {
        (true, _) => date(1904, 1, 1),
        // 1900 is taken for a leap year, so that day 60 is one that never was.
        (false, 1..60) => date(1899, 12, 31),
        (false, _) => date(1899, 12, 30),
    };
    let day = first.checked_add(Span::new().try_days(days).ok()?).ok()?;
    Some(clock.map_or_else(|| day.to_string(), |clock| format!("{day}T{clock}")))
}

fn clock(seconds: i64) -> String {
    let of_day = SignedDuration::from_secs(seconds);
    format!("{:02}:{:02}:{:02}", of_day.as_hours(), of_day.as_mins() % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_dates_that_spreadsheets_show() {
        for (serial, is_1904, shown) in [
            (45_000.0, false, "2023-03-15"),
            (45_000.5, false, "2023-03-15T12:00:00"),
            (1.0, false, "1900-01-01"),
            (59.0, false, "1900-02-28"),
            (61.0, false, "1900-03-01"),
            (0.25, false, "06:00:00"),
            (0.0, true, "1904-01-01"),
            (2_958_465.0, false, "9999-12-31"),
        ] {
            assert_eq!(moment(serial, is_1904).as_deref(), Some(shown), "{serial}");
        }
        for serial in [-1.0, 79_991_234_567.0, f64::NAN, f64::INFINITY] {
            assert_eq!(moment(serial, false), None, "{serial}");
        }
    }

    #[test]
    fn formats_with_parts_of_a_date_are_dates() {
        for code in ["yyyy-mm-dd", "[$-419]d mmm yy;@", "[h]:mm", "\"am\" hh", "dd.mm.yyyy\\ h:mm"]
        {
            assert!(shows_date(code), "{code}");
        }
        for code in [
            "General",
            "0.00E+00",
            "#,##0.00\\ \"руб.\"",
            "[Red]0",
            "@",
            "_-* #,##0_d",
            "0;[h]",
            "",
        ] {
            assert!(!shows_date(code), "{code}");
        }
    }
}
