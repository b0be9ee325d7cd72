//! Actors that crash: their supervisors start them again, give up on those that keep crashing, and
//! nobody else notices.

use serde_json::{Value, json};

use crate::support::{Broker, DaemonOptions, Stage, eventually};

async fn stage() -> Stage {
    let options = DaemonOptions { fail_points: true, ..DaemonOptions::default() };
    Stage::prepare(Broker::shared(), options).await
}

/// Waits until an actor of this kind is parked; answers its line.
async fn until_parked(stage: &Stage, kind: &str) -> Value {
    eventually("an actor is parked", async || {
        let (_, health) = stage.daemon.get("/health").await.unwrap();
        let restarts = health["restarts"].as_array()?.clone();
        restarts.into_iter().find(|restart| {
            restart["is_parked"] == true
                && restart["actor"].as_str().is_some_and(|actor| actor.starts_with(kind))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_that_keeps_crashing_is_parked_and_its_account_never_notices() {
    let mut stage = stage().await;
    let alice = stage.listener("alice").await;
    let (sick, well) = (stage.supergroup(&[&alice]).await, stage.supergroup(&[&alice]).await);
    stage.daemon.set_variable("TELEWARDEN_STUMBLE", &format!("monitor/{}", sick.chat_id));
    stage.daemon.spawn().await;
    stage.backend.start(sick.chat_id.into(), &alice, &[]).await;
    stage.backend.start(well.chat_id.into(), &alice, &[]).await;
    stage.daemon.wait_for_monitors("active", 2).await;
    let mut number = 0;
    let talk = async {
        loop {
            number += 1;
            for chat in [&sick, &well] {
                stage.say(chat, number..=number).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let parked = tokio::select! {
        parked = until_parked(&stage, "monitor/") => parked,
        () = talk => unreachable!("it goes on for ever"),
    };
    assert_eq!(parked["actor"], format!("monitor/{}", sick.chat_id));
    // It is parked now; what is said to it must harm nobody either.
    stage.say(&sick, 9001..=9010).await;
    stage.say(&well, 9001..=9010).await;
    stage.expect_all(&well).await;
    assert_eq!(stage.backend.losses(), []);
    let books = stage.sim.account(alice.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1, "the account was never reconnected");
    // Mended, it tells everything that was said meanwhile.
    stage.daemon.kill();
    stage.daemon.clear_variables();
    stage.daemon.spawn().await;
    stage.expect_all(&sick).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_monitor_can_be_stopped() {
    let mut stage = stage().await;
    let alice = stage.listener("alice").await;
    let (sick, well) = (stage.supergroup(&[&alice]).await, stage.supergroup(&[&alice]).await);
    stage.daemon.set_variable("TELEWARDEN_STUMBLE", &format!("monitor/{}", sick.chat_id));
    stage.daemon.spawn().await;
    stage.backend.start(well.chat_id.into(), &alice, &[]).await;
    stage.backend.start(sick.chat_id.into(), &alice, &[]).await;
    stage.daemon.wait_for_monitors("active", 2).await;
    stage.say(&sick, 1..=1).await;
    until_parked(&stage, "monitor/").await;
    let stop = json!({ "command": "stop_monitoring_chat", "chat_id": sick.chat_id });
    let outcome = stage.backend.ask(&stop).await;
    assert_eq!((&outcome["ok"], &outcome["result"]["was_monitored"]), (&json!(true), &json!(true)));
    stage.say(&sick, 2..=5).await;
    stage.say(&well, 1..=5).await;
    stage.expect_all(&well).await;
    let books = stage.sim.account(alice.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1);
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_keeps_crashing_is_parked_told_of_and_drags_nobody_down() {
    let mut stage = stage().await;
    let (sick, well) = (stage.listener("sick").await, stage.listener("well").await);
    let (of_sick, of_well) = (stage.supergroup(&[&sick]).await, stage.supergroup(&[&well]).await);
    stage.daemon.set_variable("TELEWARDEN_STUMBLE", &format!("account/{}", sick.user_id));
    stage.daemon.spawn().await;
    stage.backend.start(of_sick.chat_id.into(), &sick, &[]).await;
    stage.backend.start(of_well.chat_id.into(), &well, &[]).await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.say(&of_sick, 1..=5).await;
    stage.say(&of_well, 1..=5).await;
    until_parked(&stage, "account/").await;
    stage.backend.wait_for_loss(&sick, "connection_failed").await;
    stage.say(&of_well, 6..=10).await;
    stage.expect_all(&of_well).await;
    let books = stage.sim.account(well.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1);
    assert!(stage.backend.losses().iter().all(|(session, _)| *session == sick.id));
    stage.daemon.kill();
    stage.daemon.clear_variables();
    stage.daemon.spawn().await;
    stage.expect_all(&of_sick).await;
    stage.expect_clean_books().await;
}
