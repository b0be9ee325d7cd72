//! Messages: what they hold, and how they come into the boxes of those who get them.
//!
//! A channel numbers its messages for everybody; in private chats and basic groups every account
//! has a copy of its own under an id of its own.

use std::sync::Arc;

use grammers_tl_types::enums;

use super::World;
use super::ids::Peer;
use super::users::Event;
use crate::clock::unix_seconds;

/// What a message says.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Text {
        text: Arc<str>,
        /// Formatting and the like; most messages have none.
        extras: Option<Arc<Extras>>,
    },
    /// Something of a layer that no client knows.
    Unreadable,
    /// Somebody came in by themselves or was let in by somebody.
    Added(i64),
    /// Somebody came in by an invite link.
    JoinedByLink,
    /// Somebody came in because an admin agreed to it.
    JoinedByRequest,
    /// Somebody left or was removed.
    Removed(i64),
    /// The basic group has become this supergroup.
    MigratedTo(i64),
    /// The supergroup was this basic group.
    MigratedFrom { title: Arc<str>, group_id: i64 },
}

/// The rarer parts of a text message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    pub(crate) entities: Option<Vec<enums::MessageEntity>>,
    /// The message replied to, in the numbering of the copy's owner.
    pub(crate) reply_to: Option<i32>,
    /// Whether it came without a sound.
    pub(crate) silent: bool,
}

impl Content {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text { text: text.into(), extras: None }
    }
}

/// One message in a channel, or one account's copy of one.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: i32,
    pub(crate) date: i32,
    pub(crate) from: i64,
    /// The conversation as the owner of this copy sees it.
    pub(crate) peer: Peer,
    pub(crate) content: Content,
    /// The number that all copies of a message have; 0 in channels, where there are no copies.
    pub(crate) post: u64,
}

/// Where a new message stands in a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) id: i32,
    pub(crate) pts: i32,
    pub(crate) date: i32,
}

impl World {
    /// Puts a message into a channel and sends it to every connected member, except over the
    /// connection `origin`, whose call is answered with it.
    pub(crate) fn post_to_channel(
        &mut self,
        channel_id: i64,
        from: i64,
        content: Content,
        origin: Option<u64>,
    ) -> Posted {
        let date = unix_seconds();
        let channel = self.channels.get_mut(&channel_id).expect("callers resolved the channel");
        if self.faults.falls_back(channel.chat.members.keys().copied()) {
            channel.fall_back();
        }
        let id = channel.messages.len() as i32 + 1;
        let peer = Peer::Channel(channel_id);
        let message = Message { id, date, from, peer, content, post: 0 };
        channel.messages.push(message.clone());
        channel.events.push(Event::NewMessage(id));
        let posted = Posted { id, pts: channel.pts(), date };
        self.announce_in_channel(channel_id, &message, posted, origin);
        posted
    }

    /// Puts a private message into both boxes; answers the sender's copy.
    pub(crate) fn post_to_user(
        &mut self,
        to: i64,
        from: i64,
        content: Content,
        origin: Option<u64>,
    ) -> Posted {
        self.posts += 1;
        if to != from {
            let content = self.as_copied(&content, (from, Peer::User(to)), (to, Peer::User(from)));
            let (theirs, message) = self.deposit(to, Peer::User(from), from, content);
            self.announce_to_account(to, &message, theirs, None);
        }
        let (mine, message) = self.deposit(from, Peer::User(to), from, content);
        self.announce_to_account(from, &message, mine, origin);
        mine
    }

    /// Puts a message into the box of every member of a basic group, and of `also`, who has just
    /// left it; answers the sender's copy, if the sender has one.
    pub(crate) fn post_to_group(
        &mut self,
        group_id: i64,
        from: i64,
        content: &Content,
        also: Option<i64>,
        origin: Option<u64>,
    ) -> Option<Posted> {
        let group = self.groups.get(&group_id).expect("callers resolved the group");
        let receivers: Vec<i64> = group.chat.members.keys().copied().chain(also).collect();
        self.posts += 1;
        let mut own = None;
        for receiver in receivers {
            let peer = Peer::Group(group_id);
            let content = self.as_copied(content, (from, peer), (receiver, peer));
            let (posted, message) = self.deposit(receiver, peer, from, content);
            let origin = if receiver == from { origin } else { None };
            self.announce_to_account(receiver, &message, posted, origin);
            if receiver == from {
                own = Some(posted);
                self.log_in_group(group_id, message);
            }
        }
        own
    }

    /// A content as it goes into another one's box: what it replies to has another number there,
    /// or none if the other one never had it.
    fn as_copied(&self, content: &Content, from: (i64, Peer), to: (i64, Peer)) -> Content {
        let mut copy = content.clone();
        if let Content::Text { extras: Some(extras), .. } = &mut copy
            && from.0 != to.0
            && let Some(id) = extras.reply_to
        {
            let post = self.user(from.0).message(id).map(|message| message.post);
            let theirs = post.and_then(|post| self.user(to.0).copy_of(to.1, post));
            *extras = Arc::new(Extras { reply_to: theirs, ..Extras::clone(extras) });
        }
        copy
    }

    fn log_in_group(&mut self, group_id: i64, message: Message) {
        if let Some(group) = self.groups.get_mut(&group_id) {
            group.log.push(message);
        }
    }

    fn deposit(
        &mut self,
        owner: i64,
        peer: Peer,
        from: i64,
        content: Content,
    ) -> (Posted, Message) {
        let date = unix_seconds();
        let (falls_back, post) = (self.faults.falls_back([owner]), self.posts);
        let user = self.user_mut(owner);
        if falls_back {
            user.fall_back();
        }
        let id = user.messages.len() as i32 + 1;
        let message = Message { id, date, from, peer, content, post };
        user.messages.push(message.clone());
        let dialog = user.dialogs.entry(peer).or_default();
        dialog.ids.push(id);
        dialog.heard |= from != owner;
        user.events.push(Event::NewMessage(id));
        (Posted { id, pts: user.pts(), date }, message)
    }
}
