//! Chats and monitors of users: what an account may do there, and what it hears.

use serde_json::{Value, json};
use telewarden_simulator::{Account, Chat, ChatKind, ChatRules, MemberRights};

use crate::support::{Backend, Client, Event, Harness, Listener, eventually, texts_of};

impl Harness {
    /// What the account may do in `chat`: is a member, is an admin, can post, can invite.
    async fn rights(&self, user: &Client, id: &str, chat: Value) -> [bool; 4] {
        let path = format!("/accounts/{id}/chats");
        let chat = user.post(&path, json!({ "chat": chat })).await.expect(201);
        ["is_member", "is_admin", "can_post", "can_invite"]
            .map(|right| chat["rights"][right].as_bool().expect("a right"))
    }

    async fn allow(&self, chat: &Chat, account: &Account, rights: MemberRights) {
        self.sim.set_rights(chat.chat_id, account.user_id, rights).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_in_a_chat_are_those_that_telegram_grants() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let rights = async |chat: Value| harness.rights(&user, &id, chat).await;
    let admin = MemberRights { admin: Some(true), ..MemberRights::default() };

    harness.chat(ChatKind::Supergroup, Some("the_forum"), &[]).await;
    let [is_member, is_admin, ..] = rights(json!("@the_forum")).await;
    assert_eq!((is_member, is_admin), (false, false), "an outsider");
    let channel = harness.chat(ChatKind::Channel, Some("the_paper"), &[]).await;
    assert_eq!(rights(json!("https://t.me/the_paper")).await, [false; 4], "an outsider");

    harness.sim.add_member(channel.chat_id, account.user_id).await.unwrap();
    let [is_member, is_admin, can_post, _] = rights(json!("@the_paper")).await;
    assert_eq!((is_member, is_admin, can_post), (true, false, false), "a reader");
    harness.allow(&channel, &account, admin).await;
    assert_eq!(rights(json!("@the_paper")).await, [true; 4], "an admin");
    let mute = MemberRights { admin: Some(true), may_post: Some(false), may_invite: Some(false) };
    harness.allow(&channel, &account, mute).await;
    assert_eq!(rights(json!("@the_paper")).await, [true, true, false, false], "a mute admin");

    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let group = harness.chat(kind, None, &[&account]).await;
        let named = || json!(group.chat_id);
        assert_eq!(rights(named()).await, [true, false, true, true], "a member, {kind:?}");
        let rules = ChatRules {
            members_may_post: Some(false),
            members_may_invite: Some(false),
            ..ChatRules::default()
        };
        harness.sim.set_rules(group.chat_id, rules).await.unwrap();
        assert_eq!(rights(named()).await, [true, false, false, false], "held down, {kind:?}");
        harness.allow(&group, &account, admin).await;
        let [is_member, is_admin, can_post, _] = rights(named()).await;
        assert_eq!((is_member, is_admin, can_post), (true, true, true), "an admin, {kind:?}");
    }
    let private = harness.chat(ChatKind::Supergroup, None, &[]).await;
    let path = format!("/accounts/{id}/chats");
    let refused = user.post(&path, json!({ "chat": private.chat_id })).await;
    assert!([403, 422].contains(&refused.status), "{refused:?}");
    let listed = user.get(&path).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 4, "each once: {listed:#}");
    harness.expect_clean_books().await;
}

/// A harness whose messages go to a backend, with somebody who writes.
struct Watch {
    harness: Harness,
    backend: Backend,
    author: Account,
}

impl Watch {
    async fn set() -> Self {
        let (harness, backend) = Harness::open_with_backend().await;
        let author = harness.person().await;
        Self { harness, backend, author }
    }

    async fn monitor(&self, user: &Client, chat: &Chat, ids: &[&str]) {
        let path = format!("/monitors/{}", chat.chat_id);
        user.put(&path, json!({ "accounts": ids })).await.expect(201);
        eventually("it listens", async || {
            let monitor = user.get(&path).await.expect(200);
            (monitor["state"] == "active").then_some(())
        })
        .await;
    }

    async fn say(&self, chat: &Chat, numbers: std::ops::RangeInclusive<u32>) {
        for number in numbers {
            let text = number.to_string();
            self.harness.sim.post(chat.chat_id, self.author.user_id, &text).await.unwrap();
        }
    }

