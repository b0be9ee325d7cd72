//! What the store promised, as plain collections: a script of random submissions, a model that
//! applies them, and the check of a store that was cut off somewhere. Crashes in memory are run here,
//! with any part of the unsynced writes surviving; [`super::crash`] kills a process on sled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::sample_rows::{block, campaign_clock, run, task, task_id, use_count, user};
use super::*;
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::caps::{Budget, UseCount};
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::task::Task;

const CHATS: i64 = 4;
const ACCOUNTS: u64 = 3;
const TASKS: u128 = 3;
/// Steps of one round never reach this, so numbers are unique over rounds.
const ROUND: u64 = 1_000_000;

/// The submission number `index` of a round.
pub(super) fn script(seed: u64, round: u64, index: u64) -> Vec<Op> {
    let mut rng = StdRng::seed_from_u64(seed ^ (round * ROUND + index).wrapping_mul(0x9e37_79b9));
    let position = i32::try_from(round * ROUND + index).unwrap();
    let on = rng.random_range(0..CHATS);
    let chat_key = chat(on).key();
    let put_cursor = Op::PutCursor { chat: chat_key.clone(), cursor: cursor(position) };
    let id = rng.random_range(1..=ACCOUNTS);
    let account_id = AuthKeyId(id);
    let state = UpdateState { pts: position, ..UpdateState::default() };
    match rng.random_range(0..100) {
        0..60 => events(&mut rng, round * ROUND + index, account_id),
        60..72 => campaigns(&mut rng, position),
        72..77 => vec![Op::PutMonitor(monitor(on))],
        77..81 => vec![Op::DeleteMonitor(chat_key)],
        81..85 => vec![Op::PutMonitor(monitor(on)), put_cursor],
        85..89 => vec![put_cursor],
        89..92 => vec![Op::PutAccount(account(id))],
        92..94 => vec![Op::DeleteAccount(account_id)],
        94..97 => vec![Op::SetUpdateState { account: account_id, state }],
        _ => {
            let mut ops =
                vec![Op::DeleteMonitor(chat_key), Op::PutMonitor(monitor(on)), put_cursor];
            ops.extend(events(&mut rng, round * ROUND + index, account_id));
            ops
        }
    }
}

fn events(rng: &mut StdRng, position: u64, account: AuthKeyId) -> Vec<Op> {
    let mut ops = Vec::new();
    for nth in 0..rng.random_range(1..5) {
        let bytes = if rng.random_ratio(1, 40) { 20_000 } else { rng.random_range(8..900) };
        ops.push(Op::Append(event(position * 8 + nth, bytes)));
        let chat = chat(rng.random_range(0..CHATS)).key();
        ops.push(Op::PutCursor { chat, cursor: cursor(i32::try_from(position).unwrap()) });
    }
    if rng.random_ratio(4, 5) {
        let delta = moved(i32::try_from(position).unwrap());
        ops.push(Op::MoveUpdateState { account, delta });
    }
    ops
}

/// What campaigns write: a task is made or goes, or an action of one is noted.
fn campaigns(rng: &mut StdRng, position: i32) -> Vec<Op> {
    let number = rng.random_range(1..=TASKS);
    let clock = Op::put_shared(&campaign_clock(i64::from(position)));
    let mut run = run("one", number);
    run.attempts = position.unsigned_abs().into();
    let mut task = task("one", number);
    task.revision = run.attempts;
    match rng.random_range(0..10) {
        0..2 => vec![Op::put_row(&task), Op::put_row(&run)],
        2 => vec![Op::update_row(&task)],
        3 => vec![Op::DeleteTask { owner: user("one"), task: task_id(number) }],
        _ => {
            let mut block = block("one", number, 0);
            block.targets[0].text_version = Some(position.unsigned_abs());
            let person = i64::try_from(number).unwrap();
            let used = position.unsigned_abs();
            let count = UseCount { used, ..use_count(person, Budget::Invite, 1) };
            vec![Op::put_row(&block), Op::put_row(&run), Op::put_shared(&count), clock]
        }
    }
}

