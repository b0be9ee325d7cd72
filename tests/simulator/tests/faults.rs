//! Faults on demand, and the violations they provoke in clients that do not behave.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

mod support;

use std::time::Duration;

use grammers_client::tl::{enums, functions as f, types};
use support::{Client, DEADLINE, Stage, peer, send};
use telewarden_simulator::{ChatKind, FaultKind, FaultSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

fn fault(user_id: i64, kind: FaultKind) -> FaultSpec {
    FaultSpec { user_id: Some(user_id), kind: Some(kind), ..FaultSpec::default() }
}

fn error(user_id: i64, method: &str, name: &str, times: u32) -> FaultSpec {
    FaultSpec {
        user_id: Some(user_id),
        method: Some(method.to_owned()),
        error: Some(name.to_owned()),
        times: Some(times),
        ..FaultSpec::default()
    }
}

/// Waits until the server has seen all of an account's connections close.
async fn until_disconnected(stage: &Stage, user_id: i64) {
    let gone = async {
        while stage.simulator.account(user_id).await.unwrap().connections_now > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, gone).await.expect("the connection closes");
}

#[tokio::test]
async fn a_flood_wait_strikes_as_often_as_asked_and_impatience_is_counted() {
    let stage = Stage::with_accounts(2).await;
    stage.chat(ChatKind::Supergroup).await;
    let client = stage.client(0).await;
    let channel = peer(&client.channel().await);
    let spec = error(client.user_id, "messages.sendMessage", "FLOOD_WAIT_1", 1);
    stage.simulator.add_fault(spec).await.unwrap();
    let refusal = client.invoke(&send(channel.clone(), "hello", 1)).await.unwrap_err();
    let grammers_client::InvocationError::Rpc(refusal) = refusal else { panic!("an rpc error") };
    assert_eq!((refusal.code, refusal.name.as_str(), refusal.value), (420, "FLOOD_WAIT", Some(1)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.invoke(&send(channel.clone(), "patient", 1)).await.unwrap();
    assert_eq!(stage.violations("call_during_flood_wait").await, 0);

    let spec = error(client.user_id, "messages.sendMessage", "FLOOD_WAIT_30", 1);
    stage.simulator.add_fault(spec).await.unwrap();
    client.refused(&send(channel.clone(), "again", 2)).await;
    client.invoke(&f::updates::GetState {}).await.unwrap();
    client.invoke(&send(channel, "impatient", 2)).await.unwrap();
    assert_eq!(stage.violations("call_during_flood_wait").await, 1);
}

/// A client that was refused with a wait of 30 s, and what it was refused.
async fn refused_for_long(stage: &Stage) -> (Client, f::updates::GetDifference) {
    let client = stage.client(0).await;
    let spec = error(client.user_id, "updates.getDifference", "FLOOD_WAIT_30", 1);
    stage.simulator.add_fault(spec).await.unwrap();
    assert_eq!(client.refused(&difference(1)).await, "FLOOD_WAIT");
    (client, difference(1))
}

fn difference(pts: i32) -> f::updates::GetDifference {
    let (pts_limit, pts_total_limit, qts_limit) = (None, None, None);
    f::updates::GetDifference { pts, pts_limit, pts_total_limit, date: 1, qts: 0, qts_limit }
}

#[tokio::test]
async fn a_client_that_does_not_listen_is_counted_at_its_first_repetition() {
    let stage = Stage::with_accounts(1).await;
    let (client, request) = refused_for_long(&stage).await;
    client.invoke(&request).await.unwrap();
    let stats = stage.simulator.stats().await;
    assert_eq!(stats.violations["call_during_flood_wait"], 1);
    let line = format!(
        "call_during_flood_wait: account {} repeated updates.getDifference on connection 1, ",
        client.user_id
    );
    assert!(stats.violations_told[0].starts_with(&line), "{:?}", stats.violations_told);
    assert!(stats.violations_told[0].contains("to wait 30 s"), "{:?}", stats.violations_told);
}

#[tokio::test]
async fn a_client_that_makes_other_calls_of_the_method_is_counted_at_the_second() {
    let stage = Stage::with_accounts(1).await;
    let (client, _) = refused_for_long(&stage).await;
    client.invoke(&difference(2)).await.unwrap();
    client.invoke(&difference(3)).await.unwrap();
    assert_eq!(stage.violations("call_during_flood_wait").await, 1);
    assert_eq!(stage.simulator.stats().await.calls_excused.len(), 1);
}

#[tokio::test]
async fn a_call_that_was_on_its_way_with_a_refused_one_is_excused() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let spec = error(client.user_id, "updates.getDifference", "FLOOD_WAIT_30", 1);
    stage.simulator.add_fault(spec).await.unwrap();
    let (one, other) = (difference(1), difference(2));
    let (one, other) = tokio::join!(client.invoke(&one), client.invoke(&other));
    assert!(one.is_err() != other.is_err(), "one of them is refused");
    stage.assert_clean().await;
    assert_eq!(stage.simulator.stats().await.calls_excused.len(), 1);
}

#[tokio::test]
async fn a_wait_binds_nobody_whose_connection_broke_before_the_answer() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let spec = error(client.user_id, "updates.getDifference", "FLOOD_WAIT_30", 1);
    let spec = FaultSpec { delay_ms: Some(300), ..spec };
    stage.simulator.add_fault(spec).await.unwrap();
    let short = Duration::from_millis(100);
    assert!(timeout(short, client.invoke(&difference(1))).await.is_err(), "no answer yet");
    drop(client);
    until_disconnected(&stage, stage.ids()[0]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.client(0).await.invoke(&difference(1)).await.unwrap();
    stage.assert_clean().await;
    assert_eq!(stage.simulator.stats().await.calls_excused.len(), 1);
}

/// The library acknowledges with its next call, and here makes none.
#[tokio::test]
async fn a_client_that_hangs_up_over_a_wait_and_comes_back_early_is_counted() {
    let stage = Stage::with_accounts(1).await;
    let (client, request) = refused_for_long(&stage).await;
    drop(client);
    until_disconnected(&stage, stage.ids()[0]).await;
    stage.client(0).await.invoke(&request).await.unwrap();
    assert_eq!(stage.violations("call_during_flood_wait").await, 1);
}

#[tokio::test]
async fn a_client_that_was_killed_need_not_know_what_it_was_told_just_before() {
    let stage = Stage::with_accounts(1).await;
    let (client, request) = refused_for_long(&stage).await;
    drop(client);
    stage.simulator.client_killed().await;
    until_disconnected(&stage, stage.ids()[0]).await;
    stage.client(0).await.invoke(&request).await.unwrap();
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_wait_binds_the_next_connection_even_if_the_server_cut_this_one() {
    let stage = Stage::with_accounts(1).await;
    for (pause_ms, counted) in [(0, 0), (1_700, 1)] {
        let (client, request) = refused_for_long(&stage).await;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        stage.simulator.disconnect(client.user_id).await.unwrap();
        until_disconnected(&stage, client.user_id).await;
        drop(client);
        stage.client(0).await.invoke(&request).await.unwrap();
        assert_eq!(stage.violations("call_during_flood_wait").await, counted, "{pause_ms} ms");
        until_disconnected(&stage, stage.ids()[0]).await;
    }
}

#[tokio::test]
async fn a_lost_answer_was_executed_all_the_same() {
    let stage = Stage::with_accounts(2).await;
    let client = stage.client(0).await;
    let friend = stage.accounts[1].user_id;
    let hash = {
        stage.simulator.post_private(client.user_id, friend, "hi").await.unwrap();
        let request = f::updates::GetDifference {
            pts: 1,
            pts_limit: None,
            pts_total_limit: None,
            date: i32::MAX,
            qts: 0,
            qts_limit: None,
        };
        let enums::updates::Difference::Difference(news) = client.invoke(&request).await.unwrap()
        else {
            panic!("there is news");
        };
        let user = news.users.into_iter().find_map(|user| match user {
            enums::User::User(user) if user.id == friend => user.access_hash,
            _ => None,
        });
        user.unwrap()
    };
    let to = types::InputPeerUser { user_id: friend, access_hash: hash };
    let method = Some("messages.sendMessage".to_owned());
    let lose = FaultSpec { method, times: Some(1), ..fault(client.user_id, FaultKind::LoseAnswer) };
    stage.simulator.add_fault(lose).await.unwrap();
    let request = send(to.clone().into(), "did you get this?", 9);
    client.invoke(&request).await.unwrap_err();
    assert_eq!(stage.simulator.inbox(friend).await.unwrap().len(), 1);
    // The same random id settles what happened; a new one would write twice, which is counted.
    client.invoke(&request).await.unwrap();
    let refuse = fault(client.user_id, FaultKind::RefuseDuplicates);
    stage.simulator.add_fault(refuse).await.unwrap();
    assert_eq!(client.refused(&request).await, "RANDOM_ID_DUPLICATE");
    stage.assert_clean().await;
    client.invoke(&send(to.into(), "did you get this?", 10)).await.unwrap();
    assert_eq!(stage.violations("random_id_changed").await, 1);
    assert_eq!(stage.simulator.inbox(friend).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_revoked_key_is_told_so_and_may_come_back_three_times() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    stage.simulator.revoke(client.user_id, None).await.unwrap();
    let request = f::updates::GetState {};
    assert_eq!(client.refused(&request).await, "AUTH_KEY_UNREGISTERED");
    until_disconnected(&stage, client.user_id).await;
    for _ in 0..3 {
        assert_eq!(client.refused(&request).await, "AUTH_KEY_UNREGISTERED");
        until_disconnected(&stage, client.user_id).await;
    }
    assert_eq!(stage.violations("connected_after_revoke").await, 0);
    assert_eq!(client.refused(&request).await, "AUTH_KEY_UNREGISTERED");
    assert_eq!(stage.violations("connected_after_revoke").await, 1);
}

#[tokio::test]
async fn one_key_on_two_connections_is_a_violation_and_kills_the_key() {
    let stage = Stage::with_accounts(1).await;
    let first = stage.client(0).await;
    let second = Client::idle(&stage.accounts[0]);
    let request = f::updates::GetState {};
    assert_eq!(second.refused(&request).await, "AUTH_KEY_DUPLICATED");
    assert_eq!(stage.violations("auth_key_connected_twice").await, 1);
    assert_eq!(first.refused(&request).await, "AUTH_KEY_DUPLICATED");
}

#[tokio::test]
async fn reconnecting_is_no_violation_and_all_calls_share_one_connection() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    for round in 1..=3 {
        for _ in 0..5 {
            client.invoke(&f::updates::GetState {}).await.unwrap();
        }
        let account = stage.simulator.account(client.user_id).await.unwrap();
        assert_eq!((account.connections_now, account.connections_total), (1, round));
        stage.simulator.disconnect(client.user_id).await.unwrap();
        // The library learns of the loss by a failed call, at the latest.
        let back = async { while client.invoke(&f::updates::GetState {}).await.is_err() {} };
        timeout(DEADLINE, back).await.unwrap();
    }
    stage.assert_clean().await;
}

#[tokio::test]
async fn swallowed_updates_leave_a_gap_that_the_difference_fills() {
    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    let mut reader = stage.client(0).await;
    let writer = stage.ids()[1];
    let swallow = FaultSpec { times: Some(2), ..fault(reader.user_id, FaultKind::SwallowUpdates) };
    stage.simulator.add_fault(swallow).await.unwrap();
    for text in ["lost", "lost too", "arrives"] {
        stage.simulator.post(chat.chat_id, writer, text).await.unwrap();
    }
    assert_eq!(reader.next_message().await, (3, "arrives".to_owned()));
    let request = f::updates::GetChannelDifference {
        force: false,
        channel: reader.channel().await.into(),
        filter: enums::ChannelMessagesFilter::Empty,
        pts: 1,
        limit: 100,
    };
    let enums::updates::ChannelDifference::Difference(gap) = reader.invoke(&request).await.unwrap()
    else {
        panic!("there is a gap");
    };
    assert_eq!(gap.new_messages.len(), 3);

    let too_long =
        FaultSpec { times: Some(1), ..fault(reader.user_id, FaultKind::ChannelDifferenceTooLong) };
    stage.simulator.add_fault(too_long).await.unwrap();
    let answer = reader.invoke(&request).await.unwrap();
    assert!(matches!(answer, enums::updates::ChannelDifference::TooLong(_)));
}

#[tokio::test]
async fn updates_come_twice_or_in_the_wrong_order() {
    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    let mut reader = stage.client(0).await;
    let (me, writer) = (reader.user_id, stage.ids()[1]);
    let once = |kind| FaultSpec { times: Some(1), ..fault(me, kind) };
    stage.simulator.add_fault(once(FaultKind::DuplicateUpdates)).await.unwrap();
    stage.simulator.add_fault(once(FaultKind::ReorderUpdates)).await.unwrap();
    for text in ["one", "two", "three"] {
        stage.simulator.post(chat.chat_id, writer, text).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(reader.next_message().await.0);
    }
    assert_eq!(order, [1, 1, 3, 2]);
    // Even with nothing after it, a held update arrives in the end.
    stage.simulator.add_fault(once(FaultKind::ReorderUpdates)).await.unwrap();
    stage.simulator.post(chat.chat_id, writer, "four").await.unwrap();
    assert_eq!(reader.next_message().await.0, 4);
}

#[tokio::test]
async fn calls_can_be_delayed_cut_off_reset_garbled_and_ignored() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let request = f::updates::GetState {};
    let delay_ms = Some(300);
    let delay = FaultSpec { delay_ms, times: Some(1), ..FaultSpec::default() };
    stage.simulator.add_fault(delay).await.unwrap();
    let start = Instant::now();
    client.invoke(&request).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));

    for kind in [FaultKind::Disconnect, FaultKind::Reset, FaultKind::Garbage] {
        let spec = FaultSpec { times: Some(1), ..fault(client.user_id, kind) };
        stage.simulator.add_fault(spec).await.unwrap();
        client.invoke(&request).await.unwrap_err();
        client.invoke(&request).await.unwrap();
    }
    let method = Some("updates.getState".to_owned());
    let ignore = FaultSpec { method, times: Some(1), ..fault(client.user_id, FaultKind::Mute) };
    stage.simulator.add_fault(ignore).await.unwrap();
    let short = Duration::from_millis(500);
    assert!(timeout(short, client.invoke(&request)).await.is_err(), "the call is ignored");
    client.invoke(&request).await.unwrap();
    stage.assert_clean().await;
}

