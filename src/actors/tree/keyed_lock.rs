//! One at a time for each user: whoever looks at which monitors a user has and then adds, changes or takes
//! one away holds the user's turn, so that two who ask at once do not both find room, or bring back what the
//! other has just stopped. Nobody waits for another user's turn. Who also holds a place in `erasing.rs` takes
//! that first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::protocol::users::owner::UserId;

type Lock = tokio::sync::Mutex<()>;

/// The turns that somebody has or waits for.
#[derive(Debug, Default)]
pub(in crate::actors) struct KeyedLock(Mutex<HashMap<UserId, Weak<Lock>>>);

/// A user's turn, as long as this lives.
pub(in crate::actors) struct KeyGuard {
    _held: OwnedMutexGuard<()>,
}

impl KeyedLock {
    /// Waits for the turn of `user`.
    pub(in crate::actors) async fn take(&self, user: &UserId) -> KeyGuard {
        KeyGuard { _held: self.lock_of(user).lock_owned().await }
    }

    fn lock_of(&self, user: &UserId) -> Arc<Lock> {
        let mut user_locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = user_locks.get(user).and_then(Weak::upgrade) {
            return known;
        }
        user_locks.retain(|_, turn| turn.strong_count() > 0);
        let lock = Arc::default();
        user_locks.insert(user.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_waits_for_ones_own_turn_only_and_nothing_stays_behind() {
        let user_locks = KeyedLock::default();
        let (one, two) = (UserId::new("one").unwrap(), UserId::new("two").unwrap());
        let held = user_locks.take(&one).await;
        drop(user_locks.take(&two).await);
        let mut next = Box::pin(user_locks.take(&one));
        assert!((&mut next).now_or_never().is_none());
        drop(held);
        drop(next.await);
        drop(user_locks.take(&two).await);
        assert!(user_locks.0.lock().unwrap().len() <= 1, "locks that are over are forgotten");
    }
}
