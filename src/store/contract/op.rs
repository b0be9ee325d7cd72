//! Everything that can be written. Plain data.

use uuid::Uuid;

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::accounts::record::{AccountRecord, Credentials, SessionRecord};
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::bridge::job::JobRecord;
use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::telegram::updates::{UpdateState, UpdateStateDelta};
use crate::protocol::tree::restart::RestartRecord;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};

use super::rows::{ExpiryNote, RowId, RowWrite, Table};

/// Lines of the restart ledger that are kept; older ones go. At 250 bytes a line, 250 KiB.
pub const RESTARTS_KEPT: usize = 1000;

/// One write. Those of one commit take effect together, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Keeps a session.
    PutSession(SessionRecord),
    /// Forgets a session (not its account).
    DeleteSession(SessionId),
    /// Keeps the open half of an account. One that had no record begins without an update state.
    PutAccount(AccountRecord),
    /// Replaces the open half of an account; ignored when the account has no record, so that an account
    /// that is removed does not come back through what is written behind its removal.
    UpdateAccount(AccountRecord),
    /// Forgets an account: its record, credentials, update state and peers.
    DeleteAccount(AuthKeyId),
    /// Seals and keeps an account's credentials.
    PutCredentials(Credentials),
    /// Keeps a monitor.
    PutMonitor(MonitorRecord),
    /// Forgets a monitor and its cursor.
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
    /// Keeps peers that an account met; those that are known unchanged cost no write.
    PutPeers {
        /// The account.
        account: AuthKeyId,
        /// The peers.
        peers: Vec<PeerRecord>,
    },
    /// Keeps a job.
    PutJob(JobRecord),
    /// Forgets a job.
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
    /// Deletes rows of a user that lie together: see [`Op::delete_rows`].
    DeleteRows {
        /// The table.
        table: Table,
        /// The user.
        owner: UserId,
        /// What their ids begin with.
        prefix: RowId,
    },
    /// Deletes the note that a row expires.
    DeleteExpiryNote(ExpiryNote),
    /// Everything up to this sequence number of the outbox was taken over by whoever reads with
    /// the reader for webhooks; it never goes back.
    Spool(u64),
    /// Forgets some thousand rows of a user at the most.
    EraseRows(UserId),
    /// Forgets the lines of the restart ledger that name a user.
    ForgetRestarts(UserId),
    /// Marks a user who is being erased: see `Store::erase`.
    BeginErasure(Erasure),
    /// The user is erased.
    EndErasure(UserId),
    /// Forgets rows whose time is over at this moment, some thousand at the most.
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
    /// Keeps what an account did in a day.
    PutDayCount(DayCount),
    /// Keeps what a person has to wait for whose account goes.
    PutPersonWaits(PersonFloodWaits),
    /// Forgets it.
    DeletePersonWaits(i64),
    /// Appends to the outbox.
    Append(OutboxEntry),
}

impl Op {
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
            _ => SMALL,
        }
    }
}
