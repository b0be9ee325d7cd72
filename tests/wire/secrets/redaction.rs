//! Secrets are told to nobody. Everything that users, admins and the backend can do is done once, well
//! and badly, while the daemon logs all it can; then everything it wrote or said is searched.

use std::sync::{Arc, Mutex};

use lapin::BasicProperties;
use serde_json::{Value, json};
use telewarden_simulator::{Account, Chat, ChatKind, FaultKind, FaultSpec, NewAccount, Privacy};

use super::client::Question;
use super::house::House;
use super::known::Known;
use crate::support::{Listener, eventually};

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
    house: House,
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
        let mut house = House::prepare(true).await;
        house.set_variables(&loud(&[]));
        house.stage.daemon.spawn().await;
        let mut known = Known::default();
        let state = house.stage.daemon.store();
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
        let (alice, admin) = (house.token("alice", "user"), house.token("root", "admin"));
        for token in [&alice, &admin] {
            known.text("a token", token);
            known.text("a token's signature", token.rsplit('.').next().unwrap());
        }
        let mut addresses = Known::default();
        addresses.text("a webhook's address", "whispered-t0ken");
        let (texts, followed) = (Known::default(), Arc::default());
        let pictures = Vec::new();
        Self { house, known, texts, addresses, alice, admin, followed, pictures }
    }

    fn ask(&self, method: &str, path: &str) -> Question {
        Question::new(method, path).by(&self.alice)
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.house.expect(self.ask("POST", path).json(body), status).await
    }

    /// What the server knows that clients must keep to themselves: keys, hashes, tokens.
    async fn learn(&mut self) {
        let secrets = self.house.stage.sim.secrets().await;
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
        let account = self.house.stage.sim.add_account(new).await.unwrap();
        self.phone(&account);
        account
    }

    fn phone(&mut self, account: &Account) {
        let digits = account.phone.trim_start_matches('+');
        self.known.text("a phone number", digits);
    }

    async fn listener(&mut self, id: &str) -> Listener {
        let listener = self.house.stage.listener(id).await;
        let phone = self.house.stage.sim.account(listener.user_id).await.unwrap().phone;
        self.known.text("a phone number", phone.trim_start_matches('+'));
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
        self.house.stage.sim.add_fault(spec).await.unwrap();
    }

    /// Looks for everything known everywhere.
    async fn sweep(&mut self, when: &str) {
        self.learn().await;
        let daemon = &self.house.stage.daemon;
        let mut found = self.known.found_below(&daemon.store(), &["key", "jwt-secret"]);
        found.extend(self.texts.found_below(&daemon.store(), &["key", "jwt-secret"]));
        for line in daemon.log().lines() {
            let all = [&self.known, &self.texts, &self.addresses];
            let here = all.map(|known| known.found_in(line.as_bytes()));
            found.extend(here.concat().iter().map(|what| format!("{what} in the log: {line}")));
        }
        for heard in self.house.client.heard().iter() {
            let text = heard.text.as_bytes();
            let here = [self.known.found_in(text), self.texts.found_in(text)].concat();
            found.extend(here.iter().map(|what| format!("{what} answers {}", heard.question)));
        }
        for event in self.house.stage.backend.events() {
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
        let daemon = &self.house.stage.daemon;
        let store = public.found_below(&daemon.store(), &[]);
        assert!(store.iter().any(|found| found.ends_with("an action")), "{store:?}");
        assert!(public.found_in(daemon.log().as_bytes()).contains(&"a route"));
        let heard = self.house.client.heard();
        let is_told = |text: &str| public.found_in(text.as_bytes()).contains(&"an action");
        assert!(heard.iter().any(|heard| is_told(&heard.text)), "in no answer");
    }

    /// The same for what only a running daemon has: its arguments, health and metrics.
    async fn sweep_running(&mut self, when: &str) {
        for path in ["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json"] {
            self.house.ask(Question::new("GET", path)).await;
        }
        let arguments = format!("/proc/{}/cmdline", self.house.stage.daemon.pid());
        let arguments = std::fs::read(arguments).unwrap();
        assert_eq!(self.known.found_in(&arguments), Vec::<&str>::new());
        let (_, said) = self.house.stage.daemon.check();
        assert_eq!(self.known.found_in(said.as_bytes()), Vec::<&str>::new(), "{said}");
        self.sweep(when).await;
    }

    /// A webhook for everything, whose secret is told once.
    async fn hook(&mut self) -> String {
        let hook = self.post("/webhooks", json!({ "url": HOOK, "events": [] }), 201).await;
        self.known.text("a webhook's secret", hook["secret"].as_str().unwrap());
        self.house.client.heard().pop();
        format!("/webhooks/{}", hook["id"].as_str().unwrap())
    }

    async fn refused_tokens(&mut self) {
        let parts: Vec<&str> = self.alice.split('.').collect();
        let tampered = format!("{}.{}.{}", parts[0], parts[1], "x".repeat(parts[2].len()));
        let tokens = ["not-a-token-but-close".to_owned(), tampered];
        for token in &tokens {
            self.known.text("a refused token", token);
            let look = Question::new("GET", "/accounts").by(token);
            assert_eq!(self.house.ask(look).await.status, 401);
        }
        let path = format!("/accounts?access_token={}", self.alice);
        assert_eq!(self.house.ask(Question::new("GET", &path)).await.status, 401);
    }

    /// By code and password, with every mistake on the way.
    async fn log_in_by_code(&mut self) -> String {
        let stranger = self.stranger(Some(PASSWORD)).await;
        let connect = "/accounts/telegram/connect/sms";
        let login = self.post(connect, json!({ "phone": stranger.phone }), 202).await;
        let login = format!("/logins/{}", login["login_id"].as_str().unwrap());
        let code = self.house.stage.sim.login_code(stranger.user_id).await.unwrap();
        self.known.text("a login code", &code);
        let wrong = if code == "90817" { "90818" } else { "90817" };
        self.known.text("a wrong login code", wrong);
        self.sweep("while a code is awaited").await;
        let refused = self.post(&format!("{login}/code"), json!({ "code": wrong }), 422).await;
        assert_eq!(refused["code"], "TG_CODE_INVALID");
        self.post(&format!("{login}/code"), json!({ "code": "not digits" }), 422).await;
        let step = self.post(&format!("{login}/code"), json!({ "code": code }), 200).await;
        assert_eq!(step["state"], "password_required");
        self.sweep("while a password is awaited").await;
        let password = format!("{login}/password");
        let refused = self.post(&password, json!({ "password": WRONG_PASSWORD }), 422).await;
        assert_eq!(refused["code"], "TG_PASSWORD_INVALID");
        let step = self.post(&password, json!({ "password": PASSWORD }), 200).await;
        self.house.expect(self.ask("GET", &login), 200).await;
        step["account"]["id"].as_str().unwrap().to_owned()
    }

    /// Logins that come to nothing: given up, of nobody's phone, of no phone.
    async fn log_in_in_vain(&mut self) {
        let connect = "/accounts/telegram/connect/sms";
        let stranger = self.stranger(None).await;
        let login = self.post(connect, json!({ "phone": stranger.phone }), 202).await;
        let login = format!("/logins/{}", login["login_id"].as_str().unwrap());
        let code = self.house.stage.sim.login_code(stranger.user_id).await.unwrap();
        self.known.text("a login code", &code);
        self.sweep("while another code is awaited").await;
        self.house.expect(self.ask("DELETE", &login), 204).await;
        let banned = self.stranger(None).await;
        self.fault(banned.user_id, "auth.sendCode", Some("PHONE_NUMBER_BANNED"), None).await;
        self.post(connect, json!({ "phone": banned.phone }), 422).await;
        self.known.text("a phone number", "491711234509");
        self.post(connect, json!({ "phone": "+49 171 1234509 ext" }), 422).await;
        self.post(connect, json!({ "phone": 491_711_234_509_u64 }), 422).await;
        let path = format!("{connect}?phone=491711234509");
        self.post(&path, json!({}), 422).await;
    }

    /// By a picture. Its text is for the one who asked, and for nobody else.
    async fn log_in_by_picture(&mut self) -> String {
        let stranger = self.stranger(None).await;
        let login = self.post("/accounts/telegram/connect/qr", json!({}), 202).await;
        let url = login["qr"]["url"].as_str().unwrap().to_owned();
        let login = format!("/logins/{}", login["login_id"].as_str().unwrap());
        self.house.stage.sim.scan_qr(stranger.user_id, &url).await.unwrap();
        let account = eventually("the picture was scanned", async || {
            let login = self.house.ask(self.ask("GET", &login)).await.json();
            login["account"]["id"].as_str().map(str::to_owned)
        })
        .await;
        self.house.client.heard().retain(|heard| !heard.text.contains("tg://login?token="));
        self.known.text("a QR code's token", url.rsplit('=').next().unwrap());
        self.pictures.push(url);
        self.sweep("after a picture was scanned").await;
        account
    }

    async fn connect_bot(&mut self) -> String {
        let new = NewAccount { bot: true, logged_in: false, ..NewAccount::default() };
        let bot = self.house.stage.sim.add_account(new).await.unwrap();
        let token = bot.bot_token.unwrap();
        self.known.text("a bot token", &token);
        self.known.text("a bot token's secret", token.split(':').next_back().unwrap());
        let connect = "/accounts/telegram/connect/bot";
        let refused = self.post(connect, json!({ "token": WRONG_BOT }), 422).await;
        assert_eq!(refused["code"], "TG_BOT_TOKEN_INVALID");
        self.post(connect, json!({ "token": format!("{token} ") }), 422).await;
        let account = self.post(connect, json!({ "token": token }), 201).await;
        account["id"].as_str().unwrap().to_owned()
    }

    async fn paste_session(&mut self, username: &str) -> (String, Account) {
        let person = self.house.person(username).await;
        self.phone(&person);
        let session = person.session_string.clone().unwrap();
        self.known.text("a session string", &session[1..]);
        let connect = "/accounts/telegram/connect/session";
        for broken in [session[..300].to_owned(), format!("{session}AAAA"), format!("2{session}")] {
            self.post(connect, json!({ "session_string": broken }), 422).await;
        }
        self.post(connect, json!({ "session_string": [session] }), 422).await;
        let body = json!({ "session_string": session, "api_id": 12345, "api_hash": API_HASH });
        let account = self.post(connect, body, 201).await;
        let id = account["id"].as_str().unwrap().to_owned();
        self.house.until_state(&self.alice, &id, "active").await;
        (id, person)
    }

    /// Messages that arrive, and messages that do not.
    async fn send(&mut self, id: &str, sender: i64) {
        let friend = self.house.person("a_friend").await;
        let shy = self.house.person("somebody_shy").await;
        let privacy = Privacy {
            refuse_messages: Some("USER_PRIVACY_RESTRICTED".to_owned()),
            ..Privacy::default()
        };
        self.house.stage.sim.set_privacy(shy.user_id, privacy).await.unwrap();
        let path = format!("/accounts/{id}/messages");
        let mut text = |word: &str| {
            let text = format!("Confidential-{word}-news");
            self.texts.text("a message's text", &text);
            text
        };
        let texts: Vec<String> =
            ["plain", "marked", "html", "refused", "waiting", "cut", "named", "broken"]
                .map(&mut text)
                .into();
        let to = |text: &str| json!({ "to": "@a_friend", "text": text });
        self.post(&path, to(&texts[0]), 201).await;
        let mut marked = to(&format!("**{}** [x](https://example.org)", texts[1]));
        marked["parse_mode"] = json!("markdown");
        self.post(&path, marked, 201).await;
        let mut html = to(&format!("<b>{}</i>", texts[2]));
        html["parse_mode"] = json!("html");
        self.house.ask(self.ask("POST", &path).json(html)).await;
        let refused = json!({ "to": "@somebody_shy", "text": texts[3] });
        self.post(&path, refused, 422).await;
        self.fault(sender, "messages.sendMessage", None, Some(FaultKind::LoseAnswer)).await;
        self.post(&path, to(&texts[5]), 201).await;
        self.fault(sender, "messages.sendMessage", None, Some(FaultKind::Garbage)).await;
        self.house.ask(self.ask("POST", &path).json(to(&texts[7]))).await;
        for (text, status) in [(&texts[6], 201), (&texts[6], 201), (&texts[0], 409)] {
            let question = self.ask("POST", &path).with("idempotency-key", IDEMPOTENCY_KEY);
            let answer = self.house.ask(question.json(to(text))).await;
            assert!(answer.status == status || answer.status == 422, "{}", answer.body);
        }
        self.fault(sender, "messages.sendMessage", Some("FLOOD_WAIT_40"), None).await;
        let mut waiting = to(&texts[4]);
        waiting["timeout"] = json!(1);
        let refused = self.post(&path, waiting, 429).await;
        assert_eq!(refused["code"], "TG_API_429");
        let _ = friend;
    }

    /// Chats and monitors of a user, and the backend's, with sessions in commands.
    async fn watch(&mut self, id: &str, user_id: i64) -> Chat {
        let listener = self.listener("listener-1").await;
        let stage = &self.house.stage;
        let chat = stage.chat(ChatKind::Supergroup, Some("the_lounge"), &[&listener]).await;
        stage.sim.add_member(chat.chat_id, user_id).await.unwrap();
        self.post(&format!("/accounts/{id}/chats"), json!({ "chat": "@the_lounge" }), 201).await;
        self.post(&format!("/accounts/{id}/chats"), json!({ "chat": "@nowhere_at_all" }), 422)
            .await;
        let put = self.ask("PUT", "/monitors/@the_lounge").json(json!({ "accounts": [id] }));
        self.house.expect(put, 201).await;
        let stage = &self.house.stage;
        stage.backend.start(chat.chat_id.into(), &listener, &[]).await;
        stage.daemon.wait_for_monitors("active", 2).await;
        for word in ["overheard", "whispered"] {
            let text = format!("Confidential-{word}-in-the-lounge");
            stage.sim.post(chat.chat_id, stage.author, &text).await.unwrap();
            self.texts.text("a monitored text", &text);
        }
        self.house
            .stage
            .backend
            .wait_until("both texts come twice", |events| {
                (events.iter().filter(|e| e.kind == "incoming_telegram_message").count() >= 2)
                    .then_some(())
            })
            .await;
        self.wrong_commands(&listener).await;
        self.house.expect(self.ask("GET", "/monitors"), 200).await;
        chat
    }

    async fn wrong_commands(&mut self, listener: &Listener) {
        let backend = &self.house.stage.backend;
        let broken = json!({
            "command": "start_monitoring_chat",
            "chat_id": listener.session_string,
            "primary_session": { "id": "x", "session_string": listener.session_string },
            "backup_sessions_pool": "none",
        });
        let whole = broken.to_string();
        let join = json!({ "command": "join_chat", "chat_id": "@nowhere_at_all", "session": listener.data() });
        let outcome = backend.ask(&join).await.to_string();
        assert_eq!(self.known.found_in(outcome.as_bytes()), Vec::<&str>::new(), "{outcome}");
        for body in
            [whole.clone(), whole[..whole.len() - 9].to_owned(), listener.session_string.clone()]
        {
            backend.send(body.as_bytes(), BasicProperties::default()).await;
            let (code, why, _) = backend.dead_letter().await;
            let told = format!("{code} {why}");
            assert_eq!(self.known.found_in(told.as_bytes()), Vec::<&str>::new(), "{told}");
        }
    }

    /// Everything else that can be asked.
    async fn manage(&mut self, id: &str) {
        let account = format!("/accounts/{id}");
        for step in ["pause", "resume", "reconnect"] {
            self.house.expect(self.ask("POST", &format!("{account}/{step}")), 200).await;
        }
        for look in ["", "/status", "/why", "/chats"] {
            self.house.expect(self.ask("GET", &format!("{account}{look}")), 200).await;
        }
        for look in ["/accounts", "/accounts?q=a", "/audit", "/users/alice/export"] {
            self.house.expect(self.ask("GET", look), 200).await;
        }
        for look in ["/keys", "/health/detailed", "/accounts", "/audit", "/monitors"] {
            let question = Question::new("GET", look).by(&self.admin);
            self.house.expect(question, 200).await;
        }
        let rotate = Question::new("POST", "/keys/rotate").by(&self.admin);
        self.house.expect(rotate, 200).await;
        self.house.until_state(&self.alice, id, "active").await;
    }

    /// An actor that panics again and again over what it holds.
    async fn stumble(&mut self, id: &str, user_id: i64) {
        self.house.stage.daemon.kill();
        self.house.stage.sim.client_killed().await;
        let who = format!("account/{user_id}");
        self.house.set_variables(&loud(&[("TELEWARDEN_STUMBLE", &who)]));
        self.house.stage.daemon.spawn().await;
        let path = format!("/accounts/{id}/messages");
        let body = json!({ "to": "@a_friend", "text": "Confidential-panic-news", "timeout": 2 });
        self.texts.text("a message's text", "Confidential-panic-news");
        let answer = self.house.ask(self.ask("POST", &path).json(body)).await;
        assert!(answer.status >= 400, "{}", answer.body);
        eventually("it has panicked", async || {
            self.house.stage.daemon.log().contains("stumbles, as it was told to").then_some(())
        })
        .await;
    }

    /// A broker that does not know us.
    async fn be_refused_by_the_broker(&mut self) {
        assert!(self.house.stage.daemon.terminate().await.success());
        self.sweep("at rest").await;
        let url = self.house.stage.backend.broker.url.clone();
        let url = url.replace("guest:guest@", &format!("guest:{BROKER_PASSWORD}@"));
        self.house.set_variables(&loud(&[("TELEWARDEN__BRIDGE__URL", &url)]));
        self.house.stage.daemon.launch();
        eventually("the broker's refusal is logged", async || {
            self.house.stage.daemon.log().contains("ACCESS_REFUSED").then_some(())
        })
        .await;
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
    let _stream = life.house.client.follow(&life.alice, "/events/stream", tell).await;
    life.refused_tokens().await;
    let hook = life.hook().await;
    let by_code = life.log_in_by_code().await;
    life.log_in_in_vain().await;
    let by_picture = life.log_in_by_picture().await;
    let bot = life.connect_bot().await;
    let (id, person) = life.paste_session("alice_herself").await;
    life.send(&id, person.user_id).await;
    life.watch(&id, person.user_id).await;
    life.manage(&id).await;
    for look in ["/webhooks", &hook, &format!("{hook}/dead")] {
        life.house.expect(life.ask("GET", look), 200).await;
    }
    life.sweep_running("with everything connected").await;
    life.find_what_is_public().await;
    life.house.expect(life.ask("DELETE", &format!("/accounts/{by_code}?logout=true")), 204).await;
    life.house.expect(life.ask("DELETE", &format!("/accounts/{by_picture}")), 204).await;
    life.house.expect(life.ask("GET", &format!("/accounts/{bot}")), 200).await;
    assert!(life.followed.lock().unwrap().contains("account.changed"));

    life.stumble(&id, person.user_id).await;
    life.sweep_running("after a panic").await;
    life.house.expect(life.ask("DELETE", "/users/alice/data"), 200).await;
    life.sweep_running("after erasing").await;
    life.be_refused_by_the_broker().await;
    life.sweep_running("before a broker that refuses").await;
}
