//! Messages that users send: once under one key, within every limit, and as they were meant.

use serde_json::{Value, json};
use std::time::Duration;
use telewarden_simulator::{
    Account, ChatKind, ChatRules, FaultKind, FaultSpec, NewAccount, NewChat, Privacy,
};
use tokio::time::Instant;

use crate::support::{Answer, Client, DaemonOptions, Harness, MORE_SENDS, PATIENCE, eventually};

mod limits;

/// A user with a connected account, and somebody to write to.
struct SendScene {
    harness: Harness,
    user: Client,
    account: Account,
    id: String,
    friend: Account,
}

impl SendScene {
    async fn set() -> Self {
        Self::set_with(MORE_SENDS).await
    }

    async fn set_with(limits: &str) -> Self {
        let options = DaemonOptions { extra_config: limits.into(), ..DaemonOptions::default() };
        let harness = Harness::open_with(options).await;
        let (user, account) = (harness.user("ann"), harness.person().await);
        let new = NewAccount { username: Some("the_friend".into()), ..NewAccount::default() };
        let friend = harness.account(new).await;
        let id = harness.connect(&user, &account).await;
        Self { harness, user, account, id, friend }
    }

    /// Sends `text` to the friend.
    async fn send(&self, key: Option<&str>, text: &str) -> Answer {
        self.send_to("@the_friend", key, text).await
    }

    async fn send_to(&self, to: &str, key: Option<&str>, text: &str) -> Answer {
        self.order(key, json!({ "to": to, "text": text })).await
    }

    async fn order(&self, key: Option<&str>, message: Value) -> Answer {
        self.harness.send(&self.user, &self.id, key, &message).await
    }

    /// What the friend has received.
    async fn received(&self) -> Vec<String> {
        self.harness.texts(&self.friend).await
    }

    async fn expect_received(&self, texts: &[&str]) {
        assert_eq!(self.received().await, texts);
    }

    /// Calls of `messages.sendMessage` so far.
    async fn calls(&self) -> u64 {
        let books = self.harness.books(&self.account).await;
        books.methods.get("messages.sendMessage").copied().unwrap_or(0)
    }

    /// Has the account's next `times` sends go wrong.
    async fn fault(&self, spec: FaultSpec) {
        let spec = FaultSpec {
            user_id: Some(self.account.user_id),
            method: Some("messages.sendMessage".into()),
            ..spec
        };
        self.harness.sim.add_fault(spec).await.unwrap();
    }

    async fn refuse(&self, error: &str) {
        let error = Some(error.to_owned());
        self.fault(FaultSpec { error, times: Some(1), ..FaultSpec::default() }).await;
    }

    async fn supergroup(&self, members: &[i64]) -> i64 {
        let new = NewChat {
            kind: ChatKind::Supergroup,
            title: "A room".into(),
            username: None,
            members: members.to_vec(),
            admins: Vec::new(),
        };
        self.harness.sim.add_chat(new).await.unwrap().chat_id
    }

