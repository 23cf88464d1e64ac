//! Who says to be who: tokens of both kinds, and names with passwords.

use std::{sync::OnceLock, time::Duration};

use callboard::http::{
    auth::{SimpleToken, jwt::Jwt},
    v2::access,
};

fn jwt() -> &'static Jwt {
    static JWT: OnceLock<Jwt> = OnceLock::new();
    JWT.get_or_init(|| {
        let secret = b"a secret for tests";
        Jwt::new("HS256", None, Some(secret), Duration::from_secs(300)).expect("a good secret")
    })
}

fn token() -> String {
    jwt().sign("root", 1, 1 << 40).expect("it can be signed")
}

pub fn run(data: &[u8]) {
    _ = access::basic(data);
    let text = String::from_utf8_lossy(data);
    _ = SimpleToken::read(&text);
    if let Some(claims) = jwt().verify(&text) {
        // Base64 has bits that mean nothing; the rest of a token is as it was signed.
        let signed = token();
        let part = |text: &str| text.rsplit_once('.').map(|(signed, _)| signed.to_owned());
        assert_eq!(part(&text), part(&signed), "nobody can sign but us: {claims:?}");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let none = "eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6MSwiZXhwIjo5OTk5OTk5OTk5OTk5fQ.";
    let simple = SimpleToken::dress(&"a".repeat(32), callboard::types::Index(7));
    vec![token().into_bytes(), none.into(), simple.into_bytes(), b"Basic cm9vdDpzZWNyZXQ=".to_vec()]
}
