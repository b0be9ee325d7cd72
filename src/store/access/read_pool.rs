//! A few threads of the store's own that read. So reads on a disk that hangs hold up these threads
//! and nothing else: no worker of the runtime, no thread of its pool, and not the end of the process.
//!
//! Bound: [`THREADS`] reads at once, [`WAITING_MAX`] that wait; further ones are refused at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::store::contract::{EngineError, StoreError};

/// The longest wait for a read. Health calls a disk that is silent for as long stuck.
pub(super) const READ_MAX: Duration = Duration::from_secs(10);
/// Threads: one that reads for long, such as an export, leaves others to those who are in a hurry. They are
/// started when there is something to read for them.
pub(super) const THREADS: usize = 4;
/// Reads that wait. One takes some 10 µs, so this is passed only when the disk does not answer.
const WAITING_MAX: usize = 4_096;

pub(super) fn unanswered(limit: Duration) -> StoreError {
    StoreError::Unanswered { seconds: limit.as_secs() }
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads, which end with the last handle of the store.
#[derive(Default)]
pub(in crate::store) struct ReadPool(Arc<Pool>);

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    news: Condvar,
    /// Something is to be read.
    #[cfg(test)]
    touched: tokio::sync::Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
    is_closing: bool,
}

impl ReadPool {
    pub(super) fn enter(&self, job: Job) -> Result<(), StoreError> {
        #[cfg(test)]
        self.0.touched.notify_one();
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

#[cfg(test)]
impl ReadPool {
    /// Whether something is being read, or is to be.
    pub(in crate::store) fn is_busy(&self) -> bool {
        let state = self.0.lock();
        !state.waiting.is_empty() || state.threads > state.idle
    }

    /// Waits until something is to be read.
    pub(in crate::store) async fn touched(&self) {
        self.0.touched.notified().await;
    }
}

impl Drop for ReadPool {
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
