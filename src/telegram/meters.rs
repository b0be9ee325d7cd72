//! How long Telegram's answers take, by method. Owns the histogram; never decides.

use std::any::type_name;
use std::fmt::{self, Write};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds, seconds; calls are given up after 15.
const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: Method,
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

/// The time of calls, shared by all links. Bounded: one series for each method that the daemon
/// calls.
#[derive(Clone, Debug)]
pub struct CallMeters(Family<Labels, Histogram, fn() -> Histogram>);

impl Default for CallMeters {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(BUCKETS)))
    }
}

impl CallMeters {
    /// Notes an answer to a call of type `R`, whatever it said.
    pub(super) fn answered<R>(&self, took: Duration) {
        let method = Method::of(type_name::<R>());
        self.0.get_or_create(&Labels { method }).observe(took.as_secs_f64());
    }

    /// Registers the histogram.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "telegram_api_latency_seconds",
            "From a call until Telegram's answer, also an error's",
            self.0.clone(),
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
        let meters = CallMeters::default();
        meters.answered::<tl::functions::updates::GetState>(Duration::from_millis(30));
        meters.answered::<tl::functions::Ping>(Duration::from_millis(30));
        let mut registry = Registry::default();
        meters.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains(r#"telegram_api_latency_seconds_count{method="updates.getState"} 1"#)
        );
        assert!(text.contains(r#"method="ping""#), "{text}");
    }
}
