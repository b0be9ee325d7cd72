//! Workbooks (XLSX): which parts an archive has, which sheets are read, and in which order.
//!
//! The parts are read with `quick-xml`, as `calamine` reads them, but not with `calamine`. It keeps every shared text as
//! a `String` of its own, which for a million rows is more than an import may take; reserves memory by a number that the
//! file declares; ends a sheet at the first error cell that it does not know; makes floating point of all numbers; and
//! tells nothing of hidden rows and columns. It is the witness of the tests instead.
//!
//! | file | owns |
//! |---|---|
//! | `archive.rs` | the container, and its bombs |
//! | `xml.rs` | XML under guard |
//! | `texts.rs` | the table of shared texts, in little memory |
//! | `styles.rs` | which cells are dates |
//! | `sheet.rs` | rows and cells |

mod archive;
mod sheet;
mod styles;
mod texts;
mod xml;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Read, Seek};

use quick_xml::events::BytesStart;

use self::archive::{Directory, Part};
use self::sheet::Sheet;
use self::styles::Styles;
use self::texts::Texts;
use self::xml::{Token, Xml, attributes, is_true, unescaped};
use super::limits::Limits;
use super::problem::{FileProblem, Foreign};
use super::record::{Record, Records, Step};
use super::summary::{Note, Summary};

/// Bytes of a sheet's name, of which Excel allows 31 characters.
const NAME_BYTES: usize = 256;

/// A sheet, and the part that holds it.
struct Listed {
    name: Box<str>,
    part: usize,
}

/// What a relationship leads to, and what that is.
struct Relation {
    target: String,
    kind: String,
}

/// Where the reader of the file is.
enum Source<R> {
    /// Between two sheets.
    Between(R),
    /// In one.
    Within(Box<Sheet<Part<R>>>),
    /// Lost with an error, which ends everything.
    Lost,
}

/// Reads a workbook.
pub(super) struct Workbook<R> {
    directory: Directory,
    limits: Limits,
    texts: Texts,
    styles: Styles,
    sheets: std::vec::IntoIter<Listed>,
    has_many: bool,
    source: Source<R>,
}

impl<R: Read + Seek> Workbook<R> {
    /// Recognises the workbook, checks all parts that will be read, and reads its texts.
    pub(super) fn open(
        mut reader: R,
        limits: Limits,
        summary: &mut Summary,
    ) -> Result<Self, FileProblem> {
        let mut directory = Directory::read(&mut reader, limits)?;
        let (reader, book) = find_book(reader, &mut directory)?;
        let folder = book.rfind('/').map_or("", |at| &book[..=at]).to_owned();
        let (_, file) = book.split_at(folder.len());
        let relations_part = format!("{folder}_rels/{file}.rels");
        let (reader, relations) = relations(reader, &mut directory, &relations_part)?;
        let (mut reader, listed, is_1904) = listed(reader, &mut directory, &book)?;
        let sheets = chosen(&directory, &folder, listed, &relations, limits, summary)?;
        for sheet in &sheets {
            reader = directory.check(reader, sheet.part)?;
        }
        let place = |kind: &str| {
            let relation = relations.values().find(|relation| relation.kind.ends_with(kind));
            relation.and_then(|relation| directory.find(&resolved(&folder, &relation.target)))
        };
        let (shared, style) = (place("/sharedStrings"), place("/styles"));
        let (mut texts, mut styles) = (Texts::new(limits.texts_bytes), Styles::default());
        if let Some(part) = shared {
            reader = shared_texts(reader, &mut directory, part, &mut texts)?;
        }
        if let Some(part) = style {
            reader = cell_styles(reader, &mut directory, part, &mut styles)?;
        }
        styles.is_1904 = is_1904;
        summary.tally.embedded += archive::embedded(&directory);
        Ok(Self {
            directory,
            limits,
            texts,
            styles,
            has_many: sheets.len() > 1,
            sheets: sheets.into_iter(),
            source: Source::Between(reader),
        })
    }
}

impl<R: Read + Seek + Send> Records for Workbook<R> {
    fn step(&mut self, record: &mut Record, summary: &mut Summary) -> Result<Step, FileProblem> {
        if let Source::Within(sheet) = &mut self.source
            && sheet.row(&self.texts, &self.styles, record, summary)?
        {
            return Ok(Step::Record);
        }
        let reader = match std::mem::replace(&mut self.source, Source::Lost) {
            Source::Between(reader) => reader,
            Source::Within(sheet) => sheet.into_inner().into_inner(),
            Source::Lost => return Ok(Step::End),
        };
        let Some(next) = self.sheets.next() else { return Ok(Step::End) };
        let part = self.directory.part(reader, next.part)?;
        let xml = Xml::new(part, &self.directory.entries()[next.part].name, self.limits);
        self.source = Source::Within(Box::new(Sheet::new(xml, self.limits)));
        summary.sheets.push(next.name.to_string());
        Ok(Step::Table { sheet: Some(next.name), is_one_of_many: self.has_many })
    }
}

