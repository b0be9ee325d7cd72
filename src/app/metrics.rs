//! What `/metrics` tells: the histograms and counters of all parts, and what the status, the store
//! and the links say at the moment of asking. Names are fixed in the documentation; labels take few
//! values that the code knows.

use std::fmt;
use std::fs;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::health::{DaemonHealth, named};
use crate::actors::{Metrics, Status};
use crate::edge::amqp::BridgeStatus;
use crate::edge::http::{HttpMetrics, MetricsSource};
use crate::protocol::accounts::connection::AccountState;
use crate::store::Store;

/// See [`MetricsSource`].
pub(super) struct DaemonMetrics(Registry);

impl DaemonMetrics {
    /// Of all parts of a daemon.
    pub(super) fn new(
        metrics: &Metrics,
        store: &Store,
        bridge: Option<&BridgeStatus>,
        health: Arc<DaemonHealth>,
        http: &HttpMetrics,
    ) -> Self {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        http.register(&mut registry);
        store.register(&mut registry);
        if let Some(bridge) = bridge {
            bridge.publisher.register(&mut registry);
        }
        registry.register_collector(Box::new(Moment { health, bridge: bridge.cloned() }));
        Self(registry)
    }
}

impl MetricsSource for DaemonMetrics {
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

/// What is looked up when somebody asks.
struct Moment {
    health: Arc<DaemonHealth>,
    bridge: Option<BridgeStatus>,
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Moment")
    }
}

impl Collector for Moment {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = Out(encoder);
        self.tree(&mut out, self.health.status())?;
        self.store(&mut out)?;
        self.links(&mut out)?;
        let accounts = self.health.status().account_states().values().sum::<usize>();
        process(&mut out, accounts)
    }
}

impl Moment {
    fn tree(&self, out: &mut Out<'_>, status: &Status) -> fmt::Result {
        let (accounts, monitors) = (status.account_states(), status.monitor_states());
        let up = [AccountState::Active, AccountState::CoolingDown, AccountState::Limited];
        let up: usize = up.iter().filter_map(|state| accounts.get(state)).sum();
        out.gauge("telegram_sessions_active", "Sessions that are connected", up as f64)?;
        let accounts = accounts.into_iter().map(|(state, count)| (named(state), count as f64));
        out.gauges("telewarden_accounts", "Accounts by state", "state", accounts)?;
        let monitors = monitors.into_iter().map(|(state, count)| (named(state), count as f64));
        out.gauges("telewarden_monitors", "Chat monitors by state", "state", monitors)?;
        let waiting = status.members.waiting().into_iter();
        let waiting = waiting.map(|(kind, count)| (kind.to_owned(), count as f64));
        let help = "Messages that wait for actors, by kind of actor";
        out.gauges("telewarden_actor_messages_waiting", help, "kind", waiting)
    }

    fn store(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = self.health.store_stats();
        let age =
            stats.outbox_oldest_at.map_or(0, |oldest| (self.health.now().0 - oldest.0).max(0));
        let depth = stats.outbox_depth as f64;
        out.gauge("telewarden_outbox_depth", "Events that wait for the broker", depth)?;
        let help = "Bytes of the store that they take";
        out.gauge("telewarden_outbox_bytes", help, stats.outbox_bytes as f64)?;
        let help = "Bytes at which no more updates are taken (store.backlog_max_mb)";
        out.gauge("telewarden_outbox_bytes_max", help, self.health.backlog_max_bytes() as f64)?;
        let help = "How long the oldest of them has waited";
        out.gauge("telewarden_outbox_oldest_age_seconds", help, age as f64 / 1_000.0)?;
        out.gauge(
            "telewarden_store_bytes",
            "What the store takes on disk",
            stats.disk_bytes as f64,
        )?;
        let help = "Submissions that wait to become durable";
        out.gauge("telewarden_store_queue_depth", help, stats.waiting as f64)?;
        out.counter("telewarden_store_commits", "Commits", stats.commits)?;
        out.counter("telewarden_events_appended", "Events put into the outbox", stats.appended)
    }

    fn links(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(bridge) = &self.bridge else { return Ok(()) };
        let (publisher, consumer) = (bridge.publisher.snapshot(), bridge.consumer.snapshot());
        let help = "Messages handed to the broker, repetitions included";
        out.counter("telewarden_amqp_published", help, publisher.published)?;
        out.counter("telewarden_amqp_confirmed", "Messages it confirmed", publisher.confirmed)?;
        out.counter("telewarden_amqp_refused", "Messages it refused", publisher.nacked)?;
        let help = "Messages it returned because no queue took them";
        out.counter("telewarden_amqp_unroutable", help, publisher.unroutable)?;
        let help = "Replies to commands that were given up since the broker cannot take them";
        out.counter("telewarden_amqp_replies_dropped", help, publisher.replies_dropped)?;
        let help = "Commands acknowledged after their effect was durable";
        out.counter("telewarden_amqp_consumed", help, consumer.consumed)?;
        let help = "Commands put aside as not understood";
        out.counter("telewarden_amqp_dead_lettered", help, consumer.dead_lettered)
    }
}

/// What the process takes, under the names that every exporter uses.
fn process(out: &mut Out<'_>, accounts: usize) -> fmt::Result {
    let Some(resident) = resident_bytes() else { return Ok(()) };
    out.gauge("process_resident_memory_bytes", "Resident memory", resident)?;
    let help = "Resident memory divided by the accounts, what all share included";
    let each = resident / accounts.max(1) as f64;
    out.gauge("telewarden_memory_per_account_bytes", help, each)
}

/// From `/proc/self/statm`, whose second field counts pages (proc(5)).
fn resident_bytes() -> Option<f64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: `sysconf` reads a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * page as f64)
}

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, gauge.metric_type())?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Iterator<Item = (String, f64)>,
    ) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (value, number) in values {
            let gauge = ConstGauge::new(number);
            gauge.encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}
