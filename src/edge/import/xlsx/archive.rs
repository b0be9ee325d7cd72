//! ZIP, as far as workbooks need it (APPNOTE 6.3.10): the directory with a bound on its entries, and parts unpacked
//! under guard. No size that an archive declares is trusted: what comes out is counted while it comes, against the
//! declared size, against the limit for all parts, and against what went in. 512 MiB in 511 KB are refused after the
//! first of them. Entries that are not asked for are never unpacked, whatever they claim to be.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::super::limits::Limits;
use super::super::problem::{FileProblem, Foreign};

/// Bytes of the end record without its comment, of a directory entry and a local header without names.
const END_BYTES: usize = 22;
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// Bytes of a name; longer ones are nobody's.
const NAME_BYTES: usize = 1_024;
/// Bytes that may unpack to anything before the ratio is looked at.
const RATIO_FREE_BYTES: u64 = 1024 * 1024;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// A file within the archive.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Lower case, with `/`, without one in front.
    pub(super) name: String,
    method: u16,
    is_encrypted: bool,
    crc: u32,
    packed: u64,
    unpacked: u64,
    /// Of its local header, from the archive's beginning.
    offset: u64,
}

/// What an archive has.
#[derive(Debug)]
pub(super) struct Directory {
    entries: Vec<Entry>,
    /// Bytes in front of the archive.
    shift: u64,
    /// Where it begins; parts lie before it.
    start: u64,
    limits: Limits,
    /// Bytes that were unpacked so far, of all parts.
    unpacked: u64,
}

impl Directory {
    /// Reads the directory.
    pub(super) fn read<R: Read + Seek>(
        reader: &mut R,
        limits: Limits,
    ) -> Result<Self, FileProblem> {
        let end = End::find(reader)?;
        if end.entries > limits.archive_entries as u64 {
            return Err(FileProblem::Bomb("it has too many entries"));
        }
        let start = end.at.checked_sub(end.directory_bytes).ok_or(BROKEN_DIRECTORY)?;
        let shift = start.checked_sub(end.directory_offset).ok_or(BROKEN_DIRECTORY)?;
        reader.seek(SeekFrom::Start(start))?;
        let mut source = BufReader::new(reader.by_ref().take(end.directory_bytes));
        let mut entries = Vec::new();
        for _ in 0..end.entries {
            entries.push(Entry::read(&mut source)?);
        }
        Ok(Self { entries, shift, start, limits, unpacked: 0 })
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The place of a part. Names differ in case between programs.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let name = plain_name(name);
        self.entries.iter().position(|entry| entry.name == name)
    }

    /// Begins to unpack a part that was checked.
    pub(super) fn part<R: Read + Seek>(
        &self,
        reader: R,
        at: usize,
    ) -> Result<Part<R>, FileProblem> {
        self.unpack(reader, at, u64::MAX)
    }

    fn unpack<R: Read + Seek>(
        &self,
        mut reader: R,
        at: usize,
        allowed: u64,
    ) -> Result<Part<R>, FileProblem> {
        let entry = self.entries.get(at).ok_or(BROKEN_DIRECTORY)?;
        if entry.is_encrypted {
            return Err(FileProblem::Encrypted);
        }
        if entry.unpacked > self.limits.unpacked_bytes {
            return Err(FileProblem::Bomb("a part is too large when it is unpacked"));
        }
        self.seek_to(&mut reader, entry)?;
        let packed = reader.take(entry.packed);
        let source = match entry.method {
            STORED => Source::Stored(packed),
            DEFLATED => Source::Deflated(DeflateDecoder::new(packed)),
            _ => {
                return Err(FileProblem::BrokenArchive(
                    "a part is packed in a way that workbooks do not use",
                ));
            }
        };
        Ok(Part {
            source,
            crc: Crc::new(),
            expected_crc: entry.crc,
            declared: entry.unpacked,
            unpacked: 0,
            allowed,
            ratio: self.limits.unpacked_ratio,
            is_checked: false,
        })
    }

    /// Goes to where a part's packed bytes begin.
    fn seek_to<R: Read + Seek>(&self, reader: &mut R, entry: &Entry) -> Result<(), FileProblem> {
        let offset = entry.offset.checked_add(self.shift).filter(|offset| *offset < self.start);
        reader.seek(SeekFrom::Start(offset.ok_or(BROKEN_DIRECTORY)?))?;
        let mut header = [0; LOCAL_BYTES];
        reader.read_exact(&mut header).map_err(cut_short)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(FileProblem::BrokenArchive("a part is not where the directory has it"));
        }
        reader.seek_relative(i64::from(two(&header, 26)) + i64::from(two(&header, 28)))?;
        Ok(())
    }

    /// Unpacks a part to nowhere, so that a bomb or damage is found before anybody relies on its beginning. What it
    /// unpacks to counts towards the limit for all.
    pub(super) fn check<R: Read + Seek>(&mut self, reader: R, at: usize) -> Result<R, FileProblem> {
        let allowed = self.limits.unpacked_bytes.saturating_sub(self.unpacked);
        let mut part = self.unpack(reader, at, allowed)?;
        let mut block = [0; 32 * 1024];
        loop {
            match part.read(&mut block) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.unpacked = self.unpacked.saturating_add(part.unpacked);
        Ok(part.into_inner())
    }
}

