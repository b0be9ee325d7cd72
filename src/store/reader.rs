//! Reading for whoever must not wait for the disk: a few threads of the store's own run what is to be read,
//! and nobody waits for them without a limit. So reads on a disk that hangs hold up these threads
//! and nothing else: no worker of the runtime, no thread of its pool, and not the end of the process.
//!
//! Bound: [`THREADS`] reads at once, [`WAITING_MAX`] that wait; whoever comes then is refused at once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::error::{EngineError, StoreError};
use super::writer::panic_text;
use super::{Shared, Store};

/// The longest anybody waits for what is read. Health calls a disk that is silent for as long stuck.
const READ_MAX: Duration = Duration::from_secs(10);
/// Threads: one that reads for long, such as an export, leaves others to those who are in a hurry. They are
/// started when there is something to read for them.
const THREADS: usize = 4;
/// Reads that wait. One takes some 10 µs, so this is passed only when the disk does not answer.
const WAITING_MAX: usize = 4_096;

/// The store as it is read by whoever may wait for the disk: every method blocks for it. Code that runs on
/// the runtime gets one by [`Store::read`] only.
#[derive(Clone)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
}

impl Store {
    /// Has `look` run where nobody else waits for the disk. Dropping the future leaves off what has not
    /// begun.
    ///
    /// # Errors
    /// What `look` answers; and [`StoreError::Unanswered`] when the disk, or those who read before, take
    /// too long.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read_within(READ_MAX, look).await
    }

    /// The same for what may take `limit`, because it reads much.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_within<T: Send + 'static>(
        &self,
        limit: Duration,
        look: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, answer) = oneshot::channel();
        let reader = self.reader.clone();
        let job = move || {
            if tell.is_closed() {
                return;
            }
            let seen = catch_unwind(AssertUnwindSafe(|| look(&reader)));
            // A read that outlives the store must not hold its lock once it is through.
            drop(reader);
            let _ = tell.send(seen.unwrap_or_else(|panic| Err(panicked(&*panic))));
        };
        self.readers.enter(Box::new(job))?;
        match timeout(limit, answer).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(_)) | Err(_) => Err(unanswered(limit)),
        }
    }

    /// The store for threads that may wait for the disk for as long as it takes.
    pub fn blocking(&self) -> &Reader {
        &self.reader
    }
}

fn unanswered(limit: Duration) -> StoreError {
    StoreError::Unanswered { seconds: limit.as_secs() }
}

/// sled panics where other libraries return errors.
fn panicked(panic: &(dyn std::any::Any + Send)) -> StoreError {
    StoreError::Engine(EngineError::Failed(panic_text(panic)))
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads, which end with the last handle of the store.
#[derive(Default)]
pub(super) struct Readers(Arc<Pool>);

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
    is_closing: bool,
}

impl Readers {
    fn enter(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.0.lock();
        if state.waiting.len() >= WAITING_MAX {
            return Err(unanswered(READ_MAX));
        }
        state.waiting.push_back(job);
        if state.idle >= state.waiting.len() || state.threads == THREADS {
            self.0.news.notify_one();
            return Ok(());
        }
        let pool = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("store-reader".into());
        match thread.spawn(move || pool.work()) {
            Ok(_) => state.threads += 1,
            // The others come to it.
            Err(_) if state.threads > 0 => self.0.news.notify_one(),
            Err(error) => {
                state.waiting.pop_back();
                let cause = format!("no thread could be started that reads it: {error}");
                return Err(EngineError::Failed(cause).into());
            }
        }
        Ok(())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.lock().is_closing = true;
        self.0.news.notify_all();
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            if state.is_closing {
                return;
            }
            state.idle += 1;
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::store::gated::GatedDisk;

    #[tokio::test]
    async fn reads_that_hang_are_answered_in_time_and_hold_up_nobody() {
        let (store, _outbox, gate) = GatedDisk::default().open();
        gate.hang_reads(true);
        let limit = Duration::from_millis(50);
        let hanging = (0..THREADS as u64 + 3).map(|id| {
            let account = crate::protocol::values::ids::AuthKeyId(id);
            store.read_within(limit, move |reader| reader.account(account))
        });
        for seen in futures_util::future::join_all(hanging).await {
            assert!(matches!(seen, Err(StoreError::Unanswered { .. })), "{seen:?}");
        }
        assert_eq!(gate.hanging_reads(), THREADS, "no more threads than these hang");
        store.commit(Vec::new()).await.unwrap();
        gate.hang_reads(false);
        let read =
            store.read(|reader| reader.account(crate::protocol::values::ids::AuthKeyId(1))).await;
        assert_eq!(read.unwrap(), None);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_read() {
        let (store, _outbox, gate) = GatedDisk::default().open();
        gate.hang_reads(true);
        let begun = Arc::new(AtomicU32::new(0));
        let limit = Duration::from_millis(20);
        let reads = (0..20).map(|_| {
            let begun = Arc::clone(&begun);
            store.read_within(limit, move |reader| {
                begun.fetch_add(1, Ordering::SeqCst);
                reader.person_waits()
            })
        });
        futures_util::future::join_all(reads).await;
        gate.hang_reads(false);
        store.read(|reader| reader.person_waits()).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst) as usize, THREADS);
    }

    #[tokio::test]
    async fn a_read_that_panics_is_a_failure_of_its_own() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let seen = store.read(|_| -> Result<(), StoreError> { panic!("on purpose") }).await;
        assert!(seen.unwrap_err().to_string().contains("on purpose"));
        store.read(|reader| reader.person_waits()).await.unwrap();
    }
}
