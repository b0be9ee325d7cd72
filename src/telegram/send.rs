//! Sends one message and finds out which id it got.
//!
//! A `random_id` makes it harmless to send again: Telegram refuses the second one as
//! `RANDOM_ID_DUPLICATE` without saying which message the first one became. Then the newest
//! messages of the chat are looked through for one of ours with that text; unless there is exactly
//! one, it stays open which it was.

use std::fmt;

use grammers_client::tl::enums::{Message, MessageReplyHeader, Update, Updates};
use grammers_client::tl::{functions, types};

use super::history::parts;
use super::link::RawCaller;
use super::markup::parse;
use super::outcome::Outcome;
use super::peers::input_peer;
use crate::protocol::messages::outgoing::ParseMode;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::failure::Failure;

/// Messages that are looked through for one that was sent before: the most that Telegram gives.
const LOOK_BACK: i32 = 100;

/// A message to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// Where to.
    pub peer: PeerRecord,
    /// What; verbatim without `parse_mode`.
    pub text: String,
    /// How it is formatted. Texts that cannot be read are refused unsent; callers find that out
    /// before with [`super::measure_markup`].
    pub parse_mode: Option<ParseMode>,
    /// The message it answers.
    pub reply_to: Option<i32>,
    /// Whether its readers' devices stay silent.
    pub silent: bool,
    /// Stored before the first attempt, and the same for every further one.
    pub random_id: i64,
}

/// Without the text.
impl fmt::Debug for SendMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendMessage")
            .field("to", &self.peer.id)
            .field("bytes", &self.text.len())
            .field("parse_mode", &self.parse_mode)
            .field("reply_to", &self.reply_to)
            .field("random_id", &self.random_id)
            .finish_non_exhaustive()
    }
}

/// Sends it. [`Outcome::Sent`], or [`Outcome::SentBefore`] when only that is certain.
pub(super) async fn send(
    caller: &RawCaller,
    message: &SendMessage,
    is_bot: bool,
) -> Result<Outcome, Failure> {
    let request = request(message)?;
    match caller.call(&request).await {
        Ok(updates) => match sent(&updates, message.random_id) {
            Some((message_id, date)) => Ok(Outcome::Sent { message_id, date }),
            None => settle(caller, message, &request.message, is_bot).await,
        },
        Err(Failure::AlreadyDone { code }) if code == "RANDOM_ID_DUPLICATE" => {
            settle(caller, message, &request.message, is_bot).await
        }
        Err(failure) => Err(failure),
    }
}

fn request(message: &SendMessage) -> Result<functions::messages::SendMessage, Failure> {
    let (text, entities) = match message.parse_mode {
        None => (message.text.clone(), None),
        Some(mode) => {
            let refused = |_| Failure::Rejected { code: "ENTITIES_UNREADABLE".into() };
            let (text, entities) = parse(&message.text, mode).map_err(refused)?;
            (text, Some(entities).filter(|entities| !entities.is_empty()))
        }
    };
    Ok(functions::messages::SendMessage {
        no_webpage: false,
        silent: message.silent,
        background: false,
        clear_draft: false,
        noforwards: false,
        update_stickersets_order: false,
        invert_media: false,
        allow_paid_floodskip: false,
        peer: input_peer(&message.peer),
        reply_to: message.reply_to.map(reply_to),
        message: text,
        random_id: message.random_id,
        reply_markup: None,
        entities,
        schedule_date: None,
        schedule_repeat_period: None,
        send_as: None,
        quick_reply_shortcut: None,
        effect: None,
        allow_paid_stars: None,
        suggested_post: None,
        rich_message: None,
    })
}

fn reply_to(message_id: i32) -> grammers_client::tl::enums::InputReplyTo {
    types::InputReplyToMessage {
        reply_to_msg_id: message_id,
        top_msg_id: None,
        reply_to_peer_id: None,
        quote_text: None,
        quote_entities: None,
        quote_offset: None,
        monoforum_peer_id: None,
        todo_item_id: None,
        poll_option: None,
    }
    .into()
}

/// The id and date that the message got, as far as the answer tells.
fn sent(answer: &Updates, random_id: i64) -> Option<(i32, i64)> {
    let (updates, date): (&[Update], i32) = match answer {
        Updates::UpdateShortSentMessage(short) => return Some((short.id, short.date.into())),
        Updates::UpdateShort(short) => (std::slice::from_ref(&short.update), short.date),
        Updates::Updates(all) => (&all.updates, all.date),
        Updates::Combined(all) => (&all.updates, all.date),
        Updates::TooLong | Updates::UpdateShortMessage(_) | Updates::UpdateShortChatMessage(_) => {
            return None;
        }
    };
    let named = updates.iter().find_map(|update| match update {
        Update::MessageId(named) if named.random_id == random_id => Some(named.id),
        _ => None,
    });
    let mut new = updates.iter().filter_map(new_message);
    let (id, written) = match named {
        Some(id) => (id, new.find(|(new, _)| *new == id).map(|(_, date)| date)),
        // Without its name there must be no doubt.
        None => new.next().filter(|_| new.next().is_none()).map(|(id, date)| (id, Some(date)))?,
    };
    Some((id, written.unwrap_or(date).into()))
}

fn new_message(update: &Update) -> Option<(i32, i32)> {
    let message = match update {
        Update::NewMessage(new) => &new.message,
        Update::NewChannelMessage(new) => &new.message,
        _ => return None,
    };
    match message {
        Message::Message(message) => Some((message.id, message.date)),
        Message::Service(_) | Message::Empty(_) => None,
    }
}

/// Finds the message that was sent before with the same `random_id`. Bots cannot read history.
async fn settle(
    caller: &RawCaller,
    message: &SendMessage,
    text: &str,
    is_bot: bool,
) -> Result<Outcome, Failure> {
    if is_bot {
        return Ok(Outcome::SentBefore);
    }
    let request = functions::messages::GetHistory {
        peer: input_peer(&message.peer),
        offset_id: 0,
        offset_date: 0,
        add_offset: 0,
        limit: LOOK_BACK,
        max_id: 0,
        min_id: 0,
        hash: 0,
    };
    let newest = match caller.call(&request).await {
        Ok(page) => parts(page).0,
        // It was sent, although what became of it may not be looked at.
        // Nor must a wait for looking be taken for one for sending: then it would be sent again.
        Err(
            Failure::ChatLost { .. }
            | Failure::TargetRefused { .. }
            | Failure::Rejected { .. }
            | Failure::Wait { .. },
        ) => Vec::new(),
        Err(failure) => return Err(failure),
    };
    Ok(only_own(&newest, text, message.reply_to)
        .map_or(Outcome::SentBefore, |(message_id, date)| Outcome::Sent { message_id, date }))
}

/// The only message of ours with that text and answered message.
fn only_own(messages: &[Message], text: &str, answered: Option<i32>) -> Option<(i32, i64)> {
    let mut own = messages.iter().filter_map(|message| match message {
        Message::Message(message) if message.out => {
            let answers = match &message.reply_to {
                Some(MessageReplyHeader::Header(header)) => header.reply_to_msg_id,
                _ => None,
            };
            // The server takes blanks away at both ends.
            let is_same = message.message.trim() == text.trim() && answers == answered;
            is_same.then(|| (message.id, i64::from(message.date)))
        }
        _ => None,
    });
    own.next().filter(|_| own.next().is_none())
}

#[cfg(test)]
mod tests;
