//! The key of each record: one byte for its kind, then a key that sorts as its kind is read. Owns
//! the key space; never looks at values. (0xff belongs to the engine on disk.)

use uuid::Uuid;

use crate::protocol::telegram::chat::{ChatKey, MarkedId};
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};

use crate::store::contract::{RowId, StoreError, ordered};

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
    use crate::store::contract::{SharedTable, Table};

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
    /// Sealed, because of its texts.
    pub(crate) const TASK: u8 = b'K';
    /// What is kept in clear beside tasks: a byte that tells their status.
    pub(crate) const TASK_MARK: u8 = b'J';
    pub(crate) const TASK_RUN: u8 = b'R';
    /// Sealed, because of the names in it.
    pub(crate) const TARGET_BLOCK: u8 = b'B';
    pub(crate) const STATUS_PAGE: u8 = b'S';
    pub(crate) const ATTEMPT: u8 = b'L';
    /// Sealed, because of whom it names.
    pub(crate) const SUPPRESSION: u8 = b'X';
    /// What campaigns made under an idempotency key.
    pub(crate) const CREATION: u8 = b'D';
    pub(crate) const IMPORT: u8 = b'V';
    pub(crate) const USE_COUNT: u8 = b'U';
    pub(crate) const ACTOR: u8 = b'H';
    pub(crate) const CONTACTED: u8 = b'M';
    pub(crate) const REFUSAL: u8 = b'F';
    /// Sealed, because of whom it names.
    pub(crate) const INSTALLATION_SUPPRESSION: u8 = b'G';
    pub(crate) const CAMPAIGN_CLOCK: u8 = b'Z';
    /// Sealed.
    pub(crate) const INSTALLATION_KEY: u8 = b'Y';
    /// Notes of rows that expire on the steady timeline of campaigns, by the hour.
    pub(crate) const STEADY_EXPIRY: u8 = b'z';

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
            Table::Task => TASK,
            Table::TaskRun => TASK_RUN,
            Table::TargetBlock => TARGET_BLOCK,
            Table::StatusPage => STATUS_PAGE,
            Table::Attempt => ATTEMPT,
            Table::Suppression => SUPPRESSION,
            Table::Creation => CREATION,
            Table::Import => IMPORT,
        }
    }

    /// The kind of what is kept in clear beside the rows of a table, for tables that have it.
    pub(crate) const fn of_marks(table: Table) -> Option<u8> {
        match table {
            Table::Task => Some(TASK_MARK),
            _ => None,
        }
    }

    /// All kinds whose keys begin with a user: what goes with the user.
    pub(crate) fn of_users() -> impl Iterator<Item = u8> {
        let marks = Table::ALL.into_iter().filter_map(of_marks);
        Table::ALL.into_iter().map(of).chain(marks)
    }

    /// The kind of the rows of a table that belongs to no user.
    pub(crate) const fn of_shared(table: SharedTable) -> u8 {
        match table {
            SharedTable::UseCount => USE_COUNT,
            SharedTable::Actor => ACTOR,
            SharedTable::Contacted => CONTACTED,
            SharedTable::Refusal => REFUSAL,
            SharedTable::InstallationSuppression => INSTALLATION_SUPPRESSION,
            SharedTable::CampaignClock => CAMPAIGN_CLOCK,
            SharedTable::InstallationKey => INSTALLATION_KEY,
        }
    }
}

/// Every kind of record that is sealed as a whole: what a rotation walks over and what
/// `telewarden check` opens. A new sealed kind needs its line here and a new number of the format
/// (`FORMAT` in this room says why).
pub(in crate::store) const SEALED_KINDS: &[(u8, &str)] = &[
    (kind::CREDENTIALS, "credentials"),
    (kind::DATA_KEY, "data key"),
    (kind::LOGIN, "login"),
    (kind::LOGIN_WAIT, "login wait"),
    (kind::WEBHOOK, "webhook"),
    (kind::DELIVERY, "delivery"),
    (kind::DEAD_DELIVERY, "dead delivery"),
    (kind::TASK, "task"),
    (kind::TARGET_BLOCK, "target block"),
    (kind::SUPPRESSION, "suppression"),
    (kind::INSTALLATION_SUPPRESSION, "installation suppression"),
    (kind::INSTALLATION_KEY, "installation key"),
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
    beginning_with(row(kind, owner, prefix))
}

