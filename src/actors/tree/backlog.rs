//! The gate in front of a backlog that has used up its budget: whoever would add events to it asks
//! here first. A task of its own tells it how much there is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::children::watched_task;
use super::context::Context;
use crate::protocol::bridge::backlog::Backlog;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::tree::table;
use crate::store::Reader;

/// Time between two looks. The budget may be passed by what comes meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Keeps the gate up to date; it ends when what is returned is dropped.
pub(in crate::actors) fn start(context: &Arc<Context>) -> AbortOnDropHandle<()> {
    let shared = Arc::clone(context);
    watched_task(context, &table::BACKLOG, move || look_after(Arc::clone(&shared)))
}

async fn look_after(context: Arc<Context>) {
    loop {
        // A disk that does not answer takes nothing either: the gate stays as it is until it does.
        if let Ok(bytes) = context.store.read(|store: &Reader| Ok(store.outbox_bytes())).await {
            context.backlog.note(bytes);
        }
        sleep(LOOK_EVERY).await;
    }
}

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
    pub(in crate::actors) fn is_full(&self) -> bool {
        self.state() == Backlog::Full
    }

    /// Waits until something may be taken.
    pub(in crate::actors) async fn room(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as this gate.
        let _ = state.wait_for(|state| *state != Backlog::Full).await;
    }

    /// Why nothing is taken.
    pub(in crate::actors) fn refusal() -> Failure {
        Failure::transient(
            "the backlog of events is full (store.backlog_max_mb); updates are left with telegram \
             until the broker takes events again",
        )
    }
}
