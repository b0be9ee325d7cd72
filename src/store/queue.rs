//! The door to the writer: a bounded queue of submissions. Owns the bound, the order and the
//! writer's wake-ups; never looks into an operation.
//!
//! Bound: [`ROOM`] permits of 1 KiB, at least one a submission, held until it is durable: at most
//! 8 MiB or 8192 submissions, that is 0.8 s of 10,000 events a second.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, oneshot};

use super::error::CommitError;
use super::op::Op;

/// Permits of the queue; one stands for [`PERMIT_BYTES`].
const ROOM: u32 = 8192;
const PERMIT_BYTES: usize = 1024;
/// Most submissions the writer takes at once.
const TAKE_JOBS: usize = 4096;
/// Most permits the writer takes at once (2 MiB), more only for a single larger submission.
const TAKE_PERMITS: u32 = 2048;

type Outcome = Result<(), CommitError>;

/// Who is told when a submission is durable.
pub(super) enum Done {
    /// A waiting task.
    Task(oneshot::Sender<Outcome>),
    /// A callback.
    Call(Box<dyn FnOnce(Outcome) + Send>),
}

impl Done {
    /// Tells it. A callback's panic is its own trouble: the store goes on.
    pub(super) fn tell(self, outcome: Outcome) {
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
pub(super) struct Job {
    pub(super) ops: Vec<Op>,
    pub(super) done: Done,
    permits: u32,
    /// When it was handed in.
    pub(super) at: Instant,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Submissions taken and not yet answered.
    taken: usize,
    /// Everything up to here was confirmed by the broker.
    released: u64,
    closing: bool,
    stopped: Option<CommitError>,
    /// The writer sleeps until there is a submission.
    sleeping: bool,
    /// The writer sleeps without a deadline, so a release must wake it.
    wake_on_release: bool,
    /// The writer is to look for work of its own again.
    nudged: bool,
    /// The same, and at once.
    woken: bool,
}

/// What the writer found.
pub(super) struct Taken {
    /// The submissions of the next group, in order.
    pub(super) jobs: Vec<Job>,
    /// Everything up to here was confirmed by the broker.
    pub(super) released: u64,
    /// No more submissions will come.
    pub(super) closing: bool,
    /// The store has failed.
    pub(super) stopped: bool,
}

/// The queue.
pub(super) struct Queue {
    room: Semaphore,
    state: Mutex<State>,
    wake: Condvar,
}

impl Queue {
    pub(super) fn new(released: u64) -> Self {
        let state = State { released, ..State::default() };
        let room = Semaphore::new(ROOM as usize);
        Self { room, state: Mutex::new(state), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, then hands in a submission. Cancelling it before it returns hands in
    /// nothing.
    pub(super) async fn push(&self, ops: Vec<Op>, done: Done) -> Result<(), CommitError> {
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
        state.jobs.push_back(Job { ops, done, permits: wanted, at: Instant::now() });
        if state.sleeping {
            state.sleeping = false;
            self.wake.notify_one();
        }
        Ok(())
    }

    fn stopped(&self) -> CommitError {
        self.lock().stopped.clone().unwrap_or(CommitError::Closed)
    }

    /// Notes that everything up to `through` was confirmed.
    pub(super) fn release(&self, through: u64) {
        let mut state = self.lock();
        state.released = state.released.max(through);
        if state.wake_on_release {
            state.wake_on_release = false;
            self.wake.notify_one();
        }
    }

    /// Has the writer look for work of its own, should it sleep without a deadline.
    pub(super) fn nudge(&self) {
        let mut state = self.lock();
        state.nudged = true;
        if state.wake_on_release {
            state.wake_on_release = false;
            self.wake.notify_one();
        }
    }

    /// Has the writer look for work of its own again, at once.
    pub(super) fn wake(&self) {
        self.lock().woken = true;
        self.wake.notify_one();
    }

    /// Lets the writer finish what was handed in and end.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Waits for submissions, for `deadline`, or, without one, for a release past `released` or a
    /// nudge.
    pub(super) fn take(&self, deadline: Option<Instant>, released: u64) -> Taken {
        let mut state = self.lock();
        loop {
            let idle = state.jobs.is_empty() && !state.closing && state.stopped.is_none();
            let news =
                state.woken || deadline.is_none() && (state.released > released || state.nudged);
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if !idle || news || left.is_some_and(|left| left.is_zero()) {
                break;
            }
            state.sleeping = true;
            state.wake_on_release = deadline.is_none();
            state = match left {
                Some(left) => {
                    let woken = self.wake.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            (state.sleeping, state.wake_on_release) = (false, false);
        }
        (state.nudged, state.woken) = (false, false);
        let jobs = state.take_jobs();
        state.taken = jobs.len();
        let stopped = state.stopped.is_some();
        Taken { jobs, released: state.released, closing: state.closing, stopped }
    }

    /// Gives back the room of a group that was answered.
    pub(super) fn answered(&self, permits: u32) {
        self.lock().taken = 0;
        self.room.add_permits(permits as usize);
    }

    /// Refuses everything from now on, and returns what still waited.
    pub(super) fn stop(&self, error: CommitError) -> Vec<Job> {
        let mut state = self.lock();
        state.stopped.get_or_insert(error);
        state.taken = 0;
        self.room.close();
        self.wake.notify_one();
        state.jobs.drain(..).collect()
    }

    /// Submissions that wait or are being made durable.
    pub(super) fn waiting(&self) -> usize {
        let state = self.lock();
        state.jobs.len() + state.taken
    }

    /// Whether so much waits that the writer should not wait for more.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.lock();
        state.closing || state.jobs.len() >= TAKE_JOBS / 16
    }

    /// Everything confirmed by the broker.
    pub(super) fn released(&self) -> u64 {
        self.lock().released
    }
}

impl State {
    /// Everything that waits, within the bounds of a group; at least one submission.
    fn take_jobs(&mut self) -> Vec<Job> {
        let mut permits = 0;
        let mut count = 0;
        for job in self.jobs.iter().take(TAKE_JOBS) {
            permits += job.permits;
            if count > 0 && permits > TAKE_PERMITS {
                break;
            }
            count += 1;
        }
        self.jobs.drain(..count).collect()
    }
}

/// The room that `jobs` hold.
pub(super) fn permits(jobs: &[Job]) -> u32 {
    jobs.iter().map(|job| job.permits).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn task() -> (Done, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        (Done::Task(sender), receiver)
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
        assert_eq!(taken.jobs.len(), 1);
        queue.answered(permits(&taken.jobs));
        second.await.unwrap();
        assert_eq!(queue.waiting(), 1);
    }

    #[tokio::test]
    async fn a_submission_larger_than_the_queue_goes_alone() {
        let queue = Queue::new(0);
        queue.push(sized(20 << 20), task().0).await.unwrap();
        assert_eq!(queue.take(None, 0).jobs.len(), 1);
    }

    #[tokio::test]
    async fn groups_are_bounded_and_keep_the_order() {
        let queue = Queue::new(0);
        for bytes in [1 << 20, 900 << 10, 300 << 10, 10] {
            queue.push(sized(bytes), task().0).await.unwrap();
        }
        assert_eq!(queue.take(None, 0).jobs.len(), 2);
        assert_eq!(queue.take(None, 0).jobs.len(), 2);
    }

    #[test]
    fn a_nudge_before_the_writer_sleeps_is_not_lost() {
        let queue = Queue::new(0);
        queue.nudge();
        assert!(queue.take(None, 0).jobs.is_empty(), "it returns at once");
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
