//! Lists of a parsing service on the loopback that does what it is told: pages, failures between them, lists without end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{ParsingClient, ParsingClientError, ParsingProblem};
use crate::protocol::tree::restart::Backoff;
use crate::protocol::users::owner::UserId;

const PATIENCE: Duration = Duration::from_secs(5);
const QUICK: Backoff = Backoff { min_ms: 1, max_ms: 4 };

/// What a request is answered: how often it was asked before, and what for.
type Answer = Box<dyn Fn(usize, &Uri) -> Response + Send + Sync>;

/// A service and what it was asked.
struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Service {
    async fn with(answer: impl Fn(usize, &Uri) -> Response + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<(String, HeaderMap)>>> = Arc::default();
        let answer: Arc<Answer> = Arc::new(Box::new(answer));
        let handle = |State((asked, answer)): State<(Arc<Mutex<Vec<_>>>, Arc<Answer>)>,
                      uri: Uri,
                      headers: HeaderMap| async move {
            let before = {
                let mut asked = asked.lock().unwrap();
                asked.push((uri.to_string(), headers));
                asked.len() - 1
            };
            answer(before, &uri)
        };
        let router = Router::new().fallback(handle).with_state((Arc::clone(&asked), answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, asked }
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }

    async fn fetch(&self) -> (Vec<String>, Option<ParsingProblem>) {
        fetch(&format!("http://{}", self.address)).await
    }
}

/// Fetches the whole list of the task `7`: who is on it, and why it ended early.
async fn fetch(base: &str) -> (Vec<String>, Option<ParsingProblem>) {
    let client = ParsingClient::with_patience(base, PATIENCE, QUICK).unwrap();
    let mut listing = client.listing("7", &UserId::new("ann").unwrap(), None).unwrap();
    let mut found = Vec::new();
    loop {
        match listing.next().await {
            Ok(None) => return (found, None),
            Ok(Some(page)) => {
                found.extend(page.people.iter().map(|row| row.identifier.to_string()));
            }
            Err(problem) => return (found, Some(problem)),
        }
    }
}

fn people(range: std::ops::Range<u32>) -> Value {
    range
        .map(|number| json!({"id": 1_000 + number, "username": format!("person{number}")}))
        .collect()
}

fn names(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("@person{number}")).collect()
}

fn failure(status: u16) -> Response {
    StatusCode::from_u16(status).unwrap().into_response()
}

#[tokio::test]
async fn pages_are_asked_for_by_number_and_for_somebody() {
    let service = Service::with(|before, _| {
        let page = u32::try_from(before).unwrap();
        Json(json!({"users": people(page * 3..(page * 3 + 3).min(7)), "total": 7})).into_response()
    })
    .await;
    let (found, problem) = fetch(&format!("http://ann:s3cret@{}/base/", service.address)).await;
    assert!(problem.is_none(), "{problem:?}");
    assert_eq!(found, names(0..7));
    let path = "/base/api/parsing/results/7/users";
    let expected: Vec<_> = (1..=3).map(|page| format!("{path}?page={page}&limit=500")).collect();
    assert_eq!(service.paths(), expected);
    let (_, headers) = service.asked.lock().unwrap()[0].clone();
    assert_eq!(headers["x-user-id"], "ann");
    assert!(headers[header::AUTHORIZATION].to_str().unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn cursors_and_links_of_its_own_host_are_followed() {
    let service = Service::with(|before, uri| {
        let list = |from: u32, next: Value| json!({"data": people(from..from + 2), "next": next});
        let answer = match before {
            0 => list(0, json!("abc/+=")),
            1 => list(2, json!(format!("http://{}/elsewhere?from=4", "HOST"))),
            _ => list(4, Value::Null),
        };
        let _ = uri;
        Json(answer).into_response()
    })
    .await;
    let (found, problem) = service.fetch().await;
    assert_eq!(found, names(0..4));
    assert!(matches!(problem, Some(ParsingProblem::OtherHost)), "{problem:?}");
    assert!(service.paths()[1].contains("cursor=abc%2F%2B%3D"), "{:?}", service.paths());
    let service = Service::with(|before, _| {
        let next = if before == 0 { json!("?from=2") } else { Value::Null };
        let from = u32::try_from(before).unwrap() * 2;
        Json(json!({"data": people(from..from + 2), "next": next})).into_response()
    })
    .await;
    let (found, problem) = service.fetch().await;
    assert!(found == names(0..4) && problem.is_none(), "{found:?} {problem:?}");
    assert_eq!(service.paths()[1], "/api/parsing/results/7/users?from=2");
}

#[tokio::test]
async fn a_page_that_fails_for_a_while_is_asked_for_again_and_none_twice() {
    let service = Service::with(|before, uri| {
        let page: u32 = if uri.query().unwrap().contains("page=1&") { 0 } else { 1 };
        match before {
            0 => failure(500),
            1 => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "0")]).into_response(),
            3 => failure(503),
            // It says that there is more to come, and then breaks off.
            4 => {
                let broken = futures_util::stream::iter([
                    Ok(axum::body::Bytes::from_static(b"{\"users\": [{\"username\": \"half")),
                    Err(std::io::Error::other("cut")),
                ]);
                Body::from_stream(broken).into_response()
            }
            _ => Json(json!({"users": people(page * 2..page * 2 + 2), "pages": 2})).into_response(),
        }
    })
    .await;
    let (found, problem) = service.fetch().await;
    assert!(problem.is_none(), "{problem:?}");
    assert_eq!(found, names(0..4));
    assert_eq!(service.paths().len(), 6);
}

