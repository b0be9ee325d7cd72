//! The clocks of this machine, for whoever notes when something was. Owns nothing. Whatever decides
//! is given the time instead of looking here, so that it can be tested.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::telegram::server_time::{Moment, SteadyMillis};
use crate::protocol::values::ids::UnixMillis;

/// Runs on while the machine sleeps, and is the same for every process until it starts anew.
#[cfg(target_os = "linux")]
const STEADY: libc::clockid_t = libc::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const STEADY: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// The time by the system's clock. A clock before 1970 reads as 1970.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// This moment by all clocks of this machine.
pub fn moment() -> Moment {
    Moment { wall: now(), steady: steady() }
}

/// The time by the clock that nobody sets.
pub fn steady() -> SteadyMillis {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call gets a valid pointer to a struct that lives through it. A clock that the
    // system does not have leaves it at zero.
    unsafe { libc::clock_gettime(STEADY, &raw mut time) };
    SteadyMillis(time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_steady_clock_runs_as_fast_as_time_does() {
        let (began, before) = (Instant::now(), steady());
        std::thread::sleep(Duration::from_millis(30));
        let passed = steady().0 - before.0;
        let at_most = i64::try_from(began.elapsed().as_millis()).unwrap() + 1;
        assert!((29..=at_most).contains(&passed), "{passed} ms of {at_most}");
    }
}
