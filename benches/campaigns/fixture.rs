//! A simulator, a daemon without limits of its own, and users with connected accounts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::broker::Broker;
use crate::client::{Ask, Client, SECRET};
use crate::daemon::Daemon;
use crate::http;
use crate::machine;
use crate::processes::{Member, PATIENCE, Places, Simulator, wait_for};

/// Until memory is what it stays.
const SETTLE: Duration = Duration::from_secs(4);
/// Targets that one request adds.
const ADDED_AT_ONCE: usize = 1_000;

/// Everything that runs.
pub(crate) struct Fixture {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) simulator: Simulator,
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
    // Dropped last.
    _broker: Broker,
    _home: TempDir,
}

impl Fixture {
    pub(crate) fn start(runtime: &Arc<Runtime>, places: &Places, users: usize) -> Result<Self> {
        let home = TempDir::new()?;
        let key = home.path().join("key.pem").display().to_string();
        let simulator = Simulator::start_with(&places.simulator, &["--public-key", &key])?;
        let broker = Broker::connect(Arc::clone(runtime), &places.broker_url()?)?;
        let daemon = Daemon::start_with(&places.daemon, &simulator, &broker, environment(&key))?;
        let client = Client::new(daemon.health, users)?;
        let (runtime, _broker, _home) = (Arc::clone(runtime), broker, home);
        Ok(Self { runtime, simulator, daemon, client, _broker, _home })
    }

    pub(crate) fn post(&self, user: usize, path: &str, body: &Value) -> Result<Value> {
        self.runtime.block_on(self.client.post(user, path, body))
    }

    pub(crate) fn get(&self, user: usize, path: &str) -> Result<Value> {
        self.runtime.block_on(self.client.get(user, path))
    }

    pub(crate) fn put(&self, user: usize, path: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let ask = Ask { user, method: "PUT", path, key: None, body: &body };
        self.runtime.block_on(async { self.client.ask(ask).await?.success() })
    }

    pub(crate) fn metric(&self, beginning: &str) -> Result<f64> {
        self.runtime.block_on(self.client.metric(beginning))
    }

    /// Makes people who are logged in nowhere: their usernames.
    pub(crate) fn people(&self, prefix: &str, count: usize) -> Result<Vec<String>> {
        let add = |number: usize| -> Result<String> {
            let username = format!("{prefix}_{number}");
            let person = json!({ "username": username, "first_name": "Ann", "logged_in": false });
            http::post(self.simulator.control(), "/accounts", &person)?;
            Ok(username)
        };
        (0..count).map(add).collect()
    }

    /// Makes accounts at Telegram.
    pub(crate) fn members(&self, count: usize) -> Result<Vec<Member>> {
        self.simulator.populate(count)
    }

    /// Connects accounts of a user, and waits until all are active: their ids.
    pub(crate) fn connect(&self, user: usize, members: &[Member]) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for member in members {
            let body = json!({ "session_string": member.session.session_string });
            let account = self.post(user, "/api/v1/accounts/telegram/connect/session", &body)?;
            ids.push(account["id"].as_str().context("no id")?.to_owned());
        }
        for id in &ids {
            let path = format!("/api/v1/accounts/{id}/status");
            wait_for("an account", || Ok(self.get(user, &path)?["state"] == "active"))?;
        }
        Ok(ids)
    }

    /// A draft for people with these names.
    pub(crate) fn draft(
        &self,
        user: usize,
        accounts: &[String],
        people: &[String],
        settings: &Value,
    ) -> Result<String> {
        let body = json!({
            "platform": "telegram",
            "task_type": "send_messages",
            "title": "Measured",
            "message_template": format!("Hello {{first_name|friend}} of {user}"),
            "account_ids": accounts,
            "audience_basis": "a benchmark's own people",
            "settings": settings,
        });
        let task = self.post(user, "/api/v1/invite/tasks", &body)?;
        let id = task["id"].as_str().context("no id")?.to_owned();
        self.add(user, &id, people)?;
        Ok(id)
    }

    pub(crate) fn add(&self, user: usize, task: &str, people: &[String]) -> Result<()> {
        let path = format!("/api/v1/invite/tasks/{task}/targets/bulk");
        for some in people.chunks(ADDED_AT_ONCE) {
            let targets: Vec<Value> =
                some.iter().map(|name| json!({ "identifier": format!("@{name}") })).collect();
            let added = self.post(user, &path, &json!({ "targets": targets }))?;
            ensure!(added["accepted"] == some.len(), "not all were added: {added}");
        }
        Ok(())
    }

    pub(crate) fn start_task(&self, user: usize, task: &str) -> Result<()> {
        self.post(user, &format!("/api/v1/invite/tasks/{task}/start"), &json!({})).map(drop)
    }

    /// Waits until a campaign is over; looks often enough that its end is not missed by much.
    pub(crate) fn until_completed(&self, user: usize, task: &str) -> Result<()> {
        let path = format!("/api/v1/invite/tasks/{task}/status");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.get(user, &path)?;
            if status["status"] == "completed" {
                return Ok(());
            }
            ensure!(status["status"] == "running", "it does not run: {status}");
            ensure!(Instant::now() < deadline, "it does not end: {status}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Memory of the daemon once it has come to rest, KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        std::thread::sleep(SETTLE);
        Ok(machine::memory_of(self.daemon.pid())?.rss)
    }

    /// What the simulator saw that no client may do: nothing, in a clean run.
    pub(crate) fn violations(&self) -> Result<u64> {
        let stats = self.simulator.stats()?;
        let counts = stats["violations"].as_object().context("no violations")?;
        Ok(counts.values().filter_map(Value::as_u64).sum())
    }
}

/// No limit of the daemon's own holds anything back. A new account has a fifth of the caps.
fn environment(key: &str) -> Vec<(String, String)> {
    let mut settings = vec![
        ("AUTH__JWT_SECRET".to_owned(), SECRET.to_owned()),
        ("TELEGRAM__SERVER_PUBLIC_KEY_FILE".to_owned(), key.to_owned()),
        ("TELEGRAM__LIMITS__SEND__PER_DAY".to_owned(), "10000000".to_owned()),
        ("CAMPAIGN__MIN_PAUSE_SECONDS".to_owned(), "0".to_owned()),
        ("CAMPAIGN__MAX_TARGETS".to_owned(), "1000000".to_owned()),
    ];
    let mut set = |name: String, value: &str| settings.push((name, value.to_owned()));
    for class in ["SEND", "RESOLVE"] {
        set(format!("TELEGRAM__LIMITS__{class}__PER_MINUTE"), "6000");
        set(format!("TELEGRAM__LIMITS__{class}__BURST"), "1000");
    }
    for limit in ["CONNECT", "SEND", "CHANGE", "OTHER"] {
        set(format!("HTTP__LIMITS__{limit}_PER_MINUTE"), "10000000");
    }
    set("HTTP__LIMITS__CHANGE_BURST".to_owned(), "10000000");
    for cap in ["DAILY__MESSAGES", "DAILY__RESOLVES", "HOURLY__RESOLVES"] {
        set(format!("CAMPAIGN__{cap}"), "10000");
    }
    let named = settings.into_iter();
    named.map(|(name, value)| (format!("TELEWARDEN__{name}"), value)).collect()
}
