//! Keys and seals. Owns the keys of the store on their way from the root to a record; never logs or
//! returns key bytes.
//!
//! Three layers: a *root* (`root`, from a file, a variable, or a service that never gives it away)
//! wraps the *generations* (`generation`), keys that are kept in the store and renewed every few
//! days; the newest generation wraps a fresh *data key* for each sealed record, which seals it
//! (AES-256-GCM). So a rotation (`rotation`) only wraps data keys anew, and another root only the
//! generations. Stores of formats 1 and 2 had no generations: their root wrapped the data keys
//! itself, and does so until their first rotation is through (`open`).
//!
//! The segments of the outbox share one data key per opening of the store (`outbox`); their nonce is
//! the segment's first sequence number, which one opening uses once. The associated data of every
//! seal is the record's key in the store, so that no sealed record passes for another.

mod generation;
mod open;
mod outbox;
mod ring;
mod root;
mod rotate;
mod rotation;
mod source;
#[cfg(test)]
mod tests;

use aes_gcm::aead::{Aead, Generate, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::StoreError;
use super::layout::kind;

pub(super) use open::{Key, Opened, open};
pub(super) use outbox::Keyring;
pub(super) use ring::Keys;
pub use root::{RemoteRoot, RootError};
pub use rotate::{KeyStatus, RotateError, Rotated};
pub(super) use rotation::Rotation;
pub use source::KeyOrigin;

/// Every kind of record that is sealed as a whole: what a rotation walks over and what
/// `telewarden check` opens. A new sealed kind needs nothing more than its line here.
pub(super) const SEALED_KINDS: &[(u8, &str)] = &[
    (kind::CREDENTIALS, "credentials"),
    (kind::DATA_KEY, "data key"),
    (kind::LOGIN, "login"),
    (kind::LOGIN_WAIT, "login wait"),
    (kind::WEBHOOK, "webhook"),
    (kind::DELIVERY, "delivery"),
    (kind::DEAD_DELIVERY, "dead delivery"),
];

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const KEY_ID_LEN: usize = 8;
const WRAPPED_LEN: usize = KEY_LEN + TAG_LEN;
/// Version of the sealed form.
const SEAL_VERSION: u8 = 1;
/// Bytes before the ciphertext: version, key id, nonce of the wrap, wrapped data key, nonce of the record.
const SEAL_HEAD: usize = 1 + KEY_ID_LEN + NONCE_LEN + WRAPPED_LEN + NONCE_LEN;

pub(super) type Bytes = Zeroizing<Vec<u8>>;
/// Tells keys apart, and nothing about them.
type KeyId = [u8; KEY_ID_LEN];
type RawKey = Zeroizing<[u8; KEY_LEN]>;

/// A seal that does not open: another key, another place, or a changed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokenSeal;

pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    <[u8; N]>::try_generate().map_err(|_| StoreError::NoRandomness)
}

fn random_key() -> Result<RawKey, StoreError> {
    random().map(Zeroizing::new)
}

