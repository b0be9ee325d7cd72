//! The figures of the store.

use std::sync::atomic::Ordering;

use super::reader::Reader;
use crate::store::contract::StoreStats;
use crate::store::engines::Engine;
use crate::store::format::layout::{self, kind};
use crate::store::journal::segment::Head;

impl Reader {
    /// The figures of the store. Reads one record and the size of one file.
    pub fn stats(&self) -> StoreStats {
        let shared = &self.shared;
        let acknowledged = shared.queue.acknowledged();
        let latencies = shared.metrics.latencies();
        let (appended, commits) = shared.metrics.counts();
        let outbox_depth = (shared.recent.end() - 1).saturating_sub(acknowledged);
        let oldest = (outbox_depth > 0).then(|| self.oldest(acknowledged)).flatten();
        StoreStats {
            outbox_depth,
            outbox_bytes: self.outbox_bytes(),
            outbox_oldest_at: oldest.map(|head| head.at),
            appended,
            commits,
            waiting: shared.queue.waiting(),
            latency_last: latencies.last,
            latency_p50: latencies.p50,
            latency_p99: latencies.p99,
            pending: shared.overlay().len(),
            disk_bytes: shared.engine.disk_bytes(),
            failed: shared.failed.borrow().as_ref().map(ToString::to_string),
        }
    }

    /// About how many bytes of the outbox are still to be read: what webhooks have not taken
    /// over counts, too. Reads one record.
    pub fn outbox_bytes(&self) -> u64 {
        let shared = &self.shared;
        let kept = shared.queue.acknowledged().min(shared.spooled.load(Ordering::Acquire));
        let first = (shared.recent.end() - 1 > kept).then(|| self.oldest(kept)).flatten();
        first.map_or(0, |head| shared.metrics.written().saturating_sub(head.before))
    }

    /// The segment that holds the first entry after `acknowledged`.
    fn oldest(&self, acknowledged: u64) -> Option<Head> {
        let (from, _) = layout::all(kind::SEGMENT);
        let to = layout::seq(kind::SEGMENT, acknowledged + 2);
        let (_, segment) = self.shared.engine.last(&from, &to).ok().flatten()?;
        Head::read(&segment).ok()
    }
}