const BROKEN_DIRECTORY: FileProblem = FileProblem::BrokenArchive("its directory does not fit");

fn cut_short(error: io::Error) -> FileProblem {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        FileProblem::BrokenArchive("it is cut short")
    } else {
        error.into()
    }
}

fn plain_name(name: &str) -> String {
    name.replace('\\', "/").trim_start_matches('/').to_lowercase()
}

impl Entry {
    fn read(source: &mut impl Read) -> Result<Self, FileProblem> {
        let mut fixed = [0; ENTRY_BYTES];
        source.read_exact(&mut fixed).map_err(cut_short)?;
        if !fixed.starts_with(b"PK\x01\x02") {
            return Err(BROKEN_DIRECTORY);
        }
        let (name_bytes, extra_bytes, comment_bytes) =
            (two(&fixed, 28), two(&fixed, 30), two(&fixed, 32));
        if usize::from(name_bytes) > NAME_BYTES {
            return Err(FileProblem::Bomb("it has a name of more than 1,024 bytes"));
        }
        let mut name = vec![0; usize::from(name_bytes)];
        source.read_exact(&mut name).map_err(cut_short)?;
        let mut extra = vec![0; usize::from(extra_bytes)];
        source.read_exact(&mut extra).map_err(cut_short)?;
        io::copy(&mut source.by_ref().take(u64::from(comment_bytes)), &mut io::sink())?;
        let mut entry = Self {
            name: plain_name(&String::from_utf8_lossy(&name)),
            // Bit 0 is encryption, bit 6 the strong one, method 99 that of WinZip.
            is_encrypted: two(&fixed, 8) & 0x41 != 0 || two(&fixed, 10) == 99,
            method: two(&fixed, 10),
            crc: four(&fixed, 16),
            packed: u64::from(four(&fixed, 20)),
            unpacked: u64::from(four(&fixed, 24)),
            offset: u64::from(four(&fixed, 42)),
        };
        entry.widen(&extra);
        Ok(entry)
    }

    /// Takes the sizes of ZIP64 where the short ones say that they are there.
    fn widen(&mut self, mut extra: &[u8]) {
        while extra.len() >= 4 {
            let (id, bytes) = (two(extra, 0), usize::from(two(extra, 2)));
            let Some(field) = extra.get(4..4 + bytes) else { return };
            if id == 1 {
                let mut wide = field
                    .chunks_exact(8)
                    .filter_map(|eight| eight.try_into().ok().map(u64::from_le_bytes));
                for size in [&mut self.unpacked, &mut self.packed, &mut self.offset] {
                    if *size == u64::from(u32::MAX) {
                        *size = wide.next().unwrap_or(*size);
                    }
                }
                return;
            }
            extra = &extra[4 + bytes..];
        }
    }
}

/// Where the directory is.
struct End {
    /// Where it ends: at the end record.
    at: u64,
    entries: u64,
    directory_bytes: u64,
    directory_offset: u64,
}

impl End {
    fn find<R: Read + Seek>(reader: &mut R) -> Result<Self, FileProblem> {
        let length = reader.seek(SeekFrom::End(0))?;
        let from = length.saturating_sub((END_BYTES + usize::from(u16::MAX)) as u64);
        reader.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        reader.by_ref().take(length - from).read_to_end(&mut tail)?;
        let found = tail.windows(END_BYTES).rposition(|window| window.starts_with(b"PK\x05\x06"));
        let at = found
            .ok_or(FileProblem::BrokenArchive("it has no directory; perhaps it was cut short"))?;
        let record = &tail[at..at + END_BYTES];
        let end = Self {
            at: from + at as u64,
            entries: u64::from(two(record, 10)),
            directory_bytes: u64::from(four(record, 12)),
            directory_offset: u64::from(four(record, 16)),
        };
        let is_wide = end.entries == u64::from(u16::MAX)
            || end.directory_bytes == u64::from(u32::MAX)
            || end.directory_offset == u64::from(u32::MAX);
        if is_wide { end.widened(reader) } else { Ok(end) }
    }

    /// The end record of ZIP64, which stands with its locator right before the short one.
    fn widened<R: Read + Seek>(&self, reader: &mut R) -> Result<Self, FileProblem> {
        const BOTH_BYTES: u64 = 56 + 20;
        let at = self.at.checked_sub(BOTH_BYTES).ok_or(BROKEN_DIRECTORY)?;
        reader.seek(SeekFrom::Start(at))?;
        let mut record = [0; BOTH_BYTES as usize];
        reader.read_exact(&mut record).map_err(cut_short)?;
        if !record.starts_with(b"PK\x06\x06") {
            return Err(BROKEN_DIRECTORY);
        }
        Ok(Self {
            at,
            entries: eight(&record, 32),
            directory_bytes: eight(&record, 40),
            directory_offset: eight(&record, 48),
        })
    }
}

