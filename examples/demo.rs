//! The main job on embedded parts: a loopback Telegram with talking chats, the whole daemon, a
//! session that dies and another that takes over, and an account that a user connects and sends with
//! over HTTP. No broker: events are told as they would be published, and at the end compared with
//! what was said.
//!
//! `cargo run --release --example demo [-- --for 60s]`

#![allow(clippy::disallowed_methods, reason = "the demo runs in real time")]

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use telewarden::actors::CommandSink;
use telewarden::app::Daemon;
use telewarden::clock::Clock;
use telewarden::config::{Config, LogFormat};
use telewarden::edge::http::{HealthSource, TokenSecret, Tokens};
use telewarden::protocol::bridge::command;
use telewarden::protocol::bridge::command::Envelope;
use telewarden::protocol::users::owner::{Role, UserId};
use telewarden::protocol::values::secret::SecretText;
use telewarden::store::Outbox;
use telewarden::{app, logging};
use telewarden_simulator::{Account, Chat, ChatKind, NewAccount, NewChat, Options, Simulator};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Level;

/// How long the demo runs unless told otherwise, and at least: a failover must fit in.
const SECONDS_DEFAULT: u64 = 30;
const SECONDS_MIN: u64 = 10;
/// Pause between two messages of a chat.
const TALK_EVERY: Duration = Duration::from_millis(700);
/// How long something may take that is due at once, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);
/// What signs the token of the demo's user. It ends with the demo.
const TOKEN_SECRET: &str = "the demo's own secret, which signs nothing else";
/// Exit code for a wrong command line, and for a second Ctrl-C.
const USAGE: u8 = 2;
const HARD_STOP: i32 = 130;

fn main() -> ExitCode {
    app::prepare_process();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(seconds) = seconds(&arguments) else {
        complain(&format!(
            "usage: demo [--for SECONDS]    a whole number such as 60 or 60s; at least {SECONDS_MIN}, \
             {SECONDS_DEFAULT} where nothing is given"
        ));
        return ExitCode::from(USAGE);
    };
    match run(Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("demo: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// None when the arguments are not understood.
fn seconds(arguments: &[String]) -> Option<u64> {
    match arguments {
        [] => Some(SECONDS_DEFAULT),
        [flag, text] if flag == "--for" => {
            let number = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
            (SECONDS_MIN..=86_400).contains(&number).then_some(number)
        }
        _ => None,
    }
}

fn run(length: Duration) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        demo(length, folder.path(), interruption()?).await?;
        Ok(folder.close()?)
    })
}

/// Cancelled by SIGTERM or Ctrl-C; a second one ends the process at once.
fn interruption() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let interrupted = CancellationToken::new();
    let token = interrupted.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(HARD_STOP);
            }
            say("Stopping early.");
            token.cancel();
        }
    });
    Ok(interrupted)
}

async fn demo(length: Duration, folder: &std::path::Path, stop: CancellationToken) -> Result<()> {
    let sim = Arc::new(Simulator::start(Options::default()).await?);
    say(&format!("A loopback Telegram speaks MTProto at {}.", sim.listen_addr()));
    let stage = Stage::set(&sim).await?;

    let config = config(&sim, folder);
    let _logging = logging::init(config.log.level, config.log.format)?;
    let (daemon, outbox) = Daemon::start(&config).await?;
    let outbox = outbox.context("without the bridge the outbox is ours")?;
    say(&format!("The daemon is up. Look at http://{}/health meanwhile.", config.http.listen));
    for chat in stage.chats.values() {
        stage.monitor(&daemon, chat).await?;
    }
    all_listened_to(&daemon, stage.chats.len()).await?;
    say("Both chats are listened to through the session `primary`.\n");
    let user = User::new(&config)?;
    let account = user.connect(&stage.visitor).await?;
    say("The chats begin to talk.\n");

    let (total, expected) = watch::channel(None);
    let teller = tokio::spawn(tell_events(outbox, stage.titles(), expected));
    let talk = tokio::spawn(talk(Arc::clone(&sim), stage.author, stage.chat_ids()));
    user.send_twice(&account, stage.chats["Support"].chat_id).await?;
    perform(&sim, &stage, length, &stop).await?;
    talk.abort();
    let _ = talk.await;
    let said = stage.said(&sim).await?;
    let count = said.values().map(Vec::len).sum();
    total.send_replace(Some(if stop.is_cancelled() { 0 } else { count }));
    let told = teller.await?;
    daemon.stop().await?;
    match stop.is_cancelled() {
        true => say("What was told so far is not compared with what was said."),
        false => compare(&stage, &said, &told)?,
    }
    Ok(())
}

/// What happens while the chats talk.
async fn perform(
    sim: &Simulator,
    stage: &Stage,
    length: Duration,
    stop: &CancellationToken,
) -> Result<()> {
    if stop.run_until_cancelled(sleep(length / 3)).await.is_none() {
        return Ok(());
    }
    say("\nNow Telegram ends the session `primary`. The daemon logs that as an error, reports it \
         for\neach chat, and goes on through `backup`, which first fetches what was missed.\n");
    sim.revoke(stage.primary.user_id, None).await?;
    sim.disconnect(stage.primary.user_id).await?;
    let _ = stop.run_until_cancelled(sleep(length - length / 3)).await;
    Ok(())
}

