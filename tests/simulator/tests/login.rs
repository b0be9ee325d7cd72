//! Logging in, as a grammers client does it that has a key but is nobody yet.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use grammers_client::sender::InvocationError;
use grammers_client::tl::{enums, functions as f, types};
use support::{Client, Stage};
use telewarden_simulator::{
    Account, FaultSpec, Limits, NewAccount, NewPassword, Options, Simulator,
};

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
    // The second life of the connection hears of updates, too, and at once.
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

/// An answer that proves nothing: proofs take long to compute in unoptimized builds.
fn guess(question: &types::account::Password) -> f::auth::CheckPassword {
    let (srp_id, a, m1) = (question.srp_id.unwrap(), vec![0x42; 256], vec![0; 32]);
    f::auth::CheckPassword { password: types::InputCheckPasswordSrp { srp_id, a, m1 }.into() }
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
    assert_eq!(client.refused(&guess(&first)).await, "PASSWORD_HASH_INVALID");
    // Each question can be answered once.
    assert_eq!(client.refused(&guess(&first)).await, "SRP_ID_INVALID");
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
    assert_eq!(client.refused(&guess(&stale)).await, "SRP_PASSWORD_CHANGED");
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
    let wrong = guess(&question(&client).await);
    assert_eq!(client.refused(&wrong).await, "PASSWORD_HASH_INVALID");
    let late = guess(&question(&client).await);
    assert_eq!(client.refused(&late).await, "FLOOD_WAIT");
}

fn bot_login(token: &str) -> f::auth::ImportBotAuthorization {
    let (api_hash, bot_auth_token) = (API_HASH.to_owned(), token.to_owned());
    f::auth::ImportBotAuthorization { flags: 0, api_id: 1, api_hash, bot_auth_token }
}

#[tokio::test]
async fn a_bot_logs_in_by_its_token_until_that_is_revoked() {
    let stage = Stage::with_accounts(1).await;
    let new = NewAccount { bot: true, logged_in: false, ..NewAccount::default() };
    let bot = stage.simulator.add_account(new).await.unwrap();
    let token = bot.bot_token.unwrap();
    let client = stage.stranger().await;
    for wrong in ["", "5:abc", &format!("{}:abc", bot.user_id), &format!("{}:a", stage.ids()[0])] {
        assert_eq!(client.refused(&bot_login(wrong)).await, "ACCESS_TOKEN_INVALID", "{wrong}");
    }
    let enums::auth::Authorization::Authorization(login) =
        client.invoke(&bot_login(&token)).await.unwrap()
    else {
        panic!("a bot needs no sign-up");
    };
    let enums::User::User(user) = login.user else { panic!("a user") };
    assert!(user.bot && user.is_self && user.id == bot.user_id);
    client.invoke(&f::updates::GetState {}).await.unwrap();
    let renewed = stage.simulator.renew_bot_token(bot.user_id).await.unwrap();
    let another = stage.stranger().await;
    assert_eq!(another.refused(&bot_login(&token)).await, "ACCESS_TOKEN_EXPIRED");
    another.invoke(&bot_login(&renewed)).await.unwrap();
    client.invoke(&f::updates::GetState {}).await.unwrap();
    stage.assert_clean().await;
}

fn export(except_ids: Vec<i64>) -> f::auth::ExportLoginToken {
    f::auth::ExportLoginToken { api_id: 1, api_hash: API_HASH.to_owned(), except_ids }
}

async fn shown(client: &Client, except: Vec<i64>) -> Vec<u8> {
    match client.invoke(&export(except)).await.unwrap() {
        enums::auth::LoginToken::Token(token) => token.token,
        other => panic!("unexpected {other:?}"),
    }
}

fn url(token: &[u8]) -> String {
    format!("tg://login?token={}", URL_SAFE_NO_PAD.encode(token))
}

