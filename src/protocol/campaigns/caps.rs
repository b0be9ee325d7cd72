//! Caps: how much an account may do in any 24 hours and in any hour, counted in rolling windows that survive
//! restarts. Pure arithmetic over a record that the store keeps with the intent.
//!
//! Moments here are on the **steady timeline** ([`CapClock`]): it moves with a clock that nobody sets, and over
//! downtime only as far as Telegram's own time says. So no jump of the machine's clock and no change of DST
//! refills a cap.

use serde::{Deserialize, Serialize};

use crate::protocol::values::ids::UnixMillis;

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 60 * 60 * 1_000;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// Uses are counted by the minute, so that a record stays small however much is done: at most 1,441 minutes of
/// twelve bytes an action. A minute counts until all of it is older than the window.
const MINUTE_MS: i64 = 60 * 1_000;
/// How long a new account grows to its caps, milliseconds (ten days).
pub const RAMP_MS: i64 = 10 * DAY_MS;
/// What part of its caps an account has on its first day, one in so many.
const RAMP_START: i64 = 5;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Inviting.
    Invite,
    /// Writing; whatever has a link counts here, too.
    Message,
    /// Writing with a link.
    LinkMessage,
    /// Resolving usernames.
    Resolve,
    /// Looking phone numbers up and adding contacts.
    Contact,
}

/// All budgets.
pub const BUDGETS: [Budget; 5] =
    [Budget::Invite, Budget::Message, Budget::LinkMessage, Budget::Resolve, Budget::Contact];

/// The most of one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// In any 24 hours.
    pub per_day: u32,
    /// In any hour.
    pub per_hour: u32,
}

/// The caps of every account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// Inviting.
    pub invite: Cap,
    /// Writing.
    pub message: Cap,
    /// Writing with a link.
    pub link_message: Cap,
    /// Resolving usernames.
    pub resolve: Cap,
    /// Looking up phones, adding contacts.
    pub contact: Cap,
}

impl Default for Caps {
    fn default() -> Self {
        let cap = |per_day, per_hour| Cap { per_day, per_hour };
        Self {
            invite: cap(50, 5),
            message: cap(40, 40),
            link_message: cap(10, 10),
            resolve: cap(30, 10),
            contact: cap(15, 5),
        }
    }
}

/// What a task says of one cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnCap {
    /// In any 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_day: Option<u32>,
    /// In any hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<u32>,
}

impl OwnCap {
    fn over(self, all: Cap) -> Cap {
        Cap {
            per_day: self.per_day.unwrap_or(all.per_day),
            per_hour: self.per_hour.unwrap_or(all.per_hour),
        }
    }

    fn lowered_to(self, all: Cap) -> Self {
        Self {
            per_day: self.per_day.map(|own| own.min(all.per_day)),
            per_hour: self.per_hour.map(|own| own.min(all.per_hour)),
        }
    }

    fn above(self, all: Cap) -> Option<Self> {
        let per_day = self.per_day.filter(|own| *own > all.per_day);
        let per_hour = self.per_hour.filter(|own| *own > all.per_hour);
        (per_day.is_some() || per_hour.is_some()).then_some(Self { per_day, per_hour })
    }

    fn or_more(self, all: Cap) -> Cap {
        let own = self.over(all);
        Cap { per_day: own.per_day.max(all.per_day), per_hour: own.per_hour.max(all.per_hour) }
    }
}

/// What a task says of caps. For what it leaves out the installation's hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnCaps {
    /// Inviting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite: Option<OwnCap>,
    /// Writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<OwnCap>,
    /// Writing with a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_message: Option<OwnCap>,
    /// Resolving usernames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve: Option<OwnCap>,
    /// Looking up phones, adding contacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<OwnCap>,
}

impl OwnCaps {
    /// The caps that hold, where `all` are the installation's.
    pub fn over(&self, all: &Caps) -> Caps {
        let over = |own: Option<OwnCap>, all| own.unwrap_or_default().over(all);
        Caps {
            invite: over(self.invite, all.invite),
            message: over(self.message, all.message),
            link_message: over(self.link_message, all.link_message),
            resolve: over(self.resolve, all.resolve),
            contact: over(self.contact, all.contact),
        }
    }

    /// Whether no cap is higher than in `all`. What is higher takes an admin.
    pub fn is_within(&self, all: &Caps) -> bool {
        self.over(all).is_within(all)
    }

