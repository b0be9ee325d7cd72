//! What a million rows cost. Run in release and one at a time, since the peak of the whole process is measured:
//! `cargo test --release --lib -p telewarden import::tests::size -- --ignored --nocapture --test-threads 1`.

#![expect(clippy::print_stdout, reason = "what is measured is shown")]

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Seek, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::book::{Archive, Book, Lies, crc};
use crate::edge::import::{Limits, Options, open};

const ROWS: u64 = 1_000_000;
/// Bytes beyond what the process has, that reading a million rows may take.
const MORE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A number of `/proc/self/status` in bytes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Time that this process computed, in seconds, without what it waited for others on the machine.
fn computed() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // User and system time are fields 14 and 15 (proc(5)), in ticks of a hundredth.
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Reads a file as the daemon does, in pieces, and tells what that costs.
#[expect(clippy::disallowed_methods, reason = "what is measured is the machine's time")]
fn measure(what: &str, mut file: File) {
    file.rewind().unwrap();
    let bytes = file.metadata().unwrap().len();
    let limits = Limits::for_files_of(bytes.max(10 * 1024 * 1024));
    // SAFETY: it takes a number and has no other preconditions.
    unsafe { libc::malloc_trim(0) };
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    let (started, computed_before) = (std::time::Instant::now(), computed());
    let mut rows = open(BufReader::new(file), Options { limits, ..Options::default() }).unwrap();
    let (mut count, mut data) = (0, 0);
    loop {
        let piece = rows.piece(500).unwrap();
        if piece.rows.is_empty() && piece.rejected.is_empty() {
            break;
        }
        count += piece.rows.len() as u64;
        data += piece
            .rows
            .iter()
            .filter_map(|row| row.details.data.as_deref())
            .map(str::len)
            .sum::<usize>();
    }
    let (took, computed) = (started.elapsed(), computed() - computed_before);
    let more = memory("VmHWM").saturating_sub(before);
    println!(
        "{what}: {count} rows of {} MiB in {:.2} s, {:.0} rows a second, \
         {:.0} a second of computing, {:.1} MiB more at the peak, {data} bytes of data",
        bytes >> 20,
        took.as_secs_f64(),
        count as f64 / took.as_secs_f64(),
        count as f64 / computed,
        more as f64 / 1024.0 / 1024.0,
    );
    assert_eq!(count, ROWS);
    assert!(more < MORE_BYTES_MAX, "{more} bytes more");
}

fn username(at: u64) -> String {
    format!("user_{:x}", at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20)
}

const NAMES: [&str; 8] = ["Анна", "Bob", "Мария", "Eve", "Иван", "Ольга", "Пётр", "Zoe"];

fn name(at: u64) -> &'static str {
    NAMES[(at.wrapping_mul(0x9e37_79b9) >> 7) as usize % NAMES.len()]
}

#[test]
#[ignore = "a measurement"]
fn a_million_rows_of_csv() {
    let mut out = BufWriter::new(tempfile::tempfile().unwrap());
    writeln!(out, "Телефон;username;Имя;Фамилия;Город").unwrap();
    for at in 0..ROWS {
        writeln!(out, "+7{};@{};{};\"Ли {at}\";Тверь", 9_000_000_000 + at, username(at), name(at))
            .unwrap();
    }
    measure("CSV", out.into_inner().unwrap());
}

#[test]
#[ignore = "a measurement"]
fn a_million_rows_of_json() {
    let mut out = BufWriter::new(tempfile::tempfile().unwrap());
    write!(out, "{{\"total\": {ROWS}, \"users\": [").unwrap();
    for at in 0..ROWS {
        let comma = if at > 0 { ",\n" } else { "" };
        write!(
            out,
            "{comma}{{\"user_id\": {}, \"username\": \"{}\", \"phone\": \"+7{}\", \"first_name\": \"{}\", \"premium\": false}}",
            at + 1_000_000,
            username(at),
            9_000_000_000 + at,
            name(at),
        )
        .unwrap();
    }
    write!(out, "]}}").unwrap();
    measure("JSON", out.into_inner().unwrap());
}

/// A part of a workbook, written and deflated piece by piece.
struct Part {
    encoder: DeflateEncoder<Vec<u8>>,
    crc: flate2::Crc,
}

impl Part {
    fn new(start: &str) -> Self {
        let encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        let mut part = Self { encoder, crc: flate2::Crc::new() };
        part.add(start);
        part
    }

