//! The database in a store's directory. Owns its files: the engine on sled (`sled_engine`, the only file
//! that names the library) and the copy that is kept while a database is opened (`safety_copy`).

mod copying;
mod safety_copy;
mod sled_engine;

pub(in crate::store) use copying::{copy_whole, free_bytes, size_of_files};
pub(in crate::store) use safety_copy::{FREE_BYTES_MIN, SafetyCopy, refuse_if_aside};
#[cfg(test)]
pub(in crate::store) use sled_engine::stray_files;
pub(in crate::store) use sled_engine::{
    SledEngine as DiskEngine, directory, guarded, holds_database, refuse_what_is_in_the_way,
};
