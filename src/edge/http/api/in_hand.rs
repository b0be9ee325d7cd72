//! How many requests are being done: in all, and of each user. Owns the counts; whoever holds a
//! [`InHandPermit`] is counted until it is dropped. Must never wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::users::owner::UserId;

/// A user may have one in this many of all requests in hand, so that whoever asks too much at once
/// leaves room for others.
const SHARE: usize = 4;

/// Seconds until a refused request may be tried again.
const TRY_AGAIN: u64 = 1;

/// The counts.
#[derive(Debug)]
pub(super) struct InHand {
    max: usize,
    share: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Users with none are not in it: it never has more members than there are requests.
    users: HashMap<UserId, usize>,
}

/// Room for one request.
#[derive(Debug)]
pub(super) struct InHandPermit {
    of: Arc<InHand>,
    user: UserId,
}

impl InHand {
    /// Room for `max` requests, and at least for one of each user.
    pub(super) fn new(max: usize) -> Self {
        Self { max, share: (max / SHARE).max(1), counts: Mutex::default() }
    }

    /// Takes a place for a request of `user`.
    ///
    /// # Errors
    /// When the user has their share already, or all places are taken.
    pub(super) fn take(self: &Arc<Self>, user: &UserId) -> Result<InHandPermit, Refusal> {
        let refused = |what: String| {
            Refusal::new(Code::Overloaded, format!("{what}; try again soon")).after(TRY_AGAIN)
        };
        let mut counts = self.counts();
        if counts.users.get(user).is_some_and(|count| *count >= self.share) {
            let share = self.share;
            return Err(refused(format!("{share} requests of yours are in hand, a user's share")));
        }
        if counts.all >= self.max {
            return Err(refused(format!("{} requests are in hand already", self.max)));
        }
        counts.all += 1;
        *counts.users.entry(user.clone()).or_default() += 1;
        Ok(InHandPermit { of: Arc::clone(self), user: user.clone() })
    }

    /// Every change is whole before the lock is let go, so a poisoned one is as good as any.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InHandPermit {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        counts.all = counts.all.saturating_sub(1);
        if let Entry::Occupied(mut count) = counts.users.entry(self.user.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(number: usize) -> UserId {
        UserId::new(format!("user-{number}")).unwrap()
    }

    #[test]
    fn a_user_may_have_a_quarter_of_all_and_one_at_least() {
        for (max, share) in [(512, 128), (16, 4), (7, 1), (3, 1), (1, 1)] {
            let in_hand = Arc::new(InHand::new(max));
            let held: Vec<_> = (0..share).map(|_| in_hand.take(&user(1)).unwrap()).collect();
            let refusal = in_hand.take(&user(1)).unwrap_err();
            assert_eq!((refusal.code, refusal.retry_after), (Code::Overloaded, Some(1)));
            assert!(refusal.detail.contains(&format!("{share} requests of yours")), "{refusal}");
            assert_eq!(in_hand.take(&user(2)).is_ok(), max > share);
            drop(held);
            assert!(in_hand.take(&user(1)).is_ok());
        }
    }

    proptest! {
        #[test]
        fn no_count_is_ever_exceeded_and_all_places_come_back(
            max in 1_usize..40,
            steps in prop::collection::vec((0_usize..6, any::<prop::sample::Index>(), any::<bool>()), 0..200),
        ) {
            let in_hand = Arc::new(InHand::new(max));
            let mut held: Vec<(usize, InHandPermit)> = Vec::new();
            for (who, which, is_end) in steps {
                if is_end && !held.is_empty() {
                    held.swap_remove(which.index(held.len()));
                    continue;
                }
                let own = held.iter().filter(|(other, _)| *other == who).count();
                let has_room = own < (max / 4).max(1) && held.len() < max;
                let taken = in_hand.take(&user(who));
                prop_assert_eq!(taken.is_ok(), has_room);
                held.extend(taken.ok().map(|place| (who, place)));
            }
            drop(held);
            let counts = in_hand.counts();
            prop_assert_eq!((counts.all, counts.users.len()), (0, 0));
        }
    }
}
