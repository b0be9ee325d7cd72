//! Connections that break, hang or are refused, and keys that are.

use std::time::Duration;

use grammers_client::tl::{enums, functions as f, types};
use telewarden_simulator::{ChatKind, FaultKind, FaultSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::asked::*;
use crate::support::{Client, DEADLINE, Stage, send};

#[tokio::test]
async fn a_lost_answer_was_executed_all_the_same() {
    let stage = Stage::with_accounts(2).await;
    let client = stage.client(0).await;
    let friend = stage.accounts[1].user_id;
    let hash = {
        stage.simulator.post_private(client.user_id, friend, "hi").await.unwrap();
        let request = f::updates::GetDifference {
            pts: 1,
            pts_limit: None,
            pts_total_limit: None,
            date: i32::MAX,
            qts: 0,
            qts_limit: None,
        };
        let enums::updates::Difference::Difference(news) = client.invoke(&request).await.unwrap()
        else {
            panic!("there is news");
        };
        let user = news.users.into_iter().find_map(|user| match user {
            enums::User::User(user) if user.id == friend => user.access_hash,
            _ => None,
        });
        user.unwrap()
    };
    let to = types::InputPeerUser { user_id: friend, access_hash: hash };
    let method = Some("messages.sendMessage".to_owned());
    let lose = FaultSpec { method, times: Some(1), ..fault(client.user_id, FaultKind::LoseAnswer) };
    stage.simulator.add_fault(lose).await.unwrap();
    let request = send(to.clone().into(), "did you get this?", 9);
    client.invoke(&request).await.unwrap_err();
    assert_eq!(stage.simulator.inbox(friend).await.unwrap().len(), 1);
    // The same random id settles what happened; a new one would write twice, which is counted.
    client.invoke(&request).await.unwrap();
    let refuse = fault(client.user_id, FaultKind::RefuseDuplicates);
    stage.simulator.add_fault(refuse).await.unwrap();
    assert_eq!(client.refused(&request).await, "RANDOM_ID_DUPLICATE");
    stage.assert_clean().await;
    client.invoke(&send(to.into(), "did you get this?", 10)).await.unwrap();
    assert_eq!(stage.violations("random_id_changed").await, 1);
    assert_eq!(stage.simulator.inbox(friend).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_revoked_key_is_told_so_and_may_come_back_three_times() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    stage.simulator.revoke(client.user_id, None).await.unwrap();
    let request = f::updates::GetState {};
    assert_eq!(client.refused(&request).await, "AUTH_KEY_UNREGISTERED");
    until_disconnected(&stage, client.user_id).await;
    for _ in 0..3 {
        assert_eq!(client.refused(&request).await, "AUTH_KEY_UNREGISTERED");
        until_disconnected(&stage, client.user_id).await;
    }
    assert_eq!(stage.violations("connected_after_revoke").await, 0);
    assert_eq!(client.refused(&request).await, "AUTH_KEY_UNREGISTERED");
    assert_eq!(stage.violations("connected_after_revoke").await, 1);
}

#[tokio::test]
async fn one_key_on_two_connections_is_a_violation_and_kills_the_key() {
    let stage = Stage::with_accounts(1).await;
    let first = stage.client(0).await;
    let second = Client::idle(&stage.accounts[0]);
    let request = f::updates::GetState {};
    assert_eq!(second.refused(&request).await, "AUTH_KEY_DUPLICATED");
    assert_eq!(stage.violations("auth_key_connected_twice").await, 1);
    assert_eq!(first.refused(&request).await, "AUTH_KEY_DUPLICATED");
}

#[tokio::test]
async fn reconnecting_is_no_violation_and_all_calls_share_one_connection() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    for round in 1..=3 {
        for _ in 0..5 {
            client.invoke(&f::updates::GetState {}).await.unwrap();
        }
        let account = stage.simulator.account(client.user_id).await.unwrap();
        assert_eq!((account.connections_now, account.connections_total), (1, round));
        stage.simulator.disconnect(client.user_id).await.unwrap();
        // The library learns of the loss by a failed call, at the latest.
        let back = async { while client.invoke(&f::updates::GetState {}).await.is_err() {} };
        timeout(DEADLINE, back).await.unwrap();
    }
    stage.assert_clean().await;
}

#[tokio::test]
async fn calls_can_be_delayed_cut_off_reset_garbled_and_ignored() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let request = f::updates::GetState {};
    let delay_ms = Some(300);
    let delay = FaultSpec { delay_ms, times: Some(1), ..FaultSpec::default() };
    stage.simulator.add_fault(delay).await.unwrap();
    let start = Instant::now();
    client.invoke(&request).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));

    for kind in [FaultKind::Disconnect, FaultKind::Reset, FaultKind::Garbage] {
        let spec = FaultSpec { times: Some(1), ..fault(client.user_id, kind) };
        stage.simulator.add_fault(spec).await.unwrap();
        client.invoke(&request).await.unwrap_err();
        client.invoke(&request).await.unwrap();
    }
    let method = Some("updates.getState".to_owned());
    let ignore = FaultSpec { method, times: Some(1), ..fault(client.user_id, FaultKind::Mute) };
    stage.simulator.add_fault(ignore).await.unwrap();
    let short = Duration::from_millis(500);
    assert!(timeout(short, client.invoke(&request)).await.is_err(), "the call is ignored");
    client.invoke(&request).await.unwrap();
    stage.assert_clean().await;
}