    /// Waits until a chat has told the numbers up to `count`, each once and in order.
    async fn expect_texts(&self, chat: &Chat, count: u32) {
        let expected: Vec<_> = (1..=count).map(|number| number.to_string()).collect();
        let chat_id = json!(chat.chat_id);
        let what = format!("{count} messages of {chat_id}");
        let told = self.backend.wait_until(&what, |events| {
            let told = texts_of(events, &chat_id);
            (told.len() >= expected.len()).then_some(told)
        });
        assert_eq!(told.await, expected, "each once and in order");
    }

    /// Waits until nobody listens to a chat any more, and says how its user sees that.
    async fn until_exhausted(&self, user: &Client, chat: &Chat) -> Value {
        let path = format!("/monitors/{}", chat.chat_id);
        eventually("nobody listens any more", async || {
            let monitor = user.get(&path).await.expect(200);
            (monitor["state"] == "exhausted").then_some(monitor)
        })
        .await
    }

    /// Waits until these losses of a chat are told, by session and reason, and no others.
    async fn expect_losses(&self, chat: &Chat, expected: &[(&str, &str)]) {
        let told = self.backend.wait_until("all losses", |events| {
            let mut seen = std::collections::HashSet::new();
            let lost = events.iter().filter(|event| {
                event.kind == "access_lost"
                    && event.body["chat_id"] == chat.chat_id
                    && seen.insert(event.message_id.clone())
            });
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let lost = lost.map(|it| (text(&it.body["session_id"]), text(&it.body["reason"])));
            let lost: Vec<_> = lost.collect();
            (lost.len() >= expected.len()).then_some(lost)
        });
        let told = told.await;
        let told: Vec<_> = told.iter().map(|(id, reason)| (id.as_str(), reason.as_str())).collect();
        assert_eq!(told, expected);
    }

