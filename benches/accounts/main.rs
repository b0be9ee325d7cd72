//! The benchmark of accounts over HTTP: what a send costs beside the bare library, whether any is
//! lost or doubled when clients repeat themselves, how long connecting takes, what an account weighs.
//! `scripts/bench --accounts` builds the parts and runs it; `docs/performance.md` tells what came
//! out. Must never be part of the tests: it decides nothing and its figures depend on the machine.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

#[path = "../bridge/bare_pipe.rs"]
#[expect(dead_code, reason = "only its way of connecting is used here")]
mod bare_pipe;
mod bare_sender;
#[path = "../bridge/broker.rs"]
#[expect(dead_code, reason = "nobody reads events here")]
mod broker;
mod client;
mod connecting;
#[path = "../bridge/daemon.rs"]
#[expect(dead_code, reason = "nothing is stopped or killed here")]
mod daemon;
#[path = "../bridge/http.rs"]
#[expect(dead_code, reason = "nothing is deleted here")]
mod http;
#[path = "../bridge/machine.rs"]
#[expect(dead_code, reason = "peaks are not looked at here")]
mod machine;
mod once;
#[path = "../bridge/processes.rs"]
#[expect(dead_code, reason = "the bridge's subjects are not used here")]
mod processes;
mod queue;
mod report;
mod sends;
mod stage;

use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use connecting::Way;
use processes::Places;
use report::Report;
use sends::{Drive, Pace};
use stage::{Measured, Stage, Subject};
use tokio::runtime::Runtime;

/// Makes this program the bare pipe, which is never asked for here.
pub(crate) const BARE_PIPE: &str = "--bare-pipe";
/// Makes this program the bare sender.
pub(crate) const BARE_SENDER: &str = "--bare-sender";
/// Numbers of messages that one measurement may use.
const BLOCK: u64 = 10_000_000;
const SEED: u64 = 20_261_121;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has(BARE_SENDER) {
        return bare_sender::run();
    }
    if !has("--bench") {
        say("nothing is measured here: run scripts/bench --accounts");
        return Ok(());
    }
    let places = Places::find()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = Arc::new(runtime.worker_threads(1).enable_all().build()?);
    let extent = Extent::from(&arguments)?;
    let report = measure(&runtime, &places, &extent)?;
    write!(std::io::stdout(), "{}", report::render(&report))?;
    Ok(())
}

/// How much is measured.
#[derive(Clone, Debug)]
struct Extent {
    accounts: usize,
    /// Sends a second, offered to both subjects.
    rates: &'static [f64],
    /// Clients that each wait for their answers.
    clients: &'static [usize],
    /// How long each of these is driven.
    seconds: f64,
    /// How often all of these.
    rounds: usize,
    once_per_minute: f64,
    once_minutes: f64,
    bursts: usize,
    connects: usize,
    seed: u64,
}

impl Extent {
    const WHOLE: Self = Self {
        accounts: 1_000,
        rates: &[20.0, 100.0, 300.0],
        clients: &[1, 4, 16, 64, 256],
        seconds: 10.0,
        rounds: 3,
        once_per_minute: 10_000.0,
        once_minutes: 1.0,
        bursts: 20,
        connects: 50,
        seed: SEED,
    };
    const QUICK: Self = Self {
        accounts: 100,
        clients: &[1, 16, 64],
        seconds: 3.0,
        rounds: 1,
        once_minutes: 0.2,
        bursts: 3,
        connects: 10,
        ..Self::WHOLE
    };

    fn from(arguments: &[String]) -> Result<Self> {
        let number = |name: &str| -> Result<Option<f64>> {
            let value = arguments.iter().skip_while(|argument| *argument != name).nth(1);
            value.map(|value| value.parse().with_context(|| format!("after {name}"))).transpose()
        };
        let is_quick = arguments.iter().any(|argument| argument == "--quick");
        let mut extent = if is_quick { Self::QUICK } else { Self::WHOLE };
        if let Some(minutes) = number("--minutes")? {
            extent.once_minutes = minutes;
        }
        if let Some(rounds) = number("--rounds")? {
            extent.rounds = rounds as usize;
        }
        if let Some(seed) = number("--seed")? {
            extent.seed = seed as u64;
        }
        Ok(extent)
    }
}

/// Numbers for messages that nobody else has.
struct Numbers(u64);

impl Numbers {
    fn block(&mut self) -> u64 {
        self.0 += BLOCK;
        self.0
    }
}

fn measure(runtime: &Arc<Runtime>, places: &Places, extent: &Extent) -> Result<Report> {
    let load = machine::load_average();
    let mut stage = Stage::set(runtime, places, extent.accounts, extent.seed)?;
    say(&serde_json::to_string(&stage.filling)?);
    let (mut numbers, seed) = (Numbers(0), extent.seed);
    let mut drives = Vec::new();
    warm_up(&mut stage, extent, &mut numbers)?;
    for round in 0..extent.rounds {
        let rates = extent.rates.iter().map(|rate| Pace::Rate(*rate));
        for pace in rates.chain(extent.clients.iter().map(|count| Pace::Clients(*count))) {
            for subject in order(round) {
                let (seconds, first) = (extent.seconds, numbers.block());
                let measured = stage.drive(subject, Drive { pace, seconds, seed, first })?;
                say(&serde_json::to_string(&measured)?);
                drives.push(measured);
            }
        }
    }
    let (rate, seconds) = (extent.once_per_minute / 60.0, extent.once_minutes * 60.0);
    let once = once::run(&stage, rate, seconds, seed, numbers.block())?;
    say(&serde_json::to_string(&once)?);
    let mut waits = Vec::new();
    for accounts in [100, 20, 1] {
        waits.push(queue::run(&stage, accounts, extent.bursts, numbers.block())?);
    }
    say(&serde_json::to_string(&waits)?);
    let mut connecting = Vec::new();
    for way in Way::ALL {
        for at_once in [1, 20] {
            let measured = connecting::run(&stage, way, extent.connects, at_once)?;
            say(&serde_json::to_string(&measured)?);
            connecting.push(measured);
        }
    }
    let (filling, violations, commit) = (stage.filling, stage.violations()?, commit());
    Ok(Report { commit, load, seed, filling, drives, once, waits, connecting, violations })
}

/// Everybody whom the accounts write to is looked up once, by both subjects.
fn warm_up(stage: &mut Stage, extent: &Extent, numbers: &mut Numbers) -> Result<()> {
    stage.look_up_all(numbers.block())?;
    for subject in order(0) {
        let pace = Pace::Rate(100.0);
        let drive =
            Drive { pace, seconds: extent.seconds, seed: extent.seed, first: numbers.block() };
        let Measured { driven, .. } = stage.drive(subject, drive)?;
        say(&format!("warmed up: {}", serde_json::to_string(&driven)?));
    }
    Ok(())
}

fn order(round: usize) -> [Subject; 2] {
    match round % 2 {
        0 => [Subject::Daemon, Subject::Bare],
        _ => [Subject::Bare, Subject::Daemon],
    }
}

/// The commit that is measured, and whether anything was changed since.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let hash = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    let is_changed = !git(&["status", "--porcelain"]).unwrap_or_default().is_empty();
    format!("{hash}{}", if is_changed { " with changes" } else { "" })
}

/// Progress and raw figures; the report alone goes to standard output.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}
