//! The processes that are measured: the simulator and the two subjects, each a child that ends
//! when its handle is dropped.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bare_pipe::{Session, Settings};
use crate::broker::Broker;
use crate::daemon::Daemon;
use crate::http;

/// How long anything may take to come about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(25);

/// Waits for something that is looked at again and again.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// A child that is killed when it is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is noticed elsewhere.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A population at the simulator: one chat for each account.
pub(crate) struct Member {
    pub(crate) user_id: i64,
    pub(crate) chat_id: i64,
    pub(crate) session: Session,
    pub(crate) api_hash: String,
}

/// A simulator of one run's own.
pub(crate) struct Simulator {
    process: Process,
    pub(crate) telegram: SocketAddrV4,
    control: SocketAddr,
    // It ends when it cannot write.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Simulator {
    /// Starts it on free ports.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        Self::start_with(program, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(program: &Path, more: &[&str]) -> Result<Self> {
        let arguments = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
        let mut child = Command::new(program)
            .args(arguments)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let process = Process(child);
        let mut word = || -> Result<String> {
            let line = lines.next().context("the simulator says nothing")??;
            Ok(line.rsplit([' ', '/']).next().unwrap_or_default().to_owned())
        };
        let (telegram, control) = (word()?.parse()?, word()?.parse()?);
        Ok(Self { telegram, control, process, _output: lines })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Makes accounts with a chat each.
    pub(crate) fn populate(&self, accounts: usize) -> Result<Vec<Member>> {
        let spec = json!({ "accounts": accounts, "chats_per_account": 1, "paused": true });
        let load = http::post(self.control, "/load", &spec)?;
        let (accounts, chats) = (load["accounts"].as_array(), load["chats"].as_array());
        let pairs = accounts.context("no accounts")?.iter().zip(chats.context("no chats")?);
        let member = |(number, (account, chat)): (usize, (&Value, &Value))| {
            let text = |field: &str| account[field].as_str().map(str::to_owned);
            Some(Member {
                user_id: account["user_id"].as_i64()?,
                chat_id: chat["chat_id"].as_i64()?,
                session: Session {
                    id: session_id(number),
                    session_string: text("session_string")?,
                },
                api_hash: text("api_hash")?,
            })
        };
        pairs.enumerate().map(member).collect::<Option<_>>().context("an unknown shape")
    }

    /// Makes an account with a chat that no load writes to; `number` tells it from all others.
    pub(crate) fn add_quiet_member(&self, number: usize) -> Result<Member> {
        let account = http::post(self.control, "/accounts", &json!({}))?;
        let user_id = account["user_id"].as_i64().context("no account")?;
        let title = format!("Quiet {number}");
        let chat = json!({ "kind": "supergroup", "title": title, "members": [user_id] });
        let chat = http::post(self.control, "/chats", &chat)?;
        let text = |field: &str| account[field].as_str().map(str::to_owned).context("no such text");
        Ok(Member {
            user_id,
            chat_id: chat["chat_id"].as_i64().context("no chat")?,
            session: Session { id: session_id(number), session_string: text("session_string")? },
            api_hash: text("api_hash")?,
        })
    }

    /// Starts messages; answers how many there will be.
    pub(crate) fn run(&self, per_second: f64, seconds: f64, text_bytes: usize) -> Result<u64> {
        let run = json!({
            "messages_per_second": per_second, "seconds": seconds, "text_bytes": text_bytes,
        });
        wait_for("the load before to end", || Ok(self.stats()?["load_done"] == true))?;
        http::post(self.control, "/load/run", &run)?;
        Ok((per_second * seconds).round() as u64)
    }

    pub(crate) fn stats(&self) -> Result<Value> {
        http::get(self.control, "/stats")
    }

    /// Closes the connections of all accounts of the population at one moment; answers how many
    /// there have been once all of those are back.
    pub(crate) fn disconnect_all(&self) -> Result<u64> {
        let total = self.stats()?["connections_total"].as_u64().context("no count")?;
        let closed = http::post(self.control, "/load/disconnect", &Value::Null)?;
        Ok(total + closed["closed"].as_u64().context("no count")?)
    }

    /// Where the control API is, for whoever disturbs accounts meanwhile.
    pub(crate) fn control(&self) -> SocketAddr {
        self.control
    }
}

/// The id that stands for session `number`.
fn session_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Which program is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Daemon,
    BarePipe,
}

/// A program under measurement.
pub(crate) enum Subject {
    Daemon(Daemon),
    BarePipe(BarePipe),
}

