//! What the tree counts. Owns the numbers and their names; never decides. Labels take few values
//! that the code knows: no account, chat or user is ever one.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::campaign_metrics::CampaignMetrics;
use crate::protocol::telegram::pacing::MethodClass;
use crate::telegram::CallMetrics;

/// Upper bounds of how long a connection lasted, seconds: from a failed start to a week.
const SESSION_BUCKETS: [f64; 9] =
    [10.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// What became of a delivery to a webhook, or of an attempt at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum HookOutcome {
    /// It arrived.
    Delivered,
    /// An attempt failed, and another one follows.
    Failed,
    /// It was given up after its last attempt.
    GivenUp,
    /// The endpoint answered that it is gone.
    Gone,
    /// It was given up because too many waited.
    Overflowed,
    /// It was given up before, and is now forgotten for newer ones.
    Discarded,
}

impl HookOutcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
            Self::Gone => "gone",
            Self::Overflowed => "overflowed",
            Self::Discarded => "discarded",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookLabel {
    outcome: &'static str,
}

/// What a look at a chat's history came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Check {
    /// Nothing was missing.
    Whole,
    /// Something was.
    Gap,
    /// History could not be read.
    Failed,
}

/// The counters.
#[derive(Debug)]
pub struct Metrics {
    /// Telegram's answers.
    pub calls: CallMetrics,
    /// Campaigns.
    pub(in crate::actors) campaigns: CampaignMetrics,
    gaps: Counter,
    filled: Counter,
    unfillable: Counter,
    caught_up: Counter,
    checks: Family<Outcome, Counter>,
    overflows: Counter,
    restarts: Family<Kind, Counter>,
    parked: Family<Kind, Counter>,
    drops: Family<Reason, Counter>,
    depths: Family<Kind, Gauge>,
    waits: Family<Class, Counter>,
    sessions: Histogram,
    sent: Counter,
    hooked: Family<HookLabel, Counter>,
    hook_backlog: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: CallMetrics::default(),
            campaigns: CampaignMetrics::default(),
            gaps: Counter::default(),
            filled: Counter::default(),
            unfillable: Counter::default(),
            caught_up: Counter::default(),
            checks: Family::default(),
            overflows: Counter::default(),
            restarts: Family::default(),
            parked: Family::default(),
            drops: Family::default(),
            depths: Family::default(),
            waits: Family::default(),
            sessions: Histogram::new(SESSION_BUCKETS),
            sent: Counter::default(),
            hooked: Family::default(),
            hook_backlog: Gauge::default(),
        }
    }
}

impl Metrics {
    /// History brought messages that should have come live; `is_new` when they are the first of
    /// their gap.
    pub(in crate::actors) fn filled(&self, messages: usize, is_new: bool) {
        self.gaps.inc_by(u64::from(is_new));
        self.filled.inc_by(messages as u64);
    }

    /// History brought messages from a time in which the session did not listen.
    pub(in crate::actors) fn caught_up(&self, messages: usize) {
        self.caught_up.inc_by(messages as u64);
    }

    /// Something may have been missed that nobody can tell us any more.
    pub(in crate::actors) fn gap_unfillable(&self) {
        self.gaps.inc();
        self.unfillable.inc();
    }

    /// A chat was compared with its history.
    pub(in crate::actors) fn checked(&self, check: Check) {
        let result = match check {
            Check::Whole => "whole",
            Check::Gap => "gap",
            Check::Failed => "failed",
        };
        self.checks.get_or_create(&Outcome { result }).inc();
    }

    /// The library dropped updates.
    pub(in crate::actors) fn overflowed(&self) {
        self.overflows.inc();
    }

    /// An actor crashed.
    pub(in crate::actors) fn crashed(&self, kind: &'static str, is_parked: bool) {
        self.restarts.get_or_create(&Kind { kind }).inc();
        if is_parked {
            self.parked.get_or_create(&Kind { kind }).inc();
        }
    }

    /// A link that was up was given up from our side.
    pub(in crate::actors) fn link_dropped(&self, reason: &'static str) {
        self.drops.get_or_create(&Reason { reason }).inc();
    }

    /// A queue of this kind, counted from now on as long as what is returned lives.
    pub(in crate::actors) fn depth(&self, kind: &'static str) -> Depth {
        Depth { gauge: self.depths.get_or_create_owned(&Kind { kind }), counted: 0 }
    }

    /// Telegram asked to wait.
    pub(in crate::actors) fn waited(&self, class: MethodClass) {
        self.waits.get_or_create(&Class { class: class.name() }).inc();
    }

    /// A connection ended that had been up.
    pub(in crate::actors) fn session_ended(&self, lasted: Duration) {
        self.sessions.observe(lasted.as_secs_f64());
    }

