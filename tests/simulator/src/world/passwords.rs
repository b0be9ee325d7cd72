//! Passwords of two-factor authentication: what accounts keep of them, and checks under way.
//! Time is a parameter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;

use super::World;
use crate::error::RpcError;
use crate::wire::srp::{Challenge, Verifier};

/// Within this time wrong passwords of an account are counted.
const WRONG_WINDOW: Duration = Duration::from_secs(600);
/// Sizes in bytes; the real server gives the first salt 8 bytes, to which clients add 32.
const SALT1: usize = 40;
const SALT2: usize = 16;

/// What an account keeps of its password.
pub(crate) struct Password {
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) hint: Option<String>,
    /// Where a code goes if it is forgotten.
    pub(crate) recovery_email: Option<String>,
    /// When wrong ones were given, oldest first.
    pub(super) wrong: Vec<Instant>,
}

impl Password {
    pub(crate) fn new(verifier: Verifier, hint: Option<String>) -> Self {
        let (recovery_email, wrong) = (None, Vec::new());
        Self { verifier: Arc::new(verifier), hint, recovery_email, wrong }
    }
}

/// One check of a password, between the question and the answer.
pub(crate) struct Check {
    pub(crate) id: i64,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) challenge: Arc<Challenge>,
    /// A client's public number, and what it must prove with it.
    expected: Option<(Vec<u8>, Option<[u8; 32]>)>,
}

impl World {
    /// Salts for a new password.
    pub(crate) fn draw_salts(&mut self) -> (Vec<u8>, Vec<u8>) {
        let mut salts = (vec![0; SALT1], vec![0; SALT2]);
        self.rng.fill(&mut salts.0[..]);
        self.rng.fill(&mut salts.1[..]);
        salts
    }

    /// Whose password is asked of this key: whose it is about to be, or whose it is.
    pub(crate) fn password_owner(&self, key_id: i64) -> Option<i64> {
        let record = self.keys.get(&key_id)?;
        record.pending.or(record.user)
    }

    /// What a check of this key's password is made of: the verifier and a fresh secret.
    pub(crate) fn begin_check(&mut self, key_id: i64) -> Option<(Arc<Verifier>, [u8; 256])> {
        let owner = self.password_owner(key_id)?;
        let verifier = Arc::clone(&self.user(owner).password.as_ref()?.verifier);
        let mut secret = [0; 256];
        self.rng.fill(&mut secret[..]);
        Some((verifier, secret))
    }

    /// The question is ready: it replaces the one before.
    pub(crate) fn pose_check(&mut self, key_id: i64, verifier: Arc<Verifier>, made: Challenge) {
        let id = self.rng.random();
        if let Some(record) = self.keys.get_mut(&key_id) {
            let challenge = Arc::new(made);
            record.check = Some(Check { id, verifier, challenge, expected: None });
        }
    }

    /// What must be proved to answer the check `id` with the public number `a`.
    pub(crate) fn expect_proof(
        &mut self,
        key_id: i64,
        id: i64,
        a: Vec<u8>,
        proof: Option<[u8; 32]>,
    ) {
        let check = self.keys.get_mut(&key_id).and_then(|record| record.check.as_mut());
        if let Some(check) = check.filter(|check| check.id == id) {
            check.expected = Some((a, proof));
        }
    }

    /// Judges an answer. Each question can be answered once.
    pub(crate) fn judge_proof(
        &mut self,
        key_id: i64,
        owner: i64,
        answer: (i64, &[u8], &[u8]),
        now: Instant,
    ) -> Result<(), RpcError> {
        let (id, a, proof) = answer;
        let limit = self.logins.limits.wrong_passwords as usize;
        let check = self.keys.get_mut(&key_id).and_then(|record| {
            let current = record.check.as_ref().is_some_and(|check| check.id == id);
            if current { record.check.take() } else { None }
        });
        let password = self.user_mut(owner).password.as_mut().ok_or("PASSWORD_HASH_INVALID")?;
        password.wrong.retain(|wrong| now.duration_since(*wrong) < WRONG_WINDOW);
        if limit > 0 && password.wrong.len() >= limit {
            let over = password.wrong[0] + WRONG_WINDOW;
            let seconds = over.duration_since(now).as_secs_f64().ceil();
            return Err(RpcError::named(format!("FLOOD_WAIT_{seconds}")));
        }
        let check = check.ok_or("SRP_ID_INVALID")?;
        if !Arc::ptr_eq(&check.verifier, &password.verifier) {
            return Err("SRP_PASSWORD_CHANGED".into());
        }
        match check.expected {
            Some((told, Some(expected))) if told == a && expected == proof => {
                password.wrong.clear();
                Ok(())
            }
            _ => {
                password.wrong.push(now);
                Err("PASSWORD_HASH_INVALID".into())
            }
        }
    }
}
