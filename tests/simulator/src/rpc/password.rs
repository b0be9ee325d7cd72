//! Two-factor authentication: the question about a password, and its answer.
//!
//! The numbers take long, so `prepare` computes them before the world is locked for the call.

use std::sync::Arc;
use std::time::Instant;

use grammers_tl_types::{Cursor, Deserializable, Identifiable, enums, functions, types};
use rand::Rng;

use super::{Answer, Request, Visit};
use crate::server::Server;
use crate::wire::handshake::GENERATOR;
use crate::wire::srp::{Challenge, prime};

/// Sizes of what only a change of password needs, in bytes: salts, and randomness to add to one's own.
pub(super) const NEW_SALT: usize = 16;
const RANDOMNESS: usize = 256;

type KdfAlgo = types::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow;
type SecureKdfAlgo = types::SecurePasswordKdfAlgoPbkdf2Hmacsha512iter100000;

/// Whether a method's numbers are to be prepared.
pub(super) fn is_slow(request: &Request) -> bool {
    [
        functions::account::GetPassword::CONSTRUCTOR_ID,
        functions::auth::CheckPassword::CONSTRUCTOR_ID,
    ]
    .contains(&request.id)
}

/// Computes what a call about a password needs, without the world's lock. Blocks.
pub(super) fn prepare(server: &Server, key_id: i64, request: &Request) {
    if request.id == functions::account::GetPassword::CONSTRUCTOR_ID {
        let begun = server.world().begin_check(key_id);
        if let Some((verifier, secret)) = begun {
            let challenge = Challenge::new(&verifier, &secret);
            server.world().pose_check(key_id, verifier, challenge);
        }
        return;
    }
    let cursor = &mut Cursor::from_slice(request.body);
    let Ok(request) = functions::auth::CheckPassword::deserialize(cursor) else { return };
    let enums::InputCheckPasswordSrp::Srp(answer) = request.password else { return };
    let posed = server.world().keys.get(&key_id).and_then(|record| {
        let check = record.check.as_ref().filter(|check| check.id == answer.srp_id)?;
        Some((Arc::clone(&check.verifier), Arc::clone(&check.challenge)))
    });
    if let Some((verifier, challenge)) = posed {
        let proof = challenge.proof(&verifier, &answer.a);
        server.world().expect_proof(key_id, answer.srp_id, answer.a, proof);
    }
}

/// Anybody may ask who gave the right code, or is logged in.
pub(super) fn get_password(
    visit: &mut Visit,
    _: functions::account::GetPassword,
) -> Answer<functions::account::GetPassword> {
    let owner = visit.world.password_owner(visit.key_id).ok_or("AUTH_KEY_UNREGISTERED")?;
    let mut spare = |size| {
        let mut bytes = vec![0; size];
        visit.world.rng.fill(&mut bytes[..]);
        bytes
    };
    let (new_salt1, new_salt2, secure_salt, secure_random) =
        (spare(NEW_SALT), spare(NEW_SALT), spare(NEW_SALT), spare(RANDOMNESS));
    let algo = |salt1, salt2| KdfAlgo { salt1, salt2, g: GENERATOR, p: prime().to_vec() };
    let check = visit.world.keys.get(&visit.key_id).and_then(|record| record.check.as_ref());
    let password = visit.world.user(owner).password.as_ref();
    let check = check.filter(|_| password.is_some());
    let current = |check: &crate::world::passwords::Check| {
        algo(check.verifier.salt1.clone(), check.verifier.salt2.clone()).into()
    };
    Ok(types::account::Password {
        has_recovery: password.is_some_and(|password| password.recovery_email.is_some()),
        has_secure_values: false,
        has_password: password.is_some(),
        current_algo: check.map(current),
        srp_b: check.map(|check| check.challenge.public.to_vec()),
        srp_id: check.map(|check| check.id),
        hint: password.and_then(|password| password.hint.clone()),
        email_unconfirmed_pattern: None,
        new_algo: algo(new_salt1, new_salt2).into(),
        new_secure_algo: SecureKdfAlgo { salt: secure_salt }.into(),
        secure_random,
        pending_reset_date: None,
        login_email_pattern: None,
    }
    .into())
}

pub(super) fn check_password(
    visit: &mut Visit,
    request: functions::auth::CheckPassword,
) -> Answer<functions::auth::CheckPassword> {
    let owner = visit.world.password_owner(visit.key_id).ok_or("AUTH_KEY_UNREGISTERED")?;
    let enums::InputCheckPasswordSrp::Srp(answer) = request.password else {
        return Err("PASSWORD_HASH_INVALID".into());
    };
    let answer = (answer.srp_id, &answer.a[..], &answer.m1[..]);
    visit.world.judge_proof(visit.key_id, owner, answer, Instant::now())?;
    Ok(visit.welcome(owner))
}
