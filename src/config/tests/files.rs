//! Configuration files in their notations.

use super::*;

#[test]
fn a_file_is_all_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    std::fs::write(&path, "name = \"from-file\"\n").unwrap();
    let path = path.to_str().unwrap();
    let Loaded { config, notices } = loaded(
        &["--config-file", path, "--name=flag"],
        &[("ETCD_NAME", "x"), ("ETCD_PRE_VOTE", "0")],
    );
    assert_eq!(
        config,
        Config {
            name: "from-file".to_owned(),
            data_dir: "from-file.etcd".into(),
            initial_cluster: config.initial_cluster.clone(),
            ..Config::default()
        }
    );
    assert_eq!(
        notices,
        [format!("configuration file {path} is used; all other flags and variables are ignored")]
    );
    let quiet = loaded(&[], &[("CALLBOARD_CONFIG_FILE", path)]);
    assert_eq!((quiet.config.name.as_str(), quiet.notices.len()), ("from-file", 0));
    let bad = refused(&["--config-file", path, "--pre-vote=x"], &[]);
    assert_eq!(bad.1, 2, "the command line is read to its end");
}

#[test]
fn yaml_as_etcd_reads_it() {
    let text = "
        # etcd's sample, shortened
        name: n1
        data-dir: /var/lib/x
        wal-dir:
        snapshot-count: 5000
        heartbeat-interval: 50
        election-timeout: 500
        quota-backend-bytes: -1
        listen-client-urls: http://0.0.0.0:2379
        max-snapshots: 5
        cors:
        discovery-fallback: 'exit'
        strict-reconfig-check: yes
        pre-vote: off
        proxy: off
        auto-compaction-mode: periodic
        auto-compaction-retention: \"1\"
        warning-apply-duration: 200000000
        grpc-keepalive-timeout: 3s
        client-transport-security:
          cert-file:
          client-cert-auth: false
        peer-transport-security:
        log-level: debug
        logger: zap
        log-outputs: [stderr, stdout]
        self-signed-cert-validity: 1
        mailbox:
          watch: 9
        nonsense: 1
        socket-options:
          reuse-port: true
          odd: true
    ";
    let unindented: Vec<&str> =
        text.lines().map(|line| line.strip_prefix("        ").unwrap_or(line)).collect();
    let text = unindented.join("\n");
    for name in ["x.yaml", "x.yml", "etcd.conf"] {
        let Loaded { config, notices } = from_file(name, &text).unwrap();
        assert_eq!(config.name, "n1");
        assert_eq!((config.snapshot_count, config.heartbeat_interval_ms), (5000, 50));
        assert_eq!(config.quota_backend_bytes, None);
        assert_eq!(config.auto_compaction, AutoCompaction::Period(Duration::from_secs(3600)));
        assert_eq!(config.warning_apply_duration, Duration::from_millis(200));
        assert_eq!(config.grpc_keepalive_timeout, Duration::from_secs(3));
        assert!(config.strict_reconfig_check && !config.pre_vote, "the old words for booleans");
        assert_eq!(config.log_level, "debug");
        assert_eq!(config.log_outputs, [LogOutput::Stderr, LogOutput::Stdout]);
        assert_eq!(config.mailbox.watch, 9);
        assert_eq!(config.advertise_client_urls[0].as_str(), "http://localhost:2379");
        for said in [
            format!("key nonsense in {name}: no such setting, passed over"),
            format!("key socket-options.odd in {name}: no such setting, passed over"),
            "setting advertise-client-urls: not set beside listen-client-urls; clients are told http://localhost:2379".to_owned(),
        ] {
            assert!(notices.contains(&said), "{said}: {notices:#?}");
        }
    }
}

