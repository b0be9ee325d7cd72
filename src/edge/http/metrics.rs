//! How many requests there are and how long they take, by the route's template. Owns the numbers;
//! no label has a value that a caller chose.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds, seconds. A send may take up to 25.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: &'static str,
}

/// Requests and streams. Bounded: a few series for each route that there is.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    answered: Family<Answered, Counter>,
    took: Family<Route, Histogram, fn() -> Histogram>,
    pub(super) streams: Gauge<u64, AtomicU64>,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let took = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        Self { answered: Family::default(), took, streams: Gauge::default() }
    }
}

impl HttpMetrics {
    /// Notes an answer. `route` is a template, or `None` for what is no route.
    pub(super) fn answered(
        &self,
        method: &Method,
        route: Option<&str>,
        status: StatusCode,
        took: Duration,
    ) {
        let method = named(method);
        let route = route.unwrap_or("other").to_owned();
        let status = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        let answered = Answered { method, route: route.clone(), status };
        self.answered.get_or_create(&answered).inc();
        self.took.get_or_create(&Route { method, route }).observe(took.as_secs_f64());
    }

    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "telewarden_http_requests",
            "Requests that were answered, by route, method and class of status",
            self.answered.clone(),
        );
        registry.register(
            "telewarden_http_request_seconds",
            "From a request's head until its answer's",
            self.took.clone(),
        );
        registry.register(
            "telewarden_http_streams",
            "Event streams that are open",
            self.streams.clone(),
        );
    }
}

fn named(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
