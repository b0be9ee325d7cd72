//! What Telegram says that outlives a connection: waits, limits, freezes, dead sessions. All of it is on the disk, and
//! is kept by the next life of the account.

use std::time::Duration;

use crate::actors::tests::{FleetFixture, Ground, Heard, pass, soon};
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

async fn ground() -> (Ground, Credentials) {
    let ground = Ground::new();
    let credentials = ground.telegram.person(1, 7);
    ground.telegram.chat(room(), "room", None);
    ground.bring(&credentials).await;
    (ground, credentials)
}

fn state(stage: &FleetFixture, credentials: &Credentials) -> AccountState {
    stage.context.status.view(credentials.account).unwrap().state
}

#[tokio::test(start_paused = true)]
async fn a_flood_wait_of_a_call_is_on_the_disk_and_kept_by_the_next_life() {
    let (ground, ann) = ground().await;
    let stage = ground.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    ground.telegram.next("resolve", Answer::now(Then::Fail(wait(600))));
    let mut answer = stage.ask(ann.account, look_up());
    pass(30).await;
    assert!(answer.try_recv().is_err(), "it waits");
    assert_eq!(ground.telegram.count("resolve"), 1, "and is not called meanwhile");
    assert_eq!(state(&stage, &ann), AccountState::CoolingDown);
    let scopes: Vec<_> =
        ground.kept(ann.account).await.unwrap().cooldowns.into_iter().map(|it| it.scope).collect();
    assert_eq!(scopes, [FloodWaitScope::Class(MethodClass::Read)]);
    stage.stop().await;
    assert!(answer.await.unwrap().is_err(), "whoever waits is told that it stopped");
    let stage = ground.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    let mut answer = stage.ask(ann.account, look_up());
    pass(30).await;
    assert!(answer.try_recv().is_err());
    assert_eq!(ground.telegram.count("resolve"), 1);
    assert_eq!(state(&stage, &ann), AccountState::CoolingDown);
    // Of another class nothing is held back.
    let peer = PeerRecord { id: room(), access_hash: 1, is_bot: false, is_broadcast: false };
    let (text, parse_mode, reply_to, silent) = ("hello".into(), None, None, false);
    let message = SendMessage { peer, text, parse_mode, reply_to, silent, random_id: 1 };
    assert!(stage.ask(ann.account, Call::Send(message)).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_flood_wait_is_over_when_its_time_is_also_in_the_next_life() {
    let (ground, ann) = ground().await;
    let stage = ground.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    ground.telegram.next("resolve", Answer::now(Then::Fail(wait(600))));
    let mut answer = stage.ask(ann.account, look_up());
    pass(590).await;
    assert!(answer.try_recv().is_err());
    pass(30).await;
    assert!(answer.try_recv().unwrap().is_ok(), "what waited was done");
    assert_eq!(ground.telegram.count("resolve"), 2);
    assert_eq!(state(&stage, &ann), AccountState::Active);
    ground.telegram.next("resolve", Answer::now(Then::Fail(wait(600))));
    drop(stage.ask(ann.account, look_up()));
    pass(300).await;
    stage.stop().await;
    let stage = ground.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    let mut answer = stage.ask(ann.account, look_up());
    pass(280).await;
    assert!(answer.try_recv().is_err(), "half of it is left");
    pass(60).await;
    assert!(answer.try_recv().unwrap().is_ok());
    assert_eq!(ground.telegram.count("resolve"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_wait_belongs_to_the_person_whatever_session_was_told_of_it() {
    let (ground, ann) = ground().await;
    let again = ground.telegram.person(2, 7);
    let bob = ground.telegram.person(3, 8);
    ground.bring(&again).await;
    ground.bring(&bob).await;
    let stage = ground.fleet().await;
    for person in [&ann, &again, &bob] {
        drop(stage.watch(person.account, room(), false).await);
    }
    soon().await;
    ground.telegram.next_of(ann.account, "resolve", Answer::now(Then::Fail(wait(600))));
    let _waiting = stage.ask(ann.account, look_up());
    soon().await;
    let mut same = stage.ask(again.account, look_up());
    let other = stage.ask(bob.account, look_up());
    assert!(other.await.unwrap().is_ok());
    pass(30).await;
    assert!(same.try_recv().is_err());
    assert_eq!(
        ground.telegram.who_asked("resolve"),
        [Some(ann.account), Some(bob.account)],
        "nobody asks for that person"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_a_dial_is_kept_by_the_next_life_and_monitors_need_not_sit_it_out() {
    let (ground, ann) = ground().await;
    ground.telegram.next("dial", Answer::now(Then::Fail(wait(3_600))));
    let stage = ground.fleet().await;
    let ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    assert!(matches!(&ear.heard()[..], [Heard::Lost(_)]));
    assert_eq!(ground.kept(ann.account).await.unwrap().cooldowns.len(), 1);
    stage.stop().await;
    let stage = ground.fleet().await;
    let ear = stage.watch(ann.account, room(), false).await;
    pass(600).await;
    assert!(matches!(&ear.heard()[..], [Heard::Lost(_)]));
    assert_eq!(ground.telegram.count("dial"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_connection_is_told_of_is_kept_too() {
    let (ground, ann) = ground().await;
    let stage = ground.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    ground.telegram.ask_to_wait_with_updates(ann.account, 600);
    soon().await;
    let kept = ground.kept(ann.account).await.unwrap().cooldowns;
    assert_eq!(kept[0].scope, FloodWaitScope::Class(MethodClass::Updates));
    let left =
        stage.context.flood_waits.left(7, MethodClass::Updates, kept[0].until.plus_ms(-5_000));
    assert_eq!(left, Duration::from_secs(5), "the person's other sessions know");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_limited_says_so_and_begins_nothing() {
    let (ground, ann) = ground().await;
    let stage = ground.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    ground.telegram.next("join", Answer::now(Then::Fail(Failure::Limited)));
    let join = || Call::Join(ChatTarget::Marked(room()));
    assert_eq!(stage.ask(ann.account, join()).await.unwrap(), Err(Failure::Limited));
    soon().await;
    assert_eq!(state(&stage, &ann), AccountState::Limited);
    let mut held = stage.ask(ann.account, join());
    pass(30).await;
    assert!(held.try_recv().is_err());
    assert_eq!(ground.telegram.count("join"), 1);
    assert!(stage.ask(ann.account, look_up()).await.unwrap().is_ok(), "reading goes on");
    assert_eq!(ground.kept(ann.account).await.unwrap().cooldowns[0].scope, FloodWaitScope::Account);
}

#[tokio::test(start_paused = true)]
async fn a_freeze_is_kept_by_the_next_life_until_telegram_says_that_it_is_over() {
    let (ground, ann) = ground().await;
    let stage = ground.fleet().await;
    let ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    ear.heard();
    let frozen = Failure::Frozen { code: FROZEN.into() };
    ground.telegram.next("resolve", Answer::now(Then::Fail(frozen.clone())));
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(frozen.clone()));
    soon().await;
    assert_eq!(ear.heard(), [Heard::Lost(frozen.clone())]);
    assert_eq!(state(&stage, &ann), AccountState::Limited);
    stage.stop().await;
    assert!(ground.kept(ann.account).await.unwrap().frozen.is_some());
    let stage = ground.fleet().await;
    let ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(frozen.clone()));
    assert_eq!(ground.telegram.count("resolve"), 1, "what was refused is not called again");
    // Somebody names it anew: it is looked at once, and Telegram says that it is not over, and then that it is.
    let still = Answer::now(Then::Find(Outcome::Frozen(true)));
    ground.telegram.next("look_at_freeze", still);
    let first = stage.watch(ann.account, room(), true).await;
    pass(1).await;
    assert_eq!(ground.telegram.count("look_at_freeze"), 1);
    assert!(!first.heard().contains(&Heard::Up));
    ear.heard();
    let again = stage.watch(ann.account, room(), true).await;
    pass(1).await;
    assert_eq!(ground.telegram.count("look_at_freeze"), 2);
    assert_eq!(ear.heard(), [Heard::Up]);
    assert!(again.heard().contains(&Heard::Up));
    assert!(stage.ask(ann.account, look_up()).await.unwrap().is_ok());
    assert!(ground.kept(ann.account).await.unwrap().frozen.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_freeze_is_looked_at_once_a_day_and_lifted_without_anybody() {
    let (ground, ann) = ground().await;
    let stage = ground.fleet().await;
    let ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    let frozen = Failure::Frozen { code: FROZEN.into() };
    ground.telegram.next("resolve", Answer::now(Then::Fail(frozen.clone())));
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(frozen));
    let still = Answer::now(Then::Find(Outcome::Frozen(true)));
    ground.telegram.always("look_at_freeze", still);
    pass(3 * 86_400 + 3_600).await;
    assert_eq!(ground.telegram.count("look_at_freeze"), 3, "once a day");
    assert_eq!(state(&stage, &ann), AccountState::Limited);
    ear.heard();
    ground.telegram.always("look_at_freeze", Answer::now(Then::World));
    pass(86_400).await;
    assert_eq!(state(&stage, &ann), AccountState::Active);
    assert_eq!(ear.heard(), [Heard::Up]);
    assert!(ground.kept(ann.account).await.unwrap().frozen.is_none());
    assert_eq!(ground.telegram.count("resolve"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_told_of_a_freeze_stays() {
    let (ground, ann) = ground().await;
    let stage = ground.fleet().await;
    let _ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    ground.telegram.freeze(ann.account, FROZEN);
    pass(60).await;
    assert_eq!((ground.telegram.count("dial"), ground.telegram.connections()), (1, 1));
    assert!(ground.kept(ann.account).await.unwrap().frozen.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_telegram_ended_is_not_dialled_again_by_any_life_until_it_is_named_anew() {
    let (ground, ann) = ground().await;
    ground.telegram.forget(ann.account);
    let stage = ground.fleet().await;
    let ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    let dead = Failure::Dead { code: "AUTH_KEY_UNREGISTERED".into() };
    assert_eq!(ear.heard(), [Heard::Lost(dead.clone())]);
    assert_eq!(state(&stage, &ann), AccountState::Error);
    assert_eq!(
        ground.kept(ann.account).await.unwrap().fault.unwrap().code,
        "AUTH_KEY_UNREGISTERED"
    );
    pass(600).await;
    stage.stop().await;
    let stage = ground.fleet().await;
    let ear = stage.watch(ann.account, room(), false).await;
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(dead.clone()));
    pass(600).await;
    assert_eq!((ground.telegram.count("dial"), ear.heard()), (1, vec![Heard::Lost(dead)]));
    ground.telegram.person(1, 7);
    let ear = stage.watch(ann.account, room(), true).await;
    soon().await;
    assert!(ear.heard().contains(&Heard::Up));
    assert_eq!(state(&stage, &ann), AccountState::Active);
    assert!(ground.kept(ann.account).await.unwrap().fault.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_the_session_ends_it() {
    let (ground, ann) = ground().await;
    let stage = ground.fleet().await;
    let ear = stage.watch(ann.account, room(), false).await;
    soon().await;
    ear.heard();
    let revoked = Failure::Dead { code: "SESSION_REVOKED".into() };
    ground.telegram.next("resolve", Answer::now(Then::Fail(revoked.clone())));
    assert_eq!(stage.ask(ann.account, look_up()).await.unwrap(), Err(revoked.clone()));
    soon().await;
    assert_eq!(ear.heard(), [Heard::Lost(revoked)]);
    assert!(!ground.telegram.is_connected(ann.account));
    assert_eq!(ground.kept(ann.account).await.unwrap().fault.unwrap().code, "SESSION_REVOKED");
}
