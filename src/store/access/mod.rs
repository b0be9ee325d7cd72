//! What the rest of the daemon holds of a store: [`Store`], which writes and has others read, [`Reader`], which
//! blocks for the disk, and the two readers of the outbox. Owns these handles and the threads that read; never
//! decides what is stored.

mod audit_log;
mod campaigns;
mod erasure;
mod keys;
mod monitors;
mod outbox;
mod read_pool;
mod reader;
mod reads;
mod records;
mod rows;
mod stats;
mod store;

pub use outbox::{Outbox, Spooler};
pub use reader::Reader;
pub use store::Store;
