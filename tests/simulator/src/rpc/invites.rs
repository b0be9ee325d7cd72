//! Invite links: made, looked at, used, counted.

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::clock::unix_seconds;
use crate::error::RpcError;
use crate::world::chats::Chat;
use crate::world::ids::Peer;
use crate::world::links::{INVITE_HASH, InviteLink, hash_of};
use crate::world::membership::Entrance;
use crate::world::view::Cast;

/// Most links or users one page holds.
const MAX_LIMIT: i32 = 100;

impl Call<'_> {
    /// The link of a hash that works for the caller. Banned people find every link expired.
    fn working_link(&self, hash: &str) -> Result<&InviteLink, RpcError> {
        let plausible = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
        if hash.len() != INVITE_HASH || !hash.chars().all(plausible) {
            return Err("INVITE_HASH_INVALID".into());
        }
        let link = self.world.invites.get(hash).ok_or("INVITE_HASH_EXPIRED")?;
        let banned = self.world.chat(link.peer).is_none_or(|chat| chat.banned.contains(&self.me));
        if banned || !link.works(unix_seconds()) {
            return Err("INVITE_HASH_EXPIRED".into());
        }
        Ok(link)
    }

    /// A chat whose links the caller may look at and make.
    fn chat_with_links(&self, input: &enums::InputPeer) -> Result<(Peer, &Chat), RpcError> {
        self.forbid_bots()?;
        let peer = self.input_peer(input)?;
        if let Peer::Channel(id) = peer {
            self.readable(id)?;
        }
        let chat = self.world.chat(peer).ok_or("PEER_ID_INVALID")?;
        let member = chat.members.get(&self.me);
        let may = member.is_some_and(|member| chat.is_admin(self.me) && member.may.invite);
        if may { Ok((peer, chat)) } else { Err("CHAT_ADMIN_REQUIRED".into()) }
    }

    /// A link of a chat by its address.
    fn link_of(&self, peer: Peer, link: &str) -> Result<&InviteLink, RpcError> {
        let link = self.world.invites.get(hash_of(link)).filter(|link| link.peer == peer);
        link.ok_or_else(|| "INVITE_HASH_EXPIRED".into())
    }
}

/// A link as `viewer` sees it, who made it if nobody else did.
pub(super) fn exported(viewer: i64, link: &InviteLink) -> enums::ExportedChatInvite {
    let count = |people: usize| (people > 0).then_some(people as i32);
    types::ChatInviteExported {
        revoked: link.revoked,
        permanent: link.permanent,
        request_needed: link.request_needed,
        link: link.url(),
        admin_id: link.creator.unwrap_or(viewer),
        date: link.date,
        start_date: None,
        expire_date: link.expires,
        usage_limit: link.usage_limit,
        usage: count(link.uses.len()),
        requested: count(link.requests.len()),
        subscription_expired: None,
        title: link.title.clone(),
        subscription_pricing: None,
    }
    .into()
}

/// The link that a chat has of itself, for those who may see it.
pub(super) fn own_link(call: &Call, chat: &Chat) -> Option<enums::ExportedChatInvite> {
    let link = call.world.invites.get(&chat.invite_hash)?;
    chat.is_admin(call.me).then(|| exported(call.me, link))
}

