//! Asking to be let in, by a link that needs an admin's consent.
//! Source: <https://core.telegram.org/api/invites#join-requests>.

use grammers_tl_types::{enums, types};

use super::World;
use super::ids::Peer;
use super::membership::Entrance;
use super::view::Cast;
use crate::error::RpcError;

/// How many of those who ask are named in the update about it.
const RECENT: usize = 3;

impl World {
    /// Notes that somebody asks to be let in by a link, and tells the admins.
    pub(crate) fn ask_in(&mut self, hash: &str, user: i64) {
        self.note_request(hash, user);
        if let Some(peer) = self.invites.get(hash).map(|link| link.peer) {
            self.tell_of_requests(peer);
        }
    }

    /// Answers a request: who may come in is in from then on.
    pub(crate) fn answer_request(
        &mut self,
        peer: Peer,
        user: i64,
        approved: bool,
    ) -> Result<(), RpcError> {
        if self.user(user).chats.contains(&peer) {
            return Err("USER_ALREADY_PARTICIPANT".into());
        }
        if approved && matches!(peer, Peer::Channel(_)) && self.is_full_of_channels(user) {
            return Err("USER_CHANNELS_TOO_MUCH".into());
        }
        let hash = self.withdraw_requests(peer, user).ok_or("HIDE_REQUESTER_MISSING")?;
        if approved {
            self.join(peer, user, Entrance::Request, None);
            self.note_use(&hash, user);
        }
        self.tell_of_requests(peer);
        Ok(())
    }

    fn tell_of_requests(&mut self, peer: Peer) {
        let all = self.requesters(peer);
        let recent_requesters: Vec<i64> = all.iter().copied().take(RECENT).collect();
        let update = enums::Update::from(types::UpdatePendingJoinRequests {
            peer: peer.into(),
            requests_pending: all.len() as i32,
            recent_requesters: recent_requesters.clone(),
        });
        let people = recent_requesters.into_iter().map(Peer::User);
        let cast = Cast::of(people.chain([peer]));
        let members = self
            .chat(peer)
            .into_iter()
            .flat_map(|chat| chat.members.keys().copied().filter(|member| chat.is_admin(*member)));
        for admin in members.collect::<Vec<_>>() {
            let updates = self.updates(admin, vec![update.clone()], &cast);
            self.announce(admin, &updates, None);
        }
    }
}
