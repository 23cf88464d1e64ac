//! The settings of TLS, gathered for each port. The files are read later, when the port is opened.

use std::{path::PathBuf, sync::Arc};

use super::{
    Config, build::Givens, error::ConfigError, rules::refuse, url::Url, values::parse_u64,
};
use crate::tls::{Auto, Dialer, Setting, Suites, TlsError, TlsSettings, Version};

/// TLS of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortTls {
    /// Of what serves the port.
    pub serving: TlsSettings,
    /// Make a certificate where none is given.
    pub auto: bool,
    /// Years that it holds.
    pub self_signed_years: u32,
}

/// TLS between members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// Of the peer port.
    pub port: PortTls,
    /// Of calls to other members.
    pub calling: TlsSettings,
    /// The name that their certificates must have, if it is not that of their URLs.
    pub server_name: Option<String>,
    /// Whether a caller's certificate must be for the address from where it calls.
    pub checks_address: bool,
}

impl PortTls {
    /// Whether the member makes its own certificate.
    pub fn makes_its_own(&self) -> bool {
        self.auto && self.serving.cert_file.is_none()
    }

    /// How it makes one: for the hosts of these URLs, in `dir`, as the setting `name` says. `now` is Unix
    /// seconds.
    pub fn own(&self, name: &'static str, dir: PathBuf, urls: &[&Url], now: i64) -> Option<Auto> {
        let host =
            |url: &&Url| if url.scheme().is_unix() { "localhost" } else { url.host() }.into();
        let hosts = urls.iter().map(host).collect();
        let years = self.self_signed_years;
        self.makes_its_own().then_some(Auto { setting: name, dir, hosts, years, now })
    }

    /// What calls at such ports of other members is given; none where the settings say nothing of it.
    pub fn calling(&self) -> Option<TlsSettings> {
        let Self { serving, auto, .. } = self;
        let believe_anyone = *auto && serving.ca_file.is_none();
        let says_nothing = serving.cert_file.is_none() && serving.ca_file.is_none();
        (!says_nothing || believe_anyone).then(|| TlsSettings {
            cert_file: serving.cert_file.clone(),
            key_file: serving.key_file.clone(),
            ca_file: serving.ca_file.clone(),
            suites: serving.suites.clone(),
            believe_anyone,
            ..TlsSettings::default()
        })
    }
}

impl PeerTls {
    /// What calls other members.
    pub fn dialer(&self) -> Result<Arc<Dialer>, TlsError> {
        Dialer::new(self.calling.clone(), self.server_name.clone())
    }
}

/// `cert-file` and what goes with it.
pub(super) fn client_port(givens: &Givens) -> Result<PortTls, ConfigError> {
    let ca_file = file(givens, "trusted-ca-file").or_else(|| file(givens, "ca-file"));
    let serving = TlsSettings {
        cert_file: file(givens, "cert-file"),
        key_file: file(givens, "key-file"),
        crl_file: file(givens, "client-crl-file"),
        // As with etcd: whoever names an authority of clients lets in nobody else.
        client_cert_auth: givens.bool("client-cert-auth")? || ca_file.is_some(),
        ca_file,
        allowed_cn: givens.words("client-cert-allowed-cn"),
        allowed_hostname: givens.words("client-cert-allowed-hostname"),
        suites: suites(givens)?,
        believe_anyone: false,
    };
    pair(givens, "cert-file", "key-file")?;
    port(givens, serving, "auto-tls")
}

/// Whether clients are the users that their certificates name. 2.3's name of the authority says so, too.
pub(super) fn names_users(givens: &Givens) -> Result<bool, ConfigError> {
    Ok(givens.bool("client-cert-auth")? || file(givens, "ca-file").is_some())
}

