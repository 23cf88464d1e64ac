//! Flags and variables, the rules over them, and the bootstrap.

use super::super::settings::{Effect, SETTINGS};
use super::*;

#[test]
fn flags_are_spelled_as_in_go() {
    for args in [
        &["--name=x"][..],
        &["--name", "x"],
        &["-name", "x"],
        &["-name=x"],
        &["--name=y", "--name=x"], // the last one counts
    ] {
        assert_eq!(config(args).name, "x", "{args:?}");
    }
    for (args, pre_vote) in [
        (&["--pre-vote"][..], true),
        (&["-pre-vote=true"], true),
        (&["--pre-vote=F"], false),
        (&["--pre-vote=0"], false),
    ] {
        assert_eq!(config(args).pre_vote, pre_vote, "{args:?}");
    }
    assert_eq!(config(&["--quota-backend-bytes", "-1"]).quota_backend_bytes, None);
    assert_eq!(config(&["--quota-backend-bytes=0x1000"]).quota_backend_bytes, Some(4096));
    assert_eq!(config(&["--wal-dir="]).wal_dir, None);
    assert_eq!(config(&["--name", "--odd"]).name, "--odd", "the next argument is the value");
    assert_eq!(config(&["--initial-cluster-token=a=b"]).initial_cluster_token, "a=b");
    assert_eq!(config(&["--name", "x", "--"]).name, "x");
}

#[test]
fn values_arrive_typed() {
    let config = config(&[
        "--name=n1",
        "--wal-dir=/wal",
        "--listen-client-urls=http://0.0.0.0:2379,http://127.0.0.1:4001",
        "--advertise-client-urls=http://n1.example:2379",
        "--initial-advertise-peer-urls=http://10.0.0.1:2380",
        "--initial-cluster=n2=http://10.0.0.2:2380,n1=http://10.0.0.1:2380,n2=http://10.0.0.2:7001",
        "--initial-cluster-state=existing",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        "--metrics=extensive",
        "--warning-apply-duration=1m30s",
        "--log-outputs=stderr,stdout,/var/log/x.log,stderr,systemd/journal",
        "--log-format=pretty",
        "--cors=http://a.example, http://b.example",
        "--host-whitelist=",
        "--mailbox-watch=1",
        "--http-workers=3",
        "--auth-token-ttl=60",
    ]);
    assert_eq!(config.data_dir, Path::new("n1.etcd"));
    assert_eq!(config.wal_dir.as_deref(), Some(Path::new("/wal")));
    assert_eq!(config.listen_client_urls.len(), 2);
    assert_eq!(config.advertise_client_urls[0].host(), "n1.example");
    let members: Vec<(&str, usize)> =
        config.initial_cluster.iter().map(|m| (m.name.as_str(), m.peer_urls.len())).collect();
    assert_eq!(members, [("n2", 2), ("n1", 1)], "in the order given");
    assert_eq!(config.initial_cluster_state, ClusterState::Existing);
    assert_eq!(config.metrics, MetricsDetail::Extensive);
    assert_eq!(config.warning_apply_duration, Duration::from_secs(90));
    let file = LogOutput::File("/var/log/x.log".into());
    assert_eq!(config.log_outputs, [LogOutput::Stderr, LogOutput::Stdout, file]);
    assert_eq!(config.log_format, LogFormat::Console);
    assert_eq!(config.cors, ["http://a.example", "http://b.example"]);
    assert_eq!(config.host_whitelist, ["*"]);
    assert_eq!((config.mailbox.watch, config.http_workers), (1, 3));
    assert_eq!(config.auth_token_ttl, Duration::from_secs(60));
}

#[test]
fn a_name_alone_makes_a_cluster_of_it() {
    let named = config(&["--name=n7", "--initial-advertise-peer-urls=http://10.0.0.7:2380"]);
    assert_eq!(named.initial_cluster[0].name, "n7");
    assert_eq!(named.initial_cluster[0].peer_urls[0].as_str(), "http://10.0.0.7:2380");
    assert_eq!(verify_bootstrap(&named), Ok(()));
}

