//! Logins at the simulator, over TCP.

use telewarden_simulator::{
    Account, FaultKind, FaultSpec, Limits, NewAccount, NewPassword, Simulator,
};

use super::super::sim::{HOME_DC, account, credentials, login_options, simulator, simulator_of};
use super::*;
use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};
use crate::telegram::ConnectionLease;

fn lease() -> ConnectionLease {
    ConnectionLease::new()
}

#[tokio::test]
async fn a_fresh_key_is_nobodys_until_somebody_logs_in_and_can_be_taken_up_again() {
    let sim = simulator().await;
    let options = login_options(&sim);
    let mut link = LoginLink::open(&options, HOME_DC).await.unwrap();
    let credentials = link.credentials().unwrap();
    let nobody = LoginFailure::SessionEnded { code: "AUTH_KEY_UNREGISTERED".into() };
    assert_eq!(link.who().await, Err(nobody.clone()));
    let lease = link.lease();
    assert!(lease.try_hold().is_none());
    link.close().await;
    assert!(lease.try_hold().is_some());

    let mut again = LoginLink::resume(&options, &credentials, lease).await.unwrap();
    assert_eq!(again.credentials(), Some(credentials));
    assert_eq!(again.who().await, Err(nobody));
    again.close().await;
    assert_eq!(sim.stats().await.violations.values().sum::<u64>(), 0);
}

#[tokio::test]
async fn a_brought_session_says_who_it_is_or_that_it_is_over() {
    let sim = simulator().await;
    let new = NewAccount { phone: Some("79991234512".into()), ..NewAccount::default() };
    let account = account(&sim, new).await;
    let credentials = credentials(account.session_string.as_deref().unwrap());
    let mut link = LoginLink::resume(&login_options(&sim), &credentials, lease()).await.unwrap();
    let who = link.who().await.unwrap();
    assert_eq!(who.me.user_id, account.user_id);
    assert_eq!(who.phone_masked.as_deref(), Some("+7999•••••12"));

    sim.revoke(account.user_id, Some("SESSION_REVOKED".into())).await.unwrap();
    let over = LoginFailure::SessionEnded { code: "SESSION_REVOKED".into() };
    assert_eq!(link.who().await, Err(over));
}

#[tokio::test]
async fn a_key_that_the_server_never_saw_is_over_and_is_not_replaced() {
    let sim = simulator().await;
    let auth_key = AuthKey::new([5; AUTH_KEY_LEN]);
    let account = AuthKeyId::of(&auth_key);
    let foreign = Credentials { account, dc_id: HOME_DC, auth_key };
    let mut link = LoginLink::resume(&login_options(&sim), &foreign, lease()).await.unwrap();
    let unknown = LoginFailure::SessionEnded { code: "AUTH_KEY_UNREGISTERED".into() };
    assert_eq!(link.who().await, Err(unknown));
    assert_eq!(link.credentials(), Some(foreign));
}

#[tokio::test]
async fn where_no_key_can_be_agreed_on_the_next_attempt_may_succeed() {
    let sim = simulator().await;
    let options = login_options(&sim);
    // As against Telegram's servers, whose keys the library knows.
    let vault = Vault::fresh(&options.dial.servers, HOME_DC);
    let mut link = LoginLink::connect(&options, HOME_DC, vault, lease()).await.unwrap();
    let failure = link.who().await.unwrap_err();
    assert!(matches!(failure, LoginFailure::Other(Failure::Transient { .. })), "{failure}");
    assert_eq!(link.credentials(), None);
}

#[tokio::test]
async fn logging_out_ends_the_session_and_is_no_error_twice() {
    let sim = simulator().await;
    let account = account(&sim, NewAccount::default()).await;
    let credentials = credentials(account.session_string.as_deref().unwrap());
    let (options, lease) = (login_options(&sim), lease());
    let mut link = LoginLink::resume(&options, &credentials, lease.clone()).await.unwrap();
    link.log_out().await.unwrap();
    link.close().await;
    let mut link = LoginLink::resume(&options, &credentials, lease).await.unwrap();
    let ended = link.who().await.unwrap_err();
    assert!(matches!(ended, LoginFailure::SessionEnded { .. }), "{ended}");
    link.log_out().await.unwrap();
}

