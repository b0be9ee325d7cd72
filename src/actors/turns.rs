//! One at a time for each user: whoever looks at which monitors a user has and then adds, changes or takes
//! one away holds the user's turn, so that two who ask at once do not both find room, or bring back what the
//! other has just stopped. Nobody waits for another user's turn. Who also holds a place in `erasing.rs` takes
//! that first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::protocol::owner::UserId;

type Lock = tokio::sync::Mutex<()>;

/// The turns that somebody has or waits for.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<UserId, Weak<Lock>>>);

/// A user's turn, as long as this lives.
pub(super) struct Turn {
    _held: OwnedMutexGuard<()>,
}

impl Turns {
    /// Waits for the turn of `user`.
    pub(super) async fn take(&self, user: &UserId) -> Turn {
        Turn { _held: self.lock_of(user).lock_owned().await }
    }

    fn lock_of(&self, user: &UserId) -> Arc<Lock> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = turns.get(user).and_then(Weak::upgrade) {
            return known;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let lock = Arc::default();
        turns.insert(user.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_waits_for_ones_own_turn_only_and_nothing_stays_behind() {
        let turns = Turns::default();
        let (one, two) = (UserId::new("one").unwrap(), UserId::new("two").unwrap());
        let held = turns.take(&one).await;
        drop(turns.take(&two).await);
        let mut next = Box::pin(turns.take(&one));
        assert!((&mut next).now_or_never().is_none());
        drop(held);
        drop(next.await);
        drop(turns.take(&two).await);
        assert!(turns.0.lock().unwrap().len() <= 1, "turns that are over are forgotten");
    }
}
