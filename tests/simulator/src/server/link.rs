//! The outgoing side of one connection, as the rest of the simulator sees it.
//!
//! Owns the bounded queue between the world and the connection's task. It never blocks the world:
//! a client that reads too slowly loses updates and is told so with `updatesTooLong`, as by the
//! real server, while answers are always kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use grammers_tl_types::{Serializable, enums};
use tokio::sync::Notify;

use crate::faults::Manner;
use crate::flood_waits::WaitId;
use crate::hostile::estrange;
use crate::wire::envelope::{Class, Outgoing};

/// Updates are dropped while this many bytes wait: some thousand updates.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// How long a reordered update waits for one that goes before it.
const HOLD: Duration = Duration::from_millis(300);

/// How a connection ends when the server ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// After everything queued is written.
    AfterFlush,
    /// At once.
    Now,
    /// At once, with a TCP reset.
    Reset,
    /// After some random bytes that are no packet.
    Garbage,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Outgoing>,
    bytes: usize,
    overflowed: bool,
    held: Option<(Outgoing, Instant)>,
    end: Option<End>,
    /// Whatever is to go out vanishes.
    frozen: bool,
}

/// A connection's outgoing queue and its wakeup.
pub(crate) struct Link {
    pub(crate) id: u64,
    /// Whether this connection's user is attached to it for updates.
    attached: AtomicBool,
    queue: Mutex<Queue>,
    pub(crate) wake: Notify,
}

impl Link {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, attached: AtomicBool::new(false), queue: Mutex::default(), wake: Notify::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the connection as one that gets updates; answers whether it already was.
    pub(crate) fn attach(&self) -> bool {
        self.attached.swap(true, Ordering::Relaxed)
    }

    /// The connection gets no updates until it is attached again.
    pub(crate) fn detach(&self) {
        self.attached.store(false, Ordering::Relaxed);
    }

    /// Queues an answer or a service message.
    pub(crate) fn send(&self, class: Class, body: Vec<u8>) {
        self.queue().put(Outgoing { class, body, wait: None });
        self.wake.notify_one();
    }

    /// Queues a call's answer, and what it tells of a flood wait.
    pub(crate) fn send_answer(&self, body: Vec<u8>, wait: Option<WaitId>) {
        self.queue().put(Outgoing { class: Class::Answer, body, wait });
        self.wake.notify_one();
    }

    /// Queues an update; answers how many were really queued.
    pub(crate) fn push(&self, mut body: Vec<u8>, manner: Manner) -> u64 {
        estrange(&mut body);
        let mut queue = self.queue();
        if queue.end.is_some() || queue.frozen || manner == Manner::Never {
            return 0;
        }
        if queue.bytes > MAX_QUEUED_BYTES {
            queue.overflowed = true;
            return 0;
        }
        let update = || Outgoing { class: Class::Push, body: body.clone(), wait: None };
        let queued = match manner {
            Manner::AfterTheNext if queue.held.is_none() => {
                queue.held = Some((update(), Instant::now() + HOLD));
                1
            }
            Manner::TooLong => {
                queue.put(too_long());
                1
            }
            Manner::Hostile(what) => {
                let body = what.bytes();
                queue.put(Outgoing { class: Class::Push, body, wait: None });
                1
            }
            Manner::Twice => {
                queue.put(update());
                queue.put(update());
                2
            }
            _ => {
                queue.put(Outgoing { class: Class::Push, body, wait: None });
                queue.release();
                1
            }
        };
        drop(queue);
        self.wake.notify_one();
        queued
    }

    /// What waits and what comes later is never sent.
    pub(crate) fn freeze(&self) {
        let mut queue = self.queue();
        *queue = Queue { frozen: true, end: queue.end, ..Queue::default() };
    }

    /// Asks the connection to end; the first demand stands, but a reset overrides a flush.
    pub(crate) fn end(&self, end: End) {
        let mut queue = self.queue();
        if queue.end.is_none_or(|standing| standing == End::AfterFlush) {
            queue.end = Some(end);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Takes up to `count` messages of about `bytes` in all; empty when nothing waits.
    pub(crate) fn take(&self, count: usize, bytes: usize) -> Vec<Outgoing> {
        let mut queue = self.queue();
        if queue.held.as_ref().is_some_and(|(_, until)| *until <= Instant::now()) {
            queue.release();
        }
        let mut taken = Vec::new();
        let mut size = 0;
        while taken.len() < count && size < bytes {
            let Some(message) = queue.messages.pop_front() else { break };
            size += message.body.len();
            queue.bytes -= message.body.len();
            taken.push(message);
        }
        if queue.overflowed && queue.messages.is_empty() {
            queue.overflowed = false;
            queue.put(too_long());
        }
        taken
    }

    /// How the connection is to end, if it is, and whether anything still waits to be written.
    pub(crate) fn ending(&self) -> (Option<End>, bool) {
        let queue = self.queue();
        (queue.end, !queue.messages.is_empty())
    }

    /// Whether anything waits to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue().messages.is_empty()
    }

    /// How many bytes wait to be sent.
    pub(crate) fn backlog(&self) -> usize {
        self.queue().bytes
    }

    /// When a held update must go out even without a successor.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.queue().held.as_ref().map(|(_, until)| *until)
    }
}

fn too_long() -> Outgoing {
    Outgoing { class: Class::Push, body: enums::Updates::TooLong.to_bytes(), wait: None }
}

impl Queue {
    fn put(&mut self, message: Outgoing) {
        if self.frozen {
            return;
        }
        self.bytes += message.body.len();
        self.messages.push_back(message);
    }

    fn release(&mut self) {
        if let Some((held, _)) = self.held.take() {
            self.put(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(link: &Link) -> Vec<Vec<u8>> {
        link.take(usize::MAX, usize::MAX).into_iter().map(|message| message.body).collect()
    }

    #[test]
    fn manners_swallow_double_and_swap_updates() {
        let link = Link::new(1);
        assert_eq!(link.push(vec![1], Manner::Never), 0);
        assert_eq!(link.push(vec![2], Manner::Twice), 2);
        assert_eq!(link.push(vec![3], Manner::AfterTheNext), 1);
        assert_eq!(drain(&link), [[2], [2]]);
        assert!(link.held_until().is_some());
        link.push(vec![4], Manner::AfterTheNext);
        assert_eq!(drain(&link), [[4], [3]]);
        assert!(link.held_until().is_none());
    }

    #[test]
    fn an_update_can_be_replaced_by_one_that_says_too_long() {
        let link = Link::new(1);
        assert_eq!(link.push(vec![1], Manner::TooLong), 1);
        assert_eq!(drain(&link), [enums::Updates::TooLong.to_bytes()]);
    }

    #[test]
    fn a_reader_that_is_too_slow_is_told_so_once_it_caught_up() {
        let link = Link::new(1);
        let update = vec![0; 1 << 20];
        let queued: u64 = (0..10).map(|_| link.push(update.clone(), Manner::Once)).sum();
        assert_eq!(queued, 5);
        link.send(Class::Answer, vec![7]);
        let taken = drain(&link);
        assert_eq!(taken.len(), 6);
        assert_eq!(drain(&link), [enums::Updates::TooLong.to_bytes()]);
        assert_eq!(drain(&link), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_reset_overrides_an_orderly_end_but_not_the_other_way_round() {
        let link = Link::new(1);
        link.end(End::AfterFlush);
        link.end(End::Reset);
        link.end(End::AfterFlush);
        assert_eq!(link.ending(), (Some(End::Reset), false));
        assert_eq!(link.push(vec![1], Manner::Once), 0);
    }
}
