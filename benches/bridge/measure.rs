//! One run: one subject, one population, all phases in one process of the subject. Measures and
//! judges nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::broker::{Broker, Listener};
use crate::machine::{self, Memory};
use crate::processes::{Kind, Member, Places, Simulator, Subject, wait_for};

/// Length of each text, bytes.
pub(crate) const TEXT_BYTES: usize = 300;
/// More than any subject takes on two cores: the rest waits in sockets and queues.
const FLOOD_PER_SECOND: f64 = 20_000.0;
/// Updates each session gets in a burst before its memory is looked at again.
pub(crate) const BURST_EACH: f64 = 40.0;
/// A flood that has not got on for so long has lost what is missing.
const STUCK_AFTER: Duration = Duration::from_secs(20);
/// Until memory is what it stays.
const SETTLE: Duration = Duration::from_secs(3);
/// Before latencies count.
const WARM_UP_SECONDS: f64 = 2.0;

/// What a run is to do.
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) accounts: usize,
    /// How long the flood is offered.
    pub(crate) flood_seconds: f64,
    /// How long latencies are taken, at each rate.
    pub(crate) latency_seconds: f64,
    /// Rates at which they are taken; half of what the flood showed, if none is given.
    pub(crate) half_rate: Option<f64>,
}

/// What a run showed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) kind: Kind,
    pub(crate) accounts: usize,
    pub(crate) load_average: String,
    pub(crate) memory: MemoryCourse,
    pub(crate) flood: Flood,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) body_bytes: u64,
}

/// Memory of the subject at four moments.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct MemoryCourse {
    pub(crate) empty: Memory,
    pub(crate) idle: Memory,
    pub(crate) after_burst: Memory,
    pub(crate) after_reconnects: Memory,
    pub(crate) at_end: Memory,
}

/// A flood, from its first message to its last confirm.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Flood {
    pub(crate) events: u64,
    pub(crate) lost: u64,
    pub(crate) seconds: f64,
    /// CPU microseconds an event.
    pub(crate) subject: f64,
    pub(crate) broker: f64,
    pub(crate) simulator: f64,
    /// Share of the machine's cores that others used meanwhile.
    pub(crate) others: f64,
}

impl Flood {
    pub(crate) fn per_second(&self) -> f64 {
        (self.events - self.lost) as f64 / self.seconds
    }
}

/// From the simulator's stamp to a consumer, at one rate. Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) per_second: f64,
    pub(crate) count: usize,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// CPU microseconds an event, of the subject.
    pub(crate) subject: f64,
}

/// Everything that runs during a run.
pub(crate) struct Stage<'a> {
    pub(crate) simulator: Simulator,
    pub(crate) broker: Broker,
    pub(crate) subject: Subject,
    pub(crate) members: Vec<Member>,
    broker_pid: u32,
    plan: &'a Plan,
    /// Whether other events than messages may come meanwhile.
    pub(crate) extras: bool,
    /// How long the subject took until it could be told what to listen to.
    pub(crate) started_in: Duration,
}

/// Does a run.
pub(crate) fn run(runtime: &Arc<Runtime>, places: &Places, plan: &Plan) -> Result<Measured> {
    let load_average = machine::load_average();
    let mut stage = Stage::set(runtime, places, plan)?;
    let mut memory = stage.memory_course()?;
    let flood = stage.flood()?;
    let half_rate = plan.half_rate.unwrap_or((flood.per_second() / 200.0).round() * 100.0);
    let (latencies, body_bytes) = stage.latencies(&[1000.0, half_rate])?;
    memory.at_end = stage.memory()?;
    stage.strike()?;
    let Plan { kind, accounts, .. } = *plan;
    Ok(Measured { kind, accounts, load_average, memory, flood, latencies, body_bytes })
}

impl<'a> Stage<'a> {
    /// Starts everything, with a population that nobody listens to yet.
    pub(crate) fn set(runtime: &Arc<Runtime>, places: &Places, plan: &'a Plan) -> Result<Self> {
        let simulator = Simulator::start(&places.simulator)?;
        let broker = Broker::connect(Arc::clone(runtime), &places.broker_url()?)?;
        let members = simulator.populate(plan.accounts)?;
        let began = Instant::now();
        let subject = Subject::start(plan.kind, &places.daemon, &simulator, &broker)?;
        let (started_in, broker_pid) = (began.elapsed(), places.broker_pid()?);
        Ok(Self {
            simulator,
            broker,
            subject,
            members,
            broker_pid,
            plan,
            extras: false,
            started_in,
        })
    }

