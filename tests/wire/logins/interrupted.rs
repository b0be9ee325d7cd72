//! Logins that something comes between: the daemon ends, Telegram does not answer, somebody else is
//! faster. They go on by themselves, hand no code in twice, and leave no session behind.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use telewarden::protocol::logins::record::LoginRecord;
use telewarden::protocol::telegram::session_string::SessionString;
use telewarden::protocol::users::owner::{LoginId, UserId};
use telewarden::store::{Store, StoreOptions};
use telewarden_simulator::{FaultKind, FaultSpec, NewAccount};

use super::connecting::{
    BOT, QR, SESSION, SMS, begin, begin_sms, login_id, until_picture, with_password,
};
use crate::support::{Answer, Client, Harness, eventually, id_of};

impl Harness {
    async fn upset(&self, method: Option<&str>, kind: FaultKind, times: Option<u32>) {
        let (method, kind) = (method.map(str::to_owned), Some(kind));
        self.sim
            .add_fault(FaultSpec { method, kind, times, ..FaultSpec::default() })
            .await
            .unwrap();
    }

    pub(crate) async fn calls_of(&self, method: &str) -> u64 {
        let stats = serde_json::to_value(self.sim.stats().await).unwrap();
        stats["methods"][method].as_u64().unwrap_or(0)
    }
}

