//! `auth.*` and `account.*` of those who are logged in.

use grammers_tl_types::{functions, types};

use super::{Answer, Call};

pub(super) fn log_out(
    call: &mut Call,
    _: functions::auth::LogOut,
) -> Answer<functions::auth::LogOut> {
    call.world.log_out(call.key_id);
    Ok(types::auth::LoggedOut { future_auth_token: None }.into())
}

pub(super) fn update_status(
    _: &mut Call,
    _: functions::account::UpdateStatus,
) -> Answer<functions::account::UpdateStatus> {
    Ok(true)
}
