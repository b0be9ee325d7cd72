//! A basic group becomes a supergroup while it is monitored: events go on under the new id, say
//! so, and nothing is lost or doubled across the change.

use std::os::unix::process::ExitStatusExt;

use serde_json::{Value, json};
use telewarden_simulator::{Chat, ChatKind, FaultSpec};

use crate::support::{Broker, DaemonOptions, Event, Harness, Listener, Stage, eventually};

/// The points of `src/failpoint.rs` that have a test here.
pub(crate) const DEATHS_TESTED: &[&str] = &["monitor.migrate.before", "monitor.migrate.after"];

/// A group of which Telegram makes a supergroup.
struct Upgrade {
    stage: Stage,
    group: Chat,
    supergroup: Option<Chat>,
    said: u32,
}

impl Upgrade {
    async fn of(stage: Stage, members: &[&Listener]) -> Self {
        let group = stage.chat(ChatKind::Group, None, members).await;
        Self { stage, group, supergroup: None, said: 0 }
    }

    fn id(&self) -> Value {
        self.group.chat_id.into()
    }

    async fn start(&self, primary: &Listener, backups: &[&Listener]) {
        self.stage.accept(self.id(), primary, backups).await;
    }

    async fn say(&mut self, count: u32) {
        let chat = self.supergroup.as_ref().unwrap_or(&self.group);
        self.stage.say(chat, self.said + 1..=self.said + count).await;
        self.said += count;
    }

    async fn happens(&mut self) {
        let chat_id = self.stage.sim.upgrade(self.group.chat_id).await.unwrap();
        self.supergroup = Some(Chat { chat_id, ..self.group.clone() });
    }

    fn new_id(&self) -> i64 {
        self.supergroup.as_ref().expect("it is upgraded").chat_id
    }

    /// Every message that was said, once and in order, each under the id that the chat had then.
    async fn expect_from(&self, first: u32) {
        self.expect_of(&self.id(), first).await;
        self.stage.expect_clean_books().await;
    }

    async fn expect_of(&self, chat_id: &Value, first: u32) {
        let truth: Vec<String> = (first..=self.said).map(|number| number.to_string()).collect();
        let told = self
            .stage
            .backend
            .look_for(|events| {
                let told = told(events, chat_id);
                (told.len() >= truth.len()).then_some(told)
            })
            .await
            .unwrap_or_else(|| {
                let told: Vec<_> = told(&self.stage.backend.events(), chat_id);
                let told: Vec<_> = told.iter().map(|body| body["text"].clone()).collect();
                panic!("of {truth:?} only {told:?}: {}", self.stage.daemon.log())
            });
        let texts: Vec<&str> = told.iter().map(|body| body["text"].as_str().unwrap()).collect();
        assert_eq!(texts, truth, "each once and in order");
        let before = self.stage.sim.messages(self.group.chat_id).await.unwrap();
        let before: Vec<String> = before.into_iter().map(|message| message.text).collect();
        for body in told {
            let (text, metadata) = (body["text"].as_str().unwrap(), &body["metadata"]);
            let is_before = before.iter().any(|known| known == text);
            let (marked, from) = match is_before {
                true => (json!(self.group.chat_id), Value::Null),
                false => (json!(self.new_id()), json!(self.group.chat_id)),
            };
            assert_eq!(metadata["marked_chat_id"], marked, "{body:#}");
            let is_named = !is_before && *chat_id == self.id();
            let from = if is_named { from } else { Value::Null };
            assert_eq!(metadata["migrated_from_chat_id"], from, "{body:#}");
        }
    }
}

/// The messages of a chat, in the order of their first delivery, without service messages.
fn told(events: &[Event], chat_id: &Value) -> Vec<Value> {
    let mut seen = std::collections::HashSet::new();
    let messages = events.iter().filter(|event| {
        event.kind == "incoming_telegram_message"
            && event.body["chat_id"] == *chat_id
            && event.body["metadata"]["is_service"] == false
    });
    let first = messages.filter(|event| seen.insert(event.message_id.clone()));
    first.map(|event| event.body.clone()).collect()
}

