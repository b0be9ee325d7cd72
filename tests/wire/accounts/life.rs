//! The life of accounts between being connected and being removed.

use serde_json::{Value, json};
use telewarden_simulator::{Account, FaultKind, FaultSpec};

use crate::support::{Client, House, eventually, id_of};

impl House {
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
    let mut house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let id = house.connect(&user, &account).await;
    let paused = house.do_to(&user, &id, "pause").await;
    assert_eq!(paused["state"], "paused", "{paused:#}");
    house.until_connections(&account, 0).await;
    let message = json!({ "to": "me", "text": "hello" });
    house.send(&user, &id, None, &message).await.expect_problem(409, "CONFLICT");
    let path = format!("/accounts/{id}/reconnect");
    user.ask("POST", &path, None).await.expect_problem(409, "CONFLICT");
    let before = house.books(&account).await.connections_total;
    house.kill().await;
    house.daemon.spawn().await;
    house.until_state(&user, &id, "paused").await;
    assert_eq!(house.books(&account).await.connections_total, before, "it stays held");
    house.do_to(&user, &id, "resume").await;
    house.until_state(&user, &id, "active").await;
    house.until_connections(&account, 1).await;
    house.send(&user, &id, None, &message).await.expect(201);
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnecting_dials_anew_once() {
    let house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let id = house.connect(&user, &account).await;
    let before = house.books(&account).await.connections_total;
    house.do_to(&user, &id, "reconnect").await;
    eventually("it is dialled anew", async || {
        (house.books(&account).await.connections_total > before).then_some(())
    })
    .await;
    house.until_state(&user, &id, "active").await;
    house.until_connections(&account, 1).await;
    let message = json!({ "to": "me", "text": "hello" });
    house.send(&user, &id, None, &message).await.expect(201);
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_removed_with_a_logout_has_no_session_left_at_telegram() {
    let mut house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let id = house.connect(&user, &account).await;
    user.delete(&format!("/accounts/{id}?logout=true")).await.expect(204);
    assert_eq!(house.books(&account).await.sessions, 0);
    house.expect_gone(&user, &id).await;
    house.until_connections(&account, 0).await;
    house.kill().await;
    house.daemon.spawn().await;
    house.expect_gone(&user, &id).await;
    let body = json!({ "session_string": account.session_string });
    let answer = user.post("/accounts/telegram/connect/session", body).await;
    answer.expect_problem(409, "TG_SESSION_EXPIRED");
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_removed_without_one_keeps_its_session_and_we_forget_it() {
    let mut house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let id = house.connect(&user, &account).await;
    user.delete(&format!("/accounts/{id}")).await.expect(204);
    house.expect_gone(&user, &id).await;
    house.until_connections(&account, 0).await;
    let before = house.books(&account).await;
    assert_eq!(before.sessions, 1, "the session lives on");
    house.kill().await;
    house.daemon.spawn().await;
    house.expect_gone(&user, &id).await;
    assert_eq!(house.books(&account).await.connections_total, before.connections_total);
    // Nobody's: another user may connect it.
    let other = house.user("bob");
    let again = house.connect(&other, &account).await;
    assert_ne!(again, id);
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_account_can_be_removed() {
    let house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let id = house.connect(&user, &account).await;
    house.do_to(&user, &id, "pause").await;
    house.until_connections(&account, 0).await;
    user.delete(&format!("/accounts/{id}")).await.expect(204);
    house.expect_gone(&user, &id).await;
    assert_eq!(house.books(&account).await.connections_now, 0);
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_accounts_of_several_users_come_back_after_a_kill() {
    let mut house = House::open().await;
    let users = ["ann", "bob", "cyd"].map(|name| house.user(name));
    let mut connected = Vec::new();
    for number in 0..60 {
        let (user, account) = (&users[number % 3], house.person().await);
        let body = json!({ "session_string": account.session_string });
        let path = "/accounts/telegram/connect/session";
        let id = id_of(&user.post(path, body).await.expect(201));
        connected.push((number % 3, id, account));
    }
    house.kill().await;
    house.daemon.spawn().await;
    for (user, id, account) in &connected {
        house.until_state(&users[*user], id, "active").await;
        assert_eq!(house.books(account).await.connections_now, 1);
    }
    for (number, user) in users.iter().enumerate() {
        let mut own = house.accounts_of(user).await.iter().map(id_of).collect::<Vec<_>>();
        let mut expected: Vec<_> = connected
            .iter()
            .filter(|(user, ..)| *user == number)
            .map(|(_, id, _)| id.clone())
            .collect();
        own.sort();
        expected.sort();
        assert_eq!(own, expected);
    }
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_listed_by_page_state_kind_and_name() {
    let house = House::open().await;
    let user = house.user("ann");
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(house.connect(&user, &house.person().await).await);
    }
    house.do_to(&user, &ids[2], "pause").await;
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
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_whose_session_is_over_can_be_removed_with_a_logout() {
    let house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let id = house.connect(&user, &account).await;
    house.sim.revoke(account.user_id, None).await.unwrap();
    house.do_to(&user, &id, "reconnect").await;
    house.until_state(&user, &id, "error").await;
    user.delete(&format!("/accounts/{id}?logout=true")).await.expect(204);
    house.expect_gone(&user, &id).await;
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_that_telegram_does_not_answer_removes_nothing() {
    let house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let id = house.connect(&user, &account).await;
    let fault = FaultSpec {
        user_id: Some(account.user_id),
        kind: Some(FaultKind::Mute),
        method: Some("auth.logOut".into()),
        ..FaultSpec::default()
    };
    house.sim.add_fault(fault).await.unwrap();
    let path = format!("/accounts/{id}?logout=true");
    user.delete(&path).await.expect_problem(503, "TG_UNAVAILABLE");
    user.get(&format!("/accounts/{id}")).await.expect(200);
    assert_eq!(house.books(&account).await.sessions, 1);
    house.sim.lift_faults().await;
    eventually("the session is ended", async || {
        (user.delete(&path).await.status == 204).then_some(())
    })
    .await;
    assert_eq!(house.books(&account).await.sessions, 0);
    house.expect_gone(&user, &id).await;
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_account_that_is_removed_with_a_logout_is_logged_out_too() {
    let house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let id = house.connect(&user, &account).await;
    house.do_to(&user, &id, "pause").await;
    house.until_connections(&account, 0).await;
    user.delete(&format!("/accounts/{id}?logout=true")).await.expect(204);
    assert_eq!(house.books(&account).await.sessions, 0);
    house.expect_gone(&user, &id).await;
    house.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_an_account_up_and_connecting_it_anew_is_no_way_around_a_limit() {
    let mut house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let id = house.connect(&user, &account).await;
    let fault = FaultSpec {
        user_id: Some(account.user_id),
        method: Some("messages.sendMessage".into()),
        error: Some("PEER_FLOOD".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    house.sim.add_fault(fault).await.unwrap();
    let message = json!({ "to": "me", "text": "hello", "timeout": 2 });
    house.send(&user, &id, None, &message).await.expect_problem(429, "TG_API_429");
    house.until_state(&user, &id, "limited").await;
    user.delete(&format!("/accounts/{id}")).await.expect(204);
    // Twice, because what is kept of it must outlive another life in which nobody connects it.
    for _ in 0..2 {
        house.kill().await;
        house.daemon.spawn().await;
    }
    // Nor is another user one.
    for user in [&user, &house.user("bob")] {
        let pasted = json!({ "session_string": account.session_string });
        let id = id_of(&user.post("/accounts/telegram/connect/session", pasted).await.expect(201));
        let status = house.until_state(user, &id, "limited").await;
        assert_eq!(status["cooldowns"][0]["scope"], "account", "{status:#}");
        let refused = house.send(user, &id, None, &message).await;
        assert!(refused.expect_problem(429, "TG_API_429").retry_after() > 60);
        user.delete(&format!("/accounts/{id}")).await.expect(204);
    }
    let calls = house.books(&account).await.methods.get("messages.sendMessage").copied();
    assert_eq!(calls, Some(1), "it rests");
}

/// The hex id of its key stood in the ledger and the log, which no address takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_was_dropped_for_what_came_over_it_is_named_by_the_id_that_the_api_takes() {
    let house = House::open().await;
    let (user, account) = (house.user("ann"), house.person().await);
    let stranger = house.stranger().await;
    let id = house.connect(&user, &account).await;
    let fault = FaultSpec {
        user_id: Some(account.user_id),
        kind: Some(FaultKind::DeepUpdates),
        times: Some(1),
        ..FaultSpec::default()
    };
    house.sim.add_fault(fault).await.unwrap();
    house.sim.post_private(account.user_id, stranger.user_id, "hello").await.unwrap();
    let line = eventually("it is in the ledger", async || {
        let (_, health) = house.daemon.get("/health").await.ok()?;
        let lines = health["restarts"].as_array()?.clone();
        lines.into_iter().find(|line| line["cause"].as_str().is_some_and(is_of_telegram))
    })
    .await;
    assert!(line.to_string().contains(&format!("link/{id}")), "{line:#}");
    let lines = house.daemon.log_lines();
    let is_it = |line: &&Value| line.to_string().contains("because of what came over it");
    let line = lines.iter().find(is_it).expect("it is logged");
    assert!(line.to_string().contains(&id), "{line:#}");
    house.until_state(&user, &id, "active").await;
    house.expect_clean_books().await;
}

fn is_of_telegram(cause: &str) -> bool {
    cause.starts_with("telegram sent")
}