#[tokio::test]
async fn what_does_not_come_back_is_given_up_and_says_when_to_try_again() {
    let service = Service::with(|before, _| match before {
        0 => Json(json!({"users": people(0..2), "has_more": true})).into_response(),
        _ => failure(502),
    })
    .await;
    let (found, problem) = service.fetch().await;
    assert_eq!(found, names(0..2));
    let problem = problem.unwrap();
    assert!(matches!(&problem, ParsingProblem::Unavailable { retry_after: 30, .. }), "{problem:?}");
    assert!(problem.to_string().contains("502"), "{problem}");
    assert_eq!(service.paths().len(), 7, "six times the second page");
    // A wait that is too long is not waited for, but told.
    let service = Service::with(|_, _| {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "900")]).into_response()
    })
    .await;
    let (_, problem) = service.fetch().await;
    let is_told = matches!(problem, Some(ParsingProblem::Unavailable { retry_after: 900, .. }));
    assert!(is_told && service.paths().len() == 1, "{problem:?}");
    // Nor is it told on when it is far away, or no number that a clock holds.
    for (asked, told) in [("86400", 3_600), ("18446744073709551615", 3_600), ("61", 61)] {
        let service = Service::with(move |_, _| {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, asked)]).into_response()
        })
        .await;
        let (_, problem) = service.fetch().await;
        let Some(ParsingProblem::Unavailable { retry_after, .. }) = problem else {
            panic!("{asked}: {problem:?}")
        };
        assert_eq!(retry_after, told, "{asked}");
    }
    // Nobody there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (_, problem) = fetch(&format!("http://ann:s3cret@{address}")).await;
    let text = format!("{problem:?} {}", problem.as_ref().unwrap());
    assert!(matches!(problem, Some(ParsingProblem::Unavailable { .. })), "{text}");
    assert!(!text.contains("s3cret") && !text.contains("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_at_all_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    };
    let silent = tokio::spawn(silent);
    let patience = Duration::from_millis(50);
    let client =
        ParsingClient::with_patience(&format!("http://{address}"), patience, QUICK).unwrap();
    let mut listing = client.listing("7", &UserId::new("ann").unwrap(), None).unwrap();
    let problem = listing.next().await.unwrap_err();
    assert!(problem.to_string().contains("too long"), "{problem}");
    silent.abort();
}

#[tokio::test]
async fn nobody_is_asked_in_anothers_name_or_in_none() {
    let service = Service::with(|_, _| Json(people(0..2)).into_response()).await;
    let client = ParsingClient::new(&format!("http://{}", service.address)).unwrap();
    for user in [" ann", "ann ", "анна", "ann\u{a0}", "a\u{301}nn", " "] {
        let refused = client.listing("7", &UserId::new(user).unwrap(), None);
        assert!(matches!(refused, Err(ParsingProblem::Unnameable)), "{user:?}");
    }
    assert!(service.paths().is_empty());
    for user in ["ann", "ann-7", "Ann Smith", "a@b.example", "~!\"#%&"] {
        let mut listing = client.listing("7", &UserId::new(user).unwrap(), None).unwrap();
        listing.next().await.unwrap();
        let (_, headers) = service.asked.lock().unwrap().pop().unwrap();
        assert_eq!(headers["x-user-id"], user);
    }
}

#[test]
fn every_fault_of_the_service_says_what_to_do() {
    let why = || "x".to_owned();
    for (problem, words) in [
        (ParsingProblem::NoSuchTask, "parsing_task_id"),
        (ParsingProblem::Refused(403), "parsing.url"),
        (ParsingProblem::Unnameable, "use a token"),
        (ParsingProblem::Unavailable { why: why(), retry_after: 30 }, "ask again later"),
        (ParsingProblem::Unreadable(why()), "parsing.url"),
        (ParsingProblem::Endless("x"), "as a file"),
        (ParsingProblem::OtherHost, "set parsing.url"),
    ] {
        assert!(problem.to_string().contains(words), "{problem}");
    }
}

#[tokio::test]
async fn lists_without_end_are_seen() {
    let same =
        Service::with(|_, _| Json(json!({"users": people(0..2), "total": 9})).into_response());
    let (found, problem) = same.await.fetch().await;
    assert_eq!(found, names(0..2));
    assert!(matches!(problem, Some(ParsingProblem::Endless(_))), "{problem:?}");
    let cursor = Service::with(|_, _| {
        Json(json!({"users": people(0..2), "next_cursor": "same"})).into_response()
    });
    let (_, problem) = cursor.await.fetch().await;
    assert!(matches!(problem, Some(ParsingProblem::Endless(_))), "{problem:?}");
    // One that knows no pages answers all at once, whatever is asked.
    let all = Service::with(|_, _| Json(people(0..5)).into_response()).await;
    let (found, problem) = all.fetch().await;
    assert!(found == names(0..5) && problem.is_none(), "{found:?} {problem:?}");
    assert_eq!(all.paths().len(), 2);
    let none = Service::with(|_, _| Json(json!([])).into_response()).await;
    assert!(matches!(none.fetch().await, (found, None) if found.is_empty()));
}

#[tokio::test]
async fn what_is_no_list_is_refused_and_nothing_of_it_is_kept() {
    for (body, words) in [
        ("<html><body>sign in</body></html>".to_owned(), "no list of people"),
        ("username\n@durov\n".to_owned(), "no JSON"),
        ("{\"users\": [{\"username\": \"durov\"}".to_owned(), "damaged"),
        ("{\"error\": \"s3cret\"}".to_owned(), "no list of people"),
        (format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), "no list of people"),
        (format!("[\"{}\"]", "x".repeat(5 << 20)), "bytes"),
    ] {
        let service = Service::with(move |_, _| body.clone().into_response()).await;
        let (found, problem) = service.fetch().await;
        let problem = problem.expect(words);
        assert!(found.is_empty() && problem.to_string().contains(words), "{problem}");
        assert_eq!(service.paths().len(), 1, "it is not asked for again: {problem}");
    }
    for (status, words) in [(404, "no such task"), (401, "401"), (403, "403"), (302, "302")] {
        let service = Service::with(move |_, _| failure(status)).await;
        let (_, problem) = service.fetch().await;
        assert!(problem.unwrap().to_string().contains(words), "{status}");
        assert_eq!(service.paths().len(), 1);
    }
}

