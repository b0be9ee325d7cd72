//! More datacenters than one: who lives elsewhere is sent there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use grammers_client::sender::InvocationError;
use grammers_client::tl::{enums, functions as f};
use telewarden_simulator::{Account, NewAccount, Options, Simulator};

use super::steps::*;
use crate::support::{Client, Stage};

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
