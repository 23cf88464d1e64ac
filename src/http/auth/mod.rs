//! Who calls: passwords and tokens, for all doors. Hashing a password takes long on purpose, so it is
//! done on threads aside, few at a time; who guesses passwords has to wait.
//!
//! A simple token is random; its hash goes through the log, so every member knows it, until it was not
//! used for a while, its user changes, or the member starts anew and the token was not fresh then. A
//! JWT tells all itself, and is as good as its signature. Neither passwords nor tokens are logged, or in
//! an error, or in what `Debug` shows.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use self::{remembered::Remembered, throttle::Throttle};
use crate::{
    clock::wall_clock,
    command::{PasswordHash, TokenHash},
    published::Published,
    types::{Index, UnixNanos},
};

pub mod certificate;
pub mod jwt;
mod remembered;
mod throttle;

/// How many passwords are hashed at once, and how many wait for that.
const HASHING_MAX: usize = 2;
const WAITING_MAX: usize = 128;
/// bcrypt looks at no more of a password.
pub const PASSWORD_BYTES_MAX: usize = 72;

/// What kind of tokens there are.
pub enum Tokens {
    /// Random ones that members know.
    Simple {
        /// How long one lives since it was last used.
        ttl: Duration,
    },
    /// Signed ones.
    Jwt(Box<jwt::Jwt>),
}

/// See the head of the module.
pub struct Gate {
    tokens: Tokens,
    bcrypt_cost: u32,
    hashing: Semaphore,
    waiting: AtomicUsize,
    throttle: Mutex<Throttle>,
    remembered: Mutex<Remembered>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// Why a password did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Wrong, or there is no such user.
    #[error("invalid user ID or password")]
    Wrong,
    /// No password fits this user.
    #[error("password was given for no password user")]
    NoPassword,
    /// Too many were tried, or are being looked at.
    #[error("too many requests")]
    TooMany,
    /// The member stops.
    #[error("server stopped")]
    Stopping,
}

/// Why a password was not hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// bcrypt would look at a part of it alone.
    #[error("password length exceeds {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    /// Too many are being hashed.
    #[error("too many requests")]
    TooMany,
    /// The member stops.
    #[error("server stopped")]
    Stopping,
}

/// Who a token, or a password, says its bearer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// The auth revision at which it showed its password.
    pub auth_revision: u64,
    /// Whether it says so for that revision alone, as a JWT does.
    pub pinned: bool,
}

impl Default for Gate {
    /// As `--auth-token`, `--auth-token-ttl` and `--bcrypt-cost` are by default.
    fn default() -> Self {
        Gate::new(Tokens::Simple { ttl: Duration::from_secs(300) }, bcrypt::DEFAULT_COST.min(10))
    }
}

#[allow(clippy::disallowed_methods, reason = "the doors count how long tokens live")]
fn now() -> Instant {
    Instant::now()
}

impl Gate {
    /// With these tokens, and this cost of hashing a password.
    pub fn new(tokens: Tokens, bcrypt_cost: u32) -> Gate {
        Gate {
            tokens,
            bcrypt_cost,
            hashing: Semaphore::new(HASHING_MAX),
            waiting: AtomicUsize::new(0),
            throttle: Mutex::default(),
            remembered: Mutex::new(Remembered::new(rand::random())),
        }
    }