async fn told_of_the_scan(client: &mut Client) {
    client
        .next(|updates| match updates {
            enums::Updates::UpdateShort(short) => {
                matches!(short.update, enums::Update::LoginToken).then_some(())
            }
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_scanned_code_is_told_of_at_once_and_logs_in() {
    let stage = Stage::with_accounts(2).await;
    let mut waiting = stage.stranger().await;
    let token = shown(&waiting, vec![stage.ids()[1]]).await;
    assert_ne!(token, shown(&waiting, vec![]).await);
    let enums::auth::LoginToken::Token(same) =
        waiting.invoke(&f::auth::ImportLoginToken { token: token.clone() }).await.unwrap()
    else {
        panic!("nobody accepted it yet");
    };
    assert_eq!(same.token, token);
    let excepted = stage.client(1).await;
    let accept = f::auth::AcceptLoginToken { token: token.clone() };
    assert_eq!(excepted.refused(&accept).await, "AUTH_TOKEN_EXCEPTION");
    let scanning = stage.client(0).await;
    let nothing = f::auth::AcceptLoginToken { token: vec![1] };
    assert_eq!(scanning.refused(&nothing).await, "AUTH_TOKEN_INVALID");
    scanning.invoke(&accept).await.unwrap();
    assert_eq!(scanning.refused(&accept).await, "AUTH_TOKEN_ALREADY_ACCEPTED");
    told_of_the_scan(&mut waiting).await;
    let enums::auth::LoginToken::Success(success) = waiting.invoke(&export(vec![])).await.unwrap()
    else {
        panic!("it was accepted");
    };
    let enums::auth::Authorization::Authorization(login) = success.authorization else {
        panic!("the account exists");
    };
    assert_eq!(login.user.id(), stage.ids()[0]);
    waiting.invoke(&f::updates::GetState {}).await.unwrap();
    assert_eq!(stage.simulator.account(stage.ids()[0]).await.unwrap().sessions, 2);
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_scan_by_somebody_with_a_password_asks_for_it() {
    let stage = Stage::with_accounts(0).await;
    let account = stage.simulator.add_account(guarded()).await.unwrap();
    let mut waiting = stage.stranger().await;
    let token = shown(&waiting, vec![]).await;
    stage.simulator.scan_qr(account.user_id, "https://example.org").await.unwrap_err();
    let padded = format!("tg://login?token={}", URL_SAFE.encode(&token));
    stage.simulator.scan_qr(account.user_id, &padded).await.unwrap();
    let twice = stage.simulator.scan_qr(account.user_id, &url(&token)).await.unwrap_err();
    assert_eq!(twice.to_string(), "AUTH_TOKEN_ALREADY_ACCEPTED");
    told_of_the_scan(&mut waiting).await;
    for _ in 0..2 {
        assert_eq!(waiting.refused(&export(vec![])).await, "SESSION_PASSWORD_NEEDED");
    }
    let right = answer(&question(&waiting).await, "open sesame");
    waiting.invoke(&right).await.unwrap();
    waiting.invoke(&f::updates::GetState {}).await.unwrap();
}

#[tokio::test]
async fn codes_and_tokens_that_live_shortly_are_soon_worthless() {
    let stage = Stage::with_accounts(1).await;
    let account = &stage.accounts[0];
    let client = stage.stranger().await;
    let hash = asked(&client, &account.phone).await;
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    let limits = Limits { code_seconds: 0, token_seconds: 0, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    let late = sign_in(&account.phone, &hash, &code);
    assert_eq!(client.refused(&late).await, "PHONE_CODE_EXPIRED");
    let token = shown(&client, vec![]).await;
    let scanned = stage.simulator.scan_qr(account.user_id, &url(&token)).await;
    assert_eq!(scanned.unwrap_err().to_string(), "AUTH_TOKEN_EXPIRED");
    let import = f::auth::ImportLoginToken { token };
    assert_eq!(client.refused(&import).await, "AUTH_TOKEN_EXPIRED");
    // Another one is to be had.
    stage.simulator.set_limits(Limits::default()).await;
    let token = shown(&client, vec![]).await;
    stage.simulator.scan_qr(account.user_id, &url(&token)).await.unwrap();
}

#[tokio::test]
async fn the_librarys_own_client_logs_in_by_code_and_by_token() {
    let stage = Stage::with_accounts(1).await;
    let account = &stage.accounts[0];
    let new = NewAccount { bot: true, logged_in: false, ..NewAccount::default() };
    let bot = stage.simulator.add_account(new).await.unwrap();
    let stranger = stage.stranger().await;
    let client = stranger.high_level();
    assert!(!client.is_authorized().await.unwrap());
    let token = client.request_login_code(&account.phone, API_HASH).await.unwrap();
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    assert!(matches!(
        client.sign_in(&token, &another(&code)).await,
        Err(grammers_client::SignInError::InvalidCode)
    ));
    let user = client.sign_in(&token, &code).await.unwrap();
    assert_eq!(user.id().bare_id_unchecked(), account.user_id);
    assert!(client.is_authorized().await.unwrap());
    let another = stage.stranger().await;
    let user = another.high_level().bot_sign_in(&bot.bot_token.unwrap(), API_HASH).await.unwrap();
    assert_eq!(user.id().bare_id_unchecked(), bot.user_id);
    stage.assert_clean().await;
}

/// A world of two datacenters, with somebody who lives at the second one.
async fn two_datacenters(new: NewAccount) -> (Stage, Account) {
    let anywhere = Options::default().listen;
    let options = Options { dcs: vec![(4, anywhere)], ..Options::default() };
    let simulator = Simulator::start(options).await.unwrap();
    let account = simulator.add_account(NewAccount { dc: Some(4), ..new }).await.unwrap();
    (Stage { simulator, accounts: vec![] }, account)
}

impl Stage {
    async fn stranger_at(&self, dc: i32) -> Client {
        Client::stranger(&self.simulator.add_stranger(Some(dc)).await.unwrap())
    }
}

/// Where a call's answer says that somebody lives.
async fn migrated<R: grammers_client::tl::RemoteCall>(client: &Client, request: &R) -> String {
    match client.invoke(request).await {
        Err(InvocationError::Rpc(error)) => {
            format!("{} {}_{}", error.code, error.name, error.value.unwrap_or_default())
        }
        _ => panic!("the call is refused"),
    }
}

#[tokio::test]
async fn who_lives_at_another_datacenter_is_sent_there() {
    let (stage, account) = two_datacenters(NewAccount::default()).await;
    let here = stage.stranger_at(2).await;
    assert_eq!(migrated(&here, &send_code(&account.phone)).await, "303 PHONE_MIGRATE_4");
    let enums::Config::Config(config) = here.invoke(&f::help::GetConfig {}).await.unwrap();
    let options = config.dc_options.iter().map(|enums::DcOption::Option(dc)| (dc.id, dc.port));
    let expected = [2, 4].map(|dc| (dc, i32::from(stage.simulator.dc_addr(dc).unwrap().port())));
    assert_eq!((config.this_dc, options.collect::<Vec<_>>()), (2, expected.to_vec()));

    let there = stage.stranger_at(4).await;
    let hash = asked(&there, &account.phone).await;
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    signed_in(&there, &sign_in(&account.phone, &hash, &code)).await;
    // The session that came with the account is one of that datacenter, too.
    let issued = Client::stranger(account.session_string.as_deref().unwrap());
    issued.invoke(&f::updates::GetState {}).await.unwrap();
    assert_eq!(stage.simulator.account(account.user_id).await.unwrap().connections_now, 2);
    let elsewhere = NewAccount { dc: Some(3), ..NewAccount::default() };
    assert!(stage.simulator.add_account(elsewhere).await.is_err());
    stage.simulator.add_stranger(Some(3)).await.unwrap_err();
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_bot_of_another_datacenter_is_sent_there() {
    let bot = NewAccount { bot: true, logged_in: false, ..NewAccount::default() };
    let (stage, bot) = two_datacenters(bot).await;
    let request = bot_login(bot.bot_token.as_deref().unwrap());
    let here = stage.stranger_at(2).await;
    assert_eq!(migrated(&here, &request).await, "303 USER_MIGRATE_4");
    stage.stranger_at(4).await.invoke(&request).await.unwrap();
}

#[tokio::test]
async fn a_code_scanned_by_somebody_of_another_datacenter_is_redeemed_there() {
    let (stage, account) = two_datacenters(NewAccount::default()).await;
    let mut here = stage.stranger_at(2).await;
    let token = shown(&here, vec![]).await;
    stage.simulator.scan_qr(account.user_id, &url(&token)).await.unwrap();
    told_of_the_scan(&mut here).await;
    let enums::auth::LoginToken::MigrateTo(away) = here.invoke(&export(vec![])).await.unwrap()
    else {
        panic!("the account lives elsewhere");
    };
    assert_eq!(away.dc_id, 4);
    let there = stage.stranger_at(4).await;
    let import = f::auth::ImportLoginToken { token: away.token };
    let success = there.invoke(&import).await.unwrap();
    assert!(matches!(success, enums::auth::LoginToken::Success(_)));
    there.invoke(&f::updates::GetState {}).await.unwrap();
    assert_eq!(there.refused(&import).await, "AUTH_TOKEN_INVALID");
}

#[tokio::test]
async fn a_key_is_unknown_to_other_datacenters_than_its_own() {
    let (stage, account) = two_datacenters(NewAccount::default()).await;
    let mut string = URL_SAFE
        .decode(account.session_string.as_deref().unwrap().strip_prefix('1').unwrap())
        .unwrap();
    assert_eq!(string[0], 4);
    string[5..7].copy_from_slice(&stage.simulator.listen_addr().port().to_be_bytes());
    let lost = Client::stranger(&format!("1{}", URL_SAFE.encode(string)));
    lost.invoke(&f::updates::GetState {}).await.unwrap_err();
    assert_eq!(stage.simulator.account(account.user_id).await.unwrap().connections_total, 0);
}

#[tokio::test]
async fn datacenters_need_numbers_of_their_own() {
    let anywhere = Options::default().listen;
    for dcs in [vec![(2, anywhere)], vec![(0, anywhere)], vec![(4, anywhere), (4, anywhere)]] {
        let options = Options { dcs, ..Options::default() };
        assert!(Simulator::start(options).await.is_err());
    }
}
