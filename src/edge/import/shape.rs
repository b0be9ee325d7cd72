//! The shape of a JSON document: whether its first object is a person or wraps a list of them.

use std::io::Read;

use super::lexer::{Lexer, Start};
use super::meaning::Meaning;
use super::problem::FileProblem;

/// Keys that say that people are listed under them, as letters and digits alone.
const PEOPLE: &[&str] = &[
    "users",
    "targets",
    "members",
    "participants",
    "contacts",
    "people",
    "persons",
    "subscribers",
    "recipients",
    "accounts",
    "usernames",
    "phones",
    "ids",
    "identifiers",
    "leads",
    "clients",
    "customers",
    "пользователи",
    "участники",
    "контакты",
    "клиенты",
    "получатели",
    "подписчики",
];
/// Keys under which anything is listed, people too.
const ANYTHING: &[&str] = &[
    "items",
    "data",
    "results",
    "result",
    "list",
    "rows",
    "records",
    "response",
    "payload",
    "body",
    "content",
    "entries",
    "values",
    "данные",
];
/// Bytes of a key; longer ones are no headers.
pub(super) const KEY_BYTES: usize = 64;
/// Objects within each other in which the list is looked for.
pub(super) const WRAPPED_DEPTH: usize = 8;

/// Whether a key is one of those under which exports keep their people.
pub(super) fn is_wrapper(key: &str) -> bool {
    is_one_of(PEOPLE, key) || is_one_of(ANYTHING, key)
}

fn is_one_of(names: &[&str], key: &str) -> bool {
    let letters = key.chars().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric());
    names.contains(&&*letters.collect::<String>())
}

/// What the first object of a document has, as far as it says whether that is a person or wraps a list of them.
#[derive(Default)]
pub(super) struct Shape {
    /// A list of objects under a key of people, or of anything beside nobody's name.
    has_list_of_objects: bool,
    has_list: bool,
    has_objects: bool,
    /// Something that may be a person's, or the account that exported the list.
    may_be_named: bool,
    /// A username, a phone or an identifier.
    is_named: bool,
}

impl Shape {
    /// Reads an object, up to its end or to what decides. What is broken is told when it is read for its people.
    pub(super) fn of<R: Read>(lexer: &mut Lexer<R>) -> Self {
        let mut shape = Self::default();
        let _ = shape.read(lexer, 0);
        shape
    }

    /// A list of objects is what people are exported in; a list of plain values may also be several phones of one.
    pub(super) fn wraps_list(&self) -> bool {
        self.has_list_of_objects || (self.has_list && !self.has_objects && !self.may_be_named)
    }

    /// Answers whether the object was read to its end; else it is decided.
    fn read<R: Read>(&mut self, lexer: &mut Lexer<R>, depth: usize) -> Result<bool, FileProblem> {
        lexer.next()?;
        if lexer.take(b'}')? {
            return Ok(true);
        }
        loop {
            let mut key = String::new();
            lexer.peek_token()?;
            lexer.text(&mut key, KEY_BYTES)?;
            lexer.expect(b':', "a colon was expected")?;
            if !self.member(lexer, &key, depth)? {
                return Ok(false);
            }
            if lexer.take(b'}')? {
                return Ok(true);
            }
            lexer.expect(b',', "a comma or the object's end was expected")?;
        }
    }

    /// Reads the value under a key; answers whether to read on.
    fn member<R: Read>(
        &mut self,
        lexer: &mut Lexer<R>,
        key: &str,
        depth: usize,
    ) -> Result<bool, FileProblem> {
        match lexer.start()? {
            Start::List if is_wrapper(key) => {
                self.has_list = true;
                self.has_objects = lexer.begins_list_of_objects()?;
                self.has_list_of_objects =
                    self.has_objects && (is_one_of(PEOPLE, key) || !self.is_named);
                return Ok(!self.has_objects);
            }
            Start::Object if is_wrapper(key) && depth < WRAPPED_DEPTH => {
                return self.read(lexer, depth + 1);
            }
            Start::Text | Start::Number if depth == 0 => {
                let meaning = Meaning::of(key);
                let is_exact = key == Meaning::Identifier.name();
                self.is_named |= is_exact || matches!(meaning, Meaning::Username | Meaning::Phone);
                self.may_be_named |= self.is_named || meaning == Meaning::Identifier;
            }
            _ => {}
        }
        lexer.skip()?;
        Ok(true)
    }
}
