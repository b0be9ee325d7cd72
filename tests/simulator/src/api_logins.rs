//! The acts of the control API that are about logging in.

use std::net::SocketAddrV4;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

use crate::server::Server;
use crate::shapes::{Account, ApiError, MailedCode, NewAccount, NewPassword, Secrets};
use crate::wire::crypto::AuthKey;
use crate::wire::srp::Verifier;
use crate::world::dcs::HOME_DC;
use crate::world::logins::normal_phone;
use crate::world::passwords::Password;

impl Server {
    /// Blocks for long if the account has a password.
    pub(crate) fn add_account(&self, mut new: NewAccount) -> Result<Account, ApiError> {
        let recovery_email = new.recovery_email.take();
        let mut password = self.password(new.password.take(), new.password_hint.take())?;
        if recovery_email.is_some() {
            recoverable(password.as_mut(), recovery_email)?;
        }
        self.world().add_account(new, password)
    }

    /// Blocks for long if there is a password. The recovery mail goes with the old one.
    pub(crate) fn set_password(&self, user_id: i64, new: NewPassword) -> Result<(), ApiError> {
        let password = self.password(new.password, new.hint)?;
        let mut world = self.world();
        let user = world.existing(user_id)?;
        world.user_mut(user).password = password;
        Ok(())
    }

    /// Says where a code goes if the account's password is forgotten.
    pub(crate) fn set_recovery_email(
        &self,
        user_id: i64,
        email: Option<String>,
    ) -> Result<(), ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        recoverable(world.user_mut(user).password.as_mut(), email)
    }

    fn password(
        &self,
        password: Option<String>,
        hint: Option<String>,
    ) -> Result<Option<Password>, ApiError> {
        let Some(password) = password else {
            let no_hint = hint.is_none();
            let why = || ApiError::Invalid("a hint needs a password".to_owned());
            return no_hint.then_some(None).ok_or_else(why);
        };
        let (salt1, salt2) = self.world().draw_salts();
        // The world is not locked meanwhile.
        Ok(Some(Password::new(Verifier::of(&password, salt1, salt2), hint)))
    }

    /// A session that nobody is logged in with, as after an exchange of keys.
    pub(crate) fn add_stranger(&self, dc: Option<i32>) -> Result<String, ApiError> {
        let (mut world, dc) = (self.world(), dc.unwrap_or(HOME_DC));
        let none = || ApiError::Invalid(format!("there is no datacenter {dc}"));
        let address = world.dcs.address(dc).ok_or_else(none)?;
        Ok(written(dc, address, &world.issue_key(None, dc)))
    }

    /// Accepts a QR login as that account.
    pub(crate) fn scan_qr(&self, user_id: i64, url: &str) -> Result<(), ApiError> {
        let invalid = |why: &str| ApiError::Invalid(why.to_owned());
        let mut world = self.world();
        let user = world.existing(user_id)?;
        if world.user(user).is_bot() {
            return Err(invalid("a bot cannot scan anything"));
        }
        let token = url
            .strip_prefix("tg://login?token=")
            .and_then(|token| URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok())
            .ok_or_else(|| invalid("that is not like tg://login?token=<base64url>"))?;
        let accepted = world.accept_token(&token, user, Instant::now());
        accepted.map_err(|error| ApiError::Invalid(error.name.into_owned()))
    }

    /// Gives a bot another token.
    pub(crate) fn renew_token(&self, user_id: i64) -> Result<String, ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        if !world.user(user).is_bot() {
            return Err(ApiError::Invalid(format!("account {user_id} is not a bot")));
        }
        world.renew_token(user).ok_or_else(|| ApiError::Invalid("it has no token".to_owned()))
    }

    /// The last code that was sent to an account's phone.
    pub(crate) fn login_code(&self, user_id: i64) -> Result<String, ApiError> {
        let world = self.world();
        let phone = &world.user(world.existing(user_id)?).phone;
        let none = || ApiError::NotFound(format!("login code of account {user_id}"));
        world.logins.last_code(phone).map(str::to_owned).ok_or_else(none)
    }

    /// The last code that was sent to a phone, be it anybody's or nobody's.
    pub(crate) fn phone_code(&self, phone: &str) -> Result<String, ApiError> {
        let phone = normal_phone(phone)
            .ok_or_else(|| ApiError::Invalid("that is not a phone number".to_owned()))?;
        let none = || ApiError::NotFound("login code of that phone".to_owned());
        self.world().logins.last_code(&phone).map(str::to_owned).ok_or_else(none)
    }

    /// The last code that went to an account's recovery mail.
    pub(crate) fn mailed_code(&self, user_id: i64) -> Result<MailedCode, ApiError> {
        let world = self.world();
        let mailed = world.user(world.existing(user_id)?).mailed.as_ref();
        let none = || ApiError::NotFound(format!("mail to account {user_id}"));
        let mailed = mailed.ok_or_else(none)?;
        Ok(MailedCode { email: mailed.address.clone(), code: mailed.code.clone() })
    }

    pub(crate) fn secrets(&self) -> Secrets {
        let world = self.world();
        Secrets {
            auth_keys: world.keys.values().map(|record| record.key.bytes().to_vec()).collect(),
            code_hashes: world.logins.hashes(),
            login_tokens: world.login_tokens.all(),
        }
    }
}

fn recoverable(password: Option<&mut Password>, email: Option<String>) -> Result<(), ApiError> {
    let invalid = |why: &str| ApiError::Invalid(why.to_owned());
    if email.as_deref().is_some_and(|email| !email.contains('@')) {
        return Err(invalid("that is not an address of a mailbox"));
    }
    let password = password.ok_or_else(|| invalid("a recovery mail needs a password"))?;
    password.recovery_email = email;
    Ok(())
}

/// Telethon's form: `1`, then datacenter, IPv4 address, port and key in URL-safe base64.
pub(crate) fn written(dc: i32, address: SocketAddrV4, key: &AuthKey) -> String {
    let mut bytes = vec![dc as u8];
    bytes.extend(address.ip().octets());
    bytes.extend(address.port().to_be_bytes());
    bytes.extend(key.bytes());
    format!("1{}", URL_SAFE.encode(bytes))
}
