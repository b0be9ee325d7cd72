//! What must be so in the end, whatever went wrong. The simulator's books are the truth.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use telewarden::store::{Store, StoreOptions};
use telewarden_simulator::Simulator;
use tokio::time::{Instant, sleep};

use super::cast::{Cast, Room};
use super::report::{Complaints, Figures};
use crate::support::{Backend, Daemon, Event, PATIENCE, texts_of};

/// How often an awaited state is looked at.
const POLL: Duration = Duration::from_millis(200);
/// Of what is missing this much is shown.
const SHOWN: usize = 12;

/// How often a chat was told to have nobody left.
pub(super) fn exhaustions(backend: &Backend, room: &Room) -> usize {
    backend.read(|events| {
        let told = events.iter().filter(|event| {
            event.kind == "access_lost"
                && event.body["reason"] == "no_backup_left"
                && event.body["chat_id"] == room.spelling
        });
        told.map(|event| &event.message_id).collect::<HashSet<_>>().len()
    })
}

/// Waits until something is so, for as long as patience lasts.
pub(super) async fn comes_true(mut wanted: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if wanted().await {
            return true;
        }
        sleep(POLL).await;
    }
    false
}

/// Every message once and in order.
pub(super) async fn check_messages(
    sim: &Simulator,
    backend: &Backend,
    cast: &Cast,
    complaints: &mut Complaints,
) {
    let deadline = Instant::now() + PATIENCE;
    for room in &cast.rooms {
        let truth = sim.messages(room.chat.chat_id).await.expect("the chat is there");
        let truth: Vec<String> = truth.into_iter().map(|message| message.text).collect();
        let mut told = backend.read(|events| texts_of(events, &room.spelling));
        while told.len() < truth.len() && Instant::now() < deadline {
            sleep(POLL).await;
            told = backend.read(|events| texts_of(events, &room.spelling));
        }
        if told != truth {
            complaints.add(difference(room, &told, &truth));
            backend.read(|events| show_around(room, &told, &truth, events));
        }
    }
}

fn difference(room: &Room, told: &[String], truth: &[String]) -> String {
    let (known, wanted): (HashSet<_>, HashSet<_>) = (told.iter().collect(), truth.iter().collect());
    let missing: Vec<_> = truth.iter().filter(|text| !known.contains(text)).collect();
    let strange: Vec<_> = told.iter().filter(|text| !wanted.contains(text)).collect();
    let mut seen = HashSet::new();
    let doubled: Vec<_> = told.iter().filter(|text| !seen.insert(*text)).collect();
    let place = |text: &String| truth.iter().position(|known| known == text);
    let disorder = told.windows(2).find(|pair| place(&pair[0]) > place(&pair[1]));
    let chat = &room.spelling;
    let some =
        |texts: &[&String]| format!("{} {:?}", texts.len(), &texts[..texts.len().min(SHOWN)]);
    format!(
        "chat {chat}: missing {}, doubled {}, never said {}, out of order {disorder:?}",
        some(&missing),
        some(&doubled),
        some(&strange),
    )
}

/// Shows how what is out of order, and what follows the first gap, was published.
fn show_around(room: &Room, told: &[String], truth: &[String], events: &[Event]) {
    let place = |text: &String| truth.iter().position(|known| known == text);
    let disorder = told.windows(2).find(|pair| place(&pair[0]) > place(&pair[1]));
    let gap = truth.iter().position(|text| !told.contains(text));
    let after_gap = gap.and_then(|gap| truth.get(gap + 1));
    for text in disorder.into_iter().flatten().chain(after_gap) {
        let ours = |event: &&Event| {
            event.body["chat_id"] == room.spelling && event.body["text"] == text.as_str()
        };
        for event in events.iter().filter(ours) {
            let ago = event.at.elapsed().as_secs_f64();
            println!("!!   {ago:.1} s ago: {}", event.body);
        }
    }
}

/// Whoever lost its last session was told so, and nobody else was.
pub(super) fn check_exhaustions(backend: &Backend, cast: &Cast, complaints: &mut Complaints) {
    for room in &cast.rooms {
        let told = exhaustions(backend, room);
        if told != room.emptied {
            let (chat, emptied) = (&room.spelling, room.emptied);
            complaints
                .add(format!("chat {chat}: nobody was left {emptied} times, told {told} times"));
        }
    }
}

