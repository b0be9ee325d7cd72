//! Records by subject, above the bare engine: what is added to a batch for the audit log (`audit_log`), for
//! erasing a user (`erasure`), for campaigns (`campaigns`) and for rows that expire (`expiry`), and what is
//! read of them. Owns the meaning of these records; never applies a batch: that is the writer's.

pub(in crate::store) mod audit_log;
pub(in crate::store) mod campaigns;
pub(in crate::store) mod erasure;
pub(in crate::store) mod expiry;
pub(in crate::store) mod update_states;
