//! What sessions that fail all the time cost those that do not: the same healthy sessions without
//! and with them, again and again in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::http;
use crate::measure::{Flood, Latency, Plan, Stage};
use crate::processes::{Kind, Member, Places, Simulator};

/// Rate at which latencies are taken.
const PER_SECOND: f64 = 1_000.0;
/// Pause between two cuts of the connections that are cut all the time.
const CUT_EVERY: Duration = Duration::from_millis(500);
/// Until those that fail are in full swing.
const TURN: Duration = Duration::from_secs(6);
/// After all of them are back.
const CALM: Duration = Duration::from_secs(3);

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) healthy: usize,
    pub(crate) failing: usize,
    /// Times without and with.
    pub(crate) rounds: usize,
    pub(crate) flood_seconds: f64,
    pub(crate) latency_seconds: f64,
}

/// One look at the healthy sessions.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Look {
    pub(crate) kind: Kind,
    /// Whether the others were failing.
    pub(crate) beside: bool,
    pub(crate) flood: Flood,
    pub(crate) latency: Latency,
    /// Connections that the failing sessions opened meanwhile.
    pub(crate) connections: u64,
}

/// Does a run.
pub(crate) fn run(
    runtime: &Arc<Runtime>,
    places: &Places,
    kind: Kind,
    extent: Extent,
) -> Result<Vec<Look>> {
    let Extent { healthy, failing, flood_seconds, latency_seconds, .. } = extent;
    let plan = Plan { kind, accounts: healthy, flood_seconds, latency_seconds, half_rate: None };
    let mut stage = Stage::set(runtime, places, &plan)?;
    // Where access is lost, the daemon says so in an event.
    stage.extras = true;
    let quiet = (0..failing).map(|number| stage.simulator.add_quiet_member(healthy + number));
    let quiet = quiet.collect::<Result<Vec<Member>>>()?;
    let ids: Vec<i64> = quiet.iter().map(|member| member.user_id).collect();
    stage.members.extend(quiet);
    stage.subject.listen(&stage.members, &stage.broker)?;
    let mut looks = Vec::new();
    for round in 0..extent.rounds * 2 {
        let beside = round % 2 == 1;
        let disturber = if beside { Some(Disturber::start(&stage.simulator, &ids)?) } else { None };
        if beside {
            std::thread::sleep(TURN);
        } else if round > 0 {
            stage.subject.wait_for_return(&stage.simulator, 0, (healthy + failing) as u64)?;
            std::thread::sleep(CALM);
        }
        let before = connections(&stage.simulator)?;
        let flood = stage.flood()?;
        let (latencies, _) = stage.latencies(&[PER_SECOND])?;
        let connections = connections(&stage.simulator)? - before;
        drop(disturber);
        let latency = latencies.into_iter().next();
        looks.extend(latency.map(|latency| Look { kind, beside, flood, latency, connections }));
    }
    stage.strike()?;
    Ok(looks)
}

fn connections(simulator: &Simulator) -> Result<u64> {
    Ok(simulator.stats()?["connections_total"].as_u64().unwrap_or(0))
}

/// Makes sessions fail until it is dropped: a third has every connection reset, a third every call,
/// and a third gets its connections cut as soon as they are there.
struct Disturber {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    control: std::net::SocketAddr,
}

impl Disturber {
    fn start(simulator: &Simulator, ids: &[i64]) -> Result<Self> {
        let control = simulator.control();
        let (by_fault, by_cut) = ids.split_at(ids.len() * 2 / 3);
        let cut = move |id: &i64| {
            http::post(control, &format!("/accounts/{id}/disconnect"), &Value::Null)
        };
        for (number, id) in by_fault.iter().enumerate() {
            let fault = match number % 2 {
                0 => json!({ "user_id": id, "kind": "refuse_connections" }),
                _ => json!({ "user_id": id, "kind": "reset", "method": "*" }),
            };
            http::post(control, "/faults", &fault)?;
            cut(id)?;
        }
        let is_over = Arc::<AtomicBool>::default();
        let (flag, by_cut) = (Arc::clone(&is_over), by_cut.to_vec());
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                for id in &by_cut {
                    // The simulator may be gone already.
                    let _ = cut(id);
                }
                std::thread::sleep(CUT_EVERY);
            }
        });
        Ok(Self { is_over, thread: Some(thread), control })
    }
}

impl Drop for Disturber {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Neither failing changes what was measured.
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
        let _ = http::delete(self.control, "/faults");
    }
}
