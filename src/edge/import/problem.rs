//! Why a file as a whole cannot be imported, in words for the person who sent it. What is wrong with one line is no
//! problem of the file: that line is rejected.

use std::io;

/// What a file is that nobody reads here, by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// BIFF in an OLE container.
    #[error("an old Excel workbook (.xls)")]
    Xls,
    /// XLSX in binary.
    #[error("a binary Excel workbook (.xlsb)")]
    Xlsb,
    /// OpenDocument's sheets.
    #[error("an OpenDocument spreadsheet (.ods)")]
    Ods,
    /// OpenDocument, but no sheets.
    #[error("an OpenDocument file that is no spreadsheet")]
    OpenDocument,
    /// Word.
    #[error("a Word document")]
    Word,
    /// PowerPoint.
    #[error("a PowerPoint presentation")]
    PowerPoint,
    /// Apple Numbers, Pages, Keynote.
    #[error("a file of Apple Numbers, Pages or Keynote")]
    Apple,
    /// An OLE container of something else.
    #[error("an old Office file that is no workbook")]
    Ole,
    /// A ZIP without a workbook.
    #[error("a ZIP archive without a workbook")]
    Zip,
    /// A ZIP of archives.
    #[error("an archive of archives")]
    NestedArchive,
    /// gzip, 7z, RAR, xz, bzip2, Zstandard.
    #[error("a compressed archive")]
    Archive,
    /// A web page, also one that is called .xls.
    #[error("a web page (HTML)")]
    Html,
    /// XML of any kind.
    #[error("an XML file")]
    Xml,
    /// PDF.
    #[error("a PDF document")]
    Pdf,
    /// RTF.
    #[error("an RTF document")]
    Rtf,
    /// A picture.
    #[error("a picture")]
    Picture,
    /// Contacts of a phone.
    #[error("a contact card (vCard)")]
    VCard,
    /// A database.
    #[error("a database (SQLite)")]
    Database,
    /// A program.
    #[error("a program")]
    Program,
    /// Anything else that is no text.
    #[error("a binary file of an unknown kind")]
    Binary,
}

/// Why a file cannot be imported, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The spooled file cannot be read: ours, not the person's.
    #[error("the file cannot be read: {0}")]
    Io(#[source] io::Error),
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// More bytes than are taken.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// Bytes that are taken.
        limit: u64,
    },
    /// Something that is not read here.
    #[error("it is {0}; send CSV, XLSX or JSON")]
    Unsupported(Foreign),
    /// A password stands before it.
    #[error("the file is encrypted; save it without a password")]
    Encrypted,
    /// It becomes too large when it is unpacked.
    #[error("the archive is refused: {0}")]
    Bomb(&'static str),
    /// The container is damaged.
    #[error("the archive is damaged: {0}")]
    BrokenArchive(&'static str),
    /// A part of the workbook is damaged.
    #[error("the workbook is damaged: {part}: {reason}")]
    BrokenWorkbook {
        /// Which part of it.
        part: String,
        /// What is wrong.
        reason: String,
    },
    /// The JSON is not well-formed.
    #[error("the JSON is damaged at line {line}: {reason}")]
    BrokenJson {
        /// Physical line.
        line: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// Nested deeper than anybody needs.
    #[error("it is nested more than {limit} levels deep")]
    TooDeep {
        /// Levels that are read.
        limit: usize,
    },
    /// More rows than are taken.
    #[error("the file has more than {limit} rows")]
    TooManyRows {
        /// Rows that are taken.
        limit: u64,
    },
    /// The workbook's table of texts is larger than the memory that an import may take.
    #[error("the workbook has too many different texts; save the sheet as CSV")]
    TooManyTexts,
    /// Nothing in it names a person.
    #[error("no column names people; expected a header like username, phone or id (found: {})", list(.found))]
    NoPeople {
        /// The headers or keys that there are, at most ten.
        found: Vec<String>,
    },
}

fn list(found: &[String]) -> String {
    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
}

impl From<io::Error> for FileProblem {
    /// A guard below a reader of `std::io` can only answer an `io::Error`; what it meant is taken out again.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(problem) => problem,
            Err(error) => Self::Io(error),
        }
    }
}

impl From<FileProblem> for io::Error {
    fn from(problem: FileProblem) -> Self {
        Self::other(problem)
    }
}
