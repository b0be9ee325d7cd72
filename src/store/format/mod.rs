//! How records are stored: their keys (`layout`) and their bytes (`encoding`). Owns the stored format and its
//! number; never reads or writes an engine. Version 1 of every kind of record is kept under `fixtures/` and
//! must load for ever.

pub(in crate::store) mod encoding;
pub(in crate::store) mod layout;

/// The format this program writes, and the newest one it understands.
/// Format 1 had no checksum; format 2 had no generations of keys; format 3 had no campaigns.
///
/// A new kind of record that is sealed or belongs to users needs a new number. A program that does not know it would
/// open the store (the checksum covers every kind), pass over it in the next rotation of the keys and delete the key
/// that opens it; and it would leave it when its user is erased.
pub(in crate::store) const FORMAT: u32 = 4;
