//! Logging in, as a grammers client does it that has a key but is nobody yet.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

mod support;

use grammers_client::tl::{enums, functions as f, types};
use support::{Client, Stage};
use telewarden_simulator::{Account, FaultSpec, Limits, NewAccount, NewPassword};

const API_HASH: &str = "0123456789abcdef0123456789abcdef";

fn send_code(phone: &str) -> f::auth::SendCode {
    f::auth::SendCode {
        phone_number: phone.to_owned(),
        api_id: 1,
        api_hash: API_HASH.to_owned(),
        settings: types::CodeSettings {
            allow_flashcall: false,
            current_number: false,
            allow_app_hash: false,
            allow_missed_call: false,
            allow_firebase: false,
            logout_tokens: None,
            token: None,
            app_sandbox: None,
            unknown_number: false,
        }
        .into(),
    }
}

fn sign_in(phone: &str, hash: &str, code: &str) -> f::auth::SignIn {
    f::auth::SignIn {
        phone_number: phone.to_owned(),
        phone_code_hash: hash.to_owned(),
        phone_code: Some(code.to_owned()),
        email_verification: None,
    }
}

impl Stage {
    async fn stranger(&self) -> Client {
        Client::stranger(&self.simulator.add_stranger(None).await.unwrap())
    }
}

/// Asks for a code; answers its hash.
async fn asked(client: &Client, phone: &str) -> String {
    match client.invoke(&send_code(phone)).await.unwrap() {
        enums::auth::SentCode::Code(sent) => sent.phone_code_hash,
        other => panic!("unexpected {other:?}"),
    }
}

async fn signed_in(client: &Client, request: &f::auth::SignIn) -> i64 {
    match client.invoke(request).await.unwrap() {
        enums::auth::Authorization::Authorization(authorization) => authorization.user.id(),
        other => panic!("unexpected {other:?}"),
    }
}

fn another(code: &str) -> String {
    format!("{:05}", (code.parse::<u32>().unwrap() + 1) % 100_000)
}

