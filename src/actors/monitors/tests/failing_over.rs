//! From one session to the next.

use std::time::Duration;

use super::{Event, Fixture, room, said};
use crate::actors::tests::{message, pass, soon};
use crate::protocol::telegram::failure::{Failure, WaitScope};
use crate::telegram::Batch;
use crate::telegram::fake::{Answer, Then};

fn kicked() -> Failure {
    Failure::ChatLost { code: "CHAT_FORBIDDEN".into() }
}

/// The session is removed from the room, and told so.
fn remove(fixture: &Fixture, number: u8) {
    let key = fixture.person(number).account;
    fixture.environment.telegram.lose(key, room(1), kicked());
    fixture.environment.telegram.push(key, Batch::about(room(1), Some(kicked())));
}

#[tokio::test(start_paused = true)]
async fn who_is_removed_from_a_chat_is_followed_by_the_next_who_tells_what_was_missed() {
    let mut fixture = Fixture::new(3).await;
    fixture.open(1, &[1, 2, 3]).await;
    fixture.environment.telegram.say(room(1), message(1));
    soon().await;
    assert_eq!(fixture.environment.telegram.connections(), 1, "the others rest");
    remove(&fixture, 1);
    fixture.environment.telegram.say_unheard(room(1), message(2));
    pass(5).await;
    fixture.environment.telegram.say(room(1), message(3));
    let expected = [said([1], 1), vec![Event::Lost(1)], said([2, 3], 2)].concat();
    assert_eq!(fixture.published().await, expected);
    remove(&fixture, 2);
    pass(5).await;
    fixture.environment.telegram.say(room(1), message(4));
    assert_eq!(fixture.published().await, [vec![Event::Lost(2)], said([4], 3)].concat());
    pass(10).await;
    assert_eq!(fixture.environment.telegram.connections(), 1, "who is not needed is hung up");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_is_followed_by_the_next() {
    let mut fixture = Fixture::new(2).await;
    fixture.open(1, &[1, 2]).await;
    let revoked = Failure::Dead { code: "SESSION_REVOKED".into() };
    fixture.environment.telegram.hang_up(fixture.person(1).account, revoked);
    fixture.environment.telegram.say_unheard(room(1), message(1));
    pass(5).await;
    assert_eq!(fixture.published().await, [vec![Event::Lost(1)], said([1], 2)].concat());
    // The next life of the daemon begins with who listened last.
    fixture.restart(|_| {}).await;
    pass(5).await;
    fixture.environment.telegram.say(room(1), message(2));
    assert_eq!(fixture.published().await, said([2], 2));
    let dials = fixture.environment.telegram.who_asked("dial");
    assert_eq!(dials.iter().filter(|key| **key == Some(fixture.person(1).account)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_another_session_does_not_have_is_not_sat_out() {
    let mut fixture = Fixture::new(2).await;
    let scope = WaitScope::MethodClass;
    let wait = Failure::Wait { code: "FLOOD_WAIT".into(), seconds: 3_600, scope };
    let key = fixture.person(1).account;
    fixture.environment.telegram.next_of(key, "resolve", Answer::now(Then::Fail(wait)));
    fixture.start(1, &[1, 2]).await;
    pass(10).await;
    fixture.environment.telegram.say(room(1), message(1));
    let published = fixture.published().await;
    assert_eq!(published.last(), Some(&Event::Said(1, 2)), "{published:?}");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_can_be_connected_it_is_tried_on_and_nothing_is_left_out() {
    let mut fixture = Fixture::new(2).await;
    fixture.open(1, &[1, 2]).await;
    fixture.environment.telegram.say(room(1), message(1));
    soon().await;
    let reset = Failure::transient("connection reset");
    fixture.environment.telegram.always("dial", Answer::now(Then::Fail(reset.clone())));
    fixture.environment.telegram.hang_up(fixture.person(1).account, reset);
    (2..=9).for_each(|id| fixture.environment.telegram.say_unheard(room(1), message(id)));
    pass(3_600).await;
    let published = fixture.published().await;
    let lost: Vec<_> = published[1..].to_vec();
    assert_eq!(published[0], Event::Said(1, 1));
    assert_eq!(lost, [Event::Lost(1), Event::Lost(2)], "each loss is told once");
    fixture.environment.telegram.always("dial", Answer::now(Then::World));
    pass(600).await;
    let ids: Vec<_> = fixture
        .published()
        .await
        .into_iter()
        .map(|event| match event {
            Event::Said(id, _) => id,
            event => panic!("{event:?} was told"),
        })
        .collect();
    assert_eq!(ids, (2..=9).collect::<Vec<_>>());
    assert_eq!(fixture.environment.telegram.doubled(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_every_session_has_lost_the_chat_for_good_nothing_is_asked_until_a_command() {
    let mut fixture = Fixture::new(2).await;
    fixture.open(1, &[1, 2]).await;
    remove(&fixture, 1);
    pass(5).await;
    remove(&fixture, 2);
    pass(60).await;
    assert_eq!(fixture.published().await, [Event::Lost(1), Event::Lost(2), Event::NobodyLeft(2)]);
    let asked = fixture.environment.telegram.book().len();
    pass(3_600).await;
    assert_eq!(fixture.environment.telegram.book().len(), asked);
    assert_eq!(fixture.environment.telegram.connections(), 0);
    // The same in the next life.
    fixture.restart(|_| {}).await;
    pass(600).await;
    assert_eq!(fixture.environment.telegram.book().len(), asked);
    fixture.environment.telegram.find_again(fixture.person(2).account, room(1));
    fixture.environment.telegram.say_unheard(room(1), message(1));
    fixture.start(1, &[1, 2]).await;
    pass(30).await;
    let published = fixture.published().await;
    assert_eq!(published.last(), Some(&Event::Said(1, 2)), "{published:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_session_before_still_brings_is_not_told_twice() {
    let mut fixture = Fixture::new(2).await;
    fixture.open(1, &[1, 2]).await;
    // It is hung up some seconds after its last monitor left; what comes meanwhile is the next one's.
    fixture.environment.telegram.closing_takes(Duration::from_secs(3));
    let key = fixture.person(1).account;
    fixture.environment.telegram.next_of(key, "inspect", Answer::now(Then::Fail(kicked())));
    fixture.environment.telegram.push(key, Batch::about(room(1), Some(kicked())));
    pass(2).await;
    for id in 1..=5 {
        fixture.environment.telegram.say(room(1), message(id));
        pass(1).await;
    }
    assert_eq!(fixture.published().await, [vec![Event::Lost(1)], said(1..=5, 2)].concat());
}
