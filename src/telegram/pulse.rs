//! The pulse of one link: what it does and when it last heard something, written by whoever works
//! on it, read by whoever watches over it. Never waits, never decides.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

use crate::clock::instant;
use crate::protocol::tree::watchdog::{Activity, Vitals};

/// See [`Vitals`]; moments are milliseconds since the link was made.
#[derive(Debug)]
pub struct Pulse {
    born: Instant,
    activity: AtomicU8,
    since: AtomicU64,
    heard: AtomicU64,
    /// How often something came: milliseconds do not tell what came after what.
    heard_times: AtomicU64,
    applied: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            born: instant(),
            activity: AtomicU8::new(Activity::Asking as u8),
            since: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            heard_times: AtomicU64::new(0),
            applied: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// One of a link that was made this long ago and has done nothing else since.
    #[cfg(test)]
    pub(crate) fn aged(age: Duration, activity: Activity) -> Self {
        let born = instant().checked_sub(age).unwrap();
        Self { born, activity: AtomicU8::new(activity as u8), ..Self::default() }
    }

    /// Now, on the link's clock.
    pub fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The link turns to something else, or to the same once more.
    pub fn begin(&self, activity: Activity) {
        // In this order: whoever reads the new activity must not take it for an old one.
        self.since.store(self.now(), Ordering::Release);
        self.activity.store(activity as u8, Ordering::Release);
    }

    /// Something came from Telegram.
    pub(super) fn heard(&self) {
        self.heard.store(self.now(), Ordering::Relaxed);
        self.heard_times.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something came from Telegram.
    pub(super) fn heard_times(&self) -> u64 {
        self.heard_times.load(Ordering::Relaxed)
    }

    /// News were handed to the monitors.
    pub fn applied(&self) {
        self.applied.store(self.now().max(1), Ordering::Relaxed);
    }

    /// When something last came from Telegram.
    pub(super) fn heard_at(&self) -> Instant {
        self.born + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    /// How the link is getting on.
    pub fn vitals(&self) -> Vitals {
        let activity = self.activity.load(Ordering::Acquire);
        Vitals {
            activity: Activity::ALL[usize::from(activity)],
            since: self.since.load(Ordering::Acquire),
            heard: self.heard.load(Ordering::Relaxed),
            applied: self.applied.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_activity_is_read_as_it_was_written() {
        let pulse = Pulse::default();
        for activity in Activity::ALL {
            pulse.begin(activity);
            assert_eq!(pulse.vitals().activity, activity);
        }
        assert_eq!(pulse.vitals().applied, 0);
        pulse.applied();
        assert!(pulse.vitals().applied > 0);
    }
}
