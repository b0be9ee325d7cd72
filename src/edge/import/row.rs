//! From a record to a person: which column names them, what is known of them beside it, or why it is rejected.

use std::borrow::Cow;

use super::columns::{Column, Columns, exact_number};
use super::limits::Limits;
use super::meaning::Meaning;
use super::record::{Cell, Flaw, Kind, Record};
use super::summary::Summary;
use crate::protocol::campaigns::identity::{Country, Hint, Identifier};
use crate::protocol::campaigns::target::Details;
use crate::protocol::campaigns::zone::Zone;

/// A person of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Physical line in the file, or row in the sheet, counted from one.
    pub line: u64,
    /// Who it is.
    pub identifier: Identifier,
    /// Telegram's id, where a column of its own has it.
    pub user_id: Option<i64>,
    /// What else is known. A username or phone that is the identifier itself is not repeated.
    pub details: Details,
}

/// A row that names nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Physical line in the file, or row in the sheet, counted from one.
    pub line: u64,
    /// What stood there, cut to [`Limits::rejected_chars`].
    pub value: String,
    /// Why, for the person who sent the file.
    pub reason: String,
}

/// What a record is.
pub(super) enum Outcome {
    Person(Box<Row>),
    Rejected { value: String, reason: String },
}

/// The order in which columns are asked who it is. An identifier was meant as one; a username is found by anybody; a
/// phone number needs a contact, which is dear; an id alone is known only to accounts that have met the person, and a
/// column called `id` may count the lines of somebody's table.
const ORDER: [Meaning; 4] =
    [Meaning::Identifier, Meaning::Username, Meaning::Phone, Meaning::UserId];

/// The cells of a record that have a meaning; the first that holds something counts.
#[derive(Default)]
struct Found<'r> {
    people: [Option<Cell<'r>>; ORDER.len()],
    first_name: Option<Cell<'r>>,
    last_name: Option<Cell<'r>>,
    zone: Option<Cell<'r>>,
}

impl<'r> Found<'r> {
    fn place(&mut self, meaning: Meaning) -> Option<&mut Option<Cell<'r>>> {
        match meaning {
            Meaning::Identifier => Some(&mut self.people[0]),
            Meaning::Username => Some(&mut self.people[1]),
            Meaning::Phone => Some(&mut self.people[2]),
            Meaning::UserId => Some(&mut self.people[3]),
            Meaning::FirstName => Some(&mut self.first_name),
            Meaning::LastName => Some(&mut self.last_name),
            Meaning::Zone => Some(&mut self.zone),
            Meaning::Data => None,
        }
    }
}

/// Reads records of one table.
pub(super) struct Reading<'a> {
    pub(super) columns: &'a Columns,
    pub(super) limits: &'a Limits,
    pub(super) country: Option<Country>,
    pub(super) ignores_zones: bool,
    pub(super) summary: &'a mut Summary,
}

