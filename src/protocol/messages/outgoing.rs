//! A message to be sent. Plain data.

use std::time::Duration;

use crate::protocol::values::secret::SecretText;

/// How a text is formatted. (The order counts: fingerprints of what was sent under an idempotency key are made
/// of it.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParseMode {
    /// As in Telegram's apps, Telethon and Pyrogram: `**bold**`, `__italic__`, `~~strike~~`,
    /// `||spoiler||`, `` `code` ``, three backticks, `[text](url)`, and `\` before what is meant
    /// literally. Markers without a partner stay as they are.
    Markdown,
    /// As in the Bot API: `b strong i em u ins s strike del code pre a blockquote tg-spoiler` and
    /// `span class="tg-spoiler"`; `< > &` are written `&lt; &gt; &amp;`.
    Html,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// To whom: a chat, a user, or `me`, as the caller spelled it.
    pub to: String,
    /// The text.
    pub text: SecretText,
    /// How it is formatted; plain when absent.
    pub parse_mode: Option<ParseMode>,
    /// The message it answers.
    pub reply_to: Option<i32>,
    /// Whether it arrives without a sound.
    pub silent: bool,
    /// How long the caller waits at the most.
    pub timeout: Duration,
    /// The caller's name for this very message.
    pub idempotency_key: Option<String>,
}
