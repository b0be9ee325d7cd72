//! The right to connect an authorization key. One place hands leases out (the fleet, `actors/accounts/fleet.rs`), and a
//! connection holds one until its sockets are closed for certain: a key that is connected twice, if only for a
//! moment, is one that Telegram ends (`AUTH_KEY_DUPLICATED`). Where several daemons will share accounts, the
//! fencing token stands here.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::protocol::telegram::failure::Failure;

/// How long the previous connection of a key may take to be closed before a dial gives up.
const HOLD_TIMEOUT: Duration = Duration::from_secs(10);

/// What whoever wants to connect a key has to hold. Copies are of one key: one of them is held at a time.
#[derive(Clone, Debug)]
pub struct ConnectionLease(Arc<Semaphore>);

/// A lease that somebody has, until it is dropped.
#[derive(Debug)]
pub struct HeldLease {
    _permit: OwnedSemaphorePermit,
}

/// A lease that is kept only as long as somebody else keeps it.
#[derive(Clone, Debug)]
pub struct WeakLease(Weak<Semaphore>);

impl ConnectionLease {
    /// Of a key that nobody connects yet.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// One that nobody ever gets: where it is not known whose the key is, it is not connected.
    pub fn never() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Waits until nobody else connects the key.
    ///
    /// # Errors
    /// [`Failure::Transient`] when that takes longer than ten seconds.
    pub async fn hold(&self) -> Result<HeldLease, Failure> {
        match timeout(HOLD_TIMEOUT, Arc::clone(&self.0).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(HeldLease { _permit: permit }),
            Ok(Err(_)) => Err(Failure::transient("the daemon is stopping")),
            Err(_) => Err(Failure::transient("the key's previous connection does not close")),
        }
    }

    /// The same, without waiting.
    pub fn try_hold(&self) -> Option<HeldLease> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(HeldLease { _permit: permit })
    }

    /// Whether both are of one key.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// See [`WeakLease`].
    pub fn downgrade(&self) -> WeakLease {
        WeakLease(Arc::downgrade(&self.0))
    }
}

impl Default for ConnectionLease {
    fn default() -> Self {
        Self::new()
    }
}

impl WeakLease {
    /// The lease, if somebody keeps it.
    pub fn upgrade(&self) -> Option<ConnectionLease> {
        self.0.upgrade().map(ConnectionLease)
    }

    /// Whether nobody keeps it any more.
    pub fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_holds_it_at_a_time_and_the_next_waits_only_so_long() {
        let lease = ConnectionLease::new();
        let held = lease.hold().await.unwrap();
        assert!(lease.clone().try_hold().is_none());
        let refusal = lease.hold().await.unwrap_err().to_string();
        assert!(refusal.contains("does not close"), "{refusal}");
        let next = tokio::spawn({
            let lease = lease.clone();
            async move { lease.hold().await }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(next.await.unwrap().is_ok());
        assert!(ConnectionLease::never().try_hold().is_none());
    }

    #[test]
    fn a_weak_one_ends_with_the_last_who_keeps_it() {
        let lease = ConnectionLease::new();
        let weak = lease.downgrade();
        assert!(weak.upgrade().is_some_and(|same| same.is_same(&lease)) && !weak.is_over());
        drop(lease);
        assert!(weak.upgrade().is_none() && weak.is_over());
    }
}