    /// These, and nowhere more than `all`.
    #[must_use]
    pub fn lowered_to(self, all: &Caps) -> Self {
        let least = |own: Option<OwnCap>, all| own.map(|own| own.lowered_to(all));
        Self {
            invite: least(self.invite, all.invite),
            message: least(self.message, all.message),
            link_message: least(self.link_message, all.link_message),
            resolve: least(self.resolve, all.resolve),
            contact: least(self.contact, all.contact),
        }
    }
}

impl OwnCaps {
    /// What of these is higher than in `all`, if anything is.
    #[must_use]
    pub fn above(self, all: &Caps) -> Option<Self> {
        let above = |own: Option<OwnCap>, all| own.and_then(|own| own.above(all));
        let higher = Self {
            invite: above(self.invite, all.invite),
            message: above(self.message, all.message),
            link_message: above(self.link_message, all.link_message),
            resolve: above(self.resolve, all.resolve),
            contact: above(self.contact, all.contact),
        };
        (higher != Self::default()).then_some(higher)
    }

    /// The most that may hold, where `all` are the installation's and these were allowed besides.
    pub fn or_more(&self, all: &Caps) -> Caps {
        let most = |own: Option<OwnCap>, all| own.unwrap_or_default().or_more(all);
        Caps {
            invite: most(self.invite, all.invite),
            message: most(self.message, all.message),
            link_message: most(self.link_message, all.link_message),
            resolve: most(self.resolve, all.resolve),
            contact: most(self.contact, all.contact),
        }
    }
}

impl Caps {
    /// The cap of a budget.
    pub fn of(&self, budget: Budget) -> Cap {
        match budget {
            Budget::Invite => self.invite,
            Budget::Message => self.message,
            Budget::LinkMessage => self.link_message,
            Budget::Resolve => self.resolve,
            Budget::Contact => self.contact,
        }
    }

    /// These, and nowhere more than `others`: caps of a task only ever lower those of the installation.
    #[must_use]
    pub fn lowered_to(self, others: &Self) -> Self {
        let least = |budget| {
            let (one, other) = (self.of(budget), others.of(budget));
            Cap {
                per_day: one.per_day.min(other.per_day),
                per_hour: one.per_hour.min(other.per_hour),
            }
        };
        Self {
            invite: least(Budget::Invite),
            message: least(Budget::Message),
            link_message: least(Budget::LinkMessage),
            resolve: least(Budget::Resolve),
            contact: least(Budget::Contact),
        }
    }

    /// Whether no cap is higher than in `others`. What is higher takes an admin.
    pub fn is_within(&self, others: &Self) -> bool {
        self.lowered_to(others) == *self
    }

    /// The caps of an account that has been connected for `age_ms`: a fifth at first, all of it after ten days, and
    /// evenly between. At least one of what is allowed at all.
    #[must_use]
    pub fn ramped(self, age_ms: i64) -> Self {
        let grown = |full: u32| ramped(full, age_ms);
        let cap = |budget| {
            let full = self.of(budget);
            Cap { per_day: grown(full.per_day), per_hour: grown(full.per_hour) }
        };
        Self {
            invite: cap(Budget::Invite),
            message: cap(Budget::Message),
            link_message: cap(Budget::LinkMessage),
            resolve: cap(Budget::Resolve),
            contact: cap(Budget::Contact),
        }
    }
}

fn ramped(full: u32, age_ms: i64) -> u32 {
    let age = age_ms.clamp(0, RAMP_MS);
    let parts = i128::from(RAMP_MS + (RAMP_START - 1) * age);
    let allowed = i128::from(full) * parts / i128::from(RAMP_START * RAMP_MS);
    u32::try_from(allowed).unwrap_or(full).max(full.min(1))
}

/// The steady timeline. It starts where the store left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CapClock(UnixMillis);

impl CapClock {
    /// Continues at a moment of its own that was stored, or at Telegram's time when it is new.
    pub fn at(moment: UnixMillis) -> Self {
        Self(moment)
    }

    /// What time it is on it. To be stored with every use.
    pub fn now(&self) -> UnixMillis {
        self.0
    }

    /// So much time went by on a clock that nobody sets.
    pub fn advance(&mut self, elapsed_ms: u64) {
        self.0 = self.0.plus_ms(i64::try_from(elapsed_ms).unwrap_or(i64::MAX));
    }

