//! The server's RSA key: made from the seed, published as PEM, used to open the key exchange.
//!
//! Owns both paddings clients use (RSA_PAD of today, SHA-1 plus data of older ones). It is a toy
//! for loopback use: nothing here is hardened against timing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grammers_crypto::aes;
use grammers_tl_types::Serializable;
use num_bigint::BigUint;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::crypto::{sha1, sha256, sub};

const EXPONENT: u32 = 65_537;
const PRIME_BITS: usize = 1024;
/// Length of the modulus, in bytes.
const BLOCK: usize = 256;
/// Rounds of Miller-Rabin; random 1024-bit candidates need far fewer.
const ROUNDS: usize = 6;

/// A 2048-bit RSA key.
pub(crate) struct RsaKey {
    modulus: BigUint,
    private_exponent: BigUint,
    fingerprint: i64,
}

/// Keys made so far in this process, by seed.
static MADE: Mutex<BTreeMap<u64, Arc<RsaKey>>> = Mutex::new(BTreeMap::new());

impl RsaKey {
    /// The key that belongs to `seed`. The first call takes some hundred milliseconds (seconds
    /// without optimizing), later ones nothing.
    pub(crate) fn of_seed(seed: u64) -> Arc<Self> {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(made.entry(seed).or_insert_with(|| Arc::new(Self::from_seed(seed))))
    }

    fn from_seed(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7273_615f_6b65_7921);
        let p = prime(&mut rng);
        let q = prime(&mut rng);
        Self::from_primes(&p, &q)
    }

    fn from_primes(p: &BigUint, q: &BigUint) -> Self {
        let one = BigUint::from(1u32);
        let totient = (p - &one) * (q - &one);
        let modulus = p * q;
        let private_exponent = BigUint::from(EXPONENT)
            .modinv(&totient)
            .expect("primes are chosen so that the exponent has an inverse");
        let n = modulus.to_bytes_be();
        let e = BigUint::from(EXPONENT).to_bytes_be();
        let digest = sha1(&[&n.to_bytes(), &e.to_bytes()]);
        Self { modulus, private_exponent, fingerprint: i64::from_le_bytes(sub(&digest, 12)) }
    }

    /// The lower 64 bits of the SHA-1 of the TL-serialized public key.
    pub(crate) fn fingerprint(&self) -> i64 {
        self.fingerprint
    }

    /// The public half as PEM `RSA PUBLIC KEY` (PKCS#1).
    pub(crate) fn public_pem(&self) -> String {
        let numbers =
            [der(0x02, &unsigned(&self.modulus)), der(0x02, &unsigned(&BigUint::from(EXPONENT)))];
        let text = STANDARD.encode(der(0x30, &numbers.concat()));
        let mut pem = String::from("-----BEGIN RSA PUBLIC KEY-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|&byte| char::from(byte)));
            pem.push('\n');
        }
        pem + "-----END RSA PUBLIC KEY-----\n"
    }

    /// Opens the `encrypted_data` of `req_DH_params`; the answer begins with the inner data and
    /// ends with the client's random padding. `None` if neither padding fits.
    pub(crate) fn open(&self, encrypted: &[u8]) -> Option<Vec<u8>> {
        if encrypted.len() != BLOCK {
            return None;
        }
        let number = BigUint::from_bytes_be(encrypted);
        if number >= self.modulus {
            return None;
        }
        let block = padded(&number.modpow(&self.private_exponent, &self.modulus));
        open_rsa_pad(&block).or_else(|| open_sha1_padded(&block))
    }
}

/// Undoes RSA_PAD: <https://core.telegram.org/mtproto/auth_key#presenting-proof-of-work-server-authentication>.
fn open_rsa_pad(block: &[u8; BLOCK]) -> Option<Vec<u8>> {
    let (temp_key_xor, aes_encrypted) = block.split_at(32);
    let mask = sha256(&[aes_encrypted]);
    let temp_key: [u8; 32] = std::array::from_fn(|i| temp_key_xor[i] ^ mask[i]);
    let mut data_with_hash = aes_encrypted.to_vec();
    aes::ige_decrypt(&mut data_with_hash, &temp_key, &[0; 32]);
    let hash = data_with_hash.split_off(192);
    data_with_hash.reverse();
    (sha256(&[&temp_key, &data_with_hash])[..] == hash[..]).then_some(data_with_hash)
}

/// Undoes the older padding, SHA1(data) + data + random bytes: 255 bytes, so the block begins with
/// a zero. How long the data is only its parser knows, so the hash is checked by length search.
fn open_sha1_padded(block: &[u8; BLOCK]) -> Option<Vec<u8>> {
    if block[0] != 0 {
        return None;
    }
    let (hash, data) = block[1..].split_at(20);
    let known = (0..=data.len()).rev().any(|length| sha1(&[&data[..length]])[..] == *hash);
    known.then(|| data.to_vec())
}

