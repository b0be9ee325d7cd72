//! Limits that grow and end in `PEER_FLOOD`.

use std::time::{Duration, Instant};

use grammers_client::sender::InvocationError;
use grammers_client::tl::RemoteCall;
use grammers_client::tl::functions as f;
use telewarden_simulator::{ChatKind, ChatRules, Limits};

use super::steps::*;
use crate::support::{Client, Stage, send};

/// The error a call is refused with and its number.
async fn wait<R: RemoteCall>(client: &Client, request: &R) -> (String, Option<u32>) {
    match client.invoke(request).await {
        Err(InvocationError::Rpc(error)) => (error.name, error.value),
        Err(other) => panic!("unexpected {other}"),
        Ok(_) => ("accepted".to_owned(), None),
    }
}

#[tokio::test]
async fn invitations_end_in_waits_and_then_in_a_limit_on_the_account() {
    let stage = Stage::with_accounts(8).await;
    let chat = stage.chat_of_admin(ChatKind::Supergroup, ChatRules::default()).await;
    let limits = Limits { invites_before_flood: 1, flood_seconds: 1, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    let client = stage.client(0).await;
    let channel = client.channel().await;
    let mut people = Vec::new();
    for account in &stage.accounts[1..] {
        people.push(found(&client, &account.phone).await);
    }
    let invite =
        async |number: usize| wait(&client, &invitation(&channel, &[&people[number]])).await;
    let flood = |seconds| ("FLOOD_WAIT".to_owned(), Some(seconds));
    let accepted = ("accepted".to_owned(), None);
    assert_eq!(invite(0).await, accepted);
    assert_eq!(invite(1).await, flood(1));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(invite(1).await, accepted);
    assert_eq!(invite(2).await, flood(2));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(invite(2).await, accepted);
    let limited = ("PEER_FLOOD".to_owned(), None);
    assert!(!stage.simulator.account(stage.ids()[0]).await.unwrap().limited);
    assert_eq!(invite(3).await, limited);
    assert_eq!(invite(3).await, limited);
    assert!(stage.simulator.account(stage.ids()[0]).await.unwrap().limited);
    // So are messages to strangers; to who wrote first the account may answer.
    assert_eq!(wait(&client, &send(to(&people[3]), "hello", 1)).await, limited);
    stage.simulator.post_private(stage.ids()[0], stage.ids()[4], "hi").await.unwrap();
    client.invoke(&send(to(&people[3]), "hello", 2)).await.unwrap();
    assert_eq!(stage.member_ids(chat).await.len(), 4);
    // Who kept the waits did nothing wrong, and what was refused never reached anybody.
    stage.assert_clean().await;
    assert_eq!(stage.reached().await.len(), 4);
    stage.simulator.set_limits(limits).await;
    assert_eq!(invite(3).await, accepted);
}

#[tokio::test]
async fn a_client_that_does_not_wait_is_found_out() {
    let stage = Stage::with_accounts(4).await;
    let limits = Limits { messages_before_flood: 1, flood_seconds: 60, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    let client = stage.client(0).await;
    let mut refused = Vec::new();
    for (number, account) in stage.accounts[1..].iter().enumerate() {
        let input = found(&client, &account.phone).await;
        refused.push(wait(&client, &send(to(&input), "hello", number as i64 + 1)).await);
    }
    let input = found(&client, &stage.accounts[1].phone).await;
    refused.push(wait(&client, &send(to(&input), "hello", 9)).await);
    let names: Vec<_> = refused.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let expected = [
        ("accepted", None),
        ("FLOOD_WAIT", Some(60)),
        ("FLOOD_WAIT", Some(120)),
        ("PEER_FLOOD", None),
    ];
    assert_eq!(names, expected);
    assert!(stage.violations("call_during_flood_wait").await > 0);
}

#[tokio::test]
async fn looking_people_up_has_a_limit_of_its_own() {
    let stage = Stage::with_accounts(2).await;
    let limits = Limits { resolves_before_flood: 2, flood_seconds: 60, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    let client = stage.client(0).await;
    let input = found(&client, &stage.accounts[1].phone).await;
    let name = f::contacts::ResolveUsername { username: "nobody".to_owned(), referer: None };
    assert_eq!(client.refused(&name).await, "USERNAME_NOT_OCCUPIED");
    assert_eq!(wait(&client, &name).await, ("FLOOD_WAIT".to_owned(), Some(60)));
    client.invoke(&send(to(&input), "hello", 1)).await.unwrap();
}

#[tokio::test]
async fn many_attempts_are_read_at_once() {
    let stage = Stage::with_accounts(2).await;
    let client = stage.client(0).await;
    let input = found(&client, &stage.accounts[1].phone).await;
    for random_id in 1..=200 {
        client.invoke(&send(to(&input), &format!("number {random_id}"), random_id)).await.unwrap();
    }
    let start = Instant::now();
    for _ in 0..500 {
        assert_eq!(stage.simulator.contacted().await.len(), 200);
    }
    // 100,000 entries in all, even unoptimized on a busy machine.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
