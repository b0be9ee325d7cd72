//! Pace: how a task slows down and recovers (AIMD), when it stops calling for a while (circuit breaker), and what
//! follows `PEER_FLOOD`. Pure; moments are on the steady timeline of [`super::caps`].

use serde::{Deserialize, Serialize};

use super::caps::DAY_MS;
use crate::protocol::values::ids::UnixMillis;

/// Least pause between two actions of an account by default, seconds (`campaign.min_pause_seconds`).
pub const MIN_PAUSE_SECONDS: u32 = 15;
/// Waits that come within so many milliseconds are one signal: several accounts hear of one trouble at once.
const ONE_SIGNAL_MS: i64 = 30_000;
/// A pause is doubled at most so often (64 times the least).
const DOUBLINGS_MAX: u32 = 6;
/// Successes in a row that make a task a little faster.
const RECOVERY: u32 = 10;
/// A pause is counted in so many parts of the least one, so that it can shrink slowly.
const PARTS: u32 = 4;

/// How fast a task goes. Additive increase, multiplicative decrease, as in TCP (RFC 5681).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPace {
    /// The pause, in quarters of the least one.
    quarters: u32,
    /// Actions under way at a time at the most.
    parallel: u32,
    /// As many when nothing is wrong.
    parallel_max: u32,
    successes: u32,
    slowed_at: Option<UnixMillis>,
}

impl TaskPace {
    /// Nothing is wrong. `parallel_max` is as many as the task has accounts.
    pub fn new(parallel_max: u32) -> Self {
        let parallel_max = parallel_max.max(1);
        Self {
            quarters: PARTS,
            parallel: parallel_max,
            parallel_max,
            successes: 0,
            slowed_at: None,
        }
    }

    /// Actions that may be under way at a time.
    pub fn parallel(&self) -> u32 {
        self.parallel
    }

    /// How much slower than usual, in percent of the usual pause (100: not at all).
    pub fn percent(&self) -> u32 {
        self.quarters * 100 / PARTS
    }

    /// Telegram asked to wait, or a call failed for a reason that speed may have: the pause is doubled, and half as
    /// many go at a time.
    pub fn slow_down(&mut self, now: UnixMillis) {
        self.successes = 0;
        let is_same = |at: UnixMillis| (0..ONE_SIGNAL_MS).contains(&now.0.saturating_sub(at.0));
        if self.slowed_at.is_some_and(is_same) {
            return;
        }
        self.slowed_at = Some(now);
        self.quarters = (self.quarters * 2).min(PARTS << DOUBLINGS_MAX);
        self.parallel = (self.parallel / 2).max(1);
    }

    /// An action succeeded: after ten of them the pause is shorter by a quarter of the least one, and one more goes
    /// at a time.
    pub fn succeed(&mut self) {
        self.successes += 1;
        if self.successes >= RECOVERY {
            self.successes = 0;
            self.quarters = (self.quarters - 1).max(PARTS);
            self.parallel = (self.parallel + 1).min(self.parallel_max);
        }
    }

    /// The task has other accounts now.
    pub fn resize(&mut self, parallel_max: u32) {
        self.parallel_max = parallel_max.max(1);
        self.parallel = self.parallel.clamp(1, self.parallel_max);
    }

    /// The pause after an action, milliseconds: never less than the task's least one. `jitter` in 0..1 adds up to
    /// half of it.
    pub fn pause_ms(&self, min_pause_seconds: u32, jitter: f64) -> i64 {
        // Who pauses not at all as a rule has something to be doubled, too.
        let floor = if self.quarters > PARTS { 1 } else { 0 };
        let least = i64::from(min_pause_seconds.max(floor)) * 1_000;
        let pause = least * i64::from(self.quarters) / i64::from(PARTS);
        pause + (pause as f64 / 2.0 * jitter.clamp(0.0, 1.0)) as i64
    }

    /// The pause in the middle, for forecasts, milliseconds.
    pub fn mean_pause_ms(&self, min_pause_seconds: u32) -> i64 {
        self.pause_ms(min_pause_seconds, 0.5)
    }
}

/// Actions that forecasts look back on: older ones count half, again and again.
const LOOKED_BACK_ON: u32 = 1_024;
/// The longest wait that is expected to come again, seconds: longer ones are rare, and end with the campaign.
const EXPECTED_WAIT_MAX: u32 = 3_600;
/// Actions without trouble that everybody is trusted with: one wait at the very begin is not expected to come again
/// after each action.
const TRUSTED_ACTIONS: u32 = 20;