    async fn status(&self) -> Value {
        self.user.get(&format!("/accounts/{}/status", self.id)).await.expect(200)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_requests_at_once_under_one_key_send_one_message_and_get_one_answer() {
    let scene = SendScene::set().await;
    let delay_ms = Some(300);
    scene.fault(FaultSpec { delay_ms, times: Some(1), ..FaultSpec::default() }).await;
    let requests = (0..20).map(|_| scene.send(Some("the-key"), "once"));
    let answers = futures_util::future::join_all(requests).await;
    let first = answers[0].body.clone();
    for answer in answers {
        assert_eq!(answer.expect(201), first);
    }
    scene.expect_received(&["once"]).await;
    let later = scene.send(Some("the-key"), "once").await;
    assert_eq!(later.header("idempotency-replayed"), Some("true"));
    assert_eq!(later.expect(201), first);
    assert_eq!(scene.calls().await, 1);
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stands_for_one_message_of_one_account_and_no_key_for_none() {
    let scene = SendScene::set().await;
    scene.send(Some("the-key"), "one").await.expect(201);
    scene.send(Some("the-key"), "another").await.expect_problem(409, "CONFLICT");
    let to_me = json!({ "to": "me", "text": "one" });
    scene.order(Some("the-key"), to_me).await.expect_problem(409, "CONFLICT");
    scene.expect_received(&["one"]).await;
    let other = scene.harness.person().await;
    let other = scene.harness.connect(&scene.user, &other).await;
    let message = json!({ "to": "@the_friend", "text": "of another" });
    scene.harness.send(&scene.user, &other, Some("the-key"), &message).await.expect(201);
    scene.expect_received(&["one", "of another"]).await;
    let room = scene.supergroup(&[scene.account.user_id]).await;
    for _ in 0..2 {
        scene.send_to(&room.to_string(), None, "twice").await.expect(201);
    }
    assert_eq!(scene.harness.sim.messages(room).await.unwrap().len(), 2);
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_during_a_send_sends_one_message() {
    let scene = SendScene::set().await;
    for (number, kind) in
        [FaultKind::LoseAnswer, FaultKind::Disconnect, FaultKind::Reset].into_iter().enumerate()
    {
        let (kind, delay_ms) = (Some(kind), Some(200));
        scene.fault(FaultSpec { kind, delay_ms, times: Some(1), ..FaultSpec::default() }).await;
        let patient = json!({ "to": "@the_friend", "text": number.to_string(), "timeout": 25 });
        let key = format!("key-{number}");
        let named = (number != 1).then_some(key.as_str());
        scene.order(named, patient).await.expect(201);
    }
    scene.expect_received(&["0", "1", "2"]).await;
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_neither_loses_nor_doubles_its_message() {
    let scene = SendScene::set().await;
    let delay_ms = Some(1_000);
    scene.fault(FaultSpec { delay_ms, times: Some(1), ..FaultSpec::default() }).await;
    let message = json!({ "to": "@the_friend", "text": "farewell" });
    let path = format!("/accounts/{}/messages", scene.id);
    let named = [("Idempotency-Key", "the-key")];
    let socket = scene.user.begin("POST", &path, &named, Some(&message)).await.unwrap();
    eventually("the message is under way", async || (scene.calls().await == 1).then_some(())).await;
    drop(socket);
    eventually("it arrives", async || (scene.received().await.len() == 1).then_some(())).await;
    let again = scene.order(Some("the-key"), message).await;
    again.expect(201);
    scene.expect_received(&["farewell"]).await;
    assert_eq!(scene.calls().await, 1);
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_outlives_its_callers_patience_is_learnt_of_under_its_key() {
    let scene = SendScene::set().await;
    let delay_ms = Some(4_000);
    scene.fault(FaultSpec { delay_ms, times: Some(1), ..FaultSpec::default() }).await;
    let brief = json!({ "to": "@the_friend", "text": "late", "timeout": 1 });
    scene.order(Some("the-key"), brief.clone()).await.expect_problem(503, "TG_UNAVAILABLE");
    let sent = eventually("its outcome is told", async || {
        let answer = scene.order(Some("the-key"), brief.clone()).await;
        (answer.status == 201).then_some(answer.body)
    });
    assert!(sent.await["message_id"].is_i64());
    scene.expect_received(&["late"]).await;
    assert_eq!(scene.calls().await, 1);
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_session_is_an_error_that_connecting_anew_does_not_hide() {
    let scene = SendScene::set().await;
    scene.harness.sim.revoke(scene.account.user_id, None).await.unwrap();
    scene.send(None, "too late").await.expect_problem(409, "TG_SESSION_EXPIRED");
    let status = scene.harness.until_state(&scene.user, &scene.id, "error").await;
    assert_eq!(status["error"]["code"], "TG_SESSION_EXPIRED", "{status:#}");
    scene.send(None, "too late").await.expect_problem(409, "TG_SESSION_EXPIRED");
    let path = format!("/accounts/{}/reconnect", scene.id);
    let answer = scene.user.ask("POST", &path, None).await;
    assert!([200, 409].contains(&answer.status), "{answer:?}");
    let status = scene.harness.until_state(&scene.user, &scene.id, "error").await;
    assert_eq!(status["error"]["code"], "TG_SESSION_EXPIRED", "{status:#}");
    scene.send(None, "too late").await.expect_problem(409, "TG_SESSION_EXPIRED");
    scene.expect_received(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markup_replies_and_silence_arrive() {
    let scene = SendScene::set().await;
    for (mode, end, text) in [
        ("markdown", ".", "**bold** and [a link](https://example.org/) and `code`."),
        (
            "html",
            "!",
            "<b>bold</b> and <a href=\"https://example.org/\">a link</a> and <code>code</code>!",
        ),
    ] {
        let message = json!({ "to": "@the_friend", "text": text, "parse_mode": mode });
        scene.order(None, message).await.expect(201);
        let inbox = scene.harness.inbox(&scene.friend).await;
        let message = inbox.last().unwrap();
        assert_eq!(message.text, format!("bold and a link and code{end}"), "{mode}");
        let marked = |kind: &str| {
            let entity = message.entities.iter().find(|entity| entity.kind == kind);
            let entity = entity.unwrap_or_else(|| panic!("no {kind}: {:?}", message.entities));
            (entity.offset, entity.length, entity.url.as_deref())
        };
        assert_eq!(marked("bold"), (0, 4, None));
        assert_eq!(marked("text_url"), (9, 6, Some("https://example.org/")));
        assert_eq!(marked("code"), (20, 4, None));
        assert_eq!(message.entities.len(), 3);
    }
    let first = scene.send(None, "<b>as it is</b>").await.expect(201);
    let reply = json!({
        "to": "@the_friend", "text": "quietly", "reply_to": first["message_id"], "silent": true,
    });
    scene.order(None, reply).await.expect(201);
    let inbox = scene.harness.inbox(&scene.friend).await;
    let [.., first, reply] = &inbox[..] else { panic!("{inbox:?}") };
    assert_eq!((first.text.as_str(), first.silent), ("<b>as it is</b>", false));
    assert_eq!((reply.silent, reply.reply_to), (true, Some(first.message_id)));
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_is_a_name_a_link_an_id_or_oneself() {
    let scene = SendScene::set().await;
    scene.send_to("@the_friend", None, "by name").await.expect(201);
    scene.send_to("https://t.me/the_friend", None, "by link").await.expect(201);
    scene.send_to(&scene.friend.user_id.to_string(), None, "by id").await.expect(201);
    scene.expect_received(&["by name", "by link", "by id"]).await;
    let accepted = scene.harness.sim.stats().await.sends_accepted;
    scene.send_to("me", None, "to myself").await.expect(201);
    assert_eq!(scene.harness.sim.stats().await.sends_accepted, accepted + 1);
    assert_eq!(scene.received().await.len(), 3);
    let room = scene.supergroup(&[scene.account.user_id]).await;
    scene.send_to(&room.to_string(), None, "to all").await.expect(201);
    let by_number = json!({ "to": room, "text": "by number" });
    scene.order(None, by_number).await.expect(201);
    let held = scene.harness.sim.messages(room).await.unwrap();
    let texts: Vec<_> = held.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["to all", "by number"]);
    let nobody = scene.send_to("@nobody_is_called_this", None, "?").await;
    assert!([403, 422].contains(&nobody.status), "{nobody:?}");
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_fails_holds_up_nobody_elses_message() {
    let scene = SendScene::set().await;
    let other = scene.harness.person().await;
    let other_id = scene.harness.connect(&scene.user, &other).await;
    let spec = FaultSpec {
        user_id: Some(scene.account.user_id),
        kind: Some(FaultKind::Mute),
        method: Some("*".into()),
        ..FaultSpec::default()
    };
    scene.harness.sim.add_fault(spec).await.unwrap();
    let stuck = scene.order(None, json!({ "to": "@the_friend", "text": "stuck", "timeout": 3 }));
    let brisk = async {
        let begun = Instant::now();
        for number in 0..10 {
            let message = json!({ "to": "@the_friend", "text": number.to_string() });
            scene.harness.send(&scene.user, &other_id, None, &message).await.expect(201);
        }
        begun.elapsed()
    };
    let (stuck, brisk) = tokio::join!(stuck, brisk);
    assert_eq!(stuck.status, 503, "{stuck:?}");
    assert!(brisk < Duration::from_secs(3), "{brisk:?}");
    let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(scene.received().await, expected);
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_repeated_under_their_keys_through_kills_at_random_instants_arrive_once() {
    let mut scene = SendScene::set().await;
    let (mut sent, mut kills) = (Vec::new(), 0);
    for number in 0..60 {
        let (key, text) = (format!("key-{number}"), number.to_string());
        let message = json!({ "to": "@the_friend", "text": text, "timeout": 20 });
        // The instants are the point of this test: before, in and after the send.
        let lifetime = Duration::from_millis(rand::random_range(0..60));
        let is_killed = number % 4 == 0;
        if is_killed {
            let (user, path) = (scene.user.clone(), format!("/accounts/{}/messages", scene.id));
            let (key, message) = (key.clone(), message.clone());
            let caller = tokio::spawn(async move {
                let named = [("Idempotency-Key", key.as_str())];
                user.try_send("POST", &path, &named, Some(&message)).await
            });
            tokio::time::sleep(lifetime).await;
            scene.harness.kill().await;
            drop(caller.await);
            scene.harness.daemon.spawn().await;
            kills += 1;
        }
        sent.push(scene.order(Some(&key), message).await.expect(201));
    }
    assert_eq!(kills, 15);
    let inbox = scene.harness.inbox(&scene.friend).await;
    let texts: Vec<_> = inbox.iter().map(|message| message.text.clone()).collect();
    assert_eq!(texts, (0..60).map(|number| number.to_string()).collect::<Vec<_>>());
    for (number, before) in sent.into_iter().enumerate() {
        let message = json!({ "to": "@the_friend", "text": number.to_string(), "timeout": 20 });
        let again = scene.order(Some(&format!("key-{number}")), message).await;
        assert_eq!(again.expect(201), before);
    }
    assert_eq!(scene.received().await.len(), 60);
    scene.harness.expect_clean_books().await;
}

/// Outcome and target of what the audit log has of messages, the oldest first.
async fn audit_events(user: &Client) -> Vec<(String, String)> {
    let page = user.get("/audit?action=message.send&limit=100").await.expect(200);
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let entries = page["items"].as_array().unwrap().iter().rev();
    entries.map(|entry| (text(entry, "outcome"), text(entry, "target"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_sent_as_the_daemon_died_is_in_the_audit_log() {
    let options = DaemonOptions {
        fail_points: true,
        extra_config: MORE_SENDS.into(),
        ..DaemonOptions::default()
    };
    let mut harness = Harness::prepare(options).await;
    harness.daemon.launch_to_die_at("send.outcome.before", 1);
    harness.daemon.wait_until_ready().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let accepted = harness.sim.stats().await.sends_accepted;
    let message = json!({ "to": "me", "text": "last words" });
    let path = format!("/accounts/{id}/messages");
    assert!(user.try_send("POST", &path, &[], Some(&message)).await.is_err(), "it dies over it");
    let deadline = Instant::now() + PATIENCE;
    while harness.daemon.ended().is_none() {
        assert!(Instant::now() < deadline, "it lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    harness.sim.client_killed().await;
    assert_eq!(harness.sim.stats().await.sends_accepted, accepted + 1, "telegram has it");
    harness.daemon.spawn().await;
    harness.until_state(&user, &id, "active").await;
    let told = audit_events(&user).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "begun");
    // One that comes to its end is two lines of one target, which is no other message's.
    harness.send(&user, &id, None, &message).await.expect(201);
    let told = audit_events(&user).await;
    let outcomes: Vec<_> = told.iter().map(|(outcome, _)| outcome.as_str()).collect();
    assert_eq!(outcomes, ["begun", "begun", "ok"]);
    assert_eq!(told[1].1, told[2].1);
    assert_ne!(told[0].1, told[1].1);
    assert!(told.iter().all(|(_, target)| target.starts_with(&id)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_telegram_knows_and_does_not_name_is_asked_for_once() {
    let mut scene = SendScene::set().await;
    scene.send(None, "twin").await.expect(201);
    let kind = Some(FaultKind::LoseAnswer);
    scene.fault(FaultSpec { kind, times: Some(1), ..FaultSpec::default() }).await;
    let (user_id, kind) = (Some(scene.account.user_id), Some(FaultKind::RefuseDuplicates));
    let refusing = FaultSpec { user_id, kind, ..FaultSpec::default() };
    scene.harness.sim.add_fault(refusing).await.unwrap();
    let message = json!({ "to": "@the_friend", "text": "twin", "timeout": 20 });
    let first = scene.order(Some("the-key"), message.clone()).await;
    let first = first.expect_problem(409, "CONFLICT");
    assert!(first.body["detail"].as_str().unwrap().contains("sent before"), "{first:?}");
    scene.expect_received(&["twin", "twin"]).await;
    let calls = scene.calls().await;
    for _ in 0..2 {
        let again = scene.order(Some("the-key"), message.clone()).await;
        assert_eq!(again.expect_problem(409, "CONFLICT").body["detail"], first.body["detail"]);
        scene.harness.kill().await;
        scene.harness.daemon.spawn().await;
        scene.harness.until_state(&scene.user, &scene.id, "active").await;
    }
    assert_eq!(scene.calls().await, calls, "telegram is not asked again");
    let outcomes: Vec<_> =
        audit_events(&scene.user).await.into_iter().map(|(told, _)| told).collect();
    assert_eq!(outcomes, ["begun", "ok", "begun", "ok"], "it was sent");
    assert_eq!(scene.status().await["caps"][0]["used"], 2);
}
