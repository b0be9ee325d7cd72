//! The data keys of the outbox: one per opening of the store. Owns their use; the records that keep
//! them are sealed like any other.

use std::collections::HashMap;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Nonce};

use super::seal::{BrokenSeal, Bytes, KEY_LEN, NONCE_LEN, Seal, cipher, decrypt, random_key};
use crate::store::contract::StoreError;

/// The data keys at hand, the newest for writing.
pub(in crate::store) struct Keyring {
    ciphers: HashMap<u32, Aes256Gcm>,
    epoch: u32,
}

impl Keyring {
    /// Draws the data key of this opening, number `epoch`, and returns its wrapped form as well.
    pub(in crate::store) fn new(
        master: &impl Seal,
        epoch: u32,
        record_key: &[u8],
    ) -> Result<(Self, Vec<u8>), StoreError> {
        let key = random_key()?;
        let wrapped = master.seal(record_key, &*key)?;
        Ok((Self { ciphers: HashMap::from([(epoch, cipher(&key))]), epoch }, wrapped))
    }

    /// Adds the key of an earlier opening.
    pub(in crate::store) fn add(
        &mut self,
        master: &impl Seal,
        epoch: u32,
        record_key: &[u8],
        wrapped: &[u8],
    ) -> Result<(), BrokenSeal> {
        let key = master.open(record_key, wrapped)?;
        let key = key.first_chunk::<KEY_LEN>().ok_or(BrokenSeal)?;
        self.ciphers.insert(epoch, cipher(key));
        Ok(())
    }

    /// Number of the key that writes.
    pub(in crate::store) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Encrypts `buffer[from..]` in place and appends the tag. `nonce` must be new to this epoch.
    pub(in crate::store) fn seal_tail(
        &self,
        nonce: u64,
        aad: &[u8],
        buffer: &mut Vec<u8>,
        from: usize,
    ) -> Result<(), BrokenSeal> {
        let cipher = self.ciphers.get(&self.epoch).ok_or(BrokenSeal)?;
        let nonce = Nonce::from(nonce_bytes(nonce));
        let tail = (&mut buffer[from..]).into();
        let tag = cipher.encrypt_inout_detached(&nonce, aad, tail).map_err(|_| BrokenSeal)?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens what [`Keyring::seal_tail`] made.
    pub(in crate::store) fn open(
        &self,
        epoch: u32,
        nonce: u64,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Bytes, BrokenSeal> {
        let cipher = self.ciphers.get(&epoch).ok_or(BrokenSeal)?;
        decrypt(cipher, nonce_bytes(nonce), aad, sealed)
    }
}

fn nonce_bytes(number: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    nonce
}
