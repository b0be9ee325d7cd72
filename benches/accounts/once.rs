//! Messages with idempotency keys at a rate, from clients that repeat themselves, give up and try
//! again: what the simulator holds afterwards is compared with what was asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::http;
use crate::machine;
use crate::sends::{Mix, Order, quantile};
use crate::stage::{ApiSender, Stage};

const TICK: Duration = Duration::from_millis(1);
/// Share of the messages whose client does not just wait for its answer.
const RESTLESS: f64 = 0.2;
/// Pause before a message is tried again that was refused or given up.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long a client goes on trying.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of it. Times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Once {
    pub(crate) wanted: u64,
    pub(crate) per_second: f64,
    pub(crate) seconds: f64,
    /// Requests beyond the first of each message.
    pub(crate) repeated: u64,
    /// Of these, answered with what an earlier one had done.
    pub(crate) replayed: u64,
    /// Never answered with success.
    pub(crate) failed: u64,
    /// Wanted, and not in the simulator's books.
    pub(crate) lost: u64,
    /// More than once in the simulator's books.
    pub(crate) doubled: u64,
    /// Answers that named another message than the first one for the same key.
    pub(crate) contradicted: u64,
    /// Requests that just waited.
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Of the daemon: CPU microseconds a message, and KiB resident before and after.
    pub(crate) cpu: f64,
    pub(crate) before_kib: u64,
    pub(crate) after_kib: u64,
    pub(crate) failures: Vec<String>,
}

/// What a client does while it sends.
#[derive(Clone, Copy)]
enum Manner {
    /// Waits.
    Calm,
    /// Asks twice at once.
    Twice,
    /// Hangs up after this long, and tries again.
    GivesUp(Duration),
    /// Asks again once it has its answer.
    Again,
}

impl Manner {
    fn draw(random: &mut StdRng) -> Self {
        if !random.random_bool(RESTLESS) {
            return Self::Calm;
        }
        match random.random_range(0..3) {
            0 => Self::Twice,
            1 => Self::GivesUp(Duration::from_micros(random.random_range(0..15_000))),
            _ => Self::Again,
        }
    }
}

#[derive(Default)]
struct Record {
    took: Vec<Duration>,
    repeated: u64,
    replayed: u64,
    failed: u64,
    contradicted: u64,
    failures: Vec<String>,
}

/// Sends `rate` messages a second for so many seconds and compares.
pub(crate) fn run(stage: &Stage, rate: f64, seconds: f64, seed: u64, first: u64) -> Result<Once> {
    let wanted = (rate * seconds).round() as u64;
    let (before_kib, cpu) = (memory(stage)?, machine::cpu_of(stage.daemon.pid())?);
    let began = Instant::now();
    let sending = send_all(Arc::clone(&stage.api), rate, wanted, seed, first);
    let mut record = stage.runtime.block_on(stage.runtime.spawn(sending))??;
    let took = began.elapsed().as_secs_f64();
    let spent = machine::cpu_of(stage.daemon.pid())? - cpu;
    let counts = books(stage)?;
    let times = |number: u64| counts.get(&number).copied().unwrap_or(0);
    let numbers = first..first + wanted;
    record.took.sort_unstable();
    Ok(Once {
        wanted,
        per_second: wanted as f64 / took,
        seconds: took,
        repeated: record.repeated,
        replayed: record.replayed,
        failed: record.failed,
        lost: numbers.clone().filter(|number| times(*number) == 0).count() as u64,
        doubled: numbers.filter(|number| times(*number) > 1).count() as u64,
        contradicted: record.contradicted,
        median: quantile(&record.took, 0.5),
        p99: quantile(&record.took, 0.99),
        max: quantile(&record.took, 1.0),
        cpu: spent.as_secs_f64() * 1e6 / wanted as f64,
        before_kib,
        after_kib: memory(stage)?,
        failures: record.failures,
    })
}

fn memory(stage: &Stage) -> Result<u64> {
    Ok(machine::memory_of(stage.daemon.pid())?.rss)
}

