//! Erasing a user, piece by piece, so that no commit of others waits for long: a mark first, then
//! everything that is kept of the user, the mark last. A crash may come anywhere: what has a mark is
//! erased to its end when the store is opened next, before anybody looks into it. Owns what belongs to a
//! user on disk; whoever calls sees to it that nothing new of the user is written meanwhile.

use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::accounts::record::SessionRecord;
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::tree::restart::ChildKind;
use crate::protocol::tree::restart::RestartRecord;
use crate::protocol::users::owner::{Scope, UserId};
use crate::protocol::values::ids::AuthKeyId;

use super::engine::{Batch, Engine, collect};
use super::error::StoreError;
use super::layout::{self, kind};
use super::rows::TABLES;
use super::{Op, Reader, Store, records};

/// Records that go with one commit: some milliseconds of the writer's time. Tests have more pieces.
pub(super) const PIECE: usize = if cfg!(test) { 20 } else { 1_000 };

/// Adds to `batch` the end of up to [`PIECE`] rows of `owner`.
pub(super) fn forget_rows(
    batch: &mut Batch,
    engine: &dyn Engine,
    owner: &UserId,
) -> Result<(), StoreError> {
    let mut left = PIECE;
    for table in TABLES {
        let (from, to) = layout::rows(table.kind, owner, &[]);
        let written = batch.writes.range(from.clone()..to.clone());
        let mut keys: Vec<Vec<u8>> = written.map(|(key, _)| key.clone()).collect();
        keys.extend(collect(engine, &from, &to, left)?.into_iter().map(|(key, _)| key));
        left = left.saturating_sub(keys.len());
        keys.into_iter().for_each(|key| batch.delete(key));
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// Adds to `batch` the end of the lines of the restart ledger that name `user`; answers their keys.
pub(super) fn forget_restarts(
    batch: &mut Batch,
    engine: &dyn Engine,
    user: &UserId,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let (from, to) = layout::all(kind::RESTART);
    let mut gone = Vec::new();
    for (key, line) in collect(engine, &from, &to, usize::MAX)? {
        let line: RestartRecord = records::from_json("restart", &line)?;
        if names_user(&line, user) {
            batch.delete(key.clone());
            gone.push(key);
        }
    }
    Ok(gone)
}

/// Whether a line of the restart ledger is about a monitor of `user`. No other line names a user.
pub fn names_user(line: &RestartRecord, user: &UserId) -> bool {
    let monitor = line.actor.strip_prefix(ChildKind::Monitor.name());
    let key = monitor.and_then(|rest| rest.strip_prefix('/')).map(|key| ChatKey(key.to_owned()));
    key.is_some_and(|key| key.parts().1 == Some(user.as_str()))
}

/// Whether anything lies in `from..to`.
fn is_any(engine: &dyn Engine, (from, to): &(Vec<u8>, Vec<u8>)) -> Result<bool, StoreError> {
    Ok(!collect(engine, from, to, 1)?.is_empty())
}

/// Notes, up to [`PIECE`] of them from `from` on, that something of a user goes in some hour.
fn expiry_notes(
    engine: &dyn Engine,
    erasure: &Erasure,
    from: &[u8],
) -> Result<Vec<Vec<u8>>, StoreError> {
    let (_, to) = layout::all(kind::EXPIRY);
    let rows = TABLES.iter().map(|table| layout::row(table.kind, &erasure.user, &[]));
    let own: Vec<Vec<u8>> = rows.collect();
    let mut notes = Vec::new();
    engine.scan(from, &to, &mut |note, _| {
        let row = layout::expiring_row(note).unwrap_or_default();
        if own.iter().any(|prefix| row.starts_with(prefix)) {
            notes.push(note.to_vec());
        }
        notes.len() < PIECE
    })?;
    Ok(notes)
}

impl Reader {
    /// The users whose erasing has begun and is not through.
    ///
    /// # Errors
    /// When the disk fails, or a mark cannot be read.
    pub fn erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        let (from, to) = layout::all(kind::ERASURE);
        self.range(&from, &to, usize::MAX, |bytes| records::from_json("erasure", bytes))
    }

    /// How many entries the next piece pseudonymises.
    fn count_index(&self, user: &UserId) -> Result<u64, StoreError> {
        let (from, to) = layout::rows(kind::TRAIL_INDEX, user, &[]);
        Ok(collect(&*self.shared.engine, &from, &to, PIECE)?.len() as u64)
    }
}

impl Store {
    /// Goes on with every erasing that a crash came into. Before anything is read for a start.
    ///
    /// # Errors
    /// When the store fails; it goes on from there at the next start.
    pub async fn finish_erasures(&self) -> Result<(), StoreError> {
        for erasure in self.read(|store| store.erasures()).await? {
            tracing::warn!("goes on erasing a user, which was not through when the daemon ended");
            self.erase(&erasure).await?;
        }
        Ok(())
    }

    /// Erases everything of a user, of whom nothing may be written any more. What is begun is marked
    /// durably before the first record goes. Answers how many entries of the audit log were
    /// pseudonymised.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn erase(&self, erasure: &Erasure) -> Result<u64, StoreError> {
        self.mark_erasure(erasure).await?;
        let user = &erasure.user;
        self.erase_monitors(user).await?;
        self.erase_accounts(user).await?;
        while self.is_left(user, TABLES.map(|table| table.kind)).await? {
            self.erase_some(vec![Op::EraseRows(user.clone())]).await?;
        }
        self.erase_notes(erasure).await?;
        self.erase_some(vec![Op::ForgetRestarts(user.clone())]).await?;
        let count = self.erase_trail(erasure).await?;
        let last = vec![Op::EndErasure(user.clone()), Op::Audit(erasure.audit_event())];
        self.erase_some(last).await?;
        Ok(count)
    }

    /// Notes durably that a user is being erased: from here on it comes to its end, whatever happens.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn mark_erasure(&self, erasure: &Erasure) -> Result<(), StoreError> {
        self.erase_some(vec![Op::BeginErasure(erasure.clone())]).await
    }

    async fn erase_some(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        Ok(self.commit(ops).await?)
    }

    async fn erase_monitors(&self, user: &UserId) -> Result<(), StoreError> {
        let scope = Scope::Only(user.clone());
        loop {
            let keys = self.monitor_keys(&scope, None, PIECE);
            if keys.is_empty() {
                return Ok(());
            }
            self.erase_some(keys.into_iter().map(Op::DeleteMonitor).collect()).await?;
        }
    }

    /// Accounts with their sessions, each in a commit of its own: its peers may be many. A session that
    /// a command of the bridge brought, too, stays for the bridge.
    async fn erase_accounts(&self, user: &UserId) -> Result<(), StoreError> {
        let owner = user.clone();
        let look = move |store: &Reader| {
            let mut owned = Vec::new();
            for account in store.rows::<OwnedAccount>(&owner, None, None, usize::MAX)? {
                let record = store.account(account.key)?;
                let waits = record.map(|record| record.cooldowns).unwrap_or_default();
                owned.push((account, waits));
            }
            let sessions = store.all_json::<SessionRecord>(kind::SESSION)?;
            let shared: Vec<AuthKeyId> = sessions.into_iter().map(|one| one.account).collect();
            Ok((owned, shared))
        };
        let (owned, shared) = self.read(look).await?;
        for (account, waits) in owned {
            let mut ops = vec![Op::delete_row::<OwnedAccount>(user, account.id)];
            if !shared.contains(&account.key) {
                ops.push(Op::DeleteAccount(account.key));
                // What Telegram made the person wait for outlives the account.
                let person = PersonFloodWaits { telegram_id: account.telegram_id, waits };
                ops.extend((!person.waits.is_empty()).then_some(Op::PutPersonWaits(person)));
            }
            self.erase_some(ops).await?;
        }
        Ok(())
    }

    async fn erase_notes(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let (mut from, _) = layout::all(kind::EXPIRY);
        loop {
            let of = erasure.clone();
            let look = move |store: &Reader| expiry_notes(&*store.shared.engine, &of, &from);
            let notes = self.read(look).await?;
            let Some(last) = notes.last().cloned() else { return Ok(()) };
            self.erase_some(notes.into_iter().map(Op::DeleteRow).collect()).await?;
            from = last;
        }
    }

    async fn erase_trail(&self, erasure: &Erasure) -> Result<u64, StoreError> {
        let mut count = 0;
        while self.is_left(&erasure.user, [kind::TRAIL_INDEX]).await? {
            let user = erasure.user.clone();
            let (of, pseudonym) = (user.clone(), erasure.pseudonym.to_string());
            count += self.read(move |store| store.count_index(&of)).await?;
            self.erase_some(vec![Op::Pseudonymise { user, pseudonym }]).await?;
        }
        Ok(count)
    }

    /// Whether there are still keys of these kinds that begin with `user`.
    async fn is_left<const N: usize>(
        &self,
        user: &UserId,
        kinds: [u8; N],
    ) -> Result<bool, StoreError> {
        let user = user.clone();
        let look = move |store: &Reader| {
            for kind in kinds {
                if is_any(&*store.shared.engine, &layout::rows(kind, &user, &[]))? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        self.read(look).await
    }
}
