//! Everything that can be written. Plain data.

use uuid::Uuid;

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::accounts::record::{AccountRecord, Credentials, SessionRecord};
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::bridge::job::JobRecord;
use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::campaigns::respect::{List, Refusal, Suppression, SuppressionId};
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::telegram::updates::{UpdateState, UpdateStateDelta};
use crate::protocol::tree::restart::RestartRecord;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};

use super::rows::{ExpiryNote, Row, RowId, RowWrite, Table, json_of};
use super::shared::{SharedRow, SharedTable, SharedWrite};

/// Lines of the restart ledger that are kept; older ones are deleted. At 250 bytes a line, 250 KiB.
pub const RESTARTS_KEPT: usize = 1000;

/// One write. Those of one commit take effect together, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a session.
    PutSession(SessionRecord),
    /// Deletes a session (not its account).
    DeleteSession(SessionId),
    /// Writes the open half of an account. One that had no record begins without an update state.
    PutAccount(AccountRecord),
    /// Replaces the open half of an account; ignored when the account has no record, so that an account
    /// that is removed does not come back through a late write.
    UpdateAccount(AccountRecord),
    /// Deletes an account: its record, credentials, update state and peers.
    DeleteAccount(AuthKeyId),
    /// Seals and writes an account's credentials.
    PutCredentials(Credentials),
    /// Writes a monitor.
    PutMonitor(MonitorRecord),
    /// Deletes a monitor and its cursor.
    DeleteMonitor(ChatKey),
    /// Moves a monitor's cursor. A cursor lives and dies with its monitor: it is ignored when the
    /// chat has none (so put the monitor first).
    PutCursor {
        /// The monitor's chat.
        chat: ChatKey,
        /// Where it is now.
        cursor: Cursor,
    },
    /// Moves an account's update state; ignored when the account has no record. Not durable with its
    /// commit: it becomes so within about four seconds, and never before an event that was submitted
    /// earlier. Losing it only makes Telegram repeat updates that the cursors recognise.
    MoveUpdateState {
        /// The account.
        account: AuthKeyId,
        /// The move.
        delta: UpdateStateDelta,
    },
    /// Replaces an account's update state; durable with its commit. Ignored when the account has no record.
    SetUpdateState {
        /// The account.
        account: AuthKeyId,
        /// The new state.
        state: UpdateState,
    },
    /// Writes peers that an account met; those that are known unchanged cost no write.
    PutPeers {
        /// The account.
        account: AuthKeyId,
        /// The peers.
        peers: Vec<PeerRecord>,
    },
    /// Writes a job.
    PutJob(JobRecord),
    /// Deletes a job.
    DeleteJob(Uuid),
    /// Adds a line to the restart ledger, which keeps the newest [`RESTARTS_KEPT`].
    PutRestart(RestartRecord),
    /// Writes a user's row: see [`Op::put_row`].
    PutRow(RowWrite),
    /// Deletes a user's row: see [`Op::delete_row`].
    DeleteRow {
        /// The table.
        table: Table,
        /// The user.
        owner: UserId,
        /// The row.
        id: RowId,
    },
    /// Deletes rows of a user whose ids begin alike: see [`Op::delete_rows`].
    DeleteRows {
        /// The table.
        table: Table,
        /// The user.
        owner: UserId,
        /// What their ids begin with.
        prefix: RowId,
    },
    /// Deletes a task and what belongs to it, some thousand records at the most: see `Store::delete_task`.
    DeleteTask {
        /// The user.
        owner: UserId,
        /// The task.
        task: TaskId,
    },
    /// Writes a row that belongs to no user: see [`Op::put_shared`].
    PutShared(SharedWrite),
    /// Deletes a row that belongs to no user: see [`Op::delete_shared`].
    DeleteShared {
        /// The table.
        table: SharedTable,
        /// The row.
        id: RowId,
    },
    /// Writes a refusal. The entry of the list that told of it before, if it is another one than now, is deleted: so
    /// nothing stays of somebody that no list shows.
    PutRefusal {
        /// On whose list it is.
        list: List,
        /// The refusal.
        refusal: Refusal,
    },
    /// Deletes a refusal with the entry of the list that tells of it, if it still is what it was when somebody decided
    /// that it is lifted; one that was renewed meanwhile stays.
    LiftRefusal {
        /// On whose list it is.
        list: List,
        /// The refusal, as it was read.
        refusal: Refusal,
    },
    /// Deletes the note that a row expires.
    DeleteExpiryNote(ExpiryNote),
    /// Everything up to this sequence number of the outbox was taken over by the reader for
    /// webhooks; the offset never goes back.
    Spool(u64),
    /// Deletes rows of a user, some thousand at the most. Shared rows stay.
    EraseRows(UserId),
    /// Deletes the lines of the restart ledger that name a user.
    ForgetRestarts(UserId),
    /// Marks a user who is being erased: see `Store::erase`.
    BeginErasure(Erasure),
    /// The user is erased.
    EndErasure(UserId),
    /// Deletes rows that have expired at this moment, some thousand at the most; shared rows by the clock of
    /// campaigns that is stored.
    Expire(UnixMillis),
    /// Adds an entry to the audit log.
    Audit(AuditEvent),
    /// Puts a pseudonym in a user's place in the audit log, in some thousand entries at the most.
    Pseudonymise {
        /// The user.
        user: UserId,
        /// What takes the place.
        pseudonym: String,
    },
    /// Lets entries of the audit log from before this moment go, some at a time.
    TrimAuditLog(UnixMillis),
    /// Writes what an account did in a day.
    PutDayCount(DayCount),
    /// Writes the flood waits of a person whose account is deleted.
    PutPersonWaits(PersonFloodWaits),
    /// Deletes them.
    DeletePersonWaits(i64),
    /// Appends to the outbox.
    Append(OutboxEntry),
}