async fn send_all(
    api: Arc<ApiSender>,
    rate: f64,
    wanted: u64,
    seed: u64,
    first: u64,
) -> Result<Record> {
    let mut mix = Mix::new(seed, api.accounts.len(), first);
    let mut random = StdRng::seed_from_u64(seed.wrapping_add(1));
    let record = Arc::<Mutex<Record>>::default();
    let (began, mut begun, mut under_way) = (Instant::now(), 0, JoinSet::new());
    let mut ticks = tokio::time::interval(TICK);
    while begun < wanted {
        ticks.tick().await;
        while under_way.try_join_next().is_some() {}
        let due = ((began.elapsed().as_secs_f64() * rate) as u64).min(wanted);
        for _ in begun..due {
            let (order, manner) = (mix.order(), Manner::draw(&mut random));
            let (api, record) = (Arc::clone(&api), Arc::clone(&record));
            under_way.spawn(async move { send(&api, order, manner, &record).await });
        }
        begun = due;
    }
    while under_way.join_next().await.is_some() {}
    let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *record))
}

fn note(record: &Mutex<Record>, with: impl FnOnce(&mut Record)) {
    with(&mut record.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn send(api: &ApiSender, order: Order, manner: Manner, record: &Mutex<Record>) {
    // Answers to what was sent before could not be repeated word by word.
    let order = Order { is_reply: false, is_keyed: true, ..order };
    let mut ids = Vec::new();
    match manner {
        Manner::Calm => {}
        Manner::Twice => {
            note(record, |record| record.repeated += 1);
            let (one, other) = tokio::join!(
                until_sent(api, order, record, false),
                until_sent(api, order, record, false)
            );
            ids.extend([one, other].into_iter().flatten());
        }
        Manner::GivesUp(after) => {
            note(record, |record| record.repeated += 1);
            let key = order.number.to_string();
            let _ = timeout(after, api.ask(order, Some(&key))).await;
        }
        Manner::Again => {
            note(record, |record| record.repeated += 1);
            ids.extend(until_sent(api, order, record, false).await);
        }
    }
    if !matches!(manner, Manner::Twice) {
        let is_calm = matches!(manner, Manner::Calm);
        ids.extend(until_sent(api, order, record, is_calm).await);
    }
    let differ = ids.windows(2).any(|pair| pair[0] != pair[1]);
    note(record, |record| {
        record.failed += u64::from(ids.is_empty());
        record.contradicted += u64::from(differ);
    });
}

/// Tries until it is answered with success; the message's id.
async fn until_sent(
    api: &ApiSender,
    order: Order,
    record: &Mutex<Record>,
    is_timed: bool,
) -> Option<i64> {
    const SHOWN: usize = 3;
    let (deadline, key) = (Instant::now() + PATIENCE, order.number.to_string());
    loop {
        let failure = match attempt(api, order, &key).await {
            Ok((id, is_replayed, took)) => {
                note(record, |record| {
                    record.replayed += u64::from(is_replayed);
                    if is_timed {
                        record.took.push(took);
                    }
                });
                return Some(id);
            }
            Err(error) => format!("{error:#}"),
        };
        note(record, |record| {
            record.repeated += 1;
            if record.failures.len() < SHOWN {
                record.failures.push(failure);
            }
        });
        if Instant::now() > deadline {
            return None;
        }
        sleep(AGAIN_AFTER).await;
    }
}

async fn attempt(api: &ApiSender, order: Order, key: &str) -> Result<(i64, bool, Duration)> {
    let answer = api.ask(order, Some(key)).await?;
    let id = answer.success()?["message_id"].as_i64().context("no message id")?;
    Ok((id, answer.is_replayed, answer.took))
}

/// How often the simulator holds the message of each number.
fn books(stage: &Stage) -> Result<HashMap<u64, u32>> {
    let control = stage.simulator.control();
    let mut counts: HashMap<u64, u32> = HashMap::new();
    let chats = stage.api.accounts.iter();
    let chats = chats.map(|account| format!("/chats/{}/messages", account.chat_id));
    let inboxes = stage.people.iter().map(|id| format!("/accounts/{id}/inbox"));
    for path in chats.chain(inboxes) {
        let messages = http::get(control, &path)?;
        let messages = messages.as_array().with_context(|| format!("{path}: {messages}"))?;
        for message in messages {
            let text = message["text"].as_str().unwrap_or_default();
            let number = text.split(' ').next().and_then(|number| number.parse().ok());
            // The bare library's numbers are others'.
            if let Some(number) = number {
                *counts.entry(number).or_default() += 1;
            }
        }
    }
    ensure!(!counts.is_empty(), "the simulator holds no messages");
    Ok(counts)
}
