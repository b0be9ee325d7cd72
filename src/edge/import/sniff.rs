//! What kind of file it is, by its content. A name is only a hint for people: a workbook called `.csv` is read as a
//! workbook, and a web page called `.xls` is named.

use std::io::{self, Read, Seek, SeekFrom};

use super::problem::{FileProblem, Foreign};

/// Bytes at the beginning that are looked at.
const HEAD_BYTES: u64 = 8 * 1024;

/// What the reader for a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An archive, which is a workbook if it holds one.
    Zip,
    /// JSON of any shape.
    Json,
    /// A table as text.
    Csv,
}

/// Beginnings that tell what a file is (the formats' own specifications).
const SIGNATURES: &[(&[u8], Foreign)] = &[
    (b"%PDF-", Foreign::Pdf),
    (b"{\\rtf", Foreign::Rtf),
    (b"\x89PNG\r\n\x1a\n", Foreign::Picture),
    (b"\xff\xd8\xff", Foreign::Picture),
    (b"GIF8", Foreign::Picture),
    (b"II*\0", Foreign::Picture),
    (b"MM\0*", Foreign::Picture),
    (b"\x1f\x8b", Foreign::Archive),
    (b"7z\xbc\xaf\x27\x1c", Foreign::Archive),
    (b"Rar!\x1a\x07", Foreign::Archive),
    (b"BZh", Foreign::Archive),
    (b"\xfd7zXZ\0", Foreign::Archive),
    (b"\x28\xb5\x2f\xfd", Foreign::Archive),
    (b"SQLite format 3\0", Foreign::Database),
    (b"\x7fELF", Foreign::Program),
];

const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

/// Looks at the first bytes, and leaves the reader at the beginning.
pub(super) fn sniff<R: Read + Seek>(reader: &mut R) -> Result<Found, FileProblem> {
    reader.rewind()?;
    let mut head = Vec::new();
    reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err(FileProblem::Empty);
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Found::Zip);
    }
    if head.starts_with(OLE) {
        return Err(ole(reader)?);
    }
    let known = SIGNATURES.iter().find(|(start, _)| head.starts_with(start));
    if let Some((_, foreign)) = known {
        return Err(FileProblem::Unsupported(*foreign));
    }
    // `RIFF....WEBP`, `....ftypheic`: a tag behind a length.
    if (head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP"))
        || (head.get(4..8) == Some(b"ftyp") && head.starts_with(b"\0"))
    {
        return Err(FileProblem::Unsupported(Foreign::Picture));
    }
    let found = text(&head)?;
    reader.rewind()?;
    Ok(found)
}

/// What a text is. Encodings of two bytes a character are seen by their zeros.
fn text(head: &[u8]) -> Result<Found, FileProblem> {
    let start = start_of(head);
    let lower = start.to_ascii_lowercase();
    let foreign = match lower.as_str() {
        page if page.starts_with("<!doctype html") || page.starts_with("<html") => Foreign::Html,
        page if ["<table", "<head", "<body", "<meta"].iter().any(|tag| page.starts_with(tag)) => {
            Foreign::Html
        }
        xml if xml.starts_with("<?xml") && xml.contains("<html") => Foreign::Html,
        xml if xml.starts_with("<?xml") || xml.starts_with("<workbook") => Foreign::Xml,
        card if card.starts_with("begin:vcard") => Foreign::VCard,
        _ if is_binary(head) => Foreign::Binary,
        _ if start.is_empty() && head.iter().all(|byte| is_filler(*byte)) => {
            return Err(FileProblem::Empty);
        }
        _ => return Ok(if is_json(&start) { Found::Json } else { Found::Csv }),
    };
    Err(FileProblem::Unsupported(foreign))
}

/// Marks of byte order, zeros of UTF-16, white space.
fn is_filler(byte: u8) -> bool {
    matches!(byte, 0xef | 0xbb | 0xbf | 0xfe | 0xff | 0) || byte.is_ascii_whitespace()
}

/// The first ASCII characters behind marks and white space, whatever the encoding: enough for signatures.
fn start_of(head: &[u8]) -> String {
    let seen = head.iter().copied().skip_while(|byte| is_filler(*byte));
    seen.filter(|byte| *byte != 0).take(1_024).map(char::from).collect()
}

fn is_json(start: &str) -> bool {
    let mut letters = start.chars().filter(|c| !c.is_ascii_whitespace());
    match (letters.next(), letters.next()) {
        (Some('{'), Some(next)) => matches!(next, '"' | '}'),
        (Some('['), Some(next)) => {
            matches!(next, '{' | '[' | '"' | ']' | '-' | '0'..='9' | 'n' | 't' | 'f')
        }
        (Some('{' | '['), None) => true,
        _ => false,
    }
}

/// Text holds no control characters but white space, except for the zeros of UTF-16.
fn is_binary(head: &[u8]) -> bool {
    if super::encoding::looks_like_utf16(head) {
        return false;
    }
    let is_control = |byte: &&u8| matches!(**byte, 0..=8 | 14..=25 | 28..=31);
    head.iter().filter(is_control).count() * 50 > head.len()
}

/// What an OLE container holds, by the names of its streams (MS-CFB, directory entries in UTF-16).
fn ole<R: Read + Seek>(reader: &mut R) -> Result<FileProblem, FileProblem> {
    const NAMES: [(&str, Option<Foreign>); 4] = [
        ("EncryptedPackage", None),
        ("Workbook", Some(Foreign::Xls)),
        ("WordDocument", Some(Foreign::Word)),
        ("PowerPoint Document", Some(Foreign::PowerPoint)),
    ];
    let mut found = [false; NAMES.len()];
    let mut is_old_book = false;
    let spelled =
        |name: &str| -> Vec<u8> { name.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let wanted: Vec<Vec<u8>> = NAMES.iter().map(|(name, _)| spelled(name)).collect();
    // A directory entry is 128 bytes at such a place and begins with its name.
    reader.seek(SeekFrom::Start(0))?;
    let mut block = [0; 64 * 1024];
    loop {
        let filled = fill(reader, &mut block)?;
        for entry in block[..filled].chunks_exact(128) {
            for (seen, name) in found.iter_mut().zip(&wanted) {
                *seen |= entry.starts_with(name) && entry[name.len()..].starts_with(&[0, 0]);
            }
            is_old_book |= entry.starts_with(b"B\0o\0o\0k\0\0\0");
        }
        if filled < block.len() {
            break;
        }
    }
    let first = NAMES.iter().zip(found).find(|(_, seen)| *seen).map(|((_, foreign), _)| *foreign);
    Ok(match first {
        Some(None) => FileProblem::Encrypted,
        Some(Some(foreign)) => FileProblem::Unsupported(foreign),
        None if is_old_book => FileProblem::Unsupported(Foreign::Xls),
        None => FileProblem::Unsupported(Foreign::Ole),
    })
}

/// Reads until the block is full or the file ends.
pub(super) fn fill(reader: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
