//! What is right and what is wrong about a run, by what it left behind. Pure, so that it can be
//! shown on made-up runs that each of them can find fault.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::support::Event;

/// Of what is missing this much is shown.
const SHOWN: usize = 12;
/// What an outage sent twice may come this much later, for the first time or again.
const SLACK: Duration = Duration::from_secs(2);

/// A time in which the daemon or the broker was gone, or on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    pub(super) from: Instant,
    pub(super) to: Instant,
}

/// Every message once and in order.
pub(super) fn messages(chat: &Value, told: &[String], truth: &[String]) -> Option<String> {
    if told == truth {
        return None;
    }
    let (known, wanted): (HashSet<_>, HashSet<_>) = (told.iter().collect(), truth.iter().collect());
    let missing: Vec<_> = truth.iter().filter(|text| !known.contains(text)).collect();
    let strange: Vec<_> = told.iter().filter(|text| !wanted.contains(text)).collect();
    let mut seen = HashSet::new();
    let doubled: Vec<_> = told.iter().filter(|text| !seen.insert(*text)).collect();
    let disorder = disorder(told, truth);
    let some =
        |texts: &[&String]| format!("{} {:?}", texts.len(), &texts[..texts.len().min(SHOWN)]);
    Some(format!(
        "chat {chat}: missing {}, doubled {}, never said {}, out of order {disorder:?}",
        some(&missing),
        some(&doubled),
        some(&strange),
    ))
}

/// The first two neighbours that were told the wrong way round.
pub(super) fn disorder<'a>(told: &'a [String], truth: &[String]) -> Option<&'a [String]> {
    let places: HashMap<&String, usize> =
        truth.iter().enumerate().map(|(place, text)| (text, place)).collect();
    told.windows(2).find(|pair| places.get(&pair[0]) > places.get(&pair[1]))
}

/// The same event comes again only where the daemon or the broker was interrupted: between its
/// first delivery and the next one lies an outage.
pub(super) fn repetitions(events: &[Event], outages: &[Outage]) -> Option<String> {
    let mut last: HashMap<&str, Instant> = HashMap::new();
    let mut groundless = Vec::new();
    for event in events {
        let Some(before) = last.insert(&event.message_id, event.at) else { continue };
        let is_due = |out: &Outage| out.to + SLACK >= before && out.from <= event.at;
        if !outages.iter().any(is_due) {
            groundless.push((&event.body, event.at.duration_since(before)));
        }
    }
    let (first, after) = groundless.first()?;
    let (count, ago) = (groundless.len(), after.as_secs_f64());
    Some(format!(
        "{count} events came again although nothing was interrupted, first, {ago:.3} s later, {first}"
    ))
}

/// Whoever lost its last session was told so as often as that happened.
pub(super) fn exhaustions(chat: &Value, emptied: usize, told: usize) -> Option<String> {
    (told != emptied)
        .then(|| format!("chat {chat}: nobody was left {emptied} times, told {told} times"))
}

/// A command was carried out.
pub(super) fn outcome(number: u32, outcome: Option<&Value>) -> Option<String> {
    let is_done = outcome.is_some_and(|outcome| outcome["ok"] == true);
    (!is_done).then(|| format!("command {number} has the outcome {outcome:?}"))
}

/// Nothing that Telegram would hold against an account; and somebody counted.
pub(super) fn violations(counts: &BTreeMap<String, u64>) -> Vec<String> {
    if counts.is_empty() {
        return vec!["nobody counted violations".to_owned()];
    }
    let broken = counts.iter().filter(|(_, count)| **count > 0);
    broken.map(|(name, count)| format!("violation {name}: {count} times")).collect()
}

/// Everybody listens, nobody is still about to, and no account is given up but those whose
/// sessions were ended. By `/health`.
pub(super) fn stuck(health: &Value, rooms: u64, ends: &[&str]) -> Option<String> {
    let count = |what: &str, state: &str| health[what]["by_state"][state].as_u64().unwrap_or(0);
    let of = |what: &str, states: &[&str]| states.iter().map(|state| count(what, state)).sum();
    let waiting: u64 =
        of("accounts", &["connecting", "reconnecting", "cooling_down", "limited", "paused"]);
    let troubled = health["accounts"]["troubled"].as_array();
    let is_parked = |account: &&Value| {
        account["state"] == "error" && !ends.iter().any(|end| account["error"] == **end)
    };
    let parked = troubled.into_iter().flatten().find(is_parked);
    let is_well = count("monitors", "active") == rooms
        && health["monitors"]["total"] == rooms
        && waiting == 0
        && parked.is_none()
        && health["outbox"]["depth"] == 0;
    (!is_well).then(|| format!("somebody is stuck: {health:#}"))
}

/// The store knows where every chat stands, and nothing is left to publish.
pub(super) fn store(cursors: usize, depth: u64, rooms: usize) -> Option<String> {
    ((cursors, depth) != (rooms, 0))
        .then(|| format!("the store has {cursors} cursors of {rooms} and {depth} events left"))
}