#[tokio::test]
async fn connections_can_be_refused_or_left_without_an_answer() {
    let stage = Stage::with_accounts(2).await;
    let (refused, muted) = (&stage.accounts[0], &stage.accounts[1]);
    let refuse = fault(refused.user_id, FaultKind::RefuseConnections);
    stage.simulator.add_fault(refuse).await.unwrap();
    stage.simulator.add_fault(fault(muted.user_id, FaultKind::Mute)).await.unwrap();
    let request = f::updates::GetState {};
    Client::idle(refused).invoke(&request).await.unwrap_err();
    let silent = Client::idle(muted);
    let short = Duration::from_millis(500);
    assert!(timeout(short, silent.invoke(&request)).await.is_err(), "nothing is answered");
    drop(silent);
    stage.simulator.lift_faults().await;
    Client::idle(refused).invoke(&request).await.unwrap();

    let everybody = FaultSpec { kind: Some(FaultKind::RefuseConnections), ..FaultSpec::default() };
    stage.simulator.add_fault(everybody).await.unwrap();
    let mut stream = TcpStream::connect(stage.simulator.listen_addr()).await.unwrap();
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn an_unknown_key_is_answered_with_404() {
    let stage = Stage::with_accounts(1).await;
    let mut stream = TcpStream::connect(stage.simulator.listen_addr()).await.unwrap();
    // Intermediate framing, then a packet that begins with a key id nobody has.
    stream.write_all(&[0xee; 4]).await.unwrap();
    stream.write_all(&40u32.to_le_bytes()).await.unwrap();
    stream.write_all(&[7; 40]).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, [&4u32.to_le_bytes()[..], &(-404i32).to_le_bytes()].concat());
}

