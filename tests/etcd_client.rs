//! The `etcd-client` crate, as its users have it, against a real server. It is a program of its own
//! (tests/etcd-client), because building the crate asks for protoc: what stands in for that is built
//! first. The program passes against etcd 3.5 too.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::server::Server;

/// Builds a package below tests/ and returns its program.
fn build(package: &str, program: &str, protoc: Option<&Path>) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(package);
    // Not the directory of the build that this test belongs to, but one beside what it makes.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("etcd-client");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(manifest.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(&target).env_remove("RUSTFLAGS");
    if let Some(protoc) = protoc {
        cargo.env("PROTOC", protoc);
    }
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{package}: {}", String::from_utf8_lossy(&built.stderr));
    target.join("debug").join(program)
}

#[test]
fn does_all_that_it_can_do() {
    let protoc = build("etcd-client/protoc", "protoc", None);
    let client = build("etcd-client", "callboard-etcd-client", Some(&protoc));
    let server = Server::start(&[]);
    let ran = Command::new(client).arg(server.client_addr().to_string()).output().unwrap();
    assert!(
        ran.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}