#[tokio::test]
async fn the_code_that_was_sent_makes_the_key_the_users() {
    let stage = Stage::with_accounts(2).await;
    let new = NewAccount {
        phone: Some("+7 999 123-45-67".to_owned()),
        logged_in: false,
        ..NewAccount::default()
    };
    let account = stage.simulator.add_account(new).await.unwrap();
    assert_eq!(account.phone, "+79991234567");
    let mut client = stage.stranger().await;
    stage.simulator.login_code(account.user_id).await.unwrap_err();
    let enums::auth::SentCode::Code(sent) =
        client.invoke(&send_code("7 (999) 1234567")).await.unwrap()
    else {
        panic!("a code is sent");
    };
    assert!(matches!(sent.r#type, enums::auth::SentCodeType::Sms(sms) if sms.length == 5));
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    assert_eq!(code, stage.simulator.phone_code("+79991234567").await.unwrap());
    let hash = sent.phone_code_hash;
    let wrong = sign_in(&account.phone, &hash, &another(&code));
    assert_eq!(client.refused(&wrong).await, "PHONE_CODE_INVALID");
    assert_eq!(client.refused(&sign_in(&account.phone, &hash, "")).await, "PHONE_CODE_EMPTY");
    let nobody = stage.simulator.account(account.user_id).await.unwrap();
    assert_eq!((nobody.sessions, nobody.connections_now), (0, 0));
    let user = signed_in(&client, &sign_in(&account.phone, &hash, &code)).await;
    assert_eq!(user, account.user_id);
    client.invoke(&f::updates::GetState {}).await.unwrap();
    let known = stage.simulator.account(account.user_id).await.unwrap();
    assert_eq!((known.sessions, known.connections_now, known.connections_total), (1, 1, 1));
    stage.simulator.post_private(account.user_id, stage.ids()[0], "welcome").await.unwrap();
    assert_eq!(client.next_message().await.1, "welcome");
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_key_that_logged_in_reconnects_and_logs_out_cleanly() {
    let stage = Stage::with_accounts(1).await;
    let account = &stage.accounts[0];
    let string = stage.simulator.add_stranger(None).await.unwrap();
    let client = Client::stranger(&string);
    let hash = asked(&client, &account.phone).await;
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    signed_in(&client, &sign_in(&account.phone, &hash, &code)).await;
    drop(client);
    for _ in 0..3 {
        let client = Client::stranger(&string);
        client.invoke(&f::updates::GetState {}).await.unwrap();
    }
    let mut client = Client::stranger(&string);
    client.invoke(&f::updates::GetState {}).await.unwrap();
    client.invoke(&f::auth::LogOut {}).await.unwrap();
    assert_eq!(client.refused(&f::auth::LogOut {}).await, "AUTH_KEY_UNREGISTERED");
    assert_eq!(client.refused(&f::updates::GetState {}).await, "AUTH_KEY_UNREGISTERED");
    let hash = asked(&client, &account.phone).await;
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    signed_in(&client, &sign_in(&account.phone, &hash, &code)).await;
    client.invoke(&f::updates::GetState {}).await.unwrap();
    // The second life of the connection hears of updates, too.
    stage.simulator.post_private(account.user_id, account.user_id, "back").await.unwrap();
    assert_eq!(client.next_message().await.1, "back");
    assert_eq!(stage.simulator.account(account.user_id).await.unwrap().sessions, 2);
    stage.assert_clean().await;
}

#[tokio::test]
async fn numbers_that_are_none_and_applications_without_a_name_are_refused() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.stranger().await;
    assert_eq!(client.refused(&send_code("not a phone")).await, "PHONE_NUMBER_INVALID");
    let nameless = f::auth::SendCode { api_hash: String::new(), ..send_code("+79990000000") };
    assert_eq!(client.refused(&nameless).await, "API_ID_INVALID");
    let nameless = f::auth::SendCode { api_id: 0, ..send_code("+79990000000") };
    assert_eq!(client.refused(&nameless).await, "API_ID_INVALID");
    let unsent = sign_in("+79990000000", "hash", "12345");
    assert_eq!(client.refused(&unsent).await, "PHONE_CODE_EXPIRED");
}

#[tokio::test]
async fn a_phone_without_an_account_gets_its_code_and_is_told_to_sign_up() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.stranger().await;
    let hash = asked(&client, "+441234567890").await;
    let code = stage.simulator.phone_code("+44 1234 567890").await.unwrap();
    let answer = client.invoke(&sign_in("+441234567890", &hash, &code)).await.unwrap();
    assert!(matches!(answer, enums::auth::Authorization::SignUpRequired(_)));
    assert_eq!(client.refused(&f::updates::GetState {}).await, "AUTH_KEY_UNREGISTERED");
}

#[tokio::test]
async fn a_code_is_worth_nothing_on_another_key_or_after_three_wrong_guesses() {
    let stage = Stage::with_accounts(1).await;
    let account = &stage.accounts[0];
    let (client, thief) = (stage.stranger().await, stage.stranger().await);
    let hash = asked(&client, &account.phone).await;
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    let right = sign_in(&account.phone, &hash, &code);
    assert_eq!(thief.refused(&right).await, "PHONE_CODE_EXPIRED");
    for _ in 0..3 {
        let wrong = sign_in(&account.phone, &hash, &another(&code));
        assert_eq!(client.refused(&wrong).await, "PHONE_CODE_INVALID");
    }
    assert_eq!(client.refused(&right).await, "PHONE_CODE_EXPIRED");
}

#[tokio::test]
async fn a_code_is_sent_again_by_other_ways_and_can_be_cancelled() {
    let stage = Stage::with_accounts(1).await;
    let account = &stage.accounts[0];
    let client = stage.stranger().await;
    let hash = asked(&client, &account.phone).await;
    let resend = f::auth::ResendCode {
        phone_number: account.phone.clone(),
        phone_code_hash: hash.clone(),
        reason: None,
    };
    let enums::auth::SentCode::Code(again) = client.invoke(&resend).await.unwrap() else {
        panic!("a code is sent");
    };
    assert!(matches!(again.r#type, enums::auth::SentCodeType::Sms(_)));
    let cancel =
        f::auth::CancelCode { phone_number: account.phone.clone(), phone_code_hash: hash.clone() };
    assert!(client.invoke(&cancel).await.unwrap());
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    let late = sign_in(&account.phone, &hash, &code);
    assert_eq!(client.refused(&late).await, "PHONE_CODE_EXPIRED");
}

#[tokio::test]
async fn asking_for_too_many_codes_brings_a_wait_unless_that_is_off() {
    let stage = Stage::with_accounts(1).await;
    let phone = &stage.accounts[0].phone;
    let client = stage.stranger().await;
    for _ in 0..5 {
        asked(&client, phone).await;
    }
    assert_eq!(client.refused(&send_code(phone)).await, "FLOOD_WAIT");
    let limits = Limits { codes_per_phone: 0, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    for _ in 0..20 {
        asked(&client, phone).await;
    }
}

#[tokio::test]
async fn faults_of_an_account_strike_its_login_before_it_is_logged_in() {
    let stage = Stage::with_accounts(2).await;
    let fault = FaultSpec {
        user_id: Some(stage.ids()[0]),
        method: Some("auth.sendCode".to_owned()),
        error: Some("PHONE_NUMBER_BANNED".to_owned()),
        ..FaultSpec::default()
    };
    stage.simulator.add_fault(fault).await.unwrap();
    let client = stage.stranger().await;
    let banned = send_code(&stage.accounts[0].phone);
    assert_eq!(client.refused(&banned).await, "PHONE_NUMBER_BANNED");
    asked(&client, &stage.accounts[1].phone).await;
}

/// A client of the account that gave the right code and is asked for the password.
async fn at_the_password(stage: &Stage, account: &Account) -> Client {
    let client = stage.stranger().await;
    let hash = asked(&client, &account.phone).await;
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    let request = sign_in(&account.phone, &hash, &code);
    assert_eq!(client.refused(&request).await, "SESSION_PASSWORD_NEEDED");
    client
}

async fn question(client: &Client) -> types::account::Password {
    let enums::account::Password::Password(password) =
        client.invoke(&f::account::GetPassword {}).await.unwrap();
    password
}

fn answer(question: &types::account::Password, password: &str) -> f::auth::CheckPassword {
    use enums::PasswordKdfAlgo::Sha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow as Known;
    let Some(Known(algo)) = &question.current_algo else { panic!("a known algorithm") };
    let (salt1, salt2, b) = (&algo.salt1, &algo.salt2, question.srp_b.clone().unwrap());
    let a = question.secure_random.clone();
    let (m1, a) = grammers_crypto::two_factor_auth::calculate_2fa(
        salt1, salt2, &algo.p, &algo.g, b, a, password,
    );
    let srp_id = question.srp_id.unwrap();
    let answer = types::InputCheckPasswordSrp { srp_id, a: a.to_vec(), m1: m1.to_vec() };
    f::auth::CheckPassword { password: answer.into() }
}

fn guarded() -> NewAccount {
    NewAccount {
        password: Some("open sesame".to_owned()),
        password_hint: Some("a cave".to_owned()),
        ..NewAccount::default()
    }
}

#[tokio::test]
async fn a_password_is_asked_for_after_the_code_and_only_the_right_one_opens() {
    let stage = Stage::with_accounts(0).await;
    let account = stage.simulator.add_account(guarded()).await.unwrap();
    let stranger = stage.stranger().await;
    let ask = f::account::GetPassword {};
    assert_eq!(stranger.refused(&ask).await, "AUTH_KEY_UNREGISTERED");
    let client = at_the_password(&stage, &account).await;
    assert_eq!(client.refused(&f::updates::GetState {}).await, "AUTH_KEY_UNREGISTERED");
    let first = question(&client).await;
    assert_eq!((first.has_password, first.hint.as_deref()), (true, Some("a cave")));
    let wrong = answer(&first, "open barley");
    assert_eq!(client.refused(&wrong).await, "PASSWORD_HASH_INVALID");
    // Each question can be answered once.
    assert_eq!(client.refused(&answer(&first, "open sesame")).await, "SRP_ID_INVALID");
    let right = answer(&question(&client).await, "open sesame");
    client.invoke(&right).await.unwrap();
    client.invoke(&f::updates::GetState {}).await.unwrap();
    let known = stage.simulator.account(account.user_id).await.unwrap();
    assert_eq!((known.sessions, known.connections_now), (2, 1));
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_password_that_changed_meanwhile_must_be_asked_for_anew() {
    let stage = Stage::with_accounts(0).await;
    let account = stage.simulator.add_account(guarded()).await.unwrap();
    let client = at_the_password(&stage, &account).await;
    let stale = question(&client).await;
    let password = Some("new words".to_owned());
    let new = NewPassword { password, hint: None };
    stage.simulator.set_password(account.user_id, new).await.unwrap();
    let late = answer(&stale, "open sesame");
    assert_eq!(client.refused(&late).await, "SRP_PASSWORD_CHANGED");
    let fresh = question(&client).await;
    assert_eq!(fresh.hint, None);
    client.invoke(&answer(&fresh, "new words")).await.unwrap();
}

#[tokio::test]
async fn too_many_wrong_passwords_bring_a_wait() {
    let stage = Stage::with_accounts(0).await;
    let account = stage.simulator.add_account(guarded()).await.unwrap();
    let limits = Limits { wrong_passwords: 1, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    let client = at_the_password(&stage, &account).await;
    let wrong = answer(&question(&client).await, "wrong");
    assert_eq!(client.refused(&wrong).await, "PASSWORD_HASH_INVALID");
    let right = answer(&question(&client).await, "open sesame");
    assert_eq!(client.refused(&right).await, "FLOOD_WAIT");
}
