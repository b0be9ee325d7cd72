//! What time it is, for whoever notes when something was. The only room that reads the machine's clocks. A tree is
//! handed its [`Clock`]; whatever decides is given the time instead of looking here. Deadlines and pauses are the
//! runtime's ([`instant`]), so that a test can stop and move them.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::protocol::telegram::server_time::{Moment, SteadyMillis};
use crate::protocol::values::ids::UnixMillis;

/// Runs on while the machine sleeps, and is the same for every process until it starts anew.
#[cfg(target_os = "linux")]
const STEADY: libc::clockid_t = libc::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const STEADY: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// Where a [`Clock`] has its time from.
pub trait TimeSource: Send + Sync {
    /// The time that people see, which may be set at any moment.
    fn wall(&self) -> UnixMillis;
    /// The time that nobody sets.
    fn steady(&self) -> SteadyMillis;
}

/// The clocks of one tree. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self(Arc::new(System))
    }

    /// One with another source of time.
    pub fn of(source: impl TimeSource + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// The time of day. A clock before 1970 reads as 1970.
    pub fn now(&self) -> UnixMillis {
        self.0.wall()
    }

    /// The time by the clock that nobody sets.
    pub fn steady(&self) -> SteadyMillis {
        self.0.steady()
    }

    /// This moment by both.
    pub fn moment(&self) -> Moment {
        Moment { wall: self.now(), steady: self.steady() }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// This moment by the runtime's clock, which deadlines and pauses are counted by.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
pub fn instant() -> Instant {
    Instant::now()
}

/// The runtime's clock, for limiters. (`governor` would look at the machine's itself.)
#[derive(Clone, Debug, Default)]
pub struct RuntimeClock;

impl governor::clock::Clock for RuntimeClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        instant().into_std()
    }
}

/// A limiter of one kind of thing, by the runtime's clock.
pub type DirectLimiter =
    RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<std::time::Instant>>;

/// A limiter that lets through what `quota` allows.
pub fn limiter(quota: Quota) -> DirectLimiter {
    RateLimiter::direct_with_clock(quota, RuntimeClock)
}

/// The machine's clocks.
struct System;

impl TimeSource for System {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    fn wall(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn steady(&self) -> SteadyMillis {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call gets a valid pointer to a struct that lives through it. A clock that the
        // system does not have leaves it at zero.
        unsafe { libc::clock_gettime(STEADY, &raw mut time) };
        SteadyMillis(time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000))
    }
}

/// The machine's time of day, for tests that need any.
#[cfg(test)]
pub(crate) fn now() -> UnixMillis {
    Clock::system().now()
}

/// A clock that moves with the runtime's, which tests stop and move.
#[cfg(test)]
pub(crate) struct RuntimeTime {
    began: Instant,
    start: UnixMillis,
}

#[cfg(test)]
impl RuntimeTime {
    /// Begins at `start`.
    pub(crate) fn clock(start: UnixMillis) -> Clock {
        Clock::of(Self { began: instant(), start })
    }

    fn passed(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
impl TimeSource for RuntimeTime {
    fn wall(&self) -> UnixMillis {
        self.start.plus_ms(self.passed())
    }

    fn steady(&self) -> SteadyMillis {
        SteadyMillis(self.passed())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_steady_clock_runs_as_fast_as_time_does() {
        let (clock, began) = (Clock::system(), instant());
        let before = clock.steady();
        std::thread::sleep(Duration::from_millis(30));
        let passed = clock.steady().0 - before.0;
        let at_most = i64::try_from(began.elapsed().as_millis()).unwrap() + 1;
        assert!((29..=at_most).contains(&passed), "{passed} ms of {at_most}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_test_moves_the_time_of_a_tree() {
        let clock = RuntimeTime::clock(UnixMillis(1_000));
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(clock.now(), UnixMillis(3_601_000));
        assert_eq!(clock.steady(), SteadyMillis(3_600_000));
    }
}
