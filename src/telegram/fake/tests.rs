//! The fake keeps its own promises.

use std::sync::Mutex;

use super::*;
use crate::protocol::telegram::chat::ChatTarget;
use crate::telegram::lease::ConnectionLease;
use crate::telegram::peers::PeerBook;
use crate::telegram::port::TelegramClient;

#[tokio::test(start_paused = true)]
async fn it_answers_by_its_world_unless_the_script_says_otherwise_and_keeps_a_book() {
    let telegram = FakeTelegram::new();
    let ann = telegram.person(1, 7);
    telegram.chat(channel(5), "room", Some("room"));
    let lease = ConnectionLease::new();
    let connected = telegram.connect(&ann, 1, lease.clone()).await.ok().unwrap();
    assert_eq!((connected.me.user_id, telegram.connections()), (7, 1));
    let (peers, call) = (Mutex::new(PeerBook::default()), Call::Resolve(target()));
    let (outcome, news) = connected.caller.run(&call, &peers, false).await.unwrap();
    assert!(matches!(outcome, Outcome::Resolved { .. }));
    assert_eq!(news.len(), 1);
    telegram.next("resolve", Answer::after(Duration::from_secs(60), Then::Fail(Failure::Limited)));
    assert_eq!(connected.caller.run(&call, &peers, false).await, Err(Failure::Limited));
    assert_eq!(telegram.count("resolve"), 2);
    assert!(telegram.0.began.elapsed() >= Duration::from_secs(60));
    telegram.closing_takes(Duration::from_secs(1));
    drop(connected);
    assert!(lease.try_hold().is_none(), "until the sockets are closed");
    let again = telegram.connect(&ann, 1, lease).await;
    assert!(again.is_ok() && telegram.doubled() == 0);
    let twice = telegram.connect(&ann, 1, ConnectionLease::new()).await;
    assert!(twice.is_ok());
    assert_eq!(telegram.doubled(), 1, "that would have been the end of the key");
}

fn target() -> ChatTarget {
    ChatTarget::Username("room".into())
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_connection() {
    let telegram = FakeTelegram::new();
    let ann = telegram.person(1, 7);
    let connected = telegram.connect(&ann, 1, ConnectionLease::new()).await.ok().unwrap();
    telegram.next("resolve", Answer::now(Then::Silence));
    let caller = Arc::clone(&connected.caller);
    let call = tokio::spawn(async move {
        let peers = Mutex::new(PeerBook::default());
        caller.run(&Call::Resolve(target()), &peers, false).await.map(drop)
    });
    sleep(Duration::from_secs(1)).await;
    drop(connected);
    assert_eq!(call.await.unwrap(), Err(Failure::transient("the connection ended")));
    assert!(telegram.0.began.elapsed() < Duration::from_secs(2));
}
