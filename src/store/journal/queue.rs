//! The bounded queue of submissions to the writer. Owns the bound, the order and the
//! writer's wake-ups; never looks into an operation.
//!
//! Bound: [`ROOM`] permits of 1 KiB, at least one a submission, held until it is durable: at most
//! 8 MiB or 8192 submissions, that is 0.8 s of 10,000 events a second.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

use tokio::sync::{Semaphore, oneshot};

use crate::clock::instant;
use crate::store::contract::{CommitError, Op};

/// Permits of the queue; one stands for [`PERMIT_BYTES`].
const ROOM: u32 = 8192;
const PERMIT_BYTES: usize = 1024;
/// Most submissions the writer takes at once.
const TAKE_SUBMISSIONS: usize = 4096;
/// Most permits the writer takes at once (2 MiB), more only for a single larger submission.
const TAKE_PERMITS: u32 = 2048;

type Outcome = Result<(), CommitError>;

/// What is called when a submission is durable.
pub(in crate::store) enum Completion {
    /// A waiting task.
    Task(oneshot::Sender<Outcome>),
    /// A callback.
    Call(Box<dyn FnOnce(Outcome) + Send>),
}

impl Completion {
    /// Passes on the outcome. A callback's panic is contained: the store goes on.
    pub(in crate::store) fn notify(self, outcome: Outcome) {
        match self {
            Self::Task(sender) => drop(sender.send(outcome)),
            Self::Call(call) => {
                let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call(outcome)));
                if told.is_err() {
                    tracing::error!("a callback of the store panicked");
                }
            }
        }
    }
}

/// A submission.
pub(in crate::store) struct Submission {
    pub(in crate::store) ops: Vec<Op>,
    pub(in crate::store) completion: Completion,
    permits: u32,
    /// When it was handed in.
    pub(in crate::store) at: Instant,
}

#[derive(Default)]
struct State {
    submissions: VecDeque<Submission>,
    /// Submissions taken and not yet answered.
    taken: usize,
    /// Everything up to here was confirmed by the broker.
    acknowledged: u64,
    closing: bool,
    stopped: Option<CommitError>,
    /// The writer sleeps until there is a submission.
    sleeping: bool,
    /// The writer sleeps without a deadline, so an acknowledgement must wake it.
    wake_on_acknowledge: bool,
    /// The writer is to check for work of its own again.
    nudged: bool,
    /// The same, and at once.
    woken: bool,
}

/// What the writer found.
pub(in crate::store) struct Taken {
    /// The submissions of the next group, in order.
    pub(in crate::store) submissions: Vec<Submission>,
    /// Everything up to here was confirmed by the broker.
    pub(in crate::store) acknowledged: u64,
    /// No more submissions will come.
    pub(in crate::store) closing: bool,
    /// The store has failed.
    pub(in crate::store) stopped: bool,
}

/// The queue.
pub(in crate::store) struct Queue {
    room: Semaphore,
    state: Mutex<State>,
    wake: Condvar,
    /// Something was handed in.
    #[cfg(test)]
    pub(in crate::store) touched: tokio::sync::Notify,
}

