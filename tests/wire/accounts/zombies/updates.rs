//! Updates that get lost, come too long, come twice, or fall back.

use std::time::Duration;

use telewarden_simulator::{ChatKind, FaultKind};
use tokio::time::{Instant, sleep};

use super::*;
use crate::support::{Broker, DaemonOptions, PATIENCE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_that_never_come_are_missed_by_the_next_probe() {
    let scene = Scene::set().await;
    scene.strike(always(FaultKind::SwallowUpdates)).await;
    scene.say(6, 30).await;
    scene.expect_all().await;
    let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1, "the connection itself was never in doubt");
    scene.expect_a_good_end().await;
}

/// Bots cannot read history: for them the difference has to bring it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_that_never_come_to_a_bot_are_missed_as_well() {
    let options = DaemonOptions { extra_config: INQUISITIVE.into(), ..DaemonOptions::default() };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let bot = stage.bot("bot").await;
    let chat = stage.supergroup(&[&bot]).await;
    stage.monitor(&chat, &bot, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    stage.fault(&bot, FaultKind::SwallowUpdates).await;
    stage.say(&chat, 6..=30).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_update_is_missed_although_other_chats_of_the_account_are_busy() {
    let scene = Scene::set().await;
    let busy = scene.stage.supergroup(&[&scene.struck]).await;
    scene.stage.backend.start(busy.chat_id.into(), &scene.struck, &[]).await;
    scene.stage.daemon.wait_for_monitors("active", 4).await;
    scene.strike(times(1, FaultKind::SwallowUpdates)).await;
    scene.say(6, 6).await;
    let deadline = Instant::now() + PATIENCE;
    let is_told =
        || {
            scene.stage.backend.events().iter().any(|event| {
                event.body["chat_id"] == scene.room.chat_id && event.body["text"] == "6"
            })
        };
    let mut number = 0;
    while !is_told() {
        assert!(Instant::now() < deadline, "the lost message is not missed");
        number += 1;
        scene.stage.say(&busy, number..=number).await;
        sleep(Duration::from_millis(500)).await;
    }
    scene.stage.expect_all(&busy).await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overflowing_update_queue_loses_nothing_and_holds_nobody_up() {
    let scene = Scene::set().await;
    for number in 6..=6_000 {
        scene.stage.say(&scene.room, number..=number).await;
        if number % 100 == 0 {
            for (_, chat) in &scene.bystanders {
                scene.stage.say(chat, number..=number).await;
            }
        }
    }
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_too_long_instead_of_updates_loses_nothing() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.strike(always(FaultKind::UpdatesTooLong)).await;
        scene.say(6, 30).await;
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_that_are_too_long_are_filled_from_history() {
    let faults = [
        (ChatKind::Group, FaultKind::DifferenceTooLong),
        (ChatKind::Supergroup, FaultKind::ChannelDifferenceTooLong),
    ];
    for (kind, fault) in faults {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.strike(always(fault)).await;
        scene.strike(times(20, FaultKind::SwallowUpdates)).await;
        scene.say(6, 30).await;
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_that_runs_in_circles_is_given_up_and_told() {
    let scene = Scene::set_in(ChatKind::Group, impatient()).await;
    let before = scene.calls("updates.getDifference").await;
    scene.strike(always(FaultKind::DifferenceInCircles)).await;
    scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.stage.backend.wait_for_loss(&scene.struck, "connection_failed").await;
    scene.until_troubled("CONNECTION_FAILED").await;
    let made = scene.calls("updates.getDifference").await - before;
    assert!(made < 100, "it called {made} times: without end it would be thousands");
    scene.stage.sim.lift_faults().await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_fall_back_lose_and_double_nothing() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.say(6, 20).await;
        scene.strike(times(1, FaultKind::PtsBackwards)).await;
        scene.say(21, 22).await;
        scene.expect_all().await;
        // A gap right after it is noticed, too: by the numbers that count now.
        scene.strike(times(3, FaultKind::SwallowUpdates)).await;
        scene.say(23, 40).await;
        scene.expect_all().await;
        scene.strike(times(3, FaultKind::PtsBackwards)).await;
        scene.say(41, 60).await;
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_fell_back_while_the_account_was_away_lose_nothing() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.say(6, 20).await;
        scene.expect_all().await;
        scene.strike(always(FaultKind::RefuseConnections)).await;
        scene.strike(times(2, FaultKind::PtsBackwards)).await;
        scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
        scene.say(21, 23).await;
        scene.stage.sim.lift_faults().await;
        scene.expect_all().await;
        scene.say(24, 40).await;
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubled_and_reordered_updates_change_nothing() {
    for kind in [FaultKind::DuplicateUpdates, FaultKind::ReorderUpdates] {
        for place in [ChatKind::Supergroup, ChatKind::Group] {
            let scene = Scene::set_in(place, DaemonOptions::default()).await;
            scene.strike(always(kind)).await;
            scene.say(6, 60).await;
            scene.expect_a_good_end().await;
        }
    }
}
