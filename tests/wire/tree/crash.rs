//! The daemon is killed, the broker goes away: nothing is lost, nothing is doubled.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::support::{Broker, DaemonOptions, Stage};

/// Kills in one run.
const KILLS: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_at_random_instants_under_a_steady_stream_lose_and_double_nothing() {
    let seed = seed();
    println!("seed {seed}: set TELEWARDEN_TEST_SEED to replay");
    let mut random = StdRng::seed_from_u64(seed);
    let mut stage = Stage::set().await;
    let (alice, bot) = (stage.listener("alice").await, stage.bot("bot").await);
    let (one, two) = (stage.supergroup(&[&alice]).await, stage.supergroup(&[&bot]).await);
    stage.backend.start(one.chat_id.into(), &alice, &[]).await;
    stage.backend.start(two.chat_id.into(), &bot, &[]).await;
    stage.daemon.wait_for_monitors("active", 2).await;
    let mut said = 0;
    for _ in 0..KILLS {
        // The instants are the point of this test: anywhere in start-up, catching up, or work.
        let lifetime = Duration::from_millis(random.random_range(0..1_500));
        let until = tokio::time::Instant::now() + lifetime;
        while tokio::time::Instant::now() < until {
            said += 1;
            stage.say(&one, said..=said).await;
            stage.say(&two, said..=said).await;
            sleep(Duration::from_millis(5)).await;
        }
        stage.daemon.kill();
        said += 1;
        stage.say(&one, said..=said).await;
        stage.say(&two, said..=said).await;
        stage.daemon.launch();
    }
    said += 1;
    stage.say(&one, said..=said).await;
    stage.say(&two, said..=said).await;
    stage.expect_all(&one).await;
    stage.expect_all(&two).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_restarted_in_mid_stream_loses_and_doubles_nothing() {
    let broker = Broker::private().await;
    let stage = Stage::set_with(broker, DaemonOptions::default()).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    let talk = async {
        for number in 1..=600 {
            stage.say(&chat, number..=number).await;
            sleep(Duration::from_millis(10)).await;
        }
    };
    let restart = async {
        sleep(Duration::from_millis(500)).await;
        stage.backend.broker.restart().await;
    };
    tokio::join!(talk, restart);
    stage.expect_all(&chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_kill_is_done_after_it() {
    let mut stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    let start = serde_json::json!({
        "command": "start_monitoring_chat",
        "chat_id": chat.chat_id,
        "primary_session": alice.data(),
        "backup_sessions_pool": [],
    });
    assert_eq!(stage.backend.ask(&start).await["ok"], true);
    stage.daemon.kill();
    stage.say(&chat, 1..=5).await;
    stage.daemon.spawn().await;
    stage.expect_all(&chat).await;
}

fn seed() -> u64 {
    let given = std::env::var("TELEWARDEN_TEST_SEED").ok();
    given.map_or_else(rand::random, |text| text.parse().expect("a number as the seed"))
}
