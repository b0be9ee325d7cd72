//! Formatted texts: from HTML or Markdown to plain text and the entities that Telegram takes
//! (<https://core.telegram.org/api/entities>). Pure; any text is either understood or refused.
//!
//! Our own rather than the library's: its readers panic on some links and lose line breaks.

mod html;
mod markdown;
#[cfg(test)]
mod tests;

use grammers_client::tl::{enums::MessageEntity, types};

use crate::protocol::messages::message::MARKED_BYTES_MAX;
use crate::protocol::messages::outgoing::ParseMode;

/// Longest source that is read, bytes.
const SOURCE_MAX: usize = MARKED_BYTES_MAX;

/// Why a text was refused. The text is never quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkupError {
    /// Far too long.
    #[error("the text is longer than {SOURCE_MAX} bytes with its markup")]
    TooLong,
    /// A tag that Telegram has no entity for, or that is no tag.
    #[error("there is an unknown tag at byte {0}; write &lt; where < is meant literally")]
    UnknownTag(usize),
    /// A `<` without its `>`.
    #[error("the tag at byte {0} does not end; write &lt; where < is meant literally")]
    OpenTag(usize),
    /// An end without its beginning, or of another tag than the one that was begun last.
    #[error("the end tag at byte {0} does not belong to the tag that was begun last")]
    WrongEnd(usize),
    /// A beginning without its end.
    #[error("the text ends although {0} tags are not closed")]
    Unclosed(usize),
}

/// Finds out whether `text` is understood; answers the length of what is left without its markup, in
/// UTF-16 units, and how many entities that has.
///
/// # Errors
/// See [`MarkupError`].
pub fn measure_markup(text: &str, mode: ParseMode) -> Result<(usize, usize), MarkupError> {
    let (plain, entities) = parse(text, mode)?;
    Ok((plain.encode_utf16().count(), entities.len()))
}

/// The plain text and its entities, sorted by where they begin.
pub(super) fn parse(
    text: &str,
    mode: ParseMode,
) -> Result<(String, Vec<MessageEntity>), MarkupError> {
    if text.len() > SOURCE_MAX {
        return Err(MarkupError::TooLong);
    }
    match mode {
        ParseMode::Markdown => Ok(markdown::parse(text)),
        ParseMode::Html => html::parse(text),
    }
}

/// What a stretch of text looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Style {
    Bold,
    Italic,
    Underline,
    Strike,
    Spoiler,
    Code,
    Pre { language: String },
    Link { url: String },
    Quote { collapsed: bool },
}

/// A text that grows, and its entities.
#[derive(Default)]
struct Composer {
    text: String,
    /// Of `text`, in UTF-16 units.
    length: i32,
    entities: Vec<MessageEntity>,
}

impl Composer {
    fn push(&mut self, part: &str) {
        self.text.push_str(part);
        let units = part.encode_utf16().count();
        // At most as many as the source has bytes.
        self.length = self.length.saturating_add(i32::try_from(units).unwrap_or(i32::MAX));
    }

    /// Styles everything since `offset`.
    fn style(&mut self, style: Style, offset: i32) {
        let length = self.length - offset;
        if length > 0 {
            self.entities.push(entity(style, offset, length));
        }
    }

    fn finish(mut self) -> (String, Vec<MessageEntity>) {
        // The outer one, which ended later, first where two begin together.
        self.entities.reverse();
        self.entities.sort_by_key(|entity| (entity.offset(), -entity.length()));
        (self.text, self.entities)
    }
}

fn entity(style: Style, offset: i32, length: i32) -> MessageEntity {
    match style {
        Style::Bold => types::MessageEntityBold { offset, length }.into(),
        Style::Italic => types::MessageEntityItalic { offset, length }.into(),
        Style::Underline => types::MessageEntityUnderline { offset, length }.into(),
        Style::Strike => types::MessageEntityStrike { offset, length }.into(),
        Style::Spoiler => types::MessageEntitySpoiler { offset, length }.into(),
        Style::Code => types::MessageEntityCode { offset, length }.into(),
        Style::Pre { language } => types::MessageEntityPre { offset, length, language }.into(),
        Style::Link { url } => types::MessageEntityTextUrl { offset, length, url }.into(),
        Style::Quote { collapsed } => {
            types::MessageEntityBlockquote { collapsed, offset, length }.into()
        }
    }
}
