//! No loop that calls Telegram is without a floor and a growing pause, whatever the answer says about time.
//! The simulator counts the calls.

use std::time::Duration;

use serde_json::json;
use telewarden_simulator::{Account, FaultKind, FaultSpec, Limits};
use tokio::time::{Instant, sleep};

use super::connecting::{QR, begin, begin_sms, login_id};
use crate::support::{Broker, Client, DaemonOptions, Harness, MORE_SENDS, Stage, eventually};

/// Puts a clock between a program and this machine's.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// For how long calls are counted.
const WATCHED: Duration = Duration::from_secs(20);
/// What a loop with a floor of a second that doubles comes to in that time (0, 1, 3, 7, 15 s), the first
/// call and a free one added, with some room.
const CALLS_MAX: u64 = 9;

impl Harness {
    pub(crate) async fn calls(&self, method: &str) -> u64 {
        self.sim.stats().await.methods.get(method).copied().unwrap_or(0)
    }

    /// How often `method` is called while the test watches.
    async fn calls_while_watched(&self, method: &str) -> u64 {
        let (before, end) = (self.calls(method).await, Instant::now() + WATCHED);
        while Instant::now() < end {
            sleep(Duration::from_millis(200)).await;
        }
        self.calls(method).await - before
    }

    async fn always(&self, method: &str, error: &str) {
        let (method, error) = (Some(method.to_owned()), Some(error.to_owned()));
        let spec = FaultSpec { method, error, ..FaultSpec::default() };
        self.sim.add_fault(spec).await.unwrap();
    }
}