#[test]
fn mistakes_on_the_command_line() {
    for (args, line, code) in [
        (
            &["--nosuch=1"][..],
            "setting --nosuch: no such flag; `callboard serve --help` lists them",
            2,
        ),
        (
            &["-heartbeat-intervall", "5"],
            "setting --heartbeat-intervall: no such flag, did you mean --heartbeat-interval?; `callboard serve --help` lists them",
            2,
        ),
        (
            &["-heartbeat-interval=abc"],
            "setting --heartbeat-interval: value \"abc\": allowed: a whole number, 0 or more",
            2,
        ),
        (
            &["--initial-cluster-state=foo"],
            "setting --initial-cluster-state: value \"foo\": allowed: new, existing",
            2,
        ),
        (&["--pre-vote=maybe"], "setting --pre-vote: value \"maybe\": allowed: true or false", 2),
        (&["--proxy"], "setting --proxy: flag needs an argument: --proxy=VALUE", 2),
        (
            &["---name=x"],
            "argument \"---name=x\": bad flag syntax: allowed: --name=value, --name value",
            2,
        ),
        (
            &["--listen-client-urls", "foo", "--advertise-client-urls", "http://a:1"],
            "setting --listen-client-urls: value \"foo\": allowed: URLs whose scheme is http, https, unix or unixs, like http://127.0.0.1:2379",
            2,
        ),
        (
            &["--grpc-keepalive-timeout=20"],
            "setting --grpc-keepalive-timeout: value \"20\": allowed: a duration with its unit, like 100ms, 5s, 10m or 1h30m",
            2,
        ),
        (
            &["--mailbox-store=0"],
            "setting --mailbox-store: value \"0\": allowed: a whole number from 1 to 16777216",
            2,
        ),
        (
            &["--experimental-warning-apply-duration=x"],
            "setting --experimental-warning-apply-duration: value \"x\": allowed: a duration with its unit, like 100ms, 5s, 10m or 1h30m",
            2,
        ),
        (
            &["--cors=http://a,foo"],
            "setting --cors: value \"http://a,foo\": allowed: *, or origins joined by commas, like https://a.example",
            2,
        ),
        (
            &["--initial-cluster=foo"],
            "setting --initial-cluster: value \"foo\": allowed: name=url pairs joined by commas, like n1=http://10.0.0.1:2380",
            1,
        ),
        // From here on the values can be read, and a rule forbids them.
        (&["stray"], "\"stray\" is not a valid flag; allowed: --name=value, --name value", 1),
        (
            &["--pre-vote", "false"],
            "\"false\" is not a valid flag; allowed: --name=value, --name value",
            1,
        ),
        (
            &["--election-timeout=200"],
            "setting --election-timeout: value \"200\": allowed: milliseconds, at least 5 times heartbeat-interval (5 × 100 = 500), at most 50000",
            1,
        ),
        (
            &["--heartbeat-interval=300"],
            "setting --heartbeat-interval: value \"300\": allowed: milliseconds, at most a fifth of election-timeout, which is 1000",
            1,
        ),
        (
            &["--heartbeat-interval=0"],
            "setting --heartbeat-interval: value \"0\": allowed: milliseconds, 1 or more",
            1,
        ),
        (
            &["--election-timeout=60000"],
            "setting --election-timeout: value \"60000\": allowed: milliseconds, at least 5 times heartbeat-interval (5 × 100 = 500), at most 50000",
            1,
        ),
        (
            &["--listen-client-urls=http://127.0.0.1:2379"],
            "setting --listen-client-urls: value \"http://127.0.0.1:2379\": allowed: with --advertise-client-urls beside it, since clients must be told an address that they can reach",
            1,
        ),
        (
            &["--listen-peer-urls=http://a.example:2380"],
            "setting --listen-peer-urls: value \"http://a.example:2380\": allowed: URLs with an IP address or localhost to listen on, like http://127.0.0.1:2379 or http://0.0.0.0:2379",
            1,
        ),
        (
            &["--advertise-client-urls=http://:2379"],
            "setting --advertise-client-urls: value \"http://:2379\": allowed: URLs with a host and a port that others can reach, like http://10.0.0.1:2379",
            1,
        ),
        (&["--name="], "setting --name: value \"\": allowed: a name that is not empty", 1),
        (
            &["--auto-compaction-mode=foo"],
            "setting --auto-compaction-mode: value \"foo\": allowed: revision, periodic",
            1,
        ),
        (
            &["--log-outputs=default,stdout"],
            "setting --log-outputs: value \"default,stdout\": allowed: default alone, or stderr, stdout, systemd/journal and paths joined by commas",
            1,
        ),
        (
            &["--max-learners=1", "--experimental-max-learners=2"],
            "setting --max-learners: also given as --experimental-max-learners; allowed: one of the two names",
            1,
        ),
        (
            &["--name=a\nb", "--election-timeout=1\u{1b}"],
            "setting --election-timeout: value \"1\\u{1b}\": allowed: a whole number, 0 or more",
            2,
        ),
    ] {
        assert_eq!(refused(args, &[]), (line.to_owned(), code), "{args:?}");
    }
}

