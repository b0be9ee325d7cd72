//! The reading side of the outbox. Owns the rings of entries that became durable just now, and the two
//! readers (one for the broker, one for webhooks), which turn to the segments on disk for what their
//! ring does not hold; never decides what is confirmed. Entries stay until both have passed them.
//!
//! The ring covers `[covers, next)`; the outbox ends at `end`. When the ring is full the writer
//! leaves it behind (`next < end`) and the reader, once it has emptied the ring, lets it start anew
//! at `end` and reads what lies between from the segments. So a backlog of any size costs memory for
//! one ring and one read-ahead.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::protocol::bridge::outbox::OutboxEntry;

use super::error::{CommitError, EngineError, StoreError};
use super::segment::{self, Numbered};
use super::{Op, Shared, Store};

/// Most entries the ring holds. At 600 bytes each, 5 MiB.
const RING_ENTRIES: usize = 8192;
/// Most bytes of bodies the ring holds.
const RING_BYTES: usize = 8 * 1024 * 1024;

/// What the writer and one reader share.
pub(super) struct Ring {
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    /// Whether somebody reads: else it keeps nothing.
    is_open: bool,
    entries: VecDeque<Numbered>,
    bytes: usize,
    /// Where the ring's coverage starts: at its front entry, or `next` when it is empty.
    covers: u64,
    /// Where it ends.
    next: u64,
    /// The sequence number after the newest durable entry.
    end: u64,
}

/// What the reader does next.
enum Step {
    Took(Vec<Numbered>),
    /// Read the segments of `from..to`.
    Fetch {
        from: u64,
        to: u64,
    },
    Wait,
}

impl Ring {
    /// An empty ring of an outbox that ends at `end`.
    pub(super) fn new(end: u64) -> Self {
        let entries = VecDeque::new();
        let state = State { is_open: true, entries, bytes: 0, covers: end, next: end, end };
        Self { state: Mutex::new(state), arrived: Notify::new() }
    }

    /// The same, which keeps nothing until it is opened.
    pub(super) fn closed(end: u64) -> Self {
        let ring = Self::new(end);
        ring.lock().is_open = false;
        ring
    }

