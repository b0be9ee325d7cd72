//! The HTTP edge as a client on the network sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::serve::Server as HttpServer;
use super::*;
use crate::protocol::values::ids::UnixMillis;

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Told(Mutex<HealthReport>);

impl Told {
    pub(super) fn some() -> Arc<Self> {
        Arc::new(Self(Mutex::new(report())))
    }
}

impl HealthSource for Told {
    fn report(&self) -> HealthReport {
        self.0.lock().unwrap().clone()
    }
}

impl MetricsSource for Told {
    fn text(&self) -> Result<String, std::fmt::Error> {
        Ok("# TYPE a gauge\na 1\n# EOF\n".to_owned())
    }
}

fn report() -> HealthReport {
    HealthReport {
        status: HealthStatus::Degraded,
        version: "1.2.3".to_owned(),
        uptime_seconds: 17,
        accounts: AccountsHealth {
            total: 1000,
            by_state: BTreeMap::from([("active".to_owned(), 970), ("error".to_owned(), 30)]),
            troubled_total: 498,
            troubled: (0..30).map(troubled).collect(),
            truncated: false,
        },
        monitors: MonitorsHealth::default(),
        outbox: OutboxHealth { depth: 2, oldest_age_seconds: Some(9), ..OutboxHealth::default() },
        dependencies: vec![dependency("store", DependencyState::Up)],
        restarts: Vec::new(),
    }
}

fn troubled(id: u64) -> TroubledAccount {
    TroubledAccount {
        account: id.to_string(),
        sessions: vec!["listener".to_owned()],
        state: "error".to_owned(),
        error: Some("AUTH_KEY_UNREGISTERED".to_owned()),
        since: UnixMillis(1_000),
        evidence: vec!["it was seen".to_owned()],
        timers: vec![TimerNote { what: "a pause".to_owned(), until: UnixMillis(2_000) }],
        next: "it goes on",
    }
}

fn dependency(name: &str, state: DependencyState) -> DependencyHealth {
    DependencyHealth { name: name.to_owned(), state, since: UnixMillis(0), detail: None }
}

