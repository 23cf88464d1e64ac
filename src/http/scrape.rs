//! `/metrics`: what was counted, and what published state, statistics and mailboxes tell now.

use std::{fmt::Write as _, sync::atomic::Ordering};

use actix_http::StatusCode;

use super::{
    Doors,
    answer::{self, Answer},
    limits::Class,
    probes::ETCD_VERSION,
};
use crate::{
    actors::mailbox::{Gauge, WAIT_BOUNDS_MICROS},
    published::{PeerFigures, Published, ROUND_TRIP_BOUNDS},
    tls::Figures,
};

/// `GET /metrics`, in Prometheus' text format.
pub fn metrics(doors: &Doors) -> Answer {
    let mut page = Page(doors.metrics.text());
    server(&mut page, doors);
    peers(&mut page, &doors.published);
    store(&mut page, doors);
    mailboxes(&mut page, &doors.metrics.mailboxes());
    certificates(&mut page, doors);
    limits(&mut page, doors);
    audit_log(&mut page, doors);
    files(&mut page);
    doors.grpc.write(&mut page.0);
    answer::whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page.0)
}

fn server(page: &mut Page, doors: &Doors) {
    let published = &doors.published;
    let raft = &published.raft;
    let load = |cell: &std::sync::atomic::AtomicU64| cell.load(Ordering::Relaxed);
    page.gauge(
        "etcd_server_has_leader",
        "Whether or not a leader exists. 1 is existence, 0 is not.",
        u64::from(raft.leader().is_some()),
    );
    page.gauge(
        "etcd_server_is_leader",
        "Whether or not this member is a leader. 1 if is, 0 otherwise.",
        u64::from(published.is_leader()),
    );
    let state = published.state.load();
    let own = state.membership().member(published.identity.member_id);
    page.gauge(
        "etcd_server_is_learner",
        "Whether or not this member is a learner. 1 if is, 0 otherwise.",
        u64::from(own.is_some_and(|member| member.learner)),
    );
    page.counter(
        "etcd_server_leader_changes_seen_total",
        "The number of leader changes seen.",
        load(&raft.leader_changes),
    );
    page.gauge(
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        raft.commit().0,
    );
    page.gauge(
        "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.",
        raft.applied().0,
    );
    page.gauge(
        "etcd_server_proposals_pending",
        "The current number of pending proposals to commit.",
        load(&raft.pending),
    );
    page.counter(
        "etcd_server_proposals_failed_total",
        "The total number of failed proposals seen.",
        load(&raft.failed),
    );
    let id = format!("{:x}", published.identity.member_id);
    let about = [
        (
            "etcd_server_id",
            "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
            "server_id",
            id.as_str(),
        ),
        (
            "etcd_server_version",
            "Which version is running. 1 for 'server_version' label with current version.",
            "server_version",
            ETCD_VERSION,
        ),
        (
            "etcd_cluster_version",
            "Which version is running. 1 for 'cluster_version' label with current cluster version",
            "cluster_version",
            cluster_version(),
        ),
        (
            "callboard_build_info",
            "Which Callboard is running. 1 for 'version' label.",
            "version",
            env!("CARGO_PKG_VERSION"),
        ),
    ];
    for (name, help, label, value) in about {
        page.head(name, help, "gauge");
        page.labelled(name, label, value, 1);
    }
}

/// What there is of each peer: nothing at all, not even a heading, where there are no peers.
fn peers(page: &mut Page, published: &Published) {
    type Figure = fn(&PeerFigures) -> u64;
    let peers = published.peers.load();
    if peers.is_empty() {
        return;
    }
    let families: [(&str, &str, &str, &str, Figure); 6] = [
        (
            "etcd_network_peer_sent_bytes_total",
            "The total number of bytes sent to peers.",
            "counter",
            "To",
            |peer| peer.sent_bytes.load(Ordering::Relaxed),
        ),
        (
            "etcd_network_peer_received_bytes_total",
            "The total number of bytes received from peers.",
            "counter",
            "From",
            |peer| peer.received_bytes.load(Ordering::Relaxed),
        ),
        (
            "etcd_network_peer_sent_failures_total",
            "The total number of send failures from peers.",
            "counter",
            "To",
            |peer| peer.sent_failures.load(Ordering::Relaxed),
        ),
        (
            "etcd_network_peer_received_failures_total",
            "The total number of receive failures from peers.",
            "counter",
            "From",
            |peer| peer.received_failures.load(Ordering::Relaxed),
        ),
        (
            "etcd_network_active_peers",
            "The current number of active peer connections.",
            "gauge",
            "Remote",
            |peer| u64::from(peer.active_since().is_some()),
        ),
        (
            "etcd_network_disconnected_peers_total",
            "The total number of disconnected peers.",
            "counter",
            "Remote",
            |peer| peer.disconnects.load(Ordering::Relaxed),
        ),
    ];
    let local = published.identity.member_id;
    for (name, help, kind, label, figure) in families {
        page.head(name, help, kind);
        let local = if label == "Remote" { format!("Local=\"{local:x}\",") } else { String::new() };
        for (id, peer) in peers.iter() {
            page.line(format_args!("{name}{{{local}{label}=\"{id:x}\"}} {}", figure(peer)));
        }
    }
    let name = "etcd_network_peer_round_trip_time_seconds";
    page.head(name, "Round-Trip-Time histogram between peers", "histogram");
    for (id, peer) in peers.iter() {
        let trips = peer.round_trips();
        let mut below = 0;
        for (bound, here) in ROUND_TRIP_BOUNDS.iter().zip(&trips.buckets) {
            below += here;
            page.line(format_args!("{name}_bucket{{To=\"{id:x}\",le=\"{bound}\"}} {below}"));
        }
        let (sum, count) = (trips.sum, trips.count);
        page.line(format_args!("{name}_bucket{{To=\"{id:x}\",le=\"+Inf\"}} {count}"));
        page.line(format_args!("{name}_sum{{To=\"{id:x}\"}} {sum}"));
        page.line(format_args!("{name}_count{{To=\"{id:x}\"}} {count}"));
    }
}