    /// Telegram says what time it is, which tells how long the daemon was down. It never goes back.
    pub fn confirm(&mut self, telegram: UnixMillis) {
        self.0 = self.0.max(telegram);
    }
}

/// How often something was done, by the minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window(Vec<Minute>);

/// What was done in one minute. Both numbers only grow, so that of two states of it the larger ones are the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Minute {
    at: i32,
    used: u32,
    given_back: u32,
}

impl Minute {
    fn none(at: i32) -> Self {
        Self { at, used: 0, given_back: 0 }
    }

    /// What counts.
    fn counted(&self) -> u32 {
        self.used.saturating_sub(self.given_back)
    }

    fn merge(&mut self, other: &Self) {
        self.used = self.used.max(other.used);
        self.given_back = self.given_back.max(other.given_back);
    }
}

impl Window {
    /// How often within `span_ms` before `now`, rounded up to whole minutes.
    pub fn used(&self, span_ms: i64, now: UnixMillis) -> u32 {
        let now = self.not_before(now);
        let counting = self.0.iter().rev().take_while(|minute| over_at(minute.at, span_ms) > now);
        counting.fold(0, |sum, minute| sum.saturating_add(minute.counted()))
    }

    /// When there is room under `most` within `span_ms`, if there is none now. `None` inside: never.
    fn free_at(&self, most: u32, span_ms: i64, now: UnixMillis) -> Option<UnixMillis> {
        let now = self.not_before(now);
        let mut used = self.used(span_ms, now);
        for minute in self.0.iter().filter(|minute| over_at(minute.at, span_ms) > now) {
            if used < most {
                break;
            }
            used -= minute.counted().min(used);
            if used < most {
                return Some(over_at(minute.at, span_ms));
            }
        }
        if used < most { Some(now) } else { None }
    }

    fn add(&mut self, now: UnixMillis) {
        let now = self.not_before(now);
        self.0.retain(|minute| over_at(minute.at, DAY_MS) > now);
        let at = minute_of(now);
        match self.0.last_mut().filter(|last| last.at == at) {
            Some(minute) => minute.used = minute.used.saturating_add(1),
            None => self.0.push(Minute { used: 1, ..Minute::none(at) }),
        }
    }

    /// The minute in which something at `at` was counted.
    fn minute(&self, at: UnixMillis) -> Minute {
        let wanted = minute_of(at);
        // What is said to be older than the newest use was counted with that.
        let counted = self.0.last().map_or(wanted, |newest| wanted.max(newest.at));
        let found = |at| self.0.iter().find(|known| known.at == at).copied();
        found(wanted).or_else(|| found(counted)).unwrap_or_else(|| Minute::none(counted))
    }

    fn restore(&mut self, minute: Minute) {
        match self.0.binary_search_by_key(&minute.at, |known| known.at) {
            Ok(at) => self.0[at].merge(&minute),
            Err(at) => self.0.insert(at, minute),
        }
    }

    fn give_back(&mut self, at: UnixMillis) {
        if let Some(minute) = self.0.iter_mut().find(|minute| minute.at == minute_of(at)) {
            minute.given_back = minute.given_back.saturating_add(1).min(minute.used);
        }
    }

    /// Time never goes back before the newest use.
    fn not_before(&self, now: UnixMillis) -> UnixMillis {
        let newest = self.0.last().map(|minute| UnixMillis(i64::from(minute.at) * MINUTE_MS));
        newest.map_or(now, |newest| newest.max(now))
    }

    /// Both that were counted at the same time: of each minute the larger number.
    fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|minute| self.restore(*minute));
    }

    /// How often in each slot of `slot_ms` before `now`, the newest first.
    pub fn by_slot(&self, slot_ms: i64, slots: usize, now: UnixMillis) -> Vec<u32> {
        let mut counts = vec![0_u32; slots];
        for minute in &self.0 {
            let age = now.0.saturating_sub(i64::from(minute.at) * MINUTE_MS).max(0);
            if let Some(count) =
                usize::try_from(age / slot_ms).ok().and_then(|slot| counts.get_mut(slot))
            {
                *count = count.saturating_add(minute.counted());
            }
        }
        counts
    }
}

fn minute_of(at: UnixMillis) -> i32 {
    let minute = at.0.div_euclid(MINUTE_MS);
    i32::try_from(minute).unwrap_or(if minute < 0 { i32::MIN } else { i32::MAX })
}

