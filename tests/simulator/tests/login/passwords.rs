//! The second step: passwords, of which only a proof is sent.

use grammers_client::tl::{functions as f, types};
use telewarden_simulator::{Account, Limits, NewPassword};

use super::steps::*;
use crate::support::{Client, Stage};

/// A client of the account that gave the right code and is asked for the password.
async fn at_the_password(stage: &Stage, account: &Account) -> Client {
    let client = stage.stranger().await;
    let hash = asked(&client, &account.phone).await;
    let code = stage.simulator.login_code(account.user_id).await.unwrap();
    let request = sign_in(&account.phone, &hash, &code);
    assert_eq!(client.refused(&request).await, "SESSION_PASSWORD_NEEDED");
    client
}

/// An answer that proves nothing: proofs take long to compute in unoptimized builds.
fn guess(question: &types::account::Password) -> f::auth::CheckPassword {
    let (srp_id, a, m1) = (question.srp_id.unwrap(), vec![0x42; 256], vec![0; 32]);
    f::auth::CheckPassword { password: types::InputCheckPasswordSrp { srp_id, a, m1 }.into() }
}

#[tokio::test]
async fn a_password_is_asked_for_after_the_code_and_only_the_right_one_opens() {
    let stage = Stage::with_accounts(0).await;
    let account = stage.simulator.add_account(guarded()).await.unwrap();
    let stranger = stage.stranger().await;
    let ask = f::account::GetPassword {};
    assert_eq!(stranger.refused(&ask).await, "AUTH_KEY_UNREGISTERED");
    let client = at_the_password(&stage, &account).await;
    assert_eq!(client.refused(&f::updates::GetState {}).await, "SESSION_PASSWORD_NEEDED");
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
