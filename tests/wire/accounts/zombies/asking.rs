//! Asking for what may have been missed: it holds up nothing that comes live, and asks no more than it must.

use std::time::Duration;

use telewarden_simulator::{ChatKind, FaultKind};
use tokio::time::{Instant, sleep};

use super::*;
use crate::support::{DaemonOptions, PATIENCE};

/// What Telegram holds against an account that asks too early is counted by `expect_clean_books`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_before_the_difference_holds_up_nothing_that_comes_live() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.strike(refusing("updates.getDifference", 40)).await;
        // Message 6 does not come, and message 7 says so.
        let asked = scene.calls("updates.getDifference").await;
        scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
        scene.say(6, 7).await;
        scene.until_called("updates.getDifference", asked).await;
        let told_to_wait = Instant::now();
        scene.expect_all().await;
        scene.say(8, 30).await;
        scene.expect_all().await;
        // One more is lost while the difference may not be asked for.
        scene.strike(times(1, FaultKind::SwallowUpdates)).await;
        scene.say(31, 50).await;
        scene.expect_all().await;
        assert!(told_to_wait.elapsed() < Duration::from_secs(30), "it waited: {told_to_wait:?}");
        let health = scene.until_state("cooling_down").await;
        assert_eq!(health["accounts"]["troubled"].as_array().map(Vec::len), Some(0), "{health:#}");
        // The link is silent now, longer than one that is not resting may be.
        while told_to_wait.elapsed() < Duration::from_secs(50) {
            sleep(Duration::from_millis(100)).await;
        }
        let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
        assert_eq!(books.connections_total, 1, "the connection itself was never in doubt");
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_before_the_sign_of_life_holds_up_nothing_that_comes_live() {
    let scene = Scene::set().await;
    for method in ["updates.getState", "updates.getDifference"] {
        scene.strike(refusing(method, 40)).await;
    }
    let asked = scene.calls("updates.getState").await + scene.calls("updates.getDifference").await;
    let deadline = Instant::now() + PATIENCE;
    while scene.calls("updates.getState").await + scene.calls("updates.getDifference").await
        == asked
    {
        assert!(Instant::now() < deadline, "no sign of life is asked for");
        sleep(Duration::from_millis(50)).await;
    }
    let told_to_wait = Instant::now();
    scene.say(6, 30).await;
    scene.expect_all().await;
    assert!(told_to_wait.elapsed() < Duration::from_secs(20), "it waited: {told_to_wait:?}");
    let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1, "the connection itself was never in doubt");
    scene.stage.sim.lift_faults().await;
    scene.expect_all().await;
    scene.stage.expect_clean_books().await;
}

/// A new link, and a daemon that was started anew, keep the wait and listen all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_a_link_inherits_holds_up_nothing_either() {
    let scene = Scene::set_in(ChatKind::Group, DaemonOptions::default()).await;
    scene.strike(refusing("updates.getDifference", 45)).await;
    let asked = scene.calls("updates.getDifference").await;
    scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
    scene.say(6, 7).await;
    scene.until_called("updates.getDifference", asked).await;
    let told_to_wait = Instant::now();
    scene.expect_all().await;
    scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
    scene.say(8, 30).await;
    scene.expect_all().await;
    scene.until_dialled(2).await;
    scene.say(31, 60).await;
    scene.expect_all().await;
    assert!(told_to_wait.elapsed() < Duration::from_secs(30), "it waited: {told_to_wait:?}");
    scene.expect_a_good_end().await;
}

/// Of all the channels that an account is in, only those that somebody monitors cost calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_that_nobody_monitors_cost_no_differences() {
    let scene = Scene::set().await;
    let mut others = Vec::new();
    for _ in 0..25 {
        others.push(scene.stage.supergroup(&[&scene.struck]).await);
    }
    for number in 1..=3 {
        for chat in &others {
            scene.stage.say(chat, number..=number).await;
        }
    }
    let before = scene.calls("updates.getChannelDifference").await;
    scene.strike(times(80, FaultKind::SwallowUpdates)).await;
    for chat in &others {
        scene.stage.say(chat, 4..=4).await;
    }
    scene.say(6, 7).await;
    scene.stage.sim.lift_faults().await;
    for chat in &others {
        scene.stage.say(chat, 5..=5).await;
    }
    // The difference that brings these names every channel in which something was said.
    let asked = scene.calls("updates.getDifference").await;
    scene.until_called("updates.getDifference", asked).await;
    scene.expect_all().await;
    scene.say(8, 9).await;
    scene.expect_all().await;
    let made = scene.calls("updates.getChannelDifference").await - before;
    assert!(made <= 3, "{made} differences for one channel that is monitored");
    scene.expect_a_good_end().await;
}

/// Each of these packets says that anything may be missing, and the difference may not be asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_that_may_have_missed_something_all_the_time_is_read_now_and_then() {
    let scene = Scene::set().await;
    scene.strike(refusing("updates.getDifference", 60)).await;
    scene.strike(always(FaultKind::UpdatesTooLong)).await;
    let before = scene.calls("messages.getHistory").await;
    for number in 6..=105 {
        scene.stage.say(&scene.room, number..=number).await;
        sleep(Duration::from_millis(100)).await;
    }
    scene.stage.expect_all(&scene.room).await;
    let made = scene.calls("messages.getHistory").await - before;
    assert!(made < 40, "history was read {made} times");
    scene.expect_a_good_end().await;
}