/// A task as the script writes it: where each part of it comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TaskView {
    task: u64,
    run: Option<u64>,
    block: Option<u32>,
}

/// What campaigns keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Campaigns {
    tasks: BTreeMap<u128, TaskView>,
    used: BTreeMap<i64, u32>,
    clock: i64,
}

impl Campaigns {
    fn put_row(&mut self, row: &RowWrite) {
        let json = &row.json;
        match row.table {
            Table::Task => {
                let task: Task = serde_json::from_slice(json).unwrap();
                let is_update = row.parent.is_some();
                let id = task.id.0.as_u128();
                if !is_update || self.tasks.contains_key(&id) {
                    self.tasks.entry(id).or_default().task = task.revision;
                }
            }
            Table::TaskRun => {
                let run: TaskRun = serde_json::from_slice(json).unwrap();
                if let Some(known) = self.tasks.get_mut(&run.task.0.as_u128()) {
                    known.run = Some(run.attempts);
                }
            }
            Table::TargetBlock => {
                let block: TargetBlock = serde_json::from_slice(json).unwrap();
                if let Some(known) = self.tasks.get_mut(&block.task.0.as_u128()) {
                    known.block = block.targets[0].text_version;
                }
            }
            other => panic!("the script has no {other:?}"),
        }
    }

    fn put_shared(&mut self, row: &SharedWrite) {
        match row.table {
            SharedTable::UseCount => {
                let count: UseCount = serde_json::from_slice(&row.json).unwrap();
                let used = self.used.entry(count.telegram_id).or_default();
                *used = count.used.max(*used);
            }
            SharedTable::CampaignClock => {
                let new: CampaignClock = serde_json::from_slice(&row.json).unwrap();
                self.clock = self.clock.max(new.clock.now().0);
            }
            other => panic!("the script has no {other:?}"),
        }
    }

    fn of(store: &Store) -> Self {
        let mut seen = Self::default();
        for task in store.rows::<Task>(&user("one"), None, None, usize::MAX).unwrap() {
            let (owner, id) = (&task.user, task.id);
            let run = store.row::<TaskRun>(owner, id).unwrap();
            let block = store.target_blocks(owner, id, 0..9).unwrap();
            let view = TaskView {
                task: task.revision,
                run: run.map(|run| run.attempts),
                block: block.first().and_then(|block| block.targets[0].text_version),
            };
            seen.tasks.insert(id.0.as_u128(), view);
        }
        let marked = store.task_statuses(&user("one")).unwrap();
        assert_eq!(marked.len(), seen.tasks.len(), "each task has its mark, and nothing else has");
        let counts = store.shared_rows::<UseCount>(None, None, usize::MAX).unwrap();
        seen.used = counts.into_iter().map(|count| (count.telegram_id, count.used)).collect();
        let clock = store.shared_row::<CampaignClock>(RowId::ONLY).unwrap();
        seen.clock = clock.map_or(0, |row| row.clock.now().0);
        seen
    }
}

/// Where an account's update state may be: moves may be lost, but only those after the last
/// replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    least: Option<i32>,
    most: Option<i32>,
}

/// Everything the store should hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    monitors: BTreeMap<ChatKey, Option<Cursor>>,
    accounts: BTreeSet<u64>,
    states: BTreeMap<u64, Span>,
    campaigns: Campaigns,
    /// The numbers of all events ever appended, in order.
    events: Vec<u64>,
}

