//! XML under guard: `quick-xml` keeps one event in memory and the names of open elements. Here an event may read only
//! so many bytes, elements may lie within each other only so deep, and there are no document types, so that no entity
//! can stand for others.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use quick_xml::events::{BytesEnd, BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::super::limits::Limits;
use super::super::problem::FileProblem;

/// Lets a reader take only so many bytes before it is asked again.
struct Bounded<R> {
    inner: BufReader<R>,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(out.len());
        out[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(FileProblem::Bomb("a single tag or text of XML has no end").into());
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let available = self.inner.fill_buf()?;
        Ok(&available[..available.len().min(most)])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.inner.consume(count);
    }
}

/// One step through a document.
pub(super) enum Token<'b> {
    /// An element begins. Every one also ends.
    Start(BytesStart<'b>),
    /// An element ends.
    End(BytesEnd<'b>),
    /// Text, or a character that is written as an entity.
    Text(Cow<'b, str>),
    /// A comment or an instruction.
    Other,
    /// The document ends.
    Eof,
}

/// Reads a document.
pub(super) struct Xml<R> {
    reader: Reader<Bounded<R>>,
    buffer: Vec<u8>,
    depth: usize,
    limits: Limits,
    /// The part, for messages.
    name: String,
}

impl<R: Read> Xml<R> {
    pub(super) fn new(source: R, name: &str, limits: Limits) -> Self {
        let inner = BufReader::with_capacity(32 * 1024, source);
        let mut reader = Reader::from_reader(Bounded { inner, left: limits.xml_token_bytes });
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.allow_dangling_amp = true;
        Self { reader, buffer: Vec::new(), depth: 0, limits, name: name.to_owned() }
    }

    pub(super) fn into_inner(self) -> R {
        self.reader.into_inner().inner.into_inner()
    }

    pub(super) fn broken(&self, reason: &str) -> FileProblem {
        FileProblem::BrokenWorkbook { part: self.name.clone(), reason: reason.to_owned() }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Token<'_>, FileProblem> {
        self.buffer.clear();
        self.reader.get_mut().left = self.limits.xml_token_bytes;
        let event = match self.reader.read_event_into(&mut self.buffer) {
            Ok(event) => event,
            Err(error) => return Err(problem(&self.name, error)),
        };
        Ok(match event {
            Event::Start(start) => {
                self.depth += 1;
                if self.depth > self.limits.xml_depth {
                    return Err(FileProblem::TooDeep { limit: self.limits.xml_depth });
                }
                Token::Start(start)
            }
            Event::End(end) => {
                self.depth = self.depth.saturating_sub(1);
                Token::End(end)
            }
            Event::Text(text) => Token::Text(text.xml10_content()),
            Event::CData(text) => Token::Text(text.xml10_content()),
            Event::GeneralRef(entity) => Token::Text(character(&entity)),
            Event::DocType(_) => return Err(FileProblem::Bomb("its XML has a document type")),
            Event::Eof if self.depth > 0 => {
                let reason = "it ends in the middle".to_owned();
                return Err(FileProblem::BrokenWorkbook { part: self.name.clone(), reason });
            }
            Event::Eof => Token::Eof,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::Empty(_) => Token::Other,
        })
    }
}

/// What an entity stands for. Only XML's own and characters by number are there; others stay what they are.
fn character<'b>(entity: &BytesRef<'b>) -> Cow<'b, str> {
    if let Ok(Some(found)) = entity.resolve_char_ref() {
        return Cow::Owned(found.to_string());
    }
    match entity.xml10_content().as_ref() {
        "amp" => Cow::Borrowed("&"),
        "lt" => Cow::Borrowed("<"),
        "gt" => Cow::Borrowed(">"),
        "quot" => Cow::Borrowed("\""),
        "apos" => Cow::Borrowed("'"),
        other => Cow::Owned(format!("&{other};")),
    }
}

/// All attributes by their local names, as they are written.
pub(super) fn attributes<'s>(
    start: &'s BytesStart<'_>,
) -> impl Iterator<Item = (&'s str, Cow<'s, str>)> {
    let mut all = start.attributes();
    // Two of one name are an error that costs a search for each attribute; here the first counts.
    all.with_checks(false);
    all.flatten().map(|attribute| (attribute.key.local_name().into_inner(), attribute.value))
}

/// An attribute that may hold entities.
pub(super) fn unescaped(value: &str) -> String {
    quick_xml::escape::unescape(value).map_or_else(|_| value.to_owned(), Cow::into_owned)
}

/// A flag as XML Schema has it.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value, "1" | "true" | "on")
}

fn problem(part: &str, error: quick_xml::Error) -> FileProblem {
    match error {
        quick_xml::Error::Io(error) => match Arc::try_unwrap(error) {
            Ok(error) => error.into(),
            Err(shared) => FileProblem::Io(io::Error::new(shared.kind(), shared.to_string())),
        },
        other => FileProblem::BrokenWorkbook { part: part.to_owned(), reason: other.to_string() },
    }
}
