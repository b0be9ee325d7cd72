//! HTTP as the tests speak it, with no client but a socket: one request a connection.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use telewarden::clock::Clock;
use telewarden::edge::http::api::{TokenSecret, Tokens};
use telewarden::protocol::users::owner::{Role, UserId};
use telewarden::protocol::values::secret::SecretText;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::PATIENCE;

/// Status and JSON body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, Value)> {
    let (status, body) = get_text(address, path).await?;
    Ok((status, serde_json::from_str(&body).map_err(|_| unreadable())?))
}

/// Status and body.
pub(crate) async fn get_text(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (status, _, body) = taken_apart(&answer)?;
    Ok((status, body.to_owned()))
}

/// Status, header lines, body.
fn taken_apart(answer: &str) -> std::io::Result<(u16, &str, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(unreadable)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(unreadable)?, head, body))
}

fn unreadable() -> std::io::Error {
    std::io::Error::other("unreadable answer")
}

/// A question, and who asks it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Value>,
    /// A body in parts, instead.
    form: Option<String>,
}

impl Question {
    /// `method` of `path`, which begins behind `/api/v1` unless it names something else.
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let outside = ["/openapi.json", "/metrics", "/health", "/health/live", "/health/ready"];
        let is_whole = path.starts_with("/api/") || outside.contains(&path);
        let path = if is_whole { path.to_owned() } else { format!("/api/v1{path}") };
        Self { method: method.to_owned(), path, headers: Vec::new(), body: None, form: None }
    }

    pub(crate) fn by(self, token: &str) -> Self {
        self.with("Authorization", format!("Bearer {token}"))
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// A body in parts: of a field called `file` a file.
    pub(crate) fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let parts = fields.iter().map(|(name, value)| {
            let file = if *name == "file" { "; filename=\"people.csv\"" } else { "" };
            let head = format!("Content-Disposition: form-data; name=\"{name}\"{file}");
            format!("--edge\r\n{head}\r\n\r\n{value}\r\n")
        });
        self.form = Some(format!("{}--edge--\r\n", parts.collect::<String>()));
        self
    }

    /// As it goes over the wire. Version 1.0, so that no answer comes in chunks.
    fn written(&self, host: SocketAddr) -> String {
        let Self { method, path, headers, body, form } = self;
        let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            let body = body.to_string();
            request.push_str("Content-Type: application/json\r\n");
            request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        } else if let Some(form) = form {
            request.push_str("Content-Type: multipart/form-data; boundary=edge\r\n");
            request.push_str(&format!("Content-Length: {}\r\n\r\n{form}", form.len()));
        } else {
            request.push_str("\r\n");
        }
        request
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// Null when there was none, or none of JSON.
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) text: String,
}

impl Answer {
    fn read(answer: &str) -> std::io::Result<Self> {
        let (status, head, text) = taken_apart(answer)?;
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let (body, text) = (Value::Null, text.to_owned());
        let mut answer = Self { status, headers, body, text };
        let kind = answer.header("content-type").unwrap_or_default();
        if kind.ends_with("json") && !answer.text.is_empty() {
            answer.body = serde_json::from_str(&answer.text).map_err(|_| unreadable())?;
        }
        Ok(answer)
    }

    /// Status and code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.body["code"].as_str().unwrap_or_default().to_owned())
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `Retry-After`, in seconds.
    pub(crate) fn retry_after(&self) -> u64 {
        let header = self.header("retry-after");
        let header = header.unwrap_or_else(|| panic!("no Retry-After: {self:?}"));
        assert_eq!(self.body["retry_after"].to_string(), header, "the body says the same");
        header.parse().expect("seconds")
    }

    /// The body of an answer that has to have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// A refusal, as a problem document with this code.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, &self.body["code"]), (status, &code.into()), "{:#}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], status);
        self
    }
}

/// An answer as it came, head and body, and to what.
pub(crate) struct Heard {
    pub(crate) question: String,
    pub(crate) text: String,
}