    /// Ends everything and removes what was declared.
    pub(crate) fn strike(self) -> Result<()> {
        let Self { broker, subject, .. } = self;
        drop(subject);
        broker.clean()
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        std::thread::sleep(SETTLE);
        machine::memory_of(self.subject.pid())
    }

    fn memory_course(&mut self) -> Result<MemoryCourse> {
        let empty = self.memory()?;
        self.subject.listen(&self.members, &self.broker)?;
        let idle = self.memory()?;
        let burst = BURST_EACH * self.members.len() as f64;
        let lost = self.drive(FLOOD_PER_SECOND, burst / FLOOD_PER_SECOND)?.1;
        ensure!(lost == 0, "{lost} messages of a burst were lost");
        let after_burst = self.memory()?;
        for _ in 0..2 {
            let total = self.simulator.disconnect_all()?;
            let count = self.members.len() as u64;
            self.subject.wait_for_return(&self.simulator, total, count)?;
        }
        let after_reconnects = self.memory()?;
        Ok(MemoryCourse { empty, idle, after_burst, after_reconnects, at_end: after_reconnects })
    }

    /// Offers messages with nobody reading the queue; answers how many were offered, how many of
    /// them never came, and how long all of it took.
    pub(crate) fn drive(&mut self, per_second: f64, seconds: f64) -> Result<(u64, u64, Duration)> {
        self.broker.purge()?;
        let start = Instant::now();
        let offered = self.simulator.run(per_second, seconds, TEXT_BYTES)?;
        let mut last = (0, Instant::now());
        loop {
            let queued = self.broker.queued()?;
            if queued != last.0 {
                last = (queued, Instant::now());
            }
            let is_stuck = last.1.elapsed() > STUCK_AFTER;
            if queued >= offered || is_stuck {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let subject = &mut self.subject;
        wait_for("the last confirms", || subject.is_drained())?;
        let queued = self.broker.queued()?;
        ensure!(self.extras || queued <= offered, "{queued} of {offered} messages came");
        let lost = offered.saturating_sub(last.0);
        let took = if lost == 0 { start.elapsed() } else { last.1 - start };
        self.broker.purge()?;
        Ok((offered, lost, took))
    }

    pub(crate) fn flood(&mut self) -> Result<Flood> {
        let own = std::process::id();
        let pids = [self.subject.pid(), self.broker_pid, self.simulator.pid(), own];
        let read = || pids.iter().map(|pid| machine::cpu_of(*pid)).collect::<Result<Vec<_>>>();
        let (before, all_before) = (read()?, machine::cpu_of_all()?);
        let (events, lost, took) = self.drive(FLOOD_PER_SECOND, self.plan.flood_seconds)?;
        let (after, all_after) = (read()?, machine::cpu_of_all()?);
        let spent: Vec<Duration> = after.iter().zip(before).map(|(a, b)| *a - b).collect();
        let ours: Duration = spent.iter().sum();
        let others = (all_after - all_before).saturating_sub(ours);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let each = |at: usize| spent[at].as_secs_f64() * 1e6 / events as f64;
        Ok(Flood {
            events,
            lost,
            seconds: took.as_secs_f64(),
            subject: each(0),
            broker: each(1),
            simulator: each(2),
            others: others.as_secs_f64() / took.as_secs_f64() / cores,
        })
    }

    /// Latencies at each rate, and the mean length of a body in bytes.
    pub(crate) fn latencies(&mut self, rates: &[f64]) -> Result<(Vec<Latency>, u64)> {
        let listener = self.broker.listen()?;
        let mut latencies = Vec::new();
        let mut body_bytes = 0;
        for &per_second in rates {
            self.pass(&listener, per_second, WARM_UP_SECONDS)?;
            listener.reset();
            let before = machine::cpu_of(self.subject.pid())?;
            self.pass(&listener, per_second, self.plan.latency_seconds)?;
            let spent = machine::cpu_of(self.subject.pid())? - before;
            let taken = listener.reset();
            let mut all = taken.latencies;
            body_bytes = taken.body_bytes / all.len().max(1) as u64;
            all.sort_unstable();
            let at = |share: f64| {
                let index = ((all.len() - 1) as f64 * share) as usize;
                all.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
            };
            let (median, p99, max) = (at(0.5), at(0.99), at(1.0));
            let count = all.len();
            let subject = spent.as_secs_f64() * 1e6 / count.max(1) as f64;
            latencies.push(Latency { per_second, count, median, p99, max, subject });
        }
        Ok((latencies, body_bytes))
    }

    fn pass(&self, listener: &Listener, per_second: f64, seconds: f64) -> Result<()> {
        let wanted = self.simulator.run(per_second, seconds, TEXT_BYTES)?;
        wait_for("all messages to arrive", || Ok(listener.count() >= wanted))
    }
}