#[test]
fn what_this_version_has_not_stops_the_start() {
    for (args, line) in [
        (
            &["--peer-cert-file=a.crt"][..],
            "setting --peer-cert-file: value \"a.crt\": allowed: a file, with --peer-key-file beside it",
        ),
        (
            &["--peer-client-key-file=a.key"],
            "setting --peer-client-key-file: value \"a.key\": allowed: a file, with --peer-client-cert-file beside it",
        ),
        (
            &["--peer-client-cert-auth"],
            "setting --peer-client-cert-auth: value \"true\": allowed: with --peer-trusted-ca-file beside it",
        ),
        (
            &["--peer-crl-file=x"],
            "setting --peer-crl-file: value \"x\": allowed: with --peer-trusted-ca-file beside it",
        ),
        (
            &["--peer-auto-tls", "--peer-cert-allowed-cn=x", "--peer-trusted-ca-file=ca"],
            "setting --peer-cert-allowed-cn: value \"x\": allowed: without --peer-auto-tls: nobody vouches for the certificates that it makes",
        ),
        (
            &["--peer-auto-tls", "--peer-ca-file=x"],
            "setting --peer-ca-file: value \"x\": allowed: without --peer-auto-tls, whose certificates no authority signs",
        ),
        (
            &["--peer-client-cert-auth", "--peer-trusted-ca-file=ca"],
            "setting --listen-peer-urls (its default): value \"http://localhost:2380\": allowed: https alone where members must show a certificate",
        ),
        (
            &["--listen-peer-urls=https://127.0.0.1:1"],
            "setting --listen-peer-urls: value \"https://127.0.0.1:1\": allowed: https with --peer-cert-file and --peer-key-file, or with --peer-auto-tls; else http",
        ),
        (
            &[
                "--listen-client-urls=http://127.0.0.1:1,https://127.0.0.1:2",
                "--advertise-client-urls=http://a:1",
            ],
            "setting --listen-client-urls: value \"http://127.0.0.1:1,https://127.0.0.1:2\": allowed: https with --cert-file and --key-file, or with --auto-tls; else http",
        ),
        (
            &["--cert-file=a.crt"],
            "setting --cert-file: value \"a.crt\": allowed: a file, with --key-file beside it",
        ),
        (
            &["--key-file=a.key"],
            "setting --key-file: value \"a.key\": allowed: a file, with --cert-file beside it",
        ),
        (
            &["--auto-tls", "--self-signed-cert-validity=0"],
            "setting --self-signed-cert-validity: value \"0\": allowed: a number of years, 1 or more",
        ),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "setting --tls-max-version: value \"TLS1.2\": allowed: tls-min-version or later",
        ),
        (
            &["--listen-peer-urls=unix:///x"],
            "setting --listen-peer-urls: value \"unix:///x\": allowed: URLs with an address that other members can reach",
        ),
        (
            &["--initial-cluster=default=unixs://a:1"],
            "setting --initial-cluster: value \"unixs://a:1\": not in this version: Unix sockets; http://host:port is",
        ),
    ] {
        assert_eq!(refused(args, &[]), (line.to_owned(), 1), "{args:?}");
    }
    for setting in SETTINGS.iter().filter(|s| matches!(s.effect, Effect::NotYet(_))) {
        let flag = format!("--{}={}", setting.name, setting.default);
        assert!(try_load(&[&flag], &[]).is_ok(), "{flag} asks for nothing");
    }
}

