//! What this process measures as it runs, under etcd's names where etcd has one. Whoever measures
//! holds its own counter or histogram: no label is looked up on a hot path. What can be read from
//! published state is not kept here but added when `/metrics` is asked for (`http/scrape.rs`).
//!
//! docs/metrics.md says what each means.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry, TextEncoder, core::Collector,
    process_collector::ProcessCollector,
};

use crate::actors::mailbox::Gauge;

/// Which kind of answer a request to the v2 keys got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A watch that began.
    Watch,
    /// A refusal, whatever was asked.
    Refused,
}

/// All metrics that are counted as things happen.
#[derive(Debug)]
pub struct Metrics {
    /// Time of one fdatasync of the WAL.
    pub wal_fsync_seconds: Histogram,
    /// Bytes written to the WAL.
    pub wal_write_bytes: IntCounter,
    /// Entries that shared one write and fdatasync of the WAL.
    pub wal_batch_entries: Histogram,
    /// Time from taking an apply batch to publishing its state.
    pub backend_commit_seconds: Histogram,
    /// Time to apply one batch of entries.
    pub apply_seconds: Histogram,
    /// Time to save a snapshot, all of it.
    pub snapshot_save_seconds: Histogram,
    /// Bytes of the snapshots saved.
    pub snapshot_bytes: IntCounter,
    /// v3 watches; `/metrics` adds those of v2.
    pub watchers: IntGauge,
    /// Streams of v3 watches.
    pub watch_streams: IntGauge,
    /// v3 watches that are catching up from history.
    pub slow_watchers: IntGauge,
    /// Revisions on their way to v3 watches.
    pub pending_events: IntGauge,
    /// Revisions that v3 watches were told of.
    pub watch_events: IntCounter,
    /// v3 leases.
    pub leases: LeaseMetrics,
    /// Answers of `/health` that were good.
    pub health_success: IntCounter,
    /// Answers of `/health` that were not.
    pub health_failures: IntCounter,
    /// Keys that were written, through whichever door and member.
    pub mvcc_puts: IntCounter,
    /// Keys that were deleted, likewise.
    pub mvcc_deletes: IntCounter,
    /// Ranges that this member was asked for.
    pub mvcc_ranges: IntCounter,
    /// Transactions that this member was asked for.
    pub mvcc_txns: IntCounter,
    /// Revisions that compaction has freed.
    pub compacted_revisions: IntCounter,
    /// Linearizable reads that waited long.
    pub slow_read_indexes: IntCounter,
    requests: Requests,
    registry: Registry,
    mailboxes: Mutex<Vec<Arc<Gauge>>>,
}

/// What happened to v3 leases.
#[derive(Debug)]
pub struct LeaseMetrics {
    /// So many were granted.
    pub granted: IntCounter,
    /// So many went, by whatever cause.
    pub revoked: IntCounter,
    /// So often one was kept alive by this member's clock.
    pub renewed: IntCounter,
    /// So many ran out by this member's clock.
    pub expired: IntCounter,
    /// The TTLs that were granted.
    pub ttl_seconds: Histogram,
}

