//! Which versions and cipher suites are spoken: by the names that Go and IANA give them.

use std::sync::Arc;

use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};

use super::TlsError;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

/// Versions and suites that are spoken. Only such suites exist here that encrypt and authenticate in
/// one, with a key exchange that a stolen key does not undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suites {
    /// `--tls-min-version`.
    pub min: Version,
    /// `--tls-max-version`.
    pub max: Version,
    /// `--cipher-suites`; empty: all. Those of TLS 1.3 cannot be chosen, as in Go.
    pub names: Vec<String>,
}

impl Default for Suites {
    fn default() -> Self {
        Suites { min: Version::Tls12, max: Version::Tls13, names: Vec::new() }
    }
}

const NAMES_12: [(&str, SupportedCipherSuite); 6] = [
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];
const NAMES_13: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
/// Go's older names of two suites.
const ALIASES: [(&str, &str); 2] = [
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
];

impl Suites {
    /// The versions from the least to the greatest.
    pub(super) fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let all = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)];
        let spoken = all.into_iter().filter(|(version, _)| (self.min..=self.max).contains(version));
        let spoken: Vec<_> = spoken.map(|(_, version)| version).collect();
        if spoken.is_empty() {
            return Err(TlsError::Setting {
                setting: "tls-max-version",
                what: "is less than tls-min-version".to_owned(),
            });
        }
        Ok(spoken)
    }

    /// The cryptography, with these suites alone.
    pub(super) fn provider(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        let mut provider = aws_lc_rs::default_provider();
        if self.names.is_empty() {
            return Ok(Arc::new(provider));
        }
        let mut chosen = Vec::new();
        for name in &self.names {
            let alias = ALIASES.iter().find(|(old, _)| old == name);
            let name = alias.map_or(name.as_str(), |(_, new)| new);
            if NAMES_13.contains(&name) {
                continue; // spoken in any case
            }
            let found = NAMES_12.iter().find(|(known, _)| *known == name);
            let (_, suite) = found.ok_or_else(|| TlsError::Setting {
                setting: "cipher-suites",
                what: format!(
                    "{name:?} is not offered; allowed: {}",
                    NAMES_12
                        .map(|(name, _)| name)
                        .into_iter()
                        .chain(NAMES_13)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            })?;
            chosen.push(*suite);
        }
        provider.cipher_suites.retain(|suite| {
            suite.tls13().is_some() || chosen.iter().any(|chosen| chosen.suite() == suite.suite())
        });
        Ok(Arc::new(provider))
    }
}