impl Reading<'_> {
    /// Who a record that is not blank names.
    pub(super) fn person(&mut self, record: &Record) -> Outcome {
        if let Some(flaw) = record.flaw {
            let value = record.cells().next().map_or("", |(_, cell)| cell.text);
            return self.rejected(value, flaw.reason().to_owned());
        }
        let mut found = Found::default();
        let mut data = String::new();
        for (index, cell) in record.cells() {
            let Some(column) = self.columns.get(index) else { continue };
            if cell.text.trim().is_empty() && !matches!(cell.kind, Kind::Flawed(_)) {
                continue;
            }
            match found.place(column.meaning) {
                Some(place) if place.is_none() => *place = Some(cell),
                _ => self.keep(&mut data, column, cell),
            }
        }
        if !data.is_empty() {
            data.push('}');
        }
        self.chosen(&found, data)
    }

    fn chosen(&mut self, found: &Found, data: String) -> Outcome {
        let mut refused: Option<(String, String)> = None;
        let mut chosen = None;
        for (meaning, cell) in ORDER.iter().zip(&found.people) {
            let (Some(cell), Some(hint)) = (cell, meaning.hint()) else { continue };
            match self.identifier(*cell, hint) {
                Ok(identifier) => {
                    chosen = Some(identifier);
                    break;
                }
                Err(reason) => {
                    refused.get_or_insert((cell.text.to_owned(), reason));
                }
            }
        }
        let Some(identifier) = chosen else {
            let (value, reason) = refused.unwrap_or_else(|| {
                (String::new(), "no column of this row names a person".to_owned())
            });
            return self.rejected(&value, reason);
        };
        // Whoever says where somebody is means that they are not contacted at night there.
        let zone = match found.zone.filter(|_| !self.ignores_zones).map(zone_of).transpose() {
            Ok(zone) => zone,
            Err((value, reason)) => return self.rejected(&value, reason),
        };
        self.summary.tally.other_identifier += u64::from(refused.is_some());
        let details = Details { zone, ..self.details(found, &identifier, data) };
        let user_id = found.people[3].and_then(|cell| self.identifier(cell, Hint::Id).ok());
        let user_id =
            user_id.and_then(|id| if let Identifier::Id(id) = id { Some(id) } else { None });
        Outcome::Person(Box::new(Row { line: 0, identifier, user_id, details }))
    }

    fn identifier(&self, cell: Cell, hint: Hint) -> Result<Identifier, String> {
        if let Kind::Flawed(flaw) = cell.kind {
            return Err(match flaw {
                Flaw::ErrorCell => format!("{}: {}", flaw.reason(), cell.text),
                _ => flaw.reason().to_owned(),
            });
        }
        let text = unwrapped(cell);
        Identifier::parse(&text, hint, self.country).map_err(|error| error.to_string())
    }

    fn details(&mut self, found: &Found, identifier: &Identifier, data: String) -> Details {
        let username = self.detail(found.people[1], Hint::Username, identifier);
        let phone = self.detail(found.people[2], Hint::Phone, identifier);
        let username = username.and_then(|known| match known {
            Identifier::Username(name) => Some(name),
            _ => None,
        });
        let phone = phone.filter(|known| matches!(known, Identifier::Phone(_)));
        Details {
            username,
            first_name: self.value(found.first_name),
            last_name: self.value(found.last_name),
            phone: phone.map(|known| known.to_string().into_boxed_str()),
            zone: None,
            data: (!data.is_empty()).then(|| data.into_boxed_str()),
        }
    }

    /// A second way to name the person, unless it says the same as the first.
    fn detail(
        &mut self,
        cell: Option<Cell>,
        hint: Hint,
        chosen: &Identifier,
    ) -> Option<Identifier> {
        let found = self.identifier(cell?, hint);
        self.summary.tally.details_unusable += u64::from(found.is_err());
        found.ok().filter(|known| known != chosen)
    }

    /// A name, as it stands.
    fn value(&mut self, cell: Option<Cell>) -> Option<Box<str>> {
        let cell = cell?;
        if matches!(cell.kind, Kind::Flawed(_)) {
            return None;
        }
        Some(self.cut(cell.text.trim()).into())
    }

    /// The beginning of a value that is not too long.
    fn cut<'t>(&mut self, text: &'t str) -> &'t str {
        let end = text.char_indices().nth(self.limits.value_chars).map(|(at, _)| at);
        self.summary.tally.values_cut += u64::from(end.is_some());
        &text[..end.unwrap_or(text.len())]
    }

    /// Adds a value to the JSON object of everything else, if it fits.
    fn keep(&mut self, data: &mut String, column: &Column, cell: Cell) {
        let before = data.len();
        if matches!(cell.kind, Kind::Flawed(_)) {
            self.summary.tally.values_left_out +=
                u64::from(cell.kind == Kind::Flawed(Flaw::Nested));
            return;
        }
        let text = unwrapped(cell);
        let text = self.cut(text.trim());
        data.push(if before == 0 { '{' } else { ',' });
        write_json(data, &column.name);
        data.push(':');
        let is_bare =
            cell.kind != Kind::Text && serde_json::from_str::<serde_json::Value>(text).is_ok();
        if is_bare {
            data.push_str(text);
        } else {
            write_json(data, text);
        }
        if data.len() >= self.limits.data_bytes {
            data.truncate(before);
            self.summary.tally.values_left_out += 1;
        }
    }

    fn rejected(&self, value: &str, reason: String) -> Outcome {
        Outcome::Rejected {
            value: value.trim().chars().take(self.limits.rejected_chars).collect(),
            reason,
        }
    }
}

/// The IANA name of the time zone in a cell, or what stood there and why it is none.
fn zone_of(cell: Cell) -> Result<Box<str>, (String, String)> {
    let text = unwrapped(cell);
    if let Kind::Flawed(flaw) = cell.kind {
        return Err((text.into_owned(), flaw.reason().to_owned()));
    }
    let zone = Zone::named(&text).map(|zone| zone.name().into());
    zone.map_err(|error| (text.into_owned(), error.to_string()))
}

/// What a cell says: a number without the spelling of programs, a text without the formula around it that keeps
/// spreadsheets from changing it (`="79991234567"`).
fn unwrapped<'r>(cell: Cell<'r>) -> Cow<'r, str> {
    let text = cell.text.trim();
    if cell.kind == Kind::Number {
        return exact_number(text);
    }
    let formula = text.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"'));
    formula.filter(|inner| !inner.contains('"')).unwrap_or(text).into()
}

fn write_json(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(json) => out.push_str(&json),
        // Writing a text to memory does not fail.
        Err(_) => out.push_str("\"\""),
    }
}
