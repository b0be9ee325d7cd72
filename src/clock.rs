//! The clocks of the machine, for whoever notes when something was. Owns nothing. Whatever decides is given the
//! time instead of looking here, so that it can be tested.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::ids::UnixMillis;

/// The time by the system's clock. A clock before 1970 reads as 1970.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds since the machine was started, the time it slept included: what several runs of the
/// program can compare although somebody sets the wall clock (`CLOCK_BOOTTIME`, clock_gettime(2)).
pub fn since_boot() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a struct that lives through the call. Linux has this clock since 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}
