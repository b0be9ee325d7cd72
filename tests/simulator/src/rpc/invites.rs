//! Invite links.

use grammers_tl_types::{functions, types};

use super::{Answer, Call};
use crate::error::RpcError;
use crate::world::chats::INVITE_HASH;
use crate::world::ids::Peer;
use crate::world::membership::Entrance;

impl Call<'_> {
    /// The chat behind a link's hash. Banned people find every link expired.
    fn invited_to(&self, hash: &str) -> Result<Peer, RpcError> {
        let plausible = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
        if hash.len() != INVITE_HASH || !hash.chars().all(plausible) {
            return Err("INVITE_HASH_INVALID".into());
        }
        let peer = *self.world.invites.get(hash).ok_or("INVITE_HASH_EXPIRED")?;
        let banned = self.world.chat(peer).is_none_or(|chat| chat.banned.contains(&self.me));
        if banned { Err("INVITE_HASH_EXPIRED".into()) } else { Ok(peer) }
    }
}

pub(super) fn check_chat_invite(
    call: &mut Call,
    request: functions::messages::CheckChatInvite,
) -> Answer<functions::messages::CheckChatInvite> {
    call.forbid_bots()?;
    let peer = call.invited_to(&request.hash)?;
    let chat = call.world.chat(peer).ok_or("INVITE_HASH_EXPIRED")?;
    if chat.members.contains_key(&call.me) {
        let chat = call.world.chat_view(call.me, peer).ok_or("INVITE_HASH_EXPIRED")?;
        return Ok(types::ChatInviteAlready { chat }.into());
    }
    let channel = matches!(peer, Peer::Channel(_));
    let broadcast = call.world.is_broadcast(peer);
    let public = match peer {
        Peer::Channel(id) => call.world.channels.get(&id).is_some_and(|c| c.username.is_some()),
        _ => false,
    };
    Ok(types::ChatInvite {
        channel,
        broadcast,
        public,
        megagroup: channel && !broadcast,
        request_needed: false,
        verified: false,
        scam: false,
        fake: false,
        can_refulfill_subscription: false,
        title: chat.title.clone(),
        about: None,
        photo: types::PhotoEmpty { id: 0 }.into(),
        participants_count: chat.members.len() as i32,
        participants: None,
        color: 0,
        subscription_pricing: None,
        subscription_form_id: None,
        bot_verification: None,
    }
    .into())
}

pub(super) fn import_chat_invite(
    call: &mut Call,
    request: functions::messages::ImportChatInvite,
) -> Answer<functions::messages::ImportChatInvite> {
    call.forbid_bots()?;
    let peer = call.invited_to(&request.hash)?;
    call.enter(peer, Entrance::InviteLink)
}