/// When a minute's uses no longer count within `span_ms`.
fn over_at(minute: i32, span_ms: i64) -> UnixMillis {
    UnixMillis((i64::from(minute) + 1) * MINUTE_MS + span_ms)
}

/// What a person or bot at Telegram has done, for the caps. It outlives the account, so that connecting it anew
/// does not refill anything. An account's own users count into it, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The person or bot at Telegram.
    pub telegram_id: i64,
    /// Since when it has been connected, for the ramp.
    pub since: UnixMillis,
    /// Before this nothing is done by a campaign: the pause after the action before.
    pub rests_until: UnixMillis,
    #[serde(default)]
    invite: Window,
    #[serde(default)]
    message: Window,
    #[serde(default)]
    link_message: Window,
    #[serde(default)]
    resolve: Window,
    #[serde(default)]
    contact: Window,
}

/// How often something was done within a minute, as the store keeps it: one small record a minute, so that a person
/// who does much costs no more to count than one who does little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseCount {
    /// The person or bot at Telegram.
    pub telegram_id: i64,
    /// Of what.
    pub budget: Budget,
    /// Which minute of the steady timeline.
    pub minute: i32,
    /// How often. It only grows, like what was given back: so of two states that are handed in in the wrong order
    /// nothing is lost.
    pub used: u32,
    /// How often it turned out that it was not done after all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given_back: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl UseCount {
    /// Both that were counted of the same minute.
    pub fn merge(&mut self, other: &Self) {
        self.used = self.used.max(other.used);
        self.given_back = self.given_back.max(other.given_back);
    }

    /// When it counts no more, on the steady timeline.
    pub fn over_at(&self) -> UnixMillis {
        over_at(self.minute, DAY_MS)
    }
}

/// Why an account may not act now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// It rests between two actions.
    Pause,
    /// The cap of an hour.
    Hour(Budget),
    /// The cap of 24 hours.
    Day(Budget),
}

/// An account has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapHit {
    /// What binds.
    pub bound: Bound,
    /// When it no longer does; `None` when that never comes (a cap of nothing).
    pub free_at: Option<UnixMillis>,
}

impl Usage {
    /// Nothing was done yet by the one who was connected at `since`.
    pub fn none(telegram_id: i64, since: UnixMillis) -> Self {
        let empty = Window::default;
        Self {
            telegram_id,
            since,
            rests_until: UnixMillis(i64::MIN),
            invite: empty(),
            message: empty(),
            link_message: empty(),
            resolve: empty(),
            contact: empty(),
        }
    }

    /// What was counted of a budget.
    pub fn window(&self, budget: Budget) -> &Window {
        match budget {
            Budget::Invite => &self.invite,
            Budget::Message => &self.message,
            Budget::LinkMessage => &self.link_message,
            Budget::Resolve => &self.resolve,
            Budget::Contact => &self.contact,
        }
    }

    fn window_mut(&mut self, budget: Budget) -> &mut Window {
        match budget {
            Budget::Invite => &mut self.invite,
            Budget::Message => &mut self.message,
            Budget::LinkMessage => &mut self.link_message,
            Budget::Resolve => &mut self.resolve,
            Budget::Contact => &mut self.contact,
        }
    }

    /// Whether a campaign may spend one of `budget` now. `caps` are the full ones; the ramp is applied here.
    ///
    /// # Errors
    /// What binds, and until when: of several what binds longest.
    pub fn check(&self, budget: Budget, caps: &Caps, now: UnixMillis) -> Result<(), CapHit> {
        let caps = caps.ramped(now.0.saturating_sub(self.since.0));
        let mut hit = None;
        if self.rests_until > now {
            hit = Some(CapHit { bound: Bound::Pause, free_at: Some(self.rests_until) });
        }
        for budget in spends(budget) {
            let (window, cap) = (self.window(*budget), caps.of(*budget));
            for (most, span, bound) in [
                (cap.per_hour, HOUR_MS, Bound::Hour(*budget)),
                (cap.per_day, DAY_MS, Bound::Day(*budget)),
            ] {
                if window.used(span, now) >= most {
                    let found = CapHit { bound, free_at: window.free_at(most, span, now) };
                    hit = Some(hit.map_or(found, |known| longer(known, found)));
                }
            }
        }
        hit.map_or(Ok(()), Err)
    }

