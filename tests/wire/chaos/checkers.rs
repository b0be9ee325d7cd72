//! What must be so in the end, whatever went wrong: gathers what there is to judge, waits where
//! something may still be under way, and has it judged. The simulator's books are the truth.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use telewarden::store::{Store, StoreOptions};
use telewarden_simulator::Simulator;
use tokio::time::{Instant, sleep};

use super::cast::{Cast, Room};
use super::judges::{self, Outage};
use super::plan::ENDS;
use super::report::{Complaints, Figures};
use crate::support::{Backend, Daemon, Event, PATIENCE, texts_of};

/// How often an awaited state is looked at.
const POLL: Duration = Duration::from_millis(200);

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

/// Every message once and in order. Waits for what is missing.
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
        if let Some(complaint) = judges::messages(&room.spelling, &told, &truth) {
            complaints.add(complaint);
            backend.read(|events| show_around(room, &told, &truth, events));
        }
    }
}

/// What came after the last look is as it should be, too; and what came twice had a reason to.
pub(super) async fn check_late_comers(
    sim: &Simulator,
    backend: &Backend,
    cast: &Cast,
    outages: &[Outage],
    complaints: &mut Complaints,
) {
    if complaints.is_empty() {
        check_messages(sim, backend, cast, complaints).await;
    }
    complaints.extend(backend.read(|events| judges::repetitions(events, outages)));
}

/// Shows how what is out of order, and what follows the first gap, was published.
fn show_around(room: &Room, told: &[String], truth: &[String], events: &[Event]) {
    let disorder = judges::disorder(told, truth);
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
        complaints.extend(judges::exhaustions(&room.spelling, room.emptied, told));
    }
}

/// Each command was carried out.
pub(super) async fn check_orders(backend: &Backend, cast: &Cast, complaints: &mut Complaints) {
    for number in 1..=cast.orders() {
        let id = format!("order_{number}");
        comes_true(async || backend.outcome(&id).is_some()).await;
        complaints.extend(judges::outcome(number, backend.outcome(&id).as_ref()));
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
    figures.violations = stats.violations.values().sum();
    figures.struck.extend(stats.faults_struck);
    complaints.extend(judges::violations(&stats.violations));
}

/// Everybody listens and nobody is still about to.
pub(super) async fn check_nobody_is_stuck(
    daemon: &Daemon,
    cast: &Cast,
    complaints: &mut Complaints,
) {
    let rooms = cast.rooms.len() as u64;
    let mut last = Some("it does not answer".to_owned());
    let settled = comes_true(async || {
        let Ok((_, health)) = daemon.get("/health").await else { return false };
        last = judges::stuck(&health, rooms, &ENDS);
        last.is_none()
    });
    if !settled.await {
        complaints.extend(last);
    }
}

/// It ends cleanly, and its store can be read, with nothing undone in it.
pub(super) async fn check_store(daemon: &mut Daemon, cast: &Cast, complaints: &mut Complaints) {
    let status = daemon.terminate().await;
    if status.code() != Some(0) {
        complaints.add(format!("SIGTERM ends it with {status}"));
    }
    complaints.extend(find_fault_with_store(&daemon.store(), cast.rooms.len()).await);
}

async fn find_fault_with_store(path: &Path, rooms: usize) -> Option<String> {
    let (store, _outbox) = match Store::open(StoreOptions::new(path.to_owned())) {
        Ok(opened) => opened,
        Err(error) => return Some(format!("the store does not open: {error}")),
    };
    let found = match store.blocking().load() {
        Ok(snapshot) => {
            let placed = snapshot.monitors.iter().filter(|(_, cursor)| cursor.is_some()).count();
            judges::store(placed, store.blocking().stats().outbox_depth, rooms)
        }
        Err(error) => Some(format!("the store cannot be read: {error}")),
    };
    match store.close().await {
        Ok(()) => found,
        Err(error) => Some(format!("the store does not close: {error}")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_is_empty_or_in_pieces_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(find_fault_with_store(&path, 0).await, None);
        assert!(find_fault_with_store(&path, 1).await.is_some(), "a chat is not in it");
        for entry in std::fs::read_dir(&path).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                std::fs::write(file, "in pieces").unwrap();
            }
        }
        let complaint = find_fault_with_store(&path, 0).await.unwrap();
        assert!(complaint.contains("does not open"), "{complaint}");
    }
}
