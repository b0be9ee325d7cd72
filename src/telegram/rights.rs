//! What an account may do in a group or channel, from the flags that Telegram gives with it. Never
//! joins.

use grammers_client::tl;
use grammers_client::tl::enums::{Chat, ChatInvite};

use super::chats::{look_at, membership, migrated_to, not_found, resolve};
use super::convert::{chat_id, chat_title};
use super::link::RawCaller;
use super::peers::{marked, peer_of_chat};
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId, PeerKind};
use crate::protocol::telegram::failure::Failure;

/// Kinds of chat that one may be a member of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatKind {
    /// A basic group.
    Group,
    /// A group of the newer kind, which is a channel at Telegram.
    Supergroup,
    /// A channel whose admins write.
    Channel,
}

impl ChatKind {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Supergroup => "supergroup",
            Self::Channel => "channel",
        }
    }
}

/// What an account may do in a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatRights {
    /// How to name the chat.
    pub peer: PeerRecord,
    /// Its title.
    pub title: String,
    /// Its kind.
    pub kind: ChatKind,
    /// Its public name, without `@`.
    pub username: Option<String>,
    /// Whether the account is in it.
    pub is_member: bool,
    /// Whether the account is an admin there, or made it.
    pub is_admin: bool,
    /// Whether the account may write texts there now.
    pub can_post: bool,
    /// Whether the account may invite others.
    pub can_invite: bool,
}

/// Looks a chat up and reads the account's rights. One call where the chat is known or public. A basic
/// group that has become a supergroup is answered as that.
///
/// # Errors
/// [`Failure::ChatLost`] when the account was banned, or the chat is closed to it;
/// [`Failure::Rejected`] for people.
pub(super) async fn look_up(
    caller: &RawCaller,
    target: &ChatTarget,
    known: Option<PeerRecord>,
    is_bot: bool,
) -> Result<ChatRights, Failure> {
    let found = find(caller, target, known, is_bot).await?;
    rights_in(&found.chat, found.known)
}

/// A chat as it was looked up.
pub(super) struct FoundChat {
    /// Its flags; of a basic group that was upgraded, the supergroup's.
    pub(super) chat: Chat,
    /// How it is known to be named.
    pub(super) known: Option<PeerRecord>,
    /// The basic group that has become it.
    pub(super) upgraded_from: Option<MarkedId>,
}

/// Looks a chat up, as [`look_up`] does.
pub(super) async fn find(
    caller: &RawCaller,
    target: &ChatTarget,
    known: Option<PeerRecord>,
    is_bot: bool,
) -> Result<FoundChat, Failure> {
    let chat = match target {
        ChatTarget::Username(name) => by_username(caller, name).await?,
        ChatTarget::Invite(hash) => behind_invite(caller, hash).await?,
        ChatTarget::Marked(id) if id.kind() == PeerKind::User => return Err(no_chat()),
        ChatTarget::Marked(_) => {
            let found = resolve(caller, target, known, is_bot).await?;
            look_at(caller, &found.peer).await?
        }
    };
    let Some(successor) = migrated_to(&chat) else {
        return Ok(FoundChat { chat, known, upgraded_from: None });
    };
    let upgraded_from = chat_id(&chat);
    let chat = look_at(caller, &successor).await?;
    Ok(FoundChat { chat, known: Some(successor), upgraded_from })
}

pub(super) fn no_chat() -> Failure {
    Failure::Rejected { code: "NOT_A_CHAT".into() }
}

async fn by_username(caller: &RawCaller, name: &str) -> Result<Chat, Failure> {
    let request = tl::functions::contacts::ResolveUsername { username: name.into(), referer: None };
    let tl::enums::contacts::ResolvedPeer::Peer(found) = caller.call(&request).await?;
    let id = marked(&found.peer);
    if id.kind() == PeerKind::User {
        return Err(no_chat());
    }
    let mut chats = found.chats.into_iter();
    chats.find(|chat| chat_id(chat) == Some(id)).ok_or_else(not_found)
}

/// Without being in it one learns of a private chat little more than its title.
async fn behind_invite(caller: &RawCaller, hash: &str) -> Result<Chat, Failure> {
    match caller.call(&tl::functions::messages::CheckChatInvite { hash: hash.into() }).await? {
        ChatInvite::Already(invite) => Ok(invite.chat),
        ChatInvite::Peek(invite) => Ok(invite.chat),
        ChatInvite::Invite(_) => Err(Failure::ChatLost { code: "USER_NOT_PARTICIPANT".into() }),
    }
}

