//! The daemon dies by SIGKILL at every point where durability changes hands, and is started again:
//! every message comes once and in order, every command takes effect once.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use lapin::BasicProperties;
use serde_json::{Value, json};
use telewarden::store::{Store, StoreOptions};
use telewarden_simulator::{Chat, ChatKind};
use tokio::time::{Instant, sleep};

use crate::support::{Broker, DaemonOptions, Listener, PATIENCE, Stage, texts_of};

/// One test a point: the daemon dies there when it comes by for the given time.
macro_rules! points {
    ($($test:ident: $name:literal @ $nth:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                Play::set().await.dies_at($name, $nth).await;
            }
        )*

        /// The points that have a test here.
        const TESTED: &[&str] = &[$($name),*];
    };
}

points! {
    key_write_before: "key.write.before" @ 1,
    key_rename_before: "key.rename.before" @ 1,
    key_rename_after: "key.rename.after" @ 1,
    store_open_before: "store.open.before" @ 1,
    store_open_after: "store.open.after" @ 1,
    store_marker_before: "store.marker.before" @ 1,
    store_marker_after: "store.marker.after" @ 1,
    store_keep_before: "store.keep.before" @ 1,
    store_keep_after: "store.keep.after" @ 1,
    store_dispose_before: "store.dispose.before" @ 1,
    store_dispose_after: "store.dispose.after" @ 1,
    store_apply_before: "store.apply.before" @ 40,
    store_apply_after: "store.apply.after" @ 60,
    store_sync_before: "store.sync.before" @ 80,
    store_sync_after: "store.sync.after" @ 100,
    store_tell_before: "store.tell.before" @ 120,
    store_tell_after: "store.tell.after" @ 140,
    store_checkpoint_before: "store.checkpoint.before" @ 1,
    store_checkpoint_after: "store.checkpoint.after" @ 1,
    store_release_before: "store.release.before" @ 1,
    store_release_after: "store.release.after" @ 1,
    store_trim_before: "store.trim.before" @ 1,
    store_trim_after: "store.trim.after" @ 1,
    keys_generation_before: "keys.generation.before" @ 1,
    keys_generation_after: "keys.generation.after" @ 1,
    keys_rewrap_before: "keys.rewrap.before" @ 2,
    keys_rewrap_after: "keys.rewrap.after" @ 2,
    keys_retire_before: "keys.retire.before" @ 2,
    keys_retire_after: "keys.retire.after" @ 2,
    store_close_before: "store.close.before" @ 1,
    store_close_after: "store.close.after" @ 1,
    command_effect_before: "command.effect.before" @ 3,
    command_effect_after: "command.effect.after" @ 3,
    command_ack_before: "command.ack.before" @ 4,
    command_ack_after: "command.ack.after" @ 4,
    dead_letter_before: "dead_letter.before" @ 1,
    dead_letter_after: "dead_letter.after" @ 1,
    session_register_before: "session.register.before" @ 2,
    session_register_after: "session.register.after" @ 2,
    monitor_configure_before: "monitor.configure.before" @ 2,
    monitor_configure_after: "monitor.configure.after" @ 2,
    monitor_stop_before: "monitor.stop.before" @ 1,
    monitor_stop_after: "monitor.stop.after" @ 1,
    job_add_before: "job.add.before" @ 1,
    job_add_after: "job.add.after" @ 1,
    job_done_before: "job.done.before" @ 1,
    job_done_after: "job.done.after" @ 1,
    monitor_start_before: "monitor.start.before" @ 2,
    monitor_start_after: "monitor.start.after" @ 2,
    monitor_publish_before: "monitor.publish.before" @ 50,
    monitor_publish_after: "monitor.publish.after" @ 90,
    update_state_move_before: "update_state.move.before" @ 50,
    update_state_move_after: "update_state.move.after" @ 90,
    monitor_failover_before: "monitor.failover.before" @ 1,
    monitor_failover_after: "monitor.failover.after" @ 1,
    account_save_before: "account.save.before" @ 2,
    account_save_after: "account.save.after" @ 2,
    publish_before: "publish.before" @ 30,
    publish_after: "publish.after" @ 40,
    confirm_before: "confirm.before" @ 50,
    outbox_release_before: "outbox.release.before" @ 30,
    outbox_release_after: "outbox.release.after" @ 30,
}

#[test]
fn every_point_of_the_table_has_a_test() {
    let users = crate::accounts::DEATHS_TESTED.iter().chain(&crate::webhooks::TESTED);
    let users = users.chain(crate::logins::recovery::DEATHS_TESTED);
    let users = users.chain(crate::campaigns::deaths::DEATHS_TESTED);
    let elsewhere = users.chain(crate::monitors::upgrades::DEATHS_TESTED);
    let tested: HashSet<_> = TESTED.iter().chain(elsewhere).collect();
    assert_eq!(tested, telewarden::failpoint::NAMES.iter().collect());
}