/// Checks a part, reads it token by token, and gives the reader of the file back.
fn read_part<R: Read + Seek>(
    reader: R,
    directory: &mut Directory,
    at: usize,
    limits: Limits,
    read: impl FnOnce(&mut Xml<Part<R>>) -> Result<(), FileProblem>,
) -> Result<R, FileProblem> {
    let reader = directory.check(reader, at)?;
    let part = directory.part(reader, at)?;
    let mut xml = Xml::new(part, &directory.entries()[at].name, limits);
    read(&mut xml)?;
    Ok(xml.into_inner().into_inner())
}

/// The workbook's main part, by the package's relationships, or where it always is.
fn find_book<R: Read + Seek>(
    reader: R,
    directory: &mut Directory,
) -> Result<(R, String), FileProblem> {
    const USUAL: &str = "xl/workbook.xml";
    let Some(_) = directory.find("_rels/.rels") else {
        let is_there = directory.find(USUAL).is_some();
        return if is_there {
            Ok((reader, USUAL.to_owned()))
        } else {
            Err(archive::foreign(reader, directory))
        };
    };
    let (reader, found) = relations(reader, directory, "_rels/.rels")?;
    let main = found.values().find(|relation| relation.kind.ends_with("/officeDocument"));
    let book = main.map_or_else(|| USUAL.to_owned(), |relation| resolved("", &relation.target));
    if book.ends_with(".bin") {
        return Err(FileProblem::Unsupported(Foreign::Xlsb));
    }
    let is_workbook = directory.find(&book).is_some() && book.contains("workbook");
    if is_workbook { Ok((reader, book)) } else { Err(archive::foreign(reader, directory)) }
}

/// The relationships of a part, by id.
fn relations<R: Read + Seek>(
    reader: R,
    directory: &mut Directory,
    name: &str,
) -> Result<(R, HashMap<String, Relation>), FileProblem> {
    let at = directory
        .find(name)
        .ok_or(FileProblem::BrokenArchive("the workbook has no relationships"))?;
    let mut found = HashMap::new();
    let limits = directory.limits();
    let reader = read_part(reader, directory, at, limits, |xml| {
        loop {
            match xml.next()? {
                Token::Start(start) if start.local_name().as_ref() == "Relationship" => {
                    let (mut id, mut relation) =
                        (String::new(), Relation { target: String::new(), kind: String::new() });
                    for (name, value) in
                        attributes(&start).filter(|(_, value)| value.len() <= 2_048)
                    {
                        match name {
                            "Id" => id = unescaped(&value),
                            "Target" => relation.target = unescaped(&value),
                            "Type" => relation.kind = unescaped(&value),
                            _ => {}
                        }
                    }
                    found.insert(id, relation);
                }
                Token::Eof => return Ok(()),
                _ => {}
            }
            if found.len() > limits.archive_entries {
                return Err(FileProblem::Bomb("it has too many relationships"));
            }
        }
    })?;
    Ok((reader, found))
}

/// A sheet as the workbook lists it.
struct Mentioned {
    name: String,
    relation: String,
    is_hidden: bool,
}

/// The sheets in the order of their tabs, and whether days count from 1904.
fn listed<R: Read + Seek>(
    reader: R,
    directory: &mut Directory,
    book: &str,
) -> Result<(R, Vec<Mentioned>, bool), FileProblem> {
    let at = directory.find(book).ok_or(FileProblem::BrokenArchive("it has no workbook"))?;
    let (mut sheets, mut is_1904) = (Vec::new(), false);
    let limits = directory.limits();
    let reader = read_part(reader, directory, at, limits, |xml| {
        loop {
            match xml.next()? {
                Token::Start(start) if start.local_name().as_ref() == "sheet" => {
                    let mut sheet = Mentioned {
                        name: String::new(),
                        relation: String::new(),
                        is_hidden: false,
                    };
                    for (name, value) in
                        attributes(&start).filter(|(_, value)| value.len() <= NAME_BYTES)
                    {
                        match name {
                            "name" => sheet.name = unescaped(&value),
                            "id" => sheet.relation = unescaped(&value),
                            "state" => sheet.is_hidden = &*value != "visible",
                            _ => {}
                        }
                    }
                    sheets.push(sheet);
                }
                Token::Start(start) if start.local_name().as_ref() == "workbookPr" => {
                    let says_so =
                        |(name, value): (&str, Cow<str>)| name == "date1904" && is_true(&value);
                    is_1904 |= attributes(&start).any(says_so);
                }
                Token::Eof => return Ok(()),
                _ => {}
            }
            if sheets.len() > limits.archive_entries {
                return Err(FileProblem::Bomb("it has too many sheets"));
            }
        }
    })?;
    Ok((reader, sheets, is_1904))
}

