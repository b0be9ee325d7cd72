//! Where each record lies: one byte for its kind, then a key that sorts as its kind is read. Owns
//! the key space; never looks at values. (0xff belongs to the sled engine.)

use uuid::Uuid;

use crate::protocol::chat::{ChatKey, MarkedId};
use crate::protocol::ids::{AuthKeyId, SessionId, UnixMillis};

use super::error::StoreError;

/// The store's format number.
pub(super) const FORMAT: &[u8] = b"!format";
/// Sealed with the root of a store that had no generations of keys yet, to recognise another root;
/// gone once nothing is sealed with it any more.
pub(super) const KEY_CHECK: &[u8] = b"!key-check";
/// Everything up to this sequence number has left the outbox.
pub(super) const RELEASED: &[u8] = b"!released";
/// Cursors moved before this sequence number have records of their own.
pub(super) const CHECKPOINT: &[u8] = b"!checkpoint";

/// When a rotation of the keys was last through.
pub(super) const ROTATED: &[u8] = b"!rotated";
/// The tally of the records: see [`super::audit`].
pub(super) const TALLY: &[u8] = b"!tally";

/// Kinds of record.
pub(super) mod kind {
    pub(crate) const ACCOUNT: u8 = b'a';
    pub(crate) const CREDENTIALS: u8 = b'c';
    pub(crate) const DATA_KEY: u8 = b'd';
    pub(crate) const GENERATION: u8 = b'g';
    pub(crate) const CURSOR: u8 = b'k';
    pub(crate) const MONITOR: u8 = b'm';
    pub(crate) const SEGMENT: u8 = b'o';
    pub(crate) const PEER: u8 = b'p';
    pub(crate) const RESTART: u8 = b'r';
    pub(crate) const SESSION: u8 = b's';
    pub(crate) const TOMBSTONE: u8 = b't';
    pub(crate) const UPDATE_STATE: u8 = b'u';
    pub(crate) const JOB: u8 = b'w';
}

fn key(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

pub(super) fn session(id: &SessionId) -> Vec<u8> {
    key(kind::SESSION, id.0.as_bytes())
}

/// The key of an account's record of one `kind`.
pub(super) fn account(kind: u8, id: AuthKeyId) -> Vec<u8> {
    key(kind, &id.0.to_be_bytes())
}

/// The key of a chat's record of one `kind`.
pub(super) fn chat(kind: u8, chat: &ChatKey) -> Vec<u8> {
    key(kind, chat.0.as_bytes())
}

/// The key of a record of one `kind` that starts at a sequence number.
pub(super) fn seq(kind: u8, seq: u64) -> Vec<u8> {
    key(kind, &seq.to_be_bytes())
}

pub(super) fn data_key(epoch: u32) -> Vec<u8> {
    key(kind::DATA_KEY, &epoch.to_be_bytes())
}

/// The key of a generation of keys.
pub(super) fn generation(number: u32) -> Vec<u8> {
    key(kind::GENERATION, &number.to_be_bytes())
}

pub(super) fn job(id: Uuid) -> Vec<u8> {
    key(kind::JOB, id.as_bytes())
}

/// Negative numbers before positive ones.
fn ordered(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

pub(super) fn peer(account: AuthKeyId, peer: MarkedId) -> Vec<u8> {
    let mut key = self::account(kind::PEER, account);
    key.extend_from_slice(&ordered(peer.0));
    key
}

/// `number` tells apart what happened in one millisecond.
pub(super) fn restart(at: UnixMillis, number: u32) -> Vec<u8> {
    let mut key = key(kind::RESTART, &ordered(at.0));
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// All keys of one kind.
pub(super) fn all(kind: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![kind], vec![kind + 1])
}

/// All peers of an account.
pub(super) fn peers(account: AuthKeyId) -> (Vec<u8>, Vec<u8>) {
    let from = self::account(kind::PEER, account);
    let to = match account.0.checked_add(1) {
        Some(next) => self::account(kind::PEER, AuthKeyId(next)),
        None => vec![kind::PEER + 1],
    };
    (from, to)
}

/// The sequence number at the end of `key`.
pub(super) fn seq_of(key: &[u8]) -> Option<u64> {
    key.get(1..)?.try_into().ok().map(u64::from_be_bytes)
}

/// The account in the key of one of its records.
pub(super) fn account_of(key: &[u8]) -> Result<AuthKeyId, StoreError> {
    let cut = StoreError::Damaged { record: "account", detail: "its key is cut short" };
    seq_of(key).map(AuthKeyId).ok_or(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_of_one_account_lie_together_and_in_order() {
        for id in [AuthKeyId(0), AuthKeyId(0xff), AuthKeyId(u64::MAX)] {
            let (from, to) = peers(id);
            let mut before = from.clone();
            for raw in [i64::MIN, -1_000_000_000_001, -1, 0, 1, i64::MAX] {
                let key = peer(id, MarkedId(raw));
                assert!(before <= key && key < to, "{id:?} {raw}");
                before = key;
            }
            let other = peer(AuthKeyId(id.0.wrapping_add(1)), MarkedId(i64::MIN));
            assert!(other < from || other >= to);
        }
    }

    #[test]
    fn sequence_numbers_survive_their_keys() {
        for number in [0, 1, 255, 256, u64::MAX] {
            assert_eq!(seq_of(&seq(kind::SEGMENT, number)), Some(number));
        }
        assert_eq!(seq_of(b"o"), None);
    }
}