#[test]
fn tls_between_members_is_gathered() {
    let tls = |args: &[&str]| loaded(args, &[]).config.peer_tls;
    let file = |name, path: &str| Some(crate::tls::Setting { name, path: path.into() });
    let files = ["--peer-cert-file=c", "--peer-key-file=k", "--peer-trusted-ca-file=ca"];
    let both = tls(&files);
    assert_eq!(both.port.serving.cert_file, file("peer-cert-file", "c"));
    assert_eq!(both.calling, both.port.serving);
    assert!(both.port.serving.client_cert_auth && both.checks_address);

    let own = ["--peer-client-cert-file=c2", "--peer-client-key-file=k2"];
    let skip = "--experimental-peer-skip-client-san-verification";
    let args: Vec<&str> = files.into_iter().chain(own).chain([skip]).collect();
    let apart = tls(&args);
    assert_eq!(apart.port.serving, both.port.serving);
    assert_eq!(apart.calling.cert_file, file("peer-client-cert-file", "c2"));
    assert_eq!(apart.calling.key_file, file("peer-client-key-file", "k2"));
    assert_eq!(apart.calling.ca_file, both.calling.ca_file);
    assert!(!apart.checks_address);

    let auto = tls(&["--peer-auto-tls"]);
    assert!(auto.calling.believe_anyone && auto.port.makes_its_own());
    assert!(!tls(&["--peer-auto-tls", files[0], files[1]]).calling.believe_anyone);
    assert_eq!(tls(&["--discovery-srv=a.example"]).server_name.as_deref(), Some("a.example"));
    assert_eq!(tls(&["--discovery-srv=a.example", files[2]]).server_name, None);
}

#[test]
fn what_has_no_effect_is_taken_and_said() {
    let Loaded { config, notices } = loaded(
        &[
            "--backend-batch-limit=-5",
            "--enable-pprof",
            "--warning-unary-request-duration=5s",
            "-v",
            "--snapshot=x",
        ],
        &[("ETCD_FEATURE_GATES", "InitialCorruptCheck=true"), ("ETCD_SOCKET_REUSE_PORT", "1")],
    );
    let warned = Duration::from_secs(5);
    assert_eq!(config, Config { warning_unary_request_duration: warned, ..Config::default() });
    let starts: Vec<&str> = notices.iter().map(|n| n.split(" effect").next().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "setting --backend-batch-limit: has no",
            "setting --enable-pprof: has no",
            "setting ETCD_FEATURE_GATES: has no",
            "setting --snapshot: has no",
            "setting ETCD_SOCKET_REUSE_PORT: has no",
            "setting --v: has no",
            "setting --warning-unary-request-duration: has no",
        ]
    );
    let (line, code) = refused(&["--feature-gates=InitialCorruptCheck=true,Nonsense=true"], &[]);
    assert!(line.contains("allowed: Name=true or Name=false"), "{line}");
    assert_eq!(code, 1);
}

#[test]
fn what_etcd_units_ask_of_compaction_is_done_as_etcd_does_it() {
    let hours = |h: u64| AutoCompaction::Period(Duration::from_secs(3600 * h));
    for (args, expected) in [
        (&[][..], AutoCompaction::Revisions(100_000)),
        (&["--auto-compaction-mode=revision"], AutoCompaction::Revisions(100_000)),
        (
            &["--auto-compaction-mode=revision", "--auto-compaction-retention=10"],
            AutoCompaction::Revisions(10),
        ),
        (
            &["--auto-compaction-mode=revision", "--auto-compaction-retention=0"],
            AutoCompaction::Off,
        ),
        (&["--auto-compaction-mode=periodic"], AutoCompaction::Off),
        (&["--auto-compaction-mode=periodic", "--auto-compaction-retention=2"], hours(2)),
        (&["--auto-compaction-mode=periodic", "--auto-compaction-retention=1h"], hours(1)),
        (&["--auto-compaction-retention=1"], hours(1)),
        (&["--experimental-auto-compaction-retention=3"], hours(3)),
        (&["--auto-compaction-retention=5m"], AutoCompaction::Period(Duration::from_secs(300))),
        (&["--auto-compaction-retention=0"], AutoCompaction::Off),
    ] {
        assert_eq!(config(args).auto_compaction, expected, "{args:?}");
    }
    assert_eq!(loaded(&["--auto-compaction-mode=periodic"], &[]).notices.len(), 1);
    for args in [
        &["--auto-compaction-mode=revision", "--auto-compaction-retention=5m"][..],
        &["--auto-compaction-mode=periodic", "--auto-compaction-retention=-1h"],
        &["--auto-compaction-retention=99999999999999999"],
        &["--auto-compaction-retention=often"],
    ] {
        let (line, code) = refused(args, &[]);
        assert!(line.starts_with("setting --auto-compaction-retention: value "), "{line}");
        assert_eq!(code, 1);
    }
}

