//! Logging in by a QR code that another device scans.

use std::time::Instant;

use grammers_tl_types::{enums, functions, types};
use rand::Rng;

use super::logins::check_application;
use super::{Answer, Call, Visit};
use crate::clock::unix_seconds;
use crate::error::RpcError;

/// A new token as long as nobody accepted one; then what comes of it.
pub(super) fn export_login_token(
    visit: &mut Visit,
    request: functions::auth::ExportLoginToken,
) -> Answer<functions::auth::ExportLoginToken> {
    check_application(request.api_id, &request.api_hash)?;
    match visit.world.login_tokens.accepted(visit.key_id) {
        Some((token, user)) => visit.follow(token, user),
        None => {
            let now = Instant::now();
            Ok(visit.world.make_token(visit.key_id, request.except_ids, now).into())
        }
    }
}

pub(super) fn import_login_token(
    visit: &mut Visit,
    request: functions::auth::ImportLoginToken,
) -> Answer<functions::auth::ImportLoginToken> {
    let token = request.token;
    let found = visit.world.login_tokens.find(&token, Instant::now())?;
    let (expires, accepted_by) = (found.expires_at, found.accepted_by);
    match accepted_by {
        Some(user) => visit.follow(token, user),
        None => Ok(types::auth::LoginToken { expires, token }.into()),
    }
}

impl Visit<'_> {
    /// What somebody is answered whose token was accepted.
    fn follow(&mut self, token: Vec<u8>, user: i64) -> Result<enums::auth::LoginToken, RpcError> {
        let dc_id = self.world.user(user).dc;
        if dc_id != self.dc {
            return Ok(types::auth::LoginTokenMigrateTo { dc_id, token }.into());
        }
        let authorization = self.admit(user)?;
        self.world.login_tokens.spend(&token);
        Ok(types::auth::LoginTokenSuccess { authorization }.into())
    }
}

pub(super) fn accept_login_token(
    call: &mut Call,
    request: functions::auth::AcceptLoginToken,
) -> Answer<functions::auth::AcceptLoginToken> {
    call.forbid_bots()?;
    call.world.accept_token(&request.token, call.me, Instant::now())?;
    let now = unix_seconds();
    let unknown = || "unknown".to_owned();
    Ok(types::Authorization {
        current: false,
        official_app: false,
        password_pending: call.world.user(call.me).password.is_some(),
        encrypted_requests_disabled: false,
        call_requests_disabled: false,
        unconfirmed: false,
        hash: call.world.rng.random(),
        device_model: unknown(),
        platform: unknown(),
        system_version: unknown(),
        api_id: 1,
        app_name: unknown(),
        app_version: unknown(),
        date_created: now,
        date_active: now,
        ip: "127.0.0.1".to_owned(),
        country: unknown(),
        region: unknown(),
    }
    .into())
}
