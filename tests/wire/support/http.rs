//! HTTP as the tests speak it, with no client but a socket: one request a connection.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::time::timeout;

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

/// What the API answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// Null when there was none.
    pub(crate) body: Value,
}

impl Answer {
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

/// The API, as one user sees it.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    token: String,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, token: String) -> Self {
        Self { address, token }
    }

    /// A request that the daemon may not live to answer.
    pub(crate) async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        let mut stream = self.begin(method, path, headers, body).await?;
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await??;
        let (status, head, body) = taken_apart(&answer)?;
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let body = match body {
            "" => Value::Null,
            text => serde_json::from_str(text).map_err(|_| unreadable())?,
        };
        Ok(Answer { status, headers, body })
    }

    /// Sends a request and hands over the socket, over which nothing was read.
    pub(crate) async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        // Version 1.0, so that no answer comes in chunks.
        let mut request = format!(
            "{method} /api/v1{path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n",
            self.address, self.token
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            let body = body.to_string();
            request.push_str("Content-Type: application/json\r\n");
            request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        } else {
            request.push_str("\r\n");
        }
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }

    /// A request that is answered.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let answer = self.try_send(method, path, &[], body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path} is not answered: {error}"))
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
        let headers = resume.as_slice();
        let socket = self.begin("GET", "/events/stream", headers, None).await.expect("a stream");
        let mut lines = BufReader::new(socket).lines();
        let status = lines.next_line().await.expect("an answer").unwrap_or_default();
        assert!(status.contains(" 200 "), "{status}");
        while lines.next_line().await.expect("a header").is_some_and(|line| !line.is_empty()) {}
        Stream { lines }
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
