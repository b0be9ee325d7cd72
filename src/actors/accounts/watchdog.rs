//! Watches over the progress of one account's link and remembers what the store answered. It
//! decides nothing (`protocol/tree/watchdog.rs` does) and touches neither link nor account.
//!
//! Cost: one timer and one message an account every [`CHECKUP_EVERY`], each a handful of atomic
//! reads and a line on the status: 1,000 messages a second for 10,000 connected accounts. The
//! store is asked only by links that have been waiting for it for half a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::protocol::tree::watchdog::{
    LOOK_EVERY_MS, LinkHealth, LinkProgress, has_stood_still, judge,
};
use crate::protocol::values::ids::UnixMillis;
use crate::store::Store;
use crate::tasks;
use crate::telegram::Pulse;

/// How often a connected account is looked at.
pub(in crate::actors) const CHECKUP_EVERY: Duration = Duration::from_millis(LOOK_EVERY_MS);
/// No question was answered yet.
const NEVER: u64 = u64::MAX;

/// Watches one link.
pub(in crate::actors) struct Watch {
    pulse: Arc<Pulse>,
    /// When the question was asked that the store answered last.
    answered: Arc<AtomicU64>,
    /// When the store was asked last.
    asked: Option<u64>,
    last_look: u64,
}

impl Watch {
    pub(in crate::actors) fn over(pulse: Arc<Pulse>) -> Self {
        let last_look = pulse.now();
        Self { pulse, answered: Arc::new(AtomicU64::new(NEVER)), asked: None, last_look }
    }

    /// How the link is getting on, for the status.
    pub(in crate::actors) fn progress(&self, now: UnixMillis) -> LinkProgress {
        self.pulse.vitals().told(self.pulse.now(), now)
    }

    /// Looks at the link; says why it is to be dropped, if it is.
    pub(in crate::actors) fn check_up(&mut self, store: &Store) -> Option<String> {
        let (answered, now) = (self.answered(), self.pulse.now());
        if has_stood_still(std::mem::replace(&mut self.last_look, now), now) {
            return None;
        }
        match judge(&self.pulse.vitals(), answered, now) {
            LinkHealth::Sound => None,
            LinkHealth::AskStore => {
                // One question at a time: its answer may take as long as the store does.
                if self.asked.is_none() || self.asked == answered {
                    self.ask(store.clone());
                }
                None
            }
            LinkHealth::Stuck(activity, ms) => {
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
        tasks::brief(async move {
            if store.commit(Vec::new()).await.is_ok() {
                answered.store(asked, Ordering::Release);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tree::watchdog::Activity;
    use crate::store::{Store, StoreOptions};

    fn store(path: &std::path::Path) -> Store {
        Store::open(StoreOptions::new(path.join("state"))).unwrap().0
    }

    /// A link that has been at it for a long time, looked at by a watch that was never late.
    fn watch(activity: Activity) -> Watch {
        let mut watch = Watch::over(Arc::new(Pulse::aged(Duration::from_secs(300), activity)));
        watch.last_look = watch.pulse.now();
        watch
    }

    #[tokio::test]
    async fn who_waits_for_a_store_that_answers_is_dropped_and_only_after_it_answered() {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path());
        let mut watch = watch(Activity::AwaitingStore);
        assert_eq!(watch.check_up(&store), None, "the store is asked first");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while watch.answered().is_none() {
            assert!(tokio::time::Instant::now() < deadline, "the store does not answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let cause = watch.check_up(&store).unwrap();
        assert!(cause.contains("waiting for its messages to be stored"), "{cause}");
    }

    #[tokio::test]
    async fn a_process_that_stood_still_drops_nothing_at_first() {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path());
        let mut watch = watch(Activity::Asking);
        watch.last_look -= 100_000;
        assert_eq!(watch.check_up(&store), None);
        assert!(watch.check_up(&store).is_some());
    }
}
