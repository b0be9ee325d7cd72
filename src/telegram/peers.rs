//! Access hashes of the chats and people that an account has met: a bounded cache before the store.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use grammers_client::tl;
use tokio::time::Instant;

use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::chat::{MarkedId, PeerKind};
use crate::protocol::telegram::failure::{Failure, NOT_A_PERSON};

/// Chats remembered in memory for one account. An account may be in 500 channels. Those that were
/// looked for by name stay; of those that were only mentioned some give way, and are found again in
/// the account's dialogs.
pub const PEERS_MAX: usize = 500;
/// People remembered in memory for one account, beside its chats. Those who were looked for last stay; the store
/// has all of them.
const PEOPLE_MAX: usize = 500;
/// How long it is believed what a public name stands for.
const NAMES_KEPT: Duration = Duration::from_secs(60 * 60);

/// The chats and people that one account knows how to name. Of people only those are kept that somebody looked
/// for; they take no room from chats.
#[derive(Debug, Default)]
pub struct PeerBook {
    known: HashMap<MarkedId, PeerRecord>,
    people: HashMap<MarkedId, PeerRecord>,
    /// The people, longest known first.
    order: VecDeque<MarkedId>,
    sought: HashSet<MarkedId>,
    /// What public names stood for when they were looked up.
    names: HashMap<String, (MarkedId, Instant)>,
}

impl PeerBook {
    /// Takes over what the store kept. What was learnt meanwhile is newer.
    pub fn recall(&mut self, stored: Vec<PeerRecord>) {
        for peer in stored {
            let is_known = self.get(peer.id).is_some();
            if !is_known && peer.id.kind() == PeerKind::User {
                self.keep_person(peer);
            } else if !is_known && self.known.len() < PEERS_MAX {
                self.known.insert(peer.id, peer);
            }
        }
    }

    /// Looks a chat or person up.
    pub fn get(&self, id: MarkedId) -> Option<PeerRecord> {
        self.known.get(&id).or_else(|| self.people.get(&id)).copied()
    }

    /// What a public name stood for a short while ago, so that it need not be looked up again, which
    /// Telegram limits most tightly. Names change hands, so not for long.
    pub(super) fn named(&self, name: &str, now: Instant) -> Option<MarkedId> {
        let (id, since) = self.names.get(name)?;
        (now.duration_since(*since) < NAMES_KEPT && self.get(*id).is_some()).then_some(*id)
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

    /// Takes note of one peer that somebody looked for; returns it when it is new or changed and should be
    /// stored.
    pub fn learn_one(&mut self, peer: PeerRecord) -> Vec<PeerRecord> {
        let mut news = Vec::new();
        if peer.id.kind() == PeerKind::User {
            news.extend((self.keep_person(peer) != Some(peer)).then_some(peer));
            return news;
        }
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

    /// Remembers a person; answers how they were named before. Whoever is known longest gives way.
    fn keep_person(&mut self, peer: PeerRecord) -> Option<PeerRecord> {
        let before = self.people.insert(peer.id, peer);
        if before.is_none() {
            self.order.push_back(peer.id);
        }
        if self.order.len() > PEOPLE_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.people.remove(&oldest);
        }
        before
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

/// How a call names the person.
///
/// # Errors
/// [`Failure::TargetRefused`] (`NOT_A_PERSON`) for chats.
pub(super) fn input_user(peer: &PeerRecord) -> Result<tl::enums::InputUser, Failure> {
    match peer.id.kind() {
        PeerKind::User => {
            let (user_id, access_hash) = (peer.id.bare(), peer.access_hash);
            Ok(tl::types::InputUser { user_id, access_hash }.into())
        }
        PeerKind::Group | PeerKind::Channel => {
            Err(Failure::TargetRefused { code: NOT_A_PERSON.into() })
        }
    }
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

    #[test]
    fn people_are_kept_beside_the_chats_and_the_longest_known_give_way() {
        let person = |id| PeerRecord { id: MarkedId::user(id), ..peer(1) };
        let mut book = PeerBook::default();
        book.recall((1..=PEERS_MAX as i64).map(peer).collect());
        for id in 1..=PEOPLE_MAX as i64 + 1 {
            assert_eq!(book.learn_one(person(id)), [person(id)], "the store has every one of them");
        }
        assert_eq!(book.learn_one(person(2)), [], "nothing new");
        assert_eq!((book.people.len(), book.order.len()), (PEOPLE_MAX, PEOPLE_MAX));
        assert_eq!(book.get(MarkedId::user(1)), None);
        assert_eq!(book.get(MarkedId::user(2)), Some(person(2)));
        assert!((1..=PEERS_MAX as i64).all(|id| book.get(MarkedId::channel(id)).is_some()));
        let other = PeerRecord { access_hash: 9, ..person(2) };
        assert_eq!(book.learn_one(other), [other], "a changed hash is news");
        book.recall(vec![person(2)]);
        assert_eq!(book.get(MarkedId::user(2)), Some(other), "what was learnt is newer");
    }

    #[test]
    fn a_chat_is_no_person() {
        assert_eq!(input_user(&peer(5)).unwrap_err().code(), "NOT_A_PERSON");
    }
}
