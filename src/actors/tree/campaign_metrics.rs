//! What campaigns count. The names are the contract's, which other programs know: three of them count up without the
//! `_total` that OpenMetrics gives to counters, and are gauges for that alone.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metrics::Depth;

/// Upper bounds of how long a campaign took, seconds: from a minute to a month.
const TASK_BUCKETS: [f64; 9] =
    [60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0, 1_209_600.0, 2_592_000.0];

/// The messengers that there are: labels are of the code, never of a request.
const TELEGRAM: &str = "telegram";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Platform {
    platform: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    platform: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    platform: &'static str,
    result: &'static str,
}

/// The counters of campaigns.
#[derive(Debug)]
pub(in crate::actors) struct CampaignMetrics {
    tasks: Family<Status, Counter>,
    targets: Family<Outcome, Gauge>,
    blocked: Family<Platform, Gauge>,
    waits: Family<Platform, Gauge>,
    durations: Family<Platform, Histogram>,
    active: Family<Platform, Gauge>,
}

impl Default for CampaignMetrics {
    fn default() -> Self {
        Self {
            tasks: Family::default(),
            targets: Family::default(),
            blocked: Family::default(),
            waits: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(TASK_BUCKETS)),
            active: Family::default(),
        }
    }
}

impl CampaignMetrics {
    /// A campaign came to a status.
    pub(in crate::actors) fn became(&self, status: &'static str) {
        self.tasks.get_or_create(&Status { platform: TELEGRAM, status }).inc();
    }

    /// A target came to its end.
    pub(in crate::actors) fn processed(&self, result: &'static str) {
        self.targets.get_or_create(&Outcome { platform: TELEGRAM, result }).inc();
    }

    /// An account was limited or blocked while it acted for a campaign.
    pub(in crate::actors) fn account_blocked(&self) {
        self.blocked.get_or_create(&Platform { platform: TELEGRAM }).inc();
    }

    /// The messenger has an account wait.
    pub(in crate::actors) fn waited(&self) {
        self.waits.get_or_create(&Platform { platform: TELEGRAM }).inc();
    }

    /// A campaign came to its end, so long after it had started.
    pub(in crate::actors) fn took(&self, duration: Duration) {
        let of = Platform { platform: TELEGRAM };
        self.durations.get_or_create(&of).observe(duration.as_secs_f64());
    }

    /// One campaign, counted as running from now on as long as what is returned says so.
    pub(in crate::actors) fn active(&self) -> Depth {
        Depth::of(self.active.get_or_create_owned(&Platform { platform: TELEGRAM }))
    }

    /// Registers all of them.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("invite_tasks", "Campaigns that came to a status", self.tasks.clone());
        registry.register(
            "invite_targets_processed",
            "Targets of campaigns for whom nothing follows any more, since the start",
            self.targets.clone(),
        );
        registry.register(
            "invite_accounts_blocked",
            "Times an account was limited or blocked while it acted for a campaign, since the start",
            self.blocked.clone(),
        );
        registry.register(
            "invite_floodwait_events",
            "Times an account had to wait (FLOOD_WAIT) while it acted for a campaign, since the start",
            self.waits.clone(),
        );
        registry.register(
            "invite_task_duration_seconds",
            "How long campaigns took from their first start to their end",
            self.durations.clone(),
        );
        registry.register("invite_active_tasks", "Campaigns that are running", self.active.clone());
    }
}