/// A long run is one in which everything went wrong at least once.
pub(super) fn variety(struck: &BTreeMap<String, u64>, needed: &[&str]) -> Vec<String> {
    let lacks = needed.iter().filter(|kind| struck.get(**kind).is_none_or(|count| *count == 0));
    lacks.map(|kind| format!("the run proves little: no {kind}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(texts: &str) -> Vec<String> {
        texts.chars().map(String::from).collect()
    }

    #[test]
    fn messages_that_are_missing_doubled_strange_or_out_of_order_are_found() {
        let chat = json!("@chat");
        let judge = |told: &str| messages(&chat, &texts(told), &texts("abcd"));
        assert_eq!(judge("abcd"), None);
        for (told, found) in [
            ("abd", "missing 1 [\"c\"]"),
            ("abc", "missing 1 [\"d\"]"),
            ("", "missing 4"),
            ("abbcd", "doubled 1 [\"b\"]"),
            ("abcdd", "doubled 1 [\"d\"]"),
            ("abxcd", "never said 1 [\"x\"]"),
            ("abdc", "out of order Some([\"d\", \"c\"])"),
        ] {
            let complaint = judge(told).unwrap();
            assert!(complaint.contains(found), "{told}: {complaint}");
        }
    }

    fn event(id: &str, at: Instant) -> Event {
        let (kind, message_id) = ("incoming_telegram_message".to_owned(), id.to_owned());
        let body = json!({ "text": id });
        Event { kind, message_id, body, properties: Default::default(), at }
    }

    #[test]
    fn a_repetition_needs_an_outage_between_the_two_deliveries() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let events = [event("a", at(100)), event("b", at(101)), event("a", at(110))];
        assert_eq!(repetitions(&events[..2], &[]), None);
        let outage = |from, to| Outage { from: at(from), to: at(to) };
        assert_eq!(repetitions(&events, &[outage(104, 105)]), None);
        assert_eq!(repetitions(&events, &[outage(90, 120)]), None);
        for outages in [vec![], vec![outage(80, 90)], vec![outage(111, 112)]] {
            let complaint = repetitions(&events, &outages).unwrap();
            assert!(complaint.starts_with("1 events came again"), "{complaint}");
        }
    }

    #[test]
    fn losses_that_are_not_told_or_told_too_often_are_found() {
        let chat = json!(-1);
        assert_eq!(exhaustions(&chat, 2, 2), None);
        assert!(exhaustions(&chat, 2, 1).is_some() && exhaustions(&chat, 0, 1).is_some());
    }

    #[test]
    fn a_command_without_a_good_outcome_is_found() {
        assert_eq!(outcome(1, Some(&json!({"ok": true}))), None);
        assert!(outcome(1, Some(&json!({"ok": false}))).is_some());
        assert!(outcome(1, None).is_some());
    }

    #[test]
    fn a_violation_is_found_and_so_is_a_simulator_that_counts_none() {
        let counts = |count| BTreeMap::from([("call_during_flood_wait".to_owned(), count)]);
        assert_eq!(violations(&counts(0)), Vec::<String>::new());
        assert_eq!(violations(&counts(2)), ["violation call_during_flood_wait: 2 times"]);
        assert_eq!(violations(&BTreeMap::new()).len(), 1);
    }

    #[test]
    fn whoever_is_stuck_is_found() {
        let well = json!({
            "accounts": {
                "by_state": {"active": 5, "error": 1},
                "troubled": [{"state": "error", "error": "SESSION_REVOKED"}],
            },
            "monitors": {"total": 3, "by_state": {"active": 3}},
            "outbox": {"depth": 0},
        });
        let judge = |health: &Value| stuck(health, 3, &["SESSION_REVOKED"]);
        assert_eq!(judge(&well), None);
        assert!(judge(&Value::Null).is_some());
        for (place, value) in [
            ("/accounts/by_state", json!({"reconnecting": 1})),
            ("/accounts/by_state", json!({"cooling_down": 1})),
            ("/accounts/troubled/0/error", json!("crash_loop")),
            ("/monitors/by_state", json!({"active": 2, "error": 1})),
            ("/monitors/total", json!(4)),
            ("/outbox/depth", json!(1)),
        ] {
            let mut health = well.clone();
            *health.pointer_mut(place).unwrap() = value;
            assert!(judge(&health).is_some(), "{place}");
        }
    }

    #[test]
    fn a_store_that_forgot_a_chat_or_keeps_events_is_found() {
        assert_eq!(store(3, 0, 3), None);
        assert!(store(2, 0, 3).is_some() && store(3, 1, 3).is_some());
    }

    #[test]
    fn a_run_in_which_something_never_went_wrong_is_found() {
        let struck = BTreeMap::from([("kills".to_owned(), 3), ("flood waits".to_owned(), 0)]);
        assert_eq!(variety(&struck, &["kills"]), Vec::<String>::new());
        assert_eq!(variety(&struck, &["kills", "flood waits", "bans"]).len(), 2);
    }
}
