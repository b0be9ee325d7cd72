//! Clocks that are wrong: what a chat is owed is measured by Telegram's, whatever ours shows.
//!
//! The daemon alone runs under libfaketime; its steady clock is left alone, as a clock that is set
//! wrong leaves it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use telewarden_simulator::{Chat, ChatKind, FaultKind, FaultSpec};

use crate::support::{Broker, DaemonOptions, Harness, Stage, eventually, texts_of};

/// Our clock beside Telegram's, seconds.
const SKEWS: [i64; 2] = [5, -20];

fn texts(numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

/// Until everything that was said is older by a whole second: an answer's way to us makes the moment of
/// a command a little earlier than it was.
async fn until_a_later_second(stage: &Stage, chat: &Chat) {
    let said = stage.sim.messages(chat.chat_id).await.unwrap();
    let last = said.iter().map(|message| i64::from(message.date)).max().unwrap();
    eventually("the second is over", async || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        (i64::try_from(now).unwrap() > last + 1).then_some(())
    })
    .await;
}

async fn refuse_everybody(stage: &Stage) {
    let kind = Some(FaultKind::RefuseConnections);
    stage.sim.add_fault(FaultSpec { kind, ..FaultSpec::default() }).await.unwrap();
}

impl Stage {
    /// With a daemon whose clock is that far ahead.
    async fn set_ahead(seconds: i64) -> Self {
        let mut stage = Self::prepare(Broker::shared(), DaemonOptions::default()).await;
        stage.daemon.set_clock(seconds);
        stage.daemon.spawn().await;
        stage
    }

    async fn expect_only(&self, chat: &Chat, numbers: std::ops::RangeInclusive<u32>) {
        self.expect_texts(chat, &texts(numbers)).await;
        let (_, health) = self.daemon.get("/health").await.unwrap();
        assert_eq!(health["monitors"]["by_state"]["active"], 1, "{health:#}");
        self.expect_clean_books().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_right_after_a_command_is_told_whatever_our_clock_shows() {
    for (kind, ahead) in [ChatKind::Supergroup, ChatKind::Group].into_iter().zip(SKEWS) {
        for ahead in [ahead, -ahead] {
            let stage = Stage::set_ahead(ahead).await;
            let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
            let chat = stage.chat(kind, None, &[&alice, &bob]).await;
            stage.say(&chat, 1..=3).await;
            until_a_later_second(&stage, &chat).await;
            stage.sim.revoke(alice.user_id, None).await.unwrap();
            stage.accept(chat.chat_id.into(), &alice, &[&bob]).await;
            stage.say(&chat, 4..=23).await;
            stage.backend.wait_for_loss(&alice, "auth_key_unregistered").await;
            stage.say(&chat, 24..=30).await;
            stage.expect_only(&chat, 4..=30).await;
        }
    }
}

/// A daemon that knows Telegram's time already says at once what a chat is owed from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_chat_is_dated_like_the_first() {
    for ahead in SKEWS {
        let mut stage = Stage::set_ahead(ahead).await;
        let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
        let first = stage.supergroup(&[&alice]).await;
        stage.monitor(&first, &alice, &[]).await;
        let second = stage.supergroup(&[&alice, &bob]).await;
        stage.say(&second, 1..=3).await;
        until_a_later_second(&stage, &second).await;
        refuse_everybody(&stage).await;
        stage.sim.disconnect(alice.user_id).await.unwrap();
        stage.accept(second.chat_id.into(), &bob, &[]).await;
        stage.say(&second, 4..=9).await;
        // What it knows of Telegram's clock goes with it, what the chat is owed does not; and our
        // clock is right from now on.
        stage.daemon.kill();
        stage.daemon.set_clock(0);
        stage.sim.lift_faults().await;
        stage.daemon.spawn().await;
        stage.daemon.wait_for_monitors("active", 2).await;
        stage.expect_texts(&second, &texts(4..=9)).await;
        stage.expect_clean_books().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_before_there_is_a_connection_is_dated_by_the_first_one() {
    // Before and after a restart in between.
    for (before, after) in [(5, 5), (5, 0), (-20, -20), (0, -20)] {
        let mut stage = Stage::prepare(Broker::shared(), DaemonOptions::default()).await;
        stage.daemon.set_clock(before);
        stage.daemon.spawn().await;
        let alice = stage.listener("alice").await;
        let chat = stage.supergroup(&[&alice]).await;
        stage.say(&chat, 1..=3).await;
        until_a_later_second(&stage, &chat).await;
        refuse_everybody(&stage).await;
        stage.accept(chat.chat_id.into(), &alice, &[]).await;
        stage.say(&chat, 4..=9).await;
        stage.daemon.kill();
        stage.daemon.set_clock(after);
        stage.daemon.spawn().await;
        stage.say(&chat, 10..=12).await;
        stage.sim.lift_faults().await;
        stage.daemon.wait_for_monitors("active", 1).await;
        stage.expect_only(&chat, 4..=12).await;
    }
}

/// A bot counts its own ids there, and another account goes by the date of what was told last: of
/// the command, as long as that is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_over_from_a_bot_that_told_nothing_goes_by_telegrams_clock() {
    for ahead in SKEWS {
        let stage = Stage::set_ahead(ahead).await;
        let (bot, bob) = (stage.bot("bot").await, stage.listener("bob").await);
        let chat = stage.chat(ChatKind::Group, None, &[&bot, &bob]).await;
        stage.say(&chat, 1..=3).await;
        until_a_later_second(&stage, &chat).await;
        stage.monitor(&chat, &bot, &[&bob]).await;
        stage.sim.revoke(bot.user_id, None).await.unwrap();
        stage.say(&chat, 4..=12).await;
        stage.backend.wait_for_loss(&bot, "auth_key_unregistered").await;
        stage.expect_only(&chat, 4..=12).await;
    }
}

/// Behind by more than the time for which a message counts as being on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_missing_is_missed_although_our_clock_is_behind() {
    let extra_config = "\n[monitoring]\ncheck_every = \"2s\"\n".into();
    let options = DaemonOptions { extra_config, ..DaemonOptions::default() };
    let mut stage = Stage::prepare(Broker::shared(), options).await;
    stage.daemon.set_clock(-200);
    stage.daemon.spawn().await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=5).await;
    stage.expect_all(&chat).await;
    stage.lose_updates(&alice, 1).await;
    stage.say(&chat, 6..=6).await;
    stage.expect_all(&chat).await;
}

