//! Requests at the border of what is valid: rightly taken, or rightly refused and rightly said.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Harness, PATIENCE, TOKEN_SECRET, eventually};

fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(TOKEN_SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// Sends bytes as they are; all that comes until the end.
async fn raw(harness: &Harness, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(harness.daemon.listen()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    answer
}

fn status(answer: &[u8]) -> u16 {
    String::from_utf8_lossy(&answer[9..12]).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_backend_is_taken_or_told_what_is_wrong_with_it() {
    let harness = Harness::open().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let good = json!({"sub": "ann", "exp": now + 600.25, "nbf": now - 0.25, "iat": now - 0.25});
    harness.holder(&signed(&good)).get("/accounts").await.expect(200);
    for (change, words) in [
        (json!({"exp": null}), "exp is not a number"),
        (json!({"exp": "1900000000"}), "exp is not a number"),
        (json!({"exp": now - 20.5}), "has expired"),
        (json!({"nbf": now + 60.5}), "not valid yet"),
        (json!({"sub": 42}), "sub is not a text"),
        (json!({"role": ["admin"]}), "role is not a text"),
        (json!({"aud": 7}), "aud is neither a text nor a list"),
        (json!({"aud": "somebody else"}), "another audience"),
    ] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = harness.holder(&signed(&claims)).get("/accounts").await;
        let refused = answer.expect_problem(401, "UNAUTHORIZED");
        assert!(refused.text.contains(words), "{words}: {}", refused.text);
    }
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        harness.holder(&signed(&claims))
    };
    for (name, words) in [("exp", "lacks exp"), ("sub", "lacks sub")] {
        let answer = without(name).get("/accounts").await;
        let refused = answer.expect_problem(401, "UNAUTHORIZED");
        assert!(refused.text.contains(words), "{words}: {}", refused.text);
    }
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["b64".to_owned()]);
    let key = EncodingKey::from_secret(TOKEN_SECRET.as_bytes());
    let token = encode(&header, &good, &key).unwrap();
    let refused = harness.holder(&token).get("/accounts").await.expect_problem(401, "UNAUTHORIZED");
    assert!(refused.text.contains("(crit)"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_taken_as_it_is_and_says_everything_once() {
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let id = harness.connect(&user, &harness.person().await).await;
    let ask = async |more: &str, body: &str| {
        let head = format!(
            "POST /api/v1/accounts/{id}/chats HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{more}\r\n{body}",
            signed(&json!({"sub": "ann", "exp": 4e9})),
            body.len(),
        );
        let answer = raw(&harness, head.as_bytes()).await;
        (status(&answer), String::from_utf8(answer).unwrap())
    };
    let (status, answer) = ask("Content-Encoding: gzip\r\n", "{\"chat\": \"me\"}").await;
    assert_eq!(status, 415, "{answer}");
    assert!(answer.to_lowercase().contains("\r\naccept-encoding: identity\r\n"), "{answer}");
    let (status, answer) = ask("", r#"{"chat": "@one_chat", "chat": "@other_chat"}"#).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer.contains(r#"{"field":"chat","message":"is given more than once"}"#), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_names_one_host() {
    let harness = Harness::open().await;
    for (head, expected) in [
        ("GET /health/live HTTP/1.1\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        ("GET /api/v1/accounts HTTP/1.1\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nHost: a\r\n", 200),
        ("GET /health/live HTTP/1.0\r\n", 200),
    ] {
        let answer = raw(&harness, format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&answer), expected, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_come_compressed_to_who_asks_for_it_and_to_nobody_else() {
    let harness = Harness::open().await;
    let get = async |more: &str| {
        let head = format!("GET /docs/ HTTP/1.0\r\nHost: x\r\n{more}\r\n");
        let answer = raw(&harness, head.as_bytes()).await;
        let at = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(answer[..at].to_vec()).unwrap().to_lowercase();
        (head, answer[at + 4..].to_vec())
    };
    for asked in ["", "Accept-Encoding: identity\r\n", "Accept-Encoding: gzip;q=0\r\n"] {
        let (head, body) = get(asked).await;
        assert!(!head.contains("content-encoding"), "{asked}: {head}");
        assert!(String::from_utf8(body).unwrap().contains("<html"), "{asked}");
    }
    let (head, body) = get("Accept-Encoding: deflate, gzip\r\n").await;
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"));
    assert_eq!(body[..2], [0x1f, 0x8b], "RFC 1952 section 2.3.1");
}

async fn event_socket(harness: &Harness) -> WebSocketStream<TcpStream> {
    let address = format!("ws://{}/api/v1/events", harness.daemon.listen());
    let mut request = address.into_client_request().unwrap();
    let token = format!("Bearer {}", signed(&json!({"sub": "ann", "exp": 4e9})));
    request.headers_mut().insert("authorization", token.parse().unwrap());
    let stream = TcpStream::connect(harness.daemon.listen()).await.unwrap();
    client_async(request, stream).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_of_an_event_socket_is_answered() {
    let harness = Harness::open().await;
    let mut socket = event_socket(&harness).await;
    let frame = CloseFrame { code: CloseCode::Away, reason: "done".into() };
    socket.close(Some(frame)).await.unwrap();
    let answer = timeout(PATIENCE, socket.next()).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = answer else { panic!("no close: {answer:?}") };
    assert_eq!(frame.code, CloseCode::Away);
    let rest = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(matches!(rest, None | Some(Err(Error::ConnectionClosed))), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_the_rules_of_an_event_socket_is_told_which() {
    let harness = Harness::open().await;
    for (sent, told) in [
        (Message::Text("x".repeat(5_000).into()), CloseCode::Size),
        (
            Message::Frame(Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true)),
            CloseCode::Invalid,
        ),
        (
            Message::Frame(Frame::message(vec![], OpCode::Data(Data::Reserved(3)), true)),
            CloseCode::Protocol,
        ),
    ] {
        let mut socket = event_socket(&harness).await;
        socket.send(sent).await.unwrap();
        let answer = timeout(PATIENCE, socket.next()).await.unwrap();
        let Some(Ok(Message::Close(Some(frame)))) = answer else { panic!("no close: {answer:?}") };
        assert_eq!(frame.code, told, "{frame:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_have_a_quota_and_none_that_happened_lacks_its_line() {
    let mut harness = Harness::prepare(Default::default()).await;
    let burst = ("TELEWARDEN__HTTP__LIMITS__CHANGE_BURST", "12");
    harness.set_variables(&[burst, ("TELEWARDEN__HTTP__LIMITS__CHANGE_PER_MINUTE", "1")]);
    harness.daemon.spawn().await;
    let user = harness.user("ann");
    // By its session, which is of another class.
    let id = harness.connect(&user, &harness.person().await).await;
    let mut done = [0, 0];
    let mut refused = 0;
    for round in 0..30 {
        let what = ["pause", "resume"][round % 2];
        let answer = user.ask("POST", &format!("/accounts/{id}/{what}"), None).await;
        match answer.status {
            200 => done[round % 2] += 1,
            429 => {
                refused += 1;
                assert!((1..=60).contains(&answer.retry_after()), "{answer:?}");
                answer.expect_problem(429, "RATE_LIMITED");
            }
            _ => panic!("{answer:?}"),
        }
    }
    // One comes back in a minute.
    assert!((12..=14).contains(&(done[0] + done[1])) && refused >= 16, "{done:?}, {refused}");
    for (action, count) in [("account.pause", done[0]), ("account.resume", done[1])] {
        let page = user.get(&format!("/audit?action={action}&limit=200")).await.expect(200);
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{action}: {page:#}");
    }
    // Looking is no change.
    for _ in 0..20 {
        user.get(&format!("/accounts/{id}")).await.expect(200);
    }
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_how_many_are_in_trouble_and_calls_each_as_the_api_does() {
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let mut ids = Vec::new();
    for _ in 0..23 {
        let person = harness.person().await;
        ids.push(harness.connect(&user, &person).await);
        harness.sim.revoke(person.user_id, None).await.unwrap();
    }
    let health = eventually("all are in trouble", async || {
        let (_, health) = harness.daemon.get("/health").await.ok()?;
        (health["accounts"]["troubled_total"] == 23).then_some(health)
    })
    .await;
    let troubled = health["accounts"]["troubled"].as_array().unwrap();
    assert_eq!((troubled.len(), &health["accounts"]["truncated"]), (20, &json!(true)));
    for one in troubled {
        let id = one["account"].as_str().unwrap();
        assert!(ids.iter().any(|known| known == id), "{one:#}");
        user.get(&format!("/accounts/{id}")).await.expect(200);
    }
    let (admin, mut found, mut cursor) = (harness.admin(), Vec::new(), String::new());
    loop {
        let path = format!("/health/detailed?limit=10&accounts_cursor={cursor}");
        let detailed = admin.get(&path).await.expect(200)["accounts"].clone();
        assert_eq!(detailed["troubled_total"], 23);
        let page = detailed["troubled"].as_array().unwrap();
        found.extend(page.iter().map(|one| one["account"].as_str().unwrap().to_owned()));
        match detailed["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    let lines = harness.daemon.log_lines();
    let ended: Vec<_> = lines
        .iter()
        .filter(|line| {
            line["message"].as_str().is_some_and(|text| text.contains("ended this session"))
        })
        .collect();
    assert_eq!(ended.len(), 23);
    for line in ended {
        let text = line.to_string();
        assert!(ids.iter().any(|id| text.contains(id.as_str())), "{line:#}");
    }
    harness.expect_clean_books().await;
}
