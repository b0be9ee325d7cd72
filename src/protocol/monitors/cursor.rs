//! The cursor of a monitor: which messages of a chat have been published, so that each is
//! published once whether it comes live, from a difference, from history, or from another account.

use serde::{Deserialize, Serialize};

use crate::protocol::values::ids::AuthKeyId;

/// How many ids behind the newest one a late message may lie and still be told from a repeated
/// one. Telegram hands updates of one chat over in order; the window covers what its differences
/// and our history reads can reorder (a page is 100 messages).
pub const WINDOW: u32 = u128::BITS;

/// Position in one chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The newest id that was published, or the baseline.
    pub last_id: i32,
    /// Bit `k` is set when `last_id - k` was published or lies at or below the baseline.
    seen: u128,
    /// Date of the newest published message, Unix seconds.
    pub last_date: i64,
    /// In basic groups and private chats message ids belong to one account: whose these are.
    /// `None` in channels and supergroups, where everyone sees the same ids.
    pub owner: Option<AuthKeyId>,
    /// Fingerprints of what was published with the date `last_date`; kept only where ids belong
    /// to an account, because another account can be matched by content alone.
    recent: Vec<u64>,
    /// Fingerprints inherited from the previous owner, each spent by one match.
    inherited: Vec<u64>,
}

/// Most fingerprints kept: one second of a chat that is as busy as Telegram lets a chat be
/// (20 messages a minute a bot, about 30 a second in all) with room to spare.
const FINGERPRINTS_MAX: usize = 256;

impl Cursor {
    /// Starts after `baseline_id`: it and everything before it counts as published.
    pub fn starting_after(baseline_id: i32, date: i64, owner: Option<AuthKeyId>) -> Self {
        Self {
            last_id: baseline_id,
            seen: u128::MAX,
            last_date: date,
            owner,
            recent: Vec::new(),
            inherited: Vec::new(),
        }
    }

    /// Continues with another account whose ids mean something else: `baseline_id` is the newest
    /// of its ids dated before [`Cursor::last_date`]; messages of that very second are matched by
    /// fingerprint.
    pub fn continued_by(&self, owner: AuthKeyId, baseline_id: i32) -> Self {
        let mut inherited = self.recent.clone();
        inherited.extend(&self.inherited);
        inherited.truncate(FINGERPRINTS_MAX);
        Self { inherited, ..Self::starting_after(baseline_id, self.last_date, Some(owner)) }
    }

    /// Takes note of a message; `true` when it has not been published before.
    pub fn accept(&mut self, id: i32, date: i64, fingerprint: u64) -> bool {
        if !self.mark(id) {
            return false;
        }
        if let Some(spent) = self.inherited.iter().position(|&known| known == fingerprint) {
            self.inherited.swap_remove(spent);
            // Yet another account has to recognise it, too.
            self.remember(date, fingerprint);
            return false;
        }
        if self.owner.is_some() {
            self.remember(date, fingerprint);
        }
        self.last_date = self.last_date.max(date);
        true
    }

    /// Counts a message as published that cannot be told; `true` when it was not so before.
    pub fn pass_over(&mut self, id: i32) -> bool {
        self.mark(id)
    }

    /// Whether `id` is already covered, without taking note of it.
    pub fn covers(&self, id: i32) -> bool {
        id <= self.last_id && self.distance(id).is_none_or(|k| self.seen & (1 << k) != 0)
    }

    /// Where reading history has to begin so that no hole inside the window stays unseen.
    pub fn resume_from(&self) -> i32 {
        let unseen = !self.seen;
        let deepest = WINDOW - 1 - unseen.leading_zeros().min(WINDOW - 1);
        match unseen {
            0 => self.last_id,
            _ => self.last_id.saturating_sub(deepest as i32).saturating_sub(1),
        }
    }

    /// History was read to its end: what is missing inside the window does not exist.
    pub fn settle(&mut self) {
        self.seen = u128::MAX;
    }

