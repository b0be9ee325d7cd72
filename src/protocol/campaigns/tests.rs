//! All rules together: whatever happens in whichever order (floods, crashes, pauses, edits, clocks that are set,
//! accounts that die, people who opt out), no cap is exceeded, nobody is contacted twice or after a refusal, and
//! nobody is forgotten. The world here keeps the books that Telegram would.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::account::{CampaignAccount, budget_of};
use super::answers::{
    AccountVerdict, Answer, Attempt, PassOn, TargetVerdict, apply_to_run, apply_to_target, judge,
    may_get_link,
};
use super::caps::{BUDGETS, Budget, Cap, CapClock, Caps, DAY_MS, HOUR_MS, Usage};
use super::choose::{Action, Choice, RunningTask, Turns, choose};
use super::identity::Identifier;
use super::quiet::{Minute, QuietHours};
use super::respect::{Contacted, RECONTACT_DAYS, recontact_until};
use super::run::TaskRun;
use super::schedule::{Due, MAX_LATE_MS, Schedule};
use super::settings::Settings;
use super::settle::{AccountState, Membership, Settling, by_membership, settle};
use super::target::{Intent, Reason, Statistics, Step, Target, TargetId, TargetStatus};
use super::task::{Order, PauseReason, Priority, Task, TaskId, TaskRequest, TaskStatus, TaskType};
use super::waiting::{Place, Reach, Waiting, next_step};
use super::zone::Zone;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::UnixMillis;

const PEOPLE: u32 = 12;
const ACCOUNTS: u128 = 3;
const START: i64 = 1_795_262_400_000;

/// What Telegram knows.
#[derive(Default)]
struct Books {
    /// Who was reached, by what.
    reached: BTreeMap<i64, Vec<Step>>,
    random_ids: BTreeSet<(AccountId, i64)>,
    members: BTreeSet<i64>,
    /// What campaigns did, when it really was.
    done: Vec<(AccountId, Budget, i64)>,
}

struct Campaign {
    task: Task,
    targets: BTreeMap<TargetId, Target>,
    waiting: Waiting,
    run: TaskRun,
    accounts: Vec<AccountId>,
}

struct World {
    campaigns: Vec<Campaign>,
    accounts: BTreeMap<AccountId, CampaignAccount>,
    turns: Turns,
    clock: CapClock,
    wall: i64,
    /// What time it really is.
    real: i64,
    caps: Caps,
    calls: Vec<Action>,
    suppressed: BTreeSet<i64>,
    contacted: BTreeMap<i64, Contacted>,
    next_random: i64,
    books: Books,
}

fn person(target: &Target) -> i64 {
    i64::from(target.id.0)
}

impl World {
    fn new() -> Self {
        let ids: Vec<_> = (1..=ACCOUNTS).map(|id| AccountId(Uuid::from_u128(id))).collect();
        let cap = Cap { per_day: 5, per_hour: 2 };
        let caps = Caps { invite: cap, message: cap, link_message: cap, ..Caps::default() };
        let old = UnixMillis(START - 100 * DAY_MS);
        let of = |id: &AccountId| (*id, CampaignAccount::fresh(*id, Usage::none(1, old)));
        let mut world = Self {
            campaigns: Vec::new(),
            accounts: ids.iter().map(of).collect(),
            turns: Turns::default(),
            clock: CapClock::at(UnixMillis(START)),
            wall: START,
            real: START,
            caps,
            calls: Vec::new(),
            suppressed: BTreeSet::new(),
            contacted: BTreeMap::new(),
            next_random: 0,
            books: Books::default(),
        };
        for (at, (kind, priority)) in [
            (TaskType::SendMessages, Priority::Normal),
            (TaskType::InviteToGroup, Priority::High),
            (TaskType::SendMessages, Priority::Low),
        ]
        .into_iter()
        .enumerate()
        {
            let campaign = world.campaign(at, kind, priority, &ids);
            world.campaigns.push(campaign);
            world.fill(at);
        }
        world
    }