    /// Spends one of `budget` for a campaign, after which the account rests for `pause_ms`. Belongs into the same
    /// commit as the intent.
    ///
    /// # Errors
    /// As [`Usage::check`]; nothing is spent then.
    pub fn take(
        &mut self,
        budget: Budget,
        caps: &Caps,
        pause_ms: i64,
        now: UnixMillis,
    ) -> Result<(), CapHit> {
        self.check(budget, caps, now)?;
        self.note(budget, now);
        self.rests_until = self.rests_until.max(now.plus_ms(pause_ms));
        Ok(())
    }

    /// The account's own user did something: it counts, and no cap of campaigns keeps it from being done.
    pub fn note(&mut self, budget: Budget, now: UnixMillis) {
        for budget in spends(budget) {
            self.window_mut(*budget).add(now);
        }
    }

    /// What was taken at `at` certainly never left this process.
    pub fn give_back(&mut self, budget: Budget, at: UnixMillis) {
        for budget in spends(budget) {
            self.window_mut(*budget).give_back(at);
        }
    }

    /// What is to be written of what was just spent of `budget`, or given back, at `at`: the minute's counts, which
    /// are merged with those written before.
    pub fn counts(&self, budget: Budget, at: UnixMillis) -> Vec<UseCount> {
        let count = |budget: &Budget| {
            let Minute { at: minute, used, given_back } = self.window(*budget).minute(at);
            UseCount { telegram_id: self.telegram_id, budget: *budget, minute, used, given_back }
        };
        spends(budget).iter().map(count).collect()
    }

    /// Takes in what was written earlier, in any order.
    pub fn restore(&mut self, counts: impl IntoIterator<Item = UseCount>) {
        for UseCount { budget, minute, used, given_back, .. } in counts {
            self.window_mut(budget).restore(Minute { at: minute, used, given_back });
        }
    }

    /// What is left of a budget within 24 hours, for people to see.
    pub fn left(&self, budget: Budget, caps: &Caps, now: UnixMillis) -> u32 {
        let caps = caps.ramped(now.0.saturating_sub(self.since.0));
        let left = spends(budget).iter().map(|budget| {
            caps.of(*budget).per_day.saturating_sub(self.window(*budget).used(DAY_MS, now))
        });
        left.min().unwrap_or(0)
    }

    /// What two who counted at the same time have counted together, on the side of too much.
    pub fn merge(&mut self, other: &Self) {
        for budget in BUDGETS {
            self.window_mut(budget).merge(other.window(budget));
        }
        self.since = self.since.max(other.since);
        self.rests_until = self.rests_until.max(other.rests_until);
    }
}

/// What one action counts into.
fn spends(budget: Budget) -> &'static [Budget] {
    match budget {
        Budget::Invite => &[Budget::Invite],
        Budget::Message => &[Budget::Message],
        Budget::LinkMessage => &[Budget::Message, Budget::LinkMessage],
        Budget::Resolve => &[Budget::Resolve],
        Budget::Contact => &[Budget::Contact],
    }
}

