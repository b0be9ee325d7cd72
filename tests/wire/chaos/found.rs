//! What the chaos found, reduced to the smallest play that shows it.

use std::time::Duration;

use telewarden_simulator::FaultSpec;
use tokio::time::Instant;

use super::checkers::comes_true;
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
    stage.lose_updates(&alice, 1).await;
    stage.say(&chat, 6..=7).await;
    stage.expect_all(&chat).await;
}

/// A wait for differences was known only to the link that was told of it, so that whoever started
/// the daemon again within it had the account call too early.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_differences_outlives_the_process() {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    // Its state is stored by a clean end, so that it has a difference to ask for.
    stage.daemon.terminate().await;
    let spec = FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("updates.getDifference".into()),
        error: Some("FLOOD_WAIT_5".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(spec).await.unwrap();
    let before = Instant::now();
    stage.daemon.spawn().await;
    stage.daemon.wait_for_accounts("cooling_down", 1).await;
    stage.daemon.terminate().await;
    stage.daemon.spawn().await;
    let asked_again = comes_true(async || {
        let info = stage.sim.account(alice.user_id).await.unwrap();
        info.methods["updates.getDifference"] > 1
    });
    assert!(asked_again.await, "it asks again when the wait is over");
    // The simulator cannot know that the first process had heard of it before it ended.
    assert!(before.elapsed() >= Duration::from_secs(5), "it asks too early");
    stage.say(&chat, 6..=7).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

/// Three chats of one account were read at the same time when it came back. One of the calls was
/// told to wait, and the simulator counted the other two, which no client could have held back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_one_of_several_calls_under_way_is_kept_by_the_next() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let mut chats = Vec::new();
    for count in 1..=3 {
        let chat = stage.supergroup(&[&alice]).await;
        stage.backend.start(chat.chat_id.into(), &alice, &[]).await;
        stage.daemon.wait_for_monitors("active", count).await;
        chats.push(chat);
    }
    let spec = FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("messages.getHistory".into()),
        error: Some("FLOOD_WAIT_2".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(spec).await.unwrap();
    stage.sim.disconnect(alice.user_id).await.unwrap();
    for chat in &chats {
        stage.say(chat, 1..=3).await;
    }
    for chat in &chats {
        stage.expect_all(chat).await;
    }
    let stats = stage.sim.stats().await;
    assert_eq!(stats.faults_struck["FLOOD_WAIT"], 1);
    stage.expect_clean_books().await;
}

/// A bot's link and its monitor ask for the same difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_a_channels_difference_is_kept_by_whoever_reads_the_channel() {
    let stage = Stage::set().await;
    let bob = stage.bot("bob").await;
    let chat = stage.supergroup(&[&bob]).await;
    stage.monitor(&chat, &bob, &[]).await;
    let method = Some("updates.getChannelDifference".to_owned());
    let wait = FaultSpec {
        user_id: Some(bob.user_id),
        method,
        error: Some("FLOOD_WAIT_3".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(wait).await.unwrap();
    stage.sim.disconnect(bob.user_id).await.unwrap();
    stage.say(&chat, 1..=2).await;
    stage.expect_all(&chat).await;
    let stats = stage.sim.stats().await;
    assert_eq!(stats.faults_struck["FLOOD_WAIT"], 1);
    stage.expect_clean_books().await;
}

/// A wait counts from the answer that tells it, not from the call: an answer that took its time
/// had the link ask again before the wait was over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_counts_from_an_answer_that_was_slow() {
    let stage = Stage::set().await;
    let bob = stage.bot("bob").await;
    let chat = stage.supergroup(&[&bob]).await;
    stage.monitor(&chat, &bob, &[]).await;
    stage.say(&chat, 1..=1).await;
    stage.expect_all(&chat).await;
    let slow_wait = FaultSpec {
        user_id: Some(bob.user_id),
        method: Some("updates.getChannelDifference".into()),
        error: Some("FLOOD_WAIT_5".into()),
        delay_ms: Some(6_000),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(slow_wait).await.unwrap();
    stage.sim.disconnect(bob.user_id).await.unwrap();
    stage.say(&chat, 2..=3).await;
    stage.expect_all(&chat).await;
    stage.daemon.wait_for_accounts("cooling_down", 1).await;
    // A gap, for which the link would ask at once.
    stage.lose_updates(&bob, 1).await;
    stage.say(&chat, 4..=5).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

/// Nothing tells the library where a channel stands that it has not met, so the first update of one
/// passes for the next: what was lost before it stays away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bots_first_message_of_a_channel_is_not_skipped_when_its_update_is_lost() {
    let stage = Stage::set().await;
    let bob = stage.bot("bob").await;
    let chat = stage.supergroup(&[&bob]).await;
    stage.monitor(&chat, &bob, &[]).await;
    stage.lose_updates(&bob, 1).await;
    stage.say(&chat, 1..=2).await;
    stage.expect_all(&chat).await;
}

/// Telegram's waits are the account's; a further session of it is told of none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_is_kept_by_another_session_of_the_same_account() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    let wait = FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("messages.getHistory".into()),
        error: Some("FLOOD_WAIT_8".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(wait).await.unwrap();
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.daemon.wait_for_accounts("cooling_down", 1).await;
    // The simulator takes an answer for heard after 1.5 s.
    tokio::time::sleep(Duration::from_millis(1_700)).await;
    let session_string = stage.sim.add_session(alice.user_id).await.unwrap();
    let again = crate::support::Listener {
        id: "alice_again".into(),
        user_id: alice.user_id,
        session_string,
    };
    stage.backend.start(chat.chat_id.into(), &again, &[]).await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}