/// How often a task was slowed down of late, in how many actions, and how long its accounts had to wait for it: what a
/// forecast expects to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    slowdowns: u32,
    actions: u32,
    waited_seconds: u32,
}

impl Trouble {
    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// An action went well.
    pub fn acted(&mut self) {
        self.actions += 1;
        if self.actions >= LOOKED_BACK_ON {
            self.actions /= 2;
            self.slowdowns /= 2;
            self.waited_seconds /= 2;
        }
    }

    /// The task was slowed down.
    pub fn slowed(&mut self) {
        self.slowdowns = self.slowdowns.saturating_add(1);
    }

    /// An account has to wait because of it.
    pub fn waits(&mut self, seconds: u32) {
        let seconds = seconds.min(EXPECTED_WAIT_MAX);
        self.waited_seconds = self.waited_seconds.saturating_add(seconds);
    }

    /// Slowdowns to be expected for each action.
    pub fn slowdowns_per_action(&self) -> f64 {
        f64::from(self.slowdowns) / f64::from(self.actions + TRUSTED_ACTIONS)
    }

    /// What accounts are expected to wait for each action, milliseconds.
    pub fn waits_ms_per_action(&self) -> f64 {
        f64::from(self.waited_seconds) * 1_000.0 / f64::from(self.actions + TRUSTED_ACTIONS)
    }
}

/// Outcomes that a breaker looks back on.
const BREAKER_WINDOW: u32 = 10;
/// Errors among them that open it.
const BREAKER_ERRORS: u32 = 5;
/// First pause of an open breaker, milliseconds; doubled with each probe that fails.
const BREAKER_PAUSE_MS: i64 = 60_000;
/// Probes that may fail before a person has to look.
const PROBES_MAX: u32 = 5;

/// Stops a task when most of its calls fail, then lets a single one try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// The newest outcomes, one bit each; a set one is an error.
    outcomes: u32,
    state: BreakerState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BreakerState {
    #[default]
    Closed,
    Open {
        until: UnixMillis,
        failed_probes: u32,
    },
    /// One call is under way to see whether all is well.
    Probing {
        failed_probes: u32,
    },
}

/// What a breaker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Anything.
    All,
    /// One call, which is the probe: see [`Breaker::probe`].
    Probe,
    /// Nothing before this.
    HeldUntil(UnixMillis),
    /// Nothing until the probe under way has its outcome.
    HeldByProbe,
    /// Nothing until a person resumes the task.
    GivenUp,
}

impl Breaker {
    /// What may be done now.
    pub fn allows(&self, now: UnixMillis) -> Allowance {
        match self.state {
            BreakerState::Closed => Allowance::All,
            BreakerState::Open { failed_probes: PROBES_MAX.., .. } => Allowance::GivenUp,
            BreakerState::Open { until, .. } if until > now => Allowance::HeldUntil(until),
            BreakerState::Open { .. } => Allowance::Probe,
            BreakerState::Probing { .. } => Allowance::HeldByProbe,
        }
    }

    /// The probe is on its way.
    pub fn probe(&mut self) {
        if let BreakerState::Open { failed_probes, .. } = self.state {
            self.state = BreakerState::Probing { failed_probes };
        }
    }

    /// The probe never had an outcome (a crash, a pause): another may try.
    pub fn forget_probe(&mut self, now: UnixMillis) {
        if let BreakerState::Probing { failed_probes } = self.state {
            self.state = BreakerState::Open { until: now, failed_probes };
        }
    }

    /// A call had this outcome. Answers whether the breaker has opened by it.
    pub fn observe(&mut self, is_error: bool, now: UnixMillis) -> bool {
        self.outcomes = (self.outcomes << 1 | u32::from(is_error)) & ((1 << BREAKER_WINDOW) - 1);
        match (self.state, is_error) {
            (BreakerState::Closed, true) if self.outcomes.count_ones() >= BREAKER_ERRORS => {
                self.open(0, now);
                true
            }
            (BreakerState::Probing { failed_probes }, true) => {
                self.open(failed_probes + 1, now);
                true
            }
            (BreakerState::Probing { .. }, false) => {
                *self = Self::default();
                false
            }
            // What was under way when it opened tells nothing new.
            (BreakerState::Closed | BreakerState::Open { .. }, _) => false,
        }
    }

