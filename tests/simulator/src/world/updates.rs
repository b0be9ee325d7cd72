//! Telling connected clients what happened, and those who come back what they missed.
//!
//! Numbering follows <https://core.telegram.org/api/updates>: one common sequence an account, one a
//! channel, every message taking one number; `seq` stays 0, so nothing is ordered beyond that.

use grammers_tl_types::{Serializable, enums, types};

use super::World;
use super::ids::Peer;
use super::messages::{Content, Message, Posted};
use super::users::Event;
use super::view::{Cast, reply_header};
use crate::clock::unix_seconds;
use crate::faults::Manner;

impl World {
    /// Sends a channel's new message to all connected members.
    pub(crate) fn announce_in_channel(
        &mut self,
        channel_id: i64,
        message: &Message,
        posted: Posted,
        origin: Option<u64>,
    ) {
        let Some(channel) = self.channels.get(&channel_id) else { return };
        let connected = |user: &&i64| self.users.get(user).is_some_and(|u| !u.links.is_empty());
        let targets: Vec<i64> = channel.chat.members.keys().filter(connected).copied().collect();
        for target in targets {
            let update = self.channel_message_update(target, message, posted.pts);
            let body = self.updates(target, vec![update], &self.cast_of(message)).to_bytes();
            self.push(target, &body, origin);
        }
    }

    /// Sends a new message in an account's own box to its connections: in the short form when it
    /// is plain text and the account already knows who wrote.
    pub(crate) fn announce_to_account(
        &mut self,
        owner: i64,
        message: &Message,
        posted: Posted,
        origin: Option<u64>,
    ) {
        if self.user(owner).links.is_empty() {
            return;
        }
        let body = match self.short_form(owner, message, posted) {
            Some(short) => short.to_bytes(),
            None => {
                let cast = self.cast_of(message);
                let update = self.new_message_update(owner, message, posted.pts);
                let body = self.updates(owner, vec![update], &cast).to_bytes();
                self.user_mut(owner).acquainted.insert(stranger(owner, message));
                body
            }
        };
        self.push(owner, &body, origin);
    }

    /// Tells an account that something about a channel changed for it.
    pub(crate) fn announce_channel(&mut self, user: i64, channel_id: i64, origin: Option<u64>) {
        let update = types::UpdateChannel { channel_id }.into();
        let cast = Cast::of([Peer::Channel(channel_id)]);
        let body = self.updates(user, vec![update], &cast).to_bytes();
        self.push(user, &body, origin);
    }

    /// Sends updates to the connections of an account.
    pub(crate) fn announce(&mut self, user: i64, updates: &enums::Updates, origin: Option<u64>) {
        if !self.user(user).links.is_empty() {
            self.push(user, &updates.to_bytes(), origin);
        }
    }

    /// Queues an update on every connection of `user` but `origin`.
    fn push(&mut self, user: i64, body: &[u8], origin: Option<u64>) {
        let Self { users, faults, counters, .. } = self;
        let Some(user) = users.get(&user) else { return };
        for link in user.links.iter().filter(|link| Some(link.id) != origin) {
            let manner = faults.update(user.id);
            let queued = match manner {
                Manner::Never => 0,
                _ => link.push(body.to_vec(), manner),
            };
            counters.updates_sent += queued;
            counters.updates_withheld += u64::from(queued == 0);
        }
    }

    pub(crate) fn channel_message_update(
        &self,
        viewer: i64,
        message: &Message,
        pts: i32,
    ) -> enums::Update {
        let message = self.message_view(viewer, message);
        types::UpdateNewChannelMessage { message, pts, pts_count: 1 }.into()
    }

    pub(crate) fn new_message_update(
        &self,
        viewer: i64,
        message: &Message,
        pts: i32,
    ) -> enums::Update {
        let message = self.message_view(viewer, message);
        types::UpdateNewMessage { message, pts, pts_count: 1 }.into()
    }

