//! The daemon as it is measured: the release binary on a store of its own, which can be stopped,
//! killed and started again. What it says of itself comes from its health endpoint and its log.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::broker::Broker;
use crate::http;
use crate::processes::{Member, Process, Simulator, wait_for};

/// Below the ports that the kernel gives to outgoing connections, one of which might otherwise sit
/// on ours when the daemon comes back.
const HEALTH_PORTS: std::ops::Range<u16> = 20_000..30_000;

/// The release daemon on a store of its own.
pub(crate) struct Daemon {
    process: Process,
    /// Where its HTTP is.
    pub(crate) health: SocketAddr,
    program: PathBuf,
    /// Settings beside those of its file.
    environment: Vec<(String, String)>,
    // Dropped after the process.
    home: TempDir,
}

impl Daemon {
    /// Starts it without sessions, with its link to the broker up.
    pub(crate) fn start(program: &Path, simulator: &Simulator, broker: &Broker) -> Result<Self> {
        Self::start_with(program, simulator, broker, Vec::new())
    }

    /// The same with further settings, as variables of its environment.
    pub(crate) fn start_with(
        program: &Path,
        simulator: &Simulator,
        broker: &Broker,
        environment: Vec<(String, String)>,
    ) -> Result<Self> {
        let home = TempDir::new()?;
        let health = free_address()?;
        std::fs::write(config_in(&home), config(home.path(), health, simulator, broker))?;
        let process = launch(program, &home, &environment)?;
        let daemon = Self { process, health, program: program.to_owned(), environment, home };
        wait_for("the daemon to be ready", || {
            Ok(http::get(health, "/health/ready").is_ok_and(|_| daemon.is_ready()))
        })?;
        Ok(daemon)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn is_ready(&self) -> bool {
        self.health().is_ok_and(|health| health["status"] == "ok")
    }

    /// What it says of itself.
    pub(crate) fn health(&self) -> Result<Value> {
        http::get(self.health, "/health")
    }

    /// Commands a monitor for each and waits until all are active.
    pub(crate) fn listen(&self, members: &[Member], broker: &Broker) -> Result<()> {
        let command = |member: &Member| {
            json!({
                "command": "start_monitoring_chat",
                "chat_id": member.chat_id,
                "primary_session": {
                    "id": member.session.id,
                    "api_hash": member.api_hash,
                    "session_string": member.session.session_string,
                },
                "backup_sessions_pool": [],
            })
        };
        broker.command(&members.iter().map(command).collect::<Vec<_>>())?;
        self.wait_until_active(members.len() as u64)
    }

    /// Waits until so many monitors and accounts are active.
    pub(crate) fn wait_until_active(&self, count: u64) -> Result<()> {
        wait_for("the monitors to be active", || Ok(self.are_active(count)))
            .with_context(|| format!("{:#}", self.health().unwrap_or_default()))
    }

    /// Whether so many monitors and accounts are active; not while it does not answer.
    pub(crate) fn are_active(&self, count: u64) -> bool {
        let health = self.health().unwrap_or_default();
        let is_so = |part: &str| health[part]["by_state"]["active"] == count;
        is_so("monitors") && is_so("accounts")
    }

    /// Tells it to stop and waits until it has; answers how long that took.
    pub(crate) fn stop(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let pid = libc::pid_t::try_from(self.pid())?;
        // SAFETY: it only sends a signal to a child that has not been waited for.
        ensure!(unsafe { libc::kill(pid, libc::SIGTERM) } == 0, "the daemon is gone");
        let status = self.process.0.wait()?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(began.elapsed())
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        Ok(())
    }

    /// Starts it again with what its store holds, once it was stopped or killed.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.process = launch(&self.program, &self.home, &self.environment)?;
        Ok(())
    }

    /// How often it logged what, worst first: level and text, the commonest few of each level.
    pub(crate) fn log_lines(&self) -> Result<Vec<String>> {
        const SHOWN: usize = 12;
        let text = std::fs::read_to_string(self.home.path().join("log"))?;
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            let level = value["log.level"].as_str().unwrap_or("?").to_owned();
            let message = value["message"].as_str().unwrap_or(line).to_owned();
            *counts.entry((level, message)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let lines = counts.into_iter().take(SHOWN);
        Ok(lines.map(|((level, text), count)| format!("{count} × {level}: {text}")).collect())
    }
}

fn free_address() -> Result<SocketAddr> {
    let addresses = HEALTH_PORTS.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let start = std::process::id() as usize % HEALTH_PORTS.len();
    let mut addresses = addresses.clone().skip(start).chain(addresses);
    addresses.find(|address| TcpListener::bind(address).is_ok()).context("no free port")
}

fn config_in(home: &TempDir) -> PathBuf {
    home.path().join("config.toml")
}

fn launch(program: &Path, home: &TempDir, environment: &[(String, String)]) -> Result<Process> {
    let log = File::options().create(true).append(true).open(home.path().join("log"))?;
    let child: Child = Command::new(program)
        .args(["run", "--config"])
        .arg(config_in(home))
        .current_dir(home.path())
        .env_clear()
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))?;
    Ok(Process(child))
}

fn config(home: &Path, health: SocketAddr, simulator: &Simulator, broker: &Broker) -> String {
    let Broker { url, exchange, commands, events, .. } = broker;
    format!(
        r#"
        [telegram]
        api_id = 1
        api_hash = "0123456789abcdef"
        [telegram.servers]
        2 = "{telegram}"
        [store]
        path = "{state}"
        [bridge]
        enabled = true
        url = "{url}"
        exchange = "{exchange}"
        command_queue = "{commands}"
        event_queue = "{events}"
        [http]
        listen = "{health}"
        "#,
        telegram = simulator.telegram,
        state = home.join("state").display(),
    )
}
