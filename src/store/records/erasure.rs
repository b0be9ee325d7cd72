//! Deleting what is stored of a user outside of accounts and monitors. Owns which records name a user; the
//! order of an erasure is in `access/erasure.rs`. Rows that belong to no user stay: a refusal outlives the user
//! who wrote it down.

use crate::protocol::answers::erasure::Erasure;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::tree::restart::{ChildKind, RestartRecord};
use crate::protocol::users::owner::UserId;

use crate::store::contract::{ExpiryNote, StoreError};
use crate::store::engines::{Engine, WriteBatch, collect};
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind};

/// Records that go with one commit: some milliseconds of the writer's time. Tests have more pieces.
pub(in crate::store) const RECORDS_PER_COMMIT: usize = if cfg!(test) { 20 } else { 1_000 };

/// Adds to `batch` the deletion of up to [`RECORDS_PER_COMMIT`] rows of `owner`.
pub(in crate::store) fn delete_rows(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    owner: &UserId,
) -> Result<(), StoreError> {
    let mut left = RECORDS_PER_COMMIT;
    for kind in kind::of_users() {
        delete_some(batch, engine, &layout::rows(kind, owner, &[]), &mut left)?;
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// Adds to `batch` the deletion of what it was to write in `from..to`, and of up to `left` records there; `left`
/// becomes how many more may go.
pub(super) fn delete_some(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    (from, to): &(Vec<u8>, Vec<u8>),
    left: &mut usize,
) -> Result<(), StoreError> {
    let written = batch.writes.range(from.clone()..to.clone());
    let mut keys: Vec<Vec<u8>> = written.map(|(key, _)| key.clone()).collect();
    keys.extend(collect(engine, from, to, *left)?.into_iter().map(|(key, _)| key));
    *left = left.saturating_sub(keys.len());
    keys.into_iter().for_each(|key| batch.delete(key));
    Ok(())
}

/// Adds to `batch` the deletion of the lines of the restart ledger that name `user`; returns their keys.
pub(in crate::store) fn delete_restarts(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    user: &UserId,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let (from, to) = layout::all(kind::RESTART);
    let mut gone = Vec::new();
    for (key, line) in collect(engine, &from, &to, usize::MAX)? {
        let line: RestartRecord = encoding::from_json("restart", &line)?;
        if names_user(&line, user) {
            batch.delete(key.clone());
            gone.push(key);
        }
    }
    Ok(gone)
}

/// Whether a line of the restart ledger is about a monitor of `user`, or about what chooses who acts for their
/// campaigns. No other line names a user.
pub fn names_user(line: &RestartRecord, user: &UserId) -> bool {
    let named = |kind: ChildKind| line.actor.strip_prefix(kind.name())?.strip_prefix('/');
    let monitor = named(ChildKind::Monitor).map(|key| ChatKey(key.to_owned()));
    monitor.is_some_and(|key| key.parts().1 == Some(user.as_str()))
        || named(ChildKind::Allocator) == Some(user.as_str())
}

/// Whether there is anything in `from..to`.
pub(in crate::store) fn is_any(
    engine: &dyn Engine,
    (from, to): &(Vec<u8>, Vec<u8>),
) -> Result<bool, StoreError> {
    Ok(!collect(engine, from, to, 1)?.is_empty())
}

/// Notes that a row of the user expires: up to [`RECORDS_PER_COMMIT`] of them, from the key `from` on.
pub(in crate::store) fn expiry_notes(
    engine: &dyn Engine,
    erasure: &Erasure,
    from: &[u8],
) -> Result<Vec<ExpiryNote>, StoreError> {
    let (_, to) = layout::all(kind::EXPIRY);
    let rows = kind::of_users().map(|kind| layout::row(kind, &erasure.user, &[]));
    let own: Vec<Vec<u8>> = rows.collect();
    let mut notes = Vec::new();
    engine.scan(from, &to, &mut |note, _| {
        let row = layout::expiring_row(note).unwrap_or_default();
        if own.iter().any(|prefix| row.starts_with(prefix)) {
            notes.push(ExpiryNote(note.to_vec()));
        }
        notes.len() < RECORDS_PER_COMMIT
    })?;
    Ok(notes)
}
