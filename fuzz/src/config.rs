//! The configuration file, in each of its notations, and the command line.

use std::{ffi::OsString, path::Path};

use callboard::config::{flags, load_text};

use super::Input;

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let path = ["a.toml", "a.yaml", "a.conf", ""][usize::from(input.byte() % 4)];
    let text = String::from_utf8_lossy(input.0);
    let error = if path.is_empty() {
        flags::parse(text.split('\0').map(OsString::from)).err()
    } else {
        load_text(Path::new(path), &text).err()
    };
    assert!(error.is_none_or(|error| !error.to_string().contains('\n')), "one line says it all");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let toml = include_str!("../../config/single-member.toml");
    let yaml = include_str!("../../config/etcd-style.yaml");
    [
        (0, toml),
        (1, yaml),
        (2, yaml),
        (2, "name = \"x\"\nlisten-client-urls = [\"http://127.0.0.1:1\"]\n"),
        (1, "client-transport-security:\n  cert-file: a\n  key-file: b\nheartbeat-interval: 100\n"),
        (3, "--name\0a\0--listen-client-urls=http://127.0.0.1:0\0-force-new-cluster"),
    ]
    .map(|(kind, text)| [&[kind], text.as_bytes()].concat())
    .to_vec()
}