impl Subject {
    /// Starts it without sessions, with its link to the broker up.
    pub(crate) fn start(
        kind: Kind,
        program: &Path,
        simulator: &Simulator,
        broker: &Broker,
    ) -> Result<Self> {
        Ok(match kind {
            Kind::Daemon => Self::Daemon(Daemon::start(program, simulator, broker)?),
            Kind::BarePipe => Self::BarePipe(BarePipe::start(simulator, broker)?),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Daemon(daemon) => daemon.pid(),
            Self::BarePipe(pipe) => pipe.0.pid(),
        }
    }

    /// Has it listen to all these chats and waits until it does.
    pub(crate) fn listen(&mut self, members: &[Member], broker: &Broker) -> Result<()> {
        match self {
            Self::Daemon(daemon) => daemon.listen(members, broker),
            Self::BarePipe(pipe) => pipe.listen(members),
        }
    }

    /// Waits until `count` connections of `simulator` are there and in use, and it has had at least
    /// `total`.
    pub(crate) fn wait_for_return(
        &self,
        simulator: &Simulator,
        total: u64,
        count: u64,
    ) -> Result<()> {
        wait_for("the sessions to come back", || {
            let stats = simulator.stats()?;
            let had = stats["connections_total"].as_u64().unwrap_or(0);
            Ok(stats["connections"] == count && had >= total)
        })?;
        match self {
            Self::Daemon(daemon) => daemon.wait_until_active(count),
            Self::BarePipe(_) => Ok(()),
        }
    }

    /// Whether the broker has confirmed everything it was given.
    pub(crate) fn is_drained(&mut self) -> Result<bool> {
        match self {
            Self::Daemon(daemon) => Ok(daemon.health()?["outbox"]["depth"] == 0),
            Self::BarePipe(pipe) => Ok(pipe.0.ask("")? == "0"),
        }
    }
}

/// This very program in another role, which answers each line that it is told with one line.
pub(crate) struct Helper {
    process: Process,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    role: &'static str,
}

impl Helper {
    /// Starts it; `role` is the argument that gives it its role.
    pub(crate) fn start(role: &'static str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("a pipe")?;
        let output = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        Ok(Self { process: Process(child), input, output, role })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub(crate) fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.input, "{line}")?;
        let answer = self.output.next().with_context(|| format!("{} has ended", self.role))?;
        Ok(answer?)
    }

    /// Asks, and expects this very answer.
    pub(crate) fn expect(&mut self, line: &str, expected: &str) -> Result<()> {
        let answer = self.ask(line)?;
        ensure!(answer == expected, "{} says {answer}", self.role);
        Ok(())
    }
}

/// [`crate::bare_pipe`], running.
pub(crate) struct BarePipe(Helper);

impl BarePipe {
    fn start(simulator: &Simulator, broker: &Broker) -> Result<Self> {
        let mut helper = Helper::start(crate::BARE_PIPE)?;
        let settings = Settings {
            telegram: simulator.telegram,
            amqp: broker.url.clone(),
            exchange: broker.exchange.clone(),
            queue: broker.events.clone(),
        };
        helper.expect(&serde_json::to_string(&settings)?, "up")?;
        Ok(Self(helper))
    }

    fn listen(&mut self, members: &[Member]) -> Result<()> {
        let sessions: Vec<&Session> = members.iter().map(|member| &member.session).collect();
        self.0.expect(&serde_json::to_string(&sessions)?, "listening")
    }
}

/// Where the programs and the broker are, as `scripts/bench` says.
pub(crate) struct Places {
    pub(crate) daemon: PathBuf,
    pub(crate) simulator: PathBuf,
    broker: PathBuf,
}

impl Places {
    /// From the environment.
    pub(crate) fn find() -> Result<Self> {
        let read = |name: &str| {
            std::env::var(name).with_context(|| format!("{name} is not set: run scripts/bench"))
        };
        Ok(Self {
            daemon: read("TELEWARDEN_BENCH_DAEMON")?.into(),
            simulator: read("TELEWARDEN_BENCH_SIMULATOR")?.into(),
            broker: read("TELEWARDEN_BENCH_RABBITMQ_DIR")?.into(),
        })
    }

    /// The broker's address.
    pub(crate) fn broker_url(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.broker.join("url"))?.trim().to_owned())
    }

    /// The broker's process; another one after a restart.
    pub(crate) fn broker_pid(&self) -> Result<u32> {
        Ok(std::fs::read_to_string(self.broker.join("pid"))?.trim().parse()?)
    }

    /// Starts or stops the broker, which keeps its data and its port.
    pub(crate) fn broker(&self, action: &str) -> Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rabbitmq");
        let status = Command::new(script).arg(action).arg(&self.broker).status()?;
        ensure!(status.success(), "scripts/rabbitmq {action} failed");
        Ok(())
    }
}
