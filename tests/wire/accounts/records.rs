//! What is told of changes, what is kept of audit_events, and what is left of a user who is erased.

use std::time::Duration;

use serde_json::{Value, json};
use telewarden::protocol::answers::erasure::Erasure;
use telewarden::protocol::users::owner::UserId;
use telewarden::protocol::values::ids::UnixMillis;
use telewarden::store::{Store, StoreOptions};

use crate::logins::connecting::begin_sms;
use crate::support::{Client, Harness, eventually, id_of};

const SESSION: &str = "/accounts/telegram/connect/session";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_of_ones_own_changes_and_resumes() {
    let mut harness = Harness::open().await;
    let (ann, bob, account) = (harness.user("ann"), harness.user("bob"), harness.stranger().await);
    let (mut own, mut others) = (ann.follow(None).await, bob.follow(None).await);
    let login = begin_sms(&ann, &account.phone).await;
    let begun = own
        .until(|event| {
            event.name == "login.changed"
                && event.data["login_id"] == *login
                && event.data["state"] == "code_sent"
        })
        .await;
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    let done = ann.post(&format!("/logins/{login}/code"), code).await.expect(200);
    let id = id_of(&done["account"]);
    let is_active = |event: &crate::support::StreamEvent| {
        event.name == "account.changed"
            && event.data["id"] == *id
            && event.data["state"] == "active"
    };
    own.until(is_active).await;
    // What came after an event comes again to whoever resumes from it.
    let mut again = ann.follow(begun.id.as_deref()).await;
    again
        .until(|event| {
            let is_done = event.name == "login.changed" && event.data["state"] == "active";
            assert!(
                !is_done || event.data["account"]["id"] == *id,
                "it names its account: {event:?}"
            );
            is_done
        })
        .await;
    again.until(is_active).await;
    // Bob is told of his own and of nothing else.
    let his = harness.person().await;
    let body = json!({ "session_string": his.session_string });
    let his = id_of(&bob.post(SESSION, body).await.expect(201));
    others
        .until(|event| {
            let told = event.data.to_string();
            assert!(!told.contains(&login) && !told.contains(&id), "{event:?}");
            event.name == "account.changed" && event.data["id"] == *his
        })
        .await;
    // Somebody else's event id is no way to theirs.
    let mut curious = bob.follow(begun.id.as_deref()).await;
    while let Some(event) = curious.next_within(Duration::from_secs(1)).await {
        assert!(!event.data.to_string().contains(&login) && !event.data.to_string().contains(&id));
    }
    harness.kill().await;
    harness.daemon.spawn().await;
    let reset = ann.follow(begun.id.as_deref()).await.next().await.expect("an event");
    assert_eq!(reset.name, "reset", "{reset:?}");
    harness.expect_clean_books().await;
}

/// The whole log as `who` sees it, the newest first.
async fn log_of(who: &Client, query: &str) -> Vec<Value> {
    let (mut entries, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = who.get(&format!("/audit?limit=3{query}{cursor}")).await.expect(200);
        entries.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { return entries };
        cursor = format!("&cursor={next}");
    }
}

fn actions(entries: &[Value]) -> Vec<(&str, &str)> {
    let text =
        |entry: &'_ Value, name: &str| entry[name].as_str().unwrap().to_owned().leak() as &str;
    entries.iter().rev().map(|entry| (text(entry, "action"), text(entry, "outcome"))).collect()
}

