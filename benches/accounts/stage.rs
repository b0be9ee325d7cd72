//! Everything that runs during a benchmark: the simulator with its people, the daemon with accounts
//! that were connected over HTTP, the bare library with as many of its own. Knows what each costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::bare_sender::{Cast, Child, Role};
use crate::broker::Broker;
use crate::client::{Answer, Ask, Client, SECRET};
use crate::daemon::Daemon;
use crate::http;
use crate::machine;
use crate::processes::{Member, PATIENCE, Places, Simulator};
use crate::sends::{self, Drive, Driven, Order, Sender};

/// Users whose accounts they are, the accounts spread over them evenly.
pub(crate) const USERS: usize = 50;
/// People who are written to; the accounts share them.
const PEOPLE: usize = 100;
/// Accounts that are connected at once.
const CONNECTING: usize = 50;
const POLL: Duration = Duration::from_millis(5);
/// Until memory is what it stays.
pub(crate) const SETTLE: Duration = Duration::from_secs(4);

/// Everything.
pub(crate) struct Stage {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) simulator: Simulator,
    pub(crate) daemon: Daemon,
    pub(crate) api: Arc<ApiSender>,
    pub(crate) bare: Child,
    /// Ids of those who are written to.
    pub(crate) people: Vec<i64>,
    /// KiB a session or account, and the like; what was noted on the way.
    pub(crate) filling: Filling,
    // Dropped last.
    _broker: Broker,
    _home: TempDir,
}

/// How the daemon was filled with accounts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Filling {
    pub(crate) accounts: usize,
    /// Until all were active, seconds.
    pub(crate) seconds: f64,
    pub(crate) empty_kib: u64,
    pub(crate) idle_kib: u64,
    /// The same of another daemon that was told of as many sessions by the bridge.
    pub(crate) bridge_empty_kib: u64,
    pub(crate) bridge_idle_kib: u64,
}

/// Sends over HTTP.
pub(crate) struct ApiSender {
    pub(crate) client: Client,
    pub(crate) accounts: Vec<Account>,
}

/// An account that is connected over HTTP.
pub(crate) struct Account {
    /// Whose it is.
    pub(crate) user: usize,
    pub(crate) id: String,
    /// Marked.
    pub(crate) chat_id: i64,
    /// Where it writes private messages.
    pub(crate) person: String,
    /// What it sent to its supergroup last.
    newest: AtomicI32,
}

impl ApiSender {
    /// Sends one and says what was answered.
    pub(crate) async fn ask(&self, order: Order, key: Option<&str>) -> Result<Answer> {
        let account = self.accounts.get(order.account).context("no such account")?;
        let (path, body) = account.request(order);
        let body = body.to_string();
        let ask = Ask { user: account.user, method: "POST", path: &path, key, body: &body };
        self.client.ask(ask).await
    }
}

impl Account {
    fn request(&self, order: Order) -> (String, Value) {
        let to = if order.to_chat { self.chat_id.to_string() } else { format!("@{}", self.person) };
        let mut body = json!({ "to": to, "timeout": 25 });
        body["text"] = if order.is_marked { order.markdown() } else { order.text() }.into();
        if order.is_marked {
            body["parse_mode"] = "markdown".into();
        }
        let newest = self.newest.load(Ordering::Relaxed);
        if order.to_chat && order.is_reply && newest > 0 {
            body["reply_to"] = newest.into();
        }
        (format!("/api/v1/accounts/{}/messages", self.id), body)
    }
}

impl Sender for ApiSender {
    async fn send(&self, order: Order) -> Result<Duration> {
        let key = order.is_keyed.then(|| order.number.to_string());
        let answer = self.ask(order, key.as_deref()).await?;
        let sent = answer.success()?;
        let id = sent["message_id"].as_i64().and_then(|id| i32::try_from(id).ok());
        let id = id.context("no message id")?;
        if order.to_chat
            && let Some(account) = self.accounts.get(order.account)
        {
            account.newest.store(id, Ordering::Relaxed);
        }
        Ok(answer.took)
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Subject {
    Daemon,
    Bare,
}

/// A drive, and what it cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) subject: Subject,
    pub(crate) drive: Drive,
    pub(crate) driven: Driven,
    /// The simulator's own time for each, milliseconds: the mean.
    pub(crate) handling: f64,
    /// CPU microseconds for each.
    pub(crate) own_cpu: f64,
    pub(crate) simulator_cpu: f64,
    /// Of the harness, where it is not the subject itself.
    pub(crate) client_cpu: f64,
    /// Groups that the store made durable, for each.
    pub(crate) commits: f64,
    /// How long one took, milliseconds: the mean.
    pub(crate) commit: f64,
    /// Share of the machine's cores that others used meanwhile.
    pub(crate) others: f64,
}

/// Figures before a drive, or after it.
struct Reading {
    at: Instant,
    own: Duration,
    simulator: Duration,
    client: Duration,
    all: Duration,
    handled: f64,
    handling_micros: f64,
    commits: f64,
    commit_seconds: f64,
}

impl Stage {
    /// Sets it.
    pub(crate) fn set(
        runtime: &Arc<Runtime>,
        places: &Places,
        accounts: usize,
        seed: u64,
    ) -> Result<Self> {
        let home = TempDir::new()?;
        let key = home.path().join("key.pem").display().to_string();
        let seed = seed.to_string();
        let more = ["--public-key", &key, "--seed", &seed];
        let simulator = Simulator::start_with(&places.simulator, &more)?;
        let filling = Filling::of_bridge(runtime, places, &simulator, accounts)?;
        let people = add_people(simulator.control())?;
        let broker = Broker::connect(Arc::clone(runtime), &places.broker_url()?)?;
        let environment = environment(&key);
        let daemon = Daemon::start_with(&places.daemon, &simulator, &broker, environment)?;
        let empty_kib = rest(daemon.pid())?;
        let client = Client::new(daemon.health, USERS)?;
        let members = simulator.populate(accounts)?;
        let began = Instant::now();
        let api = runtime.block_on(connect_all(client, &members, &people))?;
        let seconds = began.elapsed().as_secs_f64();
        let idle_kib = rest(daemon.pid())?;
        let filling = Filling { accounts, seconds, empty_kib, idle_kib, ..filling };
        let bare = Child::start(&cast(&simulator, accounts, &people)?)?;
        let runtime = Arc::clone(runtime);
        let (api, _broker, _home) = (Arc::new(api), broker, home);
        let people = people.into_iter().map(|(_, id)| id).collect();
        Ok(Self { runtime, simulator, daemon, api, bare, people, filling, _broker, _home })
    }