/// Events of the first chat after which its session is revoked.
const REVOKED_AFTER: usize = 15;
/// How long the outbox waits for a commit to note with it what has left it, as `src/store/journal/writer.rs` says.
const RELEASE_WAIT: Duration = Duration::from_millis(50);
/// Rounds of messages after which a daemon that lives to be stopped is stopped.
const STOPPED_AFTER: u32 = 150;

/// The whole of what a daemon does, on a small stage: three chats are monitored, by a user with a
/// backup, by a bot, and in a basic group; a fourth is joined; a fifth is monitored no longer; one
/// command makes no sense. The user's session is revoked in mid-stream.
struct Play {
    stage: Stage,
    alice: Listener,
    dave: Listener,
    /// With a backup; of a bot; a basic group.
    chats: [Chat; 3],
    joined: Chat,
    left: Chat,
    /// The rounds of messages said so far.
    rounds: u32,
    /// Texts said in the chat that is left, after it was.
    in_vain: u32,
    /// Whether the bot was seen to listen, from when on it owes messages.
    bot_listens: bool,
    revoked: bool,
}

impl Play {
    async fn set() -> Self {
        let options = DaemonOptions { fail_points: true, ..DaemonOptions::default() };
        let stage = Stage::prepare(Broker::shared(), options).await;
        stage.backend.declare().await;
        let [alice, bob, carol] = [
            stage.listener("alice").await,
            stage.listener("bob").await,
            stage.listener("carol").await,
        ];
        let (dave, erin) = (stage.listener("dave").await, stage.listener("erin").await);
        let bot = stage.bot("bot").await;
        let chats = [
            stage.supergroup(&[&alice, &bob]).await,
            stage.supergroup(&[&bot]).await,
            stage.chat(ChatKind::Group, None, &[&carol]).await,
        ];
        let joined = stage.chat(ChatKind::Supergroup, Some("the_forum"), &[]).await;
        let left = stage.supergroup(&[&erin]).await;
        let orders = [
            ("start_0", start(&chats[0], &alice, &[&bob])),
            ("start_1", start(&chats[1], &bot, &[])),
            ("start_2", start(&chats[2], &carol, &[])),
            (
                "join",
                json!({"command": "join_chat", "chat_id": "@the_forum", "session": dave.data()}),
            ),
            ("start_left", start(&left, &erin, &[])),
            ("stop_left", json!({"command": "stop_monitoring_chat", "chat_id": left.chat_id})),
        ];
        stage.backend.send(b"nonsense", BasicProperties::default()).await;
        for (name, order) in orders {
            stage.backend.order(&order, name).await;
        }
        Self {
            stage,
            alice,
            dave,
            chats,
            joined,
            left,
            rounds: 0,
            in_vain: 0,
            bot_listens: false,
            revoked: false,
        }
    }

    async fn dies_at(mut self, point: &str, nth: u64) {
        if ["store.keep", "store.dispose"].iter().any(|opening| point.starts_with(opening)) {
            self.lives_once().await;
        }
        if point.starts_with("keys.") {
            self.stage.daemon.set_variable("TELEWARDEN__SECRETS__ROTATE_EVERY", "1s");
        }
        self.stage.daemon.launch_to_die_at(point, nth);
        let death = self.until_it_dies(point).await;
        let log = || self.stage.daemon.log();
        assert_eq!(death.signal(), Some(9), "it did not die at {point} but by {death}: {}", log());
        for _ in 0..3 {
            self.say_a_round().await;
        }
        self.stage.daemon.launch();
        self.play_on().await;
        self.expect_commands_once().await;
        self.expect_messages().await;
        self.stage.expect_clean_books().await;
        self.expect_readable_store().await;
    }

    /// Lets a daemon run and end by itself, so that the next one finds a database.
    async fn lives_once(&mut self) {
        self.stage.daemon.launch();
        let deadline = Instant::now() + PATIENCE;
        while !self.bot_listens {
            assert!(Instant::now() < deadline, "it does not start: {}", self.stage.daemon.log());
            self.go_on().await;
        }
        assert_eq!(self.stage.daemon.terminate().await.code(), Some(0));
    }

