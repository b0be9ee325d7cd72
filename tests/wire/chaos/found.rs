//! What the chaos found, reduced to the smallest play that shows it.

use telewarden_simulator::{FaultKind, FaultSpec};

use crate::support::Stage;

/// Users let go of where channels stood when they reconnect, so nothing tells the library that the
/// first update of a channel is not the next one. Message 6 stayed away until the chat was opened
/// again, and then came after message 7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_lost_before_the_first_update_after_a_start_is_not_skipped() {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    stage.daemon.kill();
    stage.daemon.spawn().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    let spec = FaultSpec {
        user_id: Some(alice.user_id),
        kind: Some(FaultKind::SwallowUpdates),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(spec).await.unwrap();
    stage.say(&chat, 6..=7).await;
    stage.expect_all(&chat).await;
}
