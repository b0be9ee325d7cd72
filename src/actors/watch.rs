//! Watches over the progress of one account's link and remembers what the store answered. It
//! decides nothing (`protocol/watchdog.rs` does) and touches neither link nor account.
//!
//! Cost: one timer and one message an account every [`CHECKUP_EVERY`], each a handful of atomic
//! reads and a line on the status board: 1,000 messages a second for 10,000 connected accounts. The
//! store is asked only by links that have been waiting for it for half a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::context::now;
use crate::protocol::watchdog::{LinkProgress, Verdict, judge};
use crate::store::Store;
use crate::telegram::Pulse;

/// How often a connected account is looked at.
pub(super) const CHECKUP_EVERY: Duration = Duration::from_secs(10);
/// No question was answered yet.
const NEVER: u64 = u64::MAX;

/// Watches one link.
pub(super) struct Watch {
    pulse: Arc<Pulse>,
    /// When the question was asked that the store answered last.
    answered: Arc<AtomicU64>,
    /// When the store was asked last.
    asked: Option<u64>,
}

impl Watch {
    pub(super) fn over(pulse: Arc<Pulse>) -> Self {
        Self { pulse, answered: Arc::new(AtomicU64::new(NEVER)), asked: None }
    }

    /// How the link is getting on, for the status board.
    pub(super) fn progress(&self) -> LinkProgress {
        self.pulse.vitals().told(self.pulse.now(), now())
    }

    /// Looks at the link; says why it is to be dropped, if it is.
    pub(super) fn check_up(&mut self, store: &Store) -> Option<String> {
        let answered = self.answered();
        match judge(&self.pulse.vitals(), answered, self.pulse.now()) {
            Verdict::Sound => None,
            Verdict::AskStore => {
                // One question at a time: its answer may take as long as the store does.
                if self.asked.is_none() || self.asked == answered {
                    self.ask(store.clone());
                }
                None
            }
            Verdict::Stuck(activity, ms) => {
                Some(format!("the link is stuck: it has been {activity} for {} s", ms / 1_000))
            }
        }
    }

    fn answered(&self) -> Option<u64> {
        Some(self.answered.load(Ordering::Acquire)).filter(|asked| *asked != NEVER)
    }

    /// Has the store say when everything is durable that was handed in before now.
    fn ask(&mut self, store: Store) {
        let asked = self.pulse.now();
        self.asked = Some(asked);
        let answered = Arc::clone(&self.answered);
        tokio::spawn(async move {
            if store.commit(Vec::new()).await.is_ok() {
                answered.store(asked, Ordering::Release);
            }
        });
    }
}
