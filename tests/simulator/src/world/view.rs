//! The world as one account sees it, in TL: users, chats, messages with that account's hashes.

use std::collections::BTreeSet;

use grammers_tl_types::{enums, types};

use super::World;
use super::blank;
use super::chats::{Channel, Group};
use super::ids::Peer;
use super::messages::{Content, Extras, Message};
use super::rights::banned_rights;

impl From<Peer> for enums::Peer {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::User(user_id) => types::PeerUser { user_id }.into(),
            Peer::Group(chat_id) => types::PeerChat { chat_id }.into(),
            Peer::Channel(channel_id) => types::PeerChannel { channel_id }.into(),
        }
    }
}

/// Who is mentioned in an answer and must be described in it.
#[derive(Default)]
pub(crate) struct Cast {
    peers: BTreeSet<Peer>,
}

impl Cast {
    pub(crate) fn of(peers: impl IntoIterator<Item = Peer>) -> Self {
        Self { peers: peers.into_iter().collect() }
    }

    pub(crate) fn add(&mut self, peer: Peer) {
        self.peers.insert(peer);
    }

    /// Everybody a message names. A post in a channel does not name its author.
    pub(crate) fn add_message(&mut self, world: &World, message: &Message) {
        self.add(message.peer);
        if !world.is_broadcast(message.peer) {
            self.add(Peer::User(message.from));
        }
        match message.content {
            Content::Added(user) | Content::Removed(user) => self.add(Peer::User(user)),
            Content::MigratedTo(channel_id) => self.add(Peer::Channel(channel_id)),
            Content::MigratedFrom { group_id, .. } => self.add(Peer::Group(group_id)),
            Content::Text { .. }
            | Content::Unreadable
            | Content::JoinedByLink
            | Content::JoinedByRequest => {}
        }
    }

    pub(crate) fn with_messages<'m>(
        mut self,
        world: &World,
        messages: impl IntoIterator<Item = &'m Message>,
    ) -> Self {
        messages.into_iter().for_each(|message| self.add_message(world, message));
        self
    }

    pub(crate) fn users(&self, world: &World, viewer: i64) -> Vec<enums::User> {
        let users = self.peers.iter().filter_map(|peer| match peer {
            Peer::User(id) => Some(world.user_view(viewer, *id)),
            _ => None,
        });
        users.collect()
    }

    pub(crate) fn chats(&self, world: &World, viewer: i64) -> Vec<enums::Chat> {
        self.peers.iter().filter_map(|peer| world.chat_view(viewer, *peer)).collect()
    }
}

impl World {
    pub(crate) fn is_broadcast(&self, peer: Peer) -> bool {
        match peer {
            Peer::Channel(id) => self.channels.get(&id).is_some_and(|channel| channel.broadcast),
            _ => false,
        }
    }

    pub(crate) fn user_view(&self, viewer: i64, id: i64) -> enums::User {
        let user = self.user(id);
        let own = viewer == id;
        if user.deleted {
            let access_hash = Some(self.access_hash(viewer, Peer::User(id)));
            return types::User { deleted: true, id, access_hash, ..blank::USER.clone() }.into();
        }
        // A contact is called what its owner calls it.
        let contact = self.users.get(&viewer).and_then(|viewer| viewer.book.contacts.get(&id));
        let first_name = contact.map_or(&user.first_name, |contact| &contact.first_name).clone();
        let last_name = contact.map(|contact| contact.last_name.clone());
        types::User {
            is_self: own,
            contact: contact.is_some(),
            mutual_contact: contact.is_some() && self.has_contact(id, viewer),
            bot_nochats: user.is_bot() && user.privacy.refuse_invites,
            contact_require_premium: self.needs_premium(viewer, id),
            send_paid_messages_stars: self.price(viewer, id),
            bot: user.is_bot(),
            premium: user.premium,
            bot_info_version: user.is_bot().then_some(1),
            id,
            access_hash: Some(self.access_hash(viewer, Peer::User(id))),
            first_name: Some(first_name),
            last_name: last_name.filter(|name| !name.is_empty()),
            username: user.username.clone(),
            phone: self.phone_shown(viewer, id),
            ..blank::USER.clone()
        }
        .into()
    }

    /// A group or channel; `None` for users and unknown chats.
    pub(crate) fn chat_view(&self, viewer: i64, peer: Peer) -> Option<enums::Chat> {
        match peer {
            Peer::User(_) => None,
            Peer::Group(id) => self.groups.get(&id).map(|group| {
                let migrated_to = group.migrated_to.map(|channel_id| {
                    let access_hash = self.access_hash(viewer, Peer::Channel(channel_id));
                    types::InputChannel { channel_id, access_hash }.into()
                });
                group_view(viewer, group, migrated_to)
            }),
            Peer::Channel(id) => self.channels.get(&id).map(|channel| {
                channel_view(viewer, channel, self.access_hash(viewer, Peer::Channel(id)))
            }),
        }
    }