    /// A person has looked and resumes the task: one probe, at once.
    pub fn resume(&mut self, now: UnixMillis) {
        if self.state != BreakerState::Closed {
            self.state = BreakerState::Open { until: now, failed_probes: 0 };
        }
    }

    fn open(&mut self, failed_probes: u32, now: UnixMillis) {
        let until = now.plus_ms(BREAKER_PAUSE_MS << failed_probes.min(16));
        self.state = BreakerState::Open { until, failed_probes };
    }
}

/// Within this time a `PEER_FLOOD` counts as a repetition, milliseconds (a month of 30 days).
pub const PEER_FLOOD_MONTH_MS: i64 = 30 * DAY_MS;
/// `PEER_FLOOD`s in one task that pause it.
pub const PEER_FLOODS_MAX: u8 = 3;
/// Most repetitions that are remembered: the fifth already rests for more than half of the month.
const REPETITIONS_MAX: usize = 6;

/// The `PEER_FLOOD`s of a person or bot at Telegram. Stored with its [`super::caps::Usage`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerFloods {
    at: Vec<UnixMillis>,
    until: Option<UnixMillis>,
}

impl PeerFloods {
    /// One more. Answers until when the account does nothing for campaigns: a day, doubled for each repetition
    /// within a month.
    pub fn note(&mut self, now: UnixMillis) -> UnixMillis {
        self.at.retain(|at| now.0.saturating_sub(at.0) < PEER_FLOOD_MONTH_MS);
        // Calls that were under way together hear of the same one.
        let is_new =
            self.at.last().is_none_or(|last| now.0.saturating_sub(last.0) >= ONE_SIGNAL_MS);
        if is_new {
            if self.at.len() == REPETITIONS_MAX {
                self.at.remove(0);
            }
            self.at.push(now);
        }
        let doublings = self.at.len().saturating_sub(1);
        let until = now.plus_ms(DAY_MS << doublings);
        let until = self.until.map_or(until, |known| known.max(until));
        self.until = Some(until);
        until
    }

    /// Until when the account is limited, if it is.
    pub fn limited_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.until.filter(|until| *until > now)
    }
}

/// Phones in a row that nobody has, after which an account looks up no more for a day.
const UNOCCUPIED_MAX: u8 = 4;

/// Whether an account still looks phone numbers up: Telegram takes many unoccupied ones for a search through all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneLookups {
    unoccupied: u8,
    rests_until: Option<UnixMillis>,
}

impl PhoneLookups {
    /// Somebody was found.
    pub fn found(&mut self) {
        self.unoccupied = 0;
    }

    /// Nobody was found.
    pub fn not_found(&mut self, now: UnixMillis) {
        self.unoccupied = self.unoccupied.saturating_add(1);
        if self.unoccupied >= UNOCCUPIED_MAX {
            *self = Self { unoccupied: 0, rests_until: Some(now.plus_ms(DAY_MS)) };
        }
    }

