//! The store's contract, apart from any engine: what can be written ([`Op`], [`Row`]), what is read
//! ([`Snapshot`], [`StoreStats`], [`AuditLogQuery`], [`AttemptQuery`]), how a store is opened ([`StoreOptions`]), and every
//! error. Owns these types; never knows how a record is stored, and never does IO.

mod audit_log;
mod campaigns;
mod error;
mod keys;
mod op;
mod options;
mod rows;
mod shared;
mod snapshot;

pub use audit_log::{AuditLogPage, AuditLogPosition, AuditLogQuery, AuditLogReport};
pub use campaigns::{AttemptId, AttemptPage, AttemptQuery};
pub use error::{CommitError, DatabaseFiles, DiskTrouble, EngineError, Moved, StoreError};
pub use keys::{KeyStatus, RotateError, Rotated};
pub use op::{Op, RESTARTS_KEPT};
pub use options::{CACHE_BYTES_DEFAULT, KeyOrigin, RemoteRoot, RootError, StoreOptions};
pub use rows::{DeadId, DeliveryId, ExpiryNote, Row, RowId, RowWrite, Table};
pub use shared::{
    CampaignClock, ContactedRecord, InstallationKey, SharedRow, SharedTable, SharedWrite,
};
pub use snapshot::{Snapshot, StoreStats};

pub(in crate::store) use campaigns::{REMOVED_MARK, status_of_mark};
pub(in crate::store) use error::{is_out_of_files, panic_text};
pub(in crate::store) use rows::ordered;