    fn set_open(&self, is_open: bool) {
        let mut state = self.lock();
        state.is_open = is_open;
        state.restart();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of entries that became durable; they follow each other and the earlier ones.
    pub(super) fn push(&self, first: u64, entries: &[Arc<OutboxEntry>]) {
        let mut state = self.lock();
        let end = first + entries.len() as u64;
        for (seq, entry) in (first..).zip(entries) {
            let fits = state.entries.len() < RING_ENTRIES && state.bytes < RING_BYTES;
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
    pub(super) fn end(&self) -> u64 {
        self.lock().end
    }

    fn step(&self, at: u64, max: usize) -> Step {
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
    /// Lets the ring start anew at the end of the outbox.
    fn restart(&mut self) {
        self.entries.clear();
        self.bytes = 0;
        (self.covers, self.next) = (self.end, self.end);
    }

    fn pop(&mut self, at: u64, max: usize) -> Vec<Numbered> {
        // A read-ahead ends with a segment, which may lie beyond the start of the ring.
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

/// Which of the two readers.
#[derive(Clone, Copy)]
enum Side {
    Broker,
    Webhooks,
}

/// One reader: entries in order, each once unless it goes back.
struct Reader {
    shared: Arc<Shared>,
    side: Side,
    /// The next entry to hand out.
    at: u64,
    /// Entries read from segments that were not handed out yet; the front one is `at`.
    ahead: VecDeque<Numbered>,
    /// A read of segments under way: kept here so that a cancelled [`Reader::next`] loses nothing.
    fetching: Option<JoinHandle<Result<Vec<Numbered>, StoreError>>>,
}

/// The reader for the broker: entries in order, each once until [`Outbox::rewind`].
pub struct Outbox(Reader);

impl Outbox {
    pub(super) fn new(shared: Arc<Shared>, at: u64) -> Self {
        Self(Reader::new(shared, Side::Broker, at))
    }

    /// Waits for durable entries and hands out up to `max` of them (at least one), with their
    /// sequence numbers, which only grow, also over restarts. Safe to cancel: what was not handed
    /// out is handed out by the next call. Waits forever once the store has failed.
    pub async fn next(&mut self, max: usize) -> Vec<(u64, Arc<OutboxEntry>)> {
        self.0.next(max).await
    }

    /// Hands out again from sequence number `to` on, for example after a connection broke with
    /// confirms outstanding. What was released stays released; what lies ahead cannot be skipped.
    pub fn rewind(&mut self, to: u64) {
        let released = self.0.shared.queue.released();
        self.0.go_back(to.max(released + 1));
    }

    /// Tells that everything up to and including `through` was confirmed: it leaves the outbox, once
    /// the reader for webhooks has passed it, too.
    /// Becomes durable with the next commit or within a fraction of a second; a crash before that
    /// only makes these entries come again.
    pub fn release(&mut self, through: u64) {
        self.0.shared.queue.release(through.min(self.0.at.saturating_sub(1)));
    }

    /// Nobody reads for a broker in this life of the store: entries leave once the reader for
    /// webhooks has passed them, so that they do not pile up for ever.
    pub fn abandon(self) {
        let shared = &self.0.shared;
        shared.ring.set_open(false);
        shared.is_abandoned.store(true, Ordering::Release);
        let spooled = shared.spooled.load(Ordering::Acquire);
        if spooled != u64::MAX {
            shared.queue.release(spooled);
        }
    }
}

/// The reader for webhooks. How far it is, is durable by [`Op::Spool`](super::Op::Spool), which belongs
/// into the commit that keeps what was made of the entries.
pub struct Spooler(Reader);

impl Spooler {
    /// As [`Outbox::next`].
    pub async fn next(&mut self, max: usize) -> Vec<(u64, Arc<OutboxEntry>)> {
        self.0.next(max).await
    }

    /// Hands out again what was not durably taken over.
    pub fn rewind(&mut self) {
        let spooled = self.0.shared.spooled.load(Ordering::Acquire);
        self.0.go_back(spooled.saturating_add(1));
    }
}

impl Store {
    /// The reader for webhooks; the first one ever begins with what has not left the outbox. From then
    /// on entries stay until it has taken them over, also while nobody reads. There must be only one.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn spooler(&self) -> Result<Spooler, CommitError> {
        let shared = Arc::clone(&self.shared);
        if shared.spooled.load(Ordering::Acquire) == u64::MAX {
            self.commit(vec![Op::Spool(shared.queue.released())]).await?;
        }
        shared.spool_ring.set_open(true);
        let at = shared.spooled.load(Ordering::Acquire) + 1;
        Ok(Spooler(Reader::new(shared, Side::Webhooks, at)))
    }
}

impl Reader {
    fn new(shared: Arc<Shared>, side: Side, at: u64) -> Self {
        Self { shared, side, at, ahead: VecDeque::new(), fetching: None }
    }

    async fn next(&mut self, max: usize) -> Vec<Numbered> {
        let max = max.max(1);
        loop {
            if !self.ahead.is_empty() {
                let count = max.min(self.ahead.len());
                let taken: Vec<Numbered> = self.ahead.drain(..count).collect();
                self.at += count as u64;
                return taken;
            }
            if self.fetching.is_some() {
                self.finish_fetch().await;
                continue;
            }
            let shared = Arc::clone(&self.shared);
            let ring = match self.side {
                Side::Broker => &shared.ring,
                Side::Webhooks => &shared.spool_ring,
            };
            match ring.step(self.at, max) {
                Step::Took(taken) => {
                    self.at += taken.len() as u64;
                    return taken;
                }
                Step::Fetch { from, to } => self.start_fetch(from, to),
                Step::Wait => ring.arrived.notified().await,
            }
        }
    }

    fn go_back(&mut self, to: u64) {
        self.at = to.min(self.at);
        self.ahead.clear();
        self.fetching = None;
    }

    fn start_fetch(&mut self, from: u64, to: u64) {
        let shared = Arc::clone(&self.shared);
        self.fetching = Some(tokio::task::spawn_blocking(move || {
            segment::fetch(&*shared.engine, &shared.keyring, from, to)
        }));
    }

    async fn finish_fetch(&mut self) {
        let Some(fetching) = &mut self.fetching else {
            return;
        };
        let fetched = fetching.await;
        self.fetching = None;
        match fetched {
            Ok(Ok(entries)) => self.ahead.extend(entries),
            Ok(Err(error)) => self.give_up(&error).await,
            // sled panics where it cannot go on.
            Err(_) => {
                let cause = EngineError::Damaged("reading it panicked".into());
                self.give_up(&StoreError::from(cause)).await;
            }
        }
    }

    /// The segments cannot be read: publishing on would lose or reorder entries.
    async fn give_up(&self, cause: &StoreError) {
        let cause = format!("the outbox cannot be read: {cause}").into();
        self.shared.stop(CommitError::Damaged { cause, place: None });
        std::future::pending::<()>().await;
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
        let ring = Ring::new(5);
        ring.push(5, &entries(3, 1));
        assert_eq!(took(ring.step(5, 2)), [5, 6]);
        assert_eq!(took(ring.step(7, 2)), [7]);
        assert!(matches!(ring.step(8, 2), Step::Wait));
    }

    #[test]
    fn a_reader_that_starts_behind_fetches_up_to_the_ring() {
        let ring = Ring::new(100);
        ring.push(100, &entries(3, 1));
        assert!(matches!(ring.step(7, 9), Step::Fetch { from: 7, to: 100 }));
        assert_eq!(took(ring.step(100, 9)), [100, 101, 102]);
    }

    #[test]
    fn an_overflowing_ring_is_emptied_then_bridged_from_the_segments() {
        for (count, bytes, held) in [(RING_ENTRIES + 10, 1, RING_ENTRIES as u64), (30, 1 << 20, 8)]
        {
            let ring = Ring::new(1);
            ring.push(1, &entries(count, bytes));
            let end = 1 + count as u64;
            assert_eq!(took(ring.step(1, 3)), [1, 2, 3]);
            ring.push(end, &entries(1, 1));
            let rest: Vec<u64> = (4..=held).collect();
            assert_eq!(took(ring.step(4, usize::MAX)), rest, "what follows a gap stays out");
            let Step::Fetch { from, to } = ring.step(1 + held, 9) else { panic!("no fetch") };
            assert_eq!((from, to), (1 + held, end + 1));
            ring.push(end + 1, &entries(2, 1));
            assert_eq!(took(ring.step(end + 1, 9)), [end + 1, end + 2]);
            assert_eq!(ring.lock().bytes, 0);
        }
    }

    #[test]
    fn a_rewound_reader_fetches_what_the_ring_gave_away() {
        let ring = Ring::new(1);
        ring.push(1, &entries(6, 1));
        assert_eq!(took(ring.step(1, 4)), [1, 2, 3, 4]);
        assert!(matches!(ring.step(2, 9), Step::Fetch { from: 2, to: 5 }));
        assert_eq!(took(ring.step(6, 9)), [6], "a read-ahead may end inside the ring");
    }
}
