//! Flood waits, and the clients that do not heed them.

use std::time::Duration;

use grammers_client::tl::functions as f;
use telewarden_simulator::{ChatKind, FaultSpec};
use tokio::time::timeout;

use super::asked::*;
use crate::support::{Client, Stage, peer, send};

#[tokio::test]
async fn a_flood_wait_strikes_as_often_as_asked_and_impatience_is_counted() {
    let stage = Stage::with_accounts(2).await;
    stage.chat(ChatKind::Supergroup).await;
    let client = stage.client(0).await;
    let channel = peer(&client.channel().await);
    let spec = error(client.user_id, "messages.sendMessage", "FLOOD_WAIT_1", 1);
    stage.simulator.add_fault(spec).await.unwrap();
    let refusal = client.invoke(&send(channel.clone(), "hello", 1)).await.unwrap_err();
    let grammers_client::InvocationError::Rpc(refusal) = refusal else { panic!("an rpc error") };
    assert_eq!((refusal.code, refusal.name.as_str(), refusal.value), (420, "FLOOD_WAIT", Some(1)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.invoke(&send(channel.clone(), "patient", 1)).await.unwrap();
    assert_eq!(stage.violations("call_during_flood_wait").await, 0);

    let spec = error(client.user_id, "messages.sendMessage", "FLOOD_WAIT_30", 1);
    stage.simulator.add_fault(spec).await.unwrap();
    client.refused(&send(channel.clone(), "again", 2)).await;
    client.invoke(&f::updates::GetState {}).await.unwrap();
    client.invoke(&send(channel, "impatient", 2)).await.unwrap();
    assert_eq!(stage.violations("call_during_flood_wait").await, 1);
}

/// A client that was refused with a wait of 30 s, and what it was refused.
async fn refused_for_long(stage: &Stage) -> (Client, f::updates::GetDifference) {
    let client = stage.client(0).await;
    let spec = error(client.user_id, "updates.getDifference", "FLOOD_WAIT_30", 1);
    stage.simulator.add_fault(spec).await.unwrap();
    assert_eq!(client.refused(&difference(1)).await, "FLOOD_WAIT");
    (client, difference(1))
}

fn difference(pts: i32) -> f::updates::GetDifference {
    let (pts_limit, pts_total_limit, qts_limit) = (None, None, None);
    f::updates::GetDifference { pts, pts_limit, pts_total_limit, date: 1, qts: 0, qts_limit }
}

#[tokio::test]
async fn a_client_that_does_not_listen_is_counted_at_its_first_repetition() {
    let stage = Stage::with_accounts(1).await;
    let (client, request) = refused_for_long(&stage).await;
    client.invoke(&request).await.unwrap();
    let stats = stage.simulator.stats().await;
    assert_eq!(stats.violations["call_during_flood_wait"], 1);
    let line = format!(
        "call_during_flood_wait: account {} repeated updates.getDifference on connection 1, ",
        client.user_id
    );
    assert!(stats.violations_told[0].starts_with(&line), "{:?}", stats.violations_told);
    assert!(stats.violations_told[0].contains("to wait 30 s"), "{:?}", stats.violations_told);
}

#[tokio::test]
async fn a_client_that_makes_other_calls_of_the_method_is_counted_at_the_second() {
    let stage = Stage::with_accounts(1).await;
    let (client, _) = refused_for_long(&stage).await;
    client.invoke(&difference(2)).await.unwrap();
    client.invoke(&difference(3)).await.unwrap();
    assert_eq!(stage.violations("call_during_flood_wait").await, 1);
    assert_eq!(stage.simulator.stats().await.calls_excused.len(), 1);
}

#[tokio::test]
async fn a_call_that_was_on_its_way_with_a_refused_one_is_excused() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let spec = error(client.user_id, "updates.getDifference", "FLOOD_WAIT_30", 1);
    stage.simulator.add_fault(spec).await.unwrap();
    let (one, other) = (difference(1), difference(2));
    let (one, other) = tokio::join!(client.invoke(&one), client.invoke(&other));
    assert!(one.is_err() != other.is_err(), "one of them is refused");
    stage.assert_clean().await;
    assert_eq!(stage.simulator.stats().await.calls_excused.len(), 1);
}

#[tokio::test]
async fn a_wait_binds_nobody_whose_connection_broke_before_the_answer() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let spec = error(client.user_id, "updates.getDifference", "FLOOD_WAIT_30", 1);
    let spec = FaultSpec { delay_ms: Some(300), ..spec };
    stage.simulator.add_fault(spec).await.unwrap();
    let short = Duration::from_millis(100);
    assert!(timeout(short, client.invoke(&difference(1))).await.is_err(), "no answer yet");
    drop(client);
    until_disconnected(&stage, stage.ids()[0]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.client(0).await.invoke(&difference(1)).await.unwrap();
    stage.assert_clean().await;
    assert_eq!(stage.simulator.stats().await.calls_excused.len(), 1);
}

/// The library acknowledges with its next call, and here makes none.
#[tokio::test]
async fn a_client_that_hangs_up_over_a_wait_and_comes_back_early_is_counted() {
    let stage = Stage::with_accounts(1).await;
    let (client, request) = refused_for_long(&stage).await;
    drop(client);
    until_disconnected(&stage, stage.ids()[0]).await;
    stage.client(0).await.invoke(&request).await.unwrap();
    assert_eq!(stage.violations("call_during_flood_wait").await, 1);
}

#[tokio::test]
async fn a_client_that_was_killed_need_not_know_what_it_was_told_just_before() {
    let stage = Stage::with_accounts(1).await;
    let (client, request) = refused_for_long(&stage).await;
    drop(client);
    stage.simulator.client_killed().await;
    until_disconnected(&stage, stage.ids()[0]).await;
    stage.client(0).await.invoke(&request).await.unwrap();
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_wait_binds_the_next_connection_even_if_the_server_cut_this_one() {
    let stage = Stage::with_accounts(1).await;
    for (pause_ms, counted) in [(0, 0), (1_700, 1)] {
        let (client, request) = refused_for_long(&stage).await;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        stage.simulator.disconnect(client.user_id).await.unwrap();
        until_disconnected(&stage, client.user_id).await;
        drop(client);
        stage.client(0).await.invoke(&request).await.unwrap();
        assert_eq!(stage.violations("call_during_flood_wait").await, counted, "{pause_ms} ms");
        until_disconnected(&stage, stage.ids()[0]).await;
    }
}