fn longer(one: CapHit, other: CapHit) -> CapHit {
    let end = |hit: CapHit| hit.free_at.unwrap_or(UnixMillis(i64::MAX));
    if end(other) > end(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::values::fingerprint::Fingerprint;

    const GROWN: UnixMillis = UnixMillis(-RAMP_MS);

    #[test]
    fn a_task_lowers_what_it_names_and_the_rest_follows_the_installation() {
        let all = Caps::default();
        let own: OwnCaps =
            serde_json::from_str(r#"{"invite":{"per_day":7},"message":{"per_hour":90}}"#).unwrap();
        let held = own.over(&all);
        assert_eq!(
            (held.invite, held.message),
            (
                Cap { per_day: 7, per_hour: all.invite.per_hour },
                Cap { per_day: all.message.per_day, per_hour: 90 },
            )
        );
        assert_eq!((held.resolve, held.contact), (all.resolve, all.contact));
        assert!(!own.is_within(&all) && own.lowered_to(&all).is_within(&all));
        // As caps that were given whole are stored.
        let whole = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<OwnCaps>(&whole).unwrap().over(&held), all);
        // What is left out is not frozen at what the installation has today.
        let text = serde_json::to_string(&own.lowered_to(&all)).unwrap();
        assert_eq!(text, r#"{"invite":{"per_day":7},"message":{"per_hour":40}}"#);
    }

    #[test]
    fn five_invitations_an_hour_and_fifty_a_day() {
        let mut usage = Usage::none(1, GROWN);
        let caps = Caps::default();
        for _ in 0..5 {
            usage.take(Budget::Invite, &caps, 0, UnixMillis(0)).unwrap();
        }
        let hit = usage.check(Budget::Invite, &caps, UnixMillis(1)).unwrap_err();
        assert_eq!(hit.bound, Bound::Hour(Budget::Invite));
        assert_eq!(hit.free_at, Some(UnixMillis(HOUR_MS + MINUTE_MS)));
        assert_eq!(usage.check(Budget::Message, &caps, UnixMillis(1)), Ok(()));
        let mut now = 0;
        while usage.take(Budget::Invite, &caps, 0, UnixMillis(now)).is_ok() || now < 12 * HOUR_MS {
            now += 13 * MINUTE_MS;
        }
        assert_eq!(usage.left(Budget::Invite, &caps, UnixMillis(now)), 0);
        let hit = usage.check(Budget::Invite, &caps, UnixMillis(now)).unwrap_err();
        assert_eq!(
            hit,
            CapHit {
                bound: Bound::Day(Budget::Invite),
                free_at: Some(UnixMillis(DAY_MS + MINUTE_MS))
            }
        );
    }

    #[test]
    fn a_link_counts_as_a_message_and_the_pause_holds() {
        let mut usage = Usage::none(1, GROWN);
        let caps = Caps::default();
        for minute in 0..10 {
            let at = UnixMillis(minute * MINUTE_MS);
            usage.take(Budget::LinkMessage, &caps, 15_000, at).unwrap();
            let hit = usage.take(Budget::Message, &caps, 15_000, at.plus_ms(14_999));
            assert_eq!(hit.map_err(|hit| hit.bound), Err(Bound::Pause));
        }
        let later = UnixMillis(HOUR_MS / 2);
        assert_eq!(
            usage.check(Budget::LinkMessage, &caps, later).map_err(|hit| hit.bound),
            Err(Bound::Day(Budget::LinkMessage))
        );
        assert_eq!(usage.left(Budget::Message, &caps, later), 30);
    }

    #[test]
    fn own_users_come_first_and_share_the_budget() {
        let mut usage = Usage::none(1, GROWN);
        let caps = Caps::default();
        for _ in 0..60 {
            usage.note(Budget::Message, UnixMillis(0));
        }
        assert!(usage.take(Budget::Message, &caps, 0, UnixMillis(0)).is_err());
        assert_eq!(usage.window(Budget::Message).used(DAY_MS, UnixMillis(0)), 60);
        usage.give_back(Budget::Message, UnixMillis(0));
        assert_eq!(usage.window(Budget::Message).used(DAY_MS, UnixMillis(0)), 59);
    }

    #[test]
    fn new_accounts_grow_evenly_over_ten_days() {
        let at = |days: i64| Caps::default().ramped(days * DAY_MS);
        assert_eq!(
            (at(0).invite, at(0).link_message.per_day),
            (Cap { per_day: 10, per_hour: 1 }, 2)
        );
        assert_eq!((at(5).invite.per_day, at(5).message.per_day), (30, 24));
        assert_eq!((at(10), at(-3)), (Caps::default(), at(0)));
        assert_eq!((ramped(0, 0), ramped(3, 0), ramped(u32::MAX, RAMP_MS)), (0, 1, u32::MAX));
    }

    #[test]
    fn a_cap_of_nothing_never_frees() {
        let none = Cap { per_day: 0, per_hour: 0 };
        let caps = Caps { invite: none, ..Caps::default() };
        let hit = Usage::none(1, GROWN).check(Budget::Invite, &caps, UnixMillis(0)).unwrap_err();
        assert_eq!(hit.free_at, None);
        assert!(caps.is_within(&Caps::default()) && !Caps::default().is_within(&caps));
    }

    #[test]
    fn the_steady_timeline_moves_by_elapsed_time_and_telegrams_word() {
        let mut clock = CapClock::at(UnixMillis(1_000));
        clock.advance(50);
        clock.confirm(UnixMillis(500));
        assert_eq!(clock.now(), UnixMillis(1_050));
        clock.confirm(UnixMillis(9_000));
        assert_eq!(clock.now(), UnixMillis(9_000));
    }

    #[test]
    fn a_record_stays_small_and_reads_back() {
        let mut usage = Usage::none(1, GROWN);
        let wide = Cap { per_day: u32::MAX, per_hour: u32::MAX };
        let caps = Caps { message: wide, ..Caps::default() };
        for half_minute in 0..6_000 {
            usage.take(Budget::Message, &caps, 0, UnixMillis(half_minute * 30_000)).unwrap();
        }
        assert!(usage.message.0.len() <= 1_441, "{}", usage.message.0.len());
        let json = serde_json::to_string(&usage).unwrap();
        assert_eq!(serde_json::from_str::<Usage>(&json).unwrap(), usage);
    }

    proptest! {
        #[test]
        fn what_was_written_minute_by_minute_counts_as_what_was_done(
            acts in prop::collection::vec((0..BUDGETS.len(), 0..40 * MINUTE_MS, any::<bool>()), 0..80),
            order in any::<u64>(),
        ) {
            let (mut usage, mut now) = (Usage::none(1, GROWN), UnixMillis(0));
            let mut handed_in = Vec::new();
            for (budget, later, is_given_back) in acts {
                let budget = BUDGETS[budget];
                now = now.plus_ms(later);
                usage.note(budget, now);
                handed_in.extend(usage.counts(budget, now));
                if is_given_back {
                    usage.give_back(budget, now);
                    handed_in.extend(usage.counts(budget, now));
                }
            }
            // Those who count at once hand in their counts in any order.
            handed_in.sort_by_key(|count| {
                Fingerprint::of_value(&(count.minute, count.used, count.given_back, order))
            });
            let mut written = std::collections::BTreeMap::<_, UseCount>::new();
            for count in handed_in {
                let known = written.entry((count.budget, count.minute)).or_insert(count);
                known.merge(&count);
            }
            let mut restored = Usage::none(1, GROWN);
            restored.restore(written.into_values());
            for budget in BUDGETS {
                for span in [HOUR_MS, DAY_MS] {
                    let used = |usage: &Usage| usage.window(budget).used(span, now);
                    prop_assert_eq!(used(&restored), used(&usage));
                }
            }
        }

        /// Whatever is asked when, in any order of moments: no window of an hour or of 24 hours holds more than its
        /// cap, what is said to be free is free, and storing changes nothing.
        #[test]
        fn no_rolling_window_ever_holds_more_than_its_cap(
            steps in prop::collection::vec((0..2_000_000_i64, 0..4_u8, any::<bool>()), 1..300),
            per_hour in 1..6_u32, per_day in 1..20_u32,
        ) {
            let cap = Cap { per_day, per_hour };
            let caps = Caps { invite: cap, ..Caps::default() };
            let mut usage = Usage::none(1, GROWN);
            let (mut now, mut done) = (0_i64, Vec::new());
            for (step, kind, is_stored) in steps {
                if is_stored {
                    let json = serde_json::to_string(&usage).unwrap();
                    usage = serde_json::from_str(&json).unwrap();
                }
                now += step;
                // A moment before the newest use gains nothing.
                let asked = if kind == 0 { now - 3 * DAY_MS } else { now };
                match usage.take(Budget::Invite, &caps, 0, UnixMillis(asked)) {
                    // Where a moment lies before the newest use, it counts as that one.
                    Ok(()) => done.push(asked.max(done.last().copied().unwrap_or(asked))),
                    Err(hit) => {
                        let free = hit.free_at.unwrap();
                        prop_assert!(free > UnixMillis(asked));
                        prop_assert_eq!(usage.check(Budget::Invite, &caps, free), Ok(()));
                    }
                }
                let newest = done.last().copied().unwrap_or(now);
                let within = |span| done.iter().filter(|at| **at > newest - span).count();
                prop_assert!(within(HOUR_MS) <= per_hour as usize);
                prop_assert!(within(DAY_MS) <= per_day as usize);
            }
        }

        #[test]
        fn the_ramp_never_shrinks_and_never_exceeds(full in 0..100_000_u32, one in 0..20_i64, more in 0..20_i64) {
            let (young, old) = (ramped(full, one * DAY_MS), ramped(full, (one + more) * DAY_MS));
            prop_assert!(young <= old && old <= full && young >= full / 5);
        }
    }
}
