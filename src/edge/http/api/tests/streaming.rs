//! Event streams over real sockets.

use futures_util::stream::Stream;
use futures_util::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use super::*;
use crate::protocol::feed::event::{FeedEntry, FeedEvent};
use crate::protocol::telegram::chat::ChatSpelling;

fn change(id: &str) -> FeedEntry {
    let chat = ChatSpelling::Text(id.to_owned());
    FeedEntry { id: id.to_owned(), event: Arc::new(FeedEvent::MonitorRemoved(chat)) }
}

/// The newest follower, once there are `count`.
async fn follower(server: &Server, count: usize) -> (mpsc::Sender<FeedEntry>, Option<String>) {
    let wait = async {
        loop {
            let found = server.service.followers.lock().unwrap().get(count - 1).cloned();
            match found {
                Some(found) => break found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("a follower")
}

/// Ends what the service offers to all.
fn forget(server: &Server) {
    server.service.followers.lock().unwrap().clear();
}

/// A token that is valid for two seconds more, leeway aside.
fn brief() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), &json!({"sub": "alice", "exp": now + 2}), &key).unwrap()
}

async fn lines_until(lines: &mut BufReader<TcpStream>, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    let read = async {
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).await.unwrap() > 0, "ended: {found:?}");
            found.push(line.trim_end().to_owned());
            if found.last().unwrap().contains(wanted) {
                return found;
            }
        }
    };
    timeout(PATIENCE, read).await.expect(wanted)
}

fn stream_request() -> Request {
    Request::new("GET", "/api/v1/events/stream").by(&alice())
}

