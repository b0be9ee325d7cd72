//! Translation of Telegram's messages into those of the protocol layer. The only place that
//! knows the shapes of the wire.

use grammers_client::tl::enums::{
    Chat, DocumentAttribute, Message as WireMessage, MessageEntity, MessageFwdHeader, MessageMedia,
    MessageReplyHeader, Peer, User,
};
use grammers_client::tl::{enums, types};

use super::batch::{Batch, Body, NewMessage};
use super::peers::marked;
use crate::protocol::messages::message::{Author, Entity, Forward, Media, Message};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::values::time::iso8601;

impl Batch {
    /// Translates one of this batch's messages.
    pub fn translate(&self, message: NewMessage) -> Option<Message> {
        match message.body {
            Body::Wire(message) => {
                translate(message, &People { users: &self.users, chats: &self.chats })
            }
            #[cfg(test)]
            Body::Plain(message) => Some(message),
        }
    }

    /// The title of a chat, if this batch mentions it.
    pub fn title_of(&self, chat: MarkedId) -> Option<&str> {
        self.chats.iter().find(|known| chat_id(known) == Some(chat)).and_then(chat_title)
    }
}

/// The users and chats that came with a message.
pub(super) struct People<'a> {
    pub(super) users: &'a [User],
    pub(super) chats: &'a [Chat],
}

/// Translates a message; `None` for the placeholder of a deleted one.
pub(super) fn translate(message: WireMessage, people: &People<'_>) -> Option<Message> {
    match message {
        WireMessage::Message(message) => Some(ordinary(message, people)),
        WireMessage::Service(message) => Some(service(message, people)),
        WireMessage::Empty(_) => None,
    }
}

fn ordinary(message: types::Message, people: &People<'_>) -> Message {
    let entities = message.entities.unwrap_or_default();
    Message {
        id: message.id,
        date: i64::from(message.date),
        sender: sender(message.from_id.as_ref(), &message.peer_id, message.out, people),
        reply_to_message_id: message.reply_to.and_then(reply_to),
        forward: message.fwd_from.map(forward),
        media: message.media.and_then(media),
        grouped_id: message.grouped_id,
        entities: entities.into_iter().map(entity).collect(),
        views: message.views,
        edit_date: message.edit_date.map(i64::from),
        is_outgoing: message.out,
        is_service: false,
        text: message.message,
    }
}

fn service(message: types::MessageService, people: &People<'_>) -> Message {
    Message {
        id: message.id,
        date: i64::from(message.date),
        sender: sender(message.from_id.as_ref(), &message.peer_id, message.out, people),
        reply_to_message_id: message.reply_to.and_then(reply_to),
        is_outgoing: message.out,
        is_service: true,
        ..Message::default()
    }
}

/// Who wrote it: `from_id`, or in private chats the other side, or in channels the channel.
fn sender(from: Option<&Peer>, chat: &Peer, out: bool, people: &People<'_>) -> Option<Author> {
    let author = match (from, chat) {
        (Some(from), _) => from,
        // What we wrote ourselves in a private chat carries no sender; the chat is the other side.
        (None, Peer::User(_)) if out => return people.own(),
        (None, _) => chat,
    };
    Some(people.find(author))
}

impl People<'_> {
    fn find(&self, peer: &Peer) -> Author {
        let id = marked(peer);
        let known = match peer {
            Peer::User(user) => self.users.iter().find_map(|known| match known {
                User::User(known) if known.id == user.user_id => Some(from_user(known)),
                _ => None,
            }),
            Peer::Chat(_) | Peer::Channel(_) => {
                self.chats.iter().find(|known| chat_id(known) == Some(id)).map(|chat| Author {
                    id: id.0,
                    username: chat_username(chat),
                    first_name: chat_title(chat).map(str::to_owned),
                    ..Author::default()
                })
            }
        };
        known.unwrap_or(Author { id: id.0, ..Author::default() })
    }

    fn own(&self) -> Option<Author> {
        self.users.iter().find_map(|user| match user {
            User::User(user) if user.is_self => Some(from_user(user)),
            _ => None,
        })
    }
}

fn from_user(user: &types::User) -> Author {
    Author {
        id: user.id,
        username: user.username.clone(),
        first_name: user.first_name.clone(),
        last_name: user.last_name.clone(),
        is_bot: Some(user.bot),
    }
}

/// The marked id of a chat that a packet mentions.
pub(super) fn chat_id(chat: &Chat) -> Option<MarkedId> {
    match chat {
        Chat::Empty(chat) => Some(MarkedId::group(chat.id)),
        Chat::Chat(chat) => Some(MarkedId::group(chat.id)),
        Chat::Forbidden(chat) => Some(MarkedId::group(chat.id)),
        Chat::Channel(chat) => Some(MarkedId::channel(chat.id)),
        Chat::ChannelForbidden(chat) => Some(MarkedId::channel(chat.id)),
        _ => None,
    }
}

