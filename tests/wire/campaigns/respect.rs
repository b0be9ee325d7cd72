//! Who wants no more of it is left alone, whatever crashes and whoever asks.

use serde_json::{Value, json};
use telewarden_simulator::Privacy;

use super::{FAST, Fixture};
use crate::support::{DaemonOptions, Question, eventually};

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
async fn whoever_is_named_by_a_file_of_refusals_is_contacted_by_no_campaign() {
    let mut fixture = Fixture::new(1, 5).await;
    // By a public name beside an unknown number, by a number alone, and by an id.
    let phone = fixture.people[1].phone.clone();
    let id = fixture.people[2].user_id;
    let file = format!(
        "phone;username;user_id\r\n+15550009999;person_0;\r\n{phone};;\r\nnonsense;;\r\n;;{id}\r\n"
    );
    let question = Question::new("POST", "/invite/suppression/import").by(&fixture.user.token);
    let told = fixture.harness.ask(question.form(&[("file", &file)])).await.expect(200);
    assert_eq!((&told["accepted"], &told["duplicates"]), (&json!(4), &json!(0)), "{told:#}");
    assert_eq!(told["rejected"][0]["line"], 4, "{told:#}");
    fixture.kill_and_start().await;
    let phone = format!("+{}", phone.trim_start_matches('+'));
    let identifiers = ["@person_0", &phone, "@person_3", "@person_4"].map(str::to_owned);
    let made = fixture.user.post("/invite/tasks", fixture.writing()).await.expect(201);
    let task = made["id"].as_str().unwrap();
    fixture.add(task, &identifiers).await;
    fixture.order(task, "start").await;
    fixture.until(task, "completed").await;
    let seen: Vec<String> =
        fixture.targets(task).await.into_iter().map(|target| target.status).collect();
    assert_eq!(seen, ["skipped", "skipped", "sent", "sent"]);
    fixture.expect_the_truth(&[task]).await;
}

/// What came of it is told to whoever asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_goes_on_when_its_sender_hangs_up_and_is_told_in_full() {
    const PEOPLE: usize = 20_000;
    let more = "min_pause_seconds = 0\nmax_targets = 30_000";
    let extra_config = FAST.replace("min_pause_seconds = 0", more);
    let options = DaemonOptions { extra_config, ..DaemonOptions::default() };
    let fixture = Fixture::with(options, 1, 0).await;
    let made = fixture.user.post("/invite/tasks", fixture.writing()).await.expect(201);
    let task = made["id"].as_str().unwrap();
    let mut file = "username\n".to_owned();
    for number in 0..PEOPLE {
        file.push_str(&format!("somebody_{number}\n"));
    }
    file.push_str("no name!\n");
    let question = Question::new("POST", "/invite/import/file").by(&fixture.user.token);
    let question = question.form(&[("task_id", task), ("file", &file)]);
    let connection = fixture.harness.door.begin(&question).await.unwrap();
    let path = format!("/invite/tasks/{task}/imports");
    let id = eventually("it is under way", async || {
        let page = fixture.user.get(&path).await.expect(200);
        page["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    drop(connection);
    let path = format!("{path}/{id}");
    let seen = eventually("it is over", async || {
        let seen = fixture.user.get(&path).await.expect(200);
        (seen["status"] == "finished").then_some(seen)
    })
    .await;
    assert_eq!((&seen["accepted"], &seen["rejected"]), (&json!(PEOPLE), &json!(1)), "{seen:#}");
    let told = &seen["result"];
    assert_eq!((&told["accepted"], &told["import_id"]), (&json!(PEOPLE), &json!(id)), "{told:#}");
    assert_eq!(told["rejected"][0]["line"], PEOPLE + 2, "{told:#}");
    assert_eq!(fixture.user.get("/users/ann/export").await.status, 200);
    fixture.user.delete("/users/ann/data").await.expect(200);
    fixture.user.get(&path).await.expect_problem(404, "NOT_FOUND");
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