#[test]
fn json_and_toml_and_empty_files() {
    let json =
        "{\"name\": \"j\", \"pre-vote\": false, \"initial-cluster\": \"j=http://localhost:2380\"}";
    for name in ["x.json", "x.yaml", "x"] {
        let config = from_file(name, json).unwrap().config;
        assert_eq!((config.name.as_str(), config.pre_vote), ("j", false), "{name}");
    }
    let toml = "name = \"t\"\nwarning-apply-duration = \"1s\"\n[mailbox]\nraft-node = 1\n";
    for name in ["x.toml", "x"] {
        let config = from_file(name, toml).unwrap().config;
        assert_eq!((config.name.as_str(), config.mailbox.raft_node), ("t", 1), "{name}");
    }
    for name in ["x.toml", "x.yaml", "x"] {
        for text in ["", "# nothing\n"] {
            assert_eq!(from_file(name, text).unwrap().config, Config::default(), "{name} {text:?}");
        }
    }
}

#[test]
fn mistakes_in_files() {
    for (name, text, line) in [
        (
            "x.toml",
            "snapshot-cuont = 1",
            "key snapshot-cuont in x.toml: no such setting, did you mean snapshot-count?",
        ),
        (
            "x.toml",
            "[mailbox]\nraft-nod = 1",
            "key mailbox.raft-nod in x.toml: no such setting, did you mean mailbox.raft-node?",
        ),
        ("x.toml", "zzzzzzzzz = 1", "key zzzzzzzzz in x.toml: no such setting"),
        (
            "x.toml",
            "[mailbox]\nstore = 0",
            "setting key mailbox.store in x.toml: value \"0\": allowed: a whole number from 1 to 16777216",
        ),
        (
            "x.toml",
            "listen-client-urls = \"http://127.0.0.1:1\"",
            "setting key listen-client-urls in x.toml: value \"http://127.0.0.1:1\": allowed: with --advertise-client-urls beside it, since clients must be told an address that they can reach",
        ),
        (
            "x.yaml",
            "peer-transport-security:\n  cert-file: a.crt",
            "setting key peer-transport-security.cert-file in x.yaml: value \"a.crt\": allowed: a file, with --peer-key-file beside it",
        ),
        (
            "x.yaml",
            "peer-transport-security:\n  allowed-cn: [a]",
            "setting key peer-transport-security.allowed-cn in x.yaml: value \"a\": allowed: with --peer-trusted-ca-file beside it",
        ),
        (
            "x.yaml",
            "peer-cert-file: a.crt",
            "setting key peer-cert-file in x.yaml: value \"a.crt\": allowed: a file, with --peer-key-file beside it",
        ),
        (
            "x.yaml",
            "discovery-config:\n  token: x\n  endpoints: ['http://a:1']\n  secure:\n    cert: y",
            "setting key discovery-config.secure.cert in x.yaml: value \"y\": allowed: with https in --discovery-endpoints",
        ),
        (
            "x.yaml",
            "client-transport-security: 5",
            "setting key client-transport-security in x.yaml: value \"5\": allowed: a section of keys with their values",
        ),
        (
            "x.yaml",
            "pre-vote: {a: 1}",
            "setting key pre-vote in x.yaml: value \"{\\\"a\\\":1}\": allowed: true or false",
        ),
        (
            "x.yaml",
            "cors: [1]",
            "setting key cors in x.yaml: value \"[1]\": allowed: *, or origins joined by commas, like https://a.example",
        ),
        (
            "x.yaml",
            "election-timeout: 7",
            "setting key election-timeout in x.yaml: value \"7\": allowed: milliseconds, at least 5 times heartbeat-interval (5 × 100 = 500), at most 50000",
        ),
        ("x.yaml", "just words", "configuration file x.yaml: allowed: keys with their values"),
    ] {
        let error = from_file(name, text).unwrap_err();
        assert_eq!(error.to_string(), line);
        assert_eq!(error.exit_status(), ExitStatus::Failure);
    }
    for (name, text) in [
        ("x.toml", "a = \nb"),
        ("x.yaml", "a: [1"),
        ("x", "}{"),
        ("x.json", "{\"a\":"),
        ("x.yaml", "name: a\nname: b"),
    ] {
        let line = from_file(name, text).unwrap_err().to_string();
        assert!(line.starts_with(&format!("configuration file {name}: ")), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}
