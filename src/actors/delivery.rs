//! A batch of updates on its way from a link through one or several monitors to the store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::protocol::event::Message;
use crate::protocol::ids::AuthKeyId;
use crate::protocol::model::UpdateStateDelta;
use crate::protocol::progress::Progress;
use crate::store::Store;

/// One monitor's part of a batch.
pub(super) struct Delivery {
    /// The account it came through.
    pub(super) account: AuthKeyId,
    /// The chat's title, if it was mentioned.
    pub(super) title: Option<String>,
    /// The messages, in Telegram's order.
    pub(super) messages: Vec<Message>,
    /// To be finished when the messages are durable.
    pub(super) share: Option<Share>,
}

/// A share in a batch, finished once what became of it is durable. The batch's move of the update
/// state becomes due when all shares of it and of all batches before it are finished. A share
/// that is dropped unfinished breaks the link's progress off: the state stays behind, and the
/// next connection fetches the batch again.
pub(super) struct Share(Option<Arc<Batch>>);

struct Batch {
    account: AuthKeyId,
    progress: Arc<Mutex<Progress>>,
    ticket: u64,
    delta: Mutex<UpdateStateDelta>,
    shares_left: AtomicUsize,
    /// Room in the link's window, returned when the last share is gone.
    _room: OwnedSemaphorePermit,
}

impl Share {
    /// Makes `count` shares of a new batch.
    pub(super) fn split(
        account: AuthKeyId,
        progress: &Arc<Mutex<Progress>>,
        delta: UpdateStateDelta,
        room: OwnedSemaphorePermit,
        count: usize,
    ) -> Vec<Self> {
        let ticket = progress.lock().unwrap_or_else(PoisonError::into_inner).issue();
        let batch = Arc::new(Batch {
            account,
            progress: Arc::clone(progress),
            ticket,
            delta: Mutex::new(delta),
            shares_left: AtomicUsize::new(count),
            _room: room,
        });
        (0..count).map(|_| Self(Some(Arc::clone(&batch)))).collect()
    }

    /// What the share stood for is durable; moves the update state as far as it is due.
    pub(super) fn finish(mut self, store: &Store) {
        let Some(batch) = self.0.take() else { return };
        if batch.shares_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            batch.settle(store);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(batch) = &self.0 {
            batch.progress.lock().unwrap_or_else(PoisonError::into_inner).break_off();
        }
    }
}

impl Batch {
    fn settle(&self, store: &Store) {
        let delta = std::mem::take(&mut *self.delta.lock().unwrap_or_else(PoisonError::into_inner));
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(due) = progress.finish(self.ticket, delta) {
            store.note_update_state(self.account, due);
        }
    }
}