/// Each command was carried out.
pub(super) async fn check_orders(backend: &Backend, cast: &Cast, complaints: &mut Complaints) {
    for number in 1..=cast.orders() {
        let id = format!("order_{number}");
        comes_true(async || backend.outcome(&id).is_some()).await;
        match backend.outcome(&id) {
            Some(outcome) if outcome["ok"] == true => {}
            outcome => complaints.add(format!("command {number} has the outcome {outcome:?}")),
        }
    }
}

/// Nothing that Telegram would hold against an account.
pub(super) async fn check_violations(
    sim: &Simulator,
    figures: &mut Figures,
    complaints: &mut Complaints,
) {
    let stats = sim.stats().await;
    for line in &stats.violations_told {
        println!("!!   {line}");
    }
    // They say what a count that surprises may come from.
    for line in &stats.calls_excused {
        println!("excused: {line}");
    }
    figures.excused = stats.calls_excused.len();
    for (name, count) in stats.violations {
        figures.violations += count;
        if count > 0 {
            complaints.add(format!("violation {name}: {count} times"));
        }
    }
}

/// Everybody listens and nobody is still about to.
pub(super) async fn check_nobody_is_stuck(
    daemon: &Daemon,
    cast: &Cast,
    complaints: &mut Complaints,
) {
    let rooms = cast.rooms.len() as u64;
    let mut last = Value::Null;
    let settled = comes_true(async || {
        let Ok((_, health)) = daemon.get("/health").await else { return false };
        let count = |what: &str, state: &str| health[what]["by_state"][state].as_u64().unwrap_or(0);
        let good = count("monitors", "active") == rooms
            && count("accounts", "connecting") + count("accounts", "reconnecting") == 0
            && health["outbox"]["depth"] == 0;
        last = health;
        good
    });
    if !settled.await {
        complaints.add(format!("somebody is stuck: {last:#}"));
    }
}

/// It ends cleanly, and its store can be read, with nothing undone in it.
pub(super) async fn check_store(daemon: &mut Daemon, cast: &Cast, complaints: &mut Complaints) {
    let status = daemon.terminate().await;
    if status.code() != Some(0) {
        complaints.add(format!("SIGTERM ends it with {status}"));
    }
    let opened = Store::open(StoreOptions::new(daemon.store()));
    let (store, _outbox) = match opened {
        Ok(opened) => opened,
        Err(error) => return complaints.add(format!("the store does not open: {error}")),
    };
    match store.load() {
        Ok(snapshot) => {
            let placed = snapshot.monitors.iter().filter(|(_, cursor)| cursor.is_some()).count();
            let depth = store.stats().outbox_depth;
            if (placed, depth) != (cast.rooms.len(), 0) {
                complaints.add(format!("the store has {placed} cursors and {depth} events left"));
            }
        }
        Err(error) => complaints.add(format!("the store cannot be read: {error}")),
    }
    store.close().await.expect("the store closes");
}

/// Counts what was published.
pub(super) fn count(
    backend: &Backend,
    cast: &Cast,
    said: &HashMap<(usize, String), Instant>,
    figures: &mut Figures,
) {
    let places: HashMap<String, usize> = cast
        .rooms
        .iter()
        .enumerate()
        .map(|(index, room)| (room.spelling.to_string(), index))
        .collect();
    figures.said = said.len();
    backend.read(|events| {
        let mut seen = HashSet::new();
        for event in events {
            if !seen.insert(event.message_id.as_str()) {
                figures.repeated += 1;
            } else if event.kind == "access_lost" {
                figures.losses += 1;
            } else if event.kind == "incoming_telegram_message" {
                count_message(event, &places, said, figures);
            }
        }
    });
}

fn count_message(
    event: &Event,
    places: &HashMap<String, usize>,
    said: &HashMap<(usize, String), Instant>,
    figures: &mut Figures,
) {
    figures.published += 1;
    let place = places.get(&event.body["chat_id"].to_string());
    let text = event.body["text"].as_str();
    if let (Some(place), Some(text)) = (place, text)
        && let Some(at) = said.get(&(*place, text.to_owned()))
    {
        figures.longest_wait = figures.longest_wait.max(event.at.saturating_duration_since(*at));
    }
}
