//! Many strangers at the HTTP edge: what they may hold, what they may cost, and who is served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use telewarden::protocol::users::owner::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{DaemonOptions, Harness, PATIENCE, eventually, id_of, more_open_files};

/// What one connection may cost before anybody knows who asks (docs/reliability.md, Bounds).
const CONNECTION_KIB_MAX: u64 = 20;

/// A head that is never finished, as long as one may be.
fn unfinished_head() -> Vec<u8> {
    let mut head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Filler: ".to_vec();
    head.resize(8 * 1024 - 16, b'x');
    head
}

async fn silent(harness: &Harness, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        open.push(TcpStream::connect(harness.daemon.listen()).await.unwrap());
    }
    open
}

/// `telewarden health`, as a container asks it.
async fn is_healthy(harness: &Harness) {
    let said = tokio::task::block_in_place(|| harness.daemon.command(&["health"]));
    assert_eq!(said, (Some(0), "alive\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_under_a_small_limit_of_open_files_end_nothing() {
    more_open_files();
    let options = DaemonOptions { open_files: Some(1024), ..DaemonOptions::default() };
    let harness = Harness::open_with(options).await;
    let user = harness.user("ann");
    let ben = harness.named("ben_try").await;
    let mut accounts = Vec::new();
    for _ in 0..80 {
        accounts.push(harness.connect(&user, &harness.person().await).await);
    }
    let _idle = silent(&harness, 1_020).await;
    is_healthy(&harness).await;
    // The store goes on, for longer than it waits until it notes how far it has come.
    let witness = harness.daemon.store().join("witness");
    let noted = || std::fs::read(&witness).unwrap();
    let (account, rounds) = (&accounts[0], ["one", "two"]);
    for round in rounds {
        let before = noted();
        let message = json!({"to": "@ben_try", "text": format!("{round}")});
        harness.send(&user, account, None, &message).await.expect(201);
        eventually("the witness is written", async || (noted() != before).then_some(())).await;
    }
    assert_eq!(harness.texts(&ben).await, rounds);
    // And there is room for more accounts, while others come to be silent.
    let _more = silent(&harness, 300).await;
    for _ in 0..20 {
        harness.connect(&user, &harness.person().await).await;
    }
    let (status, health) = harness.daemon.get("/health").await.unwrap();
    assert_eq!(
        (status, &health["accounts"]["by_state"]["active"]),
        (200, &json!(100)),
        "{health:#}"
    );
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_beyond_the_limit_of_open_files_say_so_and_the_others_stay() {
    more_open_files();
    let mut harness = Harness::open().await;
    let user = harness.user("ann");
    for _ in 0..107 {
        harness.connect(&user, &harness.person().await).await;
    }
    assert!(harness.daemon.terminate().await.success());
    harness.daemon.set_open_files(256);
    harness.daemon.launch();
    // 105 connections is what is left for accounts under such a limit.
    let of_state = async |state: &str| {
        let listed = harness.daemon.get("/health").await.ok()?.1;
        Some(listed["accounts"]["by_state"][state].as_u64().unwrap_or_default())
    };
    eventually("as many as find room are there", async || {
        (of_state("active").await == Some(105)).then_some(())
    })
    .await;
    let list = user.get("/accounts?limit=200").await.expect(200);
    let accounts = list["items"].as_array().unwrap();
    let (there, left): (Vec<_>, Vec<_>) =
        accounts.iter().partition(|account| account["state"] == "active");
    assert_eq!(left.len(), 2, "{left:#?}");
    for account in &left {
        let why = user.get(&format!("/accounts/{}/why", id_of(account))).await.expect(200);
        assert!(why.to_string().contains("LimitNOFILE="), "{why:#}");
    }
    // Whoever makes room is followed by one of them.
    user.post(&format!("/accounts/{}/pause", id_of(there[0])), json!({})).await.expect(200);
    eventually("another one takes the room", async || {
        for account in &left {
            let now = user.get(&format!("/accounts/{}", id_of(account))).await.expect(200);
            if now["state"] == "active" {
                return Some(());
            }
        }
        None
    })
    .await;
    is_healthy(&harness).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_descriptor_left_goes_on_and_accepts_again() {
    more_open_files();
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let ben = harness.named("ben_try").await;
    let account = harness.connect(&user, &harness.person().await).await;
    let mut idle = silent(&harness, 20).await;
    is_healthy(&harness).await;
    // From now on none is left: what is open stays open.
    harness.daemon.limit_open_files(8);
    let witness = harness.daemon.store().join("witness");
    let noted = || std::fs::read(&witness).unwrap();
    let before = noted();
    let body = json!({"to": "@ben_try", "text": "without descriptors"}).to_string();
    let head = format!(
        "POST /api/v1/accounts/{account}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        harness.token("ann", Role::User),
        body.len(),
    );
    let stream = idle.last_mut().unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 201");
    eventually("the witness is written", async || (noted() != before).then_some(())).await;
    let waiting = silent(&harness, 50).await;
    let told = || harness.daemon.log().matches("could not be accepted").count() as u64;
    let began = Instant::now();
    eventually("it tells of it", async || (told() > 0).then_some(())).await;
    harness.daemon.limit_open_files(4096);
    is_healthy(&harness).await;
    let minutes = began.elapsed().as_secs() / 60;
    assert!((1..=2 + minutes).contains(&told()), "once a minute, and it does not spin: {}", told());
    let again = json!({"to": "@ben_try", "text": "again"});
    harness.send(&user, &account, None, &again).await.expect(201);
    assert_eq!(harness.texts(&ben).await, ["without descriptors", "again"]);
    drop(waiting);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_open_files_are_refused_with_advice() {
    let options = DaemonOptions { open_files: Some(128), ..DaemonOptions::default() };
    let mut harness = Harness::prepare(options).await;
    harness.daemon.launch();
    let status = eventually("it ends", async || harness.daemon.try_ended()).await;
    assert_eq!(status, Some(1));
    let log = harness.daemon.log();
    for word in ["open files is 128", "at least 256", "LimitNOFILE="] {
        assert!(log.contains(word), "{word} is not in {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_heads_cost_no_more_than_a_connection_may() {
    more_open_files();
    let harness = Harness::open().await;
    let (head, count) = (unfinished_head(), 950);
    // What the first of a kind costs is not what each costs.
    let mut first = silent(&harness, 20).await;
    for stream in &mut first {
        stream.write_all(&head).await.unwrap();
    }
    is_healthy(&harness).await;
    drop(first);
    let before = harness.daemon.resident_kib();
    let mut open = silent(&harness, count).await;
    for stream in &mut open {
        stream.write_all(&head).await.unwrap();
    }
    // Asked behind all of them, so that they have been read.
    for _ in 0..3 {
        is_healthy(&harness).await;
    }
    let held = harness.daemon.resident_kib();
    let each = held.saturating_sub(before) / count as u64;
    println!("{count} unfinished heads: {before} KiB, then {held} KiB, {each} KiB each");
    assert!(each <= CONNECTION_KIB_MAX, "{each} KiB each");
    // A longer one is refused before it costs more.
    for stream in &mut open {
        let _ = stream.write_all(&[b'x'; 400 * 1024]).await;
    }
    is_healthy(&harness).await;
    // One that is just too long, so that nothing is left unread when it is refused and closed.
    let mut fresh = TcpStream::connect(harness.daemon.listen()).await.unwrap();
    let mut long = unfinished_head();
    long.resize(8 * 1024, b'x');
    fresh.write_all(&long).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, fresh.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let after = harness.daemon.resident_kib();
    assert!(after <= held + 4 * 1024, "{held} KiB, then {after} KiB");
}

/// Somebody who connects, asks nothing or half a question, and comes again as soon as the connection
/// ends.
async fn pester(harness: &Harness, number: usize, came: Arc<AtomicUsize>) -> AbortOnDropHandle<()> {
    let address = harness.daemon.listen();
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            if let Ok(mut stream) = TcpStream::connect(address).await {
                came.fetch_add(1, Ordering::Relaxed);
                if number.is_multiple_of(4) {
                    let _ = stream.write_all(b"GET /health/live HT").await;
                }
                let _ = stream.read(&mut [0; 16]).await;
            } else {
                // The kernel turns it away, or this machine has no port left.
                sleep(Duration::from_millis(50)).await;
            }
        }
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_answers_behind_four_thousand_silent_callers_who_come_again_and_again() {
    more_open_files();
    let harness = Harness::open().await;
    let (user, came) = (harness.user("ann"), Arc::new(AtomicUsize::new(0)));
    let mut crowd = Vec::new();
    // More than are held of either kind, so that they come again and again.
    for number in 0..5_500 {
        crowd.push(pester(&harness, number, Arc::clone(&came)).await);
    }
    eventually("all are there, and come again", async || {
        (came.load(Ordering::Relaxed) > 8_000).then_some(())
    })
    .await;
    for _ in 0..20 {
        is_healthy(&harness).await;
        let answer = timeout(Duration::from_secs(5), user.get("/accounts")).await;
        answer.expect("the API answers, too").expect(200);
    }
    drop(crowd);
    is_healthy(&harness).await;
}
