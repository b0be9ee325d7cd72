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
    let full_user = types::UserFull {
        id,
        blocked: call.world.user(call.me).privacy.blocked.contains(&id),
        contact_require_premium: call.world.needs_premium(call.me, id),
        send_paid_messages_stars: call.world.price(call.me, id),
        ..blank::USER_FULL.clone()
    }
    .into();
    let users = vec![call.world.user_view(call.me, id)];
    Ok(types::users::UserFull { full_user, chats: vec![], users }.into())
}

/// What the caller lacks to write to people, in the order asked for.
/// Source: <https://core.telegram.org/method/users.getRequirementsToContact>.
pub(super) fn get_requirements_to_contact(
    call: &mut Call,
    request: functions::users::GetRequirementsToContact,
) -> Answer<functions::users::GetRequirementsToContact> {
    call.forbid_bots()?;
    let requirement = |input: &enums::InputUser| {
        let id = call.input_user(input)?;
        if call.world.needs_premium(call.me, id) {
            return Ok(enums::RequirementToContact::Premium);
        }
        Ok(match call.world.price(call.me, id) {
            Some(stars_amount) => types::RequirementToContactPaidMessages { stars_amount }.into(),
            None => enums::RequirementToContact::Empty,
        })
    };
    request.id.iter().map(requirement).collect()
}
