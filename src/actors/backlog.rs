//! The gate in front of a backlog that has used up its budget: whoever would add events to it asks
//! here first. Told by whoever watches the store.

use tokio::sync::watch;

use crate::protocol::backlog::Backlog;
use crate::protocol::failure::Failure;

/// The gate.
#[derive(Debug)]
pub struct BacklogGate {
    max_bytes: u64,
    state: watch::Sender<Backlog>,
}

impl BacklogGate {
    /// For a budget of `max_bytes`.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, state: watch::Sender::default() }
    }

    /// The budget.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The state of the backlog.
    pub fn state(&self) -> Backlog {
        *self.state.borrow()
    }

    /// Takes note of how much waits for the broker.
    pub fn note(&self, bytes: u64) {
        let before = self.state();
        let state = before.after(bytes, self.max_bytes);
        if state == before {
            return;
        }
        self.state.send_replace(state);
        let max = self.max_bytes;
        match state {
            Backlog::Full => tracing::error!(
                bytes,
                max,
                "the events that wait for the broker have used up store.backlog_max_mb; no more updates are taken until it takes events again, and telegram keeps them"
            ),
            Backlog::High => tracing::warn!(
                bytes,
                max,
                "the events that wait for the broker use half of store.backlog_max_mb"
            ),
            Backlog::Roomy => tracing::info!(bytes, max, "the backlog of events has room again"),
        }
    }

    /// Whether nothing more may be taken.
    pub(super) fn is_full(&self) -> bool {
        self.state() == Backlog::Full
    }

    /// Waits until something may be taken.
    pub(super) async fn room(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as this gate.
        let _ = state.wait_for(|state| *state != Backlog::Full).await;
    }

    /// Why nothing is taken.
    pub(super) fn refusal() -> Failure {
        Failure::transient(
            "the backlog of events is full (store.backlog_max_mb); updates are left with telegram \
             until the broker takes events again",
        )
    }
}
