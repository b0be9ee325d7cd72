//! Medians of all rounds, differences and ratios, as Markdown.

use std::fmt::Write;

use crate::connecting::Connecting;
use crate::machine;
use crate::once::Once;
use crate::queue::Waits;
use crate::sends::Pace;
use crate::stage::{Filling, Measured, Subject, USERS};

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) commit: String,
    /// Tasks that ran or waited to run in the minute before.
    pub(crate) load: String,
    pub(crate) seed: u64,
    pub(crate) filling: Filling,
    pub(crate) drives: Vec<Measured>,
    pub(crate) once: Once,
    pub(crate) waits: Vec<Waits>,
    pub(crate) connecting: Vec<Connecting>,
    pub(crate) violations: u64,
}

/// The whole report.
pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_all(&mut text, report);
    text
}

fn write_all(text: &mut String, report: &Report) -> std::fmt::Result {
    let Report { commit, load, seed, filling, violations, .. } = report;
    let machine = machine::describe();
    writeln!(text, "Commit {commit}; {machine}; load before {load}; seed {seed}.")?;
    writeln!(
        text,
        "{} accounts of {USERS} users, connected over HTTP in {:.1} s. What the simulator saw that \
         no client may do: {violations}.",
        filling.accounts, filling.seconds
    )?;
    sends(text, report)?;
    once(text, &report.once)?;
    waits(text, &report.waits)?;
    connecting(text, &report.connecting)?;
    memory(text, filling)
}

/// The median of one figure over the rounds.
fn median(all: &[&Measured], figure: impl Fn(&Measured) -> f64) -> f64 {
    let mut values: Vec<f64> = all.iter().map(|measured| figure(measured)).collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(last / 2) + at(last.div_ceil(2))) / 2.0
}