#[tokio::test]
async fn a_slow_reader_takes_its_time() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let slow = FaultSpec { delay_ms: Some(200), ..fault(client.user_id, FaultKind::SlowReader) };
    stage.simulator.add_fault(slow).await.unwrap();
    let start = Instant::now();
    client.invoke(&f::updates::GetState {}).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_frozen_connection_is_silent_while_tcp_stays_open_and_may_be_replaced() {
    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    let frozen = stage.client(0).await;
    let once = FaultSpec { times: Some(1), ..fault(frozen.user_id, FaultKind::Freeze) };
    stage.simulator.add_fault(once).await.unwrap();
    stage.simulator.post(chat.chat_id, stage.ids()[1], "into the void").await.unwrap();
    let request = f::updates::GetState {};
    let short = Duration::from_millis(500);
    assert!(timeout(short, frozen.invoke(&request)).await.is_err(), "nothing is answered");
    assert!(frozen.updates.is_empty());
    let books = stage.simulator.account(frozen.user_id).await.unwrap();
    assert_eq!(books.connections_now, 1, "the connection stays open");
    drop(frozen);
    until_disconnected(&stage, stage.ids()[0]).await;
    stage.client(0).await;
    stage.assert_clean().await;
}

#[tokio::test]
async fn updates_too_long_takes_the_place_of_an_update() {
    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    let mut reader = stage.client(0).await;
    let once = FaultSpec { times: Some(1), ..fault(reader.user_id, FaultKind::UpdatesTooLong) };
    stage.simulator.add_fault(once).await.unwrap();
    for text in ["replaced", "sent"] {
        stage.simulator.post(chat.chat_id, stage.ids()[1], text).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let next = reader.next(|updates| match updates {
            enums::Updates::TooLong => Some("too long".to_owned()),
            other => support::messages(other).into_iter().next().map(|(_, text)| text),
        });
        seen.push(next.await);
    }
    assert_eq!(seen, ["too long", "sent"]);
}

