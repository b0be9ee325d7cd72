//! Sessions are lost and others take over, with no gap and no repetition.

use telewarden::protocol::telegram::session_string::SessionString;
use telewarden::protocol::values::secret::AuthKey;
use telewarden_simulator::{FaultKind, FaultSpec};

use crate::support::{Broker, DaemonOptions, Listener, Stage, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_fills_the_gap_from_history() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[&bob]).await;
    stage.say(&chat, 1..=20).await;
    stage.sim.revoke(alice.user_id, None).await.unwrap();
    stage.say(&chat, 21..=150).await;
    stage.backend.wait_for_loss(&alice, "auth_key_unregistered").await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.say(&chat, 151..=170).await;
    stage.expect_all(&chat).await;
    let loss = ("alice".to_owned(), "auth_key_unregistered".to_owned());
    assert_eq!(stage.backend.losses(), [loss]);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_in_a_basic_group_repeats_nothing_although_ids_differ() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    // Bob's message ids run ahead of Alice's.
    for number in 0..50 {
        let text = number.to_string();
        stage.sim.post_private(bob.user_id, stage.author, &text).await.unwrap();
    }
    let kind = telewarden_simulator::ChatKind::Group;
    let chat = stage.chat(kind, None, &[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[&bob]).await;
    stage.say(&chat, 1..=20).await;
    stage.expect_all(&chat).await;
    stage.sim.revoke(alice.user_id, None).await.unwrap();
    stage.say(&chat, 21..=60).await;
    stage.backend.wait_for_loss(&alice, "auth_key_unregistered").await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_to_end_a_session_is_told_by_its_name() {
    for (error, reason) in [
        ("AUTH_KEY_DUPLICATED", "auth_key_duplicated"),
        ("SESSION_REVOKED", "session_revoked"),
        ("SESSION_EXPIRED", "session_expired"),
        ("USER_DEACTIVATED_BAN", "user_deactivated"),
    ] {
        let stage = Stage::set().await;
        let alice = stage.listener("alice").await;
        let chat = stage.supergroup(&[&alice]).await;
        stage.monitor(&chat, &alice, &[]).await;
        stage.sim.revoke(alice.user_id, Some(error.to_owned())).await.unwrap();
        stage.backend.wait_for_loss(&alice, reason).await;
        stage.backend.wait_for_loss(&alice, "no_backup_left").await;
        stage.daemon.wait_for_monitors("exhausted", 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_server_does_not_know_is_a_dead_session_and_no_new_key_replaces_it() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let mut key = [7; 256];
    key[0] = 8;
    let unknown = SessionString { dc_id: 2, auth_key: AuthKey::new(key), api_id: None };
    let session_string = unknown.to_telethon(stage.sim.listen_addr().into()).unwrap();
    let unknown = Listener { session_string, ..alice.alias("unknown") };
    let chat = stage.supergroup(&[&bob]).await;
    stage.backend.start(chat.chat_id.into(), &unknown, &[&bob]).await;
    stage.backend.wait_for_loss(&unknown, "auth_key_unregistered").await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    assert!(!stage.daemon.log().contains(&unknown.session_string));
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_session_is_not_dialled_again_even_after_a_restart() {
    let mut stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[&bob]).await;
    stage.sim.revoke(alice.user_id, None).await.unwrap();
    stage.backend.wait_for_loss(&alice, "auth_key_unregistered").await;
    stage.daemon.wait_for_monitors("active", 1).await;
    let before = stage.sim.account(alice.user_id).await.unwrap().connections_total;
    stage.daemon.kill();
    stage.daemon.spawn().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    let after = stage.sim.account(alice.user_id).await.unwrap().connections_total;
    assert_eq!(before, after);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_no_session_is_left_the_monitor_is_exhausted_and_says_so() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[&bob]).await;
    stage.sim.revoke(alice.user_id, None).await.unwrap();
    stage.backend.wait_for_loss(&alice, "auth_key_unregistered").await;
    stage.sim.revoke(bob.user_id, None).await.unwrap();
    stage.backend.wait_for_loss(&bob, "auth_key_unregistered").await;
    stage.backend.wait_for_loss(&bob, "no_backup_left").await;
    stage.daemon.wait_for_monitors("exhausted", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_brings_back_what_was_said_while_nobody_listened() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=10).await;
    stage.sim.revoke(alice.user_id, None).await.unwrap();
    stage.daemon.wait_for_monitors("exhausted", 1).await;
    stage.say(&chat, 11..=130).await;
    stage.backend.switch(chat.chat_id.into(), &bob, &[]).await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.say(&chat, 131..=140).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_other_sessions_is_a_switch() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=10).await;
    stage.backend.start(chat.chat_id.into(), &bob, &[]).await;
    stage.backend.wait_until("messages through bob", |_| Some(())).await;
    stage.say(&chat, 11..=20).await;
    stage.expect_all(&chat).await;
    // Alice is let go of; nobody else needs her.
    eventually("her connection is closed", async || {
        let books = stage.sim.account(alice.user_id).await.unwrap();
        (books.connections_now == 0).then_some(())
    })
    .await;
    stage.daemon.wait_for_accounts("active", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn being_removed_banned_or_outside_loses_access_with_its_reason() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let bob = stage.listener("bob").await;
    let carol = stage.listener("carol").await;
    let removed = stage.supergroup(&[&alice]).await;
    let banned = stage.supergroup(&[&bob]).await;
    let kind = telewarden_simulator::ChatKind::Supergroup;
    let outside = stage.chat(kind, Some("open_room"), &[]).await;
    stage.backend.start(removed.chat_id.into(), &alice, &[]).await;
    stage.backend.start(banned.chat_id.into(), &bob, &[]).await;
    stage.daemon.wait_for_monitors("active", 2).await;
    stage.sim.remove_member(removed.chat_id, alice.user_id).await.unwrap();
    stage.backend.wait_for_loss(&alice, "kicked").await;
    stage.sim.ban(banned.chat_id, bob.user_id).await.unwrap();
    stage.backend.wait_for_loss(&bob, "banned_in_chat").await;
    stage.backend.start("@open_room".into(), &carol, &[]).await;
    stage.backend.wait_for_loss(&carol, "not_a_member").await;
    stage.backend.start("@nobody_has_this".into(), &carol, &[]).await;
    stage.backend.wait_for_loss(&carol, "chat_not_found").await;
    drop(outside);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transient_loss_sends_the_session_to_the_back_and_it_serves_again() {
    let options = DaemonOptions { max_reconnect_attempts: 1, ..DaemonOptions::default() };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[&bob]).await;
    stage.say(&chat, 1..=10).await;
    stage.fault(&alice, FaultKind::RefuseConnections).await;
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.backend.wait_for_loss(&alice, "connection_failed").await;
    stage.say(&chat, 11..=20).await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.sim.lift_faults().await;
    stage.sim.revoke(bob.user_id, None).await.unwrap();
    stage.backend.wait_for_loss(&bob, "auth_key_unregistered").await;
    stage.say(&chat, 21..=30).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ended_is_told_of_although_another_has_taken_its_place() {
    let mut stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[&bob]).await;
    stage.sim.revoke(alice.user_id, None).await.unwrap();
    stage.backend.wait_for_loss(&alice, "auth_key_unregistered").await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    for restarted in [false, true] {
        if restarted {
            stage.daemon.kill();
            stage.daemon.spawn().await;
        }
        stage.daemon.wait_for_accounts("active", 1).await;
        stage.daemon.wait_for_monitors("active", 1).await;
        stage.daemon.wait_for_accounts("error", 1).await;
        let health = eventually("another does its work", async || {
            let (_, health) = stage.daemon.get("/health").await.unwrap();
            (health["status"] == "ok").then_some(health)
        })
        .await;
        let troubled = &health["accounts"]["troubled"][0];
        assert_eq!(troubled["error"], "AUTH_KEY_UNREGISTERED", "{health:#}");
    }
}

/// What is left of a wait was sat out by the dial itself, and the chat with it, although another
/// session could have listened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_wait_before_a_dial_hands_the_chat_on_also_when_it_is_known_already() {
    let mut stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[&bob]).await;
    let spec = FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("users.getUsers".into()),
        error: Some("FLOOD_WAIT_300".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(spec).await.unwrap();
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.backend.wait_for_loss(&alice, "connection_failed").await;
    let (_, health) = stage.daemon.get("/health").await.unwrap();
    assert_eq!(health["accounts"]["troubled"][0]["sessions"][0], "alice", "{health:#}");
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    // The wait is known from the start now.
    stage.daemon.kill();
    stage.daemon.spawn().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.backend.switch(chat.chat_id.into(), &alice, &[&bob]).await;
    stage.say(&chat, 4..=6).await;
    stage.expect_all(&chat).await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.expect_clean_books().await;
}

/// Everything that is read of chats is refused to a frozen account.
async fn freeze_reads(stage: &Stage, listener: &Listener) {
    for method in ["messages.getHistory", "channels.getChannels"] {
        let spec = FaultSpec {
            user_id: Some(listener.user_id),
            method: Some(method.into()),
            error: Some("FROZEN_METHOD_INVALID".into()),
            ..FaultSpec::default()
        };
        stage.sim.add_fault(spec).await.unwrap();
    }
}

async fn reads(stage: &Stage, listener: &Listener) -> u64 {
    let books = stage.sim.account(listener.user_id).await.unwrap();
    let count = |method: &str| books.methods.get(method).copied().unwrap_or(0);
    count("messages.getHistory") + count("channels.getChannels")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_account_is_frozen_hands_its_chat_on() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice, &bob]).await;
    stage.monitor(&chat, &alice, &[&bob]).await;
    stage.say(&chat, 1..=20).await;
    freeze_reads(&stage, &alice).await;
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.say(&chat, 21..=60).await;
    stage.backend.wait_for_loss(&alice, "user_deactivated").await;
    stage.expect_all(&chat).await;
    let loss = ("alice".to_owned(), "user_deactivated".to_owned());
    assert_eq!(stage.backend.losses(), [loss]);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_session_whose_account_is_frozen_is_told_of_and_not_asked_again() {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    freeze_reads(&stage, &alice).await;
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.backend.wait_for_loss(&alice, "user_deactivated").await;
    let before = reads(&stage, &alice).await;
    for _ in 0..2 {
        eventually("health says why", async || {
            let (_, health) = stage.daemon.get("/health").await.ok()?;
            let account = &health["accounts"]["troubled"][0];
            let monitor = health["monitors"]["troubled"][0]["error"].as_str()?;
            let is_told = health["status"] == "degraded"
                && account["error"] == "FROZEN_METHOD_INVALID"
                && account["next"].as_str()?.contains("appeal")
                && monitor.contains("frozen");
            is_told.then_some(())
        })
        .await;
        stage.daemon.kill();
        stage.sim.client_killed().await;
        stage.daemon.spawn().await;
    }
    assert_eq!(reads(&stage, &alice).await, before, "it is known, also after a restart");
    stage.expect_clean_books().await;
}
