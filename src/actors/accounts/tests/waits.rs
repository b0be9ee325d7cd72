//! What Telegram says that outlives a connection: waits, limits, freezes, dead sessions. All of it is on the disk, and
//! is kept by the next life of the account.

use std::time::Duration;

use crate::actors::tests::{FleetFixture, Heard, TestEnvironment, pass, soon};
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::record::Credentials;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId, PeerRecord};
use crate::protocol::telegram::failure::{Failure, WaitScope};
use crate::protocol::telegram::pacing::{FloodWaitScope, MethodClass};
use crate::telegram::fake::{Answer, Then, channel};
use crate::telegram::{Call, Outcome, SendMessage};

const FROZEN: &str = "FROZEN_METHOD_INVALID";

fn room() -> MarkedId {
    channel(5)
}

fn look_up() -> Call {
    Call::Resolve(ChatTarget::Marked(room()))
}

fn wait(seconds: u32) -> Failure {
    Failure::Wait { code: "FLOOD_WAIT".into(), seconds, scope: WaitScope::MethodClass }
}

async fn environment() -> (TestEnvironment, Credentials) {
    let environment = TestEnvironment::new();
    let credentials = environment.telegram.person(1, 7);
    environment.telegram.chat(room(), "room", None);
    environment.bring(&credentials).await;
    (environment, credentials)
}

fn state(stage: &FleetFixture, credentials: &Credentials) -> AccountState {
    stage.context.status.view(credentials.account).unwrap().state
}

