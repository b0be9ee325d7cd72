//! Workbooks written by hand, so that they may be anything.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// An archive while it is written.
#[derive(Clone, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    entries: u16,
}

/// What an entry says of itself, if it lies.
#[derive(Clone, Copy, Default)]
pub(super) struct Lies {
    pub(super) unpacked: Option<u32>,
    pub(super) flags: u16,
    pub(super) crc: Option<u32>,
}

impl Archive {
    pub(super) fn with(self, name: &str, content: &[u8]) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        self.packed(name, &packed, content.len() as u64, crc(content), 8, Lies::default())
    }

    pub(super) fn stored(self, name: &str, content: &[u8]) -> Self {
        self.packed(name, content, content.len() as u64, crc(content), 0, Lies::default())
    }

    pub(super) fn packed(
        mut self,
        name: &str,
        packed: &[u8],
        unpacked: u64,
        crc: u32,
        method: u16,
        lies: Lies,
    ) -> Self {
        let offset = u32::try_from(self.bytes.len()).unwrap();
        let unpacked = lies.unpacked.unwrap_or(u32::try_from(unpacked).unwrap());
        let mut common = Vec::new();
        common.extend(20_u16.to_le_bytes());
        common.extend(lies.flags.to_le_bytes());
        common.extend(method.to_le_bytes());
        common.extend([0; 4]);
        common.extend(lies.crc.unwrap_or(crc).to_le_bytes());
        common.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        common.extend(unpacked.to_le_bytes());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0; 2]);
        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&common);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(packed);
        self.directory.extend(b"PK\x01\x02\x14\0");
        self.directory.extend(&common);
        self.directory.extend([0; 10]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.entries += 1;
        self
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let offset = u32::try_from(self.bytes.len()).unwrap();
        let length = u32::try_from(self.directory.len()).unwrap();
        self.bytes.append(&mut self.directory);
        self.bytes.extend(b"PK\x05\x06\0\0\0\0");
        self.bytes.extend(self.entries.to_le_bytes());
        self.bytes.extend(self.entries.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(offset.to_le_bytes());
        self.bytes.extend([0; 2]);
        self.bytes
    }
}

pub(super) fn crc(content: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(content);
    crc.sum()
}

/// A workbook while it is written.
#[derive(Clone, Default)]
pub(super) struct Book {
    sheets: Vec<(String, String, String)>,
    shared: Option<String>,
}

impl Book {
    /// A sheet with these rows, as XML.
    pub(super) fn sheet(self, name: &str, rows: &str) -> Self {
        self.whole(name, "", &format!("<sheetData>{rows}</sheetData>"))
    }

    /// A sheet with this content; `state` stands in the list of sheets.
    pub(super) fn whole(mut self, name: &str, state: &str, content: &str) -> Self {
        let xml = format!("<?xml version=\"1.0\"?><worksheet xmlns=\"main\">{content}</worksheet>");
        self.sheets.push((name.to_owned(), state.to_owned(), xml));
        self
    }

    pub(super) fn shared(mut self, texts: &str) -> Self {
        self.shared = Some(format!("<sst uniqueCount=\"18446744073709551615\">{texts}</sst>"));
        self
    }

    /// All parts by name, the sheets' last.
    pub(super) fn parts(&self) -> Vec<(String, String)> {
        const TYPES: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
        let relation = |id: &str, kind: &str, target: &str| {
            format!("<Relationship Id=\"{id}\" Type=\"{TYPES}/{kind}\" Target=\"{target}\"/>")
        };
        let wrap = |inner: &str| format!("<Relationships>{inner}</Relationships>");
        let (mut list, mut relations) = (String::new(), String::new());
        for (at, (name, state, _)) in self.sheets.iter().enumerate() {
            list += &format!("<sheet name=\"{name}\" sheetId=\"{at}\" r:id=\"r{at}\" {state}/>");
            relations +=
                &relation(&format!("r{at}"), "worksheet", &format!("worksheets/sheet{at}.xml"));
        }
        relations += &relation("rs", "sharedStrings", "/xl/sharedStrings.xml");
        let book = format!("<workbook><sheets>{list}</sheets></workbook>");
        let top = wrap(&relation("r", "officeDocument", "xl/workbook.xml"));
        let mut parts = vec![
            ("[Content_Types].xml".to_owned(), "<Types/>".to_owned()),
            ("_rels/.rels".to_owned(), top),
            ("xl/workbook.xml".to_owned(), book),
            ("xl/_rels/workbook.xml.rels".to_owned(), wrap(&relations)),
        ];
        parts.extend(self.shared.clone().map(|shared| ("xl/sharedStrings.xml".to_owned(), shared)));
        let sheets = self.sheets.iter().enumerate();
        parts.extend(
            sheets.map(|(at, (.., xml))| (format!("xl/worksheets/sheet{at}.xml"), xml.clone())),
        );
        parts
    }

    /// Everything but the sheets' own parts.
    pub(super) fn frame(&self) -> Archive {
        let parts = self.parts();
        let frame = &parts[..parts.len() - self.sheets.len()];
        frame
            .iter()
            .fold(Archive::default(), |archive, (name, xml)| archive.with(name, xml.as_bytes()))
    }

    pub(super) fn finish(&self) -> Vec<u8> {
        let parts = self.parts();
        let whole = parts
            .iter()
            .fold(Archive::default(), |archive, (name, xml)| archive.with(name, xml.as_bytes()));
        whole.finish()
    }
}

/// A row of inline texts.
pub(super) fn row(number: u64, texts: &[&str]) -> String {
    let cells: String =
        texts.iter().map(|text| format!("<c t=\"inlineStr\"><is><t>{text}</t></is></c>")).collect();
    format!("<row r=\"{number}\">{cells}</row>")
}
