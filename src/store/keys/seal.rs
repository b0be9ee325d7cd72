//! Sealing with a key that is at hand: AES-256-GCM with a fresh data key for each record. Owns the form of
//! a sealed record; never logs or returns the bytes of a key that wraps others.

use aes_gcm::aead::{Aead, Generate, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::store::contract::StoreError;

pub(super) const KEY_LEN: usize = 32;
pub(super) const NONCE_LEN: usize = 12;
pub(super) const TAG_LEN: usize = 16;
pub(super) const KEY_ID_LEN: usize = 8;
const WRAPPED_LEN: usize = KEY_LEN + TAG_LEN;
/// Version of the sealed form.
const SEAL_VERSION: u8 = 1;
/// Bytes before the ciphertext: version, key id, nonce of the wrap, wrapped data key, nonce of the record.
const SEAL_HEAD: usize = 1 + KEY_ID_LEN + NONCE_LEN + WRAPPED_LEN + NONCE_LEN;

pub(in crate::store) type Bytes = Zeroizing<Vec<u8>>;
/// Tells keys apart, and nothing about them.
pub(super) type KeyId = [u8; KEY_ID_LEN];
pub(super) type RawKey = Zeroizing<[u8; KEY_LEN]>;

/// A seal that does not open: another key, another place, or a changed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct BrokenSeal;

pub(in crate::store) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    <[u8; N]>::try_generate().map_err(|_| StoreError::NoRandomness)
}

pub(super) fn random_key() -> Result<RawKey, StoreError> {
    random().map(Zeroizing::new)
}

pub(super) fn cipher(key: &[u8; KEY_LEN]) -> Aes256Gcm {
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

pub(super) fn decrypt(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    msg: &[u8],
) -> Result<Bytes, BrokenSeal> {
    let plain = cipher.decrypt(&Nonce::from(nonce), Payload { msg, aad });
    plain.map(Zeroizing::new).map_err(|_| BrokenSeal)
}

/// What seals and opens records.
pub(in crate::store) trait Seal {
    /// Seals `plain` under a fresh data key, bound to `record_key`.
    fn seal(&self, record_key: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// Opens what [`Seal::seal`] made for the same `record_key`.
    fn open(&self, record_key: &[u8], sealed: &[u8]) -> Result<Bytes, BrokenSeal>;
}

/// A key that wraps others: a generation, or a root that is at hand.
pub(in crate::store) struct MasterKey {
    cipher: Aes256Gcm,
    /// Tells which key sealed a record, so that keys can be changed record by record.
    pub(super) id: KeyId,
}

impl MasterKey {
    /// Takes over raw key bytes.
    pub(in crate::store) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self { cipher: cipher(key), id: id_of(b"telewarden key id\0", key) }
    }

    /// A key that lives as long as the process, for stores in memory.
    pub(in crate::store) fn ephemeral() -> Result<Self, StoreError> {
        Ok(Self::new(&*random_key()?))
    }

    pub(super) fn copy(&self) -> Self {
        Self { cipher: self.cipher.clone(), id: self.id }
    }

    fn wrap(&self, record_key: &[u8], data_key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce = random::<NONCE_LEN>()?;
        let wrapped = encrypt(&self.cipher, nonce, &wrap_context(record_key), data_key)?;
        Ok([&self.id[..], &nonce, &wrapped].concat())
    }

    fn unwrap(&self, record_key: &[u8], parts: &Parts<'_>) -> Result<RawKey, BrokenSeal> {
        if *parts.id != self.id {
            return Err(BrokenSeal);
        }
        let plain =
            decrypt(&self.cipher, *parts.wrap_nonce, &wrap_context(record_key), parts.wrapped)?;
        plain.first_chunk::<KEY_LEN>().map(|key| Zeroizing::new(*key)).ok_or(BrokenSeal)
    }

    /// Wraps the data key of a record that `old` sealed; the sealed text stays as it is.
    pub(super) fn rewrap(
        &self,
        old: &Self,
        record_key: &[u8],
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Ok(parts) = Parts::of(sealed) else { return Ok(None) };
        let Ok(data_key) = old.unwrap(record_key, &parts) else { return Ok(None) };
        let wrapped = self.wrap(record_key, &*data_key)?;
        Ok(Some([&[SEAL_VERSION][..], &wrapped, parts.nonce, parts.text].concat()))
    }
}

impl Seal for MasterKey {
    fn seal(&self, record_key: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let data_key = random_key()?;
        let nonce = random::<NONCE_LEN>()?;
        let wrapped = self.wrap(record_key, &*data_key)?;
        let sealed = encrypt(&cipher(&data_key), nonce, record_key, plain)?;
        let mut out = Vec::with_capacity(SEAL_HEAD + sealed.len());
        for part in [&[SEAL_VERSION][..], &wrapped, &nonce, &sealed] {
            out.extend_from_slice(part);
        }
        Ok(out)
    }

    fn open(&self, record_key: &[u8], sealed: &[u8]) -> Result<Bytes, BrokenSeal> {
        let parts = Parts::of(sealed)?;
        let data_key = self.unwrap(record_key, &parts)?;
        decrypt(&cipher(&data_key), *parts.nonce, record_key, parts.text)
    }
}

/// A sealed record, taken apart.
pub(super) struct Parts<'a> {
    pub(super) id: &'a KeyId,
    wrap_nonce: &'a [u8; NONCE_LEN],
    wrapped: &'a [u8; WRAPPED_LEN],
    nonce: &'a [u8; NONCE_LEN],
    pub(super) text: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn of(sealed: &'a [u8]) -> Result<Self, BrokenSeal> {
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

pub(super) fn id_of(purpose: &[u8], what: &[u8]) -> KeyId {
    let digest = Sha256::new().chain_update(purpose).chain_update(what).finalize();
    let mut id = [0; KEY_ID_LEN];
    id.copy_from_slice(&digest[..KEY_ID_LEN]);
    id
}

fn wrap_context(record_key: &[u8]) -> Vec<u8> {
    [b"telewarden data key\0", record_key].concat()
}
