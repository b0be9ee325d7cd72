//! How a chat is named: the spelling a command used, what it points at, and its canonical key.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::links;
use super::links::TelegramLink;
use crate::protocol::users::owner::UserId;

/// A chat id exactly as a command spelled it, echoed in every event about that chat.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ChatSpelling {
    /// A JSON integer.
    Number(i64),
    /// A JSON string.
    Text(String),
}

/// A marked id, as the Bot API writes peers: `-100…` a channel or supergroup, `-…` a basic
/// group, positive a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MarkedId(pub i64);

/// What a chat spelling points at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChatTarget {
    /// A marked id.
    Marked(MarkedId),
    /// A public username, lower case, without `@`.
    Username(String),
    /// The hash of an invite link (`t.me/+hash`). Only joining understands it.
    Invite(String),
}

/// Canonical key of a chat: two spellings of one target share it, so that `-100123`, `"-100123"`
/// and `t.me/c/123` are one monitor.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChatKey(pub String);

/// A chat as a command named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatRef {
    /// The spelling, for the events.
    pub spelling: ChatSpelling,
    /// What it points at.
    pub target: ChatTarget,
}

/// Kinds of peer that a marked id can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// A private chat with a user.
    User,
    /// A basic group: message ids belong to each member's account.
    Group,
    /// A channel or supergroup: message ids are the same for everyone.
    Channel,
}

/// Why a chat spelling was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// Neither an id, nor a username, nor a link.
    #[error("chat_id is neither a marked id, a @username nor a t.me link; send one of these three")]
    Unrecognised,
    /// A link of Telegram's that names something else.
    #[error(
        "chat_id is a link of telegram's that leads to {0} and names no chat; send a marked id, a \
         @username, or a link to the chat itself"
    )]
    OtherLink(&'static str),
    /// Zero, or outside the ranges Telegram uses.
    #[error("chat_id {0} is not a valid marked id (-100… channel, -… group, positive user)")]
    BadMarkedId(i64),
    /// A username that Telegram could not have issued.
    #[error("chat_id holds a username that Telegram does not allow (4 to 32 of a-z, 0-9, _)")]
    BadUsername,
    /// An invite link where only an id, username or public link makes sense.
    #[error("an invite link can be joined but not monitored; join it, then use the chat's id")]
    InviteNotAllowed,
}

/// Bot API offset of channel ids: marked = -(10^12 + bare id).
const CHANNEL_OFFSET: i64 = 1_000_000_000_000;
/// Largest bare channel id the Bot API range holds (<https://core.telegram.org/api/bots/ids>).
const CHANNEL_MAX: i64 = 997_852_516_352;
/// Largest bare basic-group id.
const GROUP_MAX: i64 = 999_999_999_999;
/// Largest user id (40 bits less one).
const USER_MAX: i64 = 0xff_ffff_ffff;

impl MarkedId {
    /// Marks a bare channel id.
    pub fn channel(bare: i64) -> Self {
        Self(-(CHANNEL_OFFSET + bare))
    }

    /// Marks a bare basic-group id.
    pub fn group(bare: i64) -> Self {
        Self(-bare)
    }

    /// Marks a user id.
    pub fn user(bare: i64) -> Self {
        Self(bare)
    }

    /// Checks `raw` against the documented ranges.
    pub fn parse(raw: i64) -> Result<Self, ChatError> {
        let known = match raw {
            1..=USER_MAX => true,
            _ if (-GROUP_MAX..0).contains(&raw) => true,
            _ => {
                let bare = raw.checked_add(CHANNEL_OFFSET).map(|value| -value);
                matches!(bare, Some(1..=CHANNEL_MAX))
            }
        };
        known.then_some(Self(raw)).ok_or(ChatError::BadMarkedId(raw))
    }

    /// The kind of peer this id names.
    pub fn kind(self) -> PeerKind {
        match self.0 {
            id if id > 0 => PeerKind::User,
            id if id >= -GROUP_MAX => PeerKind::Group,
            _ => PeerKind::Channel,
        }
    }

    /// The id without its mark, as the Telegram API writes it.
    pub fn bare(self) -> i64 {
        match self.kind() {
            PeerKind::User => self.0,
            PeerKind::Group => -self.0,
            PeerKind::Channel => -self.0 - CHANNEL_OFFSET,
        }
    }
}

impl fmt::Display for MarkedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl ChatKey {
    /// The key of a chat that `owner` has monitored; `None` is the bridge. Two who monitor one chat are
    /// two monitors, and neither sees the other. (No spelling of a chat holds a space.)
    pub fn of(owner: Option<&UserId>, chat: &ChatRef) -> Self {
        let key = chat.key();
        match owner {
            None => key,
            Some(owner) => Self(format!("{} of {owner}", key.0)),
        }
    }

    /// The chat's part of the key, and whose monitor it is.
    pub fn parts(&self) -> (&str, Option<&str>) {
        match self.0.split_once(" of ") {
            Some((chat, owner)) => (chat, Some(owner)),
            None => (&self.0, None),
        }
    }

    /// For logs: whoever has an invite link may join, so its hash is not shown.
    pub fn redacted(&self) -> &str {
        if self.0.starts_with('+') { "an invite link" } else { &self.0 }
    }
}

impl fmt::Display for ChatKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChatKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatKey({})", self.0)
    }
}

impl ChatRef {
    /// Understands a spelling.
    pub fn parse(spelling: ChatSpelling) -> Result<Self, ChatError> {
        let target = match &spelling {
            ChatSpelling::Number(raw) => ChatTarget::Marked(MarkedId::parse(*raw)?),
            ChatSpelling::Text(text) => parse_text(text.trim())?,
        };
        Ok(Self { spelling, target })
    }

