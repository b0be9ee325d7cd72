//! The public RSA key of servers of one's own: read from PEM, named by its fingerprint, used for
//! the one message of the exchange that only the server may read.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grammers_client::tl::Serializable;
use grammers_crypto::rsa;
use num_bigint::BigUint;
use sha1::{Digest, Sha1};

/// What MTProto's padding is made for, bits.
const MODULUS_BITS: u64 = 2048;
/// A key file has some 500 bytes; more is something else.
const PEM_MAX: usize = 16 * 1024;
/// The DER encoding of `1.2.840.113549.1.1.1`, RSA.
const RSA_OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// A server's public key.
pub struct ServerKey {
    rsa: rsa::Key,
    fingerprint: i64,
}

/// Why a text is not a server's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerKeyError {
    /// No public key in it.
    #[error(
        "the file holds no PEM public key; it should begin with '-----BEGIN RSA PUBLIC KEY-----' \
         or '-----BEGIN PUBLIC KEY-----'"
    )]
    NotPem,
    /// It holds the other half.
    #[error(
        "the file holds a private key; give the public one (openssl rsa -in FILE -RSAPublicKey_out) \
         and keep the private one on the server"
    )]
    Private,
    /// The text between the lines is broken, or is no RSA key.
    #[error("the file holds no readable RSA public key; was it cut or changed on its way?")]
    NotRsa,
    /// MTProto needs 2048 bits.
    #[error("the file holds an RSA key of {0} bits; MTProto takes 2048 only")]
    BadLength(u64),
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKey({:016x})", self.fingerprint)
    }
}

impl ServerKey {
    /// Reads the first public key of a PEM file: PKCS#1 (`RSA PUBLIC KEY`) or SPKI
    /// (`PUBLIC KEY`).
    ///
    /// # Errors
    /// See [`ServerKeyError`]; the file's content is never quoted.
    pub fn from_pem(pem: &str) -> Result<Self, ServerKeyError> {
        if let Some(der) = section(pem, "RSA PUBLIC KEY")? {
            return Self::from_numbers(pkcs1(&der).ok_or(ServerKeyError::NotRsa)?);
        }
        if let Some(der) = section(pem, "PUBLIC KEY")? {
            let inner = spki(&der).ok_or(ServerKeyError::NotRsa)?;
            return Self::from_numbers(pkcs1(inner).ok_or(ServerKeyError::NotRsa)?);
        }
        let is_private = pem.contains("PRIVATE KEY-----");
        Err(if is_private { ServerKeyError::Private } else { ServerKeyError::NotPem })
    }

    fn from_numbers((modulus, exponent): (BigUint, BigUint)) -> Result<Self, ServerKeyError> {
        if modulus.bits() != MODULUS_BITS {
            return Err(ServerKeyError::BadLength(modulus.bits()));
        }
        let is_usable = modulus.bit(0) && exponent.bit(0) && (2..=64).contains(&exponent.bits());
        let rsa = rsa::Key::new(&modulus.to_string(), &exponent.to_string());
        let rsa = rsa.filter(|_| is_usable).ok_or(ServerKeyError::NotRsa)?;
        Ok(Self { rsa, fingerprint: fingerprint(&modulus, &exponent) })
    }

    /// By which the server names it.
    pub(super) fn fingerprint(&self) -> i64 {
        self.fingerprint
    }

    /// RSA_PAD of `data`, at most 144 bytes.
    pub(super) fn seal(&self, data: &[u8], random: &[u8; 224]) -> Vec<u8> {
        rsa::encrypt_hashed(data, &self.rsa, random)
    }
}

/// The lower 64 bits of the SHA-1 of both numbers as TL writes them
/// (<https://core.telegram.org/mtproto/auth_key>).
fn fingerprint(modulus: &BigUint, exponent: &BigUint) -> i64 {
    let mut bytes = modulus.to_bytes_be().to_bytes();
    bytes.extend(exponent.to_bytes_be().to_bytes());
    let digest = Sha1::digest(bytes);
    let mut low = [0; 8];
    low.copy_from_slice(&digest[12..]);
    i64::from_le_bytes(low)
}

/// The bytes of a PEM section, if there is one of that name.
fn section(pem: &str, label: &str) -> Result<Option<Vec<u8>>, ServerKeyError> {
    if pem.len() > PEM_MAX {
        return Err(ServerKeyError::NotPem);
    }
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let Some((_, rest)) = pem.split_once(&begin) else { return Ok(None) };
    let (body, _) = rest.split_once(&end).ok_or(ServerKeyError::NotRsa)?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).map(Some).map_err(|_| ServerKeyError::NotRsa)
}

