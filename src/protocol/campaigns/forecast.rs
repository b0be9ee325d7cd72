//! When a campaign will end: the estimate of the dry run and of a running campaign, by one function. It goes through
//! time in slots with the same caps, pauses and quiet hours as the real thing, a month at the most, and goes on from
//! the newest week by proportion. Bounded work, however many targets wait. Pure.

use std::collections::BTreeMap;

use super::account::{CampaignAccount, budget_of};
use super::caps::{Budget, Caps, DAY_MS, HOUR_MS};
use super::pace::TaskPace;
use super::quiet::ContactTimes;
use super::target::Step;
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;

/// Length of a slot, milliseconds.
const SLOT_MS: i64 = 10 * 60_000;
const SLOTS_PER_HOUR: usize = (HOUR_MS / SLOT_MS) as usize;
const SLOTS_PER_DAY: usize = (DAY_MS / SLOT_MS) as usize;
/// Slots of a week, by which is gone on.
const SLOTS_PER_WEEK: usize = 7 * SLOTS_PER_DAY;
/// Slots that are gone through (four weeks).
const SLOTS_MAX: usize = 4 * SLOTS_PER_WEEK;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Targets that are ready, by the last step that each needs (`Send` or `Invite`).
    pub ready: u64,
    /// How many of them have to be looked up first, and how.
    pub lookups: (Step, u64),
    /// The last step.
    pub step: Step,
    /// Whether the text has a link.
    pub has_link: bool,
    /// The accounts that do it.
    pub accounts: &'a [&'a CampaignAccount],
    /// How many parts of a hundred of the accounts' time this campaign gets; the rest is others'.
    pub share_percent: u32,
    /// The caps that hold.
    pub caps: &'a Caps,
    /// How fast it goes.
    pub pace: &'a TaskPace,
    /// The task's least pause, seconds.
    pub min_pause_seconds: u32,
    /// When people may be contacted.
    pub times: &'a ContactTimes<'a>,
    /// The wall clock.
    pub wall: UnixMillis,
    /// The steady timeline.
    pub steady: UnixMillis,
}

/// What is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// When it would end, in milliseconds from now. `None`: never, as things are.
    pub ends_in_ms: Option<i64>,
    /// How many each account would do.
    pub by_account: BTreeMap<AccountId, u64>,
    /// What binds, most first: how many slots of accounts ended by it.
    pub binding: Vec<(Limit, u64)>,
}

/// What keeps an account from doing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// The cap of 24 hours.
    Day,
    /// The cap of an hour.
    Hour,
    /// The pause between two actions.
    Pause,
    /// Quiet hours and the calendar.
    ContactTime,
    /// A wait of Telegram's, a limited account.
    Wait,
    /// Looking people up.
    Lookups,
}

/// One account on its way through the slots.
struct Worker<'a> {
    account: &'a CampaignAccount,
    acts: Lane,
    lookups: Lane,
}

/// What was done of one budget in the newest slots.
struct Lane {
    budgets: Vec<Budget>,
    /// Rings of a day, one a budget, the current slot at `slot % SLOTS_PER_DAY`.
    rings: Vec<Vec<u32>>,
    /// What each ring holds in all.
    sums: Vec<u32>,
}

impl Lane {
    fn new(account: &CampaignAccount, budgets: &[Budget], steady: UnixMillis) -> Self {
        let ring = |budget: &Budget| {
            let mut ages = account.usage.window(*budget).by_slot(SLOT_MS, SLOTS_PER_DAY, steady);
            // The newest count as of the first slot, those before as of the slots before it.
            ages[1..].reverse();
            ages
        };
        let rings: Vec<Vec<u32>> = budgets.iter().map(ring).collect();
        let sums = rings.iter().map(|ring| ring.iter().sum()).collect();
        Self { budgets: budgets.to_vec(), rings, sums }
    }

    /// Goes on to a slot: what was done a day before counts no more.
    fn enter(&mut self, slot: usize) {
        for (ring, sum) in self.rings.iter_mut().zip(&mut self.sums).filter(|_| slot > 0) {
            *sum -= std::mem::take(&mut ring[slot % SLOTS_PER_DAY]);
        }
    }

