//! What `/metrics` tells, and the checks that it counts: a chat is compared with its history now and
//! then, and what did not come live is published.

use telewarden_simulator::FaultKind;

use crate::support::{Broker, DaemonOptions, Stage, eventually};

async fn number(stage: &Stage, name: &str) -> f64 {
    let text = stage.daemon.metrics().await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_came_live_is_found_by_comparing_and_counted() {
    let options = DaemonOptions {
        extra_config: "[monitoring]\ncheck_every = \"2s\"".into(),
        ..DaemonOptions::default()
    };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let (quiet, other) = (stage.supergroup(&[&alice]).await, stage.supergroup(&[&bob]).await);
    stage.backend.start(quiet.chat_id.into(), &alice, &[]).await;
    stage.backend.start(other.chat_id.into(), &bob, &[]).await;
    stage.daemon.wait_for_monitors("active", 2).await;
    stage.say(&quiet, 1..=3).await;
    stage.expect_all(&quiet).await;
    // Nothing comes after these, so that no numbering can tell that they are missing.
    stage.fault(&alice, FaultKind::SwallowUpdates).await;
    stage.say(&quiet, 4..=10).await;
    stage.say(&other, 1..=5).await;
    stage.expect_all(&other).await;
    stage.expect_all(&quiet).await;
    assert_eq!(number(&stage, "telewarden_gaps_found_total").await, 1.0);
    assert_eq!(number(&stage, "telewarden_gap_messages_filled_total").await, 7.0);
    assert_eq!(number(&stage, r#"telewarden_chat_checks_total{result="gap"}"#).await, 1.0);
    assert_eq!(number(&stage, "telewarden_gaps_unfillable_total").await, 0.0);
    let events = stage.backend.events();
    let recovered = events.iter().filter(|event| event.body["metadata"]["recovered"] == true);
    assert_eq!(recovered.count(), 7);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_while_the_session_was_away_is_caught_up_and_no_gap() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    stage.fault(&alice, FaultKind::RefuseConnections).await;
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.say(&chat, 4..=10).await;
    stage.sim.lift_faults().await;
    stage.expect_all(&chat).await;
    assert_eq!(number(&stage, "telewarden_catch_up_messages_total").await, 7.0);
    assert_eq!(number(&stage, "telewarden_gaps_found_total").await, 0.0);
    assert_eq!(number(&stage, "telewarden_gap_messages_filled_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_of_every_message_is_measured_and_nobody_is_named() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=20).await;
    stage.expect_all(&chat).await;
    // Confirms may be on their way still.
    eventually("all are confirmed", async || {
        (number(&stage, "telewarden_amqp_confirmed_total").await >= 20.0).then_some(())
    })
    .await;
    assert_eq!(number(&stage, "telewarden_event_lag_seconds_count").await, 20.0);
    assert!(number(&stage, "telewarden_event_lag_seconds_sum").await < 20.0 * 60.0);
    assert!(number(&stage, "telewarden_store_commit_seconds_count").await >= 1.0);
    assert_eq!(number(&stage, "telegram_sessions_active").await, 1.0);
    let documented = include_str!("../../../docs/metrics.md");
    for line in stage.daemon.metrics().await.lines() {
        let Some(name) = line.strip_prefix("# TYPE ") else { continue };
        let name = name.split(' ').next().unwrap();
        assert!(documented.contains(&format!("`{name}`")), "docs/metrics.md lacks {name}");
    }
    let calls = r#"telegram_api_latency_seconds_count{method="messages.getHistory"}"#;
    assert!(number(&stage, calls).await >= 1.0);
    assert!(number(&stage, "process_resident_memory_bytes").await > 1e6);
    let text = stage.daemon.metrics().await;
    assert!(text.ends_with("# EOF\n"));
    for private in ["alice", &alice.user_id.to_string(), &chat.chat_id.to_string()] {
        assert!(!text.contains(private), "{private} is in {text}");
    }
}
