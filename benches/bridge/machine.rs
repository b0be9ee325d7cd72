//! What the kernel knows about processes: CPU time and memory. Reads `/proc` and nothing else.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// The kernel reports ticks of 10 ms to programs, whatever its own are.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of all threads of a process, those that have ended included.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The command name may hold spaces; fields are counted from behind its closing bracket.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// CPU time that the whole machine has spent on anything.
pub(crate) fn cpu_of_all() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("no line")?;
    let fields: Vec<u32> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal.
    let busy = fields.iter().enumerate().filter(|(at, _)| ![3, 4].contains(at)).take(6);
    Ok(TICK * busy.map(|(_, ticks)| ticks).sum::<u32>())
}

/// Tasks that ran or waited to run, over the last minute.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Memory of a process, KiB.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) rss: u64,
    /// Resident and its own: what is not a file's.
    pub(crate) anonymous: u64,
}

/// Memory of a process now.
pub(crate) fn memory_of(pid: u32) -> Result<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).context("no such field")?;
        line.split_whitespace().nth(1).context("no value")?.parse().context("not a number")
    };
    Ok(Memory { rss: field("Rss:")?, anonymous: field("Anonymous:")? })
}

/// The most memory a process ever had resident, KiB.
pub(crate) fn peak_of(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak")?;
    line.split_whitespace().next().context("no value")?.parse().context("not a number")
}

/// What the machine is.
pub(crate) fn describe() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.unwrap_or_default().trim_matches([':', '\t', ' ']).to_owned();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cpus} CPUs ({model}), Linux {}", kernel.trim())
}
