//! Everything goes wrong at once, for dozens of accounts and chats: kills, broker stops, refused,
//! reset, muted and cut connections, flood waits, removals, revocations, updates that go astray,
//! and campaigns in the middle of it.
//! In the end every message must have come once and in order, and everybody must be well.
//!
//! `./scripts/chaos --seed N --minutes M` runs it for as long as one likes.

mod campaigns;
mod cast;
mod checkers;
mod faults;
mod found;
mod judges;
mod plan;
mod report;
mod talk;

use std::sync::Mutex;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::campaigns::FAST;
use crate::support::{Broker, Client, DaemonOptions, Door, Event, PATIENCE, Stage, TOKEN_SECRET};
use campaigns::Campaigner;
use cast::Cast;
use checkers::comes_true;
use faults::Director;
use report::{Complaints, Figures};
use talk::Talk;

/// The seed of the run that belongs to the tests.
const SEED: u64 = 20;
/// How long it does harm.
const SHORT: Duration = Duration::from_secs(30);
/// A run this long is one in which everything has to go wrong at least once.
const LONG: Duration = Duration::from_secs(600);
/// What that is; small letters and underscores are the simulator's kinds of faults.
const NEEDED: [&str; 18] = [
    "kills",
    "stops by SIGTERM",
    "broker stops",
    "removals",
    "bans",
    "chats left without anybody",
    "revocations",
    "FLOOD_WAIT",
    "RPC_CALL_FAIL",
    "refuse_connections",
    "reset",
    "disconnect",
    "lose_answer",
    "garbage",
    "mute",
    "swallow_updates",
    "duplicate_updates",
    "reorder_updates",
];
/// How long a message may take before another one is said.
const SAY_AGAIN: Duration = Duration::from_secs(5);
/// How often the daemon is asked whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_minute_of_chaos_loses_and_doubles_nothing() {
    run(SEED, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as long as one likes; run by ./scripts/chaos"]
async fn chaos() {
    let seed = number("TELEWARDEN_CHAOS_SEED");
    let minutes = number("TELEWARDEN_CHAOS_MINUTES");
    run(seed, Duration::from_secs(60 * minutes)).await;
}

fn number(variable: &str) -> u64 {
    let text = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
    text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}"))
}

async fn run(seed: u64, duration: Duration) {
    println!("chaos with seed {seed} for {} s", duration.as_secs());
    let options = DaemonOptions {
        extra_config: format!("[shutdown]\ntimeout_seconds = 10\n{FAST}"),
        environment: vec![("TELEWARDEN__AUTH__JWT_SECRET".to_owned(), TOKEN_SECRET.to_owned())],
        ..DaemonOptions::default()
    };
    let stage = Stage::set_with(Broker::private().await, options).await;
    let cast = Cast::assemble(&stage).await;
    let Stage { sim, backend, daemon, author } = stage;
    let chats = cast.rooms.iter().map(|room| room.chat.chat_id).collect();
    let plan = plan::plan(seed, duration, cast.extent());
    let talk = Talk::new(&sim, author, chats);
    let (stop, listen) = (CancellationToken::new(), daemon.listen());
    let user = Client::of_user(Door::at(listen), "ann", TOKEN_SECRET);
    let mut campaigner = Campaigner::begin(&sim, user, seed).await;
    let not_ready = Mutex::new(Duration::ZERO);
    let mut director = Director {
        sim: &sim,
        backend: &backend,
        talk: &talk,
        daemon,
        cast,
        random: StdRng::seed_from_u64(seed),
        figures: Figures::default(),
        complaints: Complaints::default(),
        broker_stop: None,
        outages: Vec::new(),
    };
    director.begin().await;
    let harm = async {
        director.perform(plan, duration).await;
        director.repair().await;
        stop.cancel();
    };
    let talks = talk.chatter(seed, &stop);
    tokio::join!(harm, talks, campaigner.run(&stop), watch(listen, &stop, &not_ready));
    director.give_everybody_a_turn().await;
    let Director { mut daemon, cast, mut figures, mut complaints, outages, .. } = director;
    checkers::check_nobody_is_stuck(&daemon, &cast, &mut complaints).await;
    checkers::check_messages(&sim, &backend, &cast, &mut complaints).await;
    checkers::check_exhaustions(&backend, &cast, &mut complaints);
    checkers::check_orders(&backend, &cast, &mut complaints).await;
    campaigner.check(&mut figures, &mut complaints).await;
    checkers::check_violations(&sim, &mut figures, &mut complaints).await;
    checkers::check_store(&mut daemon, &cast, &mut complaints).await;
    checkers::check_late_comers(&sim, &backend, &cast, &outages, &mut complaints).await;
    if duration >= LONG {
        complaints.extend(judges::variety(&figures.struck, &NEEDED));
    }
    figures.orders = cast.orders();
    figures.longest_recovery = not_ready.into_inner().expect("a figure");
    checkers::count(&backend, &cast, &talk.into_said(), &mut figures);
    println!("chaos with seed {seed} is over\n{figures}");
    if !complaints.is_empty() {
        let place = std::env::temp_dir().join(format!("telewarden-chaos-{seed}.log"));
        let kept = daemon.keep_log(&place).is_ok();
        println!("the daemon's log: {} (kept: {kept})", place.display());
    }
    complaints.expect_none(seed);
}

