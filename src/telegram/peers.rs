//! Access hashes of the chats that an account has met: a bounded cache before the store.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use grammers_client::tl;
use tokio::time::Instant;

use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::chat::{MarkedId, PeerKind};

/// Chats remembered in memory for one account. An account may be in 500 channels. Those that were
/// looked for by name stay; of those that were only mentioned some give way, and are found again in
/// the account's dialogs.
pub const PEERS_MAX: usize = 500;
/// How long it is believed what a public name stands for.
const NAMES_KEPT: Duration = Duration::from_secs(60 * 60);

/// The chats one account knows how to name. Of users only those are kept that somebody looked for.
#[derive(Debug, Default)]
pub struct PeerBook {
    known: HashMap<MarkedId, PeerRecord>,
    sought: HashSet<MarkedId>,
    /// What public names stood for when they were looked up.
    names: HashMap<String, (MarkedId, Instant)>,
}

impl PeerBook {
    /// Takes over what the store kept. What was learnt meanwhile is newer.
    pub fn recall(&mut self, stored: Vec<PeerRecord>) {
        let room = PEERS_MAX.saturating_sub(self.known.len());
        for peer in stored.into_iter().take(room) {
            self.known.entry(peer.id).or_insert(peer);
        }
    }

    /// Looks a chat up.
    pub fn get(&self, id: MarkedId) -> Option<PeerRecord> {
        self.known.get(&id).copied()
    }

    /// What a public name stood for a short while ago, so that it need not be looked up again, which
    /// Telegram limits most tightly. Names change hands, so not for long.
    pub(super) fn named(&self, name: &str, now: Instant) -> Option<MarkedId> {
        let (id, since) = self.names.get(name)?;
        (now.duration_since(*since) < NAMES_KEPT && self.known.contains_key(id)).then_some(*id)
    }

    /// Takes note of what a public name stands for.
    pub(super) fn name(&mut self, name: &str, id: MarkedId, now: Instant) {
        if self.names.len() >= PEERS_MAX {
            self.names.retain(|_, (_, since)| now.duration_since(*since) < NAMES_KEPT);
        }
        if self.names.len() < PEERS_MAX {
            self.names.insert(name.to_owned(), (id, now));
        }
    }

    /// Takes note of chats that Telegram mentioned; returns those that are new or changed and
    /// should be stored.
    pub fn learn(&mut self, chats: &[tl::enums::Chat]) -> Vec<PeerRecord> {
        let mut news = Vec::new();
        for peer in chats.iter().filter_map(peer_of_chat) {
            self.insert(peer, &mut news);
        }
        news
    }

    /// Takes note of one peer that somebody looked for.
    pub fn learn_one(&mut self, peer: PeerRecord) -> Vec<PeerRecord> {
        let mut news = Vec::new();
        if self.sought.len() < PEERS_MAX {
            self.sought.insert(peer.id);
        }
        if self.known.len() >= PEERS_MAX && !self.known.contains_key(&peer.id) {
            let idle = self.known.keys().find(|id| !self.sought.contains(id)).copied();
            idle.map(|id| self.known.remove(&id));
        }
        self.insert(peer, &mut news);
        news
    }

    fn insert(&mut self, peer: PeerRecord, news: &mut Vec<PeerRecord>) {
        let room = self.known.len() < PEERS_MAX || self.known.contains_key(&peer.id);
        if room && self.known.insert(peer.id, peer) != Some(peer) {
            news.push(peer);
        }
    }
}

/// The record of a chat, unless Telegram mentioned it only in passing (`min`), when its access
/// hash must not be used (<https://core.telegram.org/api/min>).
pub(super) fn peer_of_chat(chat: &tl::enums::Chat) -> Option<PeerRecord> {
    let (id, access_hash, is_broadcast) = match chat {
        tl::enums::Chat::Channel(channel) if !channel.min => {
            (MarkedId::channel(channel.id), channel.access_hash?, channel.broadcast)
        }
        tl::enums::Chat::ChannelForbidden(channel) => {
            (MarkedId::channel(channel.id), channel.access_hash, channel.broadcast)
        }
        tl::enums::Chat::Chat(group) => (MarkedId::group(group.id), 0, false),
        tl::enums::Chat::Forbidden(group) => (MarkedId::group(group.id), 0, false),
        _ => return None,
    };
    Some(PeerRecord { id, access_hash, is_bot: false, is_broadcast })
}

/// The record of a user, unless it was mentioned only in passing.
pub(super) fn peer_of_user(user: &tl::enums::User) -> Option<PeerRecord> {
    match user {
        tl::enums::User::User(user) if !user.min => Some(PeerRecord {
            id: MarkedId::user(user.id),
            access_hash: user.access_hash?,
            is_bot: user.bot,
            is_broadcast: false,
        }),
        _ => None,
    }
}

/// How a call names the peer.
pub(super) fn input_peer(peer: &PeerRecord) -> tl::enums::InputPeer {
    let bare = peer.id.bare();
    match peer.id.kind() {
        PeerKind::User => {
            tl::types::InputPeerUser { user_id: bare, access_hash: peer.access_hash }.into()
        }
        PeerKind::Group => tl::types::InputPeerChat { chat_id: bare }.into(),
        PeerKind::Channel => {
            tl::types::InputPeerChannel { channel_id: bare, access_hash: peer.access_hash }.into()
        }
    }
}

/// How a call names the channel.
pub(super) fn input_channel(peer: &PeerRecord) -> tl::enums::InputChannel {
    tl::types::InputChannel { channel_id: peer.id.bare(), access_hash: peer.access_hash }.into()
}

/// The marked id of a peer.
pub(super) fn marked(peer: &tl::enums::Peer) -> MarkedId {
    match peer {
        tl::enums::Peer::User(user) => MarkedId::user(user.user_id),
        tl::enums::Peer::Chat(chat) => MarkedId::group(chat.chat_id),
        tl::enums::Peer::Channel(channel) => MarkedId::channel(channel.channel_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: i64) -> PeerRecord {
        let id = MarkedId::channel(id);
        PeerRecord { id, access_hash: 1, is_bot: false, is_broadcast: false }
    }

    #[test]
    fn a_name_is_believed_for_a_while() {
        let (mut book, now) = (PeerBook::default(), Instant::now());
        book.name("room", MarkedId::channel(1), now);
        assert_eq!(book.named("room", now), None, "nobody knows how to name it");
        book.learn_one(peer(1));
        assert_eq!(book.named("room", now), Some(MarkedId::channel(1)));
        assert_eq!(book.named("room", now + NAMES_KEPT), None);
    }

    #[test]
    fn what_was_looked_for_finds_room_among_what_was_only_mentioned() {
        let mut book = PeerBook::default();
        book.recall((1..=PEERS_MAX as i64).map(peer).collect());
        for id in 10_000..10_400 {
            assert_eq!(book.learn_one(peer(id)), [peer(id)]);
        }
        assert!((10_000..10_400).all(|id| book.get(MarkedId::channel(id)).is_some()));
        assert_eq!(book.known.len(), PEERS_MAX);
    }
}
