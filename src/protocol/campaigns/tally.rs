//! What became of a task's targets, counted by outcome and by account. Kept beside how the task fares and written in the
//! commit of each change, so that nobody has to go through a million targets to tell. A target counts by what it says
//! itself ([`Tally::count`]), so a recount of all targets gives the same. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::target::{Reason, STATUSES, Statistics, Target, TargetStatus};
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;

/// Different codes of a messenger that are counted apart.
const CODES_MAX: usize = 64;
/// Longest name of a code, bytes; longer ones count with the others.
const CODE_BYTES_MAX: usize = 64;
/// Where codes count for which there is no room.
const OTHER_CODES: &str = "OTHER";

/// How many targets came to which outcome, and through which account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// By status and reason, in their order. None is zero.
    #[serde(default)]
    outcomes: Vec<(TargetStatus, Option<Reason>, u64)>,
    /// By the account of the newest intent, in the order of their ids. Who was never tried has none.
    #[serde(default)]
    accounts: Vec<(AccountId, Statistics)>,
    /// Answers of the messenger that were no success, by their names: of attempts, not of targets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    codes: BTreeMap<Box<str>, u64>,
}

/// The account that a target counts for.
fn account_of(target: &Target) -> Option<AccountId> {
    target.tried().map(|intent| intent.account)
}

impl Tally {
    /// Counts targets anew.
    pub fn of<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Self {
        let mut tally = Self::default();
        targets.into_iter().for_each(|target| tally.count(target));
        tally
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.accounts.is_empty() && self.codes.is_empty()
    }

    /// One more target.
    pub fn count(&mut self, target: &Target) {
        let key = (target.status, target.reason);
        match self.outcomes.binary_search_by_key(&key, |(status, reason, _)| (*status, *reason)) {
            Ok(at) => self.outcomes[at].2 += 1,
            Err(at) => self.outcomes.insert(at, (key.0, key.1, 1)),
        }
        let Some(account) = account_of(target) else { return };
        let at = match self.accounts.binary_search_by_key(&account, |(id, _)| *id) {
            Ok(at) => at,
            Err(at) => {
                self.accounts.insert(at, (account, Statistics::default()));
                at
            }
        };
        self.accounts[at].1.add(target.status);
    }

    /// One less: it is gone, or about to be counted as something else.
    pub fn uncount(&mut self, target: &Target) {
        let key = (target.status, target.reason);
        let found =
            self.outcomes.binary_search_by_key(&key, |(status, reason, _)| (*status, *reason));
        if let Ok(at) = found {
            self.outcomes[at].2 -= 1;
            if self.outcomes[at].2 == 0 {
                self.outcomes.remove(at);
            }
        }
        let Some(account) = account_of(target) else { return };
        if let Ok(at) = self.accounts.binary_search_by_key(&account, |(id, _)| *id) {
            self.accounts[at].1.remove(target.status);
            if self.accounts[at].1.total() == 0 {
                self.accounts.remove(at);
            }
        }
    }

    /// An attempt was answered by this code.
    pub fn note_code(&mut self, code: &str) {
        let has_room = self.codes.len() < CODES_MAX && code.len() <= CODE_BYTES_MAX;
        let name = if has_room || self.codes.contains_key(code) { code } else { OTHER_CODES };
        *self.codes.entry(name.into()).or_default() += 1;
    }

    /// Takes over what targets say, counted anew, and keeps what only attempts tell.
    pub fn recounted(self, anew: Self) -> Self {
        Self { codes: self.codes, ..anew }
    }

    /// All targets.
    pub fn total(&self) -> u64 {
        self.outcomes.iter().map(|(_, _, count)| count).sum()
    }

    /// Whether it holds all targets that `statistics` tells of: a task of an older program has none.
    pub fn is_whole(&self, statistics: &Statistics) -> bool {
        self.total() == statistics.total()
    }

    /// How many have which status, for which reason. They add up to the total.
    pub fn outcomes(&self) -> &[(TargetStatus, Option<Reason>, u64)] {
        &self.outcomes
    }

    /// How many of a status have this reason.
    pub fn with_reason(&self, reason: Reason) -> u64 {
        let of = self.outcomes.iter().filter(|(_, own, _)| *own == Some(reason));
        of.map(|(_, _, count)| count).sum()
    }

    /// How the targets stand that each account tried last.
    pub fn accounts(&self) -> &[(AccountId, Statistics)] {
        &self.accounts
    }

    /// How those stand that no account tried. With those of the accounts they add up to the total.
    pub fn untried(&self) -> Statistics {
        let mut rest = Statistics::default();
        for status in STATUSES {
            let all: u64 =
                self.outcomes.iter().filter(|(own, ..)| *own == status).map(|(.., n)| n).sum();
            let tried: u64 = self.accounts.iter().map(|(_, counts)| counts.count(status)).sum();
            rest.put(status, all.saturating_sub(tried));
        }
        rest
    }

