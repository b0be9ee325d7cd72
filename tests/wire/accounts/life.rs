//! The life of accounts between being connected and being removed.

use serde_json::{Value, json};
use telewarden_simulator::{Account, FaultKind, FaultSpec};

use crate::support::{Client, Harness, eventually, id_of};

impl Harness {
    async fn until_connections(&self, account: &Account, wanted: u64) {
        eventually(&format!("{wanted} connections at Telegram"), async || {
            (self.books(account).await.connections_now == wanted).then_some(())
        })
        .await;
    }

    pub(crate) async fn do_to(&self, user: &Client, id: &str, what: &str) -> Value {
        user.ask("POST", &format!("/accounts/{id}/{what}"), None).await.expect(200)
    }

    async fn expect_gone(&self, user: &Client, id: &str) {
        let path = format!("/accounts/{id}");
        user.get(&path).await.expect_problem(404, "NOT_FOUND");
        user.get(&format!("{path}/status")).await.expect_problem(404, "NOT_FOUND");
        user.delete(&path).await.expect_problem(404, "NOT_FOUND");
        assert_eq!(self.accounts_of(user).await, [] as [Value; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_account_is_disconnected_until_it_is_resumed_restarts_included() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let paused = harness.do_to(&user, &id, "pause").await;
    assert_eq!(paused["state"], "paused", "{paused:#}");
    harness.until_connections(&account, 0).await;
    let message = json!({ "to": "me", "text": "hello" });
    harness.send(&user, &id, None, &message).await.expect_problem(409, "CONFLICT");
    let path = format!("/accounts/{id}/reconnect");
    user.ask("POST", &path, None).await.expect_problem(409, "CONFLICT");
    let before = harness.books(&account).await.connections_total;
    harness.kill().await;
    harness.daemon.spawn().await;
    harness.until_state(&user, &id, "paused").await;
    assert_eq!(harness.books(&account).await.connections_total, before, "it stays held");
    harness.do_to(&user, &id, "resume").await;
    harness.until_state(&user, &id, "active").await;
    harness.until_connections(&account, 1).await;
    harness.send(&user, &id, None, &message).await.expect(201);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnecting_dials_anew_once() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let before = harness.books(&account).await.connections_total;
    harness.do_to(&user, &id, "reconnect").await;
    eventually("it is dialled anew", async || {
        (harness.books(&account).await.connections_total > before).then_some(())
    })
    .await;
    harness.until_state(&user, &id, "active").await;
    harness.until_connections(&account, 1).await;
    let message = json!({ "to": "me", "text": "hello" });
    harness.send(&user, &id, None, &message).await.expect(201);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_removed_with_a_logout_has_no_session_left_at_telegram() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    user.delete(&format!("/accounts/{id}?logout=true")).await.expect(204);
    assert_eq!(harness.books(&account).await.sessions, 0);
    harness.expect_gone(&user, &id).await;
    harness.until_connections(&account, 0).await;
    harness.kill().await;
    harness.daemon.spawn().await;
    harness.expect_gone(&user, &id).await;
    let body = json!({ "session_string": account.session_string });
    let answer = user.post("/accounts/telegram/connect/session", body).await;
    answer.expect_problem(409, "TG_SESSION_EXPIRED");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_removed_without_one_keeps_its_session_and_we_forget_it() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    user.delete(&format!("/accounts/{id}")).await.expect(204);
    harness.expect_gone(&user, &id).await;
    harness.until_connections(&account, 0).await;
    let before = harness.books(&account).await;
    assert_eq!(before.sessions, 1, "the session lives on");
    harness.kill().await;
    harness.daemon.spawn().await;
    harness.expect_gone(&user, &id).await;
    assert_eq!(harness.books(&account).await.connections_total, before.connections_total);
    // Nobody's: another user may connect it.
    let other = harness.user("bob");
    let again = harness.connect(&other, &account).await;
    assert_ne!(again, id);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_account_can_be_removed() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.do_to(&user, &id, "pause").await;
    harness.until_connections(&account, 0).await;
    user.delete(&format!("/accounts/{id}")).await.expect(204);
    harness.expect_gone(&user, &id).await;
    assert_eq!(harness.books(&account).await.connections_now, 0);
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_accounts_of_several_users_come_back_after_a_kill() {
    let mut harness = Harness::open().await;
    let users = ["ann", "bob", "cyd"].map(|name| harness.user(name));
    let mut connected = Vec::new();
    for number in 0..60 {
        let (user, account) = (&users[number % 3], harness.person().await);
        let body = json!({ "session_string": account.session_string });
        let path = "/accounts/telegram/connect/session";
        let id = id_of(&user.post(path, body).await.expect(201));
        connected.push((number % 3, id, account));
    }
    harness.kill().await;
    harness.daemon.spawn().await;
    for (user, id, account) in &connected {
        harness.until_state(&users[*user], id, "active").await;
        assert_eq!(harness.books(account).await.connections_now, 1);
    }
    for (number, user) in users.iter().enumerate() {
        let mut own = harness.accounts_of(user).await.iter().map(id_of).collect::<Vec<_>>();
        let mut expected: Vec<_> = connected
            .iter()
            .filter(|(user, ..)| *user == number)
            .map(|(_, id, _)| id.clone())
            .collect();
        own.sort();
        expected.sort();
        assert_eq!(own, expected);
    }
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_listed_by_page_state_kind_and_name() {
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(harness.connect(&user, &harness.person().await).await);
    }
    harness.do_to(&user, &ids[2], "pause").await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = user.get(&format!("/accounts?limit=2{cursor}")).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(id_of));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ids);
    let listed = async |query: &str| {
        let page = user.get(&format!("/accounts?{query}")).await.expect(200);
        page["items"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>()
    };
    assert_eq!(listed("status=paused").await, [ids[2].clone()]);
    assert_eq!(listed("status=active").await.len(), 4);
    assert_eq!(listed("kind=bot").await.len(), 0);
    assert_eq!(listed("kind=user&platform=telegram").await.len(), 5);
    let first = user.get(&format!("/accounts/{}", ids[0])).await.expect(200);
    assert_eq!(listed(&format!("q={}", first["telegram_id"])).await, [ids[0].clone()]);
    user.get("/accounts?status=asleep").await.expect_problem(422, "VALIDATION");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_whose_session_is_over_can_be_removed_with_a_logout() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.sim.revoke(account.user_id, None).await.unwrap();
    harness.do_to(&user, &id, "reconnect").await;
    harness.until_state(&user, &id, "error").await;
    user.delete(&format!("/accounts/{id}?logout=true")).await.expect(204);
    harness.expect_gone(&user, &id).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_that_telegram_does_not_answer_removes_nothing() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let fault = FaultSpec {
        user_id: Some(account.user_id),
        kind: Some(FaultKind::Mute),
        method: Some("auth.logOut".into()),
        ..FaultSpec::default()
    };
    harness.sim.add_fault(fault).await.unwrap();
    let path = format!("/accounts/{id}?logout=true");
    user.delete(&path).await.expect_problem(503, "TG_UNAVAILABLE");
    user.get(&format!("/accounts/{id}")).await.expect(200);
    assert_eq!(harness.books(&account).await.sessions, 1);
    harness.sim.lift_faults().await;
    eventually("the session is ended", async || {
        (user.delete(&path).await.status == 204).then_some(())
    })
    .await;
    assert_eq!(harness.books(&account).await.sessions, 0);
    harness.expect_gone(&user, &id).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_account_that_is_removed_with_a_logout_is_logged_out_too() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.do_to(&user, &id, "pause").await;
    harness.until_connections(&account, 0).await;
    user.delete(&format!("/accounts/{id}?logout=true")).await.expect(204);
    assert_eq!(harness.books(&account).await.sessions, 0);
    harness.expect_gone(&user, &id).await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_an_account_up_and_connecting_it_anew_is_no_way_around_a_limit() {
    let mut harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let fault = FaultSpec {
        user_id: Some(account.user_id),
        method: Some("messages.sendMessage".into()),
        error: Some("PEER_FLOOD".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    harness.sim.add_fault(fault).await.unwrap();
    let message = json!({ "to": "me", "text": "hello", "timeout": 2 });
    harness.send(&user, &id, None, &message).await.expect_problem(429, "TG_API_429");
    harness.until_state(&user, &id, "limited").await;
    user.delete(&format!("/accounts/{id}")).await.expect(204);
    // Twice, because what is kept of it must outlive another life in which nobody connects it.
    for _ in 0..2 {
        harness.kill().await;
        harness.daemon.spawn().await;
    }
    // Nor is another user one.
    for user in [&user, &harness.user("bob")] {
        let pasted = json!({ "session_string": account.session_string });
        let id = id_of(&user.post("/accounts/telegram/connect/session", pasted).await.expect(201));
        let status = harness.until_state(user, &id, "limited").await;
        assert_eq!(status["cooldowns"][0]["scope"], "account", "{status:#}");
        let refused = harness.send(user, &id, None, &message).await;
        assert!(refused.expect_problem(429, "TG_API_429").retry_after() > 60);
        user.delete(&format!("/accounts/{id}")).await.expect(204);
    }
    let calls = harness.books(&account).await.methods.get("messages.sendMessage").copied();
    assert_eq!(calls, Some(1), "it rests");
}

/// The hex id of its key stood in the ledger and the log, which no address takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_was_dropped_for_what_came_over_it_is_named_by_the_id_that_the_api_takes() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let stranger = harness.stranger().await;
    let id = harness.connect(&user, &account).await;
    let fault = FaultSpec {
        user_id: Some(account.user_id),
        kind: Some(FaultKind::DeepUpdates),
        times: Some(1),
        ..FaultSpec::default()
    };
    harness.sim.add_fault(fault).await.unwrap();
    harness.sim.post_private(account.user_id, stranger.user_id, "hello").await.unwrap();
    let line = eventually("it is in the ledger", async || {
        let (_, health) = harness.daemon.get("/health").await.ok()?;
        let lines = health["restarts"].as_array()?.clone();
        lines.into_iter().find(|line| line["cause"].as_str().is_some_and(is_of_telegram))
    })
    .await;
    assert!(line.to_string().contains(&format!("link/{id}")), "{line:#}");
    let lines = harness.daemon.log_lines();
    let is_it = |line: &&Value| line.to_string().contains("because of what came over it");
    let line = lines.iter().find(is_it).expect("it is logged");
    assert!(line.to_string().contains(&id), "{line:#}");
    harness.until_state(&user, &id, "active").await;
    harness.expect_clean_books().await;
}

fn is_of_telegram(cause: &str) -> bool {
    cause.starts_with("telegram sent")
}
