//! Measurements, run by hand in release mode:
//! `cargo test --release --lib store::tests::bench -- --ignored --nocapture --test-threads 1`.
//! They print numbers and assert only what must hold at any speed.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

use super::sample_rows::{
    actor, attempt, block, campaign_clock, contacted, run, task, task_id, use_count, user,
};
use super::*;
use crate::protocol::campaigns::block::{BLOCK_TARGETS, PAGE_TARGETS, StatusPage, TargetBlock};
use crate::protocol::campaigns::caps::Budget;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::target::{Details, Intent, Step, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::TaskStatus;
use crate::protocol::users::owner::AccountId;

fn cpu() -> Duration {
    // SAFETY: the pointer is to a zeroed `rusage` of our own; `getrusage` only fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |at: libc::timeval| {
        Duration::from_secs(at.tv_sec as u64) + Duration::from_micros(at.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// What the daemon does at the start of `main`: otherwise glibc keeps what bursts leave.
fn tame_allocator() {
    // SAFETY: `mallopt` only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

fn say(text: std::fmt::Arguments<'_>) {
    writeln!(std::io::stderr(), "{text}").unwrap();
}

struct Load {
    producers: u64,
    chats: u64,
    events: u64,
    per_submission: u64,
    /// Events a second in all; 0 as fast as it goes.
    rate: u64,
}

async fn prepare(store: &Store, load: &Load) {
    let mut ops = Vec::new();
    for number in 0..load.chats {
        ops.push(Op::PutMonitor(monitor(number as i64)));
    }
    for number in 0..load.producers {
        ops.push(Op::PutAccount(account(number)));
    }
    store.commit(ops).await.unwrap();
}

/// One producer: events with the cursor of their chat and the account's update state.
async fn produce(store: Store, load: &Load, producer: u64, durable: &Arc<AtomicU64>) {
    let rounds = load.events / load.producers / load.per_submission;
    let mut tick = (load.rate > 0).then(|| {
        let per_second = load.rate as f64 / (load.producers * load.per_submission) as f64;
        let period = Duration::from_secs_f64(1.0 / per_second);
        let phase = period.mul_f64(producer as f64 / load.producers as f64);
        tokio::time::interval_at(Instant::now() + phase, period)
    });
    for round in 0..rounds {
        if let Some(tick) = &mut tick {
            tick.tick().await;
        }
        let mut ops = Vec::with_capacity(3 * load.per_submission as usize);
        for number in 0..load.per_submission {
            ops.push(Op::Append(event(number, 500)));
            let chat = (producer + (round + number) * load.producers) % load.chats;
            let cursor = cursor(round as i32);
            ops.push(Op::PutCursor { chat: super::chat(chat as i64).key(), cursor });
        }
        ops.push(Op::MoveUpdateState { account: AuthKeyId(producer), delta: moved(round as i32) });
        let durable = Arc::clone(durable);
        let count = load.per_submission;
        let done = move |outcome: Result<(), CommitError>| {
            outcome.unwrap();
            durable.fetch_add(count, Ordering::Relaxed);
        };
        store.submit(ops, done).await.unwrap();
    }
}

async fn consume(outbox: &mut Outbox, events: u64) {
    let mut seen = 0;
    while seen < events {
        let taken = outbox.next(256).await;
        seen += taken.len() as u64;
        outbox.acknowledge(taken.last().unwrap().0);
    }
}

async fn measure(load: Load) {
    tame_allocator();
    let dir = tempfile::tempdir_in("target").unwrap();
    let (store, mut outbox) = Store::open(StoreOptions::new(dir.path().join("state"))).unwrap();
    prepare(&store, &load).await;
    let load = Arc::new(load);
    let durable = Arc::new(AtomicU64::new(0));
    let (start, cpu_before) = (Instant::now(), cpu());
    let commits_before = store.stats().commits;
    for producer in 0..load.producers {
        let (store, load, durable) = (store.clone(), Arc::clone(&load), Arc::clone(&durable));
        tokio::spawn(async move { produce(store, &load, producer, &durable).await });
    }
    let events =
        load.events / load.producers / load.per_submission * load.per_submission * load.producers;
    consume(&mut outbox, events).await;
    let (took, used) = (start.elapsed(), cpu() - cpu_before);
    store.commit(vec![]).await.unwrap();
    assert_eq!(durable.load(Ordering::Relaxed), events);
    let stats = store.stats();
    say(format_args!(
        "producers {:5} chats {:5} per submission {:3}: {:7.0} events/s, {:5.1} us CPU/event ({:3.0} % of a core), \
         {:5.0} commits/s, latency p50 {:?} p99 {:?}, disk {} MiB, rss {} MiB",
        load.producers,
        load.chats,
        load.per_submission,
        events as f64 / took.as_secs_f64(),
        used.as_micros() as f64 / events as f64,
        100.0 * used.as_secs_f64() / took.as_secs_f64(),
        (stats.commits - commits_before) as f64 / took.as_secs_f64(),
        stats.latency_p50,
        stats.latency_p99,
        stats.disk_bytes >> 20,
        resident_mib(),
    ));
    drop(outbox);
    store.close().await.unwrap();
    assert_eq!(disk::stray_files(&dir.path().join("state")), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_flat_out() {
    for (producers, per_submission, events) in
        [(1, 1, 200_000), (16, 1, 400_000), (1000, 1, 400_000), (1000, 10, 400_000)]
    {
        measure(Load { producers, chats: 1000, events, per_submission, rate: 0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn cost_at_a_given_rate() {
    for rate in [100, 1000, 5000, 10_000] {
        measure(Load { producers: 100, chats: 1000, events: 8 * rate, per_submission: 1, rate })
            .await;
    }
    measure(Load {
        producers: 10_000,
        chats: 10_000,
        events: 80_000,
        per_submission: 1,
        rate: 10_000,
    })
    .await;
}

/// All that `load` brings, durably.
async fn produce_all(store: &Store, load: Load) {
    let (load, durable) = (Arc::new(load), Arc::new(AtomicU64::new(0)));
    let mut producing = Vec::new();
    for producer in 0..load.producers {
        let (store, load, durable) = (store.clone(), Arc::clone(&load), Arc::clone(&durable));
        let task = async move { produce(store, &load, producer, &durable).await };
        producing.push(tokio::spawn(task));
    }
    for task in producing {
        task.await.unwrap();
    }
    store.commit(vec![]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_backlog_of_a_million_events() {
    tame_allocator();
    let dir = tempfile::tempdir_in("target").unwrap();
    let options = StoreOptions::new(dir.path().join("state"));
    let (store, outbox) = Store::open(options.clone()).unwrap();
    let load = Load { producers: 100, chats: 1000, events: 1_000_000, per_submission: 1, rate: 0 };
    prepare(&store, &load).await;
    let start = Instant::now();
    produce_all(&store, load).await;
    say(format_args!("appended in {:?}, rss {} MiB", start.elapsed(), resident_mib()));
    drop(outbox);
    store.close().await.unwrap();
    let start = Instant::now();
    let (store, mut outbox) = Store::open(options.clone()).unwrap();
    let stats = store.stats();
    say(format_args!(
        "reopened in {:?}, depth {}, disk {} MiB, rss {} MiB",
        start.elapsed(),
        stats.outbox_depth,
        stats.disk_bytes >> 20,
        resident_mib()
    ));
    assert_eq!(stats.outbox_depth, 1_000_000);
    let mut seen = 0;
    while seen < 1_000_000 {
        seen += outbox.next(256).await.len();
    }
    say(format_args!("read once without releasing: rss {} MiB", resident_mib()));
    // SAFETY: as below.
    unsafe { libc::malloc_trim(0) };
    say(format_args!("of which live: {} MiB", resident_mib()));
    outbox.rewind(0);
    let (start, used) = (Instant::now(), cpu());
    consume(&mut outbox, 1_000_000).await;
    say(format_args!(
        "drained in {:?}, {:.1} us CPU/event, rss {} MiB",
        start.elapsed(),
        (cpu() - used).as_micros() as f64 / 1e6,
        resident_mib()
    ));
    let trimmed = async {
        while store.shared.engine.last(b"o", b"p").unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, trimmed).await.unwrap();
    say(format_args!("trimmed after {:?}, rss {} MiB", start.elapsed(), resident_mib()));
    // SAFETY: `malloc_trim` only gives free memory back.
    unsafe { libc::malloc_trim(0) };
    say(format_args!("of which live: {} MiB", resident_mib()));
    drop(outbox);
    store.close().await.unwrap();
    let (store, _outbox) = Store::open(options).unwrap();
    say(format_args!("after that: disk {} MiB", store.stats().disk_bytes >> 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn disk_and_memory_over_many_rounds() {
    tame_allocator();
    let dir = tempfile::tempdir_in("target").unwrap();
    let (store, mut outbox) = Store::open(StoreOptions::new(dir.path().join("state"))).unwrap();
    let load = Load { producers: 100, chats: 1000, events: 300_000, per_submission: 1, rate: 0 };
    prepare(&store, &load).await;
    let load = Arc::new(load);
    for round in 1..=10 {
        let durable = Arc::new(AtomicU64::new(0));
        for producer in 0..load.producers {
            let (store, load, durable) = (store.clone(), Arc::clone(&load), Arc::clone(&durable));
            tokio::spawn(async move { produce(store, &load, producer, &durable).await });
        }
        consume(&mut outbox, load.events).await;
        say(format_args!(
            "after {} events: disk {} MiB, rss {} MiB",
            round * load.events,
            store.stats().disk_bytes >> 20,
            resident_mib()
        ));
    }
    drop(outbox);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_rotation_over_ten_thousand_credentials() {
    const ACCOUNTS: u64 = 10_000;
    let dir = tempfile::tempdir_in("target").unwrap();
    let (store, _outbox) = Store::open(StoreOptions::new(dir.path().join("state"))).unwrap();
    for from in (0..ACCOUNTS).step_by(500) {
        let credentials = |id| Credentials {
            account: AuthKeyId(id),
            dc_id: 2,
            auth_key: AuthKey::new([id as u8; 256]),
        };
        let ops = (from..from + 500).map(|id| Op::PutCredentials(credentials(id)));
        store.commit(ops.collect()).await.unwrap();
    }
    let probe = |number| vec![Op::Append(event(number, 200))];
    for rotates in [false, true] {
        let rotation = rotates.then(|| {
            let store = store.clone();
            tokio::spawn(async move {
                let start = Instant::now();
                let rotated = store.rotate_key().await.unwrap();
                (start.elapsed(), rotated)
            })
        });
        let mut waits = Vec::new();
        let is_over = |waits: &Vec<Duration>| match &rotation {
            Some(rotation) => rotation.is_finished(),
            None => waits.len() == 200,
        };
        while !is_over(&waits) {
            let start = Instant::now();
            store.commit(probe(waits.len() as u64)).await.unwrap();
            waits.push(start.elapsed());
        }
        waits.sort();
        let (p50, max) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        say(format_args!("rotating: {rotates}; {} commits, p50 {p50:?}, max {max:?}", waits.len()));
        if let Some(rotation) = rotation {
            say(format_args!("rotated in {:?}", rotation.await.unwrap()));
        }
    }
}

/// A block as they are once everybody of it is resolved and was written to.
fn full_block(number: u32) -> TargetBlock {
    let target = |place| {
        let id = TargetId(BLOCK_TARGETS * number + place);
        let details = Details {
            first_name: Some("Konstantin".into()),
            last_name: Some("Konstantinov".into()),
            ..Details::default()
        };
        let named = Identifier::Username(format!("somebody_{}", id.0).into());
        let mut target = Target::new(id, named, Some(details));
        target.person = Some(7_000_000_000 + i64::from(id.0));
        let account = AccountId(Uuid::from_u128(1));
        let intent = Intent {
            account,
            step: Step::Send,
            random_id: i64::MIN + i64::from(id.0),
            at: UnixMillis(1_700_000_000_000),
            is_repeat: false,
            wall: None,
        };
        target.begin(intent, 1).unwrap();
        target
    };
    let targets = (0..BLOCK_TARGETS).map(target).collect();
    TargetBlock { targets, ..block("one", 21, number) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_task_of_a_million_targets() {
    const BLOCKS: u32 = 62_500;
    tame_allocator();
    let dir = tempfile::tempdir_in("target").unwrap();
    let options = StoreOptions::new(dir.path().join("state"));
    let (store, outbox) = Store::open(options.clone()).unwrap();
    store.commit(vec![Op::put_row(&task("one", 21))]).await.unwrap();
    let start = Instant::now();
    for from in (0..BLOCKS).step_by(125) {
        let mut ops: Vec<Op> =
            (from..from + 125).map(|number| Op::put_row(&full_block(number))).collect();
        // Two thousand targets: two pages of their statuses, near enough.
        ops.extend((0..2).map(|page_number| Op::put_row(&full_page(from / 64 + page_number))));
        store.commit(ops).await.unwrap();
    }
    say(format_args!(
        "{BLOCKS} blocks put in {:?}, disk {} MiB, rss {} MiB",
        start.elapsed(),
        store.stats().disk_bytes >> 20,
        resident_mib()
    ));
    let (one, id) = (user("one"), task_id(21));
    let (start, mut targets) = (Instant::now(), 0);
    for from in (0..BLOCKS).step_by(500) {
        let blocks = store.target_blocks(&one, id, from..from + 500).unwrap();
        targets += blocks.iter().map(|block| block.targets.len()).sum::<usize>();
    }
    say(format_args!(
        "{targets} targets read in {:?}, rss {} MiB",
        start.elapsed(),
        resident_mib()
    ));
    assert_eq!(targets, 1_000_000);
    let start = Instant::now();
    let pages = store.status_pages(&one, id, 0..u32::MAX).unwrap();
    let statuses: usize = pages.iter().map(|page| page.statuses(None).count()).sum();
    say(format_args!("{statuses} statuses read in {:?}", start.elapsed()));
    let start = Instant::now();
    assert_eq!(store.tasks_in(&[TaskStatus::Draft]).unwrap().len(), 1);
    say(format_args!("tasks that are open found in {:?}", start.elapsed()));
    store.close().await.unwrap();
    drop(outbox);
    let start = Instant::now();
    let (store, _outbox) = Store::open(options).unwrap();
    say(format_args!("reopened in {:?}, rss {} MiB", start.elapsed(), resident_mib()));
    let (start, used) = (Instant::now(), cpu());
    store.delete_task(&one, id, vec![]).await.unwrap();
    say(format_args!("deleted in {:?}, CPU {:?}", start.elapsed(), cpu() - used));
}

fn full_page(number: u32) -> StatusPage {
    let mut page = StatusPage::empty(user("one"), task_id(21), number);
    let first = number * PAGE_TARGETS;
    (first..first + PAGE_TARGETS).for_each(|id| page.set(TargetId(id), Some(TargetStatus::Sent)));
    page
}

/// What an action of a campaign commits: its intent, and later its outcome.
fn action(worker: u32, nth: u32, is_outcome: bool) -> Vec<Op> {
    let mut run = run("one", 21);
    run.attempts = u64::from(nth);
    let person = i64::from(worker);
    let mut ops = vec![
        Op::put_row(&full_block(worker)),
        Op::put_row(&full_page(worker / 64)),
        Op::put_row(&run),
        Op::put_shared(&campaign_clock(i64::from(nth))),
    ];
    if is_outcome {
        ops.push(Op::put_row(&attempt("one", 21, number_in(worker, nth))));
    } else {
        ops.push(Op::put_shared(&use_count(person, Budget::Message, (nth / 4) as i32)));
        ops.push(Op::put_shared(&actor(person)));
        let reached = i64::try_from(number_in(worker, nth)).unwrap();
        ops.push(Op::put_shared(&contacted(reached, "one", 9)));
    }
    ops
}

fn number_in(worker: u32, nth: u32) -> u64 {
    u64::from(worker) << 32 | u64::from(nth)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn intents_and_outcomes_of_campaigns() {
    const EACH: u32 = 200;
    tame_allocator();
    for workers in [1, 10, 100] {
        let dir = tempfile::tempdir_in("target").unwrap();
        let (store, _outbox) = Store::open(StoreOptions::new(dir.path().join("state"))).unwrap();
        store.commit(vec![Op::put_row(&task("one", 21))]).await.unwrap();
        let (start, used, before) = (Instant::now(), cpu(), store.stats().commits);
        let working = (0..workers).map(|worker| {
            let store = store.clone();
            tokio::spawn(async move {
                for nth in 0..EACH {
                    store.commit(action(worker, nth, false)).await.unwrap();
                    store.commit(action(worker, nth, true)).await.unwrap();
                }
            })
        });
        for done in futures_util::future::join_all(working).await {
            done.unwrap();
        }
        let (took, actions) = (start.elapsed(), f64::from(workers * EACH));
        say(format_args!(
            "{workers} at once: {:.0} actions/s (an intent and an outcome each), {:.0} groups/s, {:.0} us CPU an \
             action, disk {} MiB",
            actions / took.as_secs_f64(),
            (store.stats().commits - before) as f64 / took.as_secs_f64(),
            (cpu() - used).as_secs_f64() * 1e6 / actions,
            store.stats().disk_bytes >> 20
        ));
    }
}
