//! The bridge's benchmark: throughput, added latency and memory of the daemon, beside those of a
//! bare pipe made of the same libraries. `scripts/bench` builds the parts and runs it;
//! `docs/performance.md` tells what came out. Everything that is measured is a process of its own.
//! Must never be part of the tests: it decides nothing and its figures depend on the machine.

mod bare_pipe;
mod broker;
mod http;
mod machine;
mod measure;
mod processes;
mod report;

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use measure::{Measured, Plan};
use processes::{Kind, Places};

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
    let extent = if has("--quick") { Extent::QUICK } else { Extent::WHOLE };
    let mut runs: Vec<Measured> = Vec::new();
    for &accounts in extent.accounts {
        let mut half_rate = None;
        for round in 0..extent.rounds {
            let mut order = [Kind::Daemon, Kind::BarePipe];
            if round % 2 == 1 {
                order.reverse();
            }
            for kind in order {
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
fn say(line: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}
