//! The Markdown of Telegram's apps. Only what stands within a line or a block of code; lists,
//! headings and line breaks stay as they were written.

use grammers_client::tl::enums::MessageEntity;

use super::{Composer, Style};

const FENCE: &str = "```";
/// Markers that open and close alike. Nothing inside of one opens the same one, so that reading
/// goes no deeper than this list and a link.
const MARKERS: [(&str, Style); 4] =
    [("**", Style::Bold), ("__", Style::Italic), ("~~", Style::Strike), ("||", Style::Spoiler)];

pub(super) fn parse(source: &str) -> (String, Vec<MessageEntity>) {
    let mut composer = Composer::default();
    read(source, &mut composer);
    composer.finish()
}

fn read(source: &str, composer: &mut Composer) {
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        at += special(rest, composer).unwrap_or_else(|| {
            let plain = plain_length(rest);
            composer.push(&rest[..plain]);
            plain
        });
    }
}

/// How much of a text is literal for certain: up to the next character that may be special, and the
/// first one in any case.
fn plain_length(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let next = text[first..].find(['\\', '`', '*', '_', '~', '|', '[']);
    next.map_or(text.len(), |next| first + next)
}

/// Reads what begins here if it is special; answers its length.
fn special(text: &str, composer: &mut Composer) -> Option<usize> {
    if let Some(character) = escaped(text) {
        composer.push(character.encode_utf8(&mut [0; 4]));
        return Some(1 + character.len_utf8());
    }
    if let Some(length) = code_length(text) {
        code(&text[..length], composer);
        return Some(length);
    }
    if text.starts_with('[') {
        return link(text, composer);
    }
    let (marker, style) = MARKERS.iter().find(|(marker, _)| text.starts_with(marker))?;
    let inner = &text[marker.len()..];
    let end = find(inner, marker).filter(|end| *end > 0)?;
    styled(&inner[..end], style.clone(), composer);
    Some(end + 2 * marker.len())
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

/// `[text](url)`.
fn link(text: &str, composer: &mut Composer) -> Option<usize> {
    let middle = find(&text[1..], "]")? + 1;
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