/// `callboard_http_v2_requests_total`, one cell for each pair of labels.
#[derive(Debug)]
struct Requests {
    reads: IntCounter,
    writes: IntCounter,
    created: IntCounter,
    watches: IntCounter,
    refused_client: IntCounter,
    refused_server: IntCounter,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Arc<Metrics> {
        let registry = Registry::new();
        let add = Adder(&registry);
        let requests = |kind: &str, code: &str| {
            let opts = Opts::new(
                "callboard_http_v2_requests_total",
                "Answers given on /v2/keys, by kind and class of status.",
            );
            add.counter(opts.const_label("kind", kind).const_label("code", code))
        };
        let metrics = Metrics {
            wal_fsync_seconds: add.disk_histogram(
                "etcd_disk_wal_fsync_duration_seconds",
                "The latency distributions of fsync called by WAL.",
            ),
            wal_write_bytes: add.counter(Opts::new(
                "etcd_disk_wal_write_bytes_total",
                "Total number of bytes written in WAL.",
            )),
            wal_batch_entries: add.histogram(
                "callboard_wal_batch_entries",
                "Entries that shared one write and fsync of the WAL.",
                powers_of_two(1.0, 12),
            ),
            backend_commit_seconds: add.disk_histogram(
                "etcd_disk_backend_commit_duration_seconds",
                "The latency distributions of commit called by backend.",
            ),
            apply_seconds: add.histogram(
                "callboard_apply_batch_seconds",
                "Time to apply one batch of committed entries.",
                powers_of_two(0.000_01, 16),
            ),
            snapshot_save_seconds: add.disk_histogram(
                "etcd_debugging_snap_save_total_duration_seconds",
                "The total latency distributions of save called by snapshot.",
            ),
            snapshot_bytes: add.counter(Opts::new(
                "callboard_snapshot_bytes_total",
                "Bytes of the snapshots saved.",
            )),
            watchers: IntGauge::new("watchers", "Part of a sum.").expect("a valid name"),
            watch_streams: add
                .gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
            slow_watchers: add.gauge(
                "etcd_debugging_mvcc_slow_watcher_total",
                "Total number of unsynced slow watchers.",
            ),
            pending_events: add.gauge(
                "etcd_debugging_mvcc_pending_events_total",
                "Total number of pending events to be sent.",
            ),
            watch_events: add.counter(Opts::new(
                "etcd_debugging_mvcc_events_total",
                "Total number of events sent by this member.",
            )),
            leases: LeaseMetrics {
                granted: add.counter(Opts::new(
                    "etcd_debugging_lease_granted_total",
                    "The total number of granted leases.",
                )),
                revoked: add.counter(Opts::new(
                    "etcd_debugging_lease_revoked_total",
                    "The total number of revoked leases.",
                )),
                renewed: add.counter(Opts::new(
                    "etcd_debugging_lease_renewed_total",
                    "The number of renewed leases seen by the leader.",
                )),
                expired: add.counter(Opts::new(
                    "etcd_debugging_server_lease_expired_total",
                    "The total number of expired leases.",
                )),
                ttl_seconds: add.histogram(
                    "etcd_debugging_lease_ttl_total",
                    "Bucketed histogram of lease TTLs.",
                    powers_of_two(1.0, 24),
                ),
            },
            health_success: add.counter(Opts::new(
                "etcd_server_health_success",
                "The total number of successful health checks",
            )),
            health_failures: add.counter(Opts::new(
                "etcd_server_health_failures",
                "The total number of failed health checks",
            )),
            mvcc_puts: add.counter(Opts::new(
                "etcd_mvcc_put_total",
                "Total number of puts seen by this member.",
            )),
            mvcc_deletes: add.counter(Opts::new(
                "etcd_mvcc_delete_total",
                "Total number of deletes seen by this member.",
            )),
            mvcc_ranges: add.counter(Opts::new(
                "etcd_mvcc_range_total",
                "Total number of ranges seen by this member.",
            )),
            mvcc_txns: add.counter(Opts::new(
                "etcd_mvcc_txn_total",
                "Total number of txns seen by this member.",
            )),
            compacted_revisions: add.counter(Opts::new(
                "etcd_debugging_mvcc_db_compaction_keys_total",
                "Total number of db keys compacted.",
            )),
            slow_read_indexes: add.counter(Opts::new(
                "etcd_server_slow_read_indexes_total",
                "The total number of pending read indexes not in sync with leader's or timed out read index requests.",
            )),
            requests: Requests {
                reads: requests("read", "2xx"),
                writes: requests("write", "200"),
                created: requests("write", "201"),
                watches: requests("watch", "2xx"),
                refused_client: requests("refused", "4xx"),
                refused_server: requests("refused", "5xx"),
            },
            mailboxes: Mutex::new(Vec::new()),
            registry: registry.clone(),
        };
        add.collector(Box::new(ProcessCollector::for_self()));
        Arc::new(metrics)
    }

