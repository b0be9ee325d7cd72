//! `contacts.*`.

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::error::RpcError;
use crate::world::ids::Peer;
use crate::world::logins::normal_phone;
use crate::world::users::valid_username;
use crate::world::view::Cast;

pub(super) fn resolve_username(
    call: &mut Call,
    request: functions::contacts::ResolveUsername,
) -> Answer<functions::contacts::ResolveUsername> {
    if !valid_username(&request.username) {
        return Err("USERNAME_INVALID".into());
    }
    let key = request.username.to_ascii_lowercase();
    let peer = *call.world.usernames.get(&key).ok_or("USERNAME_NOT_OCCUPIED")?;
    Ok(resolved(call, peer))
}

pub(super) fn resolve_phone(
    call: &mut Call,
    request: functions::contacts::ResolvePhone,
) -> Answer<functions::contacts::ResolvePhone> {
    call.forbid_bots()?;
    let user = normal_phone(&request.phone).and_then(|phone| call.world.phones.get(&phone));
    let user = *user.ok_or_else(|| RpcError::from("PHONE_NOT_OCCUPIED"))?;
    Ok(resolved(call, Peer::User(user)))
}

fn resolved(call: &Call, peer: Peer) -> enums::contacts::ResolvedPeer {
    let cast = Cast::of([peer]);
    let users = cast.users(call.world, call.me);
    let chats = cast.chats(call.world, call.me);
    types::contacts::ResolvedPeer { peer: peer.into(), chats, users }.into()
}
