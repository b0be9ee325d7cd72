//! The heartbeat's bookkeeping: which parts have answered the pulse that is under way, and what
//! the time calls for. Owns no clock, no thread and no socket; what to tell whom is decided by
//! `systemd.rs`.
//!
//! One pulse is under way at a time. A part that is stuck holds it up, so no questions pile up in
//! its mailbox, and the beat comes back by itself when the part does.

use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

use tokio::sync::oneshot;

use crate::actors::Part;

/// For this long a tree that waits for a disk which does not answer is excused. A restart does not
/// mend a disk, and it would make every session connect anew; but a process that hangs for longer
/// may hang for a reason of its own that only looks like the disk.
const EXCUSED_MAX: Duration = Duration::from_secs(5 * 60);

/// What a look at the clock calls for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Nothing.
    Nothing,
    /// The next pulse.
    Pulse,
    /// Naming those who are late with their answer. Asked for once a pulse.
    Accuse,
    /// A beat although some do not answer: they wait for the disk.
    Excuse,
}

/// See the module's words.
pub(super) struct Heartbeat {
    parts: Vec<Part>,
    every: Duration,
    /// Number of the newest pulse.
    pulse: u64,
    began: Instant,
    /// Those who have not answered it.
    silent: BTreeSet<usize>,
    is_late: bool,
    /// The last beat.
    beat: Instant,
}

impl Heartbeat {
    /// Of these parts; the first pulse is due at once.
    pub(super) fn new(parts: Vec<Part>, every: Duration, now: Instant) -> Self {
        let silent = BTreeSet::new();
        Self { parts, every, pulse: 0, began: now, silent, is_late: false, beat: now }
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self, now: Instant, disk_hangs: bool) -> Call {
        let waited = now.saturating_duration_since(self.began);
        if self.silent.is_empty() {
            let is_due = self.pulse == 0 || waited >= self.every;
            return if is_due { Call::Pulse } else { Call::Nothing };
        }
        if !self.is_late && waited >= self.every / 2 {
            self.is_late = true;
            return Call::Accuse;
        }
        let is_owed = now.saturating_duration_since(self.beat) >= self.every;
        if self.is_late && is_owed && disk_hangs && waited < EXCUSED_MAX {
            self.beat = now;
            return Call::Excuse;
        }
        Call::Nothing
    }

    /// Begins a pulse: its number, and the answer of each part in turn.
    pub(super) fn begin(&mut self, now: Instant) -> (u64, Vec<oneshot::Receiver<()>>) {
        self.pulse += 1;
        self.began = now;
        self.is_late = false;
        self.silent = (0..self.parts.len()).collect();
        (self.pulse, self.parts.iter().map(Part::ask).collect())
    }

    /// A part answered. When it was the last one: how long the pulse took, and whether somebody
    /// was accused meanwhile.
    pub(super) fn answered(
        &mut self,
        pulse: u64,
        part: usize,
        now: Instant,
    ) -> Option<(Duration, bool)> {
        if pulse != self.pulse || !self.silent.remove(&part) || !self.silent.is_empty() {
            return None;
        }
        self.beat = now;
        let was_late = std::mem::take(&mut self.is_late);
        Some((now.saturating_duration_since(self.began), was_late))
    }

    /// Those who are late with their answer; empty while nobody is.
    pub(super) fn late(&self) -> Vec<&'static str> {
        let silent = self.silent.iter().filter(|_| self.is_late);
        silent.map(|index| self.parts[*index].name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn part(name: &'static str) -> Part {
        Part::new(name, || oneshot::channel().1)
    }

    fn begun(names: &[&'static str]) -> (Heartbeat, Instant) {
        let now = Instant::now();
        let parts = names.iter().map(|name| part(name)).collect();
        let mut heart = Heartbeat::new(parts, EVERY, now);
        assert_eq!(heart.look(now, false), Call::Pulse);
        assert_eq!(heart.begin(now).0, 1);
        (heart, now)
    }

    #[test]
    fn a_beat_needs_the_answer_of_every_part() {
        let (mut heart, now) = begun(&["fleet", "jobs"]);
        let soon = now + Duration::from_millis(3);
        assert_eq!(heart.answered(1, 0, soon), None);
        assert_eq!(heart.answered(1, 0, soon), None, "twice is still one of two");
        assert_eq!(heart.answered(1, 1, soon), Some((Duration::from_millis(3), false)));
        assert_eq!(heart.look(now + EVERY / 2, false), Call::Nothing);
        assert_eq!(heart.look(now + EVERY, false), Call::Pulse);
    }

    #[test]
    fn the_late_ones_are_named_once_and_no_pulse_follows_until_they_answer() {
        let (mut heart, now) = begun(&["fleet", "jobs"]);
        heart.answered(1, 0, now);
        assert!(heart.late().is_empty(), "not late yet");
        assert_eq!(heart.look(now + EVERY / 2, false), Call::Accuse);
        assert_eq!(heart.late(), ["jobs"]);
        for later in 1..100 {
            assert_eq!(heart.look(now + EVERY * later, false), Call::Nothing);
        }
        let end = now + EVERY * 100;
        assert_eq!(heart.answered(1, 1, end), Some((EVERY * 100, true)));
        assert!(heart.late().is_empty());
        assert_eq!(heart.look(end, false), Call::Pulse);
    }

    #[test]
    fn an_answer_to_an_earlier_pulse_does_not_count() {
        let (mut heart, now) = begun(&["fleet"]);
        heart.answered(1, 0, now);
        heart.begin(now + EVERY);
        assert_eq!(heart.answered(1, 0, now + EVERY), None);
        assert!(heart.answered(2, 0, now + EVERY).is_some());
    }

    #[test]
    fn who_waits_for_the_disk_is_excused_but_not_forever() {
        let (mut heart, now) = begun(&["fleet"]);
        assert_eq!(heart.look(now + EVERY / 2, true), Call::Accuse);
        let looks = (1..1_000_u32).map(|second| now + Duration::from_secs(second.into()));
        let excused: Vec<Instant> =
            looks.filter(|at| heart.look(*at, true) == Call::Excuse).collect();
        assert!(excused.windows(2).all(|pair| pair[1] - pair[0] == EVERY), "at the usual pace");
        assert_eq!(excused.first(), Some(&(now + EVERY)));
        assert!(excused.last().is_some_and(|last| *last < now + EXCUSED_MAX));
        assert!(excused.len() >= 9);
    }
}