fn two(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from(two(bytes, at)) | u32::from(two(bytes, at + 2)) << 16
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from(four(bytes, at)) | u64::from(four(bytes, at + 4)) << 32
}

enum Source<R> {
    Stored(Take<R>),
    Deflated(DeflateDecoder<Take<R>>),
}

/// A part that is being unpacked, under guard.
pub(super) struct Part<R> {
    source: Source<R>,
    crc: Crc,
    expected_crc: u32,
    declared: u64,
    unpacked: u64,
    /// Bytes that it may still come to.
    allowed: u64,
    ratio: u64,
    is_checked: bool,
}

impl<R: Read> Part<R> {
    pub(super) fn into_inner(self) -> R {
        match self.source {
            Source::Stored(packed) => packed.into_inner(),
            Source::Deflated(decoder) => decoder.into_inner().into_inner(),
        }
    }

    /// Holds what came out so far against what was said and what went in.
    fn guard(&self) -> Result<(), FileProblem> {
        let packed = match &self.source {
            Source::Stored(_) => self.unpacked,
            Source::Deflated(decoder) => decoder.total_in(),
        };
        if self.unpacked > self.declared {
            return Err(FileProblem::Bomb("a part is larger than it says"));
        }
        if self.unpacked > self.allowed {
            return Err(FileProblem::Bomb("it is too large when it is unpacked"));
        }
        if self.unpacked > RATIO_FREE_BYTES.max(packed.saturating_mul(self.ratio)) {
            return Err(FileProblem::Bomb("a part unpacks to far more than workbooks do"));
        }
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), FileProblem> {
        self.is_checked = true;
        if self.unpacked < self.declared {
            return Err(FileProblem::BrokenArchive("a part is shorter than it says"));
        }
        if self.crc.sum() != self.expected_crc {
            return Err(FileProblem::BrokenArchive("a part's checksum is wrong"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Part<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.is_checked {
            return Ok(0);
        }
        let result = match &mut self.source {
            Source::Stored(packed) => packed.read(out),
            Source::Deflated(decoder) => decoder.read(out),
        };
        let read = match result {
            Ok(read) => read,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::UnexpectedEof
                ) =>
            {
                return Err(FileProblem::BrokenArchive("a part cannot be unpacked").into());
            }
            Err(error) => return Err(error),
        };
        if read == 0 && !out.is_empty() {
            self.check_end()?;
            return Ok(0);
        }
        self.crc.update(&out[..read]);
        self.unpacked += read as u64;
        self.guard()?;
        Ok(read)
    }
}

/// What an archive without a workbook is.
pub(super) fn foreign<R: Read + Seek>(reader: R, directory: &mut Directory) -> FileProblem {
    let names: Vec<&str> = directory.entries().iter().map(|entry| entry.name.as_str()).collect();
    let has = |name: &str| names.contains(&name);
    let begins = |start: &str| names.iter().any(|name| name.starts_with(start));
    let foreign = if has("xl/workbook.bin") {
        Foreign::Xlsb
    } else if begins("word/") {
        Foreign::Word
    } else if begins("ppt/") {
        Foreign::PowerPoint
    } else if has("mimetype") && has("content.xml") {
        open_document(reader, directory)
    } else if names.iter().any(|name| name.ends_with(".iwa")) {
        Foreign::Apple
    } else if directory.entries().iter().any(|entry| entry.is_encrypted) {
        return FileProblem::Encrypted;
    } else if is_archive(&names) {
        Foreign::NestedArchive
    } else {
        Foreign::Zip
    };
    FileProblem::Unsupported(foreign)
}

/// Which of OpenDocument's kinds: the first part says it in plain text (OpenDocument 1.3 part 2, section 3.3).
fn open_document<R: Read + Seek>(reader: R, directory: &Directory) -> Foreign {
    let part = directory.find("mimetype").and_then(|at| directory.part(reader, at).ok());
    let mut kind = Vec::new();
    let is_read = part.is_some_and(|part| part.take(128).read_to_end(&mut kind).is_ok());
    let is_sheet = is_read && String::from_utf8_lossy(&kind).contains("spreadsheet");
    if is_sheet { Foreign::Ods } else { Foreign::OpenDocument }
}

/// Whether one of the names is that of an archive.
fn is_archive(names: &[&str]) -> bool {
    const ENDS: [&str; 9] =
        [".zip", ".xlsx", ".xlsm", ".docx", ".gz", ".7z", ".rar", ".jar", ".ods"];
    names.iter().any(|name| ENDS.iter().any(|end| name.ends_with(end)))
}

/// How many archives lie in a workbook. They are not opened.
pub(super) fn embedded(directory: &Directory) -> u64 {
    let archives = directory.entries().iter().filter(|entry| is_archive(&[&entry.name]));
    archives.count() as u64
}
