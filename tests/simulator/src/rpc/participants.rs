//! Who is in a supergroup or channel.
//!
//! As on the real server, whoever cannot look into a channel (banned, or no longer in a private
//! one) learns nothing but `CHANNEL_PRIVATE`, even about themselves. Banned people are shown as
//! banned to those inside.

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::world::blank;
use crate::world::chats::{Chat, Member, Role};
use crate::world::ids::Peer;
use crate::world::rights::{Permissions, admin_rights, banned_rights};
use crate::world::view::Cast;

/// Most participants one page holds.
const MAX_LIMIT: i32 = 200;

pub(super) fn get_participant(
    call: &mut Call,
    request: functions::channels::GetParticipant,
) -> Answer<functions::channels::GetParticipant> {
    let channel = call.readable_channel(&request.channel)?;
    let Ok(Peer::User(user)) = call.input_peer(&request.participant) else {
        return Err("PARTICIPANT_ID_INVALID".into());
    };
    let chat = &channel.chat;
    if channel.broadcast && user != call.me && !chat.is_admin(call.me) {
        return Err("CHAT_ADMIN_REQUIRED".into());
    }
    let participant = match chat.members.get(&user) {
        Some(member) => participant(call.me, user, *member),
        None if chat.banned.contains(&user) => banned(user),
        None => return Err("USER_NOT_PARTICIPANT".into()),
    };
    let cast = Cast::of([Peer::User(user), Peer::Channel(chat.id)]);
    let (chats, users) = (cast.chats(call.world, call.me), cast.users(call.world, call.me));
    Ok(types::channels::ChannelParticipant { participant, chats, users }.into())
}

pub(super) fn get_participants(
    call: &mut Call,
    request: functions::channels::GetParticipants,
) -> Answer<functions::channels::GetParticipants> {
    let channel = call.readable_channel(&request.channel)?;
    let chat = &channel.chat;
    let admin = chat.is_admin(call.me);
    if channel.broadcast && !admin {
        return Err("CHAT_ADMIN_REQUIRED".into());
    }
    let all = matching(call, chat, &request.filter);
    let page: Vec<i64> = all
        .iter()
        .copied()
        .skip(request.offset.max(0) as usize)
        .take(request.limit.clamp(0, MAX_LIMIT) as usize)
        .collect();
    let view = |&user: &i64| match chat.members.get(&user) {
        Some(member) => participant(call.me, user, *member),
        None => banned(user),
    };
    let cast = Cast::of(page.iter().map(|user| Peer::User(*user)));
    Ok(types::channels::ChannelParticipants {
        count: all.len() as i32,
        participants: page.iter().map(view).collect(),
        chats: Vec::new(),
        users: cast.users(call.world, call.me),
    }
    .into())
}

fn matching(call: &Call, chat: &Chat, filter: &enums::ChannelParticipantsFilter) -> Vec<i64> {
    use enums::ChannelParticipantsFilter as Filter;
    let members = || chat.members.keys().copied();
    let named = |query: &str| {
        let query = query.to_lowercase();
        members()
            .filter(|id| {
                let user = call.world.user(*id);
                user.first_name.to_lowercase().contains(&query)
                    || user
                        .username
                        .as_ref()
                        .is_some_and(|name| name.to_lowercase().contains(&query))
            })
            .collect()
    };
    match filter {
        Filter::ChannelParticipantsAdmins => members().filter(|id| chat.is_admin(*id)).collect(),
        Filter::ChannelParticipantsBots => {
            members().filter(|id| call.world.user(*id).is_bot()).collect()
        }
        Filter::ChannelParticipantsKicked(_) | Filter::ChannelParticipantsBanned(_) => {
            chat.banned.iter().copied().collect()
        }
        Filter::ChannelParticipantsSearch(search) => named(&search.q),
        Filter::ChannelParticipantsContacts(search) => named(&search.q),
        _ => members().collect(),
    }
}

fn participant(viewer: i64, user_id: i64, member: Member) -> enums::ChannelParticipant {
    let own = viewer == user_id;
    let Member { role, joined: date, inviter, may } = member;
    let (rank, subscription_until_date) = (None, None);
    match role {
        Role::Creator => {
            let admin_rights = admin_rights(may);
            types::ChannelParticipantCreator { user_id, admin_rights, rank }.into()
        }
        Role::Member if may != Permissions::ALL => types::ChannelParticipantBanned {
            left: false,
            peer: Peer::User(user_id).into(),
            kicked_by: user_id,
            date,
            banned_rights: banned_rights(may, i32::MAX),
            rank,
        }
        .into(),
        Role::Admin => types::ChannelParticipantAdmin {
            can_edit: false,
            is_self: own,
            user_id,
            inviter_id: own.then_some(inviter),
            promoted_by: user_id,
            date,
            admin_rights: admin_rights(may),
            rank,
        }
        .into(),
        Role::Member if own => types::ChannelParticipantSelf {
            via_request: false,
            user_id,
            inviter_id: inviter,
            date,
            subscription_until_date,
            rank,
        }
        .into(),
        Role::Member => {
            types::ChannelParticipant { user_id, date, subscription_until_date, rank }.into()
        }
    }
}

fn banned(user: i64) -> enums::ChannelParticipant {
    let view_messages = true;
    types::ChannelParticipantBanned {
        left: true,
        peer: Peer::User(user).into(),
        kicked_by: user,
        date: 0,
        banned_rights: types::ChatBannedRights { view_messages, ..blank::BANNED_RIGHTS.clone() }
            .into(),
        rank: None,
    }
    .into()
}
