//! What the tests stand on: a world at Telegram, a backend at the broker, a daemon between them.

mod backend;
mod broker;
mod daemon;
mod harness;
mod http;
mod service_manager;

use std::time::Duration;

use serde_json::{Value, json};
use telewarden_simulator::{
    Account, Chat, ChatKind, FaultKind, FaultSpec, NewAccount, NewChat, Options, Simulator,
};

pub(crate) use backend::{Backend, Event};
pub(crate) use broker::Broker;
pub(crate) use daemon::{Daemon, DaemonOptions, kill, more_open_files, program, with_cores};
pub(crate) use harness::{Harness, MORE_SENDS, TOKEN_SECRET, id_of};
pub(crate) use http::{Answer, Client, Door, Question, StreamEvent, get};
pub(crate) use service_manager::ServiceManager;

/// How long a test waits for what should take moments, on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A world at Telegram, a backend and a running daemon.
pub(crate) struct Stage {
    pub(crate) sim: Simulator,
    pub(crate) backend: Backend,
    pub(crate) daemon: Daemon,
    pub(crate) author: i64,
}

impl Stage {
    /// With the broker that all tests share.
    pub(crate) async fn set() -> Self {
        Self::set_with(Broker::shared(), DaemonOptions::default()).await
    }

    /// With a broker of its own, or other settings.
    pub(crate) async fn set_with(broker: Broker, options: DaemonOptions) -> Self {
        let mut stage = Self::prepare(broker, options).await;
        stage.daemon.spawn().await;
        stage
    }

    /// With a daemon that does not run yet.
    pub(crate) async fn prepare(broker: Broker, options: DaemonOptions) -> Self {
        let sim = Simulator::start(Options::default()).await.expect("the simulator starts");
        let backend = Backend::connect(broker).await;
        let daemon = Daemon::prepare(&sim, &backend, options);
        Self::of(sim, backend, daemon).await
    }

    /// Of parts that are there already.
    pub(crate) async fn of(sim: Simulator, backend: Backend, daemon: Daemon) -> Self {
        let author = sim.add_account(new_account()).await.expect("an author").user_id;
        Self { sim, backend, daemon, author }
    }

    /// A listener: an account with a session, as the backend would hand it over.
    pub(crate) async fn listener(&self, id: &str) -> Listener {
        let account = self.sim.add_account(new_account()).await.expect("an account");
        Listener::new(id, &account)
    }

    /// A bot that listens.
    pub(crate) async fn bot(&self, id: &str) -> Listener {
        let new = NewAccount { bot: true, ..new_account() };
        let account = self.sim.add_account(new).await.expect("a bot");
        Listener::new(id, &account)
    }

    /// A supergroup with the author and these listeners in it.
    pub(crate) async fn supergroup(&self, listeners: &[&Listener]) -> Chat {
        self.chat(ChatKind::Supergroup, None, listeners).await
    }

    /// A chat with the author and these listeners in it.
    pub(crate) async fn chat(
        &self,
        kind: ChatKind,
        username: Option<&str>,
        listeners: &[&Listener],
    ) -> Chat {
        let members = listeners.iter().map(|listener| listener.user_id).collect();
        let new = NewChat {
            kind,
            title: "A room".into(),
            username: username.map(str::to_owned),
            members,
            admins: vec![self.author],
        };
        self.sim.add_chat(new).await.expect("a chat")
    }

    /// Writes messages `from..=to`, each saying its number.
    pub(crate) async fn say(&self, chat: &Chat, numbers: std::ops::RangeInclusive<u32>) {
        for number in numbers {
            let text = number.to_string();
            self.sim.post(chat.chat_id, self.author, &text).await.expect("a message is posted");
        }
    }

    /// Commands the daemon to monitor a chat and waits until it has accepted that.
    pub(crate) async fn accept(&self, chat_id: Value, primary: &Listener, backups: &[&Listener]) {
        let pool: Vec<Value> = backups.iter().map(|backup| backup.data()).collect();
        let command = json!({
            "command": "start_monitoring_chat",
            "chat_id": chat_id,
            "primary_session": primary.data(),
            "backup_sessions_pool": pool,
        });
        assert_eq!(self.backend.ask(&command).await["ok"], true);
    }

