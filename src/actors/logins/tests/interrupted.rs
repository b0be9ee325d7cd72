//! Logins that crash, and logins over a restart of the daemon.

use super::{Fixture, secret};
use crate::actors::tests::{pass, soon};
use crate::failpoint;
use crate::protocol::logins::steps::LoginState;
use crate::telegram::fake::{Answer, CODE, PASSWORD, Then};

#[tokio::test(start_paused = true)]
async fn a_login_goes_on_after_a_restart_wherever_it_was() {
    let mut fixture = Fixture::new(true).await;
    let login = fixture.by_sms().await.unwrap();
    fixture.restart().await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::CodeSent);
    let asked = fixture.code(login.id, CODE).await.unwrap();
    assert_eq!(asked.state, LoginState::PasswordRequired);
    fixture.restart().await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::PasswordRequired);
    let done = fixture.password(login.id, PASSWORD).await.unwrap();
    assert_eq!(done.state, LoginState::Active);
    fixture.expect_connected().await;
    assert_eq!((fixture.count("login.send_code"), fixture.count("login.sign_in")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_picture_is_shown_anew_after_a_restart() {
    let mut fixture = Fixture::new(false).await;
    let login = fixture.logins().by_qr(&fixture.ann).await.unwrap();
    fixture.restart().await;
    pass(2).await;
    assert!(fixture.get(login.id).await.link.is_some());
    fixture.environment.telegram.scan(7);
    pass(5).await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::Active);
    fixture.expect_connected().await;
}

/// Telegram says yes, and the daemon ends before it is noted.
#[tokio::test(start_paused = true)]
async fn who_was_let_in_as_the_daemon_ended_is_let_in_by_its_next_life() {
    let mut fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    fixture.environment.telegram.next("login.sign_in", Answer::now(Then::DoneUnheard));
    let (logins, ann) = (fixture.logins(), fixture.ann.clone());
    let waiting = tokio::spawn(async move { logins.code(&ann, login.id, secret(CODE)).await });
    soon().await;
    fixture.restart().await;
    assert!(waiting.await.unwrap().is_err());
    pass(5).await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::Active);
    fixture.expect_connected().await;
    assert_eq!(fixture.count("login.sign_in"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_crashes_over_an_answer_finds_out_how_things_stand() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    failpoint::trip("login", &"ann", 1);
    assert!(fixture.code(login.id, CODE).await.is_err());
    pass(10).await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::Active);
    fixture.expect_connected().await;
    assert_eq!(fixture.count("login.sign_in"), 1, "a code is never handed in twice");
}

#[tokio::test(start_paused = true)]
async fn a_library_that_panics_over_a_step_is_asked_once_more_how_things_stand() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    fixture.environment.telegram.next("login.sign_in", Answer::now(Then::Panic));
    assert!(fixture.code(login.id, CODE).await.is_err());
    pass(60).await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::CodeSent);
    assert_eq!(fixture.code(login.id, CODE).await.unwrap().state, LoginState::Active);
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_login_that_keeps_crashing_is_given_up_and_leaves_no_session_behind() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    failpoint::trip("login", &"ann", u32::MAX);
    assert!(fixture.code(login.id, CODE).await.is_err());
    pass(60).await;
    failpoint::trip("login", &"ann", 0);
    assert_eq!(fixture.get(login.id).await.state, LoginState::Failed);
    assert_eq!(fixture.environment.ledger().await.len(), 3);
    pass(600).await;
    fixture.expect_nothing_left().await;
}