#[tokio::test]
async fn numbers_fall_back_for_good_in_a_channel_and_in_an_account() {
    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    let mut reader = stage.client(0).await;
    let (me, writer) = (reader.user_id, stage.ids()[1]);
    let numbers = |updates: &enums::Updates| match updates {
        enums::Updates::UpdateShortMessage(short) => Some(short.pts),
        enums::Updates::Updates(updates) => {
            updates.updates.iter().find_map(|update| match update {
                enums::Update::NewChannelMessage(new) => Some(new.pts),
                enums::Update::NewMessage(new) => Some(new.pts),
                _ => None,
            })
        }
        _ => None,
    };
    for (place, starts_at) in [("channel", 2), ("box", 2)] {
        for step in 0..9 {
            if step == 7 {
                let once = FaultSpec { times: Some(1), ..fault(me, FaultKind::PtsBackwards) };
                stage.simulator.add_fault(once).await.unwrap();
            }
            match place {
                "channel" => stage.simulator.post(chat.chat_id, writer, "news").await.unwrap(),
                _ => stage.simulator.post_private(me, writer, "news").await.unwrap(),
            };
        }
        let mut seen = Vec::new();
        while seen.len() < 9 {
            seen.push(reader.next(numbers).await);
        }
        let expected: Vec<i32> = (0..7).chain([2, 3]).map(|step| step + starts_at).collect();
        assert_eq!(seen, expected, "{place}");
    }
    let enums::updates::State::State(state) =
        reader.invoke(&f::updates::GetState {}).await.unwrap();
    assert_eq!(state.pts, 5);
    let request = f::updates::GetChannelDifference {
        force: false,
        channel: reader.channel().await.into(),
        filter: enums::ChannelMessagesFilter::Empty,
        pts: 4,
        limit: 100,
    };
    let enums::updates::ChannelDifference::Difference(news) =
        reader.invoke(&request).await.unwrap()
    else {
        panic!("one message has a number above 4");
    };
    assert_eq!((news.new_messages[0].id(), news.pts), (9, 5));
}

