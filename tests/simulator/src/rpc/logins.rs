//! Logging in by a code that was sent to the phone.
//! Source: <https://core.telegram.org/api/auth>.

use std::time::Instant;

use grammers_tl_types::{Cursor, Deserializable, Identifiable, enums, functions, types};

use super::{Answer, Request, Visit};
use crate::error::RpcError;
use crate::world::World;
use crate::world::logins::{SentCode, Way, normal_phone};

const CODE_LENGTH: i32 = 5;

pub(super) fn send_code(
    visit: &mut Visit,
    request: functions::auth::SendCode,
) -> Answer<functions::auth::SendCode> {
    check_application(request.api_id, &request.api_hash)?;
    let phone = normal_phone(&request.phone_number).ok_or("PHONE_NUMBER_INVALID")?;
    if let Some(&user) = visit.world.phones.get(&phone) {
        visit.stay_or("PHONE_MIGRATE", user)?;
    }
    let sent = visit.world.send_code(&phone, visit.key_id, Instant::now())?;
    Ok(sent_code(sent))
}

/// What an application identifies itself with must be there; it is not known who has which.
pub(super) fn check_application(api_id: i32, api_hash: &str) -> Result<(), RpcError> {
    if api_id > 0 && !api_hash.is_empty() { Ok(()) } else { Err("API_ID_INVALID".into()) }
}

fn sent_code(sent: SentCode) -> enums::auth::SentCode {
    let length = CODE_LENGTH;
    types::auth::SentCode {
        r#type: match sent.way {
            Way::App => types::auth::SentCodeTypeApp { length }.into(),
            Way::Sms => types::auth::SentCodeTypeSms { length }.into(),
            Way::Call => types::auth::SentCodeTypeCall { length }.into(),
        },
        phone_code_hash: sent.hash,
        next_type: sent.way.next().map(|way| match way {
            Way::Call => enums::auth::CodeType::Call,
            Way::App | Way::Sms => enums::auth::CodeType::Sms,
        }),
        timeout: sent.timeout.map(|seconds| seconds as i32),
    }
    .into()
}

/// The phone and the hash of a code, both of which must be there.
fn of_code<'h>(phone: &str, hash: &'h str) -> Result<(String, &'h str), RpcError> {
    let phone = normal_phone(phone).ok_or("PHONE_NUMBER_INVALID")?;
    if hash.is_empty() { Err("PHONE_CODE_HASH_EMPTY".into()) } else { Ok((phone, hash)) }
}

pub(super) fn resend_code(
    visit: &mut Visit,
    request: functions::auth::ResendCode,
) -> Answer<functions::auth::ResendCode> {
    let (phone, hash) = of_code(&request.phone_number, &request.phone_code_hash)?;
    let sent = visit.world.logins.resend(&phone, hash, visit.key_id, Instant::now())?;
    Ok(sent_code(sent))
}

pub(super) fn cancel_code(
    visit: &mut Visit,
    request: functions::auth::CancelCode,
) -> Answer<functions::auth::CancelCode> {
    let (phone, hash) = of_code(&request.phone_number, &request.phone_code_hash)?;
    visit.world.logins.cancel(&phone, hash, visit.key_id, Instant::now())?;
    Ok(true)
}

pub(super) fn sign_in(
    visit: &mut Visit,
    request: functions::auth::SignIn,
) -> Answer<functions::auth::SignIn> {
    let (phone, hash) = of_code(&request.phone_number, &request.phone_code_hash)?;
    let guess = request.phone_code.as_deref().unwrap_or_default();
    if guess.is_empty() {
        return Err("PHONE_CODE_EMPTY".into());
    }
    visit.world.logins.redeem(&phone, hash, guess, visit.key_id, Instant::now())?;
    match visit.world.phones.get(&phone) {
        Some(&user) => visit.admit(user),
        None => {
            let terms_of_service = None;
            Ok(types::auth::AuthorizationSignUpRequired { terms_of_service }.into())
        }
    }
}

impl Visit<'_> {
    /// Refuses users who live elsewhere, with where that is.
    pub(super) fn stay_or(&self, error: &str, user: i64) -> Result<(), RpcError> {
        match self.world.user(user).dc {
            home if home == self.dc => Ok(()),
            home => Err(RpcError::named(format!("{error}_{home}"))),
        }
    }

    /// Logs somebody in who proved to be `user`, unless a password is to be asked for.
    pub(super) fn admit(&mut self, user: i64) -> Result<enums::auth::Authorization, RpcError> {
        if self.world.user(user).password.is_some() {
            self.world.log_out(self.key_id);
            if let Some(record) = self.world.keys.get_mut(&self.key_id) {
                record.pending = Some(user);
            }
            return Err("SESSION_PASSWORD_NEEDED".into());
        }
        Ok(self.welcome(user))
    }

    /// Logs somebody in.
    pub(super) fn welcome(&mut self, user: i64) -> enums::auth::Authorization {
        self.world.log_in(self.key_id, user);
        self.authorization(user)
    }

    /// What is answered to who is logged in.
    pub(super) fn authorization(&self, user: i64) -> enums::auth::Authorization {
        types::auth::Authorization {
            setup_password_required: false,
            otherwise_relogin_days: None,
            tmp_sessions: None,
            future_auth_token: None,
            user: self.world.user_view(user, user),
        }
        .into()
    }
}

impl World {
    /// Whom a call is about that comes from a key which is nobody's yet, so that faults of that
    /// account strike it.
    pub(crate) fn concerned(&self, key_id: i64, request: &Request) -> Option<i64> {
        if let Some(phone) = phone_of(request) {
            return self.phones.get(&phone).copied();
        }
        let pending = || self.keys.get(&key_id)?.pending;
        self.bot_of(request).or_else(|| self.scanner_of(key_id, request)).or_else(pending)
    }

    /// The bot that a login's call names.
    fn bot_of(&self, request: &Request) -> Option<i64> {
        let login: functions::auth::ImportBotAuthorization = parsed(request)?;
        self.bot_named_in(&login.bot_auth_token)
    }

    /// Who accepted the token that a call is about.
    fn scanner_of(&self, key_id: i64, request: &Request) -> Option<i64> {
        if request.id == functions::auth::ExportLoginToken::CONSTRUCTOR_ID {
            return self.login_tokens.accepted(key_id).map(|(_, user)| user);
        }
        let import: functions::auth::ImportLoginToken = parsed(request)?;
        self.login_tokens.accepted_by(&import.token)
    }
}

/// The parameters of a call, if it is of that method.
fn parsed<R: Identifiable + Deserializable>(request: &Request) -> Option<R> {
    let body = (request.id == R::CONSTRUCTOR_ID).then_some(request.body)?;
    R::deserialize(&mut Cursor::from_slice(body)).ok()
}

/// The phone that a login's call names.
fn phone_of(request: &Request) -> Option<String> {
    use functions::auth::{CancelCode, ResendCode, SendCode, SignIn};
    let phone = parsed::<SendCode>(request)
        .map(|call| call.phone_number)
        .or_else(|| Some(parsed::<SignIn>(request)?.phone_number))
        .or_else(|| Some(parsed::<ResendCode>(request)?.phone_number))
        .or_else(|| Some(parsed::<CancelCode>(request)?.phone_number));
    normal_phone(&phone?)
}
