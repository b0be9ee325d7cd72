//! Stopping, and what the daemon says of itself meanwhile.

use crate::support::{Broker, DaemonOptions, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_in_hand_disconnects_and_exits_0() {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=50).await;
    stage.expect_all(&chat).await;
    let status = stage.daemon.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", stage.daemon.log());
    assert_eq!(stage.sim.account(alice.user_id).await.unwrap().connections_now, 0);
    stage.say(&chat, 51..=60).await;
    stage.daemon.spawn().await;
    stage.expect_all(&chat).await;
    assert_eq!(stage.backend.events().len(), 60, "a clean stop repeats nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_each_dependency_and_answers_while_the_broker_is_away() {
    let broker = Broker::private().await;
    let stage = Stage::set_with(broker, DaemonOptions::default()).await;
    let (code, ready) = stage.daemon.get("/health/ready").await.unwrap();
    let names: Vec<_> = ready["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["store", "amqp_publisher", "amqp_consumer"], "{ready:#}");
    assert!([200, 503].contains(&code));
    let (code, live) = stage.daemon.get("/health/live").await.unwrap();
    assert_eq!((code, &live["status"]), (200, &serde_json::json!("ok")));
    let restarting = stage.backend.broker.restart();
    let seen_down = async {
        loop {
            let (code, ready) = stage.daemon.get("/health/ready").await.unwrap();
            if ready["dependencies"][1]["state"] == "down" {
                assert_eq!(code, 503);
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::join!(restarting, seen_down);
    let (code, _) = stage.daemon.get("/health").await.unwrap();
    assert_eq!(code, 200, "a broker that is away does not stop the daemon from listening");
}
