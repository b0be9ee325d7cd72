//! Links and keys that are dead without saying so: half open, frozen, refused.

use std::time::Duration;

use telewarden_simulator::{ChatKind, FaultKind, FaultSpec};
use tokio::time::{Instant, sleep};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_found_within_30_seconds_and_replaced() {
    let scene = Scene::set().await;
    scene.strike(times(1, FaultKind::Freeze)).await;
    let frozen = Instant::now();
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.until_dialled(2).await;
    let found = frozen.elapsed();
    println!("a half-open connection was replaced after {found:?}");
    assert!(found < FOUND_WITHIN, "it took {found:?}");
    assert!(scene.stage.backend.losses().is_empty(), "a replaced connection is no access loss");
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_freezes_during_a_difference_is_found_as_soon() {
    let scene = Scene::set().await;
    scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
    let freeze_there =
        FaultSpec { method: Some("updates.getDifference".into()), ..always(FaultKind::Mute) };
    scene.strike(freeze_there).await;
    let asked = scene.calls("updates.getDifference").await;
    scene.stage.say(&scene.room, 6..=6).await;
    while scene.calls("updates.getDifference").await == asked {
        sleep(Duration::from_millis(5)).await;
    }
    scene.strike(times(1, FaultKind::Freeze)).await;
    let frozen = Instant::now();
    scene.say(7, 30).await;
    scene.until_dialled(2).await;
    let found = frozen.elapsed();
    println!("a connection frozen in a difference was replaced after {found:?}");
    assert!(found < FOUND_WITHIN, "it took {found:?}");
    scene.stage.sim.lift_faults().await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_told_and_harms_nobody_else() {
    let scene = Scene::set_in(ChatKind::Supergroup, impatient()).await;
    scene.strike(always(FaultKind::Freeze)).await;
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.until_troubled("CONNECTION_FAILED").await;
    scene.stage.backend.wait_for_loss(&scene.struck, "connection_failed").await;
    scene.say(31, 40).await;
    scene.expect_bystanders_unharmed().await;
    scene.stage.sim.lift_faults().await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_refused_once_is_tried_again_and_not_given_up() {
    let scene = Scene::set().await;
    scene.strike(times(1, FaultKind::RefuseKey)).await;
    scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
    scene.say(6, 30).await;
    scene.expect_a_good_end().await;
    assert!(scene.stage.backend.losses().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_refused_for_good_is_told_and_not_dialled_any_more() {
    let scene = Scene::set().await;
    scene.strike(always(FaultKind::RefuseKey)).await;
    // Something makes it call: it learns of the 404 on the connection it has.
    scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.until_troubled("AUTH_KEY_UNREGISTERED").await;
    scene.stage.backend.wait_for_loss(&scene.struck, "auth_key_unregistered").await;
    let dialled = scene.stage.sim.account(scene.struck.user_id).await.unwrap().connections_total;
    scene.say(31, 60).await;
    scene.expect_bystanders_unharmed().await;
    let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
    assert_eq!(books.connections_total, dialled, "it was dialled again");
    // The key is the backend's again: it hands the session over anew, and nothing is missing.
    scene.stage.sim.lift_faults().await;
    scene.stage.backend.switch(scene.room.chat_id.into(), &scene.struck, &[]).await;
    scene.expect_a_good_end().await;
}