    /// Telegram took a message.
    pub(in crate::actors) fn sent(&self) {
        self.sent.inc();
    }

    /// Something became of a delivery to a webhook.
    pub(in crate::actors) fn hooked(&self, outcome: HookOutcome) {
        self.hooked.get_or_create(&HookLabel { outcome: outcome.name() }).inc();
    }

    /// What waits for one endpoint, counted from now on as long as what is returned lives.
    pub(in crate::actors) fn hook_backlog(&self) -> Depth {
        Depth { gauge: self.hook_backlog.clone(), counted: 0 }
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        self.register_calls(registry);
        self.register_holes(registry);
        self.register_actors(registry);
        self.register_hooks(registry);
        self.campaigns.register(registry);
    }

    /// What Telegram took and what it answered.
    fn register_calls(&self, registry: &mut Registry) {
        registry.register(
            "telegram_messages_sent",
            "Messages that Telegram took from accounts of this daemon",
            self.sent.clone(),
        );
        self.calls.register(registry);
        registry.register(
            "telewarden_telegram_waits",
            "Waits that Telegram asked for (FLOOD_WAIT and its like)",
            self.waits.clone(),
        );
    }

    /// What was missing of the chats, and what became of it.
    fn register_holes(&self, registry: &mut Registry) {
        registry.register(
            "telewarden_gaps_found",
            "Holes in what a chat told while it was listened to: ids left out, updates dropped or too \
             long, or found by comparing with history. What was said while the session was away is \
             none",
            self.gaps.clone(),
        );
        registry.register(
            "telewarden_gap_messages_filled",
            "Messages that history brought to fill such holes",
            self.filled.clone(),
        );
        registry.register(
            "telewarden_catch_up_messages",
            "Messages that history brought because they were said while the session did not listen: \
             before a start, during a lost connection or a failover",
            self.caught_up.clone(),
        );
        registry.register(
            "telewarden_gaps_unfillable",
            "Holes that could not be filled, whenever they came about: messages are lost",
            self.unfillable.clone(),
        );
        registry.register(
            "telewarden_chat_checks",
            "Comparisons of a chat with its history",
            self.checks.clone(),
        );
        registry.register(
            "telewarden_update_overflows",
            "Times that updates came faster than they could be taken",
            self.overflows.clone(),
        );
    }

    /// How the tree and its connections fare.
    fn register_actors(&self, registry: &mut Registry) {
        registry.register("telewarden_actor_crashes", "Actors that crashed", self.restarts.clone());
        registry.register(
            "telewarden_actors_parked",
            "Actors that crashed too often and were left alone",
            self.parked.clone(),
        );
        registry.register(
            "telewarden_mailbox_depth",
            "What waits for an actor in all queues of a kind: calls of accounts, batches of updates between a link and the disk",
            self.depths.clone(),
        );
        registry.register(
            "telewarden_links_dropped",
            "Connections that were given up from our side: the watchdog saw no progress, or the library panicked",
            self.drops.clone(),
        );
        registry.register(
            "telegram_session_duration_seconds",
            "How long connections lasted that had been up",
            self.sessions.clone(),
        );
    }

    /// How deliveries to webhooks fare.
    fn register_hooks(&self, registry: &mut Registry) {
        registry.register(
            "telewarden_webhook_deliveries",
            "What became of deliveries to webhooks, and of attempts at them",
            self.hooked.clone(),
        );
        registry.register(
            "telewarden_webhook_backlog",
            "Deliveries that wait for webhooks",
            self.hook_backlog.clone(),
        );
    }
}

/// How long one queue is, as part of the sum over all of its kind.
#[derive(Debug)]
pub(in crate::actors) struct Depth {
    gauge: Gauge,
    counted: i64,
}

impl Depth {
    /// As part of what `gauge` counts.
    pub(super) fn of(gauge: Gauge) -> Self {
        Self { gauge, counted: 0 }
    }

    /// It has this many members now.
    pub(in crate::actors) fn set(&mut self, members: usize) {
        let members = i64::try_from(members).unwrap_or(i64::MAX);
        self.gauge.inc_by(members - self.counted);
        self.counted = members;
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        self.gauge.dec_by(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_is_the_sum_over_the_queues_that_live() {
        let metrics = Metrics::default();
        let (mut one, mut other) = (metrics.depth("account"), metrics.depth("account"));
        one.set(5);
        other.set(7);
        one.set(2);
        let sum = metrics.depth("account").gauge.clone();
        assert_eq!(sum.get(), 9);
        drop(other);
        assert_eq!(sum.get(), 2);
    }
}
