//! Basic groups.

use grammers_tl_types::{enums, functions, types};

use super::invites::own_link;
use super::{Answer, Call};
use crate::error::RpcError;
use crate::world::blank;
use crate::world::chats::{Group, Role};
use crate::world::ids::Peer;
use crate::world::view::Cast;

impl Call<'_> {
    /// A group the caller is in.
    fn own_group(&self, id: i64) -> Result<&Group, RpcError> {
        let group = self.world.groups.get(&id).ok_or("CHAT_ID_INVALID")?;
        let inside = group.chat.members.contains_key(&self.me);
        if inside { Ok(group) } else { Err("CHAT_FORBIDDEN".into()) }
    }
}

pub(super) fn get_chats(
    call: &mut Call,
    request: functions::messages::GetChats,
) -> Answer<functions::messages::GetChats> {
    if request.id.iter().any(|id| !call.world.groups.contains_key(id)) {
        return Err("CHAT_ID_INVALID".into());
    }
    let chats = Cast::of(request.id.into_iter().map(Peer::Group)).chats(call.world, call.me);
    Ok(types::messages::Chats { chats }.into())
}

pub(super) fn get_full_chat(
    call: &mut Call,
    request: functions::messages::GetFullChat,
) -> Answer<functions::messages::GetFullChat> {
    let group = call.own_group(request.chat_id)?;
    let chat = &group.chat;
    let participants = chat.members.iter().map(|(&user_id, member)| {
        let (inviter_id, date, rank) = (member.inviter, member.joined, None);
        match member.role {
            Role::Creator => types::ChatParticipantCreator { user_id, rank }.into(),
            Role::Admin => enums::ChatParticipant::from(types::ChatParticipantAdmin {
                user_id,
                inviter_id,
                date,
                rank,
            }),
            Role::Member => types::ChatParticipant { user_id, inviter_id, date, rank }.into(),
        }
    });
    let participants = types::ChatParticipants {
        chat_id: chat.id,
        participants: participants.collect(),
        version: group.version,
    };
    let admin = chat.is_admin(call.me);
    let requesters = call.world.requesters(Peer::Group(chat.id));
    let full_chat = types::ChatFull {
        id: chat.id,
        participants: participants.into(),
        exported_invite: own_link(call, chat),
        requests_pending: (admin && !requesters.is_empty()).then_some(requesters.len() as i32),
        recent_requesters: (admin && !requesters.is_empty()).then_some(requesters),
        ..blank::CHAT_FULL.clone()
    };
    let members = chat.members.keys().map(|user| Peer::User(*user));
    let cast = Cast::of(members.chain([Peer::Group(chat.id)]));
    let (chats, users) = (cast.chats(call.world, call.me), cast.users(call.world, call.me));
    Ok(types::messages::ChatFull { full_chat: full_chat.into(), chats, users }.into())
}

pub(super) fn delete_chat_user(
    call: &mut Call,
    request: functions::messages::DeleteChatUser,
) -> Answer<functions::messages::DeleteChatUser> {
    let chat = &call.own_group(request.chat_id)?.chat;
    let user = call.input_user(&request.user_id)?;
    if user != call.me && !chat.is_admin(call.me) {
        return Err("CHAT_ADMIN_REQUIRED".into());
    }
    if !chat.members.contains_key(&user) {
        return Err("USER_NOT_PARTICIPANT".into());
    }
    let peer = Peer::Group(request.chat_id);
    let origin = Some(call.origin);
    let posted = if user == call.me {
        call.world.leave_freely(peer, user, origin)
    } else {
        call.world.leave(peer, user, call.me, origin)
    };
    Ok(call.changed(peer, posted))
}
