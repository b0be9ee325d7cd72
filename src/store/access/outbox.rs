//! The readers of the outbox: one for the broker, one for webhooks. They read from the segments on disk what is
//! not in memory any more; never decide what is acknowledged. Entries stay until both have passed them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;

use crate::protocol::bridge::outbox::OutboxEntry;

use crate::store::contract::{CommitError, EngineError, StoreError};
use crate::store::journal::segment::{self, Numbered};
use crate::store::journal::{Shared, Step};

/// Which of the two readers.
#[derive(Clone, Copy)]
enum Audience {
    Broker,
    Webhooks,
}

/// One reader: entries in order, each once unless it goes back.
struct OutboxReader {
    shared: Arc<Shared>,
    audience: Audience,
    /// The next entry to hand out.
    at: u64,
    /// Entries read from segments that were not handed out yet; the front one is `at`.
    ahead: VecDeque<Numbered>,
    /// A read of segments under way: kept here so that a cancelled [`OutboxReader::next`] loses nothing.
    fetching: Option<JoinHandle<Result<Vec<Numbered>, StoreError>>>,
}

/// The reader for the broker: entries in order, each once until [`Outbox::rewind`].
pub struct Outbox(OutboxReader);

impl Outbox {
    pub(in crate::store) fn new(shared: Arc<Shared>, at: u64) -> Self {
        Self(OutboxReader::new(shared, Audience::Broker, at))
    }

    /// Waits for durable entries and hands out up to `max` of them (at least one), with their
    /// sequence numbers, which only grow, also over restarts. Safe to cancel: what was not handed
    /// out is handed out by the next call. Waits forever once the store has failed.
    pub async fn next(&mut self, max: usize) -> Vec<(u64, Arc<OutboxEntry>)> {
        self.0.next(max).await
    }

    /// Hands out again from sequence number `to` on, for example after a connection broke with
    /// confirms outstanding. What was acknowledged stays acknowledged; what lies ahead cannot be skipped.
    pub fn rewind(&mut self, to: u64) {
        let acknowledged = self.0.shared.queue.acknowledged();
        self.0.go_back(to.max(acknowledged + 1));
    }

    /// Notes that everything up to and including `through` was confirmed: it leaves the outbox, once
    /// the reader for webhooks has passed it, too.
    /// Becomes durable with the next commit or within a fraction of a second; a crash before that
    /// only makes these entries come again.
    pub fn acknowledge(&mut self, through: u64) {
        self.0.shared.queue.acknowledge(through.min(self.0.at.saturating_sub(1)));
    }

    /// Nobody reads for a broker in this life of the store: entries leave once the reader for
    /// webhooks has passed them, so that they do not pile up for ever.
    pub fn abandon(self) {
        let shared = &self.0.shared;
        shared.recent.set_open(false);
        shared.is_abandoned.store(true, Ordering::Release);
        let spooled = shared.spooled.load(Ordering::Acquire);
        if spooled != u64::MAX {
            shared.queue.acknowledge(spooled);
        }
    }
}

/// The reader for webhooks. How far it is, is durable by [`Op::Spool`](crate::store::Op::Spool), which belongs
/// into the commit that stores what was made of the entries.
pub struct Spooler(OutboxReader);

impl Spooler {
    /// The reader of a store, which begins after what is durably taken over.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.spool_recent.set_open(true);
        let at = shared.spooled.load(Ordering::Acquire) + 1;
        Self(OutboxReader::new(shared, Audience::Webhooks, at))
    }

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

impl OutboxReader {
    fn new(shared: Arc<Shared>, audience: Audience, at: u64) -> Self {
        Self { shared, audience, at, ahead: VecDeque::new(), fetching: None }
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
            let recent = match self.audience {
                Audience::Broker => &shared.recent,
                Audience::Webhooks => &shared.spool_recent,
            };
            match recent.step(self.at, max) {
                Step::Took(taken) => {
                    self.at += taken.len() as u64;
                    return taken;
                }
                Step::Fetch { from, to } => self.start_fetch(from, to),
                Step::Wait => recent.arrived.notified().await,
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
            // The engine panics where it cannot go on.
            Err(_) => {
                let cause = EngineError::Damaged("reading it panicked".into());
                self.give_up(&StoreError::from(cause)).await;
            }
        }
    }

    /// The segments cannot be read: publishing on would lose or reorder entries.
    async fn give_up(&self, cause: &StoreError) {
        let cause = format!("the outbox cannot be read: {cause}").into();
        self.shared.stop(CommitError::Damaged { cause, path: None });
        std::future::pending::<()>().await;
    }
}