async fn all_listened_to(daemon: &Daemon, chats: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let is_active = || {
        let states = daemon.health().report().monitors.by_state;
        states.get("active").is_some_and(|count| *count == chats as u64)
    };
    while !is_active() {
        ensure!(Instant::now() < deadline, "the chats are not listened to after {PATIENCE:?}");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A user of the API.
struct User {
    client: reqwest::Client,
    api: String,
    token: String,
}

impl User {
    fn new(config: &Config) -> Result<Self> {
        let secret = TokenSecret::new(SecretText::new(TOKEN_SECRET.to_owned()))?;
        let user = UserId::new("demo".to_owned())?;
        let token = Tokens::new(&secret, Clock::system()).mint(
            &user,
            Role::User,
            Duration::from_secs(86_400),
        )?;
        let api = format!("http://{}/api/v1", config.http.listen);
        Ok(Self { client: reqwest::Client::builder().no_proxy().build()?, api, token })
    }

    /// Connects an account by its session string; its id.
    async fn connect(&self, account: &Account) -> Result<String> {
        let body = json!({ "session_string": account.session_string });
        let (account, _) = self.post("/accounts/telegram/connect/session", "", &body).await?;
        say(&format!("A user connected an account of theirs over HTTP: {account:#}"));
        let id = account["id"].as_str().context("the answer names no account")?;
        Ok(id.to_owned())
    }

    /// Sends a message, and repeats the request as a client does that saw no answer.
    async fn send_twice(&self, account: &str, chat: i64) -> Result<()> {
        let body = json!({ "to": chat, "text": "**sent** over HTTP", "parse_mode": "markdown" });
        let path = format!("/accounts/{account}/messages");
        let (first, _) = self.post(&path, "demo-1", &body).await?;
        let (second, is_replayed) = self.post(&path, "demo-1", &body).await?;
        ensure!(first == second && is_replayed, "the same key sent {first} and then {second}");
        say(&format!(
            "The account sent #{} to Support; asked again with the same Idempotency-Key, the daemon \
             gave\nthe same answer and sent nothing.",
            first["message_id"]
        ));
        Ok(())
    }

    /// The answer, and whether it is that of an earlier request with the same key.
    async fn post(&self, path: &str, key: &str, body: &Value) -> Result<(Value, bool)> {
        let mut request = self.client.post(format!("{}{path}", self.api)).bearer_auth(&self.token);
        if !key.is_empty() {
            request = request.header("Idempotency-Key", key);
        }
        let response = request.json(body).send().await?;
        let is_replayed = response.headers().contains_key("idempotency-replayed");
        let (status, answer) = (response.status(), response.json::<Value>().await?);
        ensure!(status.is_success(), "{path} was answered {status}: {answer}");
        Ok((answer, is_replayed))
    }
}

struct Stage {
    author: i64,
    /// Belongs to a user of the API.
    visitor: Account,
    primary: Account,
    backup: Account,
    /// By title.
    chats: BTreeMap<String, Chat>,
}

impl Stage {
    async fn set(sim: &Simulator) -> Result<Self> {
        let author = sim.add_account(NewAccount::default()).await?.user_id;
        let visitor = sim.add_account(NewAccount::default()).await?;
        let primary = sim.add_account(NewAccount::default()).await?;
        let backup = sim.add_account(NewAccount::default()).await?;
        let mut chats = BTreeMap::new();
        for (title, kind) in [("Support", ChatKind::Supergroup), ("News", ChatKind::Channel)] {
            let members = vec![primary.user_id, backup.user_id, visitor.user_id];
            let (title, admins) = (title.to_owned(), vec![author]);
            let new = NewChat { kind, title: title.clone(), username: None, members, admins };
            chats.insert(title, sim.add_chat(new).await?);
        }
        Ok(Self { author, visitor, primary, backup, chats })
    }

    fn titles(&self) -> BTreeMap<i64, String> {
        self.chats.iter().map(|(title, chat)| (chat.chat_id, title.clone())).collect()
    }

    fn chat_ids(&self) -> Vec<i64> {
        self.chats.values().map(|chat| chat.chat_id).collect()
    }

    /// The ids of what was said, by chat.
    async fn said(&self, sim: &Simulator) -> Result<BTreeMap<i64, Vec<i64>>> {
        let mut said = BTreeMap::new();
        for chat_id in self.chat_ids() {
            let messages = sim.messages(chat_id).await?;
            let ids = messages.iter().map(|message| i64::from(message.message_id));
            said.insert(chat_id, ids.collect());
        }
        Ok(said)
    }

    /// Hands the daemon the very command that a backend would send.
    async fn monitor(&self, daemon: &Daemon, chat: &Chat) -> Result<()> {
        let body = json!({
            "command": "start_monitoring_chat",
            "chat_id": chat.chat_id,
            "primary_session": session("primary", &self.primary),
            "backup_sessions_pool": [session("backup", &self.backup)],
        });
        let body = serde_json::to_vec(&body)?;
        let order = command::parse(Envelope { body: &body, ..Envelope::default() })?;
        let accepted = daemon.commands().submit(order).await;
        accepted.map_err(|_| anyhow::anyhow!("the daemon did not take the command"))
    }
}

fn session(id: &str, account: &Account) -> Value {
    json!({ "id": id, "api_hash": account.api_hash, "session_string": account.session_string })
}

fn config(sim: &Simulator, folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.telegram.api_id = Some(1);
    config.telegram.servers = BTreeMap::from([(2, sim.listen_addr().into())]);
    config.store.path = folder.join("state");
    config.failover.retry_delay = Duration::from_secs(2);
    config.http.listen = ([127, 0, 0, 1], free_port()).into();
    config.auth.jwt_secret = Some(SecretText::new(TOKEN_SECRET.to_owned()));
    config.log.format = LogFormat::Text;
    // A new key file and a connection that ends are worth a warning elsewhere; here they belong
    // to the play.
    config.log.level = Level::ERROR;
    config
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr());
    listener.map_or(8080, |address| address.port())
}

/// Chats that talk.
async fn talk(sim: Arc<Simulator>, author: i64, chats: Vec<i64>) {
    let mut tick = interval(TALK_EVERY);
    for number in 1.. {
        tick.tick().await;
        for chat in &chats {
            if sim.post(*chat, author, &format!("message {number}")).await.is_err() {
                return;
            }
        }
    }
}

/// What was told of one chat.
#[derive(Default)]
struct Told {
    /// Ids in the order in which they came.
    ids: Vec<i64>,
    /// How many of them were fetched after a gap.
    recovered: usize,
}

/// Tells of events as they would be published, until as many messages as `expected` came, or none
/// comes any more. Answers what was told, by chat.
async fn tell_events(
    mut outbox: Outbox,
    titles: BTreeMap<i64, String>,
    mut expected: watch::Receiver<Option<usize>>,
) -> BTreeMap<i64, Told> {
    let mut told: BTreeMap<i64, Told> = BTreeMap::new();
    let mut kinds = HashSet::new();
    loop {
        let count: usize = told.values().map(|chat| chat.ids.len()).sum();
        if expected.borrow_and_update().is_some_and(|total| count >= total) {
            return told;
        }
        let entries = tokio::select! {
            entries = timeout(PATIENCE, outbox.next(64)) => entries,
            _ = expected.changed() => continue,
        };
        let Ok(entries) = entries else { return told };
        for (seq, entry) in entries {
            let body: Value = serde_json::from_slice(&entry.body).unwrap_or_default();
            if kinds.insert(entry.kind.clone()) {
                say(&format!("The first {} in full: {body:#}\n", entry.kind));
            }
            say(&line(&body, &titles));
            if let (Some(chat), Some(id)) = (body["chat_id"].as_i64(), body["message_id"].as_i64())
            {
                let chat = told.entry(chat).or_default();
                chat.ids.push(id);
                chat.recovered += usize::from(body["metadata"]["recovered"] == true);
            }
            outbox.acknowledge(seq);
        }
    }
}

/// An event in a line: what, which chat, through which session.
fn line(body: &Value, titles: &BTreeMap<i64, String>) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let title = body["chat_id"].as_i64().and_then(|chat| titles.get(&chat));
    let title = title.map_or("?", String::as_str);
    let metadata = &body["metadata"];
    match body["message_id"].as_i64() {
        None => format!(
            "{title:<8} {} session={} reason={}",
            text(&body["event"]),
            text(&body["session_id"]),
            text(&body["reason"])
        ),
        Some(id) => format!(
            "{title:<8} #{id:<4} {:<9} {:<8} {}",
            if metadata["recovered"] == true { "recovered" } else { "live" },
            text(&metadata["session_id"]),
            text(&body["text"])
        ),
    }
}

/// Compares what was told with what was said.
fn compare(
    stage: &Stage,
    said: &BTreeMap<i64, Vec<i64>>,
    told: &BTreeMap<i64, Told>,
) -> Result<()> {
    let (mut whole, mut recovered) = (0, 0);
    say("");
    for (title, chat) in &stage.chats {
        let said = said.get(&chat.chat_id).map(Vec::as_slice).unwrap_or_default();
        let heard = told.get(&chat.chat_id).map(|told| told.ids.as_slice()).unwrap_or_default();
        if heard != said {
            bail!("{title} said {said:?}, but told was {heard:?}");
        }
        let fetched = told.get(&chat.chat_id).map_or(0, |told| told.recovered);
        let live = said.len() - fetched;
        say(&format!("{title:<8} {live} messages came live, {fetched} were recovered."));
        whole += said.len();
        recovered += fetched;
    }
    say(&format!(
        "In all, {} messages came live and {recovered} were recovered through the failover.\n\
         All {whole} were told once and in order.",
        whole - recovered
    ));
    Ok(())
}

/// Nobody reads it when the pipe is closed; that is no failure.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