    fn campaign(
        &self,
        at: usize,
        kind: TaskType,
        priority: Priority,
        ids: &[AccountId],
    ) -> Campaign {
        let parse = |text| Minute::parse(text).unwrap();
        let quiet = QuietHours {
            from: parse("22:00"),
            to: parse("08:00"),
            zone: Some(Zone::named("Europe/Berlin").unwrap()),
        };
        let request = TaskRequest {
            task_type: Some(kind),
            title: "test".into(),
            target_group_id: (kind == TaskType::InviteToGroup).then_some(MarkedId(-5)),
            message_template: Some("Hi".into()),
            priority,
            schedule: Some(Schedule {
                wall: Zone::utc().wall(UnixMillis(START + HOUR_MS)),
                zone: Zone::utc(),
            }),
            settings: Settings {
                quiet_hours: Some(quiet),
                link_fallback: true,
                ..Settings::default()
            },
            account_ids: ids.to_vec(),
            audience_basis: "they asked".into(),
            ..TaskRequest::default()
        };
        let names = (TaskId(Uuid::from_u128(at as u128 + 1)), UserId::new("ann").unwrap());
        let task = Task::new(names, request, (&self.caps, false), UnixMillis(START)).unwrap();
        let named = |id| {
            let name = if id % 3 == 0 {
                Identifier::Username(format!("name{id}").into())
            } else {
                Identifier::Id(i64::from(id))
            };
            (TargetId(id), Target::new(TargetId(id), name, None))
        };
        let targets: BTreeMap<_, _> = (1..=PEOPLE).map(named).collect();
        let statistics = Statistics::of(targets.values());
        let run = TaskRun { statistics, ..TaskRun::new(&task) };
        Campaign { task, run, targets, waiting: Waiting::default(), accounts: ids.to_vec() }
    }

    /// Makes a queue anew, as after a restart.
    fn fill(&mut self, at: usize) {
        self.campaigns[at].waiting = Waiting::default();
        let ids: Vec<_> = self.campaigns[at].targets.keys().copied().collect();
        for id in ids {
            self.queue(at, id, PassOn::Anybody);
        }
    }

    /// Puts a target back into the queue, or settles it.
    fn queue(&mut self, at: usize, id: TargetId, pass_on: PassOn) {
        let now = self.clock.now();
        let campaign = &mut self.campaigns[at];
        let target = &campaign.targets[&id];
        if target.status == TargetStatus::Uncertain {
            return self.settle(at, id);
        }
        let is_known = target.person.is_some();
        let step = next_step(target, campaign.task.task_type, is_known);
        let alive: Box<[AccountId]> =
            campaign.accounts.iter().copied().filter(|id| !self.accounts[id].is_gone).collect();
        let reach = match (is_known, pass_on) {
            (true, _) => Reach::KnownBy(alive),
            (false, PassOn::SameAccount) => Reach::KnownBy(alive[..alive.len().min(1)].into()),
            (false, _) => Reach::Anybody,
        };
        if let Some(step) = step {
            campaign.waiting.insert(target, reach, step, now);
        }
    }

    fn settle(&mut self, at: usize, id: TargetId) {
        let now = self.clock.now();
        let target = &self.campaigns[at].targets[&id];
        let intent = *target.intent.as_deref().unwrap();
        let account = &self.accounts[&intent.account];
        let state = if account.is_gone { AccountState::Gone } else { AccountState::Usable };
        let attempts = target.attempts;
        match settle(&intent, state, (DAY_MS / 2, attempts), now) {
            Settling::SendAgain { account, random_id } => {
                assert_eq!((account, random_id), (intent.account, intent.random_id));
                let target = self.campaigns[at].targets[&id].clone();
                self.campaigns[at].waiting.insert(&target, Reach::Only(account), intent.step, now);
            }
            Settling::AskMembership { .. } => {
                let is_member =
                    self.books.members.contains(&person(&self.campaigns[at].targets[&id]));
                let found = if is_member { Membership::Member } else { Membership::Absent };
                let (status, reason) = by_membership(found, attempts).unwrap();
                if status == TargetStatus::Failed {
                    // They were certainly not reached. Nobody tries them again.
                    let campaign = &mut self.campaigns[at];
                    let target = campaign.targets.get_mut(&id).unwrap();
                    let from = target.status;
                    target.become_status(TargetStatus::Pending, None).unwrap();
                    campaign.run.statistics.moved(from, TargetStatus::Pending);
                }
                self.change(at, id, status, reason);
            }
            Settling::Again => self.change(at, id, TargetStatus::Pending, None),
            Settling::AskPerson | Settling::WaitForAccount { .. } => {}
        }
    }

