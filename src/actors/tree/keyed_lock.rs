//! One at a time for each key, which mostly is a user: whoever looks at which monitors a user has and then adds,
//! changes or takes one away holds the user's turn, so that two who ask at once do not both find room, or bring back
//! what the other has just stopped. Nobody waits for another key's turn. Who also holds a place in `erasing.rs` takes
//! that first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::protocol::users::owner::UserId;

type Lock = tokio::sync::Mutex<()>;

/// The turns that somebody has or waits for.
#[derive(Debug)]
pub(in crate::actors) struct KeyedLock<K = UserId>(Mutex<HashMap<K, Weak<Lock>>>);

impl<K> Default for KeyedLock<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// A turn, as long as this lives.
pub(in crate::actors) struct KeyGuard {
    _held: OwnedMutexGuard<()>,
}

impl<K: Clone + Eq + Hash> KeyedLock<K> {
    /// Waits for the turn of `key`.
    pub(in crate::actors) async fn take(&self, key: &K) -> KeyGuard {
        KeyGuard { _held: self.lock_of(key).lock_owned().await }
    }

    fn lock_of(&self, key: &K) -> Arc<Lock> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = locks.get(key).and_then(Weak::upgrade) {
            return known;
        }
        locks.retain(|_, turn| turn.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_waits_for_ones_own_turn_only_and_nothing_stays_behind() {
        let user_locks = KeyedLock::<UserId>::default();
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
