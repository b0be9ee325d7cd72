//! The Markdown of Telegram's apps. Only what stands within a line or a block of code; lists,
//! headings and line breaks stay as they were written.

use grammers_client::tl::enums::MessageEntity;

use super::{Composer, Style};

const FENCE: &str = "```";
/// Markers that open and close alike. Nothing inside of one opens the same one, so that reading
/// goes no deeper than this list and a link.
const MARKERS: [(&str, Style); 4] =
    [("**", Style::Bold), ("__", Style::Italic), ("~~", Style::Strike), ("||", Style::Spoiler)];

/// Where a link's text ends.
const LINK_END: &str = "]";

pub(super) fn parse(source: &str) -> (String, Vec<MessageEntity>) {
    let mut composer = Composer::default();
    read(source, &mut composer);
    composer.finish()
}

fn read(source: &str, composer: &mut Composer) {
    let mut ends = Ends { source, known: Vec::new() };
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        at += special(at, &mut ends, composer).unwrap_or_else(|| {
            let plain = plain_length(rest);
            composer.push(&rest[..plain]);
            plain
        });
    }
}

/// Where markers stand that were looked for: without this, reading would take the square of a text
/// that opens much and closes nothing.
struct Ends<'a> {
    source: &'a str,
    /// A marker, and where it stands next after where it was looked for last.
    known: Vec<(&'static str, Option<usize>)>,
}

impl Ends<'_> {
    /// Where `marker` stands first at `from` or later, which never goes back.
    fn find(&mut self, from: usize, marker: &'static str) -> Option<usize> {
        let known = self.known.iter().position(|(known, _)| *known == marker);
        match known.map(|index| self.known[index].1) {
            Some(Some(end)) if end >= from => Some(end),
            Some(None) => None,
            _ => {
                let end = find(&self.source[from..], marker).map(|end| from + end);
                self.known.retain(|(known, _)| *known != marker);
                self.known.push((marker, end));
                end
            }
        }
    }
}

/// How much of a text is literal for certain: up to the next character that may be special, and the
/// first one in any case.
fn plain_length(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let next = text[first..].find(['\\', '`', '*', '_', '~', '|', '[']);
    next.map_or(text.len(), |next| first + next)
}

/// Reads what begins at `at` if it is special; answers its length.
fn special(at: usize, ends: &mut Ends<'_>, composer: &mut Composer) -> Option<usize> {
    let text = &ends.source[at..];
    if let Some(character) = escaped(text) {
        composer.push(character.encode_utf8(&mut [0; 4]));
        return Some(1 + character.len_utf8());
    }
    if let Some(length) = code_length(text) {
        code(&text[..length], composer);
        return Some(length);
    }
    if text.starts_with('[') {
        let middle = ends.find(at + 1, LINK_END)? - at;
        return link(text, middle, composer);
    }
    let (marker, style) = MARKERS.iter().find(|(marker, _)| text.starts_with(marker))?;
    let begin = at + marker.len();
    let end = ends.find(begin, marker).filter(|end| *end > begin)?;
    styled(&ends.source[begin..end], style.clone(), composer);
    Some(end + marker.len() - at)
}

fn styled(inner: &str, style: Style, composer: &mut Composer) {
    let offset = composer.length;
    read(inner, composer);
    composer.style(style, offset);
}

/// The punctuation after a backslash.
fn escaped(text: &str) -> Option<char> {
    text.strip_prefix('\\')?.chars().next().filter(char::is_ascii_punctuation)
}

/// The length of the code that begins here, with its marks, if it ends anywhere.
fn code_length(text: &str) -> Option<usize> {
    if !text.starts_with('`') {
        return None;
    }
    let mark = if text.starts_with(FENCE) { FENCE } else { "`" };
    let end = text[mark.len()..].find(mark).filter(|end| *end > 0)?;
    Some(end + 2 * mark.len())
}

fn code(text: &str, composer: &mut Composer) {
    let offset = composer.length;
    let block = text.strip_prefix(FENCE).and_then(|text| text.strip_suffix(FENCE));
    let Some(block) = block else {
        composer.push(text.trim_matches('`'));
        return composer.style(Style::Code, offset);
    };
    let (language, body) = match block.split_once('\n') {
        Some((first, body)) if !first.contains(char::is_whitespace) => (first, body),
        _ => ("", block),
    };
    composer.push(body.strip_suffix('\n').unwrap_or(body));
    composer.style(Style::Pre { language: language.to_owned() }, offset);
}

/// `[text](url)`, whose text ends at `middle`.
fn link(text: &str, middle: usize, composer: &mut Composer) -> Option<usize> {
    let address = text[middle + 1..].strip_prefix('(')?;
    let end = address.find(')').filter(|end| *end > 0)?;
    let url = &address[..end];
    if url.contains(char::is_whitespace) {
        return None;
    }
    styled(&text[1..middle], Style::Link { url: url.to_owned() }, composer);
    Some(middle + 2 + end + 1)
}

/// Where `marker` stands first, outside of code and not escaped.
fn find(text: &str, marker: &str) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(marker) {
            return Some(at);
        }
        at += match (escaped(rest), code_length(rest)) {
            (Some(character), _) => 1 + character.len_utf8(),
            (None, Some(length)) => length,
            (None, None) => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    None
}
