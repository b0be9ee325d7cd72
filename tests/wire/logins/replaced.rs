//! Accounts that log in once more: the session that was made here before goes, one that was brought stays,
//! and a session whose password was never given becomes a login.

use std::net::SocketAddr;

use serde_json::{Value, json};
use telewarden::protocol::logins::record::LoginRecord;
use telewarden::protocol::telegram::session_string::SessionString;
use telewarden::protocol::users::owner::{LoginId, UserId};
use telewarden::protocol::values::secret::AuthKey;
use telewarden::store::{Op, Store, StoreOptions};
use telewarden_simulator::{Account, FaultKind, FaultSpec, NewAccount};

use super::connecting::{BOT, QR, SESSION, begin, begin_sms, login_id, with_password};
use crate::support::{Client, DaemonOptions, Harness, MORE_SENDS, eventually, id_of};

impl Harness {
    /// Logs in by a code; what the last answer says of the account.
    async fn log_in(&self, user: &Client, account: &Account) -> Value {
        let login = begin_sms(user, &account.phone).await;
        let done = self.hand_in_code(user, &login, account).await;
        assert_eq!(done["state"], "active", "{done:#}");
        done["account"].clone()
    }

    async fn until_sessions(&self, account: &Account, count: u64) {
        eventually(&format!("telegram has {count} sessions of it"), async || {
            (self.books(account).await.sessions == count).then_some(())
        })
        .await;
    }

    async fn mute(&self, method: &str) {
        let (method, kind) = (Some(method.to_owned()), Some(FaultKind::Mute));
        let spec = FaultSpec { method, kind, ..FaultSpec::default() };
        self.sim.add_fault(spec).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_made_here_goes_once_its_successor_is_there() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let first = harness.log_in(&user, &account).await;
    assert_eq!(first.get("previous_session"), None, "{first:#}");
    harness.until_sessions(&account, 2).await;
    let second = harness.log_in(&user, &account).await;
    assert_eq!(second["previous_session"], "ended", "{second:#}");
    assert_eq!(id_of(&second), id_of(&first), "it is the same account");
    harness.until_sessions(&account, 2).await;
    let login = login_id(&begin(&user, QR, json!({})).await);
    harness.scan(&user, &login, &account).await;
    let third = harness.until_login(&user, &login, "active").await;
    assert_eq!(third["account"]["previous_session"], "ended", "{third:#}");
    harness.until_sessions(&account, 2).await;
    harness.expect_usable(&user, &id_of(&first), &account).await;
    let told = user.get(&format!("/accounts/{}", id_of(&first))).await.expect(200);
    assert_eq!(told.get("previous_session"), None, "only who logged in is told: {told:#}");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bots_session_goes_too() {
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let bot = harness.account(NewAccount { bot: true, ..NewAccount::default() }).await;
    let before = harness.books(&bot).await.sessions;
    for nth in 0..3 {
        let account = begin(&user, BOT, json!({ "token": bot.bot_token })).await;
        let expected = (nth > 0).then(|| json!("ended"));
        assert_eq!(account.get("previous_session").cloned(), expected, "{account:#}");
        harness.until_sessions(&bot, before + 1).await;
    }
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_a_session_has_to_go_is_remembered_over_a_kill() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = id_of(&harness.log_in(&user, &account).await);
    harness.mute("auth.logOut").await;
    let again = harness.log_in(&user, &account).await;
    assert_eq!(again["previous_session"], "ended", "{again:#}");
    harness.until_sessions(&account, 3).await;
    harness.kill().await;
    harness.sim.lift_faults().await;
    harness.daemon.spawn().await;
    harness.until_sessions(&account, 2).await;
    harness.expect_usable(&user, &id, &account).await;
    harness.expect_clean_books().await;
    // Nothing of it is left to be done.
    assert_eq!(harness.daemon.terminate().await.code(), Some(0));
    let (store, _outbox) = Store::open(StoreOptions::new(harness.daemon.store())).unwrap();
    let user = UserId::new("ann").unwrap();
    let left = store.blocking().rows::<LoginRecord>(&user, None, None, 100).unwrap();
    assert!(left.iter().all(|record| record.auth_key.is_empty()), "a key is kept");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_brought_from_elsewhere_stays_and_the_answer_says_so() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let done = harness.log_in(&user, &account).await;
    assert_eq!((&done["previous_session"], id_of(&done)), (&json!("kept"), id.clone()), "{done:#}");
    // The one that is pasted instead of it ends the one that was made here.
    let pasted = json!({ "session_string": account.session_string });
    let pasted = user.post(SESSION, pasted).await.expect(201);
    assert_eq!((&pasted["previous_session"], id_of(&pasted)), (&json!("ended"), id.clone()));
    harness.until_sessions(&account, 1).await;
    // Pasted once more it is the same one, and nothing was before it.
    let same = json!({ "session_string": account.session_string });
    let same = user.post(SESSION, same).await.expect(201);
    assert_eq!(same.get("previous_session"), None, "{same:#}");
    harness.expect_usable(&user, &id, &account).await;
    assert_eq!(harness.books(&account).await.sessions, 1);
    harness.expect_clean_books().await;
}

/// As somebody has it who logged in elsewhere up to the password: the key of a login that the daemon
/// forgets.
async fn half_a_session(harness: &mut Harness, user: &Client, account: &Account) -> String {
    let login = begin_sms(user, &account.phone).await;
    let asked = harness.hand_in_code(user, &login, account).await;
    assert_eq!(asked["state"], "password_required", "{asked:#}");
    assert_eq!(harness.daemon.terminate().await.code(), Some(0));
    let (store, outbox) = Store::open(StoreOptions::new(harness.daemon.store())).unwrap();
    let (owner, id) = (UserId::new("ann").unwrap(), LoginId(login.parse().unwrap()));
    let record = store.blocking().row::<LoginRecord>(&owner, id).unwrap().expect("it is kept");
    let auth_key = AuthKey::new(record.auth_key[..].try_into().unwrap());
    store.commit(vec![Op::delete_row::<LoginRecord>(&owner, id)]).await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
    harness.daemon.spawn().await;
    let session = SessionString { dc_id: record.dc_id, auth_key, api_id: None };
    session.to_telethon(SocketAddr::V4(harness.sim.listen_addr())).unwrap()
}

async fn any_session(harness: &Harness) -> SessionString {
    let somebody = harness.sim.add_stranger(None).await.unwrap();
    SessionString::parse(&somebody).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_password_was_never_given_is_a_login_that_can_be_finished() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(with_password()).await);
    let half = half_a_session(&mut harness, &user, &account).await;
    let open = user.post(SESSION, json!({ "session_string": half })).await.expect(202);
    assert_eq!(open["state"], "password_required", "{open:#}");
    assert_eq!(open["hint"], "what opens the cave");
    let login = login_id(&open);
    // It is a login like any other: it outlives a restart, and may be tried again.
    harness.kill().await;
    harness.daemon.spawn().await;
    harness.until_login(&user, &login, "password_required").await;
    let path = format!("/logins/{login}/password");
    let wrong = user.post(&path, json!({ "password": "wrong" })).await;
    wrong.expect_problem(422, "TG_PASSWORD_INVALID");
    let done = user.post(&path, json!({ "password": "open, sesame" })).await.expect(200);
    assert_eq!(done["state"], "active", "{done:#}");
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    assert_eq!(harness.books(&account).await.sessions, 1);
    // Brought is brought: it stays when the account logs in anew.
    let again = begin_sms(&user, &account.phone).await;
    harness.hand_in_code(&user, &again, &account).await;
    let path = format!("/logins/{again}/password");
    let done = user.post(&path, json!({ "password": "open, sesame" })).await.expect(200);
    assert_eq!(done["account"]["previous_session"], "kept", "{done:#}");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_brought_session_that_is_not_finished_is_not_ended() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(with_password()).await);
    let half = half_a_session(&mut harness, &user, &account).await;
    for _ in 0..2 {
        let pasted = json!({ "session_string": half });
        let login = login_id(&user.post(SESSION, pasted).await.expect(202));
        let path = format!("/logins/{login}/password");
        let wrong = user.post(&path, json!({ "password": "wrong" })).await;
        wrong.expect_problem(422, "TG_PASSWORD_INVALID");
        user.delete(&format!("/logins/{login}")).await.expect(204);
    }
    let stats = serde_json::to_value(harness.sim.stats().await).unwrap();
    assert_eq!(stats["methods"]["auth.logOut"], Value::Null, "it is not ours to end");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datacenter_that_does_not_exist_is_refused_by_us() {
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let address = SocketAddr::V4(harness.sim.listen_addr());
    for dc_id in [1, 3, 5] {
        let astray = SessionString { dc_id, ..any_session(&harness).await };
        let pasted = json!({ "session_string": astray.to_telethon(address).unwrap() });
        let refused = user.post(SESSION, pasted).await.expect_problem(422, "VALIDATION");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("no datacenter {dc_id}")), "{detail}");
        assert!(!detail.contains("telegram rejects"), "{detail}");
        assert_eq!(refused.body["errors"][0]["field"], "session_string");
    }
    assert_eq!(harness.sim.stats().await.connections_total, 0, "telegram is not asked");
}

