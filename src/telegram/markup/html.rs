//! The Bot API's HTML (<https://core.telegram.org/bots/api#html-style>).

use grammers_client::tl::enums::MessageEntity;

use super::{Composer, MarkupError, Style};

/// Longest character reference, from `&` to `;`.
const REFERENCE_MAX: usize = 10;

/// A tag that was begun.
struct Open<'a> {
    name: &'a str,
    /// `None` for what only adds to its parent.
    style: Option<Style>,
    offset: i32,
}

pub(super) fn parse(source: &str) -> Result<(String, Vec<MessageEntity>), MarkupError> {
    let mut composer = Composer::default();
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        match rest.as_bytes()[0] {
            b'<' => {
                let end = rest.find('>').ok_or(MarkupError::OpenTag(at))?;
                let tag = &rest[1..end];
                match tag.strip_prefix('/') {
                    Some(name) => close(name.trim(), at, &mut open, &mut composer)?,
                    None => begin(tag, at, &mut open, &composer)?,
                }
                at += end + 1;
            }
            b'&' => {
                let (text, length) = reference(rest);
                composer.push(text.encode_utf8(&mut [0; 4]));
                at += length;
            }
            _ => {
                let end = rest.find(['<', '&']).unwrap_or(rest.len());
                composer.push(&rest[..end]);
                at += end;
            }
        }
    }
    if open.is_empty() { Ok(composer.finish()) } else { Err(MarkupError::Unclosed(open.len())) }
}

fn begin<'a>(
    tag: &'a str,
    at: usize,
    open: &mut Vec<Open<'a>>,
    composer: &Composer,
) -> Result<(), MarkupError> {
    let name_end = tag.find(|c: char| c.is_ascii_whitespace()).unwrap_or(tag.len());
    let (name, attributes) = tag.split_at(name_end);
    let attribute = |wanted| attribute(attributes, wanted);
    let offset = composer.length;
    let style = match name.to_ascii_lowercase().as_str() {
        "b" | "strong" => Some(Style::Bold),
        "i" | "em" => Some(Style::Italic),
        "u" | "ins" => Some(Style::Underline),
        "s" | "strike" | "del" => Some(Style::Strike),
        "tg-spoiler" => Some(Style::Spoiler),
        "span" if attribute("class").as_deref() == Some("tg-spoiler") => Some(Style::Spoiler),
        "pre" => Some(Style::Pre { language: String::new() }),
        "code" => match open.last_mut() {
            // The way to write the language of a block.
            Some(Open { style: Some(Style::Pre { language }), offset: begun, .. })
                if *begun == offset && language.is_empty() =>
            {
                let class = attribute("class").unwrap_or_default();
                *language = class.strip_prefix("language-").unwrap_or_default().to_owned();
                None
            }
            _ => Some(Style::Code),
        },
        "a" => Some(Style::Link { url: attribute("href").unwrap_or_default() }),
        "blockquote" => Some(Style::Quote { collapsed: attribute("expandable").is_some() }),
        _ => return Err(MarkupError::UnknownTag(at)),
    };
    // A link to nowhere is just text.
    let style = style.filter(|style| !matches!(style, Style::Link { url } if url.is_empty()));
    open.push(Open { name, style, offset });
    Ok(())
}

fn close(
    name: &str,
    at: usize,
    open: &mut Vec<Open<'_>>,
    composer: &mut Composer,
) -> Result<(), MarkupError> {
    let begun = open.pop().filter(|begun| begun.name.eq_ignore_ascii_case(name));
    let begun = begun.ok_or(MarkupError::WrongEnd(at))?;
    if let Some(style) = begun.style {
        composer.style(style, begun.offset);
    }
    Ok(())
}

/// The value of an attribute: quoted, bare, or empty.
fn attribute(mut rest: &str, wanted: &str) -> Option<String> {
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let ends_name = |c: char| c == '=' || c.is_ascii_whitespace();
        let (name, after) = rest.split_at(rest.find(ends_name).unwrap_or(rest.len()));
        let (value, after) = match after.strip_prefix('=') {
            None => ("", after),
            Some(after) => match after.chars().next() {
                Some(quote @ ('"' | '\'')) => after[1..].split_once(quote).unwrap_or((after, "")),
                _ => {
                    let blank = |c: char| c.is_ascii_whitespace();
                    after.split_at(after.find(blank).unwrap_or(after.len()))
                }
            },
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(decoded(value));
        }
        rest = after;
    }
}

fn decoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        let (character, length) = reference(&rest[at..]);
        text.push(character);
        rest = &rest[at + length..];
    }
    text + rest
}

/// The character that a text beginning with `&` stands for, and how many bytes that takes. What is
/// no reference is an ampersand.
fn reference(text: &str) -> (char, usize) {
    const LITERAL: (char, usize) = ('&', 1);
    let head = text.as_bytes().iter().take(REFERENCE_MAX);
    let Some(end) = head.into_iter().position(|byte| *byte == b';') else { return LITERAL };
    let Some(name) = text.get(1..end) else { return LITERAL };
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
    let character = match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => match name.strip_prefix('#') {
            Some(hex) if hex.starts_with(['x', 'X']) => number(&hex[1..], 16),
            Some(decimal) => number(decimal, 10),
            None => None,
        }
        .and_then(char::from_u32)
        .filter(|character| *character != '\0'),
    };
    character.map_or(LITERAL, |character| (character, end + 1))
}