pub(super) fn check_chat_invite(
    call: &mut Call,
    request: functions::messages::CheckChatInvite,
) -> Answer<functions::messages::CheckChatInvite> {
    call.forbid_bots()?;
    let link = call.working_link(&request.hash)?;
    let peer = link.peer;
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
        request_needed: link.request_needed,
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

/// Whoever needs an admin's consent is told by an error that the request was sent.
pub(super) fn import_chat_invite(
    call: &mut Call,
    request: functions::messages::ImportChatInvite,
) -> Answer<functions::messages::ImportChatInvite> {
    call.forbid_bots()?;
    let link = call.working_link(&request.hash)?;
    let (peer, request_needed) = (link.peer, link.request_needed);
    if request_needed && !call.world.user(call.me).chats.contains(&peer) {
        call.world.ask_in(&request.hash, call.me);
        return Err("INVITE_REQUEST_SENT".into());
    }
    let answer = call.enter(peer, Entrance::InviteLink)?;
    call.world.note_use(&request.hash, call.me);
    Ok(answer)
}

/// Makes a link, each time another one. With `legacy_revoke_permanent` it takes the place of the
/// chat's own, as `exportChatInviteLink` of the Bot API has it.
/// Sources: <https://core.telegram.org/method/messages.exportChatInvite>,
/// <https://core.telegram.org/bots/api#exportchatinvitelink>.
pub(super) fn export_chat_invite(
    call: &mut Call,
    request: functions::messages::ExportChatInvite,
) -> Answer<functions::messages::ExportChatInvite> {
    let (peer, _) = call.chat_with_links(&request.peer)?;
    let me = call.me;
    if request.expire_date.is_some_and(|date| date <= unix_seconds()) {
        return Err("EXPIRE_DATE_INVALID".into());
    }
    // Who must be let in one by one is not counted beforehand.
    if request.usage_limit.is_some_and(|limit| limit < 1 || request.request_needed) {
        return Err("USAGE_LIMIT_INVALID".into());
    }
    let hash = if request.legacy_revoke_permanent {
        call.world.renew_permanent(peer, Some(me))
    } else {
        call.world.add_link(peer, |link| InviteLink {
            creator: Some(me),
            title: request.title,
            expires: request.expire_date,
            usage_limit: request.usage_limit,
            request_needed: request.request_needed,
            ..link
        })
    };
    let link = call.world.invites.get(&hash).ok_or("INVITE_HASH_EXPIRED")?;
    Ok(exported(me, link))
}

pub(super) fn get_exported_chat_invite(
    call: &mut Call,
    request: functions::messages::GetExportedChatInvite,
) -> Answer<functions::messages::GetExportedChatInvite> {
    let (peer, _) = call.chat_with_links(&request.peer)?;
    let link = call.link_of(peer, &request.link)?;
    let invite = exported(call.me, link);
    let users = vec![call.world.user_view(call.me, link.creator.unwrap_or(call.me))];
    Ok(types::messages::ExportedChatInvite { invite, users }.into())
}

/// The newest first. The first link of a chat, which nobody made, is everybody's.
pub(super) fn get_exported_chat_invites(
    call: &mut Call,
    request: functions::messages::GetExportedChatInvites,
) -> Answer<functions::messages::GetExportedChatInvites> {
    let (peer, _) = call.chat_with_links(&request.peer)?;
    let admin = call.input_user(&request.admin_id)?;
    let theirs = |link: &&InviteLink| {
        link.creator.unwrap_or(admin) == admin && link.revoked == request.revoked
    };
    let all: Vec<&InviteLink> = call.world.links_of(peer).filter(theirs).rev().collect();
    let start = match &request.offset_link {
        Some(last) => all.iter().position(|link| link.hash == hash_of(last)).map_or(0, |n| n + 1),
        None => 0,
    };
    let limit = request.limit.clamp(1, MAX_LIMIT) as usize;
    let page = all.iter().skip(start).take(limit);
    let invites = page.map(|link| exported(admin, link)).collect();
    let users = vec![call.world.user_view(call.me, admin)];
    Ok(types::messages::ExportedChatInvites { count: all.len() as i32, invites, users }.into())
}

/// Who came in by links, or asks to be let in; the newest first, of one link or of all.
/// Source: <https://core.telegram.org/method/messages.getChatInviteImporters>.
pub(super) fn get_chat_invite_importers(
    call: &mut Call,
    request: functions::messages::GetChatInviteImporters,
) -> Answer<functions::messages::GetChatInviteImporters> {
    let (peer, _) = call.chat_with_links(&request.peer)?;
    let query = request.q.as_deref().unwrap_or_default().to_lowercase();
    if request.link.is_some() && !query.is_empty() {
        return Err("SEARCH_WITH_LINK_NOT_SUPPORTED".into());
    }
    let links: Vec<&InviteLink> = match &request.link {
        Some(link) => vec![call.link_of(peer, link)?],
        None => call.world.links_of(peer).collect(),
    };
    let requested = request.requested;
    let named = |user: &i64| {
        let user = call.world.user(*user);
        query.is_empty() || user.first_name.to_lowercase().contains(&query)
    };
    let mut all: Vec<(i32, i64)> = links
        .iter()
        .flat_map(|link| if requested { &link.requests } else { &link.uses })
        .filter(|(user, _)| named(user))
        .map(|(user, date)| (*date, *user))
        .collect();
    all.sort_unstable_by(|one, other| other.cmp(one));
    let last = match &request.offset_user {
        enums::InputUser::User(user) => user.user_id,
        _ => i64::MAX,
    };
    let offset = (request.offset_date, last);
    let behind = |entry: &&(i32, i64)| request.offset_date == 0 || **entry < offset;
    let limit = request.limit.clamp(1, MAX_LIMIT) as usize;
    let page: Vec<(i32, i64)> = all.iter().filter(behind).take(limit).copied().collect();
    let view = |&(date, user_id): &(i32, i64)| {
        types::ChatInviteImporter {
            requested,
            via_chatlist: false,
            user_id,
            date,
            about: None,
            approved_by: None,
        }
        .into()
    };
    let importers = page.iter().map(view).collect();
    let users = Cast::of(page.iter().map(|(_, user)| Peer::User(*user)));
    let (count, users) = (all.len() as i32, users.users(call.world, call.me));
    Ok(types::messages::ChatInviteImporters { count, importers, users }.into())
}

/// An admin lets somebody in who asked for it, or does not.
pub(super) fn hide_chat_join_request(
    call: &mut Call,
    request: functions::messages::HideChatJoinRequest,
) -> Answer<functions::messages::HideChatJoinRequest> {
    let (peer, _) = call.chat_with_links(&request.peer)?;
    let user = call.input_user(&request.user_id)?;
    call.world.answer_request(peer, user, request.approved)?;
    Ok(call.world.updates(call.me, Vec::new(), &Cast::of([peer, Peer::User(user)])))
}
