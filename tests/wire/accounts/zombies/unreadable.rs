//! What cannot be read, or should not be: it costs one connection at the most, nobody waits for it, and
//! what lies around it is told.

use std::time::Duration;

use serde_json::Value;
use telewarden_simulator::{ChatKind, FaultKind};
use tokio::time::{Instant, sleep};

use super::*;
use crate::support::{Broker, DaemonOptions, Stage, eventually, texts_of};

/// A call of the struck account that always fails.
fn failing(method: &str, error: &str) -> FaultSpec {
    FaultSpec { method: Some(method.into()), error: Some(error.into()), ..FaultSpec::default() }
}

/// The most memory that the daemon has had, bytes.
fn peak_memory(scene: &Scene) -> u64 {
    let status = format!("/proc/{}/status", scene.stage.daemon.pid());
    let status = std::fs::read_to_string(status).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

async fn unfillable(stage: &Stage) -> u64 {
    let text = stage.daemon.metrics().await;
    let name = "telewarden_gaps_unfillable_total ";
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is counted");
    line.trim().parse::<f64>().expect("a number") as u64
}

/// Whether the log names a message that cannot be read.
fn names(stage: &Stage, message_id: i32) -> bool {
    let lines = stage.daemon.log_lines();
    let is_it = |line: &&Value| line["telewarden.message_id"] == message_id;
    lines.iter().filter(is_it).any(|line| line.to_string().contains("cannot be read"))
}

impl Scene {
    async fn dials(&self) -> u64 {
        self.stage.sim.account(self.struck.user_id).await.unwrap().connections_total
    }

    /// The connection was kept, and nobody was told otherwise.
    async fn expect_the_connection_kept(&self) {
        assert_eq!(self.dials().await, 1, "{}", self.stage.daemon.log());
        assert_eq!(self.stage.backend.losses(), Vec::new());
    }

    async fn until_well(&self) {
        eventually("nobody is in trouble", async || {
            let (_, health) = self.stage.daemon.get("/health").await.ok()?;
            (health["accounts"]["troubled"].as_array()?.is_empty()).then_some(())
        })
        .await;
    }
}

/// Blocks of a page 1,500 deep overflowed the stack of a worker, a small packet took 160 MiB, containers in
/// each other overflowed the library's own stack, and small updates took a gigabyte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_should_read_ends_its_own_connection_and_says_why() {
    let kinds = [
        FaultKind::DeepUpdates,
        FaultKind::PackedUpdates,
        FaultKind::NestedContainers,
        FaultKind::CrowdedUpdates,
    ];
    let scene = Scene::set().await;
    let before = peak_memory(&scene);
    let mut said = 5;
    for (nth, kind) in (1..).zip(kinds) {
        scene.strike(times(1, kind)).await;
        scene.say(said + 1, said + 10).await;
        said += 10;
        scene.until_dialled(nth + 1).await;
        scene.stage.daemon.wait_for_accounts("active", 3).await;
        scene.expect_all().await;
    }
    let (_, health) = scene.stage.daemon.get("/health").await.unwrap();
    let restarts = health["restarts"].as_array().unwrap();
    let causes = restarts.iter().filter_map(|line| line["cause"].as_str());
    let causes = causes.filter(|cause| cause.starts_with("telegram sent")).count();
    assert_eq!(causes, kinds.len(), "{health:#}");
    let grown = peak_memory(&scene).saturating_sub(before);
    assert!(grown < 64 << 20, "it took {} MiB", grown >> 20);
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_it_again_and_again_is_dialled_ever_less_often() {
    let scene = Scene::set_in(ChatKind::Supergroup, impatient()).await;
    scene.strike(always(FaultKind::DeepUpdates)).await;
    let began = Instant::now();
    let mut number = 5;
    while began.elapsed() < Duration::from_secs(20) {
        number += 1;
        scene.say(number, number).await;
        sleep(Duration::from_millis(200)).await;
    }
    // Pauses of 0.25 s at the least, which double: at the very most seven dials more in 20 s.
    assert!(scene.dials().await <= 8, "{} dials", scene.dials().await);
    scene.until_troubled("UNREADABLE").await;
    scene.expect_bystanders_unharmed().await;
    scene.stage.sim.lift_faults().await;
    scene.expect_a_good_end().await;
}

/// With where its updates stand, as it is stored, each connection would end like the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_four_differences_that_end_the_connection_updates_are_followed_from_now_on() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        // Nothing asks for another difference within the test.
        let extra_config = "\n[monitoring]\ndifference_every = \"1h\"\n".to_owned();
        let options = DaemonOptions { extra_config, ..DaemonOptions::default() };
        let stage = Stage::set_with(Broker::shared(), options).await;
        let mut scene = Scene::on(stage, kind).await;
        let method = Some("updates.getDifference".to_owned());
        scene.strike(FaultSpec { method, ..always(FaultKind::DeepUpdates) }).await;
        let before = scene.calls("updates.getDifference").await;
        scene.stage.sim.disconnect(scene.struck.user_id).await.unwrap();
        scene.say(6, 30).await;
        let afresh =
            || scene.stage.daemon.log().matches("updates are followed from now on").count();
        eventually("one starts from now", async || (afresh() == 1).then_some(())).await;
        scene.stage.daemon.wait_for_monitors("active", 3).await;
        scene.expect_all().await;
        scene.say(31, 40).await;
        scene.expect_all().await;
        assert_eq!(scene.calls("updates.getDifference").await - before, 4);
        // The one from the start, four that ended, and the one that started from now; a call that was about to
        // be made as one ended may have had the library make another, which is dropped as well.
        let dials = scene.dials().await;
        assert!((6..=10).contains(&dials), "{dials}: {}", scene.stage.daemon.log());
        assert_eq!(unfillable(&scene.stage).await, 0, "histories told all of it");
        assert_eq!(afresh(), 1);
        // Where they stand is stored anew: the next life asks for what came since, and nothing else.
        scene.stage.sim.lift_faults().await;
        scene.stage.daemon.kill();
        scene.stage.sim.client_killed().await;
        scene.say(41, 50).await;
        scene.stage.daemon.spawn().await;
        scene.stage.daemon.wait_for_monitors("active", 3).await;
        scene.say(51, 60).await;
        scene.expect_all().await;
        scene.stage.expect_clean_books().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_that_always_fails_costs_no_connection_and_no_message() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        let error = "PERSISTENT_TIMESTAMP_OUTDATED";
        scene.strike(failing("updates.getDifference", error)).await;
        let before = scene.calls("updates.getDifference").await;
        scene.strike(times(3, FaultKind::UpdatesTooLong)).await;
        let began = Instant::now();
        scene.say(6, 30).await;
        scene.until_troubled("UPDATES_FAILING").await;
        scene.expect_all().await;
        scene.say(31, 40).await;
        scene.expect_all().await;
        while began.elapsed() < Duration::from_secs(30) {
            sleep(Duration::from_millis(100)).await;
        }
        // Four tries at once, then after 1, 2, 4, 8, 16 s at the least.
        let calls = scene.calls("updates.getDifference").await - before;
        assert!((5..=9).contains(&calls), "{calls} calls");
        let (_, health) = scene.stage.daemon.get("/health").await.unwrap();
        assert_eq!(health["status"], "degraded");
        let troubled = &health["accounts"]["troubled"][0];
        assert_eq!(troubled["state"], "active", "{troubled:#}");
        assert!(troubled["evidence"][0].as_str().unwrap().contains(error), "{troubled:#}");
        scene.expect_the_connection_kept().await;
        scene.stage.sim.lift_faults().await;
        scene.until_well().await;
        scene.expect_the_connection_kept().await;
        scene.expect_a_good_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_never_told_costs_no_connection_and_no_message() {
    // Telegram's own trouble; an error that nobody knows; and one that says something of the account.
    for error in ["RPC_CALL_FAIL", "UPDATES_STATE_UNHEARD_OF", "PEER_FLOOD"] {
        let scene = Scene::set().await;
        scene.strike(failing("updates.getState", error)).await;
        let before = scene.calls("updates.getState").await;
        // Nothing is said for a while, so that a sign of life is asked for.
        scene.until_called("updates.getState", before).await;
        scene.until_troubled("UPDATES_FAILING").await;
        scene.say(6, 30).await;
        scene.expect_all().await;
        scene.expect_the_connection_kept().await;
        scene.stage.sim.lift_faults().await;
        scene.until_well().await;
        scene.expect_a_good_end().await;
    }
}

/// An account that is new does not know where its updates stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_account_listens_although_its_state_is_never_told() {
    let stage = Stage::set_with(Broker::shared(), DaemonOptions::default()).await;
    let late = stage.listener("late").await;
    let chat = stage.supergroup(&[&late]).await;
    let fault = failing("updates.getState", "RPC_CALL_FAIL");
    stage.sim.add_fault(FaultSpec { user_id: Some(late.user_id), ..fault }).await.unwrap();
    stage.monitor(&chat, &late, &[]).await;
    stage.say(&chat, 1..=20).await;
    stage.expect_all(&chat).await;
    let books = stage.sim.account(late.user_id).await.unwrap();
    assert_eq!(books.connections_total, 1);
    assert_eq!(stage.backend.losses(), Vec::new());
    stage.sim.lift_faults().await;
    stage.say(&chat, 21..=30).await;
    stage.expect_all(&chat).await;
    stage.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_difference_that_always_fails_costs_no_connection_and_no_message() {
    let scene = Scene::set().await;
    scene.strike(failing("updates.getChannelDifference", "PERSISTENT_TIMESTAMP_OUTDATED")).await;
    let before = scene.calls("updates.getChannelDifference").await;
    for round in 0..3 {
        scene.strike(times(1, FaultKind::SwallowUpdates)).await;
        scene.say(6 + 10 * round, 15 + 10 * round).await;
        scene.expect_all().await;
    }
    let calls = scene.calls("updates.getChannelDifference").await - before;
    assert!(calls <= 12, "{calls} calls");
    scene.expect_the_connection_kept().await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_in_a_chat_that_nobody_monitors_costs_nothing() {
    let scene = Scene::set().await;
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let elsewhere = scene.stage.chat(kind, None, &[&scene.struck]).await;
        let before = scene.calls("updates.getDifference").await;
        for _ in 0..3 {
            let author = scene.stage.author;
            scene.stage.sim.post_unreadable(elsewhere.chat_id, author).await.unwrap();
        }
        scene.until_called("updates.getDifference", before).await;
    }
    scene.say(6, 30).await;
    scene.expect_all().await;
    assert_eq!(unfillable(&scene.stage).await, 0);
    scene.expect_the_connection_kept().await;
    scene.expect_a_good_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_around_a_message_that_cannot_be_read_is_told_and_it_is_named() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        let scene = Scene::set_in(kind, DaemonOptions::default()).await;
        let (sim, room) = (&scene.stage.sim, scene.room.chat_id);
        scene.say(6, 10).await;
        sim.post_unreadable(room, scene.stage.author).await.unwrap();
        scene.say(11, 15).await;
        scene.expect_all().await;
        eventually("it is counted", async || (unfillable(&scene.stage).await == 1).then_some(()))
            .await;
        // In the midst of what was said while the session was away, in a row, and at the end.
        scene.strike(always(FaultKind::RefuseConnections)).await;
        sim.disconnect(scene.struck.user_id).await.unwrap();
        scene.say(16, 60).await;
        sim.post_unreadable(room, scene.stage.author).await.unwrap();
        sim.post_unreadable(room, scene.stage.author).await.unwrap();
        scene.say(61, 80).await;
        let last = sim.post_unreadable(room, scene.stage.author).await.unwrap();
        sim.lift_faults().await;
        scene.expect_all().await;
        eventually("all are counted", async || (unfillable(&scene.stage).await == 4).then_some(()))
            .await;
        if kind == ChatKind::Supergroup {
            assert!(names(&scene.stage, last), "{}", scene.stage.daemon.log());
        }
        scene.say(81, 90).await;
        scene.expect_all().await;
        assert_eq!(unfillable(&scene.stage).await, 4, "each is counted once");
        assert_eq!(scene.dials().await, 2 + refused(&scene).await);
        scene.expect_a_good_end().await;
    }
}