pub(super) fn rights_in(chat: &Chat, known: Option<PeerRecord>) -> Result<ChatRights, Failure> {
    let is_member = match membership(chat) {
        Ok(()) => true,
        Err(Failure::ChatLost { code }) if code == "USER_NOT_PARTICIPANT" => false,
        Err(loss) => return Err(loss),
    };
    let (kind, username, place) = match chat {
        Chat::Chat(group) => (ChatKind::Group, None, in_group(group)),
        Chat::Channel(channel) => {
            let kind = if channel.broadcast { ChatKind::Channel } else { ChatKind::Supergroup };
            (kind, public_name(channel), in_channel(channel))
        }
        _ => return Err(not_found()),
    };
    // Seen in passing it comes without its access hash, which may be known from before.
    let peer = peer_of_chat(chat).or(known).ok_or_else(not_found)?;
    let is_broadcast = kind == ChatKind::Channel;
    Ok(ChatRights {
        peer,
        title: chat_title(chat).unwrap_or_default().to_owned(),
        kind,
        username,
        is_member,
        is_admin: is_member && place.is_admin,
        can_post: is_member && place.may(place.admin_posts, is_broadcast, place.posts),
        can_invite: is_member && place.may(place.admin_invites, is_broadcast, place.invites),
    })
}

/// An account's place in a chat.
struct Membership {
    is_creator: bool,
    is_admin: bool,
    admin_posts: bool,
    admin_invites: bool,
    /// Whether ordinary members write, this one among them.
    posts: bool,
    /// Whether ordinary members invite, this one among them.
    invites: bool,
}

impl Membership {
    /// Its maker may all; in channels, only those admins whose rights say so; in groups, members
    /// unless they are kept from it.
    fn may(&self, as_admin: bool, is_broadcast: bool, as_member: bool) -> bool {
        self.is_creator || as_admin || !is_broadcast && as_member
    }
}

fn in_group(group: &tl::types::Chat) -> Membership {
    let is_admin = group.creator || group.admin_rights.is_some();
    let admin = group.admin_rights.as_ref().map(|rights| admin(rights).invite_users);
    let (posts, invites) = left_by(&[&group.default_banned_rights]);
    Membership {
        is_creator: group.creator,
        is_admin,
        admin_posts: is_admin,
        admin_invites: admin.unwrap_or(false),
        posts,
        invites,
    }
}

/// Whether the account decides who is let in, and so is told who asks
/// (<https://core.telegram.org/api/invites#join-requests>).
pub(super) fn lets_people_in(channel: &tl::types::Channel) -> bool {
    channel.creator
        || channel.admin_rights.as_ref().is_some_and(|rights| admin(rights).invite_users)
}

fn in_channel(channel: &tl::types::Channel) -> Membership {
    let admin = channel.admin_rights.as_ref().map(admin);
    let is_admin = channel.creator || admin.is_some();
    let (posts, invites) = left_by(&[&channel.default_banned_rights, &channel.banned_rights]);
    Membership {
        is_creator: channel.creator,
        is_admin,
        // The right to post is one of channels; in groups all admins write.
        admin_posts: admin.is_some_and(|rights| !channel.broadcast || rights.post_messages),
        admin_invites: admin.is_some_and(|rights| rights.invite_users),
        // In a gigagroup only admins write.
        posts: posts && !channel.gigagroup,
        invites,
    }
}

fn admin(rights: &tl::enums::ChatAdminRights) -> &tl::types::ChatAdminRights {
    let tl::enums::ChatAdminRights::Rights(rights) = rights;
    rights
}

/// Whether these restrictions leave the right to write texts, and to invite.
fn left_by(restrictions: &[&Option<tl::enums::ChatBannedRights>]) -> (bool, bool) {
    let (mut posts, mut invites) = (true, true);
    for restriction in restrictions.iter().filter_map(|restriction| restriction.as_ref()) {
        let tl::enums::ChatBannedRights::Rights(taken) = restriction;
        posts &= !taken.send_messages && !taken.send_plain;
        invites &= !taken.invite_users;
    }
    (posts, invites)
}

/// The first of the names under which it is found.
pub(super) fn public_name(channel: &tl::types::Channel) -> Option<String> {
    let further = channel.usernames.iter().flatten().find_map(|name| match name {
        tl::enums::Username::Username(name) if name.active => Some(name.username.clone()),
        tl::enums::Username::Username(_) => None,
    });
    channel.username.clone().or(further)
}

#[cfg(test)]
mod tests;