impl Model {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Append(entry) => self.events.push(number_of(&entry)),
            Op::PutMonitor(record) => {
                self.monitors.entry(record.chat.key()).or_default();
            }
            Op::DeleteMonitor(chat) => {
                self.monitors.remove(&chat);
            }
            Op::PutCursor { chat, cursor } => {
                if let Some(monitor) = self.monitors.get_mut(&chat) {
                    *monitor = Some(cursor);
                }
            }
            Op::PutAccount(record) => {
                if self.accounts.insert(record.id.0) {
                    self.states.remove(&record.id.0);
                }
            }
            Op::DeleteAccount(id) => {
                self.accounts.remove(&id.0);
                self.states.remove(&id.0);
            }
            Op::SetUpdateState { account, state } if self.accounts.contains(&account.0) => {
                let at = Some(state.pts);
                self.states.insert(account.0, Span { least: at, most: at });
            }
            Op::MoveUpdateState { account, delta } if self.accounts.contains(&account.0) => {
                self.states.entry(account.0).or_default().most = delta.common.map(|to| to.0);
            }
            Op::SetUpdateState { .. } | Op::MoveUpdateState { .. } => {}
            Op::PutRow(row) => self.campaigns.put_row(&row),
            Op::PutShared(row) => self.campaigns.put_shared(&row),
            Op::DeleteTask { task, .. } => drop(self.campaigns.tasks.remove(&task.0.as_u128())),
            other => panic!("the script has no {other:?}"),
        }
    }

    /// Whether a store that looks like this can be in this state.
    fn fits(&self, seen: &View) -> bool {
        let states_fit = (1..=ACCOUNTS).all(|id| {
            let pts = seen.states.get(&id).copied();
            let span = self.states.get(&id).copied().unwrap_or_default();
            span.least <= pts && pts <= span.most
        });
        states_fit
            && seen.end == self.events.len() as u64 + 1
            && seen.accounts == self.accounts
            && seen.monitors == self.monitors
            && seen.campaigns == self.campaigns
    }

    /// Goes on from what is on disk: what was lost of the update states is lost.
    fn settle(&mut self, seen: &View) {
        for id in 1..=ACCOUNTS {
            let pts = seen.states.get(&id).copied();
            self.states.insert(id, Span { least: pts, most: pts });
        }
    }
}

/// What a store holds.
struct View {
    monitors: BTreeMap<ChatKey, Option<Cursor>>,
    accounts: BTreeSet<u64>,
    states: BTreeMap<u64, i32>,
    campaigns: Campaigns,
    /// The sequence number of the next event.
    end: u64,
}

impl View {
    fn of(store: &Store) -> Self {
        let snapshot = store.load().unwrap();
        let monitors = snapshot.monitors.into_iter();
        let pts = |id| store.update_state(AuthKeyId(id)).unwrap().map(|state| (id, state.pts));
        Self {
            monitors: monitors.map(|(record, cursor)| (record.chat.key(), cursor)).collect(),
            accounts: snapshot.accounts.iter().map(|account| account.id.0).collect(),
            states: (1..=ACCOUNTS).filter_map(pts).collect(),
            campaigns: Campaigns::of(store),
            end: store.shared.recent.end(),
        }
    }
}

/// What one round of life showed before it was cut off.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness {
    /// Submissions that were confirmed.
    pub(super) acked: u64,
    /// Submissions that were handed in; the store may hold any number from `acked` to this.
    pub(super) submitted: u64,
    /// Entries that the reader got: sequence number and event.
    pub(super) seen: Vec<(u64, u64)>,
    /// The highest sequence number that was acknowledged.
    pub(super) acknowledged: u64,
}

/// The judge over many rounds.
#[derive(Default)]
pub(super) struct Judge {
    model: Model,
    /// Every entry ever seen, by sequence number.
    seen: HashMap<u64, u64>,
    acknowledged: u64,
}

impl Judge {
    fn note(&mut self, seq: u64, number: u64) {
        let known = self.seen.insert(seq, number);
        assert!(known.is_none_or(|known| known == number), "sequence number {seq} used twice");
    }

