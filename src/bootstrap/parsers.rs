//! The parsers of what servers answer during discovery, for tests that give them any bytes.

use hickory_resolver::proto::op::Message;

use super::{dns, entries_to_members, remote, v2_discovery, v3_discovery};

/// `/members` of another member, with its header.
pub fn members(id: Option<&str>, body: &[u8]) -> bool {
    remote::read("http://a:1", id, body).is_ok()
}

/// The token's directory on a v2 server.
pub fn v2_token(status: u16, body: &[u8], size: usize) -> bool {
    let token = v2_discovery::Token::new("http://a:1/token", None);
    let Ok(entries) = token.entries(status, body, size) else { return false };
    let entries: Vec<String> = entries.into_iter().map(|(_, value)| value).collect();
    entries_to_members(&entries, "token").is_ok()
}

/// The token's keys on a v3 server.
pub fn v3_token(body: &[u8], size: usize) -> bool {
    let Ok(answer) = serde_json::from_slice(body) else { return false };
    let entries = v3_discovery::entries(&answer, size);
    let entries: Vec<String> = entries.into_iter().map(|(_, _, value)| value).collect();
    entries_to_members(&entries, "token").is_ok()
}

/// A packet of a name server; how many members it names.
pub fn dns_answer(packet: &[u8]) -> usize {
    let Ok(message) = Message::from_vec(packet) else { return 0 };
    let targets = dns::targets(&message.answers);
    targets.iter().filter(|(host, port)| dns::member_url("https", host, *port).is_ok()).count()
}
