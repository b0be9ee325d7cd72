//! A forgotten password, and a code that comes by another way.

use grammers_client::tl::{enums, functions as f, types};
use telewarden_simulator::{Account, Limits, NewAccount};

use super::steps::*;
use crate::support::{Client, Stage};

const EMAIL: &str = "john@example.org";

async fn forgetful(stage: &Stage, recovery_email: Option<&str>) -> (Account, Client) {
    let recovery_email = recovery_email.map(str::to_owned);
    let new = NewAccount { recovery_email, ..guarded() };
    let account = stage.simulator.add_account(new).await.unwrap();
    let client = stage.stranger().await;
    let hash = asked(&client, &account.phone).await;
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    let request = sign_in(&account.phone, &hash, &code);
    assert_eq!(client.refused(&request).await, "SESSION_PASSWORD_NEEDED");
    (account, client)
}

fn check(code: &str) -> f::auth::CheckRecoveryPassword {
    f::auth::CheckRecoveryPassword { code: code.to_owned() }
}

fn recover(code: &str) -> f::auth::RecoverPassword {
    f::auth::RecoverPassword { code: code.to_owned(), new_settings: None }
}

#[tokio::test]
async fn a_code_by_mail_opens_and_takes_the_password_away() {
    let stage = Stage::with_accounts(0).await;
    let stranger = stage.stranger().await;
    let ask = f::auth::RequestPasswordRecovery {};
    assert_eq!(stranger.refused(&ask).await, "AUTH_KEY_UNREGISTERED");
    let (account, client) = forgetful(&stage, Some(EMAIL)).await;
    assert!(question(&client).await.has_recovery);
    stage.simulator.mailed_code(account.user_id).await.err().unwrap();
    assert_eq!(client.refused(&check("123456")).await, "PASSWORD_RECOVERY_EXPIRED");
    let enums::auth::PasswordRecovery::Recovery(sent) = client.invoke(&ask).await.unwrap();
    assert_eq!(sent.email_pattern, "j***n@example.org");
    let mailed = stage.simulator.mailed_code(account.user_id).await.unwrap();
    assert_eq!((mailed.email.as_str(), mailed.code.len()), (EMAIL, 6));
    assert_eq!(client.refused(&check("")).await, "CODE_EMPTY");
    assert_eq!(client.refused(&check("0000000")).await, "CODE_INVALID");
    assert!(client.invoke(&check(&mailed.code)).await.unwrap());
    assert_eq!(client.refused(&f::updates::GetState {}).await, "SESSION_PASSWORD_NEEDED");
    let enums::auth::Authorization::Authorization(authorization) =
        client.invoke(&recover(&mailed.code)).await.unwrap()
    else {
        panic!("logged in");
    };
    assert_eq!(authorization.user.id(), account.user_id);
    client.invoke(&f::updates::GetState {}).await.unwrap();
    assert!(!question(&client).await.has_password);
    assert_eq!(client.refused(&ask).await, "PASSWORD_EMPTY");
    assert!(!stage.simulator.account(account.user_id).await.unwrap().has_password);
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_code_by_mail_makes_room_for_a_new_password() {
    let stage = Stage::with_accounts(0).await;
    let (account, client) = forgetful(&stage, Some(EMAIL)).await;
    client.invoke(&f::auth::RequestPasswordRecovery {}).await.unwrap();
    let code = stage.simulator.mailed_code(account.user_id).await.unwrap().code;
    use enums::PasswordKdfAlgo::Sha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow as Known;
    let Known(algo) = question(&client).await.new_algo else { panic!("a known algorithm") };
    let settings = |salt1: Vec<u8>, new_password_hash: Vec<u8>| {
        let algo =
            Known(types::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow {
                salt1,
                ..algo.clone()
            });
        let settings = types::account::PasswordInputSettings {
            new_algo: Some(algo),
            new_password_hash: Some(new_password_hash),
            hint: Some("a new one".to_owned()),
            email: None,
            new_secure_settings: None,
        };
        f::auth::RecoverPassword { new_settings: Some(settings.into()), ..recover(&code) }
    };
    let short = settings(algo.salt1.clone(), vec![5; 256]);
    assert_eq!(client.refused(&short).await, "NEW_SALT_INVALID");
    let salt1 = [&algo.salt1[..], &[7; 32]].concat();
    let out_of_range = settings(salt1.clone(), vec![0xff; 256]);
    assert_eq!(client.refused(&out_of_range).await, "NEW_SETTINGS_INVALID");
    client.invoke(&settings(salt1, vec![5; 256])).await.unwrap();
    let now = question(&client).await;
    assert_eq!((now.has_password, now.has_recovery), (true, true));
    assert_eq!(now.hint.as_deref(), Some("a new one"));
    assert_eq!(client.refused(&recover(&code)).await, "PASSWORD_RECOVERY_EXPIRED");
}

#[tokio::test]
async fn without_a_mailbox_there_is_no_recovery_and_codes_grow_old() {
    let stage = Stage::with_accounts(0).await;
    let (account, client) = forgetful(&stage, None).await;
    let ask = f::auth::RequestPasswordRecovery {};
    assert!(!question(&client).await.has_recovery);
    assert_eq!(client.refused(&ask).await, "PASSWORD_RECOVERY_NA");
    let email = Some(EMAIL.to_owned());
    stage.simulator.set_recovery_email(account.user_id, email).await.unwrap();
    client.invoke(&ask).await.unwrap();
    let code = stage.simulator.mailed_code(account.user_id).await.unwrap().code;
    let limits = Limits { code_seconds: 0, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    assert_eq!(client.refused(&recover(&code)).await, "PASSWORD_RECOVERY_EXPIRED");
    stage.simulator.set_recovery_email(account.user_id, Some("nowhere".into())).await.unwrap_err();
}

#[tokio::test]
async fn a_code_goes_to_the_app_then_by_message_then_by_call() {
    let stage = Stage::with_accounts(1).await;
    let phone = &stage.accounts[0].phone;
    let client = stage.stranger().await;
    let sent = |answer| match answer {
        enums::auth::SentCode::Code(sent) => sent,
        other => panic!("unexpected {other:?}"),
    };
    let first = sent(client.invoke(&send_code(phone)).await.unwrap());
    assert!(matches!(first.r#type, enums::auth::SentCodeType::App(_)));
    assert_eq!((first.next_type, first.timeout), (Some(enums::auth::CodeType::Sms), None));
    let resend = f::auth::ResendCode {
        phone_number: phone.clone(),
        phone_code_hash: first.phone_code_hash.clone(),
        reason: None,
    };
    let second = sent(client.invoke(&resend).await.unwrap());
    assert!(matches!(second.r#type, enums::auth::SentCodeType::Sms(_)));
    assert_eq!((second.next_type, second.timeout), (Some(enums::auth::CodeType::Call), Some(60)));
    // Too early.
    assert_eq!(client.refused(&resend).await, "FLOOD_WAIT");
    let limits = Limits { resend_seconds: 0, ..Limits::default() };
    stage.simulator.set_limits(limits).await;
    let third = sent(client.invoke(&resend).await.unwrap());
    assert!(matches!(third.r#type, enums::auth::SentCodeType::Call(_)));
    assert_eq!((third.next_type, third.timeout), (None, None));
    assert_eq!(client.refused(&resend).await, "SEND_CODE_UNAVAILABLE");
    let code = stage.simulator.login_code(stage.ids()[0]).await.unwrap();
    signed_in(&client, &sign_in(phone, &first.phone_code_hash, &code)).await;
    assert_eq!(client.refused(&resend).await, "PHONE_CODE_EXPIRED");
    let empty = f::auth::ResendCode { phone_code_hash: String::new(), ..resend };
    assert_eq!(client.refused(&empty).await, "PHONE_CODE_HASH_EMPTY");
    stage.assert_clean().await;
}
