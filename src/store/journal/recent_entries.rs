//! The newest durable entries of the outbox, in memory, for one of its readers. Owns a bounded buffer; never reads a
//! segment.
//!
//! The buffer covers `[covers, next)`; the outbox ends at `end`. When it is full the writer
//! leaves it behind (`next < end`) and the reader, once it has emptied it, lets it start anew
//! at `end` and reads what lies between from the segments. So a backlog of any size costs memory for
//! one buffer and one read-ahead.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::protocol::bridge::outbox::OutboxEntry;

use super::segment::Numbered;

/// Most entries the buffer holds. At 600 bytes each, 5 MiB.
const RECENT_ENTRIES: usize = 8192;
/// Most bytes of bodies the buffer holds.
const RECENT_BYTES: usize = 8 * 1024 * 1024;

/// What the writer and one reader share.
pub(in crate::store) struct RecentEntries {
    state: Mutex<State>,
    pub(in crate::store) arrived: Notify,
}

struct State {
    /// Whether there is a reader: without one it holds nothing.
    is_open: bool,
    entries: VecDeque<Numbered>,
    bytes: usize,
    /// Where the coverage starts: at its front entry, or `next` when it is empty.
    covers: u64,
    /// Where it ends.
    next: u64,
    /// The sequence number after the newest durable entry.
    end: u64,
}

/// What the reader does next.
pub(in crate::store) enum Step {
    Took(Vec<Numbered>),
    /// Read the segments of `from..to`.
    Fetch {
        from: u64,
        to: u64,
    },
    Wait,
}

impl RecentEntries {
    /// An empty buffer of an outbox that ends at `end`.
    pub(in crate::store) fn new(end: u64) -> Self {
        let entries = VecDeque::new();
        let state = State { is_open: true, entries, bytes: 0, covers: end, next: end, end };
        Self { state: Mutex::new(state), arrived: Notify::new() }
    }

    /// An empty buffer that holds nothing until it is opened.
    pub(in crate::store) fn closed(end: u64) -> Self {
        let recent = Self::new(end);
        recent.lock().is_open = false;
        recent
    }

    pub(in crate::store) fn set_open(&self, is_open: bool) {
        let mut state = self.lock();
        state.is_open = is_open;
        state.restart();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of entries that became durable; they follow each other and the earlier ones.
    pub(in crate::store) fn push(&self, first: u64, entries: &[Arc<OutboxEntry>]) {
        let mut state = self.lock();
        let end = first + entries.len() as u64;
        for (seq, entry) in (first..).zip(entries) {
            let fits = state.entries.len() < RECENT_ENTRIES && state.bytes < RECENT_BYTES;
            if state.next != seq || !fits || !state.is_open {
                break;
            }
            state.bytes += entry.body.len();
            state.entries.push_back((seq, Arc::clone(entry)));
            state.next = seq + 1;
        }
        state.end = end;
        if !state.is_open {
            state.restart();
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// The sequence number after the newest durable entry.
    pub(in crate::store) fn end(&self) -> u64 {
        self.lock().end
    }

    pub(in crate::store) fn step(&self, at: u64, max: usize) -> Step {
        let mut state = self.lock();
        if at >= state.end {
            return Step::Wait;
        }
        if at >= state.next {
            state.restart();
        }
        if at < state.covers {
            return Step::Fetch { from: at, to: state.covers };
        }
        Step::Took(state.pop(at, max))
    }
}

impl State {
    /// Lets the buffer start anew at the end of the outbox.
    fn restart(&mut self) {
        self.entries.clear();
        self.bytes = 0;
        (self.covers, self.next) = (self.end, self.end);
    }

    fn pop(&mut self, at: u64, max: usize) -> Vec<Numbered> {
        // A read-ahead ends with a segment, which may lie beyond the start of the buffer.
        while self.covers < at && !self.entries.is_empty() {
            self.take(1);
        }
        self.take(max)
    }

    fn take(&mut self, max: usize) -> Vec<Numbered> {
        let count = max.min(self.entries.len());
        let taken: Vec<Numbered> = self.entries.drain(..count).collect();
        self.covers += count as u64;
        self.bytes -= taken.iter().map(|(_, entry)| entry.body.len()).sum::<usize>();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize, bytes: usize) -> Vec<Arc<OutboxEntry>> {
        let entry = OutboxEntry {
            owner: None,
            route: crate::protocol::bridge::outbox::Route::Event,
            kind: String::new(),
            message_id: uuid::Uuid::nil(),
            timestamp: 0,
            said_at: None,
            body: vec![0; bytes],
        };
        std::iter::repeat_n(Arc::new(entry), count).collect()
    }

    fn took(step: Step) -> Vec<u64> {
        match step {
            Step::Took(taken) => taken.into_iter().map(|(seq, _)| seq).collect(),
            Step::Fetch { from, to } => panic!("fetch {from}..{to}"),
            Step::Wait => vec![],
        }
    }

    #[test]
    fn what_just_became_durable_comes_from_the_ring() {
        let recent = RecentEntries::new(5);
        recent.push(5, &entries(3, 1));
        assert_eq!(took(recent.step(5, 2)), [5, 6]);
        assert_eq!(took(recent.step(7, 2)), [7]);
        assert!(matches!(recent.step(8, 2), Step::Wait));
    }

    #[test]
    fn a_reader_that_starts_behind_fetches_up_to_the_ring() {
        let recent = RecentEntries::new(100);
        recent.push(100, &entries(3, 1));
        assert!(matches!(recent.step(7, 9), Step::Fetch { from: 7, to: 100 }));
        assert_eq!(took(recent.step(100, 9)), [100, 101, 102]);
    }

    #[test]
    fn an_overflowing_ring_is_emptied_then_bridged_from_the_segments() {
        for (count, bytes, held) in
            [(RECENT_ENTRIES + 10, 1, RECENT_ENTRIES as u64), (30, 1 << 20, 8)]
        {
            let recent = RecentEntries::new(1);
            recent.push(1, &entries(count, bytes));
            let end = 1 + count as u64;
            assert_eq!(took(recent.step(1, 3)), [1, 2, 3]);
            recent.push(end, &entries(1, 1));
            let rest: Vec<u64> = (4..=held).collect();
            assert_eq!(took(recent.step(4, usize::MAX)), rest, "what follows a gap stays out");
            let Step::Fetch { from, to } = recent.step(1 + held, 9) else { panic!("no fetch") };
            assert_eq!((from, to), (1 + held, end + 1));
            recent.push(end + 1, &entries(2, 1));
            assert_eq!(took(recent.step(end + 1, 9)), [end + 1, end + 2]);
            assert_eq!(recent.lock().bytes, 0);
        }
    }

    #[test]
    fn a_rewound_reader_fetches_what_the_ring_gave_away() {
        let recent = RecentEntries::new(1);
        recent.push(1, &entries(6, 1));
        assert_eq!(took(recent.step(1, 4)), [1, 2, 3, 4]);
        assert!(matches!(recent.step(2, 9), Step::Fetch { from: 2, to: 5 }));
        assert_eq!(took(recent.step(6, 9)), [6], "a read-ahead may end inside the ring");
    }
}
