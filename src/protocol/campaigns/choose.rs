//! Which account does what for which task next, over all running tasks. High priority first, equal ones by turns, and
//! low ones a tenth of the accounts' time. One action is chosen at a time, so that whoever has to give way does so
//! before the next action. Pure.

use std::collections::BTreeMap;

use super::account::{CampaignAccount, Hold, Holding};
use super::caps::{Bound, Caps};
use super::pace::Allowance;
use super::quiet::HeldBy;
use super::target::{Step, TargetId};
use super::task::{Priority, TaskId};
use super::waiting::{STEP_ORDER, Waiting};
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;

/// Actions that an account does for others before one for a low task that could have had it.
const LOW_EVERY: u8 = 9;

/// A running task, as far as choosing is concerned.
#[derive(Clone, Copy, Debug)]
pub struct RunningTask<'a> {
    /// Its id.
    pub id: TaskId,
    /// Who goes first.
    pub priority: Priority,
    /// Its waiting targets, which know where nobody is contacted now.
    pub waiting: &'a Waiting,
    /// What it comes to: an account that may not do that now looks nobody up for it either, since whoever is looked up
    /// waits for that account.
    pub goal: Step,
    /// Its accounts, without those that are out of it.
    pub accounts: &'a [AccountId],
    /// The caps that hold for it.
    pub caps: &'a Caps,
    /// Whether its text has a link.
    pub has_link: bool,
    /// Actions under way.
    pub in_flight: u32,
    /// Actions that may be.
    pub parallel: u32,
    /// What its breaker allows.
    pub allowance: Allowance,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// For which task.
    pub task: TaskId,
    /// By which account.
    pub account: AccountId,
    /// For whom.
    pub target: TargetId,
    /// What.
    pub step: Step,
    /// Whether it is the breaker's probe.
    pub is_probe: bool,
}

/// What holds a task that has nothing to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// Quiet hours or the calendar.
    ContactTime(HeldBy),
    /// The breaker.
    Breaker,
    /// As many actions are under way as may be.
    Parallel,
    /// An account.
    Account(Hold),
    /// None of its accounts may act for any of those who are left.
    NoAccount,
    /// All that is left is uncertain, and is being settled.
    Settling,
    /// Nobody's moment has come.
    Later,
}

impl Binding {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContactTime(HeldBy::QuietHours) => "quiet_hours",
            Self::ContactTime(HeldBy::Calendar) => "calendar",
            Self::Breaker => "breaker",
            Self::Parallel => "parallel",
            Self::Account(hold) => match hold {
                Hold::Gone => "account_gone",
                Hold::Disconnected => "account_away",
                Hold::OwnWork => "own_work",
                Hold::Busy => "account_busy",
                Hold::Limited => "account_limited",
                Hold::FloodWait => "flood_wait",
                Hold::PhoneLookups => "phone_lookups",
                Hold::Cap(Bound::Pause) => "pause",
                Hold::Cap(Bound::Hour(_)) => "hour_cap",
                Hold::Cap(Bound::Day(_)) => "day_cap",
            },
            Self::NoAccount => "no_account",
            Self::Settling => "settling",
            Self::Later => "later",
        }
    }
}

/// What holds tasks, and until when, where time alone ends it.
pub type Bindings = BTreeMap<(TaskId, Binding), Option<UnixMillis>>;

/// What holds a running task in which nothing happens, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskHold {
    /// What.
    pub by: Binding,
    /// Until when, on the wall clock, if time alone ends it.
    pub until: Option<UnixMillis>,
}

impl TaskHold {
    /// Of all that holds a task, what ends first. That somebody waits for their moment is told only where nothing else
    /// holds.
    pub fn first(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().min_by_key(|hold| {
            (hold.by == Binding::Later, hold.until.is_none(), hold.until, hold.by)
        })
    }
}

/// The next action, or when to ask again and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This.
    Act(Action),
    /// Nothing now.
    Nothing {
        /// When time alone may have changed that.
        until: Option<UnixMillis>,
        /// What holds which task. Contact times end on the wall clock, which is not told here.
        bindings: Bindings,
    },
}

