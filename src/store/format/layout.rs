//! The key of each record: one byte for its kind, then a key that sorts as its kind is read. Owns
//! the key space; never looks at values. (0xff belongs to the engine on disk.)

use uuid::Uuid;

use crate::protocol::telegram::chat::{ChatKey, MarkedId};
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};

use crate::store::contract::{StoreError, ordered};

/// The store's format number.
pub(in crate::store) const FORMAT: &[u8] = b"!format";
/// Sealed with the root of a store that had no generations of keys yet, to recognise another root;
/// gone once nothing is sealed with it any more.
pub(in crate::store) const KEY_CHECK: &[u8] = b"!key-check";
/// The acknowledged offset: everything up to this sequence number has left the outbox.
pub(in crate::store) const ACKNOWLEDGED: &[u8] = b"!released";
/// Everything up to this sequence number was taken over for webhooks; missing as long as nobody did.
pub(in crate::store) const SPOOLED: &[u8] = b"!spooled";
/// Cursors moved before this sequence number have records of their own.
pub(in crate::store) const CHECKPOINT: &[u8] = b"!checkpoint";

/// When a rotation of the keys was last through.
pub(in crate::store) const ROTATED: &[u8] = b"!rotated";
/// The integrity checksum of the records: see [`crate::store::integrity`].
pub(in crate::store) const CHECKSUM: &[u8] = b"!tally";

/// The last entry of the audit log that was trimmed.
pub(in crate::store) const TRIMMED: &[u8] = b"!trimmed";

/// Kinds of record.
pub(in crate::store) mod kind {
    use crate::store::contract::Table;

    pub(crate) const ACCOUNT: u8 = b'a';
    pub(crate) const OWNED_ACCOUNT: u8 = b'A';
    pub(crate) const CHAT: u8 = b'C';
    pub(crate) const SEND: u8 = b'I';
    pub(crate) const DAY_COUNT: u8 = b'N';
    pub(crate) const PERSON_WAITS: u8 = b'W';
    /// Users who are being erased.
    pub(crate) const ERASURE: u8 = b'E';
    /// Notes of rows that expire, by the hour.
    pub(crate) const EXPIRY: u8 = b'e';
    /// Sealed.
    pub(crate) const LOGIN: u8 = b'l';
    /// Sealed, because of whom it names.
    pub(crate) const LOGIN_WAIT: u8 = b'f';
    /// Sealed, because of its secret.
    pub(crate) const WEBHOOK: u8 = b'h';
    /// Sealed, because of the text in it.
    pub(crate) const DELIVERY: u8 = b'v';
    /// Sealed, because of the text in it.
    pub(crate) const DEAD_DELIVERY: u8 = b'x';
    /// The chain of the audit log.
    pub(crate) const AUDIT_CHAIN: u8 = b'T';
    /// The personal halves of its entries.
    pub(crate) const AUDIT_PERSONS: u8 = b'P';
    /// Its entries by user.
    pub(crate) const AUDIT_INDEX: u8 = b'Q';
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

    /// The kind of the rows of a table.
    pub(crate) const fn of(table: Table) -> u8 {
        match table {
            Table::OwnedAccount => OWNED_ACCOUNT,
            Table::AttachedChat => CHAT,
            Table::Send => SEND,
            Table::Login => LOGIN,
            Table::LoginFloodWait => LOGIN_WAIT,
            Table::Webhook => WEBHOOK,
            Table::Delivery => DELIVERY,
            Table::DeadDelivery => DEAD_DELIVERY,
        }
    }
}

/// Every kind of record that is sealed as a whole: what a rotation walks over and what
/// `telewarden check` opens. A new sealed kind needs nothing more than its line here.
pub(in crate::store) const SEALED_KINDS: &[(u8, &str)] = &[
    (kind::CREDENTIALS, "credentials"),
    (kind::DATA_KEY, "data key"),
    (kind::LOGIN, "login"),
    (kind::LOGIN_WAIT, "login wait"),
    (kind::WEBHOOK, "webhook"),
    (kind::DELIVERY, "delivery"),
    (kind::DEAD_DELIVERY, "dead delivery"),
];

