//! Daily limits at work: what each person or bot at Telegram did today, counted before it is done and
//! durable together with the intent. One count for all sessions of one person.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::caps::next_day;
use crate::protocol::estate::DayCount;
use crate::protocol::ids::UnixMillis;
use crate::store::{Op, Store, StoreError};

/// The counts that were asked for since the daemon started, by Telegram id.
#[derive(Debug, Default)]
pub(super) struct Caps(Mutex<HashMap<i64, DayCount>>);

impl Caps {
    fn counts(&self) -> MutexGuard<'_, HashMap<i64, DayCount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `with` on a person's count, which is read from the store where it is not known.
    fn with<T>(
        &self,
        store: &Store,
        telegram_id: i64,
        with: impl FnOnce(&mut DayCount) -> T,
    ) -> Result<T, StoreError> {
        let mut counts = self.counts();
        if let Some(count) = counts.get_mut(&telegram_id) {
            return Ok(with(count));
        }
        let stored = store.day_count(telegram_id)?;
        let count = counts
            .entry(telegram_id)
            .or_insert_with(|| stored.unwrap_or_else(|| DayCount::none(telegram_id)));
        Ok(with(count))
    }

    /// Takes one of today's; `Ok(None)` when there is none left. What is returned has to be durable
    /// before the action.
    ///
    /// # Errors
    /// When the store cannot be read: then nothing may be done.
    pub(super) fn take(
        &self,
        store: &Store,
        telegram_id: i64,
        action: &str,
        limit: u32,
        now: UnixMillis,
    ) -> Result<Option<Op>, StoreError> {
        self.with(store, telegram_id, |count| {
            count.take(action, limit, now).then(|| Op::PutDayCount(count.clone()))
        })
    }

    /// Gives one back that was certainly not done.
    pub(super) fn give_back(&self, telegram_id: i64, action: &str, now: UnixMillis) {
        if let Some(count) = self.counts().get_mut(&telegram_id) {
            count.give_back(action, now);
        }
    }

    /// How much was used today, and when that begins anew.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn used(
        &self,
        store: &Store,
        telegram_id: i64,
        action: &str,
        now: UnixMillis,
    ) -> Result<(u32, UnixMillis), StoreError> {
        let used = self.with(store, telegram_id, |count| count.used(action, now))?;
        Ok((used, next_day(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::caps::SEND;

    #[tokio::test]
    async fn counts_survive_a_restart() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let now = UnixMillis(5);
        for used in 1..=3 {
            // As after a restart: nothing is remembered but what the store has.
            let caps = Caps::default();
            let op = caps.take(&store, 7, SEND, 2, now).unwrap();
            assert_eq!(op.is_some(), used <= 2);
            store.commit(op.into_iter().collect()).await.unwrap();
            assert_eq!(caps.used(&store, 7, SEND, now).unwrap().0, used.min(2));
        }
        let caps = Caps::default();
        assert!(caps.take(&store, 7, SEND, 2, next_day(now)).unwrap().is_some());
    }
}
