//! How many sessions one process carries: start, memory and CPU at rest, a burst, storms of
//! reconnects, restarts, a backlog. Beside the bare pipe as far as that can do the same. Measures
//! and judges nothing; what goes wrong is noted and ends that run only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::daemon::Daemon;
use crate::machine::{self, Memory};
use crate::measure::{BURST_EACH, Plan, Stage, TEXT_BYTES};
use crate::processes::{Kind, PATIENCE, Places, Subject, wait_for};

/// What both subjects take without falling behind.
const BURST_PER_SECOND: f64 = 5_000.0;
/// How fast a backlog is made: what the daemon writes down without falling behind.
const BACKLOG_PER_SECOND: f64 = 12_000.0;
/// How long CPU at rest is looked at: two probes of each session.
const REST: Duration = Duration::from_secs(40);
/// Until whatever the last storm left to do is done.
const BETWEEN_STORMS: Duration = Duration::from_secs(3);
/// A backlog that has not grown for so long does not get any more.
const STUCK_AFTER: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) sessions: usize,
    /// Events in the store at a start.
    pub(crate) backlog: u64,
}

/// What a run showed; a figure that was not taken is absent. Times in seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Density {
    pub(crate) kind: Kind,
    pub(crate) sessions: usize,
    pub(crate) load_average: String,
    pub(crate) empty: Option<Memory>,
    pub(crate) idle: Option<Memory>,
    pub(crate) after_burst: Option<Memory>,
    pub(crate) after_storms: Option<Memory>,
    /// From the start of the process until all sessions are connected, listening and, in the
    /// daemon, stored.
    pub(crate) connected: Option<f64>,
    /// CPU milliseconds a second at rest.
    pub(crate) rest_cpu: Option<f64>,
    /// Share of the machine's cores that others used while it was at rest.
    pub(crate) rest_others: Option<f64>,
    pub(crate) burst: Option<f64>,
    pub(crate) storms: Vec<f64>,
    pub(crate) stop: Option<f64>,
    pub(crate) back_after_stop: Option<f64>,
    pub(crate) back_after_kill: Option<f64>,
    pub(crate) backlog: Option<Backlog>,
    /// What went wrong, and what the subject says of it.
    pub(crate) troubles: Vec<String>,
    /// What the daemon logged, the commonest first.
    pub(crate) log: Vec<String>,
}

/// A start with many events in the store. Times in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Backlog {
    pub(crate) events: u64,
    /// How long it took to make it.
    pub(crate) made: f64,
    /// Memory of the process that took it in, KiB.
    pub(crate) peak_before: u64,
    pub(crate) first_event: f64,
    pub(crate) connected: f64,
    pub(crate) drained: f64,
    /// Most memory of the process that was started with it, KiB.
    pub(crate) peak: u64,
}

/// Does a run.
pub(crate) fn run(
    runtime: &Arc<Runtime>,
    places: &Places,
    kind: Kind,
    extent: Extent,
) -> Result<Density> {
    let Extent { sessions, .. } = extent;
    let plan = Plan {
        kind,
        accounts: sessions,
        flood_seconds: 0.0,
        latency_seconds: 0.0,
        half_rate: None,
    };
    let mut density = Density::new(kind, sessions);
    let began = Instant::now();
    let mut stage = Stage::set(runtime, places, &plan)?;
    let outcome = density.fill(&mut stage, places, extent);
    if let Err(error) = outcome {
        density.troubles.push(format!("{error:#}"));
    }
    density.look_for_trouble(&stage)?;
    crate::say(&format!("{kind:?}: {sessions} sessions, {:?}", began.elapsed()));
    stage.strike()?;
    Ok(density)
}

impl Density {
    fn new(kind: Kind, sessions: usize) -> Self {
        Self {
            kind,
            sessions,
            load_average: machine::load_average(),
            empty: None,
            idle: None,
            after_burst: None,
            after_storms: None,
            connected: None,
            rest_cpu: None,
            rest_others: None,
            burst: None,
            storms: Vec::new(),
            stop: None,
            back_after_stop: None,
            back_after_kill: None,
            backlog: None,
            troubles: Vec::new(),
            log: Vec::new(),
        }
    }

    fn fill(&mut self, stage: &mut Stage<'_>, places: &Places, extent: Extent) -> Result<()> {
        self.empty = Some(stage.memory()?);
        let began = Instant::now();
        stage.subject.listen(&stage.members, &stage.broker)?;
        self.connected = Some((stage.started_in + began.elapsed()).as_secs_f64());
        self.idle = Some(stage.memory()?);
        self.rest(stage)?;
        let events = BURST_EACH * self.sessions as f64;
        let (_, lost, took) = stage.drive(BURST_PER_SECOND, events / BURST_PER_SECOND)?;
        self.burst = Some(took.as_secs_f64());
        self.after_burst = Some(stage.memory()?);
        ensure!(lost == 0, "{lost} messages of a burst were lost");
        for _ in 0..2 {
            let began = Instant::now();
            let total = stage.simulator.disconnect_all()?;
            stage.subject.wait_for_return(&stage.simulator, total, self.sessions as u64)?;
            self.storms.push(began.elapsed().as_secs_f64());
            std::thread::sleep(BETWEEN_STORMS);
        }
        self.after_storms = Some(stage.memory()?);
        if self.kind == Kind::Daemon {
            self.restarts(stage)?;
            if extent.backlog > 0 {
                self.backlog(stage, places, extent.backlog)?;
            }
        }
        Ok(())
    }

