//! A code that is sent once more, and a password that was forgotten.

use std::time::Duration;

use super::{Fixture, PHONE, secret};
use crate::actors::tests::{pass, soon};
use crate::protocol::answers::login::LoginInfo;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::logins::delivery::CodeVia;
use crate::protocol::logins::steps::{LoginFailure, LoginState};
use crate::protocol::users::owner::LoginId;
use crate::store::AuditLogQuery;
use crate::telegram::fake::{Answer, CODE, EMAIL_PATTERN, PASSWORD, RECOVERY_CODE, Then};

impl Fixture {
    async fn resend(&self, id: LoginId) -> Result<LoginInfo, Refusal> {
        self.logins().resend(&self.ann, id).await
    }

    async fn forgot(&self, id: LoginId) -> Result<LoginInfo, Refusal> {
        self.logins().request_recovery(&self.ann, id).await
    }

    async fn recover(&self, id: LoginId, code: &str) -> Result<LoginInfo, Refusal> {
        self.logins().recover(&self.ann, id, secret(code)).await
    }

    /// A login of somebody with a password and a recovery mail that waits for the password.
    async fn at_password() -> (Self, LoginId) {
        let fixture = Self::new(true).await;
        fixture.environment.telegram.recovery_mail(PHONE);
        let login = fixture.by_sms().await.unwrap();
        let asked = fixture.code(login.id, CODE).await.unwrap();
        assert_eq!((asked.state, asked.email_pattern), (LoginState::PasswordRequired, None));
        (fixture, login.id)
    }

    /// What the audit log has of logins, with how each ended, newest last.
    async fn audited(&self) -> Vec<(String, String)> {
        self.environment.store.commit(Vec::new()).await.unwrap();
        let query = AuditLogQuery { limit: 50, ..AuditLogQuery::default() };
        let page = self.environment.store.audit_log(&query).unwrap();
        let lines = page.entries.into_iter().map(|entry| (entry.link.action, entry.link.outcome));
        let mut lines: Vec<_> = lines.filter(|(action, _)| action.starts_with("login.")).collect();
        lines.reverse();
        lines
    }
}