    fn change(&mut self, at: usize, id: TargetId, status: TargetStatus, reason: Option<Reason>) {
        let campaign = &mut self.campaigns[at];
        let target = campaign.targets.get_mut(&id).unwrap();
        let from = target.status;
        target.become_status(status, reason).unwrap();
        campaign.run.statistics.moved(from, target.status);
        if target.status == TargetStatus::Pending {
            self.queue(at, id, PassOn::Anybody);
        }
    }

    /// The next action, with all that is asked right before it, up to the durable intent.
    fn act(&mut self) -> bool {
        let (steady, utc) = (self.clock.now(), Zone::utc());
        let mut views = Vec::new();
        for campaign in &mut self.campaigns {
            campaign.waiting.release(steady);
            let times = campaign.task.settings.contact_times(None, &utc);
            campaign.waiting.hold(Place::default(), times.held(UnixMillis(self.wall)));
        }
        for campaign in
            self.campaigns.iter().filter(|campaign| campaign.task.status == TaskStatus::Running)
        {
            views.push(RunningTask {
                id: campaign.task.id,
                priority: campaign.task.priority,
                waiting: &campaign.waiting,
                goal: campaign.task.task_type.goal(),
                accounts: &campaign.accounts,
                caps: &self.caps,
                has_link: false,
                in_flight: u32::try_from(
                    self.calls.iter().filter(|call| call.task == campaign.task.id).count(),
                )
                .unwrap(),
                parallel: campaign.run.pace.parallel(),
                allowance: campaign.run.breaker.allows(steady),
            });
        }
        let Choice::Act(action) = choose(&views, &self.accounts, &self.turns, steady) else {
            return false;
        };
        self.turns.took(&action, &views);
        drop(views);
        let at =
            self.campaigns.iter().position(|campaign| campaign.task.id == action.task).unwrap();
        self.campaigns[at].waiting.remove(action.target);
        let who = person(&self.campaigns[at].targets[&action.target]);
        if self.suppressed.contains(&who) {
            self.change(at, action.target, TargetStatus::Skipped, Some(Reason::Suppressed));
            return true;
        }
        let is_recent =
            recontact_until(self.contacted.get(&who), action.task, RECONTACT_DAYS, steady)
                .is_some();
        if action.step.reaches() && is_recent {
            self.change(at, action.target, TargetStatus::Skipped, Some(Reason::Recontact));
            return true;
        }
        self.begin(at, action, who);
        true
    }

    fn begin(&mut self, at: usize, action: Action, who: i64) {
        let steady = self.clock.now();
        let campaign = &mut self.campaigns[at];
        let target = campaign.targets.get_mut(&action.target).unwrap();
        let known = target.intent.as_deref().filter(|_| target.status == TargetStatus::Uncertain);
        self.next_random += 1;
        let random_id = known.map_or(self.next_random, |intent| intent.random_id);
        let pause = campaign.run.pace.pause_ms(15, 0.3);
        let account = self.accounts.get_mut(&action.account).unwrap();
        account.take(action.step, false, (&self.caps, pause), steady).unwrap();
        self.books.done.push((action.account, budget_of(action.step, false), self.real));
        let from = target.status;
        let intent = Intent {
            account: action.account,
            step: action.step,
            random_id,
            at: UnixMillis(self.wall),
            is_repeat: false,
            wall: None,
        };
        target.begin(intent, campaign.task.text_version).unwrap();
        campaign.run.statistics.moved(from, target.status);
        if action.is_probe {
            campaign.run.breaker.probe();
        }
        if action.step.reaches() {
            self.contacted.insert(who, Contacted { task: action.task, at: steady });
        }
        self.calls.push(action);
    }

