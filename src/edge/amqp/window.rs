//! When a published entry may be forgotten: pure arithmetic over what was published and confirmed.
//!
//! lapin hands a returned message to whichever confirm it resolves next, which need not be the
//! message's own. The broker sends a return before the confirm of the same message, and each
//! confirm takes one waiting return, oldest first. So once everything that had been published
//! when an entry's confirm arrived is confirmed as well, the entry's return, had there been one,
//! has been seen: returns that still wait then belong to younger entries only, and they stand in
//! line behind it.

use std::collections::VecDeque;

/// The entries of one channel that are not forgotten yet, by position.
///
/// Instead of one mark per entry there is one for many: when the fence falls, all that had been
/// confirmed when it was put up is settled, and a new one is put up. An entry is therefore
/// settled at most two windows after its confirm, and at once when nothing is outstanding.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// Sequence numbers that are not settled, in order; the first `confirmed` are confirmed.
    unsettled: VecDeque<u64>,
    /// How many of them are confirmed.
    confirmed: usize,
    /// How many of them were confirmed when the fence was put up.
    behind: usize,
    /// How many of them were published when it was put up.
    until: usize,
}

impl Fence {
    /// Takes note of a publish.
    pub(super) fn published(&mut self, seq: u64) {
        self.unsettled.push_back(seq);
    }

    /// Takes note that the oldest unconfirmed entry was confirmed. If that settles any, returns the
    /// youngest: everything up to it may be forgotten.
    pub(super) fn confirmed(&mut self) -> Option<u64> {
        debug_assert!(self.confirmed < self.unsettled.len(), "confirmed more than published");
        self.confirmed += 1;
        if self.confirmed < self.until {
            return None;
        }
        let settled =
            if self.confirmed == self.unsettled.len() { self.confirmed } else { self.behind };
        let last = settled.checked_sub(1).map(|index| self.unsettled[index]);
        self.unsettled.drain(..settled);
        self.confirmed -= settled;
        (self.behind, self.until) = (self.confirmed, self.unsettled.len());
        last
    }

    /// The oldest entry that must not be forgotten.
    pub(super) fn first_unsettled(&self) -> Option<u64> {
        self.unsettled.front().copied()
    }

    /// The youngest one.
    pub(super) fn last_unsettled(&self) -> Option<u64> {
        self.unsettled.back().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_anything_outstanding_a_confirm_settles_at_once() {
        let mut fence = Fence::default();
        fence.published(7);
        assert_eq!(fence.confirmed(), Some(7));
        assert_eq!(fence.first_unsettled(), None);
    }

    #[test]
    fn what_was_published_meanwhile_has_to_be_confirmed_too() {
        let mut fence = Fence::default();
        (0..4).for_each(|seq| fence.published(seq));
        assert_eq!(fence.confirmed(), None, "the fence goes up: 1 confirmed, 4 published");
        fence.published(4);
        assert_eq!([fence.confirmed(), fence.confirmed()], [None, None]);
        assert_eq!(
            fence.confirmed(),
            Some(0),
            "all that was published at 0's confirm is confirmed"
        );
        assert_eq!(fence.first_unsettled(), Some(1));
        assert_eq!(fence.confirmed(), Some(4), "nothing is outstanding");
    }

    /// Broker and library: returns come in order and before their own confirm; in the library they
    /// wait in a queue, and each confirm takes the first.
    #[derive(Default)]
    struct Library {
        on_their_way: VecDeque<u64>,
        waiting: VecDeque<u64>,
        unconfirmed: VecDeque<u64>,
    }

    impl Library {
        fn receive_returns(&mut self, through: u64) {
            while self.on_their_way.front().is_some_and(|entry| *entry <= through) {
                self.waiting.extend(self.on_their_way.pop_front());
            }
        }
    }

    proptest! {
        /// Whatever the broker confirms together and in whatever order the library resolves one
        /// frame's confirms, no entry is settled before its return was seen.
        #[test]
        fn no_returned_entry_is_ever_settled_unseen(
            steps in prop::collection::vec((1..6u64, 0..6usize, any::<u64>(), any::<u64>()), 1..80),
        ) {
            let mut library = Library::default();
            let mut fence = Fence::default();
            // Confirms that the library has resolved, with the return each carried; the publisher
            // reads them in the order of publishing.
            let mut resolved = std::collections::BTreeMap::new();
            let (mut next, mut read) = (0u64, 0u64);
            for (publishes, confirms, returned, shuffle) in steps {
                for offset in 0..publishes {
                    fence.published(next);
                    library.unconfirmed.push_back(next);
                    if returned >> offset & 1 == 1 {
                        library.on_their_way.push_back(next);
                    }
                    next += 1;
                }
                let count = confirms.min(library.unconfirmed.len());
                let mut frame: Vec<u64> = library.unconfirmed.drain(..count).collect();
                let early = if shuffle & 2 == 2 { next } else { 0 };
                library.receive_returns(frame.last().copied().unwrap_or(0).max(early));
                let returned_entries: Vec<u64> = library.waiting.iter().copied().collect();
                let turn = usize::try_from(shuffle % 6).unwrap();
                frame.rotate_left(turn.min(count));
                if shuffle & 1 == 1 {
                    frame.reverse();
                }
                for entry in frame {
                    resolved.insert(entry, library.waiting.pop_front());
                }
                let mut seen = Vec::new();
                while let Some(carried) = resolved.remove(&read) {
                    seen.extend(carried);
                    read += 1;
                    if let Some(through) = fence.confirmed() {
                        let unseen = |entry: &&u64| {
                            **entry <= through
                                && (library.waiting.contains(*entry)
                                    || resolved.values().any(|other| other.as_ref() == Some(*entry)))
                        };
                        prop_assert_eq!(returned_entries.iter().find(unseen), None);
                    }
                }
                if !seen.is_empty() {
                    // The publisher gives up the channel at the first return.
                    return Ok(());
                }
            }
        }
    }
}
