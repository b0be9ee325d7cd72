//! Virtual time beside the store's threads. A runtime with a paused clock moves on to the next timer as soon as no
//! task has anything to do; it does not know of threads that are about to wake one. So as long as the store
//! works, time stands.

use tokio_util::task::AbortOnDropHandle;

use crate::store::Store;

/// Has a paused clock stand while `store` works, for as long as what is returned lives.
pub(crate) fn time_stands_for(store: &Store) -> AbortOnDropHandle<()> {
    let (queue, readers) =
        (std::sync::Arc::clone(&store.shared), std::sync::Arc::clone(&store.readers));
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::select! {
                () = queue.queue.touched.notified() => {}
                () = readers.touched() => {}
            }
            // A task that is ready keeps the runtime from moving its clock.
            while queue.queue.waiting() > 0 || readers.is_busy() {
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::store::gated::GatedDisk;

    #[tokio::test(start_paused = true)]
    async fn no_timer_is_due_before_the_store_has_answered() {
        let (store, _outbox, gate) = GatedDisk::default().open();
        let _time = time_stands_for(&store);
        gate.hang_writes(true);
        gate.hang_reads(true);
        let opener = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            gate.hang_writes(false);
            gate.hang_reads(false);
        });
        let began = Instant::now();
        let timer = tokio::spawn(async move {
            sleep(Duration::from_secs(3)).await;
            Instant::now()
        });
        let account = crate::protocol::values::ids::AuthKeyId(1);
        let (written, read) =
            tokio::join!(store.commit(Vec::new()), store.read(move |store| store.account(account)));
        written.unwrap();
        read.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        opener.join().unwrap();
        assert_eq!(timer.await.unwrap() - began, Duration::from_secs(3));
    }
}
