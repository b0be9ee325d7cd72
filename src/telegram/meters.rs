//! How long Telegram's answers take, by method. Owns the histogram; never decides.

use std::any::type_name;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds, seconds; calls are given up after 15.
const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
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
        let method = method_name(type_name::<R>());
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

/// `a::functions::updates::GetState` → `updates::GetState`.
fn method_name(type_name: &'static str) -> &'static str {
    type_name.rsplit_once("functions::").map_or(type_name, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use grammers_client::tl;

    use super::*;

    #[test]
    fn methods_have_short_names() {
        let name = |name| method_name(name);
        let state = type_name::<tl::functions::updates::GetState>();
        assert_eq!(name(state), "updates::GetState");
    }
}
