//! How long Telegram's answers take, by method, and how many never come. Owns the numbers; never
//! decides.

use std::any::type_name;
use std::fmt::{self, Write};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds, seconds; calls are given up after 10 to 15.
const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: Method,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Loss {
    method: Method,
    reason: &'static str,
}

/// Why a call got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// It was given up.
    Timeout,
    /// The connection failed or ended.
    Connection,
}

/// The Rust name of a method, `updates::GetState`, which is shown as Telegram writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Method(&'static str);

impl Method {
    /// From `…::functions::updates::GetState`.
    fn of(type_name: &'static str) -> Self {
        Self(type_name.rsplit_once("functions::").map_or(type_name, |(_, name)| name))
    }
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let (space, name) = self.0.rsplit_once("::").unwrap_or(("", self.0));
        if !space.is_empty() {
            write!(encoder, "{space}.")?;
        }
        let mut letters = name.chars();
        match letters.next() {
            Some(first) => write!(encoder, "{}{}", first.to_ascii_lowercase(), letters.as_str()),
            None => Ok(()),
        }
    }
}

/// The time of calls, shared by all links. Bounded: a few series for each method that the daemon
/// calls.
#[derive(Clone, Debug)]
pub struct CallMetrics {
    took: Family<Labels, Histogram, fn() -> Histogram>,
    unanswered: Family<Loss, Counter>,
}

impl Default for CallMetrics {
    fn default() -> Self {
        let took = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        Self { took, unanswered: Family::default() }
    }
}

impl CallMetrics {
    /// Notes an answer to a call of type `R`, whatever it said.
    pub(super) fn answered<R>(&self, took: Duration) {
        let method = Method::of(type_name::<R>());
        self.took.get_or_create(&Labels { method }).observe(took.as_secs_f64());
    }

    /// Notes a call of type `R` that got none. One that was given up counts among the slowest.
    pub(super) fn unanswered<R>(&self, why: Unanswered, waited: Duration) {
        let reason = match why {
            Unanswered::Timeout => {
                self.answered::<R>(waited);
                "timeout"
            }
            Unanswered::Connection => "connection",
        };
        let method = Method::of(type_name::<R>());
        self.unanswered.get_or_create(&Loss { method, reason }).inc();
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "telegram_api_latency_seconds",
            "From a call until Telegram's answer, also an error's, or until it was given up",
            self.took.clone(),
        );
        registry.register(
            "telewarden_telegram_calls_unanswered",
            "Calls without an answer: given up (timeout; they are in the latency, too), or the \
             connection failed",
            self.unanswered.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use grammers_client::tl;
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn methods_are_named_as_telegram_names_them() {
        let metrics = CallMetrics::default();
        metrics.answered::<tl::functions::updates::GetState>(Duration::from_millis(30));
        metrics.answered::<tl::functions::Ping>(Duration::from_millis(30));
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains(r#"telegram_api_latency_seconds_count{method="updates.getState"} 1"#)
        );
        assert!(text.contains(r#"method="ping""#), "{text}");
    }

    #[test]
    fn a_call_that_was_given_up_is_among_the_slow_ones_and_a_lost_connection_is_not() {
        let metrics = CallMetrics::default();
        let limit = Duration::from_secs(15);
        metrics.unanswered::<tl::functions::updates::GetState>(Unanswered::Timeout, limit);
        metrics.unanswered::<tl::functions::Ping>(Unanswered::Connection, limit);
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"telegram_api_latency_seconds_sum{method="updates.getState"} 15.0"#,
            r#"calls_unanswered_total{method="updates.getState",reason="timeout"} 1"#,
            r#"calls_unanswered_total{method="ping",reason="connection"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(!text.contains(r#"latency_seconds_sum{method="ping"}"#), "{text}");
    }
}