struct Server {
    address: SocketAddr,
    source: Arc<Told>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::bounded(16, PATIENCE, PATIENCE).await
    }

    async fn bounded(connections_max: usize, silence_max: Duration, drain_max: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let source = Arc::new(Told(Mutex::new(report())));
        let router = router(Arc::clone(&source) as Arc<dyn HealthSource>, source.clone());
        let stop = CancellationToken::new();
        let http = HttpServer { drain_max, ..HttpServer::of(connections_max, 0, silence_max) };
        let task = tokio::spawn(http.run(listener, router, stop.clone()));
        Self { address, source, stop, task }
    }

    fn tell(&self, change: impl FnOnce(&mut HealthReport)) {
        change(&mut self.source.0.lock().unwrap());
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        let mut stream = self.connect().await;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::read(stream).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn read(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[tokio::test]
async fn health_tells_how_the_daemon_fares() {
    let server = Server::start().await;
    let answer = server.get("/health").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    let json = answer.json();
    assert_eq!(json["status"], "degraded");
    assert_eq!(json["version"], "1.2.3");
    assert_eq!(json["accounts"]["total"], 1000);
    assert_eq!(json["accounts"]["by_state"]["error"], 30);
    assert_eq!(json["accounts"]["troubled"].as_array().unwrap().len(), 20);
    assert_eq!(json["accounts"]["troubled_total"], 498);
    assert_eq!(json["accounts"]["truncated"], true);
    assert_eq!(json["monitors"]["truncated"], false);
    assert_eq!(json["accounts"]["troubled"][3]["account"], "3");
    assert_eq!(json["accounts"]["troubled"][3]["since"], "1970-01-01T00:00:01Z");
    assert_eq!(json["outbox"]["oldest_age_seconds"], 9);
}

#[tokio::test]
async fn what_strangers_wrote_forges_and_hides_nothing_in_an_answer_about_health() {
    let strange = "a\u{7f}\u{9b}\u{200b}\u{202e}\u{2028}b\r\n\u{e9}";
    let server = Server::start().await;
    {
        let mut report = server.source.0.lock().unwrap();
        report.accounts.troubled[0].evidence = vec![strange.to_owned()];
        report.dependencies[0].detail = Some(strange.to_owned());
    }
    for (path, pointer) in [
        ("/health", "/accounts/troubled/0/evidence/0"),
        ("/health", "/dependencies/0/detail"),
        ("/health/ready", "/dependencies/0/detail"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.json().pointer(pointer).unwrap(), strange, "it means the same");
        let shown = r"a\u007f\u009b\u200b\u202e\u2028b\r\né";
        assert!(answer.body.contains(shown), "{}", answer.body);
        assert!(answer.body.chars().all(crate::protocol::values::printable::is_printable));
    }
}

#[tokio::test]
async fn health_is_503_only_when_the_daemon_cannot_do_its_job() {
    let server = Server::start().await;
    server.tell(|report| report.status = HealthStatus::Unavailable);
    let answer = server.get("/health").await;
    assert_eq!((answer.status, &answer.json()["status"]), (503, &Value::from("unavailable")));
    assert_eq!(server.get("/health/ready").await.status, 503);
    let live = server.get("/health/live").await;
    assert_eq!((live.status, live.json()["status"].as_str()), (200, Some("ok")));
}

#[tokio::test]
async fn ready_follows_the_dependencies() {
    let server = Server::start().await;
    assert_eq!(server.get("/health/ready").await.status, 200);
    for (state, name, status) in [
        (DependencyState::Starting, "starting", 503),
        (DependencyState::Down, "down", 503),
        (DependencyState::Degraded, "degraded", 200),
        (DependencyState::Up, "up", 200),
    ] {
        server.tell(|report| report.dependencies.truncate(1));
        server.tell(|report| report.dependencies.push(dependency("rabbitmq", state)));
        let answer = server.get("/health/ready").await;
        let json = answer.json();
        assert_eq!(answer.status, status, "{name}");
        assert_eq!(json["ready"], status == 200);
        assert_eq!(json["dependencies"][1]["name"], "rabbitmq");
        assert_eq!(json["dependencies"][1]["state"], name);
        assert_eq!(json["dependencies"][1]["since"], "1970-01-01T00:00:00Z");
    }
}

#[tokio::test]
async fn refusals_are_problem_documents() {
    let server = Server::start().await;
    let answer = server.get("/nothing/here").await;
    assert_eq!((answer.status, &answer.json()["code"]), (404, &Value::from("NOT_FOUND")));
    assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    let answer = server.ask("DELETE", "/health").await;
    assert_eq!((answer.status, &answer.json()["status"]), (405, &Value::from(405)));
    assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    assert!(answer.head.contains("allow: get,head"), "{}", answer.head);
    assert!(answer.json()["detail"].as_str().unwrap().contains("DELETE"));
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_although_bytes_trickle_in() {
    let silence_max = Duration::from_millis(300);
    let server = Server::bounded(16, silence_max, PATIENCE).await;
    let (mut reading, mut writing) = server.connect().await.into_split();
    let trickle = tokio::spawn(async move {
        let mut rhythm = tokio::time::interval(Duration::from_millis(20));
        while writing.write_all(b"G").await.is_ok() {
            rhythm.tick().await;
        }
    });
    let mut answer = Vec::new();
    // Closed, or reset because bytes were still arriving.
    let _ = timeout(PATIENCE, reading.read_to_end(&mut answer)).await.unwrap();
    timeout(PATIENCE, trickle).await.unwrap().unwrap();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(server.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn silent_callers_hold_their_slots_only_for_a_while() {
    let server = Server::bounded(2, Duration::from_millis(300), PATIENCE).await;
    let _silent = (server.connect().await, server.connect().await);
    assert_eq!(server.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn a_connection_may_ask_more_than_once() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let keep = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let close = "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{keep}{close}").as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    assert_eq!(text.matches("200 OK").count(), 2, "{text}");
}

#[tokio::test]
async fn the_server_stops_when_told_although_a_caller_hangs() {
    let server = Server::bounded(16, PATIENCE, Duration::from_millis(100)).await;
    let mut hanging = server.connect().await;
    hanging.write_all(b"GET /health").await.unwrap();
    assert_eq!(server.get("/health/live").await.status, 200);
    server.stop.cancel();
    timeout(PATIENCE / 2, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[test]
fn health_is_answered_although_every_worker_is_stuck() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stuck = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (blocked, is_blocked) = std::sync::mpsc::channel();
    stuck.spawn(async move {
        blocked.send(()).unwrap();
        wait.recv()
    });
    is_blocked.recv_timeout(PATIENCE).unwrap();
    let source = Arc::new(Told(Mutex::new(report())));
    let (told, how) = std::sync::mpsc::channel();
    let tell = move |outcome| told.send(outcome).unwrap();
    let server = {
        let _inside = stuck.enter();
        let router = router(source.clone(), source);
        spawn(listener, router, Capacity::default(), stop.clone(), tell).unwrap()
    };
    let asking = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = asking.block_on(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        Answer::read(stream).await.status
    });
    assert_eq!(status, 200);
    stop.cancel();
    server.join().unwrap();
    how.recv().unwrap().unwrap().unwrap();
    release.send(()).unwrap();
}