async fn renewals(harness: &Harness, user: &Client) -> (String, u64) {
    let login = login_id(&begin(user, QR, json!({})).await);
    let calls = harness.calls_while_watched("auth.exportLoginToken").await;
    assert!(calls <= CALLS_MAX, "{calls} calls in {WATCHED:?}");
    (login, calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_whose_token_is_the_same_until_it_ends_is_not_asked_for_without_end() {
    let harness = Harness::open().await;
    let limits = Limits { token_seconds: 6, repeat_tokens: true, ..Limits::default() };
    harness.sim.set_limits(limits).await;
    let (_, calls) = renewals(&harness, &harness.user("ann")).await;
    assert!(calls >= 3, "it is renewed: {calls}");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_whose_token_lives_for_five_seconds_is_not_asked_for_without_end() {
    for token_seconds in [5, 0] {
        let harness = Harness::open().await;
        harness.sim.set_limits(Limits { token_seconds, ..Limits::default() }).await;
        let (_, calls) = renewals(&harness, &harness.user("ann")).await;
        assert!(calls >= 3, "it is renewed: {calls}");
        harness.expect_clean_books().await;
    }
}

/// By a clock that is ahead every token is nearly over, and by one that is behind none ever is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_renewed_in_time_by_a_clock_that_is_wrong() {
    let is_installed = std::path::Path::new(FAKETIME).exists();
    assert!(is_installed, "install libfaketime: {FAKETIME} is not there");
    for offset in ["+25s", "-3600s"] {
        let mut harness = Harness::prepare(DaemonOptions::default()).await;
        let fake =
            [("LD_PRELOAD", FAKETIME), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        harness.set_variables(&fake);
        harness.daemon.spawn().await;
        // Tokens of users are judged by the same clock.
        let (user, account) = (harness.user_by_clock("ann", offset), harness.person().await);
        let (login, _) = renewals(&harness, &user).await;
        // What is shown can be scanned, however long it took.
        sleep(Duration::from_secs(15)).await;
        harness.scan(&user, &login, &account).await;
        harness.until_login(&user, &login, "active").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_whose_connection_is_always_cut_asks_ever_more_slowly() {
    let harness = Harness::open().await;
    let user = harness.user("ann");
    let login = login_id(&begin(&user, QR, json!({})).await);
    let kind = Some(FaultKind::Disconnect);
    harness.sim.add_fault(FaultSpec { kind, ..FaultSpec::default() }).await.unwrap();
    let before = harness.sim.stats().await.connections_total;
    sleep(WATCHED).await;
    let dials = harness.sim.stats().await.connections_total - before;
    assert!(dials <= 12, "{dials} dials in {WATCHED:?}");
    harness.sim.lift_faults().await;
    harness.until_login(&user, &login, "waiting_scan").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_cannot_be_ended_is_not_tried_without_end() {
    let harness = Harness::open().await;
    let (owner, other, account) =
        (harness.user("ann"), harness.user("bob"), harness.person().await);
    harness.connect(&owner, &account).await;
    harness.always("auth.logOut", "RPC_CALL_FAIL").await;
    let login = begin_sms(&other, &account.phone).await;
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    let refused = other.post(&format!("/logins/{login}/code"), code).await;
    refused.expect_problem(409, "CONFLICT");
    let calls = harness.calls_while_watched("auth.logOut").await;
    assert!((1..=CALLS_MAX).contains(&calls), "{calls} calls");
    harness.sim.lift_faults().await;
    eventually("it is ended after all", async || {
        (harness.books(&account).await.sessions == 1).then_some(())
    })
    .await;
    harness.expect_clean_books().await;
}

async fn dials_while_watched(harness: &Harness, account: &Account) -> u64 {
    let before = harness.books(account).await.connections_total;
    sleep(WATCHED).await;
    harness.books(account).await.connections_total - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_asked_to_reconnect_again_and_again_dials_ever_more_slowly() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let path = format!("/accounts/{id}/reconnect");
    let storm = async {
        let end = Instant::now() + WATCHED;
        while Instant::now() < end {
            user.ask("POST", &path, None).await.expect(200);
            sleep(Duration::from_millis(100)).await;
        }
    };
    let (dials, ()) = tokio::join!(dials_while_watched(&harness, &account), storm);
    assert!((1..=12).contains(&dials), "{dials} dials in {WATCHED:?}");
    harness.until_state(&user, &id, "active").await;
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_refused_at_every_dial_dials_ever_more_slowly() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.always("users.getUsers", "RPC_CALL_FAIL").await;
    harness.sim.disconnect(account.user_id).await.unwrap();
    let dials = dials_while_watched(&harness, &account).await;
    assert!((2..=10).contains(&dials), "{dials} dials in {WATCHED:?}");
    harness.sim.lift_faults().await;
    harness.until_state(&user, &id, "active").await;
    harness.expect_clean_books().await;
}

/// A wait of a second that never ends is asked about ever more seldom, and no account is harmed by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_telegram_always_asks_for_grows() {
    let options = DaemonOptions { extra_config: MORE_SENDS.into(), ..DaemonOptions::default() };
    let harness = Harness::open_with(options).await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.always("messages.sendMessage", "FLOOD_WAIT_0").await;
    let message = json!({ "to": "me", "text": "x", "timeout": 25 });
    let named = [("Idempotency-Key", "the-key")];
    let path = format!("/accounts/{id}/messages");
    let asking = user.try_send("POST", &path, &named, Some(&message));
    let (answer, calls) = tokio::join!(asking, harness.calls_while_watched("messages.sendMessage"));
    assert_eq!(answer.unwrap().status, 429, "it is told to wait, by whichever limit");
    assert!((2..=6).contains(&calls), "{calls} calls in {WATCHED:?}");
    harness.sim.lift_faults().await;
}

/// A lost connection is no reason to send every half second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_always_fails_is_tried_ever_more_slowly() {
    let options = DaemonOptions { extra_config: MORE_SENDS.into(), ..DaemonOptions::default() };
    let harness = Harness::open_with(options).await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.always("messages.sendMessage", "RPC_CALL_FAIL").await;
    let message = json!({ "to": "me", "text": "x", "timeout": 20 });
    let answer = harness.send(&user, &id, Some("the-key"), &message).await;
    answer.expect_problem(503, "TG_UNAVAILABLE");
    let calls = harness.calls("messages.sendMessage").await;
    assert!((3..=6).contains(&calls), "{calls} calls in 20 s");
    harness.sim.lift_faults().await;
    harness.send(&user, &id, Some("the-key"), &message).await.expect(201);
}

async fn called(stage: &Stage, method: &str) -> u64 {
    stage.sim.stats().await.methods.get(method).copied().unwrap_or(0)
}

/// How often `method` is called while it always fails.
async fn calls_that_fail(stage: &Stage, method: &str, cause: impl Future<Output = ()>) -> u64 {
    let spec = FaultSpec {
        method: Some(method.to_owned()),
        error: Some("RPC_CALL_FAIL".into()),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(spec).await.unwrap();
    let before = called(stage, method).await;
    cause.await;
    sleep(WATCHED).await;
    let calls = called(stage, method).await - before;
    stage.sim.lift_faults().await;
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_always_fails_is_tried_ever_more_slowly() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let chat = stage.supergroup(&[&alice]).await;
    let join = async {
        let command = json!({
            "command": "join_chat", "chat_id": chat.invite_link, "session": bob.data(),
        });
        stage.backend.command(&command).await;
    };
    let calls = calls_that_fail(&stage, "messages.importChatInvite", join).await;
    assert!((1..=6).contains(&calls), "{calls} calls");
    eventually("it joins after all", async || {
        let members = stage.sim.members(chat.chat_id).await.unwrap();
        members.iter().any(|member| member.user_id == bob.user_id).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_cannot_be_looked_up_is_asked_for_ever_more_slowly() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let start = async { stage.backend.start(json!("@nobody_knows"), &alice, &[]).await };
    let calls = calls_that_fail(&stage, "contacts.resolveUsername", start).await;
    assert!((1..=CALLS_MAX).contains(&calls), "{calls} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_that_always_fails_is_made_ever_more_seldom() {
    let extra_config = "[monitoring]\ncheck_every = \"1s\"\n".into();
    let options = DaemonOptions { extra_config, ..DaemonOptions::default() };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    let calls = calls_that_fail(&stage, "messages.getHistory", async {}).await;
    assert!((1..=CALLS_MAX).contains(&calls), "{calls} calls");
    stage.say(&chat, 1..=3).await;
    stage.expect_all(&chat).await;
}
