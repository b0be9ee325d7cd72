//! Restart policy as data: how long to wait before another try, and when to give up.

use std::collections::VecDeque;

use super::ids::UnixMillis;

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

/// When a failed child is started again, and when it is parked instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Pause before each restart.
    pub backoff: Backoff,
    /// More failures than this inside the window park the child.
    pub restarts_max: u32,
    /// Length of the window, milliseconds.
    pub window_ms: i64,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
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
}

/// The failures of one child inside its policy's window.
#[derive(Clone, Debug, Default)]
pub struct RestartHistory {
    failures: VecDeque<UnixMillis>,
}

impl RestartHistory {
    /// Takes note of a failure and decides. The history is bounded by the policy's maximum.
    pub fn failed(&mut self, policy: &RestartPolicy, now: UnixMillis, jitter: f64) -> Verdict {
        let horizon = now.plus_ms(-policy.window_ms);
        self.failures.retain(|at| *at > horizon && *at <= now);
        self.failures.push_back(now);
        let attempt = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        if attempt > policy.restarts_max {
            self.failures.pop_front();
            return Verdict::Park { attempt };
        }
        Verdict::Restart { after_ms: policy.backoff.delay_ms(attempt, jitter), attempt }
    }

    /// Forgets everything, when somebody asks for a parked child again.
    pub fn forgive(&mut self) {
        self.failures.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: RestartPolicy = RestartPolicy {
        backoff: Backoff { min_ms: 100, max_ms: 5_000 },
        restarts_max: 3,
        window_ms: 60_000,
    };

    #[test]
    fn a_crash_loop_is_parked_and_slow_failures_never_are() {
        let mut history = RestartHistory::default();
        for attempt in 1..=3 {
            let verdict = history.failed(&POLICY, UnixMillis(attempt * 10), 1.0);
            assert!(
                matches!(verdict, Verdict::Restart { attempt: a, .. } if i64::from(a) == attempt)
            );
        }
        assert_eq!(history.failed(&POLICY, UnixMillis(50), 1.0), Verdict::Park { attempt: 4 });

        let mut history = RestartHistory::default();
        for minute in 0..100 {
            let verdict = history.failed(&POLICY, UnixMillis(minute * 61_000), 0.0);
            assert_eq!(verdict, Verdict::Restart { after_ms: 50, attempt: 1 });
        }
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