/// The owner and the id in the key of a row.
pub(in crate::store) fn owner_and_id(key: &[u8]) -> Option<(UserId, RowId)> {
    let (length, rest) = key.get(1..)?.split_first()?;
    let (owner, id) = rest.split_at_checked(usize::from(*length))?;
    let owner = UserId::new(std::str::from_utf8(owner).ok()?).ok()?;
    Some((owner, RowId(id.to_vec())))
}

/// A row that belongs to no user.
pub(in crate::store) fn shared(kind: u8, id: &[u8]) -> Vec<u8> {
    key(kind, id)
}

/// Rows of one `kind` that belong to no user and whose ids begin with `prefix`.
pub(in crate::store) fn shared_rows(kind: u8, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    beginning_with(key(kind, prefix))
}

/// All keys that begin with `from`, which begins with a kind.
fn beginning_with(from: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
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
    [&expiry_hour(kind::EXPIRY, at), row].concat()
}

/// The same on the steady timeline of campaigns.
pub(in crate::store) fn steady_expiry(at: UnixMillis, row: &[u8]) -> Vec<u8> {
    [&expiry_hour(kind::STEADY_EXPIRY, at), row].concat()
}

/// Where the notes of one `kind` and of the hour of `at` begin.
pub(in crate::store) fn expiry_hour(kind: u8, at: UnixMillis) -> Vec<u8> {
    key(kind, &ordered(at.0.div_euclid(60 * 60 * 1_000)))
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
        kind::TASK_MARK => "task mark",
        _ => "restart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{SharedTable, Table};

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
    fn kinds_are_told_apart_and_each_sealed_table_is_among_the_sealed_kinds() {
        let shared = SharedTable::ALL.map(kind::of_shared);
        let mut kinds: Vec<u8> = kind::of_users().chain(shared).collect();
        let count = kinds.len();
        kinds.extend([kind::EXPIRY, kind::STEADY_EXPIRY, kind::SEGMENT, kind::PEER]);
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), count + 4);
        let is_sealed = |kind| SEALED_KINDS.iter().any(|(sealed, _)| *sealed == kind);
        for table in Table::ALL {
            assert_eq!(is_sealed(kind::of(table)), table.is_sealed(), "{table:?}");
        }
        for table in SharedTable::ALL {
            assert_eq!(is_sealed(kind::of_shared(table)), table.is_sealed(), "{table:?}");
        }
    }

    /// What a program of this format seals. Whoever adds a kind here raises `FORMAT` (which says why), and this
    /// test with it.
    #[test]
    fn a_new_sealed_kind_comes_with_a_new_format() {
        let kinds: Vec<u8> = SEALED_KINDS.iter().map(|(kind, _)| *kind).collect();
        assert_eq!((crate::store::format::FORMAT, &kinds[..]), (4, &b"cdlfhvxKBXGY"[..]));
        let of_users: Vec<u8> = kind::of_users().collect();
        assert_eq!(&of_users[..], b"ACIlfhvxKRBSLXDVJ");
    }

    #[test]
    fn owner_and_id_are_read_back_from_a_key() {
        let user = UserId::new("ab").unwrap();
        let key = row(kind::TASK, &user, b"id");
        assert_eq!(owner_and_id(&key), Some((user, RowId(b"id".to_vec()))));
        assert_eq!((owner_and_id(b"K"), owner_and_id(b"K\x05ab")), (None, None));
    }

    #[test]
    fn sequence_numbers_survive_their_keys() {
        for number in [0, 1, 255, 256, u64::MAX] {
            assert_eq!(seq_of(&seq(kind::SEGMENT, number)), Some(number));
        }
        assert_eq!(seq_of(b"o"), None);
    }
}
