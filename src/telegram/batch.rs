//! What one packet or difference brought, sorted: messages, news about chats, possible gaps, and
//! how the update state moves. Fetches nothing.

use grammers_client::session::updates::{MessageBox, State};
use grammers_client::tl;

use super::chats::{membership, migrated_to};
use super::convert::chat_id;
use super::peers::marked;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::updates::UpdateStateDelta;

/// Something may have been missed, and only history can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapScope {
    /// In any private chat or basic group.
    Common,
    /// In one channel or supergroup.
    Channel(MarkedId),
    /// Anywhere: the library dropped updates.
    Everything,
    /// Anywhere: Telegram says that there is something, and may not be asked what it is.
    Anything,
}

/// A message and the chat it belongs to, as it came.
pub struct NewMessage {
    /// The chat.
    pub chat: MarkedId,
    pub(super) body: Body,
}

/// What was said, translated only once somebody wants it.
#[cfg_attr(
    test,
    allow(clippy::large_enum_variant, reason = "what came is not boxed for the sake of tests")
)]
pub(super) enum Body {
    /// As it came.
    Wire(tl::enums::Message),
    /// As it is to be told.
    #[cfg(test)]
    Plain(crate::protocol::messages::message::Message),
}

#[cfg(test)]
impl NewMessage {
    /// One that needs no translation.
    pub(crate) fn plain(
        chat: MarkedId,
        message: crate::protocol::messages::message::Message,
    ) -> Self {
        Self { chat, body: Body::Plain(message) }
    }
}

/// News about a chat itself: membership or rights may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatNotice {
    /// The chat.
    pub chat: MarkedId,
    /// What the packet says about our place in it, when it says that we have none. Asking later
    /// gets a less telling answer.
    pub loss: Option<Failure>,
}

/// Everything one packet or difference brought.
#[derive(Default)]
pub struct Batch {
    /// New messages, in Telegram's order.
    pub messages: Vec<NewMessage>,
    /// Chats to look at again.
    pub notices: Vec<ChatNotice>,
    /// What may have been missed.
    pub gaps: Vec<GapScope>,
    /// Chats met for the first time.
    pub new_peers: Vec<PeerRecord>,
    /// How the update state moves once all of this is safe.
    pub delta: UpdateStateDelta,
    pub(super) users: Vec<tl::enums::User>,
    pub(super) chats: Vec<tl::enums::Chat>,
}

#[cfg(test)]
impl Batch {
    /// One of messages and nothing else.
    pub(crate) fn of(messages: Vec<NewMessage>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// One that says that something may have been missed.
    pub(crate) fn missing(gap: GapScope) -> Self {
        Self { gaps: vec![gap], ..Self::default() }
    }

    /// One of news about a chat.
    pub(crate) fn about(chat: MarkedId, loss: Option<Failure>) -> Self {
        Self { notices: vec![ChatNotice { chat, loss }], ..Self::default() }
    }
}

impl Batch {
    /// Whether nothing in it needs anybody's attention.
    pub fn is_idle(&self) -> bool {
        self.messages.is_empty() && self.notices.is_empty() && self.gaps.is_empty()
    }

    pub(super) fn move_state(&mut self, state: &State) {
        match state.message_box {
            Some(MessageBox::Common { pts }) => {
                let newest = self.delta.common.map_or(pts, |(known, _, _)| known.max(pts));
                self.delta.common = Some((newest, state.date, state.seq));
            }
            Some(MessageBox::Secondary { qts }) => {
                self.delta.qts = Some(self.delta.qts.map_or(qts, |known| known.max(qts)));
            }
            Some(MessageBox::Channel { channel_id, pts }) => {
                match self.delta.channels.iter_mut().find(|(id, _)| *id == channel_id) {
                    Some((_, known)) => *known = pts.max(*known),
                    None => self.delta.channels.push((channel_id, pts)),
                }
            }
            None => {}
        }
    }

    pub(super) fn take(&mut self, update: tl::enums::Update) {
        let message = match update {
            tl::enums::Update::NewMessage(update) => update.message,
            tl::enums::Update::NewChannelMessage(update) => update.message,
            tl::enums::Update::Channel(update) => {
                return self.notice(MarkedId::channel(update.channel_id));
            }
            tl::enums::Update::Chat(update) => {
                return self.notice(MarkedId::group(update.chat_id));
            }
            tl::enums::Update::ChatParticipantDelete(update) => {
                return self.notice(MarkedId::group(update.chat_id));
            }
            _ => return,
        };
        let chat = match &message {
            tl::enums::Message::Message(message) => marked(&message.peer_id),
            tl::enums::Message::Service(message) => {
                let chat = marked(&message.peer_id);
                if matches!(
                    message.action,
                    tl::enums::MessageAction::ChatDeleteUser(_)
                        | tl::enums::MessageAction::ChatMigrateTo(_)
                ) {
                    self.notice(chat);
                }
                chat
            }
            tl::enums::Message::Empty(_) => return,
        };
        self.messages.push(NewMessage { chat, body: Body::Wire(message) });
    }

    fn notice(&mut self, chat: MarkedId) {
        if !self.notices.iter().any(|notice| notice.chat == chat) {
            self.notices.push(ChatNotice { chat, loss: None });
        }
    }

    /// Chats that came as forbidden, or as a supergroup by now, are news, whatever update they came
    /// with.
    pub(super) fn note_losses(&mut self) {
        let migrated = self.chats.iter().filter(|chat| migrated_to(chat).is_some());
        for chat in migrated.filter_map(chat_id).collect::<Vec<_>>() {
            self.notice(chat);
        }
        for chat in &self.chats {
            let forbidden = matches!(
                chat,
                tl::enums::Chat::Forbidden(_) | tl::enums::Chat::ChannelForbidden(_)
            );
            let (true, Some(id), Err(loss)) = (forbidden, chat_id(chat), membership(chat)) else {
                continue;
            };
            self.notices.retain(|notice| notice.chat != id);
            self.notices.push(ChatNotice { chat: id, loss: Some(loss) });
        }
    }
}
