//! Who wants no more of it is left alone, whatever crashes and whoever asks.

use serde_json::{Value, json};
use telewarden_simulator::Privacy;

use super::Fixture;
use crate::support::eventually;

/// A second campaign for the same people, to whom the recontact window does not apply.
fn once_more(fixture: &Fixture) -> Value {
    let mut body = fixture.writing();
    body["settings"] = json!({ "ignore_recontact": true });
    body["message_template"] = json!("Once more");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_stop_is_never_contacted_again_and_a_doubtful_answer_waits_for_a_person() {
    let mut fixture = Fixture::new(2, 4).await;
    let task = fixture.draft(fixture.writing(), 0..4).await;
    fixture.order(&task, "start").await;
    fixture.until(&task, "completed").await;
    let sim = &fixture.harness.sim;
    let replies =
        ["Stop. Thank you", "we have got to stop this bill", "is this spam?", "Не пишите мне"];
    for (number, text) in replies.into_iter().enumerate() {
        let books = fixture.books().await;
        let person = fixture.people[number].user_id;
        sim.post_private(books[&person][0].by, person, text).await.unwrap();
    }
    eventually("three are listed", async || {
        let list = fixture.user.get("/invite/suppression").await.expect(200);
        (list["items"].as_array()?.len() == 3).then_some(())
    })
    .await;
    fixture.kill_and_start().await;
    let second = fixture.draft(once_more(&fixture), 0..4).await;
    fixture.order(&second, "start").await;
    fixture.until(&second, "completed").await;
    let targets = fixture.targets(&second).await;
    let seen: Vec<(&str, Option<&str>)> =
        targets.iter().map(|target| (&*target.status, target.reason.as_deref())).collect();
    assert_eq!(
        seen,
        [
            ("skipped", Some("suppressed")),
            ("sent", None),
            ("skipped", Some("held_for_review")),
            ("skipped", Some("suppressed")),
        ]
    );
    fixture.expect_the_truth(&[&task, &second]).await;
    // Whoever said nothing of the kind to somebody else's campaign is not on a list.
    let log = fixture.harness.daemon.log();
    assert!(
        !log.contains("Thank you") && !log.contains("person_0"),
        "no text and no name is logged"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_contacted_by_two_campaigns_within_the_window() {
    let fixture = Fixture::new(2, 6).await;
    let first = fixture.draft(fixture.writing(), 0..4).await;
    let second = fixture.draft(fixture.writing(), 2..6).await;
    fixture.order(&first, "start").await;
    fixture.until(&first, "completed").await;
    fixture.order(&second, "start").await;
    fixture.until(&second, "completed").await;
    let targets = fixture.targets(&second).await;
    let reasons: Vec<Option<&str>> =
        targets.iter().map(|target| target.reason.as_deref()).collect();
    assert_eq!(reasons, [Some("recontact"), Some("recontact"), None, None]);
    fixture.expect_the_truth(&[&first, &second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_blocked_one_account_is_asked_by_no_other_in_no_later_campaign() {
    let fixture = Fixture::new(2, 3).await;
    let everybody = fixture.accounts.iter().map(|account| account.user_id).collect();
    let privacy = Privacy { blocked: everybody, ..Privacy::default() };
    fixture.harness.sim.set_privacy(fixture.people[0].user_id, privacy).await.unwrap();
    let first = fixture.draft(fixture.writing(), 0..3).await;
    fixture.order(&first, "start").await;
    fixture.until(&first, "completed").await;
    let second = fixture.draft(once_more(&fixture), 0..3).await;
    fixture.order(&second, "start").await;
    fixture.until(&second, "completed").await;
    let refused = &fixture.targets(&first).await[0];
    assert_eq!((&*refused.status, refused.reason.as_deref()), ("refused", Some("blocked")));
    let skipped = &fixture.targets(&second).await[0];
    assert_eq!((&*skipped.status, skipped.reason.as_deref()), ("skipped", Some("suppressed")));
    let books = fixture.books().await;
    assert_eq!(books[&fixture.people[0].user_id].len(), 1);
    fixture.expect_the_truth(&[&first, &second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_erased_in_the_middle_of_a_campaign_leaves_nothing_of_it() {
    let mut fixture = Fixture::new(2, 40).await;
    let spec = telewarden_simulator::FaultSpec { delay_ms: Some(150), ..Default::default() };
    fixture.fault(None, "messages.sendMessage", spec).await;
    let task = fixture.draft(fixture.writing(), 0..40).await;
    fixture.order(&task, "start").await;
    eventually("some are reached", async || {
        (fixture.harness.sim.contacted().await.len() >= 3).then_some(())
    })
    .await;
    fixture.user.delete("/users/ann/data").await.expect(200);
    let admin = fixture.harness.admin();
    admin.get(&format!("/invite/tasks/{task}")).await.expect_problem(404, "NOT_FOUND");
    let reached = fixture.harness.sim.contacted().await.len();
    fixture.kill_and_start().await;
    admin.get(&format!("/invite/tasks/{task}")).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(admin.get("/invite/tasks").await.expect(200)["items"], json!([]));
    assert_eq!(
        fixture.harness.sim.contacted().await.len(),
        reached,
        "nobody is contacted any more"
    );
    fixture.harness.expect_clean_books().await;
}
