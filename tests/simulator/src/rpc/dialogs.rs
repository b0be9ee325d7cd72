//! The list of conversations.

use std::cmp::Reverse;

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::world::blank;
use crate::world::ids::Peer;
use crate::world::messages::Message;
use crate::world::view::Cast;

/// Most dialogs one page holds.
const MAX_LIMIT: i32 = 100;

/// A conversation's place in the list: by its newest message, or by when it began.
type Place = (i32, i32, i64);

impl Call<'_> {
    fn top_message(&self, peer: Peer) -> Option<&Message> {
        match peer {
            Peer::Channel(id) => self.world.channels.get(&id)?.messages.last(),
            _ => self.world.user(self.me).dialog_messages(peer).last().copied(),
        }
    }

    fn place(&self, peer: Peer) -> Place {
        match (self.top_message(peer), self.world.chat(peer)) {
            (Some(message), _) => (message.date, message.id, peer.marked()),
            (None, Some(chat)) => (chat.date, 0, peer.marked()),
            (None, None) => (0, 0, peer.marked()),
        }
    }

    /// Everybody the caller has a conversation with, the most recent first.
    fn conversations(&self) -> Vec<(Place, Peer)> {
        let me = self.world.user(self.me);
        let boxed = me.dialogs.keys();
        let silent = me.chats.iter().filter(|peer| !me.dialogs.contains_key(peer));
        let mut list: Vec<_> = boxed.chain(silent).map(|peer| (self.place(*peer), *peer)).collect();
        list.sort_unstable_by_key(|(place, _)| Reverse(*place));
        list
    }

    fn dialog_view(&self, peer: Peer) -> enums::Dialog {
        let me = self.world.user(self.me);
        let read_inbox_max_id = match peer {
            Peer::Channel(id) => me.read_in_channel.get(&id).copied().unwrap_or(0),
            _ => me.dialogs.get(&peer).map_or(0, |dialog| dialog.read_inbox),
        };
        let pts = match peer {
            Peer::Channel(id) => self.world.channels.get(&id).map(|channel| channel.pts()),
            _ => None,
        };
        types::Dialog {
            peer: peer.into(),
            top_message: self.top_message(peer).map_or(0, |message| message.id),
            read_inbox_max_id,
            unread_count: self.world.unread(self.me, peer),
            pts,
            ..blank::DIALOG.clone()
        }
        .into()
    }

    fn described(&self, peers: &[Peer]) -> types::messages::Dialogs {
        let tops: Vec<&Message> = peers.iter().filter_map(|peer| self.top_message(*peer)).collect();
        let cast = Cast::of(peers.iter().copied()).with_messages(self.world, tops.iter().copied());
        types::messages::Dialogs {
            dialogs: peers.iter().map(|peer| self.dialog_view(*peer)).collect(),
            messages: self.world.messages_view(self.me, tops),
            chats: cast.chats(self.world, self.me),
            users: cast.users(self.world, self.me),
        }
    }
}

pub(super) fn get_dialogs(
    call: &mut Call,
    request: functions::messages::GetDialogs,
) -> Answer<functions::messages::GetDialogs> {
    call.forbid_bots()?;
    // Nothing is ever archived.
    let all = if request.folder_id.unwrap_or(0) == 0 { call.conversations() } else { Vec::new() };
    let total = all.len();
    let from_start = request.offset_date == 0 && request.offset_id == 0;
    let peer = call.input_peer(&request.offset_peer).map_or(i64::MAX, Peer::marked);
    let after = (request.offset_date, request.offset_id, peer);
    let page: Vec<Peer> = all
        .into_iter()
        .filter(|(place, _)| from_start || follows(*place, after))
        .map(|(_, peer)| peer)
        .take(request.limit.clamp(1, MAX_LIMIT) as usize)
        .collect();
    let types::messages::Dialogs { dialogs, messages, chats, users } = call.described(&page);
    Ok(if from_start && page.len() == total {
        types::messages::Dialogs { dialogs, messages, chats, users }.into()
    } else {
        let count = total as i32;
        types::messages::DialogsSlice { count, dialogs, messages, chats, users }.into()
    })
}

/// Whether a place comes after the last one of the page before; clients that leave the date out
/// page by message id alone.
fn follows(place: Place, last: Place) -> bool {
    if last.0 == 0 { (place.1, place.2) < (last.1, last.2) } else { place < last }
}

pub(super) fn get_peer_dialogs(
    call: &mut Call,
    request: functions::messages::GetPeerDialogs,
) -> Answer<functions::messages::GetPeerDialogs> {
    call.forbid_bots()?;
    let mut peers = Vec::new();
    for input in &request.peers {
        let enums::InputDialogPeer::Peer(input) = input else {
            return Err("FOLDER_ID_INVALID".into());
        };
        let peer = call.input_peer(&input.peer)?;
        if let Peer::Channel(id) = peer {
            call.readable(id)?;
        }
        peers.push(peer);
    }
    let types::messages::Dialogs { dialogs, messages, chats, users } = call.described(&peers);
    let state = call.world.state(call.me).into();
    Ok(types::messages::PeerDialogs { dialogs, messages, chats, users, state }.into())
}

pub(super) fn get_all_drafts(
    call: &mut Call,
    _: functions::messages::GetAllDrafts,
) -> Answer<functions::messages::GetAllDrafts> {
    Ok(call.world.updates(call.me, Vec::new(), &Cast::default()))
}
