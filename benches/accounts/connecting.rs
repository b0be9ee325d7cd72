//! Accounts that are connected, in each of the five ways: from the first request until the status of
//! the account says `active`, and how long the steps in between took.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};

use crate::client::Client;
use crate::http;
use crate::sends::quantile;
use crate::stage::{Stage, USERS, until_active};

const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "a benchmark's password";
const CONNECT: &str = "/api/v1/accounts/telegram/connect";

/// How an account is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Way {
    Session,
    Bot,
    Code,
    CodeAndPassword,
    Qr,
}

impl Way {
    pub(crate) const ALL: [Self; 5] =
        [Self::Session, Self::Bot, Self::Code, Self::CodeAndPassword, Self::Qr];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Session => "session string",
            Self::Bot => "bot token",
            Self::Code => "SMS code",
            Self::CodeAndPassword => "SMS code and password",
            Self::Qr => "QR code",
        }
    }

    /// What has to be at the simulator.
    fn account(self) -> Value {
        match self {
            Self::Session => json!({}),
            Self::Bot => json!({ "bot": true, "logged_in": false }),
            Self::Code | Self::Qr => json!({ "logged_in": false }),
            Self::CodeAndPassword => json!({ "logged_in": false, "password": PASSWORD }),
        }
    }
}

/// What came of it. Times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Connecting {
    pub(crate) way: Way,
    pub(crate) count: usize,
    pub(crate) at_once: usize,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// The medians of the steps, in their order.
    pub(crate) steps: Vec<(&'static str, f64)>,
    /// For each: in calls of Telegram's methods, and groups that the store made durable.
    pub(crate) telegram: f64,
    pub(crate) commits: f64,
    /// The mean of such a group.
    pub(crate) commit: f64,
}

/// The steps of one account, each with how long it took.
type Steps = Vec<(&'static str, Duration)>;

/// Connects so many accounts, so many at once.
pub(crate) fn run(stage: &Stage, way: Way, count: usize, at_once: usize) -> Result<Connecting> {
    let control = stage.simulator.control();
    let made = |_| http::post(control, "/accounts", &way.account());
    let accounts: Vec<Value> = (0..count).map(made).collect::<Result<_>>()?;
    let figures = || -> Result<[f64; 3]> {
        let metric = |name: &str| stage.runtime.block_on(stage.api.client.metric(name));
        Ok([
            metric("telegram_api_latency_seconds_sum")?,
            metric("telewarden_store_commit_seconds_count")?,
            metric("telewarden_store_commit_seconds_sum")?,
        ])
    };
    let before = figures()?;
    let address = stage.daemon.health;
    let all = stage.runtime.block_on(connect_all(address, control, way, accounts, at_once))?;
    let after = figures()?;
    let [telegram, commits, commit] = [0, 1, 2].map(|index| after[index] - before[index]);
    let mut took: Vec<Duration> =
        all.iter().map(|steps| steps.iter().map(|(_, took)| *took).sum()).collect();
    took.sort_unstable();
    let names: Vec<&'static str> =
        all.first().into_iter().flatten().map(|(name, _)| *name).collect();
    let step = |(index, name): (usize, &'static str)| {
        let mut took: Vec<Duration> =
            all.iter().filter_map(|steps| Some(steps.get(index)?.1)).collect();
        took.sort_unstable();
        (name, quantile(&took, 0.5))
    };
    let steps = names.into_iter().enumerate().map(step).collect();
    let at = |share| quantile(&took, share);
    let (median, p99, max) = (at(0.5), at(0.99), at(1.0));
    let telegram = telegram * 1e3 / count as f64;
    let commit = commit * 1e3 / commits.max(1.0);
    let commits = commits / count as f64;
    Ok(Connecting { way, count, at_once, median, p99, max, steps, telegram, commits, commit })
}

async fn connect_all(
    address: SocketAddr,
    control: SocketAddr,
    way: Way,
    accounts: Vec<Value>,
    at_once: usize,
) -> Result<Vec<Steps>> {
    let client = Arc::new(Client::new(address, USERS)?);
    let (mut waiting, mut under_way) = (accounts.into_iter().enumerate(), JoinSet::new());
    let mut all = Vec::new();
    loop {
        while under_way.len() < at_once
            && let Some((number, account)) = waiting.next()
        {
            let client = Arc::clone(&client);
            under_way.spawn(async move {
                let run = Run { client: &client, control, user: number % USERS, account: &account };
                run.connect(way).await.with_context(|| format!("by {}", way.words()))
            });
        }
        match under_way.join_next().await {
            Some(done) => all.push(done??),
            None => return Ok(all),
        }
    }
}

/// One account on its way.
struct Run<'a> {
    client: &'a Client,
    control: SocketAddr,
    user: usize,
    account: &'a Value,
}