#[tokio::test]
async fn without_the_servers_public_key_it_is_said_what_is_missing() {
    let sim = simulator().await;
    let options = LoginOptions { server_key: None, ..login_options(&sim) };
    let failure = LoginLink::open(&options, HOME_DC).await.err().unwrap();
    assert_eq!(failure.code(), "SERVER_KEY_MISSING");
    let failure = LoginLink::open(&login_options(&sim), 77).await.err().unwrap();
    assert_eq!(failure.code(), "DC_UNKNOWN");
}

#[tokio::test]
async fn a_session_of_no_datacenter_is_refused_without_a_word_of_telegrams() {
    let sim = simulator().await;
    let auth_key = AuthKey::new([5; AUTH_KEY_LEN]);
    let nowhere = Credentials { account: AuthKeyId::of(&auth_key), dc_id: 77, auth_key };
    let options = login_options(&sim);
    let refused = LoginLink::resume(&options, &nowhere, lease()).await.err().unwrap();
    let dialled = Link::dial(&options.dial, &nowhere, lease()).await.err().unwrap().failure;
    for text in [refused.to_string(), dialled.to_string()] {
        assert!(text.contains("no datacenter 77"), "{text}");
        assert!(!text.contains("telegram rejects"), "{text}");
    }
    assert_eq!(sim.stats().await.connections_total, 0);
}

/// What a gate was asked, and how it was told that the dials ended.
type Seen = (Vec<(i32, Option<AuthKeyId>)>, Vec<bool>);

#[derive(Clone, Default)]
struct Asked(Arc<std::sync::Mutex<Seen>>);

struct Right(Asked);

impl DialRight for Right {
    fn ended(self: Box<Self>, is_answered: bool) {
        self.0.0.lock().unwrap().1.push(is_answered);
    }
}

impl Asked {
    fn gate(&self) -> DialGate {
        let asked = self.clone();
        DialGate::new(move |dc_id, key| {
            asked.0.lock().unwrap().0.push((dc_id, key));
            let right = Box::new(Right(asked.clone())) as Box<dyn DialRight>;
            Box::pin(async { Ok(right) })
        })
    }