    fn add(&mut self, text: &str) {
        self.crc.update(text.as_bytes());
        self.encoder.write_all(text.as_bytes()).unwrap();
    }

    fn into(self, archive: Archive, name: &str) -> Archive {
        let (length, sum) = (self.encoder.total_in(), self.crc.sum());
        let lies = Lies { crc: Some(sum), ..Lies::default() };
        archive.packed(name, &self.encoder.finish().unwrap(), length, sum, 8, lies)
    }
}

/// A workbook whose rows are made by `cells` from their number.
fn workbook(texts: Option<Part>, cells: impl Fn(u64) -> String) -> File {
    let mut sheet = Part::new("<worksheet><sheetData><row r=\"1\">");
    for header in ["Телефон", "username", "Имя", "Город"] {
        sheet.add(&format!("<c t=\"inlineStr\"><is><t>{header}</t></is></c>"));
    }
    sheet.add("</row>");
    for at in 0..ROWS {
        let row = at + 2;
        sheet.add(&format!("<row r=\"{row}\" spans=\"1:4\">{}</row>", cells(at)));
    }
    sheet.add("</sheetData></worksheet>");
    let book = Book::default().sheet("S", "").frame();
    let book = texts
        .map_or_else(|| book.clone(), |texts| texts.into(book.clone(), "xl/sharedStrings.xml"));
    let bytes = sheet.into(book, "xl/worksheets/sheet0.xml").finish();
    assert_ne!(crc(&bytes), 0);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file
}

#[test]
#[ignore = "a measurement"]
fn a_million_rows_of_xlsx_with_shared_texts() {
    let mut texts = Part::new(&format!("<sst uniqueCount=\"{}\">", ROWS * 2 + 9));
    for name in NAMES.iter().chain(&["Тверь"]) {
        texts.add(&format!("<si><t>{name}</t></si>"));
    }
    for at in 0..ROWS {
        texts.add(&format!(
            "<si><t>+7{}</t></si><si><t>{}</t></si>",
            9_000_000_000 + at,
            username(at)
        ));
    }
    texts.add("</sst>");
    let file = workbook(Some(texts), |at| {
        let (row, phone) = (at + 2, at * 2 + 9);
        let name = NAMES.iter().position(|known| *known == name(at)).unwrap();
        format!(
            "<c r=\"A{row}\" t=\"s\"><v>{phone}</v></c><c r=\"B{row}\" t=\"s\"><v>{}</v></c>\
             <c r=\"C{row}\" t=\"s\"><v>{name}</v></c><c r=\"D{row}\" t=\"s\"><v>8</v></c>",
            phone + 1,
        )
    });
    measure("XLSX, shared texts", file);
}

#[test]
#[ignore = "a measurement"]
fn a_million_rows_of_xlsx_with_numbers_and_inline_texts() {
    let file = workbook(None, |at| {
        let row = at + 2;
        format!(
            "<c r=\"A{row}\"><v>{}</v></c><c r=\"B{row}\" t=\"inlineStr\"><is><t>{}</t></is></c>\
             <c r=\"C{row}\" t=\"inlineStr\"><is><t>{}</t></is></c>",
            79_000_000_000 + at,
            username(at),
            name(at),
        )
    });
    measure("XLSX, inline texts", file);
}

/// What the usual reader takes for the same texts, for comparison: printed, not held to anything.
#[test]
#[ignore = "a measurement"]
fn what_the_witness_takes_for_shared_texts() {
    let mut texts = Part::new("<sst>");
    for at in 0..ROWS {
        texts.add(&format!(
            "<si><t>+7{}</t></si><si><t>{}</t></si>",
            9_000_000_000 + at,
            username(at)
        ));
    }
    texts.add("</sst>");
    let sheet = Part::new("<worksheet><sheetData/></worksheet>");
    let book = texts.into(Book::default().sheet("S", "").frame(), "xl/sharedStrings.xml");
    let bytes = sheet.into(book, "xl/worksheets/sheet0.xml").finish();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    drop(bytes);
    file.rewind().unwrap();
    // SAFETY: it takes a number and has no other preconditions.
    unsafe { libc::malloc_trim(0) };
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    let book: calamine::Xlsx<_> = calamine::open_workbook_from_rs(BufReader::new(file)).unwrap();
    println!(
        "calamine: {:.1} MiB more at the peak",
        (memory("VmHWM") - before) as f64 / 1024.0 / 1024.0
    );
    drop(book);
}
