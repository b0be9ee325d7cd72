//! A batch of updates on its way from a link through one or several monitors to the store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use super::link::WINDOW;
use crate::actors::tree::metrics::{Depth, Metrics};
use crate::failpoint;
use crate::protocol::messages::message::Message;
use crate::protocol::telegram::acknowledged::Progress;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::telegram::updates::UpdateStateDelta;
use crate::protocol::values::ids::AuthKeyId;
use crate::store::Store;

/// One monitor's part of a batch.
pub(in crate::actors) struct Delivery {
    /// The account it came through.
    pub(in crate::actors) account: AuthKeyId,
    /// The chat.
    pub(in crate::actors) chat: MarkedId,
    /// The chat's title, if it was mentioned.
    pub(in crate::actors) title: Option<String>,
    /// The messages, in Telegram's order.
    pub(in crate::actors) messages: Vec<Message>,
    /// To be finished when the messages are durable.
    pub(in crate::actors) share: Option<Share>,
}

/// A share in a batch, finished once what became of it is durable. The batch's move of the update
/// state becomes due when all shares of it and of all batches before it are finished.
///
/// What happens to a share that is dropped unfinished, because its monitor crashed, is said by
/// [`Loss`].
pub(in crate::actors) struct Share(Option<Arc<SharedBatch>>);

/// What follows when a monitor is gone before its messages were durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Loss {
    /// Nothing: the monitor's next life reads history from its durable cursor.
    ReadAgain,
    /// A bot cannot read history. The update state stays behind, the link ends, and the next one
    /// fetches the batch again.
    FetchAgain,
}

struct SharedBatch {
    account: AuthKeyId,
    store: Store,
    progress: Arc<Mutex<Progress>>,
    loss: Loss,
    ticket: u64,
    delta: Mutex<UpdateStateDelta>,
    shares_left: AtomicUsize,
    /// Room in the link's window, returned when the last share is gone.
    room: OwnedSemaphorePermit,
    _depth: Depth,
}

/// What the batches of one link have in common.
pub(in crate::actors) struct Origin<'a> {
    pub(in crate::actors) account: AuthKeyId,
    pub(in crate::actors) store: &'a Store,
    pub(in crate::actors) progress: &'a Arc<Mutex<Progress>>,
    pub(in crate::actors) loss: Loss,
    pub(in crate::actors) metrics: &'a Metrics,
}

impl Share {
    /// Makes `count` shares of a new batch.
    pub(in crate::actors) fn split(
        origin: &Origin<'_>,
        delta: UpdateStateDelta,
        room: OwnedSemaphorePermit,
        count: usize,
    ) -> Vec<Self> {
        let progress = Arc::clone(origin.progress);
        let ticket = progress.lock().unwrap_or_else(PoisonError::into_inner).issue();
        let mut depth = origin.metrics.depth("link");
        depth.set(1);
        let batch = Arc::new(SharedBatch {
            account: origin.account,
            store: origin.store.clone(),
            progress,
            loss: origin.loss,
            ticket,
            delta: Mutex::new(delta),
            shares_left: AtomicUsize::new(count),
            room,
            _depth: depth,
        });
        (0..count).map(|_| Self(Some(Arc::clone(&batch)))).collect()
    }

    /// What the share stood for is durable, or will be read again in any case; moves the update
    /// state as far as it is due.
    pub(in crate::actors) fn finish(mut self) {
        if let Some(batch) = self.0.take() {
            batch.finish_one();
        }
    }

    /// Whether the link could hand on as many batches again as are under way now.
    pub(in crate::actors) fn has_room_behind(&self) -> bool {
        let free = self.0.as_ref().map(|batch| batch.room.semaphore().available_permits());
        free.is_some_and(|free| free > WINDOW / 2)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(batch) = self.0.take() else { return };
        match batch.loss {
            Loss::ReadAgain => batch.finish_one(),
            Loss::FetchAgain => {
                batch.progress.lock().unwrap_or_else(PoisonError::into_inner).break_off();
            }
        }
    }
}

impl SharedBatch {
    fn finish_one(&self) {
        if self.shares_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settle();
        }
    }

    fn settle(&self) {
        let delta = std::mem::take(&mut *self.delta.lock().unwrap_or_else(PoisonError::into_inner));
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(due) = progress.finish(self.ticket, delta) {
            failpoint::reach("update_state.move.before");
            self.store.note_update_state(self.account, due);
            failpoint::reach("update_state.move.after");
        }
    }
}
