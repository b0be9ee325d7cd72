//! When a campaign will end: the estimate of the dry run and of a running campaign, by one function. It goes through
//! time in slots with the same caps, pauses, quiet hours and slowing down as the real thing, a month at the most, and
//! goes on from the newest week by proportion. Bounded work, however many targets wait. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::account::{CampaignAccount, budget_of};
use super::caps::{Budget, Caps, DAY_MS, HOUR_MS};
use super::pace::{TaskPace, Trouble};
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
    /// What slowed it down so far, and is expected to go on.
    pub trouble: &'a Trouble,
    /// The task's least pause, seconds.
    pub min_pause_seconds: u32,
    /// When people may be contacted of whom it is not known where they are.
    pub times: &'a ContactTimes<'a>,
    /// When those may be who are in zones of their own, and how many of the ready ones they are.
    pub elsewhere: &'a [(ContactTimes<'a>, u64)],
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
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

/// How long a call takes beside its pause, milliseconds.
const CALL_MS: f64 = 300.0;

/// One account on its way through the slots.
struct Worker<'a> {
    account: &'a CampaignAccount,
    acts: Lane,
    lookups: Lane,
    /// When it may do something again, milliseconds from the begin.
    free_at: f64,
    /// What it may do in the current slot, and what keeps it from more.
    room: u32,
    lookup_room: u32,
    limit: Limit,
    /// What it runs into when its room is used up.
    bound: Limit,
}

/// How fast the campaign goes while time passes: it recovers as the real one does, and is slowed down as often as it
/// was so far.
struct Speed {
    pace: TaskPace,
    slowdowns_per_action: f64,
    waits_ms_per_action: f64,
    /// Slowdowns that are due.
    due: f64,
}

impl Speed {
    fn of(pace: &TaskPace, trouble: &Trouble) -> Self {
        Self {
            pace: *pace,
            slowdowns_per_action: trouble.slowdowns_per_action(),
            waits_ms_per_action: trouble.waits_ms_per_action(),
            due: 0.0,
        }
    }

    /// An action is done at `at`. Answers how long its account pauses, milliseconds.
    fn act(&mut self, question: &Question<'_>, at: UnixMillis) -> f64 {
        self.pace.succeed();
        self.due += self.slowdowns_per_action;
        if self.due >= 1.0 {
            self.due -= 1.0;
            self.pace.slow_down(at);
        }
        let pause = self.pace.mean_pause_ms(question.min_pause_seconds) as f64 + CALL_MS;
        // As many calls as may be under way at a time share all of it.
        let calls = CALL_MS * question.accounts.len() as f64 / f64::from(self.pace.parallel());
        let share = f64::from(question.share_percent.clamp(1, 100)) / 100.0;
        (pause.max(calls) + self.waits_ms_per_action) / share
    }
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

/// People in one place, on the way through the slots.
struct PlaceAhead<'a> {
    times: &'a ContactTimes<'a>,
    left: u64,
    /// Until when nobody there is contacted, as it was found last.
    held_until: Option<UnixMillis>,
    /// How much of the current slot is open for contacts there, milliseconds.
    open: i64,
}

/// All of them.
struct Places<'a>(Vec<PlaceAhead<'a>>);

impl<'a> Places<'a> {
    fn of(question: &Question<'a>) -> Self {
        let place = |times, left| PlaceAhead { times, left, held_until: None, open: 0 };
        let (mut places, mut rest) = (Vec::new(), question.ready);
        for (times, people) in question.elsewhere {
            let people = rest.min(*people);
            rest -= people;
            places.push(place(times, people));
        }
        places.push(place(question.times, rest));
        places.retain(|place| place.left > 0);
        Self(places)
    }

    /// Comes to a slot. Answers how much of it is open for contacts with anybody who is left, milliseconds.
    fn enter(&mut self, wall: UnixMillis) -> i64 {
        for place in self.0.iter_mut().filter(|place| place.left > 0) {
            if place.held_until.is_none_or(|until| until <= wall) {
                let held = place.times.held(wall);
                place.held_until = held.map(|held| held.until.unwrap_or(UnixMillis(i64::MAX)));
            }
            place.open = open_part(place.held_until, wall);
        }
        let left = self.0.iter().filter(|place| place.left > 0);
        left.map(|place| place.open).max().unwrap_or(0)
    }

    /// The next one who may be contacted in the current slot.
    fn next(&mut self) -> Option<&mut PlaceAhead<'a>> {
        self.0.iter_mut().find(|place| place.left > 0 && place.open > 0)
    }
}

