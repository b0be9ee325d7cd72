//! The steps of a login, as the tests take them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grammers_client::tl::{enums, functions as f, types};
use telewarden_simulator::NewAccount;

use crate::support::{Client, Stage};

pub(crate) const API_HASH: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn send_code(phone: &str) -> f::auth::SendCode {
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

pub(crate) fn sign_in(phone: &str, hash: &str, code: &str) -> f::auth::SignIn {
    f::auth::SignIn {
        phone_number: phone.to_owned(),
        phone_code_hash: hash.to_owned(),
        phone_code: Some(code.to_owned()),
        email_verification: None,
    }
}

impl Stage {
    pub(crate) async fn stranger(&self) -> Client {
        Client::stranger(&self.simulator.add_stranger(None).await.unwrap())
    }
}

/// Asks for a code; answers its hash.
pub(crate) async fn asked(client: &Client, phone: &str) -> String {
    match client.invoke(&send_code(phone)).await.unwrap() {
        enums::auth::SentCode::Code(sent) => sent.phone_code_hash,
        other => panic!("unexpected {other:?}"),
    }
}

pub(crate) async fn signed_in(client: &Client, request: &f::auth::SignIn) -> i64 {
    match client.invoke(request).await.unwrap() {
        enums::auth::Authorization::Authorization(authorization) => authorization.user.id(),
        other => panic!("unexpected {other:?}"),
    }
}

pub(crate) fn another(code: &str) -> String {
    format!("{:05}", (code.parse::<u32>().unwrap() + 1) % 100_000)
}

pub(crate) async fn question(client: &Client) -> types::account::Password {
    let enums::account::Password::Password(password) =
        client.invoke(&f::account::GetPassword {}).await.unwrap();
    password
}

pub(crate) fn answer(
    question: &types::account::Password,
    password: &str,
) -> f::auth::CheckPassword {
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

pub(crate) fn guarded() -> NewAccount {
    NewAccount {
        password: Some("open sesame".to_owned()),
        password_hint: Some("a cave".to_owned()),
        ..NewAccount::default()
    }
}

pub(crate) fn bot_login(token: &str) -> f::auth::ImportBotAuthorization {
    let (api_hash, bot_auth_token) = (API_HASH.to_owned(), token.to_owned());
    f::auth::ImportBotAuthorization { flags: 0, api_id: 1, api_hash, bot_auth_token }
}

pub(crate) fn export(except_ids: Vec<i64>) -> f::auth::ExportLoginToken {
    f::auth::ExportLoginToken { api_id: 1, api_hash: API_HASH.to_owned(), except_ids }
}

pub(crate) async fn shown(client: &Client, except: Vec<i64>) -> Vec<u8> {
    match client.invoke(&export(except)).await.unwrap() {
        enums::auth::LoginToken::Token(token) => token.token,
        other => panic!("unexpected {other:?}"),
    }
}

pub(crate) fn url(token: &[u8]) -> String {
    format!("tg://login?token={}", URL_SAFE_NO_PAD.encode(token))
}

pub(crate) async fn told_of_the_scan(client: &mut Client) {
    client
        .next(|updates| match updates {
            enums::Updates::UpdateShort(short) => {
                matches!(short.update, enums::Update::LoginToken).then_some(())
            }
            _ => None,
        })
        .await;
}
