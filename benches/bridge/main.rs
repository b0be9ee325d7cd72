//! The bridge's benchmark: throughput, added latency and memory of the daemon, beside those of a
//! bare pipe made of the same libraries; and what thousands of sessions cost. `scripts/bench` builds the parts and runs it;
//! `docs/performance.md` tells what came out. Everything that is measured is a process of its own.
//! Must never be part of the tests: it decides nothing and its figures depend on the machine.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod bare_pipe;
mod broker;
mod daemon;
mod density;
mod density_report;
mod http;
mod machine;
mod measure;
mod neighbours;
mod processes;
mod report;

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use measure::{Measured, Plan};
use processes::{Kind, Places};
use tokio::runtime::Runtime;

/// Makes this program the bare pipe.
pub(crate) const BARE_PIPE: &str = "--bare-pipe";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has(BARE_PIPE) {
        return bare_pipe::run();
    }
    if !has("--bench") {
        say("nothing is measured here: run scripts/bench");
        return Ok(());
    }
    let places = Places::find()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = Arc::new(runtime.worker_threads(1).enable_all().build()?);
    if has("--density") {
        return density(&runtime, &places, &arguments);
    }
    let extent = if has("--quick") { Extent::QUICK } else { Extent::WHOLE };
    let mut runs: Vec<Measured> = Vec::new();
    for &accounts in extent.accounts {
        let mut half_rate = None;
        for round in 0..extent.rounds {
            for kind in order(round) {
                let Extent { flood_seconds, latency_seconds, .. } = extent;
                let plan = Plan { kind, accounts, flood_seconds, latency_seconds, half_rate };
                let measured = measure::run(&runtime, &places, &plan)?;
                say(&serde_json::to_string(&measured)?);
                // Both subjects get the rate that is half of what the daemon took first.
                half_rate = half_rate.or(measured.latencies.last().map(|last| last.per_second));
                runs.push(measured);
            }
        }
    }
    write!(std::io::stdout(), "{}", report::render(&runs))?;
    Ok(())
}

/// The density benchmark; the subjects take turns, in the other order each round.
fn density(runtime: &Arc<Runtime>, places: &Places, arguments: &[String]) -> Result<()> {
    let number = |name: &str, default: usize| -> Result<usize> {
        let value = arguments.iter().skip_while(|argument| *argument != name).nth(1);
        let value = value.filter(|value| !value.starts_with("--"));
        Ok(value.map(|value| value.parse()).transpose()?.unwrap_or(default))
    };
    let sessions = number("--density", 10_000)?;
    let backlog = number("--backlog", sessions * 100)? as u64;
    let extent = density::Extent { sessions, backlog };
    let (mut runs, mut looks) = (Vec::new(), Vec::new());
    for round in 0..number("--rounds", 1)? {
        for kind in order(round) {
            let run = density::run(runtime, places, kind, extent)?;
            say(&serde_json::to_string(&run)?);
            runs.push(run);
        }
    }
    let healthy = sessions.min(1_000);
    let (rounds, flood_seconds, latency_seconds) = (number("--neighbours", 3)?, 3.0, 8.0);
    let failing = healthy / 10;
    let extent = neighbours::Extent { healthy, failing, rounds, flood_seconds, latency_seconds };
    for kind in order(0).into_iter().filter(|_| rounds > 0) {
        for look in neighbours::run(runtime, places, kind, extent)? {
            say(&serde_json::to_string(&look)?);
            looks.push(look);
        }
    }
    write!(std::io::stdout(), "{}", density_report::render(&runs, &looks))?;
    Ok(())
}

fn order(round: usize) -> [Kind; 2] {
    match round % 2 {
        0 => [Kind::Daemon, Kind::BarePipe],
        _ => [Kind::BarePipe, Kind::Daemon],
    }
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    accounts: &'static [usize],
    rounds: usize,
    flood_seconds: f64,
    latency_seconds: f64,
}

impl Extent {
    const WHOLE: Self =
        Self { accounts: &[100, 1000], rounds: 3, flood_seconds: 4.0, latency_seconds: 10.0 };
    const QUICK: Self =
        Self { accounts: &[100], rounds: 1, flood_seconds: 2.0, latency_seconds: 4.0 };
}

/// Progress and raw figures; the report alone goes to standard output.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}