#[tokio::test(start_paused = true)]
async fn a_flood_wait_of_a_call_is_on_the_disk_and_kept_by_the_next_life() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    environment.telegram.next("resolve", Answer::now(Then::Fail(wait(600))));
    let mut answer = stage.ask(ann.account, look_up());
    pass(30).await;
    assert!(answer.try_recv().is_err(), "it waits");
    assert_eq!(environment.telegram.count("resolve"), 1, "and is not called meanwhile");
    assert_eq!(state(&stage, &ann), AccountState::CoolingDown);
    let scopes: Vec<_> = environment
        .kept(ann.account)
        .await
        .unwrap()
        .flood_waits
        .into_iter()
        .map(|it| it.scope)
        .collect();
    assert_eq!(scopes, [FloodWaitScope::Class(MethodClass::Read)]);
    stage.stop().await;
    assert!(answer.await.unwrap().is_err(), "whoever waits is told that it stopped");
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    let mut answer = stage.ask(ann.account, look_up());
    pass(30).await;
    assert!(answer.try_recv().is_err());
    assert_eq!(environment.telegram.count("resolve"), 1);
    assert_eq!(state(&stage, &ann), AccountState::CoolingDown);
    // Of another class nothing is held back.
    let peer = PeerRecord { id: room(), access_hash: 1, is_bot: false, is_broadcast: false };
    let (text, parse_mode, reply_to, silent) = ("hello".into(), None, None, false);
    let message = SendMessage { peer, text, parse_mode, reply_to, silent, random_id: 1 };
    assert!(stage.ask(ann.account, Call::Send(message)).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_flood_wait_is_over_when_its_time_is_also_in_the_next_life() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    environment.telegram.next("resolve", Answer::now(Then::Fail(wait(600))));
    let mut answer = stage.ask(ann.account, look_up());
    pass(590).await;
    assert!(answer.try_recv().is_err());
    pass(30).await;
    assert!(answer.try_recv().unwrap().is_ok(), "what waited was done");
    assert_eq!(environment.telegram.count("resolve"), 2);
    assert_eq!(state(&stage, &ann), AccountState::Active);
    environment.telegram.next("resolve", Answer::now(Then::Fail(wait(600))));
    drop(stage.ask(ann.account, look_up()));
    pass(300).await;
    stage.stop().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    let mut answer = stage.ask(ann.account, look_up());
    pass(280).await;
    assert!(answer.try_recv().is_err(), "half of it is left");
    pass(60).await;
    assert!(answer.try_recv().unwrap().is_ok());
    assert_eq!(environment.telegram.count("resolve"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_wait_belongs_to_the_person_whatever_session_was_told_of_it() {
    let (environment, ann) = environment().await;
    let again = environment.telegram.person(2, 7);
    let bob = environment.telegram.person(3, 8);
    environment.bring(&again).await;
    environment.bring(&bob).await;
    let stage = environment.fleet().await;
    for person in [&ann, &again, &bob] {
        drop(stage.watch(person.account, room(), false).await);
    }
    soon().await;
    environment.telegram.next_of(ann.account, "resolve", Answer::now(Then::Fail(wait(600))));
    let _waiting = stage.ask(ann.account, look_up());
    soon().await;
    let mut same = stage.ask(again.account, look_up());
    let other = stage.ask(bob.account, look_up());
    assert!(other.await.unwrap().is_ok());
    pass(30).await;
    assert!(same.try_recv().is_err());
    assert_eq!(
        environment.telegram.who_asked("resolve"),
        [Some(ann.account), Some(bob.account)],
        "nobody asks for that person"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_a_dial_is_kept_by_the_next_life_and_monitors_need_not_sit_it_out() {
    let (environment, ann) = environment().await;
    environment.telegram.next("dial", Answer::now(Then::Fail(wait(3_600))));
    let stage = environment.fleet().await;
    let listener = stage.watch(ann.account, room(), false).await;
    soon().await;
    assert!(matches!(&listener.heard()[..], [Heard::Lost(_)]));
    assert_eq!(environment.kept(ann.account).await.unwrap().flood_waits.len(), 1);
    stage.stop().await;
    let stage = environment.fleet().await;
    let listener = stage.watch(ann.account, room(), false).await;
    pass(600).await;
    assert!(matches!(&listener.heard()[..], [Heard::Lost(_)]));
    assert_eq!(environment.telegram.count("dial"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_connection_is_told_of_is_kept_too() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    environment.telegram.ask_to_wait_with_updates(ann.account, 600);
    soon().await;
    let kept = environment.kept(ann.account).await.unwrap().flood_waits;
    assert_eq!(kept[0].scope, FloodWaitScope::Class(MethodClass::Updates));
    let left =
        stage.context.flood_waits.left(7, MethodClass::Updates, kept[0].until.plus_ms(-5_000));
    assert_eq!(left, Duration::from_secs(5), "the person's other sessions know");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_limited_says_so_and_begins_nothing() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    environment.telegram.next("join", Answer::now(Then::Fail(Failure::Limited)));
    let join = || Call::Join(ChatTarget::Marked(room()));
    assert_eq!(stage.ask(ann.account, join()).await.unwrap(), Err(Failure::Limited));
    soon().await;
    assert_eq!(state(&stage, &ann), AccountState::Limited);
    let mut held = stage.ask(ann.account, join());
    pass(30).await;
    assert!(held.try_recv().is_err());
    assert_eq!(environment.telegram.count("join"), 1);
    assert!(stage.ask(ann.account, look_up()).await.unwrap().is_ok(), "reading goes on");
    assert_eq!(
        environment.kept(ann.account).await.unwrap().flood_waits[0].scope,
        FloodWaitScope::Account
    );
}

#[tokio::test(start_paused = true)]
async fn a_freeze_is_kept_by_the_next_life_until_telegram_says_that_it_is_over() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let listener = stage.watch(ann.account, room(), false).await;
    soon().await;
    listener.heard();
    let frozen = Failure::Frozen { code: FROZEN.into() };
    environment.telegram.next("resolve", Answer::now(Then::Fail(frozen.clone())));
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(frozen.clone()));
    soon().await;
    assert_eq!(listener.heard(), [Heard::Lost(frozen.clone())]);
    assert_eq!(state(&stage, &ann), AccountState::Limited);
    stage.stop().await;
    assert!(environment.kept(ann.account).await.unwrap().frozen.is_some());
    let stage = environment.fleet().await;
    let listener = stage.watch(ann.account, room(), false).await;
    soon().await;
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(frozen.clone()));
    assert_eq!(environment.telegram.count("resolve"), 1, "what was refused is not called again");
    // Somebody names it anew: it is looked at once, and Telegram says that it is not over, and then that it is.
    let still = Answer::now(Then::Find(Outcome::Frozen(true)));
    environment.telegram.next("look_at_freeze", still);
    let first = stage.watch(ann.account, room(), true).await;
    pass(1).await;
    assert_eq!(environment.telegram.count("look_at_freeze"), 1);
    assert!(!first.heard().contains(&Heard::Up));
    listener.heard();
    let again = stage.watch(ann.account, room(), true).await;
    pass(1).await;
    assert_eq!(environment.telegram.count("look_at_freeze"), 2);
    assert_eq!(listener.heard(), [Heard::Up]);
    assert!(again.heard().contains(&Heard::Up));
    assert!(stage.ask(ann.account, look_up()).await.unwrap().is_ok());
    assert!(environment.kept(ann.account).await.unwrap().frozen.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_freeze_is_looked_at_once_a_day_and_lifted_without_anybody() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let listener = stage.watch(ann.account, room(), false).await;
    soon().await;
    let frozen = Failure::Frozen { code: FROZEN.into() };
    environment.telegram.next("resolve", Answer::now(Then::Fail(frozen.clone())));
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(frozen));
    let still = Answer::now(Then::Find(Outcome::Frozen(true)));
    environment.telegram.always("look_at_freeze", still);
    pass(3 * 86_400 + 3_600).await;
    assert_eq!(environment.telegram.count("look_at_freeze"), 3, "once a day");
    assert_eq!(state(&stage, &ann), AccountState::Limited);
    listener.heard();
    environment.telegram.always("look_at_freeze", Answer::now(Then::World));
    pass(86_400).await;
    assert_eq!(state(&stage, &ann), AccountState::Active);
    assert_eq!(listener.heard(), [Heard::Up]);
    assert!(environment.kept(ann.account).await.unwrap().frozen.is_none());
    assert_eq!(environment.telegram.count("resolve"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_told_of_a_freeze_stays() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    environment.telegram.freeze(ann.account, FROZEN);
    pass(60).await;
    assert_eq!((environment.telegram.count("dial"), environment.telegram.connections()), (1, 1));
    assert!(environment.kept(ann.account).await.unwrap().frozen.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_telegram_ended_is_not_dialled_again_by_any_life_until_it_is_named_anew() {
    let (environment, ann) = environment().await;
    environment.telegram.forget(ann.account);
    let stage = environment.fleet().await;
    let listener = stage.watch(ann.account, room(), false).await;
    soon().await;
    let dead = Failure::Dead { code: "AUTH_KEY_UNREGISTERED".into() };
    assert_eq!(listener.heard(), [Heard::Lost(dead.clone())]);
    assert_eq!(state(&stage, &ann), AccountState::Error);
    assert_eq!(
        environment.kept(ann.account).await.unwrap().fault.unwrap().code,
        "AUTH_KEY_UNREGISTERED"
    );
    pass(600).await;
    stage.stop().await;
    let stage = environment.fleet().await;
    let listener = stage.watch(ann.account, room(), false).await;
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(dead.clone()));
    pass(600).await;
    assert_eq!(
        (environment.telegram.count("dial"), listener.heard()),
        (1, vec![Heard::Lost(dead)])
    );
    environment.telegram.person(1, 7);
    let listener = stage.watch(ann.account, room(), true).await;
    soon().await;
    assert!(listener.heard().contains(&Heard::Up));
    assert_eq!(state(&stage, &ann), AccountState::Active);
    assert!(environment.kept(ann.account).await.unwrap().fault.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_the_session_ends_it() {
    let (environment, ann) = environment().await;
    let stage = environment.fleet().await;
    let listener = stage.watch(ann.account, room(), false).await;
    soon().await;
    listener.heard();
    let revoked = Failure::Dead { code: "SESSION_REVOKED".into() };
    environment.telegram.next("resolve", Answer::now(Then::Fail(revoked.clone())));
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(revoked.clone()));
    soon().await;
    assert_eq!(listener.heard(), [Heard::Lost(revoked)]);
    assert!(!environment.telegram.is_connected(ann.account));
    assert_eq!(environment.kept(ann.account).await.unwrap().fault.unwrap().code, "SESSION_REVOKED");
}