    /// What Telegram does with a call.
    fn perform(&mut self, call: &Action, dice: u32) -> Answer {
        let at = self.campaigns.iter().position(|campaign| campaign.task.id == call.task).unwrap();
        let target = &self.campaigns[at].targets[&call.target];
        let (who, random_id) = (person(target), target.intent.as_ref().unwrap().random_id);
        if self.accounts[&call.account].is_gone {
            return Answer::AccountGone;
        }
        let refusal = match dice % 16 {
            0 => Some(Answer::Wait { seconds: 600 }),
            1 => Some(Answer::Limited),
            2 => Some(Answer::NoAnswer),
            3 => Some(Answer::Privacy),
            4 => Some(Answer::NotAdded { is_paid: false }),
            5 => Some(Answer::UnknownPeer),
            6 if dice.is_multiple_of(5) => Some(Answer::AccountGone),
            7 => Some(Answer::Unclear),
            _ => None,
        };
        if let Some(answer) = refusal {
            return answer;
        }
        if !call.step.reaches() {
            return Answer::Accepted;
        }
        if call.step == Step::Invite && self.books.members.contains(&who) {
            return Answer::AlreadyMember;
        }
        if !self.books.random_ids.insert((call.account, random_id)) && call.step != Step::Invite {
            return Answer::AcceptedBefore;
        }
        self.books.reached.entry(who).or_default().push(call.step);
        if call.step == Step::Invite {
            self.books.members.insert(who);
        }
        if dice.is_multiple_of(7) { Answer::NoAnswer } else { Answer::Accepted }
    }

    fn answer(&mut self, dice: u32) {
        if self.calls.is_empty() {
            return;
        }
        let call = self.calls.remove(dice as usize % self.calls.len());
        let answer = self.perform(&call, dice / 3);
        let steady = self.clock.now();
        let at = self.campaigns.iter().position(|campaign| campaign.task.id == call.task).unwrap();
        let campaign = &mut self.campaigns[at];
        let target = campaign.targets.get_mut(&call.target).unwrap();
        let attempt = Attempt {
            step: call.step,
            is_repeat: target.intent.as_ref().unwrap().is_repeat,
            attempts: target.attempts,
            can_be_looked_up: false,
            is_known_elsewhere: true,
            may_get_link: may_get_link(answer, false, false),
        };
        let judgement = judge(answer, &attempt);
        let from = target.status;
        if judgement.target == TargetVerdict::GoesOn {
            target.pin(person(target)).unwrap();
        }
        apply_to_target(&judgement, target).unwrap();
        campaign.run.statistics.moved(from, target.status);
        self.accounts.get_mut(&call.account).unwrap().apply(judgement.account, call.step, steady);
        if judgement.account == AccountVerdict::Blocked {
            self.lose(call.account);
        }
        let is_left = self.accounts.values().any(|account| !account.is_gone);
        let campaign = &mut self.campaigns[at];
        if let Some(order) = apply_to_run(&judgement, &mut campaign.run, is_left, steady) {
            let Campaign { task, run, .. } = campaign;
            let _ = super::run::order((task, run), order, UnixMillis(self.wall), steady);
        }
        let pass_on = if let TargetVerdict::Pending(pass_on) = judgement.target {
            pass_on
        } else {
            PassOn::Anybody
        };
        self.queue(at, call.target, pass_on);
    }

