//! The API as a client on the network sees it. Every answer is held against the OpenAPI document.

mod campaigns;
mod contract;
mod fake;
mod hostile;
mod imports;
mod isolation;
mod reports;
mod room;
mod schema;
mod streaming;
mod suppression;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::fake::Fake;
use super::*;
use crate::edge::http::router_with_api;
use crate::edge::http::serve::Server as HttpServer;
use crate::edge::http::tests::Told;
use crate::protocol::users::owner::{Role, UserId};
use crate::protocol::values::secret::SecretText;

const PATIENCE: Duration = Duration::from_secs(10);
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// More than any test uses.
const PLENTY: RequestLimits = RequestLimits {
    connect: 100_000,
    send: 100_000,
    change: ChangeLimit { burst: 100_000, per_minute: 100_000 },
    other: 100_000,
    unauthorized: 100_000,
};

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi);

fn secret() -> TokenSecret {
    TokenSecret::new(SecretText::new(SECRET.to_owned())).unwrap()
}

fn token(user: &str, role: Role) -> String {
    let ttl = Duration::from_secs(600);
    Tokens::new(&secret(), crate::clock::Clock::system())
        .mint(&UserId::new(user).unwrap(), role, ttl)
        .unwrap()
}

fn alice() -> String {
    token("alice", Role::User)
}

struct Server {
    address: SocketAddr,
    service: Arc<Fake>,
    stop: CancellationToken,
}

impl Server {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut ApiOptions)) -> Self {
        Self::on(HttpServer::of(600, 0, PATIENCE), change).await
    }

    async fn on(http: HttpServer, change: impl FnOnce(&mut ApiOptions)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (service, stop) = (Arc::new(Fake::new()), CancellationToken::new());
        let mut options = ApiOptions {
            services: service.services(),
            runtime: Handle::current(),
            secret: secret(),
            clock: crate::clock::Clock::system(),
            limits: PLENTY,
            in_hand_max: 16,
            streams_max: STREAMS_MAX,
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            imports: ImportOptions {
                spool: std::env::temp_dir(),
                file_bytes_max: imports::FILE_MAX,
                parsing: Some(imports::parsing_service().await),
                room: UploadRoom::default(),
            },
            metrics: HttpMetrics::default(),
            stop: stop.clone(),
        };
        change(&mut options);
        let told = Told::some();
        let router = router_with_api(told.clone(), told, options);
        tokio::spawn(http.run(listener, router, stop.clone()));
        Self { address, service, stop }
    }

    /// Sends a request; the answer is whatever comes until the end.
    async fn send(&self, request: &Request) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.text().as_bytes()).await.unwrap();
        stream
    }

    /// Sends a text as it is.
    async fn ask_raw(&self, text: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        Answer::read(stream).await
    }

    async fn ask(&self, request: Request) -> Answer {
        let answer = Answer::read(self.send(&request).await).await;
        if let Some(template) = request.template {
            let faults = schema::faults(&DOCUMENT, &request.method, &template, &answer);
            assert!(
                faults.is_empty(),
                "{} {}: {faults:?}\n{answer:?}",
                request.method,
                request.path
            );
        }
        answer
    }
}

/// A request to be sent.
#[derive(Clone)]
struct Request {
    method: String,
    path: String,
    /// The path in the document, if the answer is to be held against it.
    template: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Request {
    fn new(method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, template: None, headers: Vec::new(), body: None }
    }

    /// One to a route of the document, with the ids of what `alice` has.
    fn to(method: &str, template: &str) -> Self {
        let thing = match template {
            _ if template.contains("/logins/") => fake::LOGIN,
            _ if template.contains("/webhooks/") => fake::WEBHOOK,
            _ if template.contains("/tasks/") => fake::TASK,
            _ if template.contains("/suppression/") => fake::ENTRY,
            _ => fake::ACCOUNT,
        };
        let path = template
            .replace("{id}", &thing.to_string())
            .replace("{delivery_id}", &fake::DELIVERY.to_string())
            .replace("{chat_id}", "%40some_channel")
            .replace("{target_id}", "0")
            .replace("{import_id}", &fake::IMPORT.to_string())
            .replace("{user_id}", "alice");
        Self { template: Some(template.to_owned()), ..Self::new(method, &path) }
    }

    fn by(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(&body.to_string())
    }

    fn body(self, body: &str) -> Self {
        Self { body: Some(body.to_owned()), ..self }
    }

    fn query(mut self, query: &str) -> Self {
        self.path = format!("{}?{query}", self.path);
        self
    }

    fn text(&self) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: x\r\n", self.method, self.path);
        let is_upgrade = self.headers.iter().any(|(name, _)| name == "Upgrade");
        if !is_upgrade {
            text.push_str("Connection: close\r\n");
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        format!("{text}\r\n{body}")
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    async fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A refused body may be answered and reset.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer");
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer's head");
        let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 4..]);
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if is_chunked { unchunked(body) } else { body.to_vec() };
        let body = String::from_utf8_lossy(&body);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let headers = head.lines().skip(1).filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        });
        Self { status, headers: headers.collect(), body: body.into_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Its status and code.
    fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

/// A body that came in chunks (RFC 9112 section 7.1), as far as it came.
fn unchunked(mut left: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = left.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&left[..end]).expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length");
        let piece = &left[end + 2..];
        whole.extend_from_slice(&piece[..length.min(piece.len())]);
        left = piece.get(length + 2..).unwrap_or_default();
    }
    whole
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Every operation of the document that needs a token: method, path, and the operation.
fn operations() -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if path.starts_with(PREFIX) {
                found.push((method.to_ascii_uppercase(), path.clone(), operation.clone()));
            }
        }
    }
    assert!(found.len() >= 66, "{}", found.len());
    found
}

/// The form of an operation's body.
fn body_schema(operation: &Value) -> Option<&'static Value> {
    let name =
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()?;
    DOCUMENT.pointer(name.trim_start_matches('#'))
}

/// A request to an operation with the example of its body; what a query has to name is number 0.
fn example(method: &str, path: &str, operation: &Value) -> Request {
    let mut request = Request::to(method, path);
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    for parameter in parameters.filter(|one| one["in"] == "query" && one["required"] == true) {
        let name = parameter["name"].as_str().unwrap();
        // Nobody at Telegram is number 0.
        let value = if name == "identifier" { "777000" } else { "0" };
        request = request.query(&format!("{name}={value}"));
    }
    if let Some(schema) = body_schema(operation) {
        return request.json(&schema["examples"][0]);
    }
    let form = &operation["requestBody"]["content"]["multipart/form-data"]["schema"]["$ref"];
    let Some(form) = form.as_str().and_then(|name| DOCUMENT.pointer(name.trim_start_matches('#')))
    else {
        return request;
    };
    let fields = form["examples"][0].as_object().expect("an example");
    let parts: Vec<_> = fields
        .iter()
        .map(|(name, value)| {
            let file_name = (name == "file").then_some("people.csv");
            (name.as_str(), file_name, value.as_str().unwrap().as_bytes())
        })
        .collect();
    let body = String::from_utf8(imports::form(&parts)).unwrap();
    request.header("Content-Type", "multipart/form-data; boundary=edge").body(&body)
}
