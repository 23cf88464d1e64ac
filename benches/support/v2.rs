//! v2 requests made ahead, and whether what comes back is the answer to them.

use std::fmt::Write as _;

/// Bytes of each value.
pub const VALUE_BYTES: usize = 256;

/// A request for the key of this number.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Set(usize),
    Get(usize),
    QuorumGet(usize),
}

impl Op {
    /// Whether it goes through the log.
    pub fn is_write(self) -> bool {
        matches!(self, Op::Set(_))
    }
}

/// The requests for the first so many keys.
pub struct Requests {
    sets: Vec<Vec<u8>>,
    gets: Vec<Vec<u8>>,
    quorum_gets: Vec<Vec<u8>>,
    paths: Vec<String>,
}

impl Requests {
    /// Makes them.
    pub fn new(keys: usize) -> Requests {
        let of = |make: fn(usize) -> Vec<u8>| (0..keys).map(make).collect();
        Requests {
            sets: of(set),
            gets: of(|key| get(&path(key), "")),
            quorum_gets: of(|key| get(&path(key), "?quorum=true")),
            paths: (0..keys).map(path).collect(),
        }
    }

    /// How many keys.
    pub fn keys(&self) -> usize {
        self.paths.len()
    }

    /// The bytes to send.
    pub fn bytes(&self, op: Op) -> &[u8] {
        match op {
            Op::Set(key) => &self.sets[key],
            Op::Get(key) => &self.gets[key],
            Op::QuorumGet(key) => &self.quorum_gets[key],
        }
    }

    /// Checks an answer.
    pub fn check(&self, op: Op, status: u16, body: &[u8]) -> Result<(), String> {
        let (Op::Set(key) | Op::Get(key) | Op::QuorumGet(key)) = op;
        check(op.is_write(), &self.paths[key], status, body)
    }
}

/// The path of a key, in a directory of a thousand.
pub fn path(key: usize) -> String {
    format!("/bench/{:04}/key-{key:08}", key / 1000)
}

/// Sets a key.
pub fn set(key: usize) -> Vec<u8> {
    set_at(&path(key))
}

/// Sets the key at a path.
pub fn set_at(path: &str) -> Vec<u8> {
    let value = "v".repeat(VALUE_BYTES);
    let length = value.len() + "value=".len();
    format!(
        "PUT /v2/keys{path} HTTP/1.1\r\nHost: bench\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\nvalue={value}"
    )
    .into_bytes()
}

/// Gets the key at a path.
pub fn get(path: &str, query: &str) -> Vec<u8> {
    format!("GET /v2/keys{path}{query} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
}

/// Waits for a change of the key at a path; of the next one if `since` is 0.
pub fn poll(path: &str, since: u64) -> Vec<u8> {
    let mut query = "?wait=true".to_owned();
    if since != 0 {
        _ = write!(query, "&waitIndex={since}");
    }
    get(path, &query)
}

/// Checks the answer to a set or a get, or an event of a set: the right key, the whole value.
pub fn check(is_set: bool, path: &str, status: u16, body: &[u8]) -> Result<(), String> {
    let action: &[u8] = if is_set { b"{\"action\":\"set\"," } else { b"{\"action\":\"get\"," };
    let is_right = || {
        let value = body
            .strip_prefix(action)?
            .strip_prefix(b"\"node\":{\"key\":\"")?
            .strip_prefix(path.as_bytes())?
            .strip_prefix(b"\",\"value\":\"")?;
        let (value, rest) = value.split_at_checked(VALUE_BYTES)?;
        (value.iter().all(|&b| b == b'v') && rest.starts_with(b"\"")).then_some(())
    };
    let is_ok = status == 200 || is_set && status == 201;
    if is_ok && is_right().is_some() {
        return Ok(());
    }
    Err(format!("{status} for {path}: {}", String::from_utf8_lossy(body)))
}

/// The revision of an event.
pub fn modified(body: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"modifiedIndex\":";
    let at = body.windows(NAME.len()).position(|part| part == NAME)? + NAME.len();
    let digits = body[at..].iter().take_while(|b| b.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