    pub(crate) fn cast_of(&self, message: &Message) -> Cast {
        Cast::default().with_messages(self, [message])
    }

    pub(crate) fn updates(
        &self,
        viewer: i64,
        updates: Vec<enums::Update>,
        cast: &Cast,
    ) -> enums::Updates {
        let (users, chats) = (cast.users(self, viewer), cast.chats(self, viewer));
        types::Updates { updates, users, chats, date: unix_seconds(), seq: 0 }.into()
    }

    fn short_form(&self, owner: i64, message: &Message, posted: Posted) -> Option<enums::Updates> {
        let Content::Text { text, extras } = &message.content else { return None };
        let out = message.from == owner;
        if !self.user(owner).acquainted.contains(&stranger(owner, message)) {
            return None;
        }
        let Posted { id, pts, date } = posted;
        let message_text = text.to_string();
        let reply_to = extras.as_deref().and_then(reply_header);
        let entities = extras.as_deref().and_then(|extras| extras.entities.clone());
        let (mentioned, media_unread) = (false, false);
        let silent = extras.as_deref().is_some_and(|extras| extras.silent);
        let (fwd_from, via_bot_id, ttl_period, pts_count) = (None, None, None, 1);
        match message.peer {
            Peer::User(user_id) => Some(
                types::UpdateShortMessage {
                    out,
                    mentioned,
                    media_unread,
                    silent,
                    id,
                    user_id,
                    message: message_text,
                    pts,
                    pts_count,
                    date,
                    fwd_from,
                    via_bot_id,
                    reply_to,
                    entities,
                    ttl_period,
                }
                .into(),
            ),
            Peer::Group(chat_id) => Some(
                types::UpdateShortChatMessage {
                    out,
                    mentioned,
                    media_unread,
                    silent,
                    id,
                    from_id: message.from,
                    chat_id,
                    message: message_text,
                    pts,
                    pts_count,
                    date,
                    fwd_from,
                    via_bot_id,
                    reply_to,
                    entities,
                    ttl_period,
                }
                .into(),
            ),
            Peer::Channel(_) => None,
        }
    }

    /// The messages of `events`, out of an account's box.
    pub(crate) fn box_messages(&self, user: i64, events: &[Event]) -> Vec<&Message> {
        let user = self.user(user);
        events.iter().filter_map(|Event::NewMessage(id)| user.message(*id)).collect()
    }

    /// Where an account's sequences stand.
    pub(crate) fn state(&self, user: i64) -> types::updates::State {
        let unread_count =
            self.user(user).dialogs.keys().map(|peer| self.unread(user, *peer)).sum();
        let (pts, date) = (self.user(user).pts(), unix_seconds());
        types::updates::State { pts, qts: 0, date, seq: 1, unread_count }
    }

    /// Incoming messages of a conversation after its read mark.
    pub(crate) fn unread(&self, user: i64, peer: Peer) -> i32 {
        let owner = self.user(user);
        let count = |messages: &mut dyn Iterator<Item = &Message>| {
            messages.filter(|message| message.from != user).count() as i32
        };
        if let Peer::Channel(id) = peer {
            let read = owner.read_in_channel.get(&id).copied().unwrap_or(0);
            let messages = self.channels.get(&id).map(|channel| &channel.messages[..]);
            let messages = messages.unwrap_or_default();
            return count(&mut messages.iter().skip(read.max(0) as usize));
        }
        let Some(dialog) = owner.dialogs.get(&peer) else { return 0 };
        let ids = &dialog.ids[dialog.ids.partition_point(|id| *id <= dialog.read_inbox)..];
        count(&mut ids.iter().filter_map(|id| owner.message(*id)))
    }
}

/// Whom the owner of a message must know to understand its short form.
fn stranger(owner: i64, message: &Message) -> i64 {
    match message.peer {
        Peer::User(partner) if message.from == owner => partner,
        _ => message.from,
    }
}
