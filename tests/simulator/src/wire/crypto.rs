//! MTProto 2.0 message encryption and the hashes around it.
//!
//! Owns the auth key and how packets are sealed and opened with it; never decides what they mean,
//! and never shows a key: its type has no `Debug`.
//! Source: <https://core.telegram.org/mtproto/description>.

use grammers_crypto::aes;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Auth key id and message key in front of the ciphertext.
const HEADER: usize = 8 + 16;
/// Least random padding the protocol asks for, in bytes.
const MIN_PADDING: usize = 12;

/// The 2048-bit key both ends share, with its id.
pub(crate) struct AuthKey {
    bytes: [u8; 256],
    id: i64,
}

/// Which way a packet travels; the key material differs.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// Why a packet could not be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OpenError {
    #[error("encrypted packet has an impossible length of {0} bytes")]
    Length(usize),
    #[error("message key does not match the decrypted packet")]
    MessageKey,
}

impl AuthKey {
    pub(crate) fn new(bytes: [u8; 256]) -> Self {
        let digest = sha1(&[&bytes]);
        Self { bytes, id: i64::from_le_bytes(sub(&digest, 12)) }
    }

    /// The lower 64 bits of the key's SHA-1: what every encrypted packet begins with.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    pub(crate) fn bytes(&self) -> &[u8; 256] {
        &self.bytes
    }

    fn message_key(&self, direction: Direction, plaintext: &[u8]) -> [u8; 16] {
        let x = direction.offset();
        sub(&sha256(&[&self.bytes[88 + x..120 + x], plaintext]), 8)
    }

    fn key_and_iv(&self, direction: Direction, message_key: &[u8; 16]) -> ([u8; 32], [u8; 32]) {
        let x = direction.offset();
        let a = sha256(&[message_key, &self.bytes[x..x + 36]]);
        let b = sha256(&[&self.bytes[40 + x..76 + x], message_key]);
        let weave = |outer: &[u8; 32], inner: &[u8; 32]| {
            let mut woven = *outer;
            woven[8..24].copy_from_slice(&inner[8..24]);
            woven
        };
        (weave(&a, &b), weave(&b, &a))
    }

    /// Encrypts `plaintext`, padding it with zeros, and appends the whole packet to `output`.
    pub(crate) fn seal(&self, direction: Direction, plaintext: &[u8], output: &mut Vec<u8>) {
        let padded = (plaintext.len() + MIN_PADDING).next_multiple_of(16);
        let start = output.len();
        output.resize(start + HEADER, 0);
        output.extend_from_slice(plaintext);
        output.resize(start + HEADER + padded, 0);
        let message_key = self.message_key(direction, &output[start + HEADER..]);
        let (key, iv) = self.key_and_iv(direction, &message_key);
        aes::ige_encrypt(&mut output[start + HEADER..], &key, &iv);
        output[start..start + 8].copy_from_slice(&self.id.to_le_bytes());
        output[start + 8..start + HEADER].copy_from_slice(&message_key);
    }

    /// Decrypts a packet in place and answers its plaintext with the padding still on it.
    pub(crate) fn open<'p>(
        &self,
        direction: Direction,
        packet: &'p mut [u8],
    ) -> Result<&'p [u8], OpenError> {
        let length = packet.len();
        if length <= HEADER || !(length - HEADER).is_multiple_of(16) {
            return Err(OpenError::Length(length));
        }
        let message_key: [u8; 16] = sub(packet, 8);
        let (key, iv) = self.key_and_iv(direction, &message_key);
        let body = &mut packet[HEADER..];
        aes::ige_decrypt(body, &key, &iv);
        if self.message_key(direction, body) != message_key {
            return Err(OpenError::MessageKey);
        }
        Ok(body)
    }
}

impl Direction {
    fn offset(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 8,
        }
    }
}

/// SHA-1 over the concatenation of `parts`.
pub(crate) fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// SHA-256 over the concatenation of `parts`.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// The `N` bytes of `bytes` from `start`; callers hold slices that are long enough.
pub(crate) fn sub<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[start..start + N]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AuthKey {
        AuthKey::new(std::array::from_fn(|i| i as u8))
    }

    #[test]
    fn the_key_id_is_the_tail_of_the_sha1() {
        // SHA-1 of the bytes 0..=255 is 4916d6bdb7f78e6803698cab32d1586ea457dfc8.
        assert_eq!(key().id().to_le_bytes(), [0x32, 0xd1, 0x58, 0x6e, 0xa4, 0x57, 0xdf, 0xc8]);
    }

    #[test]
    fn a_sealed_packet_opens_in_its_own_direction_only() {
        let key = key();
        for length in [0, 1, 15, 16, 31, 500] {
            let plaintext = vec![7; length];
            let mut packet = Vec::new();
            key.seal(Direction::ToClient, &plaintext, &mut packet);
            let mut wrong_way = packet.clone();
            assert_eq!(key.open(Direction::ToServer, &mut wrong_way), Err(OpenError::MessageKey));
            let opened = key.open(Direction::ToClient, &mut packet).unwrap();
            assert_eq!(&opened[..length], &plaintext[..]);
            assert!((MIN_PADDING..MIN_PADDING + 16).contains(&(opened.len() - length)));
        }
    }

    #[test]
    fn a_changed_bit_or_a_short_packet_is_refused() {
        let key = key();
        let mut packet = Vec::new();
        key.seal(Direction::ToServer, b"hello", &mut packet);
        *packet.last_mut().unwrap() ^= 1;
        assert_eq!(key.open(Direction::ToServer, &mut packet), Err(OpenError::MessageKey));
        assert_eq!(key.open(Direction::ToServer, &mut packet[..24]), Err(OpenError::Length(24)));
    }

    #[test]
    fn packets_of_the_library_open_here() {
        let bytes: [u8; 256] = std::array::from_fn(|i| (i * 7) as u8);
        let theirs = grammers_crypto::AuthKey::from_bytes(bytes);
        let mut packet = grammers_crypto::DequeBuffer::with_capacity(64, 64);
        packet.extend(*b"sixteen bytes ok");
        grammers_crypto::encrypt_data_v2(&mut packet, &theirs);
        let mut packet = packet[..].to_vec();
        let opened = AuthKey::new(bytes).open(Direction::ToServer, &mut packet).unwrap();
        assert_eq!(&opened[..16], b"sixteen bytes ok");
    }
}
