//! The server's half of the password check: verifiers, challenges, and the proof it expects.
//!
//! Pure and slow: a verifier takes as long as a password guess should, and each step raises numbers
//! of 2048 bits to powers, so callers hold no lock meanwhile. It never keeps a password.
//! Source: <https://core.telegram.org/api/srp>.

use std::array;

use num_bigint::BigUint;
use sha2::{Digest, Sha512};

use super::crypto::sha256;
use super::handshake::{GENERATOR, PRIME};

/// Rounds of the key derivation, as the name of Telegram's algorithm says.
const ITERATIONS: usize = 100_000;
/// Bytes of every large number, on the wire and in hashes.
const SIZE: usize = 256;
/// Block of SHA-512 in bytes.
const BLOCK: usize = 128;

/// What the server keeps of a password.
pub(crate) struct Verifier {
    pub(crate) salt1: Vec<u8>,
    pub(crate) salt2: Vec<u8>,
    v: BigUint,
}

impl Verifier {
    /// Derives it; takes a tenth of a second, or far longer in an unoptimized build.
    pub(crate) fn of(password: &str, salt1: Vec<u8>, salt2: Vec<u8>) -> Self {
        let salted = |data: &[u8], salt: &[u8]| sha256(&[salt, data, salt]);
        let first = salted(&salted(password.as_bytes(), &salt1), &salt2);
        let x = salted(&pbkdf2(&first, &salt1, ITERATIONS), &salt2);
        let v = generator().modpow(&BigUint::from_bytes_be(&x), &PRIME);
        Self { salt1, salt2, v }
    }

    /// Out of what a client sends for a new password: its derivation, done there. `None` if that
    /// is out of range.
    pub(crate) fn from_hash(salt1: Vec<u8>, salt2: Vec<u8>, v: &[u8]) -> Option<Self> {
        let v = BigUint::from_bytes_be(v);
        (v > BigUint::from(1u8) && v < *PRIME).then_some(Self { salt1, salt2, v })
    }
}

/// The server's secret and public number of one check.
pub(crate) struct Challenge {
    b: BigUint,
    /// `srp_B`, padded.
    pub(crate) public: [u8; SIZE],
}

impl Challenge {
    /// Made out of a secret that is drawn anew for each one.
    pub(crate) fn new(verifier: &Verifier, secret: &[u8; SIZE]) -> Self {
        let b = BigUint::from_bytes_be(secret);
        let k = BigUint::from_bytes_be(&sha256(&[&prime(), &padded(&generator())]));
        let public = (k * &verifier.v + generator().modpow(&b, &PRIME)) % &*PRIME;
        Self { public: padded(&public), b }
    }

    /// What `M1` must be of a client that knows the password and sent `a`; `None` if `a` is out of
    /// range.
    pub(crate) fn proof(&self, verifier: &Verifier, a: &[u8]) -> Option<[u8; 32]> {
        let one = BigUint::from(1u8);
        let a = BigUint::from_bytes_be(a);
        if a <= one || a >= &*PRIME - &one {
            return None;
        }
        let public_a = padded(&a);
        let u = BigUint::from_bytes_be(&sha256(&[&public_a, &self.public]));
        let base = a * verifier.v.modpow(&u, &PRIME) % &*PRIME;
        let key = sha256(&[&padded(&base.modpow(&self.b, &PRIME))]);
        let (p, g) = (sha256(&[&prime()]), sha256(&[&padded(&generator())]));
        let mixed: [u8; 32] = array::from_fn(|i| p[i] ^ g[i]);
        let salts = [sha256(&[&verifier.salt1]), sha256(&[&verifier.salt2])];
        Some(sha256(&[&mixed, &salts[0], &salts[1], &public_a, &self.public, &key]))
    }
}

fn generator() -> BigUint {
    BigUint::from(GENERATOR.unsigned_abs())
}

/// The prime as it stands on the wire.
pub(crate) fn prime() -> [u8; SIZE] {
    padded(&PRIME)
}

/// A number below the prime, filled up with zeros in front.
fn padded(number: &BigUint) -> [u8; SIZE] {
    let bytes = number.to_bytes_be();
    let mut all = [0; SIZE];
    all[SIZE - bytes.len()..].copy_from_slice(&bytes);
    all
}

/// PBKDF2 with HMAC-SHA-512 for keys that fit a block: its first 64 bytes.
/// Source: RFC 8018, 5.2.
fn pbkdf2(key: &[u8], salt: &[u8], iterations: usize) -> [u8; 64] {
    let keyed = |pad: u8| {
        let mut block = [pad; BLOCK];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        Sha512::new_with_prefix(block)
    };
    let (inner, outer) = (keyed(0x36), keyed(0x5c));
    let hmac = |parts: &[&[u8]]| -> [u8; 64] {
        let mut hash = inner.clone();
        parts.iter().for_each(|part| hash.update(part));
        outer.clone().chain_update(hash.finalize()).finalize().into()
    };
    let mut round = hmac(&[salt, &1u32.to_be_bytes()]);
    let mut sum = round;
    for _ in 1..iterations {
        round = hmac(&[&round]);
        sum.iter_mut().zip(round).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use grammers_crypto::two_factor_auth::calculate_2fa;

    #[test]
    fn the_derivation_is_the_standard_one() {
        // Known answer for "password", "salt", one and two rounds.
        let hex =
            |bytes: [u8; 64]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(
            hex(pbkdf2(b"password", b"salt", 1)).starts_with("867f70cf1ade02cff3752599a3a53dc4")
        );
        assert!(
            hex(pbkdf2(b"password", b"salt", 2)).starts_with("e1d9c16aa681708a45f5c7c4e215ceb6")
        );
    }

    #[test]
    fn an_independent_client_proves_the_right_password_and_no_other() {
        let (salt1, salt2) = (vec![1; 40], vec![2; 16]);
        let verifier = Verifier::of("correct horse", salt1.clone(), salt2.clone());
        let challenge = Challenge::new(&verifier, &[0xb7; SIZE]);
        let public = challenge.public.to_vec();
        let mut said = Vec::new();
        for password in ["correct horse", "wrong horse"] {
            let (m1, a) = calculate_2fa(
                &salt1,
                &salt2,
                &prime(),
                &GENERATOR,
                public.clone(),
                vec![0xa1; SIZE],
                password,
            );
            said.push(challenge.proof(&verifier, &a) == Some(m1));
        }
        assert_eq!(said, [true, false]);
    }

    #[test]
    fn numbers_out_of_range_prove_nothing() {
        let verifier = Verifier { salt1: vec![], salt2: vec![], v: BigUint::from(5u8) };
        let challenge = Challenge::new(&verifier, &[1; SIZE]);
        for a in [&[][..], &[0; SIZE], &[1], &prime(), &[0xff; SIZE], &[0xff; 300]] {
            assert_eq!(challenge.proof(&verifier, a), None);
        }
    }
}
