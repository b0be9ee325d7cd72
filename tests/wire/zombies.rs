//! Connections that look alive and are not, and servers that lie: found, healed, nothing lost,
//! nothing told twice, and the other accounts notice nothing.

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
        let stage = Stage::set_with(Broker::shared(), options).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_found_within_30_seconds_and_replaced() {
    let scene = Scene::set().await;
    scene.strike(times(1, FaultKind::Freeze)).await;
    let frozen = Instant::now();
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.until_dialled(2).await;
    let found = frozen.elapsed();
    println!("a half-open connection was replaced after {found:?}");
    assert!(found < FOUND_WITHIN, "it took {found:?}");
    assert!(scene.stage.backend.losses().is_empty(), "a replaced connection is no access loss");
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_freezes_during_a_difference_is_found_as_soon() {
    let scene = Scene::set().await;
    scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
    let freeze_there =
        FaultSpec { method: Some("updates.getDifference".into()), ..always(FaultKind::Mute) };
    scene.strike(freeze_there).await;
    let asked = scene.calls("updates.getDifference").await;
    scene.stage.say(&scene.room, 6..=6).await;
    while scene.calls("updates.getDifference").await == asked {
        sleep(Duration::from_millis(5)).await;
    }
    scene.strike(times(1, FaultKind::Freeze)).await;
    let frozen = Instant::now();
    scene.say(7, 30).await;
    scene.until_dialled(2).await;
    let found = frozen.elapsed();
    println!("a connection frozen in a difference was replaced after {found:?}");
    assert!(found < FOUND_WITHIN, "it took {found:?}");
    scene.stage.sim.lift_faults().await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_told_and_harms_nobody_else() {
    let scene = Scene::set_in(ChatKind::Supergroup, impatient()).await;
    scene.strike(always(FaultKind::Freeze)).await;
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.until_troubled("CONNECTION_FAILED").await;
    scene.stage.backend.wait_for_loss(&scene.struck, "connection_failed").await;
    scene.say(31, 40).await;
    scene.expect_bystanders_unharmed().await;
    scene.stage.sim.lift_faults().await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_that_never_come_are_missed_by_the_next_probe() {
    let scene = Scene::set().await;
    scene.strike(always(FaultKind::SwallowUpdates)).await;
    scene.say(6, 30).await;
    scene.expect_all().await;
    let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1, "the connection itself was never in doubt");
    scene.expect_a_good_end().await;
}

/// Bots cannot read history: for them the difference has to bring it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_that_never_come_to_a_bot_are_missed_as_well() {
    let options = DaemonOptions { extra_config: INQUISITIVE.into(), ..DaemonOptions::default() };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let bot = stage.bot("bot").await;
    let chat = stage.supergroup(&[&bot]).await;
    stage.monitor(&chat, &bot, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    stage.fault(&bot, FaultKind::SwallowUpdates).await;
    stage.say(&chat, 6..=30).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_update_is_missed_although_other_chats_of_the_account_are_busy() {
    let scene = Scene::set().await;
    let busy = scene.stage.supergroup(&[&scene.struck]).await;
    scene.stage.backend.start(busy.chat_id.into(), &scene.struck, &[]).await;
    scene.stage.daemon.wait_for_monitors("active", 4).await;
    scene.strike(times(1, FaultKind::SwallowUpdates)).await;
    scene.say(6, 6).await;
    let deadline = Instant::now() + PATIENCE;
    let is_told =
        || {
            scene.stage.backend.events().iter().any(|event| {
                event.body["chat_id"] == scene.room.chat_id && event.body["text"] == "6"
            })
        };
    let mut number = 0;
    while !is_told() {
        assert!(Instant::now() < deadline, "the lost message is not missed");
        number += 1;
        scene.stage.say(&busy, number..=number).await;
        sleep(Duration::from_millis(500)).await;
    }
    scene.stage.expect_all(&busy).await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overflowing_update_queue_loses_nothing_and_holds_nobody_up() {
    let scene = Scene::set().await;
    for number in 6..=6_000 {
        scene.stage.say(&scene.room, number..=number).await;
        if number % 100 == 0 {
            for (_, chat) in &scene.bystanders {
                scene.stage.say(chat, number..=number).await;
            }
        }
    }
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_too_long_instead_of_updates_loses_nothing() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.strike(always(FaultKind::UpdatesTooLong)).await;
        scene.say(6, 30).await;
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_that_are_too_long_are_filled_from_history() {
    let faults = [
        (ChatKind::Group, FaultKind::DifferenceTooLong),
        (ChatKind::Supergroup, FaultKind::ChannelDifferenceTooLong),
    ];
    for (kind, fault) in faults {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.strike(always(fault)).await;
        scene.strike(times(20, FaultKind::SwallowUpdates)).await;
        scene.say(6, 30).await;
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_that_runs_in_circles_is_given_up_and_told() {
    let scene = Scene::set_in(ChatKind::Group, impatient()).await;
    let before = scene.calls("updates.getDifference").await;
    scene.strike(always(FaultKind::DifferenceInCircles)).await;
    scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.stage.backend.wait_for_loss(&scene.struck, "connection_failed").await;
    scene.until_troubled("CONNECTION_FAILED").await;
    let made = scene.calls("updates.getDifference").await - before;
    assert!(made < 100, "it called {made} times: without end it would be thousands");
    scene.stage.sim.lift_faults().await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_fall_back_lose_and_double_nothing() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.say(6, 20).await;
        scene.strike(times(1, FaultKind::PtsBackwards)).await;
        scene.say(21, 22).await;
        scene.expect_all().await;
        // A gap right after it is noticed, too: by the numbers that count now.
        scene.strike(times(3, FaultKind::SwallowUpdates)).await;
        scene.say(23, 40).await;
        scene.expect_all().await;
        scene.strike(times(3, FaultKind::PtsBackwards)).await;
        scene.say(41, 60).await;
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_fell_back_while_the_account_was_away_lose_nothing() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.say(6, 20).await;
        scene.expect_all().await;
        scene.strike(always(FaultKind::RefuseConnections)).await;
        scene.strike(times(2, FaultKind::PtsBackwards)).await;
        scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
        scene.say(21, 23).await;
        scene.stage.sim.lift_faults().await;
        scene.expect_all().await;
        scene.say(24, 40).await;
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubled_and_reordered_updates_change_nothing() {
    for kind in [FaultKind::DuplicateUpdates, FaultKind::ReorderUpdates] {
        for place in [ChatKind::Supergroup, ChatKind::Group] {
            let scene = Scene::set_in(place, DaemonOptions::default()).await;
            scene.strike(always(kind)).await;
            scene.say(6, 60).await;
            scene.expect_a_good_end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_clock_that_runs_ahead_is_followed() {
    let scene = Scene::set().await;
    let skew = FaultSpec { skew_seconds: Some(3_600), ..always(FaultKind::ClockSkew) };
    scene.strike(skew).await;
    scene.say(6, 30).await;
    scene.expect_all().await;
    // Dialled anew under the same clock.
    scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
    scene.say(31, 60).await;
    scene.expect_a_good_end().await;
}

/// The library cannot lower its message ids, so a connection under such a clock is of no use; what
/// is missed is there once the clocks agree again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_clock_that_is_behind_is_told_and_costs_no_message() {
    let scene = Scene::set_in(ChatKind::Supergroup, impatient()).await;
    let skew = FaultSpec { skew_seconds: Some(-3_600), ..always(FaultKind::ClockSkew) };
    scene.strike(skew).await;
    scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.until_troubled("CONNECTION_FAILED").await;
    scene.stage.sim.lift_faults().await;
    scene.expect_a_good_end().await;
}

/// To everybody the same: then it is this machine's clock that is wrong, and that is what is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_this_machine_that_is_ahead_is_named() {
    let stage = Stage::set_with(Broker::shared(), impatient()).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    let skew = FaultSpec { skew_seconds: Some(-3_600), ..always(FaultKind::ClockSkew) };
    stage.sim.add_fault(skew).await.unwrap();
    stage.sim.disconnect(alice.user_id).await.unwrap();
    stage.say(&chat, 1..=5).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, health) = stage.daemon.get("/health").await.unwrap();
        let text = health.to_string();
        if text.contains("this machine's clock is about 36") && text.contains("NTP") {
            break;
        }
        assert!(Instant::now() < deadline, "nobody speaks of the clock: {health:#}");
        sleep(Duration::from_millis(100)).await;
    }
    stage.sim.lift_faults().await;
    stage.expect_all(&chat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expiring_salts_go_unnoticed() {
    let scene = Scene::set().await;
    for round in 0..3 {
        scene.strike(times(2, FaultKind::ExpireSalt)).await;
        scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
        let from = 6 + round * 10;
        scene.say(from, from + 9).await;
        scene.expect_all().await;
    }
    let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1, "a salt is no reason to reconnect");
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_refused_once_is_tried_again_and_not_given_up() {
    let scene = Scene::set().await;
    scene.strike(times(1, FaultKind::RefuseKey)).await;
    scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
    scene.say(6, 30).await;
    scene.expect_a_good_end().await;
    assert!(scene.stage.backend.losses().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_refused_for_good_is_told_and_not_dialled_any_more() {
    let scene = Scene::set().await;
    scene.strike(always(FaultKind::RefuseKey)).await;
    // Something makes it call: it learns of the 404 on the connection it has.
    scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
    scene.say(6, 30).await;
    scene.expect_bystanders_unharmed().await;
    scene.until_troubled("AUTH_KEY_UNREGISTERED").await;
    scene.stage.backend.wait_for_loss(&scene.struck, "auth_key_unregistered").await;
    let dialled = scene.stage.sim.account(scene.struck.user_id).await.unwrap().connections_total;
    scene.say(31, 60).await;
    scene.expect_bystanders_unharmed().await;
    let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
    assert_eq!(books.connections_total, dialled, "it was dialled again");
    // The key is the backend's again: it hands the session over anew, and nothing is missing.
    scene.stage.sim.lift_faults().await;
    scene.stage.backend.switch(scene.room.chat_id.into(), &scene.struck, &[]).await;
    scene.expect_a_good_end().await;
}

/// What Telegram holds against an account that asks too early is counted by `expect_clean_books`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_before_the_difference_holds_up_nothing_that_comes_live() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        scene.strike(refusing("updates.getDifference", 40)).await;
        // Message 6 does not come, and message 7 says so.
        let asked = scene.calls("updates.getDifference").await;
        scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
        scene.say(6, 7).await;
        scene.until_called("updates.getDifference", asked).await;
        let told_to_wait = Instant::now();
        scene.expect_all().await;
        scene.say(8, 30).await;
        scene.expect_all().await;
        // One more is lost while the difference may not be asked for.
        scene.strike(times(1, FaultKind::SwallowUpdates)).await;
        scene.say(31, 50).await;
        scene.expect_all().await;
        assert!(told_to_wait.elapsed() < Duration::from_secs(30), "it waited: {told_to_wait:?}");
        let health = scene.until_state("cooling_down").await;
        assert_eq!(health["accounts"]["troubled"].as_array().map(Vec::len), Some(0), "{health:#}");
        // The link is silent now, longer than one that is not resting may be.
        while told_to_wait.elapsed() < Duration::from_secs(50) {
            sleep(Duration::from_millis(100)).await;
        }
        let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
        assert_eq!(books.connections_total, 1, "the connection itself was never in doubt");
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_before_the_sign_of_life_holds_up_nothing_that_comes_live() {
    let scene = Scene::set().await;
    for method in ["updates.getState", "updates.getDifference"] {
        scene.strike(refusing(method, 40)).await;
    }
    let asked = scene.calls("updates.getState").await + scene.calls("updates.getDifference").await;
    let deadline = Instant::now() + PATIENCE;
    while scene.calls("updates.getState").await + scene.calls("updates.getDifference").await
        == asked
    {
        assert!(Instant::now() < deadline, "no sign of life is asked for");
        sleep(Duration::from_millis(50)).await;
    }
    let told_to_wait = Instant::now();
    scene.say(6, 30).await;
    scene.expect_all().await;
    assert!(told_to_wait.elapsed() < Duration::from_secs(20), "it waited: {told_to_wait:?}");
    let books = scene.stage.sim.account(scene.struck.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1, "the connection itself was never in doubt");
    scene.stage.sim.lift_faults().await;
    scene.expect_all().await;
    scene.stage.expect_clean_books().await;
}

/// A new link, and a daemon that was started anew, keep the wait and listen all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_a_link_inherits_holds_up_nothing_either() {
    let scene = Scene::set_in(ChatKind::Group, DaemonOptions::default()).await;
    scene.strike(refusing("updates.getDifference", 45)).await;
    let asked = scene.calls("updates.getDifference").await;
    scene.strike(times(1, FaultKind::UpdatesTooLong)).await;
    scene.say(6, 7).await;
    scene.until_called("updates.getDifference", asked).await;
    let told_to_wait = Instant::now();
    scene.expect_all().await;
    scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
    scene.say(8, 30).await;
    scene.expect_all().await;
    scene.until_dialled(2).await;
    scene.say(31, 60).await;
    scene.expect_all().await;
    assert!(told_to_wait.elapsed() < Duration::from_secs(30), "it waited: {told_to_wait:?}");
    scene.expect_a_good_end().await;
}

/// Of all the channels that an account is in, only those that somebody monitors cost calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_that_nobody_monitors_cost_no_differences() {
    let scene = Scene::set().await;
    let mut others = Vec::new();
    for _ in 0..25 {
        others.push(scene.stage.supergroup(&[&scene.struck]).await);
    }
    for number in 1..=3 {
        for chat in &others {
            scene.stage.say(chat, number..=number).await;
        }
    }
    let before = scene.calls("updates.getChannelDifference").await;
    scene.strike(times(80, FaultKind::SwallowUpdates)).await;
    for chat in &others {
        scene.stage.say(chat, 4..=4).await;
    }
    scene.say(6, 7).await;
    scene.stage.sim.lift_faults().await;
    for chat in &others {
        scene.stage.say(chat, 5..=5).await;
    }
    // The difference that brings these names every channel in which something was said.
    let asked = scene.calls("updates.getDifference").await;
    scene.until_called("updates.getDifference", asked).await;
    scene.expect_all().await;
    scene.say(8, 9).await;
    scene.expect_all().await;
    let made = scene.calls("updates.getChannelDifference").await - before;
    assert!(made <= 3, "{made} differences for one channel that is monitored");
    scene.expect_a_good_end().await;
}

/// Each of these packets says that anything may be missing, and the difference may not be asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_that_may_have_missed_something_all_the_time_is_read_now_and_then() {
    let scene = Scene::set().await;
    scene.strike(refusing("updates.getDifference", 60)).await;
    scene.strike(always(FaultKind::UpdatesTooLong)).await;
    let before = scene.calls("messages.getHistory").await;
    for number in 6..=105 {
        scene.stage.say(&scene.room, number..=number).await;
        sleep(Duration::from_millis(100)).await;
    }
    scene.stage.expect_all(&scene.room).await;
    let made = scene.calls("messages.getHistory").await - before;
    assert!(made < 40, "history was read {made} times");
    scene.expect_a_good_end().await;
}