/// Which sheets are read: visible ones that hold cells, up to the limit.
fn chosen(
    directory: &Directory,
    folder: &str,
    listed: Vec<Mentioned>,
    relations: &HashMap<String, Relation>,
    limits: Limits,
    summary: &mut Summary,
) -> Result<Vec<Listed>, FileProblem> {
    let mut sheets = Vec::new();
    for sheet in listed {
        let Some(relation) = relations.get(&sheet.relation) else {
            return Err(FileProblem::BrokenArchive("the workbook lists a sheet that is not there"));
        };
        // Charts and dialogs have tabs, too.
        if !relation.kind.ends_with("/worksheet") {
            continue;
        }
        if sheet.is_hidden {
            summary.note(Note::HiddenSheet(sheet.name));
            continue;
        }
        if sheets.len() >= limits.sheets {
            summary.tally.sheets_left_out += 1;
            continue;
        }
        let part = directory.find(&resolved(folder, &relation.target));
        let part =
            part.ok_or(FileProblem::BrokenArchive("the workbook lists a sheet that is not there"))?;
        sheets.push(Listed { name: sheet.name.into(), part });
    }
    Ok(sheets)
}

/// Reads the table of shared texts.
fn shared_texts<R: Read + Seek>(
    reader: R,
    directory: &mut Directory,
    part: usize,
    texts: &mut Texts,
) -> Result<R, FileProblem> {
    let limits = directory.limits();
    read_part(reader, directory, part, limits, |xml| {
        let mut text = String::new();
        let (mut is_text, mut phonetic) = (false, 0_usize);
        loop {
            match xml.next()? {
                Token::Start(start) => match start.local_name().as_ref() {
                    "si" => text.clear(),
                    "t" => is_text = phonetic == 0,
                    "rPh" => phonetic += 1,
                    _ => {}
                },
                Token::End(end) => match end.local_name().as_ref() {
                    "t" => is_text = false,
                    "rPh" => phonetic = phonetic.saturating_sub(1),
                    "si" => texts.push(beginning(&sheet::plain(&text), limits))?,
                    _ => {}
                },
                Token::Text(more) if is_text && text.len() <= limits.row_bytes => {
                    text.push_str(&more)
                }
                Token::Eof => return Ok(()),
                Token::Text(_) | Token::Other => {}
            }
        }
    })
}

/// Reads which styles of cells are dates.
fn cell_styles<R: Read + Seek>(
    reader: R,
    directory: &mut Directory,
    part: usize,
    styles: &mut Styles,
) -> Result<R, FileProblem> {
    let limits = directory.limits();
    read_part(reader, directory, part, limits, |xml| {
        let mut is_within = false;
        loop {
            match xml.next()? {
                Token::Start(start) => match start.local_name().as_ref() {
                    "cellXfs" => is_within = true,
                    "xf" if is_within => styles.push(number_format(&start).0),
                    "numFmt" => {
                        let (id, code) = number_format(&start);
                        styles.define(id, &code);
                    }
                    _ => {}
                },
                Token::End(end) if end.local_name().as_ref() == "cellXfs" => is_within = false,
                Token::Eof => return Ok(()),
                _ => {}
            }
        }
    })
}

/// The number format that an element names or defines.
fn number_format(start: &BytesStart<'_>) -> (u32, String) {
    let (mut id, mut code) = (0, String::new());
    for (name, value) in attributes(start) {
        match name {
            "numFmtId" => id = value.parse().unwrap_or(0),
            "formatCode" => code = unescaped(&value),
            _ => {}
        }
    }
    (id, code)
}

/// One character more than a value may have, so that it is seen that it was cut.
fn beginning(text: &str, limits: Limits) -> &str {
    let end = text.char_indices().nth(limits.value_chars.saturating_add(1));
    &text[..end
        .map_or(text.len(), |(at, _)| at)
        .min(text.floor_char_boundary(usize::from(u16::MAX)))]
}

/// The name of a part that a relationship leads to from a folder.
fn resolved(folder: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    let whole = if target.starts_with('/') { target } else { format!("{folder}{target}") };
    let mut steps: Vec<&str> = Vec::new();
    for step in whole.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    steps.join("/")
}