fn padded(number: &BigUint) -> [u8; BLOCK] {
    to_block(number).expect("a number below the modulus fits a block")
}

/// The number as exactly 256 big-endian bytes, if it fits.
pub(crate) fn to_block(number: &BigUint) -> Option<[u8; BLOCK]> {
    let bytes = number.to_bytes_be();
    let mut block = [0; BLOCK];
    block.get_mut(BLOCK.checked_sub(bytes.len())?..)?.copy_from_slice(&bytes);
    Some(block)
}

fn unsigned(number: &BigUint) -> Vec<u8> {
    let mut bytes = number.to_bytes_be();
    if bytes[0] & 0x80 != 0 {
        bytes.insert(0, 0);
    }
    bytes
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut encoded = vec![tag];
    match length {
        0..0x80 => encoded.push(length as u8),
        0x80..0x100 => encoded.extend([0x81, length as u8]),
        _ => encoded.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    encoded.extend(content);
    encoded
}

/// A random prime of 1024 bits whose two top bits are set and whose predecessor is prime to the
/// public exponent.
fn prime(rng: &mut StdRng) -> BigUint {
    let small = small_primes();
    loop {
        let mut bytes = [0u8; PRIME_BITS / 8];
        rng.fill(&mut bytes[..]);
        bytes[0] |= 0xc0;
        bytes[PRIME_BITS / 8 - 1] |= 1;
        let candidate = BigUint::from_bytes_be(&bytes);
        let divisible = small.iter().any(|&prime| &candidate % prime == BigUint::ZERO);
        let usable = (&candidate - 1u32) % EXPONENT != BigUint::ZERO;
        if !divisible && usable && is_probable_prime(&candidate, rng) {
            return candidate;
        }
    }
}

fn small_primes() -> Vec<u32> {
    (3u32..4000)
        .step_by(2)
        .filter(|n| (3..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d)))
        .collect()
}

/// Miller-Rabin with base 2 first, which rejects almost every composite.
fn is_probable_prime(n: &BigUint, rng: &mut StdRng) -> bool {
    let one = BigUint::from(1u32);
    let minus_one = n - &one;
    let twos = minus_one.trailing_zeros().unwrap_or(0);
    let odd = &minus_one >> twos;
    let witness = |base: BigUint| {
        let mut x = base.modpow(&odd, n);
        if x == one || x == minus_one {
            return true;
        }
        for _ in 1..twos {
            x = &x * &x % n;
            if x == minus_one {
                return true;
            }
        }
        false
    };
    witness(BigUint::from(2u32))
        && (1..ROUNDS).all(|_| witness(BigUint::from(rng.random_range(3u64..u64::MAX))))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use super::*;

    pub(crate) static KEY: LazyLock<Arc<RsaKey>> = LazyLock::new(|| RsaKey::of_seed(7));

    impl RsaKey {
        /// Encrypts as a current client does.
        pub(crate) fn encrypt_for_tests(&self, data: &[u8]) -> Vec<u8> {
            let key = grammers_crypto::rsa::Key::new(&self.modulus.to_string(), "65537").unwrap();
            grammers_crypto::rsa::encrypt_hashed(data, &key, &[3; 224])
        }
    }

    #[test]
    fn what_the_library_encrypts_for_the_key_opens() {
        let data = [9u8; 100];
        let opened = KEY.open(&KEY.encrypt_for_tests(&data)).unwrap();
        assert_eq!(&opened[..100], &data);
    }

    #[test]
    fn the_older_sha1_padding_opens_too() {
        let data = [5u8; 96];
        let mut block = [&sha1(&[&data])[..], &data].concat();
        block.resize(255, 1);
        let encrypted =
            BigUint::from_bytes_be(&block).modpow(&BigUint::from(EXPONENT), &KEY.modulus);
        let opened = KEY.open(&to_block(&encrypted).unwrap()).unwrap();
        assert_eq!(&opened[..96], &data);
    }

    #[test]
    fn garbage_does_not_open() {
        assert_eq!(KEY.open(&[1; 256]), None);
        assert_eq!(KEY.open(&[0xff; 256]), None);
        assert_eq!(KEY.open(&[1; 255]), None);
    }

    #[test]
    fn the_pem_is_a_pkcs1_public_key() {
        let pem = KEY.public_pem();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let bytes = STANDARD.decode(body).unwrap();
        // SEQUENCE, 3-byte length, INTEGER of 257 bytes, and the exponent 65537 last.
        assert_eq!(&bytes[..4], [0x30, 0x82, 0x01, 0x0a]);
        assert_eq!(&bytes[4..9], [0x02, 0x82, 0x01, 0x01, 0x00]);
        assert_eq!(&bytes[265..], [0x02, 0x03, 0x01, 0x00, 0x01]);
    }
}
