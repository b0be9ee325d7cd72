//! Accounts are connected: by every way there is, wherever they live, and by whom they belong to.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use telewarden::protocol::logins::record::LoginRecord;
use telewarden::protocol::users::owner::{LoginId, UserId};
use telewarden::protocol::values::ids::UnixMillis;
use telewarden::store::{Op, Store, StoreOptions};
use telewarden_simulator::{Account, FaultKind, FaultSpec, Limits, NewAccount};
use tokio::time::Instant;

use crate::support::{Client, Harness, PATIENCE, eventually, id_of};

pub(crate) const SMS: &str = "/accounts/telegram/connect/sms";
pub(crate) const QR: &str = "/accounts/telegram/connect/qr";
pub(crate) const BOT: &str = "/accounts/telegram/connect/bot";
pub(crate) const SESSION: &str = "/accounts/telegram/connect/session";

/// Begins a login and says how it stands. Making a key takes long in a build that is not optimized.
pub(crate) async fn begin(user: &Client, path: &str, body: Value) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = user.post(path, body.clone()).await;
        if answer.status != 503 || Instant::now() > deadline {
            assert!([201, 202].contains(&answer.status), "{answer:?}");
            return answer.body;
        }
    }
}

pub(crate) async fn begin_sms(user: &Client, phone: &str) -> String {
    let login = begin(user, SMS, json!({ "phone": phone })).await;
    assert_eq!(login["state"], "code_sent", "{login:#}");
    assert!(login["expires_at"].is_string());
    login_id(&login)
}

pub(crate) fn login_id(login: &Value) -> String {
    login["login_id"].as_str().unwrap_or_else(|| panic!("a login: {login}")).to_owned()
}

impl Harness {
    pub(crate) async fn hand_in_code(
        &self,
        user: &Client,
        login: &str,
        account: &Account,
    ) -> Value {
        let code = self.sim.login_code(account.user_id).await.unwrap();
        user.post(&format!("/logins/{login}/code"), json!({ "code": code })).await.expect(200)
    }

    /// Scans what is shown now.
    pub(crate) async fn scan(&self, user: &Client, login: &str, account: &Account) {
        let shown = user.get(&format!("/logins/{login}")).await.expect(200);
        let url = shown["qr"]["url"].as_str().unwrap_or_else(|| panic!("a picture: {shown:#}"));
        self.sim.scan_qr(account.user_id, url).await.unwrap();
    }

    /// The account is connected for good: active, and what it is asked for is done.
    pub(crate) async fn expect_usable(&self, user: &Client, id: &str, account: &Account) {
        let status = self.until_state(user, id, "active").await;
        assert_eq!(status["telegram_id"], account.user_id);
        let accepted = self.sim.stats().await.sends_accepted;
        let text = uuid::Uuid::new_v4().to_string();
        let books = self.books(account).await;
        if !books.bot {
            self.send(user, id, None, &json!({ "to": "me", "text": text })).await.expect(201);
            assert_eq!(self.sim.stats().await.sends_accepted, accepted + 1);
        }
        assert_eq!(self.accounts_of(user).await.len(), 1);
        let ours = if account.session_string.is_some() { books.connections_now } else { 1 };
        assert_eq!(ours, 1, "it is connected once");
    }
}

/// Waits until the login shows a picture, as it does again after a restart.
pub(crate) async fn until_picture(user: &Client, login: &str) {
    eventually("the picture is there again", async || {
        let shown = user.get(&format!("/logins/{login}")).await;
        (shown.status == 200 && shown.body["qr"]["url"].is_string()).then_some(())
    })
    .await;
}

