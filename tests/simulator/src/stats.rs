//! Counters of everything worth knowing about a run, and their JSON shape.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::world::World;

/// Running totals since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: u64,
    pub(crate) connections_total: u64,
    pub(crate) updates_sent: u64,
    pub(crate) updates_withheld: u64,
    pub(crate) handshakes: u64,
    pub(crate) sends_accepted: u64,
    pub(crate) sends_repeated: u64,
    pub(crate) sends_timed: u64,
    pub(crate) sends_time: Duration,
    pub(crate) load_sent: u64,
    pub(crate) load_running: bool,
    pub(crate) methods: BTreeMap<&'static str, u64>,
    pub(crate) unknown_methods: BTreeMap<String, u64>,
    pub(crate) protocol_errors: BTreeMap<String, u64>,
}

/// What `GET /stats` answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stats {
    /// Seed this run replays from.
    pub seed: u64,
    /// Accounts that exist.
    pub accounts: u64,
    /// Chats that exist.
    pub chats: u64,
    /// TCP connections now.
    pub connections: u64,
    /// TCP connections ever accepted.
    pub connections_total: u64,
    /// Key exchanges completed.
    pub handshakes: u64,
    /// Updates queued for clients.
    pub updates_sent: u64,
    /// Updates not sent because of a fault or a reader that is too slow.
    pub updates_withheld: u64,
    /// New messages that clients sent.
    pub sends_accepted: u64,
    /// Sends whose `random_id` was accepted before.
    pub sends_repeated: u64,
    /// Calls of `messages.sendMessage` that were timed, whatever came of them. Those that a fault
    /// delayed are left out.
    pub send_handling_count: u64,
    /// How long those took in all, in microseconds, from the request decrypted to the answer queued.
    pub send_handling_micros: u64,
    /// Attempts to reach a person that the books have no room for any more.
    #[serde(default)]
    pub attempts_unkept: u64,
    /// Messages posted by the load generator.
    pub load_sent: u64,
    /// Whether the last load has run to its end (also true before any).
    pub load_done: bool,
    /// CPU time this process used, in seconds.
    pub cpu_seconds: f64,
    /// Calls by method.
    pub methods: BTreeMap<String, u64>,
    /// Calls the simulator does not know.
    pub unknown_methods: BTreeMap<String, u64>,
    /// Connections given up because what came over them was not MTProto, by reason.
    pub protocol_errors: BTreeMap<String, u64>,
    /// What no client must ever do; see the `violations` module.
    pub violations: BTreeMap<String, u64>,
    /// A line for each of the first 100 violations: whose it is, when and where.
    pub violations_told: Vec<String>,
    /// A line for each of the first 100 calls that were made during a flood wait of which the
    /// client cannot be shown to have heard.
    pub calls_excused: Vec<String>,
    /// How often faults struck, by name: the kind, the error without its number, or `delay`.
    pub faults_struck: BTreeMap<String, u64>,
}

impl World {
    pub(crate) fn stats(&self, seed: u64) -> Stats {
        let counters = &self.counters;
        Stats {
            seed,
            accounts: self.users.len() as u64,
            chats: (self.channels.len() + self.groups.len()) as u64,
            connections: counters.connections,
            connections_total: counters.connections_total,
            handshakes: counters.handshakes,
            updates_sent: counters.updates_sent,
            updates_withheld: counters.updates_withheld,
            sends_accepted: counters.sends_accepted,
            sends_repeated: counters.sends_repeated,
            send_handling_count: counters.sends_timed,
            send_handling_micros: counters.sends_time.as_micros() as u64,
            attempts_unkept: self.books.lost,
            load_sent: counters.load_sent,
            load_done: !counters.load_running,
            cpu_seconds: cpu_seconds(),
            methods: counters.methods.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
            unknown_methods: counters.unknown_methods.clone(),
            protocol_errors: counters.protocol_errors.clone(),
            violations: self.violations.counts(),
            violations_told: self.violations.lines(),
            calls_excused: self.violations.excused(),
            faults_struck: self.faults.struck(),
        }
    }
}

/// User and system time of this process; 0 where `/proc` is missing.
fn cpu_seconds() -> f64 {
    /// The kernel reports clock ticks of 10 ms to programs.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command name may hold spaces; fields are counted from behind its closing bracket.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}
