//! What others answer while a member looks for its cluster.

use callboard::bootstrap::parsers;

use super::{Input, pieces};

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let size = usize::from(input.byte());
    match kind % 4 {
        0 => _ = parsers::members(Some(&input.text()), input.0),
        1 => _ = parsers::v2_token(200 + u16::from(kind / 4), input.0, size),
        2 => _ = parsers::v3_token(input.0, size),
        _ => _ = parsers::dns_answer(input.0),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let members =
        br#"[{"id":7,"name":"a","peerURLs":["http://a:1"],"clientURLs":[],"isLearner":true}]"#;
    let v2 =
        br#"{"action":"get","node":{"key":"/t","dir":true,"nodes":[{"key":"/t/_config","dir":true},
        {"key":"/t/7","value":"a=http://a:1,a=http://b:2","createdIndex":9}]}}"#;
    let v3 = br#"{"kvs":[{"key":"YQ==","value":"YT1odHRwOi8vYToxLGE9aHR0cDovL2I6Mg==","create_revision":"3"}]}"#;
    let mut dns = vec![3, 0];
    dns.extend([0, 1, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]); // one question, one answer
    let name = b"\x0c_etcd-server\x04_tcp\x01a\0";
    dns.extend_from_slice(name);
    dns.extend([0, 33, 0, 1]);
    dns.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 10]);
    dns.extend([0, 0, 0, 0, 0x09, 0x4c, 2, b'n', b'1', 0]);
    vec![
        [&pieces(&[0, 3], [b"c0ffee"])[..], members].concat(),
        [&[1, 3][..], v2].concat(),
        [&[2, 3][..], v3].concat(),
        dns,
    ]
}