    /// Drives sends through one of the subjects.
    pub(crate) fn drive(&mut self, subject: Subject, drive: Drive) -> Result<Measured> {
        let before = self.read(subject)?;
        let driven = match subject {
            Subject::Bare => self.bare.drive(drive)?,
            Subject::Daemon => {
                let (api, count) = (Arc::clone(&self.api), self.api.accounts.len());
                let driven = async move { sends::drive(&api, drive, count).await };
                self.runtime.block_on(self.runtime.spawn(driven))?
            }
        };
        let after = self.read(subject)?;
        let count = driven.sent.max(1) as f64;
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / count;
        let (own, simulator) = (after.own - before.own, after.simulator - before.simulator);
        let client = after.client - before.client;
        let others = (after.all - before.all).saturating_sub(own + simulator + client);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let handled = (after.handled - before.handled).max(1.0);
        let commits = after.commits - before.commits;
        Ok(Measured {
            subject,
            drive,
            handling: (after.handling_micros - before.handling_micros) / 1e3 / handled,
            own_cpu: each(own),
            simulator_cpu: each(simulator),
            client_cpu: each(client),
            commits: commits / count,
            commit: (after.commit_seconds - before.commit_seconds) * 1e3 / commits.max(1.0),
            others: others.as_secs_f64() / (after.at - before.at).as_secs_f64() / cores,
            driven,
        })
    }

    /// Has each of the daemon's accounts write to its supergroup and its person once, a few at a time.
    pub(crate) fn look_up_all(&self, first: u64) -> Result<()> {
        let api = Arc::clone(&self.api);
        let order = move |number: usize| Order {
            number: first + number as u64,
            account: number / 2,
            to_chat: number.is_multiple_of(2),
            is_keyed: false,
            is_marked: false,
            is_reply: false,
        };
        let numbers = 0..api.accounts.len() * 2;
        let sending = futures_util::stream::iter(numbers.map(move |number| {
            let api = Arc::clone(&api);
            async move { api.send(order(number)).await }
        }));
        let sent = sending.buffer_unordered(CONNECTING).try_collect::<Vec<_>>();
        self.runtime.block_on(sent).map(drop)
    }

    fn read(&self, subject: Subject) -> Result<Reading> {
        let stats = self.simulator.stats()?;
        let number = |name: &str| stats[name].as_f64().context("no such counter");
        let own = match subject {
            Subject::Daemon => self.daemon.pid(),
            Subject::Bare => self.bare.pid(),
        };
        let metric = |name: &str| self.runtime.block_on(self.api.client.metric(name));
        Ok(Reading {
            at: Instant::now(),
            own: machine::cpu_of(own)?,
            simulator: machine::cpu_of(self.simulator.pid())?,
            client: machine::cpu_of(std::process::id())?,
            all: machine::cpu_of_all()?,
            handled: number("send_handling_count")?,
            handling_micros: number("send_handling_micros")?,
            commits: metric("telewarden_store_commit_seconds_count")?,
            commit_seconds: metric("telewarden_store_commit_seconds_sum")?,
        })
    }