    /// Checks a store that was opened again after `round` was cut off.
    pub(super) async fn check(
        &mut self,
        seed: u64,
        round: u64,
        witness: &Witness,
        store: &Store,
        outbox: &mut Outbox,
    ) {
        for (seq, number) in &witness.seen {
            self.note(*seq, *number);
        }
        self.acknowledged = self.acknowledged.max(witness.acknowledged);
        let left = self.read_left(store, outbox).await;
        let seen = View::of(store);
        let mut model = self.model.clone();
        let mut fitting = None;
        for index in 0..=witness.submitted {
            if index >= witness.acked && model.fits(&seen) {
                fitting = Some(model.clone());
            }
            script(seed, round, index).into_iter().for_each(|op| model.apply(op));
        }
        self.model = fitting.unwrap_or_else(|| {
            panic!("seed {seed} round {round}: no prefix of the script fits; {witness:?}")
        });
        let from = self.model.events.len() - left.len();
        let numbers: Vec<u64> = left.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers, self.model.events[from..], "seed {seed} round {round}: outbox");
        for (at, number) in self.model.events[..from].iter().enumerate() {
            let seq = at as u64 + 1;
            assert!(seq <= self.acknowledged, "seed {seed}: event {number} is lost unreleased");
        }
        self.model.settle(&seen);
    }

    /// Everything in the outbox.
    async fn read_left(&mut self, store: &Store, outbox: &mut Outbox) -> Vec<(u64, u64)> {
        let depth = usize::try_from(store.stats().outbox_depth).unwrap();
        let mut left: Vec<(u64, u64)> = Vec::new();
        while left.len() < depth {
            let next = tokio::time::timeout(PATIENCE, outbox.next(depth - left.len())).await;
            left.extend(next.unwrap().iter().map(|(seq, entry)| (*seq, number_of(entry))));
        }
        for (seq, number) in &left {
            self.note(*seq, *number);
        }
        assert!(left.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "a gap in the outbox");
        outbox.rewind(0);
        left
    }
}

fn open(disk: &MemoryDisk) -> (Store, Outbox) {
    let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
    Store::start(Arc::new(disk.clone()), key, hurried()).unwrap()
}

/// One round: submits until the disk fails, reading and releasing now and then.
async fn live(
    seed: u64,
    round: u64,
    rng: &mut StdRng,
    disk: &MemoryDisk,
    store: &Store,
    outbox: &mut Outbox,
) -> Witness {
    let mut witness = Witness::default();
    let acked = Arc::new(AtomicU64::new(0));
    disk.fail_after(rng.random_range(0..40));
    loop {
        let ops = script(seed, round, witness.submitted);
        let acked_by = Arc::clone(&acked);
        let done = move |outcome: Result<(), CommitError>| {
            acked_by.fetch_add(u64::from(outcome.is_ok()), Ordering::SeqCst);
        };
        if store.submit(ops, done).await.is_err() {
            break;
        }
        witness.submitted += 1;
        if rng.random_ratio(1, 8) && store.commit(vec![]).await.is_err() {
            break;
        }
        let max = if rng.random_ratio(1, 2) { 5 } else { 5000 };
        let patience = Duration::from_micros(100);
        if rng.random_ratio(1, 4)
            && let Ok(taken) = tokio::time::timeout(patience, outbox.next(max)).await
        {
            witness.seen.extend(taken.iter().map(|(seq, entry)| (*seq, number_of(entry))));
            if rng.random_ratio(2, 3) {
                witness.acknowledged = taken.last().unwrap().0;
                outbox.acknowledge(witness.acknowledged);
            }
        }
    }
    store.failed().await;
    witness.acked = acked.load(Ordering::SeqCst);
    witness
}

/// A few seconds' worth of cases in a debug build; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    asked.unwrap_or(12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_crash_at_any_write_keeps_every_promise(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut rng = StdRng::seed_from_u64(seed);
            let disk = MemoryDisk::default();
            let mut judge = Judge::default();
            let (mut store, mut outbox) = open(&disk);
            for round in 0..6 {
                let witness = live(seed, round, &mut rng, &disk, &store, &mut outbox).await;
                assert!(store.clone().close().await.is_err(), "the disk has failed");
                drop((store, outbox));
                disk.crash(rng.random_range(0..4));
                (store, outbox) = open(&disk);
                judge.check(seed, round, &witness, &store, &mut outbox).await;
            }
        });
    }
}