    /// A message as `viewer` sees it; in a channel its author sees it as outgoing.
    pub(crate) fn message_view(&self, viewer: i64, message: &Message) -> enums::Message {
        let broadcast = self.is_broadcast(message.peer);
        // Private messages have no author beside the conversation, posts none at all.
        let named = !broadcast && !matches!(message.peer, Peer::User(_));
        let from_id = named.then(|| Peer::User(message.from).into());
        let out = message.from == viewer;
        let action = match &message.content {
            Content::Text { text, extras } => {
                let extras = extras.as_deref();
                return types::Message {
                    out,
                    silent: extras.is_some_and(|extras| extras.silent),
                    post: broadcast,
                    id: message.id,
                    from_id,
                    peer_id: message.peer.into(),
                    date: message.date,
                    message: text.to_string(),
                    reply_to: extras.and_then(reply_header),
                    entities: extras.and_then(|extras| extras.entities.clone()),
                    views: broadcast.then_some(1),
                    forwards: broadcast.then_some(0),
                    ..blank::MESSAGE.clone()
                }
                .into();
            }
            Content::Unreadable => {
                return types::Message {
                    out,
                    post: broadcast,
                    id: message.id,
                    from_id,
                    peer_id: message.peer.into(),
                    date: message.date,
                    media: Some(enums::MessageMedia::Unsupported),
                    ..blank::MESSAGE.clone()
                }
                .into();
            }
            Content::Added(user) => types::MessageActionChatAddUser { users: vec![*user] }.into(),
            Content::JoinedByLink => types::MessageActionChatJoinedByLink { inviter_id: 0 }.into(),
            Content::JoinedByRequest => enums::MessageAction::ChatJoinedByRequest,
            Content::Removed(user) => types::MessageActionChatDeleteUser { user_id: *user }.into(),
            Content::MigratedTo(channel_id) => {
                types::MessageActionChatMigrateTo { channel_id: *channel_id }.into()
            }
            Content::MigratedFrom { title, group_id } => {
                let title = title.to_string();
                types::MessageActionChannelMigrateFrom { title, chat_id: *group_id }.into()
            }
        };
        types::MessageService {
            out,
            id: message.id,
            from_id,
            peer_id: message.peer.into(),
            date: message.date,
            action,
            ..blank::SERVICE_MESSAGE.clone()
        }
        .into()
    }

    pub(crate) fn messages_view<'m>(
        &self,
        viewer: i64,
        messages: impl IntoIterator<Item = &'m Message>,
    ) -> Vec<enums::Message> {
        messages.into_iter().map(|message| self.message_view(viewer, message)).collect()
    }
}

/// The reply mark of a message that has one.
pub(crate) fn reply_header(extras: &Extras) -> Option<enums::MessageReplyHeader> {
    let reply_to_msg_id = Some(extras.reply_to?);
    Some(types::MessageReplyHeader { reply_to_msg_id, ..blank::REPLY_HEADER.clone() }.into())
}

fn group_view(viewer: i64, group: &Group, migrated_to: Option<enums::InputChannel>) -> enums::Chat {
    let chat = &group.chat;
    if !chat.members.contains_key(&viewer) {
        return types::ChatForbidden { id: chat.id, title: chat.title.clone() }.into();
    }
    types::Chat {
        id: chat.id,
        title: chat.title.clone(),
        participants_count: chat.members.len() as i32,
        date: chat.date,
        version: group.version,
        deactivated: migrated_to.is_some(),
        migrated_to,
        creator: chat.is_creator(viewer),
        admin_rights: chat.admin_rights(viewer),
        default_banned_rights: Some(banned_rights(chat.open, 0)),
        ..blank::CHAT.clone()
    }
    .into()
}

fn channel_view(viewer: i64, channel: &Channel, access_hash: i64) -> enums::Chat {
    let chat = &channel.chat;
    if !channel.readable_by(viewer) {
        return types::ChannelForbidden {
            broadcast: channel.broadcast,
            megagroup: !channel.broadcast,
            monoforum: false,
            id: chat.id,
            access_hash,
            title: chat.title.clone(),
            // A ban has an end, "for ever" being the last second of the format; a removal has none.
            until_date: chat.banned.contains(&viewer).then_some(i32::MAX),
        }
        .into();
    }
    let member = chat.members.get(&viewer);
    types::Channel {
        left: member.is_none(),
        broadcast: channel.broadcast,
        megagroup: !channel.broadcast,
        id: chat.id,
        access_hash: Some(access_hash),
        title: chat.title.clone(),
        username: channel.username.clone(),
        date: member.map_or(chat.date, |member| member.joined),
        creator: chat.is_creator(viewer),
        slowmode_enabled: channel.slow.seconds > 0,
        admin_rights: chat.admin_rights(viewer),
        banned_rights: chat.taken_rights(viewer),
        default_banned_rights: (!channel.broadcast).then(|| banned_rights(chat.open, 0)),
        participants_count: Some(chat.members.len() as i32),
        ..blank::CHANNEL.clone()
    }
    .into()
}
