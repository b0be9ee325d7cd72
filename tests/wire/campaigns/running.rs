//! A campaign from its draft to its end, and what Telegram answers on the way.

use serde_json::json;
use telewarden_simulator::{ChatKind, FaultKind, FaultSpec, Privacy};

use super::Fixture;
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_written_to_once_and_the_report_agrees_with_the_books() {
    let fixture = Fixture::new(3, 30).await;
    let task = fixture.draft(fixture.writing(), 0..20).await;
    let phones: Vec<String> =
        fixture.people[20..30].iter().map(|person| format!("+{}", digits(&person.phone))).collect();
    let added = fixture.add(&task, &phones).await;
    assert_eq!(added["accepted"], 10, "{added:#}");
    let again = fixture.add(&task, &phones).await;
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(10)), "{again:#}");
    assert_eq!(fixture.order(&task, "start").await["status"], "running");
    fixture.until(&task, "completed").await;
    assert_eq!(fixture.counts(&task).await["sent"], 30);
    fixture.expect_the_truth(&[&task]).await;
    for number in 0..30 {
        let inbox = fixture.inbox(number).await;
        let texts: Vec<&str> = inbox.iter().map(|message| &*message.text).collect();
        assert_eq!(texts, [format!("Hello First{number}")]);
    }
    // All accounts had their share.
    let books = fixture.harness.sim.contacted().await;
    for account in &fixture.accounts {
        assert!(books.iter().any(|entry| entry.by == account.user_id), "{books:?}");
    }
}

