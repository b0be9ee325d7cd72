//! The floor under a loop that calls Telegram, whatever makes the loop go round: a server that names no
//! time, a clock that is wrong, somebody who asks again and again. Pure: moments are milliseconds on one
//! clock that never goes back.

use super::restart::Backoff;

/// How a loop is paced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacePolicy {
    /// Turns that follow each other closely and are not held back.
    pub free: u32,
    /// What lies at least between two turns after those; it grows with each.
    pub floor: Backoff,
    /// A turn that is wanted no sooner than this after the one before it ends the growth.
    pub calm_ms: u64,
}

/// One loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    policy: PacePolicy,
    /// Turns in a row that were wanted sooner than the policy calls calm.
    hurried: u32,
    /// When the newest turn was allowed.
    last: Option<u64>,
}

impl Pace {
    /// A loop that has not begun.
    pub const fn new(policy: PacePolicy) -> Self {
        Self { policy, hurried: 0, last: None }
    }

    /// The loop began at `now`: what follows is counted from there.
    pub fn begin(&mut self, now: u64) {
        self.last.get_or_insert(now);
    }

    /// A turn is wanted at `wanted`; answers how much later it may be, in milliseconds.
    pub fn pause_ms(&mut self, wanted: u64) -> u64 {
        let Some(last) = self.last else {
            self.last = Some(wanted);
            return 0;
        };
        if wanted < last {
            // The turn that was allowed has not come yet. Whoever waited for it gave up; it is the same.
            return last - wanted;
        }
        self.hurried = match wanted.saturating_sub(last) >= self.policy.calm_ms {
            true => 0,
            false => self.hurried.saturating_add(1),
        };
        let floor = match self.hurried.saturating_sub(self.policy.free) {
            0 => 0,
            extra => self.policy.floor.delay_ms(extra, 1.0),
        };
        let pause = last.saturating_add(floor).saturating_sub(wanted);
        self.last = Some(wanted.saturating_add(pause));
        pause
    }

    /// Whether nothing of it has to be remembered at `now`.
    pub fn is_calm(&self, now: u64) -> bool {
        self.last.is_none_or(|last| now.saturating_sub(last) >= self.policy.calm_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: PacePolicy =
        PacePolicy { free: 2, floor: Backoff { min_ms: 1_000, max_ms: 25_000 }, calm_ms: 20_000 };

    /// Turns of a loop that wants the next one `eager` ms after the last, within `span`.
    fn turns(mut pace: Pace, eager: u64, span: u64) -> u64 {
        let (mut now, mut turns) = (0, 0);
        while now < span {
            now += pace.pause_ms(now) + eager;
            turns += 1;
        }
        turns
    }

    #[test]
    fn a_loop_that_wants_to_go_round_at_once_slows_down_and_a_calm_one_is_not_held_back() {
        let ten_minutes = 600_000;
        let eager = turns(Pace::new(POLICY), 0, ten_minutes);
        assert!(eager <= 33, "{eager} turns");
        assert_eq!(turns(Pace::new(POLICY), 25_000, ten_minutes), 24);
    }

    #[test]
    fn after_a_calm_turn_the_next_ones_are_free_again() {
        let mut pace = Pace::new(POLICY);
        let pauses = [0, 0, 0, 0, 1_000, 3_000].map(|wanted| pace.pause_ms(wanted));
        assert_eq!(pauses, [0, 0, 0, 1_000, 2_000, 4_000]);
        assert_eq!(pace.pause_ms(7_000 + POLICY.calm_ms), 0);
        assert_eq!(pace.pause_ms(7_100 + POLICY.calm_ms), 0);
        assert!(!pace.is_calm(7_100 + POLICY.calm_ms) && pace.is_calm(90_000));
    }

    #[test]
    fn whoever_gives_up_waiting_and_asks_again_waits_for_the_same_turn() {
        let mut pace = Pace::new(POLICY);
        for _ in 0..10 {
            pace.pause_ms(0);
        }
        let pauses: Vec<_> = (0..1_000).step_by(100).map(|wanted| pace.pause_ms(wanted)).collect();
        assert_eq!(pauses.first(), Some(&1_000));
        assert_eq!(pauses.last(), Some(&100));
    }

    proptest! {
        /// However eagerly it is asked, turns beyond the free ones keep the floor, and no pause is
        /// longer than the longest one.
        #[test]
        fn no_order_of_wishes_gets_under_the_floor(steps in prop::collection::vec(0_u64..30_000, 0..80)) {
            let mut pace = Pace::new(POLICY);
            let (mut now, mut allowed) = (0, Vec::new());
            for step in steps {
                now += step;
                let pause = pace.pause_ms(now);
                prop_assert!(pause <= POLICY.floor.max_ms);
                now += pause;
                allowed.push(now);
            }
            for turns in allowed.windows(POLICY.free as usize + 2) {
                let gaps = turns.windows(2).map(|two| two[1] - two[0]);
                prop_assert!(gaps.max() >= Some(POLICY.floor.min_ms), "{turns:?}");
            }
        }
    }
}
