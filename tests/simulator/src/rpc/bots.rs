//! Logging bots in by their tokens.

use grammers_tl_types::functions;

use super::logins::check_application;
use super::{Answer, Visit};
use crate::error::RpcError;
use crate::world::World;

pub(super) fn import_bot_authorization(
    visit: &mut Visit,
    request: functions::auth::ImportBotAuthorization,
) -> Answer<functions::auth::ImportBotAuthorization> {
    check_application(request.api_id, &request.api_hash)?;
    let bot = visit.world.bot_with(&request.bot_auth_token)?;
    visit.stay_or("USER_MIGRATE", bot)?;
    visit.admit(bot)
}

impl World {
    /// The bot a token belongs to.
    fn bot_with(&self, token: &str) -> Result<i64, RpcError> {
        let bot = self.bot_named_in(token).ok_or("ACCESS_TOKEN_INVALID")?;
        let user = self.user(bot);
        match user.bot_token.as_deref() {
            Some(current) if current == token => Ok(bot),
            _ if user.old_tokens.iter().any(|old| old == token) => {
                Err("ACCESS_TOKEN_EXPIRED".into())
            }
            _ => Err("ACCESS_TOKEN_INVALID".into()),
        }
    }

    /// The bot whose id a token begins with, whatever follows.
    pub(super) fn bot_named_in(&self, token: &str) -> Option<i64> {
        let id = token.split_once(':')?.0.parse().ok()?;
        self.users.get(&id).filter(|user| user.is_bot()).map(|user| user.id)
    }
}
