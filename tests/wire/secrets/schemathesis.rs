//! Schemathesis asks the real daemon what it could think of from the OpenAPI document: nothing may fail
//! inside, and nothing may be answered that the document does not tell. `tests/schemathesis/` has what it
//! must know besides.
//!
//! `TELEWARDEN_TEST_EXAMPLES` sets how many requests it makes up for each operation.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use telewarden::protocol::users::owner::Role;
use telewarden_simulator::{ChatKind, Limits, NewAccount};

use crate::support::{Harness, Question};

/// Requests made up for each operation, beside those that follow from the document alone.
const EXAMPLES: &str = "8";
/// What every request is drawn from.
const SEED: u32 = 20_261_121;
/// How many accounts and webhooks may be removed.
const EXPENDABLE: usize = 4;
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,response_headers_conformance,refusals_are_documented";

/// Logins that wait for a code, and their phones.
async fn begin_logins(harness: &Harness, admin: &str) -> (Vec<Value>, Vec<String>) {
    let (mut logins, mut phones) = (Vec::new(), vec!["+79991234567".to_owned()]);
    for password in [None, Some("correct horse".to_owned())] {
        let new = NewAccount { logged_in: false, password, ..NewAccount::default() };
        let stranger = harness.sim.add_account(new).await.unwrap();
        let connect = Question::new("POST", "/accounts/telegram/connect/sms").by(admin);
        let body = json!({ "phone": stranger.phone });
        let login = harness.expect(connect.json(body), 202).await;
        logins.push(login["login_id"].clone());
        phones.push(stranger.phone);
    }
    (logins, phones)
}

/// Things that exist, by kind, and values that mean something, by field.
async fn furnish(harness: &Harness, admin: &str) -> Value {
    let sim = &harness.sim;
    sim.set_limits(Limits { codes_per_phone: 0, wrong_passwords: 0, ..Limits::default() }).await;
    // The names that the document's examples use, and some more.
    let durov = harness.named("durov").await;
    let mut accounts = vec![harness.connect(&harness.holder(admin), &durov).await];
    let friend = harness.named("a_friend").await;
    accounts.push(harness.connect(&harness.holder(admin), &friend).await);
    let mut expendable = Vec::new();
    for number in 0..EXPENDABLE {
        let person = harness.named(&format!("guest_{number}")).await;
        expendable.push(harness.connect(&harness.user("guest"), &person).await);
    }
    let channel = harness.chat(ChatKind::Supergroup, Some("some_channel"), &[]).await;
    sim.add_member(channel.chat_id, durov.user_id).await.unwrap();
    let put = Question::new("PUT", "/monitors/@some_channel").by(admin);
    harness.expect(put.json(json!({ "accounts": [accounts[0]] })), 201).await;
    let (logins, phones) = begin_logins(harness, admin).await;
    let bot = NewAccount { bot: true, logged_in: false, ..NewAccount::default() };
    let bot = sim.add_account(bot).await.unwrap().bot_token;
    let session = sim.add_session(friend.user_id).await.unwrap();
    let mut hooks = Vec::new();
    for _ in 0..EXPENDABLE {
        let hook = Question::new("POST", "/webhooks").by(admin);
        // Nobody is called.
        let body = json!({ "url": "https://example.org/hook", "events": [], "enabled": false });
        hooks.push(harness.expect(hook.json(body), 201).await["id"].clone());
    }
    let (lasting, passing) = hooks.split_at(1);
    json!({
        "seed": SEED,
        "ids": {
            "accounts": accounts,
            "logins": logins,
            "monitors": ["@some_channel", channel.chat_id.to_string()],
            "users": ["root"],
            "webhooks": lasting,
            "expendable webhooks": passing,
            "expendable accounts": expendable,
            "expendable users": ["guest"],
            "expendable monitors": ["@some_channel"],
        },
        "fields": {
            "to": ["me", "@a_friend", "@some_channel", channel.chat_id, friend.user_id],
            "chat": ["@some_channel", channel.chat_id],
            "accounts": [accounts, [accounts[0]]],
            "phone": phones,
            "token": [bot],
            "session_string": [session],
            "password": ["correct horse"],
        },
    })
}

async fn schemathesis(harness: &Harness, admin: &str, plan: &Value) -> Output {
    let python = std::env::var("TELEWARDEN_TEST_PYTHON").expect(
        "TELEWARDEN_TEST_PYTHON must name a Python interpreter that has Schemathesis: \
         run ./scripts/test, which prepares one",
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
    let home = harness.daemon.home();
    std::fs::write(home.join("plan.json"), plan.to_string()).unwrap();
    let examples = std::env::var("TELEWARDEN_TEST_EXAMPLES").unwrap_or_else(|_| EXAMPLES.into());
    let mut run = Command::new(python);
    run.args(["-m", "schemathesis.cli", "--config-file"])
        .arg(folder.join("schemathesis.toml"))
        .args(["run", &format!("http://{}/openapi.json", harness.daemon.listen())])
        .args(["--header", &format!("Authorization: Bearer {admin}"), "--checks", CHECKS])
        .args(["--max-examples", &examples, "--seed", &SEED.to_string(), "--workers", "1"])
        .current_dir(home)
        .env("TELEWARDEN_TEST_PLAN", home.join("plan.json"))
        .env("SCHEMATHESIS_HOOKS", folder.join("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    tokio::task::spawn_blocking(move || run.output()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_that_the_document_does_not_tell() {
    let (harness, _backend) = super::open().await;
    let admin = harness.token("root", Role::Admin);
    let plan = furnish(&harness, &admin).await;
    let began = std::time::Instant::now();
    let output = schemathesis(&harness, &admin, &plan).await;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "Schemathesis objects: {said}\n{complaint}");
    let made = said.lines().find(|line| line.contains("generated")).unwrap_or_default();
    println!("{} in {:?}", made.trim(), began.elapsed());
    let panics = harness.daemon.log().matches("\"panicked\"").count();
    assert_eq!(panics, 0, "{}", harness.daemon.log());
    harness.expect(Question::new("GET", "/accounts").by(&admin), 200).await;
    // The same text is meant to be sent twice here, which the simulator takes for a repetition.
    let stats = harness.sim.stats().await;
    let mut broken = stats
        .violations
        .iter()
        .filter(|(name, count)| **count > 0 && name.as_str() != "random_id_changed");
    assert_eq!(broken.next(), None, "{:#?}", stats.violations_told);
}