/// `SEQUENCE { modulus INTEGER, publicExponent INTEGER }`.
fn pkcs1(der: &[u8]) -> Option<(BigUint, BigUint)> {
    let (content, _) = value(der, SEQUENCE)?;
    let (modulus, rest) = value(content, INTEGER)?;
    let (exponent, _) = value(rest, INTEGER)?;
    Some((BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent)))
}

/// `SEQUENCE { SEQUENCE { algorithm OID, … }, BIT STRING }`; answers what the bit string holds.
fn spki(der: &[u8]) -> Option<&[u8]> {
    let (content, _) = value(der, SEQUENCE)?;
    let (algorithm, rest) = value(content, SEQUENCE)?;
    let (oid, _) = value(algorithm, OBJECT_ID)?;
    let (bits, _) = value(rest, BIT_STRING)?;
    match bits {
        [0, inner @ ..] if oid == RSA_OID => Some(inner),
        _ => None,
    }
}

/// The content of the DER value at the beginning, if it has that tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der {
        [first, length @ 0..=0x7f, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x81, length, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x82, high, low, rest @ ..] if *first == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Telegram's key of 2013, which it published and the sample of the exchange uses.
    pub(in crate::telegram::key_exchange) const PKCS1: &str = "-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEAwVACPi9w23mF3tBkdZz+zwrzKOaaQdr01vAbU4E1pvkfj4sqDsm6
lyDONS789sVoD/xCS9Y0hkkC3gtL1tSfTlgCMOOul9lcixlEKzwKENj1Yz/s7daS
an9tqw3bfUV/nqgbhGX81v/+7RFAEd+RwFnK7a+XYl9sluzHRyVVaTTveB2GazTw
Efzk2DWgkBluml8OREmvfraX3bkHZJTKX4EQSjBbbdJ2ZXIsRrYOXfaA+xayEGB+
8hdlLmAjbCVfaigxX0CDqWeR1yFL9kwd9P0NsZRPsmoqVwMbMu7mStFai6aIhc3n
Slv8kg9qv1m6XHVQY3PnEw+QQtqSIXklHwIDAQAB
-----END RSA PUBLIC KEY-----
";

    fn der_of(pem: &str) -> Vec<u8> {
        section(pem, "RSA PUBLIC KEY").unwrap().unwrap()
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let body = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn as_spki(pkcs1: &[u8]) -> String {
        let algorithm = [&[0x30, 13, 0x06, 9][..], RSA_OID, &[0x05, 0]].concat();
        let length = |n: usize| [0x82, (n >> 8) as u8, n as u8];
        let bits = [&[0x03][..], &length(pkcs1.len() + 1), &[0], pkcs1].concat();
        let content = [algorithm, bits].concat();
        pem("PUBLIC KEY", &[&[0x30][..], &length(content.len()), &content].concat())
    }

    #[test]
    fn both_forms_of_a_key_have_the_published_fingerprint() {
        let key = ServerKey::from_pem(PKCS1).unwrap();
        assert_eq!(key.fingerprint() as u64, 0xc3b4_2b02_6ce8_6b21);
        let spki = ServerKey::from_pem(&as_spki(&der_of(PKCS1))).unwrap();
        assert_eq!(spki.fingerprint(), key.fingerprint());
    }

    #[test]
    fn each_fault_is_named() {
        let fault = |text: &str| ServerKey::from_pem(text).unwrap_err();
        assert_eq!(fault(""), ServerKeyError::NotPem);
        assert_eq!(fault(&pem("RSA PRIVATE KEY", &[1])), ServerKeyError::Private);
        assert_eq!(fault(&PKCS1[..200]), ServerKeyError::NotRsa);
        assert_eq!(fault(&pem("RSA PUBLIC KEY", &[0x30, 3, 2, 1, 1])), ServerKeyError::NotRsa);
        let short = [0x30, 7, 2, 2, 0x7f, 1, 2, 1, 3];
        assert_eq!(fault(&pem("RSA PUBLIC KEY", &short)), ServerKeyError::BadLength(15));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_or_a_clear_error(der in any::<Vec<u8>>(), at in 0_usize..270, to: u8) {
            for label in ["RSA PUBLIC KEY", "PUBLIC KEY"] {
                let _ = ServerKey::from_pem(&pem(label, &der));
            }
            let mut changed = der_of(PKCS1);
            changed[at] = to;
            let _ = ServerKey::from_pem(&pem("RSA PUBLIC KEY", &changed));
        }

        #[test]
        fn any_text_is_a_key_or_a_clear_error(text in any::<String>(), at in 0_usize..300, with: char) {
            let _ = ServerKey::from_pem(&text);
            let mut changed: Vec<char> = pem("PUBLIC KEY", &der_of(PKCS1)).chars().collect();
            let at = at % changed.len();
            changed[at] = with;
            let _ = ServerKey::from_pem(&String::from_iter(&changed));
            let _ = ServerKey::from_pem(&String::from_iter(&changed[..at]));
        }
    }
}