    /// The canonical key. Invite hashes are case-sensitive, usernames are not.
    pub fn key(&self) -> ChatKey {
        ChatKey(match &self.target {
            ChatTarget::Marked(id) => id.to_string(),
            ChatTarget::Username(name) => format!("@{name}"),
            ChatTarget::Invite(hash) => format!("+{hash}"),
        })
    }
}

fn parse_text(text: &str) -> Result<ChatTarget, ChatError> {
    // Numbers are written without a plus: what begins with one is a phone number, and a stranger's id.
    if let Some(raw) = text.parse::<i64>().ok().filter(|_| !text.starts_with('+')) {
        return MarkedId::parse(raw).map(ChatTarget::Marked);
    }
    if let Some(name) = text.strip_prefix('@') {
        return parse_username(name);
    }
    match links::read(text) {
        Some(TelegramLink::Name(name)) => parse_username(name),
        Some(TelegramLink::Invite(hash)) => parse_invite(hash),
        Some(TelegramLink::Channel(bare)) => parse_channel(bare),
        Some(TelegramLink::Other(what)) => Err(ChatError::OtherLink(what)),
        None if text.contains(['/', ':', '.', ' ']) || text.is_empty() => {
            Err(ChatError::Unrecognised)
        }
        None => parse_username(text),
    }
}

fn parse_channel(bare: &str) -> Result<ChatTarget, ChatError> {
    let bare: i64 = bare.parse().map_err(|_| ChatError::Unrecognised)?;
    if !(1..=CHANNEL_MAX).contains(&bare) {
        return Err(ChatError::BadMarkedId(bare));
    }
    Ok(ChatTarget::Marked(MarkedId::channel(bare)))
}

fn parse_invite(hash: &str) -> Result<ChatTarget, ChatError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if hash.is_empty() || hash.len() > 64 || !hash.chars().all(allowed) {
        return Err(ChatError::Unrecognised);
    }
    Ok(ChatTarget::Invite(hash.to_owned()))
}

fn parse_username(name: &str) -> Result<ChatTarget, ChatError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !(4..=32).contains(&name.len())
        || !name.chars().all(allowed)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(ChatError::BadUsername);
    }
    Ok(ChatTarget::Username(name.to_ascii_lowercase()))
}

/// What is needed to name a peer to Telegram again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// The peer.
    pub id: MarkedId,
    /// Telegram's per-account proof that it was met (zero for basic groups).
    pub access_hash: i64,
    /// Set for bots.
    pub is_bot: bool,
    /// Set for broadcast channels (not supergroups).
    pub is_broadcast: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Result<ChatTarget, ChatError> {
        ChatRef::parse(ChatSpelling::Text(text.into())).map(|chat| chat.target)
    }

    #[test]
    fn every_documented_spelling_is_understood() {
        let channel = ChatTarget::Marked(MarkedId(-1001234567890));
        let name = ChatTarget::Username("durov_chat".into());
        for text in ["-1001234567890", "https://t.me/c/1234567890/77", "t.me/c/1234567890"] {
            assert_eq!(target(text), Ok(channel.clone()), "{text}");
        }
        for text in [
            "@Durov_Chat",
            "durov_chat",
            "https://t.me/durov_chat",
            "http://www.t.me/durov_chat/12?single",
            "t.me/s/durov_chat/",
            "telegram.me/Durov_chat#x",
            "https://Durov_Chat.t.me/12",
            "tg://resolve?domain=Durov_Chat",
        ] {
            assert_eq!(target(text), Ok(name.clone()), "{text}");
        }
        for text in ["t.me/+AbC-_1", "https://t.me/joinchat/AbC-_1", "tg://join?invite=AbC-_1"] {
            assert_eq!(target(text), Ok(ChatTarget::Invite("AbC-_1".into())), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        assert_eq!(target(""), Err(ChatError::Unrecognised));
        assert_eq!(target("https://example.org/x"), Err(ChatError::Unrecognised));
        for text in ["t.me/addlist/X", "t.me/joinchat", "t.me/login/1", "t.me/+79991234567"] {
            let refused = target(text);
            assert!(matches!(refused, Err(ChatError::OtherLink(_))), "{text}: {refused:?}");
        }
        assert_eq!(target("t.me/c/x/1"), Err(ChatError::Unrecognised));
        assert_eq!(target("a.t.me"), Err(ChatError::BadUsername));
        assert_eq!(target("@a"), Err(ChatError::BadUsername));
        assert_eq!(target("+79991234567"), Err(ChatError::BadUsername), "a phone number");
        assert_eq!(target("0"), Err(ChatError::BadMarkedId(0)));
        assert_eq!(target(&i64::MIN.to_string()), Err(ChatError::BadMarkedId(i64::MIN)));
    }

    #[test]
    fn marked_ids_know_their_kind_and_bare_id() {
        for (raw, kind, bare) in [
            (42, PeerKind::User, 42),
            (-42, PeerKind::Group, 42),
            (-1000000000042, PeerKind::Channel, 42),
        ] {
            let id = MarkedId::parse(raw).unwrap();
            assert_eq!((id.kind(), id.bare()), (kind, bare));
        }
        assert_eq!(MarkedId::channel(42), MarkedId(-1000000000042));
    }

    proptest! {
        #[test]
        fn any_text_is_a_target_or_a_clear_error(text in any::<String>()) {
            let _ = target(&text);
        }

        #[test]
        fn any_number_survives_marking(raw in any::<i64>()) {
            if let Ok(id) = MarkedId::parse(raw) {
                let again = match id.kind() {
                    PeerKind::User => MarkedId::user(id.bare()),
                    PeerKind::Group => MarkedId::group(id.bare()),
                    PeerKind::Channel => MarkedId::channel(id.bare()),
                };
                prop_assert_eq!(again, id);
            }
        }
    }
}
