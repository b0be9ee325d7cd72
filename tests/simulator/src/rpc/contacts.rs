//! `contacts.*`: finding people and keeping an address book.

use std::time::Instant;

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::error::RpcError;
use crate::world::floods::Reach;
use crate::world::ids::Peer;
use crate::world::users::valid_username;
use crate::world::view::Cast;

pub(super) fn resolve_username(
    call: &mut Call,
    request: functions::contacts::ResolveUsername,
) -> Answer<functions::contacts::ResolveUsername> {
    if !valid_username(&request.username) {
        return Err("USERNAME_INVALID".into());
    }
    call.count_lookup()?;
    let key = request.username.to_ascii_lowercase();
    let peer = *call.world.usernames.get(&key).ok_or("USERNAME_NOT_OCCUPIED")?;
    Ok(resolved(call, peer))
}

/// Who hides their phone is as little to be found as nobody.
pub(super) fn resolve_phone(
    call: &mut Call,
    request: functions::contacts::ResolvePhone,
) -> Answer<functions::contacts::ResolvePhone> {
    call.forbid_bots()?;
    call.count_lookup()?;
    let user = call.world.look_up_phone(call.me, &request.phone);
    let user = user.ok_or_else(|| RpcError::from("PHONE_NOT_OCCUPIED"))?;
    Ok(resolved(call, Peer::User(user)))
}

fn resolved(call: &Call, peer: Peer) -> enums::contacts::ResolvedPeer {
    let cast = Cast::of([peer]);
    let users = cast.users(call.world, call.me);
    let chats = cast.chats(call.world, call.me);
    types::contacts::ResolvedPeer { peer: peer.into(), chats, users }.into()
}

impl Call<'_> {
    fn count_lookup(&mut self) -> Result<(), RpcError> {
        let limits = self.world.logins.limits;
        self.world.floods.count(self.me, (Reach::Resolve, 1), &limits, Instant::now())
    }

    /// Tells the caller's other sessions what this one is answered.
    fn told(&mut self, updates: Vec<enums::Update>, people: &[i64]) -> enums::Updates {
        let cast = Cast::of(people.iter().map(|person| Peer::User(*person)));
        let answer = self.world.updates(self.me, updates, &cast);
        self.world.announce(self.me, &answer, Some(self.origin));
        answer
    }
}

/// Those whose phones are nobody's, or hidden, are in no part of the answer; they are saved.
pub(super) fn import_contacts(
    call: &mut Call,
    request: functions::contacts::ImportContacts,
) -> Answer<functions::contacts::ImportContacts> {
    call.forbid_bots()?;
    let most = call.world.logins.limits.contacts_before_retry;
    let (mut imported, mut retry_contacts, mut people) = (Vec::new(), Vec::new(), Vec::new());
    for input in request.contacts {
        let enums::InputContact::InputPhoneContact(contact) = input;
        let client_id = contact.client_id;
        let so_far = &mut call.world.user_mut(call.me).imported;
        if most > 0 && *so_far >= most {
            // Those are saved, too: <https://github.com/pyrogram/pyrogram/issues/38>.
            call.world.save_phone(call.me, &contact.phone);
            retry_contacts.push(client_id);
            continue;
        }
        *so_far += 1;
        let (phone, first, last) = (contact.phone, contact.first_name, contact.last_name);
        if let Some(user_id) = call.world.import_contact(call.me, &phone, first, last) {
            imported.push(types::ImportedContact { user_id, client_id }.into());
            people.push(user_id);
        }
    }
    let people = people.into_iter().map(Peer::User);
    let users = Cast::of(people).users(call.world, call.me);
    let popular_invites = Vec::new();
    Ok(types::contacts::ImportedContacts { imported, popular_invites, retry_contacts, users }
        .into())
}

pub(super) fn add_contact(
    call: &mut Call,
    request: functions::contacts::AddContact,
) -> Answer<functions::contacts::AddContact> {
    call.forbid_bots()?;
    let id = call.input_user(&request.id).map_err(|_| RpcError::from("CONTACT_ID_INVALID"))?;
    if id == call.me || call.world.user(id).deleted {
        return Err("CONTACT_ID_INVALID".into());
    }
    if request.first_name.trim().is_empty() {
        return Err("CONTACT_NAME_EMPTY".into());
    }
    // A phone counts only if it is theirs: nobody learns by guessing.
    let phone = crate::world::logins::normal_phone(&request.phone);
    let phone = phone.filter(|phone| *phone == call.world.user(id).phone).unwrap_or_default();
    let (first, last) = (request.first_name, request.last_name);
    let shares_phone = request.add_phone_privacy_exception;
    call.world.put_contact(call.me, id, first, last, phone, shares_phone);
    let settings = crate::world::blank::PEER_SETTINGS.clone().into();
    let peer = Peer::User(id).into();
    Ok(call.told(vec![types::UpdatePeerSettings { peer, settings }.into()], &[id]))
}

