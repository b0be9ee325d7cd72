//! Pictures that are scanned, renewed, and asked about.

use std::time::Duration;

use super::Fixture;
use crate::actors::tests::{pass, soon};
use crate::protocol::logins::steps::{LoginState, LoginToken, Step};
use crate::telegram::fake::{Answer, Then};

#[tokio::test(start_paused = true)]
async fn a_picture_that_is_scanned_leads_to_an_account() {
    let fixture = Fixture::new(false).await;
    let login = fixture.logins().by_qr(&fixture.ann).await.unwrap();
    assert_eq!(login.state, LoginState::WaitingScan);
    assert!(login.link.is_some());
    pass(40).await;
    let renewed = fixture.get(login.id).await;
    assert_ne!(renewed.link, login.link, "it was renewed before it expired");
    fixture.environment.telegram.scan(7);
    pass(5).await;
    let done = fixture.get(login.id).await;
    assert_eq!(done.state, LoginState::Active);
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_picture_that_is_good_for_half_a_minute_is_renewed_about_as_often() {
    let fixture = Fixture::new(false).await;
    fixture.logins().by_qr(&fixture.ann).await.unwrap();
    pass(590).await;
    let times = fixture.environment.telegram.times("login.export_token");
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| *pause >= Duration::from_secs(20)), "{pauses:?}");
    assert!(times.len() >= 15, "{pauses:?}");
}

/// Whatever the server says about when a picture expires, and however often it says that it was scanned.
#[tokio::test(start_paused = true)]
async fn renewals_have_a_floor() {
    for says_scanned in [false, true] {
        let fixture = Fixture::new(false).await;
        let token = |number: u32| {
            let url = crate::protocol::values::secret::SecretText::new(format!("tg://{number}"));
            let expires_at = fixture.environment.telegram.clock().now().seconds() - 3_600
                + if says_scanned { 7_200 } else { 0 };
            Answer::now(Then::Lead(Step::Token(LoginToken { url, expires_at })))
        };
        (0..2_000).for_each(|number| {
            fixture.environment.telegram.next("login.export_token", token(number))
        });
        fixture.logins().by_qr(&fixture.ann).await.unwrap();
        for _ in 0..300 {
            if says_scanned {
                fixture.environment.telegram.wake_scans();
            }
            pass(1).await;
        }
        let count = fixture.count("login.export_token");
        assert!((3..=40).contains(&count), "{count} in five minutes, scanned: {says_scanned}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_picture_that_is_given_up_just_as_it_is_scanned_leaves_no_session_behind() {
    let fixture = Fixture::new(false).await;
    let login = fixture.logins().by_qr(&fixture.ann).await.unwrap();
    soon().await;
    fixture.environment.telegram.next("login.export_token", Answer::now(Then::DoneUnheard));
    fixture.environment.telegram.scan(7);
    pass(3).await;
    assert_eq!(fixture.environment.telegram.sessions(), 1);
    fixture.logins().abandon(&fixture.ann, login.id).await.unwrap();
    pass(30).await;
    fixture.expect_nothing_left().await;
}
