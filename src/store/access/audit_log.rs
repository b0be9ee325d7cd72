//! Reading the audit log, as the daemon asks for it. Its records are in `records/audit_log.rs`.

use super::reader::Reader;
use crate::store::contract::{
    AuditLogPage, AuditLogPosition, AuditLogQuery, AuditLogReport, StoreError,
};
use crate::store::records::audit_log;

impl Reader {
    /// Entries of the audit log. A page may hold fewer than were asked for, even none, and still be
    /// followed by another: looking ends after some thousand entries.
    ///
    /// # Errors
    /// When the disk fails, or an entry cannot be read.
    pub fn audit_log(&self, query: &AuditLogQuery) -> Result<AuditLogPage, StoreError> {
        audit_log::page(&*self.shared.engine, query)
    }

    /// The newest entry of the audit log.
    ///
    /// # Errors
    /// When the disk fails, or the entry cannot be read.
    pub fn audit_log_head(&self) -> Result<AuditLogPosition, StoreError> {
        audit_log::head(&*self.shared.engine)
    }

    /// Follows the audit log from its newest entry to its oldest.
    ///
    /// # Errors
    /// When the disk fails. What is wrong with the log is in the report.
    pub fn verify_audit_log(&self) -> Result<AuditLogReport, StoreError> {
        audit_log::verify(&*self.shared.engine)
    }
}
