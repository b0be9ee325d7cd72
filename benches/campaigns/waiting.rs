//! A hundred campaigns under way: what a target that waits takes, how much longer a start takes, and what one action
//! costs while all of them are looked after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::fixture::Fixture;
use crate::processes::{Places, wait_for};
use crate::{Extent, machine, say};

/// Users whose campaigns they are: each may run ten.
const USERS: usize = 10;
/// Accounts of a user.
const ACCOUNTS_EACH: usize = 5;
/// How long actions are counted.
const COUNTED: Duration = Duration::from_secs(15);

/// What came out.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Waiting {
    pub(crate) targets: usize,
    /// Resident memory of the daemon, KiB: with connected accounts, and with all targets waiting.
    pub(crate) before_kib: u64,
    pub(crate) after_kib: u64,
    /// From its start until accounts are active, seconds; then until all campaigns run, too.
    pub(crate) empty_start: f64,
    pub(crate) full_start: f64,
    /// Actions a second while all campaigns act, and CPU microseconds each.
    pub(crate) actions: f64,
    pub(crate) action_cpu: f64,
}

pub(crate) fn run(runtime: &Arc<Runtime>, places: &Places, extent: Extent) -> Result<Waiting> {
    let mut fixture = Fixture::start(runtime, places, USERS)?;
    let mut accounts = Vec::new();
    for user in 0..USERS {
        accounts.push(fixture.connect(user, &fixture.members(ACCOUNTS_EACH)?)?);
    }
    let empty_start = restart(&mut fixture, 0)?;
    let before_kib = fixture.resident_kib()?;
    let each = extent.campaigns / USERS;
    let people = fixture.people("waiting", each * extent.people)?;
    // Each account acts once, and then waits for a day.
    let slow = json!({ "min_pause_seconds": 86_400 });
    let mut tasks = Vec::new();
    for (user, accounts) in accounts.iter().enumerate() {
        for people in people.chunks(extent.people) {
            tasks.push((user, fixture.draft(user, accounts, people, &slow)?));
        }
    }
    for (user, task) in &tasks {
        fixture.start_task(*user, task)?;
    }
    let running = tasks.len();
    wait_for("the campaigns", || Ok(fixture.metric("invite_active_tasks")? == running as f64))?;
    let full_start = restart(&mut fixture, running)?;
    let after_kib = fixture.resident_kib()?;
    let (actions, action_cpu) = act(&fixture, &tasks)?;
    let targets = running * extent.people;
    let waiting =
        Waiting { targets, before_kib, after_kib, empty_start, full_start, actions, action_cpu };
    say(&serde_json::to_string(&waiting)?);
    Ok(waiting)
}

/// Kills the daemon and starts it again: how long until all accounts are active and so many campaigns run.
fn restart(fixture: &mut Fixture, running: usize) -> Result<f64> {
    fixture.daemon.kill()?;
    let began = Instant::now();
    fixture.daemon.start_again()?;
    let accounts = (USERS * ACCOUNTS_EACH) as u64;
    wait_for("all to be there again", || {
        let Ok(health) = fixture.daemon.health() else { return Ok(false) };
        let active = health["accounts"]["by_state"]["active"].as_u64().unwrap_or(0);
        let running_now = fixture.metric("invite_active_tasks").unwrap_or(-1.0);
        Ok(active == accounts && running_now >= running as f64)
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// Lets all campaigns act, and counts for a while.
fn act(fixture: &Fixture, tasks: &[(usize, String)]) -> Result<(f64, f64)> {
    // Further accounts, which have not acted yet: those that wait for a day go on waiting.
    let mut fresh = Vec::new();
    for user in 0..USERS {
        fresh.push(fixture.connect(user, &fixture.members(ACCOUNTS_EACH)?)?);
    }
    for (user, task) in tasks {
        let path = format!("/api/v1/invite/tasks/{task}");
        fixture.post(*user, &format!("{path}/pause"), &json!({}))?;
        let body = json!({
            "platform": "telegram",
            "task_type": "send_messages",
            "title": "Measured",
            "message_template": format!("Hello {{first_name|friend}} of {user}"),
            "account_ids": fresh.get(*user).context("no accounts")?,
            "audience_basis": "a benchmark's own people",
        });
        fixture.put(*user, &path, &body)?;
        fixture.post(*user, &format!("{path}/resume"), &json!({}))?;
    }
    let sent = || fixture.metric("invite_targets_processed{platform=\"telegram\",result=\"sent\"}");
    wait_for("the first to be reached", || Ok(sent()? > 100.0))?;
    let (before, cpu, began) = (sent()?, machine::cpu_of(fixture.daemon.pid())?, Instant::now());
    std::thread::sleep(COUNTED);
    let (after, seconds) = (sent()?, began.elapsed().as_secs_f64());
    let cpu = machine::cpu_of(fixture.daemon.pid())? - cpu;
    let done = (after - before).max(1.0);
    Ok((done / seconds, cpu.as_secs_f64() * 1e6 / done))
}
