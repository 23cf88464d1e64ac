//! TLS with rustls: what the settings say becomes a configuration for the serving or the calling side of
//! a connection, and is made anew when its files change.
//!
//! One place for all doors, so that none checks less than another. Depends on rustls and the file
//! system; knows no actor and no door.

pub mod authority;
mod auto;
mod call;
mod client;
mod error;
mod files;
mod identity;
mod origin;
mod reload;
mod server;
mod suites;
mod watch;

pub use auto::{Auto, SelfSigned, self_signed, serving};
pub use call::{Called, Dialer, Place};
pub use client::client_config;
pub use error::TlsError;
pub use identity::{Identity, days_left, identity_of};
pub use origin::is_from;
pub use reload::{Figures, Reloading, Side};
pub use server::server_config;
pub use suites::{Suites, Version};
pub use watch::{Look, look_after};

use std::path::PathBuf;

/// What one side of a port is to be: `--cert-file` and all that goes with it. The names of the settings
/// are in the errors, so each comes with its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate chain, PEM.
    pub cert_file: Option<Setting>,
    /// Its key, PEM.
    pub key_file: Option<Setting>,
    /// Who signs the other side's certificates, PEM.
    pub ca_file: Option<Setting>,
    /// Certificates that are good no more, PEM.
    pub crl_file: Option<Setting>,
    /// The other side must show a certificate. Implied by allowed names.
    pub client_cert_auth: bool,
    /// Common names that are let in; empty: all.
    pub allowed_cn: Vec<String>,
    /// Host names of which the certificate must have one; empty: any.
    pub allowed_hostname: Vec<String>,
    /// Whoever answers a call is believed: no authority is asked. Of the calling side alone.
    pub believe_anyone: bool,
    /// Suites and versions that are spoken.
    pub suites: Suites,
}

/// A path, and the setting that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As in `cert-file`.
    pub name: &'static str,
    /// The file.
    pub path: PathBuf,
}
