//! Two users in one real daemon: for either the other does not exist. The table is made from the
//! document that the daemon serves, so that no route can be forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use telewarden::protocol::users::owner::Role;
use telewarden_simulator::{ChatKind, NewAccount};
use uuid::Uuid;

use crate::support::{Answer, Backend, Harness, Question, eventually};

/// What one user has, by the first part of the path that names it.
#[derive(Default)]
struct Belongings(HashMap<&'static str, String>);

/// A user and what is hers.
struct User {
    token: String,
    has: Belongings,
    /// What her stream of events told.
    followed: Arc<Mutex<String>>,
}

/// The street: two users with everything.
struct Street {
    harness: Harness,
    _backend: Backend,
    alice: User,
    bob: User,
    admin: String,
    document: Value,
}

impl Street {
    async fn set() -> Self {
        let (harness, _backend) = super::open().await;
        let document = harness.expect(Question::new("GET", "/openapi.json"), 200).await;
        let alice = settle(&harness, "alice").await;
        let bob = settle(&harness, "bob").await;
        let admin = harness.token("root", Role::Admin);
        Self { harness, _backend, alice, bob, admin, document }
    }

    /// Every operation of the API: method, path, itself.
    fn operations(&self) -> Vec<(String, String, Value)> {
        let mut found = Vec::new();
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if path.starts_with("/api/") {
                    found.push((method.to_uppercase(), path.clone(), operation.clone()));
                }
            }
        }
        assert!(found.len() >= 63, "{}", found.len());
        found
    }

    /// A request for `operation` with the example that the document gives for its body.
    fn example(&self, method: &str, path: &str, operation: &Value) -> Question {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let named = parameters.filter(|one| one["in"] == "query" && one["required"] == true);
        let value = |name: &str| if name == "identifier" { "777000" } else { "0" };
        let named = named.map(|one| one["name"].as_str().unwrap());
        let named: Vec<_> = named.map(|name| format!("{name}={}", value(name))).collect();
        let path = match named.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", named.join("&")),
        };
        let question = Question::new(method, &path);
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let Some(name) = body["$ref"].as_str() else { return question };
        let schema = self.document.pointer(name.trim_start_matches('#')).expect("a schema");
        question.json(schema["examples"][0].clone())
    }
}

/// A user with an account, a chat, a monitor, a login under way, and a webhook.
async fn settle(harness: &Harness, name: &str) -> User {
    let token = harness.token(name, Role::User);
    let followed: Arc<Mutex<String>> = Arc::default();
    let person = harness.named(&format!("{name}_herself")).await;
    let account = harness.connect(&harness.holder(&token), &person).await;
    let room = format!("room_of_{name}");
    let sim = &harness.sim;
    let chat = harness.chat(ChatKind::Supergroup, Some(&room), &[]).await;
    sim.add_member(chat.chat_id, person.user_id).await.unwrap();
    let post = |path: &str| Question::new("POST", path).by(&token);
    let attach = post(&format!("/accounts/{account}/chats")).json(json!({ "chat": room }));
    harness.expect(attach, 201).await;
    let put = Question::new("PUT", &format!("/monitors/{}", chat.chat_id)).by(&token);
    harness.expect(put.json(json!({ "accounts": [account] })), 201).await;
    let new = NewAccount { logged_in: false, ..NewAccount::default() };
    let stranger = sim.add_account(new).await.unwrap();
    let sms = post("/accounts/telegram/connect/sms").json(json!({ "phone": stranger.phone }));
    let login = harness.expect(sms, 202).await["login_id"].as_str().unwrap().to_owned();
    // Nobody is called.
    let hook = json!({ "url": format!("https://{name}.example.org/"), "enabled": false });
    let hook = harness.expect(post("/webhooks").json(hook), 201).await;
    let hook = hook["id"].as_str().unwrap().to_owned();
    let task = json!({ "task_type": "send_messages", "title": format!("task_of_{name}"),
        "message_template": "Hi", "account_ids": [account], "audience_basis": "they asked" });
    let task = harness.expect(post("/invite/tasks").json(task), 201).await;
    let task = task["id"].as_str().unwrap().to_owned();
    let people = json!({ "targets": [{ "identifier": format!("@guest_of_{name}") }] });
    harness.expect(post(&format!("/invite/tasks/{task}/targets/bulk")).json(people), 200).await;
    let foe = json!({ "identifier": format!("@foe_of_{name}") });
    let foe = harness.expect(post("/invite/suppression").json(foe), 201).await;
    let foe = foe["id"].as_str().unwrap().to_owned();
    let has = HashMap::from([
        ("accounts", account),
        ("invite", task),
        ("logins", login),
        ("monitors", chat.chat_id.to_string()),
        ("suppression", foe),
        ("users", name.to_owned()),
        ("webhooks", hook),
    ]);
    User { token, has: Belongings(has), followed }
}