    /// How many more in this slot, and what binds.
    fn room(&self, caps: &Caps, slot: usize) -> (u32, Limit) {
        let at = slot % SLOTS_PER_DAY;
        let mut room = (u32::MAX, Limit::Day);
        for ((budget, ring), day) in self.budgets.iter().zip(&self.rings).zip(&self.sums) {
            let cap = caps.of(*budget);
            let back = |slots: usize| ring[(at + SLOTS_PER_DAY - slots) % SLOTS_PER_DAY];
            let hour: u32 = (0..SLOTS_PER_HOUR).map(back).sum();
            let found = [
                (cap.per_day.saturating_sub(*day), Limit::Day),
                (cap.per_hour.saturating_sub(hour), Limit::Hour),
            ];
            room = found
                .into_iter()
                .fold(room, |least, other| if other.0 < least.0 { other } else { least });
        }
        room
    }

    fn note(&mut self, slot: usize, done: u32) {
        for (ring, sum) in self.rings.iter_mut().zip(&mut self.sums) {
            ring[slot % SLOTS_PER_DAY] += done;
            *sum += done;
        }
    }
}

/// What is left to be done.
struct Left {
    acts: u64,
    lookups: u64,
    /// Those who may be acted on now: known from the start, or looked up.
    known: u64,
}

/// What is expected, as things are.
pub fn forecast(question: &Question<'_>) -> Forecast {
    let mut found = Forecast::default();
    let lookups = question.lookups.1.min(question.ready);
    let mut left = Left { acts: question.ready, lookups, known: question.ready - lookups };
    if left.acts == 0 {
        found.ends_in_ms = Some(0);
        return found;
    }
    let mut workers: Vec<Worker<'_>> = workers(question);
    let mut limits: BTreeMap<Limit, u64> = BTreeMap::new();
    let mut done_by: Vec<u64> = vec![0; workers.len()];
    let mut done_at_week = (0, question.ready);
    let mut held_until: Option<UnixMillis> = None;
    for slot in 0..SLOTS_MAX {
        let offset = i64::try_from(slot).unwrap_or(0) * SLOT_MS;
        if slot % SLOTS_PER_WEEK == 0 {
            done_at_week = (slot, left.acts);
        }
        let wall = question.wall.plus_ms(offset);
        if held_until.is_none_or(|until| until <= wall) {
            let held = question.times.held(wall);
            held_until = held.map(|held| held.until.unwrap_or(UnixMillis(i64::MAX)));
        }
        let open = open_part(held_until, wall);
        let before = left.acts;
        for (worker, done) in workers.iter_mut().zip(&mut done_by) {
            let (acted, limit) = worker.slot(question, slot, open, &mut left);
            *done += u64::from(acted);
            *limits.entry(limit).or_default() += 1;
        }
        if left.acts == 0 {
            found.ends_in_ms = Some(offset + last_part(question, before, workers.len()));
            return finished(found, question, done_by, limits);
        }
    }
    let (since, then) = done_at_week;
    let newest = then - left.acts;
    let span = i64::try_from(SLOTS_MAX - since).unwrap_or(1) * SLOT_MS;
    let all = i64::try_from(SLOTS_MAX).unwrap_or(0) * SLOT_MS;
    let more = u128::from(left.acts) * u128::from(span.unsigned_abs());
    found.ends_in_ms = (newest > 0)
        .then(|| all.saturating_add(i64::try_from(more / u128::from(newest)).unwrap_or(i64::MAX)));
    finished(found, question, done_by, limits)
}

fn workers<'a>(question: &Question<'a>) -> Vec<Worker<'a>> {
    let acts: &[Budget] = match budget_of(question.step, question.has_link) {
        Budget::LinkMessage => &[Budget::Message, Budget::LinkMessage],
        Budget::Message => &[Budget::Message],
        _ => &[Budget::Invite],
    };
    let lookup = budget_of(question.lookups.0, false);
    let usable = question.accounts.iter().filter(|account| !account.is_gone);
    let of = |account: &&'a CampaignAccount| Worker {
        account,
        acts: Lane::new(account, acts, question.steady),
        lookups: Lane::new(account, &[lookup], question.steady),
    };
    usable.map(of).collect()
}

/// How much of a slot is open for contacts, milliseconds.
fn open_part(held_until: Option<UnixMillis>, wall: UnixMillis) -> i64 {
    match held_until {
        Some(until) if until >= wall.plus_ms(SLOT_MS) => 0,
        Some(until) if until > wall => wall.plus_ms(SLOT_MS).0 - until.0,
        // A slot in which quiet hours begin is open to their begin; that it counts in full is at most one slot a day.
        _ => SLOT_MS,
    }
}

