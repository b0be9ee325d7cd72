//! Limits and room: nobody takes more than their share, and health answers whatever the API does.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;

use super::*;

fn message(to: &str) -> Request {
    message_by(to, &alice())
}

fn message_by(to: &str, token: &str) -> Request {
    let request = Request::to("POST", "/api/v1/accounts/{id}/messages").by(token);
    request.json(&json!({"to": to, "text": "x"}))
}

fn admin_token(number: usize) -> String {
    token(&format!("admin-{number}"), Role::Admin)
}

impl Server {
    /// Lets messages go until `count` were sent in all.
    async fn release_all(&self, count: usize) {
        until("all held ones were sent", || {
            self.service.release.notify_waiters();
            self.service.sent.load(Ordering::SeqCst) == count
        })
        .await;
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn each_kind_of_request_has_its_limit() {
    let change = ChangeLimit { burst: 5, per_minute: 5 };
    let limits = RequestLimits { connect: 2, send: 3, change, other: 4, unauthorized: 100 };
    let server = Server::with(|options| options.limits = limits).await;
    let connect = || {
        let request = Request::to("POST", "/api/v1/accounts/telegram/connect/qr");
        request.json(&json!({}))
    };
    let accounts = || Request::to("GET", "/api/v1/accounts").by(&alice());
    let pause = Request::to("POST", "/api/v1/accounts/{id}/pause").by(&alice());
    for (limit, request) in
        [(2, connect().by(&alice())), (3, message("me")), (4, accounts()), (5, pause)]
    {
        for taken in 1..=limit {
            let answer = server.ask(request.clone()).await;
            assert!(answer.status < 300, "{answer:?}");
            let header = |name| answer.header(name).unwrap().parse::<u64>().unwrap();
            assert_eq!(header("ratelimit-limit"), limit);
            assert_eq!(header("ratelimit-remaining"), limit - taken);
            assert!((1..=60).contains(&header("ratelimit-reset")));
        }
        let answer = server.ask(request).await;
        assert_eq!(answer.refusal(), refusal(429, "RATE_LIMITED"));
        assert_eq!(answer.header("ratelimit-remaining"), Some("0"));
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after));
    }
    let answer = server.ask(connect().by(&token("bob", Role::User))).await;
    assert_eq!(answer.status, 202);
}

/// Each is a line in the audit log, as every message is that goes.
#[tokio::test]
async fn messages_that_are_refused_count_as_changes() {
    let change = ChangeLimit { burst: 3, per_minute: 1 };
    let limits = RequestLimits { change, ..PLENTY };
    let server = Server::with(|options| options.limits = limits).await;
    // What leaves no line in the audit log costs nothing.
    for _ in 0..6 {
        assert_eq!(server.ask(message("@full")).await.refusal(), refusal(503, "OVERLOADED"));
    }
    for _ in 0..3 {
        assert_eq!(server.ask(message("@wait")).await.refusal(), refusal(429, "TG_API_429"));
        assert_eq!(server.ask(message("me")).await.status, 201);
    }
    assert_eq!(server.ask(message("@wait")).await.refusal(), refusal(429, "TG_API_429"));
    let answer = server.ask(message("me")).await;
    assert_eq!(answer.refusal(), refusal(429, "RATE_LIMITED"));
    assert!(answer.body.contains("were refused"), "{answer:?}");
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    assert_eq!(server.ask(message_by("me", &admin_token(1))).await.status, 201);
}

