//! What a client must never do, detected and counted; every counter is 0 in a clean run.
//!
//! - `auth_key_connected_twice`: a second TCP connection with an auth key whose first one still
//!   lives 300 ms later. The newer one is answered 406 `AUTH_KEY_DUPLICATED` and the key is dead.
//! - `random_id_changed`: one account sends the same text to the same person within 60 seconds
//!   with another `random_id`, and both were accepted: the person got it twice.
//! - `call_during_flood_wait`: a method is called by an account that was answered `FLOOD_WAIT_n`
//!   to that very method less than n seconds ago, and had heard of it; `flood_waits` says when.
//! - `invited_after_refusal`: a person is invited again who refused: by privacy settings to any
//!   chat, by having left or been removed to that one. New settings make that void.
//! - `written_to_twice`: within `repeat_seconds` (if that limit is set) the same text goes to one
//!   person again, by whichever account, under another `random_id`, and both were accepted.
//! - `stars_paid`: a message was paid for.
//! - `connected_after_revoke`: a key that was told it is dead (`AUTH_KEY_UNREGISTERED` and the
//!   like) opens a connection again, more than three times; each one after the third counts.
//!
//! Each one that is counted leaves a line that says whose it is and when, in the log at warn and
//! in `/stats`; calls during a wait that were excused leave one in a list of their own.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::flood_waits::{Call, FloodWaits, Judgement};

/// Names of all violations, as they stand in `/stats`.
pub(crate) const NAMES: [&str; 7] = [
    "auth_key_connected_twice",
    "random_id_changed",
    "call_during_flood_wait",
    "connected_after_revoke",
    "invited_after_refusal",
    "written_to_twice",
    "stars_paid",
];
/// How long the same text to the same person counts as a repetition.
const REPEAT_WINDOW: Duration = Duration::from_secs(60);
/// Remembered sends are swept when there are this many.
const SWEEP_AT: usize = 50_000;
/// Most lines kept of each kind; what comes later is only counted.
const LINES_MAX: usize = 100;

/// Which of them happened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Violation {
    AuthKeyConnectedTwice,
    RandomIdChanged,
    CallDuringFloodWait,
    ConnectedAfterRevoke,
    InvitedAfterRefusal,
    WrittenToTwice,
    StarsPaid,
}

struct Sent {
    by: i64,
    random_id: i64,
    at: Instant,
}

/// Sends by what they are looked up by; old ones are swept out when there are twice as many as
/// the last sweep left, so that remembering many stays cheap.
struct Remembered<K> {
    sent: HashMap<K, Sent>,
    sweep_at: usize,
}

impl<K> Default for Remembered<K> {
    fn default() -> Self {
        Self { sent: HashMap::new(), sweep_at: SWEEP_AT }
    }
}

impl<K: Hash + Eq> Remembered<K> {
    /// Remembers a send; answers the one before, if that is not older than `window`.
    fn replace(&mut self, key: K, sent: Sent, window: Duration) -> Option<Sent> {
        let now = sent.at;
        let fresh = |sent: &Sent| now.duration_since(sent.at) < window;
        if self.sent.len() >= self.sweep_at {
            self.sent.retain(|_, sent| fresh(sent));
            self.sweep_at = SWEEP_AT.max(2 * self.sent.len());
        }
        self.sent.insert(key, sent).filter(fresh)
    }
}

/// The counters, and what must be remembered to judge.
#[derive(Default)]
pub(crate) struct Violations {
    counts: [u64; NAMES.len()],
    lines: Vec<String>,
    excused: Vec<String>,
    sent: Remembered<(i64, i64, u64)>,
    received: Remembered<(i64, u64)>,
    pub(crate) waits: FloodWaits,
}

impl Violations {
    /// Counts one; the text says whose it is, without the violation's name.
    pub(crate) fn count(&mut self, violation: Violation, text: impl Display) {
        self.counts[violation as usize] += 1;
        let name = NAMES[violation as usize];
        tracing::warn!(violation = name, "{text}");
        keep(&mut self.lines, format!("{name}: {text}"));
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        NAMES.iter().map(|name| (*name).to_owned()).zip(self.counts).collect()
    }

