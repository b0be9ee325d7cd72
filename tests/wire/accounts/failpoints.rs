//! The daemon dies by SIGKILL wherever something of a user's becomes durable, and is started again:
//! a login goes on under its id and ends with one account, a message is sent once.

use std::os::unix::process::ExitStatusExt;

use serde_json::{Value, json};
use telewarden_simulator::{Account, NewAccount};
use tokio::time::{Duration, Instant, sleep};

use crate::support::{Answer, Client, DaemonOptions, Harness, PATIENCE, eventually, id_of};

/// One test a point: the daemon dies there when it comes by for the given time.
macro_rules! points {
    ($($test:ident: $name:literal @ $nth:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                Play::set().await.dies_at($name, $nth).await;
            }
        )*

        /// The points that have a test here.
        pub(crate) const DEATHS_TESTED: &[&str] = &[$($name),*];
    };
}

points! {
    login_stage_before_the_code: "login.stage.before" @ 1,
    login_stage_after_the_code: "login.stage.after" @ 1,
    login_stage_before_the_password: "login.stage.before" @ 2,
    login_stage_after_the_password: "login.stage.after" @ 2,
    login_sign_in_before: "login.sign_in.before" @ 1,
    login_sign_in_after: "login.sign_in.after" @ 1,
    login_signed_in: "login.signed_in" @ 1,
    account_adopt_before: "account.adopt.before" @ 1,
    account_adopt_after: "account.adopt.after" @ 1,
    owned_keep_before: "owned.keep.before" @ 1,
    owned_keep_after: "owned.keep.after" @ 1,
    owned_keep_before_a_pause: "owned.keep.before" @ 2,
    owned_keep_after_a_pause: "owned.keep.after" @ 2,
    send_intent_before: "send.intent.before" @ 1,
    send_intent_after: "send.intent.after" @ 1,
    send_outcome_before: "send.outcome.before" @ 1,
    send_outcome_after: "send.outcome.after" @ 1,
}

const PASSWORD: &str = "open, sesame";

/// A user connects an account by code and password, sends a message from it, and pauses it. Whatever
/// is not answered is asked again, as a user would.
struct Play {
    harness: Harness,
    user: Client,
    account: Account,
    friend: Account,
    deaths: u32,
}

impl Play {
    async fn set() -> Self {
        let options = DaemonOptions { fail_points: true, ..DaemonOptions::default() };
        let harness = Harness::prepare(options).await;
        let new = NewAccount {
            password: Some(PASSWORD.into()),
            logged_in: false,
            ..NewAccount::default()
        };
        let account = harness.account(new).await;
        let friend = NewAccount { username: Some("the_friend".into()), ..NewAccount::default() };
        let friend = harness.account(friend).await;
        let user = harness.user("ann");
        Self { harness, user, account, friend, deaths: 0 }
    }

    async fn dies_at(mut self, point: &str, nth: u64) {
        self.harness.daemon.launch_to_die_at(point, nth);
        self.harness.daemon.wait_until_ready().await;
        let id = self.log_in().await;
        let sent = self.send(&id).await;
        self.pause(&id).await;
        assert_eq!(self.deaths, 1, "{point} is not reached");
        self.expect_all_of_it(&id, &sent).await;
        // As if nothing had happened: all of it is still there for another life.
        self.harness.kill().await;
        self.harness.daemon.spawn().await;
        self.expect_all_of_it(&id, &sent).await;
        self.harness.expect_clean_books().await;
    }

    /// Asks; `None` when the daemon died over it, and lives again.
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Option<Answer> {
        let answer = self.user.try_send(method, path, headers, body.as_ref()).await;
        if let Ok(answer) = answer {
            return Some(answer);
        }
        let deadline = Instant::now() + PATIENCE;
        let death = loop {
            if let Some(death) = self.harness.daemon.ended() {
                break death;
            }
            assert!(Instant::now() < deadline, "{method} {path} is not answered");
            sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(death.signal(), Some(9), "{death}: {}", self.harness.daemon.log());
        self.deaths += 1;
        self.harness.sim.client_killed().await;
        self.harness.daemon.spawn().await;
        None
    }

    /// The id of the account that it ends with.
    async fn log_in(&mut self) -> String {
        let path = "/accounts/telegram/connect/sms";
        let begin = json!({ "phone": self.account.phone });
        let begun = loop {
            match self.ask("POST", path, &[], Some(begin.clone())).await {
                // Making a key takes long in a build that is not optimized.
                Some(answer) if answer.status == 503 => {}
                Some(answer) => break answer.expect(202),
                None => {}
            }
        };
        let login = begun["login_id"].as_str().expect("an id").to_owned();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Some(answer) = self.ask("GET", &format!("/logins/{login}"), &[], None).await else {
                continue;
            };
            let seen = answer.expect(200);
            let step = match seen["state"].as_str().expect("a state") {
                "code_sent" => {
                    let code = self.harness.sim.login_code(self.account.user_id).await;
                    ("code", json!({ "code": code.expect("a code was sent") }))
                }
                "password_required" => ("password", json!({ "password": PASSWORD })),
                "active" => return id_of(&seen["account"]),
                other => panic!("the login is {other}: {seen:#}"),
            };
            let path = format!("/logins/{login}/{}", step.0);
            match self.ask("POST", &path, &[], Some(step.1)).await {
                // Right after the restart it turned out that Telegram had heard of it before.
                Some(answer) if answer.status == 409 && self.deaths == 1 => {}
                Some(answer) => drop(answer.expect(200)),
                None => {}
            }
        }
        panic!("the login does not get on");
    }

    /// What was answered in the end.
    async fn send(&mut self, id: &str) -> Value {
        let path = format!("/accounts/{id}/messages");
        let message = json!({ "to": "@the_friend", "text": "once", "timeout": 20 });
        let named = &[("Idempotency-Key", "the-message")];
        loop {
            if let Some(answer) = self.ask("POST", &path, named, Some(message.clone())).await {
                return answer.expect(201);
            }
        }
    }

    async fn pause(&mut self, id: &str) {
        let path = format!("/accounts/{id}/pause");
        loop {
            if let Some(answer) = self.ask("POST", &path, &[], None).await {
                answer.expect(200);
                return;
            }
        }
    }

    async fn expect_all_of_it(&self, id: &str, sent: &Value) {
        let (harness, user) = (&self.harness, &self.user);
        let accounts = harness.accounts_of(user).await;
        assert_eq!(accounts.len(), 1, "{accounts:#?}");
        assert_eq!(id_of(&accounts[0]), id);
        assert_eq!(accounts[0]["telegram_id"], self.account.user_id);
        assert_eq!(accounts[0]["state"], "paused");
        assert_eq!(harness.accounts_of(&harness.user("bob")).await, [] as [Value; 0]);
        assert_eq!(harness.books(&self.account).await.sessions, 1, "one session at Telegram");
        let held = eventually("the paused account is not connected", async || {
            (harness.books(&self.account).await.connections_now == 0).then_some(())
        });
        held.await;
        let inbox = harness.inbox(&self.friend).await;
        assert_eq!(inbox.len(), 1, "{inbox:?}");
        let message = json!({ "to": "@the_friend", "text": "once", "timeout": 20 });
        let again = harness.send(user, id, Some("the-message"), &message).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.expect(201), *sent);
        assert_eq!(harness.inbox(&self.friend).await, inbox);
    }
}
