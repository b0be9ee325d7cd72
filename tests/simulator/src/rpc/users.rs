//! `users.*`.

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::world::blank;

/// Those with a wrong access hash come back empty, as from the real server.
pub(super) fn get_users(
    call: &mut Call,
    request: functions::users::GetUsers,
) -> Answer<functions::users::GetUsers> {
    let view = |input: &enums::InputUser| match (call.input_user(input), input) {
        (Ok(id), _) => call.world.user_view(call.me, id),
        (Err(_), enums::InputUser::User(user)) => types::UserEmpty { id: user.user_id }.into(),
        (Err(_), _) => types::UserEmpty { id: 0 }.into(),
    };
    Ok(request.id.iter().map(view).collect())
}

pub(super) fn get_full_user(
    call: &mut Call,
    request: functions::users::GetFullUser,
) -> Answer<functions::users::GetFullUser> {
    let id = call.input_user(&request.id)?;
    let full_user = types::UserFull { id, ..blank::USER_FULL.clone() }.into();
    let users = vec![call.world.user_view(call.me, id)];
    Ok(types::users::UserFull { full_user, chats: vec![], users }.into())
}
