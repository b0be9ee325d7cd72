//! Clocks that run ahead or behind, and salts that expire.

use std::time::Duration;

use telewarden_simulator::{ChatKind, FaultKind, FaultSpec};
use tokio::time::{Instant, sleep};

use super::*;
use crate::support::{Broker, PATIENCE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_clock_that_runs_ahead_is_followed() {
    let scene = Scene::set().await;
    let skew = FaultSpec { skew_seconds: Some(3_600), ..always(FaultKind::ClockSkew) };
    scene.strike(skew).await;
    scene.say(6, 30).await;
    scene.expect_all().await;
    // Dialled anew under the same clock.
    scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
    scene.say(31, 60).await;
    scene.expect_a_good_end().await;
}

/// The library cannot lower its message ids, so a connection under such a clock is of no use; what
/// is missed is there once the clocks agree again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_clock_that_is_behind_is_told_and_costs_no_message() {
    let scene = Scene::set_in(ChatKind::Supergroup, impatient()).await;
    let skew = FaultSpec { skew_seconds: Some(-3_600), ..always(FaultKind::ClockSkew) };
    scene.strike(skew).await;
    scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.until_troubled("CONNECTION_FAILED").await;
    scene.stage.sim.lift_faults().await;
    scene.expect_a_good_end().await;
}

/// To everybody the same: then it is this machine's clock that is wrong, and that is what is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_this_machine_that_is_ahead_is_named() {
    let stage = Stage::set_with(Broker::shared(), impatient()).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    let skew = FaultSpec { skew_seconds: Some(-3_600), ..always(FaultKind::ClockSkew) };
    stage.sim.add_fault(skew).await.unwrap();
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.say(&chat, 1..=5).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, health) = stage.daemon.get("/health").await.unwrap();
        let text = health.to_string();
        if text.contains("this machine's clock is about 36") && text.contains("NTP") {
            break;
        }
        assert!(Instant::now() < deadline, "nobody speaks of the clock: {health:#}");
        sleep(Duration::from_millis(100)).await;
    }
    stage.sim.lift_faults().await;
    stage.expect_all(&chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expiring_salts_go_unnoticed() {
    let scene = Scene::set().await;
    for round in 0..3 {
        scene.strike(times(2, FaultKind::ExpireSalt)).await;
        scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
        let from = 6 + round * 10;
        scene.say(from, from + 9).await;
        scene.expect_all().await;
    }
    let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1, "a salt is no reason to reconnect");
    scene.expect_a_good_end().await;
}