    /// The same for ids up to `id` only: history was read up to there.
    pub fn settle_to(&mut self, id: i32) {
        let above = i64::from(self.last_id) - i64::from(id);
        // Bit `above` is that of `id`; the bits from there on stand for the ids below.
        let settled = match u32::try_from(above) {
            Ok(above) => u128::MAX.checked_shl(above).unwrap_or(0),
            Err(_) => u128::MAX,
        };
        self.seen |= settled;
    }

    /// Whether taking note of these would push an id out of the window that was not published, so
    /// that nobody could tell any more whether it is missing.
    pub fn would_forget(&self, ids: impl IntoIterator<Item = i32>) -> bool {
        let mut ahead = Self::starting_after(self.last_id, 0, None);
        ahead.seen = self.seen;
        ids.into_iter().any(|id| {
            let step = i64::from(id) - i64::from(ahead.last_id);
            let unseen = !ahead.seen;
            let pushed_out = match u32::try_from(step) {
                Ok(0) | Err(_) => false,
                Ok(step) if step > WINDOW => true,
                // The oldest `step` ids of the window.
                Ok(step) => unseen >> (WINDOW - step) != 0,
            };
            ahead.mark(id);
            pushed_out
        })
    }

    fn mark(&mut self, id: i32) -> bool {
        if id > self.last_id {
            let step = (i64::from(id) - i64::from(self.last_id)).min(i64::from(WINDOW)) as u32;
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.last_id = id;
            return true;
        }
        match self.distance(id) {
            Some(k) if self.seen & (1 << k) == 0 => {
                self.seen |= 1 << k;
                true
            }
            _ => false,
        }
    }

    /// How far `id` lies behind the newest one; `None` outside the window.
    fn distance(&self, id: i32) -> Option<u32> {
        let back = i64::from(self.last_id) - i64::from(id);
        u32::try_from(back).ok().filter(|&k| k < WINDOW)
    }

    fn remember(&mut self, date: i64, fingerprint: u64) {
        if date > self.last_date {
            self.recent.clear();
        }
        if date >= self.last_date && self.recent.len() < FINGERPRINTS_MAX {
            self.recent.push(fingerprint);
        }
    }
}

