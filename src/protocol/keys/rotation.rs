//! When keys are due to be renewed. Pure.

use std::time::Duration;

use crate::protocol::tree::restart::Backoff;
use crate::protocol::values::ids::UnixMillis;

/// Pauses after rotations that failed, as when Vault is down: an hour at the most, since the old
/// keys are as good as before.
const RETRY: Backoff = Backoff { min_ms: 60_000, max_ms: 3_600_000 };

/// How long to wait before the next rotation of keys that were made at `created_at`, after
/// `failures` in a row. `jitter` is in 0..1. A clock that went back, or keys from the future, make
/// no wait longer than `every`.
pub fn wait(
    created_at: UnixMillis,
    now: UnixMillis,
    every: Duration,
    failures: u32,
    jitter: f64,
) -> Duration {
    if failures > 0 {
        return Duration::from_millis(RETRY.delay_ms(failures, jitter));
    }
    let age = now.0.checked_sub(created_at.0).and_then(|age| u64::try_from(age).ok());
    every.saturating_sub(Duration::from_millis(age.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    #[test]
    fn keys_are_renewed_when_they_have_their_age() {
        let at =
            |millis| wait(UnixMillis(1000), UnixMillis(millis), Duration::from_secs(9), 0, 0.5);
        assert_eq!(at(1000), Duration::from_secs(9));
        assert_eq!(at(4000), Duration::from_secs(6));
        assert_eq!(at(10_000), Duration::ZERO);
        assert_eq!(at(99_000), Duration::ZERO);
        assert_eq!(at(-5), Duration::from_secs(9), "the clock went back");
    }

    #[test]
    fn failures_are_repeated_ever_more_slowly_but_within_an_hour() {
        let after = |failures| wait(UnixMillis(0), UnixMillis(0), WEEK, failures, 1.0);
        assert_eq!(after(1), Duration::from_secs(60));
        assert_eq!(after(2), Duration::from_secs(120));
        assert_eq!(after(u32::MAX), Duration::from_secs(3600));
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_interval(
            created_at in any::<i64>(), now in any::<i64>(), every in 1..u64::MAX,
        ) {
            let every = Duration::from_secs(every / 1000);
            prop_assert!(wait(UnixMillis(created_at), UnixMillis(now), every, 0, 0.5) <= every);
        }
    }
}