#[test]
fn variables_are_flags_in_capitals() {
    let env = [("ETCD_NAME", "etcd"), ("CALLBOARD_NAME", "ours"), ("ETCD_PRE_VOTE", "false")];
    let config = loaded(&[], &env).config;
    assert_eq!(config.name, "ours", "ours wins");
    assert!(!config.pre_vote);
    assert_eq!(loaded(&["--name=x"], &[("ETCD_NAME", "")]).config.name, "x", "empty is none");
    assert_eq!(
        loaded(&[], &[("CALLBOARD_NAME", ""), ("ETCD_NAME", "etcd")]).config.name,
        "etcd",
        "empty is none, also when it would win"
    );
    let advertised = [
        ("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:1"),
        ("CALLBOARD_ADVERTISE_CLIENT_URLS", "http://a:1"),
    ];
    assert_eq!(loaded(&[], &advertised).config.advertise_client_urls[0].as_str(), "http://a:1");
    let old_name = [("ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION", "1s")];
    assert_eq!(loaded(&[], &old_name).config.warning_apply_duration, Duration::from_secs(1));
    let unknown = [
        ("ETCD_NAMES", "x"),
        ("CALLBOARD_SERVICE_HOST", "y"),
        ("ETCDCTL_API", "3"),
        ("ETCD_UNSUPPORTED_ARCH", "arm64"),
        ("HOME", "/root"),
    ];
    assert_eq!(
        loaded(&[], &unknown).notices,
        [
            "unrecognized environment variable CALLBOARD_SERVICE_HOST",
            "unrecognized environment variable ETCD_NAMES",
        ]
    );
}

#[test]
fn mistakes_in_variables_end_with_1() {
    for (args, env, line) in [
        (
            &["--name=default"][..],
            &[("ETCD_NAME", "a")][..],
            "conflicting environment variable \"ETCD_NAME\" is shadowed by corresponding command-line flag --name (either unset environment variable or disable flag)",
        ),
        (
            &["--name=default"],
            &[("CALLBOARD_NAME", "a")],
            "conflicting environment variable \"CALLBOARD_NAME\" is shadowed by corresponding command-line flag --name (either unset environment variable or disable flag)",
        ),
        (
            &[],
            &[("ETCD_HEARTBEAT_INTERVAL", "abc")],
            "setting ETCD_HEARTBEAT_INTERVAL: value \"abc\": allowed: a whole number, 0 or more",
        ),
        (
            &[],
            &[("ETCD_INITIAL_CLUSTER_STATE", "foo")],
            "setting ETCD_INITIAL_CLUSTER_STATE: value \"foo\": allowed: new, existing",
        ),
        (
            &[],
            &[("CALLBOARD_PEER_CERT_FILE", "a.crt")],
            "setting CALLBOARD_PEER_CERT_FILE: value \"a.crt\": allowed: a file, with --peer-key-file beside it",
        ),
        (
            &[],
            &[("ETCD_CONFIG_FILE", "/does/not/exist.yaml")],
            "configuration file /does/not/exist.yaml: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(refused(args, env), (line.to_owned(), 1));
    }
}

#[test]
fn the_bootstrap_of_a_member_without_data() {
    let check = |args: &[&str]| {
        verify_bootstrap(&config(args)).map_err(|e| (e.to_string(), e.exit_status().code()))
    };
    assert_eq!(check(&["--name=x", "--initial-cluster=x=http://localhost:2380"]), Ok(()));
    assert_eq!(
        check(&["--name=x", "--initial-cluster=x=http://127.0.0.1:2380"]),
        Ok(()),
        "localhost is looked up"
    );
    for args in [
        &["--initial-cluster=default=http://localhost:2380,b=http://10.0.0.2:2380"][..],
        &["--initial-cluster=default=http://10.0.0.3:1", "--initial-cluster-state=existing"],
        &["--discovery=http://a:1/token"],
        &["--discovery-srv=example"],
        &["--discovery-srv=example", "--initial-cluster-state=existing"],
    ] {
        assert_eq!(check(args), Ok(()), "{args:?}");
    }
    for (args, line) in [
        (
            &["--name=x", "--initial-cluster=y=http://localhost:2380"][..],
            "setting --initial-cluster: value \"y=http://localhost:2380\": allowed: a list with this member's name, \"x\"",
        ),
        (
            &["--initial-cluster=default=http://localhost:2390"],
            "setting --initial-advertise-peer-urls: value \"http://localhost:2380\": allowed: what initial-cluster says of \"default\": http://localhost:2390",
        ),
        (
            &["--initial-cluster=default=http://localhost:2380,b=http://localhost:2380"],
            "setting --initial-cluster: value \"default=http://localhost:2380,b=http://localhost:2380\": allowed: a list in which no two members have the same URL",
        ),
        (
            &["--initial-cluster-state=existing", "--discovery=http://a:1/token"],
            "setting --discovery: value \"http://a:1/token\": allowed: only with --initial-cluster-state=new; who joins names the members in --initial-cluster",
        ),
    ] {
        assert_eq!(check(args), Err((line.to_owned(), 1)));
    }
}

#[test]
fn arguments_and_variables_that_are_no_text() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(b"--name=\xff".to_vec());
    let error = flags::parse([odd.clone()]).unwrap_err();
    assert_eq!(error.to_string(), "argument: not valid UTF-8: \"--name=\u{fffd}\"");
    let error = Variables::new([(OsString::from("ETCD_NAME"), odd.clone())]).unwrap_err();
    assert!(error.to_string().starts_with("variable ETCD_NAME: not valid UTF-8"), "{error}");
    assert!(Variables::new([(OsString::from("LS_COLORS"), odd)]).is_ok(), "not ours to judge");
}

