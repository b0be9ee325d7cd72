//! Catching up: `updates.*`.

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::clock::unix_seconds;
use crate::faults::FaultKind;
use crate::world::blank;
use crate::world::ids::Peer;
use crate::world::messages::Message;
use crate::world::users::Event;
use crate::world::view::Cast;

/// Most events one slice of a common difference holds.
const SLICE: usize = 1000;
/// Most events of a channel difference, for people and for bots.
const CHANNEL_LIMIT: i32 = 100;
const CHANNEL_LIMIT_OF_BOTS: i32 = 100_000;
/// Newest messages that come with a difference that is too long.
const TOO_LONG_MESSAGES: usize = 20;

pub(super) fn get_state(
    call: &mut Call,
    _: functions::updates::GetState,
) -> Answer<functions::updates::GetState> {
    Ok(call.world.state(call.me).into())
}

pub(super) fn get_difference(
    call: &mut Call,
    request: functions::updates::GetDifference,
) -> Answer<functions::updates::GetDifference> {
    use types::updates::{Difference, DifferenceEmpty, DifferenceSlice, DifferenceTooLong};
    if request.pts < 1 {
        return Err("PERSISTENT_TIMESTAMP_EMPTY".into());
    }
    let pts = call.world.user(call.me).pts();
    if call.world.faults.meets_difference(call.me, FaultKind::DifferenceTooLong) {
        return Ok(DifferenceTooLong { pts }.into());
    }
    if call.world.faults.meets_difference(call.me, FaultKind::DifferenceInCircles) {
        let here = types::updates::State { pts: request.pts, ..call.world.state(call.me) };
        return Ok(slice_without_anything(here).into());
    }
    let world = &*call.world;
    let missed = world.user(call.me).events_after(request.pts);
    if request.pts_total_limit.is_some_and(|limit| missed.len() as i32 > limit) {
        return Ok(DifferenceTooLong { pts }.into());
    }
    let limit = request.pts_limit.map_or(SLICE, |limit| (limit.max(1) as usize).min(SLICE));
    let slice = &missed[..missed.len().min(limit)];
    let whole = slice.len() == missed.len();
    let stirred = if whole { stirred_channels(call, request.date) } else { Vec::new() };
    if slice.is_empty() && stirred.is_empty() {
        return Ok(DifferenceEmpty { date: unix_seconds(), seq: 1 }.into());
    }
    let messages = world.box_messages(call.me, slice);
    let peers = stirred.iter().map(|(id, _)| Peer::Channel(*id));
    let cast = Cast::of(peers).with_messages(world, messages.iter().copied());
    let new_messages = world.messages_view(call.me, messages);
    let other_updates = stirred.iter().map(too_long_update).collect();
    let (users, chats) = (cast.users(world, call.me), cast.chats(world, call.me));
    let new_encrypted_messages = Vec::new();
    let state = world.state(call.me);
    if whole {
        let state = state.into();
        return Ok(Difference {
            new_messages,
            new_encrypted_messages,
            other_updates,
            chats,
            users,
            state,
        }
        .into());
    }
    let reached = request.pts + slice.len() as i32;
    let intermediate_state = types::updates::State { pts: reached, ..state }.into();
    Ok(DifferenceSlice {
        new_messages,
        new_encrypted_messages,
        other_updates,
        chats,
        users,
        intermediate_state,
    }
    .into())
}

fn slice_without_anything(state: types::updates::State) -> types::updates::DifferenceSlice {
    types::updates::DifferenceSlice {
        new_messages: Vec::new(),
        new_encrypted_messages: Vec::new(),
        other_updates: Vec::new(),
        chats: Vec::new(),
        users: Vec::new(),
        intermediate_state: state.into(),
    }
}

/// Joined channels in which something happened since `date`, with their numbers: the real server
/// mentions them in a difference as `updateChannelTooLong`.
fn stirred_channels(call: &Call, date: i32) -> Vec<(i64, i32)> {
    let world = &*call.world;
    let channels = world.user(call.me).chats.iter().filter_map(|peer| match peer {
        Peer::Channel(id) => world.channels.get(id),
        _ => None,
    });
    channels
        .filter(|channel| channel.messages.last().is_some_and(|last| last.date >= date))
        .map(|channel| (channel.chat.id, channel.pts()))
        .collect()
}

fn too_long_update(&(channel_id, pts): &(i64, i32)) -> enums::Update {
    types::UpdateChannelTooLong { channel_id, pts: Some(pts) }.into()
}

pub(super) fn get_channel_difference(
    call: &mut Call,
    request: functions::updates::GetChannelDifference,
) -> Answer<functions::updates::GetChannelDifference> {
    use types::updates::{ChannelDifference, ChannelDifferenceEmpty};
    let id = call.readable_channel(&request.channel)?.chat.id;
    if request.pts < 1 {
        return Err("PERSISTENT_TIMESTAMP_EMPTY".into());
    }
    if call.world.faults.meets_difference(call.me, FaultKind::ChannelDifferenceTooLong) {
        return channel_too_long(call, id, request.limit);
    }
    let world = &*call.world;
    let channel = call.readable(id)?;
    let missed = channel.events_after(request.pts);
    let timeout = None;
    if missed.is_empty() {
        return Ok(ChannelDifferenceEmpty { r#final: true, pts: channel.pts(), timeout }.into());
    }
    let most = if world.user(call.me).is_bot() { CHANNEL_LIMIT_OF_BOTS } else { CHANNEL_LIMIT };
    let slice = &missed[..missed.len().min(request.limit.clamp(1, most) as usize)];
    let messages: Vec<&Message> =
        slice.iter().filter_map(|Event::NewMessage(id)| channel.message(*id)).collect();
    let cast = Cast::of([Peer::Channel(id)]).with_messages(world, messages.iter().copied());
    Ok(ChannelDifference {
        r#final: slice.len() == missed.len(),
        pts: request.pts + slice.len() as i32,
        timeout,
        new_messages: world.messages_view(call.me, messages),
        other_updates: Vec::new(),
        chats: cast.chats(world, call.me),
        users: cast.users(world, call.me),
    }
    .into())
}

fn channel_too_long(
    call: &Call,
    id: i64,
    limit: i32,
) -> Answer<functions::updates::GetChannelDifference> {
    let world = &*call.world;
    let channel = call.readable(id)?;
    let count = (limit.max(1) as usize).min(TOO_LONG_MESSAGES);
    let newest: Vec<&Message> = channel.messages.iter().rev().take(count).collect();
    let cast = Cast::of([Peer::Channel(id)]).with_messages(world, newest.iter().copied());
    let dialog = types::Dialog {
        peer: Peer::Channel(id).into(),
        top_message: newest.first().map_or(0, |message| message.id),
        unread_count: world.unread(call.me, Peer::Channel(id)),
        pts: Some(channel.pts()),
        ..blank::DIALOG.clone()
    };
    Ok(types::updates::ChannelDifferenceTooLong {
        r#final: true,
        timeout: None,
        dialog: dialog.into(),
        messages: world.messages_view(call.me, newest),
        chats: cast.chats(world, call.me),
        users: cast.users(world, call.me),
    }
    .into())
}
