//! What calls find.

use super::chats::Found;
use super::group_rights::GroupRights;
use super::invites::Missing;
use super::people::PersonCard;
use super::rights::ChatRights;
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::messages::message::Message;
use crate::protocol::telegram::chat::{MarkedId, PeerRecord};
use crate::protocol::values::secret::SecretText;

/// What a call found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What the chat is.
    Resolved {
        /// How to name it.
        peer: PeerRecord,
        /// Its title.
        title: Option<String>,
    },
    /// The account is in the chat.
    Member {
        /// The chat's title.
        title: Option<String>,
        /// Its public names, lower case.
        names: Vec<String>,
        /// The supergroup that this basic group has become.
        migrated_to: Option<PeerRecord>,
    },
    /// Telegram's time was asked for.
    TimeLearnt,
    /// The id of the newest message before a date; 0 when there is none.
    NewestBefore(i32),
    /// A channel's pts.
    Position(i32),
    /// A page of history.
    History(HistoryPage),
    /// The account is in the chat now, or asked to be.
    Joined {
        /// The chat, if Telegram named it.
        chat: Option<MarkedId>,
        /// Its title.
        title: Option<String>,
        /// Whether an admin has to approve first.
        requested: bool,
    },
    /// What the account may do in a chat.
    Rights(ChatRights),
    /// The message was sent.
    Sent {
        /// Its id in that chat, as this account sees it.
        message_id: i32,
        /// When, by Telegram's clock, Unix seconds.
        date: i64,
    },
    /// The message was sent before, and which of the chat's messages it is cannot be told.
    SentBefore,
    /// The session is over.
    LoggedOut,
    /// Whether Telegram has frozen the account.
    Frozen(bool),
    /// Who somebody is.
    Person {
        /// How to name them, for this account only.
        peer: PeerRecord,
        /// What is said of them.
        card: PersonCard,
    },
    /// Somebody is among the account's contacts.
    ContactAdded {
        /// Whether they have the account as a contact, too.
        is_mutual: bool,
    },
    /// An invitation was taken.
    Invited {
        /// Why the person was left out of it; `None`: they are in the group.
        missing: Option<Missing>,
    },
    /// Whether somebody is in a group.
    Membership(Membership),
    /// Whether the account may invite into a group.
    GroupRights(GroupRights),
    /// The link by which people come into a group.
    InviteLink {
        /// The link. Whoever has it may join.
        link: SecretText,
        /// Whether an admin has to let in who comes by it.
        needs_approval: bool,
    },
    /// What came of an invite link.
    LinkUses {
        /// Who came in by it.
        joined: u32,
        /// Who waits for an admin.
        waiting: u32,
    },
}

/// A page of history, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// The messages.
    pub messages: Vec<Message>,
    /// The highest id that Telegram sent, placeholders of deleted messages included, or up to which
    /// there is nothing.
    pub newest_id: Option<i32>,
    /// Whether there may be more after it.
    pub more: bool,
    /// Whether messages lie before it that Telegram does not give any more.
    pub is_torn: bool,
    /// The chat's title, if it was mentioned.
    pub title: Option<String>,
    /// Messages up to `newest_id` that cannot be read, by their ids where these are known.
    pub unreadable: Vec<Option<i32>>,
}

impl Outcome {
    /// The peer that somebody looked for, and that was found.
    pub(super) fn sought(&self) -> Option<PeerRecord> {
        match self {
            Self::Resolved { peer, .. } => Some(*peer),
            Self::Rights(rights) => Some(rights.peer),
            Self::Person { peer, .. } => Some(*peer),
            Self::GroupRights(rights) => Some(rights.chat.peer),
            Self::Member { migrated_to, .. } => *migrated_to,
            _ => None,
        }
    }
}

impl From<Found> for Outcome {
    fn from(found: Found) -> Self {
        Self::Resolved { peer: found.peer, title: found.title }
    }
}
