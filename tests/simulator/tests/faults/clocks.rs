//! Clocks that differ, and salts that expire.

use std::time::Duration;

use grammers_client::tl::functions as f;
use telewarden_simulator::{FaultKind, FaultSpec};
use tokio::time::timeout;

use super::asked::*;
use crate::support::{Client, Stage};

#[tokio::test]
async fn a_server_whose_clock_is_ahead_refuses_ids_until_the_client_follows_it() {
    let stage = Stage::with_accounts(1).await;
    let skewed = fault(stage.ids()[0], FaultKind::ClockSkew);
    let skewed = FaultSpec { skew_seconds: Some(3600), ..skewed };
    stage.simulator.add_fault(skewed).await.unwrap();
    let client = stage.client(0).await;
    client.invoke(&f::updates::GetState {}).await.unwrap();
    stage.assert_clean().await;
}

/// The library never lowers its message ids, so it cannot follow a clock that is behind its own.
#[tokio::test]
async fn a_server_whose_clock_is_behind_keeps_refusing() {
    let stage = Stage::with_accounts(1).await;
    let skewed = fault(stage.ids()[0], FaultKind::ClockSkew);
    let skewed = FaultSpec { skew_seconds: Some(-3600), ..skewed };
    stage.simulator.add_fault(skewed).await.unwrap();
    let client = Client::idle(&stage.accounts[0]);
    let short = Duration::from_secs(1);
    assert!(timeout(short, client.invoke(&f::updates::GetState {})).await.is_err());
    drop(client);
    until_disconnected(&stage, stage.ids()[0]).await;
    stage.simulator.lift_faults().await;
    stage.client(0).await;
}

#[tokio::test]
async fn expired_salts_are_replaced_without_the_caller_noticing() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    for _ in 0..3 {
        let once = FaultSpec { times: Some(1), ..fault(client.user_id, FaultKind::ExpireSalt) };
        stage.simulator.add_fault(once).await.unwrap();
        client.invoke(&f::updates::GetState {}).await.unwrap();
    }
    stage.assert_clean().await;
}
