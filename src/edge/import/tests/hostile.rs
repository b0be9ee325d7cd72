//! Files that nobody should send: bombs, damage, and things that are something else.

use std::io::Write;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::book::{Archive, Book, Lies, crc, row};
use super::{Read, problem, read_within};
use crate::edge::import::{FileProblem, Foreign, Limits};

fn unsupported(bytes: impl AsRef<[u8]>) -> Foreign {
    match problem(bytes) {
        FileProblem::Unsupported(foreign) => foreign,
        other => panic!("another problem: {other}"),
    }
}

/// So many MiB of one byte behind a beginning, deflated: a block that stands for the first MiB does for all others.
fn deflated(start: &str, byte: u8, mebibytes: usize) -> Vec<u8> {
    let block = |content: &[u8]| {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.flush().unwrap();
        encoder.get_ref().clone()
    };
    let mut packed = block(start.as_bytes());
    packed.extend(block(&vec![byte; MIB]).repeat(mebibytes));
    // The last block, which is empty (RFC 1951 section 3.2.6).
    packed.extend([3, 0]);
    packed
}

const MIB: usize = 1024 * 1024;

/// A workbook of a few hundred bytes whose sheet has so many MiB.
pub(in crate::edge) fn bomb(mebibytes: usize) -> Vec<u8> {
    let start = "<worksheet><sheetData>";
    let packed = deflated(start, b' ', mebibytes);
    let unpacked = (mebibytes * MIB + start.len()) as u64;
    let frame = Book::default().sheet("S", "").frame();
    let name = "xl/worksheets/sheet0.xml";
    frame.packed(name, &packed, unpacked, 0, 8, Lies::default()).finish()
}

#[test]
fn half_a_gigabyte_of_sheet_in_half_a_megabyte_is_refused_at_once() {
    let packed = deflated("<worksheet><sheetData>", b' ', 512);
    assert!(packed.len() < 560 * 1024, "{}", packed.len());
    let unpacked = 512 * MIB as u64 + 22;
    let bomb = |lies| {
        Book::default()
            .sheet("S", "")
            .frame()
            .packed("xl/worksheets/sheet0.xml", &packed, unpacked, 0, 8, lies)
            .finish()
    };
    for lies in [
        Lies::default(),
        Lies { unpacked: Some(100), ..Lies::default() },
        Lies { unpacked: Some(u32::MAX), ..Lies::default() },
    ] {
        let bytes = bomb(lies);
        assert!(matches!(problem(bytes), FileProblem::Bomb(_)));
    }
}

#[test]
fn bombs_of_texts_tags_depth_and_entities_are_refused() {
    let sheet = |content: &[u8]| {
        Book::default().sheet("S", "").frame().with("xl/worksheets/sheet0.xml", content).finish()
    };
    let deep = "<a>".repeat(100_000);
    assert!(matches!(problem(sheet(deep.as_bytes())), FileProblem::TooDeep { .. }));
    // What cannot be told from a text without an end; noise, so that the ratio does not see it first.
    let noise: String = (0..3 * MIB as u32)
        .map(|at| char::from(b'a' + (at.wrapping_mul(2_654_435_761) >> 27) as u8 % 26))
        .collect();
    for (start, end) in [
        ("<worksheet>", ""),
        ("<worksheet a='", "'/>"),
        ("<!--", "-->"),
        ("<worksheet><![CDATA[", "]]>"),
    ] {
        let content = format!("{start}{noise}{end}");
        assert!(matches!(problem(sheet(content.as_bytes())), FileProblem::Bomb(_)), "{start}");
    }
    let entities =
        "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><worksheet>&b;</worksheet>";
    assert!(matches!(problem(sheet(entities.as_bytes())), FileProblem::Bomb(_)));
}

#[test]
fn a_table_of_texts_that_says_it_is_huge_costs_nothing() {
    // The count that `Book` declares is 2^64 - 1.
    let book = Book::default().shared("<si><t>@anna1</t></si>");
    let bytes = book.sheet("S", "<row r=\"1\"><c t=\"s\"><v>0</v></c></row>").finish();
    assert_eq!(super::read(bytes).rows.len(), 1);
    let texts: String = (0..40_000).map(|at| format!("<si><t>text number {at}</t></si>")).collect();
    let limits = Limits { texts_bytes: 512 * 1024, ..Limits::default() };
    let bytes = Book::default().shared(&texts).sheet("S", &row(1, &["@anna1"])).finish();
    assert!(matches!(read_within(&bytes, None, limits), Err(FileProblem::TooManyTexts)));
}

