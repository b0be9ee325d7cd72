//! How many connections to Telegram may be open at once. Owns the permits; each is one open file of the
//! process, and who has one keeps it until its socket is closed.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::protocol::telegram::failure::Failure;

/// The room for connections.
#[derive(Clone, Debug)]
pub struct Sockets {
    max: usize,
    free: Arc<Semaphore>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self::at_most(Semaphore::MAX_PERMITS)
    }
}

impl Sockets {
    /// Room for so many.
    pub fn at_most(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { max, free: Arc::new(Semaphore::new(max)) }
    }

    /// Takes one. Does not wait: the others stay connected for as long as they can.
    ///
    /// # Errors
    /// [`Failure::Transient`] when all are taken.
    pub(super) fn take(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            Failure::transient(format!(
                "the limit of open files leaves room for {} connections to telegram, and all are taken; \
                 raise it (LimitNOFILE= in the unit, --ulimit nofile= of the container, ulimit -Hn in a \
                 shell) and restart",
                self.max
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_room_is_told_the_cure_and_it_comes_back() {
        let sockets = Sockets::at_most(2);
        let first = sockets.take().unwrap();
        let _second = sockets.take().unwrap();
        let refusal = sockets.take().unwrap_err().to_string();
        assert!(refusal.contains("2 connections") && refusal.contains("LimitNOFILE="), "{refusal}");
        drop(first);
        assert!(sockets.take().is_ok());
    }
}