impl Queue {
    pub(in crate::store) fn new(acknowledged: u64) -> Self {
        let state = State { acknowledged, ..State::default() };
        let room = Semaphore::new(ROOM as usize);
        Self {
            room,
            state: Mutex::new(state),
            wake: Condvar::new(),
            #[cfg(test)]
            touched: Default::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, then hands in a submission. Cancelling it before it returns hands in
    /// nothing.
    pub(in crate::store) async fn push(
        &self,
        ops: Vec<Op>,
        completion: Completion,
    ) -> Result<(), CommitError> {
        let bytes: usize = ops.iter().map(Op::weight).sum();
        let wanted = u32::try_from(bytes / PERMIT_BYTES + 1).unwrap_or(ROOM).min(ROOM);
        let Ok(permit) = self.room.acquire_many(wanted).await else {
            return Err(self.stopped());
        };
        let mut state = self.lock();
        if let Some(error) = &state.stopped {
            return Err(error.clone());
        }
        if state.closing {
            return Err(CommitError::Closed);
        }
        permit.forget();
        state.submissions.push_back(Submission { ops, completion, permits: wanted, at: instant() });
        if state.sleeping {
            state.sleeping = false;
            self.wake.notify_one();
        }
        #[cfg(test)]
        self.touched.notify_one();
        Ok(())
    }

    fn stopped(&self) -> CommitError {
        self.lock().stopped.clone().unwrap_or(CommitError::Closed)
    }

    /// Notes that everything up to `through` was confirmed.
    pub(in crate::store) fn acknowledge(&self, through: u64) {
        let mut state = self.lock();
        state.acknowledged = state.acknowledged.max(through);
        if state.wake_on_acknowledge {
            state.wake_on_acknowledge = false;
            self.wake.notify_one();
        }
    }

    /// Has the writer check for work of its own, should it sleep without a deadline.
    pub(in crate::store) fn nudge(&self) {
        let mut state = self.lock();
        state.nudged = true;
        if state.wake_on_acknowledge {
            state.wake_on_acknowledge = false;
            self.wake.notify_one();
        }
    }

    /// Has the writer check for work of its own again, at once.
    pub(in crate::store) fn wake(&self) {
        self.lock().woken = true;
        self.wake.notify_one();
    }

    /// Lets the writer finish what was handed in and end.
    pub(in crate::store) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Waits for submissions, for `deadline`, or, without one, for an acknowledgement past `acknowledged` or a
    /// nudge.
    pub(in crate::store) fn take(&self, deadline: Option<Instant>, acknowledged: u64) -> Taken {
        let mut state = self.lock();
        loop {
            let idle = state.submissions.is_empty() && !state.closing && state.stopped.is_none();
            let news = state.woken
                || deadline.is_none() && (state.acknowledged > acknowledged || state.nudged);
            let left = deadline.map(|at| at.saturating_duration_since(instant()));
            if !idle || news || left.is_some_and(|left| left.is_zero()) {
                break;
            }
            state.sleeping = true;
            state.wake_on_acknowledge = deadline.is_none();
            state = match left {
                Some(left) => {
                    let woken = self.wake.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            (state.sleeping, state.wake_on_acknowledge) = (false, false);
        }
        (state.nudged, state.woken) = (false, false);
        let submissions = state.take_submissions();
        state.taken = submissions.len();
        let stopped = state.stopped.is_some();
        Taken { submissions, acknowledged: state.acknowledged, closing: state.closing, stopped }
    }

    /// Gives back the room of a group that was answered.
    pub(in crate::store) fn completed(&self, permits: u32) {
        self.lock().taken = 0;
        self.room.add_permits(permits as usize);
    }

    /// Refuses everything from now on, and returns what still waited.
    pub(in crate::store) fn stop(&self, error: CommitError) -> Vec<Submission> {
        let mut state = self.lock();
        state.stopped.get_or_insert(error);
        state.taken = 0;
        self.room.close();
        self.wake.notify_one();
        state.submissions.drain(..).collect()
    }

    /// Submissions that wait or are being made durable.
    pub(in crate::store) fn waiting(&self) -> usize {
        let state = self.lock();
        state.submissions.len() + state.taken
    }

    /// Whether so much waits that the writer should not wait for more.
    pub(in crate::store) fn is_busy(&self) -> bool {
        let state = self.lock();
        state.closing || state.submissions.len() >= TAKE_SUBMISSIONS / 16
    }

    /// Everything confirmed by the broker.
    pub(in crate::store) fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }
}

impl State {
    /// Everything that waits, within the bounds of a group; at least one submission.
    fn take_submissions(&mut self) -> Vec<Submission> {
        let mut permits = 0;
        let mut count = 0;
        for submission in self.submissions.iter().take(TAKE_SUBMISSIONS) {
            permits += submission.permits;
            if count > 0 && permits > TAKE_PERMITS {
                break;
            }
            count += 1;
        }
        self.submissions.drain(..count).collect()
    }
}

/// The room that `submissions` hold.
pub(in crate::store) fn permits(submissions: &[Submission]) -> u32 {
    submissions.iter().map(|submission| submission.permits).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn task() -> (Completion, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        (Completion::Task(sender), receiver)
    }

    fn sized(bytes: usize) -> Vec<Op> {
        let entry = crate::protocol::bridge::outbox::OutboxEntry {
            owner: None,
            route: crate::protocol::bridge::outbox::Route::Event,
            kind: String::new(),
            message_id: uuid::Uuid::nil(),
            timestamp: 0,
            said_at: None,
            body: vec![0; bytes],
        };
        vec![Op::Append(entry)]
    }

    #[tokio::test]
    async fn a_full_queue_makes_submitters_wait_until_a_group_is_answered() {
        let queue = Queue::new(0);
        queue.push(sized(7 << 20), task().0).await.unwrap();
        let mut second = Box::pin(queue.push(sized(2 << 20), task().0));
        let early = tokio::time::timeout(Duration::from_millis(20), &mut second).await;
        assert!(early.is_err(), "there was no room");
        let taken = queue.take(None, 0);
        assert_eq!(taken.submissions.len(), 1);
        queue.completed(permits(&taken.submissions));
        second.await.unwrap();
        assert_eq!(queue.waiting(), 1);
    }

    #[tokio::test]
    async fn a_submission_larger_than_the_queue_goes_alone() {
        let queue = Queue::new(0);
        queue.push(sized(20 << 20), task().0).await.unwrap();
        assert_eq!(queue.take(None, 0).submissions.len(), 1);
    }

    #[tokio::test]
    async fn groups_are_bounded_and_keep_the_order() {
        let queue = Queue::new(0);
        for bytes in [1 << 20, 900 << 10, 300 << 10, 10] {
            queue.push(sized(bytes), task().0).await.unwrap();
        }
        assert_eq!(queue.take(None, 0).submissions.len(), 2);
        assert_eq!(queue.take(None, 0).submissions.len(), 2);
    }

    #[test]
    fn a_nudge_before_the_writer_sleeps_is_not_lost() {
        let queue = Queue::new(0);
        queue.nudge();
        assert!(queue.take(None, 0).submissions.is_empty(), "it returns at once");
    }

    #[tokio::test]
    async fn a_stopped_queue_refuses_with_the_cause_and_wakes_who_waits() {
        let queue = Queue::new(0);
        queue.push(sized(7 << 20), task().0).await.unwrap();
        let waiting = queue.push(sized(2 << 20), task().0);
        let stop = async { queue.stop(CommitError::failed("disk full")) };
        let (refused, left) = tokio::join!(waiting, stop);
        assert_eq!(refused, Err(CommitError::failed("disk full")));
        assert_eq!(left.len(), 1);
        assert_eq!(queue.push(vec![], task().0).await, Err(CommitError::failed("disk full")));
    }
}
