//! Connections that look alive and are not, and servers that lie: found, healed, nothing lost,
//! nothing told twice, and the other accounts notice nothing.

mod asking;
mod clocks;
mod silence;
mod unreadable;
mod updates;

use std::time::Duration;

use serde_json::Value;
use telewarden_simulator::{Chat, ChatKind, FaultKind, FaultSpec};
use tokio::time::{Instant, sleep};

use crate::support::{Broker, DaemonOptions, Listener, PATIENCE, Stage};

/// A dead link is found after 28 s at most, and dialled again after half a second.
const FOUND_WITHIN: Duration = Duration::from_secs(30);

/// One account that is struck, in a chat of its own, and two that are not, in theirs.
struct Scene {
    stage: Stage,
    struck: Listener,
    room: Chat,
    bystanders: Vec<(Listener, Chat)>,
}

/// Asks for what did not come more often than usual, so that no test takes minutes.
const INQUISITIVE: &str = "\n[monitoring]\ndifference_every = \"20s\"\n";

impl Scene {
    async fn set() -> Self {
        Self::set_in(ChatKind::Supergroup, DaemonOptions::default()).await
    }

    /// The struck account's chat is of this kind.
    async fn set_in(kind: ChatKind, mut options: DaemonOptions) -> Self {
        options.extra_config.push_str(INQUISITIVE);
        Self::on(Stage::set_with(Broker::shared(), options).await, kind).await
    }

    /// On a stage that is set.
    async fn on(stage: Stage, kind: ChatKind) -> Self {
        let struck = stage.listener("struck").await;
        let room = stage.chat(kind, None, &[&struck]).await;
        stage.backend.start(room.chat_id.into(), &struck, &[]).await;
        let mut bystanders = Vec::new();
        for id in ["first", "second"] {
            let listener = stage.listener(id).await;
            let chat = stage.supergroup(&[&listener]).await;
            stage.backend.start(chat.chat_id.into(), &listener, &[]).await;
            bystanders.push((listener, chat));
        }
        stage.daemon.wait_for_monitors("active", 3).await;
        let scene = Self { stage, struck, room, bystanders };
        scene.say(1, 5).await;
        scene.expect_all().await;
        scene
    }

    /// Messages `from..=to` in every chat.
    async fn say(&self, from: u32, to: u32) {
        for number in from..=to {
            self.stage.say(&self.room, number..=number).await;
            for (_, chat) in &self.bystanders {
                self.stage.say(chat, number..=number).await;
            }
        }
    }

    async fn strike(&self, fault: FaultSpec) {
        let fault = FaultSpec { user_id: Some(self.struck.user_id), ..fault };
        self.stage.sim.add_fault(fault).await.unwrap();
    }

    /// The bystanders' messages are there, whatever becomes of the struck account.
    async fn expect_bystanders_unharmed(&self) {
        for (_, chat) in &self.bystanders {
            self.stage.expect_all(chat).await;
        }
    }

    async fn expect_all(&self) {
        self.expect_bystanders_unharmed().await;
        self.stage.expect_all(&self.room).await;
    }

    /// All is said and done: every message is there, nobody was harmed, and it goes on.
    async fn expect_a_good_end(&self) {
        self.expect_all().await;
        self.stage.sim.lift_faults().await;
        self.say(901, 905).await;
        self.expect_all().await;
        for (bystander, _) in &self.bystanders {
            let books = self.stage.sim.account(bystander.user_id).await.unwrap();
            assert_eq!(books.connections_total, 1, "{} was reconnected", bystander.id);
        }
        assert!(
            self.stage.backend.losses().iter().all(|(session, _)| *session == self.struck.id),
            "{:?}",
            self.stage.backend.losses()
        );
        self.stage.expect_clean_books().await;
    }

    /// How often the struck account has called a method.
    async fn calls(&self, method: &str) -> u64 {
        let books = self.stage.sim.account(self.struck.user_id).await.unwrap();
        books.methods.get(method).copied().unwrap_or(0)
    }

    /// Waits until the struck account has called a method more often than `before`.
    async fn until_called(&self, method: &str, before: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.calls(method).await <= before {
            assert!(Instant::now() < deadline, "{method} is not called");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until one account is in this state.
    async fn until_state(&self, state: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, health) = self.stage.daemon.get("/health").await.unwrap();
            if health["accounts"]["by_state"][state] == 1 {
                return health;
            }
            assert!(Instant::now() < deadline, "no account is {state}: {health:#}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the struck account has dialled that often.
    async fn until_dialled(&self, times: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.stage.sim.account(self.struck.user_id).await.unwrap().connections_total < times {
            assert!(Instant::now() < deadline, "it does not dial: {}", self.stage.daemon.log());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until health lists the struck account as troubled, with this error.
    async fn until_troubled(&self, error: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, health) = self.stage.daemon.get("/health").await.unwrap();
            let troubled = health["accounts"]["troubled"].as_array().unwrap();
            if troubled.iter().any(|account| account["error"] == error) {
                assert_eq!(troubled.len(), 1, "only the struck account is in trouble: {health:#}");
                return health;
            }
            assert!(Instant::now() < deadline, "no account is told with {error}: {health:#}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn always(kind: FaultKind) -> FaultSpec {
    FaultSpec { kind: Some(kind), ..FaultSpec::default() }
}

fn times(count: u32, kind: FaultKind) -> FaultSpec {
    FaultSpec { times: Some(count), ..always(kind) }
}

/// Telegram asks once to wait before a method is called again.
fn refusing(method: &str, seconds: u32) -> FaultSpec {
    FaultSpec {
        method: Some(method.into()),
        error: Some(format!("FLOOD_WAIT_{seconds}")),
        times: Some(1),
        ..FaultSpec::default()
    }
}

fn impatient() -> DaemonOptions {
    DaemonOptions { max_reconnect_attempts: 1, ..DaemonOptions::default() }
}
