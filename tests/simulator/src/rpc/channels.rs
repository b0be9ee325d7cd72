//! Supergroups and channels: looking at them, coming and going.

use std::time::Instant;

use grammers_tl_types::{enums, functions, types};

use super::invites::own_link;
use super::{Answer, Call};
use crate::clock::unix_seconds;
use crate::error::RpcError;
use crate::world::blank;
use crate::world::ids::Peer;
use crate::world::membership::Entrance;
use crate::world::messages::Posted;
use crate::world::view::Cast;

pub(super) fn get_channels(
    call: &mut Call,
    request: functions::channels::GetChannels,
) -> Answer<functions::channels::GetChannels> {
    let mut peers = Vec::new();
    for input in &request.id {
        peers.push(Peer::Channel(call.readable_channel(input)?.chat.id));
    }
    let chats = Cast::of(peers).chats(call.world, call.me);
    Ok(types::messages::Chats { chats }.into())
}

pub(super) fn get_full_channel(
    call: &mut Call,
    request: functions::channels::GetFullChannel,
) -> Answer<functions::channels::GetFullChannel> {
    let channel = call.readable_channel(&request.channel)?;
    let (chat, me) = (&channel.chat, call.me);
    let admin = chat.is_admin(me);
    let peer = Peer::Channel(chat.id);
    let admins = chat.members.keys().filter(|member| chat.is_admin(**member)).count() as i32;
    let banned = chat.banned.len() as i32;
    let slow = &channel.slow;
    let requesters = call.world.requesters(peer);
    let read = call.world.user(me).read_in_channel.get(&chat.id).copied();
    let former = call.world.groups.values().find(|group| group.migrated_to == Some(chat.id));
    let full_chat = types::ChannelFull {
        can_view_participants: admin || !channel.broadcast,
        id: chat.id,
        participants_count: Some(chat.members.len() as i32),
        admins_count: admin.then_some(admins),
        kicked_count: admin.then_some(banned),
        banned_count: admin.then_some(banned),
        read_inbox_max_id: read.unwrap_or(0),
        unread_count: call.world.unread(me, peer),
        exported_invite: own_link(call, chat),
        migrated_from_chat_id: former.map(|group| group.chat.id),
        migrated_from_max_id: former.map(|group| group.log.len() as i32),
        requests_pending: (admin && !requesters.is_empty()).then_some(requesters.len() as i32),
        recent_requesters: (admin && !requesters.is_empty()).then_some(requesters),
        slowmode_seconds: (slow.seconds > 0).then_some(slow.seconds as i32),
        slowmode_next_send_date: slow
            .seconds_left(me, Instant::now())
            .map(|left| unix_seconds() + left as i32),
        pts: channel.pts(),
        ..blank::CHANNEL_FULL.clone()
    };
    let chats = Cast::of([peer]).chats(call.world, me);
    Ok(types::messages::ChatFull { full_chat: full_chat.into(), chats, users: vec![] }.into())
}

pub(super) fn join_channel(
    call: &mut Call,
    request: functions::channels::JoinChannel,
) -> Answer<functions::channels::JoinChannel> {
    call.forbid_bots()?;
    let id = call.input_channel(&request.channel)?;
    let peer = Peer::Channel(id);
    let chat = call.world.chat(peer).ok_or("CHANNEL_INVALID")?;
    if chat.banned.contains(&call.me) {
        return Err("USER_BANNED_IN_CHANNEL".into());
    }
    call.readable(id)?;
    call.enter(peer, Entrance::Door)
}

impl Call<'_> {
    /// Joins a chat whose door is open, and answers what the caller gets to see.
    pub(super) fn enter(
        &mut self,
        peer: Peer,
        entrance: Entrance,
    ) -> Result<enums::messages::ChatInviteJoinResult, RpcError> {
        if self.world.user(self.me).chats.contains(&peer) {
            return Err("USER_ALREADY_PARTICIPANT".into());
        }
        if matches!(peer, Peer::Channel(_)) && self.world.is_full_of_channels(self.me) {
            return Err("CHANNELS_TOO_MUCH".into());
        }
        self.world.has_room(peer, false)?;
        let posted = self.world.join(peer, self.me, entrance, Some(self.origin));
        let updates = self.changed(peer, posted);
        Ok(types::messages::ChatInviteJoinResultOk { updates }.into())
    }

    /// Updates that answer a call which changed the caller's membership.
    pub(super) fn changed(&self, peer: Peer, posted: Option<Posted>) -> enums::Updates {
        let service = posted.map(|posted| self.sent(peer, posted, None));
        let Peer::Channel(channel_id) = peer else {
            return service
                .unwrap_or_else(|| self.world.updates(self.me, Vec::new(), &Cast::of([peer])));
        };
        let mut updates = vec![types::UpdateChannel { channel_id }.into()];
        let mut cast = Cast::of([peer]);
        if let Some(enums::Updates::Updates(service)) = service {
            updates.extend(service.updates);
            cast.add(Peer::User(self.me));
        }
        self.world.updates(self.me, updates, &cast)
    }
}

pub(super) fn leave_channel(
    call: &mut Call,
    request: functions::channels::LeaveChannel,
) -> Answer<functions::channels::LeaveChannel> {
    let id = call.input_channel(&request.channel)?;
    let peer = Peer::Channel(id);
    if !call.world.user(call.me).chats.contains(&peer) {
        return Err("USER_NOT_PARTICIPANT".into());
    }
    call.world.leave_freely(peer, call.me, Some(call.origin));
    Ok(call.changed(peer, None))
}

pub(super) fn read_history(
    call: &mut Call,
    request: functions::channels::ReadHistory,
) -> Answer<functions::channels::ReadHistory> {
    call.forbid_bots()?;
    let channel = call.readable_channel(&request.channel)?;
    let (id, newest) = (channel.chat.id, channel.messages.len() as i32);
    let read = if request.max_id > 0 { request.max_id.min(newest) } else { newest };
    let mark = call.world.user_mut(call.me).read_in_channel.entry(id).or_default();
    let moved = read > *mark;
    *mark = read.max(*mark);
    Ok(moved)
}
