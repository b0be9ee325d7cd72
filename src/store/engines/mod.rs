//! The seam below the store: the trait of an engine, an ordered map of bytes with atomic batches, and the
//! engines that there are. Owns what is particular to each; never knows what a record means. Everything
//! above is the same for every engine.
//!
//! A further engine is a module here that implements [`Engine`], and one line in
//! `on_every_engine` of the conformance suite.

pub(in crate::store) mod disk;
mod engine;
mod memory;

pub(in crate::store) use engine::{Engine, Pair, WriteBatch, collect};
pub(in crate::store) use memory::MemoryDisk;
