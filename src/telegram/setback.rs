//! Notices numbering that goes back: the library takes an update whose number is not above the
//! last one for a repetition and drops it, and would do so with everything until the numbers have
//! caught up. Pure bookkeeping over numbers.
//!
//! A repetition and a setback look alike; what comes next tells them apart. So what is noted here
//! is forgotten when an update of the sequence fits again, and looked into when nothing else waits.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Between two sequences that are looked into, each of which costs a call.
const PAUSE: Duration = Duration::from_secs(1);

/// A sequence: a channel's, by its bare id, or the account's own.
pub(super) type Sequence = Option<i64>;

/// The sequences whose newest update had a number below where the library stands.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    /// Where each of them stood before its newest update.
    behind: BTreeMap<Sequence, i32>,
    not_before: Option<Instant>,
}

impl Setbacks {
    /// An update that moves `sequence` by `count` to `number` came, was not applied, and the
    /// library stands at `stands`.
    pub(super) fn ignored(&mut self, sequence: Sequence, number: i32, count: i32, stands: i32) {
        if number < stands {
            self.behind.insert(sequence, number.saturating_sub(count).max(1));
        } else {
            // The newest one once more, or one ahead of a gap: both by the numbers we know.
            self.behind.remove(&sequence);
        }
    }

    /// An update of `sequence` was applied: its numbers are those that we know.
    pub(super) fn applied(&mut self, sequence: Sequence) {
        self.behind.remove(&sequence);
    }

    /// When something is to be looked into, if at all.
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        (!self.behind.is_empty()).then(|| self.not_before.unwrap_or(now))
    }

    /// A sequence to look into now, and where it stood before its newest update.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Sequence, i32)> {
        self.due_at(now).filter(|due| *due <= now)?;
        self.not_before = Some(now + PAUSE);
        self.behind.pop_first()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sequence at Telegram and the library's idea of it.
    struct World {
        server: i32,
        library: i32,
        setbacks: Setbacks,
    }

    impl World {
        fn update(&mut self, number: i32) {
            if number == self.library + 1 {
                self.library = number;
                self.setbacks.applied(None);
            } else {
                self.setbacks.ignored(None, number, 1, self.library);
            }
        }
    }

    proptest! {
        #[test]
        fn after_a_setback_the_library_is_put_right_and_repetitions_do_no_harm(
            steps in prop::collection::vec((0_u8..10, 1_i32..20), 1..80),
        ) {
            let mut world = World { server: 100, library: 100, setbacks: Setbacks::default() };
            let mut now = Instant::now();
            for (kind, back) in steps {
                match kind {
                    0 => world.server = (world.server - back).max(1),
                    1 => world.update(world.server),
                    2 => world.update((world.server - back).max(1)),
                    _ => {
                        world.server += 1;
                        world.update(world.server);
                        now += PAUSE;
                        if let Some((sequence, before)) = world.setbacks.take(now) {
                            prop_assert_eq!(sequence, None);
                            prop_assert_eq!(before, world.server - 1);
                            world.library = world.server;
                        }
                        // By its numbers nothing new is below where the library stands.
                        prop_assert!(world.library <= world.server);
                        // What is missing ahead the library fetches itself.
                        world.library = world.server;
                    }
                }
            }
        }
    }

    #[test]
    fn one_sequence_after_the_other_is_looked_into() {
        let mut setbacks = Setbacks::default();
        let now = Instant::now();
        assert_eq!(setbacks.due_at(now), None);
        setbacks.ignored(Some(1), 5, 1, 9);
        setbacks.ignored(Some(2), 7, 2, 9);
        setbacks.ignored(Some(3), 9, 1, 9);
        assert_eq!(setbacks.take(now), Some((Some(1), 4)));
        assert_eq!(setbacks.take(now), None);
        assert_eq!(setbacks.due_at(now), Some(now + PAUSE));
        assert_eq!(setbacks.take(now + PAUSE), Some((Some(2), 5)));
        assert_eq!(setbacks.due_at(now + PAUSE), None);
    }
}
