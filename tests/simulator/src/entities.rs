//! Formatting as the control API shows it.

use grammers_tl_types::enums;
use serde::{Deserialize, Serialize};

/// A marked part of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEntity {
    /// `bold`, `italic`, `underline`, `strike`, `spoiler`, `code`, `pre`, `text_url`, `url`,
    /// `mention`, `mention_name`, `hashtag`, `blockquote`, `custom_emoji`, or `other`.
    pub kind: String,
    /// Where it begins, in UTF-16 code units.
    pub offset: i32,
    /// How long it is, in UTF-16 code units.
    pub length: i32,
    /// Where a `text_url` leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What a `pre` is written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

impl StoredEntity {
    pub(crate) fn of(entity: &enums::MessageEntity) -> Self {
        use enums::MessageEntity as E;
        let (mut url, mut language) = (None, None);
        let kind = match entity {
            E::Bold(_) => "bold",
            E::Italic(_) => "italic",
            E::Underline(_) => "underline",
            E::Strike(_) => "strike",
            E::Spoiler(_) => "spoiler",
            E::Code(_) => "code",
            E::Pre(pre) => {
                language = Some(pre.language.clone());
                "pre"
            }
            E::TextUrl(link) => {
                url = Some(link.url.clone());
                "text_url"
            }
            E::Url(_) => "url",
            E::Mention(_) => "mention",
            E::MentionName(_) | E::InputMessageEntityMentionName(_) => "mention_name",
            E::Hashtag(_) => "hashtag",
            E::Blockquote(_) => "blockquote",
            E::CustomEmoji(_) => "custom_emoji",
            _ => "other",
        };
        let (offset, length) = (entity.offset(), entity.length());
        Self { kind: kind.to_owned(), offset, length, url, language }
    }
}
