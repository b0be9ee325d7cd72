//! From submissions to durable records. Owns the writer's thread, the order of commits, the sequence numbers of
//! events, the outbox on disk, and what is known of records in memory; decides nothing about what is written.
//!
//! Submissions wait in a bounded queue (`queue`); the writer (`writer`) takes them in groups (`group`) and
//! writes each group as one batch with one sync. Events and the cursors that moved with them are packed into
//! segments (`segment`), so that neither costs a write of its own: the outbox is the journal of the cursors.
//! `checkpoint` later gives cursors and update states their own records (`overlay` holds them until then) and
//! trims the outbox. Data comes in through [`Queue`]; it goes out to the engine, and in memory to the readers
//! of the outbox (`recent_entries`), the overlay and the list of monitors (`monitor_index`), which all
//! handles of the store share ([`Shared`]).

mod checkpoint;
mod group;
mod metrics;
mod monitor_index;
mod overlay;
mod queue;
mod recent_entries;
pub(in crate::store) mod segment;
mod shared;
mod writer;

pub(in crate::store) use checkpoint::Checkpoint;
pub(in crate::store) use group::KnownRecords;
pub(in crate::store) use metrics::Metrics;
pub(in crate::store) use monitor_index::{IndexedMonitor, MonitorIndex};
pub(in crate::store) use overlay::Overlay;
pub(in crate::store) use queue::{Completion, Queue};
pub(in crate::store) use recent_entries::{RecentEntries, Step};
pub(in crate::store) use shared::{LockedDirectory, Shared};
pub(in crate::store) use writer::{Pacing, Writer};
