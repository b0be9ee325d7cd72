//! Messages to send, drawn from a seed, and the clocks that drive them: at a rate, or by so many
//! clients that each wait for their answer. The same for the daemon and for the bare library, so
//! that nothing but what is measured differs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// Length of a text, bytes.
const TEXT_BYTES: usize = 120;
/// How often the pacer looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// Sends under way at once; what is due beyond is not offered, and counted.
const UNDER_WAY_MAX: usize = 480;

/// A message to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// Its text begins with it; no two of a run have the same.
    pub(crate) number: u64,
    pub(crate) account: usize,
    /// To the account's supergroup; else to its person.
    pub(crate) to_chat: bool,
    /// With an idempotency key.
    pub(crate) is_keyed: bool,
    /// With markup.
    pub(crate) is_marked: bool,
    /// As an answer to what the account sent there before, if anything.
    pub(crate) is_reply: bool,
}

impl Order {
    /// The text as it arrives.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} ", self.number);
        while text.len() < TEXT_BYTES {
            text.push_str("words ");
        }
        text
    }

    /// The same as it is written in Markdown, the first word bold.
    pub(crate) fn markdown(&self) -> String {
        let text = self.text();
        let (number, rest) = text.split_once(' ').unwrap_or((&text, ""));
        format!("**{number}** {rest}")
    }
}

/// Draws orders: half to supergroups, half with a key, a third with markup, a quarter as answers.
pub(crate) struct Mix {
    random: StdRng,
    accounts: usize,
    next: u64,
}

impl Mix {
    pub(crate) fn new(seed: u64, accounts: usize, first: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed ^ first), accounts, next: first }
    }

    pub(crate) fn order(&mut self) -> Order {
        let number = self.next;
        self.next += 1;
        let random = &mut self.random;
        Order {
            number,
            account: random.random_range(0..self.accounts),
            to_chat: random.random_bool(0.5),
            is_keyed: random.random_bool(0.5),
            is_marked: random.random_bool(1.0 / 3.0),
            is_reply: random.random_bool(0.25),
        }
    }
}

/// Whoever sends.
pub(crate) trait Sender: Send + Sync + 'static {
    /// Sends one; how long that took.
    fn send(&self, order: Order) -> impl Future<Output = Result<Duration>> + Send;
}

/// When the next one is sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// So many a second, whatever becomes of those before.
    Rate(f64),
    /// So many clients, each as soon as it has its answer.
    Clients(usize),
}

/// What is to be driven.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Drive {
    pub(crate) pace: Pace,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    /// The number of the first message.
    pub(crate) first: u64,
}

/// What came of it. Times in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Driven {
    pub(crate) sent: usize,
    pub(crate) failed: usize,
    /// Due, but too many were under way.
    pub(crate) not_offered: usize,
    pub(crate) seconds: f64,
    pub(crate) mean: f64,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// How much later than due requests left: the 99th percentile.
    pub(crate) late_p99: f64,
    /// The first few failures.
    pub(crate) failures: Vec<String>,
}

impl Driven {
    pub(crate) fn per_second(&self) -> f64 {
        self.sent as f64 / self.seconds
    }
}

#[derive(Default)]
struct Record {
    took: Vec<Duration>,
    late: Vec<Duration>,
    failed: usize,
    failures: Vec<String>,
}

impl Record {
    fn note(&mut self, outcome: Result<Duration>) {
        const SHOWN: usize = 3;
        match outcome {
            Ok(took) => self.took.push(took),
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < SHOWN {
                    self.failures.push(format!("{error:#}"));
                }
            }
        }
    }
}

/// The value at `share` of a sorted list, milliseconds; 0 when there is none.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e3)
}

/// Drives sends.
pub(crate) async fn drive<S: Sender>(sender: &Arc<S>, drive: Drive, accounts: usize) -> Driven {
    let mix = Mix::new(drive.seed, accounts, drive.first);
    let record = Arc::<Mutex<Record>>::default();
    let began = Instant::now();
    let length = Duration::from_secs_f64(drive.seconds);
    let not_offered = match drive.pace {
        Pace::Rate(rate) => at_rate(sender, mix, rate, length, &record).await,
        Pace::Clients(count) => by_clients(sender, mix, count, length, &record).await,
    };
    let seconds = began.elapsed().as_secs_f64();
    let mut record = std::mem::take(&mut *record.lock().unwrap_or_else(PoisonError::into_inner));
    record.took.sort_unstable();
    record.late.sort_unstable();
    let sum: Duration = record.took.iter().sum();
    Driven {
        sent: record.took.len(),
        failed: record.failed,
        not_offered,
        seconds,
        mean: sum.as_secs_f64() * 1e3 / record.took.len().max(1) as f64,
        median: quantile(&record.took, 0.5),
        p99: quantile(&record.took, 0.99),
        max: quantile(&record.took, 1.0),
        late_p99: quantile(&record.late, 0.99),
        failures: record.failures,
    }
}

fn lock(record: &Mutex<Record>) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn at_rate<S: Sender>(
    sender: &Arc<S>,
    mut mix: Mix,
    rate: f64,
    length: Duration,
    record: &Arc<Mutex<Record>>,
) -> usize {
    let (began, total) = (Instant::now(), (rate * length.as_secs_f64()).round() as u64);
    let (mut begun, mut not_offered) = (0, 0);
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    while begun < total {
        ticks.tick().await;
        while under_way.try_join_next().is_some() {}
        let due = ((began.elapsed().as_secs_f64() * rate) as u64).min(total);
        while begun < due {
            let at = began + Duration::from_secs_f64(begun as f64 / rate);
            begun += 1;
            let order = mix.order();
            if under_way.len() >= UNDER_WAY_MAX {
                not_offered += 1;
                continue;
            }
            let (sender, record) = (Arc::clone(sender), Arc::clone(record));
            under_way.spawn(async move {
                lock(&record).late.push(at.elapsed());
                let outcome = sender.send(order).await;
                lock(&record).note(outcome);
            });
        }
    }
    while under_way.join_next().await.is_some() {}
    not_offered
}

async fn by_clients<S: Sender>(
    sender: &Arc<S>,
    mix: Mix,
    count: usize,
    length: Duration,
    record: &Arc<Mutex<Record>>,
) -> usize {
    let (end, mix) = (Instant::now() + length, Arc::new(Mutex::new(mix)));
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let (sender, record, mix) = (Arc::clone(sender), Arc::clone(record), Arc::clone(&mix));
        clients.spawn(async move {
            while Instant::now() < end {
                let order = mix.lock().unwrap_or_else(PoisonError::into_inner).order();
                let outcome = sender.send(order).await;
                lock(&record).note(outcome);
            }
        });
    }
    while clients.join_next().await.is_some() {}
    0
}
