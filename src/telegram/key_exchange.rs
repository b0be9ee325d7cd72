//! Makes an authorization key with a server of one's own, whose public key the library cannot know
//! (<https://core.telegram.org/mtproto/auth_key>, with the checks of
//! <https://core.telegram.org/mtproto/security_guidelines>).
//!
//! The steps are pure: each takes the server's answer and randomness and gives the next question.
//! Only [`exchange`] talks to anybody. Nothing here is stored or tried again.

mod factor;
mod server_key;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use grammers_client::tl::enums::{
    ClientDhInnerData, PQInnerData, ResPq, ServerDhInnerData, ServerDhParams,
    SetClientDhParamsAnswer,
};
use grammers_client::tl::{Cursor, Deserializable, Serializable, functions, types};
use grammers_crypto::{aes, generate_key_data_from_nonce, two_factor_auth};
use num_bigint::BigUint;
use sha1::{Digest, Sha1};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::error::unconnected;
use super::plain::{PlainError, PlainLink};
use crate::chance;
use crate::clock::Clock;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};

pub use server_key::{ServerKey, ServerKeyError};

/// How long the whole exchange may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Random bytes of the second step: the new nonce, then what RSA_PAD needs.
const PQ_RANDOM: usize = 32 + 224;
/// Random bytes of the third step: our secret exponent, then padding.
const DH_RANDOM: usize = AUTH_KEY_LEN + 16;
/// The prime that Telegram's servers use and publish: known to be safe, and to fit the generators 3,
/// 4 and 7, so that it need not be tested for seconds.
pub(super) const KNOWN_PRIME: &str = "\
c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f\
48198a0aa7c14058229493d22530f4dbfa336f6e0ac925139543aed44cce7c37\
20fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f64\
2477fe96bb2a941d5bcd1d4ac8cc49880708fa9b378e3c4f3a9060bee67cf9a4\
a4a695811051907e162753b56b0f6b410dba74d8a84b2a14b3144e0ef1284754\
fd17ed950d5965b4b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4\
e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f\
0d8115f635b105ee2e4e15d04b2454bf6f4fadf034b10403119cd8e3b92fcc5b";

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// There is no connection, or it ended.
    #[error("{}", unconnected(*.0))]
    Io(std::io::ErrorKind),
    /// No end within 10 s.
    #[error("the server did not finish the key exchange within {} s", EXCHANGE_TIMEOUT.as_secs())]
    TimedOut,
    /// The server says an error of the transport.
    #[error("the server refuses the key exchange ({0})")]
    Refused(i32),
    /// Not what this step is answered with.
    #[error("the server sent something unreadable during the key exchange")]
    Unreadable,
    /// The server does not have the key that belongs to the configured one.
    #[error(
        "the server does not own the configured public key; check that \
         telegram.server_public_key_file is that server's"
    )]
    KeyUnknown,
    /// Something differs from what was agreed before.
    #[error("the key exchange failed its check of {0}; somebody may be in between")]
    Mismatch(&'static str),
    /// Parameters that would make a weak key.
    #[error("the key exchange was given up because {0} is unsafe")]
    Unsafe(&'static str),
    /// The server asks to begin again, or gives up.
    #[error("the server gave up the key exchange")]
    GivenUp,
}

impl ExchangeError {
    /// What follows.
    pub fn classify(&self) -> Failure {
        match self {
            Self::KeyUnknown => Failure::Rejected { code: "SERVER_KEY_UNKNOWN".into() },
            Self::Mismatch(_) | Self::Unsafe(_) => {
                Failure::Rejected { code: "KEY_EXCHANGE_UNSAFE".into() }
            }
            Self::Io(_) | Self::TimedOut | Self::Refused(_) | Self::Unreadable | Self::GivenUp => {
                Failure::transient(self.to_string())
            }
        }
    }
}

impl From<PlainError> for ExchangeError {
    fn from(error: PlainError) -> Self {
        match error {
            PlainError::Io(error) => Self::Io(error.kind()),
            PlainError::Refused(code) => Self::Refused(code),
            PlainError::Malformed => Self::Unreadable,
        }
    }
}

impl From<grammers_client::tl::deserialize::Error> for ExchangeError {
    fn from(_: grammers_client::tl::deserialize::Error) -> Self {
        Self::Unreadable
    }
}

/// A fresh key.
#[derive(Debug)]
pub struct Exchanged {
    /// The key.
    pub auth_key: AuthKey,
    /// The salt of its first half hour. The library asks for its own.
    pub first_salt: i64,
    /// By how much the server's clock is ahead of ours, seconds.
    pub time_offset: i64,
}

/// Both sides' nonces.
#[derive(Clone, Copy)]
struct Nonces {
    ours: [u8; 16],
    servers: [u8; 16],
}

impl Nonces {
    fn check(&self, ours: &[u8; 16], servers: &[u8; 16]) -> Result<(), ExchangeError> {
        ensure(self.ours == *ours, "our nonce")?;
        ensure(self.servers == *servers, "the server's nonce")
    }
}

/// Waits for `resPQ`.
struct AwaitPq {
    nonce: [u8; 16],
}

/// Waits for `server_DH_params`.
struct AwaitParams {
    nonces: Nonces,
    new_nonce: Zeroizing<[u8; 32]>,
}

/// Waits for the proof that the server has the same key.
struct AwaitProof {
    nonces: Nonces,
    new_nonce: Zeroizing<[u8; 32]>,
    auth_key: AuthKey,
    time_offset: i64,
}

fn start(nonce: [u8; 16]) -> (functions::ReqPqMulti, AwaitPq) {
    (functions::ReqPqMulti { nonce }, AwaitPq { nonce })
}

impl AwaitPq {
    /// Splits the server's number and seals a secret with its public key.
    fn proceed(
        self,
        key: &ServerKey,
        dc_id: i32,
        answer: ResPq,
        random: &[u8; PQ_RANDOM],
    ) -> Result<(functions::ReqDhParams, AwaitParams), ExchangeError> {
        let ResPq::Pq(answer) = answer;
        ensure(answer.nonce == self.nonce, "our nonce")?;
        let fingerprint = key.fingerprint();
        if !answer.server_public_key_fingerprints.contains(&fingerprint) {
            return Err(ExchangeError::KeyUnknown);
        }
        let number = big_endian(&answer.pq).ok_or(ExchangeError::Unreadable)?;
        let (p, q) = factor::factor(number).ok_or(ExchangeError::Unreadable)?;
        let (new_nonce, padding) = split::<32, 224>(random);
        let new_nonce = Zeroizing::new(new_nonce);
        let nonces = Nonces { ours: self.nonce, servers: answer.server_nonce };
        let inner = PQInnerData::Dc(types::PQInnerDataDc {
            pq: answer.pq,
            p: shortest(p),
            q: shortest(q),
            nonce: nonces.ours,
            server_nonce: nonces.servers,
            new_nonce: *new_nonce,
            dc: dc_id,
        });
        let inner = Zeroizing::new(inner.to_bytes());
        let request = functions::ReqDhParams {
            nonce: nonces.ours,
            server_nonce: nonces.servers,
            p: shortest(p),
            q: shortest(q),
            public_key_fingerprint: fingerprint,
            encrypted_data: key.seal(&inner, &padding),
        };
        Ok((request, AwaitParams { nonces, new_nonce }))
    }
}

impl AwaitParams {
    /// Opens and checks the server's half, and makes ours and the key. Slow: two powers of 2048
    /// bits, and for a prime that is not known a test of it. `now` in Unix seconds.
    fn proceed(
        self,
        answer: ServerDhParams,
        random: &[u8; DH_RANDOM],
        now: i64,
    ) -> Result<(functions::SetClientDhParams, AwaitProof), ExchangeError> {
        let answer = match answer {
            ServerDhParams::Ok(answer) => answer,
            ServerDhParams::Fail(answer) => {
                self.nonces.check(&answer.nonce, &answer.server_nonce)?;
                let expected = tail_of_sha1(&[&*self.new_nonce]);
                ensure(answer.new_nonce_hash == expected, "the hash of our secret")?;
                return Err(ExchangeError::GivenUp);
            }
        };
        self.nonces.check(&answer.nonce, &answer.server_nonce)?;
        let inner = self.open(answer.encrypted_answer)?;
        self.nonces.check(&inner.nonce, &inner.server_nonce)?;
        check_prime(&inner.dh_prime, inner.g)?;
        self.agree(&inner, random, now)
    }

    /// Makes our half and the key, of a prime and generator that are known to be safe.
    fn agree(
        self,
        inner: &types::ServerDhInnerData,
        random: &[u8; DH_RANDOM],
        now: i64,
    ) -> Result<(functions::SetClientDhParams, AwaitProof), ExchangeError> {
        let prime = BigUint::from_bytes_be(&inner.dh_prime);
        let (secret, padding) = split::<AUTH_KEY_LEN, 16>(random);
        let secret = BigUint::from_bytes_be(&*Zeroizing::new(secret));
        let server_half = BigUint::from_bytes_be(&inner.g_a);
        check_half(&server_half, &prime)?;
        let our_half = BigUint::from(inner.g.unsigned_abs()).modpow(&secret, &prime);
        check_half(&our_half, &prime)?;
        let auth_key = key_of(&server_half.modpow(&secret, &prime));
        let request = functions::SetClientDhParams {
            nonce: self.nonces.ours,
            server_nonce: self.nonces.servers,
            encrypted_data: self.seal(&our_half, &padding),
        };
        let time_offset = i64::from(inner.server_time) - now;
        let Self { nonces, new_nonce } = self;
        Ok((request, AwaitProof { nonces, new_nonce, auth_key, time_offset }))
    }

    fn open(&self, mut sealed: Vec<u8>) -> Result<types::ServerDhInnerData, ExchangeError> {
        if sealed.len() < 32 || !sealed.len().is_multiple_of(16) {
            return Err(ExchangeError::Unreadable);
        }
        let (key, iv) = generate_key_data_from_nonce(&self.nonces.servers, &self.new_nonce);
        aes::ige_decrypt(&mut sealed, &key, &iv);
        let (hash, content) = sealed.split_at(20);
        let mut cursor = Cursor::from_slice(content);
        let ServerDhInnerData::Data(inner) = ServerDhInnerData::deserialize(&mut cursor)?;
        let (content, padding) = content.split_at(cursor.pos());
        ensure(padding.len() < 16, "the padding of the server's half")?;
        ensure(Sha1::digest(content)[..] == *hash, "the hash of the server's half")?;
        Ok(inner)
    }

    fn seal(&self, our_half: &BigUint, padding: &[u8; 16]) -> Vec<u8> {
        let inner = ClientDhInnerData::Data(types::ClientDhInnerData {
            nonce: self.nonces.ours,
            server_nonce: self.nonces.servers,
            retry_id: 0,
            g_b: our_half.to_bytes_be(),
        });
        let inner = inner.to_bytes();
        let mut sealed = Sha1::digest(&inner).to_vec();
        sealed.extend(&inner);
        let missing = sealed.len().next_multiple_of(16) - sealed.len();
        sealed.extend(&padding[..missing]);
        let (key, iv) = generate_key_data_from_nonce(&self.nonces.servers, &self.new_nonce);
        aes::ige_encrypt(&mut sealed, &key, &iv);
        sealed
    }
}

impl AwaitProof {
    /// Checks that the server has the same key.
    fn finish(self, answer: &SetClientDhParamsAnswer) -> Result<Exchanged, ExchangeError> {
        use SetClientDhParamsAnswer as Answer;
        let (nonce, server_nonce, hash, number) = match answer {
            Answer::DhGenOk(a) => (&a.nonce, &a.server_nonce, a.new_nonce_hash1, 1),
            Answer::DhGenRetry(a) => (&a.nonce, &a.server_nonce, a.new_nonce_hash2, 2),
            Answer::DhGenFail(a) => (&a.nonce, &a.server_nonce, a.new_nonce_hash3, 3),
        };
        self.nonces.check(nonce, server_nonce)?;
        let auxiliary = Sha1::digest(self.auth_key.expose());
        let expected = tail_of_sha1(&[&*self.new_nonce, &[number], &auxiliary[..8]]);
        ensure(hash == expected, "the proof that both have one key")?;
        if number != 1 {
            return Err(ExchangeError::GivenUp);
        }
        let (ours, servers) = (low(&*self.new_nonce), low(&self.nonces.servers));
        let Self { auth_key, time_offset, .. } = self;
        Ok(Exchanged { auth_key, first_salt: ours ^ servers, time_offset })
    }
}

/// Whether the prime is a safe one of 2048 bits and `generator` fits it.
pub(super) fn check_prime(bytes: &[u8], generator: i32) -> Result<(), ExchangeError> {
    let is_known = BigUint::parse_bytes(KNOWN_PRIME.as_bytes(), 16)
        .is_some_and(|known| known.to_bytes_be() == bytes);
    if is_known && matches!(generator, 3 | 4 | 7) {
        return Ok(());
    }
    let shape = bytes.len() == AUTH_KEY_LEN && bytes[0] & 0x80 != 0 && bytes[255] & 1 == 1;
    // The library's test panics on other generators.
    if shape && (2..=7).contains(&generator) && two_factor_auth::check_p_and_g(bytes, &generator) {
        Ok(())
    } else {
        Err(ExchangeError::Unsafe("the server's prime or generator"))
    }
}

/// Whether half a key lies between 2^(2048-64) and the prime less that.
fn check_half(half: &BigUint, prime: &BigUint) -> Result<(), ExchangeError> {
    let margin = BigUint::from(1_u32) << (2048 - 64);
    let is_inside = *half >= margin && *half <= prime - &margin;
    is_inside.then_some(()).ok_or(ExchangeError::Unsafe("half of the key"))
}

/// The shared number as exactly 256 bytes.
fn key_of(shared: &BigUint) -> AuthKey {
    let bytes = Zeroizing::new(shared.to_bytes_be());
    let mut key = Zeroizing::new([0; AUTH_KEY_LEN]);
    key[AUTH_KEY_LEN - bytes.len()..].copy_from_slice(&bytes);
    AuthKey::new(*key)
}

fn ensure(holds: bool, what: &'static str) -> Result<(), ExchangeError> {
    if holds { Ok(()) } else { Err(ExchangeError::Mismatch(what)) }
}

/// The lower 128 bits of the SHA-1 of all parts.
fn tail_of_sha1(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha1::new();
    for part in parts {
        hasher.update(part);
    }
    let mut tail = [0; 16];
    tail.copy_from_slice(&hasher.finalize()[4..]);
    tail
}

fn low(bytes: &[u8]) -> i64 {
    let mut low = [0; 8];
    low.copy_from_slice(&bytes[..8]);
    i64::from_le_bytes(low)
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    let small = !bytes.is_empty() && bytes.len() <= 8;
    small.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Without leading zeros, as servers demand.
fn shortest(number: u64) -> Vec<u8> {
    number.to_be_bytes()[number.leading_zeros() as usize / 8..].to_vec()
}

fn split<const A: usize, const B: usize>(random: &[u8]) -> ([u8; A], [u8; B]) {
    let (mut first, mut second) = ([0; A], [0; B]);
    first.copy_from_slice(&random[..A]);
    second.copy_from_slice(&random[A..]);
    (first, second)
}

pub(super) fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    chance::secret()
}

/// Makes a key with the server of datacenter `dc_id` at `address`, within 10 s.
///
/// # Errors
/// See [`ExchangeError`]; nothing was kept by either side then.
pub async fn exchange(
    address: SocketAddr,
    dc_id: i32,
    key: &ServerKey,
    clock: &Clock,
) -> Result<Exchanged, ExchangeError> {
    exchange_within(EXCHANGE_TIMEOUT, address, dc_id, key, clock).await
}

async fn exchange_within(
    limit: Duration,
    address: SocketAddr,
    dc_id: i32,
    key: &ServerKey,
    clock: &Clock,
) -> Result<Exchanged, ExchangeError> {
    let made = timeout(limit, exchange_unbounded(address, dc_id, key, clock)).await;
    made.unwrap_or(Err(ExchangeError::TimedOut))
}

async fn exchange_unbounded(
    address: SocketAddr,
    dc_id: i32,
    key: &ServerKey,
    clock: &Clock,
) -> Result<Exchanged, ExchangeError> {
    let mut link = PlainLink::connect(address, clock).await?;
    let (question, state) = start(*random());
    let answer = ResPq::from_bytes(&link.ask(&question.to_bytes()).await?.body)?;
    let (question, state) = state.proceed(key, dc_id, answer, &random())?;
    let answer = ServerDhParams::from_bytes(&link.ask(&question.to_bytes()).await?.body)?;
    let seconds = clock.now().seconds();
    let halves = move || state.proceed(answer, &random(), seconds);
    // Milliseconds at least: not on a thread that serves connections.
    let halves = tokio::task::spawn_blocking(halves).await;
    let (question, state) = halves.map_err(|_| ExchangeError::GivenUp)??;
    let answer = link.ask(&question.to_bytes()).await?.body;
    state.finish(&SetClientDhParamsAnswer::from_bytes(&answer)?)
}
