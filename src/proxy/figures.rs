//! What the proxy counts, under etcd's names where etcd has one.

use actix_http::{Method, StatusCode};
use prometheus::{
    IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    process_collector::ProcessCollector,
};

/// All of it.
#[derive(Debug)]
pub struct Figures {
    /// Endpoints that did not answer, each time.
    pub failures: IntCounter,
    /// Watches that are open for clients who share them.
    pub shared_watches: IntGauge,
    /// Clients that were given a place in a shared watch.
    pub shared_clients: IntCounter,
    endpoints: IntGauge,
    endpoints_up: IntGauge,
    requests: IntCounterVec,
    handled: IntCounterVec,
    dropped: IntCounterVec,
    registry: Registry,
}

impl Figures {
    /// All at zero.
    pub fn new() -> Figures {
        let registry = Registry::new();
        let counter = |name, help| made(IntCounter::new(name, help));
        let gauge = |name, help| made(IntGauge::new(name, help));
        let by = |name: &str, help: &str, labels: &[&str]| {
            made(IntCounterVec::new(Opts::new(name, help), labels))
        };
        let figures = Figures {
            failures: counter(
                "callboard_proxy_endpoint_failures_total",
                "Requests that an endpoint did not answer.",
            ),
            shared_watches: gauge(
                "callboard_proxy_shared_watches",
                "Watches at the endpoints that clients share.",
            ),
            shared_clients: counter(
                "callboard_proxy_shared_watch_clients_total",
                "Clients that were given a place in a shared watch.",
            ),
            endpoints: gauge("callboard_proxy_endpoints", "Endpoints that are known."),
            endpoints_up: gauge(
                "callboard_proxy_endpoints_up",
                "Endpoints that have not failed a moment ago.",
            ),
            requests: by(
                "etcd_proxy_requests_total",
                "Counter requests incoming by method.",
                &["method"],
            ),
            handled: by(
                "etcd_proxy_handled_total",
                "Counter of requests fully handled (by an endpoint).",
                &["method", "code"],
            ),
            dropped: by(
                "etcd_proxy_dropped_total",
                "Counter of requests dropped on the proxy.",
                &["method", "proxying_error"],
            ),
            registry,
        };
        let all: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(figures.failures.clone()),
            Box::new(figures.shared_watches.clone()),
            Box::new(figures.shared_clients.clone()),
            Box::new(figures.endpoints.clone()),
            Box::new(figures.endpoints_up.clone()),
            Box::new(figures.requests.clone()),
            Box::new(figures.handled.clone()),
            Box::new(figures.dropped.clone()),
            Box::new(ProcessCollector::for_self()),
        ];
        for collector in all {
            made(figures.registry.register(collector));
        }
        figures
    }

    /// A request came in.
    pub fn request(&self, method: &Method) {
        self.requests.with_label_values(&[known(method)]).inc();
    }

    /// An endpoint has answered it.
    pub fn handled(&self, method: &Method, status: StatusCode) {
        self.handled.with_label_values(&[known(method), status.as_str()]).inc();
    }

    /// No endpoint has.
    pub fn dropped(&self, method: &Method, why: &str) {
        self.dropped.with_label_values(&[known(method), why]).inc();
    }

    /// The page, in Prometheus' text format.
    pub fn text(&self, endpoints: usize, up: usize) -> String {
        self.endpoints.set(endpoints as i64);
        self.endpoints_up.set(up as i64);
        // Fails only for a metric without a name.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Default for Figures {
    fn default() -> Figures {
        Figures::new()
    }
}

/// Methods are the client's to choose, and a label for each would grow without bound.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::PUT
        | Method::POST
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS => method.as_str(),
        _ => "other",
    }
}

/// Names and labels are written above, and each stands there once.
fn made<T>(made: prometheus::Result<T>) -> T {
    made.expect("metrics have valid names, each once")
}
