//! The server's side of the auth key exchange, as a state machine without IO.
//!
//! Owns the three steps (`req_pq_multi`, `req_DH_params`, `set_client_DH_params`) and their checks;
//! never stores the key it makes. Source: <https://core.telegram.org/mtproto/auth_key>.

use std::sync::LazyLock;

use grammers_crypto::aes;
use grammers_tl_types::{
    Cursor, Deserializable, Identifiable, Serializable, enums, functions, types,
};
use num_bigint::BigUint;
use rand::Rng;
use rand::rngs::StdRng;

use super::crypto::{AuthKey, sha1, sub};
use super::rsa::{RsaKey, to_block};

/// The 2048-bit safe prime Telegram publishes for its Diffie-Hellman exchanges.
const DH_PRIME: &str = "\
c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f\
48198a0aa7c14058229493d22530f4dbfa336f6e0ac925139543aed44cce7c37\
20fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f64\
2477fe96bb2a941d5bcd1d4ac8cc49880708fa9b378e3c4f3a9060bee67cf9a4\
a4a695811051907e162753b56b0f6b410dba74d8a84b2a14b3144e0ef1284754\
fd17ed950d5965b4b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4\
e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f\
0d8115f635b105ee2e4e15d04b2454bf6f4fadf034b10403119cd8e3b92fcc5b";
pub(crate) const GENERATOR: i32 = 3;

pub(super) static PRIME: LazyLock<BigUint> = LazyLock::new(|| {
    BigUint::parse_bytes(DH_PRIME.as_bytes(), 16).expect("the constant is a hexadecimal number")
});

/// Why a key exchange was given up; the connection is closed on any of them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    #[error("message {0:#010x} does not belong to this step of the key exchange")]
    Unexpected(u32),
    #[error("message cannot be parsed")]
    Malformed,
    #[error("{0} does not match what was agreed before")]
    Mismatch(&'static str),
    #[error("inner data cannot be decrypted with the server's key")]
    Encryption,
    #[error("the client's half of the exchange is out of range")]
    Range,
}

impl From<grammers_tl_types::deserialize::Error> for HandshakeError {
    fn from(_: grammers_tl_types::deserialize::Error) -> Self {
        Self::Malformed
    }
}

/// What to answer, and the key if this answer completes the exchange.
pub(crate) struct Step {
    pub(crate) answer: Vec<u8>,
    pub(crate) finished: Option<Finished>,
}

/// A new key and the salt both sides derived for its first half hour.
pub(crate) struct Finished {
    pub(crate) key: AuthKey,
    pub(crate) first_salt: i64,
}

/// Where one connection's exchange stands.
pub(crate) enum Handshake {
    Idle,
    Factoring { nonce: [u8; 16], server_nonce: [u8; 16], p: u64, q: u64 },
    Exchanging(Box<Exchange>),
}

/// Everything agreed before the last step.
pub(crate) struct Exchange {
    nonce: [u8; 16],
    server_nonce: [u8; 16],
    new_nonce: [u8; 32],
    secret: BigUint,
}

impl Handshake {
    /// Takes the client's next unencrypted message.
    pub(crate) fn step(
        &mut self,
        body: &[u8],
        rsa: &RsaKey,
        rng: &mut StdRng,
        server_time: i32,
    ) -> Result<Step, HandshakeError> {
        let mut cursor = Cursor::from_slice(body);
        let id = u32::deserialize(&mut cursor)?;
        match id {
            functions::ReqPqMulti::CONSTRUCTOR_ID | functions::ReqPq::CONSTRUCTOR_ID => {
                let request = functions::ReqPqMulti::deserialize(&mut cursor)?;
                Ok(self.offer_pq(request.nonce, rsa, rng))
            }
            functions::ReqDhParams::CONSTRUCTOR_ID => {
                let request = functions::ReqDhParams::deserialize(&mut cursor)?;
                self.offer_params(&request, rsa, rng, server_time)
            }
            functions::SetClientDhParams::CONSTRUCTOR_ID => {
                let request = functions::SetClientDhParams::deserialize(&mut cursor)?;
                self.finish(&request)
            }
            // Clients may acknowledge unencrypted answers; nothing to do.
            types::MsgsAck::CONSTRUCTOR_ID => Ok(Step { answer: Vec::new(), finished: None }),
            _ => Err(HandshakeError::Unexpected(id)),
        }
    }

