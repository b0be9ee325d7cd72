//! Text of strangers in a form that is safe to show. Chat titles, names, errors of servers and replies
//! of brokers may hold anything: line breaks that forge a line of a log, escape sequences that a terminal
//! obeys, marks that turn the order of what is read around, characters that cannot be seen.
//!
//! One rule everywhere: what the standard library's `char::escape_debug` shows as itself is shown as itself
//! (letters, digits, signs, emoji), and everything else as an escape. That covers control characters
//! (C0, DEL, C1), line and paragraph separators, bidirectional marks and overrides, characters without a
//! width, marks that combine with what stands before them, private and unassigned code points. Quotes and
//! backslashes are no danger and stay.

use std::fmt::{self, Display, Write};
use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

/// Whether a character is shown as itself.
pub fn is_printable(character: char) -> bool {
    match character {
        ' '..='~' => true,
        _ => character.escape_debug().len() == 1,
    }
}

/// Shows a value on one line.
pub struct Printable<T>(pub T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Shows a value whose own line breaks stay. Each further line is indented, so that none can be taken
/// for one that was written by somebody else.
pub struct PrintableLines<T>(pub T);

impl<T: Display> Display for PrintableLines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.0.to_string().split('\n').enumerate() {
            match number {
                0 => {}
                _ if line.starts_with("  ") => f.write_char('\n')?,
                _ => f.write_str("\n  ")?,
            }
            write!(Escaping(&mut *f), "{line}")?;
        }
        Ok(())
    }
}

/// Passes on what is printable, and the rest as escapes.
pub struct Escaping<'w, W: ?Sized>(pub &'w mut W);

impl<W: Write + ?Sized> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|character| !is_printable(character)) {
            let (plain, strange) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut characters = strange.chars();
            for escape in characters.next().into_iter().flat_map(char::escape_debug) {
                self.0.write_char(escape)?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

/// A value as JSON on one line, of which every character is printable. It means the same: what is not
/// printable stands as `\uXXXX` (RFC 8259, section 7).
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, PrintableJson))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Writes JSON like [`json`].
pub struct PrintableJson;

impl Formatter for PrintableJson {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|character| !is_printable(character)) {
            let (plain, strange) = rest.split_at(at);
            CompactFormatter.write_string_fragment(writer, plain)?;
            let mut characters = strange.chars();
            for unit in
                characters.next().into_iter().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec())
            {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = characters.as_str();
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One of each kind that must not come through.
    const STRANGE: &str = "\0\u{7}\u{8}\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{34f}\u{61c}\u{180e}\u{200b}\
        \u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{feff}\u{fff9}\u{e0001}";

    #[test]
    fn strangers_reach_nobody_raw_and_words_stay_words() {
        let words = "Привет, 世界! \"é\" \\ 😀 €5 'x'";
        assert_eq!(Printable(words).to_string(), words);
        for strange in STRANGE.chars() {
            assert!(!is_printable(strange), "{strange:?}");
        }
        let forged = Printable("a\n2026-11-29 INFO all is well\u{1b}[2J\u{202e}b").to_string();
        assert_eq!(forged, "a\\n2026-11-29 INFO all is well\\u{1b}[2J\\u{202e}b");
        let lines = PrintableLines("2 problems\n  - one\r\ntelewarden: forged").to_string();
        assert_eq!(lines, "2 problems\n  - one\\r\n  telewarden: forged");
    }

    fn anything() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop_oneof![any::<char>(), prop::sample::select(STRANGE.chars().collect::<Vec<_>>(),)],
            0..40,
        )
        .prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn whatever_it_is_every_character_shown_is_printable(text in anything()) {
            let line = Printable(&text).to_string();
            prop_assert!(line.chars().all(is_printable), "{line:?}");
            prop_assert_eq!(text.chars().all(is_printable), line == text);
            for line in PrintableLines(&text).to_string().split('\n') {
                prop_assert!(line.chars().all(is_printable), "{line:?}");
            }
        }

        #[test]
        fn json_is_printable_and_means_the_same(text in anything(), key in anything()) {
            let value = serde_json::json!({ (key): [text, 1, null] });
            let line = json(&value).unwrap();
            prop_assert!(line.chars().all(is_printable), "{line:?}");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        }
    }
}