#[tokio::test]
async fn an_address_that_keeps_failing_is_slowed_and_valid_tokens_still_pass() {
    let limits = RequestLimits { unauthorized: 3, ..PLENTY };
    let server = Server::with(|options| options.limits = limits).await;
    for status in [401, 401, 401, 429, 429] {
        let answer = server.ask(Request::to("GET", "/api/v1/accounts").by("garbage")).await;
        assert_eq!(answer.status, status);
    }
    let answer = server.ask(Request::to("GET", "/api/v1/accounts").by(&alice())).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_panic_ends_one_request_and_nothing_else() {
    let server = Server::start().await;
    let answer = server.ask(message("@panic")).await;
    assert_eq!(answer.refusal(), refusal(500, "INTERNAL"));
    assert!(!answer.body.contains("on purpose"));
    assert_eq!(server.ask(message("me")).await.status, 201);
}

#[tokio::test]
async fn a_caller_that_hangs_up_cancels_nothing() {
    let server = Server::start().await;
    let stream = server.send(&message("@hold")).await;
    until("the service has it", || server.service.held.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    // What the server makes of it cannot be seen from here; it takes it a turn or two.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.service.sent.load(Ordering::SeqCst), 0);
    server.service.release.notify_one();
    until("it was sent", || server.service.sent.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn too_many_requests_in_hand_are_refused_and_health_answers() {
    let server = Server::start().await;
    let mut held = Vec::new();
    for admin in 0..4 {
        for _ in 0..4 {
            held.push(server.send(&message_by("@hold", &admin_token(admin))).await);
        }
    }
    until("all are held", || server.service.held.load(Ordering::SeqCst) == 16).await;
    let answer = server.ask(message("me")).await;
    assert_eq!(answer.refusal(), refusal(503, "OVERLOADED"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(server.ask(Request::to("GET", "/health")).await.status, 200);
    server.release_all(16).await;
    for stream in held {
        assert_eq!(Answer::read(stream).await.status, 201);
    }
    assert_eq!(server.ask(message("me")).await.status, 201);
}

#[tokio::test]
async fn nobody_takes_all_requests_in_hand() {
    let server = Server::start().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(server.send(&message("@hold")).await);
    }
    until("the share is held", || server.service.held.load(Ordering::SeqCst) == 4).await;
    let answer = server.ask(message("me")).await;
    assert_eq!(answer.refusal(), refusal(503, "OVERLOADED"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.body.contains("4 requests of yours"), "{answer:?}");
    assert_eq!(server.ask(message_by("me", &admin_token(1))).await.status, 201);
    server.release_all(5).await;
    for stream in held {
        assert_eq!(Answer::read(stream).await.status, 201);
    }
    assert_eq!(server.ask(message("me")).await.status, 201);
}

/// A connection on which health was asked once.
async fn engaged(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut start)).await.expect("an answer").unwrap();
    stream
}

#[tokio::test]
async fn the_last_connections_are_kept_for_health() {
    let server = Server::on(HttpServer::of(4, 2, PATIENCE), |_| {}).await;
    let first = engaged(&server).await;
    let _second = engaged(&server).await;
    let accounts = || Request::to("GET", "/api/v1/accounts").by(&alice());
    let answer = server.ask(accounts()).await;
    assert_eq!(answer.refusal(), refusal(503, "OVERLOADED"));
    assert_eq!(server.ask(Request::to("GET", "/health")).await.status, 200);
    // Whoever is silent on the last ones gives way at once.
    let _silent = [0; 8].map(|_| std::net::TcpStream::connect(server.address).unwrap());
    for _ in 0..8 {
        assert_eq!(server.ask(Request::to("GET", "/health")).await.status, 200);
    }
    drop(first);
    let wait = async {
        while server.ask(accounts()).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("there is room again");
}

#[tokio::test]
async fn who_only_connects_keeps_nobody_from_the_api() {
    let server = Server::on(HttpServer::of(4, 2, PATIENCE), |_| {}).await;
    for _ in 0..3 {
        let _silent = [0; 16].map(|_| std::net::TcpStream::connect(server.address).unwrap());
        let accounts = Request::to("GET", "/api/v1/accounts").by(&alice());
        assert_eq!(server.ask(accounts).await.status, 200);
    }
}

#[tokio::test]
async fn hostile_callers_cannot_keep_the_connections_of_health() {
    let server = Server::on(HttpServer::of(4, 2, PATIENCE), |_| {}).await;
    let ask = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let twice = [&ask[..], &ask[..]].concat();
    let mut kept = Vec::new();
    for _ in 0..2 {
        kept.push(engaged(&server).await);
    }
    for _ in 0..4 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&twice).await.unwrap();
        let mut answers = String::new();
        // What was asked and not read resets the connection after the answer.
        let _ = timeout(PATIENCE, stream.read_to_string(&mut answers)).await.expect("an end");
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1, "{answers}");
        assert!(answers.contains("connection: close"), "{answers}");
        assert_eq!(server.ask(Request::to("GET", "/health")).await.status, 200);
    }
    // The others were kept all the while.
    for stream in &mut kept {
        stream.write_all(ask).await.unwrap();
        let mut more = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut more)).await.expect("an answer").unwrap();
    }
}

#[tokio::test]
async fn an_answer_has_its_full_time_although_the_connection_was_idle_before() {
    let silence = Duration::from_millis(1500);
    let server = Server::on(HttpServer::of(16, 0, silence), |_| {}).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    tokio::time::sleep(silence * 2 / 3).await;
    stream.write_all(message("@hold").text().as_bytes()).await.unwrap();
    tokio::time::sleep(silence * 2 / 3).await;
    server.service.release.notify_one();
    assert_eq!(Answer::read(stream).await.status, 201);
}

#[test]
fn health_answers_although_every_worker_of_the_daemon_is_stuck() {
    let stuck =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (blocked, is_blocked) = std::sync::mpsc::channel();
    stuck.spawn(async move {
        blocked.send(()).unwrap();
        wait.recv()
    });
    is_blocked.recv_timeout(PATIENCE).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::with(|options| options.runtime = stuck.handle().clone()).await;
        let waiting = server.send(&message("me")).await;
        assert_eq!(server.ask(Request::to("GET", "/health")).await.status, 200);
        release.send(()).unwrap();
        assert_eq!(Answer::read(waiting).await.status, 201);
    });
}

#[tokio::test]
async fn requests_are_counted_by_route_and_nobody_is_named() {
    let metrics = HttpMetrics::default();
    let server = Server::with(|options| options.metrics = metrics.clone()).await;
    server.ask(message("me")).await;
    server.ask(message("nobody at all")).await;
    server.ask(Request::new("GET", "/some/where")).await;
    server.ask(Request::new("BREW", "/health")).await;
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let route = r#"method="POST",route="/api/v1/accounts/{id}/messages""#;
    for line in [
        format!("telewarden_http_requests_total{{{route},status=\"2xx\"}} 1"),
        format!("telewarden_http_requests_total{{{route},status=\"4xx\"}} 1"),
        format!("telewarden_http_request_seconds_count{{{route}}} 2"),
        r#"{method="GET",route="other",status="4xx"} 1"#.to_owned(),
        r#"{method="other",route="/health",status="4xx"} 1"#.to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    let documented = include_str!("../../../../../docs/metrics.md");
    for line in text.lines() {
        let Some(name) = line.strip_prefix("# TYPE ") else { continue };
        let name = name.split(' ').next().unwrap();
        assert!(documented.contains(&format!("`{name}`")), "docs/metrics.md lacks {name}");
    }
    assert!(!text.contains("alice") && !text.contains(&fake::ACCOUNT.to_string()));
}