    /// A line for each violation, as many as are kept.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }

    /// A line for each call during a wait of which its client may not have heard.
    pub(crate) fn excused(&self) -> Vec<String> {
        self.excused.clone()
    }

    /// Notes an accepted private message.
    pub(crate) fn sent(&mut self, from: i64, to: i64, text: &str, random_id: i64, now: Instant) {
        let key = (from, to, hash(text));
        let before = self.sent.replace(key, Sent { by: from, random_id, at: now }, REPEAT_WINDOW);
        if before.is_some_and(|sent| sent.random_id != random_id) {
            let text = format!("account {from} wrote the same to account {to} twice");
            self.count(Violation::RandomIdChanged, text);
        }
    }

    /// Notes the same for the person who got it: within `window` nobody may write that again.
    pub(crate) fn received(
        &mut self,
        from: i64,
        to: i64,
        text: &str,
        random_id: i64,
        (window, now): (Duration, Instant),
    ) {
        let sent = Sent { by: from, random_id, at: now };
        let before = self.received.replace((to, hash(text)), sent, window);
        let Some(before) = before.filter(|sent| (sent.by, sent.random_id) != (from, random_id))
        else {
            return;
        };
        let text =
            format!("account {to} got the same of account {} and of account {from}", before.by);
        self.count(Violation::WrittenToTwice, text);
    }

    /// Judges a call by the waits that were told before.
    pub(crate) fn called(&mut self, call: Call, now: Instant) {
        match self.waits.judge(call, now) {
            Judgement::Free => {}
            Judgement::Excused(finding) => {
                tracing::debug!("excused: {finding}");
                keep(&mut self.excused, finding.to_string());
            }
            Judgement::Breaks(finding) => self.count(Violation::CallDuringFloodWait, finding),
        }
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn keep(lines: &mut Vec<String>, line: String) {
    if lines.len() < LINES_MAX {
        lines.push(line);
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
    fn the_same_text_by_whomever_counts_for_the_person_who_gets_it() {
        let mut violations = Violations::default();
        let (start, window) = (Instant::now(), Duration::from_secs(3600));
        violations.received(1, 9, "hello", 10, (window, start));
        violations.received(1, 9, "hello", 10, (window, start));
        violations.received(1, 8, "hello", 10, (window, start));
        violations.received(1, 9, "other", 11, (window, start));
        assert_eq!(of(&violations, "written_to_twice"), 0);
        violations.received(2, 9, "hello", 10, (window, start + Duration::from_secs(3599)));
        violations.received(2, 9, "hello", 12, (window, start + Duration::from_secs(3600)));
        assert_eq!(of(&violations, "written_to_twice"), 2);
    }

    #[test]
    fn remembering_very_many_sends_takes_no_time() {
        let mut violations = Violations::default();
        let start = Instant::now();
        for person in 0..200_000 {
            violations.sent(1, person, "hello", person, start);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }

    #[test]
    fn each_one_leaves_a_line_and_an_excused_call_leaves_one_elsewhere() {
        let mut violations = Violations::default();
        let start = Instant::now();
        let method = "messages.sendMessage";
        let call = Call { user: 1, method, fingerprint: 1, link: 1, packet: 1 };
        let id = violations.waits.told(call, 3, start);
        violations.called(Call { fingerprint: 2, packet: 2, ..call }, start);
        assert_eq!((violations.lines().len(), violations.excused().len()), (0, 1));
        violations.waits.acknowledged(id, 3);
        violations.called(Call { packet: 4, ..call }, start);
        assert_eq!(of(&violations, "call_during_flood_wait"), 1);
        let line = "call_during_flood_wait: account 1 repeated messages.sendMessage";
        assert!(violations.lines()[0].starts_with(line), "{:?}", violations.lines());
    }

    #[test]
    fn more_are_counted_than_leave_a_line() {
        let mut violations = Violations::default();
        for _ in 0..LINES_MAX + 5 {
            violations.count(Violation::ConnectedAfterRevoke, "account 1");
        }
        assert_eq!(of(&violations, "connected_after_revoke"), LINES_MAX as u64 + 5);
        assert_eq!(violations.lines().len(), LINES_MAX);
    }
}
