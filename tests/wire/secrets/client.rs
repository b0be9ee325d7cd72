//! A client of the API that keeps all it hears, so that it can be searched.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use reqwest::Method;
use serde_json::Value;

/// A client.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    heard: Mutex<Vec<Heard>>,
}

/// An answer as it came.
pub(super) struct Heard {
    /// What was asked.
    pub(super) question: String,
    /// Status, headers and body.
    pub(super) text: String,
}

/// A question.
#[derive(Clone)]
pub(super) struct Question {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Question {
    /// `method` of `path`, which begins behind `/api/v1` unless it names something else.
    pub(super) fn new(method: &str, path: &str) -> Self {
        let outside = ["/openapi.json", "/metrics", "/health", "/health/live", "/health/ready"];
        let is_whole = path.starts_with("/api/") || outside.contains(&path);
        let path = if is_whole { path.to_owned() } else { format!("/api/v1{path}") };
        let method = method.parse().expect("a method");
        Self { method, path, headers: Vec::new(), body: None }
    }

    pub(super) fn by(self, token: &str) -> Self {
        self.with("authorization", format!("Bearer {token}"))
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

impl Answer {
    /// The body, if it is JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Status and code of a refusal.
    pub(super) fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Client {
    pub(super) fn of(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { http, base: format!("http://{address}"), heard: Mutex::default() }
    }

    pub(super) fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.heard.lock().expect("the list")
    }

    /// Asks once; what is not answered is the test's failure.
    pub(super) async fn ask(&self, question: Question) -> Answer {
        let Question { method, path, headers, body } = question;
        let asked = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{asked}: {error}"));
        let status = response.status().as_u16();
        let mut text = format!("{status} {:?}\n", response.headers());
        let body = response.text().await.unwrap_or_else(|error| panic!("{asked}: {error}"));
        text.push_str(&body);
        self.heard().push(Heard { question: asked, text });
        Answer { status, body }
    }

    /// Opens the stream of events and keeps what comes until the task is dropped or the stream ends.
    pub(super) async fn follow(
        &self,
        token: &str,
        path: &str,
        mut tell: impl FnMut(&str) + Send + 'static,
    ) -> tokio_util::task::AbortOnDropHandle<()> {
        let request = self.http.get(format!("{}/api/v1{path}", self.base)).bearer_auth(token);
        let mut response = request.send().await.expect("the stream opens");
        assert_eq!(response.status(), 200);
        let read = async move {
            while let Ok(Some(chunk)) = response.chunk().await {
                tell(&String::from_utf8_lossy(&chunk));
            }
        };
        tokio_util::task::AbortOnDropHandle::new(tokio::spawn(read))
    }
}