    /// Until when it looks nobody up.
    pub fn rests_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.rests_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis(seconds * 1_000)
    }

    #[test]
    fn a_wait_doubles_the_pause_and_halves_what_goes_at_a_time() {
        let mut pace = TaskPace::new(8);
        assert_eq!((pace.pause_ms(15, 0.0), pace.pause_ms(15, 1.0)), (15_000, 22_500));
        pace.slow_down(at(0));
        pace.slow_down(at(1));
        assert_eq!((pace.pause_ms(15, 0.0), pace.parallel()), (30_000, 4), "one signal");
        pace.slow_down(at(60));
        assert_eq!((pace.pause_ms(15, 0.0), pace.parallel(), pace.percent()), (60_000, 2, 400));
        for _ in 0..10 {
            pace.succeed();
        }
        assert_eq!((pace.pause_ms(15, 0.0), pace.parallel()), (56_250, 3), "slowly back");
        for _ in 0..200 {
            pace.succeed();
        }
        assert_eq!(pace, TaskPace { successes: 0, slowed_at: Some(at(60)), ..TaskPace::new(8) });
        assert_eq!(pace.pause_ms(0, 1.0), 0, "where nothing is wrong and no pause is wanted");
        pace.slow_down(at(9_000));
        assert_eq!(pace.pause_ms(0, 0.0), 2_000);
    }

    #[test]
    fn mass_errors_open_the_breaker_and_one_probe_closes_it() {
        let mut breaker = Breaker::default();
        let opened: Vec<bool> = (0..5).map(|_| breaker.observe(true, at(0))).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        assert_eq!(breaker.allows(at(59)), Allowance::HeldUntil(at(60)));
        assert_eq!(breaker.allows(at(60)), Allowance::Probe);
        breaker.probe();
        assert_eq!(breaker.allows(at(60)), Allowance::HeldByProbe, "one probe");
        breaker.observe(true, at(60));
        assert_eq!(breaker.allows(at(60)), Allowance::HeldUntil(at(180)));
        breaker.probe();
        breaker.forget_probe(at(180));
        assert_eq!(breaker.allows(at(180)), Allowance::Probe);
        breaker.probe();
        breaker.observe(false, at(180));
        assert_eq!(breaker.allows(at(180)), Allowance::All);
    }

    #[test]
    fn probes_that_keep_failing_leave_it_to_a_person() {
        let mut breaker = Breaker::default();
        let mut now = at(0);
        for _ in 0..5 {
            breaker.observe(true, now);
        }
        while let Allowance::HeldUntil(until) = breaker.allows(now) {
            now = until;
            breaker.probe();
            breaker.observe(true, now);
        }
        assert_eq!(breaker.allows(now), Allowance::GivenUp);
        breaker.resume(now);
        assert_eq!(breaker.allows(now), Allowance::Probe);
    }

    #[test]
    fn peer_flood_rests_a_day_and_doubles_within_a_month() {
        let mut floods = PeerFloods::default();
        let day = |days: i64| UnixMillis(days * DAY_MS);
        assert_eq!(floods.note(day(0)), day(1));
        assert_eq!(floods.limited_until(day(1)), None);
        assert_eq!(floods.note(day(2)), day(4));
        assert_eq!(floods.note(day(2).plus_ms(5)), day(4).plus_ms(5), "one signal");
        assert_eq!(floods.note(day(5)), day(9));
        assert_eq!(floods.note(day(40)), day(41), "a month later it begins anew");
    }

    #[test]
    fn an_account_that_finds_nobody_stops_looking_phones_up() {
        let mut lookups = PhoneLookups::default();
        (0..3).for_each(|_| lookups.not_found(at(0)));
        lookups.found();
        (0..3).for_each(|_| lookups.not_found(at(0)));
        assert_eq!(lookups.rests_until(at(0)), None);
        lookups.not_found(at(0));
        assert_eq!(lookups.rests_until(at(0)), Some(UnixMillis(DAY_MS)));
    }

    proptest! {
        #[test]
        fn no_order_of_outcomes_gets_under_the_floor_or_stops_for_ever(
            steps in prop::collection::vec((any::<bool>(), 0..100_000_i64), 0..300), accounts in 0..40_u32, jitter in 0.0..1.0,
        ) {
            let (mut pace, mut now) = (TaskPace::new(accounts), 0);
            for (is_success, step) in steps {
                now += step;
                if is_success { pace.succeed() } else { pace.slow_down(UnixMillis(now)) }
                prop_assert!((1..=accounts.max(1)).contains(&pace.parallel()));
                let pause = pace.pause_ms(15, jitter);
                prop_assert!((15_000..=15_000 * 64 * 3 / 2).contains(&pause), "{pause}");
            }
        }

        #[test]
        fn a_breaker_never_lets_more_than_one_probe_go(steps in prop::collection::vec((0..3_u8, 0..200_000_i64), 0..300)) {
            let (mut breaker, mut now, mut probes) = (Breaker::default(), 0, 0_u32);
            for (step, later) in steps {
                now += later;
                match (step, breaker.allows(UnixMillis(now))) {
                    (0, Allowance::Probe) => { breaker.probe(); probes += 1; }
                    (0, Allowance::HeldUntil(until)) => prop_assert!(until > UnixMillis(now)),
                    (1 | 2, _) => { breaker.observe(step == 1, UnixMillis(now)); probes = 0; }
                    _ => {}
                }
                prop_assert!(probes <= 1);
            }
        }
    }
}
