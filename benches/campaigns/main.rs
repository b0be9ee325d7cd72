//! The benchmark of campaigns: actions a second beside a bare loop over the library, what one action costs when
//! a hundred campaigns are under way, what a target that waits takes, how long a start takes with all of them, a page of
//! a long list, an import. `scripts/bench --campaigns` builds the parts and runs it; `docs/performance.md` tells what
//! came out. Must never be part of the tests: it decides nothing and its figures depend on the machine.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod bare_loop;
#[path = "../bridge/bare_pipe.rs"]
#[expect(dead_code, reason = "only its way of connecting is used here")]
mod bare_pipe;
#[path = "../bridge/broker.rs"]
#[expect(dead_code, reason = "nobody reads events here")]
mod broker;
#[path = "../accounts/client.rs"]
#[expect(dead_code, reason = "nothing is repeated here")]
mod client;
#[path = "../bridge/daemon.rs"]
#[expect(dead_code, reason = "nothing is monitored here")]
mod daemon;
mod fixture;
#[path = "../bridge/http.rs"]
#[expect(dead_code, reason = "nothing is deleted here")]
mod http;
mod lists;
#[path = "../bridge/machine.rs"]
#[expect(dead_code, reason = "peaks are not looked at here")]
mod machine;
#[path = "../bridge/processes.rs"]
#[expect(dead_code, reason = "the bridge's subjects are not used here")]
mod processes;
mod rate;
mod report;
mod waiting;

use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;
use processes::Places;
use report::Report;

/// Makes this program the bare pipe, which is never asked for here.
pub(crate) const BARE_PIPE: &str = "--bare-pipe";
/// Makes this program the bare loop.
pub(crate) const BARE_LOOP: &str = "--bare-loop";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Accounts that act, of the daemon and of the bare loop each.
    pub(crate) accounts: usize,
    /// People whom one campaign is for.
    pub(crate) people: usize,
    /// Campaigns that are under way at once.
    pub(crate) campaigns: usize,
    pub(crate) rounds: usize,
    /// Targets of the long list.
    pub(crate) long: usize,
    /// Rows of the file.
    pub(crate) rows: usize,
}

impl Extent {
    const WHOLE: Self = Self {
        accounts: 20,
        people: 1_000,
        campaigns: 100,
        rounds: 3,
        long: 1_000_000,
        rows: 100_000,
    };
    const QUICK: Self =
        Self { people: 400, campaigns: 20, rounds: 1, long: 100_000, rows: 20_000, ..Self::WHOLE };
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has(BARE_LOOP) {
        return bare_loop::run();
    }
    if !has("--bench") {
        say("nothing is measured here: run scripts/bench --campaigns");
        return Ok(());
    }
    let places = Places::find()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = Arc::new(runtime.worker_threads(1).enable_all().build()?);
    let extent = if has("--quick") { Extent::QUICK } else { Extent::WHOLE };
    let load = machine::load_average();
    let rates = rate::run(&runtime, &places, extent)?;
    let waiting = waiting::run(&runtime, &places, extent)?;
    let lists = lists::run(&runtime, &places, extent)?;
    let report = Report { commit: commit(), load, extent, rates, waiting, lists };
    write!(std::io::stdout(), "{}", report::render(&report))?;
    Ok(())
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