fn digits(phone: &str) -> String {
    phone.chars().filter(char::is_ascii_digit).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_invited_and_whoever_does_not_want_to_is_asked_once() {
    let fixture = Fixture::new(2, 6).await;
    let group = fixture.group().await;
    let sim = &fixture.harness.sim;
    let privacy = Privacy { refuse_invites: true, ..Privacy::default() };
    sim.set_privacy(fixture.people[0].user_id, privacy).await.unwrap();
    sim.add_member(group, fixture.people[1].user_id).await.unwrap();
    sim.add_member(group, fixture.people[2].user_id).await.unwrap();
    sim.leave(group, fixture.people[2].user_id).await.unwrap();
    let task = fixture.draft(fixture.inviting(group), 0..6).await;
    fixture.order(&task, "start").await;
    fixture.until(&task, "completed").await;
    let targets = fixture.targets(&task).await;
    let seen: Vec<(&str, Option<&str>)> =
        targets.iter().map(|target| (&*target.status, target.reason.as_deref())).collect();
    assert_eq!(
        seen,
        [
            ("refused", Some("privacy")),
            ("skipped", Some("already_member")),
            ("refused", Some("opted_out_of_group")),
            ("invited", None),
            ("invited", None),
            ("invited", None),
        ]
    );
    fixture.expect_the_truth(&[&task]).await;
    let books = fixture.books().await;
    for refusing in [0, 2] {
        let attempts = &books[&fixture.people[refusing].user_id];
        assert_eq!(attempts.len(), 1, "from no other account either: {attempts:?}");
    }
    let members = sim.members(group).await.unwrap();
    assert_eq!(members.len(), 2 + 4, "two accounts, one who was there, three who came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_account_has_to_wait_for_another_does() {
    let fixture = Fixture::new(2, 12).await;
    let spec = FaultSpec { error: Some("FLOOD_WAIT_600".into()), ..FaultSpec::default() };
    fixture.fault(Some(0), "messages.sendMessage", spec).await;
    let task = fixture.draft(fixture.writing(), 0..12).await;
    fixture.order(&task, "start").await;
    fixture.until(&task, "completed").await;
    assert_eq!(fixture.counts(&task).await["sent"], 12);
    fixture.expect_the_truth(&[&task]).await;
    let calls = fixture.harness.books(&fixture.accounts[0]).await.methods;
    assert_eq!(calls["messages.sendMessage"], 1, "it waited: {calls:?}");
    let accounts = fixture.user.get("/invite/accounts").await.expect(200);
    let accounts = accounts["items"].as_array().or(accounts.as_array()).unwrap();
    let first = accounts.iter().find(|account| account["account_id"] == *fixture.ids[0]).unwrap();
    assert_eq!(first["status"], "cooldown", "{first:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_limited_does_no_more_and_its_target_is_not_passed_on() {
    let fixture = Fixture::new(2, 10).await;
    let spec =
        FaultSpec { error: Some("PEER_FLOOD".into()), times: Some(1), ..FaultSpec::default() };
    fixture.fault(Some(0), "messages.sendMessage", spec).await;
    let task = fixture.draft(fixture.writing(), 0..10).await;
    fixture.order(&task, "start").await;
    fixture.until(&task, "completed").await;
    let targets = fixture.targets(&task).await;
    let failed: Vec<_> = targets.iter().filter(|target| target.status == "failed").collect();
    assert_eq!(failed.len(), 1, "{targets:?}");
    assert_eq!(failed[0].reason.as_deref(), Some("account_limited"));
    assert_eq!(fixture.counts(&task).await["sent"], 9);
    let calls = fixture.harness.books(&fixture.accounts[0]).await.methods;
    assert_eq!(calls["messages.sendMessage"], 1, "{calls:?}");
    fixture.expect_the_truth(&[&task]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_accounts_that_are_limited_pause_it_for_a_person() {
    let fixture = Fixture::new(4, 20).await;
    let spec = FaultSpec { error: Some("PEER_FLOOD".into()), ..FaultSpec::default() };
    fixture.fault(None, "messages.sendMessage", spec).await;
    let task = fixture.draft(fixture.writing(), 0..20).await;
    fixture.order(&task, "start").await;
    let paused = fixture.until(&task, "paused").await;
    assert_eq!(paused["paused_because"], "peer_flood", "{paused:#}");
    // What was in flight comes to its end.
    let counts = eventually("nothing is in flight", async || {
        let counts = fixture.counts(&task).await;
        (!counts.contains_key("in_flight")).then_some(counts)
    })
    .await;
    assert!((3..=4).contains(&counts["failed"]), "{counts:?}");
    assert_eq!(counts["pending"], 20 - counts["failed"], "nobody is forgotten: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_settled_and_nobody_is_written_to_twice() {
    let fixture = Fixture::new(2, 8).await;
    let kind = Some(FaultKind::LoseAnswer);
    let spec = FaultSpec { kind, times: Some(2), ..FaultSpec::default() };
    fixture.fault(None, "messages.sendMessage", spec).await;
    let task = fixture.draft(fixture.writing(), 0..8).await;
    fixture.order(&task, "start").await;
    fixture.until(&task, "completed").await;
    assert_eq!(fixture.counts(&task).await["sent"], 8);
    fixture.expect_the_truth(&[&task]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_before_the_next_action_and_a_cancelled_campaign_contacts_nobody_more() {
    let fixture = Fixture::new(2, 40).await;
    let spec = FaultSpec { delay_ms: Some(150), ..FaultSpec::default() };
    fixture.fault(None, "messages.sendMessage", spec).await;
    let task = fixture.draft(fixture.writing(), 0..40).await;
    fixture.order(&task, "start").await;
    let reached = |count: usize| {
        let fixture = &fixture;
        eventually("some are reached", async move || {
            (fixture.harness.sim.contacted().await.len() >= count).then_some(())
        })
    };
    reached(5).await;
    assert_eq!(fixture.order(&task, "pause").await["status"], "paused");
    // What was in flight comes to its end.
    eventually("nothing is in flight", async || {
        (!fixture.counts(&task).await.contains_key("in_flight")).then_some(())
    })
    .await;
    let at_pause = fixture.harness.sim.contacted().await.len();
    fixture.user.post(&format!("/invite/tasks/{task}/pause"), json!({})).await;
    let sent = fixture.counts(&task).await["sent"];
    assert_eq!((sent, fixture.harness.sim.contacted().await.len()), (at_pause, at_pause));
    assert_eq!(fixture.order(&task, "resume").await["status"], "running");
    reached(at_pause + 5).await;
    fixture.order(&task, "cancel").await;
    eventually("nothing is in flight", async || {
        (!fixture.counts(&task).await.contains_key("in_flight")).then_some(())
    })
    .await;
    let at_end = fixture.harness.sim.contacted().await.len();
    assert!(at_end < 40, "it was cancelled long before its end");
    assert_eq!(fixture.status(&task).await["status"], "cancelled");
    fixture.expect_the_truth(&[&task]).await;
    fixture
        .user
        .post(&format!("/invite/tasks/{task}/start"), json!({}))
        .await
        .expect_problem(409, "CONFLICT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_becomes_a_supergroup_midway_is_followed_by_every_account() {
    let fixture = Fixture::new(2, 12).await;
    let accounts: Vec<_> = fixture.accounts.iter().collect();
    let group = fixture.harness.chat(ChatKind::Group, None, &accounts).await.chat_id;
    let task = fixture.draft(fixture.inviting(group), 0..12).await;
    let sim = &fixture.harness.sim;
    let slow = FaultSpec { delay_ms: Some(200), ..FaultSpec::default() };
    fixture.fault(None, "messages.addChatUser", slow).await;
    fixture.order(&task, "start").await;
    eventually("some are invited", async || (sim.contacted().await.len() >= 4).then_some(())).await;
    let new_id = sim.upgrade(group).await.unwrap();
    fixture.until(&task, "completed").await;
    assert_eq!(fixture.counts(&task).await["invited"], 12);
    fixture.expect_the_truth(&[&task]).await;
    let shown = fixture.task(&task).await;
    assert_eq!(shown["target_group_id"], new_id, "{shown:#}");
    let members = sim.members(new_id).await.unwrap();
    let mut members: Vec<i64> = members.iter().map(|member| member.user_id).collect();
    members.sort_unstable();
    let come = fixture.people.iter().chain(&fixture.accounts);
    let mut expected: Vec<i64> = come.map(|account| account.user_id).collect();
    expected.sort_unstable();
    assert_eq!(members, expected);
    // Both went on inviting there.
    for account in &fixture.accounts {
        let calls = fixture.harness.books(account).await.methods;
        assert!(calls.get("channels.inviteToChannel").is_some_and(|calls| *calls > 0), "{calls:?}");
    }
}
