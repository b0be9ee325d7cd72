//! Sending messages.
//!
//! A random id that was accepted before is answered with the message it made, as the real server
//! has been seen to do: its number again, and the message in an update that takes no number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::error::RpcError;
use crate::violations::Violation;
use crate::world::floods::Reach;
use crate::world::ids::Peer;
use crate::world::messages::{Content, Extras, Message, Posted};
use crate::world::users::Accepted;

/// Longest message, in UTF-16 code units.
const MAX_LENGTH: usize = 4096;

pub(super) fn send_message(
    call: &mut Call,
    request: functions::messages::SendMessage,
) -> Answer<functions::messages::SendMessage> {
    let peer = call.input_peer(&request.peer)?;
    check_text(&request)?;
    if request.random_id == 0 {
        return Err("RANDOM_ID_EMPTY".into());
    }
    if let Some(accepted) = call.world.user(call.me).random_ids.get(&request.random_id) {
        return call.again(*accepted, peer, request.random_id);
    }
    call.check_reply(peer, request.reply_to.as_ref())?;
    let stars = request.allow_paid_stars.unwrap_or(0);
    call.let_write(peer, stars)?;
    let price = match peer {
        Peer::User(to) => call.world.price(call.me, to),
        _ => None,
    };
    let posted = call.post(peer, &request)?;
    let accepted = Accepted { peer, id: posted.id, pts: posted.pts };
    call.world.user_mut(call.me).random_ids.insert(request.random_id, accepted);
    call.world.counters.sends_accepted += 1;
    match peer {
        Peer::User(to) => {
            call.note_sent(to, &request.message, request.random_id, price);
            Ok(sent_to_user(posted, request.entities))
        }
        _ => Ok(call.sent(peer, posted, Some(request.random_id))),
    }
}

/// A text must be there, fit, and hold what is marked in it.
fn check_text(request: &functions::messages::SendMessage) -> Result<(), RpcError> {
    if request.message.trim().is_empty() {
        return Err("MESSAGE_EMPTY".into());
    }
    let length = request.message.encode_utf16().count();
    if length > MAX_LENGTH {
        return Err("MESSAGE_TOO_LONG".into());
    }
    let fits = |entity: &enums::MessageEntity| {
        let (offset, marked) = (entity.offset(), entity.length());
        offset >= 0 && marked > 0 && offset as usize + marked as usize <= length
    };
    let fit = request.entities.iter().flatten().all(fits);
    if fit { Ok(()) } else { Err("ENTITY_BOUNDS_INVALID".into()) }
}

fn content(request: &functions::messages::SendMessage) -> Content {
    let reply_to = request.reply_to.as_ref().and_then(replied);
    let entities = request.entities.clone().filter(|entities| !entities.is_empty());
    let extras = Extras { entities, reply_to, silent: request.silent };
    let plain = extras.entities.is_none() && extras.reply_to.is_none() && !extras.silent;
    let extras = (!plain).then(|| Arc::new(extras));
    Content::Text { text: request.message.as_str().into(), extras }
}

/// The message that is replied to, if it is one.
fn replied(reply: &enums::InputReplyTo) -> Option<i32> {
    match reply {
        enums::InputReplyTo::Message(reply) => Some(reply.reply_to_msg_id),
        _ => None,
    }
}

fn sent_to_user(posted: Posted, entities: Option<Vec<enums::MessageEntity>>) -> enums::Updates {
    let Posted { id, pts, date } = posted;
    let (media, ttl_period) = (None, None);
    let (out, pts_count) = (true, 1);
    types::UpdateShortSentMessage { out, id, pts, pts_count, date, media, entities, ttl_period }
        .into()
}

