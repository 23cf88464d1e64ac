//! The real binary: with what it ends and what it says when its configuration is wrong.

use std::process::{Command, Output};

fn callboard(args: &[&str], env: &[(&str, &str)], folder: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_callboard"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Runs it with a mistake; returns the one line on standard error, and the status.
fn mistake(args: &[&str], env: &[(&str, &str)]) -> (String, i32) {
    let folder = tempfile::tempdir().unwrap();
    let output = callboard(args, env, folder.path());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{args:?}");
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "nothing was started: {left:?}");
    (err.trim_end().to_owned(), output.status.code().unwrap())
}

#[test]
fn a_mistake_is_one_line_and_etcd_s_exit_status() {
    for (args, env, line, status) in [
        (
            &["serve", "--nosuch"][..],
            &[][..],
            "callboard: setting --nosuch: no such flag; `callboard serve --help` lists them",
            2,
        ),
        (
            &["serve", "-heartbeat-interval=abc"],
            &[],
            "callboard: setting --heartbeat-interval: value \"abc\": allowed: a whole number, 0 or more",
            2,
        ),
        (
            &["serve", "stray"],
            &[],
            "callboard: \"stray\" is not a valid flag; allowed: --name=value, --name value",
            1,
        ),
        (
            &["serve"],
            &[("ETCD_ELECTION_TIMEOUT", "100")],
            "callboard: setting ETCD_ELECTION_TIMEOUT: value \"100\": allowed: milliseconds, at least 5 times heartbeat-interval (5 × 100 = 500), at most 50000",
            1,
        ),
        (
            &["serve", "--name=a"],
            &[("ETCD_NAME", "b")],
            "callboard: conflicting environment variable \"ETCD_NAME\" is shadowed by corresponding command-line flag --name (either unset environment variable or disable flag)",
            1,
        ),
        (
            &["serve", "--config-file=none.toml"],
            &[],
            "callboard: configuration file none.toml: No such file or directory (os error 2)",
            1,
        ),
        (
            &["serve", "--key-file=a"],
            &[],
            "callboard: setting --key-file: value \"a\": allowed: a file, with --cert-file beside it",
            1,
        ),
        (
            &["serve", "--name=x", "--initial-cluster=y=http://localhost:2380"],
            &[],
            "callboard: setting --initial-cluster: value \"y=http://localhost:2380\": allowed: a list with this member's name, \"x\"",
            1,
        ),
        (
            &["serve", "--log-outputs=none/x.log"],
            &[],
            "callboard: setting log-outputs: value \"none/x.log\": No such file or directory (os error 2)",
            1,
        ),
        (
            &["srve"],
            &[],
            "callboard: \"srve\" is not a command; allowed: serve, proxy, gateway, cert, check-data-dir, restore, version, help",
            2,
        ),
    ] {
        assert_eq!(mistake(args, env), (line.to_owned(), status), "{args:?}");
    }
}

#[test]
fn version_and_help_go_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    for (args, begins) in [
        (&["--version"][..], "etcd Version: 3.6.0\n"),
        (&["serve", "--version"], "etcd Version: 3.6.0\n"),
        (&["--help"], "A linearizable key-value store"),
        (&["serve", "-h"], "Run a member"),
    ] {
        let output = callboard(args, &[], folder.path());
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(out.starts_with(begins), "{args:?}: {out}");
        assert!(output.stderr.is_empty(), "{args:?}");
    }
}
