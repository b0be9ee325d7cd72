//! Daily limits: what an account may do in one day, UTC. Pure arithmetic over what the store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::values::ids::UnixMillis;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is counted when messages are sent.
pub const SEND: &str = "send";

impl DayCount {
    /// Nothing was done yet by the person or bot `telegram_id`.
    pub fn none(telegram_id: i64) -> Self {
        Self { telegram_id, day: i64::MIN, used: BTreeMap::new() }
    }

    /// How often `action` was done on the day whose count is in force at `now`: see [`DayCount::take`].
    pub fn used(&self, action: &str, now: UnixMillis) -> u32 {
        if self.day >= day_of(now) { self.used.get(action).copied().unwrap_or(0) } else { 0 }
    }

    /// When the day is over whose count is in force at `now`.
    pub fn resets_at(&self, now: UnixMillis) -> UnixMillis {
        self.over_at().max(next_day(now))
    }

    /// Counts one more, unless that were beyond `limit`. A clock that goes back does not begin a day
    /// anew: the count of the later day stays in force until that day has come.
    pub fn take(&mut self, action: &str, limit: u32, now: UnixMillis) -> bool {
        let today = day_of(now);
        if self.day < today {
            (self.day, self.used) = (today, BTreeMap::new());
        }
        let used = self.used.entry(action.to_owned()).or_default();
        let is_free = *used < limit;
        *used += u32::from(is_free);
        is_free
    }

    /// What two who counted at the same time have counted together: the later day, and of one day the
    /// larger numbers.
    pub fn merge(&mut self, other: &Self) {
        if other.day > self.day {
            self.clone_from(other);
        } else if other.day == self.day {
            for (action, used) in &other.used {
                let known = self.used.entry(action.clone()).or_default();
                *known = (*known).max(*used);
            }
        }
    }

    /// When its day is over, and it is worth nothing any more.
    pub fn over_at(&self) -> UnixMillis {
        UnixMillis(self.day.saturating_add(1).saturating_mul(DAY_MS))
    }

    /// Gives one back that was certainly not done, to the day that it was taken from (see
    /// [`DayCount::day`]); of a day that is over nothing is left to be given back. Only in memory: what the
    /// disk has is never made less, so that a crash errs on the side of too few.
    pub fn give_back(&mut self, action: &str, day: i64) {
        if self.day == day
            && let Some(used) = self.used.get_mut(action)
        {
            *used = used.saturating_sub(1);
        }
    }
}

fn day_of(at: UnixMillis) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// When the day of `now` is over.
pub fn next_day(now: UnixMillis) -> UnixMillis {
    UnixMillis((day_of(now) + 1).saturating_mul(DAY_MS))
}

/// What an account did in one day, for the daily limits. It outlives the account, so that connecting
/// it anew does not begin the day anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayCount {
    /// The person or bot at Telegram.
    pub telegram_id: i64,
    /// Days since 1970, UTC.
    pub day: i64,
    /// How often, by action.
    pub used: BTreeMap<String, u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let mut count = DayCount::none(1);
        let evening = UnixMillis(DAY_MS - 1);
        assert!(count.take(SEND, 1, evening) && !count.take(SEND, 1, evening));
        assert_eq!((count.used(SEND, evening), next_day(evening)), (1, UnixMillis(DAY_MS)));
        assert!(count.take(SEND, 1, UnixMillis(DAY_MS)));
        assert!(!count.take(SEND, 1, evening), "the clock went back");
        assert_eq!(count.used(SEND, evening), 1, "and what holds is what is told");
        assert_eq!(count.resets_at(evening), UnixMillis(2 * DAY_MS));
        assert_eq!(DayCount::none(1).resets_at(evening), UnixMillis(DAY_MS));
        assert!(count.take("invite", 1, UnixMillis(DAY_MS)), "each action has its own");
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_in_a_day(
            steps in prop::collection::vec((0..3i64, any::<bool>()), 0..200), limit in 0..9u32,
        ) {
            let mut count = DayCount::none(1);
            let mut now = 0;
            let mut done: BTreeMap<i64, u32> = BTreeMap::new();
            for (later, fails) in steps {
                now += later * DAY_MS / 4;
                let at = UnixMillis(now);
                if count.take(SEND, limit, at) {
                    if fails {
                        count.give_back(SEND, count.day);
                    } else {
                        *done.entry(now / DAY_MS).or_default() += 1;
                    }
                }
                prop_assert!(done.values().all(|done| *done <= limit));
                prop_assert_eq!(count.used(SEND, at), done.get(&(now / DAY_MS)).copied().unwrap_or(0));
            }
        }
    }
}
