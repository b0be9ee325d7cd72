//! Counters of the store. Owns numbers; never decides.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Latencies that are remembered. At 8 bytes each, 8 KiB.
const LATENCIES: usize = 1024;

/// Upper bounds of the time a commit takes, seconds. Group commit alone makes it wait up to 8 ms.
const COMMIT_BUCKETS: [f64; 11] =
    [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What is counted while the store runs.
pub(in crate::store) struct Metrics {
    appended: AtomicU64,
    written: AtomicU64,
    commits: AtomicU64,
    /// The newest latencies; the newest one is at `commits - 1`, modulo [`LATENCIES`].
    latencies: Mutex<Vec<Duration>>,
    commit: Histogram,
}

impl Metrics {
    /// Of a store whose segments so far had this many bytes.
    pub(in crate::store) fn from(written: u64) -> Self {
        Self {
            appended: AtomicU64::new(0),
            written: AtomicU64::new(written),
            commits: AtomicU64::new(0),
            latencies: Mutex::default(),
            commit: Histogram::new(COMMIT_BUCKETS),
        }
    }
}

/// Latency of the newest groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Latencies {
    pub(in crate::store) last: Duration,
    pub(in crate::store) p50: Duration,
    pub(in crate::store) p99: Duration,
}

impl Metrics {
    /// Notes new events, and the bytes of all segments with them.
    pub(in crate::store) fn appended(&self, count: u64, written: u64) {
        self.appended.fetch_add(count, Relaxed);
        self.written.store(written, Relaxed);
    }

    /// Bytes of all segments written so far.
    pub(in crate::store) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Notes a group that took `latency` from the arrival of its first submission.
    pub(in crate::store) fn committed(&self, latency: Duration) {
        self.commit.observe(latency.as_secs_f64());
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.commits.fetch_add(1, Relaxed);
        match latencies.get_mut(slot(number)) {
            Some(oldest) => *oldest = latency,
            None => latencies.push(latency),
        }
    }

    pub(in crate::store) fn register(&self, registry: &mut Registry) {
        registry.register(
            "telewarden_store_commit_seconds",
            "From handing something to the store until it was durable, per group",
            self.commit.clone(),
        );
    }

    pub(in crate::store) fn counts(&self) -> (u64, u64) {
        (self.appended.load(Relaxed), self.commits.load(Relaxed))
    }

    pub(in crate::store) fn latencies(&self) -> Latencies {
        let (mut sorted, newest) = {
            let latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
            (latencies.clone(), self.commits.load(Relaxed).wrapping_sub(1))
        };
        let Some(&last) = sorted.get(slot(newest)) else {
            return Latencies::default();
        };
        sorted.sort_unstable();
        let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
        Latencies { last, p50: at(50), p99: at(99) }
    }
}

fn slot(number: u64) -> usize {
    usize::try_from(number % LATENCIES as u64).expect("smaller than the number of slots")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_follow_the_newest_groups() {
        let metrics = Metrics::from(0);
        assert_eq!(metrics.latencies(), Latencies::default());
        for ms in 1..=(LATENCIES as u64 + 1000) {
            metrics.committed(Duration::from_millis(ms));
        }
        let seen = metrics.latencies();
        assert_eq!(seen.last, Duration::from_millis(2024));
        assert_eq!(seen.p50, Duration::from_millis(1001 + 511));
        assert_eq!(seen.p99, Duration::from_millis(1001 + 1012));
        assert_eq!(metrics.counts(), (0, 2024));
    }
}
