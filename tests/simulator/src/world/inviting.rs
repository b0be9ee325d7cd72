//! Adding people to chats: whether an account may, whether there is room, and what each person's
//! settings and past say to it.
//!
//! Sources: <https://core.telegram.org/method/channels.inviteToChannel>,
//! <https://core.telegram.org/method/messages.addChatUser>,
//! <https://core.telegram.org/constructor/missingInvitee>,
//! <https://core.telegram.org/api/invites#direct-invites>.

use super::World;
use super::chats::Role;
use super::ids::Peer;
use crate::error::RpcError;

/// Why somebody was not added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotAdded {
    /// Their settings do not allow it; the answer names them and is no error.
    Missing {
        /// It would be allowed if the account had Telegram Premium.
        premium_would_allow_invite: bool,
        /// Writing to them needs Telegram Premium, too.
        premium_required_for_pm: bool,
    },
    Error(RpcError),
}

impl From<&'static str> for NotAdded {
    fn from(name: &'static str) -> Self {
        Self::Error(name.into())
    }
}

impl World {
    /// Whether an account may add people to a chat that it can see.
    ///
    /// Members of a group may unless that was taken from everybody or from them; of a channel only
    /// admins with the right. Who stands outside cannot write there, and is told so.
    pub(crate) fn may_invite(&self, account: i64, peer: Peer) -> Result<(), RpcError> {
        let broadcast = self.is_broadcast(peer);
        let chat = self.chat(peer).ok_or("CHAT_ID_INVALID")?;
        if matches!(peer, Peer::Group(id) if self.groups[&id].migrated_to.is_some()) {
            return Err("CHAT_WRITE_FORBIDDEN".into());
        }
        match chat.members.get(&account) {
            None if broadcast => Err("CHAT_ADMIN_REQUIRED".into()),
            None => Err("CHAT_WRITE_FORBIDDEN".into()),
            Some(member) if member.role != Role::Member => {
                if member.may.invite {
                    Ok(())
                } else {
                    Err("CHAT_ADMIN_REQUIRED".into())
                }
            }
            Some(_) if broadcast => Err("CHAT_ADMIN_REQUIRED".into()),
            Some(member) if !member.may.invite => Err("USER_BANNED_IN_CHANNEL".into()),
            Some(_) if !chat.open.invite => Err("CHAT_ADMIN_REQUIRED".into()),
            Some(_) => Ok(()),
        }
    }

    /// Whether somebody more fits into a chat. To a channel people can be added only while it is
    /// small; by a link they come in later, too.
    pub(crate) fn has_room(&self, peer: Peer, added: bool) -> Result<(), RpcError> {
        let limits = &self.logins.limits;
        let most = match peer {
            Peer::Group(_) => limits.group_size,
            _ if !self.is_broadcast(peer) => limits.supergroup_size,
            _ if added => limits.channel_invites,
            _ => return Ok(()),
        };
        let members = self.chat(peer).map_or(0, |chat| chat.members.len());
        if members < most as usize { Ok(()) } else { Err("USERS_TOO_MUCH".into()) }
    }

    /// Whether an account is in as many supergroups and channels as it can be.
    pub(crate) fn is_full_of_channels(&self, account: i64) -> bool {
        let joined = self.user(account).chats.iter();
        let channels = joined.filter(|chat| matches!(chat, Peer::Channel(_))).count();
        channels >= self.logins.limits.channels_per_account as usize
    }

    /// What a person's state and settings say to being added by `account`.
    ///
    /// `channels.inviteToChannel` documents no `USER_ALREADY_PARTICIPANT`, but clients have been
    /// told so, and they are here. Who blocked the account is named like anybody whose settings do
    /// not allow it: the answer does not tell on them.
    pub(crate) fn may_be_added(
        &self,
        account: i64,
        peer: Peer,
        person: i64,
    ) -> Result<(), NotAdded> {
        let (inviter, user) = (self.user(account), self.user(person));
        let chat = self.chat(peer).ok_or("CHAT_ID_INVALID")?;
        let channel = matches!(peer, Peer::Channel(_));
        if user.deleted {
            return Err("INPUT_USER_DEACTIVATED".into());
        }
        if chat.members.contains_key(&person) {
            return Err("USER_ALREADY_PARTICIPANT".into());
        }
        if user.is_bot() {
            self.may_bot_be_added(peer, person)?;
        }
        self.has_room(peer, true).map_err(NotAdded::Error)?;
        if inviter.privacy.blocked.contains(&person) {
            return Err("USER_BLOCKED".into());
        }
        // A supergroup or channel remembers whom it removed; a basic group only that they are out.
        if chat.banned.contains(&person) {
            return Err(if channel { "USER_KICKED" } else { "USER_NOT_MUTUAL_CONTACT" }.into());
        }
        if chat.left.contains(&person) && !self.are_mutual(account, person) {
            return Err("USER_NOT_MUTUAL_CONTACT".into());
        }
        if channel && self.is_full_of_channels(person) {
            return Err("USER_CHANNELS_TOO_MUCH".into());
        }
        let needs_premium = self.needs_premium(account, person);
        let refuses = user.privacy.refuse_invites && !user.is_bot();
        if refuses || needs_premium || user.privacy.blocked.contains(&account) {
            return Err(NotAdded::Missing {
                premium_would_allow_invite: needs_premium && !refuses,
                premium_required_for_pm: needs_premium,
            });
        }
        Ok(())
    }