    /// Talks until the daemon is dead; sees to it that it comes past every point.
    async fn until_it_dies(&mut self, point: &str) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(death) = self.stage.daemon.ended() {
                return death;
            }
            assert!(
                Instant::now() < deadline,
                "{point} is not reached: {}",
                self.stage.daemon.log()
            );
            self.go_on().await;
            if point.starts_with("store.release")
                && self.bot_listens
                && let Some(death) = self.keep_silent().await
            {
                return death;
            }
            if self.rounds == STOPPED_AFTER && point.starts_with("store.close") {
                self.stage.daemon.ask_to_stop();
            }
        }
    }

    /// Says nothing for as long as the machine needs to work off a round and then to wait in vain for a
    /// commit, twenty times over, or until the daemon is dead. With every commit that is made the outbox
    /// notes what has left it, so this alone leads to the point, however slow the machine.
    async fn keep_silent(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + 20 * RELEASE_WAIT;
        while Instant::now() < until {
            if let Some(death) = self.stage.daemon.ended() {
                return Some(death);
            }
            sleep(Duration::from_millis(5)).await;
        }
        None
    }

    /// Plays what is left of the play.
    async fn play_on(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !(self.revoked && self.bot_listens && self.in_vain > 5) {
            assert!(
                Instant::now() < deadline,
                "the play stands still: {}",
                self.stage.daemon.log()
            );
            self.go_on().await;
        }
        self.stage.backend.wait_for_loss(&self.alice, "auth_key_unregistered").await;
        self.stage.daemon.wait_for_monitors("active", 3).await;
        self.say_a_round().await;
    }

    async fn go_on(&mut self) {
        self.bot_listens |= self.all_listen().await;
        self.say_a_round().await;
        let told = self.stage.backend.read(|events| {
            events.iter().filter(|event| event.body["chat_id"] == self.chats[0].chat_id).count()
        });
        if told >= REVOKED_AFTER && !self.revoked {
            self.revoked = true;
            self.stage.sim.revoke(self.alice.user_id, None).await.unwrap();
            // The next call tells; reconnecting makes one.
            self.stage.sim.disconnect(self.alice.user_id).await.unwrap();
        }
        // Single messages, most of them with a commit of their own.
        sleep(Duration::from_millis(4)).await;
    }

    /// A bot owes what is said once it listens; users owe all that is said after their command.
    async fn all_listen(&self) -> bool {
        let health = self.stage.daemon.get("/health").await;
        health.is_ok_and(|(_, health)| health["monitors"]["by_state"]["active"] == 3)
    }

    async fn say_a_round(&mut self) {
        self.rounds += 1;
        let number = self.rounds;
        for (index, chat) in self.chats.iter().enumerate() {
            let owed = self.stage.backend.outcome(&format!("start_{index}")).is_some();
            if owed && (index != 1 || self.bot_listens) {
                self.stage.say(chat, number..=number).await;
            }
        }
        if self.stage.backend.outcome("stop_left").is_some() {
            self.in_vain += 1;
            self.stage.say(&self.left, number..=number).await;
        }
    }

    async fn expect_commands_once(&self) {
        let backend = &self.stage.backend;
        for order in ["start_0", "start_1", "start_2", "join", "start_left", "stop_left"] {
            let deadline = Instant::now() + PATIENCE;
            let outcome = loop {
                if let Some(outcome) = backend.outcome(order) {
                    break outcome;
                }
                assert!(Instant::now() < deadline, "{order} has no outcome");
                sleep(Duration::from_millis(20)).await;
            };
            assert_eq!(outcome["ok"], true, "{order}: {outcome}");
        }
        let (code, _, body) = backend.dead_letter().await;
        assert_eq!((code.as_str(), body.as_slice()), ("bad_json", &b"nonsense"[..]));
        let members = self.stage.sim.members(self.joined.chat_id).await.unwrap();
        let count = members.iter().filter(|member| member.user_id == self.dave.user_id).count();
        assert_eq!(count, 1, "it joined once");
        let losses = first_deliveries(backend.events(), "access_lost");
        let losses: Vec<_> =
            losses.iter().map(|body| (&body["session_id"], &body["reason"])).collect();
        assert_eq!(losses, [(&json!("alice"), &json!("auth_key_unregistered"))]);
    }

    async fn expect_messages(&self) {
        for chat in &self.chats {
            self.stage.expect_all(chat).await;
        }
        let left = texts_of(&self.stage.backend.events(), &self.left.chat_id.into());
        assert_eq!(left, Vec::<String>::new(), "a chat that is monitored no longer is silent");
    }

    /// A clean end leaves a store that opens, with nothing undone in it.
    async fn expect_readable_store(&mut self) {
        let status = self.stage.daemon.terminate().await;
        assert_eq!(status.code(), Some(0), "{}", self.stage.daemon.log());
        let path = self.stage.daemon.store();
        for left in ["sled.copying", "sled.before", "sled.done"] {
            assert!(!path.join(left).exists(), "{left} is left");
        }
        let (store, _outbox) = Store::open(StoreOptions::new(path)).unwrap();
        let snapshot = store.blocking().load().unwrap();
        assert_eq!(snapshot.monitors.len(), 3);
        assert!(snapshot.monitors.iter().all(|(_, cursor)| cursor.is_some()));
        assert_eq!(snapshot.jobs, []);
        assert_eq!(store.blocking().stats().outbox_depth, 0);
        store.close().await.unwrap();
    }
}

fn start(chat: &Chat, primary: &Listener, backups: &[&Listener]) -> Value {
    let pool: Vec<Value> = backups.iter().map(|backup| backup.data()).collect();
    json!({
        "command": "start_monitoring_chat",
        "chat_id": chat.chat_id,
        "primary_session": primary.data(),
        "backup_sessions_pool": pool,
    })
}

/// The bodies of one kind of event, without repeated deliveries.
fn first_deliveries(events: Vec<crate::support::Event>, kind: &str) -> Vec<Value> {
    let mut seen = HashSet::new();
    let of_kind = events.into_iter().filter(|event| event.kind == kind);
    of_kind.filter(|event| seen.insert(event.message_id.clone())).map(|event| event.body).collect()
}