#[tokio::test]
async fn events_are_streamed_and_resumed() {
    let server = Server::start().await;
    let mut lines = BufReader::new(server.send(&stream_request()).await);
    let (sender, after) = follower(&server, 1).await;
    assert_eq!(after, None);
    sender.send(change("1")).await.unwrap();
    let head = lines_until(&mut lines, "data: ").await;
    assert!(head[0].contains("200 OK"), "{head:?}");
    assert!(head.iter().any(|line| line.contains("text/event-stream")));
    assert!(head.contains(&"event: monitor.removed".to_owned()), "{head:?}");
    let id = head.iter().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert!(id.len() > 60, "it does not tell how many there were: {id}");
    assert!(head.contains(&"data: {\"chat_id\":\"1\"}".to_owned()), "{head:?}");
    let by_header = stream_request().query("last_event_id=older").header("Last-Event-ID", id);
    let _resumed = server.send(&by_header).await;
    assert_eq!(follower(&server, 2).await.1.as_deref(), Some("1"));
    let by_query = stream_request().query(&format!("last_event_id={id}"));
    let _resumed = server.send(&by_query).await;
    assert_eq!(follower(&server, 3).await.1.as_deref(), Some("1"));
    // Neither what counts inside nor what somebody else was told leads anywhere.
    let _lost = server.send(&stream_request().query("last_event_id=1")).await;
    assert_eq!(follower(&server, 4).await.1.as_deref(), Some("?"));
    let request = Request::new("GET", "/api/v1/events/stream").by(&token("bob", Role::User));
    let _lost = server.send(&request.query(&format!("last_event_id={id}"))).await;
    assert_eq!(follower(&server, 5).await.1.as_deref(), Some("?"));
    let answer = server.ask(stream_request().header("Last-Event-ID", "a b")).await;
    assert_eq!(answer.status, 422);
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_so() {
    let server = Server::start().await;
    let mut lines = BufReader::new(server.send(&stream_request()).await);
    let (sender, _) = follower(&server, 1).await;
    drop(sender);
    forget(&server);
    let end = lines_until(&mut lines, "data: ").await;
    assert!(end.contains(&"event: end".to_owned()));
    assert!(end.contains(&"data: {\"reason\":\"behind\"}".to_owned()), "{end:?}");
    let mut rest = String::new();
    timeout(PATIENCE, lines.read_to_string(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn streams_end_with_their_token_and_with_the_daemon() {
    let server = Server::start().await;
    let request = Request::new("GET", "/api/v1/events/stream").by(&brief());
    let mut lines = BufReader::new(server.send(&request).await);
    let end = lines_until(&mut lines, "reason").await;
    assert!(end.contains(&"data: {\"reason\":\"token_expired\"}".to_owned()), "{end:?}");
    let mut lines = BufReader::new(server.send(&stream_request()).await);
    follower(&server, 2).await;
    server.stop.cancel();
    let end = lines_until(&mut lines, "reason").await;
    assert!(end.contains(&"data: {\"reason\":\"stopping\"}".to_owned()), "{end:?}");
}

#[tokio::test]
async fn a_user_has_eight_streams_at_the_most() {
    let server = Server::start().await;
    let mut open = Vec::new();
    for count in 1..=8 {
        open.push(server.send(&stream_request()).await);
        follower(&server, count).await;
    }
    let request = || Request::to("GET", "/api/v1/events/stream").by(&alice());
    assert_eq!(server.ask(request()).await.refusal(), refusal(429, "RATE_LIMITED"));
    let bob = Request::new("GET", "/api/v1/events/stream").by(&token("bob", Role::User));
    let _bob = server.send(&bob).await;
    follower(&server, 9).await;
    open.clear();
    forget(&server);
    // Those who hung up give their places back.
    let mut lines = None;
    for _ in 0..400 {
        let mut stream = BufReader::new(server.send(&stream_request()).await);
        let mut first = String::new();
        stream.read_line(&mut first).await.unwrap();
        if first.contains("200") {
            lines = Some(stream);
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(lines.is_some());
}

type Socket = WebSocketStream<TcpStream>;

async fn open(
    server: &Server,
    query: &str,
    headers: &[(&str, &str)],
) -> Result<(Socket, Option<String>), Error> {
    let address = format!("ws://{}/api/v1/events{query}", server.address);
    let mut request = address.into_client_request().unwrap();
    for (name, value) in headers {
        let name = axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (socket, answer) = tokio_tungstenite::client_async(request, stream).await?;
    let chosen = answer.headers().get("sec-websocket-protocol");
    Ok((socket, chosen.map(|chosen| chosen.to_str().unwrap().to_owned())))
}

async fn next(socket: &mut (impl Stream<Item = Result<Message, Error>> + Unpin)) -> Message {
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

fn closed(message: Message) -> (u16, String) {
    let Message::Close(Some(frame)) = message else { panic!("{message:?}") };
    (frame.code.into(), frame.reason.to_string())
}

#[tokio::test]
async fn a_socket_tells_changes_and_where_to_resume() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", alice());
    let (mut socket, _) = open(&server, "", &[("authorization", &bearer)]).await.unwrap();
    let (sender, after) = follower(&server, 1).await;
    assert_eq!(after, None);
    sender.send(change("8")).await.unwrap();
    let Message::Text(text) = next(&mut socket).await else { panic!("no text") };
    let said: Value = serde_json::from_str(&text).unwrap();
    let id = said["id"].as_str().unwrap();
    assert_eq!(said, json!({"id": id, "event": "monitor.removed", "data": {"chat_id": "8"}}));
    let resume = format!("?last_event_id={id}");
    let (_resumed, _) = open(&server, &resume, &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(follower(&server, 2).await.1.as_deref(), Some("8"));
    drop(sender);
    forget(&server);
    assert_eq!(closed(next(&mut socket).await), (4002, "behind".to_owned()));
}

#[tokio::test]
async fn a_browser_hands_in_its_token_as_a_subprotocol() {
    let server = Server::start().await;
    let offered = format!("telewarden, bearer.{}", alice());
    let (_socket, chosen) =
        open(&server, "", &[("sec-websocket-protocol", &offered)]).await.unwrap();
    assert_eq!(chosen.as_deref(), Some("telewarden"));
    for headers in [vec![("sec-websocket-protocol", "telewarden, bearer.x")], vec![]] {
        let Err(Error::Http(answer)) = open(&server, "", &headers).await else { panic!("opened") };
        assert_eq!(answer.status(), 401);
    }
    let query = format!("?token={}", alice());
    assert!(open(&server, &query, &[]).await.is_err());
    let plain = Request::to("GET", "/api/v1/accounts").header("Sec-WebSocket-Protocol", &offered);
    assert_eq!(server.ask(plain).await.status, 401);
}

#[tokio::test]
async fn a_socket_closes_with_its_token_and_with_the_daemon() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", brief());
    let (mut socket, _) = open(&server, "", &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(closed(next(&mut socket).await), (4001, "token_expired".to_owned()));
    let bearer = format!("Bearer {}", alice());
    let (mut socket, _) = open(&server, "", &[("authorization", &bearer)]).await.unwrap();
    follower(&server, 2).await;
    server.stop.cancel();
    assert_eq!(closed(next(&mut socket).await), (1001, "stopping".to_owned()));
}

#[tokio::test]
async fn a_close_is_answered_with_a_close_whoever_begins() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", alice());
    for frame in [None, Some(CloseFrame { code: CloseCode::Normal, reason: "bye".into() })] {
        let (mut socket, _) = open(&server, "", &[("authorization", &bearer)]).await.unwrap();
        socket.close(frame.clone()).await.unwrap();
        // The answer repeats the code (RFC 6455 section 5.5.1), and then the server hangs up.
        let answer = next(&mut socket).await;
        let Message::Close(answer) = answer else { panic!("no close: {answer:?}") };
        assert_eq!(answer.map(|frame| frame.code), frame.map(|frame| frame.code));
        let rest = timeout(PATIENCE, socket.next()).await.expect("it hangs up");
        assert!(rest.is_none(), "{rest:?}");
    }
    // Ours is followed by theirs: nothing that was sent meanwhile cuts it off.
    let (mut socket, _) = open(&server, "", &[("authorization", &bearer)]).await.unwrap();
    follower(&server, 3).await;
    for _ in 0..20 {
        socket.send(Message::Text("hello".into())).await.unwrap();
    }
    server.stop.cancel();
    assert_eq!(closed(next(&mut socket).await), (1001, "stopping".to_owned()));
    let rest = timeout(PATIENCE, socket.next()).await.expect("it hangs up");
    assert!(rest.is_none(), "{rest:?}");
}