    fn may_bot_be_added(&self, peer: Peer, bot: i64) -> Result<(), NotAdded> {
        if self.is_broadcast(peer) {
            return Err("USER_BOT".into());
        }
        if self.user(bot).privacy.refuse_invites {
            return Err("BOT_GROUPS_BLOCKED".into());
        }
        let members = self.chat(peer).into_iter().flat_map(|chat| chat.members.keys());
        let bots = members.filter(|member| self.user(**member).is_bot()).count();
        let most = self.logins.limits.bots_per_chat as usize;
        if bots < most { Ok(()) } else { Err("BOTS_TOO_MUCH".into()) }
    }

    /// Whether only those with Telegram Premium may reach a person, and `account` has none. Those
    /// whom they have as a contact, or wrote to, may.
    /// Source: <https://core.telegram.org/api/privacy#require-premium-for-new-non-contact-users>.
    pub(crate) fn needs_premium(&self, account: i64, person: i64) -> bool {
        let required = self.user(person).privacy.premium_required;
        required && !self.user(account).premium && !self.is_welcome(account, person)
    }

    /// What a message of `account` to a person costs in stars, if it costs anything.
    /// Source: <https://core.telegram.org/api/paid-messages>.
    pub(crate) fn price(&self, account: i64, person: i64) -> Option<i64> {
        let price = i64::from(self.user(person).privacy.paid_messages);
        (price > 0 && account != person && !self.is_welcome(account, person)).then_some(price)
    }

    /// Whether a person has `account` as a contact or has written to it.
    fn is_welcome(&self, account: i64, person: i64) -> bool {
        self.has_contact(person, account) || self.was_written_to(account, person)
    }

    /// Whether `account` has a message of that person.
    pub(crate) fn was_written_to(&self, account: i64, person: i64) -> bool {
        let dialog = self.user(account).dialogs.get(&Peer::User(person));
        dialog.is_some_and(|dialog| dialog.heard)
    }

