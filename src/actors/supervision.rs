//! What every parent does with its children's ends: note them in the ledger, decide by policy,
//! come back to it after the pause. One child's end never touches its siblings.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use ractor::{ActorCell, ActorId, SupervisionEvent};

use super::context::{Context, jitter, now};
use crate::protocol::model::RestartRecord;
use crate::protocol::restart::{Backoff, RestartHistory, RestartPolicy, Verdict};
use crate::store::Op;

/// Children under `fleet` and `monitors`: five crashes within ten minutes are a loop.
pub(super) const CHILD_POLICY: RestartPolicy = RestartPolicy {
    backoff: Backoff { min_ms: 500, max_ms: 60_000 },
    restarts_max: 5,
    window_ms: 10 * 60 * 1_000,
};

/// Longest cause kept in the ledger, in characters.
const CAUSE_MAX: usize = 200;

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// On its own accord.
    Done,
    /// It crashed and is to be started again after the pause.
    RestartAfter(Duration),
    /// It crashed too often.
    Parked,
}

/// A child's end.
pub(super) struct Ended<K> {
    pub(super) key: K,
    pub(super) child: ActorId,
    pub(super) end: End,
}

/// The children of one parent.
pub(super) struct Nursery<K> {
    kind: &'static str,
    policy: RestartPolicy,
    living: HashMap<ActorId, K>,
    histories: HashMap<K, RestartHistory>,
}

impl<K: Clone + Eq + Hash + Display> Nursery<K> {
    pub(super) fn new(kind: &'static str, policy: RestartPolicy) -> Self {
        Self { kind, policy, living: HashMap::new(), histories: HashMap::new() }
    }

    /// A child was started.
    pub(super) fn born(&mut self, child: &ActorCell, key: K) {
        self.living.insert(child.get_id(), key);
    }

    /// Somebody asks for a parked child again.
    pub(super) fn forgive(&mut self, key: &K) {
        self.histories.remove(key);
    }

    /// A child could not even be started.
    pub(super) async fn stillborn(&mut self, key: &K, cause: String, context: &Context) -> End {
        self.judge(key, cause, context).await
    }

    /// Sorts a supervision event; `None` when it tells of no child's end.
    pub(super) async fn ended(
        &mut self,
        event: SupervisionEvent,
        context: &Context,
    ) -> Option<Ended<K>> {
        match event {
            SupervisionEvent::ActorTerminated(child, ..) => {
                let key = self.living.remove(&child.get_id())?;
                self.histories.remove(&key);
                Some(Ended { key, child: child.get_id(), end: End::Done })
            }
            SupervisionEvent::ActorFailed(child, error) => {
                let key = self.living.remove(&child.get_id())?;
                let cause = error.to_string().chars().take(CAUSE_MAX).collect();
                let end = self.judge(&key, cause, context).await;
                Some(Ended { key, child: child.get_id(), end })
            }
            _ => None,
        }
    }

    async fn judge(&mut self, key: &K, cause: String, context: &Context) -> End {
        let at = now();
        let verdict =
            self.histories.entry(key.clone()).or_default().failed(&self.policy, at, jitter());
        let actor = format!("{}/{key}", self.kind);
        let (attempt, next_at, end) = match verdict {
            Verdict::Restart { after_ms, attempt } => {
                tracing::warn!(
                    actor,
                    cause,
                    attempt,
                    after_ms,
                    "an actor crashed; it is started again"
                );
                let next = at.plus_ms(i64::try_from(after_ms).unwrap_or(i64::MAX));
                (attempt, Some(next), End::RestartAfter(Duration::from_millis(after_ms)))
            }
            Verdict::Park { attempt } => {
                tracing::error!(
                    actor,
                    cause,
                    attempt,
                    "an actor keeps crashing; it is parked until a command asks for it"
                );
                (attempt, None, End::Parked)
            }
        };
        context.meters.crashed(self.kind, end == End::Parked);
        let record = RestartRecord { actor, at, cause, attempt, next_at };
        context.board.restart(record.clone());
        // The ledger is for people; a store in trouble is told elsewhere.
        let _ = context.store.submit(vec![Op::PutRestart(record)], |_| {}).await;
        end
    }
}
