//! Which columns a table has: by the row of its headers, wherever that is, or by what is in them.

use std::borrow::Cow;

use super::meaning::Meaning;
use super::record::Record;
use crate::protocol::campaigns::identity::{Hint, Identifier};

/// A column of a table, or a key of JSON's objects.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Counted from zero.
    pub(super) index: u32,
    pub(super) meaning: Meaning,
    /// The header as it was found, or a name that says where the column is.
    pub(super) name: Box<str>,
}

/// All columns of one table, by index.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns(Vec<Column>);

impl Columns {
    pub(super) fn get(&self, index: u32) -> Option<&Column> {
        let is_dense = self.0.get(index as usize).filter(|column| column.index == index);
        is_dense.or_else(|| {
            let at = self.0.binary_search_by_key(&index, |column| column.index).ok()?;
            self.0.get(at)
        })
    }

    /// Adds a column, unless there are `most` already.
    pub(super) fn add(&mut self, column: Column, most: usize) -> bool {
        match self.0.binary_search_by_key(&column.index, |known| known.index) {
            Ok(_) => true,
            Err(_) if self.0.len() >= most => false,
            Err(at) => {
                self.0.insert(at, column);
                true
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Column> {
        self.0.iter()
    }

    pub(super) fn name_people(&self) -> bool {
        self.0.iter().any(|column| column.meaning.names_people())
    }

    /// Headers may repeat; keys of `data` must not.
    fn unused(&self, name: String) -> Box<str> {
        let is_used = |name: &str| self.0.iter().any(|known| *known.name == *name);
        let numbered = (2..).map(|number| format!("{name} ({number})"));
        std::iter::once(name.clone())
            .chain(numbered)
            .find(|name| !is_used(name))
            .unwrap_or_default()
            .into()
    }

    /// What the headers of a row mean.
    fn of_header(header: &Record, most: usize) -> Self {
        let mut columns = Self::default();
        for (index, cell) in header.cells() {
            let text = cell.text.trim();
            if !text.is_empty() {
                let name = columns.unused(text.chars().take(64).collect());
                columns.add(Column { index, meaning: Meaning::of(text), name }, most);
            }
        }
        columns
    }
}

/// What is known of a table before its rows are read.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) columns: Columns,
    /// How many of the first rows are no people: the header, and titles above it.
    pub(super) skipped: usize,
    /// Whether a header was found at all.
    pub(super) has_header: bool,
    /// Columns that were recognised by what is in them.
    pub(super) guessed: Vec<Box<str>>,
}

/// Finds out what a table's columns are, from its first rows.
pub(super) fn layout(sample: &[Record], most: usize) -> Layout {
    let mut layout = match find_header(sample) {
        Some(at) => Layout::below(sample, at, most),
        None => Layout::default(),
    };
    if layout.columns.name_people() {
        layout.sharpen(sample);
        return layout;
    }
    if !layout.has_header && begins_with_unknown_header(sample) {
        layout = Layout::below(sample, 0, most);
    }
    for (index, meaning) in guess(&sample[layout.skipped..]) {
        layout.recognise(index, meaning, most);
    }
    layout
}

/// Whether the first row is a header in words that are not known here: no column of people goes on in it.
fn begins_with_unknown_header(sample: &[Record]) -> bool {
    let found = guess(sample.get(1..).unwrap_or_default());
    let goes_on = |(index, meaning): &(u32, Meaning)| {
        let first = sample.first().and_then(|row| row.text(*index)).and_then(explicit);
        first.is_some_and(|first| first == *meaning || *meaning == Meaning::Identifier)
    };
    !found.is_empty() && !found.iter().any(goes_on)
}

impl Layout {
    /// The columns under the header in row `at`.
    fn below(sample: &[Record], at: usize, most: usize) -> Self {
        let columns = Columns::of_header(&sample[at], most);
        Self { columns, skipped: at + 1, has_header: true, guessed: Vec::new() }
    }

    /// Gives a column the meaning that its values have.
    fn recognise(&mut self, index: u32, meaning: Meaning, most: usize) {
        let known = self.columns.get(index).map(|column| column.name.clone());
        let name = known.unwrap_or_else(|| place_name(index));
        self.guessed.push(name.clone());
        self.columns.0.retain(|column| column.index != index);
        self.columns.add(Column { index, meaning, name }, most);
    }

    /// A column like `Контакт` may hold whatever names a person, and digits alone are then an id. Where nearly all
    /// are too long for an id, they are phones. The contract's own name keeps its own meaning.
    fn sharpen(&mut self, sample: &[Record]) {
        let phones = guess(&sample[self.skipped..]);
        let phones = phones.into_iter().filter(|(_, meaning)| *meaning == Meaning::Phone);
        for (index, meaning) in phones {
            let is_open = |column: &Column| {
                column.meaning == Meaning::Identifier && &*column.name != Meaning::Identifier.name()
            };
            if self.columns.get(index).is_some_and(is_open) {
                self.recognise(index, meaning, usize::MAX);
            }
        }
    }
}

/// What a column without a header is called.
pub(super) fn place_name(index: u32) -> Box<str> {
    format!("column_{}", u64::from(index) + 1).into_boxed_str()
}

/// The first row with a known header, if nobody is named above it.
fn find_header(sample: &[Record]) -> Option<usize> {
    const TITLES_MAX: usize = 20;
    let meanings = |row: &Record| -> Vec<Meaning> {
        let known = row.cells().map(|(_, cell)| Meaning::of(cell.text));
        known.filter(|meaning| *meaning != Meaning::Data).collect()
    };
    let rows = sample.iter().take(TITLES_MAX);
    let rows = rows.take_while(|row| !row.cells().any(|(_, cell)| explicit(cell.text).is_some()));
    let found: Vec<(usize, Vec<Meaning>)> = rows.map(meanings).enumerate().collect();
    let names_people = |known: &[Meaning]| known.iter().any(|meaning| meaning.names_people());
    let best = found.iter().find(|(_, known)| names_people(known));
    // A list of people by their names alone has no such header; then any known one will do.
    let at = best.or_else(|| found.iter().find(|(_, known)| !known.is_empty()))?.0;
    let filled =
        |row: &Record| row.cells().filter(|(_, cell)| !cell.text.trim().is_empty()).count();
    let is_single = filled(&sample[at]) == 1 && sample[at + 1..].iter().any(|row| filled(row) > 1);
    // A title such as `Контакты` above a table of several columns is no header.
    let better =
        found.iter().skip(at + 1).find(|(_, known)| names_people(known)).map(|(at, _)| *at);
    if is_single { better.or(Some(at)) } else { Some(at) }
}

/// Which columns hold people, judged by most of their values.
fn guess(rows: &[Record]) -> Vec<(u32, Meaning)> {
    let mut counts: Vec<(u32, usize, [usize; 3])> = Vec::new();
    const KINDS: [Meaning; 3] = [Meaning::Username, Meaning::Phone, Meaning::UserId];
    for (index, cell) in
        rows.iter().flat_map(Record::cells).filter(|(_, cell)| !cell.text.trim().is_empty())
    {
        let at = counts.iter().position(|(known, ..)| *known == index).unwrap_or_else(|| {
            counts.push((index, 0, [0; 3]));
            counts.len() - 1
        });
        counts[at].1 += 1;
        if let Some(kind) =
            explicit(cell.text).and_then(|found| KINDS.iter().position(|kind| *kind == found))
        {
            counts[at].2[kind] += 1;
        }
    }
    let mut found = Vec::new();
    for (index, all, kinds) in counts {
        let sum: usize = kinds.iter().sum();
        if sum * 2 <= all {
            continue;
        }
        let pure = kinds.iter().position(|count| *count * 5 >= sum * 4);
        found.push((index, pure.map_or(Meaning::Identifier, |at| KINDS[at])));
    }
    found
}

/// What a value certainly is, without any header: `@name` or a link, a phone number with its marks or its length,
/// an id. Phones have eleven digits or more, which no id has yet.
pub(super) fn explicit(text: &str) -> Option<Meaning> {
    let text = text.trim().trim_start_matches('\'');
    if text.is_empty() || text.len() > 128 {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let is_link = ["t.me/", "telegram.me/", "tg://", "https://t", "http://t"]
        .iter()
        .any(|start| lower.starts_with(start));
    if text.starts_with('@') || is_link {
        return Identifier::parse(text, Hint::Any, None).ok().map(|found| match found {
            Identifier::Id(_) => Meaning::UserId,
            Identifier::Phone(_) => Meaning::Phone,
            Identifier::Username(_) => Meaning::Username,
        });
    }
    let exact = exact_number(text);
    let digits = exact.chars().filter(char::is_ascii_digit).count();
    let is_plain = exact.bytes().all(|byte| byte.is_ascii_digit());
    let may_be_phone = |c: char| c.is_ascii_digit() || " +-().\u{a0}".contains(c);
    match (is_plain, exact.chars().all(may_be_phone)) {
        (true, _) if (5..=10).contains(&digits) => Some(Meaning::UserId),
        (_, true) if (11..=15).contains(&digits) => Some(Meaning::Phone),
        (false, true) if (7..=15).contains(&digits) && exact.starts_with('+') => {
            Some(Meaning::Phone)
        }
        (false, true) if digits == 10 => Some(Meaning::Phone),
        _ => None,
    }
}

/// A number as programs write it (`7.9991234567E10`, `79991234567.0`) in plain digits, when no digit is lost.
///
/// A number in a cell or in JSON is written with the fewest digits that make it exact, so that trailing zeros are
/// missing from it: `7.999123456E10` is +79991234560. What a person saw in a narrow column and copied has at most
/// six digits; with so few it cannot be told from such a copy, and stays as it is, to be refused as having lost
/// digits.
pub(super) fn exact_number(text: &str) -> Cow<'_, str> {
    const DIGITS_MIN: usize = 7;
    let as_is = Cow::Borrowed(text);
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        let plain = text.strip_suffix(".0").filter(|whole| !whole.is_empty());
        return plain
            .filter(|whole| whole.bytes().all(|byte| byte.is_ascii_digit()))
            .map_or(as_is, Cow::Borrowed);
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let places = exponent.strip_prefix('+').unwrap_or(exponent).parse::<usize>();
    match places {
        Ok(places)
            if whole.len() == 1
                && all_digits(whole)
                && all_digits(fraction)
                && whole.len() + fraction.len() >= DIGITS_MIN
                && (fraction.len()..=17).contains(&places) =>
        {
            Cow::Owned(format!("{whole}{fraction}{}", "0".repeat(places - fraction.len())))
        }
        _ => as_is,
    }
}