/// Hands something in until Telegram is there to hear of it.
async fn hand_in(user: &Client, login: &str, what: &str, body: Value) -> Value {
    let path = format!("/logins/{login}/{what}");
    eventually("it is heard of", async || {
        let answer = user.post(&path, body.clone()).await;
        (answer.status != 503).then(|| answer.expect(200))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_goes_on_after_a_restart_although_telegram_cannot_be_reached_at_once() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    let code = harness.sim.login_code(account.user_id).await.unwrap();
    harness.kill().await;
    harness.upset(None, FaultKind::RefuseConnections, Some(3)).await;
    harness.daemon.spawn().await;
    let done = hand_in(&user, &login, "code", json!({ "code": code })).await;
    assert_eq!(done["state"], "active", "{done:#}");
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_comes_back_after_a_restart_although_telegram_cannot_be_reached_at_once() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let login = login_id(&begin(&user, QR, json!({})).await);
    harness.kill().await;
    harness.upset(None, FaultKind::RefuseConnections, Some(3)).await;
    harness.daemon.spawn().await;
    until_picture(&user, &login).await;
    harness.scan(&user, &login, &account).await;
    let done = harness.until_login(&user, &login, "active").await;
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_a_password_whose_answers_are_lost_are_not_handed_in_twice() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.account(with_password()).await);
    let login = begin_sms(&user, &account.phone).await;
    harness.upset(Some("auth.signIn"), FaultKind::LoseAnswer, Some(1)).await;
    let asked = harness.hand_in_code(&user, &login, &account).await;
    assert_eq!(asked["state"], "password_required", "{asked:#}");
    harness.upset(Some("auth.checkPassword"), FaultKind::LoseAnswer, Some(1)).await;
    let path = format!("/logins/{login}/password");
    let done = user.post(&path, json!({ "password": "open, sesame" })).await.expect(200);
    assert_eq!(done["state"], "active", "{done:#}");
    assert_eq!(harness.calls_of("auth.signIn").await, 1);
    assert_eq!(harness.calls_of("auth.checkPassword").await, 1);
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_telegram_never_heard_of_may_be_handed_in_again() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    harness.upset(Some("auth.signIn"), FaultKind::Disconnect, Some(1)).await;
    let path = format!("/logins/{login}/code");
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    user.post(&path, code.clone()).await.expect_problem(503, "TG_UNAVAILABLE");
    let seen = user.get(&format!("/logins/{login}")).await.expect(200);
    assert_eq!(seen["state"], "code_sent", "{seen:#}");
    let done = user.post(&path, code).await.expect(200);
    assert_eq!(done["state"], "active", "{done:#}");
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_outlives_many_lost_connections() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let login = login_id(&begin(&user, QR, json!({})).await);
    harness.upset(Some("auth.exportLoginToken"), FaultKind::Disconnect, Some(4)).await;
    harness.scan(&user, &login, &account).await;
    let done = harness.until_login(&user, &login, "active").await;
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_moves_the_login_to_another_datacenter_survives_a_kill() {
    let mut harness = Harness::open().await;
    let new = NewAccount { dc: Some(4), ..NewAccount::default() };
    let (user, account) = (harness.user("ann"), harness.account(new).await);
    let login = login_id(&begin(&user, QR, json!({})).await);
    harness.upset(Some("auth.importLoginToken"), FaultKind::LoseAnswer, Some(1)).await;
    harness.scan(&user, &login, &account).await;
    eventually("telegram has let it in", async || {
        (harness.books(&account).await.sessions == 2).then_some(())
    })
    .await;
    harness.kill().await;
    harness.daemon.spawn().await;
    let done = harness.until_login(&user, &login, "active").await;
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    assert_eq!(harness.books(&account).await.sessions, 2, "its own and ours");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_somebody_elses_account_is_ended_even_if_it_takes_another_life() {
    let mut harness = Harness::open().await;
    let (owner, other, account) =
        (harness.user("ann"), harness.user("bob"), harness.person().await);
    let id = harness.connect(&owner, &account).await;
    harness.upset(Some("auth.logOut"), FaultKind::Mute, None).await;
    let login = begin_sms(&other, &account.phone).await;
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    let refused = other.post(&format!("/logins/{login}/code"), code).await;
    refused.expect_problem(409, "CONFLICT");
    let failed = other.get(&format!("/logins/{login}")).await.expect(200);
    assert_eq!(failed["error"]["code"], "CONFLICT", "{failed:#}");
    eventually("telegram is asked", async || {
        (harness.calls_of("auth.logOut").await > 0).then_some(())
    })
    .await;
    assert_eq!(harness.books(&account).await.sessions, 2);
    harness.kill().await;
    harness.sim.lift_faults().await;
    harness.daemon.spawn().await;
    eventually("the fresh session is ended at Telegram", async || {
        (harness.books(&account).await.sessions == 1).then_some(())
    })
    .await;
    harness.expect_usable(&owner, &id, &account).await;
    harness.expect_clean_books().await;
    assert_eq!(harness.daemon.terminate().await.code(), Some(0));
    let (store, _outbox) = Store::open(StoreOptions::new(harness.daemon.store())).unwrap();
    let (bob, id) = (UserId::new("bob").unwrap(), LoginId(login.parse().unwrap()));
    assert!(
        store.blocking().row::<LoginRecord>(&bob, id).unwrap().is_none(),
        "its key is forgotten"
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_users_who_log_in_to_one_account_at_once_one_gets_it_and_no_session_is_left() {
    let harness = Harness::open().await;
    let users = [harness.user("ann"), harness.user("bob")];
    for _ in 0..3 {
        let account = harness.person().await;
        let mut logins = Vec::new();
        for user in &users {
            logins.push(login_id(&begin(user, QR, json!({})).await));
        }
        tokio::join!(
            harness.scan(&users[0], &logins[0], &account),
            harness.scan(&users[1], &logins[1], &account)
        );
        let mut states = Vec::new();
        for (user, login) in users.iter().zip(&logins) {
            let path = format!("/logins/{login}");
            states.push(
                eventually("the login is over", async || {
                    let seen = user.get(&path).await.expect(200);
                    (seen["state"] != "waiting_scan").then_some(seen)
                })
                .await,
            );
        }
        states.sort_by_key(|state| state["state"].to_string());
        assert_eq!(states[0]["state"], "active", "{states:#?}");
        assert_eq!(states[1]["error"]["code"], "CONFLICT", "{states:#?}");
        eventually("the loser's session is ended", async || {
            (harness.books(&account).await.sessions == 2).then_some(())
        })
        .await;
    }
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_pasted_again_stays_in_the_datacenter_where_it_is_known() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.until_state(&user, &id, "active").await;
    let mut astray = SessionString::parse(account.session_string.as_deref().unwrap()).unwrap();
    astray.dc_id = 4;
    let address = SocketAddr::V4(harness.sim.dc_addr(4).unwrap());
    let pasted = json!({ "session_string": astray.to_telethon(address).unwrap() });
    assert_eq!(id_of(&user.post(SESSION, pasted).await.expect(201)), id);
    harness.kill().await;
    harness.daemon.spawn().await;
    harness.expect_usable(&user, &id, &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_given_up_while_nobody_knows_whether_it_succeeded_leaves_no_session() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    harness.upset(Some("auth.signIn"), FaultKind::LoseAnswer, Some(1)).await;
    harness.upset(None, FaultKind::RefuseConnections, None).await;
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    let unclear = user.post(&format!("/logins/{login}/code"), code).await;
    unclear.expect_problem(503, "TG_UNAVAILABLE");
    assert_eq!(harness.books(&account).await.sessions, 1, "telegram has let it in");
    user.delete(&format!("/logins/{login}")).await.expect(204);
    harness.sim.lift_faults().await;
    eventually("the session is ended at Telegram", async || {
        (harness.books(&account).await.sessions == 0).then_some(())
    })
    .await;
    assert_eq!(harness.accounts_of(&user).await, [] as [Value; 0]);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_that_is_given_up_as_it_is_scanned_leaves_no_session() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let before = harness.books(&account).await.sessions;
    let login = login_id(&begin(&user, QR, json!({})).await);
    harness.upset(Some("auth.exportLoginToken"), FaultKind::LoseAnswer, Some(1)).await;
    harness.upset(None, FaultKind::RefuseConnections, None).await;
    harness.scan(&user, &login, &account).await;
    eventually("telegram has let it in", async || {
        (harness.books(&account).await.sessions == before + 1).then_some(())
    })
    .await;
    user.delete(&format!("/logins/{login}")).await.expect(204);
    harness.sim.lift_faults().await;
    eventually("the session is ended at Telegram", async || {
        (harness.books(&account).await.sessions == before).then_some(())
    })
    .await;
    assert_eq!(harness.accounts_of(&user).await, [] as [Value; 0]);
    harness.expect_clean_books().await;
}

impl Harness {
    /// Has the next call of `method` be answered with a wait.
    async fn have_wait(&self, method: &str, seconds: u32) {
        let (method, error) = (Some(method.to_owned()), Some(format!("FLOOD_WAIT_{seconds}")));
        let fault = FaultSpec { method, error, times: Some(1), ..FaultSpec::default() };
        self.sim.add_fault(fault).await.unwrap();
    }

    async fn die_and_live(&mut self) {
        self.kill().await;
        self.daemon.spawn().await;
    }
}

/// Telegram's wait is told as such, with what is left of `seconds`.
fn expect_wait(answer: Answer, seconds: u64) {
    let left = answer.expect_problem(429, "TG_API_429").retry_after();
    assert!((1..=seconds + 1).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_a_login_is_told_outlives_a_kill_and_another_login_of_the_number() {
    const WAIT: u64 = 15;
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.stranger().await);
    let login = begin_sms(&user, &account.phone).await;
    let path = format!("/logins/{login}/code");
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    harness.have_wait("auth.signIn", WAIT as u32).await;
    let told = Instant::now();
    expect_wait(user.post(&path, code.clone()).await, WAIT);
    harness.die_and_live().await;
    expect_wait(user.post(&path, code.clone()).await, WAIT);
    let other = harness.user("bob");
    expect_wait(other.post(SMS, json!({ "phone": account.phone })).await, WAIT);
    assert!(told.elapsed() < Duration::from_secs(WAIT), "what was asked fell into the wait");
    let calls =
        async || (harness.calls_of("auth.signIn").await, harness.calls_of("auth.sendCode").await);
    assert_eq!(calls().await, (1, 1), "the code, and what sent it");
    let done = eventually("the wait is over", async || {
        let answer = user.post(&path, code.clone()).await;
        (![429, 503].contains(&answer.status)).then(|| answer.expect(200))
    })
    .await;
    assert!(told.elapsed() >= Duration::from_secs(WAIT));
    assert_eq!(done["state"], "active", "{done:#}");
    assert_eq!(calls().await, (2, 1));
    harness.expect_usable(&user, &id_of(&done["account"]), &account).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_is_told_before_anything_is_kept_of_a_login_outlives_a_kill() {
    let mut harness = Harness::open().await;
    let (user, other) = (harness.user("ann"), harness.user("bob"));
    let (account, stranger) = (harness.stranger().await, harness.stranger().await);
    let bot = harness.account(NewAccount { bot: true, ..NewAccount::default() }).await;
    let sms = json!({ "phone": account.phone });
    let token = json!({ "token": bot.bot_token.clone().unwrap() });
    let ways = [
        (SMS, sms, "auth.sendCode"),
        (BOT, token, "auth.importBotAuthorization"),
        (QR, json!({}), "auth.exportLoginToken"),
    ];
    for (way, body, method) in &ways {
        harness.have_wait(method, 600).await;
        let answer = eventually("telegram is asked", async || {
            let answer = user.post(way, body.clone()).await;
            (answer.status != 503).then_some(answer)
        })
        .await;
        expect_wait(answer, 600);
    }
    harness.die_and_live().await;
    for (way, body, method) in &ways {
        expect_wait(user.post(way, body.clone()).await, 600);
        assert_eq!(harness.calls_of(method).await, 1, "{method}");
    }
    // Nobody else is held up.
    begin_sms(&user, &stranger.phone).await;
    begin(&other, QR, json!({})).await;
    assert_eq!(harness.daemon.terminate().await.code(), Some(0));
    let digits: String = account.phone.chars().filter(char::is_ascii_digit).collect();
    for file in files_under(&harness.daemon.store()) {
        let bytes = std::fs::read(&file).unwrap();
        let has = bytes.windows(digits.len()).any(|part| part == digits.as_bytes());
        assert!(!has, "the number stands in clear in {}", file.display());
    }
    harness.expect_clean_books().await;
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files
}
