//! Messages larger than any command, as many as the broker hands out at once: what the daemon holds of
//! them stays within its budget, each is put aside, and commands behind them are carried out.

use std::collections::BTreeSet;

use serde_json::json;

use crate::bridge::raw::{Properties, Raw, holds, text_value};
use crate::support::{Broker, DaemonOptions, Stage, eventually};

/// As many as `bridge.prefetch` lets the broker send.
const COUNT: usize = 64;
const MIB: u64 = 1024 * 1024;

/// The most memory that the daemon has had, bytes.
fn peak_memory(stage: &Stage) -> u64 {
    let status = format!("/proc/{}/status", stage.daemon.pid());
    let status = std::fs::read_to_string(status).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

/// A daemon that is down, with a broker of its own and the queues that it will find there.
async fn prepare() -> Stage {
    let stage = Stage::prepare(Broker::private().await, DaemonOptions::default()).await;
    stage.backend.declare().await;
    stage
}

/// Patient with each of them, since a build for tests reads slowly.
async fn wait_until_put_aside(stage: &Stage, count: usize) {
    for number in 1..=count {
        eventually("the next one is put aside", async || {
            let text = stage.daemon.metrics().await;
            let name = "telewarden_amqp_dead_lettered_total ";
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            (line.trim().parse::<f64>().ok()? >= number as f64).then_some(())
        })
        .await;
    }
}

async fn expect_commands_to_be_taken(stage: &Stage) {
    let stop = json!({ "command": "stop_monitoring_chat", "chat_id": -1_001 });
    assert_eq!(stage.backend.ask(&stop).await["ok"], true);
}

/// A body that nothing shortens, with its number in front.
fn body(number: usize) -> Vec<u8> {
    let mut body = vec![number as u8; 16 * MIB as usize];
    body[..2].copy_from_slice(b"{\"");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_a_gibibyte_take_the_memory_of_one_and_are_put_aside_whole() {
    let mut stage = prepare().await;
    let mut raw = Raw::of(&stage.backend.broker.url).await;
    let none = Properties::default();
    for number in 0..COUNT {
        raw.publish(&stage.backend.names.exchange, b"command", &none, &body(number)).await;
    }
    stage.daemon.spawn().await;
    wait_until_put_aside(&stage, COUNT).await;
    let peak = peak_memory(&stage);
    println!("peak: {} MiB", peak / MIB);
    assert!(peak < 192 * MIB, "{} MiB", peak / MIB);
    expect_commands_to_be_taken(&stage).await;
    let dead = format!("{}.dead", stage.backend.names.commands);
    let mut found = BTreeSet::new();
    for _ in 0..COUNT {
        let (properties, letter) = raw.take(&dead).await;
        assert!(holds(&properties, b"too_large") && holds(&properties, b"has 16777216 bytes"));
        let number = usize::from(*letter.last().expect("a body"));
        assert!(letter == body(number), "whole, and as it came");
        assert!(found.insert(number), "once");
    }
    assert_eq!(found.len(), COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_many_values_take_the_memory_of_one_message_and_are_put_aside_as_they_came() {
    let mut stage = prepare().await;
    let mut raw = Raw::of(&stage.backend.broker.url).await;
    let body = br#"{"command":"stop_monitoring_chat","chat_id":-1001}"#;
    // The smallest values, and the tables that take the most memory for what they are on the wire.
    let fillings = [vec![b'V'; 130_000], b"F\0\0\0\x02\0V".repeat(18_500)];
    let values =
        fillings.map(|values| [&b"A"[..], &(values.len() as u32).to_be_bytes(), &values].concat());
    for number in 0..COUNT {
        let wide = (&b"x-wide"[..], values[number % 2].clone());
        let properties = Properties::default().headers(&[wide, (b"x-mine", text_value(b"kept"))]);
        raw.publish(&stage.backend.names.exchange, b"command", &properties, body).await;
    }
    stage.daemon.spawn().await;
    wait_until_put_aside(&stage, COUNT).await;
    let peak = peak_memory(&stage);
    println!("peak: {} MiB", peak / MIB);
    assert!(peak < 192 * MIB, "{} MiB", peak / MIB);
    expect_commands_to_be_taken(&stage).await;
    let dead = format!("{}.dead", stage.backend.names.commands);
    let mut found = [0; 2];
    for _ in 0..COUNT {
        let (letter, is_whole) = raw.take(&dead).await;
        assert_eq!(is_whole, body);
        assert!(holds(&letter, b"bad_properties") && holds(&letter, b"bytes of memory"));
        let kind = values.iter().position(|value| holds_at_length(&letter, value));
        found[kind.expect("as it came")] += 1;
    }
    assert_eq!(found, [COUNT / 2; 2]);
}

/// Whether it stands in there. The header's name tells where, so that not every place is tried.
fn holds_at_length(letter: &[u8], value: &[u8]) -> bool {
    let name = b"\x06x-wide";
    let at = letter.windows(name.len()).position(|window| window == name);
    at.is_some_and(|at| letter[at + name.len()..].starts_with(value))
}