/// Where the daemon answers. Everybody who asks there shares one memory of what was answered, so that it
/// can be searched.
#[derive(Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Door {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, heard: Arc::default() }
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.heard.lock().expect("the list")
    }

    /// A question that the daemon may not live to answer.
    pub(crate) async fn try_ask(&self, question: &Question) -> std::io::Result<Answer> {
        let mut stream = self.begin(question).await?;
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await??;
        let answer = Answer::read(&text)?;
        let question = format!("{} {}", question.method, question.path);
        self.heard().push(Heard { question, text });
        Ok(answer)
    }

    /// A question that is answered.
    pub(crate) async fn ask(&self, question: Question) -> Answer {
        self.try_ask(&question).await.unwrap_or_else(|error| {
            panic!("{} {} is not answered: {error}", question.method, question.path)
        })
    }

    /// Asks and hands over the socket, over which nothing was read.
    pub(crate) async fn begin(&self, question: &Question) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(question.written(self.address).as_bytes()).await?;
        Ok(stream)
    }

    /// Opens an event stream and reads its head.
    async fn open_stream(&self, question: &Question) -> BufReader<TcpStream> {
        let mut stream = BufReader::new(self.begin(question).await.expect("a stream"));
        let mut status = String::new();
        stream.read_line(&mut status).await.expect("an answer");
        assert!(status.contains(" 200 "), "{status}");
        let mut line = status;
        while !line.trim().is_empty() {
            line.clear();
            stream.read_line(&mut line).await.expect("a header");
        }
        stream
    }

    /// Tells all that comes over an event stream, as it comes, until what is returned is dropped or the
    /// stream ends.
    pub(crate) async fn listen(
        &self,
        question: &Question,
        mut tell: impl FnMut(&str) + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        let mut stream = self.open_stream(question).await;
        let read = async move {
            let mut some = vec![0; 4_096];
            while let Ok(length @ 1..) = stream.read(&mut some).await {
                tell(&String::from_utf8_lossy(&some[..length]));
            }
        };
        AbortOnDropHandle::new(tokio::spawn(read))
    }
}

/// The API, as one user sees it.
#[derive(Clone)]
pub(crate) struct Client {
    door: Door,
    pub(crate) token: String,
}

impl Client {
    pub(crate) fn new(door: Door, token: String) -> Self {
        Self { door, token }
    }

    /// As `user` sees it, where tokens are signed with `secret`.
    pub(crate) fn of_user(door: Door, user: &str, secret: &str) -> Self {
        let secret = SecretText::new(secret.into());
        let secret = TokenSecret::find(Some(&secret), Path::new("")).expect("a secret");
        let user = UserId::new(user).expect("a user");
        let hours = Duration::from_secs(24 * 3_600);
        let token = Tokens::new(&secret, Clock::system()).mint(&user, Role::User, hours);
        Self::new(door, token.expect("it is signed"))
    }

    fn question(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Question {
        let question = Question { body: body.cloned(), ..Question::new(method, path) };
        let question = question.by(&self.token);
        headers.iter().fold(question, |question, (name, value)| question.with(name, *value))
    }

    /// A request that the daemon may not live to answer.
    pub(crate) async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        self.door.try_ask(&self.question(method, path, headers, body)).await
    }

    /// Sends a request and hands over the socket, over which nothing was read.
    pub(crate) async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> std::io::Result<TcpStream> {
        self.door.begin(&self.question(method, path, headers, body)).await
    }

    /// A request that is answered.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.door.ask(self.question(method, path, &[], body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, Some(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask("PUT", path, Some(&body)).await
    }

    /// The event stream, from the event after `after` on.
    pub(crate) async fn follow(&self, after: Option<&str>) -> Stream {
        let resume = after.map(|id| ("Last-Event-ID", id));
        let question = self.question("GET", "/events/stream", resume.as_slice(), None);
        Stream { lines: self.door.open_stream(&question).await.lines() }
    }
}

/// An event of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamEvent {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// An open event stream.
pub(crate) struct Stream {
    lines: Lines<BufReader<TcpStream>>,
}

impl Stream {
    /// The next event; `None` when the stream ended.
    pub(crate) async fn next(&mut self) -> Option<StreamEvent> {
        timeout(PATIENCE, self.read()).await.expect("an event comes in time")
    }

    /// The next event, unless none comes within `limit`.
    pub(crate) async fn next_within(&mut self, limit: Duration) -> Option<StreamEvent> {
        timeout(limit, self.read()).await.ok().flatten()
    }

    async fn read(&mut self) -> Option<StreamEvent> {
        let (mut id, mut name, mut data) = (None, String::new(), String::new());
        loop {
            let line = self.lines.next_line().await.ok()??;
            match line.split_once(": ").unwrap_or((&line, "")) {
                ("id", text) => id = Some(text.to_owned()),
                ("event", text) => text.clone_into(&mut name),
                ("data", text) => data.push_str(text),
                ("", "") if !name.is_empty() => {
                    let data = serde_json::from_str(&data).expect("data is JSON");
                    return Some(StreamEvent { id, name, data });
                }
                _ => {}
            }
        }
    }

    /// Reads on until an event is what is looked for.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&StreamEvent) -> bool) -> StreamEvent {
        let look = async {
            loop {
                let event = self.read().await.expect("the stream is open");
                if wanted(&event) {
                    return event;
                }
            }
        };
        timeout(PATIENCE, look).await.expect("the event comes in time")
    }
}