#[tokio::test]
async fn a_difference_can_run_in_circles() {
    let stage = Stage::with_accounts(2).await;
    let (client, friend) = (stage.client(0).await, stage.ids()[1]);
    stage.simulator.post_private(client.user_id, friend, "news").await.unwrap();
    let once =
        FaultSpec { times: Some(1), ..fault(client.user_id, FaultKind::DifferenceInCircles) };
    stage.simulator.add_fault(once).await.unwrap();
    let request = f::updates::GetDifference {
        pts: 1,
        pts_limit: None,
        pts_total_limit: None,
        date: i32::MAX,
        qts: 0,
        qts_limit: None,
    };
    let enums::updates::Difference::Slice(slice) = client.invoke(&request).await.unwrap() else {
        panic!("more is to come");
    };
    let enums::updates::State::State(state) = slice.intermediate_state;
    assert_eq!((slice.new_messages.len(), state.pts), (0, 1));
    let whole = client.invoke(&request).await.unwrap();
    assert!(matches!(whole, enums::updates::Difference::Difference(_)));
}

#[tokio::test]
async fn a_server_whose_clock_is_ahead_refuses_ids_until_the_client_follows_it() {
    let stage = Stage::with_accounts(1).await;
    let skewed = fault(stage.ids()[0], FaultKind::ClockSkew);
    let skewed = FaultSpec { skew_seconds: Some(3600), ..skewed };
    stage.simulator.add_fault(skewed).await.unwrap();
    let client = stage.client(0).await;
    client.invoke(&f::updates::GetState {}).await.unwrap();
    stage.assert_clean().await;
}