/// Whose turn it is. In memory only: after a restart turns begin anew.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    served: u64,
    last_served: BTreeMap<TaskId, u64>,
    /// Actions of an account for others, since the last one for a low task that wanted it.
    since_low: BTreeMap<AccountId, u8>,
}

/// What is found on the way.
#[derive(Default)]
struct Reasons {
    until: Option<UnixMillis>,
    bindings: Bindings,
}

impl Reasons {
    fn note(&mut self, task: TaskId, binding: Binding, until: Option<UnixMillis>) {
        let known = self.bindings.entry((task, binding)).or_default();
        *known = earlier(*known, until);
        self.until = earlier(self.until, until);
    }
}

fn earlier(one: Option<UnixMillis>, other: Option<UnixMillis>) -> Option<UnixMillis> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The next action. `steady` is on the timeline of caps. Whoever acts on it takes the caps, the target and the
/// probe in one commit, and calls [`Turns::took`].
pub fn choose(
    tasks: &[RunningTask<'_>],
    accounts: &BTreeMap<AccountId, CampaignAccount>,
    turns: &Turns,
    steady: UnixMillis,
) -> Choice {
    let mut order: Vec<&RunningTask<'_>> = tasks.iter().collect();
    order.sort_by_key(|task| (task.priority, turns.last_served.get(&task.id).copied(), task.id));
    let mut reasons = Reasons::default();
    // What low priority is owed comes first, on the accounts that owe it.
    let is_low = |task: &&&RunningTask<'_>| task.priority == Priority::Low;
    for task in order.iter().filter(is_low) {
        let owes = |account: AccountId| turns.since_low.get(&account) >= Some(&LOW_EVERY);
        if let Some(action) = action_for(task, accounts, owes, steady, &mut Reasons::default()) {
            return Choice::Act(action);
        }
    }
    for task in order {
        if let Some(action) = action_for(task, accounts, |_| true, steady, &mut reasons) {
            return Choice::Act(action);
        }
    }
    Choice::Nothing { until: reasons.until, bindings: reasons.bindings }
}

fn action_for(
    task: &RunningTask<'_>,
    accounts: &BTreeMap<AccountId, CampaignAccount>,
    may_use: impl Fn(AccountId) -> bool,
    steady: UnixMillis,
    reasons: &mut Reasons,
) -> Option<Action> {
    let is_probe = match task.allowance {
        Allowance::All => false,
        Allowance::Probe => true,
        Allowance::HeldUntil(until) => {
            reasons.note(task.id, Binding::Breaker, Some(until));
            return None;
        }
        Allowance::HeldByProbe | Allowance::GivenUp => {
            reasons.note(task.id, Binding::Breaker, None);
            return None;
        }
    };
    if task.in_flight >= task.parallel {
        reasons.note(task.id, Binding::Parallel, None);
        return None;
    }
    if let Some(until) = task.waiting.next_release() {
        reasons.note(task.id, Binding::Later, Some(until));
    }
    let mut own: Vec<&CampaignAccount> =
        task.accounts.iter().filter(|id| may_use(**id)).filter_map(|id| accounts.get(id)).collect();
    let held = task.waiting.held();
    if let Some(held) = held {
        // Its end is on the wall clock, which may be set: whoever asks looks again at the wall.
        reasons.note(task.id, Binding::ContactTime(held.by), None);
    }
    let is_later = task.waiting.next_release().is_some();
    let mut is_held = is_later || held.is_some() || task.waiting.is_empty();
    // Who has rested longest goes first, so that work is shared.
    own.sort_by_key(|account| (account.usage.rests_until, account.id));
    for account in own {
        for step in STEP_ORDER {
            let Some(target) = task.waiting.first(account.id, step) else { continue };
            let may_act = match step.reaches() {
                true => Ok(()),
                false => account.may_go_on_with(task.goal, steady),
            };
            match may_act.and_then(|()| account.check(step, task.has_link, task.caps, steady)) {
                Ok(()) => {
                    return Some(Action {
                        task: task.id,
                        account: account.id,
                        target,
                        step,
                        is_probe,
                    });
                }
                Err(Holding { hold, until }) => {
                    is_held = true;
                    reasons.note(task.id, Binding::Account(hold), until)
                }
            }
        }
    }
    if !is_held {
        reasons.note(task.id, Binding::NoAccount, None);
    }
    None
}

impl Turns {
    /// An action was taken. `tasks` are those that it was chosen among.
    pub fn took(&mut self, action: &Action, tasks: &[RunningTask<'_>]) {
        self.served += 1;
        self.last_served.insert(action.task, self.served);
        let of = |task: &&RunningTask<'_>| task.id == action.task;
        if tasks.iter().find(of).is_some_and(|task| task.priority == Priority::Low) {
            self.since_low.remove(&action.account);
            return;
        }
        let wants = |task: &RunningTask<'_>| {
            let is_low = task.priority == Priority::Low && task.accounts.contains(&action.account);
            let has_work =
                STEP_ORDER.iter().any(|step| task.waiting.first(action.account, *step).is_some());
            is_low && has_work && task.allowance == Allowance::All
        };
        if tasks.iter().any(wants) {
            let since = self.since_low.entry(action.account).or_default();
            *since = since.saturating_add(1);
        }
    }

    /// A task has ended.
    pub fn forget(&mut self, task: TaskId) {
        self.last_served.remove(&task);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::protocol::campaigns::caps::{Bound, Budget, Cap, Usage};
    use crate::protocol::campaigns::identity::Identifier;
    use crate::protocol::campaigns::quiet::Held;
    use crate::protocol::campaigns::target::Target;
    use crate::protocol::campaigns::waiting::{Place, Reach};

    struct Fixture {
        accounts: BTreeMap<AccountId, CampaignAccount>,
        queues: Vec<(TaskId, Priority, Waiting)>,
        ids: Vec<AccountId>,
        caps: Caps,
        turns: Turns,
        now: i64,
    }

    impl Fixture {
        fn new(accounts: u128, priorities: &[Priority]) -> Self {
            let ids: Vec<_> = (1..=accounts).map(|id| AccountId(Uuid::from_u128(id))).collect();
            let wide = Cap { per_day: 1_000_000, per_hour: 1_000_000 };
            let of = |id: &AccountId| {
                (*id, CampaignAccount::fresh(*id, Usage::none(1, UnixMillis(i64::MIN / 2))))
            };
            let queue = |(at, priority): (usize, &Priority)| {
                let mut waiting = Waiting::default();
                for id in 1..2_000 {
                    let target = Target::new(TargetId(id), Identifier::Id(i64::from(id)), None);
                    waiting.insert(
                        &target,
                        Reach::KnownBy(ids.clone().into()),
                        Step::Send,
                        UnixMillis(0),
                    );
                }
                (TaskId(Uuid::from_u128(at as u128 + 1)), *priority, waiting)
            };
            Self {
                accounts: ids.iter().map(of).collect(),
                queues: priorities.iter().enumerate().map(queue).collect(),
                ids,
                caps: Caps { message: wide, ..Caps::default() },
                turns: Turns::default(),
                now: 0,
            }
        }

        /// Takes the next action, and answers whose it is.
        fn step(&mut self) -> Option<usize> {
            let tasks: Vec<_> = self
                .queues
                .iter()
                .map(|(id, priority, waiting)| RunningTask {
                    id: *id,
                    goal: Step::Send,
                    priority: *priority,
                    waiting,
                    accounts: &self.ids,
                    caps: &self.caps,
                    has_link: false,
                    in_flight: 0,
                    parallel: 10,
                    allowance: Allowance::All,
                })
                .collect();
            match choose(&tasks, &self.accounts, &self.turns, UnixMillis(self.now)) {
                Choice::Act(action) => {
                    self.turns.took(&action, &tasks);
                    let account = self.accounts.get_mut(&action.account).unwrap();
                    account
                        .take(action.step, false, (&self.caps, 15_000), UnixMillis(self.now))
                        .unwrap();
                    account.is_busy = false;
                    let at = self.queues.iter().position(|queue| queue.0 == action.task)?;
                    self.queues[at].2.remove(action.target);
                    Some(at)
                }
                Choice::Nothing { until, .. } => {
                    self.now = until.unwrap().0;
                    None
                }
            }
        }

        fn counts(&mut self, actions: usize) -> Vec<usize> {
            let mut counts = vec![0; self.queues.len()];
            while counts.iter().sum::<usize>() < actions {
                if let Some(at) = self.step() {
                    counts[at] += 1;
                }
            }
            counts
        }
    }

    #[test]
    fn high_goes_first_and_low_keeps_a_tenth() {
        let mut fixture = Fixture::new(5, &[Priority::Low, Priority::High, Priority::Normal]);
        assert_eq!(fixture.counts(1_000), [100, 900, 0]);
    }

    #[test]
    fn equal_priorities_take_turns_and_accounts_share_the_work() {
        let mut fixture = Fixture::new(3, &[Priority::Normal; 3]);
        assert_eq!(fixture.counts(300), [100, 100, 100]);
        let used = |account: &CampaignAccount| {
            account.usage.window(Budget::Message).used(i64::MAX / 4, UnixMillis(fixture.now))
        };
        assert!(fixture.accounts.values().all(|account| used(account) == 100));
    }

    #[test]
    fn what_holds_is_named_with_its_end() {
        let mut fixture = Fixture::new(1, &[Priority::Normal]);
        fixture.step();
        let (id, priority, waiting) = &fixture.queues[0];
        let task = RunningTask {
            id: *id,
            goal: Step::Send,
            priority: *priority,
            waiting,
            accounts: &fixture.ids,
            caps: &fixture.caps,
            has_link: false,
            in_flight: 0,
            parallel: 1,
            allowance: Allowance::All,
        };
        let ask = |task| choose(&[task], &fixture.accounts, &fixture.turns, UnixMillis(1));
        let held = |binding, until: Option<i64>| {
            let until = until.map(UnixMillis);
            Choice::Nothing { until, bindings: [((*id, binding), until)].into() }
        };
        assert_eq!(ask(task), held(Binding::Account(Hold::Cap(Bound::Pause)), Some(15_000)));
        assert_eq!(ask(RunningTask { in_flight: 1, ..task }), held(Binding::Parallel, None));
        let open = Allowance::HeldUntil(UnixMillis(9));
        assert_eq!(ask(RunningTask { allowance: open, ..task }), held(Binding::Breaker, Some(9)));
        assert_eq!(ask(RunningTask { accounts: &[], ..task }), held(Binding::NoAccount, None));
        let night = Held { by: HeldBy::Calendar, until: Some(UnixMillis(7)) };
        let mut asleep = waiting.clone();
        asleep.hold(Place::default(), Some(night));
        let expected = held(Binding::ContactTime(HeldBy::Calendar), None);
        assert_eq!(ask(RunningTask { waiting: &asleep, ..task }), expected);
    }

    #[test]
    fn what_is_told_to_hold_a_task_is_what_ends_first() {
        let hold = |by, until: Option<i64>| TaskHold { by, until: until.map(UnixMillis) };
        let cap = hold(Binding::Account(Hold::Cap(Bound::Day(Budget::Message))), Some(900));
        let away = hold(Binding::Account(Hold::Disconnected), None);
        let later = hold(Binding::Later, Some(30));
        assert_eq!(TaskHold::first([later, away, cap]), Some(cap));
        assert_eq!(TaskHold::first([later, away]), Some(away));
        assert_eq!(TaskHold::first([later]), Some(later));
        assert_eq!(TaskHold::first([]), None);
        assert_eq!((cap.by.name(), away.by.name()), ("day_cap", "account_away"));
    }
}