#[tokio::test]
async fn connections_can_be_refused_or_left_without_an_answer() {
    let stage = Stage::with_accounts(2).await;
    let (refused, muted) = (&stage.accounts[0], &stage.accounts[1]);
    let refuse = fault(refused.user_id, FaultKind::RefuseConnections);
    stage.simulator.add_fault(refuse).await.unwrap();
    stage.simulator.add_fault(fault(muted.user_id, FaultKind::Mute)).await.unwrap();
    let request = f::updates::GetState {};
    Client::idle(refused).invoke(&request).await.unwrap_err();
    let silent = Client::idle(muted);
    let short = Duration::from_millis(500);
    assert!(timeout(short, silent.invoke(&request)).await.is_err(), "nothing is answered");
    drop(silent);
    stage.simulator.lift_faults().await;
    Client::idle(refused).invoke(&request).await.unwrap();

    let everybody = FaultSpec { kind: Some(FaultKind::RefuseConnections), ..FaultSpec::default() };
    stage.simulator.add_fault(everybody).await.unwrap();
    let mut stream = TcpStream::connect(stage.simulator.listen_addr()).await.unwrap();
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn an_unknown_key_is_answered_with_404() {
    let stage = Stage::with_accounts(1).await;
    let mut stream = TcpStream::connect(stage.simulator.listen_addr()).await.unwrap();
    // Intermediate framing, then a packet that begins with a key id nobody has.
    stream.write_all(&[0xee; 4]).await.unwrap();
    stream.write_all(&40u32.to_le_bytes()).await.unwrap();
    stream.write_all(&[7; 40]).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [&4u32.to_le_bytes()[..], &(-404i32).to_le_bytes()].concat());
}

#[tokio::test]
async fn a_slow_reader_takes_its_time() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let slow = FaultSpec { delay_ms: Some(200), ..fault(client.user_id, FaultKind::SlowReader) };
    stage.simulator.add_fault(slow).await.unwrap();
    let start = Instant::now();
    client.invoke(&f::updates::GetState {}).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_frozen_connection_is_silent_while_tcp_stays_open_and_may_be_replaced() {
    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    let frozen = stage.client(0).await;
    let once = FaultSpec { times: Some(1), ..fault(frozen.user_id, FaultKind::Freeze) };
    stage.simulator.add_fault(once).await.unwrap();
    stage.simulator.post(chat.chat_id, stage.ids()[1], "into the void").await.unwrap();
    let request = f::updates::GetState {};
    let short = Duration::from_millis(500);
    assert!(timeout(short, frozen.invoke(&request)).await.is_err(), "nothing is answered");
    assert!(frozen.updates.is_empty());
    let books = stage.simulator.account(frozen.user_id).await.unwrap();
    assert_eq!(books.connections_now, 1, "the connection stays open");
    drop(frozen);
    until_disconnected(&stage, stage.ids()[0]).await;
    stage.client(0).await;
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_refused_key_is_answered_with_404_on_a_connection_in_use() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let once = FaultSpec { times: Some(1), ..fault(client.user_id, FaultKind::RefuseKey) };
    stage.simulator.add_fault(once).await.unwrap();
    let refusal = client.refused(&f::updates::GetState {}).await;
    assert!(refusal.contains("404"), "{refusal}");
    until_disconnected(&stage, client.user_id).await;
    client.invoke(&f::updates::GetState {}).await.unwrap();
}
