//! Passwords that were right, for those who send one with each request: bcrypt for each would cost more
//! than the request. Held as digests under a key that ends with the process.

use std::{collections::BTreeMap, hint::black_box};

use sha2::{Digest as _, Sha256};

/// So many users; when there are more, all start anew.
const USERS_MAX: usize = 1024;

struct Known {
    digest: [u8; 32],
    /// The auth revision at which the user got this password.
    since: u64,
}

/// See the head of the module.
pub struct Remembered {
    key: [u8; 32],
    users: BTreeMap<String, Known>,
}

impl Remembered {
    /// With a key that nobody knows.
    pub fn new(key: [u8; 32]) -> Remembered {
        Remembered { key, users: BTreeMap::new() }
    }

    /// Whether this was right for a user who has had one password since then.
    pub fn knows(&self, user: &str, password: &str, since: u64) -> bool {
        let Some(known) = self.users.get(user) else { return false };
        let same = same(&known.digest, &self.digest(user, password));
        same && known.since == since
    }

    /// This was right.
    pub fn learn(&mut self, user: &str, password: &str, since: u64) {
        if self.users.len() >= USERS_MAX && !self.users.contains_key(user) {
            self.users.clear();
        }
        let digest = self.digest(user, password);
        self.users.insert(user.to_owned(), Known { digest, since });
    }

    fn digest(&self, user: &str, password: &str) -> [u8; 32] {
        let mut inner = Sha256::new();
        inner.update(self.key);
        inner.update((user.len() as u64).to_be_bytes());
        inner.update(user);
        inner.update(password);
        // Twice, or one digest could be carried on to that of a longer password.
        Sha256::new().chain_update(self.key).chain_update(inner.finalize()).finalize().into()
    }
}

/// Compares without telling by its time how much was the same.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let different = a.iter().zip(b).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
    different == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_remembered_until_there_is_another() {
        let mut remembered = Remembered::new([7; 32]);
        assert!(!remembered.knows("ann", "a", 1));
        remembered.learn("ann", "a", 1);
        for (user, password, since, expected) in [
            ("ann", "a", 1, true),
            ("ann", "b", 1, false),
            ("ann", "a", 2, false),
            ("an", "na", 1, false),
            ("bob", "a", 1, false),
        ] {
            assert_eq!(remembered.knows(user, password, since), expected, "{user} {password}");
        }
        for number in 0..USERS_MAX {
            remembered.learn(&number.to_string(), "a", 1);
        }
        assert!(remembered.users.len() <= USERS_MAX);
    }
}
