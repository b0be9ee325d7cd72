//! Looking at a store without changing a byte of it, for `telewarden check` (`records`) and `telewarden audit
//! verify` (`audit_log`). Owns the copy that is opened in its place (`scratch_copy`), because the engine writes
//! wherever it opens; must never write into the store, nor hold its lock for longer than copying takes.

mod audit_log;
mod records;
mod scratch_copy;

pub use audit_log::{AuditLogExamined, examine_audit_log};
pub use records::{Examined, examine};
