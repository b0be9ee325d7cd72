//! A client of the API whose connections stay open, one for each request in hand. Tells how long
//! answers take; a request that is dropped closes its connection, as a client that gives up does.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use telewarden::clock::Clock;
use telewarden::edge::http::{TokenSecret, Tokens};
use telewarden::protocol::users::owner::{Role, UserId};
use telewarden::protocol::values::secret::SecretText;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What signs the tokens of a run; nothing but loopback ever sees them.
pub(crate) const SECRET: &str = "a benchmark's own secret, which signs nothing else";
/// Less than the daemon lets a silent connection live.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// More than the daemon takes for any answer.
const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN_TTL: Duration = Duration::from_secs(12 * 3600);

/// An answer, and how long it took.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it is that of an earlier request with the same key.
    pub(crate) is_replayed: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// What it says, if it is one of success.
    pub(crate) fn success(&self) -> Result<Value> {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        ensure!((200..300).contains(&self.status), "answered {}: {}", self.status, text());
        self.json()
    }
}

/// A request.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// Which of the users asks.
    pub(crate) user: usize,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) body: &'a str,
}

/// The client.
pub(crate) struct Client {
    address: SocketAddr,
    pub(crate) tokens: Vec<String>,
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    stream: TcpStream,
    since: Instant,
}

impl Client {
    /// For the daemon at `address`, with tokens for so many users.
    pub(crate) fn new(address: SocketAddr, users: usize) -> Result<Self> {
        let tokens =
            Tokens::new(&TokenSecret::new(SecretText::new(SECRET.to_owned()))?, Clock::system());
        let mint = |number: usize| -> Result<String> {
            let user = UserId::new(format!("user-{number}"))?;
            Ok(tokens.mint(&user, Role::User, TOKEN_TTL)?)
        };
        let tokens = (0..users).map(mint).collect::<Result<_>>()?;
        Ok(Self { address, tokens, idle: Mutex::default() })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, or a new one.
    async fn connection(&self) -> Result<Connection> {
        loop {
            let Some(idle) = self.idle().pop() else { break };
            if idle.since.elapsed() < IDLE_MAX {
                return Ok(idle);
            }
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, since: Instant::now() })
    }

    /// Asks and waits for the answer, whatever its status. The clock runs once there is a connection.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Answer> {
        let mut connection = self.connection().await?;
        let token = self.tokens.get(ask.user).context("no such user")?;
        let text = render(self.address, token, ask);
        let began = Instant::now();
        connection.stream.write_all(text.as_bytes()).await?;
        let answer = timeout(PATIENCE, read_answer(&mut connection.stream)).await;
        let (status, is_replayed, body) = answer.context("no answer in time")??;
        let took = began.elapsed();
        connection.since = Instant::now();
        self.idle().push(connection);
        Ok(Answer { status, is_replayed, body, took })
    }

    pub(crate) async fn get(&self, user: usize, path: &str) -> Result<Value> {
        let ask = Ask { user, method: "GET", path, key: None, body: "" };
        self.ask(ask).await?.success().with_context(|| format!("GET {path}"))
    }

    pub(crate) async fn post(&self, user: usize, path: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let ask = Ask { user, method: "POST", path, key: None, body: &body };
        self.ask(ask).await?.success().with_context(|| format!("POST {path}"))
    }

    /// A figure of `/metrics`: the sum over all lines that begin so.
    pub(crate) async fn metric(&self, beginning: &str) -> Result<f64> {
        let ask = Ask { user: 0, method: "GET", path: "/metrics", key: None, body: "" };
        let text = String::from_utf8(self.ask(ask).await?.body)?;
        let lines = text.lines().filter(|line| line.starts_with(beginning));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum())
    }
}

fn render(address: SocketAddr, token: &str, ask: Ask<'_>) -> String {
    let Ask { method, path, key, body, .. } = ask;
    let key = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{key}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Status, whether it is a replay, and the body, whose length every answer of the daemon names.
async fn read_answer(stream: &mut TcpStream) -> Result<(u16, bool, Vec<u8>)> {
    let mut text = Vec::with_capacity(1024);
    let head = loop {
        ensure!(stream.read_buf(&mut text).await? > 0, "the connection was closed");
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let mut body = text.split_off(head + 4);
    let head = String::from_utf8(text)?.to_ascii_lowercase();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let (mut length, mut is_replayed) = (0, false);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name {
            "content-length" => length = value.trim().parse()?,
            "idempotency-replayed" => is_replayed = value.trim() == "true",
            _ => {}
        }
    }
    while body.len() < length {
        ensure!(stream.read_buf(&mut body).await? > 0, "the connection was closed");
    }
    Ok((status.context("no status")?, is_replayed, body))
}
