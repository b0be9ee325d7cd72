//! Servers that misbehave: the account says so within its timeout, the others do not notice.

use std::time::Duration;

use telewarden_simulator::FaultKind;
use tokio::time::Instant;

use crate::support::{Broker, DaemonOptions, Stage};

/// A dial may take 10 s, and with one reconnect there are two and a pause.
const SAID_WITHIN: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_server_is_told_within_the_timeout_and_harms_nobody_else() {
    misbehaves(FaultKind::Mute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_resets_is_told_and_harms_nobody_else() {
    misbehaves(FaultKind::RefuseConnections).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_garbage_is_told_and_harms_nobody_else() {
    misbehaves(FaultKind::Garbage).await;
}

async fn misbehaves(kind: FaultKind) {
    let options = DaemonOptions { max_reconnect_attempts: 1, ..DaemonOptions::default() };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let (good, bad) = (stage.listener("good").await, stage.listener("bad").await);
    let healthy = stage.supergroup(&[&good]).await;
    let troubled = stage.supergroup(&[&bad]).await;
    stage.monitor(&healthy, &good, &[]).await;
    stage.fault(&bad, kind).await;
    let began = Instant::now();
    stage.backend.start(troubled.chat_id.into(), &bad, &[]).await;
    stage.say(&healthy, 1..=50).await;
    stage.expect_all(&healthy).await;
    stage.backend.wait_for_loss(&bad, "connection_failed").await;
    // Not a measurement: without a timeout of its own the library would hang for minutes.
    assert!(began.elapsed() < SAID_WITHIN, "it took {:?}", began.elapsed());
    let (_, health) = stage.daemon.get("/health").await.unwrap();
    let troubled_account = &health["accounts"]["troubled"][0];
    assert_eq!(troubled_account["error"], "CONNECTION_FAILED", "{health:#}");
    stage.sim.lift_faults().await;
    stage.daemon.wait_for_monitors("active", 2).await;
    stage.say(&troubled, 1..=5).await;
    stage.expect_all(&troubled).await;
    assert_eq!(stage.sim.account(good.user_id).await.unwrap().connections_total, 1);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_comes_is_given_up_and_asked_again() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    let spec = telewarden_simulator::FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("channels.getChannels".into()),
        kind: Some(FaultKind::Mute),
        times: Some(1),
        ..Default::default()
    };
    stage.sim.add_fault(spec).await.unwrap();
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
}