    /// How often the messenger answered with which code.
    pub fn codes(&self) -> impl Iterator<Item = (&str, u64)> + '_ {
        self.codes.iter().map(|(code, count)| (&**code, *count))
    }
}

/// What came of one day's attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayCounts {
    /// Invited, requested or sent.
    pub succeeded: u64,
    /// Refused.
    pub refused: u64,
    /// Failed.
    pub failed: u64,
    /// Tried, and skipped then.
    pub skipped: u64,
}

impl DayCounts {
    /// All.
    pub fn total(&self) -> u64 {
        self.succeeded + self.refused + self.failed + self.skipped
    }
}

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What came of the targets that were tried, by the day of the newest attempt (UTC).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Days(BTreeMap<i64, DayCounts>);

impl Days {
    /// Counts a target, if somebody was tried and nothing follows any more.
    pub fn note(&mut self, target: &Target) {
        let Some(intent) = target.intent.as_deref().filter(|_| target.status.is_final()) else {
            return;
        };
        let day = self.0.entry(intent.at.0.div_euclid(DAY_MS)).or_default();
        match target.status {
            TargetStatus::Refused => day.refused += 1,
            TargetStatus::Failed => day.failed += 1,
            TargetStatus::Skipped => day.skipped += 1,
            _ => day.succeeded += 1,
        }
    }

    /// The days on which something came to its end, each by its beginning, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (UnixMillis, DayCounts)> + '_ {
        self.0.iter().map(|(day, counts)| (UnixMillis(day.saturating_mul(DAY_MS)), *counts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::protocol::campaigns::identity::Identifier;
    use crate::protocol::campaigns::target::{Intent, Step, TargetId};

    const REASONS: [Option<Reason>; 4] =
        [None, Some(Reason::Privacy), Some(Reason::LeftOut), Some(Reason::NotFound)];

    fn target(id: u32, status: usize, reason: usize, account: u128) -> Target {
        let mut target = Target::new(TargetId(id), Identifier::Id(i64::from(id) + 1), None);
        (target.status, target.reason) = (STATUSES[status], REASONS[reason]);
        target.intent = (account > 0).then(|| {
            let account = AccountId(Uuid::from_u128(account));
            let at = UnixMillis(i64::from(id) * DAY_MS / 3);
            Box::new(Intent {
                account,
                step: Step::Send,
                random_id: 1,
                at,
                is_repeat: false,
                wall: None,
            })
        });
        target
    }

    proptest! {
        #[test]
        fn whatever_changes_the_counts_are_those_of_a_recount(
            changes in prop::collection::vec((0..20_u32, prop::option::of((0..STATUSES.len(), 0..REASONS.len(), 0..4_u128))), 0..200)
        ) {
            let mut targets: BTreeMap<u32, Target> = BTreeMap::new();
            let mut tally = Tally::default();
            for (id, change) in changes {
                if let Some(before) = targets.remove(&id) {
                    tally.uncount(&before);
                }
                if let Some((status, reason, account)) = change {
                    let after = target(id, status, reason, account);
                    tally.count(&after);
                    targets.insert(id, after);
                }
            }
            prop_assert_eq!(&tally, &Tally::of(targets.values()));
            let statistics = Statistics::of(targets.values());
            prop_assert!(tally.is_whole(&statistics));
            let of_accounts = tally.accounts().iter().map(|(_, counts)| counts.total());
            prop_assert_eq!(of_accounts.sum::<u64>() + tally.untried().total(), statistics.total());
            let json = serde_json::to_string(&tally).unwrap();
            prop_assert_eq!(serde_json::from_str::<Tally>(&json).unwrap(), tally);
        }
    }

    #[test]
    fn codes_are_bounded_and_kept_by_a_recount() {
        let mut tally = Tally::default();
        for number in 0..200 {
            tally.note_code(&format!("CODE_{number}"));
        }
        tally.note_code("CODE_3");
        tally.note_code(&"X".repeat(70));
        let codes: BTreeMap<&str, u64> = tally.codes().collect();
        assert_eq!((codes.len(), codes["CODE_3"], codes["OTHER"]), (65, 2, 137));
        assert_eq!(codes.values().sum::<u64>(), 202);
        let again = tally.clone().recounted(Tally::of([&target(1, 4, 0, 1)]));
        assert_eq!((again.total(), again.codes().count()), (1, 65));
    }

    #[test]
    fn days_hold_who_was_tried_and_is_through() {
        let mut days = Days::default();
        for (id, status, account) in
            [(0, 4, 1), (1, 4, 1), (2, 5, 1), (3, 6, 2), (4, 0, 1), (5, 7, 0)]
        {
            days.note(&target(id, status, 0, account));
        }
        let days: Vec<_> = days.iter().collect();
        let counts =
            |succeeded, refused, failed| DayCounts { succeeded, refused, failed, skipped: 0 };
        assert_eq!(days, [(UnixMillis(0), counts(2, 1, 0)), (UnixMillis(DAY_MS), counts(0, 0, 1))]);
    }
}