    /// Which tokens there are.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The hash of a new password.
    pub async fn hash(&self, password: String) -> Result<PasswordHash, HashError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(HashError::TooLong);
        }
        let cost = self.bcrypt_cost;
        match self.aside(move || bcrypt::hash(password, cost)).await {
            Ok(Ok(hash)) => Ok(PasswordHash(hash)),
            Ok(Err(_)) => Err(HashError::TooLong),
            Err(Busy::TooMany) => Err(HashError::TooMany),
            Err(Busy::Stopping) => Err(HashError::Stopping),
        }
    }

    /// Looks at a password; tells the auth revision as of which it is right.
    pub async fn check_password(
        &self,
        published: &Published,
        remote: Option<IpAddr>,
        user: &str,
        password: &str,
    ) -> Result<u64, PasswordError> {
        let guess = throttle::Guess::of(remote, user);
        if !lock(&self.throttle).may_try(guess, now()) {
            return Err(PasswordError::TooMany);
        }
        let (revision, known) = {
            let state = published.state.load();
            let auth = state.auth();
            (auth.revision(), auth.users().get(user).cloned())
        };
        let hash = match &known {
            Some(known) => Some(known.password_hash.clone().ok_or(PasswordError::NoPassword)?),
            None => None,
        };
        let (cost, tried) = (self.bcrypt_cost, password.to_owned());
        let looking = self.aside(move || {
            if let Some(PasswordHash(hash)) = hash {
                return bcrypt::verify(tried, &hash).unwrap_or(false);
            }
            _ = bcrypt::hash(tried, cost); // takes as long: who asks learns no names
            false
        });
        match looking.await {
            Ok(true) => {
                lock(&self.throttle).succeeded(guess);
                Ok(revision)
            }
            Ok(false) => {
                lock(&self.throttle).failed(guess, now());
                Err(PasswordError::Wrong)
            }
            Err(Busy::TooMany) => Err(PasswordError::TooMany),
            Err(Busy::Stopping) => Err(PasswordError::Stopping),
        }
    }

    /// The same for one who sends the password with each request: what was right is remembered, while
    /// the user has that password.
    pub async fn check_again(
        &self,
        published: &Published,
        remote: Option<IpAddr>,
        user: &str,
        password: &str,
    ) -> Result<Identity, PasswordError> {
        let since = published.state.load().auth().users().get(user).map(|known| known.since);
        let identity =
            |auth_revision| Identity { user: user.to_owned(), auth_revision, pinned: false };
        if let Some(since) = since
            && lock(&self.remembered).knows(user, password, since)
        {
            return Ok(identity(published.state.load().auth().revision()));
        }
        let revision = self.check_password(published, remote, user, password).await?;
        if let Some(since) = since {
            lock(&self.remembered).learn(user, password, since);
        }
        Ok(identity(revision))
    }

    /// Who a token says its bearer is; none if it is not good.
    pub fn identify(&self, published: &Published, token: &str) -> Option<Identity> {
        match &self.tokens {
            Tokens::Simple { ttl } => {
                let hash = SimpleToken::read(token)?.hash();
                let found = published.sessions.touch(&hash, now(), wall_clock(), *ttl)?;
                let (user, auth_revision) = (found.user, found.auth_revision);
                Some(Identity { user, auth_revision, pinned: false })
            }
            Tokens::Jwt(jwt) => {
                let claims = jwt.verify(token)?;
                let (user, auth_revision) = (claims.username, claims.revision);
                Some(Identity { user, auth_revision, pinned: true })
            }
        }
    }

    /// Whether a token may be good, but was made by a change that this member has not applied yet.
    pub fn is_ahead(&self, published: &Published, token: &str) -> bool {
        let Tokens::Simple { ttl } = &self.tokens else { return false };
        let Some(token) = SimpleToken::read(token) else { return false };
        token.made_at > published.state.load().applied_index
            && published.sessions.touch(&token.hash(), now(), wall_clock(), *ttl).is_none()
    }

    /// Forgets tokens that have run out.
    pub fn sweep(&self, published: &Published) {
        if let Tokens::Simple { ttl } = &self.tokens {
            published.sessions.sweep(now(), wall_clock(), *ttl);
        }
    }

    /// Does `work` on a thread aside, when its turn comes.
    async fn aside<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Busy> {
        /// Counts out whoever waits, also when it gives up.
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING_MAX {
            return Err(Busy::TooMany);
        }
        let _turn = self.hashing.acquire().await.map_err(|_| Busy::Stopping)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| Busy::Stopping)
    }
}

enum Busy {
    TooMany,
    Stopping,
}

/// A simple token: a secret, and the place in the log where it was made or before.
pub struct SimpleToken<'a> {
    secret: &'a str,
    made_at: Index,
}

