//! Whether an account may invite people into a group or channel, and whether there is room: what is asked before the
//! first invitation. Says what Telegram says; never invites.

use grammers_client::tl::enums::{Chat, ChatFull};

use super::full_chat::look_at_length;
use super::link::RawCaller;
use super::rights::{self, ChatKind, ChatRights};
use crate::protocol::telegram::chat::{ChatTarget, MarkedId, PeerRecord};
use crate::protocol::telegram::failure::Failure;

/// Most members of a basic group (`chat_size_max` of <https://core.telegram.org/constructor/config>).
const GROUP_MEMBERS_MAX: u32 = 200;
/// Most members of a supergroup (`megagroup_size_max` there). Gigagroups have no limit.
const SUPERGROUP_MEMBERS_MAX: u32 = 200_000;
/// From so many members on nobody can be added to a channel; people join it by themselves
/// (<https://telegram.org/faq_channels>).
const CHANNEL_ADDED_MAX: u32 = 200;

/// An account's place in a group or channel, as far as inviting goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRights {
    /// The chat and what the account may do there. Of a basic group that was upgraded, the supergroup.
    pub chat: ChatRights,
    /// The basic group that was asked for and has become this supergroup.
    pub upgraded_from: Option<MarkedId>,
    /// The basic group that this supergroup was, whichever was asked for, if the account is told.
    pub formerly: Option<MarkedId>,
    /// How many members it has, if the account is told.
    pub members: Option<u32>,
    /// Whether nobody more can be added. `None`: it cannot be known.
    pub is_full: Option<bool>,
    /// Whether the account sees who is in it, and so can settle what became of an invitation.
    pub sees_members: bool,
    /// Whether an admin has to let people in.
    pub needs_approval: bool,
}

/// Why an account cannot invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InviteObstacle {
    /// It is not in the group.
    NotMember,
    /// It is, and may not invite.
    NoRight,
    /// Nobody can be added by anybody.
    Full,
}

impl GroupRights {
    /// What keeps the account from inviting, as far as it is known.
    pub fn obstacle(&self) -> Option<InviteObstacle> {
        if !self.chat.is_member {
            return Some(InviteObstacle::NotMember);
        }
        if !self.chat.can_invite {
            return Some(InviteObstacle::NoRight);
        }
        (self.is_full == Some(true)).then_some(InviteObstacle::Full)
    }

    /// Whether nothing but the want of room keeps the account from inviting.
    pub fn lacks_room(&self) -> bool {
        self.obstacle() == Some(InviteObstacle::Full)
    }
}

/// Looks a group or channel up. Of one that the account is in, the number of members is asked for.
///
/// # Errors
/// As [`rights::look_up`].
pub(super) async fn look_up(
    caller: &RawCaller,
    target: &ChatTarget,
    known: Option<PeerRecord>,
    is_bot: bool,
) -> Result<GroupRights, Failure> {
    let found = rights::find(caller, target, known, is_bot).await?;
    let chat = rights::rights_in(&found.chat, found.known)?;
    let mut group = read(&found.chat, chat, found.upgraded_from);
    if group.chat.is_member && group.chat.kind != ChatKind::Group {
        let found = look_at_length(caller, &group.chat.peer).await?;
        add_details(&mut group, &found.chat, &found.full);
    }
    Ok(group)
}

/// What the flags say.
fn read(flags: &Chat, chat: ChatRights, upgraded_from: Option<MarkedId>) -> GroupRights {
    let (members, needs_approval) = match flags {
        Chat::Chat(group) => (Some(group.participants_count), false),
        Chat::Channel(channel) => (channel.participants_count, channel.join_request),
        _ => (None, false),
    };
    let members = members.and_then(|count| u32::try_from(count).ok());
    let is_full = fullness(flags, chat.kind, members);
    let sees_members = match chat.kind {
        ChatKind::Group | ChatKind::Supergroup => chat.is_member,
        ChatKind::Channel => chat.is_admin,
    };
    let formerly = upgraded_from;
    GroupRights { chat, upgraded_from, formerly, members, is_full, sees_members, needs_approval }
}

/// What is said at length besides.
fn add_details(group: &mut GroupRights, flags: &Chat, full: &ChatFull) {
    let ChatFull::ChannelFull(full) = full else { return };
    group.formerly = full.migrated_from_chat_id.map(MarkedId::group).or(group.formerly);
    let told = full.participants_count.and_then(|count| u32::try_from(count).ok());
    group.members = told.or(group.members);
    group.is_full = fullness(flags, group.chat.kind, group.members);
    group.sees_members &= group.chat.is_admin || full.can_view_participants;
    group.sees_members &= group.chat.is_admin || !full.participants_hidden;
}

fn fullness(flags: &Chat, kind: ChatKind, members: Option<u32>) -> Option<bool> {
    match flags {
        Chat::Channel(channel) if channel.gigagroup => Some(false),
        _ => is_full(kind, members),
    }
}

fn is_full(kind: ChatKind, members: Option<u32>) -> Option<bool> {
    let most = match kind {
        ChatKind::Group => GROUP_MEMBERS_MAX,
        ChatKind::Supergroup => SUPERGROUP_MEMBERS_MAX,
        ChatKind::Channel => CHANNEL_ADDED_MAX,
    };
    members.map(|members| members >= most)
}

#[cfg(test)]
mod tests;