fn key(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

pub(in crate::store) fn session(id: &SessionId) -> Vec<u8> {
    key(kind::SESSION, id.0.as_bytes())
}

/// The key of an account's record of one `kind`.
pub(in crate::store) fn account(kind: u8, id: AuthKeyId) -> Vec<u8> {
    key(kind, &id.0.to_be_bytes())
}

/// The key of a chat's record of one `kind`.
pub(in crate::store) fn chat(kind: u8, chat: &ChatKey) -> Vec<u8> {
    key(kind, chat.0.as_bytes())
}

/// The key of a record of one `kind` that starts at a sequence number.
pub(in crate::store) fn seq(kind: u8, seq: u64) -> Vec<u8> {
    key(kind, &seq.to_be_bytes())
}

pub(in crate::store) fn data_key(epoch: u32) -> Vec<u8> {
    key(kind::DATA_KEY, &epoch.to_be_bytes())
}

/// The key of a generation of keys.
pub(in crate::store) fn generation(number: u32) -> Vec<u8> {
    key(kind::GENERATION, &number.to_be_bytes())
}

pub(in crate::store) fn job(id: Uuid) -> Vec<u8> {
    key(kind::JOB, id.as_bytes())
}

pub(in crate::store) fn peer(account: AuthKeyId, peer: MarkedId) -> Vec<u8> {
    let mut key = self::account(kind::PEER, account);
    key.extend_from_slice(&ordered(peer.0));
    key
}

/// `number` tells apart what happened in one millisecond.
pub(in crate::store) fn restart(at: UnixMillis, number: u32) -> Vec<u8> {
    let mut key = key(kind::RESTART, &ordered(at.0));
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// A row of a user. The user's length comes first, so that no user's rows sort among another's.
pub(in crate::store) fn row(kind: u8, owner: &UserId, id: &[u8]) -> Vec<u8> {
    let owner = owner.as_str().as_bytes();
    let mut key = Vec::with_capacity(2 + owner.len() + id.len());
    // User ids have at most 128 bytes.
    key.extend_from_slice(&[kind, owner.len() as u8]);
    key.extend_from_slice(owner);
    key.extend_from_slice(id);
    key
}

/// A user's rows of one `kind` whose ids begin with `prefix`.
pub(in crate::store) fn rows(kind: u8, owner: &UserId, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let from = row(kind, owner, prefix);
    let mut to = from.clone();
    // The kind is below 0xff, so there is always a byte to raise.
    while to.last() == Some(&0xff) {
        to.pop();
    }
    if let Some(last) = to.last_mut() {
        *last += 1;
    }
    (from, to)
}

/// A record of one `kind` of the entry `number` of the audit log; newer ones sort first.
pub(in crate::store) fn audit_entry(kind: u8, number: u64) -> Vec<u8> {
    key(kind, &(!number).to_be_bytes())
}

/// Notes that the entry `number` is about `user`.
pub(in crate::store) fn audit_index(user: &UserId, number: u64) -> Vec<u8> {
    row(kind::AUDIT_INDEX, user, &(!number).to_be_bytes())
}

/// The entry's number at the end of either key.
pub(in crate::store) fn audit_number(key: &[u8]) -> u64 {
    !key.last_chunk::<8>().map_or(u64::MAX, |number| u64::from_be_bytes(*number))
}

/// What an account did in its newest day.
pub(in crate::store) fn day_count(telegram_id: i64) -> Vec<u8> {
    key(kind::DAY_COUNT, &ordered(telegram_id))
}

/// What a person has to wait for who has no account here any more.
pub(in crate::store) fn person_waits(telegram_id: i64) -> Vec<u8> {
    key(kind::PERSON_WAITS, &ordered(telegram_id))
}

/// Notes that the row at `row` expires in the hour of `at`.
pub(in crate::store) fn expiry(at: UnixMillis, row: &[u8]) -> Vec<u8> {
    let mut key = expiry_hour(at);
    key.extend_from_slice(row);
    key
}

/// Where the notes of the hour of `at` begin.
pub(in crate::store) fn expiry_hour(at: UnixMillis) -> Vec<u8> {
    key(kind::EXPIRY, &ordered(at.0.div_euclid(60 * 60 * 1_000)))
}

/// The row that such a note is about.
pub(in crate::store) fn expiring_row(note: &[u8]) -> Option<&[u8]> {
    note.get(9..)
}

/// All keys of one kind.
pub(in crate::store) fn all(kind: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![kind], vec![kind + 1])
}

/// All peers of an account.
pub(in crate::store) fn peers(account: AuthKeyId) -> (Vec<u8>, Vec<u8>) {
    let from = self::account(kind::PEER, account);
    let to = match account.0.checked_add(1) {
        Some(next) => self::account(kind::PEER, AuthKeyId(next)),
        None => vec![kind::PEER + 1],
    };
    (from, to)
}

/// The sequence number at the end of `key`.
pub(in crate::store) fn seq_of(key: &[u8]) -> Option<u64> {
    key.get(1..)?.try_into().ok().map(u64::from_be_bytes)
}

/// The account in the key of one of its records.
pub(in crate::store) fn account_of(key: &[u8]) -> Result<AuthKeyId, StoreError> {
    let cut = StoreError::Damaged { record: "account", detail: "its key is cut short" };
    seq_of(key).map(AuthKeyId).ok_or(cut)
}

/// What a record of one `kind` is called in errors.
pub(in crate::store) fn record_name(kind: u8) -> &'static str {
    match kind {
        kind::SESSION => "session",
        kind::ACCOUNT => "account",
        kind::MONITOR => "monitor",
        kind::JOB => "job",
        kind::ERASURE => "erasure",
        _ => "restart",
    }
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
    fn rows_of_one_user_lie_together_and_apart_from_others() {
        let user = |id: &str| UserId::new(id).unwrap();
        let (from, to) = rows(kind::SEND, &user("ab"), b"");
        for id in [&b""[..], b"\0", b"\xff\xff\xff"] {
            let own = row(kind::SEND, &user("ab"), id);
            assert!(from <= own && own < to, "{id:?}");
        }
        for other in ["a", "abc", "b", "ab\u{10ffff}", "aa", "ac"] {
            for id in [&b""[..], b"b", b"\xff\xff"] {
                let key = row(kind::SEND, &user(other), id);
                assert!(key < from || key >= to, "{other} {id:?}");
            }
        }
        let (from, to) = rows(kind::SEND, &user("ab"), b"\xff\xff");
        let own = row(kind::SEND, &user("ab"), b"\xff\xff\xff");
        assert!(from <= own && own < to);
    }

    #[test]
    fn sequence_numbers_survive_their_keys() {
        for number in [0, 1, 255, 256, u64::MAX] {
            assert_eq!(seq_of(&seq(kind::SEGMENT, number)), Some(number));
        }
        assert_eq!(seq_of(b"o"), None);
    }
}
