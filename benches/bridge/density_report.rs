//! The density benchmark's figures as Markdown.

use std::fmt::Write;

use crate::density::{Backlog, Density};
use crate::machine::{self, Memory};
use crate::neighbours::Look;
use crate::processes::Kind;
use crate::report::Spread;

type Figure<T> = fn(&T) -> f64;

/// The whole report.
pub(crate) fn render(runs: &[Density], looks: &[Look]) -> String {
    let mut text = format!("{}.\n", machine::describe());
    let of = |kind| -> Vec<&Density> { runs.iter().filter(|run| run.kind == kind).collect() };
    density_table(&mut text, &of(Kind::Daemon), &of(Kind::BarePipe));
    backlog_table(&mut text, &of(Kind::Daemon));
    if !looks.is_empty() {
        neighbours_table(&mut text, looks);
    }
    troubles(&mut text, runs);
    text
}

const DENSITY: [(&str, Figure<Density>); 12] = [
    ("all connected after a start with nothing stored, s", |run| taken(run.connected)),
    ("RSS a session, KiB: idle", |run| each(run, run.idle)),
    ("RSS a session, KiB: after 40 updates each", |run| each(run, run.after_burst)),
    ("RSS a session, KiB: and two storms of reconnects", |run| each(run, run.after_storms)),
    ("RSS without sessions, MiB", |run| {
        run.empty.map_or(f64::NAN, |memory| memory.rss as f64 / 1024.0)
    }),
    ("CPU at rest, ms a second", |run| taken(run.rest_cpu)),
    ("CPU that others used meanwhile, %", |run| taken(run.rest_others) * 100.0),
    ("first storm: all back after, s", |run| storm(run, 0)),
    ("second storm: all back after, s", |run| storm(run, 1)),
    ("SIGTERM: ended after, s", |run| taken(run.stop)),
    ("… started again: all back after, s", |run| taken(run.back_after_stop)),
    ("kill -9, started again: all back after, s", |run| taken(run.back_after_kill)),
];

const BACKLOG: [(&str, Figure<Backlog>); 8] = [
    ("events in the store", |backlog| backlog.events as f64),
    ("made in, s", |backlog| backlog.made),
    ("most memory of the process that took them in, MiB", |backlog| mib(backlog.peak_before)),
    ("first event at the broker after, s", |backlog| backlog.first_event),
    ("all sessions connected after, s", |backlog| backlog.connected),
    ("backlog drained after, s", |backlog| backlog.drained),
    ("drained events/s", |backlog| backlog.events as f64 / (backlog.drained - backlog.first_event)),
    ("most memory of the process that was started with them, MiB", |backlog| mib(backlog.peak)),
];

const NEIGHBOURS: [(&str, Figure<Look>); 7] = [
    ("confirmed events/s", |look| look.flood.per_second()),
    ("lost", |look| look.flood.lost as f64),
    ("CPU µs an event in a flood", |look| look.flood.subject),
    ("latency at 1,000/s, ms: median", |look| look.latency.median),
    ("latency at 1,000/s, ms: 99th percentile", |look| look.latency.p99),
    ("CPU µs an event at 1,000/s", |look| look.latency.subject),
    ("connections opened meanwhile", |look| look.connections as f64),
];

fn density_table(text: &mut String, daemon: &[&Density], pipe: &[&Density]) {
    let sessions = daemon.iter().chain(pipe).map(|run| run.sessions).max().unwrap_or(0);
    let runs = daemon.len().min(pipe.len());
    let _ = writeln!(text, "\n### {sessions} sessions in one process, {runs} runs of each\n");
    let _ = writeln!(text, "| | daemon | bare pipe | daemon / bare |\n|---|---|---|---|");
    for (name, figure) in DENSITY {
        let (ours, theirs) = (Spread::of(daemon, &figure), Spread::of(pipe, &figure));
        let ratio = ours.ratio_to(&theirs, !name.contains("others"));
        let _ = writeln!(text, "| {name} | {ours} | {theirs} | {ratio} |");
    }
}

fn backlog_table(text: &mut String, daemon: &[&Density]) {
    let backlogs: Vec<&Backlog> = daemon.iter().filter_map(|run| run.backlog.as_ref()).collect();
    if backlogs.is_empty() {
        return;
    }
    let _ =
        writeln!(text, "\n### Killed and started again with a backlog, {} runs\n", backlogs.len());
    let _ = writeln!(text, "| | daemon |\n|---|---|");
    for (name, figure) in BACKLOG {
        let _ = writeln!(text, "| {name} | {} |", Spread::of(&backlogs, &figure));
    }
}

fn neighbours_table(text: &mut String, looks: &[Look]) {
    let _ =
        writeln!(text, "\n### Healthy sessions without and beside others that fail all the time\n");
    let _ = writeln!(
        text,
        "| | daemon, without | beside | ratio | bare pipe, without | beside | ratio |\n\
         |---|---|---|---|---|---|---|"
    );
    for (name, figure) in NEIGHBOURS {
        let _ = write!(text, "| {name} ");
        for kind in [Kind::Daemon, Kind::BarePipe] {
            let of = |beside: bool| -> Vec<&Look> {
                looks.iter().filter(|look| look.kind == kind && look.beside == beside).collect()
            };
            let (without, beside) =
                (Spread::of(&of(false), &figure), Spread::of(&of(true), &figure));
            let ratio = beside.ratio_to(&without, !name.starts_with("connections"));
            let _ = write!(text, "| {without} | {beside} | {ratio} ");
        }
        let _ = writeln!(text, "|");
    }
}

fn troubles(text: &mut String, runs: &[Density]) {
    for run in runs {
        for trouble in &run.troubles {
            let _ = writeln!(text, "\n**Trouble**, {:?}: {trouble}", run.kind);
        }
    }
    let Some(run) = runs.iter().rev().find(|run| !run.log.is_empty()) else { return };
    let _ = writeln!(text, "\nWhat the daemon logged most in its last run:\n");
    for line in &run.log {
        let _ = writeln!(text, "- {line}");
    }
}

fn taken(figure: Option<f64>) -> f64 {
    figure.unwrap_or(f64::NAN)
}

fn storm(run: &Density, index: usize) -> f64 {
    taken(run.storms.get(index).copied())
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn each(run: &Density, memory: Option<Memory>) -> f64 {
    let (Some(memory), Some(empty)) = (memory, run.empty) else { return f64::NAN };
    (memory.rss as f64 - empty.rss as f64) / run.sessions as f64
}
