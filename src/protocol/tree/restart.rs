//! Restart policy as data: for each kind of child how long to wait before another try, how many
//! failures within which time are a loop, and what follows then. Pure: times in, verdicts out.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::protocol::values::ids::UnixMillis;

/// Exponential backoff between two bounds, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// First pause.
    pub min_ms: u64,
    /// Longest pause.
    pub max_ms: u64,
}

impl Backoff {
    /// The pause before try number `attempt` (from 1). `jitter` in 0..1 spreads it over the upper
    /// half of the step, so that many at once neither come back together nor at once.
    pub fn delay_ms(&self, attempt: u32, jitter: f64) -> u64 {
        let doublings = attempt.saturating_sub(1).min(32);
        let step = self.min_ms.saturating_mul(1 << doublings).min(self.max_ms);
        let half = step / 2;
        half + (half as f64 * jitter.clamp(0.0, 1.0)) as u64
    }
}

/// What is supervised, as the restart ledger and the metrics call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildKind {
    /// An account's actor.
    Account,
    /// A chat monitor's actor.
    Monitor,
    /// A login's actor.
    Login,
    /// An endpoint of a webhook, or their dispatcher.
    Webhook,
    /// A campaign's actor.
    Campaign,
    /// What chooses who acts for a user's campaigns.
    Allocator,
    /// A link to the broker.
    Bridge,
    /// A long-lived task or thread beside the actors: what tells, tidies or looks after something.
    Helper,
    /// A part of the tree that supervises others.
    Part,
}

impl ChildKind {
    /// Its name in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Monitor => "monitor",
            Self::Login => "login",
            Self::Webhook => "webhook",
            Self::Campaign => "campaign",
            Self::Allocator => "allocator",
            Self::Bridge => "bridge",
            Self::Helper => "helper",
            Self::Part => "part",
        }
    }

    /// What follows when one of them fails.
    pub const fn policy(self) -> RestartPolicy {
        match self {
            // A loop harms what it touches: a session that dials over and over, a chat that is read
            // again and again.
            Self::Account | Self::Monitor | Self::Campaign => RestartPolicy {
                backoff: Backoff { min_ms: 500, max_ms: 60_000 },
                restarts_max: 5,
                window_ms: 10 * MINUTE_MS,
                then: GiveUp::Park,
            },
            // Somebody waits for it, and Telegram counts attempts: a few, soon, and then no more.
            Self::Login => RestartPolicy {
                backoff: Backoff { min_ms: 500, max_ms: 2_000 },
                restarts_max: 2,
                window_ms: 10 * MINUTE_MS,
                then: GiveUp::Park,
            },
            // Without it nothing leaves the machine, so it is tried for ever; the events wait on
            // the disk.
            // A helper does nothing that its next life would not begin anew, and nobody asks for it: left
            // alone it would be missed for good.
            Self::Bridge | Self::Webhook | Self::Helper | Self::Allocator => RestartPolicy {
                backoff: Backoff { min_ms: 500, max_ms: 30_000 },
                restarts_max: 16,
                window_ms: 10 * MINUTE_MS,
                then: GiveUp::Never,
            },
            // It holds what its children rely on (who is connected, which chat is whose). A second
            // one beside the children of the first could connect a session twice: only a new
            // process begins with nothing.
            Self::Part => RestartPolicy {
                backoff: Backoff { min_ms: 0, max_ms: 0 },
                restarts_max: 0,
                window_ms: 10 * MINUTE_MS,
                then: GiveUp::Escalate,
            },
        }
    }
}

const MINUTE_MS: i64 = 60_000;

/// What follows when the process itself dies, decided by the next one. The pause is the service
/// manager's. A loop connects every session over and over.
pub const PROCESS: RestartPolicy = RestartPolicy {
    backoff: Backoff { min_ms: 0, max_ms: 0 },
    restarts_max: 5,
    window_ms: 10 * MINUTE_MS,
    then: GiveUp::Park,
};

/// The same for a loop whose turns are longer: a start takes its time, and what it dies of comes later.
pub const PROCESS_SLOWLY: RestartPolicy = RestartPolicy {
    backoff: Backoff { min_ms: 0, max_ms: 0 },
    restarts_max: 30,
    window_ms: 6 * 60 * MINUTE_MS,
    then: GiveUp::Park,
};

/// When a failed child is started again, and when not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Pause before each restart.
    pub backoff: Backoff,
    /// More failures than this inside the window are a loop.
    pub restarts_max: u32,
    /// Length of the window, milliseconds.
    pub window_ms: i64,
    /// What follows a loop.
    pub then: GiveUp,
}

