//! Monitors in a whole tree, on a Telegram in memory and in virtual time: opened, failing over, filling gaps from
//! history, crashing. What is asked each time: is everything told once, in order, and by whom.

mod failing_over;
mod opening;

use serde_json::Value;
use tokio::time::timeout;

use crate::actors::monitors::commands::{CommandSink, Commands};
use crate::actors::monitors::context::MonitorSettings;
use crate::actors::root::Root;
use crate::actors::tests::{SOON, TestEnvironment, name_of, soon};
use crate::protocol::accounts::record::Credentials;
use crate::protocol::bridge::command::{Command, Order, SessionData};
use crate::protocol::telegram::chat::{ChatRef, ChatSpelling, MarkedId};
use crate::telegram::fake::channel;

/// An event, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    /// A message, and the number of the session that brought it.
    Said(i32, u8),
    /// A session has lost the chat.
    Lost(u8),
    /// It was the last one.
    NobodyLeft(u8),
}

/// A tree, and people who may listen in rooms.
struct Fixture {
    environment: TestEnvironment,
    people: Vec<Credentials>,
    root: Option<Root>,
}

fn room(number: i64) -> MarkedId {
    channel(number)
}

fn chat(number: i64) -> ChatRef {
    ChatRef::parse(ChatSpelling::Number(room(number).0)).unwrap()
}

impl Fixture {
    /// With so many people, and two rooms.
    async fn new(people: u8) -> Self {
        Self::with(people, MonitorSettings::for_tests()).await
    }

    async fn with(people: u8, settings: MonitorSettings) -> Self {
        let environment = TestEnvironment::new();
        for number in [1, 2] {
            environment.telegram.chat(room(number), "room", None);
        }
        let person = |number| environment.telegram.person(number, 100 + i64::from(number));
        let people = (1..=people).map(person).collect();
        let root = Some(environment.tree_with(settings).await);
        Self { environment, people, root }
    }

    fn commands(&self) -> Commands {
        self.root.as_ref().unwrap().commands()
    }

    fn session(&self, number: u8) -> SessionData {
        let Credentials { account, dc_id, auth_key } = self.person(number).clone();
        SessionData { id: name_of(account), api_id: None, account, dc_id, auth_key }
    }

    fn person(&self, number: u8) -> &Credentials {
        &self.people[usize::from(number) - 1]
    }

    async fn order(&self, command: Command) {
        self.commands().submit(Order { command, reply: None }).await.unwrap();
    }

    /// Has a room monitored by these.
    async fn start(&self, number: i64, sessions: &[u8]) {
        let sessions = sessions.iter().map(|number| self.session(*number)).collect();
        self.order(Command::StartMonitoring { chat: chat(number), sessions }).await;
    }

    /// The same, and waits until it listens.
    async fn open(&self, number: i64, sessions: &[u8]) {
        self.start(number, sessions).await;
        soon().await;
        soon().await;
    }

    /// The daemon is restarted.
    async fn restart(&mut self, meanwhile: impl FnOnce(&TestEnvironment)) {
        let root = self.root.take().unwrap();
        self.environment.stop(root).await;
        meanwhile(&self.environment);
        self.root = Some(self.environment.tree().await);
    }

    /// What was published since this was asked last.
    async fn published(&mut self) -> Vec<Event> {
        self.environment.store.commit(Vec::new()).await.unwrap();
        let mut events = Vec::new();
        while let Ok(entries) = timeout(SOON, self.environment.outbox.next(1_000)).await {
            for (_, entry) in entries {
                let body: Value = serde_json::from_slice(&entry.body).unwrap();
                events.extend(self.event(&entry.kind, &body));
            }
        }
        events
    }

    fn event(&self, kind: &str, body: &Value) -> Option<Event> {
        let number = |session: &Value| {
            let is_it = |person: &Credentials| name_of(person.account).0 == *session;
            u8::try_from(self.people.iter().position(is_it).unwrap() + 1).unwrap()
        };
        match kind {
            "incoming_telegram_message" => {
                let id = i32::try_from(body["message_id"].as_i64().unwrap()).unwrap();
                Some(Event::Said(id, number(&body["metadata"]["session_id"])))
            }
            "access_lost" if body["reason"] == "no_backup_left" => {
                Some(Event::NobodyLeft(number(&body["session_id"])))
            }
            "access_lost" => Some(Event::Lost(number(&body["session_id"]))),
            _ => None,
        }
    }

    /// How often the chat was asked for by a call of this name.
    fn count(&self, method: &'static str) -> usize {
        self.environment.telegram.count(method)
    }
}

/// What is said by one session.
fn said(ids: impl IntoIterator<Item = i32>, by: u8) -> Vec<Event> {
    ids.into_iter().map(|id| Event::Said(id, by)).collect()
}
