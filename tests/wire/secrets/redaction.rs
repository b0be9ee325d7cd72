//! Secrets are told to nobody. Everything that users, admins and the backend can do is done once, well
//! and badly, while the daemon logs all it can; then everything it wrote or said is searched.

mod connecting;
mod using;

use std::sync::{Arc, Mutex};

use serde_json::Value;
use telewarden::protocol::users::owner::Role;
use telewarden_simulator::{Account, FaultKind, FaultSpec, NewAccount};

use super::known::Known;
use crate::support::{Backend, Harness, Listener, Question};

const API_HASH: &str = "5ec7e7a0b1c2d3e4f5061728394a5b6c";
const PASSWORD: &str = "Opens-Sesame-77";
const WRONG_PASSWORD: &str = "Shuts-Sesame-88";
const WRONG_BOT: &str = "99887766:AAwrong-token_of-no-bot";
const BROKER_PASSWORD: &str = "Br0ker-Passw0rd-of-nobody";
/// Nobody listens there, so what is for it stays in the store.
const HOOK: &str = "http://127.0.0.1:1/hook/whispered-t0ken";
const IDEMPOTENCY_KEY: &str = "order-4711-of-the-customer";

/// A life of the daemon with everything in it.
struct Life {
    harness: Harness,
    backend: Backend,
    /// Who says what is overheard.
    author: Account,
    /// What nobody is told.
    known: Known,
    /// Texts of messages: nobody is told but the backend that asked for them.
    texts: Known,
    /// Addresses with a secret in them: their user sees them, and the log does not.
    addresses: Known,
    alice: String,
    admin: String,
    /// What came over the stream of events, and the pictures to scan that may be in there.
    followed: Arc<Mutex<String>>,
    pictures: Vec<String>,
}

impl Life {
    async fn begin() -> Self {
        let (mut harness, backend) = super::prepare(true).await;
        let author = harness.person().await;
        harness.set_variables(&loud(&[]));
        harness.daemon.spawn().await;
        let mut known = Known::default();
        let state = harness.daemon.store();
        for file in ["key", "jwt-secret"] {
            let text = std::fs::read_to_string(state.join(file)).unwrap();
            known.text(file, text.trim());
        }
        known.text("the application's hash", API_HASH);
        known.text("the broker's address", "guest:guest@");
        known.text("the broker's password", BROKER_PASSWORD);
        known.text("the idempotency key", IDEMPOTENCY_KEY);
        for (what, text) in [
            ("the password", PASSWORD),
            ("the wrong password", WRONG_PASSWORD),
            ("the wrong bot token", WRONG_BOT),
        ] {
            known.text(what, text);
        }
        let (alice, admin) =
            (harness.token("alice", Role::User), harness.token("root", Role::Admin));
        for token in [&alice, &admin] {
            known.text("a token", token);
            known.text("a token's signature", token.rsplit('.').next().unwrap());
        }
        let mut addresses = Known::default();
        addresses.text("a webhook's address", "whispered-t0ken");
        let (texts, followed) = (Known::default(), Arc::default());
        let pictures = Vec::new();
        Self { harness, backend, author, known, texts, addresses, alice, admin, followed, pictures }
    }

    fn ask(&self, method: &str, path: &str) -> Question {
        Question::new(method, path).by(&self.alice)
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.harness.expect(self.ask("POST", path).json(body), status).await
    }

    /// What the server knows that clients must keep to themselves: keys, hashes, tokens.
    async fn learn(&mut self) {
        let secrets = self.harness.sim.secrets().await;
        for key in &secrets.auth_keys {
            self.known.bytes("an authorization key", key);
        }
        for hash in &secrets.code_hashes {
            self.known.text("a phone_code_hash", hash);
        }
    }

    /// Somebody to log in as.
    async fn stranger(&mut self, password: Option<&str>) -> Account {
        let password_hint = password.map(|_| "what opens".to_owned());
        let password = password.map(str::to_owned);
        let new = NewAccount { logged_in: false, password, password_hint, ..NewAccount::default() };
        let account = self.harness.sim.add_account(new).await.unwrap();
        self.phone(&account);
        account
    }

    fn phone(&mut self, account: &Account) {
        let digits = account.phone.trim_start_matches('+');
        self.known.text("a phone number", digits);
    }

    async fn listener(&mut self, id: &str) -> Listener {
        let account = self.harness.person().await;
        self.phone(&account);
        let listener = Listener::new(id, &account);
        self.known.text("a session string", &listener.session_string[1..]);
        listener
    }

    async fn fault(
        &self,
        user_id: i64,
        method: &str,
        error: Option<&str>,
        kind: Option<FaultKind>,
    ) {
        let spec = FaultSpec {
            user_id: Some(user_id),
            method: Some(method.to_owned()),
            error: error.map(str::to_owned),
            kind,
            times: Some(1),
            ..FaultSpec::default()
        };
        self.harness.sim.add_fault(spec).await.unwrap();
    }