#[test]
fn a_proxy_is_told_how_to_be_one_and_nobody_is_told_of_it() {
    assert_eq!(Config::default().proxy.mode, ProxyMode::Off);
    let listen = "--listen-client-urls=http://127.0.0.1:1";
    assert!(refused(&[listen], &[]).0.contains("--advertise-client-urls"));
    for (word, mode) in [("on", ProxyMode::On), ("readonly", ProxyMode::ReadOnly)] {
        let word = format!("--proxy={word}");
        let given = config(&[listen, &word, "--proxy-read-timeout=7", "--proxy-dial-timeout=0"]);
        let millis = Duration::from_millis;
        let expected = Proxy {
            mode,
            failure_wait: millis(5000),
            refresh_interval: millis(30_000),
            dial_timeout: Duration::ZERO,
            write_timeout: millis(5000),
            read_timeout: millis(7),
        };
        assert_eq!(given.proxy, expected);
    }
    assert!(refused(&["--proxy=off", listen], &[]).0.contains("--advertise-client-urls"));
}

#[test]
fn tokens_are_simple_or_have_keys() {
    let config = |text: &str| try_load(&[&format!("--auth-token={text}")], &[]);
    let token = |text: &str| config(text).expect("taken").config.auth_token;
    assert_eq!(token("simple"), AuthToken::Simple);
    assert_eq!(
        token("jwt,pub-key=a,priv-key=b,sign-method=RS256,ttl=1m"),
        AuthToken::Jwt {
            sign_method: "RS256".to_owned(),
            pub_key: Some("a".into()),
            priv_key: Some("b".into()),
            ttl: Duration::from_secs(60),
        }
    );
    for bad in [
        "",
        "none",
        "simple,a=b",
        "jwt",
        "jwt,",
        "jwt,pub-key",
        "jwt,pub-key=a",
        "jwt,sign-method=RS256",
        "jwt,sign-method=RS256,pub-key=a,ttl=0",
        "jwt,sign-method=RS256,pub-key=a,ttl=x",
        "jwt,sign-method=RS256,pub-key=a,pub-key=b",
        "jwt,sign-method=RS256,pub-key=a,x=y",
    ] {
        let error = config(bad).expect_err(bad).to_string();
        assert!(error.starts_with("setting --auth-token: value"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
