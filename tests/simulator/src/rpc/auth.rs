//! `auth.*` and `account.*` beside logging in.

use grammers_tl_types::{functions, types};

use super::{Answer, Call, Visit};

/// Works for a key that waits for its password, too: it gives up.
pub(super) fn log_out(
    visit: &mut Visit,
    _: functions::auth::LogOut,
) -> Answer<functions::auth::LogOut> {
    if !visit.world.log_out(visit.key_id) {
        return Err("AUTH_KEY_UNREGISTERED".into());
    }
    Ok(types::auth::LoggedOut { future_auth_token: None }.into())
}

pub(super) fn update_status(
    _: &mut Call,
    _: functions::account::UpdateStatus,
) -> Answer<functions::account::UpdateStatus> {
    Ok(true)
}