    fn lose(&mut self, account: AccountId) {
        self.accounts.get_mut(&account).unwrap().is_gone = true;
        for at in 0..self.campaigns.len() {
            let campaign = &mut self.campaigns[at];
            campaign.accounts.retain(|id| *id != account);
            let targets = &campaign.targets;
            let step = |id: TargetId| next_step(&targets[&id], campaign.task.task_type, false);
            for id in campaign.waiting.account_left(account, step) {
                self.change(at, id, TargetStatus::Failed, Some(Reason::UnknownPeer));
            }
        }
    }

    /// The process dies: what was on its way happens or does not, and nobody hears of it.
    fn crash(&mut self, dice: u32) {
        for (at, call) in std::mem::take(&mut self.calls).into_iter().enumerate() {
            if (dice >> (at % 30)) & 1 == 1 {
                self.perform(&call, dice / 5);
            }
        }
        self.turns = Turns::default();
        self.accounts.values_mut().for_each(|account| account.is_busy = false);
        let now = self.clock.now();
        for at in 0..self.campaigns.len() {
            let campaign = &mut self.campaigns[at];
            campaign.task =
                serde_json::from_str(&serde_json::to_string(&campaign.task).unwrap()).unwrap();
            campaign.run =
                serde_json::from_str(&serde_json::to_string(&campaign.run).unwrap()).unwrap();
            campaign.run.breaker.forget_probe(now);
            let in_flight: Vec<_> = campaign
                .targets
                .values()
                .filter(|target| target.status == TargetStatus::InFlight)
                .map(|target| target.id)
                .collect();
            for id in in_flight {
                self.change(at, id, TargetStatus::Uncertain, Some(Reason::NoAnswer));
            }
            self.fill(at);
        }
    }

    fn orders(&mut self, dice: u32) {
        let at = dice as usize % self.campaigns.len();
        let steady = self.clock.now();
        let Campaign { task, run, .. } = &mut self.campaigns[at];
        let due =
            task.schedule.as_ref().map(|schedule| schedule.due(MAX_LATE_MS, UnixMillis(self.wall)));
        let order = match (dice / 3 % 4, due) {
            (0, _) => Order::Pause(PauseReason::Asked),
            (1, Some(Due::Now { late_ms })) => Order::Due { late_ms },
            (1, Some(Due::TooLate { .. })) => Order::TooLate,
            (2, _) => Order::Schedule,
            _ if task.status == TaskStatus::Draft => Order::Start,
            _ => Order::Resume,
        };
        let _ = super::run::order((task, run), order, UnixMillis(self.wall), steady);
        if task.status.may_be_edited() && dice.is_multiple_of(2) {
            let text = Some(format!("Hi, version {}", task.text_version + 1));
            let edited = TaskRequest { message_template: text, ..task.request() };
            let before = task.clone();
            task.edit(edited, (&self.caps, false)).unwrap();
            run.edited(&before, task);
        }
    }

    fn pass(&mut self, ms: i64) {
        self.real += ms;
        self.wall += ms;
        self.clock.advance(ms.unsigned_abs());
    }

    fn step(&mut self, kind: u8, dice: u32) {
        match kind {
            0..=6 => drop(self.act()),
            7..=11 => self.answer(dice),
            12..=13 => self.pass(i64::from(dice % 1_800) * 1_000),
            14 => self.pass(i64::from(dice % 30) * HOUR_MS),
            15 => self.wall += (i64::from(dice % 200) - 100) * HOUR_MS,
            16 => self.crash(dice),
            17..=18 => self.orders(dice),
            19 if dice.is_multiple_of(8) => {
                self.lose(AccountId(Uuid::from_u128(u128::from(dice / 8) % ACCOUNTS + 1)))
            }
            19 => drop(self.suppressed.insert(i64::from(dice % PEOPLE) + 1)),
            _ => {
                let at = AccountId(Uuid::from_u128(u128::from(dice) % ACCOUNTS + 1));
                let now = self.clock.now();
                self.accounts.get_mut(&at).unwrap().usage.note(Budget::Message, now);
            }
        }
    }