    /// Whether a message of `account` to a person who is not the account itself gets through;
    /// `stars` is what it offers to pay.
    pub(crate) fn may_write_to(
        &self,
        account: i64,
        person: i64,
        stars: i64,
    ) -> Result<(), RpcError> {
        let (sender, receiver) = (self.user(account), self.user(person));
        if receiver.deleted {
            return Err("INPUT_USER_DEACTIVATED".into());
        }
        if receiver.is_bot() && sender.is_bot() {
            return Err("USER_IS_BOT".into());
        }
        if sender.privacy.blocked.contains(&person) {
            return Err("YOU_BLOCKED_USER".into());
        }
        if receiver.privacy.blocked.contains(&account) {
            return Err("USER_IS_BLOCKED".into());
        }
        if let Some(error) = &receiver.privacy.refuse_messages {
            return Err(RpcError::named(error.clone()));
        }
        if self.needs_premium(account, person) {
            return Err("PRIVACY_PREMIUM_REQUIRED".into());
        }
        match self.price(account, person) {
            Some(price) if stars < price => {
                Err(RpcError::named(format!("ALLOW_PAYMENT_REQUIRED_{price}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::chats::Kind;
    use crate::world::dcs::Dcs;
    use crate::world::membership::Entrance;
    use crate::world::messages::Content;
    use crate::world::users::NewUser;
    use std::net::{Ipv4Addr, SocketAddrV4};

    /// An admin of a chat, and somebody who is not in it.
    fn world(kind: Kind) -> (World, i64, i64, Peer) {
        let mut world = World::new(1, Dcs::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), &[]));
        let admin = world.add_user(NewUser::default()).unwrap();
        let person = world.add_user(NewUser::default()).unwrap();
        let peer = world.add_chat(kind, "Chat".to_owned(), None, &[], &[admin]).unwrap();
        (world, admin, person, peer)
    }

    fn missing(premium_would_allow_invite: bool, premium_required_for_pm: bool) -> NotAdded {
        NotAdded::Missing { premium_would_allow_invite, premium_required_for_pm }
    }

    #[test]
    fn settings_of_a_person_are_named_with_what_premium_would_change() {
        let (mut world, admin, person, peer) = world(Kind::Supergroup);
        assert_eq!(world.may_be_added(admin, peer, person), Ok(()));
        for (refuse_invites, premium_required, named) in [
            (true, false, missing(false, false)),
            (false, true, missing(true, true)),
            (true, true, missing(false, true)),
        ] {
            let privacy = &mut world.user_mut(person).privacy;
            (privacy.refuse_invites, privacy.premium_required) = (refuse_invites, premium_required);
            assert_eq!(world.may_be_added(admin, peer, person), Err(named));
        }
        world.user_mut(admin).premium = true;
        assert_eq!(world.may_be_added(admin, peer, person), Err(missing(false, false)));
        world.user_mut(person).privacy.refuse_invites = false;
        assert_eq!(world.may_be_added(admin, peer, person), Ok(()));
    }

    #[test]
    fn who_left_is_added_by_mutual_contacts_only_and_who_was_removed_by_nobody() {
        let (mut world, admin, person, peer) = world(Kind::Supergroup);
        world.join(peer, person, Entrance::Door, None);
        let inside = world.may_be_added(admin, peer, person);
        assert_eq!(inside, Err("USER_ALREADY_PARTICIPANT".into()));
        world.leave_freely(peer, person, None);
        let left = Err("USER_NOT_MUTUAL_CONTACT".into());
        assert_eq!(world.may_be_added(admin, peer, person), left);
        let mut know = |one, other| {
            let (name, none) = ("Friend".to_owned(), String::new());
            world.put_contact(one, other, name, none.clone(), none, false);
        };
        know(admin, person);
        know(person, admin);
        assert_eq!(world.may_be_added(admin, peer, person), Ok(()));
        world.ban(peer, person);
        assert_eq!(world.may_be_added(admin, peer, person), Err("USER_KICKED".into()));
    }

    #[test]
    fn rooms_are_as_large_as_the_limits_say() {
        let (mut world, admin, person, peer) = world(Kind::Channel);
        world.logins.limits.channel_invites = 1;
        let full = Err(NotAdded::Error("USERS_TOO_MUCH".into()));
        assert_eq!(world.may_be_added(admin, peer, person), full);
        assert_eq!(world.has_room(peer, false), Ok(()));
        world.logins.limits.channel_invites = 2;
        world.logins.limits.channels_per_account = 0;
        let full = Err("USER_CHANNELS_TOO_MUCH".into());
        assert_eq!(world.may_be_added(admin, peer, person), full);
    }

    #[test]
    fn bots_come_into_groups_that_they_allow_and_into_no_channel() {
        let (mut world, admin, _, channel) = world(Kind::Channel);
        let bot = world.add_user(NewUser { bot: true, ..NewUser::default() }).unwrap();
        let group = world.add_chat(Kind::Group, "G".to_owned(), None, &[], &[admin]).unwrap();
        assert_eq!(world.may_be_added(admin, channel, bot), Err("USER_BOT".into()));
        assert_eq!(world.may_be_added(admin, group, bot), Ok(()));
        world.logins.limits.bots_per_chat = 0;
        assert_eq!(world.may_be_added(admin, group, bot), Err("BOTS_TOO_MUCH".into()));
        world.user_mut(bot).privacy.refuse_invites = true;
        assert_eq!(world.may_be_added(admin, group, bot), Err("BOT_GROUPS_BLOCKED".into()));
    }

    #[test]
    fn who_may_write_depends_on_both_and_on_who_wrote_first() {
        let (mut world, me, person, _) = world(Kind::Group);
        world.user_mut(me).privacy.blocked.insert(person);
        assert_eq!(world.may_write_to(me, person, 0), Err("YOU_BLOCKED_USER".into()));
        world.user_mut(me).privacy.blocked.clear();
        world.user_mut(person).privacy.premium_required = true;
        assert_eq!(world.may_write_to(me, person, 0), Err("PRIVACY_PREMIUM_REQUIRED".into()));
        let privacy = &mut world.user_mut(person).privacy;
        (privacy.premium_required, privacy.paid_messages) = (false, 7);
        let unpaid = Err(RpcError { code: 403, name: "ALLOW_PAYMENT_REQUIRED_7".into() });
        assert_eq!(world.may_write_to(me, person, 6), unpaid);
        assert_eq!(world.may_write_to(me, person, 7), Ok(()));
        world.post_to_user(me, person, Content::text("hello"), None);
        world.user_mut(person).privacy.premium_required = true;
        assert_eq!(world.may_write_to(me, person, 0), Ok(()));
        world.user_mut(person).deleted = true;
        assert_eq!(world.may_write_to(me, person, 0), Err("INPUT_USER_DEACTIVATED".into()));
    }
}