#[tokio::test]
async fn a_redirection_leads_to_no_other_host() {
    let other = Service::with(|_, _| Json(people(0..2)).into_response()).await;
    // Another port is another server.
    let to = format!("http://{}/x", other.address);
    let service = Service::with(move |_, _| {
        (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to.clone())]).into_response()
    })
    .await;
    let (_, problem) = service.fetch().await;
    assert!(matches!(problem, Some(ParsingProblem::OtherHost)), "{problem:?}");
    assert!(other.paths().is_empty());
    let own = Service::with(|before, _| match before {
        0 => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/moved")]).into_response(),
        _ => Json(json!({"users": people(0..2), "total": 2})).into_response(),
    })
    .await;
    let (found, problem) = own.fetch().await;
    assert!(found == names(0..2) && problem.is_none(), "{problem:?}");
    assert_eq!(own.paths()[1], "/moved");
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_an_answer_that_does_not_come() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let junk = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 64];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(b"220 smtp.example.org\r\n").await;
        }
    });
    let (_, problem) = fetch(&format!("http://{address}")).await;
    assert!(matches!(problem, Some(ParsingProblem::Unavailable { .. })), "{problem:?}");
    junk.abort();
}

#[test]
fn only_addresses_that_can_be_called_are_taken() {
    for base in ["", "parsing", "ftp://a.example", "http://", "http://?x"] {
        let made = ParsingClient::new(base);
        assert!(matches!(made, Err(ParsingClientError::Address)), "{base}");
    }
    assert!(ParsingClient::new("http://10.0.0.1:8081/base").is_ok(), "private ones, too");
}