#[test]
fn archives_that_lie_or_are_damaged_are_named() {
    let sheet = b"<worksheet><sheetData/></worksheet>";
    let with = |packed: &[u8], unpacked: u64, crc, method, lies| {
        let frame = Book::default().sheet("S", "").frame();
        problem(
            frame.packed("xl/worksheets/sheet0.xml", packed, unpacked, crc, method, lies).finish(),
        )
    };
    let (length, sum) = (sheet.len() as u64, crc(sheet));
    let wrong_sum = Lies { crc: Some(1), ..Lies::default() };
    assert!(matches!(with(sheet, length, sum, 0, wrong_sum), FileProblem::BrokenArchive(_)));
    assert!(matches!(
        with(sheet, length + 1, sum, 0, Lies::default()),
        FileProblem::BrokenArchive(_)
    ));
    assert!(matches!(with(sheet, length - 1, sum, 0, Lies::default()), FileProblem::Bomb(_)));
    assert!(matches!(with(sheet, length, sum, 8, Lies::default()), FileProblem::BrokenArchive(_)));
    assert!(matches!(with(sheet, length, sum, 14, Lies::default()), FileProblem::BrokenArchive(_)));
    let locked = Lies { flags: 1, ..Lies::default() };
    assert!(matches!(with(sheet, length, sum, 0, locked), FileProblem::Encrypted));
    assert!(matches!(with(sheet, length, sum, 99, Lies::default()), FileProblem::Encrypted));
    let missing = Book::default().sheet("S", "").frame().finish();
    assert!(matches!(problem(missing), FileProblem::BrokenArchive(_)));
    let many =
        (0..3_000).fold(Archive::default(), |archive, at| archive.stored(&format!("f{at}"), b""));
    assert!(matches!(problem(many.finish()), FileProblem::Bomb(_)));
}

#[test]
fn archives_within_archives_are_not_opened() {
    let inner = Archive::default()
        .packed("a.xml", &deflated("", 0, 64), 64 * MIB as u64, 0, 8, Lies::default())
        .finish();
    let outer = Archive::default().stored("inner.zip", &inner).finish();
    assert_eq!(unsupported(outer), Foreign::NestedArchive);
    let book = Book::default().sheet("S", &row(1, &["@anna1"]));
    let with_embedded = book.frame().stored("xl/embeddings/book.xlsx", &inner);
    let whole = with_embedded.with(
        "xl/worksheets/sheet0.xml",
        format!("<worksheet><sheetData>{}</sheetData></worksheet>", row(1, &["@anna1"])).as_bytes(),
    );
    let read = super::read(whole.finish());
    assert_eq!(
        (read.rows.len(), read.notes().iter().any(|note| note.contains("not opened"))),
        (1, true)
    );
    let as_sheet = book.frame().stored("xl/worksheets/sheet0.xml", &inner).finish();
    assert!(problem(as_sheet).to_string().contains("damaged"));
}

#[test]
fn what_is_something_else_is_named() {
    let name = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let ole = |stream: &str| {
        let mut bytes = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
        bytes.resize(1_024 + 128, 0);
        bytes.extend(name(stream));
        bytes.resize(2_048, 0);
        bytes
    };
    assert_eq!(unsupported(ole("Workbook")), Foreign::Xls);
    assert_eq!(unsupported(ole("Book")), Foreign::Xls);
    assert_eq!(unsupported(ole("WordDocument")), Foreign::Word);
    assert_eq!(unsupported(ole("Other")), Foreign::Ole);
    assert!(matches!(problem(ole("EncryptedPackage")), FileProblem::Encrypted));
    let archive = |names: &[&str]| {
        names.iter().fold(Archive::default(), |all, name| all.stored(name, b"x")).finish()
    };
    for (bytes, foreign) in [
        (archive(&["mimetype", "content.xml"]), Foreign::OpenDocument),
        (
            Archive::default()
                .stored("mimetype", b"application/vnd.oasis.opendocument.spreadsheet")
                .stored("content.xml", b"")
                .finish(),
            Foreign::Ods,
        ),
        (archive(&["xl/workbook.bin"]), Foreign::Xlsb),
        (archive(&["word/document.xml"]), Foreign::Word),
        (archive(&["ppt/presentation.xml"]), Foreign::PowerPoint),
        (archive(&["Index/Document.iwa"]), Foreign::Apple),
        (archive(&["people.csv"]), Foreign::Zip),
        (b"%PDF-1.7\n".to_vec(), Foreign::Pdf),
        (b"\x89PNG\r\n\x1a\n\0\0".to_vec(), Foreign::Picture),
        (b"\xff\xd8\xff\xe0".to_vec(), Foreign::Picture),
        (b"\x1f\x8b\x08\0".to_vec(), Foreign::Archive),
        (b"Rar!\x1a\x07\0".to_vec(), Foreign::Archive),
        (b"<html><table><tr><td>+79991234567".to_vec(), Foreign::Html),
        ("\u{feff}\r\n<!DOCTYPE HTML>".as_bytes().to_vec(), Foreign::Html),
        (b"<?xml version='1.0'?><Workbook/>".to_vec(), Foreign::Xml),
        (b"{\\rtf1 x}".to_vec(), Foreign::Rtf),
        (b"BEGIN:VCARD\r\nTEL:+79991234567\r\n".to_vec(), Foreign::VCard),
        (b"SQLite format 3\0".to_vec(), Foreign::Database),
        (b"\x7fELF\x02".to_vec(), Foreign::Program),
        ((0..=255).cycle().take(4_000).collect(), Foreign::Binary),
    ] {
        assert_eq!(unsupported(&bytes), foreign, "{:?}", &bytes[..bytes.len().min(16)]);
    }
}