impl Call<'_> {
    /// Writes down that a person got a message, and judges it.
    fn note_sent(&mut self, to: i64, text: &str, random_id: i64, price: Option<i64>) {
        let (me, now, world) = (self.me, Instant::now(), &mut *self.world);
        world.note_message(to, me, None);
        world.violations.sent(me, to, text, random_id, now);
        let window = Duration::from_secs(u64::from(world.logins.limits.repeat_seconds));
        if !window.is_zero() && to != me {
            world.violations.received(me, to, text, random_id, (window, now));
        }
        if let Some(price) = price {
            let text = format!("account {me} paid {price} stars to write to account {to}");
            world.violations.count(Violation::StarsPaid, text);
        }
    }

    /// Only what stands in the same conversation can be replied to.
    fn check_reply(&self, peer: Peer, reply: Option<&enums::InputReplyTo>) -> Result<(), RpcError> {
        let Some(id) = reply.and_then(replied) else { return Ok(()) };
        let known = self.held(peer, id).is_some_and(|message| message.peer == peer);
        if known { Ok(()) } else { Err("REPLY_MESSAGE_ID_INVALID".into()) }
    }

    fn let_write(&mut self, peer: Peer, stars: i64) -> Result<(), RpcError> {
        let me = self.me;
        match peer {
            Peer::User(to) => self.let_write_to(to, stars),
            Peer::Group(id) => self.world.groups.get(&id).ok_or("PEER_ID_INVALID")?.let_write(me),
            Peer::Channel(id) => {
                self.readable(id)?;
                let channel = self.world.channels.get_mut(&id).ok_or("CHANNEL_INVALID")?;
                channel.let_write(me, Instant::now())
            }
        }
    }

    /// Whether a message gets to a person. The account's own limits come first, and what they
    /// refuse never gets as far as the person; who wrote first and mutual contacts are no matter of
    /// theirs, as people have seen it on Telegram.
    fn let_write_to(&mut self, to: i64, stars: i64) -> Result<(), RpcError> {
        let (me, world) = (self.me, &mut *self.world);
        if to == me {
            return Ok(());
        }
        let free = world.user(me).is_bot()
            || world.user(to).is_bot()
            || world.was_written_to(me, to)
            || world.are_mutual(me, to);
        if !free {
            let limits = world.logins.limits;
            world.floods.count(me, (Reach::Message, 1), &limits, Instant::now())?;
        }
        let allowed = world.may_write_to(me, to, stars);
        if let Err(error) = &allowed {
            world.note_message(to, me, Some(error.name.clone()));
        }
        allowed
    }

    fn post(
        &mut self,
        peer: Peer,
        request: &functions::messages::SendMessage,
    ) -> Result<Posted, RpcError> {
        let (content, me, origin) = (content(request), self.me, Some(self.origin));
        match peer {
            Peer::User(to) => Ok(self.world.post_to_user(to, me, content, origin)),
            Peer::Group(id) => self
                .world
                .post_to_group(id, me, &content, None, origin)
                .ok_or_else(|| "CHAT_WRITE_FORBIDDEN".into()),
            Peer::Channel(id) => Ok(self.world.post_to_channel(id, me, content, origin)),
        }
    }

    /// The message of that id as the caller finds it where `peer` has its messages.
    fn held(&self, peer: Peer, id: i32) -> Option<&Message> {
        match peer {
            Peer::Channel(channel) => self.world.channels.get(&channel)?.message(id),
            _ => self.world.user(self.me).message(id),
        }
    }

    /// Answers a send that was accepted before.
    fn again(
        &mut self,
        accepted: Accepted,
        peer: Peer,
        random_id: i64,
    ) -> Result<enums::Updates, RpcError> {
        let Accepted { id, pts, .. } = accepted;
        self.world.counters.sends_repeated += 1;
        let refused = self.world.faults.refuses_duplicate(self.me);
        if refused || accepted.peer != peer || self.held(peer, id).is_none() {
            return Err("RANDOM_ID_DUPLICATE".into());
        }
        let mut answer = self.sent(peer, Posted { id, pts, date: 0 }, Some(random_id));
        if let enums::Updates::Updates(updates) = &mut answer {
            for update in &mut updates.updates {
                match update {
                    enums::Update::NewMessage(new) => new.pts_count = 0,
                    enums::Update::NewChannelMessage(new) => new.pts_count = 0,
                    _ => {}
                }
            }
        }
        Ok(answer)
    }

    /// Updates that answer a call which made a message.
    pub(super) fn sent(
        &self,
        peer: Peer,
        posted: Posted,
        random_id: Option<i64>,
    ) -> enums::Updates {
        let world = &*self.world;
        let message = self.held(peer, posted.id).expect("the message is there");
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