impl Op {
    /// Writes a user's row.
    pub fn put_row<R: Row>(row: &R) -> Self {
        Self::PutRow(RowWrite::of(row))
    }

    /// Replaces a user's row; ignored when it is gone, so that what is deleted does not come back through a
    /// late write.
    pub fn update_row<R: Row>(row: &R) -> Self {
        let parent = Some((R::TABLE, row.id()));
        Self::PutRow(RowWrite { parent, ..RowWrite::of(row) })
    }

    /// Deletes a user's row.
    pub fn delete_row<R: Row>(owner: &UserId, id: impl Into<RowId>) -> Self {
        Self::DeleteRow { table: R::TABLE, owner: owner.clone(), id: id.into() }
    }

    /// Deletes all rows of a user whose ids begin with `prefix`.
    pub fn delete_rows<R: Row>(owner: &UserId, prefix: impl Into<RowId>) -> Self {
        Self::DeleteRows { table: R::TABLE, owner: owner.clone(), prefix: prefix.into() }
    }

    /// Writes a row that belongs to no user. Of some tables the writer keeps what is there: see [`SharedTable`].
    pub fn put_shared<R: SharedRow>(row: &R) -> Self {
        Self::PutShared(SharedWrite::of(row))
    }

    /// Deletes a row that belongs to no user.
    pub fn delete_shared<R: SharedRow>(id: impl Into<RowId>) -> Self {
        Self::DeleteShared { table: R::TABLE, id: id.into() }
    }

    /// Writes an entry of the list that it names, and the refusal that is looked up.
    pub fn refuse(entry: &Suppression, installation_key: &[u8; 32]) -> [Self; 2] {
        let (list, refusal) = (entry.list.clone(), entry.refusal(installation_key));
        [Self::PutRefusal { list, refusal }, Self::put_suppression(entry)]
    }

    /// Writes an entry of the list that it names: a user's own or the installation's.
    pub fn put_suppression(entry: &Suppression) -> Self {
        let (id, json) = (entry.id.into(), json_of(entry));
        match &entry.list {
            List::User(user) => Self::PutRow(RowWrite {
                table: Table::Suppression,
                owner: user.clone(),
                id,
                json,
                expires_at: None,
                parent: None,
                mark: None,
            }),
            List::Installation => {
                let table = SharedTable::InstallationSuppression;
                Self::PutShared(SharedWrite { table, id, json, expires_at: None })
            }
        }
    }

    /// Deletes an entry of a list. The refusal that is looked up is a row of its own.
    pub fn delete_suppression(list: &List, id: SuppressionId) -> Self {
        let id = id.into();
        match list {
            List::User(user) => {
                Self::DeleteRow { table: Table::Suppression, owner: user.clone(), id }
            }
            List::Installation => {
                Self::DeleteShared { table: SharedTable::InstallationSuppression, id }
            }
        }
    }

    /// About how many bytes it holds while it waits, for the bound of the queue.
    pub(in crate::store) fn weight(&self) -> usize {
        const SMALL: usize = 128;
        match self {
            Self::Append(entry) => SMALL + entry.body.len(),
            Self::PutPeers { peers, .. } => SMALL + size_of_val(&peers[..]),
            Self::PutMonitor(record) => SMALL + 64 * (record.ordered.len() + record.pool.len()),
            Self::SetUpdateState { state, .. } => SMALL + 16 * state.channels.len(),
            Self::MoveUpdateState { delta, .. } => SMALL + size_of_val(&delta.channels[..]),
            Self::PutCredentials(_) | Self::PutAccount(_) | Self::UpdateAccount(_) => 4 * SMALL,
            Self::Audit(_) => 6 * SMALL,
            Self::PutRow(row) => SMALL + row.id.0.len() + row.json.len(),
            Self::PutShared(row) => SMALL + row.id.0.len() + row.json.len(),
            _ => SMALL,
        }
    }
}
