//! How much of a file is read, and how much memory that may take. One place for all bounds of an import.

/// Bytes of a file that may be imported by default: the contract's 10 MB.
const FILE_BYTES: u64 = 10 * 1024 * 1024;

/// The bounds of one import. What is beyond one is refused, cut or left out, and said; never silently lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file as it was sent.
    pub file_bytes: u64,
    /// Rows that are not blank; what is beyond ends the import with [`super::FileProblem::TooManyRows`].
    pub rows: u64,
    /// Bytes of one line of a table, or of one element of JSON; longer ones are rejected.
    pub row_bytes: usize,
    /// Characters of one value that is kept beside the identifier; longer ones are cut.
    pub value_chars: usize,
    /// Columns, or different keys, that are told apart; further ones are left out.
    pub columns: usize,
    /// Bytes of the JSON object of all other columns of one row; what does not fit is left out.
    pub data_bytes: usize,
    /// Rejected rows that are told one by one; the others are counted.
    pub rejected: u64,
    /// Characters of a rejected value that are shown.
    pub rejected_chars: usize,
    /// Files within an archive. A workbook has a few dozen, with pictures a few hundred.
    pub archive_entries: usize,
    /// Bytes that a workbook may have when it is unpacked, all read parts together.
    pub unpacked_bytes: u64,
    /// How many times larger a part may become by unpacking. Sheets reach about 30, deflate itself 1,032.
    pub unpacked_ratio: u64,
    /// Sheets of a workbook that are read.
    pub sheets: usize,
    /// Bytes that a workbook's table of shared texts may take in memory; see `xlsx/texts.rs`.
    pub texts_bytes: usize,
    /// Bytes of one tag, text or comment of XML. A cell has at most 32,767 characters.
    pub xml_token_bytes: u64,
    /// Elements of XML within each other. A sheet needs about eight.
    pub xml_depth: usize,
    /// Lists and objects of JSON within each other.
    pub json_depth: usize,
}

impl Limits {
    /// Limits for files of at most `file_bytes`: what a file may unpack to grows with it.
    pub const fn for_files_of(file_bytes: u64) -> Self {
        Self {
            file_bytes,
            rows: 1_100_000,
            row_bytes: 64 * 1024,
            value_chars: 1_000,
            columns: 256,
            data_bytes: 4 * 1024,
            rejected: 1_000,
            rejected_chars: 100,
            archive_entries: 2_048,
            unpacked_bytes: file_bytes.saturating_mul(40),
            unpacked_ratio: 200,
            sheets: 64,
            texts_bytes: 44 * 1024 * 1024,
            xml_token_bytes: 1024 * 1024,
            xml_depth: 64,
            json_depth: 64,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::for_files_of(FILE_BYTES)
    }
}
