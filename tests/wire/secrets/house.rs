//! A daemon with users: the simulator, its key for logins, tokens, accounts connected over the API.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use telewarden_simulator::{Account, NewAccount};
use tokio::time::{Instant, sleep};

use super::client::{Answer, Client, Question};
use crate::support::{Broker, DaemonOptions, PATIENCE, Stage, eventually};

/// More than any test asks for.
const PLENTY: &str = "
    [http.limits]
    connect_per_minute = 1000000
    send_per_minute = 1000000
    other_per_minute = 1000000
    unauthorized_per_minute = 1000000
    [telegram.limits.send]
    per_minute = 6000
    burst = 1000
    per_day = 10000000
";

/// The house.
pub(super) struct House {
    pub(super) stage: Stage,
    pub(super) client: Client,
}

impl House {
    /// With a running daemon.
    pub(super) async fn set(fail_points: bool) -> Self {
        let mut house = Self::prepare(fail_points).await;
        house.stage.daemon.spawn().await;
        house
    }

    /// With a daemon that does not run yet.
    pub(super) async fn prepare(fail_points: bool) -> Self {
        let extra_config = PLENTY.to_owned();
        let options = DaemonOptions { extra_config, fail_points, ..DaemonOptions::default() };
        let stage = Stage::prepare(Broker::shared(), options).await;
        let key = stage.daemon.home().join("server.pem");
        fs::write(key, stage.sim.public_key_pem()).expect("the server's key is written");
        let client = Client::of(stage.daemon.listen());
        let mut house = Self { stage, client };
        house.set_variables(&[]);
        house
    }

    /// Sets the daemon's environment from its next start on: what logins need, and `more`.
    pub(super) fn set_variables(&mut self, more: &[(&str, &str)]) {
        let key = self.stage.daemon.home().join("server.pem").display().to_string();
        self.stage.daemon.clear_variables();
        self.stage.daemon.set_variable("TELEWARDEN__TELEGRAM__SERVER_PUBLIC_KEY_FILE", &key);
        for (name, value) in more {
            self.stage.daemon.set_variable(name, value);
        }
    }

    /// `telewarden token`, with the secret that the daemon has made.
    pub(super) fn token(&self, user: &str, role: &str) -> String {
        let said = Command::new(binary())
            .args(["token", "--user", user, "--role", role, "--ttl", "1h", "--config"])
            .arg(self.stage.daemon.home().join("config.toml"))
            .env_clear()
            .output()
            .expect("it runs");
        let (out, err) = (said.stdout, String::from_utf8_lossy(&said.stderr).into_owned());
        assert!(said.status.success() && err.is_empty(), "{err}");
        String::from_utf8(out).expect("a text").trim().to_owned()
    }

    pub(super) async fn ask(&self, question: Question) -> Answer {
        self.client.ask(question).await
    }

    /// Asks, and expects this status; answers the JSON. As any client would, it asks again where
    /// Telegram does not answer: the simulator is slow to agree on keys where it is not optimized.
    pub(super) async fn expect(&self, question: Question, status: u16) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(question.clone()).await;
            let is_busy = answer.refusal() == (503, "TG_UNAVAILABLE".to_owned());
            if status == 503 || !is_busy || Instant::now() > deadline {
                assert_eq!(answer.status, status, "{}", answer.body);
                return answer.json();
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Somebody with a session at Telegram.
    pub(super) async fn person(&self, username: &str) -> Account {
        let username = Some(username.to_owned());
        let new = NewAccount { username, ..NewAccount::default() };
        self.stage.sim.add_account(new).await.expect("an account")
    }

    /// Connects that session; answers the account's id.
    pub(super) async fn paste(&self, token: &str, person: &Account) -> String {
        let body = json!({ "session_string": person.session_string.clone().expect("a session") });
        let connect = Question::new("POST", "/accounts/telegram/connect/session");
        let account = self.expect(connect.by(token).json(body), 201).await;
        account["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until an account is in this state.
    pub(super) async fn until_state(&self, token: &str, id: &str, state: &str) {
        eventually(&format!("account {id} is {state}"), async || {
            let look = Question::new("GET", &format!("/accounts/{id}")).by(token);
            (self.ask(look).await.json()["state"] == state).then_some(())
        })
        .await;
    }
}

/// The binary that `./scripts/test` built alone; without it the one cargo built for this test.
fn binary() -> PathBuf {
    let built = std::env::var_os("TELEWARDEN_TEST_BIN").map(PathBuf::from);
    built.unwrap_or_else(|| env!("CARGO_BIN_EXE_telewarden").into())
}
