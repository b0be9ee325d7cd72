//! TL objects with every optional field absent, to be filled by struct update.
//!
//! The generated types have up to 69 fields and no `Default`. In TL an object without its optional
//! fields is its required fields in order behind zero flags, so each blank is parsed from that.

use std::sync::LazyLock;

use grammers_tl_types::{Deserializable, Serializable, enums, types};

/// Zero flags, or any other number.
const ZERO: [u8; 4] = [0; 4];
const ZERO_LONG: [u8; 8] = [0; 8];
/// An empty string with its padding.
const EMPTY: [u8; 4] = [0; 4];
/// An empty boxed vector.
const NONE: [u8; 8] = [0x15, 0xc4, 0xb5, 0x1c, 0, 0, 0, 0];

fn parse<T: Deserializable>(required: &[&[u8]]) -> T {
    T::from_bytes(&required.concat()).expect("the required fields are those of the schema")
}

fn anybody() -> Vec<u8> {
    enums::Peer::User(types::PeerUser { user_id: 0 }).to_bytes()
}

fn no_photo() -> Vec<u8> {
    enums::ChatPhoto::Empty.to_bytes()
}

fn no_settings() -> Vec<u8> {
    notify_settings().to_bytes()
}

/// `peerNotifySettings` that change nothing.
pub(crate) fn notify_settings() -> enums::PeerNotifySettings {
    parse::<types::PeerNotifySettings>(&[&ZERO]).into()
}

pub(crate) static USER: LazyLock<types::User> =
    LazyLock::new(|| parse(&[&ZERO, &ZERO, &ZERO_LONG]));

pub(crate) static CHANNEL: LazyLock<types::Channel> =
    LazyLock::new(|| parse(&[&ZERO, &ZERO, &ZERO_LONG, &EMPTY, &no_photo(), &ZERO]));

pub(crate) static CHAT: LazyLock<types::Chat> =
    LazyLock::new(|| parse(&[&ZERO, &ZERO_LONG, &EMPTY, &no_photo(), &ZERO, &ZERO, &ZERO]));

pub(crate) static MESSAGE: LazyLock<types::Message> =
    LazyLock::new(|| parse(&[&ZERO, &ZERO, &ZERO, &anybody(), &ZERO, &EMPTY]));

pub(crate) static SERVICE_MESSAGE: LazyLock<types::MessageService> = LazyLock::new(|| {
    parse(&[&ZERO, &ZERO, &anybody(), &ZERO, &enums::MessageAction::Empty.to_bytes()])
});

pub(crate) static REPLY_HEADER: LazyLock<types::MessageReplyHeader> =
    LazyLock::new(|| parse(&[&ZERO]));

pub(crate) static ADMIN_RIGHTS: LazyLock<types::ChatAdminRights> =
    LazyLock::new(|| parse(&[&ZERO]));

pub(crate) static BANNED_RIGHTS: LazyLock<types::ChatBannedRights> =
    LazyLock::new(|| parse(&[&ZERO, &ZERO]));

pub(crate) static DIALOG: LazyLock<types::Dialog> = LazyLock::new(|| {
    let counts = [ZERO; 7].concat();
    parse(&[&ZERO, &anybody(), &counts, &no_settings()])
});

pub(crate) static PEER_SETTINGS: LazyLock<types::PeerSettings> = LazyLock::new(|| parse(&[&ZERO]));

pub(crate) static USER_FULL: LazyLock<types::UserFull> = LazyLock::new(|| {
    let settings = enums::PeerSettings::from(PEER_SETTINGS.clone()).to_bytes();
    parse(&[&ZERO, &ZERO, &ZERO_LONG, &settings, &no_settings(), &ZERO])
});

pub(crate) static CHAT_FULL: LazyLock<types::ChatFull> = LazyLock::new(|| {
    let participants = types::ChatParticipants { chat_id: 0, participants: vec![], version: 0 };
    let participants = enums::ChatParticipants::from(participants).to_bytes();
    parse(&[&ZERO, &ZERO_LONG, &EMPTY, &participants, &no_settings()])
});

pub(crate) static CHANNEL_FULL: LazyLock<types::ChannelFull> = LazyLock::new(|| {
    let reads = [ZERO; 3].concat();
    let photo = enums::Photo::from(types::PhotoEmpty { id: 0 }).to_bytes();
    parse(&[&ZERO, &ZERO, &ZERO_LONG, &EMPTY, &reads, &photo, &no_settings(), &NONE, &ZERO])
});

pub(crate) static CONFIG: LazyLock<types::Config> = LazyLock::new(|| {
    let (no, limits, timeouts) = (false.to_bytes(), [ZERO; 17].concat(), [ZERO; 4].concat());
    let tail = [EMPTY, ZERO, ZERO, ZERO].concat();
    parse(&[&ZERO, &ZERO, &ZERO, &no, &ZERO, &NONE, &EMPTY, &limits, &timeouts, &tail])
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blank_parses_and_serializes_to_its_required_fields() {
        assert_eq!(USER.to_bytes().len(), 16);
        assert_eq!(CHANNEL.to_bytes().len(), 28);
        assert_eq!(CHAT.to_bytes().len(), 32);
        assert_eq!(MESSAGE.to_bytes().len(), 32);
        assert_eq!(SERVICE_MESSAGE.to_bytes().len(), 28);
        assert_eq!(REPLY_HEADER.to_bytes().len(), 4);
        assert_eq!(ADMIN_RIGHTS.to_bytes().len(), 4);
        assert_eq!(BANNED_RIGHTS.to_bytes().len(), 8);
        assert_eq!(DIALOG.to_bytes().len(), 52);
        assert_eq!(PEER_SETTINGS.to_bytes().len(), 4);
        assert_eq!(USER_FULL.to_bytes().len(), 36);
        assert_eq!(CHAT_FULL.to_bytes().len(), 48);
        assert_eq!(CHANNEL_FULL.to_bytes().len(), 64);
        assert_eq!(CONFIG.to_bytes().len(), 132);
    }
}