/// The age of a message is the same in the metrics, whatever our clock shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_a_message_is_measured_by_telegrams_clock() {
    let stage = Stage::set_ahead(25).await;
    let alice = stage.listener("alice").await;
    let chat = stage.supergroup(&[&alice]).await;
    stage.monitor(&chat, &alice, &[]).await;
    stage.say(&chat, 1..=20).await;
    stage.expect_all(&chat).await;
    let metrics = stage.daemon.metrics().await;
    let within = |bound: &str| {
        let line = format!("telewarden_event_lag_seconds_bucket{{le=\"{bound}\"}} ");
        let found = metrics.lines().find_map(|known| known.strip_prefix(line.as_str()));
        found.unwrap_or_else(|| panic!("{line} in {metrics}")).parse::<u64>().unwrap()
    };
    assert_eq!(within("10.0"), within("+Inf"), "{metrics}");
    assert!(within("+Inf") >= 20);
}

/// A token that is good for half a minute by the server's clock is shown that long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_renewed_by_telegrams_clock() {
    let mut harness = Harness::prepare(DaemonOptions::default()).await;
    harness.daemon.set_clock(28);
    harness.daemon.spawn().await;
    let user = harness.user("ann");
    let begun = user.post("/accounts/telegram/connect/qr", json!({})).await.expect(202);
    let login = begun["login_id"].as_str().unwrap().to_owned();
    let shown = begun["qr"]["url"].clone();
    let exported = async || {
        let methods = harness.sim.stats().await.methods;
        methods.get("auth.exportLoginToken").copied().unwrap_or(0)
    };
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(6);
    while tokio::time::Instant::now() < until {
        let seen = user.get(&format!("/logins/{login}")).await.expect(200);
        assert_eq!(seen["qr"]["url"], shown, "{seen:#}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(exported().await, 1);
}

/// Looking the name up takes longer than the clock is ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_by_its_name_is_dated_like_one_by_its_number() {
    let stage = Stage::set_ahead(5).await;
    let alice = stage.listener("alice").await;
    let chat = stage.chat(ChatKind::Channel, Some("dated_room"), &[&alice]).await;
    stage.say(&chat, 1..=3).await;
    until_a_later_second(&stage, &chat).await;
    let slow = FaultSpec {
        method: Some("contacts.resolveUsername".into()),
        delay_ms: Some(6_000),
        ..FaultSpec::default()
    };
    stage.sim.add_fault(slow).await.unwrap();
    stage.accept("@dated_room".into(), &alice, &[]).await;
    stage.say(&chat, 4..=9).await;
    let named = json!("@dated_room");
    let told = stage
        .backend
        .wait_until("all of it", |events| {
            let told = texts_of(events, &named);
            (told.len() >= 6).then_some(told)
        })
        .await;
    assert_eq!(told, texts(4..=9));
}

/// The session works, so our clock is ahead by no more than Telegram puts up with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_tells_the_time_half_a_minute_before_the_command_is_told_too() {
    let (harness, backend) = Harness::open_with_backend().await;
    let (user, person, author) =
        (harness.user("ann"), harness.person().await, harness.person().await);
    // Connected before anybody asked for a chat, so that nobody knows the time yet.
    let id = harness.connect(&user, &person).await;
    let chat = harness.chat(ChatKind::Supergroup, None, &[&person, &author]).await;
    let say = async |numbers: std::ops::RangeInclusive<u32>| {
        for number in numbers {
            let text = number.to_string();
            harness.sim.post(chat.chat_id, author.user_id, &text).await.unwrap();
        }
    };
    say(1..=3).await;
    let kind = Some(FaultKind::RefuseConnections);
    harness.sim.add_fault(FaultSpec { kind, ..FaultSpec::default() }).await.unwrap();
    let path = format!("/monitors/{}", chat.chat_id);
    user.put(&path, json!({ "accounts": [id] })).await.expect(201);
    say(4..=6).await;
    let told = backend
        .wait_until("all of it", |events| {
            let told = texts_of(events, &chat.chat_id.into());
            (told.len() >= 6).then_some(told)
        })
        .await;
    assert_eq!(told, texts(1..=6));
    assert!(harness.daemon.log().contains("telegram's time is not known"));
    harness.expect_clean_books().await;
}
