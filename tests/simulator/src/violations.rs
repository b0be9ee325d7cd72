//! What a client must never do, detected and counted; every counter is 0 in a clean run.
//!
//! - `auth_key_connected_twice`: a second TCP connection with an auth key whose first one still
//!   lives 300 ms later. The newer one is answered 406 `AUTH_KEY_DUPLICATED` and the key is dead.
//! - `random_id_changed`: one account sends the same text to the same person within 60 seconds
//!   with another `random_id`, and both were accepted: the person got it twice.
//! - `call_during_flood_wait`: a method is called by an account that was answered `FLOOD_WAIT_n`
//!   to that very method less than n seconds ago.
//! - `connected_after_revoke`: a key that was told it is dead (`AUTH_KEY_UNREGISTERED` and the
//!   like) opens a connection again, more than three times; each one after the third counts.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Names of all violations, as they stand in `/stats`.
pub(crate) const NAMES: [&str; 4] = [
    "auth_key_connected_twice",
    "random_id_changed",
    "call_during_flood_wait",
    "connected_after_revoke",
];
/// How long the same text to the same person counts as a repetition.
const REPEAT_WINDOW: Duration = Duration::from_secs(60);
/// A wait announced in whole seconds is over a little early: clients count from another moment.
const WAIT_TOLERANCE: Duration = Duration::from_millis(50);
/// Remembered sends are swept when there are this many.
const SWEEP_AT: usize = 50_000;

/// Which of them happened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Violation {
    AuthKeyConnectedTwice,
    RandomIdChanged,
    CallDuringFloodWait,
    ConnectedAfterRevoke,
}

struct Sent {
    random_id: i64,
    at: Instant,
}

/// The counters, and what must be remembered to judge.
#[derive(Default)]
pub(crate) struct Violations {
    counts: [u64; NAMES.len()],
    sent: HashMap<(i64, i64, u64), Sent>,
    waits: HashMap<(i64, &'static str), Instant>,
}

impl Violations {
    pub(crate) fn count(&mut self, violation: Violation) {
        self.counts[violation as usize] += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        NAMES.iter().map(|name| (*name).to_owned()).zip(self.counts).collect()
    }

    /// Notes an accepted private message.
    pub(crate) fn sent(&mut self, from: i64, to: i64, text: &str, random_id: i64, now: Instant) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let fresh = |sent: &Sent| now.duration_since(sent.at) < REPEAT_WINDOW;
        if self.sent.len() >= SWEEP_AT {
            self.sent.retain(|_, sent| fresh(sent));
        }
        let before = self.sent.insert((from, to, hasher.finish()), Sent { random_id, at: now });
        if before.is_some_and(|sent| fresh(&sent) && sent.random_id != random_id) {
            self.count(Violation::RandomIdChanged);
        }
    }

    /// Notes that `user` was told to wait before calling `method` again.
    pub(crate) fn told_to_wait(
        &mut self,
        user: i64,
        method: &'static str,
        seconds: u64,
        now: Instant,
    ) {
        self.waits.insert((user, method), now + Duration::from_secs(seconds));
    }

    /// Judges a call by what was announced before.
    pub(crate) fn called(&mut self, user: i64, method: &'static str, now: Instant) {
        if self.waits.is_empty() {
            return;
        }
        match self.waits.get(&(user, method)) {
            Some(&until) if now + WAIT_TOLERANCE < until => {
                self.count(Violation::CallDuringFloodWait);
            }
            Some(_) => drop(self.waits.remove(&(user, method))),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(violations: &Violations, name: &str) -> u64 {
        violations.counts()[name]
    }

    #[test]
    fn the_same_text_with_another_random_id_counts_within_a_minute() {
        let mut violations = Violations::default();
        let start = Instant::now();
        violations.sent(1, 2, "hello", 10, start);
        violations.sent(1, 2, "hello", 10, start);
        violations.sent(1, 3, "hello", 11, start);
        violations.sent(1, 2, "other", 12, start);
        assert_eq!(of(&violations, "random_id_changed"), 0);
        violations.sent(1, 2, "hello", 13, start + Duration::from_secs(59));
        assert_eq!(of(&violations, "random_id_changed"), 1);
        violations.sent(1, 2, "hello", 14, start + Duration::from_secs(120));
        assert_eq!(of(&violations, "random_id_changed"), 1);
    }

    #[test]
    fn calling_counts_only_before_the_wait_is_over_and_only_that_method() {
        let mut violations = Violations::default();
        let start = Instant::now();
        violations.told_to_wait(1, "messages.sendMessage", 3, start);
        violations.called(1, "users.getUsers", start);
        violations.called(2, "messages.sendMessage", start);
        assert_eq!(of(&violations, "call_during_flood_wait"), 0);
        violations.called(1, "messages.sendMessage", start + Duration::from_secs(2));
        violations.called(1, "messages.sendMessage", start + Duration::from_secs(3));
        assert_eq!(of(&violations, "call_during_flood_wait"), 1);
    }
}
