//! A message of a chat, as it is told. Plain data and its JSON form.

use serde::Serialize;

/// Longest text of a message, in UTF-16 units, as Telegram counts
/// (<https://core.telegram.org/method/messages.sendMessage>).
pub const TEXT_UNITS_MAX: usize = 4096;
/// Longest text with its markup, bytes: 4,096 UTF-16 units are at most 12 KiB; the rest is markup.
pub const MARKED_BYTES_MAX: usize = 20 * 1024;

/// Who wrote a message, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Author {
    /// Marked id of a user, or of the channel or group that posts as itself.
    pub id: i64,
    /// Public name, without `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// First name of a user, or the title of a chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// Whether it is a bot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_bot: Option<bool>,
}

/// Where a forwarded message comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forward {
    /// Marked id of the first sender, if it is not hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_id: Option<i64>,
    /// Name of the first sender, when it hides its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_name: Option<String>,
    /// Id of the message in its first channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<i32>,
    /// When it was first written, ISO 8601 in UTC.
    pub date: String,
}

/// What is attached to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Media {
    /// `photo`, `document`, `video`, `voice`, `audio`, `sticker`, `poll`, `contact`, `location`, …
    pub kind: String,
    /// MIME type of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Size of a file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Name of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
}

/// A marked range of the text. Offsets count UTF-16 code units, as Telegram's do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entity {
    /// `bold`, `url`, `mention`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// First unit.
    pub offset: i32,
    /// Number of units.
    pub length: i32,
    /// Target of a `text_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// User of a `text_mention`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<i64>,
    /// Language of a `pre` block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// One message of a monitored chat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Telegram's id in that chat (in basic groups and private chats: in that account).
    pub id: i32,
    /// When it was written, Unix seconds.
    pub date: i64,
    /// Its text, or caption; empty for service messages.
    pub text: String,
    /// Who wrote it.
    pub sender: Option<Author>,
    /// Id of the message it answers.
    pub reply_to_message_id: Option<i32>,
    /// Where it was forwarded from.
    pub forward: Option<Forward>,
    /// What is attached.
    pub media: Option<Media>,
    /// Album it belongs to.
    pub grouped_id: Option<i64>,
    /// Marked ranges of the text.
    pub entities: Vec<Entity>,
    /// View counter of channel posts.
    pub views: Option<i32>,
    /// When it was last edited, Unix seconds.
    pub edit_date: Option<i64>,
    /// Whether the monitoring account wrote it.
    pub is_outgoing: bool,
    /// Whether it tells of something that happened (a join, a pin, a new title).
    pub is_service: bool,
}
