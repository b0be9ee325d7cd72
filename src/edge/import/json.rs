//! JSON: a list of people, a value a line, or a list wrapped in objects under one of the usual keys. People are objects,
//! or plain texts and numbers. Read as a stream: no more than one person is in memory.

use std::collections::HashMap;
use std::io::{Read, Seek};

use super::encoding::{Encoding, Text};
use super::lexer::{Lexer, Start};
use super::limits::Limits;
use super::meaning::Meaning;
use super::problem::FileProblem;
use super::record::{Flaw, Kind, Record, Records, Step};
use super::shape::{KEY_BYTES, Shape, WRAPPED_DEPTH, is_wrapper};
use super::summary::{Format, Note, Summary};

/// Where in the document the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Outside of every value.
    Top,
    /// In the list of people, before an element or the end; whether one came already.
    List { is_first: bool },
    /// In an object that wraps lists, behind one of its values.
    Wrapper,
}

/// Reads JSON.
pub(super) struct Json<R> {
    lexer: Lexer<R>,
    limits: Limits,
    has_begun: bool,
    /// Whether the first value wraps the list of people.
    is_wrapped: bool,
    /// Innermost last.
    places: Vec<Place>,
    /// Values met at the top.
    values: u64,
    /// Elements of the list, or lines.
    element: u64,
    /// Key and number; the first stands for plain values.
    numbers: HashMap<Box<str>, u32>,
    keys: Vec<Box<str>>,
    /// In which element a key was met last, and with it where.
    met: Vec<(u64, usize)>,
    key: String,
}

impl<R: Read + Seek> Json<R> {
    /// Looks at the document's shape, and goes back to its beginning.
    pub(super) fn open(
        mut reader: R,
        encoding: Encoding,
        limits: Limits,
        summary: &mut Summary,
    ) -> Result<Self, FileProblem> {
        summary.encoding = Some(encoding.name());
        if encoding.is_damaged {
            summary.note(Note::DamagedText);
        }
        let is_wrapped = {
            let mut lexer = Lexer::new(Text::new(&mut reader, encoding)?, &limits);
            let is_object = lexer.start().is_ok_and(|start| start == Start::Object);
            is_object && Shape::of(&mut lexer).wraps_list()
        };
        reader.rewind()?;
        Ok(Self {
            lexer: Lexer::new(Text::new(reader, encoding)?, &limits),
            limits,
            has_begun: false,
            is_wrapped,
            places: vec![Place::Top],
            values: 0,
            element: 0,
            numbers: HashMap::new(),
            keys: vec!["".into()],
            met: vec![(0, 0)],
            key: String::new(),
        })
    }
}

impl<R: Read> Json<R> {
    /// Reads on to the next person.
    fn advance(&mut self, record: &mut Record, summary: &mut Summary) -> Result<Step, FileProblem> {
        loop {
            let is_read = match self.places.last().copied() {
                Some(Place::Top) | None => match self.lexer.peek_token()? {
                    None => return Ok(Step::End),
                    Some(_) => self.top(record, summary)?,
                },
                Some(Place::List { is_first }) => self.list(is_first, record, summary)?,
                Some(Place::Wrapper) => {
                    self.wrapper()?;
                    false
                }
            };
            if is_read {
                return Ok(Step::Record);
            }
        }
    }

    /// A value outside of every other: the list, what wraps it, or a line.
    fn top(&mut self, record: &mut Record, summary: &mut Summary) -> Result<bool, FileProblem> {
        self.values += 1;
        if self.values > 1 {
            summary.format = Format::JsonLines;
            // Some write commas behind their lines.
            self.lexer.take(b',')?;
            if self.lexer.peek_token()?.is_none() {
                return Ok(false);
            }
        }
        let line = self.lexer.line();
        match self.top_value(line, record, summary) {
            Err(FileProblem::BrokenJson { reason, .. }) if self.may_go_on(line)? => {
                summary.format = Format::JsonLines;
                record.clear(line);
                record.flaw = Some(Flaw::BrokenLine(reason));
                Ok(true)
            }
            other => other,
        }
    }

