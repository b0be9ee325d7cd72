//! What start-up reads, and the figures of the store. Plain data.

use std::time::Duration;

use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::accounts::record::{AccountRecord, SessionRecord};
use crate::protocol::bridge::job::JobRecord;
use crate::protocol::logins::record::{LoginFloodWait, LoginRecord};
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::tree::restart::RestartRecord;
use crate::protocol::values::ids::UnixMillis;

/// What start-up needs to know.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// All sessions.
    pub sessions: Vec<SessionRecord>,
    /// All accounts, without their credentials.
    pub accounts: Vec<AccountRecord>,
    /// All accounts of users.
    pub owned: Vec<OwnedAccount>,
    /// All logins that were under way.
    pub logins: Vec<LoginRecord>,
    /// What Telegram made logins wait for.
    pub login_waits: Vec<LoginFloodWait>,
    /// All monitors with their cursors.
    pub monitors: Vec<(MonitorRecord, Option<Cursor>)>,
    /// All jobs, the oldest first.
    pub jobs: Vec<JobRecord>,
    /// The restart ledger, the oldest first.
    pub restarts: Vec<RestartRecord>,
}

/// Figures of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Entries in the outbox that are durable and not yet acknowledged.
    pub outbox_depth: u64,
    /// About how many bytes of segments are still to be read, by webhooks included.
    pub outbox_bytes: u64,
    /// When the oldest of them was committed.
    pub outbox_oldest_at: Option<UnixMillis>,
    /// Entries ever appended by this process.
    pub appended: u64,
    /// Groups made durable by this process.
    pub commits: u64,
    /// Submissions that wait or are being made durable.
    pub waiting: usize,
    /// How long the first submission of the newest group took to become durable.
    pub latency_last: Duration,
    /// The median of that over the newest 1024 groups.
    pub latency_p50: Duration,
    /// Its 99th percentile.
    pub latency_p99: Duration,
    /// Cursors and update states that wait for their own records.
    pub pending: usize,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Why the store stopped writing, if it did.
    pub failed: Option<String>,
}