/// Dials that were refused.
async fn refused(scene: &Scene) -> u64 {
    let stats = scene.stage.sim.stats().await;
    let stats = serde_json::to_value(&stats).unwrap();
    stats["faults_struck"]["refuse_connections"].as_u64().unwrap_or(0)
}

/// It leaves to the difference what comes live outside channels, and looks for it by ids meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_that_always_fails_keeps_no_message_from_a_bot() {
    let extra_config = INQUISITIVE.to_owned();
    let options = DaemonOptions { extra_config, ..DaemonOptions::default() };
    let stage = Stage::set_with(Broker::shared(), options).await;
    let bot = stage.bot("bot").await;
    let chat = stage.chat(ChatKind::Group, None, &[&bot]).await;
    stage.monitor(&chat, &bot, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    let failing = failing("updates.getDifference", "PERSISTENT_TIMESTAMP_OUTDATED");
    let fault = FaultSpec { user_id: Some(bot.user_id), ..failing };
    stage.sim.add_fault(fault).await.unwrap();
    let once = times(1, FaultKind::UpdatesTooLong);
    stage.sim.add_fault(FaultSpec { user_id: Some(bot.user_id), ..once }).await.unwrap();
    // Each part is said when the one before was looked for, so that it takes a notice of its own.
    for first in [6, 11, 16] {
        stage.say(&chat, first..=first + 4).await;
        stage.expect_all(&chat).await;
    }
    stage.sim.lift_faults().await;
    stage.say(&chat, 21..=25).await;
    stage.expect_all(&chat).await;
    assert_eq!(stage.backend.losses(), Vec::new());
    stage.expect_clean_books().await;
}

