//! What is counted of RPCs, under the names that etcd gives it. Each method has its own cells, found once
//! for a call; text is made of them when `/metrics` is asked for.

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::methods::{Method, split};
use crate::http::v3::error::Code;

/// gRPC's codes by name, the place of each being its number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
/// The upper bounds of the histogram of handling times, in milliseconds.
const BOUNDS_MILLIS: [u32; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
/// Clients' versions that are told apart; more are a client's nonsense.
const CLIENTS_MAX: usize = 32;
/// The longest name of a version.
const CLIENT_BYTES_MAX: usize = 32;

/// Counts.
#[derive(Debug)]
pub struct GrpcFigures {
    methods: Vec<MethodFigures>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    clients: Mutex<Vec<Arc<ClientFigures>>>,
    /// Whether handling times are measured (`--metrics=extensive`).
    pub timed: bool,
}

/// Name, help, and the cell of each method.
type Family = (&'static str, &'static str, fn(&MethodFigures) -> &AtomicU64);

/// Counts of one method.
#[derive(Debug)]
struct MethodFigures {
    labels: String,
    started: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    /// Calls that took at most so long, and longer than the bound before.
    took: [AtomicU64; BOUNDS_MILLIS.len() + 1],
    took_micros: AtomicU64,
}

/// A call that is counted: begun when it is made, ended once; one that nobody ends was given up.
#[derive(Debug)]
pub struct CountedCall {
    figures: Arc<GrpcFigures>,
    method: Method,
    begun: Option<Instant>,
    ended: bool,
}

impl CountedCall {
    /// A call of this method begins.
    pub fn begin(figures: &Arc<GrpcFigures>, method: Method) -> CountedCall {
        add(&figures.methods[method.index()].started, 1);
        let begun = figures.timed.then(Instant::now);
        CountedCall { figures: Arc::clone(figures), method, begun, ended: false }
    }

    /// A message came in, of so many bytes of gRPC.
    pub fn received(&self, bytes: usize) {
        self.figures.received(self.method, bytes);
    }

    /// Messages go out, of so many bytes of gRPC together.
    pub fn sent(&self, messages: usize, bytes: usize) {
        add(&self.figures.methods[self.method.index()].sent, messages);
        add(&self.figures.sent_bytes, bytes);
    }

    /// It has ended; none: well.
    pub fn end(&mut self, code: Option<Code>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.figures.handled(self.method, code, self.begun.map(|begun| begun.elapsed()));
        }
    }
}

impl Drop for CountedCall {
    fn drop(&mut self) {
        self.end(Some(Code::Cancelled));
    }
}

/// Requests of clients of one version.
#[derive(Debug)]
pub struct ClientFigures {
    version: String,
    unary: AtomicU64,
    stream: AtomicU64,
}

impl ClientFigures {
    /// Whether this is the version.
    pub fn is(&self, version: &str) -> bool {
        self.version == version
    }

    /// One more request.
    pub fn count(&self, method: Method) {
        let cell = if method.kind() == "unary" { &self.unary } else { &self.stream };
        add(cell, 1);
    }
}

fn add(cell: &AtomicU64, count: usize) {
    cell.fetch_add(count as u64, Ordering::Relaxed);
}

