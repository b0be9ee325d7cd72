//! Telegram's clock beside ours: what time it is there, and at which of its moments something
//! happened here. Telegram's dates are compared with these only, never with our own clock, which
//! may be ahead or behind and may be set at any time.
//!
//! Three clocks are at hand: Telegram's, which is read seldom; ours, which may be set; and a steady
//! one, which nobody sets and which begins anew when the machine does. Where they leave room, the
//! earlier moment is taken: one message too many is better than one too few.

use serde::{Deserialize, Serialize};

use crate::protocol::values::ids::UnixMillis;

/// How far our clock and the steady one may differ over a span before ours is taken to have been
/// set. Slewing, which NTP does at 0.5 ms a second at the most, stays below it for half an hour.
const DISAGREEMENT_MAX_MS: i64 = 1_000;
/// How long a reading is good for.
const READING_MAX_AGE_MS: i64 = 600_000;
/// The steady clock is off by less than one part in so many: crystals drift by some 50 µs a second.
const DRIFT: i64 = 10_000;

/// By how much our clock may be ahead while Telegram still takes what we say, milliseconds: a
/// message whose id lies more than 30 s in the server's future is ignored
/// (<https://core.telegram.org/mtproto/description#message-identifier-msg-id>).
pub const AHEAD_MAX_MS: i64 = 30_000;

/// Milliseconds by a clock that is never set and also runs while the machine sleeps, since the
/// machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SteadyMillis(pub i64);

/// A moment as the clocks of this machine show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the clock that may be set.
    pub wall: UnixMillis,
    /// By the steady one.
    pub steady: SteadyMillis,
}

/// What Telegram's clock and ours showed at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Telegram's, when it answered: when the answer came it was a little later there.
    pub telegram: UnixMillis,
    /// When the answer came.
    pub here: Moment,
}

impl ClockReading {
    /// Telegram's time now. `None` when the reading is too old, or our clock was set since.
    pub fn telegrams_now(&self, now: Moment) -> Option<UnixMillis> {
        let elapsed = now.steady.0.saturating_sub(self.here.steady.0);
        let by_wall = now.wall.0.saturating_sub(self.here.wall.0);
        let is_set = by_wall.abs_diff(elapsed) > DISAGREEMENT_MAX_MS.unsigned_abs();
        let is_fresh = (0..READING_MAX_AGE_MS).contains(&elapsed) && !is_set;
        is_fresh.then(|| self.telegrams_now_roughly(now.steady))
    }

    /// The same by the steady clock alone, however old the reading is: wrong by as long as the
    /// machine was held still by another one, if it was.
    pub fn telegrams_now_roughly(&self, now: SteadyMillis) -> UnixMillis {
        let elapsed = now.0.saturating_sub(self.here.steady.0);
        self.telegram.plus_ms(elapsed.saturating_sub(elapsed / DRIFT))
    }

    /// The moment of Telegram's clock at which ours showed `wall`, and the steady one `steady` if
    /// that was noted, by this process or one before it. The longer span is believed: ours may have
    /// been set on or back meanwhile, the machine may have been started anew.
    pub fn telegrams_moment(&self, wall: UnixMillis, steady: Option<SteadyMillis>) -> UnixMillis {
        let by_wall = self.here.wall.0.saturating_sub(wall.0);
        let ago = steady.map_or(by_wall, |then| match self.here.steady {
            // It was before the machine started, which is that long ago.
            here if here < then => by_wall.max(here.0),
            here => by_wall.max(here.0.saturating_sub(then.0)),
        });
        UnixMillis(self.telegram.0.saturating_sub(ago).saturating_sub(ago / DRIFT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: i64 = 1_795_230_000_000;
    const UPTIME: i64 = 7_000_000;

    fn moment(wall: i64, steady: i64) -> Moment {
        Moment { wall: UnixMillis(wall), steady: SteadyMillis(steady) }
    }

    fn reading(ahead_ms: i64) -> ClockReading {
        ClockReading { telegram: UnixMillis(NOON), here: moment(NOON + ahead_ms, UPTIME) }
    }

    #[test]
    fn a_clock_that_was_set_and_an_old_reading_tell_no_time() {
        let reading = reading(5_000);
        let now =
            |wall, steady| reading.telegrams_now(moment(NOON + 5_000 + wall, UPTIME + steady));
        assert_eq!(now(60_000, 60_000), Some(UnixMillis(NOON + 60_000 - 6)));
        assert_eq!(now(59_500, 60_000), Some(UnixMillis(NOON + 60_000 - 6)));
        assert_eq!(now(55_000, 60_000), None, "it was set back");
        assert_eq!(now(90_000, 60_000), None, "it was set on");
        assert_eq!(now(READING_MAX_AGE_MS, READING_MAX_AGE_MS), None);
        assert_eq!(now(-60_000, -60_000), None);
        assert_eq!(reading.telegrams_now(moment(i64::MIN, i64::MIN)), None);
    }

    #[test]
    fn a_clock_that_was_set_meanwhile_never_makes_a_moment_too_late() {
        // Accepted 10 s before the reading, while our clock was 5 s ahead.
        let wall = UnixMillis(NOON - 10_000 + 5_000);
        let steady = Some(SteadyMillis(UPTIME - 10_000));
        let truth = UnixMillis(NOON - 10_000 - 1);
        for ahead in [5_000, 0, -20_000] {
            assert_eq!(reading(ahead).telegrams_moment(wall, steady), truth, "{ahead}");
        }
        assert_eq!(reading(5_000).telegrams_moment(wall, None), truth, "noted by an older program");
    }

    #[test]
    fn what_was_before_the_machine_started_is_that_long_ago_at_least() {
        let steady = Some(SteadyMillis(UPTIME + 1));
        let told = reading(0).telegrams_moment(UnixMillis(NOON - UPTIME - 90_000), steady);
        assert_eq!(told, UnixMillis(NOON - UPTIME - 90_000 - 709));
        let told = reading(-UPTIME * 2).telegrams_moment(UnixMillis(NOON - UPTIME), steady);
        assert_eq!(told, UnixMillis(NOON - UPTIME - 700), "the clock was set back");
    }

    proptest! {
        /// Whatever our clock shows, and however it is set between two moments: a moment is exact but
        /// for what the steady clock may drift, unless ours was set on, and never later than the truth.
        #[test]
        fn a_moment_is_exact_or_early(
            ahead in -100_000..100_000_i64, set in -100_000..100_000_i64, ago in 0..UPTIME,
        ) {
            let truth = UnixMillis(NOON - ago);
            let steady = Some(SteadyMillis(UPTIME - ago));
            let told = reading(ahead + set).telegrams_moment(truth.plus_ms(ahead), steady);
            prop_assert!(told <= truth);
            if set <= 0 {
                prop_assert!(truth.0 - told.0 <= ago / DRIFT);
            }
        }

        /// The time there is never told too late, and never off by more than what is allowed.
        #[test]
        fn the_time_is_exact_or_a_little_early(
            ahead in -100_000..100_000_i64, elapsed in 0..READING_MAX_AGE_MS, set in -5_000..5_000_i64,
        ) {
            let truth = UnixMillis(NOON + elapsed);
            let now = moment(truth.0 + ahead + set, UPTIME + elapsed);
            let told = reading(ahead).telegrams_now(now);
            prop_assert_eq!(told.is_some(), set.abs() <= DISAGREEMENT_MAX_MS);
            if let Some(told) = told {
                prop_assert!(told <= truth && truth.0 - told.0 <= READING_MAX_AGE_MS / DRIFT);
            }
        }
    }
}
