//! Supergroups, channels and basic groups: who is in them, who may what.
//!
//! Creating a chat makes no messages. Later joins and leaves make the service messages Telegram
//! makes: in supergroups and basic groups, not in channels.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::ids::Peer;
use super::messages::Message;
use super::rights::{Permissions, SlowMode};
use super::users::{Event, SETBACK};
use crate::clock::unix_seconds;

const FIRST_CHANNEL: i64 = 2_100_000_001;
const FIRST_GROUP: i64 = 4_000_001;

/// What somebody is in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Creator,
    Admin,
    Member,
}

/// Somebody in a chat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) joined: i32,
    /// Who added them; they themselves, if nobody did.
    pub(crate) inviter: i64,
    /// An admin's rights, or what is left to a member.
    pub(crate) may: Permissions,
}

/// What all kinds of chats have.
pub(crate) struct Chat {
    pub(crate) id: i64,
    pub(crate) title: String,
    pub(crate) date: i32,
    pub(crate) members: BTreeMap<i64, Member>,
    pub(crate) banned: BTreeSet<i64>,
    /// Who left by themselves and did not come back.
    pub(crate) left: BTreeSet<i64>,
    /// The link that it has of itself.
    pub(crate) invite_hash: String,
    /// Hashes of all its links, oldest first.
    pub(crate) links: Vec<String>,
    /// What members may do.
    pub(crate) open: Permissions,
}

impl Chat {
    pub(crate) fn invite_link(&self) -> String {
        format!("https://t.me/+{}", self.invite_hash)
    }

    pub(crate) fn is_admin(&self, user: i64) -> bool {
        self.members.get(&user).is_some_and(|member| member.role != Role::Member)
    }
}

/// A supergroup or a broadcast channel.
pub(crate) struct Channel {
    pub(crate) chat: Chat,
    pub(crate) broadcast: bool,
    pub(crate) username: Option<String>,
    pub(crate) slow: SlowMode,
    /// Message `n` stands at `n - 1`.
    pub(crate) messages: Vec<Message>,
    /// Ids of messages that were deleted; the others keep theirs.
    pub(crate) deleted: BTreeSet<i32>,
    pub(crate) events: Vec<Event>,
    /// By how much the sequence's numbers have fallen back.
    pub(crate) setback: i32,
}

impl Channel {
    /// The number of the last event in the channel's sequence.
    pub(crate) fn pts(&self) -> i32 {
        self.events.len() as i32 + 1 - self.setback
    }

    /// The numbers of the sequence fall back for good.
    pub(crate) fn fall_back(&mut self) {
        self.setback += SETBACK.min(self.pts() - 1);
    }

    pub(crate) fn events_after(&self, pts: i32) -> &[Event] {
        let known = usize::try_from(pts - 1 + self.setback).unwrap_or(0).min(self.events.len());
        &self.events[known..]
    }

    pub(crate) fn message(&self, id: i32) -> Option<&Message> {
        let message = self.messages.get(usize::try_from(id).ok()?.checked_sub(1)?);
        message.filter(|message| !self.deleted.contains(&message.id))
    }

    /// What can be read, oldest first.
    pub(crate) fn history(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| !self.deleted.contains(&message.id))
    }

    /// Whether `user` may read here: members always, everybody else if it is public, and nobody
    /// who is banned.
    pub(crate) fn readable_by(&self, user: i64) -> bool {
        self.chat.members.contains_key(&user)
            || self.username.is_some() && !self.chat.banned.contains(&user)
    }
}

/// A basic group: its messages live in its members' own boxes.
pub(crate) struct Group {
    pub(crate) chat: Chat,
    /// The senders' copies of all messages, oldest first, for the control API.
    pub(crate) log: Vec<Message>,
    /// Rises with every change of the member list.
    pub(crate) version: i32,
    /// The supergroup that it has become.
    pub(crate) migrated_to: Option<i64>,
}

/// Which kind of chat to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Supergroup,
    Channel,
    Group,
}

