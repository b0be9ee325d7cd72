//! A report as a workbook (XLSX): a sheet of numbers and one of the targets. Rows go to the disk as they come, to files
//! without a name in a folder that is given, so memory does not grow with them; texts are written as texts, so none of
//! them is a formula.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rust_xlsxwriter::{DocProperties, Format, Workbook, Worksheet, XlsxError};

use super::table::{COLUMNS, Cell, called, cells, name_of, printable};
use crate::protocol::answers::campaign_report::ReportHead;
use crate::protocol::campaigns::tally::Days;
use crate::protocol::campaigns::target::{Reason, STATUSES, Target, TargetStatus};
use crate::protocol::values::time::rfc3339_ms;

/// Targets of a sheet: Excel's 1,048,576 rows, less the header and a line that says what is left out.
pub const ROWS_MAX: u32 = 1_048_574;
/// Longest text of a cell, characters (Excel's 32,767, in UTF-16 units at the worst).
const TEXT_MAX: usize = 16_000;
/// The sheet of numbers and that of the targets.
const NUMBERS: usize = 0;
const TARGETS: usize = 1;

/// Why there is no workbook.
#[derive(Debug, thiserror::Error)]
pub enum WorkbookError {
    /// It cannot be written.
    #[error("the workbook cannot be written: {0}")]
    Xlsx(#[from] XlsxError),
    /// The disk does not take it.
    #[error("the workbook cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// Makes the workbook. All of it blocks.
pub struct WorkbookReport {
    head: ReportHead,
    /// Where its files lie while it grows.
    folder: PathBuf,
    book: Workbook,
    days: Days,
    rows: u32,
    left_out: u64,
}

impl WorkbookReport {
    /// A workbook of what `head` tells, whose files lie in `folder` without a name.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn new(head: ReportHead, folder: &Path) -> Result<Self, WorkbookError> {
        let mut book = Workbook::new();
        book.set_tempdir(folder)?;
        book.set_properties(&DocProperties::new().set_title(clipped(&head.task.title)));
        book.add_worksheet().set_name("Summary")?;
        let sheet = book.add_worksheet_with_constant_memory()?;
        sheet.set_name("Targets")?.set_freeze_panes(1, 0)?;
        for (column, name) in (0..).zip(COLUMNS) {
            sheet.write_string_with_format(0, column, name, &Format::new().set_bold())?;
        }
        let folder = folder.to_owned();
        Ok(Self { head, folder, book, days: Days::default(), rows: 0, left_out: 0 })
    }

    /// Some targets.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn piece(&mut self, targets: &[Target]) -> Result<(), WorkbookError> {
        let sheet = self.book.worksheet_from_index(TARGETS)?;
        for target in targets {
            self.days.note(target);
            if self.rows == ROWS_MAX {
                self.left_out += 1;
                continue;
            }
            self.rows += 1;
            for (column, cell) in (0..).zip(cells(target, &self.head.names)) {
                write(sheet, self.rows, column, &cell)?;
            }
        }
        Ok(())
    }