fn with_extra_events() -> DaemonOptions {
    let environment = vec![("TELEWARDEN__BRIDGE__EXTRA_EVENTS".into(), "true".into())];
    DaemonOptions { environment, ..DaemonOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_becomes_a_supergroup_is_followed() {
    let stage = Stage::set_with(Broker::shared(), with_extra_events()).await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let mut upgrade = Upgrade::of(stage, &[&alice, &bob]).await;
    upgrade.start(&alice, &[&bob]).await;
    upgrade.say(20).await;
    upgrade.happens().await;
    upgrade.say(30).await;
    upgrade.expect_from(1).await;
    let events = upgrade.stage.backend.events();
    let migrated: Vec<_> = events.iter().filter(|it| it.kind == "monitor_migrated").collect();
    assert_eq!(migrated.len(), 1);
    let expected = json!({
        "event": "monitor_migrated",
        "chat_id": upgrade.id(),
        "session_id": "alice",
        "marked_chat_id": upgrade.new_id(),
        "migrated_from_chat_id": upgrade.group.chat_id,
    });
    assert_eq!(migrated[0].body, expected);
    // Both of Telegram's own messages about it are told, the one on either side.
    let service = events.iter().filter(|it| it.body["metadata"]["is_service"] == true);
    let service: Vec<_> = service.map(|it| it.body["metadata"]["marked_chat_id"].clone()).collect();
    assert_eq!(service, [json!(upgrade.group.chat_id), json!(upgrade.new_id())]);
    assert!(upgrade.stage.backend.losses().is_empty(), "nobody lost anything");
    // Another session finds the same chat, whose ids are everybody's now.
    upgrade.stage.sim.revoke(alice.user_id, None).await.unwrap();
    upgrade.say(20).await;
    upgrade.stage.backend.wait_for_loss(&alice, "auth_key_unregistered").await;
    upgrade.say(5).await;
    upgrade.expect_from(1).await;
    let stop = json!({ "command": "stop_monitoring_chat", "chat_id": upgrade.id() });
    assert_eq!(upgrade.stage.backend.ask(&stop).await["result"]["was_monitored"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_while_the_daemon_is_down_loses_nothing() {
    for is_bot in [false, true] {
        let stage = Stage::set().await;
        let account = match is_bot {
            true => stage.bot("bot").await,
            false => stage.listener("alice").await,
        };
        let mut upgrade = Upgrade::of(stage, &[&account]).await;
        upgrade.start(&account, &[]).await;
        upgrade.stage.daemon.wait_for_monitors("active", 1).await;
        upgrade.say(10).await;
        upgrade.expect_from(1).await;
        upgrade.stage.daemon.kill();
        upgrade.say(15).await;
        upgrade.happens().await;
        upgrade.say(25).await;
        upgrade.stage.daemon.spawn().await;
        upgrade.say(5).await;
        upgrade.expect_from(1).await;
        upgrade.stage.daemon.kill();
        upgrade.stage.daemon.spawn().await;
        upgrade.say(5).await;
        upgrade.expect_from(1).await;
    }
}

/// It has told nothing yet and so cannot ask for what it missed: that comes with its difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_has_told_nothing_waits_for_what_was_said_before_the_upgrade() {
    let stage = Stage::set().await;
    let bot = stage.bot("bot").await;
    // What comes in another group makes the account's place in its updates known.
    let other = stage.chat(ChatKind::Group, None, &[&bot]).await;
    stage.monitor(&other, &bot, &[]).await;
    let mut upgrade = Upgrade::of(stage, &[&bot]).await;
    upgrade.start(&bot, &[]).await;
    upgrade.stage.daemon.wait_for_monitors("active", 2).await;
    upgrade.stage.say(&other, 1..=5).await;
    upgrade.stage.expect_all(&other).await;
    assert_eq!(upgrade.stage.daemon.terminate().await.code(), Some(0));
    upgrade.say(15).await;
    upgrade.happens().await;
    upgrade.say(15).await;
    upgrade.stage.daemon.spawn().await;
    upgrade.expect_from(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_follows_an_upgrade_while_it_listens() {
    let stage = Stage::set().await;
    let bot = stage.bot("bot").await;
    let mut upgrade = Upgrade::of(stage, &[&bot]).await;
    upgrade.start(&bot, &[]).await;
    upgrade.stage.daemon.wait_for_monitors("active", 1).await;
    upgrade.say(10).await;
    upgrade.happens().await;
    upgrade.say(40).await;
    upgrade.expect_from(1).await;
}

/// The one who takes over reads what is left of the group in its own numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_over_during_an_upgrade_tells_both_sides_of_it() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let mut upgrade = Upgrade::of(stage, &[&alice, &bob]).await;
    for number in 0..40 {
        let (sim, text) = (&upgrade.stage.sim, number.to_string());
        sim.post_private(bob.user_id, upgrade.stage.author, &text).await.unwrap();
    }
    upgrade.start(&alice, &[&bob]).await;
    upgrade.say(10).await;
    upgrade.expect_from(1).await;
    upgrade.stage.sim.revoke(alice.user_id, None).await.unwrap();
    upgrade.say(10).await;
    upgrade.happens().await;
    upgrade.say(10).await;
    upgrade.stage.backend.wait_for_loss(&alice, "auth_key_unregistered").await;
    upgrade.expect_from(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_whose_updates_are_lost_is_found() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let mut upgrade = Upgrade::of(stage, &[&alice]).await;
    upgrade.start(&alice, &[]).await;
    upgrade.say(10).await;
    upgrade.expect_from(1).await;
    upgrade.stage.lose_updates(&alice, 3).await;
    upgrade.happens().await;
    upgrade.say(10).await;
    upgrade.expect_from(1).await;
}

/// Whatever Telegram says of the group afterwards, the chat itself is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_cannot_be_read_any_more_is_left_for_the_supergroup_all_the_same() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let mut upgrade = Upgrade::of(stage, &[&alice]).await;
    upgrade.start(&alice, &[]).await;
    upgrade.say(10).await;
    upgrade.expect_from(1).await;
    let refused = FaultSpec {
        user_id: Some(alice.user_id),
        method: Some("messages.getHistory".into()),
        error: Some("PEER_ID_INVALID".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    upgrade.stage.sim.add_fault(refused).await.unwrap();
    upgrade.say(5).await;
    upgrade.happens().await;
    upgrade.say(10).await;
    upgrade.expect_from(1).await;
    assert_eq!(upgrade.stage.backend.losses(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_that_is_asked_for_by_the_old_id_after_the_upgrade_starts_in_the_new_one() {
    let stage = Stage::set().await;
    let alice = stage.listener("alice").await;
    let mut upgrade = Upgrade::of(stage, &[&alice]).await;
    upgrade.say(5).await;
    upgrade.happens().await;
    upgrade.say(5).await;
    let said = upgrade.stage.sim.messages(upgrade.new_id()).await.unwrap();
    let last = said.iter().map(|message| i64::from(message.date)).max().unwrap();
    eventually("the second is over", async || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (i64::try_from(now.as_secs()).unwrap() > last + 1).then_some(())
    })
    .await;
    upgrade.start(&alice, &[]).await;
    upgrade.stage.daemon.wait_for_monitors("active", 1).await;
    upgrade.say(20).await;
    upgrade.expect_from(11).await;
}

/// By the old id, by the new one, and each tells everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_monitors_follow_an_upgrade_each_for_itself() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let mut upgrade = Upgrade::of(stage, &[&alice, &bob]).await;
    upgrade.start(&alice, &[]).await;
    upgrade.stage.daemon.wait_for_monitors("active", 1).await;
    upgrade.say(10).await;
    upgrade.happens().await;
    upgrade.say(10).await;
    upgrade.expect_from(1).await;
    let new_id = Value::from(upgrade.new_id());
    let said = upgrade.said;
    upgrade.stage.backend.start(new_id.clone(), &alice, &[&bob]).await;
    upgrade.stage.daemon.wait_for_monitors("active", 2).await;
    upgrade.say(10).await;
    upgrade.expect_from(1).await;
    let recent = eventually("the other one tells it, too", async || {
        let recent = told(&upgrade.stage.backend.events(), &new_id);
        let texts = recent.iter().map(|body| body["text"].as_str().unwrap().to_owned());
        let texts: Vec<String> = texts.filter(|text| text.parse::<u32>().unwrap() > said).collect();
        (texts.len() >= 10).then_some(texts)
    })
    .await;
    let truth: Vec<String> = (said + 1..=upgrade.said).map(|number| number.to_string()).collect();
    assert_eq!(recent, truth);
}

/// Its events go through the same outbox, and what is shown of it says both ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_monitor_follows_an_upgrade_and_says_so() {
    let (harness, backend) = Harness::open_with_backend().await;
    let (user, person) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &person).await;
    let author = harness.person().await;
    let group = harness.chat(ChatKind::Group, None, &[&person, &author]).await;
    let path = format!("/monitors/{}", group.chat_id);
    user.put(&path, json!({ "accounts": [id] })).await.expect(201);
    harness.daemon.wait_for_monitors("active", 1).await;
    harness.sim.post(group.chat_id, author.user_id, "before").await.unwrap();
    let new_id = harness.sim.upgrade(group.chat_id).await.unwrap();
    harness.sim.post(new_id, author.user_id, "after").await.unwrap();
    eventually("it is followed", async || {
        let seen = user.get(&path).await.expect(200);
        let follows = seen["marked_chat_id"] == new_id && seen["state"] == "active";
        (follows && seen["migrated_from_chat_id"] == group.chat_id).then_some(())
    })
    .await;
    let told = backend
        .wait_until("both messages", |events| {
            let told = told(events, &group.chat_id.into());
            (told.len() >= 2).then_some(told)
        })
        .await;
    let texts: Vec<_> = told.iter().map(|body| body["text"].clone()).collect();
    assert_eq!(texts, ["before", "after"]);
    // Asked for by its new id it is the same chat, which the user has already.
    let by_new_id = format!("/monitors/{new_id}");
    let same = user.put(&by_new_id, json!({ "accounts": [id] })).await.expect(200);
    assert_eq!(same["chat_id"], group.chat_id, "{same:#}");
    harness.expect_clean_books().await;
}

/// No error of a send says where a group went; the group itself does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_to_a_group_that_became_a_supergroup_is_told_its_new_id() {
    let harness = Harness::open().await;
    let (user, person) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &person).await;
    let author = harness.person().await;
    let group = harness.chat(ChatKind::Group, None, &[&person, &author]).await;
    let chats = format!("/accounts/{id}/chats");
    let message = |to: i64, text: &str| json!({ "to": to.to_string(), "text": text });
    harness.send(&user, &id, None, &message(group.chat_id, "before")).await.expect(201);
    let kept = user.post(&chats, json!({ "chat": group.chat_id })).await.expect(201);
    assert_eq!((&kept["chat_id"], &kept["kind"]), (&json!(group.chat_id), &json!("group")));
    let new_id = harness.sim.upgrade(group.chat_id).await.unwrap();
    for key in ["the-key", "the-key", "another-key"] {
        let message = message(group.chat_id, "lost");
        let refused = harness.send(&user, &id, Some(key), &message).await;
        let refused = refused.expect_problem(403, "TG_CHAT_FORBIDDEN");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(
            detail.contains(&new_id.to_string()) && detail.contains("nothing was sent"),
            "{detail}"
        );
    }
    harness.send(&user, &id, None, &message(new_id, "after")).await.expect(201);
    let said = harness.sim.messages(new_id).await.unwrap();
    let said: Vec<_> = said.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(said.iter().filter(|text| **text == "lost").count(), 0, "{said:?}");
    assert_eq!(said.iter().filter(|text| **text == "after").count(), 1, "{said:?}");
    // Looked up by its old id it is the supergroup, and kept once.
    let moved = user.post(&chats, json!({ "chat": group.chat_id })).await.expect(201);
    assert_eq!((&moved["chat_id"], &moved["kind"]), (&json!(new_id), &json!("supergroup")));
    assert_eq!(moved["can_post"], true, "{moved:#}");
    let listed = user.get(&chats).await.expect(200);
    let listed: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|chat| &chat["chat_id"]).collect();
    assert_eq!(listed, [&json!(new_id)]);
    harness.expect_clean_books().await;
}

async fn dies_at(point: &str) {
    let options = DaemonOptions { fail_points: true, ..with_extra_events() };
    let mut stage = Stage::prepare(Broker::shared(), options).await;
    let alice = stage.listener("alice").await;
    stage.backend.declare().await;
    stage.daemon.launch_to_die_at(point, 1);
    let mut upgrade = Upgrade::of(stage, &[&alice]).await;
    upgrade.start(&alice, &[]).await;
    upgrade.say(10).await;
    upgrade.expect_from(1).await;
    upgrade.happens().await;
    upgrade.say(10).await;
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    let death = loop {
        if let Some(death) = upgrade.stage.daemon.ended() {
            break death;
        }
        assert!(tokio::time::Instant::now() < deadline, "{point} is not reached");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(death.signal(), Some(9), "{}", upgrade.stage.daemon.log());
    upgrade.say(10).await;
    upgrade.stage.daemon.spawn().await;
    upgrade.say(10).await;
    upgrade.expect_from(1).await;
    let events = upgrade.stage.backend.events();
    let migrated = events.iter().filter(|event| event.kind == "monitor_migrated");
    let ids: std::collections::HashSet<_> = migrated.map(|event| &event.message_id).collect();
    assert_eq!(ids.len(), 1, "it is told under one id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_the_chat_is_followed_loses_and_doubles_nothing() {
    dies_at("monitor.migrate.before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_the_chat_is_followed_loses_and_doubles_nothing() {
    dies_at("monitor.migrate.after").await;
}
