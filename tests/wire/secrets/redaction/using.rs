//! What is done with accounts that are connected, and what goes wrong with it.

use lapin::BasicProperties;
use serde_json::json;
use telewarden_simulator::{Chat, ChatKind, FaultKind, Privacy};

use super::*;
use crate::support::{Listener, Question, eventually};

impl Life {
    /// A webhook for everything, whose secret is told once.
    pub(super) async fn hook(&mut self) -> String {
        let hook = self.post("/webhooks", json!({ "url": HOOK, "events": [] }), 201).await;
        self.known.text("a webhook's secret", hook["secret"].as_str().unwrap());
        self.harness.door.heard().pop();
        format!("/webhooks/{}", hook["id"].as_str().unwrap())
    }

    pub(super) async fn refused_tokens(&mut self) {
        let parts: Vec<&str> = self.alice.split('.').collect();
        let tampered = format!("{}.{}.{}", parts[0], parts[1], "x".repeat(parts[2].len()));
        let tokens = ["not-a-token-but-close".to_owned(), tampered];
        for token in &tokens {
            self.known.text("a refused token", token);
            let look = Question::new("GET", "/accounts").by(token);
            assert_eq!(self.harness.ask(look).await.status, 401);
        }
        let path = format!("/accounts?access_token={}", self.alice);
        assert_eq!(self.harness.ask(Question::new("GET", &path)).await.status, 401);
    }

    /// Messages that arrive, and messages that do not.
    pub(super) async fn send(&mut self, id: &str, sender: i64) {
        let friend = self.harness.named("a_friend").await;
        let shy = self.harness.named("somebody_shy").await;
        let privacy = Privacy {
            refuse_messages: Some("USER_PRIVACY_RESTRICTED".to_owned()),
            ..Privacy::default()
        };
        self.harness.sim.set_privacy(shy.user_id, privacy).await.unwrap();
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
        self.harness.ask(self.ask("POST", &path).json(html)).await;
        let refused = json!({ "to": "@somebody_shy", "text": texts[3] });
        self.post(&path, refused, 422).await;
        self.fault(sender, "messages.sendMessage", None, Some(FaultKind::LoseAnswer)).await;
        self.post(&path, to(&texts[5]), 201).await;
        self.fault(sender, "messages.sendMessage", None, Some(FaultKind::Garbage)).await;
        self.harness.ask(self.ask("POST", &path).json(to(&texts[7]))).await;
        for (text, status) in [(&texts[6], 201), (&texts[6], 201), (&texts[0], 409)] {
            let question = self.ask("POST", &path).with("idempotency-key", IDEMPOTENCY_KEY);
            let answer = self.harness.ask(question.json(to(text))).await;
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
    pub(super) async fn watch(&mut self, id: &str, user_id: i64) -> Chat {
        let listener = self.listener("listener-1").await;
        let (harness, author) = (&self.harness, &self.author);
        let chat = harness.chat(ChatKind::Supergroup, Some("the_lounge"), &[author]).await;
        for member in [listener.user_id, user_id] {
            harness.sim.add_member(chat.chat_id, member).await.unwrap();
        }
        self.post(&format!("/accounts/{id}/chats"), json!({ "chat": "@the_lounge" }), 201).await;
        self.post(&format!("/accounts/{id}/chats"), json!({ "chat": "@nowhere_at_all" }), 422)
            .await;
        let put = self.ask("PUT", "/monitors/@the_lounge").json(json!({ "accounts": [id] }));
        self.harness.expect(put, 201).await;
        self.backend.start(chat.chat_id.into(), &listener, &[]).await;
        self.harness.daemon.wait_for_monitors("active", 2).await;
        for word in ["overheard", "whispered"] {
            let text = format!("Confidential-{word}-in-the-lounge");
            self.harness.sim.post(chat.chat_id, self.author.user_id, &text).await.unwrap();
            self.texts.text("a monitored text", &text);
        }
        self.backend
            .wait_until("both texts come twice", |events| {
                (events.iter().filter(|e| e.kind == "incoming_telegram_message").count() >= 2)
                    .then_some(())
            })
            .await;
        self.wrong_commands(&listener).await;
        self.harness.expect(self.ask("GET", "/monitors"), 200).await;
        chat
    }

    pub(super) async fn wrong_commands(&mut self, listener: &Listener) {
        let backend = &self.backend;
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
    pub(super) async fn manage(&mut self, id: &str) {
        let account = format!("/accounts/{id}");
        for step in ["pause", "resume", "reconnect"] {
            self.harness.expect(self.ask("POST", &format!("{account}/{step}")), 200).await;
        }
        for look in ["", "/status", "/why", "/chats"] {
            self.harness.expect(self.ask("GET", &format!("{account}{look}")), 200).await;
        }
        for look in ["/accounts", "/accounts?q=a", "/audit", "/users/alice/export"] {
            self.harness.expect(self.ask("GET", look), 200).await;
        }
        for look in ["/keys", "/health/detailed", "/accounts", "/audit", "/monitors"] {
            let question = Question::new("GET", look).by(&self.admin);
            self.harness.expect(question, 200).await;
        }
        let rotate = Question::new("POST", "/keys/rotate").by(&self.admin);
        self.harness.expect(rotate, 200).await;
        self.harness.until_state(&self.harness.holder(&self.alice), id, "active").await;
    }

    /// An actor that panics again and again over what it holds.
    pub(super) async fn stumble(&mut self, id: &str, user_id: i64) {
        self.harness.daemon.kill();
        self.harness.sim.client_killed().await;
        let who = format!("account/{user_id}");
        self.harness.set_variables(&loud(&[("TELEWARDEN_STUMBLE", &who)]));
        self.harness.daemon.spawn().await;
        let path = format!("/accounts/{id}/messages");
        let body = json!({ "to": "@a_friend", "text": "Confidential-panic-news", "timeout": 2 });
        self.texts.text("a message's text", "Confidential-panic-news");
        let answer = self.harness.ask(self.ask("POST", &path).json(body)).await;
        assert!(answer.status >= 400, "{}", answer.body);
        eventually("it has panicked", async || {
            self.harness.daemon.log().contains("stumbles, as it was told to").then_some(())
        })
        .await;
    }

    /// A broker that does not know us.
    pub(super) async fn be_refused_by_the_broker(&mut self) {
        assert!(self.harness.daemon.terminate().await.success());
        self.sweep("at rest").await;
        let url = self.backend.broker.url.clone();
        let url = url.replace("guest:guest@", &format!("guest:{BROKER_PASSWORD}@"));
        self.harness.set_variables(&loud(&[("TELEWARDEN__BRIDGE__URL", &url)]));
        self.harness.daemon.launch();
        eventually("the broker's refusal is logged", async || {
            self.harness.daemon.log().contains("ACCESS_REFUSED").then_some(())
        })
        .await;
    }
}
