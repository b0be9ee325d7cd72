//! A daemon that serves its users over HTTP, and the Telegram that their accounts live at.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use serde_json::{Value, json};
use telewarden::clock::Clock;
use telewarden::edge::http::api::{TokenSecret, Tokens};
use telewarden::protocol::users::owner::{Role, UserId};
use telewarden::protocol::values::secret::SecretText;
use telewarden_simulator::{
    Account, AccountInfo, Chat, ChatKind, NewAccount, NewChat, Options, Simulator, StoredMessage,
};
use tokio::time::{Instant, sleep};

use super::{
    Answer, Backend, Broker, Client, Daemon, DaemonOptions, Door, PATIENCE, Question, eventually,
    expect_clean_books,
};

/// What tokens are signed with.
pub(crate) const TOKEN_SECRET: &str = "a secret of the tests, long enough for a token";

/// Limits under which a test may send as it likes.
pub(crate) const MORE_SENDS: &str = "[telegram.limits.send]\nper_minute = 6000\nburst = 1000\n";

/// A simulator with two datacenters, a daemon, and its users.
pub(crate) struct Harness {
    pub(crate) sim: Simulator,
    pub(crate) daemon: Daemon,
    pub(crate) door: Door,
    /// What tokens are signed with; `None` when the daemon makes that itself.
    token_secret: Option<&'static str>,
}

impl Harness {
    /// With a running daemon and no broker.
    pub(crate) async fn open() -> Self {
        Self::open_with(DaemonOptions::default()).await
    }

    /// The same with other settings.
    pub(crate) async fn open_with(options: DaemonOptions) -> Self {
        let mut harness = Self::prepare(options).await;
        harness.daemon.spawn().await;
        harness
    }

    /// With a daemon that does not run yet.
    pub(crate) async fn prepare(options: DaemonOptions) -> Self {
        let sim = simulator().await;
        let daemon = Daemon::alone(&sim, options);
        Self::of(sim, daemon, Some(TOKEN_SECRET))
    }

    /// The same, before a broker, and with nothing secret but what the daemon makes itself.
    pub(crate) async fn prepare_on_its_own(backend: &Backend, options: DaemonOptions) -> Self {
        let sim = simulator().await;
        let daemon = Daemon::prepare(&sim, backend, options);
        Self::of(sim, daemon, None)
    }

    /// With a running daemon that also serves a backend behind the broker that all tests share.
    pub(crate) async fn open_with_backend() -> (Self, Backend) {
        let backend = Backend::connect(Broker::shared()).await;
        (Self::open_to(&backend).await, backend)
    }

    /// The same with a backend of one's own.
    pub(crate) async fn open_to(backend: &Backend) -> Self {
        let sim = simulator().await;
        let daemon = Daemon::prepare(&sim, backend, DaemonOptions::default());
        let mut harness = Self::of(sim, daemon, Some(TOKEN_SECRET));
        harness.daemon.spawn().await;
        harness
    }

    fn of(sim: Simulator, daemon: Daemon, token_secret: Option<&'static str>) -> Self {
        let key = daemon.home().join("server.pem");
        std::fs::write(&key, sim.public_key_pem()).expect("the server's key is written");
        let door = Door::at(daemon.listen());
        let mut harness = Self { sim, daemon, door, token_secret };
        harness.add_variables();
        harness
    }

    /// Sets the daemon's environment from its next start on: what every harness needs, and `more`.
    pub(crate) fn set_variables(&mut self, more: &[(&str, &str)]) {
        self.daemon.clear_variables();
        self.add_variables();
        for (name, value) in more {
            self.daemon.set_variable(name, value);
        }
    }

    fn add_variables(&mut self) {
        let key = self.daemon.home().join("server.pem").display().to_string();
        let elsewhere = self.sim.dc_addr(4).expect("it has two").to_string();
        self.daemon.set_variable("TELEWARDEN__TELEGRAM__SERVER_PUBLIC_KEY_FILE", &key);
        self.daemon.set_variable("TELEWARDEN__TELEGRAM__SERVERS__4", &elsewhere);
        let limits = ["CONNECT", "SEND", "CHANGE", "OTHER", "UNAUTHORIZED"];
        let limits = limits.map(|limit| format!("{limit}_PER_MINUTE"));
        for limit in limits.into_iter().chain(["CHANGE_BURST".to_owned()]) {
            let name = format!("TELEWARDEN__HTTP__LIMITS__{limit}");
            self.daemon.set_variable(&name, "1000000");
        }
        if let Some(secret) = self.token_secret {
            self.daemon.set_variable("TELEWARDEN__AUTH__JWT_SECRET", secret);
        }
    }

    /// The API as `user` sees it.
    pub(crate) fn user(&self, user: &str) -> Client {
        self.client(user, Role::User)
    }

    /// The same where the daemon's clock is off by this, as libfaketime writes it.
    pub(crate) fn user_by_clock(&self, user: &str, offset: &str) -> Client {
        let seconds: i64 = offset.trim_end_matches('s').parse().expect("seconds");
        // A token that is good for an hour and more by either clock.
        let ttl = Duration::from_secs(3_600 + seconds.unsigned_abs());
        self.holder(&self.token_for(user, Role::User, ttl))
    }

    /// The API as an admin sees it.
    pub(crate) fn admin(&self) -> Client {
        self.client("the-admin", Role::Admin)
    }

    fn client(&self, user: &str, role: Role) -> Client {
        self.holder(&self.token(user, role))
    }

    /// What shows that somebody is `user`. Where the daemon makes the secret, it has run before.
    pub(crate) fn token(&self, user: &str, role: Role) -> String {
        self.token_for(user, role, Duration::from_secs(3_600))
    }