    fn offer_pq(&mut self, nonce: [u8; 16], rsa: &RsaKey, rng: &mut StdRng) -> Step {
        let (a, b) = (small_prime(rng), small_prime(rng));
        let (p, q) = (a.min(b), a.max(b));
        let server_nonce = rng.random();
        *self = Self::Factoring { nonce, server_nonce, p, q };
        let answer = enums::ResPq::Pq(types::ResPq {
            nonce,
            server_nonce,
            pq: (p * q).to_be_bytes().to_vec(),
            server_public_key_fingerprints: vec![rsa.fingerprint()],
        });
        Step { answer: answer.to_bytes(), finished: None }
    }

    fn offer_params(
        &mut self,
        request: &functions::ReqDhParams,
        rsa: &RsaKey,
        rng: &mut StdRng,
        server_time: i32,
    ) -> Result<Step, HandshakeError> {
        let Self::Factoring { nonce, server_nonce, p, q } = *self else {
            return Err(HandshakeError::Unexpected(functions::ReqDhParams::CONSTRUCTOR_ID));
        };
        ensure(request.nonce == nonce, "nonce")?;
        ensure(request.server_nonce == server_nonce, "server nonce")?;
        ensure(number(&request.p) == Some(p) && number(&request.q) == Some(q), "factorization")?;
        ensure(request.public_key_fingerprint == rsa.fingerprint(), "key fingerprint")?;
        let inner = rsa.open(&request.encrypted_data).ok_or(HandshakeError::Encryption)?;
        let inner = Inner::from(enums::PQInnerData::from_bytes(&inner)?);
        ensure(inner.nonce == nonce, "nonce")?;
        ensure(inner.server_nonce == server_nonce, "server nonce")?;
        ensure(number(&inner.pq) == Some(p * q), "factorization")?;

        let secret = BigUint::from_bytes_be(&rng.random::<[[u8; 32]; 8]>().concat());
        let inner_data = enums::ServerDhInnerData::Data(types::ServerDhInnerData {
            nonce,
            server_nonce,
            g: GENERATOR,
            dh_prime: PRIME.to_bytes_be(),
            g_a: BigUint::from(GENERATOR as u32).modpow(&secret, &PRIME).to_bytes_be(),
            server_time,
        });
        let answer = enums::ServerDhParams::Ok(types::ServerDhParamsOk {
            nonce,
            server_nonce,
            encrypted_answer: encrypt_answer(
                &inner_data.to_bytes(),
                &server_nonce,
                &inner.new_nonce,
            ),
        });
        let new_nonce = inner.new_nonce;
        *self = Self::Exchanging(Box::new(Exchange { nonce, server_nonce, new_nonce, secret }));
        Ok(Step { answer: answer.to_bytes(), finished: None })
    }

    fn finish(&mut self, request: &functions::SetClientDhParams) -> Result<Step, HandshakeError> {
        let Self::Exchanging(exchange) = std::mem::replace(self, Self::Idle) else {
            return Err(HandshakeError::Unexpected(functions::SetClientDhParams::CONSTRUCTOR_ID));
        };
        let Exchange { nonce, server_nonce, new_nonce, secret } = *exchange;
        ensure(request.nonce == nonce, "nonce")?;
        ensure(request.server_nonce == server_nonce, "server nonce")?;
        let enums::ClientDhInnerData::Data(inner) =
            decrypt_client_data(&request.encrypted_data, &server_nonce, &new_nonce)?;
        ensure(inner.nonce == nonce, "nonce")?;
        ensure(inner.server_nonce == server_nonce, "server nonce")?;
        let g_b = BigUint::from_bytes_be(&inner.g_b);
        let margin = BigUint::from(1u32) << (2048 - 64);
        if g_b < margin || g_b > &*PRIME - &margin {
            return Err(HandshakeError::Range);
        }
        let shared = g_b.modpow(&secret, &PRIME);
        let key = AuthKey::new(to_block(&shared).expect("a number below the prime fits"));
        let first_salt =
            i64::from_le_bytes(sub(&new_nonce, 0)) ^ i64::from_le_bytes(sub(&server_nonce, 0));
        let answer = enums::SetClientDhParamsAnswer::DhGenOk(types::DhGenOk {
            nonce,
            server_nonce,
            new_nonce_hash1: new_nonce_hash1(&new_nonce, &key),
        });
        Ok(Step { answer: answer.to_bytes(), finished: Some(Finished { key, first_salt }) })
    }
}