/// The library never lowers its message ids, so it cannot follow a clock that is behind its own.
#[tokio::test]
async fn a_server_whose_clock_is_behind_keeps_refusing() {
    let stage = Stage::with_accounts(1).await;
    let skewed = fault(stage.ids()[0], FaultKind::ClockSkew);
    let skewed = FaultSpec { skew_seconds: Some(-3600), ..skewed };
    stage.simulator.add_fault(skewed).await.unwrap();
    let client = Client::idle(&stage.accounts[0]);
    let short = Duration::from_secs(1);
    assert!(timeout(short, client.invoke(&f::updates::GetState {})).await.is_err());
    drop(client);
    until_disconnected(&stage, stage.ids()[0]).await;
    stage.simulator.lift_faults().await;
    stage.client(0).await;
}

#[tokio::test]
async fn expired_salts_are_replaced_without_the_caller_noticing() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    for _ in 0..3 {
        let once = FaultSpec { times: Some(1), ..fault(client.user_id, FaultKind::ExpireSalt) };
        stage.simulator.add_fault(once).await.unwrap();
        client.invoke(&f::updates::GetState {}).await.unwrap();
    }
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_refused_key_is_answered_with_404_on_a_connection_in_use() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let once = FaultSpec { times: Some(1), ..fault(client.user_id, FaultKind::RefuseKey) };
    stage.simulator.add_fault(once).await.unwrap();
    let refusal = client.refused(&f::updates::GetState {}).await;
    assert!(refusal.contains("404"), "{refusal}");
    until_disconnected(&stage, client.user_id).await;
    client.invoke(&f::updates::GetState {}).await.unwrap();
}
