//! The table itself: its defaults, its rows, and that none of etcd's flags is missing.

use std::collections::BTreeMap;

use super::super::settings::{SETTINGS, Setting, by_name};
use super::*;

#[test]
fn defaults_are_etcd_s_but_for_the_documented_ones() {
    let config = Config::default();
    assert_eq!(config, loaded(&[], &[]).config);
    assert_eq!(loaded(&[], &[]).notices, Vec::<String>::new());
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, Path::new("default.etcd"));
    assert_eq!(config.listen_client_urls[0].as_str(), "http://localhost:2379");
    assert_eq!(config.initial_cluster[0].name, "default");
    assert_eq!(config.initial_cluster[0].peer_urls[0].as_str(), "http://localhost:2380");
    assert_eq!((config.heartbeat_interval_ms, config.election_timeout_ms), (100, 1000));
    assert_eq!(config.quota_backend_bytes, Some(2 << 30));
    assert_eq!(config.watch_progress_notify_interval, Duration::from_secs(600));
    assert_eq!(config.grpc_keepalive_interval, Duration::from_secs(7200));
    assert!(config.http_workers >= 1);
    assert_eq!(config.cors, ["*"]);
    // Ours:
    assert_eq!(config.max_snapshots, 3);
    assert!(config.enable_v2);
    assert_eq!(config.auto_compaction, AutoCompaction::Revisions(100_000));
    assert_eq!(config.mailbox.raft_node, 4096);
    assert_eq!(verify_bootstrap(&config), Ok(()));
}

#[test]
fn every_row_of_the_table_is_sound() {
    let mut seen = BTreeMap::new();
    for setting in SETTINGS {
        for name in setting.names() {
            assert!(seen.insert(name, setting.name).is_none(), "{name} is there twice");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
        if !setting.default.is_empty() {
            assert_eq!(setting.check(setting.default), Ok(()), "{}", setting.name);
        }
        assert!(setting.help.ends_with('.'), "{}", setting.name);
    }
}

/// The flags of etcd 2.3, 3.4, 3.5, 3.6 and 3.7, taken from their sources. Not here: 2.3's --addr,
/// --bind-addr, --peer-addr, --peer-bind-addr, --peers and --peers-file, which 3.x dropped.
const ETCD_FLAGS: &str = "advertise-client-urls auth-token auth-token-ttl auto-compaction-mode
    auto-compaction-retention auto-tls backend-batch-interval backend-batch-limit
    backend-bbolt-freelist-type bcrypt-cost bootstrap-defrag-threshold-megabytes ca-file cert-file
    cipher-suites client-cert-allowed-hostname client-cert-auth client-cert-file client-crl-file
    client-key-file cluster-active-size cluster-remove-delay cluster-sync-interval
    compact-hash-check-time compaction-batch-limit compaction-sleep-interval config
    corrupt-check-time cors data-dir debug discovery discovery-cacert discovery-cert
    discovery-dial-timeout discovery-endpoints discovery-fallback discovery-insecure-skip-tls-verify
    discovery-insecure-transport discovery-keepalive-time discovery-keepalive-timeout discovery-key
    discovery-password discovery-proxy discovery-request-timeout discovery-srv discovery-srv-name
    discovery-token discovery-user distributed-tracing-address distributed-tracing-instance-id
    distributed-tracing-sampling-rate distributed-tracing-service-name downgrade-check-time
    election-timeout enable-distributed-tracing enable-grpc-gateway enable-log-rotation enable-pprof
    enable-v2 experimental-auto-compaction-retention experimental-backend-bbolt-freelist-type
    experimental-bootstrap-defrag-threshold-megabytes experimental-compact-hash-check-enabled
    experimental-compact-hash-check-time experimental-compaction-batch-limit
    experimental-compaction-sleep-interval experimental-corrupt-check-time
    experimental-distributed-tracing-address experimental-distributed-tracing-instance-id
    experimental-distributed-tracing-sampling-rate experimental-distributed-tracing-service-name
    experimental-downgrade-check-time experimental-enable-distributed-tracing
    experimental-enable-lease-checkpoint experimental-enable-lease-checkpoint-persist
    experimental-enable-v2v3 experimental-initial-corrupt-check experimental-max-learners
    experimental-memory-mlock experimental-peer-skip-client-san-verification
    experimental-snapshot-catchup-entries experimental-stop-grpc-service-on-defrag
    experimental-txn-mode-write-with-shared-buffer experimental-v3demo
    experimental-warning-apply-duration experimental-warning-unary-request-duration
    experimental-watch-progress-notify-interval feature-gates force force-new-cluster
    grpc-keepalive-interval grpc-keepalive-min-time grpc-keepalive-timeout heartbeat-interval
    host-whitelist initial-advertise-peer-urls initial-cluster initial-cluster-state
    initial-cluster-token initial-election-tick-advance key-file listen-client-http-urls
    listen-client-urls listen-metrics-urls listen-peer-urls log-format log-level log-output
    log-outputs log-package-levels log-rotation-config-json logger max-concurrent-streams
    max-learners max-request-bytes max-result-buffer max-retry-attempts max-snapshots max-txn-ops
    max-wals memory-mlock metrics name next-cluster-version-compatible peer-auto-tls peer-ca-file
    peer-cert-allowed-cn peer-cert-allowed-hostname peer-cert-file peer-client-cert-auth
    peer-client-cert-file peer-client-key-file peer-crl-file peer-election-timeout
    peer-heartbeat-interval peer-key-file peer-skip-client-san-verification peer-trusted-ca-file
    pre-vote proxy proxy-dial-timeout proxy-failure-wait proxy-read-timeout proxy-refresh-interval
    proxy-write-timeout quota-backend-bytes raft-read-timeout raft-write-timeout retry-interval
    self-signed-cert-validity snapshot snapshot-catchup-entries snapshot-count socket-reuse-address
    socket-reuse-port strict-reconfig-check tls-max-version tls-min-version trusted-ca-file
    unsafe-no-fsync v v2-deprecation vv wal-dir warning-apply-duration
    warning-unary-request-duration watch-progress-notify-interval";

#[test]
fn every_flag_of_etcd_is_known() {
    for flag in ETCD_FLAGS.split_whitespace() {
        assert!(by_name(flag).is_some(), "{flag}");
    }
    let ours: Vec<&str> = SETTINGS
        .iter()
        .filter(|s| !s.etcd)
        .flat_map(Setting::names)
        .filter(|name| ETCD_FLAGS.split_whitespace().any(|flag| flag == *name))
        .collect();
    assert_eq!(ours, Vec::<&str>::new(), "etcd has these names");
}
