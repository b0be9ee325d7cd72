//! Medians of all rounds and ratios, as Markdown.

use std::fmt::Write;

use crate::lists::Lists;
use crate::rate::{Rate, Rates};
use crate::waiting::Waiting;
use crate::{Extent, machine};

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) commit: String,
    /// Tasks that ran or waited to run in the minute before.
    pub(crate) load: String,
    pub(crate) extent: Extent,
    pub(crate) rates: Rates,
    pub(crate) waiting: Waiting,
    pub(crate) lists: Lists,
}

/// The whole report.
pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_all(&mut text, report);
    text
}

fn median(rounds: &[Rate], figure: impl Fn(&Rate) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn write_all(text: &mut String, report: &Report) -> std::fmt::Result {
    let Report { commit, load, extent, rates, waiting, lists } = report;
    writeln!(text, "Commit {commit}; {}; load before {load}.", machine::describe())?;
    writeln!(
        text,
        "{} accounts, {} people a campaign; medians of {} rounds. What the simulator saw that no client may do: {}.\n",
        extent.accounts, extent.people, extent.rounds, rates.violations
    )?;
    let of = |figure: fn(&Rate) -> f64| median(&rates.rounds, figure);
    let (daemon, bare) = (of(|rate| rate.daemon), of(|rate| rate.bare));
    let (daemon_cpu, bare_cpu) = (of(|rate| rate.daemon_cpu), of(|rate| rate.bare_cpu));
    let ratio = of(|rate| rate.daemon / rate.bare);
    let waits = waiting.after_kib.saturating_sub(waiting.before_kib);
    let each = waits as f64 * 1024.0 / waiting.targets.max(1) as f64;
    writeln!(text, "| | measured |\n|---|---|")?;
    writeln!(
        text,
        "| people looked up and written to, a second (daemon / bare loop) | {daemon:.0} / {bare:.0} ({ratio:.2}) |"
    )?;
    writeln!(text, "| CPU µs a person (daemon / bare loop) | {daemon_cpu:.0} / {bare_cpu:.0} |")?;
    writeln!(
        text,
        "| the same with {} campaigns acting: people a second, CPU µs each | {:.0}, {:.0} |",
        extent.campaigns, waiting.actions, waiting.action_cpu
    )?;
    writeln!(
        text,
        "| bookkeeping: CPU µs a person above the bare loop | {:.0} |",
        waiting.action_cpu - bare_cpu
    )?;
    writeln!(
        text,
        "| memory of a target that waits, bytes ({} targets, {} → {} KiB) | {each:.0} |",
        waiting.targets, waiting.before_kib, waiting.after_kib
    )?;
    writeln!(
        text,
        "| start until all is there, seconds: without campaigns, with {} | {:.2}, {:.2} |",
        extent.campaigns, waiting.empty_start, waiting.full_start
    )?;
    writeln!(text, "| targets added a second, 1,000 a request | {:.0} |", lists.added)?;
    writeln!(
        text,
        "| a page of 100 of {} targets, ms: the first, one in the middle | {:.1}, {:.1} |",
        lists.long, lists.first_page, lists.later_page
    )?;
    writeln!(text, "| rows a second of a CSV file with {} | {:.0} |", lists.rows, lists.imported)
}
