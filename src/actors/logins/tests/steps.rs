//! The steps, answered in time, late, or never.

use std::time::Duration;

use super::{Fixture, PHONE, secret};
use crate::actors::services::{PastedSession, SessionBrought};
use crate::actors::tests::{pass, soon};
use crate::protocol::answers::refusal::Code;
use crate::protocol::logins::steps::{LoginFailure, LoginState};
use crate::protocol::telegram::session_string::SessionString;
use crate::telegram::fake::{Answer, CODE, PASSWORD, Then};

#[tokio::test(start_paused = true)]
async fn a_code_leads_to_an_account() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    assert_eq!(login.state, LoginState::CodeSent);
    let refusal = fixture.code(login.id, "00000").await.unwrap_err();
    assert_eq!(refusal.code, Code::CodeInvalid);
    assert_eq!(fixture.get(login.id).await.state, LoginState::CodeSent, "another one may be given");
    let login = fixture.code(login.id, CODE).await.unwrap();
    assert_eq!(login.state, LoginState::Active);
    assert_eq!(login.account.unwrap().telegram_id, 7);
    fixture.expect_connected().await;
    assert_eq!(fixture.count("dial"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_password_is_asked_for_where_there_is_one() {
    let fixture = Fixture::new(true).await;
    let login = fixture.by_sms().await.unwrap();
    let login = fixture.code(login.id, CODE).await.unwrap();
    assert_eq!((login.state, login.hint), (LoginState::PasswordRequired, Some("a horse".into())));
    let refusal = fixture.password(login.id, "wrong").await.unwrap_err();
    assert_eq!(refusal.code, Code::PasswordInvalid);
    assert_eq!(fixture.password(login.id, PASSWORD).await.unwrap().state, LoginState::Active);
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_bot_is_connected_by_its_token() {
    let fixture = Fixture::new(false).await;
    let bot = fixture.logins().by_token(&fixture.ann, secret("9:abc")).await.unwrap();
    assert!(bot.account.is_bot);
    fixture.expect_connected().await;
    let refused = Answer::now(Then::Refuse(LoginFailure::TokenInvalid));
    fixture.environment.telegram.next("login.bot_sign_in", refused);
    let refusal = fixture.logins().by_token(&fixture.ann, secret("8:abc")).await.unwrap_err();
    assert_eq!(refusal.code, Code::BotTokenInvalid);
}

/// Telegram lets somebody in, and the answer is lost: who it is, is told by the key.
#[tokio::test(start_paused = true)]
async fn a_step_whose_answer_is_lost_is_not_taken_twice() {
    let fixture = Fixture::new(true).await;
    let login = fixture.by_sms().await.unwrap();
    fixture.environment.telegram.next("login.sign_in", Answer::now(Then::DoneUnheard));
    let login = fixture.code(login.id, CODE).await.unwrap();
    assert_eq!((login.state, fixture.count("login.sign_in")), (LoginState::PasswordRequired, 1));
    fixture.environment.telegram.next("login.check_password", Answer::now(Then::DoneUnheard));
    let login = fixture.password(login.id, PASSWORD).await.unwrap();
    assert_eq!((login.state, fixture.count("login.check_password")), (LoginState::Active, 1));
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_was_not_heard_of_may_be_taken_again() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    fixture.environment.telegram.next("login.sign_in", Answer::now(Then::Silence));
    let refusal = fixture.code(login.id, CODE).await.unwrap_err();
    assert_eq!(refusal.code, Code::TelegramUnavailable);
    pass(60).await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::CodeSent);
    assert_eq!(fixture.code(login.id, CODE).await.unwrap().state, LoginState::Active);
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_login_moves_to_the_datacenter_of_its_account_with_a_key_that_is_durable_first() {
    let fixture = Fixture::new(false).await;
    fixture.environment.telegram.next("login.send_code", Answer::now(Then::MoveTo(4)));
    let login = fixture.by_sms().await.unwrap();
    let kept = || fixture.environment.store.load().unwrap().logins.remove(0);
    assert_eq!(kept().dc_id, 4);
    let before = kept().auth_key.clone();
    fixture.environment.telegram.next("login.sign_in", Answer::now(Then::MoveTo(5)));
    // The connection there is slow to say who it is.
    let signing_in = {
        let (logins, ann) = (fixture.logins(), fixture.ann.clone());
        tokio::spawn(async move { logins.code(&ann, login.id, secret(CODE)).await })
    };
    assert_eq!(signing_in.await.unwrap().unwrap().state, LoginState::Active);
    fixture.expect_connected().await;
    let owned = fixture.environment.store.load().unwrap().owned.remove(0);
    let credentials = fixture.environment.store.credentials(owned.key).unwrap().unwrap();
    assert_eq!(credentials.dc_id, 5);
    assert_ne!(credentials.auth_key.expose().to_vec(), before);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_kept_for_the_number_also_by_the_next_life() {
    let mut fixture = Fixture::new(false).await;
    let wait = LoginFailure::Wait { code: "FLOOD_WAIT".into(), seconds: 600 };
    fixture.environment.telegram.next("login.send_code", Answer::now(Then::Refuse(wait)));
    let refusal = fixture.by_sms().await.unwrap_err();
    assert_eq!(refusal.code, Code::TelegramWait);
    for _ in 0..2 {
        let refusal = fixture.by_sms().await.unwrap_err();
        assert_eq!(refusal.code, Code::TelegramWait);
        assert!(refusal.retry_after.is_some_and(|after| after > 500), "{refusal:?}");
        assert_eq!(fixture.count("login.send_code"), 1, "nobody asks meanwhile");
        fixture.restart().await;
    }
    // Another number does not wait for it.
    fixture.environment.telegram.phone("+14155550133", 8, false);
    let other = fixture.logins().by_sms(&fixture.ann, secret("+14155550133")).await;
    assert_eq!(other.unwrap().state, LoginState::CodeSent);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_takes_too_long_is_given_up_and_its_connection_closed() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    pass(599).await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::CodeSent);
    pass(2).await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::Expired);
    let late = fixture.code(login.id, CODE).await.unwrap_err();
    assert_eq!(late.code, Code::Conflict);
    assert_eq!(fixture.count("login.sign_in"), 0);
    fixture.expect_nothing_left().await;
    assert_eq!(fixture.count("login.log_out"), 0, "nobody was let in");
}

/// Nobody knows whether the code was taken when the time is over.
#[tokio::test(start_paused = true)]
async fn a_login_that_may_have_let_somebody_in_is_ended_at_telegram_when_its_time_is_over() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    fixture.environment.telegram.next("login.sign_in", Answer::now(Then::DoneUnheard));
    fixture.environment.telegram.always("login.who", Answer::now(Then::Silence));
    assert!(fixture.code(login.id, CODE).await.is_err());
    pass(500).await;
    assert_eq!(fixture.environment.telegram.sessions(), 1);
    pass(160).await;
    assert_eq!(fixture.get(login.id).await.state, LoginState::Expired);
    fixture.expect_nothing_left().await;
    assert_eq!(fixture.count("login.log_out"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_abandoned_under_a_step_leaves_no_session_behind() {
    for then in [Then::World, Then::DoneUnheard] {
        let fixture = Fixture::new(false).await;
        let login = fixture.by_sms().await.unwrap();
        let delay = Duration::from_secs(if matches!(then, Then::World) { 10 } else { 0 });
        fixture.environment.telegram.next("login.sign_in", Answer::after(delay, then));
        let waiting = {
            let (logins, ann) = (fixture.logins(), fixture.ann.clone());
            tokio::spawn(async move { logins.code(&ann, login.id, secret(CODE)).await })
        };
        pass(1).await;
        fixture.logins().abandon(&fixture.ann, login.id).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap_err().code, Code::Conflict);
        pass(60).await;
        fixture.expect_nothing_left().await;
        assert_eq!(fixture.count("login.log_out"), 1);
        assert!(
            fixture.logins().get(&fixture.ann, login.id).await.is_err(),
            "there is no such login"
        );
    }
}

/// Ending the session fails at first, and is tried on.
#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_ended_yet_is_ended_later_also_by_the_next_life() {
    let mut fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    fixture.environment.telegram.next("login.sign_in", Answer::now(Then::DoneUnheard));
    fixture.environment.telegram.always("login.log_out", Answer::now(Then::Silence));
    let waiting = {
        let (logins, ann) = (fixture.logins(), fixture.ann.clone());
        tokio::spawn(async move { logins.code(&ann, login.id, secret(CODE)).await })
    };
    pass(1).await;
    fixture.logins().abandon(&fixture.ann, login.id).await.unwrap();
    drop(waiting);
    pass(300).await;
    assert_eq!(fixture.environment.telegram.sessions(), 1);
    let tries = fixture.count("login.log_out");
    assert!((5..=20).contains(&tries), "{tries} tries in five minutes");
    fixture.restart().await;
    fixture.environment.telegram.always("login.log_out", Answer::now(Then::World));
    pass(60).await;
    fixture.expect_nothing_left().await;
}

/// Telegram is away for a day, and then asks for a wait that is longer than any patience for steps of people.
#[tokio::test(start_paused = true)]
async fn a_session_that_has_to_go_goes_after_a_long_outage_and_after_a_long_wait() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    fixture.environment.telegram.next("login.sign_in", Answer::now(Then::DoneUnheard));
    fixture.environment.telegram.always("login.log_out", Answer::now(Then::Silence));
    let waiting = {
        let (logins, ann) = (fixture.logins(), fixture.ann.clone());
        tokio::spawn(async move { logins.code(&ann, login.id, secret(CODE)).await })
    };
    pass(1).await;
    fixture.logins().abandon(&fixture.ann, login.id).await.unwrap();
    drop(waiting);
    pass(24 * 60 * 60).await;
    assert_eq!(fixture.environment.telegram.sessions(), 1);
    let tries = fixture.count("login.log_out");
    assert!((40..=100).contains(&tries), "{tries} tries in a day");
    let wait = LoginFailure::Wait { code: "FLOOD_WAIT".into(), seconds: 8 * 24 * 60 * 60 };
    fixture.environment.telegram.always("login.log_out", Answer::now(Then::Refuse(wait)));
    pass(60 * 60).await;
    let waited = fixture.count("login.log_out");
    pass(7 * 24 * 60 * 60).await;
    assert_eq!(fixture.count("login.log_out"), waited, "nobody asks during the wait");
    fixture.environment.telegram.always("login.log_out", Answer::now(Then::World));
    pass(24 * 60 * 60).await;
    fixture.expect_nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_login_that_nobody_answers_holds_up_no_other() {
    let fixture = Fixture::new(false).await;
    fixture.environment.telegram.next("login.send_code", Answer::now(Then::Silence));
    let (logins, ann) = (fixture.logins(), fixture.ann.clone());
    let stuck = tokio::spawn(async move { logins.by_sms(&ann, secret(PHONE)).await });
    soon().await;
    fixture.environment.telegram.phone("+14155550133", 8, false);
    let login = fixture.logins().by_sms(&fixture.ann, secret("+14155550133")).await.unwrap();
    assert!(!stuck.is_finished());
    assert_eq!(fixture.code(login.id, CODE).await.unwrap().state, LoginState::Active);
    assert_eq!(stuck.await.unwrap().unwrap_err().code, Code::TelegramUnavailable);
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_pasted_leads_to_an_account_and_pasted_again_to_the_same() {
    let fixture = Fixture::new(false).await;
    let credentials = fixture.environment.telegram.person_elsewhere(9);
    let (dc_id, auth_key) = (credentials.dc_id, credentials.auth_key.clone());
    let session = SessionString { dc_id, auth_key, api_id: None };
    let text = session.to_telethon("127.0.0.1:443".parse().unwrap()).unwrap();
    let paste = || async {
        let session = PastedSession { session_string: secret(&text), api_id: None };
        fixture.logins().by_session(&fixture.ann, session).await
    };
    let SessionBrought::Whole(first) = paste().await.unwrap() else { panic!("no password") };
    let SessionBrought::Whole(again) = paste().await.unwrap() else { panic!("no password") };
    assert_eq!(first.account.id, again.account.id);
    soon().await;
    assert!(fixture.environment.telegram.is_connected(credentials.account));
    assert_eq!(
        (fixture.environment.telegram.connections(), fixture.environment.telegram.doubled()),
        (1, 0)
    );
    // One that Telegram knows no more leads to none, and says so.
    let gone = fixture.environment.telegram.person_elsewhere(10);
    fixture.environment.telegram.forget(gone.account);
    let session =
        SessionString { dc_id: gone.dc_id, auth_key: gone.auth_key.clone(), api_id: None };
    let text = session.to_telethon("127.0.0.1:443".parse().unwrap()).unwrap();
    let session = PastedSession { session_string: secret(&text), api_id: None };
    let refused = fixture.logins().by_session(&fixture.ann, session).await.unwrap_err();
    assert!(!refused.detail.contains(&text), "{refused:?}");
    assert_eq!(fixture.environment.telegram.connections(), 1);
}
