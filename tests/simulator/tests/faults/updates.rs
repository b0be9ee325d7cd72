//! Updates that get lost, come twice, come too long, or fall back.

use grammers_client::tl::{enums, functions as f};
use telewarden_simulator::{ChatKind, FaultKind, FaultSpec};

use super::asked::*;
use crate::support::{Stage, messages};

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
            other => messages(other).into_iter().next().map(|(_, text)| text),
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