/// What is left to be done.
struct Left<'a> {
    /// Where who is left is.
    places: Places<'a>,
    acts: u64,
    lookups: u64,
    /// Those who may be acted on now: known from the start, or looked up.
    known: u64,
}

/// What is expected, as things are.
pub fn forecast(question: &Question<'_>) -> Forecast {
    let mut found = Forecast::default();
    let lookups = question.lookups.1.min(question.ready);
    let (acts, known) = (question.ready, question.ready - lookups);
    let mut left = Left { places: Places::of(question), acts, lookups, known };
    if left.acts == 0 {
        found.ends_in_ms = Some(0);
        return found;
    }
    let mut workers: Vec<Worker<'_>> = workers(question);
    let mut speed = Speed::of(question.pace, question.trouble);
    let mut limits: BTreeMap<Limit, u64> = BTreeMap::new();
    let mut done_by: Vec<u64> = vec![0; workers.len()];
    let mut done_at_week = (0, question.ready);
    for slot in 0..SLOTS_MAX {
        let offset = i64::try_from(slot).unwrap_or(0) * SLOT_MS;
        if slot % SLOTS_PER_WEEK == 0 {
            done_at_week = (slot, left.acts);
        }
        let open = left.places.enter(question.wall.plus_ms(offset));
        workers.iter_mut().for_each(|worker| worker.enter(question, slot, open));
        let last =
            go_through(question, (&mut workers, &mut done_by), (offset, &mut speed), &mut left);
        for worker in &workers {
            *limits.entry(worker.limit).or_default() += 1;
        }
        if left.acts == 0 {
            found.ends_in_ms = last;
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
        free_at: account.usage.rests_until.0.saturating_sub(question.steady.0).max(0) as f64,
        room: 0,
        lookup_room: 0,
        limit: Limit::Pause,
        bound: Limit::Day,
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

/// Goes through one slot that begins at `offset`: whoever has rested longest acts next. Answers when the last action
/// was, from the begin.
fn go_through(
    question: &Question<'_>,
    (workers, done_by): (&mut [Worker<'_>], &mut [u64]),
    (offset, speed): (i64, &mut Speed),
    left: &mut Left<'_>,
) -> Option<i64> {
    let slot = usize::try_from(offset / SLOT_MS).unwrap_or(0);
    let end = (offset + SLOT_MS) as f64;
    let mut last = None;
    let in_ms = |at: f64| at as i64;
    let waiting = workers.iter().enumerate().filter(|(_, worker)| worker.has_room());
    let mut queue: BinaryHeap<Reverse<(i64, usize)>> =
        waiting.map(|(at, worker)| Reverse((in_ms(worker.free_at), at))).collect();
    while let Some(Reverse((at, number))) = queue.pop() {
        let worker = &mut workers[number];
        if left.acts == 0 || worker.free_at >= end {
            continue;
        }
        let Some(place) = left.places.next() else {
            // Whoever is left is where nobody is contacted now.
            worker.limit = Limit::ContactTime;
            continue;
        };
        if left.known > 0 && worker.room > 0 {
            place.left -= 1;
            worker.room -= 1;
            worker.limit = if worker.room == 0 { worker.bound } else { Limit::Pause };
            worker.acts.note(slot, 1);
            (left.known, left.acts) = (left.known - 1, left.acts - 1);
            done_by[number] += 1;
            last = Some(at);
        } else if left.lookups > 0 && worker.lookup_room > 0 {
            worker.lookup_room -= 1;
            worker.lookups.note(slot, 1);
            (left.lookups, left.known) = (left.lookups - 1, left.known + 1);
        } else {
            if left.known == 0 && left.lookups > 0 {
                worker.limit = Limit::Lookups;
            }
            continue;
        }
        worker.free_at += speed.act(question, question.steady.plus_ms(at));
        if worker.has_room() {
            queue.push(Reverse((in_ms(worker.free_at), number)));
        }
    }
    last
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
    /// Comes to a slot, of which `open` milliseconds at its end are open for contacts: what it may do in it.
    fn enter(&mut self, question: &Question<'_>, slot: usize, open: i64) {
        self.acts.enter(slot);
        self.lookups.enter(slot);
        (self.room, self.lookup_room) = (0, 0);
        let begin = i64::try_from(slot).unwrap_or(0) * SLOT_MS;
        let steady = question.steady.plus_ms(begin);
        if open == 0 {
            self.limit = Limit::ContactTime;
            return;
        }
        let waits_until = self.waits_until(question.step, steady);
        if waits_until.is_some_and(|until| until >= steady.plus_ms(SLOT_MS)) {
            self.limit = Limit::Wait;
            return;
        }
        let waits = waits_until.map_or(0, |until| until.0.saturating_sub(question.steady.0));
        let opens = begin + SLOT_MS - open;
        self.free_at = self.free_at.max(opens.max(waits) as f64);
        let caps = question.caps.ramped(steady.0.saturating_sub(self.account.usage.since.0));
        (self.room, self.bound) = self.acts.room(&caps, slot);
        self.limit = if self.room == 0 { self.bound } else { Limit::Pause };
        self.lookup_room = match self.waits_until(question.lookups.0, steady) {
            Some(_) => 0,
            None => self.lookups.room(&caps, slot).0,
        };
    }

    fn has_room(&self) -> bool {
        self.room > 0 || self.lookup_room > 0
    }

    /// Until when it is limited, or waits for a step.
    fn waits_until(&self, step: Step, steady: UnixMillis) -> Option<UnixMillis> {
        let limited = self.account.floods.limited_until(steady);
        limited.max(self.account.waits.holds(super::account::class_of(step), steady))
    }
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
            trouble: &Trouble::default(),
            min_pause_seconds: 15,
            times: &times,
            elsewhere: &[],
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

    #[test]
    fn people_in_zones_of_their_own_are_expected_in_their_own_hours() {
        let night = leaked(QuietHours {
            from: Minute::parse("20:00").unwrap(),
            to: Minute::parse("10:00").unwrap(),
            zone: None,
        });
        let tokyo = leaked(Zone::named("Asia/Tokyo").unwrap());
        let (calendar, utc) = (leaked(Calendar::default()), leaked(Zone::utc()));
        // At noon in UTC it is nine in the evening in Tokyo, and ten in the morning thirteen hours later.
        let ends = |people| {
            let times = ContactTimes::new(Some(night), calendar, Some(tokyo), &[], utc);
            let there = leaked([(times, people)]);
            hours(&ask(&[account(1)], 10, Some(night), |question| question.elsewhere = there))
        };
        assert_eq!((ends(0), ends(10)), (1, 14));
        assert_eq!(ends(5), 13, "who is awake is not kept waiting by who sleeps");
    }

    /// For a test's closure, which hands out a reference.
    fn leaked<T>(value: T) -> &'static T {
        Box::leak(Box::new(value))
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

    #[test]
    fn what_slowed_it_down_so_far_is_expected_to_go_on() {
        let wide = Cap { per_day: 100_000, per_hour: 100_000 };
        let caps = leaked(Caps { invite: wide, ..Caps::default() });
        let one = [account(1)];
        let ends = |pace: TaskPace, trouble: Trouble| {
            let (pace, trouble): (&TaskPace, &Trouble) =
                (Box::leak(Box::new(pace)), Box::leak(Box::new(trouble)));
            let found = ask(&one, 400, None, |question| {
                (question.caps, question.pace, question.trouble) = (caps, pace, trouble)
            });
            found.ends_in_ms.unwrap()
        };
        let (smooth, none) = (TaskPace::new(1), Trouble::default());
        let mut slowed = smooth;
        slowed.slow_down(NOON);
        // It recovers after forty actions, and costs what they were slower.
        let (plain, once) = (ends(smooth, none), ends(slowed, none));
        assert!(plain < once && once < plain * 5 / 4, "{plain} {once}");
        let mut often = none;
        for _ in 0..10 {
            (0..60).for_each(|_| often.acted());
            often.slowed();
            often.waits(120);
        }
        let often = ends(smooth, often);
        assert!((plain * 5 / 4..plain * 2).contains(&often), "{plain} {often}");
    }

    /// Prints what a forecast costs; by hand, in release mode:
    /// `cargo test --release --lib campaigns::forecast -- --ignored --nocapture`.
    #[test]
    #[ignore = "prints measurements"]
    fn what_a_forecast_costs() {
        use std::io::Write as _;
        for (accounts, ready) in [(5, 1_000), (20, 100_000), (128, 1_000_000)] {
            let accounts: Vec<_> = (1..=accounts).map(account).collect();
            let began = crate::clock::instant();
            let found = ask(&accounts, ready, None, |question| {
                question.lookups = (Step::Resolve, ready / 2)
            });
            let (took, days) = (began.elapsed(), hours(&found) / 24);
            let count = accounts.len();
            writeln!(
                std::io::stderr(),
                "{count} accounts, {ready} people: {days} days, told in {took:?}"
            )
            .unwrap();
        }
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