/// Ann does everything that is noted but give something up; answers her account's id, and the code of
/// the one thing that is refused.
async fn do_everything(harness: &Harness, ann: &Client) -> (String, String) {
    let account = harness.person().await;
    let id = harness.connect(ann, &account).await;
    let message = json!({ "to": "me", "text": "hello" });
    harness.send(ann, &id, None, &message).await.expect(201);
    let nobody = json!({ "to": "@nobody_is_called_this", "text": "hello" });
    let refused = harness.send(ann, &id, None, &nobody).await;
    for what in ["pause", "resume", "reconnect"] {
        ann.ask("POST", &format!("/accounts/{id}/{what}"), None).await.expect(200);
    }
    harness.until_state(ann, &id, "active").await;
    let chat = telewarden_simulator::NewChat {
        kind: telewarden_simulator::ChatKind::Supergroup,
        title: "A room".into(),
        username: None,
        members: vec![account.user_id],
        admins: Vec::new(),
    };
    let chat = harness.sim.add_chat(chat).await.unwrap().chat_id;
    let path = format!("/accounts/{id}/chats");
    ann.post(&path, json!({ "chat": chat })).await.expect(201);
    let path = format!("/monitors/{chat}");
    ann.put(&path, json!({ "accounts": [id] })).await.expect(201);
    ann.delete(&path).await.expect(204);
    ann.get("/users/ann/export").await.expect(200);
    (id, refused.body["code"].as_str().unwrap().to_owned())
}

