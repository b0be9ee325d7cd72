//! Opening a chat, and what history fills in.

use std::time::Duration;

use tokio::time::sleep;

use super::{Fixture, chat, room, said};
use crate::actors::monitors::context::MonitorSettings;
use crate::actors::tests::{message, pass, soon};
use crate::failpoint;
use crate::protocol::bridge::command::Command;
use crate::protocol::messages::message::Message;
use crate::protocol::telegram::chat::{ChatRef, ChatSpelling, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::telegram::fake::{Answer, Then};
use crate::telegram::{Batch, GapScope, NewMessage};

/// Said an hour before the chat was asked for.
fn old(id: i32) -> Message {
    let message = message(id);
    Message { date: message.date - 3_600, ..message }
}

#[tokio::test(start_paused = true)]
async fn a_chat_is_told_from_when_it_was_asked_for() {
    let mut fixture = Fixture::new(1).await;
    (1..=3).for_each(|id| fixture.environment.telegram.say_unheard(room(1), old(id)));
    fixture.open(1, &[1]).await;
    let asked: Vec<_> =
        fixture.environment.telegram.book().iter().map(|asked| asked.method).collect();
    assert_eq!(asked, ["dial", "resolve", "inspect", "learn_time", "newest_before", "history"]);
    (4..=6).for_each(|id| fixture.environment.telegram.say(room(1), message(id)));
    assert_eq!(fixture.published().await, said(4..=6, 1));
}

/// A bot cannot read history, and asks by where the channel's updates stand.
#[tokio::test(start_paused = true)]
async fn a_bot_tells_a_channel_from_where_its_updates_stand() {
    let mut fixture = Fixture::new(1).await;
    fixture.people.push(fixture.environment.telegram.bot(2, 102));
    fixture.open(1, &[2]).await;
    let asked: Vec<_> =
        fixture.environment.telegram.book().iter().map(|asked| asked.method).collect();
    assert_eq!(asked, ["dial", "resolve", "inspect", "learn_time", "position", "since"]);
    (1..=3).for_each(|id| fixture.environment.telegram.say(room(1), message(id)));
    pass(5).await;
    assert_eq!(fixture.published().await, said(1..=3, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_said_while_history_is_read_is_told_once_and_in_order() {
    let mut fixture = Fixture::new(1).await;
    fixture
        .environment
        .telegram
        .next("history", Answer::after(Duration::from_secs(5), Then::World));
    fixture.open(1, &[1]).await;
    fixture.environment.telegram.say_unheard(room(1), message(1));
    fixture.environment.telegram.say(room(1), message(2));
    fixture.environment.telegram.say(room(1), message(3));
    assert_eq!(fixture.published().await, []);
    pass(10).await;
    fixture.environment.telegram.say(room(1), message(4));
    assert_eq!(fixture.published().await, said(1..=4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hole_before_a_live_message_is_filled_from_history_first() {
    let mut fixture = Fixture::new(1).await;
    fixture.open(1, &[1]).await;
    fixture.environment.telegram.say(room(1), message(1));
    soon().await;
    let before = fixture.count("history");
    (2..=4).for_each(|id| fixture.environment.telegram.say_unheard(room(1), message(id)));
    fixture.environment.telegram.say(room(1), message(5));
    fixture.environment.telegram.say(room(1), message(6));
    pass(5).await;
    assert_eq!(fixture.published().await, said(1..=6, 1));
    assert!(fixture.count("history") > before);
}

#[tokio::test(start_paused = true)]
async fn whatever_hints_that_something_was_missed_has_history_read() {
    let mut fixture = Fixture::new(1).await;
    fixture.open(1, &[1]).await;
    let key = fixture.person(1).account;
    let mut id = 0;
    let scopes = [GapScope::Channel(room(1)), GapScope::Everything, GapScope::Anything];
    for gap in scopes {
        id += 1;
        fixture.environment.telegram.say_unheard(room(1), message(id));
        fixture.environment.telegram.push(key, Batch::missing(gap));
        // Beyond the looks that are free.
        pass(70).await;
        assert_eq!(fixture.published().await, said([id], 1), "{gap:?}");
    }
    let looks = fixture.count("history");
    for gap in [GapScope::Common, GapScope::Channel(room(2))] {
        fixture.environment.telegram.push(key, Batch::missing(gap));
        pass(70).await;
    }
    assert_eq!(fixture.count("history"), looks, "that is not of this chat");
    fixture.environment.telegram.say_unheard(room(1), message(9));
    fixture.environment.telegram.push(key, Batch::about(room(1), None));
    pass(70).await;
    assert_eq!(fixture.published().await, said([9], 1));
}

#[tokio::test(start_paused = true)]
async fn hints_that_keep_coming_are_looked_into_ever_less_often() {
    let mut fixture = Fixture::new(1).await;
    fixture.open(1, &[1]).await;
    let key = fixture.person(1).account;
    let before = fixture.count("inspect");
    for id in 1..=300 {
        fixture.environment.telegram.say_unheard(room(1), message(id));
        fixture.environment.telegram.push(key, Batch::missing(GapScope::Channel(room(1))));
        sleep(Duration::from_millis(100)).await;
    }
    pass(60).await;
    assert_eq!(fixture.published().await, said(1..=300, 1));
    let looks = fixture.count("inspect") - before;
    assert!((3..=12).contains(&looks), "{looks} looks in half a minute");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_twice_is_told_once() {
    let mut fixture = Fixture::new(1).await;
    fixture.open(1, &[1]).await;
    for id in [1, 2, 1, 2, 3, 2] {
        let batch = Batch::of(vec![NewMessage::plain(room(1), message(id))]);
        fixture.environment.telegram.push(fixture.person(1).account, batch);
    }
    pass(5).await;
    assert_eq!(fixture.published().await, said(1..=3, 1));
}

#[tokio::test(start_paused = true)]
async fn what_no_update_told_of_is_found_by_comparing_with_history() {
    let check_every = Some(Duration::from_secs(120));
    let settings = MonitorSettings { check_every, ..MonitorSettings::for_tests() };
    let mut fixture = Fixture::with(1, settings).await;
    fixture.open(1, &[1]).await;
    fixture.environment.telegram.say(room(1), message(1));
    soon().await;
    // What was said a moment ago may be on its way still.
    let missed = Message { date: message(2).date - 20, ..message(2) };
    fixture.environment.telegram.say_unheard(room(1), missed);
    pass(600).await;
    assert_eq!(fixture.published().await, said(1..=2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_said_while_the_daemon_was_away_is_told_by_its_next_life() {
    let mut fixture = Fixture::new(1).await;
    fixture.open(1, &[1]).await;
    fixture.environment.telegram.say(room(1), message(1));
    assert_eq!(fixture.published().await, said([1], 1));
    fixture
        .restart(|environment| {
            assert_eq!(environment.telegram.connections(), 0);
            (2..=150).for_each(|id| environment.telegram.say_unheard(room(1), message(id)));
        })
        .await;
    pass(5).await;
    fixture.environment.telegram.say(room(1), message(151));
    assert_eq!(fixture.published().await, said(2..=151, 1));
    assert_eq!(fixture.environment.telegram.doubled(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_session_was_switched_is_of_no_interest() {
    let mut fixture = Fixture::new(2).await;
    let key = fixture.person(1).account;
    let late = Answer::after(Duration::from_secs(12), Then::World);
    fixture.environment.telegram.always_of(key, "history", late);
    fixture.start(1, &[1]).await;
    pass(2).await;
    let (sessions, chat) = (vec![fixture.session(2)], chat(1));
    fixture.order(Command::SwitchSource { chat, sessions }).await;
    soon().await;
    soon().await;
    fixture.environment.telegram.say(room(1), message(1));
    assert_eq!(fixture.published().await, said([1], 2));
    pass(30).await;
    fixture.environment.telegram.say(room(1), message(2));
    assert_eq!(fixture.published().await, said([2], 2), "the first session's page changes nothing");
    assert!(!fixture.environment.telegram.is_connected(key), "and nobody needs it any more");
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_crashes_over_a_message_tells_it_in_its_next_life() {
    let mut fixture = Fixture::new(1).await;
    fixture.open(1, &[1]).await;
    failpoint::trip("monitor", &chat(1).key(), 1);
    fixture.environment.telegram.say(room(1), message(1));
    fixture.environment.telegram.say(room(1), message(2));
    pass(5).await;
    fixture.environment.telegram.say(room(1), message(3));
    assert_eq!(fixture.published().await, said(1..=3, 1));
    assert_eq!(fixture.environment.ledger().await.len(), 1);
    assert_eq!(fixture.environment.telegram.count("dial"), 1, "the account does not notice");
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_keeps_crashing_is_parked_until_a_command_and_its_sibling_goes_on() {
    let mut fixture = Fixture::new(1).await;
    fixture.open(1, &[1]).await;
    fixture.open(2, &[1]).await;
    failpoint::trip("monitor", &chat(1).key(), u32::MAX);
    fixture.environment.telegram.say(room(1), message(1));
    pass(300).await;
    fixture.environment.telegram.say(room(2), message(7));
    assert_eq!(fixture.published().await, said([7], 1));
    assert_eq!(fixture.environment.ledger().await.len(), 6);
    failpoint::trip("monitor", &chat(1).key(), 0);
    pass(600).await;
    fixture.environment.telegram.say(room(1), message(2));
    assert_eq!(fixture.published().await, [], "it is left alone");
    fixture.open(1, &[1]).await;
    pass(5).await;
    assert_eq!(fixture.published().await, said([1, 2], 1));
}

#[tokio::test(start_paused = true)]
async fn an_opening_whose_account_crashes_goes_on_over_its_next_life() {
    let mut fixture = Fixture::new(1).await;
    let key = fixture.person(1).account;
    for step in ["resolve", "inspect", "newest_before", "history"] {
        fixture.environment.telegram.next(step, Answer::now(Then::Panic));
    }
    // The library, and the actor, as it hears of it, twice.
    failpoint::trip("account.called", &key, 2);
    fixture.start(1, &[1]).await;
    pass(120).await;
    fixture.environment.telegram.say(room(1), message(1));
    assert_eq!(fixture.published().await, said([1], 1));
    assert_eq!(fixture.environment.telegram.doubled(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_is_stopped_while_it_is_opened_is_let_go() {
    let mut fixture = Fixture::new(1).await;
    fixture.environment.telegram.always("history", Answer::now(Then::Silence));
    fixture.start(1, &[1]).await;
    pass(3).await;
    fixture.order(Command::StopMonitoring { chat: chat(1) }).await;
    pass(60).await;
    assert_eq!(fixture.environment.telegram.connections(), 0);
    assert_eq!(fixture.published().await, []);
    assert!(fixture.environment.store.load().unwrap().monitors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_not_answered_is_tried_again_and_then_by_another_session() {
    let mut fixture = Fixture::new(2).await;
    let key = fixture.person(1).account;
    let broken = Failure::transient("telegram answers 500 INTERNAL");
    fixture.environment.telegram.always_of(key, "history", Answer::now(Then::Fail(broken)));
    fixture.start(1, &[1, 2]).await;
    pass(120).await;
    let by = |key| {
        fixture
            .environment
            .telegram
            .who_asked("history")
            .iter()
            .filter(|who| **who == Some(key))
            .count()
    };
    assert_eq!(by(key), 4, "as often as it is tried");
    fixture.environment.telegram.say(room(1), message(1));
    let published = fixture.published().await;
    assert_eq!(published.last(), Some(&super::Event::Said(1, 2)), "{published:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_became_a_supergroup_is_followed_and_told_to_its_end_first() {
    let mut fixture = Fixture::new(1).await;
    let (group, supergroup) = (MarkedId::group(42), room(42));
    fixture.environment.telegram.chat(group, "team", None);
    let chat = ChatRef::parse(ChatSpelling::Number(group.0)).unwrap();
    let sessions = vec![fixture.session(1)];
    fixture.order(Command::StartMonitoring { chat, sessions }).await;
    pass(2).await;
    fixture.environment.telegram.say(group, message(1));
    assert_eq!(fixture.published().await, said([1], 1));
    fixture
        .restart(|environment| {
            environment.telegram.say_unheard(group, message(2));
            environment.telegram.upgrade(group, supergroup);
            environment.telegram.say_unheard(supergroup, message(1));
        })
        .await;
    pass(5).await;
    assert_eq!(fixture.published().await, said([2, 1], 1));
    fixture.environment.telegram.say(supergroup, message(2));
    assert_eq!(fixture.published().await, said([2], 1));
    // The next life begins there.
    let before = fixture.count("inspect");
    fixture.restart(|environment| environment.telegram.say_unheard(supergroup, message(3))).await;
    pass(5).await;
    assert_eq!(fixture.published().await, said([3], 1));
    assert_eq!(fixture.count("inspect"), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_chat_is_joined_once_by_the_session_that_was_named_while_others_listen() {
    let mut fixture = Fixture::new(2).await;
    fixture.open(1, &[1]).await;
    let lost = Failure::transient("connection reset");
    fixture.environment.telegram.next("join", Answer::now(Then::Fail(lost)));
    let session = fixture.session(2);
    fixture.order(Command::JoinChat { chat: chat(2), session }).await;
    pass(1).await;
    fixture.restart(|_| ()).await;
    pass(60).await;
    let by = fixture.environment.telegram.who_asked("join");
    assert_eq!(by, vec![Some(fixture.person(2).account); 2], "tried, and done after the restart");
    pass(600).await;
    assert_eq!(fixture.count("join"), 2, "done once");
    fixture.environment.telegram.say(room(1), message(1));
    assert_eq!(fixture.published().await, said([1], 1));
}