/// What was asked for before, in and after the change is sent once, over whichever session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_on_while_the_account_logs_in_anew() {
    let options = DaemonOptions { extra_config: MORE_SENDS.into(), ..DaemonOptions::default() };
    let harness = Harness::open_with(options).await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let friend = harness.named("the_friend").await;
    let id = id_of(&harness.log_in(&user, &account).await);
    harness.until_state(&user, &id, "active").await;
    // Slow enough to be under way when the session changes.
    let slow = FaultSpec {
        user_id: Some(account.user_id),
        method: Some("messages.sendMessage".into()),
        delay_ms: Some(150),
        ..FaultSpec::default()
    };
    harness.sim.add_fault(slow).await.unwrap();
    let send = async |number: u32| {
        let (key, text) = (format!("key-{number}"), number.to_string());
        let message = json!({ "to": "@the_friend", "text": text, "timeout": 25 });
        harness.send(&user, &id, Some(&key), &message).await.expect(201);
    };
    let sends = async {
        for number in 0..40 {
            send(number).await;
        }
    };
    let logins = async {
        for _ in 0..2 {
            let done = harness.log_in(&user, &account).await;
            assert_eq!(done["previous_session"], "ended", "{done:#}");
        }
    };
    tokio::join!(sends, logins);
    let expected: Vec<_> = (0..40).map(|number| number.to_string()).collect();
    assert_eq!(harness.texts(&friend).await, expected, "each once and in order");
    harness.until_sessions(&account, 2).await;
    harness.expect_clean_books().await;
}
