//! Tokens: those of bots, and those that are shown as pictures and scanned.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use grammers_client::tl::{enums, functions as f};
use telewarden_simulator::{Limits, NewAccount};

use super::steps::*;
use crate::support::Stage;

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