    /// Waits until the accounts named have told `count` messages, each once and in order.
    async fn expect_told(&self, ids: &[&str], count: u32) {
        let told = |events: &[Event]| {
            let mut seen = std::collections::HashSet::new();
            let messages = events.iter().filter(|event| {
                event.kind == "incoming_telegram_message"
                    && ids.iter().any(|id| event.body["metadata"]["session_id"] == *id)
                    && event.body["metadata"]["is_service"] == false
            });
            let first = messages.filter(|event| seen.insert(event.message_id.clone()));
            first.map(|event| event.body["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let expected: Vec<_> = (1..=count).map(|number| number.to_string()).collect();
        let seen = self
            .backend
            .wait_until(&format!("{count} messages"), |events| {
                let told = told(events);
                (told.len() >= expected.len()).then_some(told)
            })
            .await;
        assert_eq!(seen, expected, "each once and in order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_over_http_tells_every_message_and_fails_over_without_a_gap() {
    let watch = Watch::set().await;
    let harness = &watch.harness;
    let (user, one, two) = (harness.user("ann"), harness.person().await, harness.person().await);
    let chat = harness.chat(ChatKind::Supergroup, None, &[&watch.author, &one, &two]).await;
    let (first, second) = (harness.connect(&user, &one).await, harness.connect(&user, &two).await);
    let ids = [first.as_str(), second.as_str()];
    watch.monitor(&user, &chat, &ids).await;
    watch.say(&chat, 1..=20).await;
    watch.expect_told(&ids[..1], 20).await;
    harness.sim.revoke(one.user_id, None).await.unwrap();
    watch.say(&chat, 21..=60).await;
    watch.expect_told(&ids, 60).await;
    let path = format!("/monitors/{}", chat.chat_id);
    let monitor = user.get(&path).await.expect(200);
    assert_eq!(monitor["session"], second, "{monitor:#}");
    harness.until_state(&user, &first, "error").await;
    user.delete(&path).await.expect(204);
    user.get(&path).await.expect_problem(404, "NOT_FOUND");
    let before = watch.backend.events().len();
    watch.say(&chat, 61..=65).await;
    // Whatever is told after this was told in the meantime, if anything was.
    let other = harness.chat(ChatKind::Supergroup, None, &[&watch.author, &two]).await;
    watch.monitor(&user, &other, &ids[1..]).await;
    watch.say(&other, 1..=1).await;
    let all =
        |events: &[Event]| events[before..].iter().any(|e| e.body["text"] == "1").then_some(());
    watch.backend.wait_until("the other chat's message", all).await;
    let later = watch.backend.events().split_off(before);
    let late = later.iter().filter(|event| event.body["chat_id"] == chat.chat_id);
    let late: Vec<_> = late.filter(|event| event.kind == "incoming_telegram_message").collect();
    assert!(late.is_empty(), "{late:?}");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_users_who_monitor_one_chat_see_their_own() {
    let watch = Watch::set().await;
    let harness = &watch.harness;
    let (ann, bob) = (harness.user("ann"), harness.user("bob"));
    let (one, two) = (harness.person().await, harness.person().await);
    let chat = harness.chat(ChatKind::Supergroup, None, &[&watch.author, &one, &two]).await;
    let (of_ann, of_bob) = (harness.connect(&ann, &one).await, harness.connect(&bob, &two).await);
    let path = format!("/monitors/{}", chat.chat_id);
    let stolen = ann.put(&path, json!({ "accounts": [of_bob] })).await;
    assert!([404, 422].contains(&stolen.status), "{stolen:?}");
    watch.monitor(&ann, &chat, &[&of_ann]).await;
    bob.get(&path).await.expect_problem(404, "NOT_FOUND");
    bob.delete(&path).await.expect_problem(404, "NOT_FOUND");
    watch.monitor(&bob, &chat, &[&of_bob]).await;
    for (user, id) in [(&ann, &of_ann), (&bob, &of_bob)] {
        let listed = user.get("/monitors").await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed:#}");
        assert_eq!(listed["items"][0]["sessions"], json!([id]));
    }
    watch.say(&chat, 1..=5).await;
    watch.expect_told(&[&of_ann], 5).await;
    watch.expect_told(&[&of_bob], 5).await;
    ann.delete(&path).await.expect(204);
    watch.say(&chat, 6..=10).await;
    watch.expect_told(&[&of_bob], 10).await;
    watch.expect_told(&[&of_ann], 5).await;
    harness.expect_clean_books().await;
}

/// The pool names the account; its key is another one after a new login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_follows_its_account_to_a_new_login() {
    let watch = Watch::set().await;
    let harness = &watch.harness;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let members = [&account, &watch.author];
    let chat = harness.chat(ChatKind::Supergroup, None, &members).await;
    watch.monitor(&user, &chat, &[&id]).await;
    watch.say(&chat, 1..=3).await;
    watch.expect_told(&[&id], 3).await;
    let phone = json!({ "phone": account.phone });
    let begun = eventually("a code is sent", async || {
        let answer = user.post("/accounts/telegram/connect/sms", phone.clone()).await;
        (answer.status == 202).then(|| answer.expect(202))
    })
    .await;
    let login = begun["login_id"].as_str().unwrap();
    let code = json!({ "code": harness.sim.login_code(account.user_id).await.unwrap() });
    user.post(&format!("/logins/{login}/code"), code).await.expect(200);
    watch.say(&chat, 4..=6).await;
    watch.expect_told(&[&id], 6).await;
    assert!(watch.backend.losses().is_empty(), "{:?}", watch.backend.losses());
    harness.expect_clean_books().await;
}

/// Telegram has no part in it, and is not named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_removed_here_is_a_loss_of_its_own_kind() {
    let watch = Watch::set().await;
    let harness = &watch.harness;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    let chat = harness.chat(ChatKind::Supergroup, None, &[&account, &watch.author]).await;
    watch.monitor(&user, &chat, &[&id]).await;
    user.delete(&format!("/accounts/{id}")).await.expect(204);
    let monitor = watch.until_exhausted(&user, &chat).await;
    let error = monitor["error"].as_str().unwrap();
    assert!(error.contains("removed from this daemon"), "{error}");
    assert!(!error.contains("telegram"), "{error}");
    let lost = watch.backend.wait_until("both are told", |events| {
        let lost: Vec<_> = events.iter().filter(|event| event.kind == "access_lost").collect();
        let reasons: Vec<_> = lost.iter().map(|event| event.body["reason"].clone()).collect();
        (reasons.len() == 2).then_some(reasons)
    });
    assert_eq!(lost.await, ["session_revoked", "no_backup_left"]);
    harness.expect_clean_books().await;
}

/// A session that a command of the bridge brought, too, stays for the bridge; it is its user's no more, in no
/// monitor and in no later life of the daemon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitors_of_a_user_lose_a_shared_session_that_is_removed_and_the_bridge_keeps_it() {
    let mut watch = Watch::set().await;
    let (author, harness) = (&watch.author, &watch.harness);
    let (user, shared, own) = (harness.user("ann"), harness.person().await, harness.person().await);
    let (id, other) = (harness.connect(&user, &shared).await, harness.connect(&user, &own).await);
    let chat = async |members: &[&Account]| harness.chat(ChatKind::Supergroup, None, members).await;
    // The bridge's; one whose only account is the shared one; one that has it as a backup.
    let of_bridge = chat(&[author, &shared]).await;
    let lone = chat(&[author, &shared]).await;
    let backed = chat(&[author, &shared, &own]).await;
    watch.backend.start(of_bridge.chat_id.into(), &Listener::new("alice", &shared), &[]).await;
    watch.monitor(&user, &lone, &[&id]).await;
    watch.monitor(&user, &backed, &[&other, &id]).await;
    harness.daemon.wait_for_monitors("active", 3).await;
    for chat in [&of_bridge, &lone, &backed] {
        watch.say(chat, 1..=5).await;
        watch.expect_texts(chat, 5).await;
    }
    user.delete(&format!("/accounts/{id}")).await.expect(204);
    let lost = watch.until_exhausted(&user, &lone).await;
    watch.expect_losses(&lone, &[(&id, "session_revoked"), (&id, "no_backup_left")]).await;
    // It must not come back as a backup.
    harness.sim.revoke(own.user_id, None).await.unwrap();
    watch.say(&backed, 6..=10).await;
    let backed_lost = watch.until_exhausted(&user, &backed).await;
    for monitor in [&lost, &backed_lost] {
        let error = monitor["error"].as_str().unwrap();
        assert!(error.contains("removed from this daemon"), "{error}");
    }
    let losses =
        [(&*other, "auth_key_unregistered"), (&id, "session_revoked"), (&id, "no_backup_left")];
    watch.expect_losses(&backed, &losses).await;
    watch.say(&lone, 6..=10).await;
    watch.say(&of_bridge, 6..=10).await;
    watch.expect_texts(&of_bridge, 10).await;
    watch.harness.kill().await;
    watch.harness.daemon.spawn().await;
    watch.say(&of_bridge, 11..=15).await;
    watch.expect_texts(&of_bridge, 15).await;
    for (chat, before) in [(&lone, &lost), (&backed, &backed_lost)] {
        let after = watch.until_exhausted(&user, chat).await;
        assert_eq!((&after["error"], &after["since"]), (&before["error"], &before["since"]));
        watch.expect_texts(chat, 5).await;
    }
    watch.expect_losses(&lone, &losses[1..]).await;
    watch.expect_losses(&backed, &losses).await;
    assert_eq!(watch.harness.accounts_of(&user).await.len(), 1);
    // Connected once more it goes on where it was, and nothing of what was said is missing.
    let anew = watch.harness.connect(&user, &shared).await;
    for chat in [&lone, &backed] {
        let path = format!("/monitors/{}", chat.chat_id);
        user.put(&path, json!({ "accounts": [anew] })).await.expect(200);
        watch.expect_texts(chat, 10).await;
    }
    watch.say(&of_bridge, 16..=20).await;
    watch.expect_texts(&of_bridge, 20).await;
    watch.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_links_that_name_a_chat_are_chats() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.chat(ChatKind::Supergroup, Some("the_forum"), &[&account]).await;
    let path = format!("/accounts/{id}/chats");
    for link in ["tg://resolve?domain=the_forum", "https://the_forum.t.me/12", "t.me/s/the_forum"] {
        user.post(&path, json!({ "chat": link })).await.expect(201);
    }
    for link in ["t.me/addlist/X", "t.me/joinchat", "t.me/login/1", "t.me/+79991234567"] {
        let refused = user.post(&path, json!({ "chat": link })).await;
        let refused = refused.expect_problem(422, "VALIDATION");
        assert!(refused.body.to_string().contains("names no chat"), "{refused:?}");
        let message = json!({ "to": link, "text": "x" });
        harness.send(&user, &id, None, &message).await.expect_problem(422, "VALIDATION");
    }
    let resolved = harness.calls("contacts.resolveUsername").await;
    assert_eq!(resolved, 1, "telegram is not asked for what is no name");
    harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_monitor_in_trouble_degrades_health_and_is_not_named_there() {
    let harness = Harness::open().await;
    let (user, account) = (harness.user("ann"), harness.person().await);
    let id = harness.connect(&user, &account).await;
    harness.chat(ChatKind::Supergroup, Some("the_forum"), &[&account]).await;
    user.put("/monitors/@the_forum", json!({ "accounts": [id] })).await.expect(201);
    harness.until_state(&user, &id, "active").await;
    harness.do_to(&user, &id, "pause").await;
    let health = eventually("health tells that something is in trouble", async || {
        let (_, health) = harness.daemon.get("/health").await.ok()?;
        (health["status"] == "degraded").then_some(health)
    })
    .await;
    assert_eq!(health["monitors"]["troubled"], json!([]), "{health:#}");
    assert!(!health.to_string().contains("the_forum"), "{health:#}");
    harness.expect_clean_books().await;
}
