//! Codes by SMS: sent, guessed, sent again, worn out.

use grammers_client::tl::{enums, functions as f};
use telewarden_simulator::{FaultSpec, Limits, NewAccount};

use super::steps::*;
use crate::support::{Client, Stage};

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