/// Major and minor of [`ETCD_VERSION`].
fn cluster_version() -> &'static str {
    ETCD_VERSION.rsplit_once('.').map_or(ETCD_VERSION, |(version, _)| version)
}

fn store(page: &mut Page, doors: &Doors) {
    let state = doors.published.state.load();
    let bytes = state.size_bytes();
    // Nothing is fragmented: what is held is in use.
    page.gauge(
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the underlying database physically allocated in bytes.",
        bytes,
    );
    page.gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
        bytes,
    );
    let name = "etcd_server_quota_backend_bytes";
    page.head(name, "Current backend storage quota size in bytes.", "gauge");
    match doors.settings.quota_backend_bytes {
        Some(quota) => page.line(format_args!("{name} {quota}")),
        None => page.line(format_args!("{name} -1")),
    }
    page.gauge(
        "callboard_mvcc_history_bytes",
        "Bytes that only history holds, roughly: what compaction would free.",
        state.history_bytes(),
    );
    page.gauge("etcd_debugging_mvcc_keys_total", "Total number of keys.", state.key_count() as u64);
    page.gauge(
        "etcd_debugging_mvcc_current_revision",
        "The current revision of store.",
        state.revision.0,
    );
    page.gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction in store.",
        state.compacted.0,
    );
    let stats = &doors.stats;
    let load = |cell: &std::sync::atomic::AtomicU64| cell.load(Ordering::Relaxed);
    let watchers = load(&stats.watchers);
    let of_v3 = u64::try_from(doors.metrics.watchers.get()).unwrap_or(0);
    page.gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", watchers + of_v3);
    page.gauge("etcd_debugging_store_watchers", "Count of currently active watchers.", watchers);
    page.counter(
        "etcd_debugging_store_expires_total",
        "Total number of expired keys.",
        load(&stats.expires),
    );
    let name = "etcd_debugging_store_reads_total";
    page.head(
        name,
        "Total number of reads action by (get/getRecursive), local to this member.",
        "counter",
    );
    page.labelled(name, "action", "get", load(&stats.gets.success));
    let name = "etcd_debugging_store_reads_failed_total";
    page.head(name, "Failed read actions by (get/getRecursive), local to this member.", "counter");
    page.labelled(name, "action", "get", load(&stats.gets.fail));
    let writes = [
        ("set", &stats.sets),
        ("create", &stats.creates),
        ("update", &stats.updates),
        ("delete", &stats.deletes),
        ("compareAndSwap", &stats.compare_and_swaps),
        ("compareAndDelete", &stats.compare_and_deletes),
    ];
    let name = "etcd_debugging_store_writes_total";
    page.head(
        name,
        "Total number of writes (e.g. set/compareAndDelete) seen by this member.",
        "counter",
    );
    for (action, tally) in writes {
        page.labelled(name, "action", action, load(&tally.success));
    }
    let name = "etcd_debugging_store_writes_failed_total";
    page.head(
        name,
        "Failed write actions (e.g. set/compareAndDelete), seen by this member.",
        "counter",
    );
    for (action, tally) in writes {
        page.labelled(name, "action", action, load(&tally.fail));
    }
}

fn certificates(page: &mut Page, doors: &Doors) {
    type Read = fn(&Figures) -> u64;
    if doors.certificates.is_empty() {
        return;
    }
    let families: [(&str, &str, &str, Read); 3] = [
        (
            "callboard_tls_certificate_not_after_seconds",
            "When the certificate ends, in Unix seconds.",
            "gauge",
            |figures| figures.not_after.load(Ordering::Relaxed).max(0).unsigned_abs(),
        ),
        (
            "callboard_tls_reloads_total",
            "How often changed certificates were taken.",
            "counter",
            |figures| figures.reloads.load(Ordering::Relaxed),
        ),
        (
            "callboard_tls_reload_failures_total",
            "How often changed certificates were refused; those from before go on.",
            "counter",
            |figures| figures.refusals.load(Ordering::Relaxed),
        ),
    ];
    for (name, help, kind, read) in families {
        page.head(name, help, kind);
        for (of, figures) in &doors.certificates {
            page.labelled(name, "of", of, read(figures));
        }
    }
}