fn sends(text: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(text, "\n### A send, from the request leaving the client to the answer\n")?;
    writeln!(
        text,
        "Milliseconds; *net* is less the simulator's own handling. Daemon / bare library.\n"
    )?;
    writeln!(
        text,
        "| driven by | sends/s | median | net, added (ratio) | 99th percentile | added (ratio) | \
         CPU µs a send | of the simulator | of the client | commits a send, ms each | failed | \
         others' CPU |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    let mut paces: Vec<Pace> = Vec::new();
    for measured in &report.drives {
        let pace = measured.drive.pace;
        if !paces.iter().any(|known| name(*known) == name(pace)) {
            paces.push(pace);
        }
    }
    for pace in paces {
        let of = |subject| -> Vec<&Measured> {
            let is_wanted = |measured: &&Measured| {
                measured.subject == subject && name(measured.drive.pace) == name(pace)
            };
            report.drives.iter().filter(is_wanted).collect()
        };
        send_row(text, pace, &of(Subject::Daemon), &of(Subject::Bare))?;
    }
    Ok(())
}

fn name(pace: Pace) -> String {
    match pace {
        Pace::Rate(rate) => format!("{rate}/s"),
        Pace::Clients(1) => "1 client".to_owned(),
        Pace::Clients(count) => format!("{count} clients"),
    }
}

fn send_row(
    text: &mut String,
    pace: Pace,
    daemon: &[&Measured],
    bare: &[&Measured],
) -> std::fmt::Result {
    let both = |figure: &dyn Fn(&Measured) -> f64| (median(daemon, figure), median(bare, figure));
    let (rate, bare_rate) = both(&|measured| measured.driven.per_second());
    let (middle, bare_middle) = both(&|measured| measured.driven.median);
    let (net, bare_net) = both(&|measured| measured.driven.median - measured.handling);
    let (p99, bare_p99) = both(&|measured| measured.driven.p99);
    let (cpu, bare_cpu) = both(&|measured| measured.own_cpu);
    let (simulator, bare_simulator) = both(&|measured| measured.simulator_cpu);
    let (others, bare_others) = both(&|measured| measured.others * 100.0);
    let failed = |all: &[&Measured]| -> usize {
        all.iter().map(|measured| measured.driven.failed + measured.driven.not_offered).sum()
    };
    writeln!(
        text,
        "| {} | {rate:.0} / {bare_rate:.0} | {middle:.2} / {bare_middle:.2} | +{:.2} ({:.1}) | \
         {p99:.1} / {bare_p99:.1} | +{:.1} ({:.1}) | {cpu:.0} / {bare_cpu:.0} | \
         {simulator:.0} / {bare_simulator:.0} | {:.0} | {:.2}, {:.1} | {} / {} | \
         {others:.0} / {bare_others:.0} % |",
        name(pace),
        net - bare_net,
        net / bare_net,
        p99 - bare_p99,
        p99 / bare_p99,
        median(daemon, |measured| measured.client_cpu),
        median(daemon, |measured| measured.commits),
        median(daemon, |measured| measured.commit),
        failed(daemon),
        failed(bare),
    )
}

fn once(text: &mut String, once: &Once) -> std::fmt::Result {
    writeln!(text, "\n### Once each, with keys and clients that repeat themselves\n")?;
    writeln!(text, "| | |\n|---|---|")?;
    let Once { wanted, per_second, seconds, repeated, replayed, .. } = once;
    writeln!(text, "| messages, at {per_second:.0}/s for {seconds:.0} s | {wanted} |")?;
    writeln!(
        text,
        "| requests beyond the first; answered from the book | {repeated}; {replayed} |"
    )?;
    writeln!(text, "| **lost** | **{}** |\n| **doubled** | **{}** |", once.lost, once.doubled)?;
    writeln!(text, "| answers that contradict one another | {} |", once.contradicted)?;
    writeln!(text, "| never answered with success | {} |", once.failed)?;
    writeln!(
        text,
        "| answer, ms: median; 99th percentile; longest | {:.2}; {:.1}; {:.1} |",
        once.median, once.p99, once.max
    )?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    writeln!(text, "| CPU µs a message, of the daemon | {:.0} |", once.cpu)?;
    writeln!(
        text,
        "| resident MiB before; after | {:.1}; {:.1} |",
        mib(once.before_kib),
        mib(once.after_kib)
    )?;
    once.failures.iter().try_for_each(|failure| writeln!(text, "| refused once | {failure} |"))
}

fn waits(text: &mut String, all: &[Waits]) -> std::fmt::Result {
    writeln!(text, "\n### 100 sends at one moment, until each is answered, ms\n")?;
    writeln!(
        text,
        "| over accounts | bursts | one alone | median | 99th percentile | longest | failed |\n\
         |---|---|---|---|---|---|---|"
    )?;
    for waits in all {
        let Waits { accounts, bursts, alone, median, p99, max, failed } = waits;
        writeln!(
            text,
            "| {accounts} | {bursts} | {alone:.1} | {median:.1} | {p99:.1} | {max:.1} | {failed} |"
        )?;
    }
    Ok(())
}

fn connecting(text: &mut String, all: &[Connecting]) -> std::fmt::Result {
    writeln!(text, "\n### Connecting, from the first request until the status is `active`, ms\n")?;
    writeln!(
        text,
        "| by | at once | accounts | median | 99th percentile | longest | steps, medians | \
         Telegram's answers, in all | commits, ms each |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    for one in all {
        let step = |(name, took): &(&str, f64)| format!("{name} {took:.1}");
        let steps: Vec<String> = one.steps.iter().map(step).collect();
        writeln!(
            text,
            "| {} | {} | {} | {:.0} | {:.0} | {:.0} | {} | {:.1} | {:.1}, {:.1} |",
            one.way.words(),
            one.at_once,
            one.count,
            one.median,
            one.p99,
            one.max,
            steps.join(", "),
            one.telegram,
            one.commits,
            one.commit,
        )?;
    }
    Ok(())
}

fn memory(text: &mut String, filling: &Filling) -> std::fmt::Result {
    let Filling { accounts, empty_kib, idle_kib, bridge_empty_kib, bridge_idle_kib, .. } = *filling;
    let each = |empty: u64, idle: u64| (idle as f64 - empty as f64) / accounts as f64;
    let (own, bridge) = (each(empty_kib, idle_kib), each(bridge_empty_kib, bridge_idle_kib));
    writeln!(text, "\n### Resident KiB an idle account\n")?;
    writeln!(text, "| over HTTP | session of the bridge, with a monitor | ratio |\n|---|---|---|")?;
    writeln!(text, "| {own:.1} | {bridge:.1} | {:.2} |", own / bridge)
}