    /// Who was reached before anything else happens.
    fn reached(&self) -> BTreeMap<i64, usize> {
        self.books.reached.iter().map(|(who, steps)| (*who, steps.len())).collect()
    }

    fn check(&self) {
        for (who, steps) in &self.books.reached {
            assert!(steps.len() <= 1, "{who} was contacted by {steps:?}");
        }
        for account in self.accounts.keys() {
            for budget in BUDGETS {
                let within = |span| {
                    self.books
                        .done
                        .iter()
                        .filter(|(by, of, at)| {
                            (by, *of) == (account, budget) && *at > self.real - span
                        })
                        .count()
                };
                let cap = self.caps.of(budget);
                assert!(
                    within(HOUR_MS) <= cap.per_hour as usize
                        && within(DAY_MS) <= cap.per_day as usize,
                    "{budget:?}"
                );
            }
        }
        for campaign in &self.campaigns {
            assert_eq!(campaign.run.statistics, Statistics::of(campaign.targets.values()));
            assert_eq!(campaign.run.statistics.total(), u64::from(PEOPLE));
            for target in
                campaign.targets.values().filter(|target| target.status == TargetStatus::InFlight)
            {
                let is_called = self
                    .calls
                    .iter()
                    .any(|call| (call.task, call.target) == (campaign.task.id, target.id));
                assert!(is_called, "{target:?} is in flight and nobody calls");
            }
        }
    }

    /// Nothing more goes wrong, and people resume what is paused: everybody comes to an end.
    fn finish(&mut self) {
        self.crash(0);
        for _ in 0..2_000 {
            for at in 0..self.campaigns.len() {
                let steady = self.clock.now();
                let Campaign { task, run, .. } = &mut self.campaigns[at];
                let order = match task.status {
                    TaskStatus::Draft | TaskStatus::Scheduled => Order::Start,
                    _ => Order::Resume,
                };
                let _ = super::run::order((task, run), order, UnixMillis(self.wall), steady);
            }
            while self.act() {
                // 15: neither refused nor lost.
                self.answer(3 * 15);
            }
            self.check();
            if self.campaigns.iter().all(|campaign| campaign.waiting.is_empty()) {
                break;
            }
            self.pass(HOUR_MS);
        }
        let is_anybody_left = self.accounts.values().any(|account| !account.is_gone);
        for target in self.campaigns.iter().flat_map(|campaign| campaign.targets.values()) {
            let held_by_gone =
                target.held_by().is_some_and(|account| self.accounts[&account].is_gone);
            // An id that no account knows was put to nobody: the rest waits for an account.
            let is_stuck = !is_anybody_left && target.status == TargetStatus::Pending;
            assert!(target.status.is_final() || held_by_gone || is_stuck, "forgotten: {target:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_that_happens_breaks_a_promise(steps in prop::collection::vec((0..21_u8, any::<u32>()), 1..300)) {
        let mut world = World::new();
        for (kind, dice) in steps {
            let (before, refused) = (world.reached(), world.suppressed.clone());
            let on_their_way: BTreeSet<_> = world.calls.iter().map(|call| i64::from(call.target.0)).collect();
            world.step(kind, dice);
            world.check();
            for (who, count) in world.reached() {
                // Only what was on its way when they refused may still arrive.
                let is_new = before.get(&who) != Some(&count);
                prop_assert!(!is_new || !refused.contains(&who) || on_their_way.contains(&who));
            }
        }
        world.finish();
    }
}

/// The plain way, to see that the model gets anywhere: everybody is invited or written to once.
#[test]
fn without_trouble_everybody_is_reached_once() {
    let mut world = World::new();
    world.finish();
    assert_eq!(world.books.reached.len(), PEOPLE as usize);
    let reached: u64 =
        world.campaigns.iter().map(|campaign| campaign.run.statistics.progress().succeeded).sum();
    assert_eq!(reached, u64::from(PEOPLE), "the other tasks left them alone");
}