fn mailboxes(page: &mut Page, gauges: &[std::sync::Arc<Gauge>]) {
    page.head("callboard_mailbox_depth", "Questions that wait in the mailbox now.", "gauge");
    for gauge in gauges {
        page.labelled("callboard_mailbox_depth", "mailbox", gauge.name(), gauge.depth() as u64);
    }
    page.head("callboard_mailbox_capacity", "Questions that the mailbox holds at most.", "gauge");
    for gauge in gauges {
        let capacity = gauge.capacity() as u64;
        page.labelled("callboard_mailbox_capacity", "mailbox", gauge.name(), capacity);
    }
    let name = "callboard_mailbox_bytes";
    page.head(name, "Bytes that wait in the mailbox now, where they are counted.", "gauge");
    for gauge in gauges {
        if let Some(bytes) = gauge.bytes() {
            page.labelled(name, "mailbox", gauge.name(), bytes as u64);
        }
    }
    let name = "callboard_mailbox_rejected_total";
    page.head(name, "Questions turned away because the mailbox was full.", "counter");
    for gauge in gauges {
        page.labelled(name, "mailbox", gauge.name(), gauge.rejected());
    }
    let name = "callboard_mailbox_queue_seconds";
    page.head(name, "Time that questions waited in the mailbox.", "histogram");
    for gauge in gauges {
        let (buckets, sum, count) = gauge.waited();
        let mut below = 0;
        for (bound, here) in WAIT_BOUNDS_MICROS.iter().zip(&buckets) {
            below += here;
            let bound = *bound as f64 / 1e6;
            let mailbox = gauge.name();
            page.line(format_args!(
                "{name}_bucket{{mailbox=\"{mailbox}\",le=\"{bound}\"}} {below}"
            ));
        }
        let (mailbox, sum) = (gauge.name(), sum.as_secs_f64());
        page.line(format_args!("{name}_bucket{{mailbox=\"{mailbox}\",le=\"+Inf\"}} {count}"));
        page.line(format_args!("{name}_sum{{mailbox=\"{mailbox}\"}} {sum}"));
        page.line(format_args!("{name}_count{{mailbox=\"{mailbox}\"}} {count}"));
    }
}

fn limits(page: &mut Page, doors: &Doors) {
    let limits = &doors.limits;
    let connections = &limits.connections;
    let open = connections.open.load(Ordering::Relaxed) as u64;
    page.gauge("callboard_connections", "Client connections that are open.", open);
    let name = "callboard_connections_refused_total";
    page.head(
        name,
        "Connections that were closed at once, by what there were too many of.",
        "counter",
    );
    for (label, figure) in
        [("listener", &connections.beyond_listener), ("address", &connections.beyond_address)]
    {
        page.labelled(name, "beyond", label, figure.load(Ordering::Relaxed));
    }
    let classes = || Class::ALL.into_iter().map(|class| (class.name(), limits.class(class)));
    let name = "callboard_requests_under_way";
    page.head(name, "Requests that have a place now, by class.", "gauge");
    for (class, places) in classes() {
        page.labelled(name, "class", class, places.taken() as u64);
    }
    let name = "callboard_requests_refused_total";
    page.head(name, "Requests that found no place, by class.", "counter");
    for (class, places) in classes() {
        page.labelled(name, "class", class, places.refused());
    }
    let responses = limits.responses();
    let held = responses.taken() as u64;
    page.gauge("callboard_response_bytes", "Bytes of long answers that wait for readers.", held);
    page.counter(
        "callboard_responses_refused_total",
        "Long answers for which there was no room.",
        responses.refused(),
    );
}

fn audit_log(page: &mut Page, doors: &Doors) {
    let Some(log) = &doors.audit else { return };
    let figures = log.figures();
    for (name, help, figure) in [
        ("callboard_audit_lines_total", "Lines written to the audit log.", &figures.written),
        ("callboard_audit_dropped_total", "Lines that the audit log has lost.", &figures.dropped),
        ("callboard_audit_errors_total", "Writes of the audit log that failed.", &figures.errors),
    ] {
        page.counter(name, help, figure.load(Ordering::Relaxed));
    }
}

fn files(page: &mut Page) {
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let used = open.count().saturating_sub(1) as u64; // one is the listing itself
        page.gauge("os_fd_used", "The number of used file descriptors.", used);
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    page.gauge("os_fd_limit", "The file descriptor limit.", limit.unwrap_or(u64::MAX));
}

/// Prometheus' text format, line by line.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.line(format_args!("{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.line(format_args!("{name} {value}"));
    }

    /// Labels come from us and hold nothing to escape.
    fn labelled(&mut self, name: &str, label: &str, value: &str, number: u64) {
        self.line(format_args!("{name}{{{label}=\"{value}\"}} {number}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        _ = writeln!(self.0, "{line}"); // writing to a String does not fail
    }
}
