//! Reading from tasks, which must not wait for the disk: threads of the store's own run what is to be read
//! (`read_pool`), and nobody waits for them without a limit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::read_pool::{READ_MAX, unanswered};
use super::reader::Reader;
use super::store::Store;
use crate::store::contract::{EngineError, StoreError, panic_text};

impl Store {
    /// Runs `query` on a thread that may wait for the disk. Dropping the future cancels a read that has not
    /// begun.
    ///
    /// # Errors
    /// What `query` returns; and [`StoreError::Unanswered`] when the disk, or those who read before, take
    /// too long.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read_within(READ_MAX, query).await
    }

    /// The same for what may take `limit`, because it reads much.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_within<T: Send + 'static>(
        &self,
        limit: Duration,
        query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, answer) = oneshot::channel();
        let reader = self.reader.clone();
        let job = move || {
            if tell.is_closed() {
                return;
            }
            let seen = catch_unwind(AssertUnwindSafe(|| query(&reader)));
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

/// An engine may panic where other libraries return errors.
fn panicked(panic: &(dyn std::any::Any + Send)) -> StoreError {
    StoreError::Engine(EngineError::Failed(panic_text(panic)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use std::sync::Arc;

    use super::super::read_pool::THREADS;
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
