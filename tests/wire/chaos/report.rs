//! What a run says in the end: its figures, and what is missing where.

use std::fmt;
use std::time::Duration;

/// The figures of a run.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) faults: u32,
    pub(super) kills: u32,
    pub(super) terminations: u32,
    pub(super) broker_stops: u32,
    pub(super) orders: u32,
    pub(super) said: usize,
    pub(super) published: usize,
    pub(super) repeated: usize,
    pub(super) losses: usize,
    pub(super) violations: u64,
    /// Calls during a flood wait of which the daemon may not have heard.
    pub(super) excused: usize,
    /// From a start of the daemon to its being ready.
    pub(super) longest_recovery: Duration,
    /// From a message's being said to its being published, outages and repairs included.
    pub(super) longest_wait: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("faults", self.faults.to_string()),
            ("kills", self.kills.to_string()),
            ("stops by SIGTERM", self.terminations.to_string()),
            ("broker stops", self.broker_stops.to_string()),
            ("commands", self.orders.to_string()),
            ("messages said", self.said.to_string()),
            ("messages published", self.published.to_string()),
            ("repeated deliveries", self.repeated.to_string()),
            ("losses of access told", self.losses.to_string()),
            ("longest recovery", format!("{:.1} s", self.longest_recovery.as_secs_f64())),
            ("longest wait of a message", format!("{:.1} s", self.longest_wait.as_secs_f64())),
            ("violations", self.violations.to_string()),
            ("calls in unheard waits", self.excused.to_string()),
        ];
        for (name, value) in rows {
            writeln!(out, "| {name:<26} | {value:>10} |")?;
        }
        Ok(())
    }
}

/// What is wrong; empty in a good run.
#[derive(Debug, Default)]
pub(super) struct Complaints(Vec<String>);

impl Complaints {
    pub(super) fn add(&mut self, text: String) {
        println!("!! {text}");
        self.0.push(text);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn expect_none(&self, seed: u64) {
        assert!(self.0.is_empty(), "seed {seed}: {}", self.0.join("\n"));
    }
}
