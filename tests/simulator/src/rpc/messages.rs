//! Reading messages.

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::error::RpcError;
use crate::world::history::{Page, select};
use crate::world::ids::Peer;
use crate::world::messages::Message;
use crate::world::view::Cast;

/// Most messages one call may ask for by id.
const MAX_IDS: usize = 100;

pub(super) fn get_history(
    call: &mut Call,
    request: functions::messages::GetHistory,
) -> Answer<functions::messages::GetHistory> {
    call.forbid_bots()?;
    let peer = call.input_peer(&request.peer)?;
    let page = Page {
        offset_id: request.offset_id,
        offset_date: request.offset_date,
        add_offset: request.add_offset,
        limit: request.limit,
        max_id: request.max_id,
        min_id: request.min_id,
    };
    let all: Vec<&Message> = match peer {
        Peer::Channel(id) => call.readable(id)?.history().collect(),
        _ => call.world.user(call.me).dialog_messages(peer),
    };
    let total = all.len();
    let selected = select(&all, |message| (message.id, message.date), page);
    Ok(call.message_list(peer, &selected, total))
}

pub(super) fn get_messages(
    call: &mut Call,
    request: functions::messages::GetMessages,
) -> Answer<functions::messages::GetMessages> {
    let owner = call.world.user(call.me);
    let wanted = ids(&request.id)?;
    Ok(call.found(&wanted, |id| owner.message(id), None))
}

pub(super) fn get_channel_messages(
    call: &mut Call,
    request: functions::channels::GetMessages,
) -> Answer<functions::channels::GetMessages> {
    let channel = call.readable_channel(&request.channel)?;
    let wanted = ids(&request.id)?;
    Ok(call.found(&wanted, |id| channel.message(id), Some(channel.pts())))
}

fn ids(wanted: &[enums::InputMessage]) -> Result<Vec<i32>, RpcError> {
    if wanted.len() > MAX_IDS {
        return Err("MESSAGE_IDS_TOO_MANY".into());
    }
    let id = |input: &enums::InputMessage| match input {
        enums::InputMessage::Id(message) => message.id,
        enums::InputMessage::ReplyTo(message) => message.id,
        _ => 0,
    };
    Ok(wanted.iter().map(id).collect())
}

impl Call<'_> {
    /// Messages by id, in the order asked for, with holes as empty messages.
    fn found<'m>(
        &self,
        wanted: &[i32],
        find: impl Fn(i32) -> Option<&'m Message>,
        channel_pts: Option<i32>,
    ) -> enums::messages::Messages {
        let view = |&id: &i32| match find(id) {
            Some(message) => self.world.message_view(self.me, message),
            None => types::MessageEmpty { id, peer_id: None }.into(),
        };
        let messages: Vec<_> = wanted.iter().map(view).collect();
        let found = wanted.iter().filter_map(|id| find(*id));
        let cast = Cast::default().with_messages(self.world, found);
        let count = messages.len() as i32;
        self.list(messages, &cast, count, false, channel_pts)
    }

    fn message_list(
        &self,
        peer: Peer,
        messages: &[&Message],
        total: usize,
    ) -> enums::messages::Messages {
        let mut cast = Cast::default().with_messages(self.world, messages.iter().copied());
        cast.add(peer);
        let views = self.world.messages_view(self.me, messages.iter().copied());
        let pts = match peer {
            Peer::Channel(id) => self.world.channels.get(&id).map(|channel| channel.pts()),
            _ => None,
        };
        self.list(views, &cast, total as i32, messages.len() < total, pts)
    }

    fn list(
        &self,
        messages: Vec<enums::Message>,
        cast: &Cast,
        count: i32,
        partial: bool,
        channel_pts: Option<i32>,
    ) -> enums::messages::Messages {
        use types::messages as t;
        let chats = cast.chats(self.world, self.me);
        let users = cast.users(self.world, self.me);
        let topics = Vec::new();
        let (inexact, offset_id_offset, next_rate, search_flood) = (false, None, None, None);
        match channel_pts {
            Some(pts) => t::ChannelMessages {
                inexact,
                pts,
                count,
                offset_id_offset,
                messages,
                topics,
                chats,
                users,
            }
            .into(),
            None if partial => t::MessagesSlice {
                inexact,
                count,
                next_rate,
                offset_id_offset,
                search_flood,
                messages,
                topics,
                chats,
                users,
            }
            .into(),
            None => t::Messages { messages, topics, chats, users }.into(),
        }
    }
}

/// Only the reader's own mark moves; nobody is told, so no number of the sequence is used.
pub(super) fn read_history(
    call: &mut Call,
    request: functions::messages::ReadHistory,
) -> Answer<functions::messages::ReadHistory> {
    call.forbid_bots()?;
    let peer = call.input_peer(&request.peer)?;
    let owner = call.world.user_mut(call.me);
    if let Some(dialog) = owner.dialogs.get_mut(&peer) {
        let newest = dialog.ids.last().copied().unwrap_or(0);
        let read = if request.max_id > 0 { request.max_id.min(newest) } else { newest };
        dialog.read_inbox = dialog.read_inbox.max(read);
    }
    Ok(types::messages::AffectedMessages { pts: owner.pts(), pts_count: 0 }.into())
}