/// How far into the last slot the last of `acts` actions comes.
fn last_part(question: &Question<'_>, acts: u64, workers: usize) -> i64 {
    let pause = question.pace.mean_pause_ms(question.min_pause_seconds);
    let parallel = u64::from(question.pace.parallel()).min(workers as u64).max(1);
    let rounds = i64::try_from(acts.div_ceil(parallel)).unwrap_or(i64::MAX);
    let share = i64::from(question.share_percent.clamp(1, 100));
    (rounds.saturating_mul(pause).saturating_mul(100) / share).min(SLOT_MS)
}

fn finished(
    mut found: Forecast,
    question: &Question<'_>,
    done_by: Vec<u64>,
    limits: BTreeMap<Limit, u64>,
) -> Forecast {
    let usable = question.accounts.iter().filter(|account| !account.is_gone);
    found.by_account = usable.map(|account| account.id).zip(done_by).collect();
    found.binding = limits.into_iter().collect();
    found.binding.sort_by_key(|(limit, slots)| (std::cmp::Reverse(*slots), *limit));
    found
}

impl Worker<'_> {
    /// Does what it can in one slot. Answers how many were acted on, and what kept it from more.
    fn slot(
        &mut self,
        question: &Question<'_>,
        slot: usize,
        open: i64,
        left: &mut Left,
    ) -> (u32, Limit) {
        let steady = question.steady.plus_ms(i64::try_from(slot).unwrap_or(0) * SLOT_MS);
        let (mut acted, mut looked_up) = (0, 0);
        self.acts.enter(slot);
        self.lookups.enter(slot);
        let limit = if open == 0 {
            Limit::ContactTime
        } else if self.is_waiting(question.step, steady) {
            Limit::Wait
        } else {
            let caps = question.caps.ramped(steady.0.saturating_sub(self.account.usage.since.0));
            let mut turns = self.turns(question, open);
            let (room, limit) = self.acts.room(&caps, slot);
            acted = least(left.known.min(left.acts), room.min(turns));
            turns -= acted;
            left.known -= u64::from(acted);
            left.acts -= u64::from(acted);
            let mut lookup_room = self.lookups.room(&caps, slot).0;
            if self.is_waiting(question.lookups.0, steady) {
                lookup_room = 0;
            }
            looked_up = least(left.lookups, lookup_room.min(turns));
            left.lookups -= u64::from(looked_up);
            left.known += u64::from(looked_up);
            match () {
                () if acted == room => limit,
                () if left.known == 0 && left.lookups > 0 && looked_up == lookup_room => {
                    Limit::Lookups
                }
                () => Limit::Pause,
            }
        };
        self.acts.note(slot, acted);
        self.lookups.note(slot, looked_up);
        (acted, limit)
    }

    /// Actions that fit into the open part of a slot, with this account's part of what goes at a time.
    fn turns(&self, question: &Question<'_>, open: i64) -> u32 {
        let pause = question.pace.mean_pause_ms(question.min_pause_seconds).max(1);
        let share = i64::from(question.share_percent.clamp(1, 100));
        let accounts = i64::try_from(question.accounts.len()).unwrap_or(1).max(1);
        let parallel = i64::from(question.pace.parallel()).min(accounts);
        let turns = open * share * parallel / (pause * 100 * accounts);
        u32::try_from(turns).unwrap_or(u32::MAX).max(1)
    }

    fn is_waiting(&self, step: Step, steady: UnixMillis) -> bool {
        let is_limited = self.account.floods.limited_until(steady).is_some();
        is_limited || self.account.waits.holds(super::account::class_of(step), steady).is_some()
    }
}