    /// After a broken line: whether the next one begins a value of its own.
    fn may_go_on(&mut self, line: u64) -> Result<bool, FileProblem> {
        if self.places.len() > 1 {
            return Ok(false);
        }
        if self.lexer.line() == line {
            self.lexer.skip_line()?;
        }
        let next = self.lexer.peek()?;
        let is_next = self.lexer.line() == line + 1 && matches!(next, Some(b'{' | b'"'));
        Ok(is_next || (next.is_none() && self.values > 1))
    }

    fn top_value(
        &mut self,
        line: u64,
        record: &mut Record,
        summary: &mut Summary,
    ) -> Result<bool, FileProblem> {
        let start = self.lexer.start()?;
        if start == Start::List {
            self.lexer.next()?;
            self.places.push(Place::List { is_first: true });
            return Ok(false);
        }
        if start == Start::Object && self.is_wrapped && self.values == 1 {
            self.enter_object()?;
            return Ok(false);
        }
        self.begin(record, line);
        self.person(record, summary)?;
        Ok(true)
    }

    fn begin(&mut self, record: &mut Record, line: u64) {
        self.element += 1;
        record.clear(line);
        record.element = self.element;
    }

    fn list(
        &mut self,
        is_first: bool,
        record: &mut Record,
        summary: &mut Summary,
    ) -> Result<bool, FileProblem> {
        if self.lexer.take(b']')? {
            self.places.pop();
            return Ok(false);
        }
        if !is_first {
            self.lexer.expect(b',', "a comma or the list's end was expected")?;
        }
        if let Some(place) = self.places.last_mut() {
            *place = Place::List { is_first: false };
        }
        self.lexer.peek_token()?;
        self.begin(record, self.lexer.line());
        self.person(record, summary)?;
        Ok(true)
    }

    /// Goes on in an object that wraps lists.
    fn wrapper(&mut self) -> Result<(), FileProblem> {
        if self.lexer.take(b'}')? {
            self.places.pop();
            return Ok(());
        }
        self.lexer.expect(b',', "a comma or the object's end was expected")?;
        self.enter_or_skip()
    }

    /// Enters an object that wraps lists.
    fn enter_object(&mut self) -> Result<(), FileProblem> {
        if self.places.len() > WRAPPED_DEPTH {
            return self.lexer.skip();
        }
        self.lexer.next()?;
        if self.lexer.take(b'}')? {
            return Ok(());
        }
        self.places.push(Place::Wrapper);
        self.enter_or_skip()
    }

    /// Enters what stands under the next key, if a list of people may be in it.
    fn enter_or_skip(&mut self) -> Result<(), FileProblem> {
        self.read_key()?;
        match self.lexer.start()? {
            Start::List if is_wrapper(&self.key) => {
                self.lexer.next()?;
                self.places.push(Place::List { is_first: true });
                Ok(())
            }
            Start::Object if is_wrapper(&self.key) => self.enter_object(),
            _ => self.lexer.skip(),
        }
    }

    /// Reads a key and its colon.
    fn read_key(&mut self) -> Result<(), FileProblem> {
        self.key.clear();
        self.lexer.peek_token()?;
        self.lexer.text(&mut self.key, KEY_BYTES)?;
        self.lexer.expect(b':', "a colon was expected")
    }

    /// Reads one element.
    fn person(&mut self, record: &mut Record, summary: &mut Summary) -> Result<(), FileProblem> {
        match self.lexer.start()? {
            Start::Object => {
                if !self.object(record, summary, 0)? {
                    record.flaw = Some(Flaw::NotAPerson);
                }
            }
            Start::List => {
                self.lexer.skip()?;
                record.flaw = Some(Flaw::NotAPerson);
            }
            Start::Word => {
                self.lexer.word()?;
                record.flaw = Some(Flaw::NotAPerson);
            }
            Start::Text | Start::Number => self.value(record, 0)?,
        }
        Ok(())
    }

