//! Notices that the library dropped updates: it fills a bounded queue without waiting and says
//! nothing about what did not fit. Pure bookkeeping over the queue's length.
//!
//! Only the pump takes from the queue, one packet between two looks. So a queue that was full at
//! any moment since the last look is at most one short of full now, and whatever was dropped
//! belongs behind everything that the queue could hold at that look.

/// Watches one queue.
#[derive(Debug)]
pub(super) struct OverflowWatch {
    capacity: u64,
    /// Packets taken so far.
    taken: u64,
    /// After this many packets something may be missing.
    gap_at: Option<u64>,
}

impl OverflowWatch {
    /// Watches a queue for `capacity` packets.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity as u64, taken: 0, gap_at: None }
    }

    /// To be called before each packet is taken, with the number of packets that wait. Answers
    /// whether something may be missing before the next one. What is dropped between noticing and
    /// this answer is covered by it: history that is read from now on has it.
    pub(super) fn look(&mut self, queued: usize) -> bool {
        if self.gap_at.is_none() && queued as u64 + 1 >= self.capacity {
            // As the queue was before the last packet was taken.
            self.gap_at = Some(self.taken.saturating_sub(1) + self.capacity);
        }
        self.gap_at.take_if(|position| self.taken >= *position).is_some()
    }

    /// A packet was taken.
    pub(super) fn took(&mut self) {
        self.taken += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// The library's queue and a reader of it, who notes what he is told.
    struct Queue {
        capacity: usize,
        waiting: VecDeque<u32>,
        next: u32,
        watch: OverflowWatch,
        last: Option<u32>,
    }

    impl Queue {
        fn new(capacity: usize) -> Self {
            let watch = OverflowWatch::new(capacity);
            Self { capacity, waiting: VecDeque::new(), next: 0, watch, last: None }
        }

        fn offer(&mut self, count: u8) {
            for _ in 0..count {
                if self.waiting.len() < self.capacity {
                    self.waiting.push_back(self.next);
                }
                self.next += 1;
            }
        }

        /// One turn of the pump; `between` packets come between the look and the taking.
        fn turn(&mut self, between: u8) {
            if self.watch.look(self.waiting.len()) {
                // History knows all that there is by now.
                self.last = self.next.checked_sub(1);
                return;
            }
            self.offer(between);
            let Some(number) = self.waiting.pop_front() else { return };
            self.watch.took();
            let expected = self.last.map_or(0, |last| last + 1);
            assert!(number <= expected, "{expected} is missing before {number}");
            self.last = self.last.max(Some(number));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_taken_over_a_gap_and_none_stays_unnoticed(
            capacity in 1_usize..6,
            steps in prop::collection::vec((0_u8..9, 0_u8..9), 1..60),
        ) {
            let mut queue = Queue::new(capacity);
            for (before, between) in steps {
                queue.offer(before);
                queue.turn(between);
            }
            for _ in 0..4 * capacity + 4 {
                queue.turn(0);
            }
            prop_assert_eq!(queue.last, queue.next.checked_sub(1));
        }
    }

    #[test]
    fn a_queue_with_room_is_left_alone() {
        let mut watch = OverflowWatch::new(8);
        for _ in 0..100 {
            assert!(!watch.look(6));
            watch.took();
        }
    }
}
