//! A forgotten password: the code that goes to the recovery mail, and what it is good for.

use std::time::Instant;

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Visit};
use crate::error::RpcError;
use crate::wire::handshake::GENERATOR;
use crate::wire::srp::{Verifier, prime};
use crate::world::passwords::Password;

/// Shortest first salt of a new password: the server's, to which the client adds 32 bytes.
/// Source: <https://core.telegram.org/api/srp#setting-a-new-2fa-password>.
const NEW_SALT1_MIN: usize = super::password::NEW_SALT + 32;

impl Visit<'_> {
    /// Who may recover a password over this connection: who gave the right code, or is logged in.
    fn forgetful(&self) -> Result<i64, RpcError> {
        self.world.password_owner(self.key_id).ok_or_else(|| "AUTH_KEY_UNREGISTERED".into())
    }
}

pub(super) fn request_password_recovery(
    visit: &mut Visit,
    _: functions::auth::RequestPasswordRecovery,
) -> Answer<functions::auth::RequestPasswordRecovery> {
    let owner = visit.forgetful()?;
    let email_pattern = visit.world.request_recovery(owner, Instant::now())?;
    Ok(types::auth::PasswordRecovery { email_pattern }.into())
}

pub(super) fn check_recovery_password(
    visit: &mut Visit,
    request: functions::auth::CheckRecoveryPassword,
) -> Answer<functions::auth::CheckRecoveryPassword> {
    let owner = visit.forgetful()?;
    visit.world.check_recovery(owner, &request.code, Instant::now())?;
    Ok(true)
}

pub(super) fn recover_password(
    visit: &mut Visit,
    request: functions::auth::RecoverPassword,
) -> Answer<functions::auth::RecoverPassword> {
    let owner = visit.forgetful()?;
    let new = match request.new_settings {
        Some(enums::account::PasswordInputSettings::Settings(settings)) => new_password(settings)?,
        None => None,
    };
    visit.world.recover(owner, &request.code, new, Instant::now())?;
    let inside = visit.world.keys.get(&visit.key_id).is_some_and(|key| key.user.is_some());
    Ok(if inside { visit.authorization(owner) } else { visit.welcome(owner) })
}

/// The password that is to replace the forgotten one; none at all if its hash is empty. A new
/// recovery mail is not taken: the old one stays.
fn new_password(
    settings: types::account::PasswordInputSettings,
) -> Result<Option<Password>, RpcError> {
    use enums::PasswordKdfAlgo::Sha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow as Known;
    let hash = settings.new_password_hash.unwrap_or_default();
    if hash.is_empty() {
        return Ok(None);
    }
    let Some(Known(algo)) = settings.new_algo else { return Err("NEW_SETTINGS_INVALID".into()) };
    if algo.g != GENERATOR || algo.p != prime() {
        return Err("NEW_SETTINGS_INVALID".into());
    }
    if algo.salt1.len() < NEW_SALT1_MIN {
        return Err("NEW_SALT_INVALID".into());
    }
    let verifier = Verifier::from_hash(algo.salt1, algo.salt2, &hash);
    let hint = settings.hint.filter(|hint| !hint.is_empty());
    Ok(Some(Password::new(verifier.ok_or("NEW_SETTINGS_INVALID")?, hint)))
}
