//! Sending and reading messages.

use std::sync::Arc;
use std::time::Instant;

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::error::RpcError;
use crate::world::history::{Page, select};
use crate::world::ids::Peer;
use crate::world::messages::{Content, Extras, Message, Posted};
use crate::world::view::Cast;

/// Longest message, in UTF-16 code units.
const MAX_LENGTH: usize = 4096;
/// Most messages one call may ask for by id.
const MAX_IDS: usize = 100;

pub(super) fn send_message(
    call: &mut Call,
    request: functions::messages::SendMessage,
) -> Answer<functions::messages::SendMessage> {
    let peer = call.input_peer(&request.peer)?;
    if request.message.is_empty() {
        return Err("MESSAGE_EMPTY".into());
    }
    if request.message.encode_utf16().count() > MAX_LENGTH {
        return Err("MESSAGE_TOO_LONG".into());
    }
    call.may_write(peer)?;
    if !call.world.user_mut(call.me).random_ids.insert(request.random_id) {
        return Err("RANDOM_ID_DUPLICATE".into());
    }
    let content = content(&request);
    let (me, origin) = (call.me, Some(call.origin));
    match peer {
        Peer::User(to) => {
            let posted = call.world.post_to_user(to, me, content, origin);
            let (text, random_id) = (&request.message, request.random_id);
            call.world.violations.sent(me, to, text, random_id, Instant::now());
            Ok(sent_to_user(posted, request.entities))
        }
        Peer::Group(id) => {
            let posted = call
                .world
                .post_to_group(id, me, &content, None, origin)
                .ok_or("CHAT_WRITE_FORBIDDEN")?;
            Ok(call.sent(peer, posted, Some(request.random_id)))
        }
        Peer::Channel(id) => {
            let posted = call.world.post_to_channel(id, me, content, origin);
            Ok(call.sent(peer, posted, Some(request.random_id)))
        }
    }
}

fn content(request: &functions::messages::SendMessage) -> Content {
    let reply_to = match &request.reply_to {
        Some(enums::InputReplyTo::Message(reply)) => Some(reply.reply_to_msg_id),
        _ => None,
    };
    let entities = request.entities.clone().filter(|entities| !entities.is_empty());
    let extras = Extras { entities, reply_to };
    let plain = extras.entities.is_none() && extras.reply_to.is_none();
    let extras = (!plain).then(|| Arc::new(extras));
    Content::Text { text: request.message.as_str().into(), extras }
}

fn sent_to_user(posted: Posted, entities: Option<Vec<enums::MessageEntity>>) -> enums::Updates {
    let Posted { id, pts, date } = posted;
    let (media, ttl_period) = (None, None);
    let (out, pts_count) = (true, 1);
    types::UpdateShortSentMessage { out, id, pts, pts_count, date, media, entities, ttl_period }
        .into()
}

impl Call<'_> {
    fn may_write(&self, peer: Peer) -> Result<(), RpcError> {
        let may = match peer {
            Peer::User(_) => true,
            Peer::Group(_) => {
                self.world.chat(peer).is_some_and(|chat| chat.members.contains_key(&self.me))
            }
            Peer::Channel(id) => self.readable(id)?.writable_by(self.me),
        };
        if may { Ok(()) } else { Err("CHAT_WRITE_FORBIDDEN".into()) }
    }

    /// Updates that answer a call which made a message in a group or channel.
    pub(super) fn sent(
        &self,
        peer: Peer,
        posted: Posted,
        random_id: Option<i64>,
    ) -> enums::Updates {
        let world = &*self.world;
        let message = match peer {
            Peer::Channel(id) => {
                world.channels.get(&id).and_then(|channel| channel.message(posted.id))
            }
            _ => world.user(self.me).message(posted.id),
        };
        let message = message.expect("the message was just posted");
        let new = match peer {
            Peer::Channel(_) => world.channel_message_update(self.me, message, posted.pts),
            _ => world.new_message_update(self.me, message, posted.pts),
        };
        let number =
            random_id.map(|random_id| types::UpdateMessageId { id: posted.id, random_id }.into());
        let updates = number.into_iter().chain([new]).collect();
        world.updates(self.me, updates, &world.cast_of(message))
    }
}

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