    fn token_for(&self, user: &str, role: Role, ttl: Duration) -> String {
        let known = self.token_secret.map(|secret| SecretText::new(secret.into()));
        let secret = TokenSecret::find(known.as_ref(), &self.daemon.store()).expect("a secret");
        let user = UserId::new(user).expect("a user");
        let token = Tokens::new(&secret, Clock::system()).mint(&user, role, ttl);
        token.expect("it is signed")
    }

    /// The API as whoever has this token sees it.
    pub(crate) fn holder(&self, token: &str) -> Client {
        Client::new(self.door.clone(), token.to_owned())
    }

    /// Asks whatever can be asked, by whomever.
    pub(crate) async fn ask(&self, question: Question) -> Answer {
        self.door.ask(question).await
    }

    /// Asks, and expects this status; answers the JSON. As any client would, it asks again where
    /// Telegram does not answer: the simulator is slow to agree on keys where it is not optimized.
    pub(crate) async fn expect(&self, question: Question, status: u16) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(question.clone()).await;
            let is_busy = answer.refusal() == (503, "TG_UNAVAILABLE".to_owned());
            if status == 503 || !is_busy || Instant::now() > deadline {
                return answer.expect(status);
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// An account at Telegram that is logged in somewhere.
    pub(crate) async fn person(&self) -> Account {
        self.account(NewAccount::default()).await
    }

    /// The same with a public name.
    pub(crate) async fn named(&self, username: &str) -> Account {
        let username = Some(username.to_owned());
        self.account(NewAccount { username, ..NewAccount::default() }).await
    }

    /// An account at Telegram that is logged in nowhere.
    pub(crate) async fn stranger(&self) -> Account {
        self.account(NewAccount { logged_in: false, ..NewAccount::default() }).await
    }

    pub(crate) async fn account(&self, new: NewAccount) -> Account {
        self.sim.add_account(new).await.expect("an account")
    }

    /// Connects `account` by its session; its id here, once it is active.
    pub(crate) async fn connect(&self, user: &Client, account: &Account) -> String {
        let answer = user.post("/accounts/telegram/connect/session", session_of(account)).await;
        let id = id_of(&answer.expect(201));
        self.until_state(user, &id, "active").await;
        id
    }

    /// Waits until an account is in `state`, and says what its status is then.
    pub(crate) async fn until_state(&self, user: &Client, id: &str, state: &str) -> Value {
        eventually(&format!("account {id} is {state}"), async || {
            let status = user.get(&format!("/accounts/{id}/status")).await.expect(200);
            (status["state"] == state).then_some(status)
        })
        .await
    }

    /// The same of a login.
    pub(crate) async fn until_login(&self, user: &Client, id: &str, state: &str) -> Value {
        eventually(&format!("login {id} is {state}"), async || {
            let login = user.get(&format!("/logins/{id}")).await.expect(200);
            (login["state"] == state).then_some(login)
        })
        .await
    }

    /// The accounts of a user.
    pub(crate) async fn accounts_of(&self, user: &Client) -> Vec<Value> {
        let list = user.get("/accounts").await.expect(200);
        list["items"].as_array().expect("a list").clone()
    }

    /// A chat at Telegram with these members.
    pub(crate) async fn chat(
        &self,
        kind: ChatKind,
        username: Option<&str>,
        members: &[&Account],
    ) -> Chat {
        let new = NewChat {
            kind,
            title: "A room".into(),
            username: username.map(str::to_owned),
            members: members.iter().map(|account| account.user_id).collect(),
            admins: Vec::new(),
        };
        self.sim.add_chat(new).await.expect("a chat")
    }

    /// What Telegram knows of an account's use.
    pub(crate) async fn books(&self, account: &Account) -> AccountInfo {
        self.sim.account(account.user_id).await.expect("the account is there")
    }

    /// The private messages that an account has received.
    pub(crate) async fn inbox(&self, account: &Account) -> Vec<StoredMessage> {
        self.sim.inbox(account.user_id).await.expect("the account is there")
    }

    /// Their texts.
    pub(crate) async fn texts(&self, account: &Account) -> Vec<String> {
        self.inbox(account).await.into_iter().map(|message| message.text).collect()
    }

    /// Sends `text` to somebody, under an idempotency key or none.
    pub(crate) async fn send(
        &self,
        user: &Client,
        id: &str,
        key: Option<&str>,
        message: &Value,
    ) -> Answer {
        let named = key.map(|key| ("Idempotency-Key", key));
        let path = format!("/accounts/{id}/messages");
        let answer = user.try_send("POST", &path, named.as_slice(), Some(message)).await;
        answer.expect("the message is answered")
    }

    /// `kill -9`, of which Telegram's bookkeeper is told.
    pub(crate) async fn kill(&mut self) {
        self.daemon.kill();
        self.sim.client_killed().await;
    }

    /// No call, connection or send that Telegram would hold against an account.
    pub(crate) async fn expect_clean_books(&self) {
        expect_clean_books(&self.sim).await;
    }
}

/// The id of an account in an answer.
pub(crate) fn id_of(account: &Value) -> String {
    account["id"].as_str().unwrap_or_else(|| panic!("an account: {account}")).to_owned()
}

/// The body that connects an account by its session.
fn session_of(account: &Account) -> Value {
    json!({ "session_string": account.session_string.as_ref().expect("it is logged in") })
}

async fn simulator() -> Simulator {
    let elsewhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let options = Options { dcs: vec![(4, elsewhere)], ..Options::default() };
    Simulator::start(options).await.expect("the simulator starts")
}
