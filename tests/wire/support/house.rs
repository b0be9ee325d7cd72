//! A daemon that serves its users over HTTP, and the Telegram that their accounts live at.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use serde_json::{Value, json};
use telewarden::edge::http::api::{TokenSecret, Tokens};
use telewarden::protocol::owner::{Role, UserId};
use telewarden::protocol::secret::SecretText;
use telewarden_simulator::{Account, AccountInfo, NewAccount, Options, Simulator, StoredMessage};

use super::{Answer, Backend, Client, Daemon, DaemonOptions, eventually, expect_clean_books};

/// What tokens are signed with.
const TOKEN_SECRET: &str = "a secret of the tests, long enough for a token";

/// Limits under which a test may send as it likes.
pub(crate) const MORE_SENDS: &str = "[telegram.limits.send]\nper_minute = 6000\nburst = 1000\n";

/// A simulator with two datacenters, a daemon, and its users.
pub(crate) struct House {
    pub(crate) sim: Simulator,
    pub(crate) daemon: Daemon,
}

impl House {
    /// With a running daemon and no broker.
    pub(crate) async fn open() -> Self {
        Self::open_with(DaemonOptions::default()).await
    }

    /// The same with other settings.
    pub(crate) async fn open_with(options: DaemonOptions) -> Self {
        let mut house = Self::prepare(options).await;
        house.daemon.spawn().await;
        house
    }

    /// With a daemon that does not run yet.
    pub(crate) async fn prepare(options: DaemonOptions) -> Self {
        let sim = simulator().await;
        let daemon = Daemon::alone(&sim, options);
        Self::of(sim, daemon)
    }

    /// With a running daemon that also serves a backend behind a broker.
    pub(crate) async fn open_to(backend: &Backend) -> Self {
        let sim = simulator().await;
        let daemon = Daemon::prepare(&sim, backend, DaemonOptions::default());
        let mut house = Self::of(sim, daemon);
        house.daemon.spawn().await;
        house
    }

    fn of(sim: Simulator, mut daemon: Daemon) -> Self {
        let key = daemon.home().join("server.pem");
        std::fs::write(&key, sim.public_key_pem()).expect("the server's key is written");
        let key = key.to_str().expect("a path in UTF-8");
        daemon.set_variable("TELEWARDEN__TELEGRAM__SERVER_PUBLIC_KEY_FILE", key);
        let elsewhere = sim.dc_addr(4).expect("it has two").to_string();
        daemon.set_variable("TELEWARDEN__TELEGRAM__SERVERS__4", &elsewhere);
        daemon.set_variable("TELEWARDEN__AUTH__JWT_SECRET", TOKEN_SECRET);
        daemon.set_variable("TELEWARDEN__HTTP__LIMITS__CONNECT_PER_MINUTE", "1000");
        daemon.set_variable("TELEWARDEN__HTTP__LIMITS__SEND_PER_MINUTE", "1000");
        daemon.set_variable("TELEWARDEN__HTTP__LIMITS__OTHER_PER_MINUTE", "100000");
        Self { sim, daemon }
    }

    /// The API as `user` sees it.
    pub(crate) fn user(&self, user: &str) -> Client {
        self.client(user, Role::User)
    }

    /// The API as an admin sees it.
    pub(crate) fn admin(&self) -> Client {
        self.client("the-admin", Role::Admin)
    }

    fn client(&self, user: &str, role: Role) -> Client {
        let secret = TokenSecret::new(SecretText::new(TOKEN_SECRET.into())).expect("long enough");
        let user = UserId::new(user).expect("a user");
        let token = Tokens::new(&secret).mint(&user, role, Duration::from_secs(3_600));
        Client::new(self.daemon.listen(), token.expect("it is signed"))
    }

    /// An account at Telegram that is logged in somewhere.
    pub(crate) async fn person(&self) -> Account {
        self.account(NewAccount::default()).await
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