    /// Looks for everything known everywhere.
    async fn sweep(&mut self, when: &str) {
        self.learn().await;
        let daemon = &self.harness.daemon;
        let mut found = self.known.found_below(&daemon.store(), &["key", "jwt-secret"]);
        found.extend(self.texts.found_below(&daemon.store(), &["key", "jwt-secret"]));
        for line in daemon.log().lines() {
            let all = [&self.known, &self.texts, &self.addresses];
            let here = all.map(|known| known.found_in(line.as_bytes()));
            found.extend(here.concat().iter().map(|what| format!("{what} in the log: {line}")));
        }
        for heard in self.harness.door.heard().iter() {
            let text = heard.text.as_bytes();
            let here = [self.known.found_in(text), self.texts.found_in(text)].concat();
            found.extend(here.iter().map(|what| format!("{what} answers {}", heard.question)));
        }
        for event in self.backend.events() {
            let text = format!("{:?} {}", event.properties, event.body);
            let here = self.known.found_in(text.as_bytes());
            found.extend(here.iter().map(|what| format!("{what} in an event: {}", event.kind)));
        }
        let followed = self.followed.lock().unwrap().clone();
        let followed = self.pictures.iter().fold(followed, |text, url| text.replace(url, ""));
        let here =
            [self.known.found_in(followed.as_bytes()), self.texts.found_in(followed.as_bytes())];
        found.extend(here.concat().iter().map(|what| format!("{what} in the stream")));
        assert!(found.is_empty(), "{when}: {found:#?}");
    }

    /// What is no secret is found, so that the search is known to look where things are written.
    async fn find_what_is_public(&self) {
        let mut public = Known::default();
        public.text("an action", "account.connect");
        public.text("a route", "/accounts/{id}/messages");
        let daemon = &self.harness.daemon;
        let store = public.found_below(&daemon.store(), &[]);
        assert!(store.iter().any(|found| found.ends_with("an action")), "{store:?}");
        assert!(public.found_in(daemon.log().as_bytes()).contains(&"a route"));
        let heard = self.harness.door.heard();
        let is_told = |text: &str| public.found_in(text.as_bytes()).contains(&"an action");
        assert!(heard.iter().any(|heard| is_told(&heard.text)), "in no answer");
    }

    /// The same for what only a running daemon has: its arguments, health and metrics.
    async fn sweep_running(&mut self, when: &str) {
        for path in ["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json"] {
            self.harness.ask(Question::new("GET", path)).await;
        }
        let arguments = format!("/proc/{}/cmdline", self.harness.daemon.pid());
        let arguments = std::fs::read(arguments).unwrap();
        assert_eq!(self.known.found_in(&arguments), Vec::<&str>::new());
        let (_, said) = self.harness.daemon.check();
        assert_eq!(self.known.found_in(said.as_bytes()), Vec::<&str>::new(), "{said}");
        self.sweep(when).await;
    }
}

/// Logs everything that can be logged.
fn loud<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let all = [
        ("TELEWARDEN__LOG__LEVEL", "trace"),
        ("TELEWARDEN__TELEGRAM__API_HASH", API_HASH),
        ("TELEWARDEN__WEBHOOKS__ALLOW_PRIVATE", "true"),
    ];
    all.iter().chain(more).copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_leaves_whatever_is_done() {
    let mut life = Life::begin().await;
    let followed = Arc::clone(&life.followed);
    let tell = move |text: &str| followed.lock().unwrap().push_str(text);
    let stream = life.ask("GET", "/events/stream");
    let _stream = life.harness.door.listen(&stream, tell).await;
    life.refused_tokens().await;
    let hook = life.hook().await;
    let by_code = life.log_in_by_code().await;
    life.log_in_by_mail().await;
    life.log_in_in_vain().await;
    let by_picture = life.log_in_by_picture().await;
    let bot = life.connect_bot().await;
    let (id, person) = life.paste_session("alice_herself").await;
    life.send(&id, person.user_id).await;
    life.watch(&id, person.user_id).await;
    life.manage(&id).await;
    for look in ["/webhooks", &hook, &format!("{hook}/dead")] {
        life.harness.expect(life.ask("GET", look), 200).await;
    }
    life.sweep_running("with everything connected").await;
    life.find_what_is_public().await;
    life.harness.expect(life.ask("DELETE", &format!("/accounts/{by_code}?logout=true")), 204).await;
    life.harness.expect(life.ask("DELETE", &format!("/accounts/{by_picture}")), 204).await;
    life.harness.expect(life.ask("GET", &format!("/accounts/{bot}")), 200).await;
    assert!(life.followed.lock().unwrap().contains("account.changed"));

    life.stumble(&id, person.user_id).await;
    life.sweep_running("after a panic").await;
    life.harness.expect(life.ask("DELETE", "/users/alice/data"), 200).await;
    life.sweep_running("after erasing").await;
    life.be_refused_by_the_broker().await;
    life.sweep_running("before a broker that refuses").await;
}