    fn seen(&self) -> Seen {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_login_asks_before_every_dial_and_for_no_other_call() {
    let sim = simulator().await;
    let stranger = account(&sim, NewAccount { logged_in: false, ..NewAccount::default() }).await;
    let asked = Asked::default();
    let options = login_options(&sim).behind(asked.gate());
    let mut link = LoginLink::open(&options, HOME_DC).await.unwrap();
    let key = link.credentials().unwrap().account;
    let ticket = code_sent(&mut link, &stranger.phone).await.ticket;
    // The key exchange, and the connection that uses the key.
    let two = vec![(HOME_DC, None), (HOME_DC, Some(key))];
    assert_eq!(asked.seen(), (two.clone(), vec![true, true]));
    link.sign_in(&ticket, &secret("000000")).await.unwrap_err();
    assert_eq!(asked.seen().0, two, "the connection is there");
    let kind = Some(FaultKind::Disconnect);
    let cut = FaultSpec { kind, times: Some(1), ..FaultSpec::default() };
    sim.add_fault(cut).await.unwrap();
    link.who().await.unwrap_err();
    link.who().await.unwrap_err();
    let three = [two, vec![(HOME_DC, Some(key))]].concat();
    assert_eq!(asked.seen(), (three, vec![true; 3]), "it had to be dialled anew");
}

fn secret(text: &str) -> SecretText {
    SecretText::new(text.into())
}

/// An account that is not logged in anywhere.
async fn newcomer(sim: &Simulator, phone: &str, password: Option<&str>) -> Account {
    let password = password.map(str::to_owned);
    let new = NewAccount { password, phone: Some(phone.into()), ..NewAccount::default() };
    account(sim, NewAccount { logged_in: false, ..new }).await
}

async fn code_sent(link: &mut LoginLink, phone: &str) -> CodeSent {
    match link.send_code(&secret(phone)).await.unwrap() {
        Step::CodeSent(sent) => sent,
        step => panic!("unexpected {step:?}"),
    }
}

async fn code_of(sim: &Simulator, account: &Account) -> SecretText {
    secret(&sim.phone_code(&account.phone).await.unwrap())
}

fn who(step: Step) -> SignedIn {
    match step {
        Step::SignedIn(who) => who,
        step => panic!("unexpected {step:?}"),
    }
}

#[tokio::test]
async fn a_code_logs_in_and_the_key_is_then_the_accounts() {
    let sim = simulator().await;
    let newcomer = newcomer(&sim, "+79991234512", None).await;
    let options = login_options(&sim);
    let mut link = LoginLink::open(&options, HOME_DC).await.unwrap();
    let sent = code_sent(&mut link, "+79991234512").await;
    assert!(matches!(sent.via, CodeVia::Sms | CodeVia::App), "{:?}", sent.via);

    let wrong = link.sign_in(&sent.ticket, &secret("1")).await.unwrap_err();
    assert_eq!(wrong, LoginFailure::CodeInvalid);
    let code = code_of(&sim, &newcomer).await;
    // A restart of the daemon in between loses nothing.
    let (credentials, lease) = (link.credentials().unwrap(), link.lease());
    link.close().await;
    let mut link = LoginLink::resume(&options, &credentials, lease.clone()).await.unwrap();
    let signed_in = who(link.sign_in(&sent.ticket, &code).await.unwrap());
    assert_eq!(signed_in.me.user_id, newcomer.user_id);
    assert_eq!(signed_in.phone_masked.as_deref(), Some("+7999•••••12"));
    link.close().await;

    let link = Link::dial(&options.dial, &credentials, lease).await.unwrap();
    assert_eq!(link.me, signed_in.me);
    assert_eq!(sim.stats().await.violations.values().sum::<u64>(), 0);
}

#[tokio::test]
async fn the_login_moves_to_the_datacenter_where_the_account_lives() {
    let sim = simulator_of(&[4]).await;
    let (phone, dc) = (Some("+79991234520".into()), Some(4));
    let new = NewAccount { phone, dc, logged_in: false, ..NewAccount::default() };
    let newcomer = account(&sim, new).await;
    let options = login_options(&sim);
    let mut link = LoginLink::open(&options, HOME_DC).await.unwrap();
    let first = link.credentials().unwrap();
    let sent = code_sent(&mut link, "+79991234520").await;
    let moved = link.credentials().unwrap();
    assert_eq!((first.dc_id, moved.dc_id), (HOME_DC, 4));
    assert_ne!(first.auth_key, moved.auth_key);
    let code = code_of(&sim, &newcomer).await;
    let signed_in = who(link.sign_in(&sent.ticket, &code).await.unwrap());
    assert_eq!(signed_in.me.user_id, newcomer.user_id);
    assert_eq!(link.credentials(), Some(moved));
}

#[tokio::test]
async fn a_password_is_asked_for_with_its_hint_and_checked_without_being_sent() {
    let sim = simulator().await;
    let newcomer = newcomer(&sim, "+79991234513", None).await;
    let password =
        NewPassword { password: Some("correct horse".into()), hint: Some("battery".into()) };
    sim.set_password(newcomer.user_id, password).await.unwrap();
    let mut link = LoginLink::open(&login_options(&sim), HOME_DC).await.unwrap();
    let sent = code_sent(&mut link, "+79991234513").await;
    let code = code_of(&sim, &newcomer).await;
    let asked = link.sign_in(&sent.ticket, &code).await.unwrap();
    assert_eq!(asked, Step::PasswordNeeded { hint: Some("battery".into()) });
    assert!(link.who().await.is_err());
    let wrong = link.check_password(&secret("wrong horse")).await.unwrap_err();
    assert_eq!(wrong, LoginFailure::PasswordInvalid);
    let signed_in = who(link.check_password(&secret("correct horse")).await.unwrap());
    assert_eq!(signed_in.me.user_id, newcomer.user_id);
}

#[tokio::test]
async fn a_code_goes_out_once_more_by_what_is_next_until_nothing_is() {
    let sim = simulator().await;
    sim.set_limits(Limits { resend_seconds: 0, ..Limits::default() }).await;
    let newcomer = newcomer(&sim, "+79991234516", None).await;
    let mut link = LoginLink::open(&login_options(&sim), HOME_DC).await.unwrap();
    let sent = code_sent(&mut link, "+79991234516").await;
    assert_eq!((sent.via, sent.next), (CodeVia::Sms, Some(CodeVia::Call)));
    let Step::CodeSent(again) = link.resend_code(&sent.ticket).await.unwrap() else {
        panic!("no code");
    };
    assert_eq!((again.via, again.next, again.resend_after), (CodeVia::Call, None, None));
    assert_eq!(link.resend_code(&again.ticket).await, Err(LoginFailure::NoOtherWay));
    let code = code_of(&sim, &newcomer).await;
    who(link.sign_in(&again.ticket, &code).await.unwrap());
}

#[tokio::test]
async fn a_forgotten_password_is_taken_away_by_a_code_from_the_mail() {
    let sim = simulator().await;
    let newcomer = newcomer(&sim, "+79991234515", Some("correct horse")).await;
    let mut link = LoginLink::open(&login_options(&sim), HOME_DC).await.unwrap();
    let sent = code_sent(&mut link, "+79991234515").await;
    let code = code_of(&sim, &newcomer).await;
    link.sign_in(&sent.ticket, &code).await.unwrap();
    assert_eq!(link.request_recovery().await, Err(LoginFailure::NoRecoveryMail));
    sim.set_recovery_email(newcomer.user_id, Some("john@example.org".into())).await.unwrap();
    let unasked = link.recover_password(&secret("123456")).await;
    assert_eq!(unasked, Err(LoginFailure::RecoveryExpired));
    let email_pattern = "j***n@example.org".to_owned();
    assert_eq!(link.request_recovery().await, Ok(Step::RecoverySent { email_pattern }));
    for wrong in ["", "1"] {
        let refused = link.recover_password(&secret(wrong)).await;
        assert_eq!(refused, Err(LoginFailure::CodeInvalid));
    }
    let mailed = sim.mailed_code(newcomer.user_id).await.unwrap().code;
    let signed_in = who(link.recover_password(&secret(&mailed)).await.unwrap());
    assert_eq!(signed_in.me.user_id, newcomer.user_id);
    // There is no password any more.
    let mut other = LoginLink::open(&login_options(&sim), HOME_DC).await.unwrap();
    let sent = code_sent(&mut other, "+79991234515").await;
    let code = code_of(&sim, &newcomer).await;
    who(other.sign_in(&sent.ticket, &code).await.unwrap());
}

#[tokio::test]
async fn what_is_wrong_with_a_phone_number_is_said() {
    let sim = simulator().await;
    let mut link = LoginLink::open(&login_options(&sim), HOME_DC).await.unwrap();
    for (phone, expected) in
        [("", LoginFailure::PhoneInvalid), ("+7999x", LoginFailure::PhoneInvalid)]
    {
        assert_eq!(link.send_code(&secret(phone)).await, Err(expected), "{phone}");
    }
    sim.add_fault(FaultSpec {
        method: Some("auth.sendCode".into()),
        error: Some("FLOOD_WAIT_77".into()),
        times: Some(1),
        ..FaultSpec::default()
    })
    .await
    .unwrap();
    let wait = LoginFailure::Wait { code: "FLOOD_WAIT".into(), seconds: 77 };
    assert_eq!(link.send_code(&secret("+79991234514")).await, Err(wait));
}

async fn url(link: &mut LoginLink) -> SecretText {
    match link.export_token().await.unwrap() {
        Step::Token(token) => token.url,
        step => panic!("unexpected {step:?}"),
    }
}

#[tokio::test]
async fn a_scanned_code_logs_in_wherever_the_account_lives() {
    let sim = simulator_of(&[4]).await;
    let limit = Duration::from_secs(5);
    for dc in [HOME_DC, 4] {
        let phone = account(&sim, NewAccount { dc: Some(dc), ..NewAccount::default() }).await;
        let mut link = LoginLink::open(&login_options(&sim), HOME_DC).await.unwrap();
        let _old = url(&mut link).await;
        assert_eq!(link.wait_for_scan(Duration::from_millis(20)).await, Ok(false));
        let newest = url(&mut link).await;
        sim.scan_qr(phone.user_id, newest.expose()).await.unwrap();
        assert_eq!(link.wait_for_scan(limit).await, Ok(true));
        let signed_in = who(link.export_token().await.unwrap());
        assert_eq!(signed_in.me.user_id, phone.user_id);
        assert_eq!(link.credentials().unwrap().dc_id, dc);
        assert_eq!(link.who().await.unwrap(), signed_in);
    }
}

#[tokio::test]
async fn a_scan_by_somebody_with_a_password_asks_for_it_and_a_lost_connection_is_told() {
    let sim = simulator().await;
    let password = Some("correct horse".to_owned());
    let phone = account(&sim, NewAccount { password, ..NewAccount::default() }).await;
    let mut link = LoginLink::open(&login_options(&sim), HOME_DC).await.unwrap();
    let shown = url(&mut link).await;
    sim.add_fault(FaultSpec {
        method: Some("auth.exportLoginToken".into()),
        kind: Some(FaultKind::Disconnect),
        times: Some(1),
        ..FaultSpec::default()
    })
    .await
    .unwrap();
    let lost = link.export_token().await.unwrap_err();
    assert!(matches!(lost, LoginFailure::Other(Failure::Transient { .. })), "{lost}");
    let waited = link.wait_for_scan(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(waited, LoginFailure::Other(Failure::Transient { .. })), "{waited}");

    sim.scan_qr(phone.user_id, shown.expose()).await.unwrap();
    assert_eq!(link.export_token().await.unwrap(), Step::PasswordNeeded { hint: None });
    let signed_in = who(link.check_password(&secret("correct horse")).await.unwrap());
    assert_eq!(signed_in.me.user_id, phone.user_id);
}

#[tokio::test]
async fn a_bot_logs_in_by_its_token_until_that_is_revoked() {
    let sim = simulator_of(&[4]).await;
    let new = NewAccount { bot: true, logged_in: false, dc: Some(4), ..NewAccount::default() };
    let bot = account(&sim, new).await;
    let token = secret(bot.bot_token.as_deref().unwrap());
    let options = login_options(&sim);
    let mut link = LoginLink::open(&options, HOME_DC).await.unwrap();
    let signed_in = who(link.bot_sign_in(&token).await.unwrap());
    assert!(signed_in.me.is_bot && signed_in.phone_masked.is_none());
    assert_eq!(signed_in.me.user_id, bot.user_id);
    assert_eq!(link.credentials().unwrap().dc_id, 4);

    sim.renew_bot_token(bot.user_id).await.unwrap();
    let mut link = LoginLink::open(&options, HOME_DC).await.unwrap();
    for wrong in [token, secret("123:abc"), secret("")] {
        assert_eq!(link.bot_sign_in(&wrong).await, Err(LoginFailure::TokenInvalid));
    }
}

#[tokio::test]
async fn a_server_that_sends_in_circles_is_not_followed_for_ever() {
    let sim = simulator().await;
    let mut link = LoginLink::open(&login_options(&sim), HOME_DC).await.unwrap();
    for (error, times) in [("PHONE_MIGRATE_3", 1), ("NETWORK_MIGRATE_2", 1), ("PHONE_MIGRATE_3", 1)]
    {
        sim.add_fault(FaultSpec {
            method: Some("auth.sendCode".into()),
            error: Some(error.into()),
            times: Some(times),
            ..FaultSpec::default()
        })
        .await
        .unwrap();
    }
    let failure = link.send_code(&secret("+79991234530")).await.unwrap_err();
    assert_eq!(failure, LoginFailure::Other(Failure::Migrate { dc_id: 3 }));
}
