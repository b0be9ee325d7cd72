//! Daily limits at work: what each person or bot at Telegram did today, counted before it is done and
//! durable together with the intent. One count for all sessions of one person.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::values::ids::UnixMillis;
use crate::store::{Op, Store, StoreError};

/// One of a day's, taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors) struct Unit {
    telegram_id: i64,
    action: String,
    /// The day that it was taken from.
    day: i64,
}

/// The counts that were asked for since the daemon started, by Telegram id.
#[derive(Debug, Default)]
pub(in crate::actors) struct DailyLimits(Mutex<HashMap<i64, DayCount>>);

impl DailyLimits {
    fn counts(&self) -> MutexGuard<'_, HashMap<i64, DayCount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `with` on a person's count, which is read from the store where it is not known. Nobody else
    /// waits for that disk; of two who read at once the first one's is kept, which the other finds.
    async fn with<T>(
        &self,
        store: &Store,
        telegram_id: i64,
        with: impl FnOnce(&mut DayCount) -> T,
    ) -> Result<T, StoreError> {
        if let Some(count) = self.counts().get_mut(&telegram_id) {
            return Ok(with(count));
        }
        let stored = store.read(move |store| store.day_count(telegram_id)).await?;
        let mut counts = self.counts();
        let count = counts
            .entry(telegram_id)
            .or_insert_with(|| stored.unwrap_or_else(|| DayCount::none(telegram_id)));
        Ok(with(count))
    }

    /// Takes one of today's; `Ok(None)` when there is none left. The write that is returned has to be
    /// durable before the action.
    ///
    /// # Errors
    /// When the store cannot be read: then nothing may be done.
    pub(in crate::actors) async fn take(
        &self,
        store: &Store,
        telegram_id: i64,
        action: &str,
        limit: u32,
        now: UnixMillis,
    ) -> Result<Option<(Unit, Op)>, StoreError> {
        self.with(store, telegram_id, |count| {
            count.take(action, limit, now).then(|| {
                let unit = Unit { telegram_id, action: action.to_owned(), day: count.day };
                (unit, Op::PutDayCount(count.clone()))
            })
        })
        .await
    }

    /// Gives one back that was certainly not done.
    pub(in crate::actors) fn give_back(&self, unit: &Unit) {
        if let Some(count) = self.counts().get_mut(&unit.telegram_id) {
            count.give_back(&unit.action, unit.day);
        }
    }

    /// How much was used of what is in force now, and when that begins anew.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::actors) async fn used(
        &self,
        store: &Store,
        telegram_id: i64,
        action: &str,
        now: UnixMillis,
    ) -> Result<(u32, UnixMillis), StoreError> {
        let told = |count: &mut DayCount| (count.used(action, now), count.resets_at(now));
        self.with(store, telegram_id, told).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::accounts::daily_limits::{SEND, next_day};

    #[tokio::test]
    async fn counts_survive_a_restart() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let now = UnixMillis(5);
        for used in 1..=3 {
            // As after a restart: nothing is remembered but what the store has.
            let caps = DailyLimits::default();
            let taken = caps.take(&store, 7, SEND, 2, now).await.unwrap();
            assert_eq!(taken.is_some(), used <= 2);
            store.commit(taken.map(|(_, op)| op).into_iter().collect()).await.unwrap();
            assert_eq!(caps.used(&store, 7, SEND, now).await.unwrap().0, used.min(2));
        }
        let caps = DailyLimits::default();
        assert!(caps.take(&store, 7, SEND, 2, next_day(now)).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_is_given_back_after_midnight_is_none_of_the_new_days() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let (caps, evening) = (DailyLimits::default(), UnixMillis(5));
        let (late, _) = caps.take(&store, 7, SEND, 9, evening).await.unwrap().unwrap();
        let morning = next_day(evening);
        let (early, _) = caps.take(&store, 7, SEND, 9, morning).await.unwrap().unwrap();
        caps.give_back(&late);
        assert_eq!(caps.used(&store, 7, SEND, morning).await.unwrap().0, 1);
        caps.give_back(&early);
        assert_eq!(caps.used(&store, 7, SEND, morning).await.unwrap().0, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn those_who_read_the_same_count_at_once_do_not_take_more_than_there_is() {
        let (store, _outbox) = Store::in_memory().unwrap();
        for person in 0..200 {
            let caps = DailyLimits::default();
            let begin = tokio::sync::Barrier::new(4);
            let take = || async {
                begin.wait().await;
                let mut taken = 0;
                for _ in 0..3 {
                    let one = caps.take(&store, person, SEND, 5, UnixMillis(5)).await.unwrap();
                    taken += usize::from(one.is_some());
                }
                taken
            };
            let (one, two, three, four) = tokio::join!(take(), take(), take(), take());
            assert_eq!(one + two + three + four, 5);
        }
    }
}