pub(crate) fn with_password() -> NewAccount {
    NewAccount {
        password: Some("open, sesame".into()),
        password_hint: Some("what opens the cave".into()),
        logged_in: false,
        ..NewAccount::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_connects_an_account() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    let wrong = json!({ "code": "00000" });
    let path = format!("/logins/{login}/code");
    user.post(&path, wrong).await.expect_problem(422, "TG_CODE_INVALID");
    let done = harness.hand_in_code(&user, &login, &account).await;
    assert_eq!(done["state"], "active", "{done:#}");
    let id = id_of(&done["account"]);
    let masked = done["account"]["phone_masked"].as_str().unwrap();
    assert!(masked.contains('•') && !masked.contains(&account.phone), "{masked}");
    let seen = user.get(&format!("/logins/{login}")).await.expect(200);
    assert_eq!((&seen["state"], id_of(&seen["account"])), (&json!("active"), id.clone()));
    harness.expect_usable(&user, &id, &account).await;
    assert_eq!(harness.books(&account).await.sessions, 1);
    user.post(&path, json!({ "code": "12345" })).await.expect_problem(409, "CONFLICT");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_asked_for_by_its_hint_and_may_be_wrong_once() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(with_password()).await);
    let login = begin_sms(&user, &account.phone).await;
    let asked = harness.hand_in_code(&user, &login, &account).await;
    assert_eq!(asked["state"], "password_required", "{asked:#}");
    assert_eq!(asked["hint"], "what opens the cave");
    let path = format!("/logins/{login}/password");
    let wrong = user.post(&path, json!({ "password": "wrong" })).await;
    wrong.expect_problem(422, "TG_PASSWORD_INVALID");
    let seen = user.get(&format!("/logins/{login}")).await.expect(200);
    assert_eq!(seen["state"], "password_required");
    let done = user.post(&path, json!({ "password": "open, sesame" })).await.expect(200);
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_wrong_guess_ends_the_login_and_another_one_begins() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    let code = harness.sim.login_code(account.user_id).await.unwrap();
    let wrong = if code == "11111" { "22222" } else { "11111" };
    let path = format!("/logins/{login}/code");
    for _ in 0..3 {
        let refused = user.post(&path, json!({ "code": wrong })).await;
        refused.expect_problem(422, "TG_CODE_INVALID");
    }
    // The right one comes too late.
    user.post(&path, json!({ "code": code })).await.expect_problem(422, "TG_CODE_INVALID");
    let failed = user.get(&format!("/logins/{login}")).await.expect(200);
    assert_eq!(failed["state"], "failed", "{failed:#}");
    assert_eq!(failed["error"]["code"], "TG_CODE_INVALID");
    let login = begin_sms(&user, &account.phone).await;
    assert_eq!(harness.hand_in_code(&user, &login, &account).await["state"], "active");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_is_nobodys_gets_no_account() {
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let phone = "+79990001122";
    let login = begin_sms(&user, phone).await;
    let code = harness.sim.phone_code("79990001122").await.unwrap();
    let refused = user.post(&format!("/logins/{login}/code"), json!({ "code": code })).await;
    refused.expect_problem(422, "TG_PHONE_INVALID");
    let failed = user.get(&format!("/logins/{login}")).await.expect(200);
    assert_eq!(failed["state"], "failed", "{failed:#}");
    assert_eq!(harness.accounts_of(&user).await, [] as [Value; 0]);
    let stats = serde_json::to_value(harness.sim.stats().await).unwrap();
    assert_eq!(stats["methods"]["auth.signUp"], Value::Null, "nobody signs up");
    user.post(SMS, json!({ "phone": "12" })).await.expect_problem(422, "VALIDATION");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_renewed_before_it_expires_and_scanned() {
    let harness = Harness::open().await;
    harness.sim.set_limits(Limits { token_seconds: 8, ..Limits::default() }).await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let login = begin(&user, QR, json!({})).await;
    assert_eq!(login["state"], "waiting_scan", "{login:#}");
    assert!(login["qr"]["svg"].as_str().unwrap().contains("<svg"));
    let (login, first) = (login_id(&login), login["qr"]["url"].clone());
    eventually("there is another picture", async || {
        let shown = user.get(&format!("/logins/{login}")).await.expect(200);
        (shown["qr"]["url"] != first).then_some(())
    })
    .await;
    harness.scan(&user, &login, &account).await;
    let done = harness.until_login(&user, &login, "active").await;
    assert!(done.get("qr").is_none());
    let id = id_of(&done["account"]);
    harness.expect_usable(&user, &id, &account).await;
    assert_eq!(harness.books(&account).await.sessions, 2, "its own and ours");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanned_account_with_a_password_asks_for_it() {
    let harness = Harness::open().await;
    let new = NewAccount { logged_in: true, ..with_password() };
    let (user, account) = (harness.user("ann"), harness.account(new).await);
    let login = login_id(&begin(&user, QR, json!({})).await);
    harness.scan(&user, &login, &account).await;
    let asked = harness.until_login(&user, &login, "password_required").await;
    assert_eq!(asked["hint"], "what opens the cave");
    let path = format!("/logins/{login}/password");
    let done = user.post(&path, json!({ "password": "open, sesame" })).await.expect(200);
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_waits_through_a_restart() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let login = login_id(&begin(&user, QR, json!({})).await);
    harness.kill().await;
    harness.daemon.spawn().await;
    until_picture(&user, &login).await;
    harness.scan(&user, &login, &account).await;
    let done = harness.until_login(&user, &login, "active").await;
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_connects_a_bot_and_a_worthless_one_does_not() {
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let bot = harness.account(NewAccount { bot: true, ..NewAccount::default() }).await;
    let account = begin(&user, BOT, json!({ "token": bot.bot_token })).await;
    assert_eq!((&account["kind"], &account["telegram_id"]), (&json!("bot"), &json!(bot.user_id)));
    harness.expect_usable(&user, &id_of(&account), &bot).await;
    let token = harness.sim.renew_bot_token(bot.user_id).await.unwrap();
    let worthless = user.post(BOT, json!({ "token": bot.bot_token })).await;
    if worthless.status != 503 {
        worthless.expect_problem(422, "TG_BOT_TOKEN_INVALID");
    }
    let again = begin(&user, BOT, json!({ "token": token })).await;
    assert_eq!(id_of(&again), id_of(&account), "it is the same bot");
    harness.expect_usable(&user, &id_of(&account), &bot).await;
    user.post(BOT, json!({ "token": "no token" })).await.expect_problem(422, "VALIDATION");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pasted_session_connects_its_account_and_a_dead_one_does_not() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.expect_usable(&user, &id, &account).await;
    // Pasted once more: the same account over the same key, which is never connected twice.
    let again = harness.connect(&user, &account).await;
    assert_eq!(again, id);
    let dead = harness.person().await;
    harness.sim.revoke(dead.user_id, None).await.unwrap();
    let refused = user.post(SESSION, json!({ "session_string": dead.session_string })).await;
    refused.expect_problem(409, "TG_SESSION_EXPIRED");
    let nobodys = harness.sim.add_stranger(None).await.unwrap();
    let refused = user.post(SESSION, json!({ "session_string": nobodys })).await;
    refused.expect_problem(409, "TG_SESSION_EXPIRED");
    let nonsense = user.post(SESSION, json!({ "session_string": "1nonsense" })).await;
    nonsense.expect_problem(422, "VALIDATION");
    harness.expect_usable(&user, &id, &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_followed_to_where_they_live() {
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let elsewhere = |bot| NewAccount { dc: Some(4), bot, ..NewAccount::default() };
    let by_code = harness.account(NewAccount { logged_in: false, ..elsewhere(false) }).await;
    let login = begin_sms(&user, &by_code.phone).await;
    let done = harness.hand_in_code(&user, &login, &by_code).await;
    assert_eq!(done["state"], "active", "{done:#}");
    let by_picture = harness.account(elsewhere(false)).await;
    let login = login_id(&begin(&user, QR, json!({})).await);
    harness.scan(&user, &login, &by_picture).await;
    harness.until_login(&user, &login, "active").await;
    let bot = harness.account(elsewhere(true)).await;
    begin(&user, BOT, json!({ "token": bot.bot_token })).await;
    let accounts = harness.accounts_of(&user).await;
    let ids: Vec<_> = accounts.iter().map(|account| account["telegram_id"].as_i64()).collect();
    let expected = [by_code.user_id, by_picture.user_id, bot.user_id];
    assert_eq!(ids, expected.map(Some));
    for account in &accounts {
        harness.until_state(&user, &id_of(account), "active").await;
    }
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_abandoned_is_gone_and_its_code_leads_nowhere() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    let path = format!("/logins/{login}");
    user.delete(&path).await.expect(204);
    user.get(&path).await.expect_problem(404, "NOT_FOUND");
    let code = harness.sim.login_code(account.user_id).await.unwrap();
    let late = user.post(&format!("{path}/code"), json!({ "code": code })).await;
    late.expect_problem(404, "NOT_FOUND");
    user.delete(&path).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(harness.accounts_of(&user).await, [] as [Value; 0]);
    eventually("its connection is closed", async || {
        (harness.sim.stats().await.connections == 0).then_some(())
    })
    .await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_of_somebody_else_does_not_exist() {
    let harness = Harness::open().await;
    let (user, other, account) =
        (harness.user("ann"), harness.user("bob"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    let path = format!("/logins/{login}");
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    other.get(&path).await.expect_problem(404, "NOT_FOUND");
    other.post(&format!("{path}/code"), code).await.expect_problem(404, "NOT_FOUND");
    let password = json!({ "password": "open, sesame" });
    other.post(&format!("{path}/password"), password).await.expect_problem(404, "NOT_FOUND");
    other.delete(&path).await.expect_problem(404, "NOT_FOUND");
    harness.admin().get(&path).await.expect(200);
    assert_eq!(harness.hand_in_code(&user, &login, &account).await["state"], "active");
    let id = id_of(&harness.accounts_of(&user).await[0]);
    let path = format!("/accounts/{id}");
    other.get(&path).await.expect_problem(404, "NOT_FOUND");
    other.delete(&path).await.expect_problem(404, "NOT_FOUND");
    other.get(&format!("{path}/status")).await.expect_problem(404, "NOT_FOUND");
    let message = json!({ "to": "me", "text": "hello" });
    harness.send(&other, &id, None, &message).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(harness.accounts_of(&other).await, [] as [Value; 0]);
    harness.admin().get(&path).await.expect(200);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_connected_again_is_updated_and_its_old_session_forgotten() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let before = user.get(&format!("/accounts/{id}")).await.expect(200);
    let login = begin_sms(&user, &account.phone).await;
    let done = harness.hand_in_code(&user, &login, &account).await;
    assert_eq!(id_of(&done["account"]), id, "{done:#}");
    assert_eq!(done["account"]["created_at"], before["created_at"]);
    harness.expect_usable(&user, &id, &account).await;
    // The key that it had before is not connected any more, not even after a restart.
    harness.kill().await;
    harness.daemon.spawn().await;
    harness.expect_usable(&user, &id, &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_of_somebody_else_is_not_taken_over() {
    let harness = Harness::open().await;
    let (owner, other, account) =
        (harness.user("ann"), harness.user("bob"), harness.person().await);
    let id = harness.connect(&owner, &account).await;
    assert_eq!(harness.books(&account).await.sessions, 1);
    let login = begin_sms(&other, &account.phone).await;
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    let refused = other.post(&format!("/logins/{login}/code"), code).await;
    refused.expect_problem(409, "CONFLICT");
    let failed = other.get(&format!("/logins/{login}")).await.expect(200);
    assert_eq!(failed["error"]["code"], "CONFLICT");
    eventually("the fresh session is ended at Telegram", async || {
        (harness.books(&account).await.sessions == 1).then_some(())
    })
    .await;
    let body = json!({ "session_string": account.session_string });
    other.post(SESSION, body).await.expect_problem(409, "CONFLICT");
    let second = harness.sim.add_session(account.user_id).await.unwrap();
    let refused = other.post(SESSION, json!({ "session_string": second })).await;
    refused.expect_problem(409, "CONFLICT");
    // A session that somebody made elsewhere is theirs to end.
    assert_eq!(harness.books(&account).await.sessions, 2);
    assert_eq!(harness.accounts_of(&other).await, [] as [Value; 0]);
    harness.expect_usable(&owner, &id, &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_login_holds_up_no_other() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let stuck = harness.stranger().await;
    let fault = FaultSpec {
        user_id: Some(stuck.user_id),
        kind: Some(FaultKind::Mute),
        method: Some("auth.sendCode".into()),
        ..Default::default()
    };
    harness.sim.add_fault(fault).await.unwrap();
    let stuck = user.post(SMS, json!({ "phone": stuck.phone }));
    let brisk = async {
        let login = begin_sms(&user, &account.phone).await;
        harness.hand_in_code(&user, &login, &account).await
    };
    let done = tokio::select! {
        biased;
        stuck = stuck => panic!("Telegram is silent, and yet it ended first: {stuck:?}"),
        done = brisk => done,
    };
    assert_eq!(done["state"], "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_and_whose_it_is_survive_a_kill_right_after_the_answer() {
    let mut harness = Harness::open().await;
    let mut connected = Vec::new();
    for number in 0..5 {
        let user = harness.user(&format!("user-{number}"));
        let account = harness.person().await;
        let body = json!({ "session_string": account.session_string });
        let id = id_of(&user.post(SESSION, body).await.expect(201));
        harness.kill().await;
        harness.daemon.spawn().await;
        connected.push((user, id, account));
    }
    for (user, id, account) in &connected {
        harness.expect_usable(user, id, account).await;
    }
    harness.expect_clean_books().await;
}

/// Has what is kept of a user's login expire in three seconds; the daemon does not run.
async fn shorten(harness: &Harness, user: &str, login: &str) {
    let (store, _outbox) = Store::open(StoreOptions::new(harness.daemon.store())).unwrap();
    let (user, id) = (UserId::new(user).unwrap(), LoginId(login.parse().unwrap()));
    let mut record = store.blocking().row::<LoginRecord>(&user, id).unwrap().expect("it is kept");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    record.expires_at = UnixMillis(i64::try_from(now).unwrap() + 3_000);
    store.commit(vec![Op::put_row(&record)]).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_takes_too_long_expires() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    assert_eq!(harness.daemon.terminate().await.code(), Some(0));
    shorten(&harness, "ann", &login).await;
    harness.daemon.spawn().await;
    let expired = harness.until_login(&user, &login, "expired").await;
    assert!(expired.get("account").is_none(), "{expired:#}");
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    let late = user.post(&format!("/logins/{login}/code"), code).await;
    late.expect_problem(409, "CONFLICT");
    assert_eq!(harness.accounts_of(&user).await, [] as [Value; 0]);
    assert_eq!(harness.books(&account).await.sessions, 0);
    // Nothing is left of it.
    harness.kill().await;
    harness.daemon.spawn().await;
    let path = format!("/logins/{login}");
    user.get(&path).await.expect_problem(404, "NOT_FOUND");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_succeeded_is_told_of_through_restarts_until_it_would_have_expired() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    let id = id_of(&harness.hand_in_code(&user, &login, &account).await["account"]);
    for _ in 0..2 {
        harness.kill().await;
        harness.daemon.spawn().await;
        let seen = user.get(&format!("/logins/{login}")).await.expect(200);
        assert_eq!((&seen["state"], id_of(&seen["account"])), (&json!("active"), id.clone()));
    }
    harness.user("bob").get(&format!("/logins/{login}")).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(harness.daemon.terminate().await.code(), Some(0));
    shorten(&harness, "ann", &login).await;
    harness.daemon.spawn().await;
    harness.until_state(&user, &id, "active").await;
    let forgotten = |store: &Store| {
        let id = LoginId(login.parse().unwrap());
        store.blocking().row::<LoginRecord>(&UserId::new("ann").unwrap(), id).unwrap().is_none()
    };
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(harness.daemon.terminate().await.code(), Some(0));
    let (store, _outbox) = Store::open(StoreOptions::new(harness.daemon.store())).unwrap();
    assert!(forgotten(&store));
    store.close().await.unwrap();
    harness.expect_clean_books().await;
}