/// The title of a chat.
pub(super) fn chat_title(chat: &Chat) -> Option<&str> {
    match chat {
        Chat::Chat(chat) => Some(&chat.title),
        Chat::Forbidden(chat) => Some(&chat.title),
        Chat::Channel(chat) => Some(&chat.title),
        Chat::ChannelForbidden(chat) => Some(&chat.title),
        _ => None,
    }
}

fn chat_username(chat: &Chat) -> Option<String> {
    match chat {
        Chat::Channel(chat) => chat.username.clone(),
        _ => None,
    }
}

fn reply_to(header: MessageReplyHeader) -> Option<i32> {
    match header {
        MessageReplyHeader::Header(header) => header.reply_to_msg_id,
        _ => None,
    }
}

fn forward(header: MessageFwdHeader) -> Forward {
    let MessageFwdHeader::Header(header) = header;
    Forward {
        from_id: header.from_id.as_ref().map(|peer| marked(peer).0),
        from_name: header.from_name,
        message_id: header.channel_post,
        date: iso8601(i64::from(header.date)),
    }
}

fn media(media: MessageMedia) -> Option<Media> {
    let kind = match media {
        MessageMedia::Empty => return None,
        MessageMedia::Photo(_) => "photo",
        MessageMedia::Document(media) => return Some(document(media)),
        MessageMedia::Geo(_) | MessageMedia::GeoLive(_) => "location",
        MessageMedia::Venue(_) => "venue",
        MessageMedia::Contact(_) => "contact",
        MessageMedia::WebPage(_) => "web_page",
        MessageMedia::Game(_) => "game",
        MessageMedia::Invoice(_) => "invoice",
        MessageMedia::Poll(_) => "poll",
        MessageMedia::Dice(_) => "dice",
        MessageMedia::Story(_) => "story",
        MessageMedia::Giveaway(_) | MessageMedia::GiveawayResults(_) => "giveaway",
        MessageMedia::PaidMedia(_) => "paid_media",
        _ => "unsupported",
    };
    Some(Media { kind: kind.into(), ..Media::default() })
}

fn document(media: types::MessageMediaDocument) -> Media {
    let mut result = Media { kind: "document".into(), ..Media::default() };
    let Some(enums::Document::Document(document)) = media.document else {
        return result;
    };
    for attribute in document.attributes {
        match attribute {
            DocumentAttribute::Filename(name) => result.file_name = Some(name.file_name),
            DocumentAttribute::Sticker(_) => result.kind = "sticker".into(),
            DocumentAttribute::Audio(audio) if audio.voice => result.kind = "voice".into(),
            DocumentAttribute::Audio(_) => result.kind = "audio".into(),
            DocumentAttribute::Video(video) if video.round_message => {
                result.kind = "video_note".into();
            }
            DocumentAttribute::Video(_) if result.kind == "document" => {
                result.kind = "video".into();
            }
            DocumentAttribute::Animated => result.kind = "animation".into(),
            _ => {}
        }
    }
    result.mime_type = Some(document.mime_type);
    result.size = Some(document.size);
    result
}

pub(super) fn entity(entity: MessageEntity) -> Entity {
    let mut extra = (None, None, None);
    let kind = match &entity {
        MessageEntity::Mention(_) => "mention",
        MessageEntity::Hashtag(_) => "hashtag",
        MessageEntity::BotCommand(_) => "bot_command",
        MessageEntity::Url(_) => "url",
        MessageEntity::Email(_) => "email",
        MessageEntity::Bold(_) => "bold",
        MessageEntity::Italic(_) => "italic",
        MessageEntity::Code(_) => "code",
        MessageEntity::Pre(pre) => {
            extra.2 = Some(pre.language.clone()).filter(|language| !language.is_empty());
            "pre"
        }
        MessageEntity::TextUrl(link) => {
            extra.0 = Some(link.url.clone());
            "text_url"
        }
        MessageEntity::MentionName(name) => {
            extra.1 = Some(name.user_id);
            "text_mention"
        }
        MessageEntity::Phone(_) => "phone",
        MessageEntity::Cashtag(_) => "cashtag",
        MessageEntity::Underline(_) => "underline",
        MessageEntity::Strike(_) => "strike",
        MessageEntity::BankCard(_) => "bank_card",
        MessageEntity::Spoiler(_) => "spoiler",
        MessageEntity::CustomEmoji(_) => "custom_emoji",
        MessageEntity::Blockquote(_) => "blockquote",
        _ => "unknown",
    };
    let (url, user_id, language) = extra;
    let (offset, length) = (entity.offset(), entity.length());
    Entity { kind: kind.into(), offset, length, url, user_id, language }
}
