//! The control API over HTTP, and load.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Client, DEADLINE};
use telewarden_simulator::{Account, LoadRun, LoadSpec, Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start() -> Simulator {
    let listen = Options::default().listen;
    let options = Options { control: Some(listen), seed: Some(42), ..Options::default() };
    Simulator::start(options).await.unwrap()
}

/// One HTTP request: status and JSON (null without a body).
async fn http(simulator: &Simulator, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(simulator.control_addr().unwrap()).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_chat_is_made_filled_and_read_over_http() {
    let sim = start().await;
    let (_, a) = http(&sim, "POST", "/accounts", &json!({"first_name": "Ann"})).await;
    let (_, b) = http(&sim, "POST", "/accounts", &json!({"phone": "79990001122"})).await;
    assert_eq!(b["phone"], "+79990001122");
    let (_, bot) = http(&sim, "POST", "/accounts", &json!({"bot": true, "logged_in": false})).await;
    assert!(bot["bot_token"].is_string() && bot["session_string"].is_null());
    let new = json!({"kind": "group", "title": "Two", "members": [a["user_id"], b["user_id"]]});
    let (status, chat) = http(&sim, "POST", "/chats", &new).await;
    assert_eq!(status, 200);
    let path = format!("/chats/{}", chat["chat_id"]);
    let say = json!({"from": a["user_id"], "text": "hello"});
    let (_, posted) = http(&sim, "POST", &format!("{path}/messages"), &say).await;
    assert_eq!(posted, json!({"message_id": 1}));
    let (_, held) = http(&sim, "GET", &format!("{path}/messages"), &Value::Null).await;
    assert_eq!(held[0]["text"], "hello");
    let member = format!("{path}/members/{}", b["user_id"]);
    assert_eq!(http(&sim, "DELETE", &member, &Value::Null).await.0, 200);
    let (_, members) = http(&sim, "GET", &format!("{path}/members"), &Value::Null).await;
    assert_eq!(members, json!([{"user_id": a["user_id"], "role": "member"}]));
    let ban = json!({"user_id": b["user_id"]});
    assert_eq!(http(&sim, "POST", &format!("{path}/ban"), &ban).await.0, 200);
    let inbox = format!("/accounts/{}/inbox", b["user_id"]);
    http(&sim, "POST", &inbox, &say).await;
    let (_, received) = http(&sim, "GET", &inbox, &Value::Null).await;
    assert_eq!(received[0]["from"], a["user_id"]);
}

#[tokio::test]
async fn what_does_not_exist_or_makes_no_sense_is_refused_with_a_reason() {
    let sim = start().await;
    let (status, problem) = http(&sim, "GET", "/accounts/5", &Value::Null).await;
    assert_eq!((status, problem), (404, json!({"error": "there is no account 5"})));
    let (status, _) = http(&sim, "POST", "/faults", &json!({})).await;
    assert_eq!(status, 400);
    let twice = json!({"username": "somebody"});
    assert_eq!(http(&sim, "POST", "/accounts", &twice).await.0, 200);
    assert_eq!(http(&sim, "POST", "/accounts", &twice).await.0, 400);
}

#[tokio::test]
async fn faults_are_added_and_lifted_over_http() {
    let sim = start().await;
    let (_, account) = http(&sim, "POST", "/accounts", &json!({})).await;
    let account: Account = serde_json::from_value(account).unwrap();
    let client = Client::connect(&account).await;
    let fault = json!({"method": "*", "error": "PEER_FLOOD", "user_id": account.user_id});
    assert_eq!(http(&sim, "POST", "/faults", &fault).await.0, 200);
    let request = grammers_client::tl::functions::updates::GetState {};
    assert_eq!(client.refused(&request).await, "PEER_FLOOD");
    assert_eq!(http(&sim, "DELETE", "/faults", &Value::Null).await.0, 200);
    client.invoke(&request).await.unwrap();
    let (_, stats) = http(&sim, "GET", "/stats", &Value::Null).await;
    assert_eq!(stats["seed"], 42);
    assert_eq!(stats["violations"]["auth_key_connected_twice"], 0);
    let path = format!("/accounts/{}/revoke", account.user_id);
    assert_eq!(http(&sim, "POST", &path, &Value::Null).await.0, 200);
    assert_eq!(client.refused(&request).await, "AUTH_KEY_UNREGISTERED");
}

#[tokio::test]
async fn a_load_reaches_its_readers_at_its_rate() {
    let sim = start().await;
    let spec = json!({"accounts": 3, "chats_per_account": 2, "paused": true});
    let (status, load) = http(&sim, "POST", "/load", &spec).await;
    assert_eq!((status, load["chats"].as_array().unwrap().len()), (200, 6));
    let accounts: Vec<Account> = serde_json::from_value(load["accounts"].clone()).unwrap();
    let mut clients = Vec::new();
    for account in &accounts {
        clients.push(Client::connect(account).await);
    }
    let run = json!({"messages_per_second": 300, "seconds": 1, "text_bytes": 200});
    let start = tokio::time::Instant::now();
    assert_eq!(http(&sim, "POST", "/load/run", &run).await.0, 202);
    for client in &mut clients {
        for _ in 0..100 {
            let (_, text) = client.next_message().await;
            assert_eq!(text.len(), 200);
            let stamp: u128 = text.split(' ').next().unwrap().parse().unwrap();
            assert!(stamp > 1_600_000_000_000_000_000);
        }
    }
    assert!(start.elapsed() > Duration::from_millis(900));
    let done = async {
        while !sim.stats().await.load_done {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, done).await.unwrap();
    let stats = sim.stats().await;
    assert_eq!((stats.load_sent, stats.updates_sent, stats.updates_withheld), (300, 300, 0));
    let again = LoadRun { messages_per_second: 0.0, seconds: 1.0, text_bytes: None };
    sim.run_load(again).await.unwrap_err();
}

#[tokio::test]
async fn the_same_seed_makes_the_same_world() {
    let world = async |seed| {
        let options = Options { seed: Some(seed), ..Options::default() };
        let sim = Simulator::start(options).await.unwrap();
        let (messages_per_second, seconds) = (1.0, 1.0);
        let paused = true;
        let spec =
            LoadSpec { accounts: 2, chats_per_account: 1, messages_per_second, seconds, paused };
        let load = sim.load(spec).await.unwrap();
        load.accounts.iter().map(|account| account.api_hash.clone()).collect::<Vec<_>>()
    };
    assert_eq!(world(1).await, world(1).await);
    assert_ne!(world(1).await, world(2).await);
}

#[tokio::test]
async fn a_taken_address_fails_loudly() {
    let sim = start().await;
    let options = Options { listen: sim.listen_addr(), ..Options::default() };
    let error = Simulator::start(options).await.err().unwrap();
    assert!(error.to_string().starts_with("failed to listen on 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn dropping_the_simulator_closes_its_connections() {
    let sim = start().await;
    let mut stream = TcpStream::connect(sim.listen_addr()).await.unwrap();
    while sim.stats().await.connections == 0 {
        tokio::task::yield_now().await;
    }
    let address = sim.listen_addr();
    drop(sim);
    let closed = tokio::time::timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, refused).await.unwrap();
}

#[tokio::test]
async fn what_logins_need_is_to_be_had_over_http() {
    let sim = start().await;
    let new = json!({"phone": "+7 999 000 11 22", "logged_in": false});
    let (_, account) = http(&sim, "POST", "/accounts", &new).await;
    let path = format!("/accounts/{}", account["user_id"]);
    let (status, _) = http(&sim, "GET", &format!("{path}/code"), &Value::Null).await;
    assert_eq!(status, 404);
    let (_, key) = http(&sim, "POST", "/sessions", &json!({"dc": 2})).await;
    let client = Client::stranger(key["session_string"].as_str().unwrap());
    let request = grammers_client::tl::functions::auth::ExportLoginToken {
        api_id: 1,
        api_hash: "hash".to_owned(),
        except_ids: vec![],
    };
    let grammers_client::tl::enums::auth::LoginToken::Token(token) =
        client.invoke(&request).await.unwrap()
    else {
        panic!("a token");
    };
    let shown = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, &token.token);
    let seen = json!({"url": format!("tg://login?token={shown}")});
    assert_eq!(http(&sim, "POST", &format!("{path}/scan_qr"), &seen).await.0, 200);
    let (status, problem) = http(&sim, "POST", &format!("{path}/scan_qr"), &seen).await;
    assert_eq!((status, problem), (400, json!({"error": "AUTH_TOKEN_ALREADY_ACCEPTED"})));
    client.invoke(&request).await.unwrap();
    let (_, known) = http(&sim, "GET", &path, &Value::Null).await;
    assert_eq!((&known["sessions"], &known["dc"]), (&json!(1), &json!(2)));
    assert_eq!(http(&sim, "POST", "/limits", &json!({"codes_per_phone": 0})).await.0, 200);
    assert_eq!(http(&sim, "GET", "/phones/79990001122/code", &Value::Null).await.0, 404);
    let (_, bot) = http(&sim, "POST", "/accounts", &json!({"bot": true})).await;
    let renew = format!("/accounts/{}/bot_token", bot["user_id"]);
    let (_, renewed) = http(&sim, "POST", &renew, &Value::Null).await;
    assert!(renewed["bot_token"].is_string() && renewed["bot_token"] != bot["bot_token"]);
}

#[tokio::test]
async fn rules_and_rights_are_given_over_http() {
    let sim = start().await;
    let (_, a) = http(&sim, "POST", "/accounts", &json!({})).await;
    let (_, b) = http(&sim, "POST", "/accounts", &json!({})).await;
    let new = json!({"kind": "supergroup", "title": "Slow", "members": [b["user_id"]],
        "creator": a["user_id"], "slowmode_seconds": 10, "members_may_invite": false});
    let (status, chat) = http(&sim, "POST", "/chats", &new).await;
    assert_eq!(status, 200, "{chat}");
    let path = format!("/chats/{}", chat["chat_id"]);
    let (_, members) = http(&sim, "GET", &format!("{path}/members"), &Value::Null).await;
    assert_eq!(members[0], json!({"user_id": a["user_id"], "role": "creator"}));
    let rules = json!({"members_may_post": false, "slowmode_seconds": 0});
    assert_eq!(http(&sim, "POST", &format!("{path}/rules"), &rules).await.0, 200);
    let rights = format!("{path}/members/{}/rights", b["user_id"]);
    let admin = json!({"admin": true, "may_post": false});
    assert_eq!(http(&sim, "POST", &rights, &admin).await.0, 200);
    let (_, members) = http(&sim, "GET", &format!("{path}/members"), &Value::Null).await;
    assert_eq!(members[1]["role"], "admin");
    let nowhere = format!("{path}/members/5/rights");
    assert_eq!(http(&sim, "POST", &nowhere, &admin).await.0, 404);
    let closed = json!({"refuse_messages": "USER_PRIVACY_RESTRICTED", "blocked": [a["user_id"]]});
    let privacy = format!("/accounts/{}/privacy", b["user_id"]);
    assert_eq!(http(&sim, "POST", &privacy, &closed).await.0, 200);
    let odd = json!({"kind": "channel", "title": "Odd", "slowmode_seconds": 10});
    assert_eq!(http(&sim, "POST", "/chats", &odd).await.0, 400);
    let misspelt = json!({"kind": "channel", "title": "Odd", "slowmode": 10});
    assert_eq!(http(&sim, "POST", "/chats", &misspelt).await.0, 400);
}

#[tokio::test]
async fn campaigns_are_prepared_and_checked_over_http() {
    let sim = start().await;
    let (_, a) = http(&sim, "POST", "/accounts", &json!({"premium": true})).await;
    let (_, b) = http(&sim, "POST", "/accounts", &json!({})).await;
    let limits = json!({"invites_before_flood": 5, "messages_before_flood": 5});
    assert_eq!(http(&sim, "POST", "/limits", &limits).await.0, 200);
    let privacy = format!("/accounts/{}/privacy", b["user_id"]);
    let closed = json!({"refuse_invites": true, "premium_required": true, "paid_messages": 3});
    assert_eq!(http(&sim, "POST", &privacy, &closed).await.0, 200);
    let book = format!("/accounts/{}/contacts", a["user_id"]);
    let contact = json!({"user_id": b["user_id"], "first_name": "Bob"});
    assert_eq!(http(&sim, "POST", &book, &contact).await.0, 200);
    let (_, contacts) = http(&sim, "GET", &book, &Value::Null).await;
    assert_eq!(
        (&contacts[0]["first_name"], &contacts[0]["mutual"]),
        (&json!("Bob"), &json!(false))
    );
    let one = format!("{book}/{}", b["user_id"]);
    assert_eq!(http(&sim, "DELETE", &one, &Value::Null).await.0, 200);
    assert_eq!(http(&sim, "GET", &book, &Value::Null).await.1, json!([]));
    assert_eq!(http(&sim, "GET", "/books/contacted", &Value::Null).await, (200, json!([])));
    let new = json!({"kind": "supergroup", "title": "Campaign", "admins": [a["user_id"]]});
    let (_, chat) = http(&sim, "POST", "/chats", &new).await;
    let path = format!("/chats/{}", chat["chat_id"]);
    let link = json!({"request_needed": true, "title": "Ask first"});
    let (_, link) = http(&sim, "POST", &format!("{path}/links"), &link).await;
    let join = format!("/accounts/{}/join", b["user_id"]);
    let by_link = json!({"invite_link": link["invite_link"]});
    let (_, asked) = http(&sim, "POST", &join, &by_link).await;
    assert_eq!(asked, json!({"joined": false}));
    let consent = format!("{path}/requests/{}", b["user_id"]);
    assert_eq!(http(&sim, "POST", &consent, &json!({"approved": true})).await.0, 200);
    assert_eq!(http(&sim, "POST", &consent, &json!({"approved": true})).await.0, 400);
    let (_, links) = http(&sim, "GET", &format!("{path}/links"), &Value::Null).await;
    assert_eq!(links[1]["uses"], json!([b["user_id"]]));
    let leave = format!("{path}/members/{}/leave", b["user_id"]);
    assert_eq!(http(&sim, "POST", &leave, &Value::Null).await.0, 200);
    let (_, members) = http(&sim, "GET", &format!("{path}/members"), &Value::Null).await;
    assert_eq!(members.as_array().unwrap().len(), 1);
    let delete = format!("/accounts/{}/delete", b["user_id"]);
    assert_eq!(http(&sim, "POST", &delete, &Value::Null).await.0, 200);
    let nowhere = json!({"invite_link": "https://t.me/+nowhere"});
    assert_eq!(http(&sim, "POST", &join, &nowhere).await.0, 404);
    let misspelt = json!({"invites_before_floods": 5});
    assert_eq!(http(&sim, "POST", "/limits", &misspelt).await.0, 400);
}

#[tokio::test]
async fn mailboxes_for_forgotten_passwords_are_given_and_read_over_http() {
    let sim = start().await;
    let (_, plain) = http(&sim, "POST", "/accounts", &json!({})).await;
    let path = format!("/accounts/{}", plain["user_id"]);
    let mailbox = json!({"email": "john@example.org"});
    assert_eq!(http(&sim, "POST", &format!("{path}/recovery_email"), &mailbox).await.0, 400);
    let new = json!({"password": "open sesame", "recovery_email": "john@example.org"});
    let (status, guarded) = http(&sim, "POST", "/accounts", &new).await;
    assert_eq!(status, 200);
    let path = format!("/accounts/{}", guarded["user_id"]);
    assert_eq!(http(&sim, "POST", &format!("{path}/recovery_email"), &mailbox).await.0, 200);
    assert_eq!(http(&sim, "GET", &format!("{path}/mail"), &Value::Null).await.0, 404);
    let alone = json!({"recovery_email": "john@example.org"});
    assert_eq!(http(&sim, "POST", "/accounts", &alone).await.0, 400);
}