    /// What the simulator saw that no client may do: nothing, in a clean run.
    pub(crate) fn violations(&self) -> Result<u64> {
        let stats = self.simulator.stats()?;
        let counts = stats["violations"].as_object().context("no violations")?;
        Ok(counts.values().filter_map(Value::as_u64).sum())
    }
}

impl Filling {
    /// What a session of the bridge takes in a daemon of its own, which is gone afterwards.
    fn of_bridge(
        runtime: &Arc<Runtime>,
        places: &Places,
        simulator: &Simulator,
        sessions: usize,
    ) -> Result<Self> {
        let broker = Broker::connect(Arc::clone(runtime), &places.broker_url()?)?;
        let daemon = Daemon::start(&places.daemon, simulator, &broker)?;
        let bridge_empty_kib = rest(daemon.pid())?;
        daemon.listen(&simulator.populate(sessions)?, &broker)?;
        let bridge_idle_kib = rest(daemon.pid())?;
        drop(daemon);
        broker.clean()?;
        Ok(Self { bridge_empty_kib, bridge_idle_kib, ..Self::default() })
    }
}

/// Memory of a process once it has come to rest.
fn rest(pid: u32) -> Result<u64> {
    std::thread::sleep(SETTLE);
    Ok(machine::memory_of(pid)?.rss)
}

/// No limit of the daemon's own holds anything back, and logins trust the simulator's key.
fn environment(key: &str) -> Vec<(String, String)> {
    let settings = [
        ("TELEWARDEN__AUTH__JWT_SECRET", SECRET),
        ("TELEWARDEN__TELEGRAM__SERVER_PUBLIC_KEY_FILE", key),
        ("TELEWARDEN__TELEGRAM__LIMITS__SEND__PER_MINUTE", "6000"),
        ("TELEWARDEN__TELEGRAM__LIMITS__SEND__BURST", "1000"),
        ("TELEWARDEN__TELEGRAM__LIMITS__SEND__PER_DAY", "10000000"),
        ("TELEWARDEN__HTTP__LIMITS__CONNECT_PER_MINUTE", "10000000"),
        ("TELEWARDEN__HTTP__LIMITS__SEND_PER_MINUTE", "10000000"),
        ("TELEWARDEN__HTTP__LIMITS__CHANGE_PER_MINUTE", "10000000"),
        ("TELEWARDEN__HTTP__LIMITS__CHANGE_BURST", "10000000"),
        ("TELEWARDEN__HTTP__LIMITS__OTHER_PER_MINUTE", "10000000"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

fn person_of(number: usize, people: &[(String, i64)]) -> String {
    people.get(number % people.len().max(1)).map_or_else(String::new, |person| person.0.clone())
}

fn add_people(control: SocketAddr) -> Result<Vec<(String, i64)>> {
    let add = |number: usize| -> Result<(String, i64)> {
        let username = format!("bench_person_{number}");
        let person = json!({ "username": username, "logged_in": false });
        let made = http::post(control, "/accounts", &person)?;
        Ok((username, made["user_id"].as_i64().context("no id")?))
    };
    (0..PEOPLE).map(add).collect()
}

fn cast(simulator: &Simulator, accounts: usize, people: &[(String, i64)]) -> Result<Cast> {
    let members = simulator.populate(accounts)?;
    let role = |(number, member): (usize, Member)| Role {
        session_string: member.session.session_string,
        chat_id: member.chat_id,
        person: person_of(number, people),
    };
    let accounts = members.into_iter().enumerate().map(role).collect();
    Ok(Cast { telegram: simulator.telegram, accounts })
}

/// Connects all by their session strings and waits until all are active.
async fn connect_all(
    client: Client,
    members: &[Member],
    people: &[(String, i64)],
) -> Result<ApiSender> {
    let client = Arc::new(client);
    let (mut accounts, mut connecting) = (Vec::new(), JoinSet::new());
    let mut waiting = members.iter().enumerate();
    loop {
        while connecting.len() < CONNECTING
            && let Some((number, member)) = waiting.next()
        {
            let (client, person) = (Arc::clone(&client), person_of(number, people));
            let (string, chat_id) = (member.session.session_string.clone(), member.chat_id);
            connecting.spawn(async move {
                let user = number % USERS;
                let id = connect(&client, user, &string).await?;
                let newest = AtomicI32::new(0);
                anyhow::Ok((number, Account { user, id, chat_id, person, newest }))
            });
        }
        match connecting.join_next().await {
            Some(done) => accounts.push(done??),
            None => break,
        }
    }
    accounts.sort_unstable_by_key(|(number, _)| *number);
    let accounts = accounts.into_iter().map(|(_, account)| account).collect();
    let client = Arc::into_inner(client).context("the client is still in use")?;
    Ok(ApiSender { client, accounts })
}

async fn connect(client: &Client, user: usize, session_string: &str) -> Result<String> {
    let body = json!({ "session_string": session_string });
    let account = client.post(user, "/api/v1/accounts/telegram/connect/session", &body).await?;
    let id = account["id"].as_str().context("no id")?.to_owned();
    until_active(client, user, &id).await?;
    Ok(id)
}

/// Waits until the account's status says that it is active.
pub(crate) async fn until_active(client: &Client, user: usize, id: &str) -> Result<()> {
    let path = format!("/api/v1/accounts/{id}/status");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = client.get(user, &path).await?;
        if status["state"] == "active" {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the account is not active: {status}");
        tokio::time::sleep(POLL).await;
    }
}