/// `peer-cert-file` and what goes with it.
pub(super) fn peer_port(givens: &Givens) -> Result<PeerTls, ConfigError> {
    let ca_file = file(givens, "peer-trusted-ca-file").or_else(|| file(givens, "peer-ca-file"));
    let serving = TlsSettings {
        cert_file: file(givens, "peer-cert-file"),
        key_file: file(givens, "peer-key-file"),
        crl_file: file(givens, "peer-crl-file"),
        // As with etcd: whoever names an authority of members lets in nobody else.
        client_cert_auth: givens.bool("peer-client-cert-auth")? || ca_file.is_some(),
        ca_file,
        allowed_cn: givens.words("peer-cert-allowed-cn"),
        allowed_hostname: givens.words("peer-cert-allowed-hostname"),
        suites: suites(givens)?,
        believe_anyone: false,
    };
    pair(givens, "peer-cert-file", "peer-key-file")?;
    pair(givens, "peer-client-cert-file", "peer-client-key-file")?;
    let port = port(givens, serving, "peer-auto-tls")?;
    let makes_its_own = port.makes_its_own();
    let needs_authority = [
        ("peer-client-cert-auth", givens.bool("peer-client-cert-auth")?),
        ("peer-crl-file", port.serving.crl_file.is_some()),
        ("peer-cert-allowed-cn", !port.serving.allowed_cn.is_empty()),
        ("peer-cert-allowed-hostname", !port.serving.allowed_hostname.is_empty()),
    ];
    for (name, is_set) in needs_authority {
        if is_set && makes_its_own {
            let allowed =
                "without --peer-auto-tls: nobody vouches for the certificates that it makes";
            return Err(refuse(givens, name, allowed));
        }
        if is_set && port.serving.ca_file.is_none() {
            return Err(refuse(givens, name, "with --peer-trusted-ca-file beside it"));
        }
    }
    if makes_its_own && let Some(ca_file) = &port.serving.ca_file {
        let allowed = "without --peer-auto-tls, whose certificates no authority signs";
        return Err(refuse(givens, ca_file.name, allowed));
    }
    let mut calling = port.serving.clone();
    if let Some(cert_file) = file(givens, "peer-client-cert-file") {
        calling.cert_file = Some(cert_file);
        calling.key_file = file(givens, "peer-client-key-file");
    }
    calling.believe_anyone = makes_its_own;
    // As with etcd: of members whom DNS names, and for whom no authority of their own speaks, the
    // certificates are for the domain.
    let domain = Some(givens.text("discovery-srv")).filter(|domain| !domain.is_empty());
    let server_name = domain.filter(|_| calling.ca_file.is_none());
    let checks_address = !givens.bool("peer-skip-client-san-verification")?;
    Ok(PeerTls { port, calling, server_name, checks_address })
}

fn port(givens: &Givens, serving: TlsSettings, auto: &'static str) -> Result<PortTls, ConfigError> {
    let self_signed_years =
        givens.read("self-signed-cert-validity", |text| u32::try_from(parse_u64(text)?).ok())?;
    let tls = PortTls { serving, auto: givens.bool(auto)?, self_signed_years };
    if tls.auto && tls.self_signed_years == 0 {
        return Err(refuse(givens, "self-signed-cert-validity", "a number of years, 1 or more"));
    }
    Ok(tls)
}

/// A certificate goes with a key.
pub(super) fn pair(
    givens: &Givens,
    cert: &'static str,
    key: &'static str,
) -> Result<(), ConfigError> {
    let is_set = |name| !givens.text(name).is_empty();
    let (given, missing) = match (is_set(cert), is_set(key)) {
        (true, false) => (cert, key),
        (false, true) => (key, cert),
        _ => return Ok(()),
    };
    Err(refuse(givens, given, format!("a file, with --{missing} beside it")))
}

/// Where only those come in who show a certificate, no port stands open beside it.
pub(super) fn no_open_door(givens: &Givens, config: &Config) -> Result<(), ConfigError> {
    let tls = &config.peer_tls.port.serving;
    let asks = givens.bool("peer-client-cert-auth")?
        || !tls.allowed_cn.is_empty()
        || !tls.allowed_hostname.is_empty();
    if asks && config.listen_peer_urls.iter().any(|url| !url.scheme().is_tls()) {
        let allowed = "https alone where members must show a certificate";
        return Err(refuse(givens, "listen-peer-urls", allowed));
    }
    Ok(())
}

/// What makes `https` possible at the client port.
pub(super) const CLIENT_BY: &str =
    "https with --cert-file and --key-file, or with --auto-tls; else http";
/// And at the peer port.
pub(super) const PEER_BY: &str =
    "https with --peer-cert-file and --peer-key-file, or with --peer-auto-tls; else http";

/// Whether `https` can be served at `urls`, and else `by` what it could: never without TLS what was to be
/// served with it.
pub(super) fn can_serve(
    givens: &Givens,
    name: &'static str,
    urls: &[Url],
    tls: &PortTls,
    by: &'static str,
    notices: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let has_certificate = tls.serving.cert_file.is_some();
    let secure = urls.iter().filter(|url| url.scheme().is_tls()).count();
    if secure > 0 && !has_certificate && !tls.auto {
        return Err(refuse(givens, name, by));
    }
    if secure < urls.len() && (has_certificate || tls.auto) {
        notices.push(format!(
            "setting {name}: says http for some URLs, which are served without TLS though there is a certificate"
        ));
    }
    Ok(())
}

pub(super) fn file(givens: &Givens, name: &'static str) -> Option<Setting> {
    givens.path(name).map(|path| Setting { name, path })
}

pub(super) fn suites(givens: &Givens) -> Result<Suites, ConfigError> {
    let version = |name| match givens.text(name).as_str() {
        "TLS1.2" => Version::Tls12,
        _ => Version::Tls13, // the greatest, where none is given
    };
    let (min, max) = (version("tls-min-version"), version("tls-max-version"));
    if min > max {
        return Err(refuse(givens, "tls-max-version", "tls-min-version or later"));
    }
    Ok(Suites { min, max, names: givens.words("cipher-suites") })
}