impl Director<'_> {
    /// All chats are monitored before anything goes wrong.
    async fn begin(&mut self) {
        let rooms = self.cast.rooms.len();
        for room in 0..rooms {
            self.order(room, 0).await;
        }
        self.daemon.wait_for_monitors("active", rooms as u64).await;
    }

    /// Nothing goes wrong any more: each chat gets messages through, and each of its accounts in
    /// turn is the one that listens.
    async fn give_everybody_a_turn(&mut self) {
        let rooms = self.cast.rooms.len();
        for turn in 0..3 {
            for room in 0..rooms {
                self.order(room, 1).await;
            }
            let all_listen = comes_true(async || {
                let health = self.daemon.get("/health").await;
                health.is_ok_and(|(_, health)| {
                    health["monitors"]["by_state"]["active"] == rooms as u64
                })
            });
            if !all_listen.await {
                self.complaints.add(format!("not all listen in turn {turn}"));
            }
            for room in 0..rooms {
                if !self.hears_from_primary(room).await {
                    let (chat, session) =
                        (&self.cast.rooms[room].spelling, self.cast.primary(room));
                    self.complaints
                        .add(format!("chat {chat}: {session} does not listen in turn {turn}"));
                }
            }
        }
    }

    /// Says things in a chat until one of them is published by the session that is to listen.
    async fn hears_from_primary(&mut self, room: usize) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.talk.say(room).await;
            let said = Instant::now();
            while said.elapsed() < SAY_AGAIN {
                if self.backend.read(|events| is_heard(events, &self.cast, room)) {
                    return true;
                }
                sleep(LOOK_EVERY).await;
            }
            // It may have been about to come back when it was named, and lost its turn. Naming
            // the same sessions in the same order would change nothing.
            self.order(room, 1).await;
            self.order(room, self.cast.pool_size(room) - 1).await;
        }
        false
    }
}

/// Whether the newest message of a chat was published by the session that is to listen.
fn is_heard(events: &[Event], cast: &Cast, room: usize) -> bool {
    let of_chat = |event: &&Event| {
        event.kind == "incoming_telegram_message"
            && event.body["chat_id"] == cast.rooms[room].spelling
    };
    let newest = events.iter().rev().find(of_chat);
    newest.is_some_and(|event| event.body["metadata"]["session_id"] == cast.primary(room))
}

/// Notes how long the daemon was not ready at most.
async fn watch(listen: std::net::SocketAddr, stop: &CancellationToken, longest: &Mutex<Duration>) {
    let mut since: Option<Instant> = None;
    while !stop.is_cancelled() {
        let answer = crate::support::get(listen, "/health/ready").await;
        match (answer, since) {
            (Ok((200, _)), Some(began)) => {
                let mut longest = longest.lock().expect("a figure");
                *longest = began.elapsed().max(*longest);
                since = None;
            }
            (Ok((200, _)), None) => {}
            _ => drop(since.get_or_insert_with(Instant::now)),
        }
        sleep(LOOK_EVERY).await;
    }
}
