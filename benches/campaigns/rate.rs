//! Actions a second: one campaign of some accounts beside as many accounts of the bare loop, each looking people up and
//! writing to them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::bare_loop::{Accounts, Child};
use crate::fixture::Fixture;
use crate::processes::Places;
use crate::{Extent, machine, say};

/// One round of both.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Rate {
    /// People written to in a second.
    pub(crate) daemon: f64,
    pub(crate) bare: f64,
    /// CPU microseconds a person: two calls each.
    pub(crate) daemon_cpu: f64,
    pub(crate) bare_cpu: f64,
}

/// All rounds, and what the simulator held against anybody.
pub(crate) struct Rates {
    pub(crate) rounds: Vec<Rate>,
    pub(crate) violations: u64,
}

pub(crate) fn run(runtime: &Arc<Runtime>, places: &Places, extent: Extent) -> Result<Rates> {
    let fixture = Fixture::start(runtime, places, 1)?;
    let accounts = fixture.connect(0, &fixture.members(extent.accounts)?)?;
    let session_strings: Vec<String> = fixture
        .members(extent.accounts)?
        .into_iter()
        .map(|member| member.session.session_string)
        .collect();
    let telegram = fixture.simulator.telegram;
    let mut bare = Child::start(&Accounts { telegram, session_strings })?;
    let mut rounds = Vec::new();
    // The first is for warming up.
    for round in 0..=extent.rounds {
        let daemon = of_daemon(&fixture, &accounts, round, extent.people)?;
        let looped = of_bare(&fixture, &mut bare, round, extent.people)?;
        let rate =
            Rate { daemon: daemon.0, daemon_cpu: daemon.1, bare: looped.0, bare_cpu: looped.1 };
        say(&serde_json::to_string(&rate)?);
        if round > 0 {
            rounds.push(rate);
        }
    }
    Ok(Rates { rounds, violations: fixture.violations()? })
}

fn of_daemon(fixture: &Fixture, by: &[String], round: usize, count: usize) -> Result<(f64, f64)> {
    let people = fixture.people(&format!("daemon_{round}"), count)?;
    let task = fixture.draft(0, by, &people, &json!({}))?;
    let (cpu, began) = (machine::cpu_of(fixture.daemon.pid())?, Instant::now());
    fixture.start_task(0, &task)?;
    fixture.until_completed(0, &task)?;
    let (seconds, cpu) =
        (began.elapsed().as_secs_f64(), machine::cpu_of(fixture.daemon.pid())? - cpu);
    let counts = fixture.get(0, &format!("/api/v1/invite/tasks/{task}/targets/stats"))?;
    let sent = counts["by_status"]["sent"].as_f64().unwrap_or(0.0);
    anyhow::ensure!(sent == count as f64, "not all were reached: {counts}");
    Ok((sent / seconds, cpu.as_secs_f64() * 1e6 / sent))
}

fn of_bare(fixture: &Fixture, bare: &mut Child, round: usize, count: usize) -> Result<(f64, f64)> {
    let people = fixture.people(&format!("bare_{round}"), count)?;
    let cpu = machine::cpu_of(bare.pid())?;
    let looped = bare.write_to_all(&people)?;
    let cpu = machine::cpu_of(bare.pid())? - cpu;
    let sent = looped.sent as f64;
    Ok((sent / looped.seconds, cpu.as_secs_f64() * 1e6 / sent))
}
