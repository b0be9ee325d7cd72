//! From a directory to a store that may run: the directory and its lock (`directory`), whether it lies where it did
//! (`identity`), what can be refused before the database is touched (`preflight`), and what the last run left in the records and segments
//! (`recovery`). Owns these checks; writes nothing before all of them have passed.

pub(in crate::store) mod directory;
pub(in crate::store) mod identity;
pub(in crate::store) mod preflight;
mod recovery;

pub(in crate::store) use recovery::{Recovered, WitnessedPosition, is_whole, recover, was_used};