/// Those who are no contacts are passed over.
pub(super) fn delete_contacts(
    call: &mut Call,
    request: functions::contacts::DeleteContacts,
) -> Answer<functions::contacts::DeleteContacts> {
    call.forbid_bots()?;
    let people = request.id.iter().map(|input| call.input_user(input));
    let people: Vec<i64> = people.collect::<Result<_, _>>()?;
    let mut updates = Vec::new();
    for &id in &people {
        if call.world.drop_contact(call.me, id) {
            let settings = crate::world::blank::PEER_SETTINGS.clone().into();
            let peer = Peer::User(id).into();
            updates.push(types::UpdatePeerSettings { peer, settings }.into());
        }
    }
    Ok(call.told(updates, &people))
}

pub(super) fn delete_by_phones(
    call: &mut Call,
    request: functions::contacts::DeleteByPhones,
) -> Answer<functions::contacts::DeleteByPhones> {
    call.forbid_bots()?;
    call.world.drop_phones(call.me, &request.phones);
    Ok(true)
}

pub(super) fn get_contacts(
    call: &mut Call,
    request: functions::contacts::GetContacts,
) -> Answer<functions::contacts::GetContacts> {
    call.forbid_bots()?;
    let book = &call.world.user(call.me).book;
    if request.hash != 0 && request.hash == book.hash() {
        return Ok(enums::contacts::Contacts::NotModified);
    }
    let contacts = book.contacts.keys().map(|&user_id| {
        let mutual = call.world.has_contact(user_id, call.me);
        enums::Contact::from(types::Contact { user_id, mutual })
    });
    let contacts = contacts.collect();
    let users = Cast::of(book.contacts.keys().map(|id| Peer::User(*id)));
    let (saved_count, users) = (book.saved() as i32, users.users(call.world, call.me));
    Ok(types::contacts::Contacts { contacts, saved_count, users }.into())
}

/// Blocking is for people here; the lists of who sees stories are not simulated.
pub(super) fn block(
    call: &mut Call,
    request: functions::contacts::Block,
) -> Answer<functions::contacts::Block> {
    let blocked = call.blockable(&request.id)?;
    Ok(call.world.user_mut(call.me).privacy.blocked.insert(blocked))
}

pub(super) fn unblock(
    call: &mut Call,
    request: functions::contacts::Unblock,
) -> Answer<functions::contacts::Unblock> {
    let blocked = call.blockable(&request.id)?;
    Ok(call.world.user_mut(call.me).privacy.blocked.remove(&blocked))
}

pub(super) fn get_blocked(
    call: &mut Call,
    request: functions::contacts::GetBlocked,
) -> Answer<functions::contacts::GetBlocked> {
    call.forbid_bots()?;
    let all = &call.world.user(call.me).privacy.blocked;
    let (offset, limit) = (request.offset.max(0) as usize, request.limit.clamp(0, 100) as usize);
    let page: Vec<i64> = all.iter().copied().skip(offset).take(limit).collect();
    let view = |&id: &i64| types::PeerBlocked { peer_id: Peer::User(id).into(), date: 0 }.into();
    let blocked = page.iter().map(view).collect();
    let cast = Cast::of(page.iter().map(|id| Peer::User(*id)));
    let (chats, users) = (Vec::new(), cast.users(call.world, call.me));
    if page.len() == all.len() {
        return Ok(types::contacts::Blocked { blocked, chats, users }.into());
    }
    let count = all.len() as i32;
    Ok(types::contacts::BlockedSlice { count, blocked, chats, users }.into())
}

impl Call<'_> {
    /// Somebody who can be blocked.
    fn blockable(&self, input: &enums::InputPeer) -> Result<i64, RpcError> {
        self.forbid_bots()?;
        match self.input_peer(input) {
            Ok(Peer::User(id)) if id != self.me => Ok(id),
            _ => Err("CONTACT_ID_INVALID".into()),
        }
    }
}