fn lines(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(action, end)| ((*action).to_owned(), (*end).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_code_is_sent_once_more_by_each_way_in_its_time_until_none_is_left() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    let first = login.code.unwrap();
    assert_eq!((first.via, first.length), (CodeVia::App, Some(5)));
    assert_eq!(first.next.map(|next| (next.via, next.after_seconds)), Some((CodeVia::Sms, 0)));
    let by_sms = fixture.resend(login.id).await.unwrap();
    assert_eq!(by_sms.state, LoginState::CodeSent);
    assert_eq!(fixture.get(login.id).await.code, by_sms.code);
    let next = by_sms.code.unwrap().next.unwrap();
    assert_eq!((next.via, next.after_seconds), (CodeVia::Call, 60));
    let early = fixture.resend(login.id).await.unwrap_err();
    assert_eq!(early.code, Code::Conflict);
    assert!((59..=60).contains(&early.retry_after.unwrap()), "{early:?}");
    pass(61).await;
    let by_call = fixture.resend(login.id).await.unwrap().code.unwrap();
    assert_eq!((by_call.via, by_call.next), (CodeVia::Call, None));
    let none_left = fixture.resend(login.id).await.unwrap_err();
    assert_eq!((none_left.code, none_left.retry_after), (Code::Conflict, None));
    assert_eq!(fixture.count("login.resend_code"), 2, "telegram is not asked in vain");
    assert_eq!(fixture.code(login.id, CODE).await.unwrap().state, LoginState::Active);
    fixture.expect_connected().await;
    let told = lines(&[("login.begin", "ok"), ("login.resend", "ok"), ("login.resend", "ok")]);
    assert_eq!(fixture.audited().await, told);
}

#[tokio::test(start_paused = true)]
async fn a_code_is_sent_once_more_after_a_restart_no_sooner_than_before() {
    let mut fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    let sent = fixture.resend(login.id).await.unwrap().code;
    fixture.restart().await;
    assert_eq!(fixture.get(login.id).await.code, sent);
    assert_eq!(fixture.resend(login.id).await.unwrap_err().code, Code::Conflict);
    pass(61).await;
    assert_eq!(fixture.resend(login.id).await.unwrap().code.unwrap().via, CodeVia::Call);
    assert_eq!(fixture.code(login.id, CODE).await.unwrap().state, LoginState::Active);
    fixture.expect_connected().await;
}

/// Nobody knows whether it went out: the code is good all the same, and it may be asked for again.
#[tokio::test(start_paused = true)]
async fn a_login_whose_code_went_out_once_more_unheard_goes_on() {
    let fixture = Fixture::new(false).await;
    let login = fixture.by_sms().await.unwrap();
    fixture.environment.telegram.next("login.resend_code", Answer::now(Then::DoneUnheard));
    let refusal = fixture.resend(login.id).await.unwrap_err();
    assert_eq!(refusal.code, Code::TelegramUnavailable);
    assert_eq!(fixture.get(login.id).await.state, LoginState::CodeSent);
    assert_eq!(fixture.resend(login.id).await.unwrap().code.unwrap().via, CodeVia::Call);
    assert_eq!(fixture.code(login.id, CODE).await.unwrap().state, LoginState::Active);
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_asked_for_at_a_step_is_refused_and_does_no_harm() {
    let fixture = Fixture::new(true).await;
    let login = fixture.by_sms().await.unwrap();
    for refused in [fixture.forgot(login.id).await, fixture.recover(login.id, RECOVERY_CODE).await]
    {
        assert_eq!(refused.unwrap_err().code, Code::Conflict);
    }
    fixture.code(login.id, CODE).await.unwrap();
    assert_eq!(fixture.resend(login.id).await.unwrap_err().code, Code::Conflict);
    let no_mail = fixture.forgot(login.id).await.unwrap_err();
    assert_eq!(no_mail.code, Code::Conflict);
    assert!(no_mail.detail.contains("no recovery e-mail address"), "{no_mail}");
    assert_eq!(fixture.password(login.id, PASSWORD).await.unwrap().state, LoginState::Active);
    assert!(fixture.environment.telegram.has_password(PHONE));
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_code_by_mail_stands_for_the_password_and_takes_it_away() {
    let (fixture, id) = Fixture::at_password().await;
    let unasked = fixture.recover(id, RECOVERY_CODE).await.unwrap_err();
    assert_eq!(unasked.code, Code::CodeInvalid);
    let asked = fixture.forgot(id).await.unwrap();
    assert_eq!(asked.state, LoginState::PasswordRequired);
    assert_eq!(asked.email_pattern.as_deref(), Some(EMAIL_PATTERN));
    assert_eq!(asked.hint.as_deref(), Some("a horse"));
    assert_eq!(fixture.get(id).await, asked);
    assert!(fixture.environment.telegram.has_password(PHONE), "asking takes nothing away");
    let wrong = fixture.recover(id, "111111").await.unwrap_err();
    assert_eq!(wrong.code, Code::CodeInvalid);
    let done = fixture.recover(id, RECOVERY_CODE).await.unwrap();
    assert_eq!((done.state, done.email_pattern), (LoginState::Active, None));
    assert!(!fixture.environment.telegram.has_password(PHONE));
    fixture.expect_connected().await;
    let told = lines(&[
        ("login.begin", "ok"),
        ("login.code", "ok"),
        ("login.recovery_code", "begun"),
        ("login.recovery_code", "TG_CODE_INVALID"),
        ("login.recovery", "ok"),
        ("login.recovery_code", "begun"),
        ("login.recovery_code", "TG_CODE_INVALID"),
        ("login.recovery_code", "begun"),
        ("login.recovery_code", "ok"),
    ]);
    assert_eq!(fixture.audited().await, told);
}

#[tokio::test(start_paused = true)]
async fn a_code_by_mail_that_has_expired_or_a_flood_leaves_the_login_where_it_was() {
    let (mut fixture, id) = Fixture::at_password().await;
    fixture.forgot(id).await.unwrap();
    let refused = |failure| Answer::now(Then::Refuse(failure));
    let telegram = fixture.environment.telegram.clone();
    telegram.next("login.recover_password", refused(LoginFailure::RecoveryExpired));
    let expired = fixture.recover(id, RECOVERY_CODE).await.unwrap_err();
    assert_eq!(expired.code, Code::CodeInvalid);
    assert!(expired.detail.contains("ask for another one"), "{expired}");
    fixture.forgot(id).await.unwrap();
    let wait = LoginFailure::Wait { code: "FLOOD_WAIT".into(), seconds: 100 };
    telegram.next("login.recover_password", refused(wait));
    assert_eq!(fixture.recover(id, RECOVERY_CODE).await.unwrap_err().code, Code::TelegramWait);
    fixture.restart().await;
    let asked = fixture.count("login.recover_password");
    let told = fixture.recover(id, RECOVERY_CODE).await.unwrap_err();
    assert_eq!(told.code, Code::TelegramWait);
    assert_eq!(fixture.count("login.recover_password"), asked, "nobody asks meanwhile");
    pass(110).await;
    assert_eq!(fixture.recover(id, RECOVERY_CODE).await.unwrap().state, LoginState::Active);
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_restarted_while_a_code_is_in_the_mail_takes_it() {
    let (mut fixture, id) = Fixture::at_password().await;
    let asked = fixture.forgot(id).await.unwrap();
    fixture.restart().await;
    assert_eq!(fixture.get(id).await, asked);
    assert_eq!(fixture.recover(id, RECOVERY_CODE).await.unwrap().state, LoginState::Active);
    assert_eq!(fixture.count("login.request_recovery"), 1);
    fixture.expect_connected().await;
}

/// The daemon ends before it hears that the code is in the mail; it is good all the same.
#[tokio::test(start_paused = true)]
async fn a_login_that_never_heard_of_the_mail_waits_for_the_password_and_takes_its_code() {
    let (mut fixture, id) = Fixture::at_password().await;
    fixture.environment.telegram.next("login.request_recovery", Answer::now(Then::DoneUnheard));
    let (logins, ann) = (fixture.logins(), fixture.ann.clone());
    let waiting = tokio::spawn(async move { logins.request_recovery(&ann, id).await });
    soon().await;
    fixture.restart().await;
    assert!(waiting.await.unwrap().is_err());
    let seen = fixture.get(id).await;
    assert_eq!((seen.state, seen.email_pattern), (LoginState::PasswordRequired, None));
    assert_eq!(fixture.recover(id, RECOVERY_CODE).await.unwrap().state, LoginState::Active);
    fixture.expect_connected().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_recovery_that_is_lost_is_settled_and_nothing_is_handed_in_twice() {
    let (fixture, id) = Fixture::at_password().await;
    fixture.environment.telegram.next("login.request_recovery", Answer::now(Then::DoneUnheard));
    let refusal = fixture.forgot(id).await.unwrap_err();
    assert_eq!(refusal.code, Code::TelegramUnavailable);
    assert_eq!(fixture.get(id).await.state, LoginState::PasswordRequired);
    fixture.forgot(id).await.unwrap();
    fixture.environment.telegram.next("login.recover_password", Answer::now(Then::DoneUnheard));
    assert_eq!(fixture.recover(id, RECOVERY_CODE).await.unwrap().state, LoginState::Active);
    assert_eq!(fixture.count("login.recover_password"), 1);
    fixture.expect_connected().await;
    let audited = fixture.audited().await;
    let end = lines(&[("login.recovery_code", "begun"), ("login.recovery_code", "ok")]);
    assert_eq!(audited[audited.len() - 2..], end);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_abandoned_as_its_recovery_code_is_taken_leaves_no_session_behind() {
    let (fixture, id) = Fixture::at_password().await;
    fixture.forgot(id).await.unwrap();
    let late = Answer::after(Duration::from_secs(1), Then::DoneUnheard);
    fixture.environment.telegram.next("login.recover_password", late);
    let (logins, ann) = (fixture.logins(), fixture.ann.clone());
    let waiting =
        tokio::spawn(async move { logins.recover(&ann, id, secret(RECOVERY_CODE)).await });
    pass(2).await;
    fixture.logins().abandon(&fixture.ann, id).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().code, Code::Conflict);
    pass(60).await;
    fixture.expect_nothing_left().await;
    assert_eq!(fixture.count("login.log_out"), 1);
}