/// What follows a loop of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// The child is left alone until somebody asks for it.
    Park,
    /// The parent fails, too: going on without the child would be a lie.
    Escalate,
    /// It is tried on with the longest pause.
    Never,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start again.
    Restart {
        /// After this pause, milliseconds.
        after_ms: u64,
        /// Failures inside the window, this one included.
        attempt: u32,
    },
    /// A crash loop: leave it until somebody asks for it again.
    Park {
        /// Failures inside the window.
        attempt: u32,
    },
    /// The parent cannot go on either.
    Escalate {
        /// Failures inside the window.
        attempt: u32,
    },
}

impl RestartDecision {
    /// Failures inside the window, this one included.
    pub fn attempt(&self) -> u32 {
        match self {
            Self::Restart { attempt, .. } | Self::Park { attempt } | Self::Escalate { attempt } => {
                *attempt
            }
        }
    }
}

/// The failures of one child inside its policy's window.
#[derive(Clone, Debug, Default)]
pub struct RestartHistory {
    failures: VecDeque<UnixMillis>,
}

impl RestartHistory {
    /// Takes note of a failure and decides. The history is bounded by the policy's maximum.
    pub fn failed(
        &mut self,
        policy: &RestartPolicy,
        now: UnixMillis,
        jitter: f64,
    ) -> RestartDecision {
        let horizon = now.plus_ms(-policy.window_ms);
        self.failures.retain(|at| *at > horizon && *at <= now);
        self.failures.push_back(now);
        let attempt = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        if attempt > policy.restarts_max {
            self.failures.pop_front();
            match policy.then {
                GiveUp::Park => return RestartDecision::Park { attempt },
                GiveUp::Escalate => return RestartDecision::Escalate { attempt },
                GiveUp::Never => {}
            }
        }
        RestartDecision::Restart { after_ms: policy.backoff.delay_ms(attempt, jitter), attempt }
    }

    /// Forgets everything, when somebody asks for a parked child again.
    pub fn reset(&mut self) {
        self.failures.clear();
    }
}

/// One line of the restart ledger: when an actor ended, why, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartRecord {
    /// The actor, e.g. `account/0123…`.
    pub actor: String,
    /// When it ended.
    pub at: UnixMillis,
    /// Why.
    pub cause: String,
    /// Restarts inside the policy's window, this one included.
    pub attempt: u32,
    /// When it is started again; `None` when it is parked.
    pub next_at: Option<UnixMillis>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        backoff: Backoff { min_ms: 100, max_ms: 5_000 },
        restarts_max: 3,
        window_ms: 60_000,
        then: GiveUp::Park,
    };

    #[test]
    fn a_crash_loop_is_parked_and_slow_failures_never_are() {
        let mut history = RestartHistory::default();
        for attempt in 1..=3 {
            let verdict = history.failed(&POLICY, UnixMillis(attempt * 10), 1.0);
            assert!(
                matches!(verdict, RestartDecision::Restart { attempt: a, .. } if i64::from(a) == attempt)
            );
        }
        assert_eq!(
            history.failed(&POLICY, UnixMillis(50), 1.0),
            RestartDecision::Park { attempt: 4 }
        );

        let mut history = RestartHistory::default();
        for minute in 0..100 {
            let verdict = history.failed(&POLICY, UnixMillis(minute * 61_000), 0.0);
            assert_eq!(verdict, RestartDecision::Restart { after_ms: 50, attempt: 1 });
        }
    }

    #[test]
    fn what_must_not_be_given_up_is_tried_on_and_a_part_of_the_tree_never() {
        let mut history = RestartHistory::default();
        let policy = ChildKind::Bridge.policy();
        for at in 0..100 {
            let verdict = history.failed(&policy, UnixMillis(at), 1.0);
            assert!(
                matches!(verdict, RestartDecision::Restart { after_ms: 1..=30_000, .. }),
                "{verdict:?}"
            );
        }
        let mut history = RestartHistory::default();
        let verdict = history.failed(&ChildKind::Part.policy(), UnixMillis(0), 1.0);
        assert_eq!(verdict, RestartDecision::Escalate { attempt: 1 });
    }

    proptest! {
        #[test]
        fn the_pause_stays_inside_its_bounds(attempt in any::<u32>(), jitter in -1.0..2.0f64) {
            let pause = POLICY.backoff.delay_ms(attempt, jitter);
            prop_assert!((50..=5_000).contains(&pause));
        }

        #[test]
        fn the_history_stays_bounded_even_when_the_clock_jumps(
            times in prop::collection::vec(-1_000_000..1_000_000i64, 0..200),
        ) {
            let mut history = RestartHistory::default();
            for at in times {
                history.failed(&POLICY, UnixMillis(at), 0.5);
                prop_assert!(history.failures.len() <= POLICY.restarts_max as usize);
            }
        }
    }
}