/// Whatever happened, what is kept stays within its bounds.
fn is_bounded(result: &Result<Read, FileProblem>) -> bool {
    let Ok(read) = result else { return true };
    let limits = Limits::default();
    read.rejected.len() as u64 <= limits.rejected
        && read.rejected.iter().all(|row| row.value.chars().count() <= limits.rejected_chars)
        && read.rows.iter().all(|row| {
            let bytes = row.details.data.as_deref().map_or(0, str::len);
            bytes <= limits.data_bytes + 1
        })
        && read.rows.iter().all(|row| row.line > 0)
}

/// Enough for every build; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let is_asked = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked { ProptestConfig::default() } else { ProptestConfig::with_cases(1_500) }
}

static SAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(samples);

fn samples() -> Vec<Vec<u8>> {
    let texts = "<si><t>@anna1</t></si><si><t>Анна</t></si>";
    let shared =
        "<row r=\"2\"><c r=\"A2\" t=\"s\"><v>0</v></c><c r=\"B2\" t=\"s\"><v>1</v></c></row>";
    let rows = row(1, &["username", "Имя"]) + shared + &row(3, &["@bobby", "Bob"]);
    let utf16 = "\u{feff}phone\tname\n+79991234567\tАнна\n";
    let mut stored = Archive::default();
    let book = Book::default().shared(texts).sheet("S", &rows);
    for (name, content) in book.parts() {
        stored = stored.stored(&name, content.as_bytes());
    }
    vec![
        "phone;name;city\n+79991234567;\"Анна\n\"\"Ли\"\"\";Тверь\n89991234568;Bob;Orel\n".into(),
        utf16.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        r#"{"total":2,"users":[{"id":5,"username":"anna1","n":{"a":[1,2]}},{"phone":"+79991234567"}]}"#.into(),
        "{\"phone\":\"+79991234567\"}\n{\"phone\":\"+79991234568\",\"x\":-1.5e3}\n".into(),
        book.finish(),
        stored.finish(),
    ]
}

/// Changes some bytes, cuts some, repeats some.
fn mutated(bytes: &[u8], changes: &[(u8, usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (kind, at, value) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = at % bytes.len();
        match kind % 5 {
            0 => bytes[at] = *value,
            1 => bytes.truncate(at),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, *value),
            _ => {
                let end = bytes.len().min(at + usize::from(*value));
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(u8, usize, u8)>> {
    let value = prop_oneof![any::<u8>(), prop::sample::select(b"\"<>&;,{}[]\n\r\0\\@+0".to_vec())];
    prop::collection::vec((any::<u8>(), any::<usize>(), value), 1..8)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn damaged_files_are_read_or_refused(which in 0..6_usize, changes in changes()) {
        let bytes = mutated(&SAMPLES[which], &changes);
        prop_assert!(is_bounded(&read_within(&bytes, None, Limits::default())));
    }

    /// Damage below the checksums: the part is changed, and packed as if it had always been so.
    #[test]
    fn damaged_parts_are_read_or_refused(which in any::<usize>(), changes in changes()) {
        let book = Book::default()
            .shared("<si><t>@anna1</t></si><si><r><t>Ан</t></r><rPh><t>x</t></rPh></si>")
            .sheet("S", &(row(1, &["username", "Имя"]) + "<row r=\"2\" hidden=\"0\"><c r=\"A2\" t=\"s\"><v>0</v></c><c r=\"B2\"><f>A2</f><v>1.5E3</v></c></row>"));
        let parts = book.parts();
        let which = which % parts.len();
        let archive = parts.iter().enumerate().fold(Archive::default(), |archive, (at, (name, content))| {
            let content = content.as_bytes();
            if at == which { archive.with(name, &mutated(content, &changes)) } else { archive.with(name, content) }
        });
        prop_assert!(is_bounded(&read_within(&archive.finish(), None, Limits::default())));
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        start in prop::sample::select(vec!["", "PK\u{3}\u{4}", "[", "{\"a\":", "phone\n", "sep=", "\u{feff}"]),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let whole = [start.as_bytes(), &bytes].concat();
        prop_assert!(is_bounded(&read_within(&whole, None, Limits::default())));
    }
}