    /// Reads all members of an object; answers whether there are any.
    fn object(
        &mut self,
        record: &mut Record,
        summary: &mut Summary,
        depth: usize,
    ) -> Result<bool, FileProblem> {
        self.lexer.next()?;
        if self.lexer.take(b'}')? {
            return Ok(false);
        }
        loop {
            self.read_key()?;
            // What the contract calls `data` is an object; its members are columns like the others.
            if depth == 0 && self.key == "data" && self.lexer.start()? == Start::Object {
                self.object(record, summary, 1)?;
            } else {
                self.member(record, summary)?;
            }
            if self.lexer.take(b'}')? {
                return Ok(true);
            }
            self.lexer.expect(b',', "a comma or the object's end was expected")?;
        }
    }

    /// Reads the value under the key that was just read.
    fn member(&mut self, record: &mut Record, summary: &mut Summary) -> Result<(), FileProblem> {
        let Some(number) = self.number_of_key() else {
            summary.tally.columns_left_out += 1;
            return self.lexer.skip();
        };
        if record.bytes() > self.limits.row_bytes {
            record.flaw = Some(Flaw::TooLong);
            return self.lexer.skip();
        }
        let (element, before) = self.met[number as usize];
        let count = record.len();
        self.value(record, number)?;
        if element != self.element {
            self.met[number as usize] = (self.element, count);
            return Ok(());
        }
        // The same key again: the first counts, and two different people in one are nobody.
        let names_people = Meaning::of(&self.keys[number as usize]).names_people();
        let text = |at: usize| record.cells().nth(at).map(|(_, cell)| cell.text);
        if names_people && text(before) != text(count) {
            record.flaw = Some(Flaw::RepeatedKey);
        } else {
            summary.tally.values_left_out += 1;
        }
        record.truncate(count);
        Ok(())
    }

    fn number_of_key(&mut self) -> Option<u32> {
        if let Some(number) = self.numbers.get(&*self.key) {
            return Some(*number);
        }
        // One stands for plain values.
        if self.keys.len() > self.limits.columns || self.key.is_empty() {
            return None;
        }
        let number = u32::try_from(self.keys.len()).ok()?;
        self.keys.push(self.key.as_str().into());
        self.met.push((0, 0));
        self.numbers.insert(self.key.as_str().into(), number);
        Some(number)
    }

    /// Reads a value into the record.
    fn value(&mut self, record: &mut Record, column: u32) -> Result<(), FileProblem> {
        let start = self.lexer.start()?;
        let (lexer, most) = (&mut self.lexer, self.limits.row_bytes);
        let mut is_whole = true;
        record.push_with(column, |out| -> Result<Kind, FileProblem> {
            Ok(match start {
                Start::Text => {
                    is_whole = lexer.text(out, most)?;
                    Kind::Text
                }
                Start::Number => {
                    is_whole = lexer.number(out, most)?;
                    Kind::Number
                }
                Start::Word => {
                    let word = lexer.word()?;
                    out.push_str(word.map_or("", |word| if word { "true" } else { "false" }));
                    Kind::Flag
                }
                Start::Object | Start::List => {
                    lexer.skip()?;
                    Kind::Flawed(Flaw::Nested)
                }
            })
        })?;
        if !is_whole {
            record.flaw = Some(Flaw::TooLong);
        }
        Ok(())
    }
}

impl<R: Read + Send> Records for Json<R> {
    fn step(&mut self, record: &mut Record, summary: &mut Summary) -> Result<Step, FileProblem> {
        if !self.has_begun {
            self.has_begun = true;
            return Ok(Step::Table { sheet: None, is_one_of_many: false });
        }
        self.advance(record, summary)
    }

    fn keys(&self) -> Option<&[Box<str>]> {
        Some(&self.keys)
    }
}