impl Belongings {
    /// `template` with what is named in it; deliveries are named by chance.
    fn in_path(&self, template: &str) -> String {
        let kind = match template.contains("/suppression/") {
            true => "suppression",
            false => template.trim_start_matches("/api/v1/").split('/').next().unwrap(),
        };
        let own = self.0.get(kind).map_or("", String::as_str);
        ["{id}", "{chat_id}", "{user_id}"].iter().fold(
            template
                .replace("{target_id}", "0")
                .replace("{import_id}", &Uuid::new_v4().to_string())
                .replace("{delivery_id}", &Uuid::new_v4().to_string()),
            |path, name| path.replace(name, own),
        )
    }

    /// The same with names that nobody has.
    fn of_nobody() -> Self {
        let id = || Uuid::new_v4().to_string();
        Self(HashMap::from([
            ("accounts", id()),
            ("invite", id()),
            ("logins", id()),
            ("monitors", "-1000000424242".to_owned()),
            ("suppression", id()),
            ("users", "nobody-at-all".to_owned()),
            ("webhooks", id()),
        ]))
    }
}

/// What tells one refusal from another.
fn form(answer: &Answer) -> Value {
    let mut problem = answer.body.clone();
    assert!(problem.is_object(), "no problem document: {answer:?}");
    problem["http"] = json!(answer.status);
    problem
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_anothers_is_answered_as_what_never_was() {
    let street = Street::set().await;
    let (alice, bob) = (&street.alice, &street.bob);
    let mut asked = 0;
    for (method, template, operation) in street.operations() {
        if !template.contains('{') {
            continue;
        }
        let hers = street.example(&method, &alice.has.in_path(&template), &operation);
        let hers = street.harness.ask(hers.by(&bob.token)).await;
        let nobodys = Belongings::of_nobody().in_path(&template);
        let nobodys = street.example(&method, &nobodys, &operation);
        let nobodys = street.harness.ask(nobodys.by(&bob.token)).await;
        assert_eq!(hers.refusal(), (404, "NOT_FOUND".to_owned()), "{method} {template}");
        assert_eq!(form(&hers), form(&nobodys), "{method} {template}");
        asked += 1;
    }
    assert!(asked >= 43, "{asked}");
    // A monitor of one's own with somebody else's account, and with nobody's.
    let put = |id: &str| {
        let put = Question::new("PUT", "/monitors/@a_room_of_mine").by(&bob.token);
        put.json(json!({ "accounts": [id] }))
    };
    let hers = street.harness.ask(put(&alice.has.0["accounts"])).await;
    let nobodys = street.harness.ask(put(&Uuid::new_v4().to_string())).await;
    assert_eq!((hers.status, form(&hers)), (404, form(&nobodys)));
    // People into a campaign of hers, and of nobody's.
    for path in ["/invite/import/file", "/invite/import/validate"] {
        let post = |task: &str| {
            let post = Question::new("POST", path).by(&bob.token);
            post.form(&[("task_id", task), ("file", "username\n@somebody\n")])
        };
        let hers = street.harness.ask(post(&alice.has.0["invite"])).await;
        let nobodys = street.harness.ask(post(&Uuid::new_v4().to_string())).await;
        assert_eq!((hers.status, form(&hers)), (404, form(&nobodys)), "{path}");
    }
    // Nothing of hers was touched.
    for (method, template) in [
        ("GET", "/api/v1/accounts/{id}"),
        ("GET", "/api/v1/logins/{id}"),
        ("GET", "/api/v1/monitors/{chat_id}"),
        ("GET", "/api/v1/users/{user_id}/export"),
        ("GET", "/api/v1/invite/tasks/{id}"),
        ("GET", "/api/v1/invite/tasks/{id}/preview?target_id=0"),
        ("GET", "/api/v1/invite/suppression/check?identifier=%40foe_of_alice"),
        ("GET", "/api/v1/invite/tasks/{id}/stats"),
        ("GET", "/api/v1/invite/tasks/{id}/report"),
        ("POST", "/api/v1/invite/tasks/{id}/dry-run"),
    ] {
        let look = Question::new(method, &alice.has.in_path(template)).by(&alice.token);
        street.harness.expect(look, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_logs_exports_and_streams_tell_of_ones_own_alone() {
    let street = Street::set().await;
    let (alice, bob) = (&street.alice, &street.bob);
    let followed = Arc::clone(&bob.followed);
    let tell = move |text: &str| followed.lock().unwrap().push_str(text);
    let stream = Question::new("GET", "/events/stream").by(&bob.token);
    let _stream = street.harness.door.listen(&stream, tell).await;
    // Things happen to both; his own last, so that hers would have come before.
    for user in [alice, bob] {
        for step in ["pause", "resume"] {
            let path = format!("/accounts/{}/{step}", user.has.0["accounts"]);
            street.harness.expect(Question::new("POST", &path).by(&user.token), 200).await;
        }
        let holder = street.harness.holder(&user.token);
        street.harness.until_state(&holder, &user.has.0["accounts"], "active").await;
        let path = format!("/logins/{}", user.has.0["logins"]);
        street.harness.expect(Question::new("DELETE", &path).by(&user.token), 204).await;
    }
    eventually("his stream tells of his account", async || {
        bob.followed.lock().unwrap().contains(&bob.has.0["accounts"]).then_some(())
    })
    .await;
    let mut seen = vec![("the stream".to_owned(), bob.followed.lock().unwrap().clone())];
    for look in [
        "/accounts",
        "/accounts?q=alice",
        "/accounts?limit=1",
        "/monitors",
        "/monitors?limit=1",
        "/audit",
        "/audit?actor=alice",
        "/webhooks",
        "/invite/tasks",
        "/invite/accounts",
        "/invite/health",
        "/invite/suppression",
        "/users/bob/export",
    ] {
        let answer = street.harness.ask(Question::new("GET", look).by(&bob.token)).await;
        assert_eq!(answer.status, 200, "{look}: {}", answer.body);
        seen.push((look.to_owned(), answer.text));
    }
    // A cursor of hers shows nothing of hers either.
    for list in ["/accounts", "/audit", "/monitors", "/invite/tasks", "/invite/suppression"] {
        let by_admin = Question::new("GET", &format!("{list}?limit=1")).by(&street.admin);
        let page = street.harness.expect(by_admin, 200).await;
        let Some(cursor) = page["next_cursor"].as_str() else { continue };
        let look = Question::new("GET", &format!("{list}?cursor={cursor}")).by(&bob.token);
        let answer = street.harness.ask(look).await;
        assert_eq!(answer.status, 200, "{list}: {}", answer.body);
        seen.push((format!("{list} behind an admin's cursor"), answer.text));
    }
    let mut hers: Vec<&str> = alice.has.0.values().map(String::as_str).collect();
    hers.extend([
        "alice_herself",
        "room_of_alice",
        "alice.example.org",
        "task_of_alice",
        "foe_of_alice",
    ]);
    for (place, text) in seen {
        let found: Vec<_> = hers.iter().filter(|word| text.contains(**word)).collect();
        assert!(found.is_empty(), "{place} tells {found:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_walked_page_by_page() {
    let street = Street::set().await;
    let bob = &street.bob;
    for number in 0..2 {
        let put = Question::new("PUT", &format!("/monitors/@further_room_{number}"));
        let put = put.by(&bob.token).json(json!({ "accounts": [bob.has.0["accounts"]] }));
        street.harness.expect(put, 201).await;
        let person = street.harness.named(&format!("further_{number}")).await;
        street.harness.connect(&street.harness.holder(&bob.token), &person).await;
    }
    for list in ["/accounts", "/monitors", "/audit"] {
        let whole = Question::new("GET", list).by(&bob.token);
        let whole = street.harness.expect(whole, 200).await["items"].as_array().unwrap().len();
        let (mut walked, mut path) = (0, format!("{list}?limit=1"));
        loop {
            let page = street.harness.expect(Question::new("GET", &path).by(&bob.token), 200).await;
            walked += page["items"].as_array().unwrap().len();
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
            assert!(cursor.bytes().all(plain), "{list}: {cursor:?} needs no escaping");
            path = format!("{list}?limit=1&cursor={cursor}");
        }
        assert!(whole >= 3, "{list}: {whole}");
        assert_eq!(walked, whole, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_but_a_good_one_opens_any_route() {
    let street = Street::set().await;
    let secret = street.harness.daemon.store().join("jwt-secret");
    let secret = std::fs::read_to_string(secret).unwrap().trim().to_owned();
    let signed = |claims: &Value, algorithm, secret: &str| {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()))
            .unwrap()
    };
    let later = 4_000_000_000_u64;
    let good = json!({ "sub": "alice", "exp": later, "role": "admin" });
    let taken = signed(&good, Algorithm::HS256, &secret);
    let look = Question::new("GET", "/keys").by(&taken);
    street.harness.expect(look, 200).await;
    let parts: Vec<&str> = taken.split('.').collect();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let own = |claims: Value| signed(&claims, Algorithm::HS256, &secret);
    let bad = [
        ("expired", own(json!({ "sub": "alice", "exp": 1_700_000_000 }))),
        ("for another audience", own(json!({ "sub": "alice", "exp": later, "aud": "other" }))),
        ("not yet valid", own(json!({ "sub": "alice", "exp": later, "nbf": later - 9 }))),
        ("without exp", own(json!({ "sub": "alice" }))),
        ("without sub", own(json!({ "exp": later }))),
        ("of no role", own(json!({ "sub": "alice", "exp": later, "role": "root" }))),
        ("of another algorithm", signed(&good, Algorithm::HS512, &secret)),
        ("of another secret", signed(&good, Algorithm::HS256, &secret[1..])),
        ("unsigned", format!("{none}.{}.", parts[1])),
        ("unsigned with a signature", format!("{none}.{}.{}", parts[1], parts[2])),
        ("tampered with", format!("{}.{}x.{}", parts[0], parts[1], parts[2])),
        ("without a signature", format!("{}.{}.", parts[0], parts[1])),
        ("no token", "garbage".to_owned()),
    ];
    for (method, template, operation) in street.operations() {
        let path = street.alice.has.in_path(&template);
        let bare = street.example(&method, &path, &operation);
        assert_eq!(street.harness.ask(bare.clone()).await.status, 401, "{method} {path}");
        for (what, token) in &bad {
            let answer = street.harness.ask(bare.clone().by(token)).await;
            assert_eq!(answer.refusal(), (401, "UNAUTHORIZED".into()), "{method} {path}: {what}");
            assert!(!answer.text.contains(token.as_str()), "{}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_for_admins_is_nowhere_for_users() {
    let street = Street::set().await;
    let mut asked = 0;
    for (method, template, operation) in street.operations() {
        if operation["x-role"] != "admin" {
            continue;
        }
        let ask = |token: &str| street.harness.ask(Question::new(&method, &template).by(token));
        let answer = ask(&street.alice.token).await;
        assert_eq!(answer.refusal(), (404, "NOT_FOUND".into()), "{method} {template}");
        let nowhere = Question::new(&method, "/nowhere").by(&street.alice.token);
        assert_eq!(form(&answer), form(&street.harness.ask(nowhere).await), "{method} {template}");
        assert_eq!(ask(&street.admin).await.status, 200, "{method} {template}");
        asked += 1;
    }
    assert!(asked >= 3, "{asked}");
    // An admin sees what is of either.
    let all = Question::new("GET", "/accounts").by(&street.admin);
    let all = street.harness.expect(all, 200).await.to_string();
    for user in [&street.alice, &street.bob] {
        assert!(all.contains(&user.has.0["accounts"]));
        for template in ["/api/v1/accounts/{id}", "/api/v1/logins/{id}"] {
            let look = Question::new("GET", &user.has.in_path(template)).by(&street.admin);
            street.harness.expect(look, 200).await;
        }
    }
}