fn cipher(key: &[u8; KEY_LEN]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

fn encrypt(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    msg: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let damaged = |_| StoreError::Damaged { record: "sealed", detail: "too large to seal" };
    cipher.encrypt(&Nonce::from(nonce), Payload { msg, aad }).map_err(damaged)
}

fn decrypt(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    msg: &[u8],
) -> Result<Bytes, BrokenSeal> {
    let plain = cipher.decrypt(&Nonce::from(nonce), Payload { msg, aad });
    plain.map(Zeroizing::new).map_err(|_| BrokenSeal)
}

/// What seals and opens records.
pub(super) trait Seal {
    /// Seals `plain` under a fresh data key, bound to `place`.
    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// Opens what [`Seal::seal`] made for the same `place`.
    fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Bytes, BrokenSeal>;
}

/// A key that wraps others: a generation, or a root that is at hand.
pub(super) struct MasterKey {
    cipher: Aes256Gcm,
    /// Tells which key sealed a record, so that keys can be changed record by record.
    id: KeyId,
}

impl MasterKey {
    /// Takes over raw key bytes.
    pub(super) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self { cipher: cipher(key), id: id_of(b"telewarden key id\0", key) }
    }

    /// A key that lives as long as the process, for stores in memory.
    pub(super) fn ephemeral() -> Result<Self, StoreError> {
        Ok(Self::new(&*random_key()?))
    }

    fn copy(&self) -> Self {
        Self { cipher: self.cipher.clone(), id: self.id }
    }

    fn wrap(&self, place: &[u8], data_key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce = random::<NONCE_LEN>()?;
        let wrapped = encrypt(&self.cipher, nonce, &wrap_place(place), data_key)?;
        Ok([&self.id[..], &nonce, &wrapped].concat())
    }

    fn unwrap(&self, place: &[u8], parts: &Parts<'_>) -> Result<RawKey, BrokenSeal> {
        if *parts.id != self.id {
            return Err(BrokenSeal);
        }
        let plain = decrypt(&self.cipher, *parts.wrap_nonce, &wrap_place(place), parts.wrapped)?;
        plain.first_chunk::<KEY_LEN>().map(|key| Zeroizing::new(*key)).ok_or(BrokenSeal)
    }

    /// Wraps the data key of a record that `old` sealed; the sealed text stays as it is.
    fn rewrap(
        &self,
        old: &Self,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Ok(parts) = Parts::of(sealed) else { return Ok(None) };
        let Ok(data_key) = old.unwrap(place, &parts) else { return Ok(None) };
        let wrapped = self.wrap(place, &*data_key)?;
        Ok(Some([&[SEAL_VERSION][..], &wrapped, parts.nonce, parts.text].concat()))
    }
}

impl Seal for MasterKey {
    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let data_key = random_key()?;
        let nonce = random::<NONCE_LEN>()?;
        let wrapped = self.wrap(place, &*data_key)?;
        let sealed = encrypt(&cipher(&data_key), nonce, place, plain)?;
        let mut out = Vec::with_capacity(SEAL_HEAD + sealed.len());
        for part in [&[SEAL_VERSION][..], &wrapped, &nonce, &sealed] {
            out.extend_from_slice(part);
        }
        Ok(out)
    }

    fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Bytes, BrokenSeal> {
        let parts = Parts::of(sealed)?;
        let data_key = self.unwrap(place, &parts)?;
        decrypt(&cipher(&data_key), *parts.nonce, place, parts.text)
    }
}

/// A sealed record, taken apart.
struct Parts<'a> {
    id: &'a KeyId,
    wrap_nonce: &'a [u8; NONCE_LEN],
    wrapped: &'a [u8; WRAPPED_LEN],
    nonce: &'a [u8; NONCE_LEN],
    text: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Result<Self, BrokenSeal> {
        let (&SEAL_VERSION, sealed) = sealed.split_first().ok_or(BrokenSeal)? else {
            return Err(BrokenSeal);
        };
        let (id, rest) = sealed.split_first_chunk().ok_or(BrokenSeal)?;
        let (wrap_nonce, rest) = rest.split_first_chunk().ok_or(BrokenSeal)?;
        let (wrapped, rest) = rest.split_first_chunk().ok_or(BrokenSeal)?;
        let (nonce, text) = rest.split_first_chunk().ok_or(BrokenSeal)?;
        Ok(Self { id, wrap_nonce, wrapped, nonce, text })
    }
}

fn id_of(purpose: &[u8], what: &[u8]) -> KeyId {
    let digest = Sha256::new().chain_update(purpose).chain_update(what).finalize();
    let mut id = [0; KEY_ID_LEN];
    id.copy_from_slice(&digest[..KEY_ID_LEN]);
    id
}

fn wrap_place(place: &[u8]) -> Vec<u8> {
    [b"telewarden data key\0", place].concat()
}
