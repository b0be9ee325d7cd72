//! Which page is asked for next. The contract names the address of a list and not how it is cut into pages, so the usual
//! ways are understood: a cursor, a link, a number of pages or of people, a flag, or nothing at all. Pure.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// People that one page is asked for.
pub(super) const PAGE_PEOPLE: u64 = 500;
/// Objects within each other in which hints are looked for.
const DEPTH_MAX: usize = 3;
/// Longest cursor or link, bytes.
const TEXT_MAX: usize = 2_048;

/// What a page says of those after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// A cursor. `Some(None)`: it is named, and there is none.
    pub(super) cursor: Option<Option<String>>,
    /// A link, a cursor or a number, whichever it is.
    pub(super) next: Option<Option<String>>,
    /// Whether there are more.
    pub(super) has_more: Option<bool>,
    /// How many pages there are.
    pub(super) pages: Option<u64>,
    /// How many people there are.
    pub(super) total: Option<u64>,
}

impl Hints {
    /// Of a page. One that is no object says nothing.
    pub(super) fn of(page: &[u8]) -> Self {
        let mut hints = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(page);
        // What is no JSON is told by who reads the people.
        let _ = Within { hints: &mut hints, depth: 0 }.deserialize(&mut reader);
        hints
    }

    fn note(&mut self, name: Name, value: Scalar) {
        let text = |value: Scalar| match value {
            Scalar::Text(text) if text.is_empty() || text.len() > TEXT_MAX => None,
            Scalar::Text(text) => Some(text),
            Scalar::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let number = |value: &Scalar| match value {
            Scalar::Number(number) => Some(*number),
            Scalar::Text(text) => text.parse().ok(),
            _ => None,
        };
        match name {
            Name::Cursor => self.cursor = Some(text(value)),
            // An object under this name holds the link.
            Name::Next if value == Scalar::Other => {}
            Name::Next if matches!(value, Scalar::Bool(_)) => self.note(Name::HasMore, value),
            Name::Next => self.next = Some(text(value)),
            Name::HasMore => {
                let told = match value {
                    Scalar::Bool(told) => Some(told),
                    other => number(&other).map(|number| number > 0),
                };
                self.has_more = told.or(self.has_more);
            }
            Name::Pages => self.pages = number(&value).or(self.pages),
            Name::Total => self.total = number(&value).or(self.total),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Cursor,
    Next,
    HasMore,
    Pages,
    Total,
}

enum Key {
    Named(Name),
    /// Hints may be within.
    Wrapper,
    Other,
}

impl Key {
    fn of(key: &str) -> Self {
        let letters = key.chars().filter(char::is_ascii_alphanumeric);
        let letters: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
        Self::Named(match letters.as_str() {
            "nextcursor" | "cursornext" | "nextpagetoken" | "nexttoken" | "endcursor" => {
                Name::Cursor
            }
            "next" | "nexturl" | "nextlink" | "nextpage" | "nextpageurl" | "hydranext" => {
                Name::Next
            }
            "hasmore" | "hasnext" | "hasnextpage" | "more" => Name::HasMore,
            "pages" | "totalpages" | "lastpage" | "pagecount" | "pagescount" => Name::Pages,
            "total" | "totalcount" | "totalitems" | "totalresults" | "totalusers"
            | "hydratotalitems" => Name::Total,
            "data" | "result" | "results" | "response" | "meta" | "pagination" | "paging"
            | "pager" | "links" | "pageinfo" | "hydraview" | "view" | "cursors" => {
                return Self::Wrapper;
            }
            _ => return Self::Other,
        })
    }
}

/// Reads hints of an object, and of those within it that wrap lists.
struct Within<'h> {
    hints: &'h mut Hints,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match Key::of(&key) {
                Key::Named(name) => {
                    let value = map.next_value()?;
                    self.hints.note(name, value);
                }
                Key::Wrapper if self.depth < DEPTH_MAX => {
                    map.next_value_seed(Within { hints: &mut *self.hints, depth: self.depth + 1 })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        passed_over(seq)
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

fn passed_over<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// A plain value; what is none is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scalar {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Plain)
    }
}

struct Plain;

impl<'de> Visitor<'de> for Plain {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Scalar, A::Error> {
        passed_over(seq).map(|()| Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// Which page is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// By its number, from 1.
    Page(u64),
    /// By a cursor.
    Cursor(String),
    /// By a link, which is looked at before it is called.
    Link(String),
}

/// What is known of a page when the next is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// How it was asked for.
    pub(super) asked: &'a Ask,
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its lines.
    pub(super) lines: u64,
    /// Lines of all pages so far.
    pub(super) total: u64,
    /// Whether it says the same as the one before.
    pub(super) is_repeated: bool,
}

/// The same page comes again and again, although there should be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck;

/// The page after one; `None` when it was the last.
pub(super) fn after(seen: Seen<'_>, hints: &Hints) -> Result<Option<Ask>, Stuck> {
    let by_number = |has_more: bool| match (has_more, seen.is_repeated) {
        (false, _) => Ok(None),
        (true, true) => Err(Stuck),
        (true, false) => Ok(Some(Ask::Page(seen.number + 1))),
    };
    let unless_asked = |ask: Ask| if ask == *seen.asked { Err(Stuck) } else { Ok(Some(ask)) };
    match hints {
        Hints { cursor: Some(Some(cursor)), .. } => unless_asked(Ask::Cursor(cursor.clone())),
        Hints { next: Some(Some(next)), .. } => match next.parse::<u64>() {
            Ok(number) if number == seen.number + 1 => by_number(true),
            _ if next.contains("://") || next.starts_with(['/', '?']) => {
                unless_asked(Ask::Link(next.clone()))
            }
            _ => unless_asked(Ask::Cursor(next.clone())),
        },
        Hints { cursor: Some(None), .. } | Hints { next: Some(None), .. } => Ok(None),
        Hints { has_more: Some(has_more), .. } => by_number(*has_more && seen.lines > 0),
        Hints { pages: Some(pages), .. } => by_number(seen.number < *pages),
        Hints { total: Some(total), .. } => by_number(seen.total < *total && seen.lines > 0),
        // It says nothing: it ends with a page that is empty, or is the same once more because pages are unknown to it.
        _ => Ok((seen.lines > 0 && !seen.is_repeated).then_some(Ask::Page(seen.number + 1))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn next(page: &Value, number: u64, lines: u64, total: u64) -> Result<Option<Ask>, Stuck> {
        let asked = Ask::Page(number);
        let seen = Seen { asked: &asked, number, lines, total, is_repeated: false };
        after(seen, &Hints::of(page.to_string().as_bytes()))
    }

    #[test]
    fn the_usual_ways_to_tell_of_a_next_page_are_understood() {
        let cursor = |text: &str| Ok(Some(Ask::Cursor(text.into())));
        let link = |text: &str| Ok(Some(Ask::Link(text.into())));
        let page = |number| Ok(Some(Ask::Page(number)));
        for (told, expected) in [
            (json!({"users": [1], "next_cursor": "abc"}), cursor("abc")),
            (json!({"users": [1], "nextCursor": 77}), cursor("77")),
            (json!({"users": [1], "next_cursor": null}), Ok(None)),
            (json!({"users": [1], "next": null, "total": 99}), Ok(None)),
            (json!({"users": [1], "next": "https://a.b/c?page=2"}), link("https://a.b/c?page=2")),
            (json!({"users": [1], "links": {"next": "/c?page=2"}}), link("/c?page=2")),
            (json!({"data": {"users": [1], "pagination": {"next_page": 2}}}), page(2)),
            (json!({"users": [1], "next": "opaque"}), cursor("opaque")),
            (json!({"users": [1], "has_more": true}), page(2)),
            (json!({"users": [1], "has_more": false}), Ok(None)),
            (json!({"users": [1], "meta": {"last_page": "3"}}), page(2)),
            (json!({"users": [1], "total_pages": 1}), Ok(None)),
            (json!({"users": [1], "total": 2}), page(2)),
            (json!({"users": [1], "total": 1}), Ok(None)),
            (json!([1]), page(2)),
            (json!("text"), page(2)),
        ] {
            assert_eq!(next(&told, 1, 1, 1), expected, "{told}");
        }
        assert_eq!(next(&json!([]), 3, 0, 900), Ok(None));
        assert_eq!(next(&json!({"users": [], "total": 9}), 3, 0, 5), Ok(None), "it ends early");
    }

    #[test]
    fn a_page_that_comes_again_is_the_end_or_told() {
        let again = |told: Value, asked: Ask| {
            let seen = Seen { asked: &asked, number: 2, lines: 5, total: 10, is_repeated: true };
            after(seen, &Hints::of(told.to_string().as_bytes()))
        };
        assert_eq!(again(json!([1]), Ask::Page(2)), Ok(None), "it has no pages");
        assert_eq!(again(json!({"total": 99}), Ask::Page(2)), Err(Stuck));
        assert_eq!(again(json!({"has_more": true}), Ask::Page(2)), Err(Stuck));
        assert_eq!(again(json!({"next_cursor": "x"}), Ask::Cursor("x".into())), Err(Stuck));
    }

    proptest! {
        #[test]
        fn any_bytes_say_something_or_nothing(page in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Hints::of(&page);
        }
    }
}