    fn rest(&mut self, stage: &Stage<'_>) -> Result<()> {
        let read = || anyhow::Ok((machine::cpu_of(stage.subject.pid())?, machine::cpu_of_all()?));
        let before = read()?;
        let began = Instant::now();
        std::thread::sleep(REST);
        let (after, took) = (read()?, began.elapsed().as_secs_f64());
        let (own, all) = (after.0 - before.0, after.1 - before.1);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        self.rest_cpu = Some(own.as_secs_f64() * 1e3 / took);
        self.rest_others = Some(all.saturating_sub(own).as_secs_f64() / took / cores);
        Ok(())
    }

    fn restarts(&mut self, stage: &mut Stage<'_>) -> Result<()> {
        let count = self.sessions as u64;
        let daemon = daemon_of(stage)?;
        self.stop = Some(daemon.stop()?.as_secs_f64());
        self.back_after_stop = Some(start_again(daemon, count)?);
        daemon.kill()?;
        self.back_after_kill = Some(start_again(daemon, count)?);
        Ok(())
    }

    /// Fills the store while the broker is down, kills the daemon, and starts both again.
    fn backlog(&mut self, stage: &mut Stage<'_>, places: &Places, events: u64) -> Result<()> {
        stage.broker.purge()?;
        places.broker("stop")?;
        let began = Instant::now();
        let seconds = events as f64 / BACKLOG_PER_SECOND;
        let events = stage.simulator.run(BACKLOG_PER_SECOND, seconds, TEXT_BYTES)?;
        let held = fill_store(daemon_of(stage)?, events)?;
        let made = began.elapsed().as_secs_f64();
        if held != events {
            self.troubles.push(format!("of {events} messages {held} came into the store"));
        }
        let peak_before = machine::peak_of(stage.subject.pid())?;
        daemon_of(stage)?.kill()?;
        places.broker("start")?;
        stage.broker.connect_again()?;
        let began = Instant::now();
        daemon_of(stage)?.start_again()?;
        let mut course = Course::default();
        while course.drained.is_none() {
            ensure!(began.elapsed() < 4 * PATIENCE, "a backlog does not drain: {course:?}");
            course.look(stage, self.sessions as u64, held, began.elapsed())?;
            std::thread::sleep(POLL);
        }
        let (Some(first_event), Some(drained)) = (course.first_event, course.drained) else {
            return Ok(());
        };
        while course.connected.is_none() {
            ensure!(began.elapsed() < 4 * PATIENCE, "not all sessions come back");
            course.look(stage, self.sessions as u64, held, began.elapsed())?;
            std::thread::sleep(POLL);
        }
        let connected = course.connected.unwrap_or(f64::NAN);
        let peak = machine::peak_of(stage.subject.pid())?;
        let queued = stage.broker.queued()?;
        if queued != held {
            self.troubles.push(format!("of {held} events in the store {queued} came out"));
        }
        self.backlog = Some(Backlog {
            events: held,
            made,
            peak_before,
            first_event,
            connected,
            drained,
            peak,
        });
        Ok(())
    }

    /// What a run must not show, whatever its figures.
    fn look_for_trouble(&mut self, stage: &Stage<'_>) -> Result<()> {
        let stats = stage.simulator.stats()?;
        for part in ["violations", "protocol_errors", "unknown_methods"] {
            let counts = stats[part].as_object().into_iter().flatten();
            let bad = counts.filter(|(_, count)| count.as_u64() != Some(0));
            self.troubles.extend(bad.map(|(name, count)| format!("{part}: {name}: {count}")));
        }
        if let Subject::Daemon(daemon) = &stage.subject {
            self.log = daemon.log_lines()?;
            let health = daemon.health().unwrap_or_default();
            let restarts = health["restarts"].as_array().into_iter().flatten();
            self.troubles.extend(restarts.map(|restart| format!("restart: {restart}")));
        }
        Ok(())
    }
}

/// What is seen of a start with a backlog.
#[derive(Debug, Default)]
struct Course {
    first_event: Option<f64>,
    connected: Option<f64>,
    drained: Option<f64>,
}

impl Course {
    fn look(
        &mut self,
        stage: &mut Stage<'_>,
        sessions: u64,
        events: u64,
        elapsed: Duration,
    ) -> Result<()> {
        let at = elapsed.as_secs_f64();
        if self.drained.is_none() {
            let queued = stage.broker.queued()?;
            if queued > 0 && self.first_event.is_none() {
                self.first_event = Some(at);
            }
            // Health is some half a second old, so it is asked only once the queue says so.
            if queued >= events && daemon_of(stage)?.health()?["outbox"]["depth"] == 0 {
                self.drained = Some(at);
            }
        }
        if self.connected.is_none() && daemon_of(stage)?.are_active(sessions) {
            self.connected = Some(at);
        }
        Ok(())
    }
}

fn daemon_of<'a>(stage: &'a mut Stage<'_>) -> Result<&'a mut Daemon> {
    match &mut stage.subject {
        Subject::Daemon(daemon) => Ok(daemon),
        Subject::BarePipe(_) => None.context("only the daemon is started again"),
    }
}

/// Starts it again; answers how long it took until all sessions were back, in seconds.
fn start_again(daemon: &mut Daemon, count: u64) -> Result<f64> {
    let began = Instant::now();
    daemon.start_again()?;
    daemon.wait_until_active(count)?;
    Ok(began.elapsed().as_secs_f64())
}

/// Waits until the store holds so many events, or gets no more; answers how many.
fn fill_store(daemon: &Daemon, events: u64) -> Result<u64> {
    let mut last = (0, Instant::now());
    wait_for("the store to take a backlog", || {
        let depth = daemon.health()?["outbox"]["depth"].as_u64().context("no depth")?;
        if depth != last.0 {
            last = (depth, Instant::now());
        }
        Ok(depth >= events || last.1.elapsed() > STUCK_AFTER)
    })?;
    Ok(last.0)
}
