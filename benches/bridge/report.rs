//! Medians, spreads and ratios of all runs, as Markdown.

use std::fmt::Write;

use crate::machine::{self, Memory};
use crate::measure::{Latency, Measured};
use crate::processes::Kind;

type Figure = Box<dyn Fn(&Measured) -> f64>;

/// The whole report.
pub(crate) fn render(runs: &[Measured]) -> String {
    let mut text = format!("{}.\n", machine::describe());
    let mut sizes: Vec<usize> = runs.iter().map(|run| run.accounts).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for accounts in sizes {
        let of = |kind| -> Vec<&Measured> {
            runs.iter().filter(|run| run.accounts == accounts && run.kind == kind).collect()
        };
        table(&mut text, accounts, &of(Kind::Daemon), &of(Kind::BarePipe));
    }
    text
}

fn table(text: &mut String, accounts: usize, daemon: &[&Measured], pipe: &[&Measured]) {
    let runs = daemon.len().min(pipe.len());
    let _ = writeln!(text, "\n### {accounts} sessions, {runs} runs of each\n");
    let _ = writeln!(text, "| | daemon | bare pipe | daemon / bare |\n|---|---|---|---|");
    for (name, figure) in figures(daemon.first().copied()) {
        let (ours, theirs) = (Spread::of(daemon, &figure), Spread::of(pipe, &figure));
        let ratio = ours.ratio_to(&theirs, !name.contains("others"));
        let _ = writeln!(text, "| {name} | {ours} | {theirs} | {ratio} |");
    }
    for index in 0..2 {
        let added = |figure: fn(&Latency) -> f64| {
            let median = |runs: &[&Measured]| {
                Spread::of(runs, &|run: &Measured| run.latencies.get(index).map_or(0.0, figure))
                    .median
            };
            median(daemon) - median(pipe)
        };
        let rate = daemon.first().and_then(|run| run.latencies.get(index));
        let rate = rate.map_or(0.0, |latency| latency.per_second);
        let _ = writeln!(
            text,
            "\nAdded latency at {rate}/s: median {:.2} ms, 99th percentile {:.2} ms.",
            added(|latency| latency.median),
            added(|latency| latency.p99),
        );
    }
}

fn figures(example: Option<&Measured>) -> Vec<(String, Figure)> {
    let mut figures: Vec<(String, Figure)> = Vec::new();
    let mut add = |name: String, figure: Figure| figures.push((name, figure));
    add("confirmed events/s".into(), Box::new(|run| run.flood.per_second()));
    add("lost".into(), Box::new(|run| run.flood.lost as f64));
    add("CPU µs an event: subject".into(), Box::new(|run| run.flood.subject));
    add("CPU µs an event: broker".into(), Box::new(|run| run.flood.broker));
    add("CPU µs an event: simulator".into(), Box::new(|run| run.flood.simulator));
    add("CPU that others used meanwhile, %".into(), Box::new(|run| run.flood.others * 100.0));
    add("mean body, bytes".into(), Box::new(|run| run.body_bytes as f64));
    let latencies = example.map_or(&[][..], |run| &run.latencies);
    for (index, Latency { per_second, .. }) in latencies.iter().enumerate() {
        let of = move |run: &Measured, figure: fn(&Latency) -> f64| {
            run.latencies.get(index).map_or(f64::NAN, figure)
        };
        let name = format!("latency at {per_second}/s, ms: ");
        add(format!("{name}median"), Box::new(move |run| of(run, |latency| latency.median)));
        add(format!("{name}99th percentile"), Box::new(move |run| of(run, |latency| latency.p99)));
        let name = format!("CPU µs an event at {per_second}/s: subject");
        add(name, Box::new(move |run| of(run, |latency| latency.subject)));
    }
    let name = "RSS a session, KiB";
    add(format!("{name}: idle"), Box::new(|run| each(run, run.memory.idle)));
    add(
        format!("{name}: after 40 updates each"),
        Box::new(|run| each(run, run.memory.after_burst)),
    );
    let reconnected: Figure = Box::new(|run| each(run, run.memory.after_reconnects));
    add(format!("{name}: and two mass reconnects"), reconnected);
    add(format!("{name}: and a flood"), Box::new(|run| each(run, run.memory.at_end)));
    let empty: Figure = Box::new(|run| run.memory.empty.rss as f64 / 1024.0);
    add("RSS without sessions, MiB".into(), empty);
    figures
}

fn each(run: &Measured, memory: Memory) -> f64 {
    (memory.rss as f64 - run.memory.empty.rss as f64) / run.accounts as f64
}

/// Median, least and most.
pub(crate) struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// Of one figure of all runs.
    pub(crate) fn of<T>(runs: &[&T], figure: &dyn Fn(&T) -> f64) -> Self {
        let mut values: Vec<f64> = runs.iter().map(|run| figure(run)).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, least: at(0), most: at(last) }
    }

    /// The ratio of the medians, where it tells anything.
    pub(crate) fn ratio_to(&self, other: &Self, is_telling: bool) -> String {
        let ratio = self.median / other.median;
        if is_telling && ratio.is_finite() { format!("{ratio:.2}") } else { "—".to_owned() }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.most.abs() >= 100.0 { 0 } else { 2 };
        let Self { median, least, most } = self;
        if median.is_nan() {
            return write!(f, "—");
        }
        write!(f, "{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}
