//! What a run says in the end: its figures, and what is missing where.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The figures of a run.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) faults: u32,
    /// What really went wrong, and how often: what was done to the daemon, its broker, and its
    /// accounts, and at the simulator the faults that struck, by their names there.
    pub(super) struck: BTreeMap<String, u64>,
    pub(super) orders: u32,
    pub(super) said: usize,
    pub(super) published: usize,
    pub(super) repeated: usize,
    pub(super) losses: usize,
    pub(super) campaigns: usize,
    /// People whom they wrote to.
    pub(super) contacted: usize,
    pub(super) violations: u64,
    /// Calls during a flood wait of which the daemon may not have heard.
    pub(super) excused: usize,
    /// From a start of the daemon to its being ready.
    pub(super) longest_recovery: Duration,
    /// From a message's being said to its being published, outages and repairs included.
    pub(super) longest_wait: Duration,
}

impl Figures {
    /// Notes that something went wrong.
    pub(super) fn strike(&mut self, what: &str) {
        *self.struck.entry(what.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("faults", self.faults.to_string()),
            ("commands", self.orders.to_string()),
            ("messages said", self.said.to_string()),
            ("messages published", self.published.to_string()),
            ("repeated deliveries", self.repeated.to_string()),
            ("losses of access told", self.losses.to_string()),
            ("campaigns", self.campaigns.to_string()),
            ("people written to", self.contacted.to_string()),
            ("longest recovery", format!("{:.1} s", self.longest_recovery.as_secs_f64())),
            ("longest wait of a message", format!("{:.1} s", self.longest_wait.as_secs_f64())),
            ("violations", self.violations.to_string()),
            ("calls in unheard waits", self.excused.to_string()),
        ];
        for (name, value) in rows {
            writeln!(out, "| {name:<28} | {value:>10} |")?;
        }
        writeln!(out, "what struck, and how often:")?;
        for (name, count) in &self.struck {
            writeln!(out, "| {name:<28} | {count:>10} |")?;
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

    pub(super) fn extend(&mut self, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.add(text));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn expect_none(&self, seed: u64) {
        assert!(self.0.is_empty(), "seed {seed}: {}", self.0.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "seed 7: a message is missing")]
    fn a_run_with_a_complaint_fails_and_says_its_seed() {
        let mut complaints = Complaints::default();
        complaints.expect_none(7);
        complaints.extend(Some("a message is missing".to_owned()));
        complaints.expect_none(7);
    }

    #[test]
    fn the_table_says_what_struck() {
        let mut figures = Figures::default();
        figures.strike("kills");
        figures.strike("kills");
        let shown = figures.to_string();
        let row = shown.lines().find(|line| line.starts_with("| kills")).unwrap();
        assert_eq!(row.split('|').nth(2).unwrap().trim(), "2");
    }
}
