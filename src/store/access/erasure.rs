//! Erasing a user, piece by piece, so that no commit of others waits for long: a mark first, then
//! everything that is stored of the user, the mark last. A crash may come anywhere: what has a mark is
//! erased to its end when the store is opened next, before anybody reads it. Owns the order of an erasure;
//! the caller ensures that nothing new of the user is written meanwhile. What belongs to no user stays: who
//! refuses to be contacted, when people were reached, what accounts have done. None of it names the user.

use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::accounts::record::SessionRecord;
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::users::owner::{Scope, UserId};
use crate::protocol::values::ids::AuthKeyId;

use super::reader::Reader;
use super::store::Store;
use crate::store::contract::{Op, StoreError};
use crate::store::engines::collect;
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind};
use crate::store::records::erasure::{self, RECORDS_PER_COMMIT};

impl Reader {
    /// The users whose erasing has begun and is not through.
    ///
    /// # Errors
    /// When the disk fails, or a mark cannot be read.
    pub fn erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        let (from, to) = layout::all(kind::ERASURE);
        self.range(&from, &to, usize::MAX, |bytes| encoding::from_json("erasure", bytes))
    }

    /// How many entries the next piece pseudonymises.
    fn count_index(&self, user: &UserId) -> Result<u64, StoreError> {
        let (from, to) = layout::rows(kind::AUDIT_INDEX, user, &[]);
        Ok(collect(&*self.shared.engine, &from, &to, RECORDS_PER_COMMIT)?.len() as u64)
    }
}

impl Store {
    /// Goes on with every erasing, and every removal of a task, that a crash came into. Before anything is read
    /// for a start.
    ///
    /// # Errors
    /// When the store fails; it goes on from there at the next start.
    pub async fn finish_erasures(&self) -> Result<(), StoreError> {
        for erasure in self.read(|store| store.erasures()).await? {
            tracing::warn!("goes on erasing a user, which was not through when the daemon ended");
            self.erase(&erasure).await?;
        }
        self.finish_task_removals().await
    }

    /// Erases everything of a user, of whom nothing may be written any more. What is begun is marked
    /// durably before the first record goes. Returns how many entries of the audit log were
    /// pseudonymised.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn erase(&self, erasure: &Erasure) -> Result<u64, StoreError> {
        self.mark_erasure(erasure).await?;
        let user = &erasure.user;
        self.erase_monitors(user).await?;
        self.erase_accounts(user).await?;
        while self.is_left(user, kind::of_users().collect()).await? {
            self.erase_some(vec![Op::EraseRows(user.clone())]).await?;
        }
        self.erase_notes(erasure).await?;
        self.erase_some(vec![Op::ForgetRestarts(user.clone())]).await?;
        let count = self.pseudonymise_audit_log(erasure).await?;
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
            let keys = self.monitor_keys(&scope, None, RECORDS_PER_COMMIT);
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
        let query = move |store: &Reader| {
            let mut owned = Vec::new();
            for account in store.rows::<OwnedAccount>(&owner, None, None, usize::MAX)? {
                let record = store.account(account.key)?;
                let waits = record.map(|record| record.flood_waits).unwrap_or_default();
                owned.push((account, waits));
            }
            let sessions = store.all_json::<SessionRecord>(kind::SESSION)?;
            let shared: Vec<AuthKeyId> = sessions.into_iter().map(|one| one.account).collect();
            Ok((owned, shared))
        };
        let (owned, shared) = self.read(query).await?;
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
            let query =
                move |store: &Reader| erasure::expiry_notes(&*store.shared.engine, &of, &from);
            let notes = self.read(query).await?;
            let Some(last) = notes.last().cloned() else { return Ok(()) };
            self.erase_some(notes.into_iter().map(Op::DeleteExpiryNote).collect()).await?;
            from = last.0;
        }
    }

    async fn pseudonymise_audit_log(&self, erasure: &Erasure) -> Result<u64, StoreError> {
        let mut count = 0;
        while self.is_left(&erasure.user, vec![kind::AUDIT_INDEX]).await? {
            let user = erasure.user.clone();
            let (of, pseudonym) = (user.clone(), erasure.pseudonym.to_string());
            count += self.read(move |store| store.count_index(&of)).await?;
            self.erase_some(vec![Op::Pseudonymise { user, pseudonym }]).await?;
        }
        Ok(count)
    }

    /// Whether there are still keys of these kinds that begin with `user`.
    async fn is_left(&self, user: &UserId, kinds: Vec<u8>) -> Result<bool, StoreError> {
        let user = user.clone();
        let query = move |store: &Reader| {
            for kind in kinds {
                if erasure::is_any(&*store.shared.engine, &layout::rows(kind, &user, &[]))? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        self.read(query).await
    }
}