impl SimpleToken<'_> {
    const SECRET_LEN: usize = 32;

    /// A new secret.
    pub fn make_secret() -> String {
        format!("{:0width$x}", rand::random::<u128>(), width = Self::SECRET_LEN)
    }

    /// What goes through the log.
    pub fn hash_of(secret: &str) -> TokenHash {
        TokenHash(Sha256::digest(secret.as_bytes()).into())
    }

    /// What the client gets, once the change was applied at `index` or before.
    pub fn dress(secret: &str, index: Index) -> String {
        format!("{secret}.{index}")
    }

    /// Reads what a client sent.
    pub fn read(token: &str) -> Option<SimpleToken<'_>> {
        let (secret, index) = token.split_once('.')?;
        let made_at = Index(index.parse().ok()?);
        (secret.len() == SimpleToken::SECRET_LEN).then_some(SimpleToken { secret, made_at })
    }

    fn hash(&self) -> TokenHash {
        Self::hash_of(self.secret)
    }
}

/// A JWT for a user.
pub fn sign(jwt: &jwt::Jwt, user: &str, auth_revision: u64) -> Result<String, jwt::SignError> {
    let UnixNanos(now) = wall_clock();
    jwt.sign(user, auth_revision, now / 1_000_000_000)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{published, storage::mvcc::State, types};

    #[test]
    fn a_simple_token_is_read_as_it_was_made() {
        let secret = SimpleToken::make_secret();
        assert_ne!(secret, SimpleToken::make_secret());
        let token = SimpleToken::dress(&secret, Index(17));
        let read = SimpleToken::read(&token).unwrap();
        assert!(read.made_at == Index(17) && read.hash() == SimpleToken::hash_of(&secret));
        for bad in ["", ".", &secret, &format!("{secret}."), &format!("{secret}.-1"), "x.1"] {
            assert!(SimpleToken::read(bad).is_none(), "{bad}");
        }
    }

    #[actix::test]
    async fn a_password_is_looked_at_and_guessing_is_slowed() {
        let gate = Gate::new(Tokens::Simple { ttl: Duration::from_secs(1) }, 4);
        let identity = published::Identity {
            cluster_id: types::ClusterId(1),
            member_id: types::MemberId(1),
            name: "m".to_owned(),
        };
        let mut state = State::new(Vec::new());
        let hash = gate.hash("secret".to_owned()).await.unwrap();
        let auth = std::sync::Arc::make_mut(&mut state.auth);
        auth.add_user("ann", Some(hash)).unwrap();
        auth.add_user("bob", None).unwrap();
        let published = Published::new(identity, state);
        let check = |user, password| gate.check_password(&published, None, user, password);
        assert_eq!(check("ann", "secret").await, Ok(3));
        assert_eq!(check("ann", "Secret").await, Err(PasswordError::Wrong));
        assert_eq!(check("eve", "secret").await, Err(PasswordError::Wrong));
        assert_eq!(check("", "").await, Err(PasswordError::Wrong));
        assert_eq!(check("bob", "").await, Err(PasswordError::NoPassword));
        let mut answers = Vec::new();
        for _ in 0..20 {
            answers.push(check("ann", "guess").await);
        }
        assert_eq!(answers[0], Err(PasswordError::Wrong));
        assert_eq!(answers[19], Err(PasswordError::TooMany));
        let elsewhere = Some("192.0.2.1".parse().unwrap());
        let right = gate.check_again(&published, elsewhere, "ann", "secret").await.unwrap();
        assert_eq!((right.user.as_str(), right.auth_revision), ("ann", 3));
        let again = gate.check_again(&published, elsewhere, "ann", "secret").await;
        assert_eq!(again, Ok(right));
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        assert_eq!(gate.hash(long).await, Err(HashError::TooLong));
        let shown = format!("{gate:?} {published:?}");
        assert!(!shown.contains("secret") && !shown.contains("$2b$"), "{shown}");
    }
}