/// Bots ask by ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_around_it_is_told_by_a_bot_as_well() {
    let stage = Stage::set_with(Broker::shared(), DaemonOptions::default()).await;
    let bot = stage.bot("bot").await;
    let chat = stage.supergroup(&[&bot]).await;
    stage.monitor(&chat, &bot, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    let hidden = stage.sim.post_unreadable(chat.chat_id, stage.author).await.unwrap();
    stage.say(&chat, 6..=10).await;
    stage.expect_all(&chat).await;
    eventually("it is named", async || names(&stage, hidden).then_some(())).await;
    assert_eq!(stage.backend.losses(), Vec::new());
    stage.expect_clean_books().await;
}

/// Messages that were said while a bot was away, and whose texts have `letters` of two bytes.
async fn expect_a_bot_to_catch_up(kind: ChatKind, count: u32, letters: usize) {
    let stage = Stage::set_with(Broker::shared(), DaemonOptions::default()).await;
    let bot = stage.bot("bot").await;
    let chat = stage.chat(kind, None, &[&bot]).await;
    stage.monitor(&chat, &bot, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    let away = FaultSpec { user_id: Some(bot.user_id), ..always(FaultKind::RefuseConnections) };
    stage.sim.add_fault(away).await.unwrap();
    stage.sim.disconnect(bot.user_id).await.unwrap();
    let tail = "\u{44f}".repeat(letters - 5);
    for number in 0..count {
        let text = format!("{number:05}{tail}");
        stage.sim.post(chat.chat_id, stage.author, &text).await.unwrap();
    }
    stage.sim.lift_faults().await;
    let told = eventually("all of them are told", async || {
        let events = stage.backend.events();
        let told = texts_of(&events, &Value::from(chat.chat_id)).len();
        (told >= 5 + count as usize).then_some(told)
    })
    .await;
    assert_eq!(told, 5 + count as usize);
    stage.say(&chat, 6..=10).await;
    stage.expect_all(&chat).await;
    let (_, health) = stage.daemon.get("/health").await.unwrap();
    let restarts = health["restarts"].as_array().unwrap();
    let causes = restarts.iter().filter_map(|line| line["cause"].as_str());
    let unread = causes.filter(|cause| cause.starts_with("telegram sent")).count();
    assert_eq!(unread, 0, "no connection ended by it: {health:#}");
    assert_eq!(unfillable(&stage).await, 0);
    stage.expect_clean_books().await;
}

/// A thousand of the longest messages are more than 8 MiB, which ended the connection; the next one asked
/// for the same, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_was_away_while_a_thousand_long_messages_were_said_gets_them_all() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        expect_a_bot_to_catch_up(kind, 1_100, 4_096).await;
    }
}

/// What Telegram's bounds may become: a hundred of them are more than is read at once, and fifty are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_beyond_the_bounds_fails_its_call_alone_and_less_is_asked_for() {
    for kind in [ChatKind::Supergroup, ChatKind::Group] {
        expect_a_bot_to_catch_up(kind, 60, 100_000).await;
    }
}
