//! Invite links: who made them, how long they work, who used them and who asks to be let in.
//! Source: <https://core.telegram.org/api/invites#invite-links>.

use std::collections::BTreeMap;

use super::World;
use super::ids::Peer;
use crate::clock::unix_seconds;

/// Length of an invite link's hash, as Telegram makes them.
pub(crate) const INVITE_HASH: usize = 16;

/// A link into a chat.
#[derive(Debug, Clone)]
pub(crate) struct InviteLink {
    pub(crate) hash: String,
    pub(crate) peer: Peer,
    /// Who made it; nobody in particular for the first link of a chat.
    pub(crate) creator: Option<i64>,
    pub(crate) date: i32,
    pub(crate) title: Option<String>,
    /// Unix seconds.
    pub(crate) expires: Option<i32>,
    pub(crate) usage_limit: Option<i32>,
    /// Whether who uses it must be let in by an admin.
    pub(crate) request_needed: bool,
    pub(crate) revoked: bool,
    /// The one that a chat has of itself, of which there is one at a time.
    pub(crate) permanent: bool,
    /// Who came in by it and when.
    pub(crate) uses: BTreeMap<i64, i32>,
    /// Who asks to be let in and since when.
    pub(crate) requests: BTreeMap<i64, i32>,
}

impl InviteLink {
    pub(crate) fn new(hash: String, peer: Peer, creator: Option<i64>) -> Self {
        Self {
            hash,
            peer,
            creator,
            date: unix_seconds(),
            title: None,
            expires: None,
            usage_limit: None,
            request_needed: false,
            revoked: false,
            permanent: false,
            uses: BTreeMap::new(),
            requests: BTreeMap::new(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://t.me/+{}", self.hash)
    }

    /// Whether somebody may still come in by it.
    pub(crate) fn works(&self, now: i32) -> bool {
        let fresh = self.expires.is_none_or(|expires| now < expires);
        let left = self.usage_limit.is_none_or(|limit| (self.uses.len() as i64) < i64::from(limit));
        !self.revoked && fresh && left
    }
}

/// The hash in a link, however it is written.
pub(crate) fn hash_of(link: &str) -> &str {
    let name = link.rsplit('/').next().unwrap_or(link);
    name.strip_prefix('+').unwrap_or(name)
}

impl World {
    /// Makes a chat's own link; the one before is worth nothing any more.
    pub(crate) fn renew_permanent(&mut self, peer: Peer, creator: Option<i64>) -> String {
        let old = self.chat(peer).map(|chat| chat.invite_hash.clone()).unwrap_or_default();
        if let Some(link) = self.invites.get_mut(&old) {
            link.revoked = true;
        }
        let hash = self.random_text(INVITE_HASH);
        let link = InviteLink { permanent: true, ..InviteLink::new(hash.clone(), peer, creator) };
        self.invites.insert(hash.clone(), link);
        if let Some(chat) = self.chat_mut(peer) {
            chat.invite_hash.clone_from(&hash);
            chat.links.push(hash.clone());
        }
        hash
    }

    /// Adds a link that was made for a purpose; answers its hash.
    pub(crate) fn add_link(
        &mut self,
        peer: Peer,
        make: impl FnOnce(InviteLink) -> InviteLink,
    ) -> String {
        let hash = self.random_text(INVITE_HASH);
        let link = make(InviteLink::new(hash.clone(), peer, None));
        self.invites.insert(hash.clone(), link);
        if let Some(chat) = self.chat_mut(peer) {
            chat.links.push(hash.clone());
        }
        hash
    }

    /// The links of a chat, oldest first.
    pub(crate) fn links_of(&self, peer: Peer) -> impl DoubleEndedIterator<Item = &InviteLink> {
        let hashes = self.chat(peer).map(|chat| &chat.links[..]).unwrap_or_default();
        hashes.iter().filter_map(|hash| self.invites.get(hash))
    }

    /// Notes that somebody came in by a link. Who asked before does not ask any more.
    pub(crate) fn note_use(&mut self, hash: &str, user: i64) {
        let peer = self.invites.get_mut(hash).map(|link| {
            link.uses.insert(user, unix_seconds());
            link.peer
        });
        if let Some(peer) = peer {
            self.withdraw_requests(peer, user);
        }
    }

    /// Notes that somebody asks to be let in.
    pub(crate) fn note_request(&mut self, hash: &str, user: i64) {
        if let Some(link) = self.invites.get_mut(hash) {
            link.requests.entry(user).or_insert_with(unix_seconds);
        }
    }

    /// Takes back what somebody asked for; answers the link, if they had asked.
    pub(crate) fn withdraw_requests(&mut self, peer: Peer, user: i64) -> Option<String> {
        let hashes: Vec<String> = self
            .links_of(peer)
            .filter(|link| link.requests.contains_key(&user))
            .map(|link| link.hash.clone())
            .collect();
        for hash in &hashes {
            if let Some(link) = self.invites.get_mut(hash) {
                link.requests.remove(&user);
            }
        }
        hashes.into_iter().next()
    }

    /// Who asks to be let in, newest first.
    pub(crate) fn requesters(&self, peer: Peer) -> Vec<i64> {
        let mut all: Vec<_> = self
            .links_of(peer)
            .flat_map(|link| link.requests.iter().map(|(user, date)| (*date, *user)))
            .collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        all.into_iter().map(|(_, user)| user).collect()
    }
}
