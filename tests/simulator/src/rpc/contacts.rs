//! `contacts.*`.

use grammers_tl_types::{functions, types};

use super::{Answer, Call};
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
    let cast = Cast::of([peer]);
    let users = cast.users(call.world, call.me);
    let chats = cast.chats(call.world, call.me);
    Ok(types::contacts::ResolvedPeer { peer: peer.into(), chats, users }.into())
}
