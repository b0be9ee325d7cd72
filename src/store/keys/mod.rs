//! Keys and seals. Owns the keys of the store on their way from the root to a record; never logs or
//! returns key bytes.
//!
//! Three layers: a *root* (`root`, from a file, a variable, or a service that never gives it away)
//! wraps the *generations* (`generation`), keys that are kept in the store and renewed every few
//! days; the newest generation wraps a fresh *data key* for each sealed record, which seals it
//! (AES-256-GCM). So a rotation (`rotation`, `rotation_worker`) only wraps data keys anew, and another root only the
//! generations. Stores of formats 1 and 2 had no generations: their root wrapped the data keys
//! itself, and does so until their first rotation is through (`open`).
//!
//! The segments of the outbox share one data key per opening of the store (`outbox_keyring`); their nonce is
//! the segment's first sequence number, which one opening uses once. The associated data of every
//! seal is the record's key in the store, so that no sealed record passes for another.
//!
//! Roots come in from files, variables or a service; keys leave only as seals. The writer alone changes
//! what is stored of them.

mod generation;
mod key_file;
mod key_set;
mod open;
mod outbox_keyring;
mod root;
mod rotation;
mod rotation_worker;
mod seal;
#[cfg(test)]
mod tests;

pub(in crate::store) use key_set::Keys;
pub(in crate::store) use open::{Opened, RootKey, open};
pub(in crate::store) use outbox_keyring::Keyring;
pub(in crate::store) use rotation::{RotationHost, replace_root, rotate, status};
pub(in crate::store) use rotation_worker::RotationWorker;
pub(in crate::store) use seal::{MasterKey, Seal, random};
