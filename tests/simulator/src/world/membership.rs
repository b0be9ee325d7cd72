//! Coming and going, with everything the people concerned are told about it.

use super::World;
use super::ids::Peer;
use super::messages::{Content, Posted};

/// How somebody came into a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// On their own, through a public name, or because they were simply put there.
    Door,
    InviteLink,
    /// An admin agreed to what they asked for by a link.
    Request,
    /// Added by somebody.
    Invited(i64),
}

impl World {
    /// Lets `user` in and tells everybody; answers the service message, if one was made.
    pub(crate) fn join(
        &mut self,
        peer: Peer,
        user: i64,
        entrance: Entrance,
        origin: Option<u64>,
    ) -> Option<Posted> {
        let by = match entrance {
            Entrance::Invited(by) => by,
            _ => user,
        };
        if !self.enrol(peer, user, by) {
            return None;
        }
        let content = match entrance {
            Entrance::Door | Entrance::Invited(_) => Content::Added(user),
            Entrance::InviteLink => Content::JoinedByLink,
            Entrance::Request => Content::JoinedByRequest,
        };
        match peer {
            Peer::User(_) => None,
            Peer::Group(id) => self.post_to_group(id, by, &content, None, origin),
            Peer::Channel(id) => {
                self.announce_channel(user, id, origin);
                (!self.is_broadcast(peer)).then(|| self.post_to_channel(id, by, content, origin))
            }
        }
    }

    /// Takes `user` out, on their own or by the hand of `by`, and tells everybody; answers the
    /// service message as the one who acted sees it.
    pub(crate) fn leave(
        &mut self,
        peer: Peer,
        user: i64,
        by: i64,
        origin: Option<u64>,
    ) -> Option<Posted> {
        if !self.strike_off(peer, user) {
            return None;
        }
        let content = Content::Removed(user);
        match peer {
            Peer::User(_) => None,
            Peer::Group(id) => self.post_to_group(id, by, &content, Some(user), origin),
            Peer::Channel(id) => {
                self.announce_channel(user, id, origin);
                (!self.is_broadcast(peer)).then(|| self.post_to_channel(id, by, content, origin))
            }
        }
    }

    /// `user` goes by themselves, which the chat remembers: only a mutual contact can add them again.
    pub(crate) fn leave_freely(
        &mut self,
        peer: Peer,
        user: i64,
        origin: Option<u64>,
    ) -> Option<Posted> {
        let inside = self.user(user).chats.contains(&peer);
        let posted = self.leave(peer, user, user, origin);
        if let Some(chat) = self.chat_mut(peer).filter(|_| inside) {
            chat.left.insert(user);
        }
        posted
    }

    /// Takes `user` out, if inside, and keeps them out.
    pub(crate) fn ban(&mut self, peer: Peer, user: i64) {
        let by = self.somebody_in_charge(peer, user);
        if let Some(chat) = self.chat_mut(peer) {
            chat.banned.insert(user);
        }
        self.leave(peer, user, by, None);
    }

    /// Tells `user` that their rights in a chat changed.
    pub(crate) fn tell_of_rights(&mut self, peer: Peer, user: i64) {
        if let Peer::Channel(id) = peer {
            self.announce_channel(user, id, None);
        }
    }

    /// Who removes `user` when the control API asks for it: an admin, or else the user.
    pub(crate) fn somebody_in_charge(&self, peer: Peer, user: i64) -> i64 {
        let admins = self
            .chat(peer)
            .into_iter()
            .flat_map(|chat| chat.members.keys().copied().filter(|member| chat.is_admin(*member)));
        admins.into_iter().find(|admin| *admin != user).unwrap_or(user)
    }
}