fn least(left: u64, room: u32) -> u32 {
    u32::try_from(left).unwrap_or(u32::MAX).min(room)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::protocol::campaigns::caps::{Cap, Usage};
    use crate::protocol::campaigns::quiet::{Calendar, Minute, QuietHours};
    use crate::protocol::campaigns::zone::Zone;

    const NOON: UnixMillis = UnixMillis(1_795_262_400_000);

    fn account(id: u128) -> CampaignAccount {
        CampaignAccount::fresh(AccountId(Uuid::from_u128(id)), Usage::none(1, UnixMillis(0)))
    }

    fn ask(
        accounts: &[CampaignAccount],
        ready: u64,
        hours: Option<&QuietHours>,
        change: impl Fn(&mut Question<'_>),
    ) -> Forecast {
        let accounts: Vec<&CampaignAccount> = accounts.iter().collect();
        let (calendar, utc, caps) = (Calendar::default(), Zone::utc(), Caps::default());
        let times = ContactTimes::new(hours, &calendar, None, &[], &utc);
        let pace = TaskPace::new(u32::try_from(accounts.len()).unwrap());
        let mut question = Question {
            ready,
            lookups: (Step::Resolve, 0),
            step: Step::Invite,
            has_link: false,
            accounts: &accounts,
            share_percent: 100,
            caps: &caps,
            pace: &pace,
            min_pause_seconds: 15,
            times: &times,
            wall: NOON,
            steady: NOON,
        };
        change(&mut question);
        forecast(&question)
    }

    fn hours(found: &Forecast) -> i64 {
        found.ends_in_ms.unwrap() / HOUR_MS
    }

    #[test]
    fn invitations_take_as_long_as_their_caps_make_them() {
        let one = [account(1)];
        assert_eq!(hours(&ask(&one, 5, None, |_| {})), 0);
        assert_eq!(hours(&ask(&one, 20, None, |_| {})), 3);
        let thousand = ask(&one, 1_000, None, |_| {});
        assert!((19 * 24..=20 * 24).contains(&hours(&thousand)), "{}", hours(&thousand));
        assert_eq!(thousand.by_account.values().sum::<u64>(), 1_000);
        let ten: Vec<_> = (1..=10).map(account).collect();
        let shared = ask(&ten, 1_000, None, |_| {});
        assert!((24..=48).contains(&hours(&shared)), "{}", hours(&shared));
    }

    #[test]
    fn a_million_is_estimated_without_going_through_it() {
        let found = ask(&[account(1)], 1_000_000, None, |_| {});
        let days = hours(&found) / 24;
        assert!((19_000..=21_000).contains(&days), "{days} days");
        assert_eq!(found.binding.first().map(|(limit, _)| *limit), Some(Limit::Day));
        assert!(hours(&ask(&[account(1)], u64::MAX, None, |_| {})) > 0);
    }

    #[test]
    fn quiet_hours_lookups_and_shares_make_it_longer() {
        let night = QuietHours {
            from: Minute::parse("20:00").unwrap(),
            to: Minute::parse("10:00").unwrap(),
            zone: None,
        };
        let one = [account(1)];
        // From noon to eight in the evening there are eight times five.
        let ends = |hours_of| hours(&ask(&one, 45, hours_of, |_| {}));
        assert_eq!((ends(None), ends(Some(&night))), (8, 22));
        let unknown = ask(&one, 45, None, |question| question.lookups = (Step::LookUpPhone, 45));
        assert!((48..=73).contains(&hours(&unknown)), "15 lookups a day: {}", hours(&unknown));
        let wide = Cap { per_day: 100_000, per_hour: 100_000 };
        let caps = Caps { invite: wide, ..Caps::default() };
        let paced = |share| {
            ask(&one, 1_920, None, |question| {
                (question.caps, question.share_percent) = (leaked(caps), share)
            })
        };
        assert_eq!((hours(&paced(100)), hours(&paced(50))), (10, 20), "18.75 s a piece");
    }

    /// For a test's closure, which hands out a reference.
    fn leaked(caps: Caps) -> &'static Caps {
        Box::leak(Box::new(caps))
    }

    #[test]
    fn nobody_left_or_nothing_to_do_is_told() {
        assert_eq!(ask(&[account(1)], 0, None, |_| {}).ends_in_ms, Some(0));
        assert_eq!(ask(&[], 5, None, |_| {}).ends_in_ms, None);
        let gone = CampaignAccount { is_gone: true, ..account(1) };
        assert_eq!(ask(&[gone], 5, None, |_| {}).ends_in_ms, None);
        let used = |count| {
            let mut account = account(1);
            (0..count).for_each(|_| account.usage.note(Budget::Invite, NOON));
            hours(&ask(&[account], 5, None, |_| {}))
        };
        assert_eq!((used(0), used(5), used(50)), (0, 1, 24), "what was done today counts");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn more_people_never_take_less_time_and_more_accounts_never_more(ready in 1..3_000_u64, accounts in 1..6_u128) {
            let of = |count| (1..=count).map(account).collect::<Vec<_>>();
            let ends = |accounts: &[CampaignAccount], ready| ask(accounts, ready, None, |_| {}).ends_in_ms.unwrap();
            let (fewer, more) = (of(accounts), of(accounts + 1));
            prop_assert!(ends(&fewer, ready) <= ends(&fewer, ready + 50));
            // Within a slot, which is as exact as it is.
            prop_assert!(ends(&more, ready) <= ends(&fewer, ready) + SLOT_MS);
        }
    }
}