/// The log on disk is whole, with this many entries of somebody forgotten at least.
async fn expect_whole_trail(harness: &Harness, forgotten: usize) {
    let (store, _outbox) = Store::open(StoreOptions::new(harness.daemon.store())).unwrap();
    let report = store.blocking().verify_audit_log().unwrap();
    assert_eq!(report.faults, [] as [String; 0]);
    assert!(report.pseudonymised as usize >= forgotten, "{report:?}");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_deed_leaves_its_line_and_erasing_a_user_leaves_a_pseudonym() {
    let mut harness = Harness::open().await;
    let (ann, bob) = (harness.user("ann"), harness.user("bob"));
    let (id, failed) = do_everything(&harness, &ann).await;
    let kept = harness.person().await;
    let his = harness.connect(&bob, &kept).await;
    let second = harness.person().await;
    let second = harness.connect(&ann, &second).await;
    ann.delete(&format!("/accounts/{second}")).await.expect(204);

    let own = log_of(&ann, "").await;
    let expected = [
        ("account.connect", "ok"),
        ("message.send", "begun"),
        ("message.send", "ok"),
        ("message.send", failed.as_str()),
        ("account.pause", "ok"),
        ("account.resume", "ok"),
        ("account.reconnect", "ok"),
        ("chat.attach", "ok"),
        ("monitor.put", "ok"),
        ("monitor.delete", "ok"),
        ("user.export", "ok"),
        ("account.connect", "ok"),
        ("account.remove", "ok"),
    ];
    assert_eq!(actions(&own), expected);
    assert!(own.iter().all(|entry| entry["actor"] == "ann" && entry["address"] == "127.0.0.1"));
    assert_eq!(log_of(&bob, "").await.len(), 1, "one's own and nothing else");
    assert_eq!(log_of(&ann, "&action=message.send").await.len(), 3);
    assert_eq!(log_of(&harness.admin(), "").await.len(), expected.len() + 1);

    bob.delete("/users/ann/data").await.expect_problem(404, "NOT_FOUND");
    let erased = ann.delete("/users/ann/data").await.expect(200);
    assert_eq!((&erased["accounts"], &erased["monitors"]), (&json!(1), &json!(0)), "{erased:#}");
    ann.get(&format!("/accounts/{id}")).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(harness.accounts_of(&ann).await, [] as [Value; 0]);
    assert_eq!(log_of(&ann, "").await, [] as [Value; 0]);
    let all = log_of(&harness.admin(), "").await;
    let erasing = &all[0];
    assert_eq!(erasing["action"], "user.erase");
    let pseudonym = erasing["target"].as_str().unwrap();
    assert!(!json!(all).to_string().contains("\"ann\""), "{all:#?}");
    let under_it = all.iter().filter(|entry| entry["actor"] == pseudonym).count();
    assert!(under_it >= expected.len(), "{all:#?}");
    // Bob's are as they were.
    harness.until_state(&bob, &his, "active").await;
    assert_eq!(log_of(&bob, "").await.len(), 1);

    harness.kill().await;
    harness.daemon.spawn().await;
    assert_eq!(harness.accounts_of(&ann).await, [] as [Value; 0]);
    assert_eq!(log_of(&harness.admin(), "").await, all);
    harness.until_state(&bob, &his, "active").await;
    harness.expect_clean_books().await;
    assert_eq!(harness.daemon.terminate().await.code(), Some(0));
    expect_whole_trail(&harness, expected.len()).await;
}

/// A chat has a number and a public name; a user's monitor of it is one, whichever is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_goes_by_the_number_and_the_name_of_its_chat() {
    let harness = Harness::open().await;
    let (ann, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&ann, &account).await;
    let mut followed = ann.follow(None).await;
    for (name, is_made_by_name) in [("the_forum", true), ("the_paper", false)] {
        let chat = telewarden_simulator::NewChat {
            kind: telewarden_simulator::ChatKind::Supergroup,
            title: "A room".into(),
            username: Some(name.into()),
            members: vec![account.user_id],
            admins: Vec::new(),
        };
        let number = harness.sim.add_chat(chat).await.unwrap().chat_id;
        let (by_name, by_number) = (format!("/monitors/@{name}"), format!("/monitors/{number}"));
        let (first, second) = match is_made_by_name {
            true => (&by_name, &by_number),
            false => (&by_number, &by_name),
        };
        let pool = json!({ "accounts": [id] });
        let made = ann.put(first, pool.clone()).await.expect(201);
        eventually("it listens", async || {
            let monitor = ann.get(first).await.expect(200);
            (monitor["state"] == "active").then_some(())
        })
        .await;
        // What it learns of its chat is durable a moment later.
        let known = eventually("its other name is known", async || {
            let answer = ann.get(second).await;
            (answer.status == 200).then(|| answer.expect(200))
        })
        .await;
        assert_eq!(known["chat_id"], made["chat_id"]);
        assert_eq!(ann.put(second, pool).await.expect(200)["chat_id"], made["chat_id"]);
        let listed = ann.get("/monitors").await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed:#}");
        let listed = harness.admin().get("/monitors?user=ann").await.expect(200);
        assert_eq!(listed["items"][0]["owner"], "ann", "{listed:#}");
        ann.delete(second).await.expect(204);
        ann.get(first).await.expect_problem(404, "NOT_FOUND");
        // Events call it as it was asked for.
        let called = if is_made_by_name { json!(format!("@{name}")) } else { json!(number) };
        for event in ["monitor.changed", "monitor.removed"] {
            followed.until(|told| told.name == event && told.data["chat_id"] == called).await;
        }
    }
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasing_that_a_crash_came_into_is_through_before_anybody_looks() {
    let mut harness = Harness::open().await;
    let (ann, bob) = (harness.user("ann"), harness.user("bob"));
    let (hers, his) = (harness.person().await, harness.person().await);
    let id = harness.connect(&ann, &hers).await;
    let his = harness.connect(&bob, &his).await;
    let message = json!({ "to": "me", "text": "hello" });
    harness.send(&ann, &id, Some("a-key"), &message).await.expect(201);
    ann.put("/monitors/@some_forum", json!({ "accounts": [id] })).await.expect(201);
    harness.kill().await;
    // As far as a daemon had come that noted what it was about to do, and was killed then.
    let (store, outbox) = Store::open(StoreOptions::new(harness.daemon.store())).unwrap();
    let erasure = Erasure {
        user: UserId::new("ann").unwrap(),
        pseudonym: UserId::new("erased-1").unwrap(),
        asked_by: None,
        address: None,
        at: UnixMillis(1_700_000_000_000),
    };
    store.mark_erasure(&erasure).await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
    harness.daemon.spawn().await;
    assert_eq!(harness.accounts_of(&ann).await, [] as [Value; 0]);
    assert_eq!(ann.get("/monitors").await.expect(200)["items"], json!([]));
    let all = log_of(&harness.admin(), "").await;
    assert_eq!((&all[0]["action"], &all[0]["actor"]), (&json!("user.erase"), &json!("erased-1")));
    assert!(!json!(all).to_string().contains("\"ann\""), "{all:#?}");
    harness.until_state(&bob, &his, "active").await;
    // It is over: she may begin anew.
    harness.connect(&ann, &hers).await;
    harness.expect_clean_books().await;
}