    /// Commands the daemon to monitor a chat and waits until it listens.
    pub(crate) async fn monitor(&self, chat: &Chat, primary: &Listener, backups: &[&Listener]) {
        self.backend.start(chat.chat_id.into(), primary, backups).await;
        self.daemon.wait_for_monitors("active", 1).await;
    }

    /// Waits until the events of `chat` tell every message that the simulator holds, and checks
    /// that each is there once and in order after repeated deliveries are dropped.
    pub(crate) async fn expect_all(&self, chat: &Chat) {
        let truth = self.sim.messages(chat.chat_id).await.expect("the chat is there");
        let truth: Vec<String> = truth.into_iter().map(|message| message.text).collect();
        self.expect_texts(chat, &truth).await;
    }

    /// The same with a truth of the test's own.
    pub(crate) async fn expect_texts(&self, chat: &Chat, truth: &[String]) {
        let chat_id = Value::from(chat.chat_id);
        let missing = || {
            let told = texts_of(&self.backend.events(), &chat_id);
            truth.iter().filter(|text| !told.contains(text)).cloned().collect::<Vec<_>>()
        };
        let told = self
            .backend
            .look_for(|events| {
                let texts = texts_of(events, &chat_id);
                (texts.len() >= truth.len()).then_some(texts)
            })
            .await
            .unwrap_or_else(|| panic!("of chat {chat_id} these are missing: {:?}", missing()));
        assert_eq!(told, truth, "each message once and in order");
    }

    /// No call, connection or send that Telegram would hold against an account.
    pub(crate) async fn expect_clean_books(&self) {
        expect_clean_books(&self.sim).await;
    }

    /// Has the next `times` updates for one account get lost.
    pub(crate) async fn lose_updates(&self, listener: &Listener, times: u32) {
        let kind = FaultKind::SwallowUpdates;
        let spec = FaultSpec {
            user_id: Some(listener.user_id),
            kind: Some(kind),
            times: Some(times),
            ..FaultSpec::default()
        };
        self.sim.add_fault(spec).await.expect("a fault");
    }

    /// Makes everything of one account fail in this manner until faults are lifted.
    pub(crate) async fn fault(&self, listener: &Listener, kind: FaultKind) {
        let spec =
            FaultSpec { user_id: Some(listener.user_id), kind: Some(kind), ..FaultSpec::default() };
        self.sim.add_fault(spec).await.expect("a fault");
    }
}

/// No call, connection or send that Telegram would hold against an account.
async fn expect_clean_books(sim: &Simulator) {
    let stats = sim.stats().await;
    let violations = serde_json::to_value(&stats).expect("stats are JSON")["violations"].clone();
    let violations = violations.as_object().expect("violations are counted").clone();
    assert!(!violations.is_empty());
    for (name, count) in violations {
        assert_eq!(count, 0, "violation {name}: {:#?}", stats.violations_told);
    }
}

/// The texts of a chat's messages in the order of their first delivery.
pub(crate) fn texts_of(events: &[Event], chat_id: &Value) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let messages = events.iter().filter(|event| {
        event.kind == "incoming_telegram_message"
            && event.body["chat_id"] == *chat_id
            && event.body["metadata"]["is_service"] == false
    });
    let first = messages.filter(|event| seen.insert(event.message_id.clone()));
    first.map(|event| event.body["text"].as_str().expect("a text").to_owned()).collect()
}

fn new_account() -> NewAccount {
    NewAccount::default()
}

/// An account whose session the backend owns.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) id: String,
    pub(crate) user_id: i64,
    pub(crate) session_string: String,
}

impl Listener {
    pub(crate) fn new(id: &str, account: &Account) -> Self {
        let session_string = account.session_string.clone().expect("it is logged in");
        Self { id: id.to_owned(), user_id: account.user_id, session_string }
    }

    /// The same session under another id.
    pub(crate) fn alias(&self, id: &str) -> Self {
        Self { id: id.to_owned(), ..self.clone() }
    }

    /// `SessionData`.
    pub(crate) fn data(&self) -> Value {
        json!({ "id": self.id, "api_hash": "0123456789abcdef", "session_string": self.session_string })
    }
}

/// Looks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