    /// One write of the WAL: how long it took, fdatasync included if there was one (`synced`), and how
    /// many entries shared it.
    pub fn observe_wal_group(&self, took: Duration, entries: usize, synced: bool) {
        if synced {
            self.wal_fsync_seconds.observe(took.as_secs_f64());
        }
        self.wal_batch_entries.observe(entries as f64);
    }

    /// One snapshot saved: how long it took, and its size.
    pub fn observe_snapshot(&self, took: Duration, bytes: u64) {
        self.snapshot_save_seconds.observe(took.as_secs_f64());
        self.snapshot_bytes.inc_by(bytes);
    }

    /// A linearizable read has waited so long for its read index.
    pub fn observe_read_index(&self, waited: Duration) {
        /// etcd's.
        const SLOW: Duration = Duration::from_millis(500);
        if waited >= SLOW {
            self.slow_read_indexes.inc();
        }
    }

    /// Counts an answer on `/v2/keys`.
    pub fn count_request(&self, door: Door, status: u16) {
        let cell = match door {
            Door::Read => &self.requests.reads,
            Door::Write if status == 201 => &self.requests.created,
            Door::Write => &self.requests.writes,
            Door::Watch => &self.requests.watches,
            Door::Refused if status < 500 => &self.requests.refused_client,
            Door::Refused => &self.requests.refused_server,
        };
        cell.inc();
    }

    /// Adds a mailbox to what `/metrics` shows.
    pub fn register_mailbox(&self, gauge: Arc<Gauge>) {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).push(gauge);
    }

    /// The mailboxes, in the order in which they were added.
    pub fn mailboxes(&self) -> Vec<Arc<Gauge>> {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was counted, in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        out
    }
}

/// etcd's buckets for what waits for a disk: 1 ms to 8 s.
fn disk_buckets() -> Vec<f64> {
    powers_of_two(0.001, 14)
}

fn powers_of_two(from: f64, count: usize) -> Vec<f64> {
    prometheus::exponential_buckets(from, 2.0, count).expect("positive start, factor and count")
}

struct Adder<'a>(&'a Registry);

impl Adder<'_> {
    fn collector(&self, collector: Box<dyn Collector>) {
        self.0.register(collector).expect("each name and label is used once");
    }

    fn counter(&self, opts: Opts) -> IntCounter {
        let counter = IntCounter::with_opts(opts).expect("a valid name");
        self.collector(Box::new(counter.clone()));
        counter
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let gauge = IntGauge::new(name, help).expect("a valid name");
        self.collector(Box::new(gauge.clone()));
        gauge
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        let opts = HistogramOpts::new(name, help).buckets(buckets);
        let histogram = Histogram::with_opts(opts).expect("a valid name and ascending buckets");
        self.collector(Box::new(histogram.clone()));
        histogram
    }

    fn disk_histogram(&self, name: &str, help: &str) -> Histogram {
        self.histogram(name, help, disk_buckets())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_histograms_have_etcds_buckets() {
        let buckets = disk_buckets();
        assert_eq!((buckets.len(), buckets[0], buckets[13]), (14, 0.001, 8.192));
        let metrics = Metrics::new();
        metrics.observe_wal_group(Duration::from_millis(3), 2, true);
        let text = metrics.text();
        assert!(
            text.contains(r#"etcd_disk_wal_fsync_duration_seconds_bucket{le="0.004"} 1"#),
            "{text}"
        );
    }

    #[test]
    fn requests_are_counted_by_kind() {
        let metrics = Metrics::new();
        metrics.count_request(Door::Write, 201);
        metrics.count_request(Door::Refused, 404);
        let text = metrics.text();
        for line in [
            r#"callboard_http_v2_requests_total{code="201",kind="write"} 1"#,
            r#"callboard_http_v2_requests_total{code="4xx",kind="refused"} 1"#,
            r#"callboard_http_v2_requests_total{code="2xx",kind="read"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