impl World {
    /// Makes a chat with its first members; nobody is told and no message is made.
    pub(crate) fn add_chat(
        &mut self,
        kind: Kind,
        title: String,
        username: Option<String>,
        members: &[i64],
        admins: &[i64],
    ) -> Result<Peer, String> {
        let peer = match kind {
            Kind::Group => Peer::Group(FIRST_GROUP + self.groups.len() as i64),
            _ => Peer::Channel(FIRST_CHANNEL + self.channels.len() as i64),
        };
        if let Some(unknown) = members.iter().chain(admins).find(|id| !self.users.contains_key(id))
        {
            return Err(format!("there is no account {unknown}"));
        }
        if let Some(username) = &username {
            if kind == Kind::Group {
                return Err("a basic group cannot have a username".to_owned());
            }
            self.claim_username(username, peer)?;
        }
        let joined = unix_seconds();
        let may = Permissions::ALL;
        let as_role = |role| move |&user: &i64| (user, Member { role, joined, inviter: user, may });
        let members: BTreeMap<_, _> = members
            .iter()
            .map(as_role(Role::Member))
            .chain(admins.iter().map(as_role(Role::Admin)))
            .collect();
        for user in members.keys() {
            self.user_mut(*user).chats.insert(peer);
        }
        let (Peer::User(id) | Peer::Group(id) | Peer::Channel(id)) = peer;
        let chat = Chat {
            id,
            title,
            date: joined,
            members,
            banned: BTreeSet::new(),
            left: BTreeSet::new(),
            invite_hash: String::new(),
            links: Vec::new(),
            open: Permissions::ALL,
        };
        if kind == Kind::Group {
            self.groups.insert(id, Group { chat, log: Vec::new(), version: 1, migrated_to: None });
        } else {
            let (messages, events) = (Vec::new(), Vec::new());
            let broadcast = kind == Kind::Channel;
            let channel = Channel {
                chat,
                broadcast,
                username,
                slow: SlowMode::default(),
                messages,
                deleted: BTreeSet::new(),
                events,
                setback: 0,
            };
            self.channels.insert(id, channel);
        }
        self.renew_permanent(peer, None);
        Ok(peer)
    }

    /// What a chat of either kind has in common; `None` for users and unknown chats.
    pub(crate) fn chat(&self, peer: Peer) -> Option<&Chat> {
        match peer {
            Peer::User(_) => None,
            Peer::Group(id) => self.groups.get(&id).map(|group| &group.chat),
            Peer::Channel(id) => self.channels.get(&id).map(|channel| &channel.chat),
        }
    }

    pub(crate) fn chat_mut(&mut self, peer: Peer) -> Option<&mut Chat> {
        match peer {
            Peer::User(_) => None,
            Peer::Group(id) => self.groups.get_mut(&id).map(|group| &mut group.chat),
            Peer::Channel(id) => self.channels.get_mut(&id).map(|channel| &mut channel.chat),
        }
    }

    /// Enters `user` in the member list, added by `inviter`; answers whether that changed anything.
    pub(crate) fn enrol(&mut self, peer: Peer, user: i64, inviter: i64) -> bool {
        let (role, may) = (Role::Member, Permissions::ALL);
        let member = Member { role, joined: unix_seconds(), inviter, may };
        let Some(chat) = self.chat_mut(peer) else { return false };
        if chat.members.contains_key(&user) {
            return false;
        }
        chat.banned.remove(&user);
        chat.left.remove(&user);
        chat.members.insert(user, member);
        self.user_mut(user).chats.insert(peer);
        self.bump_version(peer);
        true
    }

    /// Strikes `user` off the member list; answers whether that changed anything.
    pub(crate) fn strike_off(&mut self, peer: Peer, user: i64) -> bool {
        let Some(chat) = self.chat_mut(peer) else { return false };
        let was_member = chat.members.remove(&user).is_some();
        if was_member {
            self.user_mut(user).chats.remove(&peer);
            self.bump_version(peer);
        }
        was_member
    }

    fn bump_version(&mut self, peer: Peer) {
        if let Peer::Group(id) = peer
            && let Some(group) = self.groups.get_mut(&id)
        {
            group.version += 1;
        }
    }
}