/// Content fingerprint that two accounts compute alike: FNV-1a over sender, date and text. It
/// decides only between messages of one chat and one second.
pub fn fingerprint(sender: Option<i64>, date: i64, text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let head = sender.unwrap_or_default().to_le_bytes();
    for byte in head.iter().chain(&date.to_le_bytes()).chain(text.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_one_successor_recognised_the_next_one_recognises_too() {
        let mut cursor = Cursor::starting_after(10, 50, Some(AuthKeyId(1)));
        assert!(cursor.accept(11, 60, 7));
        for (owner, id) in [(2, 101), (3, 201), (4, 301)] {
            cursor = cursor.continued_by(AuthKeyId(owner), id - 1);
            assert!(!cursor.accept(id, 60, 7), "account {owner}");
        }
        assert!(cursor.accept(302, 60, 8));
    }

    #[test]
    fn nothing_at_or_below_the_baseline_is_ever_new() {
        let mut cursor = Cursor::starting_after(10, 0, None);
        assert!(!cursor.accept(10, 1, 0));
        assert!(cursor.accept(11, 1, 0));
        assert!(!cursor.accept(9, 1, 0));
        assert!(!cursor.accept(i32::MIN, 1, 0));
    }

    #[test]
    fn what_is_passed_over_is_passed_over_once_and_hides_nothing_around_it() {
        let mut cursor = Cursor::starting_after(10, 5, None);
        assert!(cursor.pass_over(12));
        assert!(!cursor.pass_over(12));
        assert!(!cursor.pass_over(10));
        assert!(cursor.accept(11, 6, 0));
        assert!(cursor.accept(13, 7, 0));
        assert_eq!((cursor.resume_from(), cursor.last_date), (13, 7));
    }

    #[test]
    fn a_late_message_inside_the_window_is_still_published_once() {
        let mut cursor = Cursor::starting_after(0, 0, None);
        assert!(cursor.accept(100, 1, 0));
        assert!(cursor.accept(50, 1, 0));
        assert!(!cursor.accept(50, 1, 0));
        assert!(!cursor.accept(100, 1, 0));
    }

    #[test]
    fn another_account_repeats_nothing_of_the_last_second_and_loses_nothing() {
        let (a, b) = (AuthKeyId(1), AuthKeyId(2));
        let mut cursor = Cursor::starting_after(0, 0, Some(a));
        assert!(cursor.accept(5, 70, fingerprint(Some(1), 70, "early")));
        assert!(cursor.accept(6, 77, fingerprint(Some(1), 77, "ok")));
        assert!(cursor.accept(7, 77, fingerprint(Some(1), 77, "ok")));
        let mut cursor = cursor.continued_by(b, 900);
        assert!(!cursor.accept(901, 77, fingerprint(Some(1), 77, "ok")));
        assert!(!cursor.accept(902, 77, fingerprint(Some(1), 77, "ok")));
        assert!(cursor.accept(903, 77, fingerprint(Some(1), 77, "ok")), "a third one is new");
    }

    #[test]
    fn reading_resumes_below_the_deepest_hole() {
        let mut cursor = Cursor::starting_after(10, 0, None);
        assert_eq!(cursor.resume_from(), 10);
        for id in [11, 12, 15, 17] {
            cursor.accept(id, 0, 0);
        }
        assert_eq!(cursor.resume_from(), 12);
        cursor.settle();
        assert_eq!(cursor.resume_from(), 17);
        assert!(!cursor.accept(13, 0, 0));
    }

    #[test]
    fn what_history_was_not_read_for_is_not_settled() {
        let mut cursor = Cursor::starting_after(10, 0, None);
        for id in [11, 13, 15] {
            cursor.accept(id, 0, 0);
        }
        cursor.settle_to(13);
        assert_eq!(cursor.resume_from(), 13);
        assert!(!cursor.accept(12, 0, 0));
        assert!(cursor.accept(14, 0, 0));
        cursor.settle_to(-200);
        cursor.settle_to(i32::MAX);
        assert_eq!(cursor.resume_from(), 15);
    }

    proptest! {
        #[test]
        fn a_hole_is_never_forgotten_unless_somebody_was_warned(
            ids in prop::collection::vec((1..40i32, 0..30u8), 1..200),
        ) {
            let mut cursor = Cursor::starting_after(0, 0, None);
            let (mut id, mut holes) = (0, Vec::new());
            for (step, kind) in ids {
                // Mostly one after the other.
                let step = if kind == 0 { step } else { 1 };
                holes.extend(id + 1..id + step);
                id += step;
                if cursor.would_forget([id]) {
                    // Then history is read.
                    cursor.settle();
                    holes.clear();
                }
                cursor.accept(id, 0, 0);
                prop_assert!(holes.iter().all(|hole| !cursor.covers(*hole)));
            }
        }

        #[test]
        fn settling_up_to_an_id_settles_what_is_below_and_nothing_above(
            ids in prop::collection::btree_set(1..128i32, 1..60), to in -10..140i32,
        ) {
            let mut cursor = Cursor::starting_after(0, 0, None);
            for id in &ids {
                cursor.accept(*id, 0, 0);
            }
            cursor.settle_to(to);
            for id in 1..=cursor.last_id {
                prop_assert_eq!(cursor.covers(id), id <= to || ids.contains(&id), "{}", id);
            }
        }

        #[test]
        fn each_id_is_accepted_at_most_once(ids in prop::collection::vec(-50..400i32, 0..300)) {
            let mut cursor = Cursor::starting_after(0, 0, None);
            let mut accepted = HashSet::new();
            for id in ids {
                let new = cursor.accept(id, 0, 0);
                prop_assert!(!new || accepted.insert(id), "{id} accepted twice");
                prop_assert!(!new || id > 0);
                prop_assert!(cursor.covers(id));
            }
        }

        #[test]
        fn every_id_within_the_window_is_accepted(
            ids in Just((1..=120i32).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut cursor = Cursor::starting_after(0, 0, None);
            let accepted = ids.into_iter().filter(|&id| cursor.accept(id, 0, 0)).count();
            prop_assert_eq!(accepted, 120);
        }
    }
}
