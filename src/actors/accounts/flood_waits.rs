//! Telegram's waits by person. Owns what all sessions of one account have in common: whoever is told
//! to wait over one session must not ask over another
//! (<https://core.telegram.org/api/errors#420-flood>). Each account's actor keeps and stores its own;
//! this is where they hear of each other.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::telegram::pacing::FloodWaits;
use crate::protocol::telegram::pacing::{FloodWait, FloodWaitScope, MethodClass};
use crate::protocol::values::ids::UnixMillis;

/// The waits of everybody, by user id. A person without one takes no room.
#[derive(Debug, Default)]
pub(in crate::actors) struct PersonWaits(Mutex<HashMap<i64, FloodWaits>>);

impl PersonWaits {
    fn all(&self) -> MutexGuard<'_, HashMap<i64, FloodWaits>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a wait.
    pub(in crate::actors) fn impose(
        &self,
        user_id: i64,
        scope: FloodWaitScope,
        until: UnixMillis,
        now: UnixMillis,
    ) {
        let mut all = self.all();
        if !all.contains_key(&user_id) {
            // Of whom nobody asks any more it would stay for good.
            all.retain(|_, waits| !waits.current(now).is_empty());
        }
        all.entry(user_id).or_default().impose(scope, until, now);
    }

    /// How long calls of `class` have to wait yet; zero when they need not.
    pub(in crate::actors) fn left(
        &self,
        user_id: i64,
        class: MethodClass,
        now: UnixMillis,
    ) -> Duration {
        let until = self.all().get(&user_id).and_then(|waits| waits.holds(class, now));
        let left = until.map_or(0, |until| until.0 - now.0);
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// What this person still has to wait for.
    pub(in crate::actors) fn of(&self, user_id: i64, now: UnixMillis) -> Vec<FloodWait> {
        let mut all = self.all();
        let left = all.get(&user_id).map(|waits| waits.current(now)).unwrap_or_default();
        if left.is_empty() {
            all.remove(&user_id);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_the_persons_until_it_is_over() {
        let waits = PersonWaits::default();
        let scope = FloodWaitScope::Class(MethodClass::Read);
        waits.impose(1, scope.clone(), UnixMillis(100), UnixMillis(0));
        assert_eq!(waits.of(2, UnixMillis(50)), []);
        let left = |class| waits.left(1, class, UnixMillis(50));
        assert_eq!(left(MethodClass::Read), Duration::from_millis(50));
        assert_eq!(left(MethodClass::Updates), Duration::ZERO);
        let left = waits.of(1, UnixMillis(50));
        assert_eq!(left, [FloodWait { scope, until: UnixMillis(100) }]);
        assert_eq!(waits.of(1, UnixMillis(100)), []);
        assert!(waits.all().is_empty());
        for user_id in 1..=9 {
            let scope = FloodWaitScope::Class(MethodClass::Read);
            waits.impose(user_id, scope, UnixMillis(user_id * 100), UnixMillis(user_id * 100 - 1));
        }
        assert_eq!(waits.all().len(), 1, "of whom nobody asked, either");
    }
}