/// What the simulator uses of the four variants of inner data; temporary keys are treated as
/// permanent ones, and the DC is ignored because every DC is this server.
struct Inner {
    pq: Vec<u8>,
    nonce: [u8; 16],
    server_nonce: [u8; 16],
    new_nonce: [u8; 32],
}

impl From<enums::PQInnerData> for Inner {
    fn from(data: enums::PQInnerData) -> Self {
        use enums::PQInnerData as Data;
        let (pq, nonce, server_nonce, new_nonce) = match data {
            Data::Data(d) => (d.pq, d.nonce, d.server_nonce, d.new_nonce),
            Data::Dc(d) => (d.pq, d.nonce, d.server_nonce, d.new_nonce),
            Data::Temp(d) => (d.pq, d.nonce, d.server_nonce, d.new_nonce),
            Data::TempDc(d) => (d.pq, d.nonce, d.server_nonce, d.new_nonce),
        };
        Self { pq, nonce, server_nonce, new_nonce }
    }
}

fn ensure(holds: bool, what: &'static str) -> Result<(), HandshakeError> {
    if holds { Ok(()) } else { Err(HandshakeError::Mismatch(what)) }
}

fn number(big_endian: &[u8]) -> Option<u64> {
    if big_endian.len() > 8 {
        return None;
    }
    Some(big_endian.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// A random prime of 31 bits, so that the product of two fits eight bytes.
fn small_prime(rng: &mut StdRng) -> u64 {
    let is_prime =
        |n: u64| (3..).step_by(2).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    loop {
        let candidate = rng.random_range(1u64 << 30..1 << 31) | 1;
        if is_prime(candidate) {
            return candidate;
        }
    }
}

/// AES key and IV derived from both nonces.
fn temporary_key(server_nonce: &[u8; 16], new_nonce: &[u8; 32]) -> ([u8; 32], [u8; 32]) {
    let material = [
        &sha1(&[new_nonce, server_nonce])[..],
        &sha1(&[server_nonce, new_nonce]),
        &sha1(&[new_nonce, new_nonce]),
        &new_nonce[..4],
    ]
    .concat();
    (sub(&material, 0), sub(&material, 32))
}

fn encrypt_answer(inner: &[u8], server_nonce: &[u8; 16], new_nonce: &[u8; 32]) -> Vec<u8> {
    let mut answer = [&sha1(&[inner])[..], inner].concat();
    answer.resize(answer.len().next_multiple_of(16), 0);
    let (key, iv) = temporary_key(server_nonce, new_nonce);
    aes::ige_encrypt(&mut answer, &key, &iv);
    answer
}

fn decrypt_client_data(
    encrypted: &[u8],
    server_nonce: &[u8; 16],
    new_nonce: &[u8; 32],
) -> Result<enums::ClientDhInnerData, HandshakeError> {
    if encrypted.len() < 32 || !encrypted.len().is_multiple_of(16) {
        return Err(HandshakeError::Malformed);
    }
    let (key, iv) = temporary_key(server_nonce, new_nonce);
    let mut plain = encrypted.to_vec();
    aes::ige_decrypt(&mut plain, &key, &iv);
    let (hash, data) = plain.split_at(20);
    let mut cursor = Cursor::from_slice(data);
    let inner = enums::ClientDhInnerData::deserialize(&mut cursor)?;
    ensure(sha1(&[&data[..cursor.pos()]])[..] == *hash, "hash of the inner data")?;
    Ok(inner)
}

fn new_nonce_hash1(new_nonce: &[u8; 32], key: &AuthKey) -> [u8; 16] {
    let auxiliary = sha1(&[key.bytes()]);
    sub(&sha1(&[new_nonce, &[1], &auxiliary[..8]]), 4)
}

#[cfg(test)]
mod tests;
