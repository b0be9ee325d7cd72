//! How records are stored: their keys (`layout`) and their bytes (`encoding`). Owns the stored format and its
//! number; never reads or writes an engine. Version 1 of every kind of record is kept under `fixtures/` and
//! must load for ever.

pub(in crate::store) mod encoding;
pub(in crate::store) mod layout;

/// The format this program writes, and the newest one it understands.
/// Format 1 had no checksum; format 2 had no generations of keys.
pub(in crate::store) const FORMAT: u32 = 3;
