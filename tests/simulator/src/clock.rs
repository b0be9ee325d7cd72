//! The only place that reads clocks.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
pub(crate) fn unix_nanos() -> u128 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.expect("the clock stands after 1970").as_nanos()
}

/// Seconds since 1970, as Telegram writes dates.
pub(crate) fn unix_seconds() -> i32 {
    (unix_nanos() / 1_000_000_000) as i32
}
