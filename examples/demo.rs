//! The main job on embedded parts: a loopback Telegram with talking chats, the whole daemon, a
//! session that dies and another that takes over. No broker: events are printed as they would be
//! published.
//!
//! `cargo run --release --example demo [-- --for 60s]`

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use telewarden::app::Daemon;
use telewarden::config::{Config, LogFormat};
use telewarden::edge::amqp::CommandSink;
use telewarden::edge::http::HealthSource;
use telewarden::protocol::command::{self, Envelope};
use telewarden::store::Outbox;
use telewarden::{app, logging};
use telewarden_simulator::{Account, Chat, ChatKind, NewAccount, NewChat, Options, Simulator};
use tokio::time::{Instant, interval, sleep_until};

/// How long the demo runs unless told otherwise.
const DEFAULT_SECONDS: u64 = 30;
/// Pause between two messages of a chat.
const TALK_EVERY: Duration = Duration::from_millis(700);

fn main() -> Result<()> {
    app::prepare_process();
    let seconds = seconds()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(demo(Duration::from_secs(seconds)))
}

/// `--for 60s`.
fn seconds() -> Result<u64> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(DEFAULT_SECONDS),
        (Some("--for"), Some(text)) => {
            let number = text.strip_suffix('s').unwrap_or(&text);
            number.parse().with_context(|| format!("--for takes seconds such as 60s, not {text}"))
        }
        (Some(other), _) => bail!("unknown argument {other}; try --for 60s"),
    }
}

async fn demo(runtime: Duration) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sim = Arc::new(Simulator::start(Options::default()).await?);
    say(&format!("A loopback Telegram speaks MTProto at {}.", sim.listen_addr()));
    let stage = Stage::set(&sim).await?;

    let config = config(&sim, folder.path());
    let _logging = logging::init(config.log.level, config.log.format)?;
    let (daemon, outbox) = Daemon::start(&config).await?;
    let outbox = outbox.context("without the bridge the outbox is ours")?;
    say(&format!("The daemon is up. Look at http://{}/health meanwhile.", config.http.listen));

    for chat in &stage.chats {
        stage.monitor(&daemon, chat).await?;
    }
    let printer = tokio::spawn(print_events(outbox));
    let talk = tokio::spawn(talk(Arc::clone(&sim), stage.author, stage.chats.clone()));

    let end = Instant::now() + runtime;
    sleep_until(Instant::now() + runtime / 3).await;
    say(
        "Now Telegram ends the session of `primary`: watch the failover and the recovered messages.",
    );
    sim.revoke(stage.primary.user_id, None).await?;
    sim.disconnect(stage.primary.user_id).await?;
    sleep_until(end).await;

    talk.abort();
    // The printer ends once no event has come for a while.
    let told = printer.await?;
    let report = daemon.health().report();
    say(&format!("Monitors at the end: {:?}", report.monitors.by_state));
    daemon.stop().await?;
    check(&sim, &stage.chats, &told).await
}

struct Stage {
    author: i64,
    primary: Account,
    backup: Account,
    chats: Vec<Chat>,
}

impl Stage {
    async fn set(sim: &Simulator) -> Result<Self> {
        let author = sim.add_account(NewAccount::default()).await?.user_id;
        let primary = sim.add_account(NewAccount::default()).await?;
        let backup = sim.add_account(NewAccount::default()).await?;
        let mut chats = Vec::new();
        for (title, kind) in [("Support", ChatKind::Supergroup), ("News", ChatKind::Channel)] {
            let members = vec![primary.user_id, backup.user_id];
            let (title, admins) = (title.to_owned(), vec![author]);
            let new = NewChat { kind, title, username: None, members, admins };
            chats.push(sim.add_chat(new).await?);
        }
        Ok(Self { author, primary, backup, chats })
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
        let accepted = daemon.orders().submit(order).await;
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
    config.log.format = LogFormat::Text;
    config
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr());
    listener.map_or(8080, |address| address.port())
}

/// Chats that talk.
async fn talk(sim: Arc<Simulator>, author: i64, chats: Vec<Chat>) {
    let mut tick = interval(TALK_EVERY);
    for number in 1.. {
        tick.tick().await;
        for chat in &chats {
            if sim.post(chat.chat_id, author, &format!("message {number}")).await.is_err() {
                return;
            }
        }
    }
}

/// Prints events as they would be published; answers which messages were told, in order.
async fn print_events(mut outbox: Outbox) -> BTreeMap<i64, Vec<i64>> {
    let mut told: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut seen = HashSet::new();
    loop {
        let waited = tokio::time::timeout(Duration::from_secs(3), outbox.next(64)).await;
        let Ok(entries) = waited else { return told };
        for (seq, entry) in entries {
            let body: Value = serde_json::from_slice(&entry.body).unwrap_or_default();
            say(&format!("{:<26} {body}", entry.kind));
            let message = (body["chat_id"].as_i64(), body["message_id"].as_i64());
            if let (true, (Some(chat), Some(id))) = (seen.insert(entry.message_id), message) {
                told.entry(chat).or_default().push(id);
            }
            outbox.release(seq);
        }
    }
}

/// Compares what was told with what was said.
async fn check(sim: &Simulator, chats: &[Chat], told: &BTreeMap<i64, Vec<i64>>) -> Result<()> {
    for chat in chats {
        let said = sim.messages(chat.chat_id).await?;
        let said: Vec<i64> = said.iter().map(|message| i64::from(message.message_id)).collect();
        let heard = told.get(&chat.chat_id).cloned().unwrap_or_default();
        let whole = said.len();
        if heard != said {
            bail!(
                "chat {}: {} of {whole} messages told, or out of order",
                chat.chat_id,
                heard.len()
            );
        }
        say(&format!("Chat {}: all {whole} messages told once and in order.", chat.chat_id));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a demo talks to whoever started it")]
fn say(line: &str) {
    println!("{line}");
}
