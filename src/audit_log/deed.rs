//! What is told of a request: the operation and what it is about. Made before the request is carried out, so
//! it keeps copies, and short ones.

/// Operations of a transaction that are told one by one.
pub const PARTS_MAX: usize = 32;
/// Bytes of a key, or of a name, that are told.
pub const TEXT_BYTES_MAX: usize = 1024;

/// See the head of the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deed {
    /// What is done: `put`, `lease-grant`, …
    pub op: &'static str,
    /// Whether it changes something, or is told for another reason; of others only refusals are.
    pub told: bool,
    /// The keys that it is about, if it is about one range of them.
    pub keys: Option<Part>,
    /// What else it is about: users, roles, leases, members, by name.
    pub about: Vec<(&'static str, String)>,
    /// What a transaction writes if its compares hold.
    pub parts: Vec<Part>,
    /// What it writes if they do not.
    pub otherwise: Vec<Part>,
}

/// One range of keys, and what is done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `put` or `delete`; empty if the deed says it.
    pub op: &'static str,
    /// The key, or its beginning.
    pub key: Vec<u8>,
    /// How long the whole is.
    pub key_bytes: usize,
    /// The end of the range, or its beginning; empty: one key.
    pub range_end: Vec<u8>,
}

impl Part {
    /// With as much of the keys as is told.
    pub fn new(op: &'static str, key: &[u8], range_end: &[u8]) -> Part {
        let cut = |bytes: &[u8]| bytes[..bytes.len().min(TEXT_BYTES_MAX)].to_vec();
        Part { op, key: cut(key), key_bytes: key.len(), range_end: cut(range_end) }
    }
}

impl Deed {
    /// A change.
    pub fn of(op: &'static str) -> Deed {
        Deed { op, told: true, ..Deed::default() }
    }

    /// Something of which only the refusal is told.
    pub fn quiet(op: &'static str) -> Deed {
        Deed { op, ..Deed::default() }
    }

    /// About this key.
    #[must_use]
    pub fn key(self, key: &[u8]) -> Deed {
        self.range(key, b"")
    }

    /// About these keys.
    #[must_use]
    pub fn range(mut self, key: &[u8], range_end: &[u8]) -> Deed {
        self.keys = Some(Part::new("", key, range_end));
        self
    }

    /// About this, too. Must be no secret.
    #[must_use]
    pub fn about(mut self, name: &'static str, what: impl AsRef<str>) -> Deed {
        let what = what.as_ref();
        let mut end = what.len().min(TEXT_BYTES_MAX);
        while !what.is_char_boundary(end) {
            end -= 1;
        }
        self.about.push((name, what[..end].to_owned()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        let deed = Deed::of("user-add").about("name", format!("x{}", "ä".repeat(1000)));
        assert_eq!(deed.about[0].1.len(), TEXT_BYTES_MAX - 1);
        let deed = Deed::of("put").key(&[b'k'; 5000]);
        let keys = deed.keys.unwrap();
        assert_eq!((keys.key.len(), keys.key_bytes), (TEXT_BYTES_MAX, 5000));
    }
}