fn load(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

impl GrpcFigures {
    /// All at zero.
    pub fn new(timed: bool) -> GrpcFigures {
        let mut methods: Vec<MethodFigures> = Vec::new();
        for (method, path) in Method::all() {
            if method.index() == methods.len() {
                let (service, name) = split(path).unwrap_or_default();
                let kind = method.kind();
                let labels = format!(
                    "grpc_method=\"{name}\",grpc_service=\"{service}\",grpc_type=\"{kind}\""
                );
                methods.push(MethodFigures {
                    labels,
                    started: AtomicU64::new(0),
                    received: AtomicU64::new(0),
                    sent: AtomicU64::new(0),
                    handled: Default::default(),
                    took: Default::default(),
                    took_micros: AtomicU64::new(0),
                });
            }
        }
        GrpcFigures {
            methods,
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            clients: Mutex::new(Vec::new()),
            timed,
        }
    }

    /// A message came in.
    pub fn received(&self, method: Method, bytes: usize) {
        add(&self.methods[method.index()].received, 1);
        add(&self.received_bytes, bytes);
    }

    /// A call has ended; none: well.
    fn handled(&self, method: Method, code: Option<Code>, took: Option<Duration>) {
        let figures = &self.methods[method.index()];
        add(&figures.handled[code.map_or(0, |code| code as usize)], 1);
        if let Some(took) = took {
            let fits = |bound: &u32| Duration::from_millis((*bound).into()) < took;
            add(&figures.took[BOUNDS_MILLIS.partition_point(fits)], 1);
            add(&figures.took_micros, took.as_micros() as usize);
        }
    }

    /// The cells for clients of this version.
    pub fn client(&self, version: &str) -> Arc<ClientFigures> {
        let odd = |b: u8| !b.is_ascii_alphanumeric() && !b".-+_".contains(&b);
        let fine = version.len() <= CLIENT_BYTES_MAX && !version.bytes().any(odd);
        let version = if fine { version } else { "other" };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let version = if clients.len() < CLIENTS_MAX { version } else { "other" };
        if let Some(known) = clients.iter().find(|client| client.is(version)) {
            return Arc::clone(known);
        }
        let client = Arc::new(ClientFigures {
            version: version.to_owned(),
            unary: AtomicU64::new(0),
            stream: AtomicU64::new(0),
        });
        clients.push(Arc::clone(&client));
        client
    }

    /// Everything in Prometheus' text format.
    pub fn write(&self, out: &mut String) {
        let count = |out: &mut String, name: &str, help: &str, value: u64| {
            _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
        };
        count(
            out,
            "etcd_network_client_grpc_received_bytes_total",
            "The total number of bytes received from grpc clients.",
            load(&self.received_bytes),
        );
        count(
            out,
            "etcd_network_client_grpc_sent_bytes_total",
            "The total number of bytes sent to grpc clients.",
            load(&self.sent_bytes),
        );
        self.write_clients(out);
        let families: [Family; 3] = [
            (
                "grpc_server_started_total",
                "Total number of RPCs started on the server.",
                |method| &method.started,
            ),
            (
                "grpc_server_msg_received_total",
                "Total number of RPC stream messages received on the server.",
                |method| &method.received,
            ),
            (
                "grpc_server_msg_sent_total",
                "Total number of gRPC stream messages sent by the server.",
                |method| &method.sent,
            ),
        ];
        for (name, help, cell) in families {
            _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for method in &self.methods {
                _ = writeln!(out, "{name}{{{}}} {}", method.labels, load(cell(method)));
            }
        }
        let name = "grpc_server_handled_total";
        let help =
            "Total number of RPCs completed on the server, regardless of success or failure.";
        _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for method in &self.methods {
            for (code, cell) in CODES.iter().zip(&method.handled) {
                let labels = &method.labels;
                _ = writeln!(out, "{name}{{grpc_code=\"{code}\",{labels}}} {}", load(cell));
            }
        }
        if self.timed {
            self.write_times(out);
        }
    }

    fn write_clients(&self, out: &mut String) {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.is_empty() {
            return;
        }
        let name = "etcd_server_client_requests_total";
        let help = "The total number of client requests per client version.";
        _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for client in clients.iter() {
            for (kind, cell) in [("stream", &client.stream), ("unary", &client.unary)] {
                let (version, count) = (&client.version, load(cell));
                let labels = format!("client_api_version=\"{version}\",type=\"{kind}\"");
                _ = writeln!(out, "{name}{{{labels}}} {count}");
            }
        }
    }

    fn write_times(&self, out: &mut String) {
        let name = "grpc_server_handling_seconds";
        let help = "Histogram of response latency (seconds) of gRPC that had been application-level \
                    handled by the server.";
        _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for method in &self.methods {
            let labels = &method.labels;
            let mut below = 0;
            for (bound, cell) in BOUNDS_MILLIS.iter().zip(&method.took) {
                below += load(cell);
                let bound = f64::from(*bound) / 1000.0;
                _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
            }
            let count: u64 = method.took.iter().map(load).sum();
            let seconds = load(&method.took_micros) as f64 / 1e6;
            _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
            _ = writeln!(out, "{name}_sum{{{labels}}} {seconds}");
            _ = writeln!(out, "{name}_count{{{labels}}} {count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::v3::methods::{Streaming, Unary};

    fn text(figures: &GrpcFigures) -> String {
        let mut out = String::new();
        figures.write(&mut out);
        out
    }

    #[test]
    fn calls_are_counted_under_etcds_names() {
        let figures = Arc::new(GrpcFigures::new(true));
        let (put, watch) = (Method::Unary(Unary::Put), Method::Streaming(Streaming::Watch));
        let mut call = CountedCall::begin(&figures, put);
        call.received(10);
        call.sent(2, 20);
        call.begun = None;
        call.end(Some(Code::NotFound));
        drop(call); // is not counted twice
        let mut given_up = CountedCall::begin(&figures, put);
        given_up.begun = None;
        drop(given_up);
        figures.handled(put, None, Some(Duration::from_millis(7)));
        figures.handled(put, Some(Code::Unavailable), Some(Duration::from_secs(20)));
        figures.handled(watch, Some(Code::Cancelled), None);
        figures.client("3.6").count(put);
        figures.client("3.6").count(watch);
        figures.client("3.6").count(watch);
        figures.client("\"x\"").count(put);
        let text = text(&figures);
        let put = r#"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary""#;
        let watch =
            r#"grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream""#;
        for line in [
            format!("grpc_server_started_total{{{put}}} 2"),
            format!("grpc_server_msg_received_total{{{put}}} 1"),
            format!("grpc_server_msg_sent_total{{{put}}} 2"),
            format!("grpc_server_handled_total{{grpc_code=\"OK\",{put}}} 1"),
            format!("grpc_server_handled_total{{grpc_code=\"Unavailable\",{put}}} 1"),
            format!("grpc_server_handled_total{{grpc_code=\"NotFound\",{put}}} 1"),
            format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{put}}} 1"),
            format!("grpc_server_handled_total{{grpc_code=\"Aborted\",{put}}} 0"),
            format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{watch}}} 1"),
            format!("grpc_server_handling_seconds_bucket{{{put},le=\"0.005\"}} 0"),
            format!("grpc_server_handling_seconds_bucket{{{put},le=\"0.01\"}} 1"),
            format!("grpc_server_handling_seconds_bucket{{{put},le=\"10\"}} 1"),
            format!("grpc_server_handling_seconds_bucket{{{put},le=\"+Inf\"}} 2"),
            format!("grpc_server_handling_seconds_count{{{put}}} 2"),
            "etcd_network_client_grpc_received_bytes_total 10".to_owned(),
            "etcd_network_client_grpc_sent_bytes_total 20".to_owned(),
            r#"etcd_server_client_requests_total{client_api_version="3.6",type="stream"} 2"#
                .to_owned(),
            r#"etcd_server_client_requests_total{client_api_version="3.6",type="unary"} 1"#
                .to_owned(),
            r#"etcd_server_client_requests_total{client_api_version="other",type="unary"} 1"#
                .to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
    }

    #[test]
    fn versions_without_end_are_one() {
        let figures = GrpcFigures::new(false);
        (0..1000).for_each(|n| figures.client(&format!("3.{n}")).count(Method::HealthCheck));
        let clients = figures.clients.lock().expect("no panic").len();
        assert!(clients <= CLIENTS_MAX + 1, "{clients}");
        assert!(!text(&figures).contains("handling_seconds"), "it is not timed");
    }
}
