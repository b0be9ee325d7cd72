//! The broker as the daemon's whole process meets it: addresses, what `telewarden check` says of
//! it, and messages that nobody should send.

use lapin::ExchangeKind;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::bridge::raw::{Properties, Raw, nested_arrays, nested_tables, text_value};
use crate::bridge::support::Admin;
use crate::support::{Broker, DaemonOptions, Stage};

/// A stage whose daemon does not run, with another address of the same broker.
async fn stage_at(change: impl FnOnce(&str) -> String) -> Stage {
    let stage = Stage::prepare(Broker::shared(), DaemonOptions::default()).await;
    let url = stage.backend.broker.url.clone();
    let other = change(&url);
    if other != url {
        stage.daemon.reconfigure(|config| config.replace(&url, &other));
    }
    stage
}

fn line<'a>(said: &'a str, kind: &str) -> &'a str {
    said.lines()
        .find(|line| line.starts_with(kind) && (line.contains("broker") || line.contains("exists")))
        .unwrap_or_else(|| panic!("no {kind} about the broker:\n{said}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_without_a_virtual_host_means_the_default_one() {
    for path in ["/", ""] {
        let mut stage = stage_at(|url| url.replace("/%2f", path)).await;
        let (code, said) = stage.daemon.check();
        assert_eq!(code, Some(0), "{said}");
        assert!(line(&said, "fine").contains("lets the bridge in"), "{said}");
        stage.daemon.spawn().await;
        let alice = stage.listener("alice").await;
        let chat = stage.supergroup(&[&alice]).await;
        stage.monitor(&chat, &alice, &[]).await;
        stage.say(&chat, 1..=3).await;
        stage.expect_all(&chat).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_will_never_let_the_bridge_in_is_a_fault_that_check_finds() {
    let stage = stage_at(|url| url.replace("/%2f", "/nowhere")).await;
    let (code, said) = stage.daemon.check();
    assert_eq!(code, Some(1), "{said}");
    assert!(line(&said, "FAULT").contains("vhost nowhere not found"), "{said}");

    let stage = stage_at(|url| url.replace(":guest@", ":open-sesame@")).await;
    let (code, said) = stage.daemon.check();
    assert_eq!(code, Some(1), "{said}");
    assert!(line(&said, "FAULT").contains("ACCESS_REFUSED"), "{said}");
    assert!(!said.contains("open-sesame"), "{said}");

    let stage = stage_at(|url| {
        let (head, _) = url.rsplit_once(':').unwrap();
        format!("{head}:1/%2f")
    })
    .await;
    let (code, said) = stage.daemon.check();
    assert_eq!(code, Some(0), "it may come yet: {said}");
    assert!(line(&said, "advice").contains("does not answer"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_looks_at_exchange_and_queues_and_makes_none() {
    let stage = stage_at(str::to_owned).await;
    let names = &stage.backend.names;
    for _ in 0..2 {
        let (code, said) = stage.daemon.check();
        assert_eq!(code, Some(0), "{said}");
        let fine = line(&said, "fine");
        // The event queue is the test's own.
        for name in [
            format!("exchange `{}`", names.exchange),
            format!("queue `{}`", names.commands),
            format!("queue `{}.dead`", names.commands),
        ] {
            assert!(
                fine.contains("will declare what is not there") && fine.contains(&name),
                "{fine}"
            );
        }
    }
    let admin = Admin::of(&stage.backend.broker.url).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(10_000));
    admin.queue(&names.commands, true, arguments).await;
    admin.exchange(&names.exchange, ExchangeKind::Topic).await;
    let (code, said) = stage.daemon.check();
    assert_eq!(code, Some(0), "{said}");
    for name in [format!("exchange `{}`", names.exchange), format!("queue `{}`", names.commands)] {
        let told = format!("advice  the {name} exists with other properties than ours");
        assert!(said.contains(&told), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_of_the_wrong_type_is_a_fault_for_check_and_for_the_daemon() {
    let mut stage = stage_at(str::to_owned).await;
    let exchange = stage.backend.names.exchange.clone();
    let admin = Admin::of(&stage.backend.broker.url).await;
    admin.exchange(&exchange, ExchangeKind::Fanout).await;
    let (code, said) = stage.daemon.check();
    assert_eq!(code, Some(1), "{said}");
    let fault = line(&said, "FAULT");
    let cured = |text: &str| text.contains("type fanout") && text.contains("Delete the exchange");
    assert!(cured(fault), "{fault}");

    stage.daemon.launch();
    let told = crate::support::eventually("readiness says it", async || {
        let (status, body) = stage.daemon.get("/health/ready").await.ok()?;
        let text = body.to_string();
        (status == 503 && text.matches("type fanout").count() == 2).then_some(text)
    })
    .await;
    assert!(cured(&told), "{told}");
    let deleted = admin.channel.exchange_delete(exchange.as_str().into(), Default::default());
    deleted.await.unwrap();
    stage.daemon.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_nobody_should_send_end_neither_the_process_nor_its_link() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    let names = &stage.backend.names;
    let mut raw = Raw::of(&stage.backend.broker.url).await;
    let body = json!({ "command": "stop_monitoring_chat", "chat_id": 5 }).to_string();
    let header = |value: Vec<u8>| Properties::default().headers(&[(b"x", value)]);
    let hostile = [
        (header(nested_arrays(1_300)), "bad_properties"),
        (header(nested_arrays(26_000)), "bad_properties"),
        (header(nested_tables(21_000)), "bad_properties"),
        (Properties::default().text("correlation_id", b"\xff\xfe"), "bad_properties"),
        (header(text_value(&vec![b'x'; 131_030])), "bad_json"),
    ];
    let before = stage.daemon.pid();
    for (properties, code) in &hostile {
        let body = if *code == "bad_json" { "not json" } else { body.as_str() };
        raw.publish(&names.exchange, b"command", properties, body.as_bytes()).await;
        let (found, message, kept) = stage.backend.dead_letter().await;
        assert_eq!(found, *code, "{message}");
        assert_eq!(kept, body.as_bytes(), "the command is kept as it came");
    }
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
    assert_eq!(stage.daemon.pid(), before);
    let log = stage.daemon.log();
    assert!(!log.contains("the link to the broker is down"), "{log}");
    stage.expect_clean_books().await;
}
