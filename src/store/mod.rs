//! The store: what the daemon remembers, and the outbox. The only code that names sled, and the only
//! code that knows how records are stored; it decides nothing.
//!
//! # Promises
//! - A commit is atomic, and durable (`fdatasync`) before [`Store::commit`] returns or the callback
//!   of [`Store::submit`] runs. Commits become durable in the order in which they were submitted.
//! - An event is in the outbox until it is acknowledged and, where somebody reads for webhooks, taken over
//!   by that reader, whose offset moves in the commit that stores what was made of the event. A cursor never
//!   claims a message whose event is neither in the outbox nor acknowledged; an update state is never
//!   durable before events that were submitted earlier. Sequence numbers are never used twice.
//! - After a failure of the disk nothing more is written: see [`Store::failed`].
//! - What a newer program wrote, or another key sealed, is refused, and none of its records changes.
//! - A torn tail heals; a database with holes, or one that ends before what the witness saw, is
//!   refused with its path and advice. Its files are then as they were found, or the error says
//!   where they lie as they were found, or that no copy could be made of them.
//!
//! # Rooms
//! A room imports only rooms above it in this table; the rest of the daemon uses what is re-exported here.
//!
//! | room | owns | imports |
//! |---|---|---|
//! | `contract` | operations, rows, what is read, options, errors | |
//! | `format` | the keys and bytes of records on disk | contract |
//! | `engines` | the trait of an engine; sled with its files, memory | contract |
//! | `integrity` | the integrity checksum over the records, and the witness | contract, format, engines |
//! | `keys` | sealing, generations of keys, their rotation, key files | contract, format, engines |
//! | `records` | what is added to a batch and read of one by subject: audit log, campaigns, erasure, expiry | contract, format, engines, keys |
//! | `journal` | the queue, groups, segments of the outbox, checkpoints, the writer | contract, format, engines, integrity, keys, records |
//! | `opening` | directory and lock, whether it lies where it did, checks before the database is touched, recovery | all above |
//! | `access` | the handles: [`Store`], [`Reader`], [`Outbox`], [`Spooler`] | all above |
//! | `examine` | looking at a store without changing it | all above but access |
//!
//! The conformance suite (`tests/conformance`) is what every engine must let the store do; it runs on each of
//! them. The integrity checksum (`integrity`) detects missing records; the *audit log*
//! (`records/audit_log`) says who did what, and is a matter of its own.
//!
//! # What is sealed
//! Sealed (AES-256-GCM, `keys`, which also tells how keys are renewed): credentials, logins under way, webhooks
//! with their deliveries, tasks of campaigns with their texts, their targets, lists of who is never contacted, the
//! installation's key under which refusals are named, and the entries of the outbox with their message texts. In
//! clear: users and their accounts with masked phone numbers, which accounts, sessions and monitors there are,
//! their names and faults, attached chats, what was sent under an idempotency key (numbers and fingerprints), daily
//! counts, of campaigns the statuses of tasks and targets, counts, attempts by numbers, refusals under keys that
//! name nobody and the Telegram ids of who was reached when, who is being erased, the audit log with user ids and
//! addresses, the restart ledger, cursors (with 64-bit fingerprints of the newest second's messages in private
//! chats and basic groups), update states, and peers, whose access hashes are worth nothing without the
//! authorization key. A copy of the store without the key opens no session and shows no text.
//!
//! # Whose rows are
//! Rows of users ([`Row`]) go with their user. Shared rows ([`SharedRow`]) belong to nobody and outlive every user:
//! a person who refuses to be contacted is not contacted because somebody else was erased, and no limit begins
//! anew. Nothing in them names a user.

mod access;
mod contract;
mod engines;
mod examine;
mod format;
mod integrity;
mod journal;
mod keys;
mod opening;
mod records;
#[cfg(test)]
mod tests;

pub use access::{Outbox, Reader, Spooler, Store};
pub use contract::{
    AttemptId, AttemptPage, AttemptQuery, AuditLogPage, AuditLogPosition, AuditLogQuery,
    AuditLogReport, CACHE_BYTES_DEFAULT, CampaignClock, CommitError, ContactedRecord,
    DatabaseFiles, DeadId, DeliveryId, DiskTrouble, EngineError, ExpiryNote, InstallationKey,
    KeyOrigin, KeyStatus, Moved, Op, RESTARTS_KEPT, RemoteRoot, RootError, RotateError, Rotated,
    Row, RowId, RowWrite, SharedRow, SharedTable, SharedWrite, Snapshot, StoreError, StoreOptions,
    StoreStats, Table,
};
pub use examine::{AuditLogExamined, Examined, examine, examine_audit_log};
pub use records::erasure::names_user;
#[cfg(test)]
pub(crate) use tests::{gated, standing};
