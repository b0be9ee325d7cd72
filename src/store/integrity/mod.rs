//! What detects that a database lost something. Owns the integrity checksum over the records and the witness
//! file beside the database; never knows what a record means, and decides nothing about a damaged one.
//!
//! An engine checks what it reads, not what it fails to find: sled takes a damaged part of its log for a
//! torn tail or for free space, and records come back as they were earlier, or not at all, without a word.
//! Three things detect it:
//! - the checksum (`checksum`): a count of batches and a sum over all keys and values, renewed in the batch
//!   that changes them. A state that any batch left behind agrees with its checksum, whatever a crash took;
//!   a state with a hole does not. Outside of it are the segments of the outbox, which prove themselves by
//!   their numbers and seals, the acknowledged offset, whose loss only makes events come again, and peers,
//!   a cache;
//! - the witness (`witness`), a small file that says how far the store had come at some time in the last few
//!   seconds: a log that is cut before that has lost more than a crash can take;
//! - the numbers of the segments, which follow each other.

mod checksum;
mod witness;

pub(in crate::store) use checksum::ChecksummedEngine;
pub(in crate::store) use witness::{DurablePosition, Witness};