/// Notes the time since the last step.
struct Watch {
    steps: Steps,
    since: Instant,
}

impl Watch {
    fn start() -> Self {
        Self { steps: Vec::new(), since: Instant::now() }
    }

    fn note(&mut self, name: &'static str) {
        self.steps.push((name, self.since.elapsed()));
        self.since = Instant::now();
    }

    /// What passed since is not the daemon's.
    fn pass(&mut self) {
        self.since = Instant::now();
    }
}

impl Run<'_> {
    async fn connect(&self, way: Way) -> Result<Steps> {
        let mut watch = Watch::start();
        let account = match way {
            Way::Session => {
                let body = json!({ "session_string": self.account["session_string"] });
                self.begin("session", &body, &mut watch).await?
            }
            Way::Bot => {
                let body = json!({ "token": self.account["bot_token"] });
                self.begin("bot", &body, &mut watch).await?
            }
            Way::Code | Way::CodeAndPassword => self.by_code(way, &mut watch).await?,
            Way::Qr => self.by_qr(&mut watch).await?,
        };
        let id = account["id"].as_str().with_context(|| format!("no account: {account}"))?;
        until_active(self.client, self.user, id).await?;
        watch.note("active");
        Ok(watch.steps)
    }

    async fn begin(&self, way: &str, body: &Value, watch: &mut Watch) -> Result<Value> {
        let answer = self.client.post(self.user, &format!("{CONNECT}/{way}"), body).await?;
        watch.note("begin");
        Ok(answer)
    }

    async fn by_code(&self, way: Way, watch: &mut Watch) -> Result<Value> {
        let body = json!({ "phone": self.account["phone"] });
        let login = self.begin("sms", &body, watch).await?;
        let code = self.code().await?;
        watch.pass();
        let path = path_of(&login)?;
        let mut login =
            self.client.post(self.user, &format!("{path}/code"), &json!({ "code": code })).await?;
        watch.note("code");
        if way == Way::CodeAndPassword {
            ensure!(login["state"] == "password_required", "no password was asked for: {login}");
            let body = json!({ "password": PASSWORD });
            login = self.client.post(self.user, &format!("{path}/password"), &body).await?;
            watch.note("password");
        }
        Ok(login["account"].clone())
    }

    async fn by_qr(&self, watch: &mut Watch) -> Result<Value> {
        let login = self.begin("qr", &json!({}), watch).await?;
        let path = path_of(&login)?;
        let scan = format!("/accounts/{}/scan_qr", self.account["user_id"]);
        let (control, url) = (self.control, login["qr"]["url"].clone());
        spawn_blocking(move || http::post(control, &scan, &json!({ "url": url }))).await??;
        watch.note("scan");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let login = self.client.get(self.user, &path).await?;
            if login["state"] == "active" {
                watch.note("login");
                return Ok(login["account"].clone());
            }
            ensure!(Instant::now() < deadline, "the login is not over: {login}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn code(&self) -> Result<Value> {
        let path = format!("/accounts/{}/code", self.account["user_id"]);
        let control = self.control;
        Ok(spawn_blocking(move || http::get(control, &path)).await??["code"].clone())
    }
}

fn path_of(login: &Value) -> Result<String> {
    let id = login["login_id"].as_str().with_context(|| format!("no login: {login}"))?;
    Ok(format!("/api/v1/logins/{id}"))
}