    /// The file, at its beginning, and how long it is. It has no name and goes with its handle. It is given up in the
    /// middle as soon as `is_wanted` says no.
    ///
    /// # Errors
    /// When the disk does not take it, or nobody wants it any more.
    pub fn finish(
        mut self,
        is_wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<(File, u64), WorkbookError> {
        if self.left_out > 0 {
            let note = format!("{} more are left out: a sheet has no more rows", self.left_out);
            let sheet = self.book.worksheet_from_index(TARGETS)?;
            sheet.write_string(ROWS_MAX + 1, 0, note)?;
        }
        self.numbers()?;
        let file = WhileWanted { file: tempfile::tempfile_in(&self.folder)?, is_wanted };
        let mut out = BufWriter::new(file);
        self.book.save_to_writer(&mut out)?;
        out.flush()?;
        let WhileWanted { mut file, .. } =
            out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let length = file.stream_position()?;
        file.seek(SeekFrom::Start(0))?;
        Ok((file, length))
    }

    /// The sheet of numbers.
    fn numbers(&mut self) -> Result<(), WorkbookError> {
        let lines = self.lines();
        let sheet = self.book.worksheet_from_index(NUMBERS)?;
        sheet.set_column_width(0, 28)?.set_column_width(1, 40)?;
        let bold = Format::new().set_bold();
        for (row, line) in (0..).zip(lines) {
            match line {
                Line::Title(title) => {
                    sheet.write_string_with_format(row, 0, title, &bold)?;
                }
                Line::Of(name, values) => {
                    sheet.write_string(row, 0, clipped(&name))?;
                    for (column, value) in (1..).zip(values) {
                        write(sheet, row, column, &value)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn lines(&self) -> Vec<Line> {
        let ReportHead { task, counts, names, link_uses, made_at, .. } = &self.head;
        let text = |text: &str| vec![Cell::Text(text.to_owned().into())];
        let number = |count: u64| Cell::Number(i64::try_from(count).unwrap_or(i64::MAX));
        let of = |name: &str, value| Line::Of(name.to_owned(), value);
        let moment = |at| rfc3339_ms(at);
        let mut lines = vec![Line::Title("Campaign"), of("Title", text(&task.title))];
        lines.push(of("Status", text(&name_of(task.status))));
        lines.push(of("Audience basis", text(&task.audience_basis)));
        lines.push(of("As of", text(&moment(*made_at))));
        lines.extend(task.started_at.map(|at| of("Started", text(&moment(at)))));
        lines.extend(task.completed_at.map(|at| of("Over", text(&moment(at)))));
        lines.push(Line::Title("Targets by status"));
        for status in STATUSES {
            lines.push(of(&name_of(status), vec![number(counts.statistics.count(status))]));
        }
        lines.push(of("total", vec![number(counts.statistics.total())]));
        let requests = counts.statistics.count(TargetStatus::Requested);
        lines.push(of("join requests", vec![number(requests)]));
        lines.push(of("links sent", vec![number(counts.tally.with_reason(Reason::LinkSent))]));
        if let Some(uses) = link_uses {
            lines.push(of("joined by these links", vec![number(uses.joined.into())]));
            lines.push(of("waiting for an admin", vec![number(uses.waiting.into())]));
        }
        lines.push(Line::Title("By outcome: status, reason, count"));
        for (status, reason, count) in counts.tally.outcomes() {
            let reason = reason.map(Reason::name).unwrap_or_default();
            lines.push(of(&name_of(*status), vec![Cell::Text(reason.into()), number(*count)]));
        }
        lines.push(Line::Title("By account: succeeded, refused, failed, skipped, total"));
        let accounts = counts.tally.accounts().iter();
        let mut accounts: Vec<_> =
            accounts.map(|(id, counts)| (called(names, *id), *counts)).collect();
        accounts.push(("nobody: not tried".to_owned(), counts.tally.untried()));
        for (name, counts) in accounts {
            let own = counts.progress();
            let values = [own.succeeded, own.refused, own.failed, own.skipped, own.total];
            lines.push(Line::Of(name, values.map(number).to_vec()));
        }
        lines.push(Line::Title("By day (UTC): succeeded, refused, failed, skipped"));
        for (day, own) in self.days.iter() {
            let values = [own.succeeded, own.refused, own.failed, own.skipped];
            let day: String = rfc3339_ms(day).chars().take(10).collect();
            lines.push(Line::Of(day, values.map(number).to_vec()));
        }
        lines
    }
}

/// A file that is written as long as somebody wants it.
struct WhileWanted<'a> {
    file: File,
    is_wanted: &'a (dyn Fn() -> bool + Sync),
}

impl Write for WhileWanted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !(self.is_wanted)() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A line of the sheet of numbers.
enum Line {
    Title(&'static str),
    Of(String, Vec<Cell<'static>>),
}

/// A text that a cell holds.
fn clipped(text: &str) -> String {
    printable(text).take(TEXT_MAX).collect()
}

fn write(
    sheet: &mut Worksheet,
    row: u32,
    column: u16,
    cell: &Cell<'_>,
) -> Result<(), WorkbookError> {
    match cell {
        Cell::Empty => {}
        // Numbers of a sheet have 15 digits: ids that are longer are texts.
        Cell::Number(number) if number.unsigned_abs() < 1_000_000_000_000_000 => {
            sheet.write_number(row, column, *number as f64)?;
        }
        Cell::Number(number) => {
            sheet.write_string(row, column, number.to_string())?;
        }
        Cell::Text(text) => {
            sheet.write_string(row, column, clipped(text))?;
        }
    }
    Ok(())
}
